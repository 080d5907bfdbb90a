//! From a packet's bytes to its TCP segment, without allocation.
//!
//! [`parse`] walks link, network and tunnel headers to the innermost TCP
//! header and says what it found. Lengths come from the IP headers, never from
//! the slice (Ethernet pads short packets, and captures cut long ones), but
//! for an IP length of 0 (TSO, BIG TCP): then the frame tells.

use std::net::IpAddr;

use etherparse::IpNumber;

use crate::flow::Endpoint;

mod ether;
pub mod ether_type;
mod link;
mod looks_like;
mod network;
mod ppp;
mod rest;
mod tcp;
mod tunnel;
mod usual;
mod wlan;

use rest::Rest;

pub use link::LinkType;
pub use tcp::{TcpFlags, segment_of_payload};

/// So many headers are followed, that none makes the parser go on for long.
const MAX_HEADERS: usize = 32;

/// What a packet's headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers<'a> {
    /// A whole TCP segment, the innermost one.
    Segment(Segment<'a>),
    /// A piece of a fragmented TCP segment.
    Fragment(Fragment<'a>),
    /// A piece of a fragmented packet that may be a tunnel's.
    TunnelFragment(TunnelFragment<'a>),
    /// No TCP segment of a connection: another protocol, an ICMP error, or
    /// headers that are cut or make no sense.
    Other(Other),
}

/// Why a packet has no TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// It is something else.
    NotTcp,
    /// It was cut before its headers ended.
    Cut,
    /// A header contradicts itself.
    Malformed,
    /// Its link type is unknown.
    LinkType(LinkType),
}

/// A TCP segment and the lengths of what carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The sender.
    pub src: Endpoint,
    /// The receiver.
    pub dst: Endpoint,
    /// Sequence number of the first payload byte, or of SYN.
    pub seq: u32,
    /// Acknowledgment number; has no meaning without [`TcpFlags::ACK`].
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Options as far as they were captured.
    pub options: &'a [u8],
    /// Length of the options on the wire.
    pub options_bytes: u8,
    /// IP total length: with IP header and extension headers.
    pub ip_bytes: u32,
    /// Time to live of the IP header, or hop limit; 0 where it came in fragments.
    pub ttl: u8,
    /// Where the payload begins, from the start of the packet.
    pub header_bytes: u32,
    /// Length of the payload on the wire.
    pub payload_bytes: u32,
    /// The payload as far as it was captured.
    pub payload: &'a [u8],
    /// How many encapsulations other than the link header and VLAN tags it was
    /// taken out of: tunnels (GRE, VXLAN, IP in IP, ...), MPLS, PPPoE, SNAP.
    /// The kernel side looks into none of them.
    pub tunnels: u8,
}

impl Segment<'_> {
    /// Whether not all of the options were captured.
    #[must_use]
    pub fn are_options_cut(&self) -> bool {
        self.options.len() < self.options_bytes.into()
    }
}

/// A piece of a TCP segment that IP fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The sender; its port is known (not 0) in the first fragment only, where
    /// that holds at least the fixed part of the TCP header.
    pub src: Endpoint,
    /// The receiver; its port is known where the sender's is.
    pub dst: Endpoint,
    /// TCP flags where the ports are known, else none set.
    pub flags: TcpFlags,
    /// The identification that all fragments of one packet share.
    pub id: u32,
    /// Place of `data` in the payload of the whole IP packet, in bytes.
    pub offset_bytes: u32,
    /// Whether more follow.
    pub more: bool,
    /// IP total length of this fragment.
    pub ip_bytes: u32,
    /// Where the TCP payload (where the ports are known) or else the fragment's
    /// part of the segment begins, from the start of the packet.
    pub header_bytes: u32,
    /// Length on the wire of what begins there, in this fragment.
    pub payload_bytes: u32,
    /// The IP payload of this fragment as far as it was captured; in the first
    /// one it begins with the TCP header.
    pub data: &'a [u8],
    /// How many encapsulations it was taken out of, as in [`Segment::tunnels`].
    pub tunnels: u8,
}

/// A piece of an IP packet that may have another packet inside. Nothing is
/// known of that before all pieces are together ([`parse_tunnel`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelFragment<'a> {
    /// The sender.
    pub src: IpAddr,
    /// The receiver.
    pub dst: IpAddr,
    /// The number of the protocol in the packet.
    pub protocol: u8,
    /// The identification that all fragments of one packet share.
    pub id: u32,
    /// Place of `data` in the payload of the whole IP packet, in bytes.
    pub offset_bytes: u32,
    /// Whether more follow.
    pub more: bool,
    /// Length of the fragment's IP payload on the wire.
    pub payload_bytes: u32,
    /// The IP payload of this fragment as far as it was captured.
    pub data: &'a [u8],
}

/// What the rest of a packet begins with.
#[derive(Debug, Clone, Copy)]
enum Layer {
    /// A header of the link layer.
    Link(LinkType),
    /// What an Ethernet type says; tags and other shims among them.
    EtherType(u16),
    /// A header of logical link control.
    Llc,
    /// An IP header.
    Ip,
}

/// What follows a header, and where; or why nothing does.
type Step<'a> = Result<(Layer, Rest<'a>), Other>;

/// Parses a packet of link type `link`, of which `data` was captured out of
/// `wire_bytes`.
#[must_use]
#[inline]
pub fn parse(link: LinkType, data: &[u8], wire_bytes: u32) -> Headers<'_> {
    match usual::segment(link, data) {
        Some(segment) => Headers::Segment(segment),
        None => parse_unusual(link, data, wire_bytes),
    }
}

#[inline(never)]
fn parse_unusual(link: LinkType, data: &[u8], wire_bytes: u32) -> Headers<'_> {
    follow(Layer::Link(link), Rest::new(data, wire_bytes))
}

/// Parses the payload of a whole IP packet with a tunnel's `protocol`, put
/// together from its fragments: `payload` was captured out of `wire_bytes`.
/// Offsets count from its start.
#[must_use]
pub fn parse_tunnel(protocol: u8, payload: &[u8], wire_bytes: u32) -> Headers<'_> {
    match tunnel::ip_protocol(IpNumber(protocol), Rest::new(payload, wire_bytes)) {
        Ok((layer, rest)) => follow(layer, rest),
        Err(other) => Headers::Other(other),
    }
}

fn follow<'a>(mut layer: Layer, mut rest: Rest<'a>) -> Headers<'a> {
    for _ in 0..MAX_HEADERS {
        let step = match layer {
            Layer::Link(link) => link::link(link, rest),
            Layer::EtherType(ether_type) => ether::ether_type(ether_type, rest),
            Layer::Llc => ether::llc(rest),
            Layer::Ip => match network::packet(rest) {
                Ok(packet) if packet.protocol == IpNumber::TCP => return tcp::headers(&packet),
                Ok(packet) => match packet.fragment {
                    Some(place) => return tunnel::fragment(&packet, place),
                    None => tunnel::ip_protocol(packet.protocol, packet.payload),
                },
                Err(other) => Err(other),
            },
        };
        match step {
            Ok(next) => (layer, rest) = next,
            Err(other) => return Headers::Other(other),
        }
    }
    Headers::Other(Other::Malformed)
}

#[cfg(test)]
mod tests;
