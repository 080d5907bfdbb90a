//! What is done with parts in their order before the shards take their segments: counting,
//! and putting together what came in pieces.

use std::collections::BTreeMap;

use tcprec_shared::headers::Headers;
use tcprec_shared::record::Interface;

use super::copies::CopyDetector;
use super::part::{At, Tally, Times, Traffic};
use super::shard::{MAX_CARRIERS, SHARDS};
use crate::report::{InterfaceSummary, PacketCounts, Report};
use crate::tcp::{Fragments, Whole};

/// What is known of the parts so far.
#[derive(Debug)]
pub(super) struct Sequence {
    parts: u64,
    pub(super) pieces: Pieces,
    counts: PacketCounts,
    times: Option<Times>,
    /// By interface.
    traffic: BTreeMap<u32, Traffic>,
}

impl Sequence {
    pub(super) fn new() -> Self {
        Self {
            parts: 0,
            pieces: Pieces {
                fragments: Fragments::default(),
                copies: CopyDetector::new(MAX_CARRIERS / SHARDS),
                not_tcp: 0,
                unassembled: 0,
            },
            counts: PacketCounts::default(),
            times: None,
            traffic: BTreeMap::new(),
        }
    }

    /// The next part begins. Gives its number and the latest time before it.
    pub(super) fn begin(&mut self) -> (u64, i64) {
        let number = self.parts;
        self.parts += 1;
        (number, self.times.map_or(i64::MIN, |times| times.last_ns))
    }

    /// Adds up what the part says. Gives what is for others.
    pub(super) fn count(&mut self, tally: Tally) -> Vec<u32> {
        if let Some(times) = tally.times {
            self.times = Some(self.times.map_or(times, |before| before.and(times)));
        }
        self.counts += tally.counts;
        for (interface, traffic) in tally.traffic {
            let sum = self.traffic.entry(interface).or_default();
            sum.packets += traffic.packets;
            sum.wire_bytes += traffic.wire_bytes;
        }
        tally.telling
    }

    /// When the last record was; none before the first.
    pub(super) fn of_last_ns(&self) -> Option<i64> {
        Some(self.times?.of_last_ns)
    }

    /// Puts what was counted of these interfaces into a report, with the copies that shards
    /// found.
    pub(super) fn sum_up<'a>(
        &'a self,
        interfaces: Vec<Interface>,
        of_shards: impl Iterator<Item = &'a CopyDetector>,
        report: &mut Report,
    ) {
        let mut copies = BTreeMap::<u32, u64>::new();
        for detector in of_shards.chain([&self.pieces.copies]) {
            for (interface, count) in detector.copies() {
                *copies.entry(*interface).or_default() += count;
            }
        }
        let capture = &mut report.capture;
        capture.packets = self.counts;
        capture.packets.not_tcp += self.pieces.not_tcp;
        capture.packets.unassembled += self.pieces.unassembled;
        capture.packets.copies = copies.values().sum();
        capture.first_ns = self.times.map(|times| times.first_ns);
        capture.last_ns = self.times.map(|times| times.last_ns);
        let summaries = interfaces.into_iter().map(|interface| {
            let traffic = self.traffic.get(&interface.id);
            let Traffic {
                packets,
                wire_bytes,
            } = traffic.copied().unwrap_or_default();
            InterfaceSummary {
                packets,
                wire_bytes,
                copies: copies.get(&interface.id).copied().unwrap_or_default(),
                interface,
            }
        });
        report.interfaces = summaries.collect();
    }
}

/// The packets that are pieces of what is to become segments. They tell no ports, so
/// they belong to no shard before they are together.
#[derive(Debug)]
pub(super) struct Pieces {
    fragments: Fragments,
    copies: CopyDetector,
    not_tcp: u64,
    unassembled: u64,
}

impl Pieces {
    /// Takes a piece. Gives what it is the last of.
    pub(super) fn take(&mut self, at: &At, headers: &Headers<'_>) -> Option<Whole> {
        let At { seen, point, .. } = *at;
        if let Headers::Fragment(fragment) = headers {
            let (src, dst) = (fragment.src, fragment.dst);
            if self.copies.is_copy(seen, src, dst, point, None) {
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
