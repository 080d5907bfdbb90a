//! What is found of a connection's segments, told one by one.

use tcprec_analyze::finding::FindingKind;
use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::tcp::ConnState;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Capture, Direction, End, Interface, Packet, Record, SCHEMA};

use FindingKind::{
    HalfOpen, PortReuse, Refused, Reset, Timeout, TlsFailed, Unanswered, ZeroWindow,
};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
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
        wire_bytes: bytes.into(),
        ..Packet::new(ts_ns, 0, data)
    }
}

/// A pipeline that knows the interface of these segments.
pub(super) fn pipeline() -> Pipeline {
    let mut pipeline = Pipeline::default();
    pipeline.push(
        &Record::Interface(Interface::new(0, None, LinkType::RAW)),
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
pub(super) type Blamed = (FindingKind, Option<bool>);

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
pub(super) fn found_after_handshake(steps: &[(i64, Step<'_>)]) -> Vec<Blamed> {
    found_of(&[&HANDSHAKE, steps].concat())
}

/// A SYN that is sent again and again waits from the first to the last.
#[test]
fn a_handshake_waits_once() {
    let mut pipeline = pipeline();
    for (ms, step) in [
        (0, (true, SYN, 0, 0, "")),
        (1000, (true, SYN, 0, 0, "")),
        (3000, (true, SYN, 0, 0, "")),
        (3001, (false, SYN | ACK, 1000, 1, "")),
        (3002, (true, ACK, 1, 1001, "")),
    ] {
        let packet = segment(ms * 1_000_000, step);
        pipeline.push(&Record::Packet(packet), &mut ());
    }
    let found = pipeline.finish(&mut ()).findings.into_iter();
    let found: Vec<_> = found
        .map(|it| (it.kind, it.count, it.duration_ns() / 1_000_000))
        .collect();
    assert_eq!(found, [(Timeout, 1, 3000)]);
}

#[test]
fn refused_is_who_asked() {
    let syn = (0, (true, SYN, 0, 0, ""));
    let refused = found_of(&[syn, (1, (false, RST | ACK, 0, 1, ""))]);
    assert_eq!(refused, [(Refused, None)]);
    // Windows asks again with the same SYN, half a second later.
    let reset = |ms| (ms, (false, RST | ACK, 0, 1, ""));
    let again = (501, syn.1);
    assert_eq!(found_of(&[syn, reset(1), again, reset(502)]), refused);
    assert_eq!(found_of(&[reset(1), again, reset(502)]), refused);
    let let_in = [
        (502, (false, SYN | ACK, 1000, 1, "")),
        (503, (true, ACK, 1, 1001, "")),
        (504, (true, FIN | ACK, 1, 1001, "")),
        (505, (false, FIN | ACK, 1001, 2, "")),
        (506, (true, ACK, 2, 1002, "")),
    ];
    let steps = [&[syn, reset(1), again][..], &let_in].concat();
    assert_eq!(found_of(&steps), refused);
    // A reset that is no answer to the client is somebody else's.
    let injected = found_of(&[&[syn, reset(1)][..], &let_in].concat());
    assert_eq!(injected, [(Reset, Some(false))]);
    // Nor is that a connection whose SYN-ACK was not captured, and which Zeek calls so.
    let under_way = [
        HANDSHAKE[0],
        HANDSHAKE[2],
        (3, (true, ACK, 1, 1001, "a")),
        (4, (false, ACK, 1001, 2, "b")),
        (9, (false, RST | ACK, 1002, 2, "")),
    ];
    assert_eq!(found_of(&under_way), [(Reset, Some(false))]);
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

/// As one does that keeps connections of TLS, and does not read with what its server closed
/// one that was idle.
#[test]
fn what_its_server_has_closed_a_client_may_reset() {
    let found = |acknowledged, steps: &[_]| {
        let told = [
            (5, (true, ACK, 1, 1001, "ask")),
            (6, (false, ACK, 1001, 4, "answer")),
            (7, (true, ACK, 4, acknowledged, "")),
        ];
        let reset = (9000, (true, RST | ACK, 4, acknowledged, ""));
        found_after_handshake(&[&told[..], steps, &[reset]].concat())
    };
    let closed = (8000, (false, FIN | ACK, 1007, 4, ""));
    assert_eq!(found(1007, &[closed]), []);
    let by_client = [(Reset, Some(true))];
    assert_eq!(found(1007, &[]), by_client);
    // It has not read all, or not even had all.
    assert_eq!(found(1001, &[closed]), by_client);
}

/// A host sends its resets with the TTL of all else; what has another comes from between.
#[test]
fn a_reset_with_another_ttl_is_foreign() {
    let found = |ttls: [u8; 4]| {
        let mut pipeline = pipeline();
        let steps = [
            HANDSHAKE[0],
            HANDSHAKE[1],
            HANDSHAKE[2],
            (3, (true, ACK, 1, 1001, "a")),
            (4, (false, ACK, 1001, 2, "b")),
            (9, (false, RST | ACK, 1002, 2, "")),
            (10, (false, RST | ACK, 1002, 2, "")),
        ];
        let mut ttls = ttls.into_iter();
        for (ms, step) in steps {
            let mut packet = segment(ms * 1_000_000, step);
            if !step.0 {
                packet.data.to_mut()[8] = ttls.next().unwrap();
            }
            pipeline.push(&Record::Packet(packet), &mut ());
        }
        let [finding] = &pipeline.finish(&mut ()).findings[..] else {
            panic!("one is to be found");
        };
        assert_eq!(finding.kind, Reset);
        assert_eq!(finding.is_foreign, finding.ttls.is_some());
        finding.ttls
    };
    assert_eq!(found([57, 57, 57, 57]), None);
    assert_eq!(found([57, 57, 64, 57]), Some([57, 64]));
    // The first one ends the connection; and the way may change.
    assert_eq!(found([57, 57, 57, 64]), None);
    assert_eq!(found([57, 58, 64, 64]), None);
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

/// As of a SYN with a forged address. The server need not send its SYN-ACK again: one with
/// SYN cookies keeps nothing of it.
#[test]
fn a_syn_ack_wants_an_answer() {
    let found = |has_acks, waited_ms: i64| {
        let mut pipeline = pipeline();
        let other = |place: usize, ms, step| {
            let mut packet = segment(ms * 1_000_000, step);
            packet.data.to_mut()[place] = 9; // another port of the client
            packet
        };
        for (ms, step) in &HANDSHAKE[..if has_acks { 3 } else { 2 }] {
            let place = if step.0 { 20 } else { 22 };
            pipeline.push(&Record::Packet(other(place, *ms, *step)), &mut ());
        }
        for (ms, step) in &HANDSHAKE[..2] {
            pipeline.push(&Record::Packet(segment(ms * 1_000_000, *step)), &mut ());
        }
        let end = End {
            ts_ns: waited_ms * 1_000_000,
            ..End::default()
        };
        pipeline.push(&Record::End(end), &mut ());
        let found = pipeline.finish(&mut ()).findings.into_iter();
        found.map(|it| (it.kind, it.by_orig)).collect::<Vec<_>>()
    };
    assert_eq!(found(true, 1000), [(Unanswered, Some(true))]);
    assert_eq!(found(true, 999), []);
    // A filter that passes SYN, FIN and RST alone leaves out all that could answer.
    assert_eq!(found(false, 1000), []);
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
        steps.push((second * 900 + 1, (false, ACK, 1001, 2, "")));
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
