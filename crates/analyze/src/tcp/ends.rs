//! How the connection of a segment is found: by its ends, and again by its place.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::Segment;

use super::ConnectionId;
use super::live::Live;
use super::pair::Side;

/// Where a connection is found while it is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) hash: u64,
    pub(super) id: ConnectionId,
    pub(super) scope: u32,
}

impl Place {
    pub(super) fn of(hash: u64, live: &Live) -> Self {
        Self {
            hash,
            id: live.id,
            scope: live.scope,
        }
    }
}

/// The ends of a connection, and its scope: what tells it from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<'a> {
    scope: u32,
    low: &'a Endpoint,
    high: &'a Endpoint,
}

impl<'a> Ends<'a> {
    /// Those of a segment's connection, and which of them sent it.
    #[inline(always)]
    pub(super) fn of(scope: u32, segment: &'a Segment<'_>) -> (Self, Side) {
        let (src, dst) = (&segment.src, &segment.dst);
        let (low, high, side) = if Flow::begins_with(src, dst) {
            (src, dst, Side::Low)
        } else {
            (dst, src, Side::High)
        };
        (Self { scope, low, high }, side)
    }

    pub(super) const fn flow(self) -> Flow {
        let (low, high) = (*self.low, *self.high);
        Flow { low, high }
    }

    #[inline(always)]
    pub(super) fn are_of(self, live: &Live) -> bool {
        let flow = &live.flow;
        self.scope == live.scope && *self.low == flow.low && *self.high == flow.high
    }

    #[inline(always)]
    pub(super) fn hash(self, hasher: &RandomState) -> u64 {
        hasher.hash_one((self.scope, self.low, self.high))
    }
}

impl<'a> From<&'a Box<Live>> for Ends<'a> {
    fn from(live: &'a Box<Live>) -> Self {
        Self {
            scope: live.scope,
            low: &live.flow.low,
            high: &live.flow.high,
        }
    }
}
