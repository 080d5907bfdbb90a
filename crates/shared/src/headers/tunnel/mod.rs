//! Tunnels: what IP carries that has packets inside again.

use etherparse::IpNumber;

use super::network::Packet;
use super::{Layer, LinkType, Other, Step, ether};

mod gre;
mod udp;

/// What an IP packet that is not TCP has inside.
///
/// The first fragment of a tunnel packet is taken like one that was cut: the
/// headers inside say how long it was. ICMP has pieces of packets inside that
/// came back; they belong to no connection.
pub(super) fn ip_protocol<'a>(packet: &Packet<'a>) -> Step<'a> {
    /// IP in IP of KA9Q NOS.
    const KA9Q: IpNumber = IpNumber(94);
    const ETHERIP: IpNumber = IpNumber(97);
    if packet.fragment.is_some_and(|place| !place.first) {
        return Err(Other::NotTcp);
    }
    let rest = packet.payload;
    match packet.protocol {
        IpNumber::UDP => udp::udp(rest),
        IpNumber::IPV4 | IpNumber::IPV6 | KA9Q => Ok((Layer::Ip, rest.tunneled())),
        IpNumber::GRE => gre::gre(rest),
        IpNumber::MPLS_IN_IP => Ok((Layer::EtherType(ether::MPLS), rest)),
        // RFC 3378: 4 bits of version, 12 reserved.
        ETHERIP if rest.u8(0)? >> 4 == 3 => {
            Ok((Layer::Link(LinkType::ETHERNET), rest.skip(2)?.tunneled()))
        }
        _ => Err(Other::NotTcp),
    }
}
