//! When connections and requests are given, and in which order.

use super::{All, CLIENT, SERVER, segment, track};
use crate::tcp::{Limits, Seen, Tracker};

const SECOND_NS: i64 = 1_000_000_000;
const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A packet of a recording that may tell of losses later.
fn at(ts_ns: i64) -> Seen {
    Seen {
        ts_ns,
        scope: 7,
        cookie: None,
    }
}

/// A tracker with room for four connections that are over.
fn tracker() -> Tracker {
    Tracker::new(Limits {
        lingering: 4,
        waiting_bytes: 16_000,
        ..Limits::default()
    })
}

/// A connection attempt that is reset.
fn reset(tracker: &mut Tracker, host: u8, ns: i64, all: &mut All) {
    for flags in ["S", "R"] {
        tracker.segment(at(ns), &segment(host, SERVER, flags, 1, 0, b""), all);
    }
}

#[test]
fn what_is_over_waits_for_late_packets() {
    let mut all = All::default();
    let mut tracker = tracker();
    reset(&mut tracker, 100, 0, &mut all);
    let late = segment(SERVER, 100, "R.", 0, 2, b"");
    tracker.segment(at(200 * SECOND_NS), &late, &mut all);
    reset(&mut tracker, 101, 300 * SECOND_NS, &mut all);
    // It has to be quiet for four minutes.
    assert_eq!(all.connections.len(), 0);
    reset(&mut tracker, 102, 440 * SECOND_NS, &mut all);
    assert_eq!(all.connections.len(), 1);
    assert_eq!(all.connections[0].history, "SRr");
    all.finish(tracker);
    let ids: Vec<_> = all.connections.iter().map(|it| it.id.0).collect();
    assert_eq!(ids, [0, 1, 2]);
}

#[test]
fn of_many_that_are_over_the_oldest_wait_for_late_losses_only() {
    let mut all = All::default();
    let mut tracker = tracker();
    (100..110).for_each(|host| reset(&mut tracker, host, 0, &mut all));
    assert_eq!(all.connections.len(), 0);
    reset(&mut tracker, 110, 2 * SECOND_NS, &mut all);
    assert_eq!(all.connections.len(), 7);
    // There is room for sixteen at any rate, and for no more.
    let now_ns = 3 * SECOND_NS;
    (111..140).for_each(|host| reset(&mut tracker, host, now_ns, &mut all));
    assert_eq!(all.connections.len(), 40 - 16);
    let ids: Vec<_> = all.connections.iter().map(|it| it.id.0).collect();
    assert!(ids.is_sorted());
}

#[test]
fn what_is_replaced_waits_too() {
    let mut all = All::default();
    let mut tracker = tracker();
    for (seconds, seq) in [(0, 1), (1, 1000), (2, 2000)] {
        let syn = segment(CLIENT, SERVER, "S", seq, 0, b"");
        tracker.segment(at(seconds * SECOND_NS), &syn, &mut all);
    }
    assert_eq!(all.connections.len(), 0);
    let ack = segment(SERVER, CLIENT, ".", 1, 2001, b"");
    tracker.segment(at(241 * SECOND_NS), &ack, &mut all);
    assert_eq!(all.connections.len(), 1);
    all.finish(tracker);
    let packets = |end: &super::super::End| end.packets;
    let packets = all.connections.iter().map(|it| packets(&it.resp));
    assert_eq!(packets.collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn requests_come_with_their_connection() {
    let all = track([
        segment(CLIENT, SERVER, "S", 100, 0, b""),
        segment(CLIENT, SERVER, "P.", 101, 1, GET),
        segment(CLIENT, SERVER, "R", 119, 1, GET),
    ]);
    assert_eq!(all.requests.len(), 1);
    assert_eq!(all.requests[0].connection, all.connections[0].id);
    assert_eq!(all.connections[0].requests, 1);
}

#[test]
fn too_many_requests_come_before_their_connection() {
    let mut all = All::default();
    let mut tracker = tracker();
    for number in 0..100 {
        let (seq, ack) = (1 + number * 18, 1 + number * 38);
        let now = at(i64::from(number) * SECOND_NS);
        let get = segment(CLIENT, SERVER, "P.", seq, ack, GET);
        tracker.segment(now, &get, &mut all);
        let ok = segment(SERVER, CLIENT, "P.", ack, seq + 18, OK);
        tracker.segment(now, &ok, &mut all);
    }
    assert!(all.connections.is_empty());
    // The last two seconds wait at any rate, as long as there is room.
    assert!(
        (90..=98).contains(&all.requests.len()),
        "{}",
        all.requests.len()
    );
    all.finish(tracker);
    let numbers: Vec<_> = all.requests.iter().map(|it| it.index).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!(all.connections[0].requests, 100);
}

#[test]
fn captures_that_tell_of_nothing_late_wait_for_nothing() {
    let mut all = All::default();
    let mut tracker = tracker();
    for host in 100..110 {
        for flags in ["S", "R"] {
            let segment = segment(host, SERVER, flags, 1, 0, b"");
            tracker.segment(Seen::default(), &segment, &mut all);
        }
    }
    assert_eq!(all.connections.len(), 6);
}
