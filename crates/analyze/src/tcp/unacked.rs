//! Segments that wait for their ACK.

use std::collections::VecDeque;

use super::rare::Rare;
use super::seq::Seq;

/// One past a segment, and when that was sent.
type Sent = (Seq, i64);

/// The segments of an end that wait for their ACK.
#[derive(Debug, Clone, Default)]
pub(super) struct Unacked {
    /// The one that was sent first. Who asks and answers has no more.
    first: Option<Sent>,
    others: Rare<Others>,
}

#[derive(Debug, Clone, Default)]
struct Others {
    /// In the order of sending; none if there is no first one.
    segments: VecDeque<Sent>,
    /// Some do not go further than the one before: the lowest of all, the first
    /// among them.
    disordered: Option<Seq>,
}

impl Unacked {
    /// Takes a segment that was sent at `ts_ns` and ends before `next`, if fewer
    /// than `limit` wait.
    #[inline(always)]
    pub(super) fn push(&mut self, next: Seq, ts_ns: i64, limit: usize) {
        match self.first {
            None => self.first = Some((next, ts_ns)),
            Some(first) => self.push_behind(first, (next, ts_ns), limit),
        }
    }

    fn push_behind(&mut self, first: Sent, sent: Sent, limit: usize) {
        let others = self.others.make();
        if others.segments.len() + 1 < limit {
            let (next, last) = (sent.0, others.segments.back().unwrap_or(&first).0);
            match others.disordered {
                Some(lowest) => others.disordered = Some(lower(lowest, next)),
                None if next.since(last) <= 0 => others.disordered = Some(lower(first.0, next)),
                None => {}
            }
            others.segments.push_back(sent);
        }
    }

    /// Forgets the segment that was sent first, if as many as `limit` wait.
    pub(super) fn make_room(&mut self, limit: usize) {
        let is_full = |others: &Others| others.segments.len() + 1 >= limit;
        if self.first.is_some() && self.others.get().is_some_and(is_full) {
            self.first = self.others.make().segments.pop_front();
        }
    }

    /// When the segment was first sent that holds this number; none if none waits that
    /// does.
    pub(super) fn sent_ns(&self, seq: Seq) -> Option<i64> {
        let others = self.others.get().into_iter();
        let mut all = self.first.iter().chain(others.flat_map(|it| &it.segments));
        let (_, ts_ns) = all.find(|(next, _)| next.since(seq) > 0)?;
        Some(*ts_ns)
    }

    /// Forgets what `ack` covers. Gives when the segment that ends there was
    /// first sent.
    #[inline(always)]
    pub(super) fn acknowledge(&mut self, ack: Seq) -> Option<i64> {
        let (next, ts_ns) = self.first?;
        if self.others.get().is_some() {
            return self.acknowledge_several(ack);
        }
        if next.since(ack) > 0 {
            return None;
        }
        self.first = None;
        (next == ack).then_some(ts_ns)
    }

    fn acknowledge_several(&mut self, ack: Seq) -> Option<i64> {
        let mut sent_ns = None;
        let mut covered = |&(next, ts_ns): &Sent| {
            if next == ack {
                sent_ns.get_or_insert(ts_ns);
            }
            next.since(ack) <= 0
        };
        let others = self.others.make();
        if let Some(lowest) = others.disordered {
            // Most ACKs while segments are lost are duplicates.
            if ack.since(lowest) >= 0 {
                let first = self.first.filter(|first| !covered(first));
                others.segments.retain(|sent| !covered(sent));
                self.first = first.or_else(|| others.segments.pop_front());
                let left = self.first.iter().chain(&others.segments);
                others.disordered = left.map(|(next, _)| *next).reduce(lower);
            }
        } else {
            while self.first.as_ref().is_some_and(&mut covered) {
                self.first = others.segments.pop_front();
            }
        }
        sent_ns
    }
}

/// The lower of two numbers; the first of equals.
fn lower(a: Seq, b: Seq) -> Seq {
    if b.since(a) < 0 { b } else { a }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All in one queue.
    #[derive(Default)]
    struct Plain(Vec<Sent>);

    impl Plain {
        fn push(&mut self, next: Seq, ts_ns: i64, limit: usize) {
            if self.0.len() < limit {
                self.0.push((next, ts_ns));
            }
        }

        fn make_room(&mut self, limit: usize) {
            if self.0.len() >= limit {
                self.0.remove(0);
            }
        }

        fn acknowledge(&mut self, ack: Seq) -> Option<i64> {
            let exact = self.0.iter().find(|sent| sent.0 == ack);
            let sent_ns = exact.map(|sent| sent.1);
            self.0.retain(|sent| sent.0.since(ack) > 0);
            sent_ns
        }
    }

    proptest! {
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0..4, 0..40_u32), 0..80)) {
            let (mut unacked, mut plain) = (Unacked::default(), Plain::default());
            for (ts_ns, (step, number)) in (0..).zip(steps) {
                // Across the wrap.
                let seq = Seq(number.wrapping_sub(20));
                if step == 0 {
                    prop_assert_eq!(unacked.acknowledge(seq), plain.acknowledge(seq));
                } else if step == 1 {
                    unacked.make_room(5);
                    plain.make_room(5);
                } else {
                    unacked.push(seq, ts_ns, 10);
                    plain.push(seq, ts_ns, 10);
                }
            }
        }
    }
}
