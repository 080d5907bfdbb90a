//! What was counted of each recording, for its totals. Those of a file are of all files
//! of its recording up to there, and the files of several may stand among each other.

use std::collections::HashMap;
use std::mem;

use tcprec_shared::record::{Capture, End, Event, EventKind, MAX_RECORDINGS, Packet, RecordingId};

/// Counts of packets and events by their recordings.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Of the recording of the file that is being read.
    counts: Counts,
    recording: Option<RecordingId>,
    /// Of other recordings, which may go on.
    others: HashMap<RecordingId, Counts>,
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
    /// A file begins.
    pub(crate) fn begin(&mut self, capture: &Capture) {
        self.is_continuation = capture.sequence > 0;
        let recording = capture.recording();
        let before = mem::take(&mut self.counts);
        if let Some(recording) = self.recording.take() {
            if self.others.len() >= MAX_RECORDINGS {
                self.others.clear();
            }
            self.others.insert(recording, before);
        }
        let known = recording.as_ref().and_then(|it| self.others.remove(it));
        self.counts = known.unwrap_or_default();
        self.recording = recording;
    }

    pub(crate) fn packet(&mut self, packet: &Packet<'_>) {
        self.counts.packets += 1;
        self.counts.wire_bytes += u64::from(packet.wire_bytes);
    }

    /// Counts an event, if totals do: they leave out the sockets that are told again at the
    /// head of a file that goes on.
    pub(crate) fn event(&mut self, event: &Event) {
        let is_told_again = event.kind == EventKind::Scan && self.is_continuation;
        self.counts.events += u64::from(!is_told_again);
    }

    /// The counts that belong to these totals.
    pub(crate) fn end(&mut self, end: &End) -> Counts {
        let counts = self.counts;
        if !end.continued {
            self.counts = Counts::default();
        }
        counts
    }
}
