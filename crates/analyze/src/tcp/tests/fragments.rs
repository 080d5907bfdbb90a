//! Segments from fragments.

use proptest::prelude::*;
use tcprec_shared::headers::{Fragment, Headers, TcpFlags, TunnelFragment};

use super::{All, CLIENT, SERVER, at, endpoint};
use crate::tcp::{Connection, Fragments, Tracker};

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

/// What becomes of pieces that come one a nanosecond: the connection, and which
/// of the pieces made segments whole.
fn track<'a>(pieces: impl IntoIterator<Item = Headers<'a>>) -> (Option<Connection>, Vec<usize>) {
    let (mut fragments, mut tracker) = (Fragments::default(), Tracker::default());
    let (mut all, mut made) = (All::default(), Vec::new());
    for (count, piece) in pieces.into_iter().enumerate() {
        let seen = at(count as i64);
        if let Some(whole) = fragments.take(seen, &piece) {
            tracker.segment(seen, &whole.segment().unwrap(), &mut all);
            made.push(count);
        }
    }
    all.finish(tracker);
    (all.connections.pop(), made)
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
        let (connection, made) = track(pieces.iter().copied().map(Headers::Fragment));
        assert_eq!(made, [pieces.len() - 1], "{turn}");
        let orig = connection.unwrap().orig;
        assert_eq!((orig.packets, orig.syn_packets), (1, 1));
        assert_eq!((orig.wire_bytes, orig.ip_bytes), (100, 120 + 20 * 5));
        assert_eq!(orig.endpoint, endpoint(CLIENT));
    }
}

#[test]
fn fragments_that_do_not_fit_make_no_segment() {
    let bytes = whole(100);
    let pieces = fragments(&bytes);
    let mut fragments = Fragments::default();
    let mut makes_segment = |ns, piece: &Fragment<'_>| {
        let whole = fragments.take(at(ns), &Headers::Fragment(*piece));
        whole.is_some()
    };
    for piece in &pieces[1..] {
        assert!(!makes_segment(0, piece));
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
        assert!(!makes_segment(0, other));
    }
    assert!(!makes_segment(61_000_000_000, &first));
}

#[test]
fn cut_fragments_give_what_was_captured() {
    let bytes = whole(100);
    let cut = fragments(&bytes).into_iter().map(|mut piece| {
        piece.data = &piece.data[..piece.data.len().min(22)];
        Headers::Fragment(piece)
    });
    let (connection, _) = track(cut);
    assert_eq!(connection.unwrap().orig.wire_bytes, 100);
}

proptest! {
    /// Whatever pieces come: no panic, and memory stays bounded.
    #[test]
    fn any_fragments(pieces in prop::collection::vec(
        (0..3u8, 0..3u32, any::<u16>(), any::<bool>(), 0..70u32, 0..70usize), 0..400))
    {
        let bytes = whole(70);
        let pieces = pieces.into_iter().map(|(host, id, offset, more, payload_bytes, kept)| {
            let mut fragment = fragments(&bytes)[0];
            fragment.src = endpoint(host);
            fragment.id = id;
            fragment.offset_bytes = u32::from(offset) * 8;
            fragment.more = more;
            fragment.payload_bytes = payload_bytes;
            fragment.data = &bytes[..kept];
            Headers::Fragment(fragment)
        });
        track(pieces);
    }
}

/// A tunnel's packet in pieces: IP in IP, protocol 4 (RFC 2003).
fn tunnel_fragments(inside: &[u8]) -> Vec<TunnelFragment<'_>> {
    let last = inside.len().div_ceil(24) - 1;
    let pieces = inside.chunks(24).enumerate();
    pieces
        .map(|(count, data)| TunnelFragment {
            src: [10, 9, 0, 1].into(),
            dst: [10, 9, 0, 2].into(),
            protocol: 4,
            id: 7,
            offset_bytes: count as u32 * 24,
            more: count != last,
            payload_bytes: data.len() as u32,
            data,
        })
        .collect()
}

#[test]
fn fragments_of_a_tunnel_make_the_segment_inside_when_the_last_comes() {
    let segment = whole(60);
    let mut inside = vec![
        0x45, 0, 0, 100, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, CLIENT, 10, 0, 0, SERVER,
    ];
    inside.extend(&segment);
    let mut pieces = tunnel_fragments(&inside);
    for turn in 0..pieces.len() {
        pieces.rotate_left(1);
        let (connection, made) = track(pieces.iter().copied().map(Headers::TunnelFragment));
        assert_eq!(made, [pieces.len() - 1], "{turn}");
        let connection = connection.unwrap();
        assert_eq!(connection.orig.endpoint, endpoint(CLIENT));
        assert_eq!(connection.orig.wire_bytes, 60);
        assert_eq!(connection.orig.ip_bytes, 100);
        assert_eq!(connection.first_ns, pieces.len() as i64 - 1);
    }
}
