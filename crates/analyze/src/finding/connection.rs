//! What is worth attention in connections.

use super::overflow::overflow;
use super::unresponsive::unresponsive;
use super::{Finding, FindingKind, Findings, LONG_NS, UNANSWERED_NS};
use crate::contrast::resent_at_most;
use crate::owner::Owners;
use crate::resolved::{Connection, EndFacts, OwnerId};
use crate::span::Span;
use crate::tcp::{self, ConnState, Stall, StallCause};
use tcprec_shared::record::Provenance;

/// A connection that only one end has closed is left over after this time.
const LEFTOVER_NS: i64 = 10_000_000_000;

/// So many packets sent again within a second of each other are worth a word:
/// as many as a loss of a whole initial window (RFC 6928) makes.
const MANY_PACKETS: u64 = 10;

/// Linux keeps the ports of a closed connection for so long
/// (`TCP_TIMEWAIT_LEN`), unless they are needed.
const TIME_WAIT_NS: i64 = 60_000_000_000;

/// A socket that sends a reset is closed with it, so long after it at most.
const AT_ONCE_NS: i64 = 10_000_000;

/// The word for an alert that cannot be read.
const HIDDEN_ALERT: &str = "encrypted_alert";

impl Findings {
    /// Looks at a finished connection, of a capture whose latest packet is of
    /// `now_ns`.
    pub(crate) fn connection(&mut self, connection: &Connection, owners: &Owners, now_ns: i64) {
        let tcp = &connection.tcp;
        self.seen(connection);
        self.has_answers |= tcp.orig.packets > 0 && tcp.resp.packets > 0;
        self.has_acks |= tcp.history.contains(['A', 'a']);
        // The reason for a reset, too.
        let is_answered = tcp.requests > 0 && self.lacking != Some(tcp.id);
        let failed = tls_failed(connection).or_else(|| goaway(connection));
        let is_seen = !connection.incomplete.lacks_packets();
        let silent = unresponsive(connection).filter(|_| is_seen && failed.is_none());
        let failed = match &silent {
            Some(_) => failed, // it gave up
            None => failed.or_else(|| broken_off(connection)),
        };
        let failed = failed.filter(|it| !is_harmless(it, connection, is_answered));
        for finding in failed.into_iter().chain(port_reuse(connection)) {
            self.add(finding, owners);
        }
        if !is_seen {
            return;
        }
        if let Some(silent) = silent {
            let all = bursts(connection).chain(stalls(connection, now_ns));
            let before = all.filter(|it| it.first_ns < silent.first_ns);
            for finding in before.chain([silent.clone()]) {
                self.add(finding, owners);
            }
        } else if is_one_sided(connection) {
            self.add(of(connection, FindingKind::OneSided, None), owners);
        } else if tcp.state == ConnState::S0 || is_begun_by_syns_alone(connection) {
            // There is no other cause to look for.
            if let Some(finding) = unanswered(connection, now_ns) {
                self.add(finding, owners);
            }
        } else {
            let left = half_open(connection, now_ns).into_iter();
            let slow = bursts(connection).chain(delays(connection));
            let full = overflow(connection);
            let full_until_ns = full.as_ref().map_or(i64::MIN, |it| it.last_ns);
            // What was sent before it took the connection came, and was dropped.
            let waits = stalls(connection, now_ns).filter(|it| {
                it.kind != FindingKind::Timeout
                    || it.first_ns > full_until_ns
                    || it.at_byte.is_none() && it.by_orig == Some(true)
            });
            for finding in left.chain(slow).chain(full).chain(waits) {
                self.add(finding, owners);
            }
        }
    }

    /// Forgets the attempt to connect that this is, which was seen. It may have been seen in
    /// another namespace than the process's own, as a container's on its host.
    fn seen(&mut self, connection: &Connection) {
        if self.unseen.is_empty() {
            return; // most are so
        }
        let tcp = &connection.tcp;
        let (orig, resp) = (tcp.orig.endpoint, tcp.resp.endpoint);
        let process = |owner: Option<OwnerId>| owner.map(|owner| owner.process);
        let owner = process(connection.orig.owner);
        let everywhere = (orig, resp, 0)..=(orig, resp, u32::MAX);
        let same = self.unseen.range(everywhere).filter(|((.., netns), it)| {
            *netns == tcp.scope || owner.is_some() && owner == process(it.ends.orig_owner)
        });
        let same: Vec<_> = same.map(|(key, _)| *key).collect();
        for key in same {
            self.unseen.remove(&key);
        }
    }
}

/// A finding that all of a connection is the evidence for.
pub(super) fn of(connection: &Connection, kind: FindingKind, by_orig: Option<bool>) -> Finding {
    let span = Span {
        first_ns: connection.tcp.first_ns,
        last_ns: connection.tcp.last_ns,
    };
    Finding::new(kind, connection.ends(), by_orig, span)
}

/// A TLS handshake that failed: whose doing it is, as far as that was seen, and the
/// word of the alert.
fn tls_failed(connection: &Connection) -> Option<Finding> {
    let tcp = &connection.tcp;
    let tls = tcp.tls.as_deref()?;
    let client_is_orig = tls.client == tcp.orig.endpoint;
    let failed = |by_orig, error| Finding {
        error,
        ..of(connection, FindingKind::TlsFailed, by_orig)
    };
    let fatal = tls.alerts.iter().find(|alert| alert.is_fatal());
    if let Some(alert) = fatal.filter(|_| !tls.is_established) {
        let by_orig = alert.by_client == client_is_orig;
        return Some(failed(Some(by_orig), Some(alert.description_word())));
    }
    // It may have ended well in what was not captured.
    let is_whole = tcp.missed_bytes == 0
        && tcp.orig.gap_bytes == 0
        && tcp.resp.gap_bytes == 0
        && !connection.incomplete.lacks_packets();
    if !is_whole || !tcp.state.is_over() {
        None
    } else if !tls.is_established {
        Some(failed(tcp.is_left_by_orig(), None))
    } else {
        let is_refused = client_is_orig && tcp.farewell.is_refusal;
        is_refused.then(|| failed(Some(false), Some(HIDDEN_ALERT.into())))
    }
}

/// A connection of HTTP/2 that an end gave up: what it said of why.
fn goaway(connection: &Connection) -> Option<Finding> {
    let tcp = &connection.tcp;
    let goaway = tcp.goaway.as_deref()?;
    let error = match (goaway.error.word(), &*goaway.error.said) {
        (word, "") => word,
        (word, said) => format!("{word} ({said})"),
    };
    let by_orig = Some(goaway.end == tcp.orig.endpoint);
    Some(Finding {
        last_ns: goaway.error.at_ns.unwrap_or(tcp.last_ns),
        error: Some(error),
        ..of(connection, FindingKind::Goaway, by_orig)
    })
}

/// A connection that was refused or reset.
fn broken_off(connection: &Connection) -> Option<Finding> {
    let tcp = &connection.tcp;
    // What Zeek calls rejected may have been established, as its SYN-ACK tells, or what
    // else came before the reset; or be older than the capture.
    let is_established = tcp.history.contains(['h', 'A', 'd']);
    let (kind, by_orig) = match tcp.state {
        ConnState::Rej if is_established && tcp.history.contains(['h', 'S']) => {
            (FindingKind::Reset, tcp.is_left_by_orig())
        }
        ConnState::Rej if tcp.history.contains('S') => (FindingKind::Refused, None),
        // Windows sends the same SYN again, and may be let in then. Who does not ask again
        // did not take the reset for an answer.
        _ if tcp.history.starts_with("Sr") && tcp.orig.syn_packets > 1 => {
            return Some(Finding {
                last_ns: tcp.left_ns.unwrap_or(tcp.last_ns),
                ..of(connection, FindingKind::Refused, None)
            });
        }
        _ => return reset(connection),
    };
    Some(of(connection, kind, by_orig))
}

/// A reset of a connection that was established, or to be, by an end that had not closed
/// it.
fn reset(connection: &Connection) -> Option<Finding> {
    let tcp = &connection.tcp;
    let by_orig = tcp.is_reset_by_orig()?;
    let left_ns = tcp.left_ns.filter(|_| tcp.is_left_by_reset());
    let end = if by_orig {
        &connection.orig
    } else {
        &connection.resp
    };
    let last_ns = left_ns.unwrap_or(tcp.last_ns);
    let acting = end.kernel.and_then(|kernel| kernel.reset_by);
    let is_owner = |process| end.owner.is_none_or(|owner| owner.process == process);
    let ttls = if by_orig { &tcp.orig } else { &tcp.resp }.foreign_ttl;
    let has_outlived = !connection.incomplete.events && has_outlived(end, last_ns);
    (!tcp.is_closed_before_reset(by_orig)).then(|| Finding {
        acting: acting.filter(|process| !is_owner(*process)),
        is_foreign: has_outlived || ttls.is_some() && acting.is_none(),
        ttls: ttls.filter(|_| !has_outlived && acting.is_none()),
        last_ns,
        ..of(connection, FindingKind::Reset, Some(by_orig))
    })
}

/// Whether the socket of an end knew nothing of a reset in its name at `reset_ns`: it sent
/// none, and was not closed with it.
fn has_outlived(end: &EndFacts, reset_ns: i64) -> bool {
    let is_known = |owner: OwnerId| owner.provenance != Provenance::Guess;
    end.owner.is_some_and(is_known)
        && end.kernel.is_some_and(|kernel| {
            let closed_ns = kernel.closed_ns.unwrap_or(i64::MAX);
            kernel.resets_sent == 0 && closed_ns.saturating_sub(reset_ns) > AT_ONCE_NS
        })
}

/// Whether a client resets a connection with which all is done: nobody said anything, as
/// when it looks whether a server is there, or all of its requests are answered
/// (`is_answered`), or it has closed its session of TLS, or the server has closed the
/// connection, and has acknowledged all. It saves
/// itself the state TIME-WAIT, or does not read the server's farewell any more. Another
/// process than the client that does it (`ss -K`) has other reasons, and a firewall, too.
fn is_harmless(finding: &Finding, connection: &Connection, is_answered: bool) -> bool {
    let (orig, resp) = (&connection.tcp.orig, &connection.tcp.resp);
    let is_closed = connection.tcp.farewell.is_by_client;
    let is_silent = orig.bytes == 0 && resp.bytes == 0;
    let tcp = &connection.tcp;
    let is_left = tcp.is_left_by_orig() == Some(false) && !tcp.is_left_by_reset();
    let is_done = (is_answered || is_closed || is_left) && resp.unacknowledged_bytes == 0;
    let is_reset = finding.kind == FindingKind::Reset && finding.by_orig == Some(true);
    // A NAT may forget what is done, and say so with its own TTL.
    let is_its_own = finding.acting.is_none() && (!finding.is_foreign || finding.ttls.is_some());
    is_reset && is_its_own && (is_silent && resp.packets > 0 || is_done)
}

/// A port that is used again though it is in TIME-WAIT.
fn port_reuse(connection: &Connection) -> Option<Finding> {
    let tcp = &connection.tcp;
    let is_early = tcp.reused_after_ns.is_some_and(|ns| ns < TIME_WAIT_NS);
    is_early.then(|| Finding {
        last_ns: tcp.first_ns,
        ..of(connection, FindingKind::PortReuse, Some(true))
    })
}

/// An attempt without an answer.
fn unanswered(connection: &Connection, now_ns: i64) -> Option<Finding> {
    let tcp = &connection.tcp;
    let asked_ns = now_ns.saturating_sub(tcp.first_ns);
    let is_syn_ack = is_begun_by_syns_alone(connection);
    let by_orig = is_syn_ack.then_some(true);
    (asked_ns >= UNANSWERED_NS && (is_syn_ack || tcp.resp.packets == 0))
        .then(|| of(connection, FindingKind::Unanswered, by_orig))
}

/// Whether nothing answers a SYN-ACK, as where the SYN had a forged address (RFC 4987), or
/// the way back is broken.
fn is_begun_by_syns_alone(connection: &Connection) -> bool {
    let (orig, resp) = (&connection.tcp.orig, &connection.tcp.resp);
    let is_alone = |end: &tcp::End| end.packets > 0 && end.packets == end.syn_packets;
    is_alone(orig) && is_alone(resp)
}

/// A connection that one end has closed long ago, and the other has not.
fn half_open(connection: &Connection, now_ns: i64) -> Option<Finding> {
    let tcp = &connection.tcp;
    let by_orig = match tcp.state {
        ConnState::S2 => false,
        ConnState::S3 => true,
        _ => return None,
    };
    let silent_ns = now_ns.saturating_sub(tcp.last_ns);
    // The other FIN may be among what was acknowledged, and not captured.
    (silent_ns >= LEFTOVER_NS && !tcp.history.contains(['g', 'G']))
        .then(|| of(connection, FindingKind::HalfOpen, Some(by_orig)))
}

/// Many packets that were sent again.
fn bursts(connection: &Connection) -> impl Iterator<Item = Finding> {
    let bursts = connection.tcp.bursts.iter().map(|burst| Finding {
        first_ns: burst.first_ns,
        last_ns: burst.last_ns,
        at_byte: Some(burst.at_byte),
        packets: Some(burst.packets.min(resent_at_most(connection, burst.by_orig))),
        ..of(
            connection,
            FindingKind::Retransmissions,
            Some(burst.by_orig),
        )
    });
    bursts.filter(|finding| finding.packets >= Some(MANY_PACKETS))
}

/// Segments that were held back until a delayed ACK came.
fn delays(connection: &Connection) -> impl Iterator<Item = Finding> {
    connection.tcp.delays.iter().map(|delays| {
        let finding = Finding {
            first_ns: delays.first_ns,
            last_ns: delays.last_ns,
            ..of(connection, FindingKind::DelayedAck, Some(delays.by_orig))
        };
        Finding {
            count: finding.count * delays.count,
            elsewhere: finding.elsewhere * delays.count,
            ..finding
        }
    })
}

/// Long times in which an end could not send. Of the handshake that is all the time in
/// which it was sent again: each time that came to nothing, the next wait is longer.
fn stalls(connection: &Connection, now_ns: i64) -> impl Iterator<Item = Finding> {
    let tcp = &connection.tcp;
    let is_of_handshake = |stall: &Stall| {
        stall.cause == StallCause::Timeout
            && tcp.syn_ns.is_some()
            && tcp.established_ns.is_none_or(|ns| stall.from_ns < ns)
    };
    let mut found: Vec<Finding> = Vec::new();
    for stall in &tcp.stalls {
        let (kind, by_orig) = match stall.cause {
            StallCause::Timeout => (FindingKind::Timeout, stall.by_orig),
            StallCause::ZeroWindow => (FindingKind::ZeroWindow, !stall.by_orig),
        };
        let at_byte = (!is_of_handshake(stall)).then_some(stall.at_byte);
        let is_same = |it: &&mut Finding| it.at_byte.is_none() && it.by_orig == Some(by_orig);
        if at_byte.is_none()
            && let Some(known) = found.iter_mut().find(is_same)
        {
            known.last_ns = known.last_ns.max(stall.to_ns);
            continue;
        }
        found.push(Finding {
            first_ns: stall.from_ns,
            // Probes come ever later.
            last_ns: match tcp.state {
                ConnState::S1 if stall.is_open => stall.to_ns.max(now_ns),
                _ => stall.to_ns,
            },
            at_byte,
            segment_bytes: Some(stall.payload_bytes).filter(|bytes| *bytes > 0),
            ..of(connection, kind, Some(by_orig))
        });
    }
    found.retain(|finding| finding.duration_ns() >= LONG_NS);
    found.into_iter()
}

/// Whether one end sent more than a few packets, and the other must have sent
/// some that were not captured.
pub(super) fn is_one_sided(connection: &Connection) -> bool {
    let (orig, resp) = (&connection.tcp.orig, &connection.tcp.resp);
    let is_alone = |one: &tcp::End, other: &tcp::End| {
        other.packets == 0 && one.packets >= 3 && one.data_packets > 0
    };
    is_alone(orig, resp) || is_alone(resp, orig)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::KernelFacts;
    use crate::report::row::sample;
    use crate::tcp::{Burst, Farewell};

    #[test]
    fn as_many_as_a_lost_window_are_a_burst() {
        let found = |packets, kernel: Option<u64>| {
            let mut connection = sample::connection();
            connection.incomplete = Default::default();
            connection.orig.kernel = kernel.map(|retransmits| KernelFacts {
                retransmits,
                ..KernelFacts::default()
            });
            connection.tcp.tls = None;
            connection.tcp.goaway = None;
            connection.tcp.bursts = vec![Burst {
                by_orig: true,
                packets,
                first_ns: 0,
                last_ns: 0,
                at_byte: 0,
            }];
            let mut findings = Findings::default();
            findings.connection(&connection, &Owners::new(0), 0);
            let found = findings.finish(&Owners::new(0)).into_iter();
            found.map(|it| (it.kind, it.packets)).collect::<Vec<_>>()
        };
        let resent = |packets| [(FindingKind::Retransmissions, Some(packets))];
        assert_eq!(found(9, None), []);
        assert_eq!(found(10, None), resent(10));
        // What the kernel knows nothing of are copies.
        assert_eq!(found(30, Some(0)), []);
        assert_eq!(found(30, Some(20)), resent(20));
        assert_eq!(found(30, Some(50)), resent(30));
    }

    #[test]
    fn a_client_that_closed_its_session_may_reset_the_rest() {
        let is_harmless = |is_by_client, by_orig, unacknowledged_bytes| {
            let mut connection = sample::connection();
            connection.tcp.resp.unacknowledged_bytes = unacknowledged_bytes;
            connection.tcp.farewell = Farewell {
                is_by_client,
                ..Farewell::default()
            };
            let finding = of(&connection, FindingKind::Reset, Some(by_orig));
            is_harmless(&finding, &connection, false)
        };
        assert!(is_harmless(true, true, 0));
        assert!(!is_harmless(false, true, 0));
        assert!(!is_harmless(true, false, 0) && !is_harmless(true, true, 1));
    }

    #[test]
    fn a_server_that_refuses_the_finished_handshake_has_broken_it_off() {
        let failed = |is_refusal, missed_bytes| {
            let mut connection = sample::connection();
            connection.incomplete = Default::default();
            let tcp = &mut connection.tcp;
            (tcp.state, tcp.missed_bytes) = (ConnState::Sf, missed_bytes);
            (tcp.orig.gap_bytes, tcp.resp.gap_bytes) = (0, 0);
            tcp.farewell.is_refusal = is_refusal;
            tcp.tls.as_mut().unwrap().is_established = true;
            tls_failed(&connection).map(|it| (it.by_orig, it.error))
        };
        let by_server = (Some(false), Some("encrypted_alert".to_owned()));
        assert_eq!(failed(true, 0), Some(by_server));
        assert_eq!(failed(false, 0), None);
        assert_eq!(failed(true, 1), None);
    }

    #[test]
    fn where_no_answers_were_captured_none_is_missing() {
        let found = |has_answers, has_owner, kinds: &[FindingKind]| {
            let (mut findings, owners) = (Findings::default(), Owners::new(0));
            let mut connection = sample::connection();
            connection.orig.owner = connection.orig.owner.filter(|_| has_owner);
            connection.tcp.orig.packets = 1;
            connection.tcp.resp.packets = u64::from(has_answers);
            findings.connection(&connection, &owners, 0);
            findings.found.clear();
            for kind in kinds {
                findings.add(of(&connection, *kind, None), &owners);
            }
            let found = findings.finish(&owners).into_iter();
            found.map(|it| it.kind).collect::<Vec<_>>()
        };
        let both = [FindingKind::Unanswered, FindingKind::OneSided];
        assert_eq!(found(false, false, &both), both[1..]);
        assert_eq!(found(true, false, &both), both);
        assert_eq!(found(false, true, &both), both);
        assert_eq!(found(false, false, &both[..1]), both[..1]);
    }
}
