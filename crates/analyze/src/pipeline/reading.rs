//! The records of a round in their order, as far as they are not packets, and the
//! packets that tell who owns a socket.

use super::books::Books;
use super::part::Part;
use super::shard::Place;

/// How far a round was read.
pub(super) struct Reading<'a> {
    parts: &'a [Part<'a>],
    /// For each part, the places of the packets that may tell something.
    telling: &'a [Vec<u32>],
    part: u32,
    /// So many of the part's records that are no packets were read.
    read_others: usize,
    /// So many of its telling packets were.
    read_telling: usize,
}

impl<'a> Reading<'a> {
    /// At the start.
    pub(super) const fn new(parts: &'a [Part<'a>], telling: &'a [Vec<u32>]) -> Self {
        Self {
            parts,
            telling,
            part: 0,
            read_others: 0,
            read_telling: 0,
        }
    }

    /// Reads on, with the packet at `to`.
    pub(super) fn read_to(&mut self, to: Place, books: &mut Books) {
        while self.part < to.part {
            self.read_part(books);
        }
        self.read_before(to.packet.saturating_add(1), books);
    }

    /// Reads all that is left.
    pub(super) fn read_all(&mut self, books: &mut Books) {
        while (self.part as usize) < self.parts.len() {
            self.read_part(books);
        }
    }

    /// Reads the rest of a part.
    fn read_part(&mut self, books: &mut Books) {
        self.read_before(u32::MAX, books);
        self.part += 1;
        (self.read_others, self.read_telling) = (0, 0);
    }

    /// Reads what is before a packet of the part.
    fn read_before(&mut self, packet: u32, books: &mut Books) {
        let Some(part) = self.parts.get(self.part as usize) else {
            return;
        };
        while let Some((after, record)) = part.other(self.read_others)
            && after < packet
        {
            self.hear_before(after, part, books);
            books.record(record);
            self.read_others += 1;
        }
        self.hear_before(packet, part, books);
    }

    /// Reads the packets before one.
    fn hear_before(&mut self, packet: u32, part: &Part<'_>, books: &mut Books) {
        let telling = self.telling.get(self.part as usize);
        let rest = telling.and_then(|all| all.get(self.read_telling..));
        let rest = rest.unwrap_or_default();
        let count = rest.partition_point(|place| *place < packet);
        self.read_telling += count;
        if books.owners.await_ports() {
            let packets = rest.iter().take(count);
            for (packet, _) in packets.filter_map(|place| part.packet(*place)) {
                books.owners.observe_packet(&packet);
            }
        }
    }
}
