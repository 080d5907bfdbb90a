//! What is found in the fixtures: what is wrong there, and nothing else.

#![allow(clippy::unwrap_used)] // a failure here is a test's

use std::path::Path;

use tcprec_analyze::finding::FindingKind;
use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::report::text;
use tcprec_shared::format;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Interface, Packet, Record};
use tcprec_shared::stream::Source as _;

use FindingKind::{
    HalfOpen, NoFreePort, OneSided, PortReuse, Refused, Reset, SlowClient, SlowServer, Timeout,
    TlsFailed, Unanswered, ZeroWindow,
};

/// Kind, how often, whether it is the originator's doing, and for how many
/// milliseconds.
type Found = (FindingKind, u64, Option<bool>, i64);

/// What the fixtures' READMEs say is wrong.
fn expected(case: &str) -> Vec<Found> {
    match case {
        "timing" => vec![
            (Timeout, 2, Some(false), 204),
            (Timeout, 2, Some(true), 1000),
            (ZeroWindow, 1, Some(true), 1000),
            (SlowServer, 3, Some(false), 300),
        ],
        "findings" => vec![
            (Refused, 1, None, 1),
            (Unanswered, 1, None, 3000),
            (Reset, 1, Some(false), 5),
            (SlowClient, 1, Some(true), 1500),
            (HalfOpen, 1, Some(false), 13),
            (OneSided, 1, None, 13),
        ],
        "tls" => vec![
            (TlsFailed, 1, Some(false), 6),
            (TlsFailed, 1, Some(false), 5),
            (TlsFailed, 1, Some(false), 9),
            (TlsFailed, 1, Some(false), 6),
            (TlsFailed, 1, Some(true), 18),
            (TlsFailed, 1, Some(true), 6),
        ],
        "events" => vec![
            (Refused, 1, None, 0),
            (Refused, 1, None, 0),
            (Reset, 1, Some(true), 1249),
        ],
        _ => Vec::new(),
    }
}

#[test]
fn what_is_wrong_is_found_and_nothing_else() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    for case in std::fs::read_dir(fixtures).into_iter().flatten() {
        let folder = case.unwrap().path();
        let inputs = ["input.pcap", "input.jsonl"].map(|name| folder.join(name));
        for input in inputs.iter().filter(|path| path.exists()) {
            let mut input = format::open(input).unwrap();
            let mut pipeline = Pipeline::default();
            while let Some(record) = input.next().unwrap() {
                pipeline.push(&record, &mut ());
            }
            let name = folder.file_name().unwrap().to_string_lossy();
            let report = pipeline.finish(&mut ());
            let found = report.findings.iter().map(|finding| {
                let ms = finding.duration_ns() / 1_000_000;
                (finding.kind, finding.count, finding.by_orig, ms)
            });
            assert_eq!(found.collect::<Vec<_>>(), expected(&name), "{name}");
        }
    }
}

/// What the kernel tells of a connect() that fails for want of a port.
const NO_PORT: &str = r#"
{"type":"connect","ts_ns":1000,"cookie":7,"netns":1,"local":{"addr":"10.0.0.1","port":0},"remote":{"addr":"10.0.0.2","port":80},"process":{"pid":5,"start_ns":1},"old_state":"close","new_state":"syn_sent"}
{"type":"close","ts_ns":2000,"cookie":7,"netns":1,"local":{"addr":"10.0.0.1","port":0},"remote":{"addr":"10.0.0.2","port":80},"process":{"pid":5,"start_ns":1},"old_state":"syn_sent","new_state":"close"}
"#;

#[test]
fn a_connect_that_finds_no_port_is_found_though_it_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.jsonl");
    let events = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/events/input.jsonl"),
    )
    .unwrap();
    let head = events.lines().next().unwrap();
    std::fs::write(&path, format!("{head}{NO_PORT}")).unwrap();
    let mut input = format::open(&path).unwrap();
    let mut pipeline = Pipeline::default();
    while let Some(record) = input.next().unwrap() {
        pipeline.push(&record, &mut ());
    }
    let report = pipeline.finish(&mut ());
    let [finding] = &report.findings[..] else {
        panic!("{:?}", report.findings)
    };
    assert_eq!(finding.kind, NoFreePort);
    assert_eq!(finding.ends.id, None);
    assert_eq!(finding.ends.orig_owner.unwrap().process.pid, 5);
}

/// An empty IPv4 segment between 10.0.0.1:40000 and 10.0.0.2:80.
fn segment(ts_ns: i64, from_client: bool, flags: u8, seq: u32, ack: u32) -> Packet<'static> {
    let (a, b, p, q) = ([10, 0, 0, 1], [10, 0, 0, 2], [0x9c, 0x40], [0, 80]);
    let mut data = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    data.extend(if from_client { [a, b] } else { [b, a] }.concat());
    data.extend(if from_client { [p, q] } else { [q, p] }.concat());
    data.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    data.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    Packet {
        ts_ns,
        interface: 0,
        direction: None,
        wire_bytes: 40,
        cookie: None,
        kernel: None,
        data: data.into(),
    }
}

/// What is found of so many connections from one port, each closed by the server
/// first, so many seconds apart.
fn found_of_one_port(connections: u32, seconds_apart: i64) -> Vec<(FindingKind, u64)> {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let mut pipeline = Pipeline::default();
    pipeline.push(
        &Record::Interface(Interface {
            id: 0,
            name: None,
            link_type: LinkType::RAW,
            netns: None,
        }),
        &mut (),
    );
    for number in 0..connections {
        let (c, s) = (number * 100_000, number * 200_000 + 7);
        let steps = [
            (true, SYN, c, 0),
            (false, SYN | ACK, s, c + 1),
            (true, ACK, c + 1, s + 1),
            (false, FIN | ACK, s + 1, c + 1),
            (true, FIN | ACK, c + 1, s + 2),
            (false, ACK, s + 2, c + 2),
        ];
        for (step, (from_client, flags, seq, ack)) in (0..).zip(steps) {
            let ts_ns = i64::from(number) * seconds_apart * 1_000_000_000 + step * 1_000_000;
            let packet = segment(ts_ns, from_client, flags, seq, ack);
            pipeline.push(&Record::Packet(packet), &mut ());
        }
    }
    let found = pipeline.finish(&mut ()).findings.into_iter();
    found.map(|finding| (finding.kind, finding.count)).collect()
}

#[test]
fn a_client_that_uses_its_port_again_and_again_is_found() {
    assert_eq!(found_of_one_port(11, 1), [(PortReuse, 10)]);
    assert_eq!(found_of_one_port(11, 59), [(PortReuse, 10)]);
    // Not often enough; and after TIME-WAIT, as anyone may.
    assert_eq!(found_of_one_port(10, 1), []);
    assert_eq!(found_of_one_port(20, 61), []);
}

/// In a narrow terminal they take more lines, and lose no word.
#[test]
fn they_are_told_whole() {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/timing/input.pcap");
    let mut input = format::open(&input).unwrap();
    let mut pipeline = Pipeline::default();
    while let Some(record) = input.next().unwrap() {
        pipeline.push(&record, &mut ());
    }
    let report = pipeline.finish(&mut ());
    let words = |width| {
        let looks = text::Looks {
            width,
            color: false,
            zone: jiff::tz::TimeZone::UTC,
            rows: None,
            slow: false,
            all_option: "--all",
        };
        let mut text = Vec::new();
        text::write(&report, &looks, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (_, findings) = text.split_once("Findings").unwrap();
        let (findings, _) = findings.split_once("\n\n").unwrap();
        let widest = findings.lines().map(str::len).max();
        assert!(widest <= width.or(widest), "{findings}");
        findings.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words(Some(80)), words(None));
    assert_eq!(words(Some(60)), words(None));
}
