//! Packets that go everywhere in both parsers: stacks of VLAN tags, chains of
//! extension headers, fragments, lengths that are right, 0 or lies, cut and
//! damaged ones.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A packet, and whether it begins with IP.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    pub(crate) network_only: bool,
    pub(crate) bytes: Vec<u8>,
}

/// A packet with up to 4 VLAN tags: the kernel follows no more.
pub(crate) fn packet() -> impl Strategy<Value = Generated> {
    let whole = prop_oneof![8 => ip(payload()), 1 => vec(any::<u8>(), 0..120)];
    (link(), whole, padding(), cut(), damages()).prop_map(|(link, ip, padding, cut, damages)| {
        let network_only = link.is_none();
        let mut bytes = link.unwrap_or_default();
        bytes.extend(ip);
        bytes.extend(padding);
        bytes.truncate(cut);
        for (at, damage) in damages {
            let at = at.index(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = damage;
            }
        }
        Generated {
            network_only,
            bytes,
        }
    })
}

/// An Ethernet header with tags, or none.
fn link() -> impl Strategy<Value = Option<Vec<u8>>> {
    let tag = select(vec![0x8100_u16, 0x88a8, 0x9100]);
    let ether_type = prop_oneof![
        8 => select(vec![0x0800_u16, 0x86dd]),
        1 => select(vec![0x0806, 0x8847, 0x8864, 0x0100]),
    ];
    let link = (vec(tag, 0..=4), ether_type).prop_map(|(tags, ether_type)| {
        let mut bytes = vec![2; 12];
        for tag in tags {
            bytes.extend(tag.to_be_bytes());
            bytes.extend([0, 7]);
        }
        bytes.extend(ether_type.to_be_bytes());
        bytes
    });
    prop_oneof![3 => link.prop_map(Some), 1 => Just(None)]
}

/// What the length field of an IP header says.
#[derive(Debug, Clone, Copy)]
enum Length {
    Right,
    Zero,
    Off(i16),
}

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![
        6 => Just(Length::Right),
        1 => Just(Length::Zero),
        2 => (-80_i16..80).prop_map(Length::Off),
        1 => any::<i16>().prop_map(Length::Off),
    ]
}

impl Length {
    fn of(self, bytes: usize) -> [u8; 2] {
        let right = bytes as u16;
        match self {
            Self::Right => right,
            Self::Zero => 0,
            Self::Off(by) => right.wrapping_add_signed(by),
        }
        .to_be_bytes()
    }
}

/// A packet of either version around a payload and its protocol.
fn ip(payload: impl Strategy<Value = (u8, Vec<u8>)>) -> impl Strategy<Value = Vec<u8>> {
    (
        any::<bool>(),
        payload,
        length(),
        any::<[u8; 32]>(),
        fragment(),
        0..=10_usize,
    )
        .prop_map(
            |(is_v6, (protocol, payload), length, addresses, fragment, options)| {
                if is_v6 {
                    let mut bytes = vec![0x60, 0, 0, 0];
                    bytes.extend(length.of(payload.len()));
                    bytes.extend([protocol, 64]);
                    bytes.extend(addresses);
                    bytes.extend(payload);
                    return bytes;
                }
                let options = options.saturating_sub(5);
                let mut bytes = vec![0x45 + options as u8, 0];
                bytes.extend(length.of(20 + options * 4 + payload.len()));
                bytes.extend([0, 9]);
                let (offset, more) = fragment;
                bytes.extend((offset | u16::from(more) << 13).to_be_bytes());
                bytes.extend([64, protocol, 0, 0]);
                bytes.extend(&addresses[..8]);
                bytes.extend(vec![1; options * 4]);
                bytes.extend(payload);
                bytes
            },
        )
}

/// Offset in units of 8 bytes, and whether more fragments follow.
fn fragment() -> impl Strategy<Value = (u16, bool)> {
    prop_oneof![
        6 => Just((0, false)),
        1 => Just((0, true)),
        1 => (select(vec![1, 2, 3, 0x0fff, 0x1000, 0x1fff]), any::<bool>()),
    ]
}

/// A chain of extension headers with something at its end.
fn payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (vec(extension(), 0..=9), chain_end()).prop_map(|(extensions, (mut protocol, end))| {
        let mut bytes = end;
        for (number, mut header) in extensions.into_iter().rev() {
            header[0] = protocol;
            header.extend(bytes);
            (protocol, bytes) = (number, header);
        }
        (protocol, bytes)
    })
}

/// An extension header: its number and its bytes.
fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let sized = |number: u8, unit: usize, fixed: usize| {
        (0..4_u8).prop_map(move |length| {
            let mut header = vec![0; (usize::from(length) + fixed) * unit];
            header[1] = length;
            (number, header)
        })
    };
    let fragment = fragment().prop_map(|(offset, more)| {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        (44, vec![0, 0, high, low, 0, 0, 0, 9])
    });
    prop_oneof![
        2 => sized(0, 8, 1),
        2 => sized(43, 8, 1),
        2 => sized(60, 8, 1),
        2 => sized(51, 4, 2),
        1 => fragment,
    ]
}

/// TCP for the most part.
fn chain_end() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let tcp = (
        any::<[u8; 20]>(),
        prop_oneof![6 => 5..=7_u8, 1 => 0..=15_u8],
        vec(any::<u8>(), 0..80),
    )
        .prop_map(|(mut header, words, rest)| {
            header[12] = words << 4;
            let mut bytes = header.to_vec();
            bytes.extend(rest);
            (6, bytes)
        });
    prop_oneof![
        6 => tcp,
        1 => (any::<u8>(), vec(any::<u8>(), 0..80)),
    ]
}

fn padding() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<u8>(), 0..60)]
}

fn cut() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(usize::MAX), 1 => 0..100_usize]
}

fn damages() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<(prop::sample::Index, u8)>(), 1..4)]
}
