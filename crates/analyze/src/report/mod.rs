//! The report: what an analysis found, and its renderers.
//!
//! A [`Report`] is finished when a renderer sees it. [`text`] is for people,
//! [`jsonl`] and [`json`] for programs; `docs/report.md` names their fields.

mod findings;
pub mod json;
pub mod jsonl;
mod row;
pub mod text;
pub mod units;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use tcprec_shared::record::{
    Capture, End, Interface, LossCause, Lost, Process, ProcessId, Provenance,
};

use crate::app::Request;
use crate::gaps::{Gaps, Incomplete};
use crate::owner::KernelFacts;
use crate::tcp::{self, ConnectionId};
use crate::timing::Timing;

/// What an analysis found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// What was recorded, and how completely.
    pub capture: CaptureSummary,
    /// The interfaces, in the order of their ids.
    pub interfaces: Vec<InterfaceSummary>,
    /// What was lost, by cause.
    pub losses: Vec<LossSummary>,
    /// When it was lost.
    pub gaps: Gaps,
    /// The processes that own an end of a connection.
    pub processes: BTreeMap<ProcessId, ProcessSummary>,
    /// The connections in the order of their first packets.
    pub connections: Vec<Connection>,
    /// The requests in the order they began.
    pub requests: Vec<Request>,
}

impl Report {
    /// The connection that a request was made on.
    #[must_use]
    pub fn connection_of(&self, request: &Request) -> Option<&Connection> {
        self.connection(request.connection)
    }

    /// The connection with this number.
    #[must_use]
    pub fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        let place = self
            .connections
            .binary_search_by_key(&id, |connection| connection.tcp.id);
        self.connections.get(place.ok()?)
    }

    /// Who owns the client's and the server's end of a request's connection.
    #[must_use]
    pub fn owners_of(&self, request: &Request) -> [Option<OwnerId>; 2] {
        let Some(connection) = self.connection_of(request) else {
            return [None, None];
        };
        let mut owners = [connection.orig.owner, connection.resp.owner];
        if request.client == connection.tcp.resp.endpoint {
            owners.reverse();
        }
        owners
    }

    /// Where the time of a request went; none where it was not wholly seen.
    #[must_use]
    pub fn timing(&self, request: &Request) -> Option<Timing> {
        if self.incomplete(request).lacks_packets() {
            return None;
        }
        Timing::of(request, self.connection_of(request)?)
    }

    /// What may be missing of a request.
    #[must_use]
    pub fn incomplete(&self, request: &Request) -> Incomplete {
        let Some(connection) = self.connection_of(request) else {
            return Incomplete::default();
        };
        let asked = request.request.as_ref();
        let answered = request.response.as_ref();
        self.gaps.of_part(
            &connection.tcp,
            asked.map(|message| message.first_ns),
            answered
                .filter(|message| message.is_ended)
                .map(|message| message.last_ns),
        )
    }
}

/// What was recorded, and how completely.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CaptureSummary {
    /// What its first file says of itself, if anything.
    pub made: Option<Capture>,
    /// How many files it is.
    pub files: u64,
    /// Files of a rotated series that are not here but must have been: before
    /// the first, as a ring of files has thrown away, or between others.
    pub missing_files: u64,
    /// Files before the last that have no end.
    pub unfinished_files: u64,
    /// Time of the earliest packet or event.
    pub first_ns: Option<i64>,
    /// Time of the latest packet or event.
    pub last_ns: Option<i64>,
    /// Packets read.
    pub packets: PacketCounts,
    /// Events read, scanned sockets not among them.
    pub events: u64,
    /// Sockets older than the recording.
    pub scanned_sockets: u64,
    /// How it ended.
    pub ending: Ending,
    /// Records that made no sense and were passed over.
    pub damaged_records: u64,
    /// What was wrong with the first of them.
    pub damage: Option<String>,
    /// Connections whose analysis was ended early to bound the memory.
    pub evicted_connections: u64,
}

impl CaptureSummary {
    /// Whether a recorder made it that records events of sockets, and so knows
    /// processes.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.events > 0
            || self.scanned_sockets > 0
            || self.made.as_ref().is_some_and(|made| made.schema.is_some())
    }
}

/// How a capture ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ending {
    /// Nothing says; captures of other tools have no end record.
    #[default]
    Unknown,
    /// In good order, with the recorder's totals.
    Complete(End),
    /// The last file ended in good order, but the recording went on in another
    /// one, which is not here. With the totals up to there.
    Continued(End),
    /// The recorder had no time to write the end.
    Abrupt,
    /// The file ends inside a record, or could not be read further.
    Cut(String),
}

/// Packets by what became of them.
///
/// `all` is the sum of those that were analyzed and of all others here but
/// `disagreements`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketCounts {
    /// All packets read.
    pub all: u64,
    /// Their length on the wire.
    pub wire_bytes: u64,
    /// Their bytes in the capture.
    pub captured_bytes: u64,
    /// Other protocols.
    pub not_tcp: u64,
    /// Cut before their headers ended.
    pub cut: u64,
    /// With a header that contradicts itself.
    pub malformed: u64,
    /// Of a link type that is not known, or an interface that was not described.
    pub unknown_link: u64,
    /// Seen before on another interface of the same network namespace.
    pub copies: u64,
    /// Analyzed, but the kernel side had made something else of the headers:
    /// each is a defect of tcprec.
    pub disagreements: u64,
}

/// An interface and what passed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSummary {
    /// The interface.
    pub interface: Interface,
    /// Packets recorded there.
    pub packets: u64,
    /// Their length on the wire.
    pub wire_bytes: u64,
    /// Those of them that another interface had carried already.
    pub copies: u64,
}

/// What was lost for one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossSummary {
    /// Why.
    pub cause: LossCause,
    /// What.
    pub lost: Lost,
    /// How many.
    pub count: u64,
    /// Bytes of packets, as they would have been on the wire.
    pub bytes: u64,
    /// When the first was lost.
    pub first_ns: i64,
    /// When the last was lost.
    pub last_ns: i64,
}

/// A process and its part in the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSummary {
    /// Who it is.
    pub process: Process,
    /// What it did.
    pub part: Part,
}

/// A part in the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Connections asked for.
    pub connections_made: u64,
    /// Connections taken.
    pub connections_taken: u64,
    /// Requests made.
    pub requests_made: u64,
    /// Requests taken.
    pub requests_taken: u64,
    /// Payload sent, without retransmissions.
    pub sent_bytes: u64,
    /// Payload received, without retransmissions.
    pub received_bytes: u64,
}

impl AddAssign for Part {
    fn add_assign(&mut self, other: Self) {
        self.connections_made += other.connections_made;
        self.connections_taken += other.connections_taken;
        self.requests_made += other.requests_made;
        self.requests_taken += other.requests_taken;
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
        self.received_bytes = self.received_bytes.saturating_add(other.received_bytes);
    }
}

/// A connection, its owners, and what the kernel knew of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// What its packets tell.
    pub tcp: tcp::Connection,
    /// The network namespace it was seen in, where recorded.
    pub netns: Option<u32>,
    /// What may be missing of it.
    pub incomplete: Incomplete,
    /// What is known of the end that asked for it.
    pub orig: EndFacts,
    /// What is known of the end that was asked.
    pub resp: EndFacts,
}

/// What is known of one end of a connection beyond its packets; nothing if it
/// is on another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndFacts {
    /// Who owns it.
    pub owner: Option<OwnerId>,
    /// What the kernel did there.
    pub kernel: Option<KernelFacts>,
}

/// The owner of an end, by its place in [`Report::processes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerId {
    /// The process.
    pub process: ProcessId,
    /// How it is known.
    pub provenance: Provenance,
}
