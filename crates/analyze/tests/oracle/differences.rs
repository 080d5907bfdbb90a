//! Where this analyzer and another tool differ, and why.

use crate::compare::Mismatch;
use crate::expected::Tool;

/// Differences that have one reason.
struct Reason {
    capture: &'static str,
    tool: Tool,
    /// What the mismatch's place begins with.
    place: &'static str,
    fields: &'static [&'static str],
    /// Why, and who is right.
    why: &'static str,
}

const KNOWN: &[Reason] = &[
    Reason {
        capture: "suricata/bug-76/input.pcap",
        tool: Tool::Tshark,
        place: "10.10.10.2:53104 10.20.10.99:80",
        fields: &["record"],
        why: "tshark makes a connection of a packet whose TCP header is longer than its \
              IP packet; there is no segment in it",
    },
    Reason {
        capture: "suricata/bug-78-uricontent/input.pcap",
        tool: Tool::Tshark,
        place: "192.168.2.3:37010",
        fields: &["status_code"],
        why: "a response that the client did not wait for the end of: tshark tells only of \
              whole ones; its status was sent",
    },
    Reason {
        capture: "suricata/transform-base64-7296/input.pcap",
        tool: Tool::Tshark,
        place: "127.0.0.1:59207 223.138.31.144:44354",
        fields: &["record"],
        why: "as above: a header of 60 bytes in 32",
    },
    Reason {
        capture: "suricata/transform-base64-7296/input.pcap",
        tool: Tool::Tshark,
        place: "127.0.0.1:57226",
        fields: &["duration_raw"],
        why: MICROSECONDS,
    },
    Reason {
        capture: "suricata/transform-base64-7296/input.pcap",
        tool: Tool::Tshark,
        place: "127.0.0.1:57227",
        fields: &[
            "duration_raw",
            "syn_synack_rtt",
            "synack_ack_rtt",
            "orig_rtt_avg",
            "orig_rtt_max",
            "resp_rtt_min",
            "resp_rtt_avg",
        ],
        why: MICROSECONDS,
    },
    Reason {
        capture: "tcpdump/timestamp_invalid_nano.pcap",
        tool: Tool::Tshark,
        place: "131.155.215.69:46656",
        fields: &[
            "ts",
            "duration",
            "duration_raw",
            "initial_rtt",
            "syn_synack_rtt",
            "synack_ack_rtt",
            "resp_rtt_min",
            "resp_rtt_avg",
            "resp_rtt_max",
        ],
        why: "tshark takes a nanosecond field of 2^31 + 1 for a negative one; the format \
              has it without a sign",
    },
    Reason {
        capture: "tcpdump/tcp-auth-heapoverflow.pcap",
        tool: Tool::Tshark,
        place: "48.48.48.48:12336 48.48.48.48:12336",
        fields: &[
            "resp_pkts",
            "resp_wire_bytes",
            "resp_uniq_bytes",
            "resp_ip_bytes",
            "resp_data_pkts",
        ],
        why: "both ends are the same, and the expectation has its one packet at each; it \
              was sent once",
    },
    Reason {
        capture: "zeek/http/connect-with-smtp.pcap",
        tool: Tool::Tshark,
        place: "254.228.86.79:8240",
        fields: &["version"],
        why: "a target with a space: tshark's version begins at the first one, and is \
              `/ HTTP/1.0`; Zeek's is the last word, as here",
    },
    Reason {
        capture: "zeek/http/methods.pcap",
        tool: Tool::Tshark,
        place: "128.2.6.136:46563",
        fields: &["version"],
        why: "`OPTIONS HTTP/1.1`: tshark takes the version for the target; Zeek says, as \
              here, that there is no target",
    },
    Reason {
        capture: "zeek/http/methods.pcap",
        tool: Tool::Tshark,
        place: "128.2.6.136:46565",
        fields: &[
            "version",
            "req_ts_first",
            "req_ts_last",
            "latency_ttfb",
            "latency_total",
        ],
        why: "`OPTIONS` alone on its line: tshark takes it for a request, Zeek and this \
              analyzer do not: other protocols have such lines",
    },
    Reason {
        capture: "zeek/http/http-09-content-length-confusion.pcap",
        tool: Tool::Zeek,
        place: "127.0.0.1:46982",
        fields: &["response_body_len"],
        why: "the server answers before the client asks: Zeek gives the head to an answer of \
              its own, and only the rest to the request",
    },
    Reason {
        capture: "zeek/ipv4/fragmented-4.pcap",
        tool: Tool::Tshark,
        place: "10.0.0.1:80 128.32.46.142:7790",
        fields: &["orig_ip_bytes"],
        why: "of a fragmented packet the expectation counts the last fragment's length; \
              here it is all fragments'",
    },
    Reason {
        capture: "zeek/pppoe-over-qinq.pcap",
        tool: Tool::Tshark,
        place: "1.1.1.1:20394",
        fields: &["orig_ack_lost"],
        why: "IP packets longer than the PPPoE header says: tshark's analysis takes the \
              shorter length, all other fields the IP header's",
    },
];

const MICROSECONDS: &str = "a microsecond field of more than a second: the expectation \
                            reads its first six digits; here it is added";

/// Takes known differences out of `mismatches`, and puts in those that are
/// no more.
pub(crate) fn settle(capture: &str, tool: Tool, mismatches: &mut Vec<Mismatch>) {
    for known in KNOWN {
        if known.capture != capture || known.tool != tool {
            continue;
        }
        for field in known.fields {
            let before = mismatches.len();
            mismatches.retain(|mismatch| {
                !(mismatch.place.starts_with(known.place) && mismatch.field == *field)
            });
            if mismatches.len() == before {
                mismatches.push(Mismatch {
                    place: known.place.to_owned(),
                    field: (*field).to_owned(),
                    expected: format!("a difference: {}", known.why).into(),
                    found: "none".into(),
                });
            }
        }
    }
}
