//! Who owns which end of a connection, and what the kernel did to it.
//!
//! Decided from facts alone: the events of sockets ([`EventKind`]), the
//! cookies of packets, and the processes. Nobody has to ask at once: a late
//! event names earlier packets, and the sockets that closed last are
//! remembered. Which packets make a connection is left to [`crate::tcp`].
//!
//! An end has an owner only if it is a socket of the recorded host.

mod entries;
mod holders;
mod processes;
mod socket;
mod sockets;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use foldhash::{HashMap, HashSet};
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{
    Direction, Event, EventKind, MAX_INTERFACES, Packet, Process, ProcessId, Provenance, Record,
    TcpFacts, TcpState,
};
use tcprec_shared::stream::Owner;

use crate::span::Span;
use processes::Processes;
use socket::Socket;
use sockets::{Found, Sockets};

/// At most so many local addresses are remembered: no host comes near it, and a
/// hostile file cannot fill the memory.
const MAX_LOCAL_ADDRESSES: usize = 1 << 16;

/// One end of a connection, as a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The network namespace that the packets were seen in.
    pub netns: u32,
    /// The end asked for.
    pub local: Endpoint,
    /// The other one.
    pub remote: Endpoint,
    /// The cookie that packets sent by this end carry, where known.
    pub cookie: Option<u64>,
    /// When the packets were seen: the first and the last.
    pub span: Span,
}

/// The answer to who owns an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The process, and how that is known.
    pub holder: Option<(ProcessId, Provenance)>,
    /// When packets may have been seen that get the same answer, as long as
    /// nothing new is observed.
    pub span: Span,
}

/// What the kernel did at one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelFacts {
    /// Segments sent again: the retransmissions recorded, or how far the kernel's own
    /// count for the connection rose meanwhile, where that is higher.
    pub retransmits: u64,
    /// Resets sent.
    pub resets_sent: u64,
    /// The process that had the last of them sent.
    pub reset_by: Option<ProcessId>,
    /// Resets received.
    pub resets_received: u64,
    /// When the kernel took the ACK that ends the handshake of a connection that came in.
    pub taken_ns: Option<i64>,
    /// When its socket was closed.
    pub closed_ns: Option<i64>,
    /// The kernel's figures when it last told them, as a rule at the close.
    pub tcp: Option<TcpFacts>,
}

impl KernelFacts {
    fn observe(&mut self, event: &Event) {
        match (event.kind, event.direction) {
            (EventKind::Retransmit, _) => self.retransmits += 1,
            (EventKind::Reset, Some(Direction::Out)) => {
                self.resets_sent += 1;
                self.reset_by = event.process;
            }
            (EventKind::Reset, Some(Direction::In)) => self.resets_received += 1,
            (EventKind::Close, _) => self.closed_ns = Some(event.ts_ns),
            (EventKind::State, _)
                if event.old_state == Some(TcpState::SynRecv)
                    && event.new_state == Some(TcpState::Established) =>
            {
                self.taken_ns.get_or_insert(event.ts_ns);
            }
            _ => {}
        }
        if event.tcp.is_some() {
            self.tcp = event.tcp;
        }
    }

    fn add(&mut self, other: &Self) {
        self.retransmits += other.retransmits;
        self.resets_sent += other.resets_sent;
        self.resets_received += other.resets_received;
        self.tcp = self.tcp.or(other.tcp);
    }
}

/// What is known of an end; nothing where nothing told of it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The process that owns it, and how that is known.
    pub owner: Option<Owner<'a>>,
    /// Whether its socket is in another network namespace, whose packets were
    /// recorded too: the same packets may be seen again there.
    pub is_elsewhere: bool,
    /// What the kernel did there.
    pub kernel: Option<KernelFacts>,
}

/// What is known of processes and of their sockets.
#[derive(Debug)]
pub struct Owners {
    processes: Processes,
    sockets: Sockets,
    /// Addresses that sockets of the recorded host have, by namespace.
    local_addresses: HashSet<(u32, IpAddr)>,
    /// The namespace of each interface that has one.
    netns: HashMap<u32, u32>,
    /// The namespaces whose packets were recorded.
    recorded: HashSet<u32>,
    changes: u64,
}

impl Owners {
    /// Nothing known yet; of the sockets that close, so many will be
    /// remembered. Ask within that number.
    pub(crate) fn new(closed_sockets: usize) -> Self {
        Self {
            processes: Processes::new(),
            sockets: Sockets::new(closed_sockets),
            local_addresses: HashSet::default(),
            netns: HashMap::default(),
            recorded: HashSet::default(),
            changes: 0,
        }
    }

    /// Takes in what a record tells of processes and sockets.
    pub(crate) fn observe(&mut self, record: &Record<'_>) {
        if !matches!(record, Record::Packet(_)) {
            self.changes += 1;
        }
        match record {
            Record::Interface(interface) => {
                if let Some(netns) = interface.netns {
                    if self.netns.len() < MAX_INTERFACES || self.netns.contains_key(&interface.id) {
                        self.netns.insert(interface.id, netns);
                    }
                    if self.recorded.len() < MAX_INTERFACES {
                        self.recorded.insert(netns);
                    }
                } else {
                    self.netns.remove(&interface.id);
                }
            }
            Record::Process(process) => self.processes.insert(process.clone()),
            Record::Packet(packet) => self.observe_packet(packet),
            Record::Event(event) => self.observe_event(event),
            Record::Capture(_) | Record::Loss(_) | Record::End(_) => {}
        }
    }

    /// When the socket of an event came to be, if that is known, and who owns it.
    pub(crate) fn opened(&self, event: &Event) -> (Option<i64>, Option<(ProcessId, Provenance)>) {
        let socket = self.sockets.of(event);
        let opened_ns = socket.map(|socket| socket.opened_ns);
        let opened_ns = opened_ns.filter(|ns| *ns > i64::MIN);
        (opened_ns, socket.and_then(Socket::claim))
    }

    /// When the socket of an event came to be, if that was seen.
    pub(crate) fn born_ns(&self, event: &Event) -> Option<i64> {
        self.sockets.of(event)?.born_ns
    }

    /// Who owns the socket of an event.
    pub(crate) fn owner_of(&self, event: &Event) -> Option<Owner<'_>> {
        self.owner(self.sockets.of(event).and_then(Socket::claim))
    }

    /// The event's own end, with the port that its socket has by now.
    pub(crate) fn local(&self, event: &Event) -> Endpoint {
        self.sockets
            .of(event)
            .map_or(event.local, |socket| socket.local)
    }

    /// Whether a packet may tell anything.
    pub(crate) fn await_ports(&self) -> bool {
        self.sockets.await_ports()
    }

    /// A packet that goes out with the cookie of a socket whose port was not
    /// chosen yet when it was asked to connect tells the port.
    pub(crate) fn observe_packet(&mut self, packet: &Packet<'_>) {
        if !self.await_ports() || packet.direction == Some(Direction::In) {
            return;
        }
        if let Some(cookie) = packet.cookie
            && let Some(parse) = packet.kernel
            && let Some(netns) = self.netns.get(&packet.interface)
        {
            let has_learned = self
                .sockets
                .learn_port(*netns, cookie, parse.src, parse.dst);
            self.changes += u64::from(has_learned);
        }
    }

    /// A number that rises with all that may change an answer.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    fn observe_event(&mut self, event: &Event) {
        if !event.local.addr.is_unspecified() && self.local_addresses.len() < MAX_LOCAL_ADDRESSES {
            self.local_addresses.insert((event.netns, event.local.addr));
        }
        if let Some(id) = event.process {
            self.processes.act(id);
        }
        self.sockets.observe(event);
    }

    /// What is known of a process.
    #[must_use]
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(id)
    }

    /// The namespace that the packets of an interface are in, where recorded.
    pub(crate) fn netns(&self, interface: u32) -> Option<u32> {
        self.netns.get(&interface).copied()
    }

    /// What is known of an end.
    pub(crate) fn facts(&self, end: &End) -> Facts<'_> {
        let socket = self.find(end).socket;
        let is_elsewhere =
            |socket: &Socket| socket.netns != end.netns && self.recorded.contains(&socket.netns);
        Facts {
            owner: self.owner(self.holder(end, socket)),
            is_elsewhere: socket.is_some_and(is_elsewhere),
            kernel: self.kernel_of(end, socket),
        }
    }

    /// Who a holder is, and how that is known.
    pub(crate) fn owner(&self, holder: Option<(ProcessId, Provenance)>) -> Option<Owner<'_>> {
        let (id, provenance) = holder?;
        Some(Owner {
            process: self.processes.get(id)?,
            provenance,
        })
    }

    /// The process that owns an end, and for which packets that is so.
    pub(crate) fn claim(&self, end: &End) -> Claim {
        let Found { socket, span } = self.find(end);
        let is_known = socket.and_then(Socket::claim).is_some();
        Claim {
            holder: self.holder(end, socket),
            span: if is_known || self.listening_netns(end, socket).is_none() {
                span
            } else {
                end.span
            },
        }
    }

    fn find(&self, end: &End) -> Found<'_> {
        self.sockets.find(end, || self.is_local(end.netns, end))
    }

    /// Who owns an end that is this socket: who holds it, else who listens.
    fn holder(&self, end: &End, socket: Option<&Socket>) -> Option<(ProcessId, Provenance)> {
        socket.and_then(Socket::claim).or_else(|| {
            let netns = self.listening_netns(end, socket)?;
            // Of a translated end the socket's own.
            let own = socket
                .map(|socket| socket.local)
                .filter(|local| local.port != 0);
            let listener = self
                .sockets
                .listener(netns, own.unwrap_or(end.local), end.span)?;
            Some((listener, Provenance::Guess))
        })
    }

    /// The namespace whose listeners an end may have come from. A wildcard
    /// listener says nothing of an address that is not this host's.
    fn listening_netns(&self, end: &End, socket: Option<&Socket>) -> Option<u32> {
        let netns = socket.map_or(end.netns, |socket| socket.netns);
        self.is_local(netns, end).then_some(netns)
    }

    /// Whether a namespace is known to have the address of an end.
    fn is_local(&self, netns: u32, end: &End) -> bool {
        self.local_addresses.contains(&(netns, end.local.addr))
    }

    fn kernel_of(&self, end: &End, socket: Option<&Socket>) -> Option<KernelFacts> {
        let mut facts = socket.map(|socket| socket.facts);
        for stray in self.sockets.strays(end, || self.is_local(end.netns, end)) {
            facts.get_or_insert_default().add(stray);
        }
        if let Some(facts) = &mut facts {
            let counted = socket.and_then(Socket::counted_retransmits);
            facts.retransmits = facts.retransmits.max(counted.unwrap_or(0).into());
        }
        facts
    }
}
