//! Tunnels: what IP carries that has packets inside again.

use etherparse::IpNumber;

use super::network::Packet;
use super::rest::Rest;
use super::{Layer, Other};

/// What an IP packet that is not TCP has inside.
pub(super) fn ip_protocol<'a>(packet: &Packet<'a>) -> Result<(Layer, Rest<'a>), Other> {
    if packet.fragment.is_some_and(|place| !place.first) {
        return Err(Other::NotTcp);
    }
    match packet.protocol {
        IpNumber::IPV4 | IpNumber::IPV6 => Ok((Layer::Ip, packet.payload.tunneled())),
        _ => Err(Other::NotTcp),
    }
}
