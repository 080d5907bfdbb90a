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
        ip_bytes: 20 + 32 + 18,
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
