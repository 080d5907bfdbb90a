//! From segments to connections.

use std::collections::HashMap;

use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::{Fragment, Segment};

use super::{ConnState, Connection, ConnectionId, End};
use crate::app::Request;

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
    /// A closed connection takes late packets for so long.
    pub linger_ns: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 20,
            linger_ns: 300_000_000_000,
        }
    }
}

/// Follows all TCP connections of a capture.
#[derive(Debug, Default)]
pub struct Tracker {
    limits: Limits,
    open: HashMap<(u32, Flow), Connection>,
    next: u64,
}

impl Tracker {
    /// A tracker without connections.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes the next segment, and says which connection it belongs to.
    pub fn segment(
        &mut self,
        seen: Seen,
        segment: &Segment<'_>,
        observer: &mut impl Observer,
    ) -> ConnectionId {
        let _ = (&self.limits, observer);
        let flow = Flow::between(segment.src, segment.dst);
        let next = &mut self.next;
        let connection = self.open.entry((seen.scope, flow)).or_insert_with(|| {
            let id = ConnectionId(*next);
            *next += 1;
            Connection {
                id,
                scope: seen.scope,
                orig: end(segment.src),
                resp: end(segment.dst),
                first_ns: seen.ts_ns,
                last_ns: seen.ts_ns,
                duration_ns: 0,
                state: ConnState::Oth,
                history: String::new(),
                missed_bytes: 0,
                syn_synack_ns: None,
                synack_ack_ns: None,
                initial_rtt_ns: None,
                reused_ports: false,
                requests: 0,
            }
        });
        connection.last_ns = seen.ts_ns;
        let sender = if segment.src == connection.orig.endpoint {
            &mut connection.orig
        } else {
            &mut connection.resp
        };
        sender.packets += 1;
        sender.ip_bytes += u64::from(segment.ip_bytes);
        sender.wire_bytes += u64::from(segment.payload_bytes);
        sender.cookie = seen.cookie.or(sender.cookie);
        connection.id
    }

    /// Takes a fragment; once a segment is whole, says which connection it
    /// belongs to.
    pub fn fragment(
        &mut self,
        _seen: Seen,
        _fragment: &Fragment<'_>,
        _observer: &mut impl Observer,
    ) -> Option<ConnectionId> {
        None
    }

    /// How many connections were finished early to stay within the limits.
    #[must_use]
    pub const fn evicted_connections(&self) -> u64 {
        0
    }

    /// Finishes all connections, in the order of their first packets.
    pub fn finish(self, observer: &mut impl Observer) {
        let mut all: Vec<_> = self.open.into_values().collect();
        all.sort_by_key(|connection| connection.id);
        for connection in all {
            observer.connection(connection);
        }
    }
}

fn end(endpoint: Endpoint) -> End {
    End {
        endpoint,
        cookie: None,
        packets: 0,
        data_packets: 0,
        bytes: 0,
        wire_bytes: 0,
        uniq_bytes: 0,
        gap_bytes: 0,
        ip_bytes: 0,
        syn_packets: 0,
        fin_packets: 0,
        rst_packets: 0,
        zero_window_packets: 0,
        retransmitted_packets: 0,
        duplicate_packets: 0,
        late_packets: 0,
        syn_options: None,
    }
}
