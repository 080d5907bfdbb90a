//! What is worth a person's attention: few things, each with its evidence.
//!
//! What happened often to the same ends is one finding, shown by its worst
//! case. Nothing is found in what may be missing (`gaps`), but for
//! what was seen to happen.

mod connection;
mod errors;
mod key;
mod kind;
mod overflow;
mod request;
mod unresponsive;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, EventKind, ProcessId, Provenance, TcpState};

pub use self::kind::FindingKind;

use self::errors::ServerErrors;
use self::key::{Key, SharedKeys};
use crate::forget;
use crate::owner::Owners;
use crate::resolved::{Ends, Outcome, OwnerId};
use crate::span::Span;
use crate::tcp::ConnectionId;

/// At most so many are kept; beyond, the half that is the least grave, or the
/// rarest, is forgotten.
const MAX_FINDINGS: usize = 1 << 13;

/// A stall or a server's thinking that is worth a word. Linux' shortest
/// retransmission timeout is as long, so that none of these is missed.
const LONG_NS: i64 = 200_000_000;

/// A SYN is sent again after 1 s (RFC 6298 clause 2.1): by then there should
/// have been an answer.
const UNANSWERED_NS: i64 = 1_000_000_000;

/// A client that uses so many ports again while they are in TIME-WAIT connects often. It may
/// have others left: Linux takes every second port only, and on loopback one in TIME-WAIT for
/// free after a second (tcp_tw_reuse).
const MANY_PORTS: u64 = 10;

/// So often a segment went right behind a delayed ACK is no chance.
const MANY_DELAYS: u64 = 10;

/// Something worth attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// How many connections, stalls or requests it was seen on.
    pub count: u64,
    /// How often it was seen in other recorded namespaces than the process's own.
    pub(crate) elsewhere: u64,
    /// The connection of the worst case, or of the first.
    pub ends: Ends,
    /// Whether other processes, of the same name, own ends of the other cases.
    pub of_several: bool,
    /// Whether the other cases are of many other ports of the server.
    pub of_many_ports: bool,
    /// Whether the other cases are of many other clients.
    pub of_many_clients: bool,
    /// Whether the other cases are of many other servers.
    pub of_many_servers: bool,
    /// Whether it is the originator's doing; none if it is nobody's.
    pub by_orig: Option<bool>,
    /// The process that did it at that end, where it is not its owner.
    pub acting: Option<ProcessId>,
    /// Whether something else sent it in that end's name, as a firewall does.
    pub is_foreign: bool,
    /// The TTL of what that end sent before, and of the reset, where they differ.
    pub ttls: Option<[u8; 2]>,
    /// When it began there: with this packet.
    pub first_ns: i64,
    /// When it ended there: with this packet.
    pub last_ns: i64,
    /// How much of the end's payload came before a stall; none if the handshake stalled.
    pub at_byte: Option<u64>,
    /// How many packets were sent again, or probes without an answer.
    pub packets: Option<u64>,
    /// How long nothing had come from the end before it was to respond.
    pub silence_ns: Option<i64>,
    /// Length of the payload that was sent again and did not come through: if none as large
    /// does, a path with a smaller MTU lets nobody know (RFC 2923 section 2.1).
    pub segment_bytes: Option<u32>,
    /// Why it was broken off: the alert of TLS, the error code of HTTP/2.
    pub error: Option<String>,
    /// Method and path of the requests.
    pub route: Option<String>,
    /// What came of the request.
    pub outcome: Option<Outcome>,
    /// How many requests the server answered, in whatever way.
    pub answers: Option<u64>,
}

impl Finding {
    /// One case of it, between these packets.
    fn new(kind: FindingKind, ends: Ends, by_orig: Option<bool>, span: Span) -> Self {
        let is_elsewhere = OwnerId::count_elsewhere(ends.orig_owner, ends.resp_owner);
        Self {
            kind,
            count: u64::from(!is_elsewhere),
            elsewhere: u64::from(is_elsewhere),
            ends,
            of_several: false,
            of_many_ports: false,
            of_many_clients: false,
            of_many_servers: false,
            by_orig,
            acting: None,
            is_foreign: false,
            ttls: None,
            first_ns: span.first_ns,
            last_ns: span.last_ns,
            at_byte: None,
            packets: None,
            silence_ns: None,
            segment_bytes: None,
            error: None,
            route: None,
            outcome: None,
            answers: None,
        }
    }

    /// Takes other cases of the same.
    fn join(&mut self, other: Self) {
        // In one namespace may be known who owns an end, and not in another.
        let differ = |one: Option<OwnerId>, other: Option<OwnerId>| {
            one.zip(other)
                .is_some_and(|(one, other)| one.process != other.process)
        };
        let differ = differ(self.ends.orig_owner, other.ends.orig_owner)
            || differ(self.ends.resp_owner, other.ends.resp_owner);
        let of_several = self.of_several || other.of_several || differ;
        let count = self.count + other.count;
        let elsewhere = self.elsewhere + other.elsewhere;
        // Of equals the first, in whatever order they come.
        let rank = |it: &Self| {
            let first = Reverse((it.ends.id, it.first_ns));
            (it.packets, it.duration_ns(), first)
        };
        if rank(&other) > rank(self) {
            *self = other;
        }
        self.count = count;
        self.elsewhere = elsewhere;
        self.of_several = of_several;
    }

    /// It, with how often it was seen: what was recorded in several namespaces counts in
    /// that of its process, if it was seen there.
    fn counted(self) -> Self {
        let count = if self.count == 0 {
            self.elsewhere
        } else {
            self.count
        };
        Self { count, ..self }
    }

    /// How long the worst case took.
    #[must_use]
    pub const fn duration_ns(&self) -> i64 {
        self.last_ns.saturating_sub(self.first_ns)
    }
}

/// What is worth attention, so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: BTreeMap<Key, Finding>,
    shared: SharedKeys,
    /// Attempts to connect of which no packet was seen so far, by ends and namespace.
    unseen: BTreeMap<(Endpoint, Endpoint, u32), Finding>,
    /// The latest response: on which connection, and when it ended.
    answered: Option<(ConnectionId, i64)>,
    /// The latest connection with a request that was not wholly answered.
    lacking: Option<ConnectionId>,
    errors: ServerErrors,
    /// Whether of any connection both ends were seen.
    has_answers: bool,
    /// Whether any ACK without payload was captured: a filter may leave them out.
    has_acks: bool,
    forgotten: u64,
    /// Whether what is found first is to be kept for [`Self::news`].
    tells_news: bool,
    news: Vec<Finding>,
}

impl Findings {
    /// Nothing yet; of what will be found there is [news](Self::news).
    pub(crate) fn with_news() -> Self {
        Self {
            tells_news: true,
            ..Self::default()
        }
    }

    /// All of them, the gravest first.
    pub(crate) fn finish(mut self, owners: &Owners) -> Vec<Finding> {
        for finding in mem::take(&mut self.unseen).into_values() {
            self.add(finding, owners);
        }
        for finding in mem::take(&mut self.errors).finish() {
            self.add(finding, owners);
        }
        let all = self.found.into_iter();
        let mut all: Vec<_> = all.map(|(key, found)| (key, found.counted())).collect();
        let is_one_sided = |(key, _): &(Key, _)| key.kind == FindingKind::OneSided;
        let is_one_way = !self.has_answers && all.iter().any(is_one_sided);
        all.retain(|(_, finding)| match finding.kind {
            FindingKind::PortReuse => finding.count >= MANY_PORTS,
            FindingKind::DelayedAck => finding.count >= MANY_DELAYS,
            // Answers were not captured, but by the client's own host.
            FindingKind::Unanswered if finding.by_orig.is_some() => self.has_acks,
            FindingKind::Unanswered => !is_one_way || finding.ends.orig_owner.is_some(),
            _ => true,
        });
        all.sort_by_key(|(key, finding)| (key.kind, Reverse(finding.count)));
        all.into_iter().map(|(_, finding)| finding).collect()
    }

    /// How many were forgotten to bound the memory.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What was found first since the last time, and ended by `until_ns`: what
    /// is younger may turn out to be a loss of records. What needs many cases, or
    /// the end, is not told.
    pub(crate) fn news(&mut self, until_ns: i64, owners: &Owners) -> Vec<Finding> {
        // Of these no packet will come any more.
        let unseen = mem::take(&mut self.unseen).into_iter();
        let (old, young) = unseen.partition(|(_, finding)| finding.last_ns <= until_ns);
        self.unseen = young;
        for finding in BTreeMap::into_values(old) {
            self.add(finding, owners);
        }
        let (old, young) = mem::take(&mut self.news)
            .into_iter()
            .partition(|finding: &Finding| finding.last_ns <= until_ns);
        self.news = young;
        old
    }

    fn add(&mut self, finding: Finding, owners: &Owners) {
        let key = Key::of(&finding, owners);
        let (key, joined) = self.shared.widen(key, &self.found);
        for narrow in joined {
            if let Some(finding) = self.found.remove(&narrow) {
                self.put(key.clone(), finding);
            }
        }
        let is_known = self.found.contains_key(&key);
        if self.found.len() >= MAX_FINDINGS && !is_known {
            self.forget_half();
        }
        let is_early = !matches!(
            finding.kind,
            FindingKind::PortReuse
                | FindingKind::DelayedAck
                | FindingKind::HalfOpen
                | FindingKind::OneSided
        );
        if self.tells_news && is_early && !is_known {
            self.news.push(finding.clone().counted());
        }
        self.put(key, finding);
    }

    fn put(&mut self, key: Key, finding: Finding) {
        match self.found.entry(key) {
            Entry::Vacant(place) => {
                self.shared.insert(place.key());
                let key = place.key().clone();
                key.mark(place.insert(finding));
            }
            Entry::Occupied(known) => {
                let key = known.key().clone();
                let known = known.into_mut();
                known.join(finding);
                key.mark(known);
            }
        }
    }

    fn forget_half(&mut self) {
        let rest = forget::half(&mut self.found, |key, finding| {
            (key.kind, Reverse(finding.count))
        });
        self.forgotten += rest.len() as u64;
        self.shared = self.found.keys().collect();
    }

    /// Looks at what the kernel did.
    pub(crate) fn event(&mut self, event: &Event, owners: &Owners) {
        if event.kind != EventKind::Close || event.old_state != Some(TcpState::SynSent) {
            return;
        }
        let (opened_ns, owner) = owners.opened(event);
        // A timer gives up without a process.
        let acting = event.process.map(|process| (process, Provenance::Connect));
        let owner = acting.or(owner).map(|(process, provenance)| OwnerId {
            process,
            provenance,
            is_elsewhere: false,
        });
        let ends = Ends {
            id: None,
            orig: event.local,
            resp: event.remote,
            orig_owner: owner,
            resp_owner: None,
        };
        // Linux goes to SYN-SENT before it looks for a port, and back without
        // one (tcp_v4_connect, inet_hash_connect): connect() fails with
        // EADDRNOTAVAIL.
        if event.local.port == 0 {
            let span = Span::at(event.ts_ns);
            let finding = Finding::new(FindingKind::NoFreePort, ends, Some(true), span);
            self.add(finding, owners);
            return;
        }
        let asked = Span {
            first_ns: opened_ns.unwrap_or(event.ts_ns),
            last_ns: event.ts_ns,
        };
        let finding = Finding::new(FindingKind::Unanswered, ends, None, asked);
        if finding.duration_ns() >= UNANSWERED_NS && self.unseen.len() < MAX_FINDINGS {
            let key = (event.local, event.remote, event.netns);
            self.unseen.insert(key, finding);
        }
    }
}

#[cfg(test)]
mod tests;
