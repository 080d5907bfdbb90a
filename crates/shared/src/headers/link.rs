//! Link types and their headers, tags and shims, down to IP.

use serde::{Deserialize, Serialize};

use super::rest::Rest;
use super::{Layer, Other};

/// The layer a packet begins with, by its number in the registry of
/// [link-layer header types](https://www.tcpdump.org/linktypes.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: an address family in the byte order of the host.
    pub const NULL: Self = Self(0);
    /// Ethernet; loopback on Linux too.
    pub const ETHERNET: Self = Self(1);
    /// IPv4 or IPv6, told by the version field.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: an address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// What Linux gives for the device `any`.
    pub const LINUX_SLL: Self = Self(113);
    /// IPv4.
    pub const IPV4: Self = Self(228);
    /// IPv6.
    pub const IPV6: Self = Self(229);
    /// What Linux gives for the device `any`, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// Ethernet types (IEEE 802 numbers at IANA).
mod ether_types {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const PROVIDER_VLAN: u16 = 0x88a8;
    /// QinQ before IEEE 802.1ad.
    pub(super) const OLD_QINQ: u16 = 0x9100;
}

/// Passes over the header of a packet of link type `link`.
pub(super) fn link(link: LinkType, rest: Rest<'_>) -> Result<(Layer, Rest<'_>), Other> {
    match link {
        LinkType::ETHERNET => Ok((Layer::EtherType(rest.u16(12)?), rest.skip(14)?)),
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => Ok((Layer::Ip, rest)),
        LinkType::NULL | LinkType::LOOP => family(rest.bytes(0)?, rest.skip(4)?),
        LinkType::LINUX_SLL => Ok((Layer::EtherType(rest.u16(14)?), rest.skip(16)?)),
        LinkType::LINUX_SLL2 => Ok((Layer::EtherType(rest.u16(0)?), rest.skip(20)?)),
        _ => Err(Other::LinkType(link)),
    }
}

/// What follows an address family of some system, in either byte order.
fn family(family: [u8; 4], rest: Rest<'_>) -> Result<(Layer, Rest<'_>), Other> {
    let family = u32::from_be_bytes(family);
    // Below 256 in one byte order, beyond 65,535 in the other.
    match family.min(family.swap_bytes()) {
        // AF_INET everywhere; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
        2 | 10 | 23 | 24 | 28 | 30 => Ok((Layer::Ip, rest)),
        _ => Err(Other::NotTcp),
    }
}

/// What follows an Ethernet type.
pub(super) fn ether_type(ether_type: u16, rest: Rest<'_>) -> Result<(Layer, Rest<'_>), Other> {
    match ether_type {
        ether_types::IPV4 | ether_types::IPV6 => Ok((Layer::Ip, rest)),
        ether_types::VLAN | ether_types::PROVIDER_VLAN | ether_types::OLD_QINQ => {
            Ok((Layer::EtherType(rest.u16(2)?), rest.skip(4)?))
        }
        _ => Err(Other::NotTcp),
    }
}
