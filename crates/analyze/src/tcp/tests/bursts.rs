//! What counts as sent again where only the second sending was seen.

use super::{All, CLIENT, SERVER, at, segment};
use crate::tcp::{Burst, Tracker};

const US: i64 = 1000;
const PIECE: &[u8] = &[b'.'; 100];

/// When the pieces come, once 20 µs, and their numbers.
fn pieces() -> impl Iterator<Item = (i64, u32)> {
    (0..100).map(|piece| (3000 + i64::from(piece) * 20, 1 + piece * 100))
}

/// What is found of pieces that come at these microseconds, as at a receiver whose round
/// trip is 1 ms.
fn bursts(pieces: impl Iterator<Item = (i64, u32)>) -> Vec<Burst> {
    let mut packets = vec![
        (0, segment(CLIENT, SERVER, "S", 0, 0, b"")),
        (990, segment(SERVER, CLIENT, "S.", 0, 1, b"")),
        (1000, segment(CLIENT, SERVER, ".", 1, 1, b"")),
    ];
    // The second piece is asked for.
    for at_us in [3110, 3130, 3150, 3170] {
        packets.push((at_us, segment(CLIENT, SERVER, ".", 1, 101, b"")));
    }
    packets.extend(pieces.map(|(at_us, seq)| (at_us, segment(SERVER, CLIENT, ".", seq, 1, PIECE))));
    packets.sort_by_key(|(at_us, _)| *at_us);
    let (mut all, mut tracker) = (All::default(), Tracker::default());
    for (at_us, segment) in &packets {
        tracker.segment(at(at_us * US), segment, &mut all);
    }
    all.finish(tracker);
    all.connections.remove(0).bursts
}

/// Three at the front come as long after their place as is told, behind others that come
/// until then.
fn late_by(us: i64) -> Vec<Burst> {
    bursts(pieces().map(|(at_us, seq)| {
        let is_late = (101..=301).contains(&seq);
        (at_us + if is_late { us } else { 0 }, seq)
    }))
}

/// Of ten pieces a copy comes so long after them.
fn copied_after(us: i64) -> Vec<Burst> {
    let copied = pieces().filter(|(_, seq)| seq % 1000 == 1);
    bursts(pieces().chain(copied.map(|(at_us, seq)| (at_us + us, seq))))
}

#[test]
fn what_comes_a_round_trip_after_its_hole_was_sent_again() {
    let expected = Burst {
        by_orig: false,
        packets: 3,
        first_ns: 4021 * US,
        last_ns: 4061 * US,
        at_byte: 100,
    };
    assert_eq!(late_by(1001), [expected]);
}

#[test]
fn what_comes_sooner_was_overtaken() {
    assert_eq!(late_by(301), []);
}

/// But for the first, before which nothing was remembered.
#[test]
fn what_comes_again_within_a_round_trip_is_a_copy() {
    let counts = |us| copied_after(us).iter().map(|it| it.packets).sum::<u64>();
    assert_eq!([105, 185].map(counts), [1, 1]);
    assert_eq!(counts(1005), 10);
}
