//! Generic routing encapsulation (RFC 2784, RFC 2890; version 1: RFC 2637), and
//! the headers of mirrored traffic inside it.

use super::super::rest::Rest;
use super::super::{Layer, LinkType, Other, Step, ether, looks_like};

/// Passes over a GRE header and what belongs to it.
pub(super) fn gre(rest: Rest<'_>) -> Step<'_> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGMENT: u16 = 0x0080;
    const VERSION: u16 = 0x0007;

    const ERSPAN: u16 = 0x88be;
    const ERSPAN_III: u16 = 0x22eb;
    const WCCP: u16 = 0x883e;

    let flags = rest.u16(0)?;
    let protocol = rest.u16(2)?;
    let present = match flags & VERSION {
        // Source routing (RFC 1701) was never in use.
        0 if flags & ROUTING == 0 => flags & (CHECKSUM | KEY | SEQUENCE),
        1 => flags & (KEY | SEQUENCE | ACKNOWLEDGMENT),
        _ => return Err(Other::NotTcp),
    };
    let rest = rest.skip(4 + present.count_ones() as usize * 4)?.tunneled();
    match protocol {
        // Type I has no header of its own, type II a sequence number and 8 bytes.
        ERSPAN if flags & SEQUENCE == 0 => Ok((Layer::Link(LinkType::ETHERNET), rest)),
        ERSPAN => Ok((Layer::Link(LinkType::ETHERNET), rest.skip(8)?)),
        ERSPAN_III => erspan_iii(rest),
        // Version 2 puts 4 bytes before the packet.
        WCCP if looks_like::ip(rest) => Ok((Layer::Ip, rest)),
        WCCP => Ok((Layer::Ip, rest.skip(4)?)),
        // Aruba's access points.
        0x8200..=0x837f | 0x9000 => Ok((Layer::Link(LinkType::IEEE802_11), rest)),
        ether::TRANSPARENT_BRIDGING => Ok((Layer::Link(LinkType::ETHERNET), rest)),
        ether::PPP => Ok((Layer::Link(LinkType::PPP), rest)),
        _ => ether::protocol(protocol, rest),
    }
}

/// Type III of Cisco's encapsulated remote switched port analyzer
/// (draft-foschiano-erspan-03).
fn erspan_iii(rest: Rest<'_>) -> Step<'_> {
    const SUBHEADER: u16 = 0x0001;
    let word = rest.u16(10)?;
    let frame_type = word >> 10 & 0x1f;
    let header_bytes = if word & SUBHEADER == 0 { 12 } else { 20 };
    let rest = rest.skip(header_bytes)?;
    match frame_type {
        0 => Ok((Layer::Link(LinkType::ETHERNET), rest)),
        2 => Ok((Layer::Ip, rest)),
        _ => Err(Other::NotTcp),
    }
}
