//! The files that a capture consists of, by what they say of themselves: which of
//! them go on with each other, and what is missing.

use tcprec_shared::record::Capture;

use crate::report::Ending;

/// The files so far. Those of several recordings may stand among each other, as
/// recordings that ran at the same time leave them.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The one that is being read.
    current: Option<Capture>,
    /// The latest one of each other recording, and how it ended.
    others: Vec<(Capture, Ending)>,
    missing: u64,
    unfinished: u64,
}

impl Files {
    /// Another file begins, and the one before ended so. Whether it goes on with the
    /// recording of an earlier one.
    pub(super) fn begin(&mut self, made: &Capture, before: Ending) -> bool {
        let before = self.current.replace(made.clone()).zip(Some(before));
        self.others.extend(before);
        let is_earlier = |(file, _): &(Capture, Ending)| made.continues(file);
        let earlier = self.others.iter().rposition(is_earlier);
        let earlier = earlier.map(|place| self.others.remove(place));
        let expected = earlier
            .as_ref()
            .map_or(0, |(file, _)| file.sequence.saturating_add(1));
        self.missing += u64::from(made.sequence.saturating_sub(expected));
        self.unfinished += u64::from(matches!(earlier, Some((_, Ending::Abrupt))));
        earlier.is_some()
    }

    /// How many files are missing, and how many were not finished, but for the one that
    /// is read last.
    pub(super) fn finish(&self) -> (u64, u64) {
        let count = |is_so: fn(&Ending) -> bool| {
            let ends = self.others.iter().filter(|(_, ending)| is_so(ending));
            ends.count() as u64
        };
        (
            self.missing + count(|ending| matches!(ending, Ending::Continued(_))),
            self.unfinished + count(|ending| matches!(ending, Ending::Abrupt)),
        )
    }
}
