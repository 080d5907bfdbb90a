//! Segments at random.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tcprec_shared::headers::TcpFlags;

use super::{All, at, segment};
use crate::tcp::{Limits, Tracker};

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
        waiting_bytes in prop_oneof![Just(0), Just(1000), Just(100_000)],
    ) {
        let text = b"GET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0123456789";
        let mut all = All::default();
        let limits = Limits { connections, lingering, waiting_bytes, kept_bytes: 100 };
        let mut tracker = Tracker::new(limits);
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
        all.finish(tracker);
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
        let numbers = all.requests.iter().map(|it| (it.connection, it.index));
        prop_assert_eq!(requests, numbers.collect::<BTreeSet<_>>().len() as u64);
        for connection in &all.connections {
            prop_assert!(connection.first_ns <= connection.last_ns);
            prop_assert!(connection.history.len() <= 130);
        }
    }
}
