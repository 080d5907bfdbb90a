//! All connections, in shards: what becomes of packets. What that means is left to the
//! [collector](super::collector).

use tcprec_shared::headers::Headers;
use tcprec_shared::record::Interface;

use super::interfaces::Interfaces;
use super::part::Part;
use super::sequence::Sequence;
use super::servers::Servers;
use super::shard::{Place, SHARDS, Shard, ShardOutput, shard_of};
use crate::app::Request;
use crate::report::Report;
use crate::tcp::{Connection, Limits, Whole};

/// All connections that are followed.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) all: Vec<Shard>,
    pub(super) interfaces: Interfaces,
    pub(super) servers: Servers,
    pub(super) sequence: Sequence,
}

/// What came of a part.
#[derive(Debug)]
pub(super) struct Outcome {
    /// By shard.
    pub(super) outputs: Vec<ShardOutput>,
    /// The places of the packets that may tell the owner of a socket something.
    pub(super) telling: Vec<u32>,
}

impl Shards {
    /// Nothing is followed yet; the limits are those of all shards together.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            all: (0..SHARDS).map(|_| Shard::new(limits)).collect(),
            interfaces: Interfaces::default(),
            servers: Servers::default(),
            sequence: Sequence::new(),
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
    }

    /// Takes the next part, on one thread: each packet goes its way at once.
    pub(super) fn take(&mut self, part: &Part<'_>) -> Outcome {
        let (number, before_ns) = self.sequence.begin();
        self.servers.part(number, part);
        let (all, servers, pieces) = (&mut self.all, &self.servers, &mut self.sequence.pieces);
        let mut outputs: Vec<_> = all.iter().map(|_| ShardOutput::default()).collect();
        let tally = part.read(&self.interfaces, |at, headers| {
            let (whole, of_whole);
            let (segment, may_be_copy) = match headers {
                Headers::Segment(segment) => (segment, true),
                piece => {
                    whole = pieces.take(&at, piece);
                    of_whole = whole.as_ref().and_then(Whole::segment);
                    let Some(segment) = &of_whole else { return };
                    (segment, false)
                }
            };
            let shard = shard_of(at.seen.scope, segment);
            let (Some(shard), Some(output)) = (all.get_mut(shard), outputs.get_mut(shard)) else {
                return;
            };
            if may_be_copy && shard.is_copy(&at, segment) {
                return;
            }
            let place = Place {
                part: number,
                packet: at.place,
            };
            let now_ns = at.latest_ns.max(before_ns);
            shard.segment(at.seen, segment, place, now_ns, servers, output);
        });
        let telling = self.sequence.count(tally);
        Outcome { outputs, telling }
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
        let evicted = self.all.iter();
        let evicted = evicted.map(|shard| shard.tracker.evicted_connections());
        report.capture.left_out.evicted_connections = evicted.sum();
        let copies = self.all.iter().map(|shard| &shard.copies);
        self.sequence.sum_up(self.interfaces.take(), copies, report);
    }
}
