//! Records from the blocks of pcapng files: what each says. Where they begin and
//! end is told by `blocks`.

use std::borrow::Cow;
use std::ops::Range;

use byteorder_slice::BigEndian;
use pcap_file::pcapng::blocks::opt_common::COMMENT;
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, INTERFACE_STATISTIC_BLOCK, PACKET_BLOCK,
    SECTION_HEADER_BLOCK, SIMPLE_PACKET_BLOCK, SYSTEMD_JOURNAL_EXPORT_BLOCK,
};
use pcap_file::pcapng::{PcapNgBlock as _, PcapNgState};

use crate::headers::{self, LinkType};
use crate::record::{
    Capture, Direction, Interface, KernelParse, Loss, LossCause, Lost, Packet, Record,
};
use crate::stream::{ReadError, Source};

use super::super::jsonl::{self, Line};
use super::super::window::Window;
use super::blocks::{Block, Blocks};
use super::body::{self, Fields, Options, option};
use super::clock::Clock;
use super::comment::{self, Kernel};
use super::{DARWIN_PROCESS_BLOCK, flags, journal};

/// A pcapng file as a source.
pub(in super::super) struct Reader {
    blocks: Blocks,
    /// Interfaces of the present section.
    interfaces: Vec<Described>,
    /// What is added to the ids of the present section's interfaces: those of
    /// all sections must differ.
    first_id: u32,
    /// The lowest id that no interface has.
    free_id: u32,
    /// What stands before the packets.
    capture: Option<Capture>,
    /// Whether tcprec wrote the present section.
    is_own: bool,
    /// Whether the present section is of a version that is not read.
    is_foreign: bool,
    /// Whether packets have a kernel's parse unless said otherwise.
    kernel_parses: bool,
    /// Time of the first packet.
    first_ns: Option<i64>,
    /// Time of the last packet that had one.
    last_ns: i64,
}

/// What a packet block needs to know of its interface.
struct Described {
    id: u32,
    link_type: LinkType,
    snap_bytes: u32,
    clock: Clock,
    /// Packets lost, as far as statistics told.
    lost_packets: u64,
}

impl Reader {
    /// # Errors
    /// Unsupported where `window` begins with no section header that this version reads.
    pub(in super::super) fn new(window: Window) -> Result<Self, ReadError> {
        let mut reader = Self {
            blocks: Blocks::new(window),
            interfaces: Vec::new(),
            first_id: 0,
            free_id: 0,
            capture: None,
            is_own: false,
            is_foreign: false,
            kernel_parses: false,
            first_ns: None,
            last_ns: 0,
        };
        let Some(block) = reader.blocks.next()? else {
            return Err(reader.blocks.cut("the input is empty"));
        };
        if block.kind != SECTION_HEADER_BLOCK {
            return Err(ReadError::Unsupported("this is not a pcapng file".into()));
        }
        let mut capture = reader.section(&block)?;
        if !reader.is_own {
            capture.snap_bytes = reader.first_snap_bytes()?;
        }
        reader.capture = Some(capture);
        Ok(reader)
    }

    /// Enters a section behind the first. One of a version that is not read is
    /// passed over: another may follow.
    fn next_section(&mut self, block: &Block) -> Result<Capture, ReadError> {
        let section = self.section(block);
        self.is_foreign = matches!(section, Err(ReadError::Unsupported(_)));
        section.map_err(|error| match error {
            ReadError::Unsupported(detail) => self
                .blocks
                .damaged(format!("{detail}; this section is skipped")),
            error => error,
        })
    }

    /// Enters a new section.
    fn section(&mut self, block: &Block) -> Result<Capture, ReadError> {
        self.interfaces.clear();
        self.first_id = self.free_id;
        self.is_own = false;
        let mut capture = Capture {
            program: "unknown program (pcapng)".into(),
            ..Capture::default()
        };
        // Byte order, version and length of the section; not its options.
        const FIELDS_BYTES: usize = 16;
        let body = self.blocks.body(block).rest;
        let fields = &body[..FIELDS_BYTES.min(body.len())];
        let state = PcapNgState::default();
        let header = match SectionHeaderBlock::from_slice::<BigEndian>(&state, fields) {
            Ok((_, header)) => header,
            Err(error) => return Err(self.blocks.damaged(format!("a section header: {error}"))),
        };
        let (major, minor) = (header.major_version, header.minor_version);
        self.blocks.order = header.endianness;
        if major != 1 {
            return Err(ReadError::Unsupported(format!(
                "this is pcapng version {major}.{minor}; expected 1.0"
            )));
        }
        let mut options = self.blocks.body(block);
        let _fields = options.chunk::<FIELDS_BYTES>();
        for (code, value) in Options(options) {
            match code {
                option::SHB_USERAPPL => capture.program = text(value),
                option::SHB_OS => capture.kernel = Some(text(value)),
                COMMENT => {
                    if let Some(Record::Capture(own)) = own_record(value) {
                        jsonl::check_schema(&own)?;
                        self.kernel_parses = !own.hooks.is_empty();
                        self.is_own = true;
                        return Ok(*own);
                    }
                }
                _ => {}
            }
        }
        Ok(capture)
    }

    /// The snap length of the interface that is described next.
    fn first_snap_bytes(&mut self) -> Result<Option<u32>, ReadError> {
        let Some(mut fields) = self.blocks.peek::<16>()? else {
            return Ok(None);
        };
        let kind = fields.u32();
        let _len_link_reserved = fields.chunk::<8>();
        let snap_bytes = fields.u32().filter(|snap_bytes| *snap_bytes > 0);
        Ok(snap_bytes.filter(|_| kind == Some(INTERFACE_DESCRIPTION_BLOCK)))
    }

    /// Takes up the interface that a block describes.
    fn interface(&mut self, block: &Block) -> Result<Interface, ReadError> {
        let mut fields = self.blocks.body(block);
        let (Some(link_type), Some(_reserved), Some(snap_bytes)) =
            (fields.u16(), fields.u16(), fields.u32())
        else {
            return Err(self
                .blocks
                .damaged("an interface description that is too short"));
        };
        let mut clock = Clock::default();
        let mut interface = Interface {
            id: self.interfaces.len() as u32,
            name: None,
            link_type: LinkType(link_type),
            netns: None,
            behind: false,
        };
        let mut own = None;
        for (code, value) in Options(fields) {
            match code {
                option::IF_NAME => interface.name = Some(text(value)),
                option::IF_TSRESOL => {
                    if let [resolution] = value {
                        clock = clock.with_resolution(*resolution);
                    }
                }
                option::IF_TSOFFSET => {
                    if let Ok(seconds) = value.try_into() {
                        clock =
                            clock.with_offset(body::u64(self.blocks.order, seconds).cast_signed());
                    }
                }
                COMMENT if self.is_own => own = own.or(own_record(value)),
                _ => {}
            }
        }
        if let Some(Record::Interface(own)) = own {
            interface = own;
        }
        interface.id = interface.id.saturating_add(self.first_id);
        self.free_id = self.free_id.max(interface.id.saturating_add(1));
        self.interfaces.push(Described {
            id: interface.id,
            link_type: interface.link_type,
            snap_bytes,
            clock,
            lost_packets: 0,
        });
        Ok(interface)
    }

    /// The packet of a block, and where in the block its bytes are.
    fn packet(&mut self, block: &Block) -> Result<(Packet<'static>, Range<usize>), ReadError> {
        let mut fields = self.blocks.body(block);
        let mut packet = Packet {
            ts_ns: self.last_ns,
            interface: 0,
            direction: None,
            wire_bytes: 0,
            cookie: None,
            kernel: None,
            data: Cow::Borrowed(&[]),
        };
        let Some((interface, ticks, captured_bytes, wire_bytes)) =
            packet_fields(block.kind, &mut fields)
        else {
            return Err(self.blocks.damaged("a packet block that is too short"));
        };
        let Some(described) = self.interfaces.get(interface as usize) else {
            return Err(self.blocks.damaged(format!(
                "a packet of interface {interface}, which is not described"
            )));
        };
        packet.interface = described.id;
        packet.wire_bytes = wire_bytes;
        let captured_bytes = match captured_bytes {
            Some(captured_bytes) => captured_bytes as usize,
            // Simple packets are cut by the snap length alone.
            None => {
                let snap_bytes = match described.snap_bytes {
                    0 => u32::MAX,
                    snap_bytes => snap_bytes,
                };
                (wire_bytes.min(snap_bytes) as usize).min(fields.rest.len())
            }
        };
        if let Some(ticks) = ticks {
            packet.ts_ns = described.clock.ns(ticks);
        }
        let start = block.len - 4 - fields.rest.len();
        if fields.padded(captured_bytes).is_none() {
            return Err(self.blocks.damaged(format!(
                "a packet of {captured_bytes} bytes in a block of {}",
                block.len
            )));
        }
        let data = start..start + captured_bytes;
        let mut own = comment::Fields::default();
        if block.kind == ENHANCED_PACKET_BLOCK {
            for (code, value) in Options(fields) {
                match (code, value.first_chunk()) {
                    (option::EPB_FLAGS, Some(flags)) => {
                        packet.direction =
                            match body::u32(self.blocks.order, *flags) & flags::DIRECTION {
                                flags::INBOUND => Some(Direction::In),
                                flags::OUTBOUND => Some(Direction::Out),
                                _ => None,
                            };
                    }
                    (COMMENT, _) if self.is_own => own = comment::read(value),
                    _ => {}
                }
            }
        }
        packet.cookie = own.cookie;
        packet.kernel = match own.kernel {
            Kernel::Other(kernel) => kernel,
            Kernel::Expected if self.kernel_parses => {
                let bytes = &self.blocks.bytes()[data.clone()];
                let headers = headers::parse(described.link_type, bytes, wire_bytes);
                KernelParse::expected(&headers)
            }
            Kernel::Expected => None,
        };
        self.first_ns.get_or_insert(packet.ts_ns);
        self.last_ns = packet.ts_ns;
        Ok((packet, data))
    }

    /// What the statistics of others say of losses, beyond what they said
    /// before. When those were lost they do not say.
    fn loss(&mut self, block: &Block) -> Option<Loss> {
        let mut fields = self.blocks.body(block);
        let interface = fields.u32()? as usize;
        let ticks = fields.ticks()?;
        let mut lost_packets = 0;
        for (code, value) in Options(fields) {
            // dumpcap counts what the kernel had no room for as if_drop.
            if let (option::ISB_IFDROP | option::ISB_OSDROP, Ok(count)) = (code, value.try_into()) {
                lost_packets = lost_packets.max(body::u64(self.blocks.order, count));
            }
        }
        let described = self.interfaces.get_mut(interface)?;
        let known = std::mem::replace(&mut described.lost_packets, lost_packets);
        let count = lost_packets.checked_sub(known).filter(|count| *count > 0)?;
        let at_ns = described.clock.ns(ticks);
        let (first_ns, last_ns) = match self.first_ns {
            Some(first_ns) => (first_ns, self.last_ns),
            None => (at_ns, at_ns),
        };
        Some(Loss {
            cause: LossCause::RingFull,
            lost: Lost::Packets,
            cpu: None,
            count,
            bytes: 0,
            first_ns,
            last_ns,
        })
    }

    /// The record that a block holds as JSON; none in blocks of others.
    fn other(&mut self, block: &Block) -> Result<Option<Record<'static>>, ReadError> {
        let mut fields = self.blocks.body(block);
        let json = if block.kind == SYSTEMD_JOURNAL_EXPORT_BLOCK {
            journal::record(fields.rest)
        } else {
            let _pid = fields.u32();
            Options(fields).find_map(|(code, value)| (code == COMMENT).then_some(value))
        };
        let Some(json) = json.filter(|_| self.is_own) else {
            return Ok(None);
        };
        match jsonl::parse(json, &mut Vec::new()) {
            Ok(Line::Other(record)) => {
                if let Record::Capture(capture) = &record {
                    self.kernel_parses = !capture.hooks.is_empty();
                }
                Ok(Some(record))
            }
            Ok(Line::Unknown(_) | Line::Packet(_)) => Ok(None),
            Err(error) => Err(self.blocks.damaged(error.to_string())),
        }
    }
}

/// Interface, time, captured length and wire length of a packet block; simple
/// packets have no time and no captured length.
fn packet_fields(
    kind: u32,
    fields: &mut Fields<'_>,
) -> Option<(u32, Option<u64>, Option<u32>, u32)> {
    let interface = match kind {
        SIMPLE_PACKET_BLOCK => return Some((0, None, None, fields.u32()?)),
        PACKET_BLOCK => {
            let interface = fields.u16()?;
            let _drops = fields.u16()?;
            interface.into()
        }
        _ => fields.u32()?,
    };
    let ticks = fields.ticks()?;
    Some((interface, Some(ticks), Some(fields.u32()?), fields.u32()?))
}

impl Source for Reader {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if let Some(capture) = self.capture.take() {
            return Ok(Some(Record::Capture(Box::new(capture))));
        }
        loop {
            let Some(block) = self.blocks.next()? else {
                return Ok(None);
            };
            match block.kind {
                SECTION_HEADER_BLOCK => {
                    let capture = self.next_section(&block)?;
                    if self.is_own {
                        return Ok(Some(Record::Capture(Box::new(capture))));
                    }
                }
                _ if self.is_foreign => {}
                INTERFACE_DESCRIPTION_BLOCK => {
                    return self.interface(&block).map(Record::Interface).map(Some);
                }
                ENHANCED_PACKET_BLOCK | PACKET_BLOCK | SIMPLE_PACKET_BLOCK => {
                    let (packet, data) = self.packet(&block)?;
                    return Ok(Some(Record::Packet(Packet {
                        data: Cow::Borrowed(&self.blocks.bytes()[data]),
                        ..packet
                    })));
                }
                SYSTEMD_JOURNAL_EXPORT_BLOCK | DARWIN_PROCESS_BLOCK => {
                    if let Some(record) = self.other(&block)? {
                        return Ok(Some(record));
                    }
                }
                INTERFACE_STATISTIC_BLOCK if !self.is_own => {
                    if let Some(loss) = self.loss(&block) {
                        return Ok(Some(Record::Loss(loss)));
                    }
                }
                _ => {}
            }
        }
    }

    fn has_next(&self) -> bool {
        let is_record = |kind| match kind {
            ENHANCED_PACKET_BLOCK
            | PACKET_BLOCK
            | SIMPLE_PACKET_BLOCK
            | INTERFACE_DESCRIPTION_BLOCK => true,
            SYSTEMD_JOURNAL_EXPORT_BLOCK => self.is_own,
            _ => false,
        };
        let kind = self.blocks.next_kind().filter(|_| !self.is_foreign);
        self.capture.is_some() || kind.is_some_and(is_record)
    }
}

/// Text of an option; some writers end it with a zero byte.
fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.trim_end_matches('\0').to_owned()
}

/// The record that a comment holds as JSON, if it does.
fn own_record(comment: &[u8]) -> Option<Record<'static>> {
    match jsonl::parse(comment, &mut Vec::new()) {
        Ok(Line::Other(record)) => Some(record),
        _ => None,
    }
}
