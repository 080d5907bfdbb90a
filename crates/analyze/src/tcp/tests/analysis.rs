//! What Wireshark says of packets.

use tcprec_shared::headers::Segment;

use super::{All, CLIENT, SERVER, at, segment};
use crate::tcp::{Analysis, Tracker};

/// When a packet comes (ms), who sends it, flags, sequence number, ACK number,
/// payload length and window.
type Packet = (i64, u8, &'static str, u32, u32, usize, u16);

/// A handshake with a round trip of 10 ms and windows that are not scaled.
const HANDSHAKE: [Packet; 3] = [
    (0, CLIENT, "S", 99, 0, 0, 1000),
    (5, SERVER, "S.", 499, 100, 0, 1000),
    (10, CLIENT, ".", 100, 500, 0, 1000),
];

fn made(packet: Packet) -> Segment<'static> {
    let (_, from, flags, seq, ack, payload_bytes, window) = packet;
    let to = if from == CLIENT { SERVER } else { CLIENT };
    let mut segment = segment(from, to, flags, seq, ack, &[0; 2000][..payload_bytes]);
    segment.window = window;
    segment
}

/// What is found of both ends after the handshake.
fn found(packets: &[Packet]) -> (Analysis, Analysis) {
    found_of_all(&[&HANDSHAKE, packets].concat())
}

fn found_of_all(packets: &[Packet]) -> (Analysis, Analysis) {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for packet in packets {
        tracker.segment(at(packet.0 * 1_000_000), &made(*packet), &mut all);
    }
    all.finish(tracker);
    let connection = &all.connections[0];
    (connection.orig.analysis, connection.resp.analysis)
}

#[test]
fn nothing_is_found_of_a_healthy_connection() {
    let healthy = found(&[
        (20, CLIENT, "P.", 100, 500, 400, 1000),
        (30, SERVER, ".", 500, 500, 0, 600),
        (40, SERVER, "P.", 500, 500, 400, 600),
        (50, CLIENT, "F.", 500, 900, 0, 1000),
        (60, SERVER, "F.", 900, 501, 0, 600),
        (70, CLIENT, ".", 501, 901, 0, 1000),
    ]);
    assert_eq!(healthy, (Analysis::default(), Analysis::default()));
}

/// The number 0 is like any other (tshark 4.0 says the same), but for the first packet:
/// Wireshark has no other word for none.
#[test]
fn the_number_0_is_a_number() {
    let ack = |ms| (ms, CLIENT, ".", 0, 0, 0, 1000);
    let (orig, _) = found_of_all(&[ack(0), ack(10), ack(20)]);
    assert_eq!((orig.window_updates, orig.duplicate_acks), (1, 2));
    let last = u32::MAX - 99;
    let (orig, resp) = found_of_all(&[
        (0, CLIENT, ".", last, 500, 100, 1000),
        (10, SERVER, ".", 500, 0, 0, 1000),
        (20, CLIENT, ".", u32::MAX, 500, 0, 1000),
        (30, SERVER, ".", 500, 0, 0, 1000),
    ]);
    assert_eq!((orig.keep_alives, resp.keep_alive_acks), (1, 1));
    assert_eq!(resp.acked_lost_segments, 1);
}

#[test]
fn packets_sent_again_are_told_by_when() {
    let data = |ms, seq| (ms, CLIENT, ".", seq, 500, 100, 1000);
    let ack = |ms, ack| (ms, SERVER, ".", 500, ack, 0, 1000);
    // Soon after the highest one: overtaken. Late: sent again.
    let (orig, _) = found(&[data(20, 100), data(21, 300), data(25, 200)]);
    assert_eq!((orig.lost_segments, orig.out_of_order), (1, 1));
    assert_eq!(orig.retransmissions, 0);
    let (orig, _) = found(&[data(20, 100), data(21, 300), data(40, 200)]);
    assert_eq!((orig.out_of_order, orig.retransmissions), (0, 1));
    // The last one again is never out of order.
    let (orig, _) = found(&[data(20, 100), data(21, 100)]);
    assert_eq!((orig.out_of_order, orig.retransmissions), (0, 1));
    // After two duplicate ACKs: fast.
    let (orig, resp) = found(&[
        data(20, 100),
        data(20, 300),
        ack(30, 200),
        ack(31, 200),
        ack(32, 200),
        data(33, 200),
    ]);
    assert_eq!(resp.duplicate_acks, 2);
    assert_eq!((orig.fast_retransmissions, orig.retransmissions), (1, 1));
    // Though acknowledged: spurious.
    let (orig, _) = found(&[data(20, 100), ack(30, 200), data(40, 100)]);
    assert_eq!(
        (orig.spurious_retransmissions, orig.retransmissions),
        (1, 1)
    );
}

#[test]
fn an_ack_of_something_unseen_is_told() {
    let (orig, _) = found(&[
        (20, SERVER, ".", 500, 100, 100, 1000),
        (30, CLIENT, ".", 100, 700, 0, 1000),
        (31, CLIENT, ".", 100, 800, 0, 1000),
    ]);
    assert_eq!(orig.acked_lost_segments, 1);
}

#[test]
fn windows_are_watched() {
    let (orig, resp) = found(&[
        (20, CLIENT, ".", 100, 500, 1000, 1000), // all that fits
        (30, SERVER, ".", 500, 1100, 0, 0),
        (40, CLIENT, ".", 1100, 500, 1, 1000),
        (50, SERVER, ".", 500, 1100, 0, 0),
        (60, SERVER, ".", 500, 1100, 0, 700),
    ]);
    assert_eq!((orig.windows_full, orig.zero_window_probes), (1, 1));
    assert_eq!((resp.zero_windows, resp.zero_window_probe_acks), (2, 1));
    assert_eq!((resp.window_updates, resp.duplicate_acks), (1, 0));
}

#[test]
fn a_window_is_scaled_if_both_ends_say_so() {
    for (shifts, full) in [([2, 3], 1), ([2, 0], 0), ([0, 3], 0)] {
        let options = shifts.map(|shift| [3, 3, shift, 1]);
        let mut all = All::default();
        let mut tracker = Tracker::default();
        let packets = [(20, CLIENT, ".", 100, 500, 800, 1000)];
        let ack = [(15, SERVER, ".", 500, 100, 0, 100)];
        for (count, packet) in HANDSHAKE.iter().chain(&ack).chain(&packets).enumerate() {
            let mut segment = made(*packet);
            if let Some(options) = options.get(count).filter(|options| options[2] > 0) {
                segment.options = options;
                segment.options_bytes = 4;
            }
            tracker.segment(at(packet.0 * 1_000_000), &segment, &mut all);
        }
        all.finish(tracker);
        // 100 shifted by 3 is all that is sent.
        assert_eq!(all.connections[0].orig.analysis.windows_full, full);
    }
}

#[test]
fn a_window_of_an_unknown_scale_is_never_full() {
    for (options_bytes, full) in [(0, 1), (4, 0)] {
        let mut all = All::default();
        let mut tracker = Tracker::default();
        let packets = [(20, CLIENT, ".", 100, 500, 1000, 1000)];
        for packet in HANDSHAKE.iter().chain(&packets) {
            let mut segment = made(*packet);
            if packet.2.starts_with('S') {
                segment.options_bytes = options_bytes;
            }
            tracker.segment(at(packet.0 * 1_000_000), &segment, &mut all);
        }
        all.finish(tracker);
        assert_eq!(all.connections[0].orig.analysis.windows_full, full);
    }
}

#[test]
fn keep_alives_are_no_retransmissions() {
    let (orig, resp) = found(&[
        (20, CLIENT, ".", 100, 500, 100, 1000),
        (30, SERVER, ".", 500, 200, 0, 1000),
        (9000, CLIENT, ".", 199, 500, 1, 1000),
        (9010, SERVER, ".", 500, 200, 0, 1000),
    ]);
    assert_eq!((orig.keep_alives, orig.retransmissions), (1, 0));
    assert_eq!((resp.keep_alive_acks, resp.duplicate_acks), (1, 0));
}

#[test]
fn round_trips_are_measured_at_the_end_of_a_segment() {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    let packets = [
        (20, CLIENT, ".", 100, 500, 100, 1000),
        (22, CLIENT, ".", 200, 500, 100, 1000),
        (23, CLIENT, ".", 200, 500, 100, 1000), // again: the first counts
        (24, CLIENT, ".", 300, 500, 100, 1000),
        (30, SERVER, ".", 500, 150, 0, 1000), // in the middle
        (32, SERVER, ".", 500, 300, 0, 1000),
        (36, SERVER, ".", 500, 400, 0, 1000),
    ];
    for packet in HANDSHAKE.iter().chain(&packets) {
        tracker.segment(at(packet.0 * 1_000_000), &made(*packet), &mut all);
    }
    all.finish(tracker);
    let times = all.connections[0].orig.round_trips.unwrap();
    // The SYN's 5 ms, 10 and 12.
    assert_eq!(times.count, 3);
    assert_eq!((times.min_ns, times.max_ns), (5_000_000, 12_000_000));
    assert_eq!(times.mean_ns(), 9_000_000);
    assert_eq!(all.connections[0].resp.round_trips.unwrap().count, 1);
}

/// As many as a fast link has on the way when one is lost.
#[test]
fn thousands_of_segments_are_timed_while_one_is_lost() {
    const SEGMENTS: u32 = 5_000;
    let mut all = All::default();
    let mut tracker = Tracker::default();
    let data = |number: u32| (0, CLIENT, ".", 100 + number * 10, 500, 10, 1000);
    let ack = |number: u32| (0, SERVER, ".", 500, 110 + number * 10, 0, 1000);
    let duplicate = (0, SERVER, ".", 500, 100, 0, 1000);
    let packets = HANDSHAKE
        .into_iter()
        .chain((1..SEGMENTS).flat_map(|number| [data(number), duplicate]))
        .chain([data(0)])
        .chain((0..SEGMENTS).map(ack));
    for (ms, packet) in (0..).zip(packets) {
        tracker.segment(at(ms * 1_000_000), &made(packet), &mut all);
    }
    all.finish(tracker);
    let times = all.connections[0].orig.round_trips.unwrap();
    // The SYN's, and those of all segments: the lost one's is the shortest.
    assert_eq!(times.count, u64::from(SEGMENTS) + 1);
    assert_eq!(times.min_ns, 1_000_000);
    assert_eq!(
        times.max_ns,
        i64::from(SEGMENTS - 1) * 2_000_000 + 2_000_000
    );
}

#[test]
fn the_latest_segment_is_timed_where_none_was_answered_before() {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for ms in 0..200 {
        let data = made((0, CLIENT, "P.", 100 * ms, 500, 100, 1000));
        tracker.segment(at(i64::from(ms) * 1_000_000), &data, &mut all);
    }
    let answer = made((0, SERVER, "P.", 500, 20_000, 100, 1000));
    tracker.segment(at(203_000_000), &answer, &mut all);
    all.finish(tracker);
    let client = all.connections[0].orig.round_trips.unwrap();
    assert_eq!((client.count, client.min_ns), (1, 4_000_000));
}
