//! When an end could not send.

use super::{All, CLIENT, SERVER, Segment, at, segment};
use crate::tcp::{StallCause, Tracker};

/// The stalls of a connection in which the server sends payload of 100 bytes each: when
/// (ms), from which byte, and whether the client acknowledges it at once.
fn stalls(sent: &[(i64, u32, bool)]) -> Vec<(StallCause, i64, u64)> {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    let mut take = |ms: i64, from, flags, seq, ack, payload| {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        let segment = segment(from, to, flags, seq, ack, payload);
        tracker.segment(at(ms * 1_000_000), &segment, &mut all);
    };
    take(0, CLIENT, "S", 99, 0, &[]);
    take(1, SERVER, "S.", 499, 100, &[]);
    take(2, CLIENT, ".", 100, 500, &[]);
    for &(ms, byte, is_acknowledged) in sent {
        take(ms, SERVER, ".", 500 + byte, 100, &[0; 100]);
        if is_acknowledged {
            take(ms, CLIENT, ".", 100, 600 + byte, &[]);
        }
    }
    all.finish(tracker);
    let stalls = all.connections[0].stalls.iter();
    let stalls = stalls.inspect(|stall| assert!(!stall.by_orig));
    let told = stalls.map(|stall| {
        let ms = (stall.to_ns - stall.from_ns) / 1_000_000;
        (stall.cause, ms, stall.at_byte)
    });
    told.collect()
}

#[test]
fn a_lost_segment_is_waited_for() {
    let timeout = |ms, byte| vec![(StallCause::Timeout, ms, byte)];
    assert_eq!(stalls(&[(10, 0, false), (220, 0, true)]), timeout(210, 0));
    assert_eq!(stalls(&[(10, 0, false), (50, 0, true)]), []);
}

/// Where the ACK was lost behind the place of capture.
#[test]
fn so_is_a_lost_acknowledgement_if_more_was_to_come() {
    let begun = [(10, 0, true), (20, 100, true)];
    let and = |rest: &[_]| stalls(&[&begun, rest].concat());
    let timeout = vec![(StallCause::Timeout, 3000, 0)];
    assert_eq!(and(&[(3020, 0, true), (3030, 200, true)]), timeout);
    assert_eq!(
        and(&[(3020, 0, true), (3025, 100, true), (3030, 200, true)]),
        timeout
    );
    // There was nothing that could have been sent meanwhile.
    assert_eq!(and(&[(3020, 0, true)]), []);
    assert_eq!(and(&[(3020, 0, true), (9000, 200, true)]), []);
    // Nor is it a timeout where something was sent before.
    assert_eq!(and(&[(100, 0, true), (110, 200, true)]), []);
}

/// A request that the client sends again after 210 ms: the stalls, where the server
/// acknowledges it after so many milliseconds more and says of these bytes that they came
/// twice, and the client sends the next request after so many.
fn resent(ms: i64, twice: Option<[u32; 2]>, next_ms: i64) -> Vec<(bool, u64)> {
    let block = |[begin, end]: [u32; 2]| [begin, end].map(u32::to_be_bytes).concat();
    let option = twice.map(|twice| [vec![1, 1, 5, 10], block(twice)].concat());
    let options = option.unwrap_or_default();
    let ack = Segment {
        options: &options,
        ..segment(SERVER, CLIENT, ".", 500, 150, &[])
    };
    let (mut all, mut tracker) = (All::default(), Tracker::default());
    let request = segment(CLIENT, SERVER, "P.", 100, 500, &[b'x'; 50]);
    for (ms, segment) in [
        (0, segment(CLIENT, SERVER, "S", 99, 0, &[])),
        (1, segment(SERVER, CLIENT, "S.", 499, 100, &[])),
        (2, segment(CLIENT, SERVER, ".", 100, 500, &[])),
        (10, request),
        (220, request),
        (220 + ms, ack),
        (220 + next_ms, segment(CLIENT, SERVER, "P.", 150, 500, b"y")),
    ] {
        tracker.segment(at(ms * 1_000_000), &segment, &mut all);
    }
    all.finish(tracker);
    let stalls = all.connections[0].stalls.iter();
    stalls.map(|stall| (stall.by_orig, stall.at_byte)).collect()
}

/// RFC 2883: it was the ACK that was lost, and the client waited for the server anyway.
#[test]
fn what_came_twice_was_not_lost() {
    let lost = vec![(true, 0)];
    assert_eq!(resent(1, None, 500), lost);
    assert_eq!(resent(1, Some([100, 150]), 500), []);
    // Unless it had more to send.
    assert_eq!(resent(1, Some([100, 150]), 5), lost);
    // Something else came twice; or so much later that it was another copy.
    assert_eq!(resent(1, Some([50, 100]), 500), lost);
    assert_eq!(resent(200, Some([100, 150]), 500), lost);
}

/// Who asks for a connection again after the answer has passed lost nothing: the answer
/// was lost.
#[test]
fn a_lost_answer_to_a_syn_is_the_servers() {
    let stalls_of = |packets: &[(i64, u8, &str)]| -> Vec<(bool, i64)> {
        let mut all = All::default();
        let mut tracker = Tracker::default();
        for &(ms, from, flags) in packets {
            let (to, seq, ack) = if from == CLIENT {
                (SERVER, 99, 0)
            } else {
                (CLIENT, 499, 100)
            };
            let segment = segment(from, to, flags, seq, ack, &[]);
            tracker.segment(at(ms * 1_000_000), &segment, &mut all);
        }
        all.finish(tracker);
        let stalls = all.connections[0].stalls.iter();
        let told = stalls.map(|stall| (stall.by_orig, stall.to_ns - stall.from_ns));
        told.map(|(by_orig, ns)| (by_orig, ns / 1_000_000))
            .collect()
    };
    let (syn, answer) = ((0, CLIENT, "S"), (2, SERVER, "S."));
    let again = (1000, CLIENT, "S");
    let answered = (1002, SERVER, "S.");
    assert_eq!(stalls_of(&[syn, again, answered]), [(true, 1000)]);
    assert_eq!(stalls_of(&[syn, answer, again, answered]), [(false, 1000)]);
    // Windows asks again, half a second after it was refused.
    let refused = (1, SERVER, "R.");
    assert_eq!(stalls_of(&[syn, refused, again, answered]), []);
}
