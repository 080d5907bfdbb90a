//! The header parser against bytes that nobody meant well with: it never
//! panics, and what it finds lies within the packet.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic too")]

mod captures;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tcprec_shared::headers::{self, Fragment, Headers, LinkType, Other, Segment, TunnelFragment};

/// A frame of a fixture.
#[derive(Debug, Clone)]
struct Frame {
    link: LinkType,
    wire_bytes: u32,
    data: Vec<u8>,
}

fn frames() -> Vec<Frame> {
    let mut frames = Vec::new();
    for (_, input) in captures::fixtures() {
        captures::each_packet(&input, |link, packet| {
            frames.push(Frame {
                link,
                wire_bytes: packet.wire_bytes,
                data: packet.data.to_vec(),
            });
            Ok(())
        })
        .unwrap();
    }
    assert!(frames.len() > 500, "only {} frames", frames.len());
    frames
}

/// Parses, and checks that what was found lies where it is said to.
fn parse(frame: &Frame) -> Headers<'_> {
    let headers = headers::parse(frame.link, &frame.data, frame.wire_bytes);
    match headers {
        Headers::Segment(segment) => {
            assert!(segment.options.len() <= 40);
            assert!(segment.payload.len() <= segment.payload_bytes as usize);
            assert!(segment.payload_bytes < segment.ip_bytes);
            if !segment.payload.is_empty() {
                let rest = &frame.data[segment.header_bytes as usize..];
                assert!(std::ptr::eq(rest.as_ptr(), segment.payload.as_ptr()));
            }
        }
        Headers::Fragment(fragment) => {
            assert!(fragment.payload_bytes < fragment.ip_bytes);
            assert!(fragment.data.len() <= fragment.ip_bytes as usize);
        }
        Headers::TunnelFragment(fragment) => {
            assert!(fragment.data.len() <= fragment.payload_bytes as usize);
        }
        Headers::Other(_) => {}
    }
    headers
}

/// Headers without what was captured of options and payload.
fn lengths(headers: Headers<'_>) -> Headers<'_> {
    match headers {
        Headers::Segment(segment) => Headers::Segment(Segment {
            options: &[],
            payload: &[],
            ..segment
        }),
        Headers::Fragment(fragment) => Headers::Fragment(Fragment {
            data: &[],
            ..fragment
        }),
        Headers::TunnelFragment(fragment) => Headers::TunnelFragment(TunnelFragment {
            data: &[],
            ..fragment
        }),
        Headers::Other(_) => headers,
    }
}

#[test]
fn a_cut_packet_says_the_same_or_nothing() {
    for frame in frames() {
        let whole = lengths(parse(&frame));
        for captured in 0..frame.data.len() {
            let cut = Frame {
                data: frame.data[..captured].to_vec(),
                ..frame
            };
            match parse(&cut) {
                Headers::Other(Other::Malformed) => {
                    assert_eq!(whole, Headers::Other(Other::Malformed), "{frame:?}");
                }
                Headers::Other(_) => {}
                headers => assert_eq!(lengths(headers), whole, "{captured} bytes of {frame:?}"),
            }
        }
    }
}

#[test]
fn endless_nesting_comes_to_an_end() {
    let mpls: &[u8] = &[0x88, 0x47, 0, 0, 0x01, 64, 0, 0, 0, 0];
    let mut in_gre = vec![
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    in_gre.extend([0, 0, 0x08, 0]);
    let mut in_vxlan = vec![0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    in_vxlan.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0x12, 0xb5, 0, 0, 0, 0]);
    in_vxlan.extend([0x08, 0, 0, 0, 0, 0, 0, 0]);
    let macs: &[u8] = &[2; 12];
    let levels = [
        (LinkType::ETHERNET, [macs, mpls].concat()),
        (LinkType::ETHERNET, [macs, &[0x65, 0x58]].concat()),
        (LinkType::ETHERNET, [macs, &in_vxlan].concat()),
        (LinkType::RAW, in_gre),
        (LinkType::MPLS, vec![0, 0, 0, 64]),
        (LinkType::PPI, vec![0, 0, 8, 0, 192, 0, 0, 0]),
    ];
    for (link, level) in levels {
        let data = level.repeat(65_536 / level.len());
        let wire_bytes = data.len() as u32;
        let frame = Frame {
            link,
            wire_bytes,
            data,
        };
        assert_eq!(parse(&frame), Headers::Other(Other::Malformed), "{level:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_packets(
        frame in select(frames()),
        damages in vec(any::<(Index, u8)>(), 1..8),
        wire_bytes in prop_oneof![3 => Just(None), 1 => any::<u32>().prop_map(Some)],
        link in prop_oneof![3 => Just(None), 1 => (0..300_u16).prop_map(|l| Some(LinkType(l)))],
    ) {
        let mut frame = frame;
        for (at, damage) in damages {
            // The headers are at the beginning.
            let at = at.index(frame.data.len().clamp(1, 120));
            if let Some(byte) = frame.data.get_mut(at) {
                *byte = damage;
            }
        }
        frame.wire_bytes = wire_bytes.unwrap_or(frame.wire_bytes);
        frame.link = link.unwrap_or(frame.link);
        parse(&frame);
    }

    #[test]
    fn random_bytes(link in 0..300_u16, data in vec(any::<u8>(), 0..200), wire_bytes: u32) {
        parse(&Frame { link: LinkType(link), wire_bytes, data });
    }
}
