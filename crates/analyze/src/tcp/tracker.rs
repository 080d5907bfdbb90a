//! From segments to connections.

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::HashMap;
use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::{Fragment, Segment};

use super::fragments::Fragments;
use super::live::Live;
use super::{Connection, ConnectionId};
use crate::app::{Budget, Request};

/// When and where a packet was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// When.
    pub ts_ns: i64,
    /// Where: the same 5-tuple in two scopes (network namespaces) is two connections.
    pub scope: u32,
    /// Cookie of the socket that sent it, where known.
    pub cookie: Option<u64>,
}

/// Takes what the tracker finds.
pub trait Observer {
    /// A request was finished; those of a connection come before it.
    fn request(&mut self, request: Request);
    /// A connection was finished.
    fn connection(&mut self, connection: Connection);
}

/// What bounds the tracker's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many connections are followed at a time; beyond, those that have
    /// been idle longest are finished.
    pub connections: usize,
    /// So many of them may be over, and wait for late packets; beyond, those
    /// that have been over longest are finished. (There is no time limit:
    /// clocks jump, and timestamps are damaged.)
    pub lingering: usize,
    /// So many bytes of payload are kept: heads that are not whole, and what
    /// came out of order. Beyond, such heads count as cut and holes as lost.
    pub kept_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 18,
            lingering: 1 << 15,
            kept_bytes: 1 << 26,
        }
    }
}

/// Follows all TCP connections of a capture.
///
/// A connection is finished when another begins on its 5-tuple, some time after
/// it is over, when there are too many, or at the end.
#[derive(Debug)]
pub struct Tracker {
    limits: Limits,
    /// The hash is seeded at random: a capture cannot be made to be slow.
    live: HashMap<Key, Box<Live>>,
    /// Connections that are over, in the order of that; some were finished since.
    over: VecDeque<(Key, ConnectionId)>,
    fragments: Fragments,
    budget: Budget,
    seen_connections: u64,
    evicted_connections: u64,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Tracker {
    /// A tracker without connections.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            live: HashMap::default(),
            over: VecDeque::new(),
            fragments: Fragments::default(),
            budget: Budget::new(limits.kept_bytes),
            seen_connections: 0,
            evicted_connections: 0,
        }
    }

    /// Takes the next segment, and says which connection it belongs to.
    pub fn segment(
        &mut self,
        seen: Seen,
        segment: &Segment<'_>,
        observer: &mut impl Observer,
    ) -> ConnectionId {
        let flow = Flow::between(segment.src, segment.dst);
        let key = Key::new(seen.scope, flow);
        if let Some(live) = self.live.get_mut(&key)
            && !live.is_ended_by(segment)
        {
            let was_over = live.is_over();
            live.packet(seen, segment, &self.budget, observer);
            let id = live.id;
            if live.is_over() && !was_over {
                self.linger(key, id, observer);
            }
            return id;
        }
        let before = self.live.remove(&key);
        let reused_ports = before.is_some();
        if let Some(before) = before {
            before.finish(observer);
        }
        if self.live.len() >= self.limits.connections.max(1) {
            self.evict(observer);
        }
        let id = ConnectionId(self.seen_connections);
        self.seen_connections += 1;
        let mut live = Box::new(Live::new(id, flow, seen, segment, reused_ports));
        live.packet(seen, segment, &self.budget, observer);
        let is_over = live.is_over();
        self.live.insert(key, live);
        if is_over {
            self.linger(key, id, observer);
        }
        id
    }

    /// Takes a fragment; once a segment is whole, says which connection it
    /// belongs to.
    pub fn fragment(
        &mut self,
        seen: Seen,
        fragment: &Fragment<'_>,
        observer: &mut impl Observer,
    ) -> Option<ConnectionId> {
        let whole = self.fragments.push(seen, fragment)?;
        let segment = whole.segment()?;
        Some(self.segment(seen, &segment, observer))
    }

    /// How many connections were finished early to stay within the limits.
    #[must_use]
    pub const fn evicted_connections(&self) -> u64 {
        self.evicted_connections
    }

    /// Finishes all connections, in the order of their first packets.
    pub fn finish(self, observer: &mut impl Observer) {
        let mut all: Vec<_> = self.live.into_values().collect();
        all.sort_unstable_by_key(|live| live.id);
        for live in all {
            live.finish(observer);
        }
    }

    /// Notes that a connection is over. Finishes the one that has been so
    /// longest, if there are too many.
    fn linger(&mut self, key: Key, id: ConnectionId, observer: &mut impl Observer) {
        self.over.push_back((key, id));
        if self.over.len() > self.limits.lingering
            && let Some((key, id)) = self.over.pop_front()
            // The 5-tuple may have passed to another connection.
            && self.live.get(&key).is_some_and(|live| live.id == id)
            && let Some(live) = self.live.remove(&key)
        {
            live.finish(observer);
        }
    }

    /// Finishes an eighth of all connections: those that are over, then those
    /// that have been idle longest.
    fn evict(&mut self, observer: &mut impl Observer) {
        let mut idle: Vec<_> = self
            .live
            .iter()
            .map(|(key, live)| (!live.is_over(), live.last_ns(), live.id, *key))
            .collect();
        let count = (idle.len() / 8).max(1);
        idle.select_nth_unstable_by_key(count - 1, |&(open, last_ns, id, _)| (open, last_ns, id));
        idle.truncate(count);
        idle.sort_unstable_by_key(|&(_, _, id, _)| id);
        for (open, _, _, key) in idle {
            if let Some(live) = self.live.remove(&key) {
                self.evicted_connections += u64::from(open);
                live.finish(observer);
            }
        }
    }
}

/// A 5-tuple and its scope, made to be hashed fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    low: u128,
    high: u128,
    ports: u32,
    scope: u32,
}

impl Key {
    fn new(scope: u32, flow: Flow) -> Self {
        let address = |end: Endpoint| match end.addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped().to_bits(),
            IpAddr::V6(addr) => addr.to_bits(),
        };
        Self {
            low: address(flow.low),
            high: address(flow.high),
            ports: u32::from(flow.low.port) << 16 | u32::from(flow.high.port),
            scope,
        }
    }
}
