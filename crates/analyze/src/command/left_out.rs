//! What a format cannot hold, in the books of the file that is written: a loss, and
//! totals that count it as lost.

use std::io;

use tcprec_shared::record::{End, Loss, LossCause, Lost, Packet, Record};
use tcprec_shared::stream::Sink;

use crate::totals::Totals;

/// The packets that the format has no place for.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    pub(super) count: u64,
    /// Why the first was left out.
    pub(super) first: Option<io::Error>,
    /// What no `loss` record tells of so far.
    unsaid: Option<Loss>,
    /// What totals to come must not count as recorded.
    totals: Totals,
}

impl LeftOut {
    /// Takes what tells of which recording packets are.
    pub(super) fn observe(&mut self, record: &Record<'_>) {
        match record {
            Record::Capture(capture) => self.totals.begin(capture),
            Record::Interface(interface) => self.totals.interface(interface),
            _ => {}
        }
    }

    /// Counts a packet that cannot be written, for this reason.
    pub(super) fn add(&mut self, packet: &Packet<'_>, error: io::Error) {
        let bytes = u64::from(packet.wire_bytes);
        self.count += 1;
        self.first.get_or_insert(error);
        self.totals.packet(packet);
        let loss = self.unsaid.get_or_insert(Loss {
            cause: LossCause::Writer,
            lost: Lost::Packets,
            cpu: None,
            count: 0,
            bytes: 0,
            first_ns: packet.ts_ns,
            last_ns: packet.ts_ns,
        });
        loss.count += 1;
        loss.bytes += bytes;
        loss.first_ns = loss.first_ns.min(packet.ts_ns);
        loss.last_ns = loss.last_ns.max(packet.ts_ns);
    }

    /// Writes the loss of what was left out since it was written last, if anything was.
    pub(super) fn write_loss(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        match self.unsaid.take() {
            Some(loss) => sink.write(&Record::Loss(loss), None),
            None => Ok(()),
        }
    }

    /// The totals, with what was left out as lost.
    pub(super) fn end(&mut self, end: &End) -> End {
        let left_out = self.totals.end(end);
        let packets = left_out.packets.min(end.recorded_packets);
        End {
            recorded_packets: end.recorded_packets - packets,
            lost_packets: end.lost_packets.saturating_add(packets),
            wire_bytes: end.wire_bytes.saturating_sub(left_out.wire_bytes),
            ..end.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each file of a series has the totals of all before it; another recording has none of them.
    #[test]
    fn what_is_left_out_is_in_the_totals_of_its_recording() {
        let packet = Packet {
            wire_bytes: 60,
            ..Packet::new(1, 7, Vec::new())
        };
        let totals = |continued, recorded, lost| End {
            continued,
            seen_packets: 5,
            recorded_packets: recorded,
            lost_packets: lost,
            wire_bytes: recorded * 60,
            ..End::default()
        };
        let mut left_out = LeftOut::default();
        left_out.add(&packet, io::ErrorKind::InvalidData.into());
        assert_eq!(left_out.end(&totals(true, 4, 1)), totals(true, 3, 2));
        left_out.add(&packet, io::ErrorKind::InvalidData.into());
        assert_eq!(left_out.end(&totals(false, 4, 1)), totals(false, 2, 3));
        assert_eq!(left_out.end(&totals(false, 4, 1)), totals(false, 4, 1));
        // One that was killed has no end.
        left_out.add(&packet, io::ErrorKind::InvalidData.into());
        left_out.observe(&Record::Capture(Box::default()));
        assert_eq!(left_out.end(&totals(false, 4, 1)), totals(false, 4, 1));
    }
}
