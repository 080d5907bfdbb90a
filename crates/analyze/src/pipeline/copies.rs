//! Detects copies: packets that were captured at several points, which are interfaces or the
//! two directions of one.

use std::collections::BTreeMap;

use foldhash::HashMap;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::Segment;
use tcprec_shared::record::Direction;

use super::reach::Reach;
use crate::tcp::Seen;

/// Where a packet is captured. If it is forwarded by the interface that it came by, it is
/// captured there on its way in, and again on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CapturePoint {
    pub(super) interface: u32,
    pub(super) direction: Option<Direction>,
}

/// After so long a silence of the carrier, what is seen elsewhere is no copy. One follows
/// its packet within milliseconds, also behind a tunnel or a full queue.
const SILENCE_NS: i64 = 100_000_000;

/// Which point carries a direction of a connection, where its packets are seen at several
/// of one network namespace (`-i any`, a bridge and its ports, a router with one
/// interface): the one that saw the first. The others have copies. When it falls silent,
/// another one takes over: a bond or a route goes another way after a failure, and an
/// interface that gets another name, or is there again, has another id. So it does with
/// what nobody had before: a bond or a route may go several ways by turns.
#[derive(Debug)]
pub(super) struct CopyDetector {
    /// Of so many directions at most it is known.
    most: usize,
    all: HashMap<(u32, Endpoint, Endpoint), Carrier>,
    /// How many copies there were on each interface.
    copies: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Carrier {
    point: CapturePoint,
    /// When it carried something last.
    last_ns: i64,
    reach: Reach,
}

impl Carrier {
    const fn is_silent(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.last_ns) > SILENCE_NS
    }
}

impl CopyDetector {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            all: HashMap::default(),
            copies: BTreeMap::new(),
        }
    }

    /// Whether a packet was seen at another point of the namespace before: one that is this
    /// segment, or a piece of some. Copies are counted.
    pub(super) fn is_copy(
        &mut self,
        Seen { scope, ts_ns, .. }: Seen,
        src: Endpoint,
        dst: Endpoint,
        point: CapturePoint,
        segment: Option<&Segment<'_>>,
    ) -> bool {
        if scope == 0 {
            return false;
        }
        if self.all.len() >= self.most {
            self.make_room(ts_ns);
        }
        let new = || Carrier {
            point,
            last_ns: ts_ns,
            reach: segment.map(Reach::of).unwrap_or_default(),
        };
        let carrier = self.all.entry((scope, src, dst)).or_insert_with(new);
        let lacks = |reach: &Reach| segment.is_some_and(|segment| reach.lacks(segment));
        if carrier.point == point {
            carrier.last_ns = carrier.last_ns.max(ts_ns);
        } else if carrier.is_silent(ts_ns) || lacks(&carrier.reach) {
            carrier.point = point;
            carrier.last_ns = ts_ns;
        }
        let is_copy = carrier.point != point;
        if is_copy {
            *self.copies.entry(point.interface).or_default() += 1;
        } else if let Some(segment) = segment {
            carrier.reach.take(segment);
        }
        is_copy
    }

    /// How many copies there were, by interface.
    pub(super) const fn copies(&self) -> &BTreeMap<u32, u64> {
        &self.copies
    }

    /// Forgets those that are silent: of them nothing is known that matters. Where most are
    /// not, all are found out anew, for looking at each takes long.
    fn make_room(&mut self, now_ns: i64) {
        self.all.retain(|_, carrier| !carrier.is_silent(now_ns));
        if self.all.len() > self.most / 2 {
            self.all.clear();
        }
    }

    pub(super) fn forget(&mut self, scope: u32, a: Endpoint, b: Endpoint) {
        if !self.all.is_empty() {
            self.all.remove(&(scope, a, b));
            self.all.remove(&(scope, b, a));
        }
    }
}
