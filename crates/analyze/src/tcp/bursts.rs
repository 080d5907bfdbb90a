//! When an end had to send many packets again: the worst such time of each end.

use super::Burst;
use super::pair::{Pair, Side};
use super::rare::Rare;
use super::seq::at_byte;

/// Packets that are sent again within so long belong together.
const TOGETHER_NS: i64 = 1_000_000_000;

/// A packet that comes again so soon after itself, and nothing between, is a
/// copy that the capture made.
const COPY_NS: i64 = 1_000_000;

/// What was sent again so far.
#[derive(Debug, Default)]
pub(super) struct Bursts {
    /// Position and time of the latest packet of each end.
    latest: Pair<Option<(i64, i64)>>,
    /// Few connections send anything again.
    found: Rare<Pair<Found>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Found {
    current: Packets,
    worst: Packets,
    /// Position and time of two packets that said something new, the later one first:
    /// what was sent from there on was sent no earlier.
    marks: [Option<(i64, i64)>; 2],
}

/// Packets that were sent again.
#[derive(Debug, Clone, Copy, Default)]
struct Packets {
    count: u64,
    first_ns: i64,
    last_ns: i64,
    position: i64,
}

impl Bursts {
    /// Takes a packet with sequence numbers: where it begins, when it came and
    /// whether it is sent again, or is a copy. The shortest round trip tells the two
    /// apart.
    #[inline(always)]
    pub(super) fn packet(
        &mut self,
        side: Side,
        position: i64,
        ts_ns: i64,
        is_again: bool,
        round_trip_ns: impl FnOnce() -> Option<i64>,
    ) {
        let before = self.latest[side].replace((position, ts_ns));
        let is_copy = before
            .is_some_and(|before| before.0 == position && ts_ns.saturating_sub(before.1) < COPY_NS);
        if is_again && !is_copy {
            self.again(side, position, ts_ns, round_trip_ns());
        } else if !is_again && let Some(found) = self.found.get_mut() {
            found[side].mark(position, ts_ns, round_trip_ns());
        }
    }

    #[cold]
    fn again(&mut self, side: Side, position: i64, ts_ns: i64, round_trip_ns: Option<i64>) {
        let found = &mut self.found.make()[side];
        if round_trip_ns.is_some_and(|ns| found.is_sent_within(ns / 2, position, ts_ns)) {
            return;
        }
        let current = &mut found.current;
        if current.count == 0 || ts_ns.saturating_sub(current.last_ns) > TOGETHER_NS {
            *current = Packets {
                count: 0,
                first_ns: ts_ns,
                last_ns: ts_ns,
                position,
            };
        }
        current.count += 1;
        current.last_ns = current.last_ns.max(ts_ns);
        if current.count > found.worst.count {
            found.worst = *current;
        }
    }

    /// Whether an end sent anything again.
    pub(super) fn is_empty(&self) -> bool {
        self.found.get().is_none()
    }

    /// The worst of each end that had one.
    pub(super) fn worst(&self, originator: Side) -> Vec<Burst> {
        let Some(found) = self.found.get() else {
            return Vec::new();
        };
        [originator, originator.other()]
            .into_iter()
            .map(|side| (side, found[side].worst))
            .filter(|(_, worst)| worst.count > 0)
            .map(|(side, worst)| Burst {
                by_orig: side == originator,
                packets: worst.count,
                first_ns: worst.first_ns,
                last_ns: worst.last_ns,
                at_byte: at_byte(worst.position),
            })
            .collect()
    }
}

impl Found {
    /// A packet says something new. Marks are a quarter of a round trip apart, so that
    /// while packets come one of them is older than that, and younger than half a round
    /// trip: what was sent within the last quarter stands behind it.
    #[cold]
    fn mark(&mut self, position: i64, ts_ns: i64, round_trip_ns: Option<i64>) {
        let [later, earlier] = &mut self.marks;
        let quarter_ns = round_trip_ns.map_or(0, |ns| ns / 4);
        let is_due = |mark: (i64, i64)| {
            // What was overtaken says nothing of what comes behind it.
            position > mark.0 && ts_ns.saturating_sub(mark.1) >= quarter_ns
        };
        if later.is_none_or(is_due) {
            *earlier = later.replace((position, ts_ns));
        }
    }

    /// Whether what is sent again was sent first less than so long ago: until the other
    /// end can have asked for it, it takes a round trip (timers take longer). Then it is
    /// a copy that the network made.
    fn is_sent_within(&self, ns: i64, position: i64, ts_ns: i64) -> bool {
        let is_behind = |mark: &(i64, i64)| position >= mark.0;
        let mut marks = self.marks.iter().flatten();
        marks.any(|mark| is_behind(mark) && ts_ns.saturating_sub(mark.1) < ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_stretch_of_an_end_is_kept() {
        let mut bursts = Bursts::default();
        let ms = 1_000_000;
        for (at_ms, is_again) in [(0, true), (10, false), (500, true), (2000, true)] {
            bursts.packet(Side::Low, at_ms, at_ms * ms, is_again, || None);
        }
        let expected = Burst {
            by_orig: false,
            packets: 2,
            first_ns: 0,
            last_ns: 500 * ms,
            at_byte: 0,
        };
        assert_eq!(bursts.worst(Side::High), [expected]);
    }

    #[test]
    fn copies_that_the_capture_made_do_not_count() {
        let mut bursts = Bursts::default();
        for count in 0..100 {
            bursts.packet(Side::Low, count, count * 1000, false, || None);
            bursts.packet(Side::Low, count, count * 1000 + 500, true, || None);
        }
        assert_eq!(bursts.worst(Side::Low), []);
    }
}
