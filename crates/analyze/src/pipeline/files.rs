//! The files that a capture consists of, by what they say of themselves: which of
//! them go on with each other, and what is missing.

use std::mem;

use foldhash::HashMap;
use tcprec_shared::record::{Capture, MAX_RECORDINGS, RecordingId};

use crate::report::Ending;

/// The files so far. Those of several recordings may stand among each other, as
/// recordings that ran at the same time leave them.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The one that is being read: its recording, and its number in that.
    current: Option<(Option<RecordingId>, u32)>,
    /// The latest one of each other recording by its number, and how it ended.
    others: HashMap<RecordingId, (u32, End)>,
    missing: u64,
    unfinished: u64,
}

/// How a file ended, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Another one follows.
    Continued,
    /// None was written.
    Abrupt,
    Other,
}

impl Files {
    /// Another file begins, and the one before ended so. Whether it goes on with the
    /// recording of an earlier one.
    pub(super) fn begin(&mut self, made: &Capture, before: &Ending) -> bool {
        let recording = made.recording();
        let current = self.current.replace((recording.clone(), made.sequence));
        if let Some((recording, number)) = current {
            self.end(recording, number, before);
        }
        let earlier = recording.and_then(|recording| {
            let known = self.others.get(&recording);
            let is_earlier = known.is_some_and(|(number, _)| *number < made.sequence);
            is_earlier.then(|| self.others.remove(&recording))?
        });
        let expected = earlier.map_or(0, |(number, _)| number.saturating_add(1));
        self.missing += u64::from(made.sequence.saturating_sub(expected));
        self.unfinished += u64::from(matches!(earlier, Some((_, End::Abrupt))));
        earlier.is_some()
    }

    /// A file is over.
    fn end(&mut self, recording: Option<RecordingId>, number: u32, ending: &Ending) {
        let end = match ending {
            Ending::Continued(_) => End::Continued,
            Ending::Abrupt => End::Abrupt,
            _ => End::Other,
        };
        if self.others.len() >= MAX_RECORDINGS {
            for (_, last) in mem::take(&mut self.others).into_values() {
                self.count_last(last);
            }
        }
        let last = match recording {
            None => Some(end),
            Some(recording) => {
                let before = self.others.insert(recording, (number, end));
                before.map(|(_, end)| end)
            }
        };
        if let Some(last) = last {
            self.count_last(last);
        }
    }

    /// A file was the last one of its recording.
    fn count_last(&mut self, end: End) {
        self.missing += u64::from(end == End::Continued);
        self.unfinished += u64::from(end == End::Abrupt);
    }

    /// How many files are missing, and how many were not finished, but for the one that
    /// is read last.
    pub(super) fn finish(mut self) -> (u64, u64) {
        for (_, last) in mem::take(&mut self.others).into_values() {
            self.count_last(last);
        }
        (self.missing, self.unfinished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be as many as there are lines in a file.
    #[test]
    fn many_recordings_take_little_memory() {
        const COUNT: usize = 3 * MAX_RECORDINGS;
        let mut files = Files::default();
        for started_ns in 0..COUNT as i64 {
            let made = Capture {
                boot_id: Some("b".repeat(1000)),
                clock_offset_ns: Some(1),
                started_ns: Some(started_ns),
                ..Capture::default()
            };
            assert!(!files.begin(&made, &Ending::Abrupt));
        }
        assert!(files.others.len() <= MAX_RECORDINGS);
        let ids = files.others.keys().map(|id| format!("{id:?}").len());
        assert!(ids.max() < Some(200));
        assert_eq!(files.finish(), (0, COUNT as u64 - 1));
    }
}
