//! What is found of requests, packet by packet.

use std::iter;

use tcprec_analyze::finding::{Finding, FindingKind};
use tcprec_analyze::report::Outcome;
use tcprec_shared::record::Record;

use super::steps::{
    ACK, Blamed, FIN, GET, HANDSHAKE, RST, SYN, Step, found_after_handshake, pipeline, segment,
};
use FindingKind::{CutOff, HalfOpen, NoAnswer, Reset, ServerErrors, SlowServer};

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
    // Events come until somebody leaves: the client may, and the server broke its word.
    let type_ = "Content-Type: text/event-stream; charset=utf-8\r\n";
    let events = head(
        &format!("{type_}Transfer-Encoding: chunked\r\n"),
        "3\r\nabc\r\n",
    );
    for (flags, resets) in [(FIN, false), (RST, true)] {
        let by_client = found_of_response(&events, Some((true, flags)));
        assert_eq!(by_client, (vec![], Some(false), false));
        let reset = if resets {
            (Reset, Some(false))
        } else {
            by_server
        };
        let by_server = found_of_response(&events, Some((false, flags)));
        assert_eq!(by_server, (vec![reset], Some(false), false));
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

/// With Multipath TCP the rest may come by another connection, and so may an answer.
#[test]
fn what_may_go_by_other_connections_is_not_cut_off() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    let asked = 1 + GET.len() as u32;
    let answered = 1001 + head.len() as u32;
    let found = |are_multipath: [bool; 2], answer| {
        let mut pipeline = pipeline();
        let mut server = 1001;
        let mut steps = HANDSHAKE.to_vec();
        steps.push((5, (true, ACK, 1, 1001, GET)));
        if answer {
            steps.push((6, (false, ACK, 1001, asked, head)));
            server = answered;
        }
        steps.push((7, (false, FIN | ACK, server, asked, "")));
        steps.push((8, (true, FIN | ACK, asked, server + 1, "")));
        for (ms, step) in steps {
            let mut packet = segment(ms * 1_000_000, step);
            let (from_client, flags, ..) = step;
            if flags & SYN != 0 && are_multipath[usize::from(!from_client)] {
                // MP_CAPABLE (RFC 8684 section 3.1), and the lengths of IP and TCP.
                let data = packet.data.to_mut();
                data.extend([30, 4, 1, 0x81]);
                data[3] += 4;
                data[32] += 0x10;
                packet.wire_bytes += 4;
            }
            pipeline.push(&Record::Packet(packet), &mut ());
        }
        let report = pipeline.finish(&mut ());
        let found = report.findings.iter().map(|it| (it.kind, it.by_orig));
        let is_whole = report.requests[0].app.is_response_whole();
        (found.collect::<Vec<_>>(), is_whole)
    };
    let by_server = |kind| vec![(kind, Some(false))];
    for only in [[false, false], [true, false], [false, true]] {
        assert_eq!(found(only, true), (by_server(CutOff), Some(false)));
        assert_eq!(found(only, false), (by_server(NoAnswer), None));
    }
    assert_eq!(found([true; 2], true), (vec![], None));
    assert_eq!(found([true; 2], false), (vec![], None));
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
    // Not all of it comes: the rest is not sent after the reset.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let begun_late = (900, (false, ACK, 1001, asked + 1, head));
    let part = [late[0], late[1], begun_late, late[3]];
    assert_eq!(ended(&part), no_answer(Some(true)));
    let late = [late[0], late[1], (901, (true, RST, asked + 1, 0, ""))];
    assert_eq!(ended(&late), no_answer(Some(true)));
}

/// What is found of requests on one connection that are answered with these statuses, one
/// each millisecond.
fn found_of_statuses(statuses: impl IntoIterator<Item = u16>) -> Vec<Finding> {
    let mut pipeline = pipeline();
    let (mut asked, mut answered) = (1, 1001);
    let mut push = |ms: i64, step: Step<'_>| {
        let packet = segment(ms * 1_000_000, step);
        pipeline.push(&Record::Packet(packet), &mut ());
    };
    for (ms, step) in HANDSHAKE {
        push(ms, step);
    }
    for (ms, status) in (3..).zip(statuses) {
        push(ms, (true, ACK, asked, answered, GET));
        asked += GET.len() as u32;
        let answer = format!("HTTP/1.1 {status} .\r\nContent-Length: 0\r\n\r\n");
        push(ms, (false, ACK, answered, asked, &answer));
        answered += answer.len() as u32;
    }
    pipeline.finish(&mut ()).findings
}

#[test]
fn many_errors_of_a_server_are_found() {
    let of = |good: usize, bad: usize| {
        let statuses = iter::repeat_n(200, good).chain(iter::repeat_n(503, bad));
        found_of_statuses(statuses)
    };
    let [found] = &of(5, 5)[..] else {
        panic!("{:?}", of(5, 5));
    };
    assert_eq!(found.kind, ServerErrors);
    assert_eq!((found.count, found.answers), (5, Some(10)));
    assert_eq!(found.by_orig, Some(false));
    assert_eq!(found.outcome, Some(Outcome::Status(503)));
    assert_eq!((found.first_ns, found.last_ns), (8_000_000, 12_000_000));
    // Anybody makes one, and none of these is the server's.
    assert_eq!(of(0, 4), []);
    assert_eq!(found_of_statuses([404, 429, 499, 302, 200, 600]), []);
    assert_eq!(found_of_statuses([400; 20]), []);
    // Few of many.
    assert_eq!(of(4_995, 5).len(), 1);
    assert_eq!(of(4_996, 5), []);
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
