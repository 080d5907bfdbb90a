//! The packets that are nearly all packets: TCP in IP, neither options nor
//! extension headers nor fragments, in Ethernet. Their headers stand at known
//! places. What is told of them is what the longer way tells, which all other
//! packets go, those that are cut or make no sense among them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tcp::{FIXED_BYTES, Header};
use super::{LinkType, Segment};
use crate::flow::Endpoint;

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP: u8 = 6;

/// The segment of a usual packet. All of it is put into whoever parses, so that
/// a segment is made once, where it is to be: copying it took longer than
/// finding it.
#[inline(always)]
pub(super) fn segment(link: LinkType, data: &[u8]) -> Option<Segment<'_>> {
    if link != LinkType::ETHERNET {
        return None;
    }
    match data.get(12..ETHERNET_BYTES)? {
        [0x08, 0x00] => ipv4(data),
        [0x86, 0xdd] => ipv6(data),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(data: &[u8]) -> Option<Segment<'_>> {
    let header: &[u8; IPV4_BYTES] = data.get(ETHERNET_BYTES..)?.first_chunk()?;
    let [0x45, _, l0, l1, _, _, f0, f1, ttl, TCP, ..] = *header else {
        return None;
    };
    // More fragments, or an offset.
    if f0 & 0x3f != 0 || f1 != 0 {
        return None;
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let (src, dst) = (
        Ipv4Addr::new(s0, s1, s2, s3).into(),
        Ipv4Addr::new(d0, d1, d2, d3).into(),
    );
    tcp(
        data,
        IPV4_BYTES,
        u16::from_be_bytes([l0, l1]).into(),
        ttl,
        src,
        dst,
    )
}

#[inline(always)]
fn ipv6(data: &[u8]) -> Option<Segment<'_>> {
    let header: &[u8; IPV6_BYTES] = data.get(ETHERNET_BYTES..)?.first_chunk()?;
    let [version, _, _, _, l0, l1, TCP, ttl, addresses @ ..] = header else {
        return None;
    };
    let payload_bytes = u16::from_be_bytes([*l0, *l1]);
    if version >> 4 != 6 || payload_bytes == 0 {
        return None;
    }
    let (src, dst) = addresses.split_first_chunk::<16>()?;
    let addr = |octets| Ipv6Addr::from_octets(octets).to_canonical();
    let ip_bytes = IPV6_BYTES as u32 + u32::from(payload_bytes);
    tcp(
        data,
        IPV6_BYTES,
        ip_bytes,
        *ttl,
        addr(*src),
        addr(*dst.first_chunk()?),
    )
}

/// The segment behind an IP header of `header_bytes`, in a packet of `ip_bytes`.
#[inline(always)]
fn tcp(
    data: &[u8],
    header_bytes: usize,
    ip_bytes: u32,
    ttl: u8,
    src: IpAddr,
    dst: IpAddr,
) -> Option<Segment<'_>> {
    let begin = ETHERNET_BYTES + header_bytes;
    // Ethernet pads what is short.
    let end = data.len().min(ETHERNET_BYTES + ip_bytes as usize);
    let tcp = data.get(begin..end)?;
    let header = Header::parse(*tcp.first_chunk()?)?;
    let tcp_bytes = header.header_bytes as usize;
    let options = tcp.get(FIXED_BYTES as usize..tcp_bytes)?;
    let headers_bytes = header_bytes as u32 + header.header_bytes;
    Some(Segment {
        src: Endpoint {
            addr: src,
            port: header.src_port,
        },
        dst: Endpoint {
            addr: dst,
            port: header.dst_port,
        },
        seq: header.seq,
        ack: header.ack,
        flags: header.flags,
        window: header.window,
        options,
        options_bytes: header.options_bytes(),
        ip_bytes,
        ttl,
        header_bytes: ETHERNET_BYTES as u32 + headers_bytes,
        payload_bytes: ip_bytes.checked_sub(headers_bytes)?,
        payload: tcp.get(tcp_bytes..)?,
        tunnels: 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::headers::rest::Rest;
    use crate::headers::{Headers, Layer, follow};

    use super::*;

    /// A usual packet with some bytes changed, cut or padded.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let changes = prop::collection::vec((0..80_usize, any::<u8>()), 0..3);
        (any::<bool>(), 20..120_u16, changes, 0..140_usize).prop_map(
            |(is_v6, tcp_bytes, changes, len)| {
                let mut frame = vec![2; 12];
                if is_v6 {
                    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                    frame.extend(tcp_bytes.to_be_bytes());
                    frame.extend([TCP, 64]);
                    frame.extend([[0x20; 16], [0xfe; 16]].concat());
                } else {
                    let ip_bytes = (20 + tcp_bytes).to_be_bytes();
                    frame.extend([8, 0, 0x45, 0, ip_bytes[0], ip_bytes[1], 0, 1, 0x40, 0]);
                    frame.extend([64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
                }
                frame.extend([0x80, 1, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8]);
                frame.extend([0x80, 0x18, 1, 2, 0, 0, 0, 0]);
                frame.resize(len.max(54), 7);
                frame.truncate(len);
                for (place, byte) in changes {
                    if let Some(at) = frame.get_mut(place) {
                        *at = byte;
                    }
                }
                frame
            },
        )
    }

    proptest! {
        #[test]
        fn it_tells_what_the_longer_way_tells(frame in frame(), wire_bytes in 0..200_u32) {
            if let Some(segment) = segment(LinkType::ETHERNET, &frame) {
                let rest = Rest::new(&frame, wire_bytes);
                let longer = follow(Layer::Link(LinkType::ETHERNET), rest);
                prop_assert_eq!(Headers::Segment(segment), longer);
            }
        }
    }

    #[test]
    fn usual_packets_are_taken() {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 42, 0, 1, 0x40, 0]);
        frame.extend([64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x80, 1, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8]);
        frame.extend([0x50, 0x18, 1, 2, 0, 0, 0, 0, b'o', b'k', 0, 0]);
        let found = segment(LinkType::ETHERNET, &frame).unwrap();
        assert_eq!((found.payload, found.payload_bytes), (&b"ok"[..], 2));
        assert_eq!(segment(LinkType::RAW, &frame), None);
    }
}
