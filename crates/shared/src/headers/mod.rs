//! From a packet's bytes to its TCP segment, without allocation.
//!
//! [`parse`] walks link, network and tunnel headers to the innermost TCP
//! header and says what it found. Lengths come from the IP headers, never from
//! the slice (Ethernet pads short packets, and captures cut long ones), but
//! for an IP length of 0 (TSO, BIG TCP): then the frame tells.

use crate::flow::Endpoint;

mod link;

pub use link::LinkType;

/// What a packet's headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers<'a> {
    /// A whole TCP segment, the innermost one.
    Segment(Segment<'a>),
    /// A piece of a fragmented TCP segment.
    Fragment(Fragment<'a>),
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
    /// IP total length: with IP header and extension headers.
    pub ip_bytes: u32,
    /// Where the payload begins, from the start of the packet.
    pub header_bytes: u32,
    /// Length of the payload on the wire.
    pub payload_bytes: u32,
    /// The payload as far as it was captured.
    pub payload: &'a [u8],
    /// How many tunnels (GRE, VXLAN, IP in IP, ...) it was taken out of.
    pub tunnels: u8,
}

/// A piece of a TCP segment that IP fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The sender; its port is known (not 0) in the first fragment only.
    pub src: Endpoint,
    /// The receiver; its port is known (not 0) in the first fragment only.
    pub dst: Endpoint,
    /// TCP flags in the first fragment, else none set.
    pub flags: TcpFlags,
    /// The identification that all fragments of one packet share.
    pub id: u32,
    /// Place of this fragment in the IP payload, in bytes.
    pub offset_bytes: u32,
    /// Whether more follow.
    pub more: bool,
    /// IP total length of this fragment.
    pub ip_bytes: u32,
    /// Where the TCP payload (in the first fragment) or the fragment's part of
    /// it (in a later one) begins, from the start of the packet.
    pub header_bytes: u32,
    /// Length on the wire of the TCP payload in this fragment.
    pub payload_bytes: u32,
    /// The IP payload of this fragment as far as it was captured; in the first
    /// one it begins with the TCP header.
    pub data: &'a [u8],
    /// How many tunnels it was taken out of.
    pub tunnels: u8,
}

/// TCP flags (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

#[allow(missing_docs)]
impl TcpFlags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const PSH: Self = Self(0x08);
    pub const ACK: Self = Self(0x10);
    pub const URG: Self = Self(0x20);
    pub const ECE: Self = Self(0x40);
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// Parses a packet of link type `link`, of which `data` was captured out of
/// `wire_bytes`.
#[must_use]
pub fn parse(_link: LinkType, _data: &[u8], _wire_bytes: u32) -> Headers<'_> {
    Headers::Other(Other::NotTcp)
}
