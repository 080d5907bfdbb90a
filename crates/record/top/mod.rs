//! What `tcprec top` shows: what each process did in an interval, made of the
//! kernel's counts, which only grow; in the order that is asked for. How it
//! looks is up to [`jsonl`] and [`table`].

pub(crate) mod jsonl;
pub(crate) mod screen;
mod sort;
pub(crate) mod table;

use std::collections::HashMap;
use std::time::Duration;

pub(crate) use sort::Sort;

use crate::kernel::{Counted, Counts, Doubts, Owner};

/// What was done between two looks.
#[derive(Debug)]
pub(crate) struct Interval {
    /// When it ended, in nanoseconds of Unix time.
    pub(crate) ts_ns: i64,
    pub(crate) length: Duration,
    pub(crate) rows: Vec<Row>,
}

/// What one process did in an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Nobody where it is not known whose it was.
    pub(crate) owner: Option<Owner>,
    pub(crate) comm: String,
    pub(crate) counts: Counts,
    /// In the row of nobody only.
    pub(crate) doubts: Doubts,
}

/// What was counted up to the last look.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    counts: HashMap<Option<Owner>, Counts>,
    doubts: Doubts,
}

impl Seen {
    /// What is new. A process is told in each interval from the first thing it
    /// does until it is gone, and once more.
    pub(crate) fn differences(&mut self, counted: Vec<Counted>, doubts: Doubts) -> Vec<Row> {
        let new = Doubts {
            no_room: doubts.no_room.saturating_sub(self.doubts.no_room),
            missed: doubts.missed.saturating_sub(self.doubts.missed),
        };
        self.doubts = doubts;
        let mut before = std::mem::take(&mut self.counts);
        let mut rows = Vec::with_capacity(counted.len());
        for Counted {
            owner,
            comm,
            counts,
            is_gone,
        } in counted
        {
            let before = before.remove(&owner).unwrap_or_default();
            if owner.is_some() || counts != Counts::default() || doubts != Doubts::default() {
                rows.push(Row {
                    owner,
                    comm,
                    counts: difference(counts, before),
                    doubts: owner.map_or(new, |_| Doubts::default()),
                });
            }
            if !is_gone {
                self.counts.insert(owner, counts);
            }
        }
        rows
    }
}

/// Combines two counts field by field.
fn each(a: Counts, b: Counts, combine: impl Fn(u64, u64) -> u64) -> Counts {
    Counts {
        connects: combine(a.connects, b.connects),
        accepts: combine(a.accepts, b.accepts),
        sent_packets: combine(a.sent_packets, b.sent_packets),
        sent_bytes: combine(a.sent_bytes, b.sent_bytes),
        received_packets: combine(a.received_packets, b.received_packets),
        received_bytes: combine(a.received_bytes, b.received_bytes),
        retransmits: combine(a.retransmits, b.retransmits),
    }
}

fn difference(now: Counts, before: Counts) -> Counts {
    each(now, before, u64::saturating_sub)
}

/// What all processes did together.
pub(crate) fn sum(rows: &[Row]) -> Counts {
    rows.iter().fold(Counts::default(), |sum, row| {
        each(sum, row.counts, u64::saturating_add)
    })
}

#[cfg(test)]
mod tests;
