//! What is found in the fixtures: what is wrong there, and nothing else.

#![allow(clippy::unwrap_used)] // a failure here is a test's

mod losses;
mod nagle;
mod requests;
mod silent;
mod steps;

use std::path::Path;

use tcprec_analyze::finding::FindingKind;
use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::report::{Sort, text};
use tcprec_shared::format;
use tcprec_shared::record::{End, Record};
use tcprec_shared::stream::Source as _;

use self::steps::{SYN, segment};
use FindingKind::{
    HalfOpen, NoFreePort, OneSided, Refused, Reset, SlowClient, SlowServer, Timeout, TlsFailed,
    Unanswered, ZeroWindow,
};

/// Kind, how often, whether it is the originator's doing, and for how many
/// milliseconds.
type Found = (FindingKind, u64, Option<bool>, i64);

/// What the fixtures' READMEs say is wrong.
fn expected(case: &str) -> Vec<Found> {
    match case {
        "timing" => vec![
            (Timeout, 2, Some(false), 204),
            (Timeout, 1, Some(true), 1000),
            (Timeout, 1, Some(true), 210),
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

/// What is found where nobody answers a connect() until it fails, in a recording of four
/// seconds with these packets.
fn found_of_vain_connect(failed_ns: i64, packets: &str) -> Vec<(FindingKind, u64, bool, i64)> {
    let head = r#"{"type":"capture","schema":{"major":1,"minor":0},"program":"tcprec"}"#;
    let interface = r#"{"type":"interface","id":0,"link_type":101,"netns":1}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.jsonl");
    let events = NO_PORT.replace("\"port\":0", "\"port\":40000");
    let events = events.replacen("\"port\":40000", "\"port\":0", 1); // chosen later
    let failed = format!("\"ts_ns\":{failed_ns}");
    let mut events = events.replace("\"ts_ns\":2000", &failed);
    // A timer gives up.
    let process = r#","process":{"pid":5,"start_ns":1},"old_state":"syn_sent""#;
    events = events.replace(process, r#","old_state":"syn_sent""#);
    let (connect, close) = events.trim().split_once('\n').unwrap();
    let end = End {
        ts_ns: 4_000_000_000,
        ..End::default()
    };
    let end = serde_json::to_string(&Record::End(end)).unwrap();
    let process = r#"{"type":"process","pid":5,"start_ns":1,"comm":"curl"}"#;
    let lines = format!("{head}\n{interface}\n{process}\n{connect}\n{packets}{close}\n{end}\n");
    std::fs::write(&path, lines).unwrap();
    let mut input = format::open(&path).unwrap();
    let mut pipeline = Pipeline::default();
    while let Some(record) = input.next().unwrap() {
        pipeline.push(&record, &mut ());
    }
    let report = pipeline.finish(&mut ());
    let told = report.findings.iter().map(|it| {
        let owner = it.ends.orig_owner.unwrap().process;
        assert_eq!(report.processes[&owner].process.comm, "curl");
        (it.kind, it.count, it.ends.id.is_some(), it.duration_ns())
    });
    told.collect()
}

/// As where no neighbour has the address: then no SYN leaves the host.
#[test]
fn nobody_answers_though_there_are_no_packets() {
    let gives_up_ns = 3_000_001_000;
    let found = found_of_vain_connect(gives_up_ns, "");
    assert_eq!(found, [(Unanswered, 1, false, 3_000_000_000)]);
    // The packets tell the same, and are told of once.
    let syn = segment(2000, (true, SYN, 0, 0, ""));
    let packet = serde_json::to_string(&Record::Packet(syn)).unwrap() + "\n";
    let found = found_of_vain_connect(gives_up_ns, &packet);
    assert_eq!(found, [(Unanswered, 1, true, 0)]);
    // As where ICMP says that nobody is there: no answer comes to the SYN.
    let found = found_of_vain_connect(200_000, &packet);
    assert_eq!(found, [(Unanswered, 1, true, 0)]);
    assert_eq!(found_of_vain_connect(200_000, ""), []);
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
            sort: Sort::Start,
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
