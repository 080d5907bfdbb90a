//! The headers in front of a segment: tcpdump's `-e` and `-v`.

use std::io::{self, Write};

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use tcprec_shared::headers::{LinkType, ether_type};

/// EtherTypes by tcpdump's names (ethertype.h and print-ether.c of 4.99).
const ETHER_TYPES: [(u16, &str); 10] = [
    (ether_type::IPV4, "IPv4"),
    (0x0806, "ARP"),
    (ether_type::VLAN, "802.1Q"),
    (ether_type::IPV6, "IPv6"),
    (ether_type::MPLS, "MPLS unicast"),
    (0x8863, "PPPoE D"),
    (ether_type::PPPOE_SESSION, "PPPoE S"),
    (ether_type::PROVIDER_VLAN, "802.1Q-QinQ"),
    (ether_type::OLD_QINQ, "802.1Q-9100"),
    (0x9200, "802.1Q-9200"),
];

/// What a VLAN tag may begin with (IEEE 802.1Q, and what was used before 802.1ad).
const VLAN_TYPES: [u16; 4] = [
    ether_type::VLAN,
    ether_type::PROVIDER_VLAN,
    ether_type::OLD_QINQ,
    0x9200,
];

/// Writes the link header, as far as it was captured, and the packet's length. Says
/// whether that tells what comes next to be IP.
pub(super) fn write_link(
    link_type: LinkType,
    data: &[u8],
    wire_bytes: u32,
    to: &mut dyn Write,
) -> io::Result<bool> {
    let written = match link_type {
        LinkType::ETHERNET => write_ethernet(data, to)?,
        LinkType::LINUX_SLL => write_sll(data, to)?,
        LinkType::LINUX_SLL2 => write_sll2(data, to)?,
        _ => None,
    };
    let Some((mut ether_type, mut rest)) = written else {
        write!(to, "link type {}, length {wire_bytes}: ", link_type.0)?;
        return Ok(false);
    };
    write!(to, ", length {wire_bytes}: ")?;
    while VLAN_TYPES.contains(&ether_type)
        && let Some((&[tag_high, tag_low, high, low], behind)) = rest.split_first_chunk()
    {
        let tag = u16::from_be_bytes([tag_high, tag_low]);
        write!(to, "vlan {}, p {}, ", tag & 0xfff, tag >> 13)?;
        if tag & 0x1000 != 0 {
            write!(to, "DEI, ")?;
        }
        ether_type = u16::from_be_bytes([high, low]);
        write_type(ether_type, to)?;
        write!(to, ", ")?;
        rest = behind;
    }
    Ok([ether_type::IPV4, ether_type::IPV6].contains(&ether_type))
}

/// The type of what comes next, and that; none where the header was cut.
type Next<'a> = Option<(u16, &'a [u8])>;

fn write_ethernet<'a>(data: &'a [u8], to: &mut dyn Write) -> io::Result<Next<'a>> {
    let Some((header, rest)) = data.split_first_chunk::<14>() else {
        return Ok(None);
    };
    write_address(&header[6..12], to)?;
    write!(to, " > ")?;
    write_address(&header[..6], to)?;
    write!(to, ", ")?;
    let ether_type = u16::from_be_bytes([header[12], header[13]]);
    write_type(ether_type, to)?;
    Ok(Some((ether_type, rest)))
}

/// What `tcpdump -i any` captures: <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>.
fn write_sll<'a>(data: &'a [u8], to: &mut dyn Write) -> io::Result<Next<'a>> {
    let Some((header, rest)) = data.split_first_chunk::<16>() else {
        return Ok(None);
    };
    write!(to, "{:>3} ", packet_type(header[1]))?;
    let ether_type = u16::from_be_bytes([header[14], header[15]]);
    write_sender(header[5], &header[6..12], ether_type, to)?;
    Ok(Some((ether_type, rest)))
}

/// The same of a newer libpcap, with the interface:
/// <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>. (tcpdump shows its name on
/// the machine that reads the capture, which may be another one.)
fn write_sll2<'a>(data: &'a [u8], to: &mut dyn Write) -> io::Result<Next<'a>> {
    let Some((header, rest)) = data.split_first_chunk::<20>() else {
        return Ok(None);
    };
    let interface = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    write!(to, "{:<3} ifindex {interface} ", packet_type(header[10]))?;
    let ether_type = u16::from_be_bytes([header[0], header[1]]);
    write_sender(header[11], &header[12..18], ether_type, to)?;
    Ok(Some((ether_type, rest)))
}

/// Writes the link address of the sender, where it is a MAC address, and the type of what
/// it sent.
fn write_sender(
    address_bytes: u8,
    address: &[u8],
    ether_type: u16,
    to: &mut dyn Write,
) -> io::Result<()> {
    if usize::from(address_bytes) == address.len() {
        write_address(address, to)?;
        write!(to, " ")?;
    }
    write_type(ether_type, to)
}

const fn packet_type(kind: u8) -> &'static str {
    match kind {
        0 => "In",
        1 => "B",
        2 => "M",
        3 => "P",
        4 => "Out",
        _ => "?",
    }
}

fn write_address(address: &[u8], to: &mut dyn Write) -> io::Result<()> {
    let mut separator = "";
    for byte in address {
        write!(to, "{separator}{byte:02x}")?;
        separator = ":";
    }
    Ok(())
}

fn write_type(ether_type: u16, to: &mut dyn Write) -> io::Result<()> {
    if ether_type < ether_type::FIRST {
        return write!(to, "802.3");
    }
    let known = ETHER_TYPES.iter().find(|(value, _)| *value == ether_type);
    let name = known.map_or("Unknown", |(_, name)| name);
    write!(to, "ethertype {name} (0x{ether_type:04x})")
}

/// Writes what an IP header says, if all of it was captured, and whether its checksum is
/// wrong, if that is wanted.
pub(super) fn write_ip(bytes: &[u8], is_checked: bool, to: &mut dyn Write) -> io::Result<()> {
    if let Ok(header) = Ipv4HeaderSlice::from_slice(bytes) {
        let ecn = ["", ",ECT(1)", ",ECT(0)", ",CE"][usize::from(header.ecn().value())];
        let tos = header.dcp().value() << 2 | header.ecn().value();
        let flags = match (header.dont_fragment(), header.more_fragments()) {
            (false, false) => "none",
            (true, false) => "DF",
            (false, true) => "+",
            (true, true) => "+, DF",
        };
        write!(
            to,
            "(tos 0x{tos:x}{ecn}, ttl {}, id {}, offset {}, flags [{flags}], proto {} ({}), \
             length {}",
            header.ttl(),
            header.identification(),
            u32::from(header.fragments_offset().value()) * 8,
            header.protocol().keyword_str().unwrap_or("unknown"),
            header.protocol().0,
            header.total_len(),
        )?;
        if !header.options().is_empty() {
            write!(to, ", options ({} bytes)", header.options().len())?;
        }
        let (is, should_be) = (
            header.header_checksum(),
            header.to_header().calc_header_checksum(),
        );
        if is_checked && is != should_be {
            write!(to, ", bad cksum {is:x} (->{should_be:x})!")?;
        }
        return write!(to, ")\n    ");
    }
    let Ok(header) = Ipv6HeaderSlice::from_slice(bytes) else {
        return Ok(());
    };
    write!(to, "(")?;
    if header.traffic_class() != 0 {
        write!(to, "class 0x{:02x}, ", header.traffic_class())?;
    }
    if header.flow_label().value() != 0 {
        write!(to, "flowlabel 0x{:05x}, ", header.flow_label().value())?;
    }
    write!(
        to,
        "hlim {}, next-header {} ({}) payload length: {}) ",
        header.hop_limit(),
        header.next_header().keyword_str().unwrap_or("unknown"),
        header.next_header().0,
        header.payload_length(),
    )
}
