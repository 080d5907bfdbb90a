//! Findings in words.

use super::row::Names;
use super::{Outcome, OwnerId, units};
use crate::finding::{Finding, FindingKind};
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::ProcessId;

/// A finding as a sentence.
pub(crate) fn sentence(names: &dyn Names, finding: &Finding) -> String {
    let ends = finding.ends;
    let name = |id: ProcessId| Some(format!("{}[{}]", names.comm(id)?, id.pid));
    let who = |owner: Option<OwnerId>, endpoint: Endpoint| {
        let named = owner.and_then(|owner| name(owner.process));
        named.unwrap_or_else(|| endpoint.addr.to_string())
    };
    let server_at = ends.resp.to_string();
    let client = who(ends.orig_owner, ends.orig);
    let server = match ends.resp_owner {
        Some(_) => format!("{} at {server_at}", who(ends.resp_owner, ends.resp)),
        None => server_at.clone(),
    };
    let (by, other) = if finding.by_orig == Some(false) {
        (&server, &client)
    } else {
        (&client, &server)
    };
    let time = units::duration(finding.duration_ns());
    let byte = units::count(finding.at_byte.unwrap_or(0));
    let of_bytes = finding
        .segment_bytes
        .map(|bytes| format!(" of {} B", units::count(bytes.into())));
    let of_bytes = of_bytes.unwrap_or_default();
    let route = finding.route.as_deref().unwrap_or("a request");
    let text = match finding.kind {
        FindingKind::Refused => format!("{client} was refused by {server_at}"),
        FindingKind::Unanswered if finding.by_orig == Some(true) => {
            format!("{client} did not answer the SYN-ACK of {server}")
        }
        FindingKind::Unanswered if finding.duration_ns() == 0 => {
            format!("{server_at} did not answer {client}")
        }
        // From the first SYN to the last, or until it gave up.
        FindingKind::Unanswered => {
            format!("{server_at} did not answer {client}, which asked for {time}")
        }
        FindingKind::NoFreePort => format!("{client} found no free port to connect to {server_at}"),
        FindingKind::TlsFailed => match &finding.error {
            Some(alert) => format!("{by} aborted TLS with {other}: {alert}"),
            None if finding.by_orig.is_some() => {
                format!("{by} closed its connection with {other} before their TLS handshake ended")
            }
            None => format!("the TLS handshake of {client} with {server} did not end"),
        },
        FindingKind::ServerErrors => {
            let answers = finding.answers.unwrap_or(finding.count);
            let outcome = finding.outcome.and_then(Outcome::status);
            format!(
                "{server} answered {} of {} with errors ({}), first {route} of {client} with {}",
                units::count(finding.count),
                units::counted(answers, "request"),
                units::share(finding.count, answers),
                outcome.unwrap_or_default(),
            )
        }
        FindingKind::Unresponsive => {
            let times = units::count(finding.packets.unwrap_or(0));
            let silence = finding.silence_ns.map(units::duration);
            let silence = silence.map(|silence| format!(", after {silence} of silence"));
            match finding.at_byte {
                None => format!(
                    "{by} did not answer {times} keep-alive probes of {other}: silent for {time}"
                ),
                Some(_) => format!(
                    "{by} stopped responding to {other}{}: {times} retransmissions{of_bytes} in {time}",
                    silence.unwrap_or_default()
                ),
            }
        }
        FindingKind::Reset => match finding.acting.and_then(name) {
            Some(acting) => {
                format!("{acting} reset the connection of {by} with {other} after {time}")
            }
            None if finding.is_foreign => {
                let why = match finding.ttls {
                    None => "its socket sent no reset".to_owned(),
                    Some([ttl, reset_ttl]) => {
                        format!("the reset has a TTL of {reset_ttl}, all else has {ttl}")
                    }
                };
                format!(
                    "a firewall or the like reset the connection of {by} with {other} after \
                     {time}: {why}"
                )
            }
            None => format!("{by} reset its connection with {other} after {time}"),
        },
        FindingKind::Goaway => {
            let error = finding.error.as_deref().unwrap_or_default();
            format!("{by} ended its HTTP/2 connection with {other} after {time}: {error}")
        }
        FindingKind::StreamReset => {
            let error = finding.error.as_deref().unwrap_or_default();
            let done = if finding.by_orig == Some(false) {
                format!("{server} reset {route} of {client}")
            } else {
                format!("{client} cancelled {route} to {server}, without an answer")
            };
            format!("{done} after {time}: {error}")
        }
        FindingKind::ListenOverflow => {
            format!("{server} had no room in its accept queue for {client} for {time}")
        }
        FindingKind::Timeout if finding.at_byte.is_none() => match finding.by_orig {
            Some(false) => {
                format!("{by} retransmitted its SYN-ACK to {other} for {time}")
            }
            _ => format!("the SYN of {by} to {other} was not answered for {time}"),
        },
        FindingKind::Timeout => {
            format!(
                "{by} lost a segment{of_bytes} to {other}: retransmission timeout of {time} at byte {byte}"
            )
        }
        FindingKind::Retransmissions => {
            let packets = units::count(finding.packets.unwrap_or(0));
            format!(
                "{by} retransmitted {packets} packets to {other} in {time}, from byte {byte} on"
            )
        }
        FindingKind::DelayedAck => format!(
            "{by} held back a segment for {time}, until the delayed ACK of {other} arrived: \
             Nagle's algorithm, without TCP_NODELAY"
        ),
        FindingKind::ZeroWindow => {
            format!("{by} did not read what {other} sent: zero window for {time} at byte {byte}")
        }
        FindingKind::SlowServer => format!("{server} took {time} to process {route} of {client}"),
        FindingKind::SlowClient => format!("{client} took {time} to send {route} to {server}"),
        FindingKind::CutOff => {
            format!("{by} closed its connection with {other} before {route} was wholly answered")
        }
        FindingKind::NoAnswer if finding.by_orig.is_none() => {
            format!(
                "{server} had not answered {route} of {client} for {time} when the capture ended"
            )
        }
        FindingKind::NoAnswer if finding.duration_ns() == 0 => {
            format!("{by} had closed its connection with {other} when {route} arrived")
        }
        FindingKind::NoAnswer => {
            format!(
                "{by} closed its connection with {other} after {time}, without an answer to {route}"
            )
        }
        FindingKind::PortReuse => {
            format!("{client} reuses ports to {server_at} that are in TIME-WAIT: it connects often")
        }
        FindingKind::HalfOpen => {
            format!("{by} has not closed its connection, which {other} has closed")
        }
        FindingKind::OneSided => {
            format!("only one of {client} and {server} sends, as far as was captured")
        }
    };
    match finding.count {
        1 => text,
        _ if finding.kind == FindingKind::ServerErrors => text,
        many => {
            let shown = match finding.kind {
                FindingKind::Retransmissions => ", this the most",
                // Of many that took no time none is the longest.
                _ if finding.duration_ns() == 0 => "",
                FindingKind::Refused
                | FindingKind::NoFreePort
                | FindingKind::TlsFailed
                | FindingKind::PortReuse
                | FindingKind::HalfOpen
                | FindingKind::OneSided => "",
                _ => ", this the longest",
            };
            let of_what = [
                (finding.of_several, ", of several processes"),
                (finding.of_many_clients, ", many clients"),
                (finding.of_many_servers, ", many servers"),
                (finding.of_many_ports, ", many ports"),
            ];
            let of_what = of_what.into_iter().filter(|(is_so, _)| *is_so);
            let of_what: String = of_what.map(|(_, words)| words).collect();
            format!("{text} ({} times{shown}{of_what})", units::count(many))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::report::row::sample;

    fn told(finding: Finding) -> String {
        sentence(&Report::default(), &finding)
    }

    fn finding(kind: FindingKind) -> Finding {
        let mut finding = Finding {
            kind,
            count: 1,
            of_several: false,
            of_many_ports: false,
            of_many_clients: false,
            of_many_servers: false,
            ..sample::finding(&sample::connection())
        };
        finding.ends.orig.addr = [10, 0, 0, 1].into();
        finding.ends.resp = Endpoint::new([10, 0, 0, 2].into(), 80);
        (finding.ends.orig_owner, finding.ends.resp_owner) = (None, None);
        finding
    }

    #[test]
    fn a_handshake_that_stalled_lost_no_byte() {
        let stalled = |by_orig, at_byte| Finding {
            by_orig: Some(by_orig),
            at_byte,
            last_ns: 1_000_000_000,
            ..finding(FindingKind::Timeout)
        };
        assert_eq!(
            told(stalled(true, None)),
            "the SYN of 10.0.0.1 to 10.0.0.2:80 was not answered for 1.00 s"
        );
        assert_eq!(
            told(stalled(false, None)),
            "10.0.0.2:80 retransmitted its SYN-ACK to 10.0.0.1 for 1.00 s"
        );
        assert!(told(stalled(true, Some(0))).ends_with(" at byte 0"));
    }

    #[test]
    fn a_server_may_close_before_it_is_asked() {
        let left = |last_ns| Finding {
            by_orig: Some(false),
            route: Some("GET /a".to_owned()),
            first_ns: 0,
            last_ns,
            ..finding(FindingKind::NoAnswer)
        };
        assert_eq!(
            told(left(0)),
            "10.0.0.2:80 had closed its connection with 10.0.0.1 when GET /a arrived"
        );
        assert_eq!(
            told(left(5_000_000)),
            "10.0.0.2:80 closed its connection with 10.0.0.1 after 5.00 ms, without an answer \
             to GET /a"
        );
    }

    #[test]
    fn a_silent_end_is_told_with_what_was_tried() {
        let silent = |at_byte, silence_ns| {
            told(Finding {
                by_orig: Some(false),
                at_byte,
                packets: Some(5),
                silence_ns,
                segment_bytes: at_byte.map(|_| 1_448),
                last_ns: 6_000_000_000,
                ..finding(FindingKind::Unresponsive)
            })
        };
        assert_eq!(
            silent(Some(8), Some(4_000_000_000)),
            "10.0.0.2:80 stopped responding to 10.0.0.1, after 4.00 s of silence: \
             5 retransmissions of 1,448 B in 6.00 s"
        );
        assert_eq!(
            silent(Some(8), None),
            "10.0.0.2:80 stopped responding to 10.0.0.1: 5 retransmissions of 1,448 B in 6.00 s"
        );
        assert_eq!(
            silent(None, None),
            "10.0.0.2:80 did not answer 5 keep-alive probes of 10.0.0.1: silent for 6.00 s"
        );
    }

    #[test]
    fn errors_are_told_with_their_share_and_the_first() {
        let errors = |answers, outcome, route: Option<&str>| {
            told(Finding {
                count: 37,
                answers: Some(answers),
                outcome: Some(outcome),
                route: route.map(str::to_owned),
                ..finding(FindingKind::ServerErrors)
            })
        };
        assert_eq!(
            errors(1_200, Outcome::Status(503), Some("GET /a")),
            "10.0.0.2:80 answered 37 of 1,200 requests with errors (3.1 %), \
             first GET /a of 10.0.0.1 with 503"
        );
        assert_eq!(
            errors(37, Outcome::GrpcFailed(Some(200), 14), None),
            "10.0.0.2:80 answered 37 of 37 requests with errors (100.0 %), \
             first a request of 10.0.0.1 with 200 grpc 14"
        );
    }

    #[test]
    fn many_ports_are_told_with_one() {
        let many = |kind| Finding {
            count: 400,
            of_many_ports: true,
            by_orig: None,
            ..finding(kind)
        };
        assert_eq!(
            told(many(FindingKind::Refused)),
            "10.0.0.1 was refused by 10.0.0.2:80 (400 times, many ports)"
        );
        assert_eq!(
            told(many(FindingKind::Unanswered)),
            "10.0.0.2:80 did not answer 10.0.0.1 (400 times, many ports)"
        );
    }

    #[test]
    fn a_full_queue_is_told_of_its_server() {
        let full = Finding {
            by_orig: Some(false),
            last_ns: 1_000_000_000,
            ..finding(FindingKind::ListenOverflow)
        };
        assert_eq!(
            told(full),
            "10.0.0.2:80 had no room in its accept queue for 10.0.0.1 for 1.00 s"
        );
    }

    #[test]
    fn what_is_not_of_an_end_is_told_with_why() {
        let foreign = |ttls| {
            told(Finding {
                by_orig: Some(false),
                acting: None,
                ttls,
                ..finding(FindingKind::Reset)
            })
        };
        let reset = "a firewall or the like reset the connection of 10.0.0.2:80 with 10.0.0.1 \
                     after 0 s: ";
        assert_eq!(foreign(None), format!("{reset}its socket sent no reset"));
        assert_eq!(
            foreign(Some([57, 64])),
            format!("{reset}the reset has a TTL of 64, all else has 57")
        );
    }

    #[test]
    fn who_does_not_answer_a_syn_ack_is_the_client() {
        let flood = Finding {
            count: 3000,
            of_many_clients: true,
            by_orig: Some(true),
            ..finding(FindingKind::Unanswered)
        };
        assert_eq!(
            told(flood),
            "10.0.0.1 did not answer the SYN-ACK of 10.0.0.2:80 (3,000 times, many clients)"
        );
    }

    #[test]
    fn many_clients_and_servers_are_told_with_one() {
        let of_many = Finding {
            count: 400,
            of_many_clients: true,
            of_many_servers: true,
            by_orig: Some(true),
            is_foreign: false,
            acting: None,
            last_ns: 1_000_000_000,
            ..finding(FindingKind::Reset)
        };
        assert_eq!(
            told(of_many),
            "10.0.0.1 reset its connection with 10.0.0.2:80 after 1.00 s \
             (400 times, this the longest, many clients, many servers)"
        );
    }
}
