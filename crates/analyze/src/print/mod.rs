//! Packets and events, one line each, in tcpdump's manner.
//!
//! [`Printer`] writes the line of one record; live and from a file the same.
//! Sequence numbers are relative as tcpdump's are, and for that alone a
//! printer remembers something of the packets before.

mod bytes;
mod packet;

use std::collections::HashMap;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::{self, Headers, Other};
use tcprec_shared::record::{
    Direction, End, Event, EventKind, Interface, Loss, LossCause, MAX_INTERFACES, Packet, Process,
    Record, TcpFacts, TcpState,
};
use tcprec_shared::stream::{Annotation, Owner};

pub use self::bytes::Bytes;

use crate::annotate::Note;
use crate::report::units::{self, clean, counted};

/// Writes records as lines.
#[derive(Debug)]
pub struct Printer {
    clock: Clock,
    interfaces: HashMap<u32, Interface>,
    sequences: packet::Sequences,
    /// How the bytes of packets are shown, if at all.
    bytes: Option<Bytes>,
}

impl Printer {
    /// A printer that shows times in a time zone.
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        Self {
            clock: Clock {
                zone,
                second: None,
                text: String::new(),
            },
            interfaces: HashMap::new(),
            sequences: packet::Sequences::default(),
            bytes: None,
        }
    }

    /// Shows the bytes of packets below their lines.
    #[must_use]
    pub fn with_bytes(self, bytes: Option<Bytes>) -> Self {
        Self { bytes, ..self }
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
                self.clock.write(event.ts_ns, to)?;
                write_event(event, note.process, to)?;
            }
            Record::Loss(loss) => {
                self.clock.write(loss.first_ns, to)?;
                self.loss(loss, to)?;
            }
            Record::End(end) => {
                self.clock.write(end.ts_ns, to)?;
                write_end(end, to)?;
            }
        }
        writeln!(to)
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        annotation: Option<&Annotation<'_>>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        self.clock.write(packet.ts_ns, to)?;
        let interface = self.interfaces.get(&packet.interface);
        if let Some(name) = interface.and_then(|interface| interface.name.as_deref()) {
            write!(to, " {}", clean(name))?;
        }
        match packet.direction {
            Some(Direction::In) => write!(to, " In ")?,
            Some(Direction::Out) => write!(to, " Out")?,
            None => {}
        }
        let Some(interface) = interface else {
            return write!(to, " of an interface that was not described");
        };
        let headers = headers::parse(interface.link_type, &packet.data, packet.wire_bytes);
        match &headers {
            Headers::Segment(segment) => {
                let scope = interface.netns.unwrap_or(0);
                let captured_bytes = packet.data.len();
                packet::write_segment(segment, captured_bytes, &mut self.sequences, scope, to)?;
            }
            Headers::Fragment(fragment) => packet::write_fragment(fragment, to)?,
            Headers::TunnelFragment(fragment) => packet::write_tunnel_fragment(fragment, to)?,
            Headers::Other(other) => {
                match other {
                    Other::NotTcp => write!(to, " not TCP")?,
                    Other::Cut => write!(to, " cut before the TCP header ended")?,
                    Other::Malformed => write!(to, " malformed")?,
                    Other::LinkType(link) => write!(to, " unknown link type {}", link.0)?,
                }
                write!(to, ", {} bytes", packet.wire_bytes)?;
            }
        }
        if let Some(annotation) = annotation {
            write_owners(packet.direction, annotation, to)?;
        }
        self.bytes.map_or(Ok(()), |bytes| {
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
            " lost {}, {}: {why}",
            counted(loss.count, loss.lost.noun()),
            units::bytes(loss.bytes)
        )?;
        if let Some(cpu) = loss.cpu {
            write!(to, " on CPU {cpu}")?;
        }
        write!(to, ", until ")?;
        self.clock.write(loss.last_ns, to)
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
    let mut write = |mark: &str, owner: Option<Owner<'_>>| match owner {
        Some(owner) => write!(to, "{mark}{} ({})", name(owner.process), owner.provenance),
        None => Ok(()),
    };
    write("  ", sender)?;
    write(if sender.is_some() { " > " } else { "  > " }, receiver)
}

/// A process, as `curl[811]`.
fn name(process: &Process) -> String {
    format!("{}[{}]", clean(&process.comm), process.id.pid)
}

fn write_event(event: &Event, process: Option<&Process>, to: &mut dyn Write) -> io::Result<()> {
    let (kind, arrow) = match event.kind {
        EventKind::Connect => ("connect", "->"),
        EventKind::Accept => ("accept", "<-"),
        EventKind::Listen => ("listen", ""),
        EventKind::State => ("state", "--"),
        EventKind::Retransmit => ("retransmit", "->"),
        EventKind::Reset if event.direction == Some(Direction::In) => ("reset", "<-"),
        EventKind::Reset => ("reset", "->"),
        EventKind::Close => ("close", "--"),
        EventKind::Scan => ("scan", "--"),
        EventKind::Handover => ("handover", "--"),
    };
    write!(to, " {kind}")?;
    match (process, event.process) {
        (Some(process), _) => write!(to, " {}", name(process))?,
        (None, Some(id)) => write!(to, " [{}]", id.pid)?,
        (None, None) => {}
    }
    write!(to, " {}", Shown(event.local))?;
    if event.remote.port != 0 {
        write!(to, " {arrow} {}", Shown(event.remote))?;
    }
    match (event.old_state, event.new_state) {
        // The kind says it already.
        _ if matches!(event.kind, EventKind::Connect | EventKind::Listen) => {}
        (Some(old), Some(new)) if event.kind == EventKind::State => {
            write!(to, " {} to {}", state(old), state(new))?;
        }
        (Some(old), _) if event.kind == EventKind::Close => write!(to, " from {}", state(old))?,
        (_, Some(new)) if event.kind != EventKind::Close => write!(to, " {}", state(new))?,
        _ => {}
    }
    match event.tcp {
        Some(tcp) if event.kind == EventKind::Close => write_facts(&tcp, to),
        _ => Ok(()),
    }
}

/// An endpoint as `addr:port`, with `*` for a port that is not chosen yet.
struct Shown(Endpoint);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Endpoint { addr, port: 0 } if addr.is_ipv6() => write!(f, "[{addr}]:*"),
            Endpoint { addr, port: 0 } => write!(f, "{addr}:*"),
            endpoint => endpoint.fmt(f),
        }
    }
}

fn write_facts(tcp: &TcpFacts, to: &mut dyn Write) -> io::Result<()> {
    write!(
        to,
        ", sent {}, acked {}, received {}",
        units::bytes(tcp.sent_bytes),
        units::bytes(tcp.acked_bytes),
        units::bytes(tcp.received_bytes)
    )?;
    if tcp.retransmitted_packets > 0 {
        let segments = counted(tcp.retransmitted_packets.into(), "segment");
        write!(to, ", {segments} retransmitted")?;
    }
    if let Some(srtt) = tcp.round_trip_ns() {
        write!(to, ", srtt {}", units::duration(srtt))?;
    }
    Ok(())
}

const fn state(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "established",
        TcpState::SynSent => "syn-sent",
        TcpState::SynRecv | TcpState::NewSynRecv => "syn-received",
        TcpState::FinWait1 => "fin-wait-1",
        TcpState::FinWait2 => "fin-wait-2",
        TcpState::TimeWait => "time-wait",
        TcpState::Close => "closed",
        TcpState::CloseWait => "close-wait",
        TcpState::LastAck => "last-ack",
        TcpState::Listen => "listen",
        TcpState::Closing => "closing",
    }
}

fn write_end(end: &End, to: &mut dyn Write) -> io::Result<()> {
    write!(
        to,
        " end {}: {} and {} recorded, {} and {} lost",
        clean(&end.reason),
        counted(end.recorded_packets, "packet"),
        counted(end.recorded_events, "event"),
        counted(end.lost_packets, "packet"),
        counted(end.lost_events, "event")
    )
}

/// Writes times as `10:31:22.123456`.
#[derive(Debug)]
struct Clock {
    zone: TimeZone,
    /// The second that `text` is of: most packets come within the same.
    second: Option<i64>,
    text: String,
}

impl Clock {
    fn write(&mut self, ts_ns: i64, to: &mut dyn Write) -> io::Result<()> {
        const SECOND_NS: i64 = 1_000_000_000;
        let second = ts_ns.div_euclid(SECOND_NS);
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = units::moment(ts_ns, &self.zone, "%H:%M:%S");
        }
        write!(
            to,
            "{}.{:06}",
            self.text,
            ts_ns.rem_euclid(SECOND_NS) / 1000
        )
    }
}
