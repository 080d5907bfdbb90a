//! IPv4 (RFC 791) and IPv6 (RFC 8200) with the extension headers, down to the
//! protocol that they carry. Addresses, lengths and fragments are this
//! module's to find; what the payload means is not.

use std::net::IpAddr;

use etherparse::err::{ip_auth, ipv4, ipv6};
use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6Header,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
};

use super::Other;
use super::rest::Rest;

/// So many extension headers are followed; the kernel's parse has the same bound.
const MAX_EXTENSION_HEADERS: usize = 8;

/// An IP packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    /// The sender, as [`Endpoint`](crate::flow::Endpoint) wants it.
    pub(super) src: IpAddr,
    /// The receiver, likewise.
    pub(super) dst: IpAddr,
    /// Total length: with IP header and extension headers.
    pub(super) ip_bytes: u32,
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// What the payload is; in a later fragment, what the whole packet's is.
    pub(super) protocol: IpNumber,
    /// What follows after the last extension header.
    pub(super) payload: Rest<'a>,
    /// Its place in a larger packet, if it is a fragment.
    pub(super) fragment: Option<Place>,
}

/// The place of a fragment's payload in the packet that was fragmented.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The identification that all fragments of one packet share.
    pub(super) id: u32,
    /// Whether it is the first fragment.
    pub(super) first: bool,
    /// Where the payload stands in the whole packet's, in bytes.
    pub(super) offset_bytes: u32,
    /// Whether more fragments follow.
    pub(super) more: bool,
}

/// Parses an IP packet of the version that its first byte names.
pub(super) fn packet(rest: Rest<'_>) -> Result<Packet<'_>, Other> {
    let mut packet = match rest.u8(0)? >> 4 {
        4 => ipv4(rest)?,
        6 => ipv6(rest)?,
        _ => return Err(Other::Malformed),
    };
    // Most packets have no extension headers, and are spared the call.
    if packet.protocol != IpNumber::TCP {
        extensions(&mut packet)?;
    }
    Ok(packet)
}

fn ipv4(rest: Rest<'_>) -> Result<Packet<'_>, Other> {
    let header = Ipv4HeaderSlice::from_slice(rest.data).map_err(|e| match e {
        ipv4::HeaderSliceError::Len(e) => rest.lacks(e.required_len),
        ipv4::HeaderSliceError::Content(_) => Other::Malformed,
    })?;
    // Linux leaves it 0 in packets that the network card will segment (TSO)
    // and that are beyond 64 KiB (BIG TCP).
    let ip_bytes = match header.total_len() {
        0 => rest.wire_bytes,
        total_bytes => u32::from(total_bytes),
    };
    let place = Place {
        id: header.identification().into(),
        first: header.fragments_offset().value() == 0,
        offset_bytes: u32::from(header.fragments_offset().value()) * 8,
        more: header.more_fragments(),
    };
    let fragment = header.is_fragmenting_payload().then_some(place);
    let payload = rest.limit(ip_bytes).skip(header.slice().len())?;
    Ok(Packet {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        ip_bytes,
        ttl: header.ttl(),
        protocol: header.protocol(),
        payload,
        fragment,
    })
}

fn ipv6(rest: Rest<'_>) -> Result<Packet<'_>, Other> {
    let header = Ipv6HeaderSlice::from_slice(rest.data).map_err(|e| match e {
        ipv6::HeaderSliceError::Len(e) => rest.lacks(e.required_len),
        ipv6::HeaderSliceError::Content(_) => Other::Malformed,
    })?;
    // 0 in a jumbogram (RFC 2675), of which BIG TCP is one kind.
    let ip_bytes = match header.payload_length() {
        0 => rest.wire_bytes,
        payload_bytes => Ipv6Header::LEN as u32 + u32::from(payload_bytes),
    };
    Ok(Packet {
        src: header.source_addr().to_canonical(),
        dst: header.destination_addr().to_canonical(),
        ip_bytes,
        ttl: header.hop_limit(),
        protocol: header.next_header(),
        payload: rest.limit(ip_bytes).skip(Ipv6Header::LEN)?,
        fragment: None,
    })
}

/// Follows the chain of extension headers, in whatever order they stand.
fn extensions(packet: &mut Packet<'_>) -> Result<(), Other> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        // A later fragment holds none of the headers that follow.
        if packet.fragment.is_some_and(|place| !place.first) {
            return Ok(());
        }
        let rest = packet.payload;
        let (protocol, header_bytes) = match packet.protocol {
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest.data)
                    .map_err(|e| rest.lacks(e.required_len))?;
                (header.next_header(), header.slice().len())
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest.data)
                    .map_err(|e| rest.lacks(e.required_len))?;
                // One that is whole all the same (RFC 6946) is no fragment.
                if header.is_fragmenting_payload() {
                    packet.fragment = Some(Place {
                        id: header.identification(),
                        first: header.fragment_offset().value() == 0,
                        offset_bytes: u32::from(header.fragment_offset().value()) * 8,
                        more: header.more_fragments(),
                    });
                }
                (header.next_header(), header.slice().len())
            }
            IpNumber::AUTHENTICATION_HEADER => {
                let header = IpAuthHeaderSlice::from_slice(rest.data).map_err(|e| match e {
                    ip_auth::HeaderSliceError::Len(e) => rest.lacks(e.required_len),
                    ip_auth::HeaderSliceError::Content(_) => Other::Malformed,
                })?;
                (header.next_header(), header.slice().len())
            }
            _ => return Ok(()),
        };
        if let Some(place) = &mut packet.fragment
            && packet.protocol != IpNumber::IPV6_FRAGMENTATION_HEADER
        {
            place.offset_bytes += header_bytes as u32;
        }
        packet.protocol = protocol;
        packet.payload = rest.skip(header_bytes)?;
    }
    Ok(())
}
