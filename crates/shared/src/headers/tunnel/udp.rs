//! Tunnels over UDP. A port is no more than a hint: the bytes must make sense.

use super::super::rest::Rest;
use super::super::{Layer, LinkType, Other, Step, ether, looks_like};

/// What a UDP datagram has inside.
pub(super) fn udp(rest: Rest<'_>) -> Step<'_> {
    let ports = [rest.u16(2)?, rest.u16(0)?];
    let rest = rest.skip(8)?.tunneled();
    ports
        .into_iter()
        .filter_map(|port| by_port(port, rest).ok())
        .find(|(layer, rest)| looks_like::layer(*layer, *rest))
        .ok_or(Other::NotTcp)
}

/// What follows the header of the tunnel that uses `port` (IANA's registry).
fn by_port(port: u16, rest: Rest<'_>) -> Step<'_> {
    match port {
        1701 => l2tp(rest),
        2152 => gtp(rest),
        3544 => teredo(rest),
        // LISP data (RFC 9300).
        4341 => Ok((Layer::Ip, rest.skip(8)?)),
        4789 => vxlan(rest),
        4790 => vxlan_gpe(rest),
        5072 => ayiya(rest),
        6081 => geneve(rest),
        // MPLS in UDP (RFC 7510).
        6635 => Ok((Layer::EtherType(ether::MPLS), rest)),
        _ => Err(Other::NotTcp),
    }
}

/// Flags that say that the network identifier, or a next protocol, is valid.
const VXLAN_NETWORK: u8 = 0x08;
const VXLAN_NEXT_PROTOCOL: u8 = 0x04;

/// RFC 7348.
fn vxlan(rest: Rest<'_>) -> Step<'_> {
    if rest.u8(0)? & VXLAN_NETWORK == 0 {
        return Err(Other::NotTcp);
    }
    Ok((Layer::Link(LinkType::ETHERNET), rest.skip(8)?))
}

/// draft-ietf-nvo3-vxlan-gpe.
fn vxlan_gpe(rest: Rest<'_>) -> Step<'_> {
    let [flags, _, _, next_protocol] = rest.bytes(0)?;
    let inner = rest.skip(8)?;
    match next_protocol {
        _ if flags & VXLAN_NEXT_PROTOCOL == 0 => vxlan(rest),
        1 | 2 => Ok((Layer::Ip, inner)),
        3 => Ok((Layer::Link(LinkType::ETHERNET), inner)),
        4 => Ok((Layer::EtherType(ether::NSH), inner)),
        _ => Err(Other::NotTcp),
    }
}

/// RFC 8926.
fn geneve(rest: Rest<'_>) -> Step<'_> {
    let [version_and_length, _, p0, p1] = rest.bytes(0)?;
    if version_and_length >> 6 != 0 {
        return Err(Other::NotTcp);
    }
    let options_bytes = usize::from(version_and_length & 0x3f) * 4;
    let rest = rest.skip(8 + options_bytes)?;
    match u16::from_be_bytes([p0, p1]) {
        ether::TRANSPARENT_BRIDGING => Ok((Layer::Link(LinkType::ETHERNET), rest)),
        ether_type => ether::protocol(ether_type, rest),
    }
}

/// GTP-U, the user plane of mobile networks (3GPP TS 29.281).
fn gtp(rest: Rest<'_>) -> Step<'_> {
    const VERSION_1: u8 = 0x30;
    const EXTENSIONS: u8 = 0x04;
    const ANY_OPTIONAL_FIELD: u8 = 0x07;
    const USER_PACKET: u8 = 255;
    const MAX_EXTENSIONS: usize = 8;
    let [flags, message] = rest.bytes(0)?;
    if flags & 0xf0 != VERSION_1 || message != USER_PACKET {
        return Err(Other::NotTcp);
    }
    if flags & ANY_OPTIONAL_FIELD == 0 {
        return Ok((Layer::Ip, rest.skip(8)?));
    }
    let mut next_extension = rest.u8(11)?;
    let mut rest = rest.skip(12)?;
    if flags & EXTENSIONS == 0 {
        return Ok((Layer::Ip, rest));
    }
    // Each begins with its length in words and ends with the type of the next.
    for _ in 0..MAX_EXTENSIONS {
        if next_extension == 0 {
            return Ok((Layer::Ip, rest));
        }
        let extension_bytes = usize::from(rest.u8(0)?) * 4;
        next_extension = rest.u8(extension_bytes.checked_sub(1).ok_or(Other::Malformed)?)?;
        rest = rest.skip(extension_bytes)?;
    }
    Err(Other::NotTcp)
}

/// RFC 4380: IPv6, behind up to two indications.
fn teredo(mut rest: Rest<'_>) -> Step<'_> {
    const AUTHENTICATION: u16 = 1;
    const ORIGIN: u16 = 0;
    if rest.u16(0)? == AUTHENTICATION {
        let [id_bytes, value_bytes] = rest.bytes(2)?;
        rest = rest.skip(4 + usize::from(id_bytes) + usize::from(value_bytes) + 9)?;
    }
    if rest.u16(0)? == ORIGIN {
        rest = rest.skip(8)?;
    }
    match rest.u8(0)? >> 4 {
        6 => Ok((Layer::Ip, rest)),
        _ => Err(Other::NotTcp),
    }
}

/// Version 2 (RFC 2661), with PPP inside.
fn l2tp(rest: Rest<'_>) -> Step<'_> {
    const CONTROL: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    const OFFSET: u16 = 0x0200;
    const VERSION: u16 = 0x000f;
    let flags = rest.u16(0)?;
    if flags & CONTROL != 0 || flags & VERSION != 2 {
        return Err(Other::NotTcp);
    }
    // Flags, tunnel, session.
    let mut header_bytes = 6;
    if flags & LENGTH != 0 {
        header_bytes += 2;
    }
    if flags & SEQUENCE != 0 {
        header_bytes += 4;
    }
    if flags & OFFSET != 0 {
        header_bytes += 2 + usize::from(rest.u16(header_bytes)?);
    }
    Ok((Layer::Link(LinkType::PPP), rest.skip(header_bytes)?))
}

/// Anything in anything (draft-massar-v6ops-ayiya), with IP inside.
fn ayiya(rest: Rest<'_>) -> Step<'_> {
    const FORWARD: u8 = 1;
    const IPV4: u8 = 4;
    const IPV6: u8 = 41;
    let [identity, signature, operation, next_header] = rest.bytes(0)?;
    let identity_bytes = 1_usize << (identity >> 4);
    let signature_bytes = usize::from(signature >> 4) * 4;
    match (operation & 0x0f, next_header) {
        (FORWARD, IPV4 | IPV6) => Ok((Layer::Ip, rest.skip(8 + identity_bytes + signature_bytes)?)),
        _ => Err(Other::NotTcp),
    }
}
