//! Records from pcapng files.

use std::borrow::Cow;
use std::ops::Range;

use crate::headers::{self, LinkType};
use crate::record::{
    Capture, Direction, Interface, KernelParse, Loss, LossCause, Lost, Packet, Record,
};
use crate::stream::{ReadError, Source};

use super::super::jsonl::{self, Line};
use super::super::window::{MAX_RECORD_BYTES, Window};
use super::clock::Clock;
use super::comment::{self, Kernel};
use super::{ByteOrder, FRAME_BYTES, Fields, Options, block, flags, journal, option};

/// Where the body of a block begins.
const BODY: usize = 8;

/// A pcapng file as a source.
pub(in super::super) struct Reader {
    window: Window,
    order: ByteOrder,
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
    /// Whether packets have a kernel's parse unless said otherwise.
    kernel_parses: bool,
    /// Length of the block that was given last.
    given_bytes: usize,
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

/// A block, whole in the window.
struct Block {
    kind: u32,
    len: usize,
}

impl Reader {
    /// # Errors
    /// Unsupported where `window` begins with no section header that this version reads.
    pub(in super::super) fn new(window: Window) -> Result<Self, ReadError> {
        let mut reader = Self {
            window,
            order: ByteOrder::Little,
            interfaces: Vec::new(),
            first_id: 0,
            free_id: 0,
            capture: None,
            is_own: false,
            kernel_parses: false,
            given_bytes: 0,
            first_ns: None,
            last_ns: 0,
        };
        let Some(Block { kind, len }) = reader.block()? else {
            return Err(reader.window.cut("the input is empty"));
        };
        if kind != block::SECTION_HEADER {
            return Err(ReadError::Unsupported("this is no pcapng file".into()));
        }
        let mut capture = reader.section(len)?;
        reader.window.consume(len);
        if !reader.is_own {
            capture.snap_bytes = reader.first_snap_bytes()?;
        }
        reader.capture = Some(capture);
        Ok(reader)
    }

    /// The next block, none at the end of the input.
    fn block(&mut self) -> Result<Option<Block>, ReadError> {
        if !self.window.fill(FRAME_BYTES)? {
            return self.window.end("the header of a block");
        }
        let head = self.window.bytes();
        let mut fields = self.fields(head);
        let kind = fields.u32().unwrap_or_default();
        if kind == block::SECTION_HEADER {
            let Some(order) = ByteOrder::of_magic(&head[BODY..]) else {
                return Err(self
                    .window
                    .cut("the file is damaged from here on: a section of no byte order"));
            };
            self.order = order;
            fields.order = order;
        }
        let len = fields.u32().unwrap_or_default() as usize;
        if len < FRAME_BYTES {
            return Err(self.window.cut(format!(
                "the file is damaged from here on: a block of {len} bytes"
            )));
        }
        if len > MAX_RECORD_BYTES {
            let at_bytes = self.window.offset();
            if !self.window.skip(len as u64)? {
                return Err(ReadError::Truncated {
                    at_bytes,
                    detail: format!("the input ends inside a block of {len} bytes"),
                });
            }
            return Err(ReadError::Damaged {
                at_bytes,
                detail: format!("a block of {len} bytes; at most {MAX_RECORD_BYTES} are read"),
            });
        }
        if !self.window.fill(len)? {
            return self.window.end(&format!("a block of {len} bytes"));
        }
        let again = self.fields(&self.window.bytes()[len - 4..len]).u32();
        if again != u32::try_from(len).ok() {
            return Err(self
                .window
                .cut("the file is damaged from here on: the two lengths of a block differ"));
        }
        Ok(Some(Block { kind, len }))
    }

    fn fields<'a>(&self, bytes: &'a [u8]) -> Fields<'a> {
        Fields {
            order: self.order,
            rest: bytes,
        }
    }

    /// The body of the block of `len` bytes at the window's start.
    fn body(&self, len: usize) -> Fields<'_> {
        self.fields(&self.window.bytes()[BODY..len - 4])
    }

    /// Enters a new section.
    fn section(&mut self, len: usize) -> Result<Capture, ReadError> {
        self.interfaces.clear();
        self.first_id = self.free_id;
        self.is_own = false;
        let mut capture = Capture {
            program: "unknown program (pcapng)".into(),
            ..Capture::default()
        };
        let mut fields = self.body(len);
        let _magic = fields.u32();
        let (Some(major), Some(minor), Some(_section_bytes)) =
            (fields.u16(), fields.u16(), fields.chunk::<8>())
        else {
            return Err(self.damaged("a section header that is too short"));
        };
        if major != 1 {
            return Err(ReadError::Unsupported(format!(
                "this is pcapng version {major}.{minor}; expected 1.0"
            )));
        }
        for (code, value) in Options(fields) {
            match code {
                option::SHB_USERAPPL => capture.program = text(value),
                option::SHB_OS => capture.kernel = Some(text(value)),
                option::COMMENT => {
                    if let Some(Record::Capture(own)) = own_record(value) {
                        jsonl::check_schema(&own)?;
                        self.kernel_parses = !own.hooks.is_empty();
                        self.is_own = true;
                        return Ok(own);
                    }
                }
                _ => {}
            }
        }
        Ok(capture)
    }

    /// The snap length of the interface that is described next.
    fn first_snap_bytes(&mut self) -> Result<Option<u32>, ReadError> {
        const ENOUGH: usize = BODY + 8;
        if !self.window.fill(ENOUGH)? {
            return Ok(None);
        }
        let mut fields = self.fields(&self.window.bytes()[..ENOUGH]);
        let kind = fields.u32();
        let _len_link_reserved = fields.chunk::<8>();
        let snap_bytes = fields.u32().filter(|snap_bytes| *snap_bytes > 0);
        Ok(snap_bytes.filter(|_| kind == Some(block::INTERFACE_DESCRIPTION)))
    }

    /// Takes up the interface that a block of `len` bytes describes.
    fn interface(&mut self, len: usize) -> Result<Interface, ReadError> {
        let mut fields = self.body(len);
        let (Some(link_type), Some(_reserved), Some(snap_bytes)) =
            (fields.u16(), fields.u16(), fields.u32())
        else {
            return Err(self.damaged("an interface description that is too short"));
        };
        let mut clock = Clock::default();
        let mut interface = Interface {
            id: self.interfaces.len() as u32,
            name: None,
            link_type: LinkType(link_type),
            netns: None,
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
                        clock = clock.with_offset(self.order.i64(seconds));
                    }
                }
                option::COMMENT if self.is_own => own = own.or(own_record(value)),
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
        let mut fields = self.body(block.len);
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
            return Err(self.damaged("a packet block that is too short"));
        };
        let Some(described) = self.interfaces.get(interface as usize) else {
            return Err(self.damaged(format!(
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
            return Err(self.damaged(format!(
                "a packet of {captured_bytes} bytes in a block of {}",
                block.len
            )));
        }
        let data = start..start + captured_bytes;
        let mut own = comment::Fields::default();
        if block.kind == block::ENHANCED_PACKET {
            for (code, value) in Options(fields) {
                match (code, value.first_chunk()) {
                    (option::EPB_FLAGS, Some(flags)) => {
                        packet.direction = match self.order.u32(*flags) & flags::DIRECTION {
                            flags::INBOUND => Some(Direction::In),
                            flags::OUTBOUND => Some(Direction::Out),
                            _ => None,
                        };
                    }
                    (option::COMMENT, _) if self.is_own => own = comment::read(value),
                    _ => {}
                }
            }
        }
        packet.cookie = own.cookie;
        packet.kernel = match own.kernel {
            Kernel::Other(kernel) => kernel,
            Kernel::Expected if self.kernel_parses => {
                let bytes = &self.window.bytes()[data.clone()];
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
    fn loss(&mut self, len: usize) -> Option<Loss> {
        let mut fields = self.body(len);
        let interface = fields.u32()? as usize;
        let ticks = fields.ticks()?;
        let mut lost_packets = 0;
        for (code, value) in Options(fields) {
            // dumpcap counts what the kernel had no room for as if_drop.
            if let (option::ISB_IFDROP | option::ISB_OSDROP, Ok(count)) = (code, value.try_into()) {
                lost_packets = lost_packets.max(self.order.u64(count));
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

    /// The record that a block of `len` bytes holds as JSON; none in blocks of others.
    fn other(&mut self, block: &Block) -> Result<Option<Record<'static>>, ReadError> {
        let mut fields = self.body(block.len);
        let json = if block.kind == block::SYSTEMD_JOURNAL_EXPORT {
            journal::record(fields.rest)
        } else {
            let _pid = fields.u32();
            Options(fields).find_map(|(code, value)| (code == option::COMMENT).then_some(value))
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
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }

    fn damaged(&self, detail: impl Into<String>) -> ReadError {
        ReadError::Damaged {
            at_bytes: self.window.offset(),
            detail: detail.into(),
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
        block::SIMPLE_PACKET => return Some((0, None, None, fields.u32()?)),
        block::PACKET => {
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
            return Ok(Some(Record::Capture(capture)));
        }
        loop {
            self.window.consume(std::mem::take(&mut self.given_bytes));
            let Some(block) = self.block()? else {
                return Ok(None);
            };
            self.given_bytes = block.len;
            match block.kind {
                block::SECTION_HEADER => {
                    let capture = self.section(block.len)?;
                    if self.is_own {
                        return Ok(Some(Record::Capture(capture)));
                    }
                }
                block::INTERFACE_DESCRIPTION => {
                    return self.interface(block.len).map(Record::Interface).map(Some);
                }
                block::ENHANCED_PACKET | block::PACKET | block::SIMPLE_PACKET => {
                    let (packet, data) = self.packet(&block)?;
                    return Ok(Some(Record::Packet(Packet {
                        data: Cow::Borrowed(&self.window.bytes()[data]),
                        ..packet
                    })));
                }
                block::SYSTEMD_JOURNAL_EXPORT | block::DARWIN_PROCESS => {
                    if let Some(record) = self.other(&block)? {
                        return Ok(Some(record));
                    }
                }
                block::INTERFACE_STATISTICS if !self.is_own => {
                    if let Some(loss) = self.loss(block.len) {
                        return Ok(Some(Record::Loss(loss)));
                    }
                }
                _ => {}
            }
        }
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
