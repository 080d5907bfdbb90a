//! Connections from hand-made segments.

use proptest::prelude::*;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::{Fragment, Segment, TcpFlags};

use super::{ConnState, Connection, Limits, Observer, Seen, Tracker};
use crate::app::Request;

const CLIENT: u8 = 9;
const SERVER: u8 = 1;
const NO_OPTIONS: &[u8] = &[];

fn endpoint(host: u8) -> Endpoint {
    let port = if host == SERVER { 80 } else { 40_000 };
    Endpoint::new([10, 0, 0, host].into(), port)
}

/// A packet between two hosts; `flags` in tcpdump's letters.
fn segment<'a>(
    from: u8,
    to: u8,
    flags: &str,
    seq: u32,
    ack: u32,
    payload: &'a [u8],
) -> Segment<'a> {
    let flags = flags.bytes().fold(0, |flags, letter| {
        flags
            | match letter {
                b'F' => 1,
                b'S' => 2,
                b'R' => 4,
                b'P' => 8,
                _ => 16,
            }
    });
    Segment {
        src: endpoint(from),
        dst: endpoint(to),
        seq,
        ack,
        flags: TcpFlags(flags),
        window: 1000,
        options: NO_OPTIONS,
        ip_bytes: 40 + payload.len() as u32,
        header_bytes: 54,
        payload_bytes: payload.len() as u32,
        payload,
        tunnels: 0,
    }
}

#[derive(Default)]
struct All {
    connections: Vec<Connection>,
    requests: Vec<Request>,
}

impl Observer for All {
    fn request(&mut self, request: Request) {
        self.requests.push(request);
    }

    fn connection(&mut self, connection: Connection) {
        self.connections.push(connection);
    }
}

fn at(ts_ns: i64) -> Seen {
    Seen {
        ts_ns,
        ..Seen::default()
    }
}

/// What becomes of segments that come one a millisecond.
fn track<'a>(segments: impl IntoIterator<Item = Segment<'a>>) -> All {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for (count, segment) in (0..).zip(segments) {
        tracker.segment(at(count * 1_000_000), &segment, &mut all);
    }
    tracker.finish(&mut all);
    all
}

/// The one connection that packets between client and server make. A packet is
/// given as sender, flags, sequence number, ACK number and payload.
fn connection(packets: &[(u8, &str, u32, u32, &str)]) -> Connection {
    let segments = packets.iter().map(|&(from, flags, seq, ack, payload)| {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        segment(from, to, flags, seq, ack, payload.as_bytes())
    });
    let mut connections = track(segments).connections;
    assert_eq!(connections.len(), 1, "{connections:?}");
    connections.remove(0)
}

const HANDSHAKE: [(u8, &str, u32, u32, &str); 3] = [
    (CLIENT, "S", 100, 0, ""),
    (SERVER, "S.", 500, 101, ""),
    (CLIENT, ".", 101, 501, ""),
];

/// The handshake and what follows it.
fn established(packets: &[(u8, &str, u32, u32, &str)]) -> Connection {
    connection(&[&HANDSHAKE[..], packets].concat())
}

#[test]
fn a_connection_from_begin_to_end() {
    let connection = established(&[
        (CLIENT, "P.", 101, 501, "question"),
        (SERVER, ".", 501, 109, ""),
        (SERVER, "P.", 501, 109, "answer"),
        (SERVER, "F.", 507, 109, ""),
        (CLIENT, "F.", 109, 508, ""),
        (SERVER, ".", 508, 110, ""),
    ]);
    assert_eq!(connection.state, ConnState::Sf);
    assert_eq!(connection.history, "ShADadfF");
    assert_eq!(connection.orig.endpoint, endpoint(CLIENT));
    assert_eq!((connection.orig.bytes, connection.resp.bytes), (8, 6));
    assert_eq!((connection.orig.packets, connection.resp.packets), (4, 5));
    assert_eq!(connection.orig.ip_bytes, 4 * 40 + 8);
    // The ACK of the last FIN is late.
    assert_eq!(connection.duration_ns, 7_000_000);
    assert_eq!(connection.raw_duration_ns(), 8_000_000);
    assert_eq!(connection.syn_synack_ns, Some(1_000_000));
    assert_eq!(connection.synack_ack_ns, Some(1_000_000));
    assert_eq!(connection.initial_rtt_ns, Some(2_000_000));
}

#[test]
fn how_a_connection_went_is_told_in_one_word() {
    use ConnState as S;
    let client = |flags| (CLIENT, flags, 101, 501, "");
    let server = |flags| (SERVER, flags, 501, 101, "");
    for (packets, state, history) in [
        (vec![], S::S1, "ShA"),
        (vec![client("F.")], S::S2, "ShAF"),
        (vec![server("F.")], S::S3, "ShAf"),
        (vec![client("R")], S::Rsto, "ShAR"),
        (vec![server("R.")], S::Rstr, "ShAr"),
        (vec![server("F."), client("R")], S::Rsto, "ShAfR"),
        (
            vec![client("F."), client("R"), server("F.")],
            S::Sf,
            "ShAFRf",
        ),
    ] {
        let connection = established(&packets);
        assert_eq!((connection.state, &*connection.history), (state, history));
    }
    for (packets, state, history) in [
        (vec![HANDSHAKE[0]], S::S0, "S"),
        (vec![HANDSHAKE[0], HANDSHAKE[0]], S::S0, "S"),
        (vec![HANDSHAKE[0], (SERVER, "R.", 0, 101, "")], S::Rej, "Sr"),
        (vec![HANDSHAKE[0], client("F")], S::Sh, "SF"),
        (vec![HANDSHAKE[0], client("R")], S::Rstos0, "SR"),
        (vec![HANDSHAKE[1], server("R.")], S::Rstrh, "^hr"),
        (vec![HANDSHAKE[1], server("F.")], S::Shr, "^hf"),
        (vec![(CLIENT, "P.", 7, 7, "x")], S::Oth, "D"),
        (vec![(SERVER, "P.", 7, 7, "x")], S::Oth, "^d"),
        (vec![(CLIENT, "FR", 7, 7, "")], S::Oth, "I"),
    ] {
        let connection = connection(&packets);
        assert_eq!((connection.state, &*connection.history), (state, history));
        assert_eq!(connection.orig.endpoint, endpoint(CLIENT), "{history}");
    }
}

#[test]
fn the_receiver_of_a_syn_ack_is_the_originator_on_any_port() {
    let syn_ack = segment(7, 8, "S.", 500, 101, b"");
    let ack = segment(8, 7, ".", 101, 501, b"");
    for segments in [vec![syn_ack], vec![syn_ack, ack]] {
        let all = track(segments);
        assert_eq!(all.connections[0].orig.endpoint, endpoint(8));
        assert_eq!(&all.connections[0].history[..2], "^h");
    }
}

#[test]
fn a_syn_that_comes_after_its_answer_begins_the_connection() {
    let all = track([
        segment(7, 8, "S.", 500, 101, b""),
        segment(8, 7, "S", 100, 0, b""),
        segment(8, 7, ".", 101, 501, b""),
    ]);
    let connection = &all.connections[0];
    assert_eq!(connection.state, ConnState::S1);
    assert_eq!(connection.history, "^hSA");
    assert_eq!(connection.orig.endpoint, endpoint(8));
    assert!(!connection.reused_ports);
}

#[test]
fn packets_are_told_by_what_they_bring() {
    let connection = established(&[
        (CLIENT, ".", 101, 501, "aaaa"),
        (CLIENT, ".", 109, 501, "cccc"), // before b: a hole
        (CLIENT, ".", 101, 501, "aaaa"), // again
        (CLIENT, ".", 105, 501, "bbbb"), // late
        (CLIENT, ".", 111, 501, "ccdd"), // half new
        (CLIENT, ".", 125, 501, "ffff"), // a hole that stays
        (CLIENT, "F.", 129, 501, ""),
        (CLIENT, "F.", 129, 501, ""),
    ]);
    let orig = &connection.orig;
    assert_eq!(orig.wire_bytes, 24);
    assert_eq!(orig.uniq_bytes, 18);
    assert_eq!(orig.gap_bytes, 10);
    assert_eq!(orig.bytes, 28);
    assert_eq!(orig.data_packets, 6);
    assert_eq!(orig.duplicate_packets, 1);
    assert_eq!(orig.retransmitted_packets, 2); // with the FIN
    assert_eq!(orig.late_packets, 2);
    assert_eq!(orig.fin_packets, 2);
}

#[test]
fn what_was_acknowledged_and_not_seen_is_missing() {
    let connection = established(&[
        (SERVER, ".", 501, 101, "aaaa"),
        (SERVER, ".", 509, 101, "cccc"),
        (CLIENT, ".", 101, 513, ""),
        (CLIENT, ".", 101, 515, ""),
        (SERVER, ".", 505, 101, "bbbb"), // too late
    ]);
    assert_eq!(connection.missed_bytes, 6);
    assert_eq!(connection.history, "ShAdgt");
}

#[test]
fn sequence_numbers_wrap() {
    let mut segments = vec![
        segment(CLIENT, SERVER, "S", u32::MAX - 1, 0, b""),
        segment(SERVER, CLIENT, "S.", 0, u32::MAX, b""),
    ];
    let payload = vec![0; 60_000];
    let mut seq = u32::MAX;
    let count = 150_000; // 9 GB: two wraps
    for _ in 0..count {
        segments.push(segment(CLIENT, SERVER, ".", seq, 1, &payload));
        seq = seq.wrapping_add(60_000);
    }
    let all = track(segments);
    let orig = &all.connections[0].orig;
    assert_eq!(orig.bytes, count * 60_000);
    assert_eq!(orig.uniq_bytes, count * 60_000);
    assert_eq!((orig.gap_bytes, orig.retransmitted_packets), (0, 0));
}

#[test]
fn a_syn_with_another_number_begins_another_connection() {
    let again = segment(CLIENT, SERVER, "S", 9000, 0, b"");
    let segments = HANDSHAKE.map(|(from, flags, seq, ack, _)| {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        segment(from, to, flags, seq, ack, b"")
    });
    let all = track(segments.into_iter().chain([segments[0], again, again]));
    let told: Vec<_> = all
        .connections
        .iter()
        .map(|connection| (connection.orig.packets, connection.reused_ports))
        .collect();
    assert_eq!(told, [(3, false), (2, true)]);
}

#[test]
fn a_scope_keeps_connections_apart() {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for (scope, cookie) in [(1, Some(11)), (2, Some(22)), (1, None)] {
        let seen = Seen {
            ts_ns: 0,
            scope,
            cookie,
        };
        tracker.segment(seen, &segment(CLIENT, SERVER, "S", 1, 0, b""), &mut all);
    }
    tracker.finish(&mut all);
    let told: Vec<_> = all
        .connections
        .iter()
        .map(|connection| {
            (
                connection.scope,
                connection.orig.packets,
                connection.orig.cookie,
            )
        })
        .collect();
    assert_eq!(told, [(1, 2, Some(11)), (2, 1, Some(22))]);
}

#[test]
fn both_ends_may_be_the_same() {
    let all = track([
        segment(5, 5, "S", 1, 0, b""),
        segment(5, 5, "S.", 1, 2, b""),
    ]);
    assert_eq!(all.connections.len(), 1);
    assert_eq!(
        all.connections[0].orig.packets + all.connections[0].resp.packets,
        2
    );
}

#[test]
fn too_many_connections_are_finished_early() {
    let mut all = All::default();
    let mut tracker = Tracker::new(Limits {
        connections: 16,
        lingering: 4,
    });
    for host in 100..=255 {
        let syn = segment(host, SERVER, "S", 1, 0, b"");
        tracker.segment(at(i64::from(host)), &syn, &mut all);
        // The first stays busy.
        tracker.segment(
            at(i64::from(host)),
            &segment(100, SERVER, ".", 2, 0, b""),
            &mut all,
        );
    }
    assert_eq!(tracker.evicted_connections(), all.connections.len() as u64);
    assert!((140..156).contains(&all.connections.len()));
    tracker.finish(&mut all);
    assert_eq!(all.connections.len(), 156);
    let first = all.connections.iter().find(|it| it.id.0 == 0).unwrap();
    assert_eq!(first.orig.packets, 157);
}

#[test]
fn what_is_over_waits_for_late_packets() {
    let mut all = All::default();
    let mut tracker = Tracker::new(Limits {
        connections: 1000,
        lingering: 4,
    });
    for host in 100..110 {
        for flags in ["S", "R"] {
            let segment = segment(host, SERVER, flags, 1, 0, b"");
            tracker.segment(at(0), &segment, &mut all);
        }
    }
    assert_eq!(all.connections.len(), 6);
    tracker.segment(at(0), &segment(SERVER, 109, "R.", 0, 2, b""), &mut all);
    tracker.finish(&mut all);
    assert_eq!(all.connections.len(), 10);
    assert_eq!(all.connections[9].resp.packets, 1);
    assert_eq!(all.connections[9].history, "SRr");
}

#[test]
fn requests_come_before_their_connection() {
    let get = b"GET / HTTP/1.1\r\n\r\n";
    let all = track([
        segment(CLIENT, SERVER, "S", 100, 0, b""),
        segment(CLIENT, SERVER, "P.", 101, 1, get),
        segment(CLIENT, SERVER, "R", 119, 1, get),
    ]);
    assert_eq!(all.requests.len(), 1);
    assert_eq!(all.requests[0].connection, all.connections[0].id);
    assert_eq!(all.connections[0].requests, 1);
}

/// The pieces of an IP payload, cut at 24 bytes, the first with a TCP header.
fn fragments(payload: &[u8]) -> Vec<Fragment<'_>> {
    let last = payload.len().div_ceil(24) - 1;
    payload
        .chunks(24)
        .enumerate()
        .map(|(count, data)| {
            let first = count == 0;
            let mut fragment = Fragment {
                src: endpoint(CLIENT),
                dst: endpoint(SERVER),
                flags: TcpFlags::default(),
                id: 5,
                offset_bytes: count as u32 * 24,
                more: count != last,
                ip_bytes: 20 + data.len() as u32,
                header_bytes: if first { 54 } else { 34 },
                payload_bytes: data.len() as u32 - if first { 20 } else { 0 },
                data,
                tunnels: 0,
            };
            if !first {
                (fragment.src.port, fragment.dst.port) = (0, 0);
            }
            fragment
        })
        .collect()
}

/// The IP payload of a segment with a SYN.
fn whole(payload_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![
        0x9c, 0x40, 0, 80, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0,
    ];
    bytes.extend((0..payload_bytes).map(|count| count as u8));
    bytes
}

#[test]
fn fragments_make_a_segment_in_any_order() {
    let bytes = whole(100);
    let mut pieces = fragments(&bytes);
    for turn in 0..pieces.len() {
        pieces.rotate_left(1);
        let mut all = All::default();
        let mut tracker = Tracker::default();
        let mut ids = Vec::new();
        for piece in &pieces {
            ids.push(tracker.fragment(at(0), piece, &mut all));
        }
        assert_eq!(ids.iter().flatten().count(), 1, "{turn}");
        assert!(ids.last().unwrap().is_some());
        tracker.finish(&mut all);
        let orig = &all.connections[0].orig;
        assert_eq!((orig.packets, orig.syn_packets), (1, 1));
        assert_eq!((orig.wire_bytes, orig.ip_bytes), (100, 120 + 20 * 5));
        assert_eq!(orig.endpoint, endpoint(CLIENT));
    }
}

#[test]
fn fragments_that_do_not_fit_make_no_segment() {
    let bytes = whole(100);
    let pieces = fragments(&bytes);
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for piece in &pieces[1..] {
        assert_eq!(tracker.fragment(at(0), piece, &mut all), None);
    }
    // Of another packet, of another host, beyond the end of any, and too late.
    let first = pieces[0];
    let others = [
        Fragment { id: 6, ..first },
        Fragment {
            src: endpoint(8),
            ..first
        },
        Fragment {
            offset_bytes: u32::MAX,
            ..first
        },
    ];
    for other in &others {
        assert_eq!(tracker.fragment(at(0), other, &mut all), None);
    }
    assert_eq!(tracker.fragment(at(61_000_000_000), &first, &mut all), None);
}

#[test]
fn cut_fragments_give_what_was_captured() {
    let bytes = whole(100);
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for mut piece in fragments(&bytes) {
        piece.data = &piece.data[..piece.data.len().min(22)];
        tracker.fragment(at(0), &piece, &mut all);
    }
    tracker.finish(&mut all);
    assert_eq!(all.connections[0].orig.wire_bytes, 100);
}

#[derive(Debug, Clone)]
struct Any {
    from: u8,
    to: u8,
    flags: u8,
    seq: u32,
    ack: u32,
    window: u16,
    payload: usize,
    kept: usize,
    ts_ns: i64,
}

fn any_segment() -> impl Strategy<Value = Any> {
    let number = || {
        prop_oneof![
            0..30u32,
            Just(u32::MAX),
            any::<u32>(),
            (1u32 << 31)..(1 << 31) + 9
        ]
    };
    (
        (1..4u8, 1..4u8, any::<u8>(), number(), number()),
        (0..2u16, 0..40usize, 0..40usize, -5..1000i64),
    )
        .prop_map(
            |((from, to, flags, seq, ack), (window, payload, kept, ts_ns))| Any {
                from,
                to,
                flags,
                seq,
                ack,
                window,
                payload,
                kept,
                ts_ns,
            },
        )
}

proptest! {
    /// Whatever comes: every packet is in one connection, and the sums hold.
    #[test]
    fn any_segments(
        segments in prop::collection::vec(any_segment(), 0..200),
        connections in 1..5usize,
        lingering in 0..3usize,
    ) {
        let text = b"GET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0123456789";
        let mut all = All::default();
        let mut tracker = Tracker::new(Limits { connections, lingering });
        let (mut packets, mut wire_bytes) = (0, 0);
        for any in &segments {
            let payload = &text[..any.payload];
            let mut segment = segment(any.from, any.to, "", any.seq, any.ack, payload);
            segment.flags = TcpFlags(any.flags);
            segment.window = any.window;
            segment.payload = &payload[..any.kept.min(any.payload)];
            tracker.segment(at(any.ts_ns), &segment, &mut all);
            packets += 1;
            wire_bytes += any.payload as u64;
        }
        tracker.finish(&mut all);
        let ends = || all.connections.iter().flat_map(|it| [&it.orig, &it.resp]);
        prop_assert_eq!(ends().map(|end| end.packets).sum::<u64>(), packets);
        prop_assert_eq!(ends().map(|end| end.wire_bytes).sum::<u64>(), wire_bytes);
        for end in ends() {
            prop_assert!(end.uniq_bytes <= end.wire_bytes);
            prop_assert!(end.duplicate_packets + end.late_packets <= end.data_packets);
            prop_assert!(end.data_packets <= end.packets);
        }
        let requests: u64 = all.connections.iter().map(|it| it.requests).sum();
        prop_assert_eq!(requests, all.requests.len() as u64);
        for connection in &all.connections {
            prop_assert!(connection.first_ns <= connection.last_ns);
            prop_assert!(connection.history.len() <= 130);
        }
    }

    /// Whatever pieces come: no panic, and memory stays bounded.
    #[test]
    fn any_fragments(pieces in prop::collection::vec(
        (0..3u8, 0..3u32, any::<u16>(), any::<bool>(), 0..70u32, 0..70usize), 0..400))
    {
        let bytes = whole(70);
        let mut all = All::default();
        let mut tracker = Tracker::default();
        for (host, id, offset, more, payload_bytes, kept) in pieces {
            let mut fragment = fragments(&bytes)[0];
            fragment.src = endpoint(host);
            fragment.id = id;
            fragment.offset_bytes = u32::from(offset) * 8;
            fragment.more = more;
            fragment.payload_bytes = payload_bytes;
            fragment.data = &bytes[..kept];
            tracker.fragment(at(0), &fragment, &mut all);
        }
        tracker.finish(&mut all);
    }
}
