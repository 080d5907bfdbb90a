//! Found against expected, field by field.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use crate::expected::{Fields, Records};
use crate::figures::Figures;

/// What is compared of a connection.
const CONNECTION_FIELDS: [&str; 83] = [
    "ts",
    "duration",
    "duration_raw",
    "conn_state",
    "history",
    "missed_bytes",
    "initial_rtt",
    "syn_synack_rtt",
    "synack_ack_rtt",
    "orig_pkts",
    "orig_bytes",
    "orig_wire_bytes",
    "orig_uniq_bytes",
    "orig_gap_bytes",
    "orig_ip_bytes",
    "orig_data_pkts",
    "orig_syn",
    "orig_fin",
    "orig_rst",
    "orig_zero_win_raw",
    "orig_mss",
    "orig_wscale",
    "orig_sack_perm",
    "orig_ts_opt",
    "orig_rexmt",
    "orig_dup_pkts",
    "orig_late_pkts",
    "resp_pkts",
    "resp_bytes",
    "resp_wire_bytes",
    "resp_uniq_bytes",
    "resp_gap_bytes",
    "resp_ip_bytes",
    "resp_data_pkts",
    "resp_syn",
    "resp_fin",
    "resp_rst",
    "resp_zero_win_raw",
    "resp_mss",
    "resp_wscale",
    "resp_sack_perm",
    "resp_ts_opt",
    "resp_rexmt",
    "resp_dup_pkts",
    "resp_late_pkts",
    "orig_retrans",
    "orig_fast_retrans",
    "orig_spurious",
    "orig_ooo",
    "orig_lost_seg",
    "orig_ack_lost",
    "orig_dup_ack",
    "orig_zero_win",
    "orig_zwp",
    "orig_zwp_ack",
    "orig_win_full",
    "orig_keep_alive",
    "orig_keep_alive_ack",
    "orig_win_update",
    "orig_rtt_n",
    "orig_rtt_min",
    "orig_rtt_avg",
    "orig_rtt_max",
    "resp_retrans",
    "resp_fast_retrans",
    "resp_spurious",
    "resp_ooo",
    "resp_lost_seg",
    "resp_ack_lost",
    "resp_dup_ack",
    "resp_zero_win",
    "resp_zwp",
    "resp_zwp_ack",
    "resp_win_full",
    "resp_keep_alive",
    "resp_keep_alive_ack",
    "resp_win_update",
    "resp_rtt_n",
    "resp_rtt_min",
    "resp_rtt_avg",
    "resp_rtt_max",
    "reused_ports",
    "orientation",
];

/// What is compared of a request.
const REQUEST_FIELDS: [&str; 14] = [
    "method",
    "host",
    "uri",
    "status_code",
    "version",
    "user_agent",
    "req_ts_first",
    "req_ts_last",
    "resp_ts_first",
    "resp_ts_last",
    "latency_ttfb",
    "latency_total",
    "request_body_len",
    "response_body_len",
];

/// Seconds that two times may differ by: files of Zeek and epoch seconds in a
/// double have no more than microseconds.
const TOLERANCE_SECONDS: f64 = 2e-6;

/// A field that is not as expected, or a record that is missing (`expected`)
/// or too much (`found`).
#[derive(Debug)]
pub(crate) struct Mismatch {
    /// The 5-tuple and, for one of several requests, its place.
    pub(crate) place: String,
    pub(crate) field: String,
    pub(crate) expected: Value,
    pub(crate) found: Value,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} expected {} found {}",
            self.place, self.field, self.expected, self.found
        )
    }
}

/// What came of comparing.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) mismatches: Vec<Mismatch>,
    pub(crate) figures: Figures,
}

/// Compares what the expectation speaks of.
pub(crate) fn compare(expected: &Records, found: &Records) -> Comparison {
    let mut comparison = Comparison::default();
    for (expected, found, compare) in [
        (
            &expected.connections,
            &found.connections,
            connections as fn(&_, &[_], &[_], &mut _),
        ),
        (&expected.requests, &found.requests, requests),
    ] {
        let Some(expected) = expected else { continue };
        let mut groups: BTreeMap<String, (Vec<&Fields>, Vec<&Fields>)> = BTreeMap::new();
        for fields in expected {
            groups.entry(tuple(fields)).or_default().0.push(fields);
        }
        for fields in found.iter().flatten() {
            groups.entry(tuple(fields)).or_default().1.push(fields);
        }
        for (tuple, (expected, found)) in groups {
            compare(&tuple, &expected, &found, &mut comparison);
        }
    }
    comparison
}

/// The two endpoints, in one order.
fn tuple(fields: &Fields) -> String {
    let mut ends = ["orig", "resp"].map(|end| endpoint(fields, end));
    ends.sort();
    ends.join(" ")
}

fn endpoint(fields: &Fields, end: &str) -> String {
    let addr = fields.get(&format!("id.{end}_h")).and_then(Value::as_str);
    let addr: Option<IpAddr> = addr.and_then(|addr| addr.parse().ok());
    let port = fields.get(&format!("id.{end}_p")).and_then(Value::as_u64);
    match (addr, port) {
        (Some(addr), Some(port)) => format!("{addr}:{port}"),
        _ => String::from("?"),
    }
}

/// Pairs connections of one 5-tuple by their begin, nearest first.
fn connections(tuple: &str, expected: &[&Fields], found: &[&Fields], to: &mut Comparison) {
    let ts = |fields: &Fields| fields.get("ts").and_then(Value::as_f64);
    let mut near: Vec<_> = expected
        .iter()
        .enumerate()
        .flat_map(|(e, x)| {
            found.iter().enumerate().map(move |(f, y)| {
                let away = match (ts(x), ts(y)) {
                    (Some(x), Some(y)) => (x - y).abs(),
                    _ => e.abs_diff(f) as f64,
                };
                (away, e, f)
            })
        })
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut pairs: Vec<(Option<&Fields>, Option<&Fields>)> = Vec::new();
    let (mut e_free, mut f_free) = (vec![true; expected.len()], vec![true; found.len()]);
    for (_, e, f) in near {
        if e_free[e] && f_free[f] {
            (e_free[e], f_free[f]) = (false, false);
            pairs.push((Some(expected[e]), Some(found[f])));
        }
    }
    pairs.extend(unpaired(&e_free, expected).map(|fields| (Some(fields), None)));
    pairs.extend(unpaired(&f_free, found).map(|fields| (None, Some(fields))));
    for (expected, found) in pairs {
        match (expected, found) {
            (Some(expected), Some(found)) => connection(tuple, expected, found, to),
            (expected, found) => alone(tuple, expected, found, "conn_state", to),
        }
    }
}

fn unpaired<'a>(free: &[bool], all: &[&'a Fields]) -> impl Iterator<Item = &'a Fields> {
    all.iter()
        .zip(free)
        .filter_map(|(fields, free)| free.then_some(*fields))
}

fn connection(tuple: &str, expected: &Fields, found: &Fields, to: &mut Comparison) {
    let same = endpoint(expected, "orig") == endpoint(found, "orig");
    let mut expected = expected.clone();
    let mut found = found.clone();
    found.insert("orientation".to_owned(), same.into());
    let by_first_packet = expected.get("orig_by").is_some_and(|by| by == "first");
    if !by_first_packet {
        expected.insert("orientation".to_owned(), true.into());
    }
    if !same {
        found = found
            .into_iter()
            .map(|(name, value)| (swapped(&name), value))
            .collect();
        for directed in ["conn_state", "history", "syn_synack_rtt"] {
            expected.remove(directed);
        }
    }
    fields(tuple, &CONNECTION_FIELDS, &expected, &found, to);
}

fn swapped(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("orig_") {
        format!("resp_{rest}")
    } else if let Some(rest) = name.strip_prefix("resp_") {
        format!("orig_{rest}")
    } else {
        name.to_owned()
    }
}

/// Pairs requests of one 5-tuple in their order: the longest sequence with the
/// same method and target, and what stands between in turn.
fn requests(tuple: &str, expected: &[&Fields], found: &[&Fields], to: &mut Comparison) {
    let what = |fields: &Fields| {
        (
            fields.get("method").cloned().unwrap_or_default(),
            fields.get("uri").map(decoded),
        )
    };
    let (x, y): (Vec<_>, Vec<_>) = (
        expected.iter().map(|fields| what(fields)).collect(),
        found.iter().map(|fields| what(fields)).collect(),
    );
    let mut common = vec![vec![0; y.len() + 1]; x.len() + 1];
    for e in (0..x.len()).rev() {
        for f in (0..y.len()).rev() {
            common[e][f] = if x[e] == y[f] {
                common[e + 1][f + 1] + 1
            } else {
                common[e + 1][f].max(common[e][f + 1])
            };
        }
    }
    let (mut e, mut f) = (0, 0);
    let mut between: (Vec<&Fields>, Vec<&Fields>) = Default::default();
    let mut pairs: Vec<(Option<&Fields>, Option<&Fields>)> = Vec::new();
    loop {
        let equal = e < x.len() && f < y.len() && x[e] == y[f];
        if equal || e == x.len() && f == y.len() {
            let (x, y) = std::mem::take(&mut between);
            for place in 0..x.len().max(y.len()) {
                pairs.push((x.get(place).copied(), y.get(place).copied()));
            }
        }
        if equal {
            pairs.push((Some(expected[e]), Some(found[f])));
            (e, f) = (e + 1, f + 1);
        } else if e == x.len() && f == y.len() {
            break;
        } else if f == y.len() || e < x.len() && common[e + 1][f] >= common[e][f + 1] {
            between.0.push(expected[e]);
            e += 1;
        } else {
            between.1.push(found[f]);
            f += 1;
        }
    }
    for (place, (expected, found)) in pairs.into_iter().enumerate() {
        let place = format!("{tuple} #{place}");
        match (expected, found) {
            (Some(expected), Some(found)) => {
                fields(&place, &REQUEST_FIELDS, expected, found, to);
            }
            (expected, found) => alone(&place, expected, found, "uri", to),
        }
    }
}

/// Notes a record that has no counterpart, with the field that tells most of it.
fn alone(
    place: &str,
    expected: Option<&Fields>,
    found: Option<&Fields>,
    field: &str,
    to: &mut Comparison,
) {
    let optional = |fields: &Fields| fields.get("optional").is_some_and(|value| value == true);
    if expected.is_some_and(optional) {
        return;
    }
    to.figures.count("record", true, false);
    let told = |fields: Option<&Fields>| {
        fields.map_or(Value::from("nothing"), |fields| {
            fields.get(field).cloned().unwrap_or_default()
        })
    };
    to.mismatches.push(Mismatch {
        place: place.to_owned(),
        field: String::from("record"),
        expected: told(expected),
        found: told(found),
    });
}

fn fields(place: &str, names: &[&str], expected: &Fields, found: &Fields, to: &mut Comparison) {
    to.figures.count("record", true, true);
    let unsure: Vec<_> = expected
        .get("unsure")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for name in names {
        if unsure.contains(name) || unsure.contains(&"*") {
            continue;
        }
        // What is null is not known to the tool, but for names and options.
        let known = [
            "host",
            "user_agent",
            "mss",
            "wscale",
            "method",
            "uri",
            "status_code",
        ];
        let Some(wanted) = expected.get(*name) else {
            continue;
        };
        if wanted.is_null() && !known.iter().any(|known| name.ends_with(known)) {
            continue;
        }
        let mut got = found.get(*name).cloned().unwrap_or_default();
        if name.ends_with("body_len") && got.is_null() {
            // Of a message that was not seen Zeek says 0.
            got = 0.into();
        }
        let decoded_alike = *name == "uri"
            && expected
                .get("uri_decoded")
                .is_some_and(|value| value == true)
            && decoded(wanted) == decoded(&got);
        let exact = equal(name, wanted, &got) || decoded_alike;
        let is_zero = |value: &Value| {
            value.is_null() || value == false || value == "" || value.as_f64() == Some(0.0)
        };
        let nonzero = !(is_zero(wanted) && is_zero(&got));
        to.figures.count(name, nonzero, exact);
        if !exact {
            to.mismatches.push(Mismatch {
                place: place.to_owned(),
                field: (*name).to_owned(),
                expected: wanted.clone(),
                found: got,
            });
        }
    }
}

fn equal(name: &str, expected: &Value, found: &Value) -> bool {
    let is_time = name.contains("ts_") && !name.ends_with("ts_opt")
        || [
            "ts",
            "duration",
            "duration_raw",
            "rtt",
            "rtt_min",
            "rtt_avg",
            "rtt_max",
        ]
        .iter()
        .any(|time| name.ends_with(time))
        || name.starts_with("latency");
    match (expected.as_f64(), found.as_f64()) {
        (Some(expected), Some(found)) if is_time => (expected - found).abs() <= TOLERANCE_SECONDS,
        _ => expected == found,
    }
}

/// A target as the bytes it stands for: `%20` and `\x20` decoded.
fn decoded(target: &Value) -> Vec<u8> {
    let bytes = target.as_str().unwrap_or_default().as_bytes();
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, after @ ..] => hex(*high, *low).map(|byte| (byte, after)),
            [b'\\', b'x', high, low, after @ ..] => hex(*high, *low).map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((byte, after));
        out.push(byte);
        rest = after;
    }
    out
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
