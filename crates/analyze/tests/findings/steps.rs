//! What is found of a connection's segments, told one by one.

use tcprec_analyze::finding::FindingKind;
use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::tcp::ConnState;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Capture, Direction, End, Interface, Packet, Record, SCHEMA};

use FindingKind::{
    CutOff, HalfOpen, NoAnswer, PortReuse, Refused, Reset, SlowServer, Timeout, TlsFailed,
    Unanswered, ZeroWindow,
};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// An IPv4 segment between 10.0.0.1:40000 and 10.0.0.2:80: who sends it, its flags,
/// `seq`, `ack` and payload.
pub(super) type Step<'a> = (bool, u8, u32, u32, &'a str);

pub(super) fn segment(
    ts_ns: i64,
    (from_client, flags, seq, ack, payload): Step<'_>,
) -> Packet<'static> {
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
pub(super) fn pipeline() -> Pipeline {
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

/// A server's answer gets lost on the way, not in the capture: its later packets say that
/// it was sent, and the client leaves without having acknowledged any of it.
#[test]
fn what_the_client_left_without_is_no_answer() {
    const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: b\r\n\r\n";
    let client = 1 + u32::try_from(REQUEST.len()).unwrap();
    let found = |acknowledged| {
        let steps = [
            (true, SYN, 0, 0, ""),
            (false, SYN | ACK, 1000, 1, ""),
            (true, ACK, 1, 1001, ""),
            (true, ACK, 1, 1001, REQUEST),
            (true, FIN | ACK, client, acknowledged, ""),
            (false, FIN | ACK, 3001, client + 1, ""),
        ];
        let mut pipeline = pipeline();
        for (place, step) in (0..).zip(steps) {
            pipeline.push(&Record::Packet(segment(place * 1_000_000, step)), &mut ());
        }
        let report = pipeline.finish(&mut ());
        let found = report.findings.iter().map(|it| (it.kind, it.by_orig));
        found.collect::<Vec<_>>()
    };
    assert_eq!(found(1001), [(NoAnswer, Some(true))]);
    // All of it came, and was not captured.
    assert_eq!(found(3001), []);
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
    assert_eq!(of(answer, answered), [(TlsFailed, Some(true))]);
    assert_eq!(of("", 1001), [(TlsFailed, Some(true))]);
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

/// What is found of segments that come at these milliseconds, in a recording that ends ten
/// seconds after the last.
fn found_of(steps: &[(i64, Step<'_>)]) -> Vec<Blamed> {
    let mut pipeline = pipeline();
    for (ms, step) in steps {
        let packet = segment(ms * 1_000_000, *step);
        pipeline.push(&Record::Packet(packet), &mut ());
    }
    let last_ms = steps.last().unwrap().0;
    let end = End {
        ts_ns: (last_ms + 10_000) * 1_000_000,
        ..End::default()
    };
    pipeline.push(&Record::End(end), &mut ());
    let found = pipeline.finish(&mut ()).findings.into_iter();
    found.map(|it| (it.kind, it.by_orig)).collect()
}

pub(super) const HANDSHAKE: [(i64, Step<'_>); 3] = [
    (0, (true, SYN, 0, 0, "")),
    (1, (false, SYN | ACK, 1000, 1, "")),
    (2, (true, ACK, 1, 1001, "")),
];

/// With what follows the handshake.
fn found_after_handshake(steps: &[(i64, Step<'_>)]) -> Vec<Blamed> {
    found_of(&[&HANDSHAKE, steps].concat())
}

#[test]
fn refused_is_who_asked() {
    let syn = (0, (true, SYN, 0, 0, ""));
    let refused = found_of(&[syn, (1, (false, RST | ACK, 0, 1, ""))]);
    assert_eq!(refused, [(Refused, None)]);
    // Zeek calls these rejected too.
    let resets = [
        (9, (true, RST | ACK, 1, 1001, "")),
        (9, (false, RST | ACK, 1001, 1, "")),
    ];
    let asked = (3, (true, ACK, 1, 1001, "a"));
    assert_eq!(
        found_after_handshake(&[asked, resets[0], resets[1]]),
        [(Reset, Some(true))]
    );
    assert_eq!(found_of(&resets), []);
}

/// As who looks whether a server is there does, or who closes a connection of a pool.
#[test]
fn a_client_that_is_done_may_reset() {
    const ANSWER: &str = "HTTP/1.1 204 No\r\n\r\n";
    let reset = |by_client, seq, ack| (9, (by_client, RST | ACK, seq, ack, ""));
    assert_eq!(found_after_handshake(&[reset(true, 1, 1001)]), []);
    let by_server = found_after_handshake(&[reset(false, 1001, 1)]);
    assert_eq!(by_server, [(Reset, Some(false))]);
    let (asked, answered) = (1 + GET.len() as u32, 1001 + ANSWER.len() as u32);
    let get = (5, (true, ACK, 1, 1001, GET));
    let answer = (6, (false, ACK, 1001, asked, ANSWER));
    let found = |steps: &[_]| found_after_handshake(&[&[get], steps].concat());
    let by_client = [(Reset, Some(true))];
    assert_eq!(found(&[reset(true, asked, 1001)]), by_client);
    assert_eq!(found(&[answer, reset(true, asked, answered)]), []);
    let acknowledged = (7, (true, ACK, asked, answered, ""));
    assert_eq!(found(&[answer, acknowledged, reset(true, asked, 0)]), []);
    // Not all of the answer came.
    assert_eq!(found(&[answer, reset(true, asked, 1001)]), by_client);
    let again = (8, (true, ACK, asked, answered, GET));
    let end = asked + GET.len() as u32;
    assert_eq!(
        found(&[answer, again, reset(true, end, answered)]),
        by_client
    );
}

/// What still comes for a socket that was reset is answered with another reset.
#[test]
fn who_reset_first_is_to_blame() {
    let (asked, gone) = (1 + GET.len() as u32, 1001);
    let reset = (800, (true, RST | ACK, asked, gone, ""));
    let after = [
        (5, (true, ACK, 1, 1001, GET)),
        reset,
        (20_000, (true, FIN | ACK, asked, gone, "")),
        (20_001, (false, RST, gone, 0, "")),
    ];
    let steps = [&HANDSHAKE[..], &after].concat();
    let mut pipeline = pipeline();
    for (ms, step) in steps {
        let packet = segment(ms * 1_000_000, step);
        pipeline.push(&Record::Packet(packet), &mut ());
    }
    let report = pipeline.finish(&mut ());
    assert_eq!(report.connections[0].tcp.state, ConnState::Rstr);
    let found = report.findings.iter();
    let found = found.map(|it| (it.kind, it.by_orig, it.duration_ns() / 1_000_000));
    assert_eq!(found.collect::<Vec<_>>(), [(Reset, Some(true), 800)]);
}

/// Its length is announced, and all of it was acknowledged.
#[test]
fn no_wait_is_told_of_a_request_whose_end_was_not_captured() {
    let head = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
    let end = 1 + u32::try_from(head.len()).unwrap();
    let answer = "HTTP/1.1 204 .\r\n\r\n";
    let told = |is_captured: bool, goes_on: bool| {
        let mut steps = HANDSHAKE.to_vec();
        steps.push((10, (true, ACK, 1, 1001, head)));
        if is_captured {
            steps.push((11, (true, ACK, end, 1001, "body")));
        }
        steps.push((20, (false, ACK, 1001, end + 4, answer)));
        steps.push((21, (true, ACK, end + 4, 1021, "")));
        if goes_on {
            steps.push((30, (true, ACK, end + 4, 1021, "GET / HTTP/1.1\r\n\r\n")));
        }
        let mut pipeline = pipeline();
        for (ms, step) in steps {
            let packet = segment(ms * 1_000_000, step);
            pipeline.push(&Record::Packet(packet), &mut ());
        }
        let first = pipeline.finish(&mut ()).requests.remove(0);
        assert!(first.app.total_ns().is_some());
        [first.app.ttfb_ns().is_some(), first.timing.is_some()]
    };
    for goes_on in [false, true] {
        assert_eq!(told(true, goes_on), [true; 2], "{goes_on}");
        assert_eq!(told(false, goes_on), [false; 2], "{goes_on}");
    }
}

/// RFC 5961 section 4.2: a SYN is answered by an ACK where a connection is known.
#[test]
fn any_answer_is_one() {
    let steps = [
        (0, (true, SYN, 0, 0, "")),
        (1, (false, ACK, 5000, 77, "")),
        (1001, (true, SYN, 0, 0, "")),
    ];
    assert_eq!(found_of(&steps), []);
    assert_eq!(found_of(&[steps[0], steps[2]]), [(Unanswered, None)]);
}

#[test]
fn who_has_closed_unseen_has_not_left_it_half_open() {
    let closed = |acknowledged| {
        found_after_handshake(&[
            (5, (true, FIN | ACK, 1, 1001, "")),
            (6, (false, ACK, 1001, 2, "")),
            (7, (true, ACK, 2, acknowledged, "")),
        ])
    };
    assert_eq!(closed(1001), [(HalfOpen, Some(false))]);
    assert_eq!(closed(1002), []);
}

#[test]
fn what_asks_whether_anybody_is_there_is_not_sent_again() {
    let mut steps = vec![
        (5, (true, ACK, 1, 1001, "x")),
        (6, (false, ACK, 1001, 2, "")),
    ];
    for second in 1..20 {
        steps.push((second * 900, (true, ACK, 1, 1001, "x")));
    }
    assert_eq!(found_after_handshake(&steps), []);
}

#[test]
fn what_is_asked_for_does_not_wait_for_a_timer() {
    let sent = |asked| {
        let mut steps = vec![
            (10, (false, ACK, 1001, 1, "aaaa")),
            (11, (false, ACK, 1005, 1, "bbbb")),
            (12, (false, ACK, 1009, 1, "cccc")),
        ];
        steps.extend(vec![(409, (true, ACK, 1, 1001, "")); asked]);
        steps.push((410, (false, ACK, 1001, 1, "aaaa")));
        steps.push((411, (true, ACK, 1, 1013, "")));
        found_after_handshake(&steps)
    };
    assert_eq!(sent(3), []);
    assert_eq!(sent(0), [(Timeout, Some(false))]);
}

#[test]
fn who_sends_again_was_told_of_a_window() {
    let closed = |flags, between: &[(i64, Step<'_>)]| {
        let (start, end) = (
            [(5, (false, ACK, 1001, 1, "aaaa"))],
            [(3000, (true, ACK, 1, 1009, ""))],
        );
        let steps = [
            &HANDSHAKE[..],
            &start,
            &[(6, (true, flags, 1, 1005, ""))],
            between,
            &end,
        ]
        .concat();
        let mut pipeline = pipeline();
        for (place, (ms, step)) in steps.into_iter().enumerate() {
            let mut packet = segment(ms * 1_000_000, step);
            if place == 4 {
                packet.data.to_mut()[34..36].fill(0); // the window
            }
            pipeline.push(&Record::Packet(packet), &mut ());
        }
        let found = pipeline.finish(&mut ()).findings.into_iter();
        found.map(|it| (it.kind, it.by_orig)).collect::<Vec<_>>()
    };
    let zero_window = (ZeroWindow, Some(true));
    assert_eq!(
        closed(ACK, &[(1000, (false, ACK, 1005, 1, "b"))]),
        [zero_window]
    );
    assert_eq!(closed(ACK, &[(100, (false, ACK, 1005, 1, "bbbb"))]), []);
    // Of a FIN Wireshark does not say that its window is zero.
    assert_eq!(closed(ACK, &[]), [zero_window]);
    assert_eq!(closed(FIN | ACK, &[]), []);
}

pub(super) const GET: &str = "GET /a HTTP/1.1\r\n\r\n";

#[test]
fn requests_without_an_answer_are_found() {
    let asked = 1 + GET.len() as u32;
    let begun = [
        (5, (true, ACK, 1, 1001, GET)),
        (6, (false, ACK, 1001, asked, "")),
    ];
    let ended = |end: &[(i64, Step<'_>)]| found_after_handshake(&[&begun, end].concat());
    let no_answer = |by_orig| vec![(NoAnswer, by_orig)];
    let (gives_up, closes) = (
        (505, (true, FIN | ACK, asked, 1001, "")),
        (505, (false, FIN | ACK, 1001, asked, "")),
    );
    assert_eq!(ended(&[]), no_answer(None));
    let mut found = ended(&[gives_up]);
    found.retain(|(kind, _)| *kind != HalfOpen);
    assert_eq!(found, no_answer(Some(true)));
    let closed = [closes, (506, (true, FIN | ACK, asked, 1002, ""))];
    assert_eq!(ended(&closed), no_answer(Some(false)));
    // The reset says as much.
    let reset = (505, (false, RST | ACK, 1001, asked, ""));
    assert_eq!(ended(&[reset]), [(Reset, Some(false))]);
    // What comes for a socket that is closed is reset.
    let late = [
        gives_up,
        (506, (false, ACK, 1001, asked + 1, "")),
        (
            900,
            (false, ACK, 1001, asked + 1, "HTTP/1.1 204 No\r\n\r\n"),
        ),
        (901, (true, RST, asked + 1, 0, "")),
    ];
    assert_eq!(ended(&late), no_answer(Some(true)));
    let late = [late[0], late[1], (901, (true, RST, asked + 1, 0, ""))];
    assert_eq!(ended(&late), no_answer(Some(true)));
}

#[test]
fn who_waits_behind_a_slow_answer_is_not_slow() {
    let two = [GET, GET].concat();
    let asked = 1 + two.len() as u32;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let next = 1001 + answer.len() as u32;
    // How many were slow, of two that are asked for at once.
    let slow = |second_ms| {
        let answered = [
            (5, (true, ACK, 1, 1001, two.as_str())),
            (405, (false, ACK, 1001, asked, answer)),
            (second_ms, (false, ACK, next, asked, answer)),
        ];
        let mut pipeline = pipeline();
        for (ms, step) in HANDSHAKE.into_iter().chain(answered) {
            let packet = segment(ms * 1_000_000, step);
            pipeline.push(&Record::Packet(packet), &mut ());
        }
        let findings = pipeline.finish(&mut ()).findings;
        assert_eq!((findings.len(), findings[0].kind), (1, SlowServer));
        findings[0].count
    };
    assert_eq!(slow(406), 1);
    assert_eq!(slow(805), 2);
}
