//! The bytes of a packet, as tcpdump shows them (print-ascii.c of 4.99).

use std::io::{self, Write};

use tcprec_shared::headers::{Fragment, Headers, Segment};

use crate::report::units::counted;

const LINE_BYTES: usize = 16;

/// Which bytes are shown, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// How they are shown.
    pub looks: Looks,
    /// From the link header on.
    pub with_link_header: bool,
}

/// How bytes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// As text.
    Text,
    /// In hex.
    Hex,
    /// In hex, with the text beside it.
    HexAndText,
}

impl Bytes {
    /// Writes the bytes of a packet, from its IP header on where that is known and no more
    /// is wanted, and how many of them were not captured.
    pub(super) fn write(
        self,
        headers: &Headers<'_>,
        data: &[u8],
        wire_bytes: u32,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let ip = ip_header(headers).filter(|_| !self.with_link_header);
        let bytes = ip.and_then(|place| data.get(place..)).unwrap_or(data);
        match self.looks {
            Looks::Text => text(bytes, to)?,
            Looks::Hex => hex(bytes, false, to)?,
            Looks::HexAndText => hex(bytes, true, to)?,
        }
        match u64::from(wire_bytes).saturating_sub(data.len() as u64) {
            0 => Ok(()),
            cut => write!(to, "\n\t{} more, not captured", counted(cut, "byte")),
        }
    }
}

/// Where the IP header begins, as far as it is known: of a tunnel the innermost, which
/// is the one that the line is about.
pub(super) fn ip_header(headers: &Headers<'_>) -> Option<usize> {
    let (header_bytes, payload_bytes, ip_bytes) = match *headers {
        Headers::Segment(Segment {
            header_bytes,
            payload_bytes,
            ip_bytes,
            ..
        })
        | Headers::Fragment(Fragment {
            header_bytes,
            payload_bytes,
            ip_bytes,
            ..
        }) => (header_bytes, payload_bytes, ip_bytes),
        Headers::TunnelFragment(_) | Headers::Other(_) => return None,
    };
    let end = u64::from(header_bytes) + u64::from(payload_bytes);
    let start = end.saturating_sub(ip_bytes.into());
    usize::try_from(start).ok()
}

/// Writes bytes as text. A carriage return before the end of a line is left out.
fn text(bytes: &[u8], to: &mut dyn Write) -> io::Result<()> {
    writeln!(to)?;
    for (place, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' if matches!(bytes.get(place + 1), None | Some(b'\n')) => {}
            b'\t' | b'\n' | b' ' => to.write_all(&[*byte])?,
            byte => to.write_all(&[shown(*byte)])?,
        }
    }
    Ok(())
}

/// Writes a line for sixteen bytes.
fn hex(bytes: &[u8], with_text: bool, to: &mut dyn Write) -> io::Result<()> {
    for (line, bytes) in bytes.chunks(LINE_BYTES).enumerate() {
        write!(to, "\n\t0x{:04x}: ", line * LINE_BYTES)?;
        for pair in bytes.chunks(2) {
            write!(to, " ")?;
            for byte in pair {
                write!(to, "{byte:02x}")?;
            }
        }
        if with_text {
            let missing = LINE_BYTES - bytes.len();
            let width = 2 + missing * 2 + missing / 2;
            let text: String = bytes.iter().map(|byte| char::from(shown(*byte))).collect();
            write!(to, "{:width$}{text}", "")?;
        }
    }
    Ok(())
}

/// What stands for a byte that may have no looks of its own.
const fn shown(byte: u8) -> u8 {
    match byte {
        b'!'..=b'~' => byte,
        _ => b'.',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriage_returns_are_left_out_where_lines_end() {
        let mut shown = Vec::new();
        text(b"a\r\nb\rc\r\r\nd\t\x1b[2J\x9b\xc3\xa4 e\r", &mut shown).unwrap();
        assert_eq!(shown, b"\na\nb.c.\nd\t.[2J... e");
    }
}
