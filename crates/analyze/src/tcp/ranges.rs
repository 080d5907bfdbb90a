//! Which positions of a stream have been seen.

use super::rare::Rare;

/// How many separate ranges are kept; beyond, the lowest hole is forgotten.
const MAX_RANGES: usize = 512;

/// A set of positions, as ranges that neither overlap nor touch.
///
/// A stream in order is one range, and taking the next piece of it touches
/// that alone. What is far out of order costs a search among at most
/// [`MAX_RANGES`]: beyond, the lowest hole counts as seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges {
    /// The highest range; empty if nothing was seen.
    last: Range,
    /// The others, ascending; none in a stream without holes.
    lower: Rare<Vec<Range>>,
}

/// From a position up to another, which is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Range {
    pub(super) fn len(self) -> u64 {
        self.end.saturating_sub(self.start).max(0).cast_unsigned()
    }
}

impl Ranges {
    const fn is_empty(&self) -> bool {
        self.last.start == self.last.end
    }

    /// The ranges below the highest one.
    fn lower(&self) -> &[Range] {
        self.lower.get().map_or(&[], Vec::as_slice)
    }

    /// The end of the highest range.
    pub(super) fn end(&self) -> Option<i64> {
        (!self.is_empty()).then_some(self.last.end)
    }

    /// How many holes there are between the lowest position and the highest.
    pub(super) fn hole_count(&self) -> usize {
        self.lower().len()
    }

    /// From the lowest position to the highest, holes included.
    pub(super) fn span(&self) -> u64 {
        let start = self.lower().first().unwrap_or(&self.last).start;
        Range { start, ..self.last }.len()
    }

    /// Adds a range, and says how many of its positions are new.
    #[inline(always)]
    pub(super) fn insert(&mut self, new: Range) -> u64 {
        // In order: that is what it nearly always is.
        if new.start == self.last.end && new.start < new.end && !self.is_empty() {
            self.last.end = new.end;
            return new.len();
        }
        self.insert_anywhere(new)
    }

    #[inline(never)]
    fn insert_anywhere(&mut self, new: Range) -> u64 {
        if new.start >= new.end {
            return 0;
        }
        if self.is_empty() {
            self.last = new;
            return new.len();
        }
        if new.start < self.last.start {
            return self.insert_below(new);
        }
        if new.start <= self.last.end {
            let end = self.last.end.max(new.end);
            let added = Range {
                start: self.last.end,
                end,
            }
            .len();
            self.last.end = end;
            return added;
        }
        self.lower.make().push(self.last);
        self.last = new;
        self.forget();
        new.len()
    }

    fn insert_below(&mut self, new: Range) -> u64 {
        let lower = self.lower.make();
        lower.push(self.last);
        let from = lower.partition_point(|range| range.end < new.start);
        let to = lower.partition_point(|range| range.start <= new.end);
        let (mut merged, mut known) = (new, 0);
        for range in lower.drain(from..to) {
            known += Range {
                start: range.start.max(new.start),
                end: range.end.min(new.end),
            }
            .len();
            merged.start = merged.start.min(range.start);
            merged.end = merged.end.max(range.end);
        }
        lower.insert(from, merged);
        self.last = lower.pop().unwrap_or_default();
        self.forget();
        new.len().saturating_sub(known)
    }

    fn forget(&mut self) {
        let lower = self.lower.make();
        if lower.len() >= MAX_RANGES {
            let lowest = lower.remove(0);
            if let Some(next) = lower.first_mut() {
                next.start = lowest.start;
            }
        }
    }

    /// Whether there is no hole between two positions, as far as the highest range
    /// tells.
    #[inline(always)]
    pub(super) const fn covers(&self, within: Range) -> bool {
        self.last.start <= within.start && within.end <= self.last.end
    }

    /// The holes between two positions.
    pub(super) fn holes(&self, within: Range) -> impl Iterator<Item = Range> + '_ {
        let lower = self.lower();
        let below = lower.partition_point(|range| range.end <= within.start);
        let seen = lower.get(below..).unwrap_or_default().iter();
        let mut position = within.start;
        seen.chain([&self.last])
            .copied()
            .filter(|range| range.start < range.end)
            .chain([Range {
                start: within.end,
                end: within.end,
            }])
            .filter_map(move |range| {
                let hole = Range {
                    start: position,
                    end: range.start.min(within.end),
                };
                position = position.max(range.end);
                (hole.start < hole.end).then_some(hole)
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: i64, end: i64) -> Range {
        Range { start, end }
    }

    #[test]
    fn a_stream_in_order_is_one_range() {
        let mut ranges = Ranges::default();
        for start in 0..1000 {
            assert_eq!(ranges.insert(range(start * 10, start * 10 + 10)), 10);
        }
        assert_eq!(ranges.insert(range(5, 15)), 0);
        assert!(ranges.lower().is_empty());
        assert_eq!((ranges.end(), ranges.span()), (Some(10_000), 10_000));
    }

    #[test]
    fn holes_are_told_and_filled() {
        let mut ranges = Ranges::default();
        for start in [0, 20, 40] {
            ranges.insert(range(start, start + 10));
        }
        let holes: Vec<_> = ranges.holes(range(5, 60)).collect();
        assert_eq!(holes, [range(10, 20), range(30, 40), range(50, 60)]);
        assert_eq!(ranges.insert(range(5, 45)), 20);
        assert_eq!(ranges.holes(range(0, 50)).count(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut ranges = Ranges::default();
        for start in 0..10_000 {
            ranges.insert(range(start * 2, start * 2 + 1));
            ranges.insert(range(-start * 2 - 2, -start * 2 - 1));
        }
        assert!(ranges.lower().len() <= MAX_RANGES);
    }

    proptest! {
        /// Against a set of single positions.
        #[test]
        fn counts_each_position_once(pieces in prop::collection::vec((0..200i64, 0..20i64), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), std::collections::BTreeSet::new());
            for (start, len) in pieces {
                let added = (start..start + len).filter(|position| set.insert(*position)).count();
                prop_assert_eq!(ranges.insert(range(start, start + len)), added as u64);
            }
            let holes: u64 = ranges.holes(range(0, 300)).map(Range::len).sum();
            prop_assert_eq!(holes, 300 - set.len() as u64);
            prop_assert_eq!(ranges.end(), set.last().map(|last| last + 1));
        }
    }
}
