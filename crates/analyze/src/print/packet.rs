//! The line of a TCP segment, as tcpdump's print-tcp writes it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;

use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::{Fragment, Segment, TcpFlags, TunnelFragment};

use crate::app;
use crate::report::units::clean;

/// So many connections are remembered for their sequence numbers; beyond, all
/// are forgotten, and the numbers of their next packets stand absolute once.
const MAX_FLOWS: usize = 1 << 16;

/// Where the sequence numbers of connections begin.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    first: HashMap<(u32, Flow), First>,
}

/// The sequence numbers that count as 0, by sender.
#[derive(Debug, Clone, Copy)]
struct First {
    low: u32,
    high: u32,
}

impl Sequences {
    /// The sequence and acknowledgment numbers to show: as they are in what
    /// begins a connection, after that relative to it.
    fn relative(&mut self, segment: &Segment<'_>, scope: u32) -> (u32, u32) {
        let absolute = (segment.seq, segment.ack);
        if !segment.flags.has(TcpFlags::ACK) {
            return absolute;
        }
        let flow = Flow::between(segment.src, segment.dst);
        let from_low = segment.src == flow.low;
        if let Some(first) = self.first.get(&(scope, flow))
            && !segment.flags.has(TcpFlags::SYN)
        {
            let (own, other) = if from_low {
                (first.low, first.high)
            } else {
                (first.high, first.low)
            };
            return (
                segment.seq.wrapping_sub(own),
                segment.ack.wrapping_sub(other),
            );
        }
        if self.first.len() >= MAX_FLOWS {
            self.first.clear();
        }
        let (own, other) = (segment.seq, segment.ack.wrapping_sub(1));
        let (low, high) = if from_low { (own, other) } else { (other, own) };
        self.first.insert((scope, flow), First { low, high });
        absolute
    }
}

pub(super) fn write_segment(
    segment: &Segment<'_>,
    sequences: &mut Sequences,
    scope: u32,
    to: &mut dyn Write,
) -> io::Result<()> {
    let (seq, ack) = sequences.relative(segment, scope);
    let flags = segment.flags;
    write_ends(segment.src, segment.dst, to)?;
    write!(to, ": Flags [")?;
    write_flags(flags, to)?;
    write!(to, "]")?;
    let length = segment.payload_bytes;
    let takes_a_number = [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST];
    if length > 0 {
        write!(to, ", seq {seq}:{}", seq.wrapping_add(length))?;
    } else if takes_a_number.into_iter().any(|flag| flags.has(flag)) {
        write!(to, ", seq {seq}")?;
    }
    if flags.has(TcpFlags::ACK) {
        write!(to, ", ack {ack}")?;
    }
    write!(to, ", win {}", segment.window)?;
    write_options(segment, to)?;
    write!(to, ", length {length}")?;
    if let Some(line) = http_line(segment.payload) {
        write!(to, ": HTTP: {}", clean(&line))?;
    } else if let Some(line) = app::describe_tls(segment.payload) {
        write!(to, ": TLS: {}", clean(&line))?;
    }
    Ok(())
}

pub(super) fn write_fragment(fragment: &Fragment<'_>, to: &mut dyn Write) -> io::Result<()> {
    if fragment.src.port == 0 {
        write!(
            to,
            " {} {} > {}",
            ip(fragment.src.addr),
            fragment.src.addr,
            fragment.dst.addr
        )?;
    } else {
        write_ends(fragment.src, fragment.dst, to)?;
    }
    let more = if fragment.more { "+" } else { "" };
    write!(
        to,
        ": TCP fragment id {}, offset {}{more}, length {}",
        fragment.id, fragment.offset_bytes, fragment.payload_bytes
    )
}

/// Writes addresses and place of a fragment that is a piece of another protocol.
pub(super) fn write_tunnel_fragment(
    fragment: &TunnelFragment<'_>,
    to: &mut dyn Write,
) -> io::Result<()> {
    let (src, dst) = (fragment.src, fragment.dst);
    let more = if fragment.more { "+" } else { "" };
    write!(
        to,
        " {} {src} > {dst}: fragment of protocol {}, id {}, offset {}{more}, length {}",
        ip(src),
        fragment.protocol,
        fragment.id,
        fragment.offset_bytes,
        fragment.payload_bytes
    )
}

fn write_ends(src: Endpoint, dst: Endpoint, to: &mut dyn Write) -> io::Result<()> {
    let ip = ip(src.addr);
    write!(
        to,
        " {ip} {}.{} > {}.{}",
        src.addr, src.port, dst.addr, dst.port
    )
}

const fn ip(addr: IpAddr) -> &'static str {
    match addr {
        IpAddr::V4(_) => "IP",
        IpAddr::V6(_) => "IP6",
    }
}

fn write_flags(flags: TcpFlags, to: &mut dyn Write) -> io::Result<()> {
    const LETTERS: [(TcpFlags, &str); 8] = [
        (TcpFlags::FIN, "F"),
        (TcpFlags::SYN, "S"),
        (TcpFlags::RST, "R"),
        (TcpFlags::PSH, "P"),
        (TcpFlags::ACK, "."),
        (TcpFlags::URG, "U"),
        (TcpFlags::ECE, "E"),
        (TcpFlags::CWR, "W"),
    ];
    if flags == TcpFlags::default() {
        return write!(to, "none");
    }
    for (flag, letter) in LETTERS {
        if flags.has(flag) {
            write!(to, "{letter}")?;
        }
    }
    Ok(())
}

/// The options that say something of the connection: those of SYN, and SACK
/// blocks. Timestamps, on every packet, do not.
fn write_options(segment: &Segment<'_>, to: &mut dyn Write) -> io::Result<()> {
    let mut separator = ", options [";
    let mut rest = segment.options;
    // Kinds and lengths: https://www.iana.org/assignments/tcp-parameters
    while let [kind, after @ ..] = rest {
        let value = match (kind, after) {
            (0, _) => break,
            (1, _) => {
                rest = after;
                continue;
            }
            (_, [length, ..]) => rest.get(2..usize::from(*length)),
            (_, []) => None,
        };
        let Some(value) = value else { break };
        rest = rest.get(value.len() + 2..).unwrap_or_default();
        let text = match (kind, value) {
            (2, &[high, low]) => format!("mss {}", u16::from_be_bytes([high, low])),
            (3, [shift]) => format!("wscale {shift}"),
            (4, []) => "sackOK".into(),
            (5, blocks) => sack(blocks),
            _ => continue,
        };
        write!(to, "{separator}{text}")?;
        separator = ",";
    }
    if separator == "," {
        write!(to, "]")?;
    }
    Ok(())
}

/// SACK blocks (RFC 2018 section 3), their numbers as they are.
fn sack(blocks: &[u8]) -> String {
    let mut text = format!("sack {}", blocks.len() / 8);
    for block in blocks.chunks_exact(8) {
        if let &[a, b, c, d, e, f, g, h] = block {
            let (left, right) = (
                u32::from_be_bytes([a, b, c, d]),
                u32::from_be_bytes([e, f, g, h]),
            );
            text.push_str(&format!(" {{{left}:{right}}}"));
        }
    }
    text
}

/// The first line of an HTTP/1 message that begins a payload, as far as it is there.
fn http_line(payload: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    const MAX_LINE_BYTES: usize = 200;
    let start = payload.get(..MAX_LINE_BYTES).unwrap_or(payload);
    let line = start.split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_request = || {
        let mut words = line.split(|byte| *byte == b' ');
        let is_method = |word: &[u8]| word.len() > 2 && word.iter().all(u8::is_ascii_uppercase);
        words.next().is_some_and(is_method)
            && words.next().is_some()
            && words
                .next()
                .is_some_and(|word| word.starts_with(b"HTTP/1."))
    };
    (line.starts_with(b"HTTP/1.") || is_request()).then(|| String::from_utf8_lossy(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Segment<'_> {
        let client = Endpoint::new([10, 0, 0, 9].into(), 1000);
        let server = Endpoint::new([10, 0, 0, 2].into(), 80);
        Segment {
            src: client,
            dst: server,
            seq,
            ack,
            flags: TcpFlags(flags),
            window: 500,
            options: &[],
            ip_bytes: 40,
            header_bytes: 40,
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            payload,
            tunnels: 0,
        }
    }

    fn back(segment: Segment<'_>) -> Segment<'_> {
        Segment {
            src: segment.dst,
            dst: segment.src,
            ..segment
        }
    }

    fn line(sequences: &mut Sequences, segment: &Segment<'_>) -> String {
        let mut text = Vec::new();
        write_segment(segment, sequences, 0, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_are_relative_from_the_handshake_on() {
        let mut sequences = Sequences::default();
        let mut line = |segment| line(&mut sequences, &segment);
        assert_eq!(
            line(segment(0x02, u32::MAX, 0, b"")),
            " IP 10.0.0.9.1000 > 10.0.0.2.80: Flags [S], seq 4294967295, win 500, length 0"
        );
        assert!(line(back(segment(0x12, 7000, 0, b""))).contains("seq 7000, ack 0,"));
        assert!(line(segment(0x18, 0, 7001, b"abc")).contains("seq 1:4, ack 1,"));
        assert!(line(back(segment(0x10, 7001, 3, b""))).contains("[.], ack 4,"));
        // The same ports again: a new beginning.
        assert!(line(back(segment(0x12, 90, 50, b""))).contains("seq 90, ack 50,"));
        assert!(line(segment(0x18, 50, 91, b"abc")).contains("seq 1:4, ack 1,"));
    }

    #[test]
    fn numbers_of_a_connection_under_way_are_absolute_once() {
        let mut sequences = Sequences::default();
        let first = line(&mut sequences, &segment(0x18, 100, 200, b"abc"));
        assert!(first.contains("seq 100:103, ack 200,"), "{first}");
        let second = line(&mut sequences, &segment(0x18, 103, 200, b"abc"));
        assert!(second.contains("seq 3:6, ack 1,"), "{second}");
    }

    #[test]
    fn options_that_make_no_sense_end_the_list() {
        let options = |options: &'static [u8]| {
            let segment = Segment {
                options,
                ..segment(0x02, 0, 0, b"")
            };
            line(&mut Sequences::default(), &segment)
        };
        assert!(options(&[2, 4, 5, 180, 1, 3, 3, 7, 4, 2]).contains("[mss 1460,wscale 7,sackOK]"));
        let sack = [5, 10, 0, 0, 0, 1, 0, 0, 0, 9];
        assert!(options(&[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9]).contains("[sack 1 {1:9}]"));
        for length in 0..sack.len() {
            assert!(!options(&[5, 10, 0, 0, 0, 1, 0, 0, 0, 9][..length]).contains("options"));
        }
        assert!(!options(&[2, 0, 2, 1, 2]).contains("options"));
        assert!(!options(&[0, 2, 4, 5, 180]).contains("options"));
    }

    #[test]
    fn http_is_told_by_its_first_line() {
        assert_eq!(
            http_line(b"GET /a HTTP/1.1\r\nHost").unwrap(),
            "GET /a HTTP/1.1"
        );
        assert_eq!(http_line(b"HTTP/1.0 404 no").unwrap(), "HTTP/1.0 404 no");
        assert_eq!(http_line(b"SSH-2.0-OpenSSH\r\n"), None);
        assert_eq!(http_line(b"get /a HTTP/1.1\r\n"), None);
        assert_eq!(http_line(b""), None);
    }
}
