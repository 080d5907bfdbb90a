//! Reading pcap: the format of libpcap's savefiles (pcap-savefile(5),
//! draft-ietf-opsawg-pcap), in both byte orders, with microseconds or
//! nanoseconds, and with the longer packet headers of Kuznetzov's patch.
//!
//! `pcap_file` knows the layout of all but the patch; it parses what stands in
//! the [`Window`].

use std::borrow::Cow;
use std::fmt::Display;

use pcap_file::pcap::{PcapParseError, PcapParser, PcapTsResolution, RawPcapPacket};

use crate::batch::Batch;
use crate::headers::LinkType;
use crate::record::{Capture, Interface, Packet, Record};
use crate::stream::{ReadError, Source};

use super::window::{MAX_RECORD_BYTES, Window};

/// Length of the file's header.
const FILE_HEADER_BYTES: usize = 24;

/// Length of a packet's header without the patch.
const PACKET_HEADER_BYTES: usize = 16;

/// The one interface of a pcap file.
const INTERFACE: u32 = 0;

/// A parser for the files that begin with `header`, and what their packet
/// headers have beyond the usual: with the patch, interface index, protocol
/// and packet type follow the lengths.
fn parser(mut header: [u8; FILE_HEADER_BYTES]) -> Result<(PcapParser, usize), PcapParseError> {
    const PLAIN: u32 = 0xa1b2_c3d4;
    const PATCHED: u32 = 0xa1b2_cd34;
    const PATCH_BYTES: usize = 8;
    let mut extra_bytes = 0;
    if let Some(magic) = header.first_chunk_mut() {
        for order in [u32::to_be_bytes, u32::to_le_bytes] {
            if *magic == order(PATCHED) {
                *magic = order(PLAIN);
                extra_bytes = PATCH_BYTES;
            }
        }
    }
    let (_, parser) = PcapParser::new(&header)?;
    Ok((parser, extra_bytes))
}

/// Whether an input that begins so is a pcap file: by its magic number.
pub(super) fn recognizes(start: &[u8]) -> bool {
    let Some(magic) = start.first_chunk::<4>() else {
        return false;
    };
    let mut header = [0; FILE_HEADER_BYTES];
    header[..magic.len()].copy_from_slice(magic);
    parser(header).is_ok()
}

/// A pcap file as a source.
pub(super) struct Reader {
    window: Window,
    parser: PcapParser,
    packet_header_bytes: usize,
    /// Nanoseconds in one step of the timestamp's second field.
    fraction_ns: i64,
    /// What stands before the packets, last first.
    preamble: Vec<Record<'static>>,
    /// Length of the record that was given last.
    given_bytes: usize,
}

impl Reader {
    /// # Errors
    /// Unsupported where `window` begins with no pcap header.
    pub(super) fn new(mut window: Window) -> Result<Self, ReadError> {
        window.fill(FILE_HEADER_BYTES)?;
        let Some(header) = window.bytes().first_chunk() else {
            return Err(window.cut("the input ends inside the file header of a pcap file"));
        };
        let (parser, extra_bytes) = parser(*header)
            .map_err(|error| ReadError::Unsupported(format!("this is not a pcap file: {error}")))?;
        let header = parser.header();
        if header.version_major != 2 {
            return Err(ReadError::Unsupported(format!(
                "this is pcap version {}.{}; expected 2.4",
                header.version_major, header.version_minor
            )));
        }
        // The upper half says whether packets end with a checksum.
        let link_type = LinkType((u32::from(header.datalink) & 0xffff) as u16);
        window.consume(FILE_HEADER_BYTES);
        Ok(Self {
            window,
            parser,
            packet_header_bytes: PACKET_HEADER_BYTES + extra_bytes,
            fraction_ns: match header.ts_resolution {
                PcapTsResolution::MicroSecond => 1000,
                PcapTsResolution::NanoSecond => 1,
            },
            preamble: vec![
                Record::Interface(Interface {
                    id: INTERFACE,
                    name: None,
                    link_type,
                    netns: None,
                    behind: false,
                }),
                Record::Capture(Box::new(Capture {
                    program: "unknown program (pcap)".into(),
                    snap_bytes: (header.snaplen > 0).then_some(header.snaplen),
                    ..Capture::default()
                })),
            ],
            given_bytes: 0,
        })
    }

    /// The packet at the window's start but for its bytes, and how many those
    /// are; none at the end of the input.
    fn packet(&mut self) -> Result<Option<(Packet<'static>, usize)>, ReadError> {
        if !self.window.fill(self.packet_header_bytes)? {
            return self.window.end("the header of a packet");
        }
        loop {
            let (packet, captured_bytes) = match self.parser.next_raw_packet(self.window.bytes()) {
                Ok((_, raw)) => (Some(self.packet_of(&raw)), raw.incl_len as usize),
                Err(PcapParseError::IncompleteBuffer(captured_bytes, _)) => (None, captured_bytes),
                Err(PcapParseError::Validation(error)) => {
                    return Err(self.damaged(error));
                }
            };
            if captured_bytes > MAX_RECORD_BYTES {
                return Err(self.damaged(format_args!("a packet of {captured_bytes} bytes")));
            }
            if !self
                .window
                .fill(self.packet_header_bytes + captured_bytes)?
            {
                return self
                    .window
                    .end(&format!("a packet of {captured_bytes} bytes"));
            }
            if let Some(packet) = packet {
                return Ok(Some((packet, captured_bytes)));
            }
        }
    }

    /// The packet at a place in the window, if nothing is to be read for it.
    #[inline]
    fn packet_at(&self, place: usize) -> Option<(Packet<'static>, usize)> {
        let bytes = self.window.bytes().get(place..)?;
        let (_, raw) = self.parser.next_raw_packet(bytes).ok()?;
        let captured_bytes = raw.incl_len as usize;
        let is_whole = bytes.len() >= self.packet_header_bytes + captured_bytes
            && captured_bytes <= MAX_RECORD_BYTES;
        is_whole.then(|| (self.packet_of(&raw), captured_bytes))
    }

    fn packet_of(&self, raw: &RawPcapPacket<'_>) -> Packet<'static> {
        Packet {
            // At most 2^32 seconds and 2^32 fractions: that fits. A fraction of
            // more than a second is counted on, as Wireshark does.
            ts_ns: i64::from(raw.ts_sec) * 1_000_000_000
                + i64::from(raw.ts_frac) * self.fraction_ns,
            interface: INTERFACE,
            direction: None,
            wire_bytes: raw.orig_len,
            cookie: None,
            kernel: None,
            data: Cow::Borrowed(&[]),
        }
    }

    fn damaged(&self, what: impl Display) -> ReadError {
        self.window
            .cut(format!("the file is damaged from here on: {what}"))
    }
}

impl Source for Reader {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if let Some(record) = self.preamble.pop() {
            return Ok(Some(record));
        }
        self.window.consume(std::mem::take(&mut self.given_bytes));
        let Some((packet, captured_bytes)) = self.packet()? else {
            return Ok(None);
        };
        self.given_bytes = self.packet_header_bytes + captured_bytes;
        Ok(Some(Record::Packet(Packet {
            data: Cow::Borrowed(&self.window.bytes()[self.packet_header_bytes..self.given_bytes]),
            ..packet
        })))
    }

    fn has_next(&self) -> bool {
        !self.preamble.is_empty() || self.packet_at(self.given_bytes).is_some()
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        while let Some(record) = self.preamble.pop() {
            batch.push_other(record);
        }
        self.window.consume(std::mem::take(&mut self.given_bytes));
        let mut next = self.packet()?;
        if next.is_none() {
            return Ok(false);
        }
        while let Some((packet, captured_bytes)) = next {
            let start = self.window.place() + self.packet_header_bytes;
            batch.push_packet_at(&packet, start..start + captured_bytes);
            self.window
                .consume(self.packet_header_bytes + captured_bytes);
            next = self.packet_at(0);
        }
        self.window.hand_over(batch);
        Ok(true)
    }
}
