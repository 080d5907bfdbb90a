//! What an Ethernet type says: IP, tags and shims before it, and LLC for the
//! frames that have a length in its place.

use super::rest::Rest;
use super::{Layer, LinkType, Other, Step, looks_like, ppp};

pub(super) use super::ether_type::{
    FIRST, IPV4, IPV6, MPLS, OLD_QINQ, PPPOE_SESSION, PROVIDER_VLAN, VLAN,
};

// More numbers of IANA's registry "IEEE 802 Numbers".
pub(super) const MPLS_MULTICAST: u16 = 0x8848;
/// Ethernet in Ethernet, in GRE, in GENEVE.
pub(super) const TRANSPARENT_BRIDGING: u16 = 0x6558;
pub(super) const PPP: u16 = 0x880b;
pub(super) const NSH: u16 = 0x894f;
/// Provider backbone bridging (IEEE 802.1ah), its I-tag.
const BACKBONE_SERVICE: u16 = 0x88e7;
/// Bridge port extension (IEEE 802.1BR), its E-tag.
const ETAG: u16 = 0x893f;
/// The tag of Cisco's port extenders.
const VNTAG: u16 = 0x8926;
/// High-availability seamless redundancy (IEC 62439-3).
const HSR: u16 = 0x892f;
/// Cisco's metadata: the security group of a packet.
const METADATA: u16 = 0x8909;
/// Frame replication (IEEE 802.1CB), its R-TAG.
const REDUNDANCY_TAG: u16 = 0xf1c1;
/// MACsec (IEEE 802.1AE), its SecTAG.
const SECURITY_TAG: u16 = 0x88e5;
/// Cisco FabricPath.
const FABRIC_PATH: u16 = 0x8903;

/// Passes over what stands behind an Ethernet type, up to the next header.
pub(super) fn ether_type(ether_type: u16, rest: Rest<'_>) -> Step<'_> {
    match ether_type {
        IPV4 | IPV6 => Ok((Layer::Ip, rest)),
        VLAN | PROVIDER_VLAN | OLD_QINQ => tag(rest, 2),
        VNTAG | HSR | REDUNDANCY_TAG => tag(rest.tunneled(), 4),
        ETAG | METADATA => tag(rest.tunneled(), 6),
        SECURITY_TAG => security_tag(rest.tunneled()),
        MPLS | MPLS_MULTICAST => mpls(rest),
        PPPOE_SESSION => ppp::pppoe(rest.tunneled()),
        PPP => Ok((Layer::Link(LinkType::PPP), rest.tunneled())),
        TRANSPARENT_BRIDGING => Ok((Layer::Link(LinkType::ETHERNET), rest.tunneled())),
        BACKBONE_SERVICE => Ok((Layer::Link(LinkType::ETHERNET), rest.skip(4)?.tunneled())),
        FABRIC_PATH => Ok((Layer::Link(LinkType::ETHERNET), rest.skip(2)?.tunneled())),
        NSH => nsh(rest),
        // A length: LLC follows.
        0..FIRST => Ok((Layer::Llc, rest)),
        _ => Err(Other::NotTcp),
    }
}

/// What an Ethernet type says where no length can stand.
pub(super) fn protocol(number: u16, rest: Rest<'_>) -> Step<'_> {
    if number < FIRST {
        return Err(Other::NotTcp);
    }
    Ok((Layer::EtherType(number), rest))
}

/// A tag of `bytes` bytes, then the next Ethernet type.
fn tag(rest: Rest<'_>, bytes: usize) -> Step<'_> {
    Ok((Layer::EtherType(rest.u16(bytes)?), rest.skip(bytes + 2)?))
}

/// What is protected against change only can be read (IEEE 802.1AE clause 9.3).
fn security_tag(rest: Rest<'_>) -> Step<'_> {
    const CHANGED_OR_ENCRYPTED: u8 = 0x0c;
    const CHANNEL: u8 = 0x20;
    let control = rest.u8(0)?;
    if control & CHANGED_OR_ENCRYPTED != 0 {
        return Err(Other::NotTcp);
    }
    tag(rest, if control & CHANNEL == 0 { 6 } else { 14 })
}

/// One label of a stack (RFC 3032). Nothing but the first nibble behind the last
/// one tells what follows (RFC 4928).
fn mpls(rest: Rest<'_>) -> Step<'_> {
    let bottom = rest.u8(2)? & 1 == 1;
    let rest = rest.skip(4)?;
    if !bottom {
        return Ok((Layer::EtherType(MPLS), rest));
    }
    let rest = rest.tunneled();
    match rest.u8(0)? >> 4 {
        4 | 6 => Ok((Layer::Ip, rest)),
        // A pseudowire with its control word (RFC 4448), or without it and
        // before an address that happens to begin so.
        0 => {
            let inner = rest.skip(4)?;
            let inner = if looks_like::ethernet(inner) {
                inner
            } else {
                rest
            };
            Ok((Layer::Link(LinkType::ETHERNET), inner))
        }
        _ => Err(Other::NotTcp),
    }
}

/// Network service header (RFC 8300).
fn nsh(rest: Rest<'_>) -> Step<'_> {
    let [_, length, _, next_protocol] = rest.bytes(0)?;
    let rest = rest.skip(usize::from(length & 0x3f) * 4)?.tunneled();
    match next_protocol {
        1 | 2 => Ok((Layer::Ip, rest)),
        3 => Ok((Layer::Link(LinkType::ETHERNET), rest)),
        5 => Ok((Layer::EtherType(MPLS), rest)),
        _ => Err(Other::NotTcp),
    }
}

/// Logical link control (IEEE 802.2), alone or with SNAP (RFC 1042).
pub(super) fn llc(rest: Rest<'_>) -> Step<'_> {
    const UNNUMBERED_INFORMATION: u8 = 0x03;
    const SNAP: u8 = 0xaa;
    const IP: u8 = 0x06;
    match rest.bytes(0)? {
        [IP, IP, UNNUMBERED_INFORMATION] => Ok((Layer::Ip, rest.skip(3)?.tunneled())),
        [SNAP, SNAP, UNNUMBERED_INFORMATION] => snap(rest.skip(3)?),
        _ => Err(Other::NotTcp),
    }
}

/// The subnetwork access protocol: an organization and its protocol number.
pub(super) fn snap(rest: Rest<'_>) -> Step<'_> {
    let [o0, o1, o2, p0, p1] = rest.bytes(0)?;
    let protocol = u16::from_be_bytes([p0, p1]);
    let rest = rest.skip(5)?.tunneled();
    match [o0, o1, o2] {
        // Ethernet types, and those of the bridge tunnel (IEEE 802.1H).
        [0, 0, 0] | [0, 0, 0xf8] => self::protocol(protocol, rest),
        // Bridged Ethernet with and without its checksum, over ATM padded by 2 bytes (RFC 2684).
        [0, 0x80, 0xc2] if protocol == 1 || protocol == 7 => {
            Ok((Layer::Link(LinkType::ETHERNET), rest.skip(2)?))
        }
        _ => Err(Other::NotTcp),
    }
}
