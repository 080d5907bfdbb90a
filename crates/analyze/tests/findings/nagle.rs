//! Segments that wait for delayed ACKs.

use tcprec_analyze::finding::FindingKind;
use tcprec_shared::record::Record;

use super::steps::{ACK, HANDSHAKE, Step, pipeline, segment};

/// Ten times a client writes twice, and then reads: when the server acknowledges the
/// first of it and the client sends the second, in milliseconds since the first.
struct Pattern {
    times: u32,
    acknowledged_ms: i64,
    second_ms: i64,
    second: &'static str,
    /// Once it sends three at once, where so.
    has_three: bool,
}

const HELD: Pattern = Pattern {
    times: 10,
    acknowledged_ms: 40,
    second_ms: 40,
    second: "body",
    has_three: false,
};

/// Kind, how often, whose doing, and for how many milliseconds.
fn found(pattern: &Pattern) -> Vec<(FindingKind, u64, Option<bool>, i64)> {
    let mut steps: Vec<(i64, Step<'_>)> = HANDSHAKE.to_vec();
    let (mut ms, mut seq, mut ack) = (100, 1, 1001);
    for time in 0..pattern.times {
        let second = seq + 4;
        let end = second + u32::try_from(pattern.second.len()).unwrap();
        steps.push((ms, (true, ACK, seq, ack, "head")));
        let came_ms = ms + pattern.acknowledged_ms;
        steps.push((came_ms, (false, ACK, ack, second, "")));
        let second_ms = ms + pattern.second_ms;
        steps.push((second_ms, (true, ACK, second, ack, pattern.second)));
        seq = end;
        if pattern.has_three && time == 5 {
            steps.push((second_ms, (true, ACK, end, ack, "more")));
            seq += 4;
        }
        steps.push((second_ms + 1, (false, ACK, ack, seq, "answer")));
        (ms, ack) = (second_ms + 10, ack + 6);
    }
    let mut pipeline = pipeline();
    for (ms, step) in steps {
        pipeline.push(&Record::Packet(segment(ms * 1_000_000, step)), &mut ());
    }
    let found = pipeline.finish(&mut ()).findings.into_iter();
    found
        .map(|it| (it.kind, it.count, it.by_orig, it.duration_ns() / 1_000_000))
        .collect()
}

#[test]
fn what_is_held_back_until_a_delayed_ack_is_found() {
    let held = |ms| [(FindingKind::DelayedAck, 10, Some(true), ms)];
    assert_eq!(found(&HELD), held(40));
    // At the server what is sent then comes a round trip later.
    let at_server = Pattern {
        second_ms: 42,
        ..HELD
    };
    assert_eq!(found(&at_server), held(42));
    let by_chance = Pattern { times: 9, ..HELD };
    assert_eq!(found(&by_chance), []);
}

#[test]
fn who_waits_for_something_else_holds_nothing_back() {
    // It had nothing to send before; or the ACK was not delayed.
    for (acknowledged_ms, second_ms) in [(40, 50), (0, 40), (20, 20), (600, 600)] {
        let pattern = Pattern {
            acknowledged_ms,
            second_ms,
            ..HELD
        };
        assert_eq!(found(&pattern), [], "{acknowledged_ms} {second_ms}");
    }
    // Nagle's algorithm does not hold back what fills a segment.
    const FULL: &str = match std::str::from_utf8(&[b'x'; 536]) {
        Ok(full) => full,
        Err(_) => "",
    };
    let full = Pattern {
        second: FULL,
        ..HELD
    };
    assert_eq!(found(&full), []);
    // Who sends a small segment while another waits does without it.
    let without = Pattern {
        has_three: true,
        ..HELD
    };
    assert_eq!(found(&without), []);
}
