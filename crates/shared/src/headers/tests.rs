use std::net::Ipv4Addr;

use etherparse::PacketBuilder;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Ethernet, IPv4 and TCP with 12 bytes of options around [`REQUEST`].
fn request() -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(40000, 80, 1000, 512)
        .ack(2000)
        .psh()
        .options_raw(&[1; 12])
        .unwrap();
    let mut packet = Vec::new();
    builder.write(&mut packet, REQUEST).unwrap();
    packet
}

fn segment_of(packet: &[u8]) -> Segment<'_> {
    segment(parse(LinkType::ETHERNET, packet, packet.len() as u32))
}

fn segment(headers: Headers<'_>) -> Segment<'_> {
    match headers {
        Headers::Segment(segment) => segment,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_segment_is_told_in_full() {
    let packet = request();
    let expected = Segment {
        src: Endpoint::new(Ipv4Addr::new(10, 0, 0, 1).into(), 40000),
        dst: Endpoint::new(Ipv4Addr::new(10, 0, 0, 2).into(), 80),
        seq: 1000,
        ack: 2000,
        flags: TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0),
        window: 512,
        options: &[1; 12],
        options_bytes: 12,
        ip_bytes: 20 + 32 + 18,
        ttl: 64,
        header_bytes: 14 + 20 + 32,
        payload_bytes: 18,
        payload: REQUEST,
        tunnels: 0,
    };
    assert_eq!(segment_of(&packet), expected);
}

#[test]
fn padding_is_no_payload() {
    let mut packet = request();
    packet.extend([0xee; 6]);
    assert_eq!(segment_of(&packet).payload, REQUEST);
    assert_eq!(segment_of(&packet).payload_bytes, 18);
}

#[test]
fn a_cut_packet_keeps_its_lengths() {
    let packet = request();
    let whole = segment_of(&packet);
    for captured in 0..packet.len() {
        let cut = parse(LinkType::ETHERNET, &packet[..captured], packet.len() as u32);
        if captured < 14 + 20 + 20 {
            assert_eq!(cut, Headers::Other(Other::Cut), "{captured} bytes");
            continue;
        }
        let cut = segment(cut);
        assert_eq!(cut.options, &whole.options[..(captured - 54).min(12)]);
        assert_eq!(cut.payload, &whole.payload[..captured.saturating_sub(66)]);
        let cut = Segment {
            options: whole.options,
            payload: whole.payload,
            ..cut
        };
        assert_eq!(cut, whole);
    }
}

#[test]
fn an_ip_length_of_0_leaves_it_to_the_frame() {
    let mut packet = request();
    packet[16..18].fill(0);
    assert_eq!(segment_of(&packet).payload, REQUEST);
    let cut = segment(parse(LinkType::ETHERNET, &packet[..66], 60_014));
    assert_eq!(cut.ip_bytes, 60_000);
    assert_eq!(cut.payload_bytes, 60_000 - 52);
}

#[test]
fn a_header_that_contradicts_the_ip_length_is_malformed() {
    let mut packet = request();
    packet[17] = 51;
    assert_eq!(
        parse(LinkType::ETHERNET, &packet, packet.len() as u32),
        Headers::Other(Other::Malformed)
    );
}

#[test]
fn fragments_of_a_segment_give_it_back() {
    let packet = request();
    // The first fragment: header and 8 bytes; the second: 10 bytes.
    let mut first = packet[..14 + 20 + 40].to_vec();
    first[16..18].copy_from_slice(&60_u16.to_be_bytes());
    first[20] = 0x20;
    let mut second = packet[..34].to_vec();
    second.extend(&packet[74..]);
    second[16..18].copy_from_slice(&30_u16.to_be_bytes());
    second[21] = 5;
    let fragments = [&first, &second].map(|packet| {
        match parse(LinkType::ETHERNET, packet, packet.len() as u32) {
            Headers::Fragment(fragment) => fragment,
            other => panic!("{other:?}"),
        }
    });
    let lengths = fragments.map(|f| (f.offset_bytes, f.more, f.header_bytes, f.payload_bytes));
    assert_eq!(lengths, [(0, true, 66, 8), (40, false, 34, 10)]);
    assert_eq!(fragments.map(|f| f.src.port), [40000, 0]);
    assert_eq!(fragments.map(|f| f.flags.to_string()), ["P.", "none"]);

    let whole = fragments.map(|f| f.data).concat();
    let (src, dst) = (fragments[0].src.addr, fragments[0].dst.addr);
    let joined = segment_of_payload(src, dst, 70, &whole).unwrap();
    let expected = Segment {
        ttl: 0,
        header_bytes: 32,
        ..segment_of(&packet)
    };
    assert_eq!(joined, expected);
}

#[test]
fn flags_read_as_in_tcpdump() {
    let text = |flags: &[TcpFlags]| TcpFlags(flags.iter().map(|f| f.0).sum()).to_string();
    assert_eq!(text(&[TcpFlags::SYN, TcpFlags::ACK]), "S.");
    assert_eq!(text(&[TcpFlags::FIN, TcpFlags::PSH, TcpFlags::ACK]), "FP.");
    assert_eq!(text(&[TcpFlags::SYN, TcpFlags::ECE, TcpFlags::CWR]), "SEW");
    assert_eq!(text(&[]), "none");
}

/// RFC 7348 section 5: without its flag there is no network, whatever the port is.
#[test]
fn vxlan_has_its_flag() {
    let has_segment = |flags| {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 3], [10, 0, 0, 4], 64)
            .udp(1000, 4789);
        let inner = [&[flags, 0, 0, 0, 0, 0, 0, 0][..], &request()].concat();
        let mut packet = Vec::new();
        builder.write(&mut packet, &inner).unwrap();
        let headers = parse(LinkType::ETHERNET, &packet, packet.len() as u32);
        matches!(headers, Headers::Segment(_))
    };
    assert!(has_segment(0x08) && !has_segment(0));
}

/// What stands between the start of a packet and IP, for each link type that
/// no fixture has.
#[test]
fn link_headers_lead_to_ip() {
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    // Frame control, duration, three addresses and the sequence; then what these ask for.
    let wlan_with = |control: [u8; 2], more: &[u8]| {
        let start = [&control[..], &[0; 2], &[2; 20]].concat();
        [&start[..], more, &snap].concat()
    };
    let wlan = wlan_with([0x08, 0x01], &[]);
    let behind = |before: &[u8], after: &[u8]| [before, after].concat();
    let mut prism = vec![0; 144];
    (prism[0], prism[4]) = (0x44, 144);
    let mut avs = vec![0; 64];
    avs[..8].copy_from_slice(&[0x80, 0x21, 0x10, 1, 0, 0, 0, 64]);
    let mut pflog = vec![0; 64];
    (pflog[0], pflog[1]) = (61, 2);
    let headers = [
        (
            LinkType::TOKEN_RING,
            behind(&[0x10, 0x40, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4], &snap),
        ),
        (
            LinkType::TOKEN_RING,
            behind(
                &[
                    0x10, 0x40, 2, 2, 2, 2, 2, 2, 0x84, 4, 4, 4, 4, 4, 4, 0, 0, 0,
                ],
                &snap,
            ),
        ),
        (
            LinkType::FDDI,
            behind(&[0x50, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4], &snap),
        ),
        (LinkType::PPP_HDLC, vec![0x0f, 0, 8, 0]),
        (LinkType::PPP, vec![0x0f, 0, 8, 0]),
        (LinkType::ARCNET_BSD, vec![0xbe, 0x50, 0xd4, 0, 0, 1]),
        (
            LinkType::ARCNET_LINUX,
            vec![0xbe, 0x50, 0, 0, 0xd4, 0, 0, 1],
        ),
        (LinkType::ARCNET_LINUX, vec![0xbe, 0x50, 0, 0, 0xf0]),
        (
            LinkType::JUNIPER_ETHER,
            // Extensions of 6 bytes, then Ethernet.
            behind(
                b"MGC\x80\x00\x06\x03\x01\x01\x06\x01\x0e",
                &[2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0],
            ),
        ),
        (LinkType::JUNIPER_ETHER, b"MGC\x03\x02\0\0\0".to_vec()),
        (LinkType::PPP_ETHER, vec![0x11, 0, 0, 1, 0, 72, 0, 0x21]),
        (LinkType::ATM_RFC1483, snap.to_vec()),
        (LinkType::ATM_RFC1483, vec![6, 6, 3]),
        (LinkType::SUNATM, behind(&[0x82, 0, 0, 35], &snap)),
        (LinkType::LINUX_ATM_CLIP, Vec::new()),
        (LinkType::NETBSD_HDLC, vec![0x0f, 0, 8, 0]),
        (LinkType::IEEE802_11, wlan.clone()),
        // A fourth address, QoS, QoS with HT control, QoS of an aggregate.
        (LinkType::IEEE802_11, wlan_with([0x08, 0x03], &[6; 6])),
        (LinkType::IEEE802_11, wlan_with([0x88, 0x01], &[0; 2])),
        (LinkType::IEEE802_11, wlan_with([0x88, 0x81], &[0; 6])),
        (
            LinkType::IEEE802_11,
            wlan_with([0x88, 0x01], &behind(&[0x80, 0], &[6; 14])),
        ),
        (LinkType::IEEE802_11_PRISM, behind(&prism, &wlan)),
        (LinkType::IEEE802_11_PRISM, behind(&avs, &wlan)),
        (LinkType::IEEE802_11_AVS, behind(&avs, &wlan)),
        (LinkType::ENC, vec![2, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]),
        (LinkType::PFLOG, pflog),
        (LinkType::IP_OVER_FC, behind(&[2; 16], &snap)),
        (LinkType::APPLE_IP_OVER_IEEE1394, behind(&[2; 16], &[8, 0])),
        (LinkType::PPP_PPPD, vec![0, 3, 0, 0x21]),
        (LinkType::PPP_WITH_DIR, vec![1, 0xff, 3, 0, 0x21]),
        (LinkType::C_HDLC_WITH_DIR, vec![1, 0x0f, 0, 8, 0]),
        (LinkType::FRELAY_WITH_DIR, vec![1, 0x18, 0x41, 3, 0xcc]),
        (
            LinkType::FRELAY,
            behind(&[0x18, 0x41, 3, 0, 0x80], &[0, 0, 0, 8, 0]),
        ),
        (LinkType::MPLS, vec![0, 6, 0x41, 64]),
        (
            LinkType::NETANALYZER,
            behind(&[0; 4], &[2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0]),
        ),
        (LinkType(12), Vec::new()),
        (LinkType(14), Vec::new()),
    ];
    let ip = &request()[14..];
    for (link, header) in headers {
        let packet = behind(&header, ip);
        let segment = segment(parse(link, &packet, packet.len() as u32));
        assert_eq!(segment.payload, REQUEST, "{link:?}");
        assert_eq!(segment.src.port, 40000, "{link:?}");
    }
}
