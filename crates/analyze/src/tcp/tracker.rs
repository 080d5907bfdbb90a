//! From segments to connections.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::Segment;

use super::ends::{Ends, Place};
use super::live::Live;
use super::pair::Side;
use super::ports::{self, Served};
use super::state::States;
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
    /// What is known of two ends that are seen in a scope; none if nothing is.
    fn served(&self, _scope: u32, _ends: [Endpoint; 2]) -> Option<Served> {
        None
    }
    /// A connection begins; it will be finished once.
    fn begun(&mut self, _connection: ConnectionId) {}
    /// A connection was finished, with the requests on it that were not given
    /// before. `is_latest` says that there is none after it on its 5-tuple.
    fn connection(&mut self, connection: Connection, requests: Vec<Request>, is_latest: bool);
    /// Requests of a connection that goes on: there are too many to keep them
    /// until it is finished. `so_far` is what is known of it.
    fn requests(&mut self, so_far: Connection, requests: Vec<Request>);
}

/// A connection that is over is finished when it was quiet for so long: twice
/// the maximum segment lifetime (RFC 9293 section 3.4.2), when nothing of it
/// can be under way any more. (Wireshark waits for ever, Zeek for 5 s.)
const LINGER_NS: i64 = 240_000_000_000;

/// Nothing is given before it is over for so long, if there is any room: the
/// recorder tells of a loss up to a second after it, when its counters are read.
const LATE_NS: i64 = 2_000_000_000;

/// Requests that are younger when others of their connection are given are looked
/// at so much later: what is known of a connection is summed up for many at once.
const AGAIN_NS: i64 = LATE_NS / 4;

/// The room of so many finished connections is kept for the next ones, which mostly come
/// at the same pace: it still is in the caches.
const SPARE: usize = 16;

/// The scope of captures that know none. These tell of nothing late: other tools
/// record no events, and losses without a time.
const NOWHERE: u32 = 0;

/// What bounds the tracker's memory.
///
/// Time has a part in it too, but none in the bounds: clocks jump, and
/// timestamps are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many connections are followed at a time; beyond, those that have
    /// been idle longest are finished.
    pub connections: usize,
    /// So many connections may be over, and wait for late packets; beyond,
    /// those that have been over longest are finished. If that is not for two
    /// seconds yet, there may be four times as many (in a recording of tcprec,
    /// which may tell of losses then).
    pub lingering: usize,
    /// So much memory may be taken by requests that wait for their connection
    /// to be finished; beyond, they are given before it. If they are over for
    /// two seconds, they are so beyond a sixteenth of it.
    pub waiting_bytes: usize,
    /// So many bytes of payload are kept: heads that are not whole, and what
    /// came out of order. Beyond, such heads count as cut and holes as lost.
    pub kept_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 18,
            lingering: 1 << 13,
            waiting_bytes: 1 << 26,
            kept_bytes: 1 << 26,
        }
    }
}

/// Follows all TCP connections of a capture.
///
/// A connection is finished some time after it is over or another begins on its
/// 5-tuple, when there are too many, or at the end.
#[derive(Debug)]
pub struct Tracker {
    limits: Limits,
    /// By the hash of their ends, which is seeded at random: a capture cannot be made
    /// to be slow. What is compared stands in the connection, which is needed anyway:
    /// so the table is small, and stays in the caches.
    live: HashTable<Box<Live>>,
    hasher: RandomState,
    /// Connections that are over, in the order of that; some were finished since.
    over: VecDeque<Over>,
    /// What was finished last.
    #[expect(clippy::vec_box, reason = "it is the boxes that are used again")]
    spare: Vec<Box<Live>>,
    /// Connections that have waiting requests, by when these are to be looked at;
    /// some were finished since.
    holders: BTreeMap<(i64, ConnectionId), Place>,
    waiting_bytes: usize,
    /// What payload is kept; none where it is not looked into.
    budget: Option<Budget>,
    seen_connections: u64,
    evicted_connections: u64,
}

/// A connection that is over.
#[derive(Debug)]
struct Over {
    since_ns: i64,
    connection: Lingering,
}

#[derive(Debug)]
enum Lingering {
    /// Its 5-tuple is its own.
    Followed(Place),
    /// Another connection has its 5-tuple.
    Replaced(Box<Live>),
}

impl Lingering {
    fn scope(&self) -> u32 {
        match self {
            Self::Followed(place) => place.scope,
            Self::Replaced(live) => live.scope,
        }
    }
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
            live: HashTable::new(),
            hasher: RandomState::default(),
            over: VecDeque::new(),
            spare: Vec::new(),
            holders: BTreeMap::new(),
            waiting_bytes: 0,
            budget: Some(Budget::new(limits.kept_bytes)),
            seen_connections: 0,
            evicted_connections: 0,
        }
    }

    /// Does not look into payload from now on: there will be no requests.
    pub fn ignore_payload(&mut self) {
        self.budget = None;
    }

    /// Takes the next segment.
    pub fn segment(&mut self, seen: Seen, segment: &Segment<'_>, observer: &mut impl Observer) {
        let (ends, side) = Ends::of(seen.scope, segment);
        let hash = ends.hash(&self.hasher);
        match self.live.find_mut(hash, |live| ends.are_of(live)) {
            Some(live) if !live.is_ended_by(side, segment) => {
                let (was_over, waiting_bytes) = (live.is_over(), live.waiting_bytes());
                live.packet(side, seen, segment, self.budget.as_ref());
                let place = Place::of(hash, live);
                let is_over = !was_over && live.is_over();
                let more_bytes = live.waiting_bytes() - waiting_bytes;
                if more_bytes > 0 {
                    self.waiting_bytes += more_bytes;
                    if waiting_bytes == 0 {
                        self.hold(seen.ts_ns.saturating_add(LATE_NS), place);
                    }
                }
                if is_over {
                    self.linger(seen.ts_ns, Lingering::Followed(place));
                }
            }
            _ => self.begin(hash, ends, side, seen, segment, observer),
        }
        self.tidy(seen.ts_ns, observer);
    }

    /// A connection begins with `segment`.
    #[inline(never)]
    fn begin(
        &mut self,
        hash: u64,
        ends: Ends<'_>,
        sender: Side,
        seen: Seen,
        segment: &Segment<'_>,
        observer: &mut impl Observer,
    ) {
        let before = self.take_out(hash, |live| ends.are_of(live));
        if self.live.len() >= self.limits.connections.max(1) {
            self.evict(observer);
        }
        let id = ConnectionId(self.seen_connections);
        self.seen_connections += 1;
        observer.begun(id);
        let served = || observer.served(seen.scope, [segment.src, segment.dst]);
        let is_from_server = ports::is_from_server(segment, served);
        let originator = if is_from_server {
            sender.other()
        } else {
            sender
        };
        let states = States::new(originator, is_from_server);
        let live = Live::new(id, ends.flow(), states, seen, before.as_deref());
        let mut live = match self.spare.pop() {
            Some(mut room) => {
                *room = live;
                room
            }
            None => Box::new(live),
        };
        if let Some(before) = before {
            self.linger(seen.ts_ns, Lingering::Replaced(before));
        }
        live.packet(sender, seen, segment, self.budget.as_ref());
        let place = Place::of(hash, &live);
        let (is_over, waiting_bytes) = (live.is_over(), live.waiting_bytes());
        let hasher = &self.hasher;
        self.live
            .insert_unique(hash, live, |live| Ends::from(live).hash(hasher));
        if waiting_bytes > 0 {
            self.waiting_bytes += waiting_bytes;
            self.hold(seen.ts_ns.saturating_add(LATE_NS), place);
        }
        if is_over {
            self.linger(seen.ts_ns, Lingering::Followed(place));
        }
    }

    /// Ends following a connection, and gives it.
    fn take_out(&mut self, hash: u64, is_it: impl FnMut(&Box<Live>) -> bool) -> Option<Box<Live>> {
        let entry = self.live.find_entry(hash, is_it).ok()?;
        Some(entry.remove().0)
    }

    /// How many connections were finished early to stay within the limits.
    #[must_use]
    pub const fn evicted_connections(&self) -> u64 {
        self.evicted_connections
    }

    /// Shows the connections of which packets came since `since_ns`: those that
    /// do not go well, and those with requests of interest. Nothing is finished
    /// by it.
    pub fn look(
        &self,
        since_ns: i64,
        is_of_interest: impl Fn(&Request) -> bool,
        mut show: impl FnMut(Connection, Vec<Request>),
    ) {
        let recent = self.live.iter().filter(|live| live.last_ns() >= since_ns);
        let mut shown: Vec<_> = recent
            .filter(|live| !live.goes_well() || live.waiting_bytes() > 0)
            .collect();
        shown.sort_unstable_by_key(|live| live.id);
        for live in shown {
            let recent = live
                .waiting_requests()
                .filter(|request| request.last_ns() >= since_ns && is_of_interest(request));
            let requests: Vec<_> = recent.cloned().collect();
            if !live.goes_well() || !requests.is_empty() {
                show(live.so_far(), requests);
            }
        }
    }

    /// Gives up all connections, in any order.
    pub fn finish(self) -> impl Iterator<Item = Unfinished> {
        let over = self.over.into_iter().map(|over| over.connection);
        let replaced = over.filter_map(|connection| match connection {
            Lingering::Followed(_) => None,
            Lingering::Replaced(live) => Some(live),
        });
        self.live.into_iter().chain(replaced).map(Unfinished)
    }

    fn finish_one(&mut self, mut live: Box<Live>, is_latest: bool, observer: &mut impl Observer) {
        // It was not touched for long, and is in no cache. Where it is moved first, its
        // memory is waited for once, and not again for each thing that is looked at.
        let mut moved = self.spare.last_mut();
        if let Some(room) = moved.as_deref_mut() {
            mem::swap(&mut **room, &mut *live);
        }
        let last = moved.unwrap_or(&mut live);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(last.waiting_bytes());
        let (connection, requests) = last.finish();
        observer.connection(connection, requests, is_latest);
        if self.spare.len() < SPARE {
            self.spare.push(live);
        }
    }

    fn linger(&mut self, since_ns: i64, connection: Lingering) {
        self.over.push_back(Over {
            since_ns,
            connection,
        });
    }

    fn hold(&mut self, look_ns: i64, place: Place) {
        // Those that were finished since are left in it, but not without a bound.
        if self.holders.len() >= 1024 + 2 * self.live.len() {
            let live = &self.live;
            self.holders
                .retain(|_, place| live.find(place.hash, |live| live.id == place.id).is_some());
        }
        self.holders.insert((look_ns, place.id), place);
    }

    /// Gives what has waited long enough, or has to go to bound the memory.
    /// After nearly all packets there is nothing of that.
    #[inline]
    fn tidy(&mut self, now_ns: i64, observer: &mut impl Observer) {
        let is_old = |over: &Over| now_ns.saturating_sub(over.since_ns) >= LINGER_NS;
        if self.over.len() > self.limits.lingering || self.over.front().is_some_and(is_old) {
            self.give_over(now_ns, observer);
        }
        if self.waiting_bytes > self.limits.waiting_bytes / 16 {
            self.give_requests(now_ns, observer);
        }
    }

    /// Finishes connections that have been over long enough, or are too many.
    #[inline(never)]
    fn give_over(&mut self, now_ns: i64, observer: &mut impl Observer) {
        let lingering = self.limits.lingering;
        while let Some(first) = self.over.front() {
            let age_ns = now_ns.saturating_sub(first.since_ns);
            let is_late = age_ns >= LATE_NS || first.connection.scope() == NOWHERE;
            let is_crowded = self.over.len() > lingering && is_late;
            let is_full = self.over.len() > lingering.saturating_mul(4);
            if age_ns < LINGER_NS && !is_crowded && !is_full {
                break;
            }
            match self.over.pop_front().map(|over| over.connection) {
                Some(Lingering::Followed(place)) => {
                    let Ok(entry) = self.live.find_entry(place.hash, |live| live.id == place.id)
                    else {
                        continue;
                    };
                    let last_ns = entry.get().last_ns();
                    let is_quiet = now_ns.saturating_sub(last_ns) >= LINGER_NS;
                    if is_quiet || is_crowded || is_full {
                        let (live, _) = entry.remove();
                        self.finish_one(live, true, observer);
                    } else {
                        self.linger(last_ns, Lingering::Followed(place));
                    }
                }
                Some(Lingering::Replaced(live)) => self.finish_one(live, false, observer),
                None => break,
            }
        }
    }

    /// Gives requests that have waited long enough, or take too much memory.
    #[inline(never)]
    fn give_requests(&mut self, now_ns: i64, observer: &mut impl Observer) {
        while self.waiting_bytes > self.limits.waiting_bytes / 16
            && let Some((&(look_ns, _), &place)) = self.holders.first_key_value()
        {
            let is_full = self.waiting_bytes > self.limits.waiting_bytes;
            let is_any_time = is_full || place.scope == NOWHERE;
            if look_ns >= now_ns && !is_any_time {
                break;
            }
            self.holders.pop_first();
            let Some(live) = self.live.find_mut(place.hash, |live| live.id == place.id) else {
                continue;
            };
            let until_ns = if is_any_time {
                i64::MAX
            } else {
                now_ns.saturating_sub(LATE_NS)
            };
            let waiting_bytes = live.waiting_bytes();
            let requests = live.take_requests(until_ns);
            let left_bytes = live.waiting_bytes();
            self.waiting_bytes -= waiting_bytes - left_bytes;
            if !requests.is_empty() {
                observer.requests(live.so_far(), requests);
            }
            if left_bytes > 0 {
                self.hold(now_ns.saturating_add(AGAIN_NS), place);
            }
        }
    }

    /// Finishes an eighth of all connections: those that are over, then those
    /// that have been idle longest.
    fn evict(&mut self, observer: &mut impl Observer) {
        let mut idle: Vec<_> = self
            .live
            .iter()
            .map(|live| {
                let hash = Ends::from(live).hash(&self.hasher);
                (!live.is_over(), live.last_ns(), live.id, hash)
            })
            .collect();
        let count = (idle.len() / 8).max(1);
        idle.select_nth_unstable_by_key(count - 1, |&(open, last_ns, id, _)| (open, last_ns, id));
        idle.truncate(count);
        idle.sort_unstable_by_key(|&(_, _, id, _)| id);
        for (open, _, id, hash) in idle {
            if let Some(live) = self.take_out(hash, |live| live.id == id) {
                self.evicted_connections += u64::from(open);
                self.finish_one(live, true, observer);
            }
        }
    }
}

/// A connection that no packet comes to any more.
#[derive(Debug)]
pub struct Unfinished(Box<Live>);

impl Unfinished {
    /// Its number, by the order of first packets.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.0.id
    }

    /// Finishes it. Gives the requests on it, too, that were not given before.
    #[must_use]
    pub fn finish(self) -> (Connection, Vec<Request>) {
        let mut live = *self.0; // as in `Tracker::finish_one`
        live.finish()
    }
}
