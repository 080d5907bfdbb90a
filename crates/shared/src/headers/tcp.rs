//! The TCP header (RFC 9293 section 3.1).

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::network::{Packet, Place};
use super::rest::Rest;
use super::{Fragment, Headers, Other, Segment};
use crate::flow::Endpoint;

/// Length of the header without options.
pub(super) const FIXED_BYTES: u32 = 20;

/// TCP flags (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

#[allow(missing_docs)]
impl TcpFlags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const PSH: Self = Self(0x08);
    pub const ACK: Self = Self(0x10);
    pub const URG: Self = Self(0x20);
    pub const ECE: Self = Self(0x40);
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// As tcpdump writes them: `S.` is SYN with ACK, `none` is no flag.
impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        "FSRP.UEW"
            .chars()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0)
            .try_for_each(|(_, letter)| f.write_char(letter))
    }
}

/// The fixed part of a header, where its data offset makes sense.
pub(super) struct Header {
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) header_bytes: u32,
    pub(super) flags: TcpFlags,
    pub(super) window: u16,
}

impl Header {
    fn read(rest: Rest<'_>) -> Result<Self, Other> {
        Self::parse(rest.bytes(0)?).ok_or(Other::Malformed)
    }

    /// None if the data offset points into the fixed part.
    #[inline]
    pub(super) fn parse(fixed: [u8; FIXED_BYTES as usize]) -> Option<Self> {
        let [
            s0,
            s1,
            d0,
            d1,
            q0,
            q1,
            q2,
            q3,
            a0,
            a1,
            a2,
            a3,
            offset,
            flags,
            w0,
            w1,
            ..,
        ] = fixed;
        let header_bytes = u32::from(offset >> 4) * 4;
        (header_bytes >= FIXED_BYTES).then_some(Self {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port: u16::from_be_bytes([d0, d1]),
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            header_bytes,
            flags: TcpFlags(flags),
            window: u16::from_be_bytes([w0, w1]),
        })
    }

    #[inline]
    pub(super) const fn options_bytes(&self) -> u8 {
        (self.header_bytes - FIXED_BYTES) as u8
    }
}

/// What an IP packet with TCP inside holds: a segment or a piece of one.
pub(super) fn headers<'a>(packet: &Packet<'a>) -> Headers<'a> {
    match packet.fragment {
        None => segment(packet).map_or_else(Headers::Other, Headers::Segment),
        Some(place) => fragment(packet, place).map_or_else(Headers::Other, Headers::Fragment),
    }
}

fn segment<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, Other> {
    let rest = packet.payload;
    let header = Header::read(rest)?;
    let payload_bytes = rest
        .wire_bytes
        .checked_sub(header.header_bytes)
        .ok_or(Other::Malformed)?;
    // A header may be cut within its options: all lengths are known even so.
    let (header_data, payload) = rest
        .data
        .split_at_checked(header.header_bytes as usize)
        .unwrap_or((rest.data, &[]));
    Ok(Segment {
        src: Endpoint {
            addr: packet.src,
            port: header.src_port,
        },
        dst: Endpoint {
            addr: packet.dst,
            port: header.dst_port,
        },
        seq: header.seq,
        ack: header.ack,
        flags: header.flags,
        window: header.window,
        options: header_data.get(FIXED_BYTES as usize..).unwrap_or_default(),
        options_bytes: header.options_bytes(),
        ip_bytes: packet.ip_bytes,
        ttl: packet.ttl,
        header_bytes: rest.offset_bytes.saturating_add(header.header_bytes),
        payload_bytes,
        payload,
        tunnels: rest.tunnels,
    })
}

fn fragment<'a>(packet: &Packet<'a>, place: Place) -> Result<Fragment<'a>, Other> {
    let rest = packet.payload;
    let mut fragment = Fragment {
        src: Endpoint::new(packet.src, 0),
        dst: Endpoint::new(packet.dst, 0),
        flags: TcpFlags::default(),
        id: place.id,
        offset_bytes: place.offset_bytes,
        more: place.more,
        ip_bytes: packet.ip_bytes,
        header_bytes: rest.offset_bytes,
        payload_bytes: rest.wire_bytes,
        data: rest.data,
        tunnels: rest.tunnels,
    };
    // A tiny first fragment does not hold enough of the header to say more.
    if place.first && rest.wire_bytes >= FIXED_BYTES {
        let header = Header::read(rest)?;
        // The options may go on in the next fragment.
        let header_bytes = header.header_bytes.min(rest.wire_bytes);
        fragment.src.port = header.src_port;
        fragment.dst.port = header.dst_port;
        fragment.flags = header.flags;
        fragment.header_bytes = rest.offset_bytes.saturating_add(header_bytes);
        fragment.payload_bytes = rest.wire_bytes - header_bytes;
    }
    Ok(fragment)
}

/// Parses the TCP segment that is the payload of a whole IP packet, put
/// together from its fragments; `ip_bytes` is the total length to give it.
///
/// Offsets count from the start of `payload`. None if the header makes no sense.
#[must_use]
pub fn segment_of_payload(
    src: IpAddr,
    dst: IpAddr,
    ip_bytes: u32,
    payload: &[u8],
) -> Option<Segment<'_>> {
    segment(&Packet {
        src: src.to_canonical(),
        dst: dst.to_canonical(),
        ip_bytes,
        ttl: 0,
        protocol: etherparse::IpNumber::TCP,
        payload: Rest::new(payload, 0),
        fragment: None,
    })
    .ok()
}
