//! A batch: what the rings held at one look, copied out and in the order of time.

use std::collections::VecDeque;

/// So many bytes are taken of a ring at a look, and the rest of the last record.
pub(super) const OF_A_RING_BYTES: usize = 2 << 20;

/// So many bytes of events are kept while the writer takes none: a few times what their
/// ring holds.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// A batch is copied into less memory when more bytes than these were split off it.
const MAX_DEAD_BYTES: usize = 1 << 20;

/// Raw records of the kernel side. Reused, so that recording does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many bytes it holds when it is full.
    full_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    boot_ns: u64,
    start: usize,
    length: usize,
    ring: Ring,
}

/// Which ring a raw record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    /// Of the interfaces of a network namespace, by its inode.
    Packets {
        netns: u32,
    },
    Events,
}

impl Batch {
    /// Copies a raw record in. All begin with their time on the boot clock.
    pub(crate) fn push(&mut self, ring: Ring, raw: &[u8]) {
        let boot_ns = raw
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        self.entries.push(Entry {
            boot_ns,
            start: self.bytes.len(),
            length: raw.len(),
            ring,
        });
        self.bytes.extend_from_slice(raw);
    }

    /// The time of the record that was copied in last.
    pub(crate) fn latest_boot_ns(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.boot_ns)
    }

    /// Puts the records in the order of time, those that waited among them, and has those
    /// after `horizon_ns` wait: a record of another ring may still come before them.
    pub(crate) fn settle(&mut self, horizon_ns: u64, waiting: &mut Waiting) {
        waiting.release(horizon_ns, self);
        self.entries.sort_by_key(|entry| entry.boot_ns);
        waiting.push(self.split_off(horizon_ns));
    }

    /// Takes out the records after `horizon_ns`; all are in order.
    fn split_off(&mut self, horizon_ns: u64) -> Self {
        let settled = self.settled(horizon_ns);
        let split = self.with(self.entries.get(settled..).unwrap_or_default());
        self.entries.truncate(settled);
        if split.bytes.len() > MAX_DEAD_BYTES {
            *self = self.with(&self.entries);
        }
        split
    }

    /// How many are not after `horizon_ns`.
    fn settled(&self, horizon_ns: u64) -> usize {
        self.entries
            .partition_point(|entry| entry.boot_ns <= horizon_ns)
    }

    /// Some of its records, in as much memory as they need.
    fn with(&self, entries: &[Entry]) -> Self {
        let mut some = Self::default();
        some.bytes
            .reserve_exact(entries.iter().map(|entry| entry.length).sum());
        for entry in entries {
            some.push(entry.ring, self.raw(*entry));
        }
        some
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ring, &[u8])> {
        self.entries.iter().map(|e| (e.ring, self.raw(*e)))
    }

    /// Makes room for a look's share of one more ring, whatever the batch holds: each
    /// look takes something of each ring.
    pub(crate) fn make_room(&mut self) {
        self.full_bytes = self.bytes.len() + OF_A_RING_BYTES;
    }

    /// Whether it should be handed on before it takes more of this ring: rings may
    /// fill as fast as they are emptied.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= self.full_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes all out; the memory is kept, if it is not unusually much.
    pub(crate) fn clear(&mut self) {
        let most_bytes = 2 * (self.full_bytes + OF_A_RING_BYTES);
        if self.bytes.capacity() > most_bytes {
            (self.bytes, self.entries) = (Vec::new(), Vec::new());
        }
        self.bytes.clear();
        self.entries.clear();
    }

    fn raw(&self, entry: Entry) -> &[u8] {
        self.bytes
            .get(entry.start..entry.start + entry.length)
            .unwrap_or_default()
    }
}

/// Records that wait because a ring may still hold earlier ones. While the writer is behind,
/// these are events: packets of the same time are still in their rings. They take about as
/// much memory as the events' ring at most, for each look takes as many bytes of each ring;
/// and beside that what is [kept](Self::keep).
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Those of each look, and how many of them went since.
    looks: VecDeque<(Batch, usize)>,
}

impl Waiting {
    /// Whether no more is to be kept.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.looks.iter().map(|(look, _)| look.bytes.len());
        bytes.sum::<usize>() >= MAX_WAITING_BYTES
    }

    /// Keeps records for a later batch.
    pub(super) fn keep(&mut self, mut newer: Batch) {
        newer.entries.sort_by_key(|entry| entry.boot_ns);
        self.push(newer);
    }

    fn push(&mut self, newer: Batch) {
        if !newer.is_empty() {
            self.looks.push_back((newer, 0));
        }
    }

    /// Gives those that are not after `horizon_ns` to a batch.
    fn release(&mut self, horizon_ns: u64, to: &mut Batch) {
        for (look, gone) in &mut self.looks {
            let settled = look.settled(horizon_ns);
            let entries = look.entries.get(*gone..settled).unwrap_or_default();
            to.bytes
                .reserve_exact(entries.iter().map(|entry| entry.length).sum());
            for entry in entries {
                to.push(entry.ring, look.raw(*entry));
            }
            *gone = settled.max(*gone);
        }
        self.looks.retain(|(look, gone)| *gone < look.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use std::mem;

    use super::*;

    const PACKETS: Ring = Ring::Packets { netns: 1 };

    fn raw(boot_ns: u64) -> [u8; 8] {
        boot_ns.to_ne_bytes()
    }

    fn times(batch: &Batch) -> Vec<u64> {
        let time = |(_, raw): (_, &[u8])| u64::from_ne_bytes(*raw.first_chunk().unwrap());
        batch.iter().map(time).collect()
    }

    #[test]
    fn settles_in_order_and_keeps_what_is_too_new() {
        let mut batch = Batch::default();
        let mut waiting = Waiting::default();
        batch.push(PACKETS, &raw(30));
        batch.push(PACKETS, &raw(10));
        batch.push(Ring::Events, &raw(20));
        batch.settle(20, &mut waiting);
        assert_eq!(times(&batch), [10, 20]);

        batch.clear();
        batch.push(Ring::Events, &raw(40));
        batch.push(PACKETS, &raw(35));
        batch.settle(35, &mut waiting);
        assert_eq!(times(&batch), [30, 35]);

        batch.clear();
        batch.settle(u64::MAX, &mut waiting);
        assert_eq!(times(&batch), [40]);
        assert!(waiting.looks.is_empty());
    }

    #[test]
    fn what_nobody_takes_is_kept_up_to_a_bound() {
        let mut waiting = Waiting::default();
        let mut events = Batch::default();
        events.push(Ring::Events, &raw(20));
        events.push(Ring::Events, &raw(10));
        waiting.keep(events);
        let mut batch = Batch::default();
        batch.push(PACKETS, &raw(15));
        batch.settle(15, &mut waiting);
        assert_eq!(times(&batch), [10, 15]);
        batch.clear();
        batch.settle(20, &mut waiting);
        assert_eq!(times(&batch), [20]);
        batch.clear();

        let mut events = Batch::default();
        while !waiting.is_full() {
            events.push(Ring::Events, &vec![0; 1 << 20]);
            waiting.keep(mem::take(&mut events));
        }
        assert_eq!(waiting.looks.len(), MAX_WAITING_BYTES >> 20);
        batch.make_room();
        batch.settle(u64::MAX, &mut waiting);
        assert_eq!(batch.bytes.len(), MAX_WAITING_BYTES);
        batch.clear();
        assert_eq!(batch.bytes.capacity(), 0);
    }

    #[test]
    fn what_waits_takes_no_memory_of_the_batch() {
        let mut batch = Batch::default();
        let mut waiting = Waiting::default();
        let mut event = vec![0; 2 * MAX_DEAD_BYTES];
        event[..8].copy_from_slice(&raw(30));
        batch.push(Ring::Events, &event);
        batch.push(PACKETS, &raw(10));
        batch.settle(20, &mut waiting);
        assert_eq!(times(&batch), [10]);
        assert!(batch.bytes.capacity() < MAX_DEAD_BYTES);
    }

    #[test]
    fn a_ring_is_taken_of_whatever_others_held() {
        let mut batch = Batch::default();
        for ring in [Ring::Events, PACKETS] {
            batch.make_room();
            let mut taken = 0;
            while !batch.is_full() {
                batch.push(ring, &[0; 1 << 20]);
                taken += 1;
            }
            assert_eq!(taken, OF_A_RING_BYTES >> 20, "{ring:?}");
        }
    }
}
