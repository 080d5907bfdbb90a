//! Whether bytes make sense as a packet, where nothing says for sure that they
//! are one.

use super::rest::Rest;
use super::{Layer, LinkType, ether};

/// Whether bytes make sense as what is supposed to be there.
pub(super) fn layer(layer: Layer, rest: Rest<'_>) -> bool {
    match layer {
        Layer::Link(LinkType::ETHERNET) => ethernet(rest),
        _ => follows(layer, rest),
    }
}

/// Whether bytes make sense as an Ethernet frame that leads to IP.
pub(super) fn ethernet(rest: Rest<'_>) -> bool {
    match rest.u16(12) {
        // What stands behind a label is guessed again, with the help of this.
        Ok(ether::MPLS | ether::MPLS_MULTICAST) => true,
        Ok(ether_type) => rest
            .skip(14)
            .and_then(|rest| ether::ether_type(ether_type, rest))
            .is_ok_and(|(layer, rest)| follows(layer, rest)),
        Err(_) => false,
    }
}

/// Whether bytes make sense as what follows a header, without looking beyond.
fn follows(layer: Layer, rest: Rest<'_>) -> bool {
    match layer {
        Layer::Ip | Layer::EtherType(ether::IPV4 | ether::IPV6) => ip(rest),
        Layer::Llc => ether::llc(rest).is_ok(),
        Layer::Link(_) | Layer::EtherType(_) => true,
    }
}

/// Whether bytes make sense as an IP packet.
pub(super) fn ip(rest: Rest<'_>) -> bool {
    let Ok([version, _, t0, t1]) = rest.bytes(0) else {
        return false;
    };
    let total_bytes = u16::from_be_bytes([t0, t1]);
    let header_bytes = u16::from(version & 0x0f) * 4;
    match version >> 4 {
        4 => header_bytes >= 20 && (total_bytes == 0 || total_bytes >= header_bytes),
        6 => true,
        _ => false,
    }
}
