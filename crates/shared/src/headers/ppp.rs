//! Serial lines: PPP (RFC 1661), in HDLC-like framing (RFC 1662), over Ethernet
//! (RFC 2516), and the framings it shares lines with.

use super::rest::Rest;
use super::{Layer, LinkType, Other, Step, ether};

/// HDLC's address and control field in PPP (RFC 1662 section 3.1).
const ALL_STATIONS: [u8; 2] = [0xff, 0x03];

/// PPP, with or without HDLC's address and control field.
pub(super) fn ppp(rest: Rest<'_>) -> Step<'_> {
    let rest = if rest.bytes(0)? == ALL_STATIONS {
        rest.skip(2)?
    } else {
        rest
    };
    // The last byte of the protocol number is odd, the one before it even; a
    // zero before it may be left out (RFC 1661 section 6.5).
    let first = rest.u8(0)?;
    let (protocol, rest) = if first & 1 == 1 {
        (first.into(), rest.skip(1)?)
    } else {
        (rest.u16(0)?, rest.skip(2)?)
    };
    match protocol {
        // IPv4, IPv6.
        0x0021 | 0x0057 => Ok((Layer::Ip, rest)),
        0x0281 | 0x0283 => Ok((Layer::EtherType(ether::MPLS), rest)),
        // Bridged Ethernet (RFC 3518): flags, then the kind of frame.
        0x0031 if rest.u8(1)? == 1 => {
            Ok((Layer::Link(LinkType::ETHERNET), rest.skip(2)?.tunneled()))
        }
        _ => Err(Other::NotTcp),
    }
}

/// PPP in HDLC-like framing, or Cisco's, told by the address.
pub(super) fn hdlc(rest: Rest<'_>) -> Step<'_> {
    const CISCO_UNICAST: u8 = 0x0f;
    const CISCO_MULTICAST: u8 = 0x8f;
    match rest.u8(0)? {
        CISCO_UNICAST | CISCO_MULTICAST => cisco_hdlc(rest),
        _ => ppp(rest),
    }
}

/// Cisco's HDLC: address, control, Ethernet type.
pub(super) fn cisco_hdlc(rest: Rest<'_>) -> Step<'_> {
    ether::protocol(rest.u16(2)?, rest.skip(4)?)
}

/// A PPPoE header, which begins with version and type.
pub(super) fn pppoe(rest: Rest<'_>) -> Step<'_> {
    const VERSION_1_TYPE_1: u8 = 0x11;
    const SESSION_DATA: u8 = 0;
    match rest.bytes(0)? {
        [VERSION_1_TYPE_1, SESSION_DATA] => ppp(rest.skip(6)?),
        _ => Err(Other::NotTcp),
    }
}

/// Frame Relay with multiprotocol encapsulation (RFC 2427).
pub(super) fn frame_relay(rest: Rest<'_>) -> Step<'_> {
    const UNNUMBERED_INFORMATION: u8 = 0x03;
    // The lowest bit ends the address, which has 2 to 4 bytes.
    let address_bytes = if rest.u8(1)? & 1 == 1 {
        2
    } else if rest.u8(2)? & 1 == 1 {
        3
    } else {
        4
    };
    let rest = rest.skip(address_bytes)?;
    if rest.u8(0)? != UNNUMBERED_INFORMATION {
        return Err(Other::NotTcp);
    }
    let rest = rest.skip(1)?;
    let rest = if rest.u8(0)? == 0 {
        rest.skip(1)?
    } else {
        rest
    };
    // Network layer protocol identifiers (ISO/IEC TR 9577).
    match rest.u8(0)? {
        0xcc | 0x8e => Ok((Layer::Ip, rest.skip(1)?)),
        0x80 => ether::snap(rest.skip(1)?),
        _ => Err(Other::NotTcp),
    }
}
