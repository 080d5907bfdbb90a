//! The files that a capture consists of, by what they say of themselves: which of
//! them go on with each other, and what is missing.

use std::mem;

use foldhash::HashMap;
use tcprec_shared::record::{Capture, MAX_RECORDINGS, RecordingId};

use crate::report::Ending;

/// The files so far. Those of several recordings may stand among each other, as
/// recordings that ran at the same time leave them, and so may their records: then the
/// capture of a file is told again before some of its own.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The one that is being read, and its recording.
    current: Option<(Option<RecordingId>, File)>,
    /// The latest one of each other recording, and how it ended.
    others: HashMap<RecordingId, (File, End)>,
    missing: u64,
    unfinished: u64,
}

/// A file of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    number: u32,
    /// Whether it goes on with an earlier one.
    pub(super) is_continuation: bool,
}

/// What a capture begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileStart {
    /// A new file.
    New(File),
    /// More of a file that was begun before.
    Resumed(File),
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
    /// What a capture begins, where the file before ended so.
    pub(super) fn begin(&mut self, made: &Capture, before: &Ending) -> FileStart {
        let recording = made.recording();
        let again = self.again(recording.as_ref(), made.sequence);
        if let Some((recording, file)) = self.current.take() {
            self.end(recording, file, before);
        }
        if let Some(file) = again {
            self.current = Some((recording, file));
            return FileStart::Resumed(file);
        }
        let earlier = recording.as_ref().and_then(|recording| {
            let known = self.others.get(recording);
            let is_earlier = known.is_some_and(|(file, _)| file.number < made.sequence);
            is_earlier.then(|| self.others.remove(recording))?
        });
        let expected = earlier.map_or(0, |(file, _)| file.number.saturating_add(1));
        self.missing += u64::from(made.sequence.saturating_sub(expected));
        self.unfinished += u64::from(matches!(earlier, Some((_, End::Abrupt))));
        let file = File {
            number: made.sequence,
            is_continuation: earlier.is_some(),
        };
        self.current = Some((recording, file));
        FileStart::New(file)
    }

    /// The file of another recording than the present one's, if it has no end so far.
    fn again(&mut self, recording: Option<&RecordingId>, number: u32) -> Option<File> {
        let recording = recording?;
        let current = self.current.as_ref();
        let is_present = current.is_some_and(|(of, _)| of.as_ref() == Some(recording));
        let (file, end) = *self.others.get(recording)?;
        let is_again = !is_present && file.number == number && end == End::Abrupt;
        is_again.then(|| self.others.remove(recording))?;
        Some(file)
    }

    /// A file is over, or another is told of.
    fn end(&mut self, recording: Option<RecordingId>, file: File, ending: &Ending) {
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
                let before = self.others.insert(recording, (file, end));
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
            let file = File {
                number: 0,
                is_continuation: false,
            };
            let begun = files.begin(&made, &Ending::Abrupt);
            assert_eq!(begun, FileStart::New(file));
        }
        assert!(files.others.len() <= MAX_RECORDINGS);
        let ids = files.others.keys().map(|id| format!("{id:?}").len());
        assert!(ids.max() < Some(200));
        assert_eq!(files.finish(), (0, COUNT as u64 - 1));
    }
}
