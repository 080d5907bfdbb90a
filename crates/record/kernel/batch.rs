//! A batch: what the rings held at one look, copied out and in the order of time.

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

    /// Puts the records in the order of time and moves those after `horizon_ns`
    /// to `later`: a record of the other ring may still come before them.
    pub(crate) fn settle(&mut self, horizon_ns: u64, later: &mut Self) {
        self.entries.sort_by_key(|entry| entry.boot_ns);
        let settled = self
            .entries
            .partition_point(|entry| entry.boot_ns <= horizon_ns);
        for entry in self.entries.get(settled..).unwrap_or_default() {
            later.push(entry.ring, self.raw(*entry));
        }
        self.entries.truncate(settled);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ring, &[u8])> {
        self.entries.iter().map(|e| (e.ring, self.raw(*e)))
    }

    /// Lets it take so much of one more ring, whatever it holds: each look takes
    /// of each ring.
    pub(crate) fn make_room(&mut self) {
        const OF_A_RING_BYTES: usize = 8 << 20;
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

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    fn raw(&self, entry: Entry) -> &[u8] {
        self.bytes
            .get(entry.start..entry.start + entry.length)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: Ring = Ring::Packets { netns: 1 };

    fn raw(boot_ns: u64) -> [u8; 8] {
        boot_ns.to_ne_bytes()
    }

    #[test]
    fn settles_in_order_and_keeps_what_is_too_new() {
        let mut batch = Batch::default();
        let mut later = Batch::default();
        batch.push(PACKETS, &raw(30));
        batch.push(PACKETS, &raw(10));
        batch.push(Ring::Events, &raw(20));
        batch.settle(20, &mut later);
        let times = |batch: &Batch| -> Vec<u64> {
            batch
                .iter()
                .map(|(_, raw)| u64::from_ne_bytes(raw.try_into().unwrap()))
                .collect()
        };
        assert_eq!(times(&batch), [10, 20]);
        assert_eq!(times(&later), [30]);
        assert_eq!(later.iter().next().unwrap().0, PACKETS);
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
            assert_eq!(taken, 8, "{ring:?}");
        }
    }
}
