//! The lines of events, and of the end of a recording.

use std::io::{self, Write};

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Direction, End, Event, EventKind, TcpFacts, TcpState};

use super::{name, write_owner};
use crate::annotate::Note;
use crate::report::units::{self, clean, counted};

pub(super) fn write_event(event: &Event, note: &Note<'_>, to: &mut dyn Write) -> io::Result<()> {
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
    write!(to, "{kind}")?;
    match (note.process, event.process) {
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
    if let Some(born_ns) = note.born_ns {
        let lived_ns = event.ts_ns.saturating_sub(born_ns);
        write!(to, " after {}", units::duration(lived_ns))?;
    }
    match event.tcp {
        Some(tcp) if event.kind == EventKind::Close => write_facts(&tcp, to)?,
        _ => {}
    }
    note.owner
        .map_or(Ok(()), |owner| write_owner("  ", &owner, to))
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

pub(super) fn write_end(end: &End, to: &mut dyn Write) -> io::Result<()> {
    write!(
        to,
        "end {}: {} and {} recorded, {} and {} lost",
        clean(&end.reason),
        counted(end.recorded_packets, "packet"),
        counted(end.recorded_events, "event"),
        counted(end.lost_packets, "packet"),
        counted(end.lost_events, "event")
    )
}
