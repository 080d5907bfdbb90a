//! The records of a part in their order, as far as they are not packets, and the
//! packets that tell who owns a socket.

use super::collector::Collector;
use super::part::Part;

/// How far a part was read.
pub(super) struct Reading<'a> {
    part: &'a Part<'a>,
    /// The places of its packets that may tell something, of those that are left.
    telling: &'a [u32],
    /// So many of its records that are no packets were read.
    read_others: usize,
}

impl<'a> Reading<'a> {
    /// At the start.
    pub(super) const fn new(part: &'a Part<'a>, telling: &'a [u32]) -> Self {
        Self {
            part,
            telling,
            read_others: 0,
        }
    }

    /// Reads on, with the packet at this place.
    pub(super) fn read_to(&mut self, packet: u32, collector: &mut Collector) {
        self.read_before(packet.saturating_add(1), collector);
    }

    /// Reads all that is left.
    pub(super) fn read_all(&mut self, collector: &mut Collector) {
        self.read_before(u32::MAX, collector);
    }

    /// Reads what is before a packet.
    fn read_before(&mut self, packet: u32, collector: &mut Collector) {
        while let Some((after, record)) = self.part.other(self.read_others)
            && after < packet
        {
            self.hear_before(after, collector);
            collector.record(record);
            self.read_others += 1;
        }
        self.hear_before(packet, collector);
    }

    /// Reads the packets before one.
    fn hear_before(&mut self, packet: u32, collector: &mut Collector) {
        let count = self.telling.partition_point(|place| *place < packet);
        let (before, after) = self.telling.split_at(count);
        self.telling = after;
        if collector.owners.await_ports() {
            let packets = before.iter().filter_map(|place| self.part.packet(*place));
            for (packet, _) in packets {
                collector.owners.observe_packet(&packet);
            }
        }
    }
}
