//! Tunnels: what IP carries that has packets inside again.

use etherparse::IpNumber;

use super::network::{Packet, Place};
use super::rest::Rest;
use super::{Headers, Layer, LinkType, Other, Step, TunnelFragment, ether};

mod gre;
mod udp;

/// IP in IP of KA9Q NOS.
const KA9Q: IpNumber = IpNumber(94);
const ETHERIP: IpNumber = IpNumber(97);
/// Ethernet alone, as in segment routing (RFC 8986 section 10.1).
const ETHERNET: IpNumber = IpNumber(143);

/// What a fragment of an IP packet that is not TCP is a piece of.
pub(super) fn fragment<'a>(packet: &Packet<'a>, place: Place) -> Headers<'a> {
    match packet.protocol {
        IpNumber::UDP
        | IpNumber::IPV4
        | IpNumber::IPV6
        | KA9Q
        | IpNumber::GRE
        | IpNumber::MPLS_IN_IP
        | ETHERIP
        | ETHERNET => Headers::TunnelFragment(TunnelFragment {
            src: packet.src,
            dst: packet.dst,
            protocol: packet.protocol.0,
            id: place.id,
            offset_bytes: place.offset_bytes,
            more: place.more,
            payload_bytes: packet.payload.wire_bytes,
            data: packet.payload.data,
        }),
        _ => Headers::Other(Other::NotTcp),
    }
}

/// What an IP packet that is not TCP has inside.
///
/// ICMP has pieces of packets inside that came back; they belong to no
/// connection.
pub(super) fn ip_protocol(protocol: IpNumber, rest: Rest<'_>) -> Step<'_> {
    match protocol {
        IpNumber::UDP => udp::udp(rest),
        IpNumber::IPV4 | IpNumber::IPV6 | KA9Q => Ok((Layer::Ip, rest.tunneled())),
        IpNumber::GRE => gre::gre(rest),
        IpNumber::MPLS_IN_IP => Ok((Layer::EtherType(ether::MPLS), rest)),
        // RFC 3378: 4 bits of version, 12 reserved.
        ETHERIP if rest.u8(0)? >> 4 == 3 => {
            Ok((Layer::Link(LinkType::ETHERNET), rest.skip(2)?.tunneled()))
        }
        ETHERNET => Ok((Layer::Link(LinkType::ETHERNET), rest.tunneled())),
        _ => Err(Other::NotTcp),
    }
}
