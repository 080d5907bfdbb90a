//! What `-v` shows of a segment besides its line: whether its checksum is right, and the head
//! of a message of HTTP, line by line.

use std::io::{self, Write};
use std::net::IpAddr;

use etherparse::TcpSlice;
use tcprec_shared::headers::Segment;

use crate::app;

/// Writes the checksum of a segment of which all was captured, and the right one if it is
/// another: a sender whose interface computes it has not done so.
pub(super) fn write_checksum(
    segment: &Segment<'_>,
    packet: &[u8],
    to: &mut dyn Write,
) -> io::Result<()> {
    let Some((is, should_be)) = checksums(segment, packet) else {
        return Ok(());
    };
    if is == should_be {
        write!(to, ", cksum 0x{is:04x} (correct)")
    } else {
        write!(to, ", cksum 0x{is:04x} (incorrect -> 0x{should_be:04x})")
    }
}

/// The checksum of a segment as it is and as it should be; none if a part of it was not
/// captured.
fn checksums(segment: &Segment<'_>, packet: &[u8]) -> Option<(u16, u16)> {
    const WITHOUT_OPTIONS_BYTES: usize = 20;
    let payload = segment.header_bytes as usize;
    let header_bytes = WITHOUT_OPTIONS_BYTES + usize::from(segment.options_bytes);
    let begin = payload.checked_sub(header_bytes)?;
    let end = payload.checked_add(segment.payload_bytes as usize)?;
    let tcp = TcpSlice::from_slice(packet.get(begin..end)?).ok()?;
    let should_be = match (segment.src.addr, segment.dst.addr) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => tcp.calc_checksum_ipv4(src.octets(), dst.octets()),
        // An IPv4-mapped address has the sum of its IPv4 address.
        (src, dst) => {
            let [src, dst] = [src, dst].map(|addr| match addr {
                IpAddr::V4(addr) => addr.to_ipv6_mapped(),
                IpAddr::V6(addr) => addr,
            });
            tcp.calc_checksum_ipv6(src.octets(), dst.octets())
        }
    };
    Some((tcp.checksum(), should_be.ok()?))
}

/// Writes the lines of text of a payload that begins a message of HTTP, each behind a tab,
/// and says so if their end was not captured or comes with the next segment (txtproto_print
/// of tcpdump).
pub(super) fn write_head(payload: &[u8], to: &mut dyn Write) -> io::Result<()> {
    if app::describe_http(payload).is_none() {
        return Ok(());
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    let mut rest = payload;
    while !rest.is_empty() {
        let length = rest.iter().take_while(|byte| is_text(byte)).count();
        let (line, behind) = rest.split_at(length);
        let behind = match behind {
            [b'\n', behind @ ..] | [b'\r', b'\n', behind @ ..] => Some(behind),
            [] => None,
            _ => return Ok(()),
        };
        write!(to, "\n\t")?;
        to.write_all(line)?;
        let Some(behind) = behind else {
            return write!(to, " [|http]");
        };
        rest = behind;
    }
    Ok(())
}
