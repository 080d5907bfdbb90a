//! pcapng files from records.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use byteorder_slice::LittleEndian;
use foldhash::HashMap;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::opt_common::{COMMENT, CommonOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::unknown::UnknownBlock;
use pcap_file::pcapng::{PcapNgBlock, PcapNgState};
use pcap_file::{DataLink, Endianness};

use crate::headers::{self, LinkType};
use crate::record::{
    Capture, Direction, Interface, KernelParse, Loss, LossCause, Lost, Packet, Process, ProcessId,
    Record,
};
use crate::stream::{Annotation, Owner, Sink};

use super::super::frames;
use super::comment::{self, Kernel};
use super::options_cache::{Key, OptionsCache};
use super::packet::{self, push_option};
use super::{DARWIN_PROCESS_BLOCK, journal};

/// As many bytes of blocks are written at once.
const WRITE_BYTES: usize = 256 * 1024;

/// The snap length where none is known: as large as libpcap's largest.
const MAX_SNAP_BYTES: u32 = 262_144;

/// Name of the process of a process block.
const DARWIN_PROCESS_NAME: u16 = 2;

/// A pcapng file as a sink.
pub(in super::super) struct Writer<W: Write> {
    blocks: Blocks,
    /// The options that packets had.
    kept: OptionsCache,
    /// Room for the comment and for the options of the present packet.
    comment: Vec<u8>,
    packet_options: Vec<u8>,
    output: Output<W>,
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

/// Whole blocks, until they are written.
#[derive(Default)]
struct Blocks {
    bytes: Vec<u8>,
    /// What packets and statistics refer to.
    state: PcapNgState,
}

impl Blocks {
    fn push<'a>(&mut self, block: impl PcapNgBlock<'a>) -> io::Result<()> {
        let block = block.into_block();
        block
            .write_to::<LittleEndian, _>(&self.state, &mut self.bytes)
            .map_err(io::Error::other)?;
        self.state.update_from_block(&block);
        Ok(())
    }
}

/// Where blocks go.
enum Output<W: Write> {
    Plain(W),
    /// One frame for the whole file: tshark 4.0 to 4.6 reads no second one.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Writer<W> {
    pub(in super::super) fn plain(output: W) -> Self {
        Self::new(Output::Plain(output))
    }

    pub(in super::super) fn zstd(output: W) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(output, frames::LEVEL)?;
        for parameter in frames::PARAMETERS {
            encoder.set_parameter(parameter)?;
        }
        Ok(Self::new(Output::Zstd(encoder)))
    }

    fn new(output: Output<W>) -> Self {
        Self {
            blocks: Blocks::default(),
            kept: OptionsCache::default(),
            comment: Vec::new(),
            packet_options: Vec::new(),
            output,
            begun: false,
            kernel_parses: false,
            snap_bytes: MAX_SNAP_BYTES,
            interfaces: Vec::new(),
            places: HashMap::default(),
            processes: HashMap::default(),
            process_blocks: 0,
            dropped: 0,
            lost: LostPackets::default(),
            last_ns: 0,
        }
    }

    /// The section header. The capture's record is its comment.
    fn section(&mut self, capture: Option<&Capture>, record: &str) -> io::Result<()> {
        let program = capture.and_then(|capture| text(&capture.program));
        let kernel = capture.and_then(|capture| text(capture.kernel.as_ref()?));
        self.blocks.push(SectionHeaderBlock {
            endianness: Endianness::Little,
            options: [
                program.map(SectionHeaderOption::UserApplication),
                kernel.map(SectionHeaderOption::OS),
                comment_option(record).map(SectionHeaderOption::Common),
            ]
            .into_iter()
            .flatten()
            .collect(),
            ..SectionHeaderBlock::default()
        })?;
        self.begun = true;
        Ok(())
    }

    fn capture(&mut self, capture: &Capture, record: &Record<'_>) -> io::Result<()> {
        if self.begun {
            self.journal(record)?;
        } else {
            self.section(Some(capture), &own_json("a capture", record)?)?;
            self.snap_bytes = capture.snap_bytes.unwrap_or(MAX_SNAP_BYTES);
        }
        self.kernel_parses = !capture.hooks.is_empty();
        Ok(())
    }

    fn interface(&mut self, interface: &Interface, record: &Record<'_>) -> io::Result<()> {
        let json = own_json("an interface", record)?;
        let name = interface.name.as_deref().and_then(text);
        self.blocks.push(InterfaceDescriptionBlock {
            linktype: DataLink::from(u32::from(interface.link_type.0)),
            snaplen: self.snap_bytes,
            options: [
                name.map(InterfaceDescriptionOption::IfName),
                Some(InterfaceDescriptionOption::IfTsResol(
                    InterfaceTsResolution::NANO,
                )),
                comment_option(&json).map(InterfaceDescriptionOption::Common),
            ]
            .into_iter()
            .flatten()
            .collect(),
        })?;
        let place = self.interfaces.len() as u32;
        self.places.insert(interface.id, place);
        self.interfaces.push(Written {
            link_type: interface.link_type,
            packets: 0,
        });
        Ok(())
    }

    /// A process block; its comment is the process's record, where there is one.
    fn process(&mut self, process: &Process, record: &str) -> io::Result<u32> {
        let mut body = process.id.pid.to_le_bytes().to_vec();
        push_option(&mut body, DARWIN_PROCESS_NAME, process.comm.as_bytes());
        push_option(&mut body, COMMENT, record.as_bytes());
        const END_OF_OPTIONS: [u8; 4] = [0; 4];
        if body.len() > size_of_val(&process.id.pid) {
            body.extend(END_OF_OPTIONS);
        }
        // The length is worked out when the block is written.
        self.blocks
            .push(UnknownBlock::new(DARWIN_PROCESS_BLOCK, 0, &body))?;
        let place = self.process_blocks;
        self.process_blocks += 1;
        self.processes.insert(
            process.id,
            Known {
                comm: process.comm.clone(),
                place,
            },
        );
        Ok(place)
    }

    /// Place of the block that tells of `owner`'s process.
    fn process_place(&mut self, owner: Owner<'_>) -> io::Result<u32> {
        match self.processes.get(&owner.process.id) {
            Some(known) if known.comm == owner.process.comm => Ok(known.place),
            _ => self.process(owner.process, ""),
        }
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        annotation: Option<&Annotation<'_>>,
    ) -> io::Result<()> {
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
        if u32::try_from(packet.data.len()).is_err() {
            return Err(invalid("a packet of more than 4 GiB"));
        }
        // It may say less than was kept: that is for readers to judge, as in the
        // capture that it came from.
        let wire_bytes = packet.wire_bytes;
        let expected = if self.kernel_parses {
            let headers = headers::parse(interface.link_type, &packet.data, wire_bytes);
            KernelParse::expected(&headers)
        } else {
            None
        };
        let kernel = if packet.kernel == expected {
            Kernel::Expected
        } else {
            Kernel::Other(packet.kernel)
        };
        interface.packets += 1;
        let fields = packet::Fields {
            interface: place,
            ts_ns: packet.ts_ns,
            wire_bytes,
            data: &packet.data,
            dropped: std::mem::take(&mut self.dropped),
        };
        let way = |process_blocks| {
            let annotation = annotation.filter(|_| kernel == Kernel::Expected)?;
            Some(Key {
                annotation: annotation.number,
                direction: packet.direction,
                cookie: packet.cookie,
                process_blocks,
            })
        };
        if let Some(options) = way(self.process_blocks).and_then(|way| self.kept.get(&way)) {
            packet::write(&mut self.blocks.bytes, &fields, options);
            return Ok(());
        }
        let owner = annotation.and_then(|annotation| annotation.owner);
        let process_place = owner.map(|owner| self.process_place(owner)).transpose()?;
        let sender = match packet.direction {
            Some(Direction::Out) => owner,
            Some(Direction::In) => annotation.and_then(|annotation| annotation.peer),
            None => None,
        };
        let own = comment::Fields {
            cookie: packet.cookie,
            kernel,
        };
        self.comment.clear();
        comment::write(&mut self.comment, annotation, own);
        self.packet_options.clear();
        packet::write_options(
            &mut self.packet_options,
            packet.direction,
            sender.map(|sender| sender.process.id.pid),
            process_place,
            &self.comment,
        );
        packet::write(&mut self.blocks.bytes, &fields, &self.packet_options);
        if let Some(way) = way(self.process_blocks) {
            self.kept.keep(way, &self.packet_options);
        }
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
        let process = match record {
            Record::Event(event) => event.process,
            _ => None,
        };
        let process = process.map(|id| (id.pid, self.processes.get(&id).map(|known| &*known.comm)));
        journal::write(&mut self.blocks.bytes, record, self.last_ns, process)
    }

    /// What was recorded and lost, by interface; all that was lost is if_drop,
    /// as with dumpcap. It is not known where packets were lost: all stand with
    /// the first interface.
    fn statistics(&mut self) -> io::Result<()> {
        let mut lost = std::mem::take(&mut self.lost);
        for (place, interface) in self.interfaces.iter().enumerate() {
            let LostPackets {
                anywhere,
                in_kernel,
            } = std::mem::take(&mut lost);
            let received = interface.packets.saturating_add(anywhere);
            self.blocks.push(InterfaceStatisticsBlock {
                interface_id: place as u32,
                timestamp: timestamp(self.last_ns),
                options: vec![
                    InterfaceStatisticsOption::IsbIfRecv(received),
                    InterfaceStatisticsOption::IsbIfDrop(anywhere),
                    InterfaceStatisticsOption::IsbOsDrop(in_kernel),
                ],
            })?;
        }
        Ok(())
    }

    fn write_blocks(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Plain(output) => output.write_all(&self.blocks.bytes)?,
            Output::Zstd(encoder) => {
                encoder.write_all(&self.blocks.bytes)?;
                // All of them, as where they are not compressed: what a file that was
                // cut holds is known then.
                encoder.flush()?;
            }
        }
        self.blocks.bytes.clear();
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
            _ if !self.begun => self.section(None, "")?,
            _ => {}
        }
        match record {
            Record::Capture(_) => {}
            Record::Interface(interface) => self.interface(interface, record)?,
            Record::Process(process) => match own_json("a process", record) {
                Ok(json) => {
                    self.process(process, &json)?;
                }
                Err(_) => self.journal(record)?,
            },
            Record::Packet(packet) => self.packet(packet, annotation)?,
            Record::Loss(loss) => self.loss(loss, record)?,
            Record::End(_) | Record::Event(_) => self.journal(record)?,
        }
        if self.blocks.bytes.len() >= WRITE_BYTES {
            self.write_blocks()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_blocks()?;
        match &mut self.output {
            Output::Plain(output) => output.flush(),
            Output::Zstd(_) => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.begun {
            self.section(None, "")?;
        }
        self.statistics()?;
        self.write_blocks()?;
        match self.output {
            Output::Plain(mut output) => output.flush(),
            Output::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }
}

/// A record's own JSON, which must fit in an option.
fn own_json(kind: &str, record: &Record<'_>) -> io::Result<String> {
    let json = serde_json::to_string(record)?;
    if u16::try_from(json.len()).is_err() {
        return Err(invalid(format!(
            "{kind} record of {} bytes; pcapng holds at most {}",
            json.len(),
            u16::MAX
        )));
    }
    Ok(json)
}

/// A time as it is counted in the file, all 64 bits.
fn timestamp(ns: i64) -> Duration {
    Duration::from_nanos(ns.cast_unsigned())
}

/// The text of an option; one that is empty or too long is left out.
fn text(text: &str) -> Option<Cow<'_, str>> {
    let has_room = u16::try_from(text.len()).is_ok_and(|len| len > 0);
    has_room.then_some(Cow::Borrowed(text))
}

fn comment_option(comment: &str) -> Option<CommonOption<'_>> {
    text(comment).map(CommonOption::Comment)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
