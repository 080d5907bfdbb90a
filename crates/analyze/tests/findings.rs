//! What is found in the fixtures: what is wrong there, and nothing else.

#![allow(clippy::unwrap_used)] // a failure here is a test's

use std::path::Path;

use tcprec_analyze::finding::FindingKind;
use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::report::text;
use tcprec_shared::format;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Capture, Direction, End, Interface, Packet, Record, SCHEMA};
use tcprec_shared::stream::Source as _;

use FindingKind::{
    CutOff, HalfOpen, NoFreePort, OneSided, PortReuse, Refused, Reset, SlowClient, SlowServer,
    Timeout, TlsFailed, Unanswered, ZeroWindow,
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

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What is found where nobody answers a connect() for three seconds, with these packets.
fn found_of_vain_connect(packets: &str) -> Vec<(FindingKind, u64, bool, i64)> {
    let head = r#"{"type":"capture","schema":{"major":1,"minor":0},"program":"tcprec"}"#;
    let interface = r#"{"type":"interface","id":0,"link_type":101,"netns":1}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.jsonl");
    let events = NO_PORT.replace("\"port\":0", "\"port\":40000");
    let events = events.replacen("\"port\":40000", "\"port\":0", 1); // chosen later
    let mut events = events.replace("\"ts_ns\":2000", "\"ts_ns\":3000001000");
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
    let found = found_of_vain_connect("");
    assert_eq!(found, [(Unanswered, 1, false, 3_000_000_000)]);
    // The packets tell the same, and are told of once.
    let syn = segment(2000, (true, SYN, 0, 0, ""));
    let packet = serde_json::to_string(&Record::Packet(syn)).unwrap();
    let found = found_of_vain_connect(&(packet + "\n"));
    assert_eq!(found, [(Unanswered, 1, true, 0)]);
}

/// An IPv4 segment between 10.0.0.1:40000 and 10.0.0.2:80: who sends it, its flags,
/// `seq`, `ack` and payload.
type Step<'a> = (bool, u8, u32, u32, &'a str);

fn segment(ts_ns: i64, (from_client, flags, seq, ack, payload): Step<'_>) -> Packet<'static> {
    let (a, b, p, q) = ([10, 0, 0, 1], [10, 0, 0, 2], [0x9c, 0x40], [0, 80]);
    let bytes = 40 + u16::try_from(payload.len()).unwrap();
    let mut data = vec![0x45, 0];
    data.extend(bytes.to_be_bytes());
    data.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    data.extend(if from_client { [a, b] } else { [b, a] }.concat());
    data.extend(if from_client { [p, q] } else { [q, p] }.concat());
    data.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    data.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    data.extend(payload.bytes());
    Packet {
        ts_ns,
        interface: 0,
        direction: None,
        wire_bytes: bytes.into(),
        cookie: None,
        kernel: None,
        data: data.into(),
    }
}

/// A pipeline that knows the interface of these segments.
fn pipeline() -> Pipeline {
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
    pipeline
}

/// What is found of so many connections from one port, each closed by the server
/// first, so many seconds apart.
fn found_of_one_port(connections: u32, seconds_apart: i64) -> Vec<(FindingKind, u64)> {
    let mut pipeline = pipeline();
    for number in 0..connections {
        let (c, s) = (number * 100_000, number * 200_000 + 7);
        let steps = [
            (true, SYN, c, 0, ""),
            (false, SYN | ACK, s, c + 1, ""),
            (true, ACK, c + 1, s + 1, ""),
            (false, FIN | ACK, s + 1, c + 1, ""),
            (true, FIN | ACK, c + 1, s + 2, ""),
            (false, ACK, s + 2, c + 2, ""),
        ];
        for (place, step) in (0..).zip(steps) {
            let ts_ns = i64::from(number) * seconds_apart * 1_000_000_000 + place * 1_000_000;
            let packet = segment(ts_ns, step);
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

/// What is found, and whether it is the originator's doing.
type Blamed = (FindingKind, Option<bool>);

/// What is said of a response that begins so, and of the connection that ends with
/// one end's packet: the findings, whether all of the response came, and whether its
/// time is told.
fn found_of_response(response: &str, end: Option<(bool, u8)>) -> (Vec<Blamed>, Option<bool>, bool) {
    found_of_response_and(response, end, 0)
}

/// The same, where so many bytes more were sent that are in no packet.
fn found_of_response_and(
    response: &str,
    end: Option<(bool, u8)>,
    unseen_bytes: u32,
) -> (Vec<Blamed>, Option<bool>, bool) {
    const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: b\r\n\r\n";
    let mut pipeline = pipeline();
    let client = 1 + u32::try_from(REQUEST.len()).unwrap();
    let server = 1001 + u32::try_from(response.len()).unwrap();
    let mut steps = vec![
        (true, SYN, 0, 0, ""),
        (false, SYN | ACK, 1000, 1, ""),
        (true, ACK, 1, 1001, ""),
        (true, ACK, 1, 1001, REQUEST),
        (false, ACK, 1001, client, response),
        (true, ACK, client, server, ""),
    ];
    let server = server + unseen_bytes;
    steps.extend(end.map(|(from_client, flags)| {
        let (seq, ack) = if from_client {
            (client, server)
        } else {
            (server, client)
        };
        (from_client, flags | ACK, seq, ack, "")
    }));
    for (place, step) in (0..).zip(steps) {
        let packet = segment(place * 1_000_000, step);
        pipeline.push(&Record::Packet(packet), &mut ());
    }
    let report = pipeline.finish(&mut ());
    let found = report.findings.iter().map(|it| (it.kind, it.by_orig));
    assert_eq!(report.requests.len(), 1);
    let request = &report.requests[0];
    let is_timed = request.timing.is_some();
    assert_eq!(request.app.total_ns().is_some(), is_timed);
    (found.collect(), request.app.is_response_whole(), is_timed)
}

#[test]
fn responses_that_are_cut_off_are_found_and_have_no_time() {
    let head = |header: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{header}\r\n{body}");
    let short = head("Content-Length: 100\r\n", "abc");
    let chunks = head("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n");
    let (by_client, by_server) = ((CutOff, Some(true)), (CutOff, Some(false)));
    for cut in [&short, &chunks] {
        let of = |end| found_of_response(cut, end);
        assert_eq!(
            of(Some((false, FIN))),
            (vec![by_server], Some(false), false)
        );
        assert_eq!(of(Some((true, FIN))), (vec![by_client], Some(false), false));
        let reset = (Reset, Some(false));
        assert_eq!(of(Some((false, RST))), (vec![reset], Some(false), false));
        // It goes on when the capture ends: nobody's fault.
        assert_eq!(of(None), (vec![], Some(false), false));
    }
    // The FIN tells of more than was captured.
    let found = found_of_response_and(&short, Some((false, FIN)), 97);
    assert_eq!(found, (vec![], None, false));
    // Whole, whoever closes.
    let whole = head("Content-Length: 3\r\n", "abc");
    for end in [None, Some((true, FIN)), Some((false, FIN))] {
        assert_eq!(found_of_response(&whole, end), (vec![], Some(true), true));
    }
    // Until the server closes.
    let open = head("", "abc");
    let of = |end| found_of_response(&open, end);
    assert_eq!(of(Some((false, FIN))), (vec![], Some(true), true));
    assert_eq!(of(Some((true, FIN))), (vec![by_client], Some(false), false));
    assert_eq!(of(None), (vec![], Some(false), false));
}

/// A client that speaks TLS to a server that does not: the reset is not the cause.
#[test]
fn tls_that_is_not_answered_as_such_has_failed() {
    // A hello that says nothing but its version.
    let hello = "\u{16}\u{3}\u{1}\0\u{2d}\u{1}\0\0\u{29}\u{3}\u{3}".to_owned()
        + &"\0".repeat(33)
        + "\0\u{2}\0\u{2f}\u{1}\0";
    let sent = 1 + u32::try_from(hello.len()).unwrap();
    let answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let answered = 1001 + u32::try_from(answer.len()).unwrap();
    let of = |answer, answered| {
        let mut pipeline = pipeline();
        let steps = [
            (true, SYN, 0, 0, ""),
            (false, SYN | ACK, 1000, 1, ""),
            (true, ACK, 1, 1001, ""),
            (true, ACK, 1, 1001, hello.as_str()),
            (false, ACK, 1001, sent, answer),
            (true, RST | ACK, sent, answered, ""),
        ];
        for (place, step) in (0..).zip(steps) {
            let packet = segment(place * 1_000_000, step);
            pipeline.push(&Record::Packet(packet), &mut ());
        }
        let found = pipeline.finish(&mut ()).findings.into_iter();
        found.map(|it| (it.kind, it.by_orig)).collect::<Vec<_>>()
    };
    assert_eq!(of(answer, answered), [(TlsFailed, None)]);
    assert_eq!(of("", 1001), [(Reset, Some(true))]);
}

/// What is found of a connection that the server alone closes, in a recording that says
/// of itself that it ended so many seconds later, and went on one way.
fn found_of_half_open(ended_s: i64, direction: Option<Direction>) -> Vec<Blamed> {
    let mut pipeline = pipeline();
    let made = Capture {
        schema: Some(SCHEMA),
        direction,
        ..Capture::default()
    };
    pipeline.push(&Record::Capture(Box::new(made)), &mut ());
    let steps = [
        (true, SYN, 0, 0, ""),
        (false, SYN | ACK, 1000, 1, ""),
        (true, ACK, 1, 1001, ""),
        (false, FIN | ACK, 1001, 1, ""),
        (true, ACK, 1, 1002, ""),
    ];
    for (place, step) in (0..).zip(steps) {
        let packet = segment(place * 1_000_000, step);
        pipeline.push(&Record::Packet(packet), &mut ());
    }
    let end = End {
        ts_ns: 4_000_000 + ended_s * 1_000_000_000,
        ..End::default()
    };
    pipeline.push(&Record::End(end), &mut ());
    let found = pipeline.finish(&mut ()).findings.into_iter();
    found.map(|it| (it.kind, it.by_orig)).collect()
}

/// However long nothing came before.
#[test]
fn a_recording_ends_when_it_says_so() {
    assert_eq!(found_of_half_open(9, None), []);
    assert_eq!(found_of_half_open(10, None), [(HalfOpen, Some(true))]);
    // Nothing is claimed from packets that were not to be recorded.
    assert_eq!(found_of_half_open(10, Some(Direction::In)), []);
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
