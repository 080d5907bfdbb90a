//! The report: what an analysis found, and its renderers.
//!
//! A [`Report`] is finished when a renderer sees it. [`text`] is for people,
//! [`jsonl`] and [`json`] for programs; `docs/report.md` names their fields.
//! The rows of connections and requests, which may be many, go to who wants
//! them as they are finished ([`Rows`]); a report has as many as it is to keep.

pub(crate) mod findings;
pub mod json;
pub mod jsonl;
pub(crate) mod row;
mod sort;
pub mod text;
pub mod units;

pub use self::sort::Sort;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use tcprec_shared::record::{Capture, End, Interface, LossCause, Lost, Process, ProcessId};

pub use crate::resolved::{Connection, EndFacts, Ends, Outcome, OwnerId, Request};

use crate::finding::Finding;
use crate::latency::{Latency, Quantiles, TurnLatency};
use crate::owner::Owners;
use crate::services::Service;
use crate::tcp::ConnState;

/// Takes the rows of a report as they are finished: a report does not keep them.
/// `owners` knows the names of processes, so far.
pub trait Rows {
    /// A connection was finished.
    fn connection(&mut self, connection: &Connection, owners: &Owners);
    /// A request was finished; those of a connection come before it.
    fn request(&mut self, request: &Request, owners: &Owners);
    /// Whether they cannot be taken any more: then there is no use in going on.
    fn are_refused(&self) -> bool {
        false
    }
}

/// For those who want no rows but what the report keeps.
impl Rows for () {
    fn connection(&mut self, _: &Connection, _: &Owners) {}
    fn request(&mut self, _: &Request, _: &Owners) {}
}

/// Which rows a report keeps. All of them take memory that grows with the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// So many connections and so many requests, the first; none for all.
    pub rows: Option<usize>,
    /// The order of the connections.
    pub sort: Sort,
    /// So many of the slowest requests.
    pub slowest: usize,
}

/// What an analysis found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// What was recorded, and how completely.
    pub capture: CaptureSummary,
    /// The interfaces, in the order of their ids.
    pub interfaces: Vec<InterfaceSummary>,
    /// What was lost, by cause.
    pub losses: Vec<LossSummary>,
    /// The processes that own an end of a connection.
    pub processes: BTreeMap<ProcessId, ProcessSummary>,
    /// How many connections and requests there were.
    pub totals: Totals,
    /// What is worth attention, the gravest first.
    pub findings: Vec<Finding>,
    /// The connections that are [kept](Keep), in the order that was asked for.
    pub connections: Vec<Connection>,
    /// The requests that are kept, in the order they began.
    pub requests: Vec<Request>,
    /// The slowest requests that are kept, the slowest first.
    pub slowest: Vec<Request>,
    /// Who talks to whom.
    pub services: Vec<Service>,
    /// How long requests took.
    pub latencies: Vec<Latency>,
    /// How long the answers of what cannot be read took.
    pub turns: Vec<TurnLatency>,
}

/// All connections and requests, by what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Connections by how they ended.
    pub connections: BTreeMap<ConnState, u64>,
    /// All connections, and those of which an owner is known.
    pub owned: Owned,
    /// Requests by what came of them.
    pub requests: BTreeMap<Outcome, u64>,
    /// The requests of which it is known where their time went.
    pub timed_requests: u64,
    /// How long the first bytes of responses were waited for
    /// ([`ttfb_ns`](crate::app::Request::ttfb_ns)), if several were.
    pub waits: Option<Quantiles>,
}

/// How much of the traffic has an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owned {
    /// All connections.
    pub all: Volume,
    /// Those of which at least one end has an owner.
    pub attributed: Volume,
}

/// An amount of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Connections.
    pub connections: u64,
    /// Their packets.
    pub packets: u64,
    /// Their payload, without retransmissions.
    pub bytes: u64,
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.packets += other.packets;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What was recorded, and how completely.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CaptureSummary {
    /// What its first file says of itself, if anything.
    pub made: Option<Capture>,
    /// Of what is told of it, if not of all: see [`crate::condition`].
    pub condition: Option<String>,
    /// How many files it is.
    pub files: u64,
    /// Whether they say that they are of several recordings.
    pub has_several_recordings: bool,
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
    /// What was left out to bound the memory.
    pub left_out: LeftOut,
}

/// What an analysis left out to bound its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Connections whose analysis was ended early.
    pub evicted_connections: u64,
    /// Findings that were forgotten, the least grave and rarest.
    pub findings: u64,
    /// Groups of requests whose times were forgotten, the smallest.
    pub latencies: u64,
    /// Groups of connections that were forgotten, the smallest.
    pub services: u64,
    /// Processes that own an end of a connection, and were forgotten.
    pub processes: u64,
}

impl CaptureSummary {
    /// When the recording began: as its first file says, if it is here, or with the
    /// earliest packet or event.
    #[must_use]
    pub fn begin_ns(&self) -> Option<i64> {
        let made = self.made.as_ref();
        // Each file of a series says when the first began.
        let told_ns = made.filter(|made| made.sequence == 0);
        let told_ns = told_ns.and_then(|made| made.started_ns);
        [told_ns, self.first_ns].into_iter().flatten().min()
    }

    /// When the recording ended: as it says itself, or with the latest packet or event.
    #[must_use]
    pub fn end_ns(&self) -> Option<i64> {
        let told_ns = match &self.ending {
            Ending::Complete(end) | Ending::Continued(end) | Ending::Failed(end) => Some(end.ts_ns),
            Ending::Unknown | Ending::Abrupt | Ending::Cut(_) => None,
        };
        self.last_ns.max(told_ns)
    }

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
    /// The recorder failed, and came to the end all the same.
    Failed(End),
    /// The recorder had no time to write the end.
    Abrupt,
    /// The file ends inside a record, or could not be read further.
    Cut(String),
}

/// Packets by what became of them.
///
/// `all` is the sum of those that were analyzed and of all others here but
/// `disagreements`; of the fragments of a segment the last one is analyzed.
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
    /// Fragments of a segment of which others are missing, or too much is cut.
    pub unassembled: u64,
    /// Of a link type that is not known, or an interface that was not described.
    pub unknown_link: u64,
    /// Seen before on another interface of the same network namespace.
    pub copies: u64,
    /// Analyzed, but the kernel side had made something else of the headers:
    /// each is a defect of tcprec.
    pub disagreements: u64,
}

impl AddAssign for PacketCounts {
    fn add_assign(&mut self, other: Self) {
        let Self {
            all,
            wire_bytes,
            captured_bytes,
            not_tcp,
            cut,
            malformed,
            unassembled,
            unknown_link,
            copies,
            disagreements,
        } = other;
        self.all += all;
        self.wire_bytes += wire_bytes;
        self.captured_bytes += captured_bytes;
        self.not_tcp += not_tcp;
        self.cut += cut;
        self.malformed += malformed;
        self.unassembled += unassembled;
        self.unknown_link += unknown_link;
        self.copies += copies;
        self.disagreements += disagreements;
    }
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
    /// Connections opened.
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
