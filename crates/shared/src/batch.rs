//! Many records at once, with bytes of their own: what one thread reads and
//! others work on.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

use crate::record::{Direction, End, Event, KernelParse, Packet, Record};

/// A batch is full with so many records, or so many bytes of them: that is
/// work for some hundred microseconds, and fits into the cache of a core.
const MAX_RECORDS: usize = 1024;
pub(crate) const MAX_BYTES: usize = 256 << 10;

/// Records in their order.
///
/// The few that are no packets stand apart, for they are larger.
#[derive(Debug, Default)]
pub struct Batch {
    packets: Vec<Kept>,
    /// What the kernel made of packets, where it did: as long as all else of a packet,
    /// and absent from what other tools capture.
    kernels: Vec<KernelParse>,
    others: VecDeque<Other>,
    /// What these take beside their places.
    other_bytes: usize,
    /// The bytes of all packets, and maybe more.
    data: Vec<u8>,
    /// So many are in use.
    data_bytes: usize,
    /// So many packets were taken out.
    taken: usize,
}

/// A packet, and where its bytes are. It is as long as a line of the cache.
#[derive(Debug, Clone, Copy)]
struct Kept {
    ts_ns: i64,
    cookie: Option<u64>,
    interface: u32,
    wire_bytes: u32,
    start: usize,
    end: usize,
    /// The place in [`Batch::kernels`].
    kernel: Option<u32>,
    direction: Option<Direction>,
}

/// A record that is no packet.
#[derive(Debug)]
pub struct Other {
    /// How many packets stand before it.
    pub after: usize,
    /// The record.
    pub record: Record<'static>,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Kept>() == 64);

impl Batch {
    /// Puts a record behind the others.
    pub fn push(&mut self, record: Record<'_>) {
        match record {
            Record::Packet(packet) => self.push_packet(&packet, &packet.data),
            record => self.push_other(record.into_owned()),
        }
    }

    /// Puts a packet behind the others, of which `data` are the bytes.
    #[inline]
    pub fn push_packet(&mut self, packet: &Packet<'_>, data: &[u8]) {
        let start = self.data_bytes;
        let end = start + data.len();
        match self.data.get_mut(start..end) {
            Some(room) => room.copy_from_slice(data),
            None => {
                self.data.truncate(start);
                self.data.extend_from_slice(data);
            }
        }
        self.data_bytes = end;
        self.push_kept(packet, start, end);
    }

    #[inline]
    fn push_kept(&mut self, packet: &Packet<'_>, start: usize, end: usize) {
        let kernel = packet.kernel.map(|kernel| {
            self.kernels.push(kernel);
            self.kernels.len() as u32 - 1
        });
        self.packets.push(Kept {
            ts_ns: packet.ts_ns,
            cookie: packet.cookie,
            interface: packet.interface,
            wire_bytes: packet.wire_bytes,
            start,
            end,
            kernel,
            direction: packet.direction,
        });
    }

    /// A packet without its bytes, and these.
    #[inline]
    fn of_kept(&self, kept: &Kept) -> (Packet<'static>, &[u8]) {
        let kernel = kept.kernel.and_then(|at| self.kernels.get(at as usize));
        let packet = Packet {
            ts_ns: kept.ts_ns,
            interface: kept.interface,
            direction: kept.direction,
            wire_bytes: kept.wire_bytes,
            cookie: kept.cookie,
            kernel: kernel.copied(),
            data: Cow::Borrowed(&[]),
        };
        let data = self.data.get(kept.start..kept.end);
        (packet, data.unwrap_or_default())
    }

    /// Puts a packet behind the others, whose bytes stand in the buffer that will be
    /// [exchanged](Self::exchange).
    #[inline]
    pub(crate) fn push_packet_at(&mut self, packet: &Packet<'_>, place: Range<usize>) {
        self.push_kept(packet, place.start, place.end);
    }

    /// Takes over a buffer with the bytes of all packets, and gives another.
    pub(crate) fn exchange(&mut self, buffer: &mut Vec<u8>) {
        mem::swap(&mut self.data, buffer);
        self.data_bytes = self.data.len();
    }

    /// The bytes of all packets, and maybe more.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Puts a record that is no packet behind the others.
    pub(crate) fn push_other(&mut self, record: Record<'static>) {
        let after = self.packets.len();
        self.other_bytes += record.heap_bytes();
        self.others.push_back(Other { after, record });
    }

    /// Whether it is time to work on it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.packets.len() + self.others.len() >= MAX_RECORDS
            || self.data_bytes + self.other_bytes >= MAX_BYTES
    }

    /// Whether there is nothing in it, or all was taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken >= self.packets.len() && self.others.is_empty()
    }

    /// Whether nothing was taken out of it.
    pub(crate) const fn is_whole(&self) -> bool {
        self.taken == 0
    }

    /// How much memory it takes, more or less.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.data.len()
            + size_of_val(&*self.packets)
            + size_of_val(&*self.kernels)
            + self.others.len() * size_of::<Other>()
            + self.other_bytes
    }

    /// Takes all out; the memory is kept, if it is not unusually much.
    pub fn clear(&mut self) {
        if self.data.len() > 8 * MAX_BYTES {
            self.data = Vec::new();
        }
        self.packets.clear();
        self.kernels.clear();
        self.others.clear();
        self.other_bytes = 0;
        self.data_bytes = 0;
        self.taken = 0;
    }

    /// How many packets there are.
    #[must_use]
    pub fn packet_count(&self) -> usize {
        self.packets.len()
    }

    /// A packet without its bytes, and these.
    #[must_use]
    pub fn packet(&self, place: usize) -> Option<(Packet<'static>, &[u8])> {
        Some(self.of_kept(self.packets.get(place)?))
    }

    /// Some packets in their order, each without its bytes and with these.
    pub fn packets(&self, places: Range<usize>) -> impl Iterator<Item = (Packet<'static>, &[u8])> {
        let packets = self.packets.get(places).unwrap_or_default();
        packets.iter().map(|kept| self.of_kept(kept))
    }

    /// The records that are no packets.
    #[must_use]
    pub fn others(&self) -> &VecDeque<Other> {
        &self.others
    }

    /// The record that comes first, if it is no packet.
    pub(crate) fn next_other(&self) -> Option<&Record<'static>> {
        let other = self.others.front();
        let other = other.filter(|other| other.after <= self.taken);
        other.map(|other| &other.record)
    }

    /// The time of the record that comes first, if it is a packet, an event or an end.
    pub(crate) fn next_ns(&self) -> Option<i64> {
        match self.next_other() {
            Some(Record::Event(Event { ts_ns, .. }) | Record::End(End { ts_ns, .. })) => {
                Some(*ts_ns)
            }
            Some(_) => None,
            None => self.packets.get(self.taken).map(|kept| kept.ts_ns),
        }
    }

    /// The times of all packets and events that are left, in no order.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        let events = self.others.iter().filter_map(|other| match &other.record {
            Record::Event(event) => Some(event.ts_ns),
            _ => None,
        });
        let packets = self.packets.iter().skip(self.taken);
        events.chain(packets.map(|kept| kept.ts_ns))
    }

    /// Gives the interface of each packet another id.
    pub(crate) fn rename_interfaces(&mut self, new: impl Fn(u32) -> u32) {
        for kept in &mut self.packets {
            kept.interface = new(kept.interface);
        }
    }

    /// Takes out the first record; a packet's bytes stay until all is cleared.
    pub(crate) fn take_next(&mut self) -> Option<Record<'_>> {
        if let Some(other) = self.others.pop_front_if(|other| other.after <= self.taken) {
            self.other_bytes -= other.record.heap_bytes();
            return Some(other.record);
        }
        let kept = *self.packets.get(self.taken)?;
        self.taken += 1;
        let (packet, data) = self.of_kept(&kept);
        Some(Record::Packet(Packet {
            data: Cow::Borrowed(data),
            ..packet
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Process, ProcessId};

    /// A file of few bytes may hold many long ones.
    #[test]
    fn records_that_are_no_packets_have_their_weight() {
        let mut batch = Batch::default();
        let words = MAX_BYTES / size_of::<String>() / 2;
        let id = ProcessId {
            pid: 1,
            start_ns: 0,
        };
        let process = Record::Process(Process {
            argv: vec![String::new(); words],
            ..Process::nameless(id)
        });
        for _ in 0..2 {
            batch.push(process.clone());
            assert!(!batch.is_full());
            batch.push(process.clone());
            batch.push(process.clone());
            assert!(batch.is_full() && batch.memory_bytes() > MAX_BYTES);
            batch.take_next();
            batch.take_next();
            assert!(!batch.is_full() && batch.memory_bytes() < MAX_BYTES);
            batch.clear();
        }
    }
}
