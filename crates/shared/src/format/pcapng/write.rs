//! pcapng files from records.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::headers::{self, LinkType};
use crate::record::{
    Capture, Direction, Interface, KernelParse, Loss, LossCause, Lost, Packet, Process, ProcessId,
    Record,
};
use crate::stream::{Annotation, Owner, Sink};

use super::super::frames;
use super::comment::{self, Kernel};
use super::{BYTE_ORDER_MAGIC, BlockWriter, block, flags, journal, option};

/// As many bytes of blocks are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// The snap length where none is known: as large as libpcap's largest.
const MAX_SNAP_BYTES: u32 = 262_144;

/// How times are counted: a second over ten to the power of this.
const NANOSECONDS: u8 = 9;

/// What to leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcapngOptions {
    /// Whether events, losses and the end are written. They are journal
    /// entries, which other formats cannot hold: `editcap -F pcap` refuses them.
    pub events: bool,
}

impl Default for PcapngOptions {
    fn default() -> Self {
        Self { events: true }
    }
}

/// A pcapng file as a sink.
pub(in super::super) struct Writer<W: Write> {
    /// Whole blocks.
    blocks: Vec<u8>,
    output: Output<W>,
    options: PcapngOptions,
    begun: bool,
    /// Whether the kernel side parsed packets: it did where hooks were attached.
    kernel_parses: bool,
    snap_bytes: u32,
    /// In the order of their blocks.
    interfaces: Vec<Written>,
    /// Place of an interface among the blocks, by its id.
    places: HashMap<u32, u32>,
    processes: HashMap<ProcessId, Known>,
    /// Number of process blocks.
    process_blocks: u32,
    /// Packets lost since the last packet.
    dropped: u64,
    lost: LostPackets,
    last_ns: i64,
}

/// An interface that has a block.
struct Written {
    link_type: LinkType,
    packets: u64,
}

/// A process, as it was last described.
struct Known {
    comm: String,
    /// Place of its block.
    place: u32,
}

/// Packets lost, for the statistics at the end.
#[derive(Default)]
struct LostPackets {
    anywhere: u64,
    in_kernel: u64,
}

/// Where blocks go.
enum Output<W: Write> {
    Plain(W),
    /// One frame for the whole file: tshark 4.0 to 4.6 reads no second one.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Writer<W> {
    pub(in super::super) fn plain(output: W, options: PcapngOptions) -> Self {
        Self::new(Output::Plain(output), options)
    }

    pub(in super::super) fn zstd(output: W, options: PcapngOptions) -> io::Result<Self> {
        let encoder = zstd::Encoder::new(output, frames::LEVEL)?;
        Ok(Self::new(Output::Zstd(encoder), options))
    }

    fn new(output: Output<W>, options: PcapngOptions) -> Self {
        Self {
            blocks: Vec::new(),
            output,
            options,
            begun: false,
            kernel_parses: false,
            snap_bytes: MAX_SNAP_BYTES,
            interfaces: Vec::new(),
            places: HashMap::new(),
            processes: HashMap::new(),
            process_blocks: 0,
            dropped: 0,
            lost: LostPackets::default(),
            last_ns: 0,
        }
    }

    /// The section header. The capture's record is its comment.
    fn section(&mut self, capture: Option<&Capture>, record: &[u8]) {
        const VERSION: (u16, u16) = (1, 0);
        const LENGTH_UNKNOWN: u32 = u32::MAX;
        self.begun = true;
        let mut block = BlockWriter::begin(&mut self.blocks, block::SECTION_HEADER);
        block.u32(BYTE_ORDER_MAGIC);
        block.u16(VERSION.0);
        block.u16(VERSION.1);
        block.u32(LENGTH_UNKNOWN);
        block.u32(LENGTH_UNKNOWN);
        if let Some(capture) = capture {
            block.option(option::SHB_USERAPPL, capture.program.as_bytes());
            if let Some(kernel) = &capture.kernel {
                block.option(option::SHB_OS, kernel.as_bytes());
            }
        }
        block.option(option::COMMENT, record);
        block.end();
    }

    fn capture(&mut self, capture: &Capture, record: &Record<'_>) -> io::Result<()> {
        self.kernel_parses = !capture.hooks.is_empty();
        if self.begun {
            return self.journal(record);
        }
        self.snap_bytes = capture.snap_bytes.unwrap_or(MAX_SNAP_BYTES);
        let json = own_json(record)?;
        self.section(Some(capture), &json);
        Ok(())
    }

    fn interface(&mut self, interface: &Interface, record: &Record<'_>) -> io::Result<()> {
        let json = own_json(record)?;
        let place = self.interfaces.len() as u32;
        self.places.insert(interface.id, place);
        self.interfaces.push(Written {
            link_type: interface.link_type,
            packets: 0,
        });
        let mut block = BlockWriter::begin(&mut self.blocks, block::INTERFACE_DESCRIPTION);
        block.u16(interface.link_type.0);
        block.u16(0);
        block.u32(self.snap_bytes);
        if let Some(name) = &interface.name {
            block.option(option::IF_NAME, name.as_bytes());
        }
        block.option(option::IF_TSRESOL, &[NANOSECONDS]);
        block.option(option::COMMENT, &json);
        block.end();
        Ok(())
    }

    /// A process block; its comment is the process's record, where there is one.
    fn process(&mut self, process: &Process, record: &[u8]) -> u32 {
        let place = self.process_blocks;
        self.process_blocks += 1;
        self.processes.insert(
            process.id,
            Known {
                comm: process.comm.clone(),
                place,
            },
        );
        let mut block = BlockWriter::begin(&mut self.blocks, block::DARWIN_PROCESS);
        block.u32(process.id.pid);
        block.option(option::DARWIN_PROCESS_NAME, process.comm.as_bytes());
        block.option(option::COMMENT, record);
        block.end();
        place
    }

    /// Place of the block that tells of `owner`'s process.
    fn process_place(&mut self, owner: Owner<'_>) -> u32 {
        match self.processes.get(&owner.process.id) {
            Some(known) if known.comm == owner.process.comm => known.place,
            _ => self.process(owner.process, &[]),
        }
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        annotation: Option<&Annotation<'_>>,
    ) -> io::Result<()> {
        let owner = annotation.and_then(|annotation| annotation.owner);
        let peer = annotation.and_then(|annotation| annotation.peer);
        let sender = match packet.direction {
            Some(Direction::Out) => owner,
            Some(Direction::In) => peer,
            None => None,
        };
        let process_place = owner.map(|owner| self.process_place(owner));
        let Some((place, interface)) = self
            .places
            .get(&packet.interface)
            .and_then(|place| Some((*place, self.interfaces.get_mut(*place as usize)?)))
        else {
            return Err(invalid(format!(
                "a packet of interface {}, which no record describes",
                packet.interface
            )));
        };
        interface.packets += 1;
        let expected = if self.kernel_parses {
            let headers = headers::parse(interface.link_type, &packet.data, packet.wire_bytes);
            KernelParse::expected(&headers)
        } else {
            None
        };
        let kernel = if packet.kernel == expected {
            Kernel::Expected
        } else {
            Kernel::Other(packet.kernel)
        };
        let captured_bytes =
            u32::try_from(packet.data.len()).map_err(|_| invalid("a packet of more than 4 GiB"))?;

        let ticks = packet.ts_ns.cast_unsigned();
        let mut block = BlockWriter::begin(&mut self.blocks, block::ENHANCED_PACKET);
        block.u32(place);
        block.u32((ticks >> 32) as u32);
        block.u32(ticks as u32);
        block.u32(captured_bytes);
        block.u32(packet.wire_bytes);
        block.padded(&packet.data);
        if let Some(direction) = packet.direction {
            let direction = match direction {
                Direction::In => flags::INBOUND,
                Direction::Out => flags::OUTBOUND,
            };
            block.option(option::EPB_FLAGS, &direction.to_le_bytes());
        }
        if self.dropped > 0 {
            block.option(option::EPB_DROPCOUNT, &self.dropped.to_le_bytes());
            self.dropped = 0;
        }
        if let Some(sender) = sender {
            const THREAD_UNKNOWN: [u8; 4] = [0; 4];
            block.option_with(option::EPB_PROCESSID_THREADID, |out| {
                out.extend(sender.process.id.pid.to_le_bytes());
                out.extend(THREAD_UNKNOWN);
            });
        }
        if let Some(process_place) = process_place {
            block.option(option::EPB_DARWIN_PROCESS, &process_place.to_le_bytes());
        }
        block.option_with(option::COMMENT, |out| {
            comment::write(
                out,
                annotation,
                comment::Fields {
                    cookie: packet.cookie,
                    kernel,
                },
            );
        });
        block.end();
        Ok(())
    }

    fn loss(&mut self, loss: &Loss, record: &Record<'_>) -> io::Result<()> {
        if loss.lost == Lost::Packets {
            self.dropped = self.dropped.saturating_add(loss.count);
            self.lost.anywhere = self.lost.anywhere.saturating_add(loss.count);
            if matches!(loss.cause, LossCause::RingFull | LossCause::Snap) {
                self.lost.in_kernel = self.lost.in_kernel.saturating_add(loss.count);
            }
        }
        self.journal(record)
    }

    fn journal(&mut self, record: &Record<'_>) -> io::Result<()> {
        if !self.options.events {
            return Ok(());
        }
        let process = match record {
            Record::Event(event) => event.process,
            _ => None,
        };
        let process = process.map(|id| (id.pid, self.processes.get(&id).map(|known| &*known.comm)));
        let mut block = BlockWriter::begin(&mut self.blocks, block::SYSTEMD_JOURNAL_EXPORT);
        journal::write(block.out, record, self.last_ns, process)?;
        block.pad();
        block.end();
        Ok(())
    }

    /// What was recorded and lost, by interface; all that was lost is if_drop,
    /// as with dumpcap. It is not known where packets were lost: all stand with
    /// the first interface.
    fn statistics(&mut self) {
        let ticks = self.last_ns.cast_unsigned();
        let mut lost = std::mem::take(&mut self.lost);
        for (place, interface) in self.interfaces.iter().enumerate() {
            let LostPackets {
                anywhere,
                in_kernel,
            } = std::mem::take(&mut lost);
            let received = interface.packets.saturating_add(anywhere);
            let mut block = BlockWriter::begin(&mut self.blocks, block::INTERFACE_STATISTICS);
            block.u32(place as u32);
            block.u32((ticks >> 32) as u32);
            block.u32(ticks as u32);
            block.option(option::ISB_IFRECV, &received.to_le_bytes());
            block.option(option::ISB_IFDROP, &anywhere.to_le_bytes());
            block.option(option::ISB_OSDROP, &in_kernel.to_le_bytes());
            block.end();
        }
    }

    fn write_blocks(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Plain(output) => output.write_all(&self.blocks)?,
            Output::Zstd(encoder) => encoder.write_all(&self.blocks)?,
        }
        self.blocks.clear();
        Ok(())
    }
}

impl<W: Write> Sink for Writer<W> {
    fn write(
        &mut self,
        record: &Record<'_>,
        annotation: Option<&Annotation<'_>>,
    ) -> io::Result<()> {
        if let Some(ts_ns) = record.ts_ns() {
            self.last_ns = ts_ns;
        }
        match record {
            Record::Capture(capture) => self.capture(capture, record)?,
            _ if !self.begun => self.section(None, &[]),
            _ => {}
        }
        match record {
            Record::Capture(_) => {}
            Record::Interface(interface) => self.interface(interface, record)?,
            Record::Process(process) => match own_json(record) {
                Ok(json) => {
                    self.process(process, &json);
                }
                Err(_) => self.journal(record)?,
            },
            Record::Packet(packet) => self.packet(packet, annotation)?,
            Record::Loss(loss) => self.loss(loss, record)?,
            Record::End(_) | Record::Event(_) => self.journal(record)?,
        }
        if self.blocks.len() >= WRITE_BYTES {
            self.write_blocks()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_blocks()?;
        match &mut self.output {
            Output::Plain(output) => output.flush(),
            Output::Zstd(encoder) => encoder.flush(),
        }
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.begun {
            self.section(None, &[]);
        }
        self.statistics();
        self.write_blocks()?;
        match self.output {
            Output::Plain(mut output) => output.flush(),
            Output::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }
}

/// A record's own JSON, which must fit in an option.
fn own_json(record: &Record<'_>) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    if u16::try_from(json.len()).is_err() {
        return Err(invalid(format!(
            "a record of {} bytes; pcapng has room for {}",
            json.len(),
            u16::MAX
        )));
    }
    Ok(json)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
