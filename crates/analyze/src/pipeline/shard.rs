//! A part of all connections: those that are followed together, by one thread at a
//! time.
//!
//! How many parts there are does not depend on the number of threads, nor does
//! where a connection belongs; so the results are the same whichever thread works on them.

use std::net::{IpAddr, Ipv6Addr};

use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::Segment;

use super::copies::CopyDetector;
use super::part::{At, Item};
use super::servers::Servers;
use crate::app::Request;
use crate::tcp::{Connection, ConnectionId, Limits, Observer, Seen, Served, Tracker};

/// So many shards there are: more than most have cores, so that each thread is at
/// another one.
pub(super) const SHARDS: usize = 16;

/// Of at most so many ways of connections it is known where they pass, in all shards
/// together.
pub(super) const MAX_CARRIERS: usize = 1 << 21;

/// 2^64 divided by the golden ratio: products have well-mixed upper bits.
pub(super) const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The shard of the connection that a segment belongs to, seen in a scope.
///
/// Whoever makes a capture may put all connections into one shard: then one
/// thread does the work of all, as if there were no other. Within a shard the
/// hash is another one, and seeded at random.
pub(super) fn shard_of(scope: u32, segment: &Segment<'_>) -> usize {
    let mix = |end: Endpoint| {
        let addr = match end.addr {
            IpAddr::V4(addr) => addr.to_bits().into(),
            IpAddr::V6(addr) => folded(addr),
        };
        let product = (addr ^ u64::from(end.port) << 32).wrapping_mul(FACTOR);
        product ^ product >> 32
    };
    // Of both ways of a connection it is the same.
    let sum = mix(segment.src)
        .wrapping_add(mix(segment.dst))
        .wrapping_add(scope.into());
    (sum.wrapping_mul(FACTOR) >> (u64::BITS - SHARDS.ilog2())) as usize
}

/// By itself: where both kinds of addresses are read in one place, more bytes of an IPv4
/// address are read than were written just before, and the processor waits for the store.
#[inline(never)]
fn folded(addr: Ipv6Addr) -> u64 {
    let bits = addr.to_bits();
    (bits >> 64) as u64 ^ bits as u64
}

/// The place of a packet: the number of its part, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) part: u64,
    pub(super) packet: u32,
}

/// Some connections.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) tracker: Tracker,
    pub(super) copies: CopyDetector,
}

/// What a shard finds in a part.
#[derive(Debug, Default)]
pub(super) struct ShardOutput {
    /// Which connections began, and with which packet.
    pub(super) begun: Vec<(u32, ConnectionId)>,
    /// What was finished, in the order of that.
    pub(super) finished: Vec<Finished>,
}

/// What is finished with a packet.
#[derive(Debug)]
pub(super) struct Finished {
    /// The packet's place in the part.
    pub(super) packet: u32,
    /// The latest time by then.
    pub(super) now_ns: i64,
    /// With what is known of it so far, if it goes on.
    pub(super) connection: Connection,
    pub(super) requests: Vec<Request>,
    pub(super) goes_on: bool,
}

impl Shard {
    /// A shard without connections; the limits are those of all shards.
    pub(super) fn new(limits: Limits) -> Self {
        let share = |all: usize| all.div_ceil(SHARDS);
        Self {
            tracker: Tracker::new(Limits {
                connections: share(limits.connections),
                lingering: share(limits.lingering),
                waiting_bytes: share(limits.waiting_bytes),
                kept_bytes: share(limits.kept_bytes),
            }),
            copies: CopyDetector::new(share(MAX_CARRIERS)),
        }
    }

    /// Takes its segments of a part, which has this number, with the latest time before it.
    pub(super) fn take(
        &mut self,
        items: &[Item<'_>],
        (part, before_ns): (u64, i64),
        servers: &Servers,
    ) -> ShardOutput {
        let mut output = ShardOutput::default();
        for item in items {
            let Item { at, segment, .. } = item;
            if item.may_be_copy && self.is_copy(at, segment) {
                continue;
            }
            let place = Place {
                part,
                packet: at.place,
            };
            let now_ns = at.latest_ns.max(before_ns);
            self.segment(at.seen, segment, place, now_ns, servers, &mut output);
        }
        output
    }

    /// Whether a segment was seen elsewhere in the namespace before.
    pub(super) fn is_copy(&mut self, at: &At, segment: &Segment<'_>) -> bool {
        let Segment { src, dst, .. } = *segment;
        self.copies
            .is_copy(at.seen, src, dst, at.point, Some(segment))
    }

    /// Takes a segment.
    #[inline]
    pub(super) fn segment(
        &mut self,
        seen: Seen,
        segment: &Segment<'_>,
        place: Place,
        now_ns: i64,
        servers: &Servers,
        output: &mut ShardOutput,
    ) {
        let mut observer = ShardObserver {
            place,
            now_ns,
            servers,
            copies: &mut self.copies,
            output,
        };
        self.tracker.segment(seen, segment, &mut observer);
    }
}

/// Notes what the tracker finds.
struct ShardObserver<'a> {
    place: Place,
    now_ns: i64,
    servers: &'a Servers,
    copies: &'a mut CopyDetector,
    output: &'a mut ShardOutput,
}

impl ShardObserver<'_> {
    fn finish(&mut self, connection: Connection, requests: Vec<Request>, goes_on: bool) {
        self.output.finished.push(Finished {
            packet: self.place.packet,
            now_ns: self.now_ns,
            connection,
            requests,
            goes_on,
        });
    }
}

impl Observer for ShardObserver<'_> {
    fn served(&self, scope: u32, ends: [Endpoint; 2]) -> Option<Served> {
        self.servers.served(scope, ends, self.place)
    }

    fn begun(&mut self, connection: ConnectionId) {
        self.output.begun.push((self.place.packet, connection));
    }

    fn connection(&mut self, connection: Connection, requests: Vec<Request>, is_latest: bool) {
        if is_latest {
            let (orig, resp) = (connection.orig.endpoint, connection.resp.endpoint);
            self.copies.forget(connection.scope, orig, resp);
        }
        self.finish(connection, requests, false);
    }

    fn requests(&mut self, so_far: Connection, requests: Vec<Request>) {
        self.finish(so_far, requests, true);
    }
}
