//! The header parser against tshark: over real captures, the TCP packets and
//! bytes between each pair of endpoints are those that tshark counted.

mod captures;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed};
use serde_json::Value;
use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::{self, Headers};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = captures::oracle(compare);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// TCP packets of one flow, and the sums of their lengths.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    packets: u64,
    payload_bytes: u64,
    ip_bytes: u64,
}

type Flows = BTreeMap<Flow, Totals>;

fn compare(capture: &Path, expected: &Path) -> Result<(), Failed> {
    let expected = expected_totals(expected)?;
    let Found {
        flows: found,
        fragmented,
        fragmented_tunnels,
    } = found_totals(capture)?;
    let mut differences = String::new();
    let flows: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for flow in flows {
        // Putting segments together again is not the parser's part.
        if fragmented.contains(&[flow.low.addr, flow.high.addr]) {
            continue;
        }
        let (expected, found) = (expected.get(flow), found.get(flow));
        let packets = |totals: Option<&Totals>| totals.map_or(0, |totals| totals.packets);
        if fragmented_tunnels && packets(found) < packets(expected) {
            continue;
        }
        if expected != found {
            differences += &format!("{flow:?}: expected {expected:?}, found {found:?}\n");
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences.into())
    }
}

fn expected_totals(path: &Path) -> Result<Flows, Failed> {
    let mut flows = Flows::new();
    for line in BufReader::new(fs::File::open(path)?).lines() {
        let record: Value = serde_json::from_str(&line?)?;
        // Of a segment whose header contradicts itself tshark knows the ports
        // still; to a TCP it is no segment (and to Zeek no connection).
        if record["kind"] != "conn" || !record["flags"]["incomplete_header"].is_null() {
            continue;
        }
        let [a, b] = [("id.orig_h", "id.orig_p"), ("id.resp_h", "id.resp_p")]
            .map(|(addr, port)| (record[addr].as_str(), record[port].as_u64()));
        let endpoint = |(addr, port): (Option<&str>, Option<u64>)| -> Result<Endpoint, Failed> {
            let addr = addr.ok_or("no address")?.parse()?;
            Ok(Endpoint::new(addr, port.ok_or("no port")?.try_into()?))
        };
        let flow = Flow::between(endpoint(a)?, endpoint(b)?);
        let totals = flows.entry(flow).or_default();
        let both = |name: &str| -> u64 {
            ["orig", "resp"]
                .iter()
                .filter_map(|end| record[format!("{end}_{name}")].as_u64())
                .sum()
        };
        // A connection of an endpoint with itself is counted at both ends.
        let ends = if flow.low == flow.high { 2 } else { 1 };
        totals.packets += both("pkts") / ends;
        totals.payload_bytes += both("wire_bytes") / ends;
        totals.ip_bytes += both("ip_bytes") / ends;
    }
    Ok(flows)
}

/// What the parser found.
#[derive(Debug, Default)]
struct Found {
    flows: Flows,
    /// The pairs of addresses that had fragments between them.
    fragmented: BTreeSet<[IpAddr; 2]>,
    /// Whether packets of tunnels were fragmented, with any flow inside.
    fragmented_tunnels: bool,
}

fn found_totals(path: &Path) -> Result<Found, Failed> {
    let mut found = Found::default();
    captures::each_packet(path, |link, packet| {
        match headers::parse(link, &packet.data, packet.wire_bytes) {
            Headers::Segment(segment) => {
                let flow = Flow::between(segment.src, segment.dst);
                let totals = found.flows.entry(flow).or_default();
                totals.packets += 1;
                totals.payload_bytes += u64::from(segment.payload_bytes);
                totals.ip_bytes += u64::from(segment.ip_bytes);
            }
            Headers::Fragment(fragment) => {
                let flow = Flow::between(fragment.src, fragment.dst);
                found.fragmented.insert([flow.low.addr, flow.high.addr]);
            }
            Headers::TunnelFragment(_) => found.fragmented_tunnels = true,
            Headers::Other(_) => {}
        }
        Ok(())
    })?;
    Ok(found)
}
