//! What was found for the packets of a way of a connection, for those that
//! follow.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::Direction;

use crate::owner::Claim;

/// Of how many ways what was found is kept, at most.
const MAX_WAYS: usize = 1 << 14;

/// One way of a connection: what packets have in common that have the same
/// owners, unless these change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) interface: u32,
    pub(super) direction: Option<Direction>,
    pub(super) src: Endpoint,
    pub(super) dst: Endpoint,
    pub(super) cookie: Option<u64>,
}

/// The owners of the packets of one way.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) way: Way,
    pub(super) owner: Claim,
    pub(super) peer: Claim,
    pub(super) community_id: String,
    pub(super) number: u64,
    /// [`changes`](crate::owner::Owners::changes) when it was found.
    pub(super) changes: u64,
}

impl Answer {
    /// Whether it is so for a packet of this time, after so many changes.
    pub(super) fn holds(&self, ts_ns: i64, changes: u64) -> bool {
        self.changes == changes && self.owner.span.contains(ts_ns) && self.peer.span.contains(ts_ns)
    }
}

/// The latest answers by number, and the number of the latest for a way.
///
/// Packets of a connection mostly come close together. So the answers that are needed stand
/// close together at the end of a ring, and stay in the cache. So does the index, which is
/// small, and which shows that a way is new without a look at an old answer.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// That of each number, until it is needed for a later one.
    ring: Vec<Answer>,
    next_number: u64,
    /// By the low bits of the hash of a way: the others, and in place of the low
    /// ones those of the number.
    latest: Vec<u64>,
    hasher: RandomState,
}

impl Answers {
    const LOW_BITS: u64 = MAX_WAYS as u64 - 1;

    pub(super) fn hash(&self, way: &Way) -> u64 {
        self.hasher.hash_one(way)
    }

    const fn place(number_or_hash: u64) -> usize {
        (number_or_hash & Self::LOW_BITS) as usize
    }

    pub(super) fn numbered(&self, number: u64) -> Option<&Answer> {
        self.ring.get(Self::place(number))
    }

    /// The latest answer for a way, which has this hash.
    pub(super) fn get(&self, hash: u64, way: &Way) -> Option<&Answer> {
        let latest = *self.latest.get(Self::place(hash))?;
        let may_be = (latest ^ hash) & !Self::LOW_BITS == 0;
        let answer = may_be.then(|| self.numbered(latest)).flatten();
        answer.filter(|answer| answer.way == *way)
    }

    /// Keeps an answer for a way with this hash, and says its number.
    pub(super) fn keep(&mut self, hash: u64, answer: impl FnOnce(u64) -> Answer) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        if self.latest.is_empty() {
            self.latest.resize(MAX_WAYS, 0);
        }
        if let Some(latest) = self.latest.get_mut(Self::place(hash)) {
            *latest = hash & !Self::LOW_BITS | number & Self::LOW_BITS;
        }
        let answer = answer(number);
        match self.ring.get_mut(Self::place(number)) {
            Some(place) => *place = answer,
            None => self.ring.push(answer),
        }
        number
    }
}
