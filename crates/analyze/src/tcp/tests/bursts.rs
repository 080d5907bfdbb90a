//! What counts as sent again where only the second sending was seen.

use super::{All, CLIENT, SERVER, at, segment};
use crate::tcp::{Burst, Tracker};

const US: i64 = 1000;
const PIECE: &[u8] = &[b'.'; 100];

/// What is found of pieces that come once 20 µs, as at a receiver whose round trip
/// is 1 ms. Three at the front come as long after their place as is told, behind
/// others that come until then.
fn late_by(us: i64) -> Vec<Burst> {
    let mut packets = vec![
        (0, segment(CLIENT, SERVER, "S", 0, 0, b"")),
        (990, segment(SERVER, CLIENT, "S.", 0, 1, b"")),
        (1000, segment(CLIENT, SERVER, ".", 1, 1, b"")),
    ];
    for (at_us, seq) in (0..100).map(|piece| (3000 + i64::from(piece) * 20, 1 + piece * 100)) {
        let is_late = (101..=301).contains(&seq);
        let at_us = at_us + if is_late { us } else { 0 };
        packets.push((at_us, segment(SERVER, CLIENT, ".", seq, 1, PIECE)));
    }
    packets.sort_by_key(|(at_us, _)| *at_us);
    let (mut all, mut tracker) = (All::default(), Tracker::default());
    for (at_us, segment) in &packets {
        tracker.segment(at(at_us * US), segment, &mut all);
    }
    tracker.finish(&mut all);
    all.connections.remove(0).bursts
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
