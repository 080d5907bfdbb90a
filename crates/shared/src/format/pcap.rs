//! Reading pcap: the format of libpcap's savefiles (pcap-savefile(5),
//! draft-ietf-opsawg-pcap), in both byte orders, with microseconds or
//! nanoseconds, and with the longer packet headers of Kuznetzov's patch.

use std::borrow::Cow;

use crate::headers::LinkType;
use crate::record::{Capture, Interface, Packet, Record};
use crate::stream::{ReadError, Source};

use super::window::{MAX_RECORD_BYTES, Window};

/// Length of the file's header.
const FILE_HEADER_BYTES: usize = 24;

/// The one interface of a pcap file.
const INTERFACE: u32 = 0;

/// What the magic number says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flavor {
    big_endian: bool,
    /// Nanoseconds in one step of the timestamp's second field.
    fraction_ns: i64,
    packet_header_bytes: usize,
}

impl Flavor {
    fn of(magic: [u8; 4]) -> Option<Self> {
        let (big_endian, number) = match magic[0] {
            0xa1 => (true, u32::from_be_bytes(magic)),
            _ => (false, u32::from_le_bytes(magic)),
        };
        let (fraction_ns, packet_header_bytes) = match number {
            0xa1b2_c3d4 => (1000, 16),
            0xa1b2_3c4d => (1, 16),
            // Interface index, protocol and packet type follow the lengths.
            0xa1b2_cd34 => (1000, 24),
            _ => return None,
        };
        Some(Self {
            big_endian,
            fraction_ns,
            packet_header_bytes,
        })
    }

    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = [bytes[at], bytes[at + 1]];
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }
}

/// Whether an input that begins so is a pcap file.
pub(super) fn recognizes(start: &[u8]) -> bool {
    start
        .first_chunk()
        .is_some_and(|magic| Flavor::of(*magic).is_some())
}

/// A pcap file as a source.
pub(super) struct Reader {
    window: Window,
    flavor: Flavor,
    /// What stands before the packets, last first.
    preamble: Vec<Record<'static>>,
    /// Length of the record that was given last.
    given_bytes: usize,
}

impl Reader {
    /// # Errors
    /// Unsupported where `window` begins with no pcap header.
    pub(super) fn new(mut window: Window) -> Result<Self, ReadError> {
        if !window.fill(FILE_HEADER_BYTES)? {
            return Err(window.cut("the input ends inside the file header of a pcap file"));
        }
        let header = window.bytes();
        let Some(flavor) = header.first_chunk().and_then(|magic| Flavor::of(*magic)) else {
            return Err(ReadError::Unsupported("this is no pcap file".into()));
        };
        let (major, minor) = (flavor.u16(header, 4), flavor.u16(header, 6));
        if major != 2 {
            return Err(ReadError::Unsupported(format!(
                "this is pcap version {major}.{minor}; expected 2.4"
            )));
        }
        let snap_bytes = flavor.u32(header, 16);
        // The upper half says whether packets end with a checksum.
        let link_type = LinkType((flavor.u32(header, 20) & 0xffff) as u16);
        window.consume(FILE_HEADER_BYTES);
        Ok(Self {
            window,
            flavor,
            preamble: vec![
                Record::Interface(Interface {
                    id: INTERFACE,
                    name: None,
                    link_type,
                    netns: None,
                }),
                Record::Capture(Capture {
                    program: "unknown program (pcap)".into(),
                    snap_bytes: (snap_bytes > 0).then_some(snap_bytes),
                    ..Capture::default()
                }),
            ],
            given_bytes: 0,
        })
    }
}

impl Source for Reader {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if let Some(record) = self.preamble.pop() {
            return Ok(Some(record));
        }
        self.window.consume(std::mem::take(&mut self.given_bytes));
        let Flavor {
            fraction_ns,
            packet_header_bytes,
            ..
        } = self.flavor;
        if !self.window.fill(packet_header_bytes)? {
            return self.window.end("the header of a packet");
        }
        let header = self.window.bytes();
        let seconds = self.flavor.u32(header, 0);
        let fraction = self.flavor.u32(header, 4);
        let captured_bytes = self.flavor.u32(header, 8);
        let wire_bytes = self.flavor.u32(header, 12);
        if captured_bytes as usize > MAX_RECORD_BYTES {
            return Err(self.window.cut(format!(
                "the file is damaged from here on: a packet of {captured_bytes} bytes"
            )));
        }
        let len = packet_header_bytes + captured_bytes as usize;
        if !self.window.fill(len)? {
            return self
                .window
                .end(&format!("a packet of {captured_bytes} bytes"));
        }
        self.given_bytes = len;
        Ok(Some(Record::Packet(Packet {
            // At most 2^32 seconds and 2^32 fractions: that fits. A fraction of
            // more than a second is counted on, as Wireshark does.
            ts_ns: i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * fraction_ns,
            interface: INTERFACE,
            direction: None,
            wire_bytes,
            cookie: None,
            kernel: None,
            data: Cow::Borrowed(&self.window.bytes()[packet_header_bytes..len]),
        })))
    }
}
