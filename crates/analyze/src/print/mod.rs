//! Packets and events, one line each, in tcpdump's manner.
//!
//! [`Printer`] writes the line of one record; live and from a file the same.
//! Sequence numbers are relative as tcpdump's are, and for that alone a
//! printer remembers something of the packets before.

mod bytes;
mod carrier;
mod clock;
mod event;
mod packet;
mod verbose;

use std::collections::HashMap;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use tcprec_shared::headers::{self, Headers, Other};
use tcprec_shared::record::{
    Direction, Interface, Loss, LossCause, MAX_INTERFACES, Packet, Process, Record,
};
use tcprec_shared::stream::{Annotation, Owner};

use self::bytes::ip_header;
pub use self::bytes::{Bytes, Looks};
use self::clock::Clock;
pub use self::clock::Times;

use crate::annotate::Note;
use crate::report::units::{self, clean, counted};

/// What lines show: tcpdump's options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// When it was.
    pub times: Times,
    /// Which packet it is (`-#`).
    pub has_number: bool,
    /// The link header (`-e`).
    pub has_link_header: bool,
    /// What the IP header says besides addresses, whether checksums are right, and heads of
    /// HTTP (`-v`).
    pub is_verbose: bool,
    /// That checksums are not looked at (`-K`).
    pub ignores_checksums: bool,
    /// Of a segment its length only (`-q`).
    pub is_quick: bool,
    /// Sequence numbers as they are in the packet (`-S`).
    pub is_absolute: bool,
    /// How the bytes of packets are shown, if at all.
    pub bytes: Option<Bytes>,
}

/// Writes records as lines.
#[derive(Debug)]
pub struct Printer {
    style: Style,
    clock: Clock,
    interfaces: HashMap<u32, Interface>,
    sequences: packet::Sequences,
    packets: u64,
}

impl Printer {
    /// A printer that shows times in a time zone.
    #[must_use]
    pub fn new(style: Style, zone: TimeZone) -> Self {
        Self {
            style,
            clock: Clock::new(style.times, zone),
            interfaces: HashMap::new(),
            sequences: packet::Sequences::default(),
            packets: 0,
        }
    }

    /// Writes the line of a record that happened at a time: of a packet, an
    /// event, a loss, or the end. The other kinds describe, and have none.
    ///
    /// # Errors
    /// The output's.
    pub fn write(
        &mut self,
        record: &Record<'_>,
        note: &Note<'_>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        match record {
            Record::Interface(interface) => {
                let known = &mut self.interfaces;
                if known.len() < MAX_INTERFACES || known.contains_key(&interface.id) {
                    known.insert(interface.id, interface.clone());
                }
                return Ok(());
            }
            Record::Capture(_) | Record::Process(_) => return Ok(()),
            Record::Packet(packet) => self.packet(packet, note.annotation.as_ref(), to)?,
            Record::Event(event) => {
                self.begin(None, event.ts_ns, to)?;
                event::write_event(event, note, to)?;
            }
            Record::Loss(loss) => {
                self.begin(None, loss.first_ns, to)?;
                self.loss(loss, to)?;
            }
            Record::End(end) => {
                self.begin(None, end.ts_ns, to)?;
                event::write_end(end, to)?;
            }
        }
        writeln!(to)
    }

    /// Begins a line: of a packet with its number, others without.
    fn begin(&mut self, number: Option<u64>, ts_ns: i64, to: &mut dyn Write) -> io::Result<()> {
        match number.filter(|_| self.style.has_number) {
            Some(number) => write!(to, "{number:>5}  ")?,
            None if self.style.has_number => write!(to, "{:7}", "")?,
            None => {}
        }
        self.clock.begin(ts_ns, to)
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        annotation: Option<&Annotation<'_>>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        self.packets += 1;
        self.begin(Some(self.packets), packet.ts_ns, to)?;
        let interface = self.interfaces.get(&packet.interface);
        if let Some(name) = interface.and_then(|interface| interface.name.as_deref()) {
            write!(to, "{} ", clean(name))?;
        }
        match packet.direction {
            Some(Direction::In) => write!(to, "In  ")?,
            Some(Direction::Out) => write!(to, "Out ")?,
            None => {}
        }
        let Some(interface) = interface else {
            return write!(to, "of an interface that was not described");
        };
        let (style, link_type) = (self.style, interface.link_type);
        let headers = headers::parse(link_type, &packet.data, packet.wire_bytes);
        let tells_ip = style.has_link_header
            && carrier::write_link(link_type, &packet.data, packet.wire_bytes, to)?;
        if let (Some(version), false) = (packet::ip_version(&headers), tells_ip) {
            write!(to, "{version} ")?;
        }
        let has_checksums = style.is_verbose && !style.ignores_checksums;
        if style.is_verbose
            && let Some(ip) = ip_header(&headers).and_then(|place| packet.data.get(place..))
        {
            carrier::write_ip(ip, has_checksums, to)?;
        }
        match &headers {
            Headers::Segment(segment) if style.is_quick => packet::write_quick(segment, to)?,
            Headers::Segment(segment) => {
                let numbers = if style.is_absolute {
                    (segment.seq, segment.ack)
                } else {
                    let scope = interface.netns.unwrap_or(0);
                    self.sequences.relative(segment, scope)
                };
                let line = packet::Line {
                    numbers,
                    checked: has_checksums.then_some(&packet.data),
                    is_verbose: style.is_verbose,
                };
                line.write(segment, to)?;
            }
            Headers::Fragment(fragment) => packet::write_fragment(fragment, to)?,
            Headers::TunnelFragment(fragment) => packet::write_tunnel_fragment(fragment, to)?,
            Headers::Other(other) => {
                match other {
                    Other::NotTcp => write!(to, "not TCP")?,
                    Other::Cut => write!(to, "cut before the TCP header ended")?,
                    Other::Malformed => write!(to, "malformed")?,
                    Other::LinkType(link) => write!(to, "unknown link type {}", link.0)?,
                }
                write!(to, ", {} bytes", packet.wire_bytes)?;
            }
        }
        if let Some(annotation) = annotation {
            write_owners(packet.direction, annotation, to)?;
        }
        if let (Headers::Segment(segment), true) = (&headers, style.is_verbose && !style.is_quick) {
            verbose::write_head(segment.payload, to)?;
        }
        style.bytes.map_or(Ok(()), |bytes| {
            bytes.write(&headers, &packet.data, packet.wire_bytes, to)
        })
    }

    fn loss(&mut self, loss: &Loss, to: &mut dyn Write) -> io::Result<()> {
        let why = match loss.cause {
            LossCause::RingFull => "ring buffer full",
            LossCause::Snap => "not copied",
            LossCause::Recursion => "program busy",
            LossCause::Decode => "not decoded",
            LossCause::Writer => "not written",
        };
        write!(
            to,
            "lost {}, {}: {why}",
            counted(loss.count, loss.lost.noun()),
            units::bytes(loss.bytes)
        )?;
        if let Some(cpu) = loss.cpu {
            write!(to, " on CPU {cpu}")?;
        }
        if self.style.times != Times::Hidden {
            write!(to, ", until ")?;
            self.clock.write(loss.last_ns, to)?;
        }
        Ok(())
    }
}

/// The owners of a packet in its direction, the other host's end left out:
/// `curl[811] (connect)`, `> nginx[900] (accept)`, or both.
fn write_owners(
    direction: Option<Direction>,
    annotation: &Annotation<'_>,
    to: &mut dyn Write,
) -> io::Result<()> {
    let (sender, receiver) = match direction {
        Some(Direction::In) => (annotation.peer, annotation.owner),
        Some(Direction::Out) | None => (annotation.owner, annotation.peer),
    };
    let mut write = |mark: &str, owner: Option<Owner<'_>>| {
        owner.map_or(Ok(()), |owner| write_owner(mark, &owner, to))
    };
    write("  ", sender)?;
    write(if sender.is_some() { " > " } else { "  > " }, receiver)
}

fn write_owner(mark: &str, owner: &Owner<'_>, to: &mut dyn Write) -> io::Result<()> {
    write!(to, "{mark}{} ({})", name(owner.process), owner.provenance)
}

/// A process, as `curl[811]`.
fn name(process: &Process) -> String {
    format!("{}[{}]", clean(&process.comm), process.id.pid)
}
