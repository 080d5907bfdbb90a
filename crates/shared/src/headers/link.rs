//! Link types: what a packet begins with, and how to get to what follows.
//!
//! Headers that name an Ethernet type leave it to [`super::ether`]; those that
//! need more than a few lines have modules of their own.

use serde::{Deserialize, Serialize};

use super::rest::Rest;
use super::{Layer, Other, Step, ether, ppp, wlan};

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
    /// Token Ring.
    pub const TOKEN_RING: Self = Self(6);
    /// ARCNET as BSD gives it.
    pub const ARCNET_BSD: Self = Self(7);
    /// PPP, with or without HDLC's address and control field.
    pub const PPP: Self = Self(9);
    /// FDDI.
    pub const FDDI: Self = Self(10);
    /// PPP in HDLC-like framing, or Cisco's HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE without the Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// LLC.
    pub const ATM_RFC1483: Self = Self(100);
    /// IPv4 or IPv6, told by the version field.
    pub const RAW: Self = Self(101);
    /// Cisco's HDLC.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// Classical IP over ATM, as Linux gives it: IP alone.
    pub const LINUX_ATM_CLIP: Self = Self(106);
    /// Frame Relay.
    pub const FRELAY: Self = Self(107);
    /// OpenBSD loopback: an address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// OpenBSD IPsec interface.
    pub const ENC: Self = Self(109);
    /// Cisco's HDLC, as NetBSD gives it.
    pub const NETBSD_HDLC: Self = Self(112);
    /// What Linux gives for the device `any`.
    pub const LINUX_SLL: Self = Self(113);
    /// OpenBSD packet filter log.
    pub const PFLOG: Self = Self(117);
    /// IEEE 802.11 behind a Prism or AVS header.
    pub const IEEE802_11_PRISM: Self = Self(119);
    /// IP over Fibre Channel.
    pub const IP_OVER_FC: Self = Self(122);
    /// ATM as SunATM devices give it.
    pub const SUNATM: Self = Self(123);
    /// IEEE 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// ARCNET as Linux gives it.
    pub const ARCNET_LINUX: Self = Self(129);
    /// Apple's IP over FireWire.
    pub const APPLE_IP_OVER_IEEE1394: Self = Self(138);
    /// IEEE 802.11 behind an AVS header.
    pub const IEEE802_11_AVS: Self = Self(163);
    /// PPP, with its direction where the HDLC address stands.
    pub const PPP_PPPD: Self = Self(166);
    /// Ethernet behind a header of Juniper's routers.
    pub const JUNIPER_ETHER: Self = Self(178);
    /// A header that names another link type.
    pub const PPI: Self = Self(192);
    /// PPP behind its direction.
    pub const PPP_WITH_DIR: Self = Self(204);
    /// Cisco's HDLC behind its direction.
    pub const C_HDLC_WITH_DIR: Self = Self(205);
    /// Frame Relay behind its direction.
    pub const FRELAY_WITH_DIR: Self = Self(206);
    /// MPLS.
    pub const MPLS: Self = Self(219);
    /// IPv4.
    pub const IPV4: Self = Self(228);
    /// IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// Ethernet behind the header of a netANALYZER device.
    pub const NETANALYZER: Self = Self(240);
    /// IP over InfiniBand.
    pub const IPOIB: Self = Self(242);
    /// A header of macOS that names another link type.
    pub const PKTAP: Self = Self(258);
    /// What Linux gives for the device `any`, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// Numbers that some BSDs write for [`Self::RAW`].
    const RAW_ON_BSD: Self = Self(12);
    const RAW_ON_OPENBSD: Self = Self(14);
}

/// Passes over the header of a packet of link type `link`.
pub(super) fn link(link: LinkType, rest: Rest<'_>) -> Step<'_> {
    match link {
        LinkType::ETHERNET => ether::ether_type(rest.u16(12)?, rest.skip(14)?),
        LinkType::RAW
        | LinkType::IPV4
        | LinkType::IPV6
        | LinkType::LINUX_ATM_CLIP
        | LinkType::RAW_ON_BSD
        | LinkType::RAW_ON_OPENBSD => Ok((Layer::Ip, rest)),
        LinkType::NULL | LinkType::LOOP => family(rest.bytes(0)?, rest.skip(4)?),
        LinkType::ENC => family(rest.bytes(0)?, rest.skip(12)?),
        LinkType::PFLOG => pflog(rest),
        LinkType::LINUX_SLL => linux_protocol(rest.u16(14)?, rest.skip(16)?),
        LinkType::LINUX_SLL2 => linux_protocol(rest.u16(0)?, rest.skip(20)?),
        LinkType::NFLOG => nflog(rest),
        LinkType::IPOIB => Ok((Layer::EtherType(rest.u16(40)?), rest.skip(44)?)),
        LinkType::APPLE_IP_OVER_IEEE1394 => Ok((Layer::EtherType(rest.u16(16)?), rest.skip(18)?)),
        LinkType::MPLS => Ok((Layer::EtherType(ether::MPLS), rest)),
        LinkType::NETANALYZER => Ok((Layer::Link(LinkType::ETHERNET), rest.skip(4)?)),
        // Some write Cisco's HDLC as PPP, too.
        LinkType::PPP | LinkType::PPP_HDLC => ppp::hdlc(rest),
        LinkType::PPP_ETHER => ppp::pppoe(rest),
        LinkType::PPP_PPPD => ppp::ppp(rest.skip(2)?),
        LinkType::PPP_WITH_DIR => ppp::ppp(rest.skip(1)?),
        LinkType::C_HDLC | LinkType::NETBSD_HDLC => ppp::cisco_hdlc(rest),
        LinkType::C_HDLC_WITH_DIR => ppp::cisco_hdlc(rest.skip(1)?),
        LinkType::FRELAY => ppp::frame_relay(rest),
        LinkType::FRELAY_WITH_DIR => ppp::frame_relay(rest.skip(1)?),
        LinkType::ATM_RFC1483 => Ok((Layer::Llc, rest)),
        LinkType::SUNATM => sunatm(rest),
        LinkType::FDDI => Ok((Layer::Llc, rest.skip(13)?)),
        LinkType::IP_OVER_FC => Ok((Layer::Llc, rest.skip(16)?)),
        LinkType::TOKEN_RING => token_ring(rest),
        LinkType::ARCNET_BSD => arcnet(rest.u8(2)?, rest.skip(3)?),
        LinkType::ARCNET_LINUX => arcnet(rest.u8(4)?, rest.skip(5)?),
        LinkType::JUNIPER_ETHER => juniper(rest),
        LinkType::IEEE802_11 => wlan::frame(rest),
        LinkType::IEEE802_11_RADIOTAP => wlan::radiotap(rest),
        LinkType::IEEE802_11_PRISM | LinkType::IEEE802_11_AVS => wlan::prism(rest),
        LinkType::PPI => {
            let [_, _, l0, l1, t0, t1, ..] = rest.bytes::<8>(0)?;
            let link = LinkType(u16::from_le_bytes([t0, t1]));
            let header_bytes = u16::from_le_bytes([l0, l1]).into();
            Ok((Layer::Link(link), rest.skip(header_bytes)?))
        }
        LinkType::PKTAP => {
            let [l0, l1, _, _, _, _, _, _, t0, t1, _, _] = rest.bytes::<12>(0)?;
            let link = LinkType(u16::from_le_bytes([t0, t1]));
            let header_bytes = u16::from_le_bytes([l0, l1]).into();
            Ok((Layer::Link(link), rest.skip(header_bytes)?))
        }
        _ => Err(Other::LinkType(link)),
    }
}

/// What follows an address family of some system, in either byte order.
fn family(family: [u8; 4], rest: Rest<'_>) -> Step<'_> {
    let family = u32::from_be_bytes(family);
    // Below 256 in the one byte order, beyond 16 million in the other.
    match family.min(family.swap_bytes()) {
        // AF_INET everywhere; AF_INET6 of Linux, Windows, OpenBSD and NetBSD, FreeBSD, macOS.
        2 | 10 | 23 | 24 | 28 | 30 => Ok((Layer::Ip, rest)),
        _ => Err(Other::NotTcp),
    }
}

/// The protocol as Linux names it: an Ethernet type or one of its own numbers
/// (linux/if_ether.h).
fn linux_protocol(protocol: u16, rest: Rest<'_>) -> Step<'_> {
    const ETH_P_802_2: u16 = 0x0004;
    match protocol {
        ETH_P_802_2 => Ok((Layer::Llc, rest)),
        _ => ether::protocol(protocol, rest),
    }
}

/// The first byte is the header's length, without its padding to 4 bytes.
fn pflog(rest: Rest<'_>) -> Step<'_> {
    let [header_bytes, family] = rest.bytes(0)?;
    let rest = rest.skip(usize::from(header_bytes).next_multiple_of(4))?;
    self::family([0, 0, 0, family], rest)
}

/// Options in the byte order of the host (linux/netfilter/nfnetlink_log.h), one
/// of which is the packet.
fn nflog(rest: Rest<'_>) -> Step<'_> {
    const NFULA_PAYLOAD: u16 = 9;
    const MAX_OPTIONS: usize = 64;
    let mut rest = rest.skip(4)?;
    for _ in 0..MAX_OPTIONS {
        let [l0, l1, t0, t1] = rest.bytes(0)?;
        let [option_bytes, option] = [[l0, l1], [t0, t1]].map(u16::from_le_bytes);
        let [option_bytes, option] = if t0 == 0 {
            [option_bytes, option].map(u16::swap_bytes)
        } else {
            [option_bytes, option]
        };
        if option == NFULA_PAYLOAD {
            return Ok((Layer::Ip, rest.skip(4)?));
        }
        if option_bytes < 4 {
            return Err(Other::Malformed);
        }
        rest = rest.skip(usize::from(option_bytes).next_multiple_of(4))?;
    }
    Err(Other::NotTcp)
}

/// The kind of traffic below the direction's bit, then the circuit.
fn sunatm(rest: Rest<'_>) -> Step<'_> {
    const LLC: u8 = 2;
    match rest.u8(0)? & 0x0f {
        LLC => Ok((Layer::Llc, rest.skip(4)?)),
        _ => Err(Other::NotTcp),
    }
}

/// IEEE 802.5, with a routing field where the source address says so.
fn token_ring(rest: Rest<'_>) -> Step<'_> {
    let routing_bytes = if rest.u8(8)? & 0x80 == 0 {
        0
    } else {
        rest.u8(14)? & 0x1f
    };
    Ok((Layer::Llc, rest.skip(14 + usize::from(routing_bytes))?))
}

/// What follows the protocol of an ARCNET packet (RFC 1201, RFC 1051). One that
/// is split in several is none of IP's to be read here.
fn arcnet(protocol: u8, rest: Rest<'_>) -> Step<'_> {
    const IPV4: u8 = 0xd4;
    const IPV6: u8 = 0xc4;
    const IPV4_OF_RFC_1051: u8 = 0xf0;
    const NOT_SPLIT: u8 = 0;
    match protocol {
        IPV4 | IPV6 if rest.u8(0)? == NOT_SPLIT => Ok((Layer::Ip, rest.skip(3)?)),
        IPV4_OF_RFC_1051 => Ok((Layer::Ip, rest)),
        _ => Err(Other::NotTcp),
    }
}

/// Ethernet behind a magic number, flags, and extensions with their length.
fn juniper(rest: Rest<'_>) -> Step<'_> {
    const EXTENSIONS: u8 = 0x80;
    const NO_LINK_HEADER: u8 = 0x02;
    let [b'M', b'G', b'C', flags] = rest.bytes(0)? else {
        return Err(Other::Malformed);
    };
    let extension_bytes = if flags & EXTENSIONS == 0 {
        0
    } else {
        2 + usize::from(rest.u16(4)?)
    };
    let rest = rest.skip(4 + extension_bytes)?;
    if flags & NO_LINK_HEADER == 0 {
        Ok((Layer::Link(LinkType::ETHERNET), rest))
    } else {
        // The number of the protocol, as the router's kernel has it.
        Ok((Layer::Ip, rest.skip(4)?))
    }
}
