//! When an end could not send.

use super::{All, CLIENT, SERVER, at, segment};
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
    tracker.finish(&mut all);
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
        tracker.finish(&mut all);
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
}
