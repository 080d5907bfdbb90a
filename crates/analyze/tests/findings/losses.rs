//! What is told of responses, and found, where packets are lost.

use tcprec_analyze::finding::FindingKind;
use tcprec_analyze::report::Report;
use tcprec_shared::record::Record;

use FindingKind::{CutOff, Timeout};

use super::steps::{ACK, FIN, GET, HANDSHAKE, Step, pipeline, segment};

/// What is told of a connection whose handshake these segments follow, each at its
/// millisecond.
fn report_of(steps: &[(i64, Step<'_>)]) -> Report {
    let mut pipeline = pipeline();
    for (ms, step) in HANDSHAKE.iter().chain(steps) {
        let packet = segment(ms * 1_000_000, *step);
        pipeline.push(&Record::Packet(packet), &mut ());
    }
    pipeline.finish(&mut ())
}

/// A response at its server, of which the second half is lost on its way: it is sent after
/// 500 ms, 7 ms later as a probe for the loss of a tail, and twice after a timeout. Then
/// comes what is told.
fn lost_tail(end: &[(i64, Step<'_>)]) -> Report {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
    let asked = 1 + GET.len() as u32;
    let half = 1001 + head.len() as u32;
    let tail = (false, ACK, half, asked, "rest");
    let begun = [
        (5, (true, ACK, 1, 1001, GET)),
        (10, (false, ACK, 1001, asked, head)),
        (11, (true, ACK, asked, half, "")),
        (510, tail),
        (517, tail),
        (721, tail),
        (1145, tail),
    ];
    report_of(&[&begun, end].concat())
}

#[test]
fn the_timer_for_a_lost_tail_begins_with_its_probe() {
    let asked = 1 + GET.len() as u32;
    let end = 1001 + 38 + 8;
    let report = lost_tail(&[(1146, (true, ACK, asked, end, ""))]);
    let timing = report.requests[0].timing.as_ref().unwrap();
    let ms = [timing.receive_ns, timing.stalled_ns, timing.total_ns()].map(|ns| ns / 1_000_000);
    // With the handshake.
    assert_eq!(ms, [507, 204 + 424, 2 + 1140]);
    assert_eq!(report.requests[0].app.is_response_whole(), Some(true));
}

#[test]
fn what_is_never_acknowledged_is_not_known_to_have_come() {
    let asked = 1 + GET.len() as u32;
    let gives_up = (3000, (true, FIN | ACK, asked, 1001 + 42, ""));
    for (end, found) in [
        (vec![], vec![Timeout]),
        (vec![gives_up], vec![Timeout, CutOff]),
    ] {
        let report = lost_tail(&end);
        let request = &report.requests[0];
        assert_eq!(request.app.is_response_whole(), Some(false));
        assert_eq!((request.app.total_ns(), &request.timing), (None, &None));
        let kinds: Vec<_> = report.findings.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, found);
    }
}
