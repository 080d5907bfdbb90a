//! The books of a recording: what was seen is recorded or lost.

use std::collections::HashSet;

use tcprec_shared::record::{End, Event, EventKind, Record};

/// The totals of one kind of record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) recorded: u64,
    pub(crate) lost: u64,
    /// Handed over after the limit was reached.
    pub(crate) left_out: u64,
}

impl Total {
    fn handed_over(self) -> u64 {
        self.recorded + self.lost + self.left_out
    }
}

/// What a recording came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) packets: Total,
    pub(crate) events: Total,
    pub(crate) wire_bytes: u64,
    /// Found by the scan, so not among what the programs saw.
    pub(crate) scanned: u64,
    /// Of the lost packets those that found no room in the kernel.
    pub(crate) no_room_packets: u64,
}

impl Totals {
    /// The same as a record.
    pub(crate) fn end(&self, reason: &str, ts_ns: i64) -> End {
        let Self {
            packets, events, ..
        } = self;
        End {
            ts_ns,
            reason: reason.to_owned(),
            continued: false,
            seen_packets: packets.recorded + packets.lost,
            recorded_packets: packets.recorded,
            lost_packets: packets.lost,
            seen_events: events.recorded + events.lost,
            recorded_events: events.recorded,
            lost_events: events.lost,
            wire_bytes: self.wire_bytes,
        }
    }

    /// Of what was taken for recorded an output holds so much and no other more: the
    /// rest is lost.
    pub(crate) fn correct(&mut self, held: Held) {
        for (total, held) in [
            (&mut self.packets, held.packets),
            (&mut self.events, held.events),
        ] {
            total.lost += total.recorded.saturating_sub(held);
            total.recorded = held;
        }
        self.wire_bytes = held.wire_bytes;
    }

    /// How many records of what the programs saw have no place in the books:
    /// other than 0 is a defect.
    pub(crate) fn unaccounted(&self, seen_packets: u64, seen_events: u64) -> u64 {
        self.packets.handed_over().abs_diff(seen_packets)
            + self
                .events
                .handed_over()
                .abs_diff(seen_events + self.scanned)
    }
}

/// What an output holds of a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    pub(crate) packets: u64,
    pub(crate) events: u64,
    pub(crate) wire_bytes: u64,
}

impl Held {
    /// Enters a record that the output took.
    pub(crate) fn enter(&mut self, record: &Record<'_>) {
        match record {
            Record::Packet(packet) => {
                self.packets += 1;
                self.wire_bytes += u64::from(packet.wire_bytes);
            }
            Record::Event(_) => self.events += 1,
            _ => {}
        }
    }
}

/// The events of network namespaces none of whose interfaces are recorded.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    pub(crate) events: u64,
    namespaces: HashSet<u32>,
}

impl Elsewhere {
    /// Enters an event of such a namespace. Sockets that are there say nothing of traffic.
    pub(crate) fn enter(&mut self, event: &Event) {
        if event.kind != EventKind::Scan {
            self.events += 1;
            self.namespaces.insert(event.netns);
        }
    }

    pub(crate) fn namespaces(&self) -> u64 {
        self.namespaces.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tcprec_shared::flow::Endpoint;

    use super::*;

    #[test]
    fn sockets_that_are_there_are_no_traffic_elsewhere() {
        let end = Endpoint::new(Ipv4Addr::LOCALHOST.into(), 80);
        let event = |kind, netns| Event::new(kind, 0, netns, end, end);
        let mut elsewhere = Elsewhere::default();
        for (kind, netns) in [
            (EventKind::Scan, 1),
            (EventKind::Connect, 2),
            (EventKind::Close, 2),
            (EventKind::Accept, 3),
        ] {
            elsewhere.enter(&event(kind, netns));
        }
        assert_eq!((elsewhere.events, elsewhere.namespaces()), (3, 2));
    }

    #[test]
    fn what_is_in_no_output_is_lost() {
        let total = |recorded, lost| Total {
            recorded,
            lost,
            left_out: 3,
        };
        let mut totals = Totals {
            packets: total(45, 2),
            events: total(9, 0),
            wire_bytes: 4500,
            scanned: 1,
            no_room_packets: 2,
        };
        let held = Held {
            packets: 28,
            events: 9,
            wire_bytes: 2800,
        };
        // Once more makes no difference.
        for _ in 0..2 {
            totals.correct(held);
            assert_eq!(totals.packets, total(28, 19));
            assert_eq!(totals.events, total(9, 0));
            assert_eq!(totals.wire_bytes, 2800);
        }
    }
}
