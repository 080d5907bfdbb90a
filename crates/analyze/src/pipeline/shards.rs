//! All connections, in shards: what of the analysis is done by several threads.
//!
//! A round of records goes through in three steps: what each packet says by
//! itself, for many parts at the same time; what is a piece of something, in
//! order; and what becomes of each connection, for all shards at the same time.
//! What all that means is left to the [books](super::books).

use std::mem;

use rayon::prelude::*;
use tcprec_shared::headers::Headers;
use tcprec_shared::record::Interface;

use super::carriers::{Carriers, Namespaces};
use super::interfaces::Interfaces;
use super::part::{At, Item, Parsed, Part, Room, Tally, Times};
use super::servers::Servers;
use super::shard::{MAX_CARRIERS, Place, SHARDS, Shard, Told, shard_of};
use crate::app::Request;
use crate::report::{PacketCounts, Report};
use crate::tcp::{Connection, Finishing, Fragments, Limits, Whole};

/// All connections that are followed.
#[derive(Debug)]
pub(super) struct Shards {
    all: Vec<Shard>,
    interfaces: Interfaces,
    namespaces: Namespaces,
    servers: Servers,
    pieces: Pieces,
    counts: PacketCounts,
    times: Option<Times>,
    /// Where the parts of a round are divided.
    rooms: Vec<Room>,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// By shard.
    pub(super) told: Vec<Told>,
    /// For each part, the places of the packets that may tell the owner of a
    /// socket something.
    pub(super) telling: Vec<Vec<u32>>,
}

impl Shards {
    /// Nothing is followed yet; the limits are those of all shards together.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            all: (0..SHARDS).map(|_| Shard::new(limits)).collect(),
            interfaces: Interfaces::default(),
            namespaces: Namespaces::default(),
            servers: Servers::default(),
            pieces: Pieces {
                fragments: Fragments::default(),
                carriers: Carriers::new(MAX_CARRIERS / SHARDS),
                copies: Vec::new(),
                not_tcp: 0,
                unassembled: 0,
            },
            counts: PacketCounts::default(),
            times: None,
            rooms: Vec::new(),
        }
    }

    /// Does not look into payload from now on.
    pub(super) fn ignore_payload(&mut self) {
        for shard in &mut self.all {
            shard.tracker.ignore_payload();
        }
    }

    /// Takes the record of an interface.
    pub(super) fn interface(&mut self, interface: &Interface) {
        self.interfaces.insert(interface);
        self.namespaces.interface(interface);
    }

    /// Takes the next parts, on one thread.
    pub(super) fn take(&mut self, parts: &[Part<'_>]) -> Outcome {
        self.servers.round(parts);
        let have_copies = self.namespaces.have_several();
        let mut told: Vec<_> = self.all.iter().map(|_| Told::default()).collect();
        let mut telling = Vec::new();
        for (part, records) in (0..).zip(parts) {
            let before_ns = self.latest_ns();
            let (all, servers, pieces) = (&mut self.all, &self.servers, &mut self.pieces);
            let tally = records.read(&self.interfaces, |at, headers| {
                let (whole, of_whole);
                let (segment, may_be_copy) = match headers {
                    Headers::Segment(segment) => (segment, have_copies),
                    piece => {
                        whole = pieces.take(&at, piece, have_copies);
                        of_whole = whole.as_ref().and_then(Whole::segment);
                        let Some(segment) = &of_whole else { return };
                        (segment, false)
                    }
                };
                let shard = shard_of(at.seen.scope, segment);
                let (Some(shard), Some(told)) = (all.get_mut(shard), told.get_mut(shard)) else {
                    return;
                };
                if may_be_copy && shard.is_copy(&at, segment.src, segment.dst) {
                    told.copies.push(at.interface);
                    return;
                }
                let place = Place {
                    part,
                    packet: at.place,
                };
                let now_ns = at.latest_ns.max(before_ns);
                shard.segment(at.seen, segment, place, now_ns, servers, told);
            });
            telling.push(self.count(tally));
        }
        self.count_copies(&told);
        Outcome { told, telling }
    }

    /// Takes the next parts, with other threads' help.
    pub(super) fn take_with_threads(&mut self, parts: &[Part<'_>]) -> Outcome {
        self.servers.round(parts);
        let have_copies = self.namespaces.have_several();
        let interfaces = &self.interfaces;
        self.rooms
            .resize_with(parts.len().max(self.rooms.len()), Room::default);
        let rooms = self.rooms.drain(..parts.len()).collect::<Vec<_>>();
        let parsing = parts.par_iter().zip(rooms).with_max_len(1);
        let parsing = parsing.map(|(part, room)| part.parse(interfaces, room));
        let parsed: Vec<_> = parsing.collect();
        let mut wholes = Vec::new();
        let mut telling = Vec::new();
        let mut timed = Vec::new();
        for (part, mut parsed) in parsed.into_iter().enumerate() {
            let before_ns = self.latest_ns();
            telling.push(self.count(mem::take(&mut parsed.tally)));
            for (at, piece) in mem::take(&mut parsed.pieces) {
                let whole = self.pieces.take(&at, &piece, have_copies);
                wholes.extend(whole.map(|whole| (part, at, whole)));
            }
            timed.push((before_ns, parsed));
        }
        let mut parsed = timed;
        for (part, at, whole) in &wholes {
            if let Some((_, parsed)) = parsed.get_mut(*part)
                && let Some(segment) = whole.segment()
            {
                parsed.insert(Item {
                    at: *at,
                    may_be_copy: false,
                    segment,
                });
            }
        }
        let servers = &self.servers;
        let shards = self.all.par_iter_mut().enumerate().with_max_len(1);
        let told = shards.map(|(it, shard)| shard.take(it, &parsed, servers, have_copies));
        let told: Vec<_> = told.collect();
        let parsed = parsed.into_iter().map(|(_, parsed)| parsed);
        self.rooms.extend(parsed.map(Parsed::into_room));
        self.count_copies(&told);
        Outcome { told, telling }
    }

    /// The latest time so far.
    fn latest_ns(&self) -> i64 {
        self.times.map_or(i64::MIN, |times| times.last_ns)
    }

    /// Adds up what a part says. Gives what is for others.
    fn count(&mut self, tally: Tally) -> Vec<u32> {
        if let Some(times) = tally.times {
            self.times = Some(self.times.map_or(times, |before| before.and(times)));
        }
        self.counts += tally.counts;
        for (interface, traffic) in tally.traffic {
            self.interfaces.count(interface, traffic);
        }
        tally.telling
    }

    fn count_copies(&mut self, told: &[Told]) {
        let of_pieces = mem::take(&mut self.pieces.copies);
        let copies = told.iter().flat_map(|told| &told.copies);
        for interface in copies.chain(&of_pieces) {
            self.counts.copies += 1;
            self.interfaces.count_copy(*interface);
        }
    }

    /// When the last record was; none before the first.
    pub(super) fn of_last_ns(&self) -> Option<i64> {
        Some(self.times?.of_last_ns)
    }

    /// Shows connections, by shard, as [`crate::tcp::Tracker::look`] does.
    pub(super) fn look(
        &self,
        since_ns: i64,
        is_of_interest: impl Fn(&Request) -> bool,
        mut show: impl FnMut(usize, Connection, Vec<Request>),
    ) {
        for (number, shard) in self.all.iter().enumerate() {
            let show = |connection, requests| show(number, connection, requests);
            shard.tracker.look(since_ns, &is_of_interest, show);
        }
    }

    /// Puts what was counted into a report.
    pub(super) fn sum_up(&mut self, report: &mut Report) {
        let capture = &mut report.capture;
        capture.packets = self.counts;
        capture.packets.not_tcp += self.pieces.not_tcp;
        capture.packets.unassembled += self.pieces.unassembled;
        capture.first_ns = self.times.map(|times| times.first_ns);
        capture.last_ns = self.times.map(|times| times.last_ns);
        let evicted = self.all.iter();
        let evicted = evicted.map(|shard| shard.tracker.evicted_connections());
        capture.left_out.evicted_connections = evicted.sum();
        report.interfaces = mem::take(&mut self.interfaces).into_summaries();
    }

    /// Finishes all connections, by shard.
    pub(super) fn finish(self) -> Vec<Finishing> {
        let all = self.all.into_iter();
        all.map(|shard| shard.tracker.finish()).collect()
    }
}

/// The packets that are pieces of what is to become segments. They tell no ports, so
/// they belong to no shard before they are together.
#[derive(Debug)]
struct Pieces {
    fragments: Fragments,
    carriers: Carriers,
    /// The interface of each that another interface had carried.
    copies: Vec<u32>,
    not_tcp: u64,
    unassembled: u64,
}

impl Pieces {
    fn take(&mut self, at: &At, headers: &Headers<'_>, have_copies: bool) -> Option<Whole> {
        let At {
            seen, interface, ..
        } = *at;
        if let Headers::Fragment(fragment) = headers {
            let (src, dst) = (fragment.src, fragment.dst);
            if have_copies && self.carriers.is_copy(seen, src, dst, interface) {
                self.copies.push(interface);
                return None;
            }
        }
        let whole = self.fragments.take(seen, headers);
        let is_of_tunnel = matches!(headers, Headers::TunnelFragment(_));
        self.not_tcp += u64::from(is_of_tunnel && whole.is_none());
        if matches!(headers, Headers::Fragment(_)) {
            let together = whole.as_ref().map_or(0, Whole::packets);
            self.unassembled = (self.unassembled + 1).saturating_sub(together);
        }
        whole
    }
}
