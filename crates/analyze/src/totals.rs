//! What was counted of each recording, for its totals. Those of a file are of all files
//! of its recording up to there, and the files of several may stand among each other, or
//! their records: a packet is of the recording that named its interface. An event is taken
//! for one of that which was told of last.

use std::mem;

use foldhash::HashMap;
use tcprec_shared::record::{
    Capture, End, Event, EventKind, Interface, MAX_INTERFACES, MAX_RECORDINGS, Packet, RecordingId,
};

/// Counts of packets and events by their recordings.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// The places of the recordings among the counts.
    places: HashMap<RecordingId, usize>,
    /// Those at 0 are of files that name no recording.
    counts: HashMap<usize, Counts>,
    /// The place of the recording that was told of last.
    place: usize,
    /// Those of the recordings that interfaces are of, by the ids of these.
    interfaces: HashMap<u32, usize>,
    is_continuation: bool,
}

/// What was counted of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) packets: u64,
    /// Length on the wire of the packets.
    pub(crate) wire_bytes: u64,
    pub(crate) events: u64,
}

impl Totals {
    /// A file begins, or is told of again.
    pub(crate) fn begin(&mut self, capture: &Capture) {
        self.is_continuation = capture.sequence > 0;
        let Some(recording) = capture.recording() else {
            self.place = 0;
            self.counts.remove(&0);
            return;
        };
        if self.places.len() >= MAX_RECORDINGS {
            self.places.clear();
            self.counts.clear();
            self.interfaces.clear();
        }
        let next = self.places.len() + 1;
        self.place = *self.places.entry(recording).or_insert(next);
    }

    /// An interface of the file that was told of last.
    pub(crate) fn interface(&mut self, interface: &Interface) {
        let known = &self.interfaces;
        if known.len() < MAX_INTERFACES || known.contains_key(&interface.id) {
            self.interfaces.insert(interface.id, self.place);
        }
    }

    pub(crate) fn packet(&mut self, packet: &Packet<'_>) {
        let place = self.interfaces.get(&packet.interface);
        let place = place.copied().unwrap_or(self.place);
        let counts = self.counts.entry(place).or_default();
        counts.packets += 1;
        counts.wire_bytes += u64::from(packet.wire_bytes);
    }

    /// Counts an event, if totals do: they leave out the sockets that are told again at the
    /// head of a file that goes on.
    pub(crate) fn event(&mut self, event: &Event) {
        let is_told_again = event.kind == EventKind::Scan && self.is_continuation;
        let counts = self.counts.entry(self.place).or_default();
        counts.events += u64::from(!is_told_again);
    }

    /// The counts that belong to these totals.
    pub(crate) fn end(&mut self, end: &End) -> Counts {
        let counts = self.counts.entry(self.place).or_default();
        if end.continued {
            *counts
        } else {
            mem::take(counts)
        }
    }
}
