//! The line of a TCP segment, as tcpdump's print-tcp writes it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;

use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::{Fragment, Headers, Segment, TcpFlags, TunnelFragment};

use super::verbose;
use crate::app;
use crate::report::units::clean;
use crate::tcp::options::{self, TcpOption};

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
    pub(super) fn relative(&mut self, segment: &Segment<'_>, scope: u32) -> (u32, u32) {
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

/// What tcpdump calls the protocol that brought it; none of what is no IP, or unknown.
pub(super) const fn ip_version(headers: &Headers<'_>) -> Option<&'static str> {
    let addr = match headers {
        Headers::Segment(segment) => segment.src.addr,
        Headers::Fragment(fragment) => fragment.src.addr,
        Headers::TunnelFragment(fragment) => fragment.src,
        Headers::Other(_) => return None,
    };
    Some(match addr {
        IpAddr::V4(_) => "IP",
        IpAddr::V6(_) => "IP6",
    })
}

/// Writes of a segment who sent how much to whom.
pub(super) fn write_quick(segment: &Segment<'_>, to: &mut dyn Write) -> io::Result<()> {
    write_ends(segment.src, segment.dst, to)?;
    write!(to, ": tcp {}", segment.payload_bytes)
}

/// What the line of a segment shows besides what is always there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// Sequence and acknowledgment number.
    pub(super) numbers: (u32, u32),
    /// The packet whose checksum is looked at.
    pub(super) checked: Option<&'a [u8]>,
    /// Whether [all](verbose::write_head) of the head of a message of HTTP comes below it.
    pub(super) is_verbose: bool,
}

impl Line<'_> {
    /// Writes the line of a segment.
    pub(super) fn write(self, segment: &Segment<'_>, to: &mut dyn Write) -> io::Result<()> {
        let flags = segment.flags;
        let (seq, ack) = self.numbers;
        write_ends(segment.src, segment.dst, to)?;
        write!(to, ": Flags [{flags}]")?;
        if let Some(packet) = self.checked {
            verbose::write_checksum(segment, packet, to)?;
        }
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
        write_options(segment, segment.ack.wrapping_sub(ack), to)?;
        write!(to, ", length {length}")?;
        if let Some(line) = app::describe_http(segment.payload) {
            if self.is_verbose {
                write!(to, ": HTTP, length: {length}")?;
            } else {
                write!(to, ": HTTP: {}", clean(&line))?;
            }
        } else if let Some(line) = app::describe_tls(segment.payload) {
            write!(to, ": TLS: {}", clean(&line))?;
        }
        Ok(())
    }
}

pub(super) fn write_fragment(fragment: &Fragment<'_>, to: &mut dyn Write) -> io::Result<()> {
    if fragment.src.port == 0 {
        write!(to, "{} > {}", fragment.src.addr, fragment.dst.addr)?;
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
        "{src} > {dst}: fragment of protocol {}, id {}, offset {}{more}, length {}",
        fragment.protocol, fragment.id, fragment.offset_bytes, fragment.payload_bytes
    )
}

fn write_ends(src: Endpoint, dst: Endpoint, to: &mut dyn Write) -> io::Result<()> {
    let (src_port, dst_port) = (src.port, dst.port);
    write!(to, "{}.{src_port} > {}.{dst_port}", src.addr, dst.addr)
}

/// Options by their kinds, in tcpdump's words:
/// <https://www.iana.org/assignments/tcp-parameters>.
const OPTIONS: [(u8, &str); 10] = [
    (options::MAXIMUM_SEGMENT_SIZE, "mss"),
    (options::WINDOW_SCALE, "wscale"),
    (options::SACK_PERMITTED, "sackOK"),
    (options::SACK, "sack"),
    (options::TIMESTAMPS, "TS"),
    (19, "md5"),
    (28, "uto"),
    (29, "tcp-ao"),
    (30, "mptcp"),
    (34, "tfo"),
];

/// Writes the options, those of which all was captured; `ack_base` is what the numbers
/// of SACK blocks are relative to.
fn write_options(segment: &Segment<'_>, ack_base: u32, to: &mut dyn Write) -> io::Result<()> {
    let is_cut = segment.are_options_cut();
    if segment.options.is_empty() && !is_cut {
        return Ok(());
    }
    let mut separator = ", options [";
    for option in options::list(segment.options, is_cut) {
        let text = match option {
            TcpOption::End => "eol".into(),
            TcpOption::NoOperation => "nop".into(),
            TcpOption::Of(kind, value) => text_of(kind, value, ack_base),
            TcpOption::Malformed => "[bad opt]".into(),
            TcpOption::Cut(_) => "[|tcp]".into(),
        };
        write!(to, "{separator}{text}")?;
        separator = ",";
    }
    write!(to, "]")
}

/// An option, as `mss 1460`; what has no sensible length as its bytes.
fn text_of(kind: u8, value: &[u8], ack_base: u32) -> String {
    match (kind, value) {
        (options::MAXIMUM_SEGMENT_SIZE, &[high, low]) => {
            format!("mss {}", u16::from_be_bytes([high, low]))
        }
        (options::WINDOW_SCALE, [shift]) => format!("wscale {shift}"),
        (options::SACK, blocks) if blocks.len() % 8 == 0 => sack(blocks, ack_base),
        (options::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
            let [val, ecr] = options::two_numbers([a, b, c, d, e, f, g, h]);
            format!("TS val {val} ecr {ecr}")
        }
        _ => {
            let known = OPTIONS.iter().find(|(of, _)| *of == kind);
            let mut text =
                known.map_or_else(|| format!("unknown-{kind}"), |(_, name)| (*name).to_owned());
            if !value.is_empty() {
                text.push_str(" 0x");
            }
            for byte in value {
                let _ = write!(text, "{byte:02x}"); // into a String: cannot fail
            }
            text
        }
    }
}

fn sack(blocks: &[u8], ack_base: u32) -> String {
    let (blocks, _) = blocks.as_chunks();
    let mut text = format!("sack {} ", blocks.len());
    for block in blocks {
        let [left, right] = options::two_numbers(*block).map(|edge| edge.wrapping_sub(ack_base));
        let _ = write!(text, "{{{left}:{right}}}"); // into a String: cannot fail
    }
    text
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
            options_bytes: 0,
            ip_bytes: 40,
            ttl: 64,
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

    fn always(numbers: (u32, u32)) -> Line<'static> {
        Line {
            numbers,
            checked: None,
            is_verbose: false,
        }
    }

    fn line(sequences: &mut Sequences, segment: &Segment<'_>) -> String {
        let mut text = Vec::new();
        let numbers = sequences.relative(segment, 0);
        always(numbers).write(segment, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_are_relative_from_the_handshake_on() {
        let mut sequences = Sequences::default();
        let mut line = |segment| line(&mut sequences, &segment);
        assert_eq!(
            line(segment(0x02, u32::MAX, 0, b"")),
            "10.0.0.9.1000 > 10.0.0.2.80: Flags [S], seq 4294967295, win 500, length 0"
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

    /// What stands in the list of options, of which so many bytes were not captured.
    fn options(options: &[u8], cut_bytes: usize) -> String {
        let segment = Segment {
            options,
            options_bytes: u8::try_from(options.len() + cut_bytes).unwrap(),
            ..segment(0x02, 0, 0, b"")
        };
        let mut text = Vec::new();
        always((0, 0)).write(&segment, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (_, list) = text.split_once(", win 500").unwrap();
        let list = list.strip_suffix(", length 0").unwrap();
        list.trim_start_matches(", options ").to_owned()
    }

    #[test]
    fn options_are_those_of_tcpdump() {
        let syn = [
            2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 7, 1, 3, 3, 7, 0, 0,
        ];
        assert_eq!(
            options(&syn, 0),
            "[mss 1460,sackOK,TS val 256 ecr 7,nop,wscale 7,eol]"
        );
        assert_eq!(
            options(&[34, 4, 1, 0xab, 34, 2, 110, 3, 5], 0),
            "[tfo 0x01ab,tfo,unknown-110 0x05]"
        );
        assert_eq!(options(&[2, 3, 5, 5, 3, 9], 0), "[mss 0x05,sack 0x09]");
        assert_eq!(options(&[], 0), "");
    }

    #[test]
    fn options_that_make_no_sense_end_the_list() {
        let sack = [5, 10, 0, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(options(&sack, 0), "[sack 1 {1:9}]");
        for length in 1..sack.len() {
            assert_eq!(options(&sack[..length], 0), "[[bad opt]]");
            assert_eq!(options(&sack[..length], 1), "[[|tcp]]");
        }
        assert_eq!(options(&[1, 2, 0, 2, 1, 2], 0), "[nop,[bad opt]]");
        assert_eq!(options(&[1, 2, 0, 2, 1, 2], 1), "[nop,[bad opt]]");
        assert_eq!(options(&[0, 2, 4, 5, 180], 0), "[eol]");
        assert_eq!(options(&[2, 4, 5, 180], 1), "[mss 1460,[|tcp]]");
        assert_eq!(options(&[], 1), "[[|tcp]]");
    }

    #[test]
    fn sack_blocks_are_relative_as_the_ack_is() {
        let mut sequences = Sequences::default();
        let _ = line(&mut sequences, &segment(0x12, 0, 1000, b""));
        let options = [1, 1, 5, 18, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let acks = Segment {
            options: &options,
            ..segment(0x10, 1, 1001, b"")
        };
        let line = line(&mut sequences, &acks);
        assert!(
            line.contains(
                "ack 2, win 500, options [nop,nop,sack 2 {25:281}{4294966297:4294966298}]"
            ),
            "{line}"
        );
    }
}
