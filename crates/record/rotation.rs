//! When a recording goes on in another file, and what that file is called.
//! The options mean what they mean to tcpdump, but no file overwrites another of
//! this recording or of an earlier one unless it is the oldest of a ring.

use std::collections::HashMap;
use std::fs;
use std::iter;
use std::mem;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tcprec_shared::format::{self, Format, folder_of, is_standard_stream};

/// When another file is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rotation {
    /// When the file is larger than this (`-C`).
    pub(crate) max_bytes: Option<u64>,
    /// After this time (`-G`).
    pub(crate) period: Option<Duration>,
    /// How many files there may be (`-W`).
    pub(crate) files: Option<NonZeroU32>,
}

impl Rotation {
    /// How many files are kept: beyond, the oldest goes.
    pub(crate) fn ring(&self) -> Option<usize> {
        let files = self.files.filter(|_| self.max_bytes.is_some())?;
        usize::try_from(files.get()).ok()
    }

    /// When the file after the one that began at `began_ns` begins by time, at
    /// the earliest after `now_ns`; at the end of time where only its size counts.
    pub(crate) fn next_ns(&self, began_ns: i64, now_ns: i64) -> i64 {
        let Some(period) = self.period else {
            return i64::MAX;
        };
        let period_ns = i64::try_from(period.as_nanos()).unwrap_or(i64::MAX);
        let passed = now_ns.saturating_sub(began_ns) / period_ns.max(1);
        began_ns.saturating_add(period_ns.saturating_mul(passed.saturating_add(1)))
    }

    /// After how many files the recording ends.
    pub(crate) fn limit(&self) -> Option<u32> {
        let files = self.files.filter(|_| self.max_bytes.is_none())?;
        Some(files.get())
    }
}

/// The names of the files of a series.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// What the user called the output, up to its extension.
    stem: String,
    /// With its dot.
    extension: String,
    /// Whether the stem holds a pattern for a time.
    is_pattern: bool,
    /// Numbers count up to this and begin anew, with as many digits.
    ring: Option<u32>,
    zone: TimeZone,
    /// The stems of the files so far, and the latest number of each.
    used: HashMap<String, u32>,
    /// How many stems are remembered before those whose files are gone are forgotten.
    max_used: usize,
}

/// The least number of stems that are remembered: a name for each second of an hour.
const MIN_USED: usize = 3600;

impl Names {
    /// `path` ends with `extension`, which has no dot at its head.
    ///
    /// # Errors
    /// Where the name is no text, or its pattern for a time is none.
    pub(crate) fn new(
        path: &Path,
        extension: &str,
        rotation: &Rotation,
        zone: TimeZone,
    ) -> Result<Self, String> {
        let name = path.to_str().ok_or("the name is not UTF-8")?;
        let extension = format!(".{extension}");
        let stem = name.strip_suffix(&extension).unwrap_or(name).to_owned();
        let is_pattern = rotation.period.is_some() && stem.contains('%');
        let names = Self {
            stem,
            extension,
            is_pattern,
            ring: rotation
                .files
                .filter(|_| rotation.max_bytes.is_some() && !is_pattern)
                .map(NonZeroU32::get),
            zone,
            used: HashMap::new(),
            max_used: MIN_USED,
        };
        names.stem_at(0).map(|_| names)
    }

    /// Lets numbers go on behind those of the files that recordings of this name left.
    /// Gives these, the oldest first.
    pub(crate) fn go_on(&mut self) -> Vec<PathBuf> {
        let found: HashMap<_, _> = self.found().collect();
        let recorded = format::recorded(found.keys().cloned().collect());
        let is_counted = |path: &PathBuf| self.ring.is_none() || recorded.last() == Some(path);
        for (_, (stem, number)) in found.into_iter().filter(|(path, _)| is_counted(path)) {
            let latest = self.used.entry(stem).or_insert(number);
            *latest = number.max(*latest);
        }
        recorded
    }

    /// The files that have a name as this gives them, each with its stem and its number.
    fn found(&self) -> impl Iterator<Item = (PathBuf, (String, u32))> {
        let series = Path::new(&self.stem);
        let entries = fs::read_dir(folder_of(series))
            .into_iter()
            .flatten()
            .flatten();
        entries.filter_map(move |entry| {
            let path = series.with_file_name(entry.file_name());
            if !holds_something(&path) {
                return None;
            }
            let name = path.to_str()?.strip_suffix(&self.extension)?;
            if self.is_stem(name) {
                return Some((path.clone(), (name.to_owned(), 0)));
            }
            let (stem, number) = name
                .rsplit_once('.')
                .filter(|(stem, _)| self.is_stem(stem))?;
            Some((path.clone(), (stem.to_owned(), number.parse().ok()?)))
        })
    }

    /// The name of a file that begins at `ts_ns`. A number tells apart those
    /// that would have the same.
    ///
    /// # Errors
    /// Where the time cannot be written as asked for, or others have taken all names.
    pub(crate) fn next(&mut self, ts_ns: i64) -> Result<PathBuf, String> {
        let stem = self.stem_at(ts_ns)?;
        let first = self
            .used
            .get(&stem)
            .map_or(0, |number| number.saturating_add(1));
        let last = self.ring.map_or(u32::MAX, |files| {
            first.saturating_add(files.saturating_sub(1))
        });
        let (number, name) = (first..=last)
            .map(|number| (number, self.name(&stem, number)))
            .find(|(_, name)| !holds_something(name))
            .ok_or("files that are not recordings have all names of the ring; give another")?;
        self.forget();
        self.used.insert(stem, number);
        Ok(name)
    }

    fn name(&self, stem: &str, number: u32) -> PathBuf {
        let extension = &self.extension;
        let name = match self.ring {
            Some(files) => {
                let last = files.saturating_sub(1);
                let digits = last.to_string().len();
                format!("{stem}.{:0digits$}{extension}", number % files)
            }
            None if number > 0 => format!("{stem}.{number}{extension}"),
            None => format!("{stem}{extension}"),
        };
        name.into()
    }

    /// Forgets the stems whose latest file somebody deleted: there are no more than files
    /// on the disk.
    fn forget(&mut self) {
        if self.used.len() < self.max_used {
            return;
        }
        let mut used = mem::take(&mut self.used);
        used.retain(|stem, number| self.name(stem, *number).exists());
        self.max_used = MIN_USED.max(2 * used.len());
        self.used = used;
    }

    /// Whether a stem may be that of a file of this series.
    fn is_stem(&self, stem: &str) -> bool {
        if self.is_pattern {
            jiff::fmt::strtime::parse(&self.stem, stem).is_ok()
        } else {
            stem == self.stem
        }
    }

    fn stem_at(&self, ts_ns: i64) -> Result<String, String> {
        if !self.is_pattern {
            return Ok(self.stem.clone());
        }
        let at = Timestamp::from_nanosecond(ts_ns.into()).map_err(|error| error.to_string())?;
        let at = at.to_zoned_datetime(self.zone.clone());
        jiff::fmt::strtime::format(&self.stem, &at).map_err(|error| error.to_string())
    }
}

/// The files in which recordings of a name may be, so far: those that are read as one.
pub(crate) fn files_of(path: &Path, rotation: &Rotation) -> Vec<PathBuf> {
    if is_standard_stream(path) {
        return Vec::new();
    }
    let extension = Format::to_write(path).map(|format| format.to_string());
    let names = extension
        .ok()
        .and_then(|it| Names::new(path, &it, rotation, TimeZone::UTC).ok());
    let found = names.iter().flat_map(Names::found).map(|(path, _)| path);
    iter::once(path.to_owned()).chain(found).collect()
}

/// Whether there is a file that is not to be written over. A recorder that was killed as it
/// began leaves an empty one.
fn holds_something(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

#[cfg(test)]
mod tests {
    use tcprec_shared::record::{Capture, Record};

    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    fn rotation(by_size: bool, by_time: bool, files: u32) -> Rotation {
        Rotation {
            max_bytes: by_size.then_some(1),
            period: by_time.then_some(Duration::from_secs(1)),
            files: NonZeroU32::new(files),
        }
    }

    fn names(name: &str, rotation: Rotation, times: &[i64]) -> Vec<String> {
        let path = Path::new(name);
        let mut names = Names::new(path, "jsonl.zst", &rotation, TimeZone::UTC).unwrap();
        let name = |seconds: &i64| names.next(seconds * SECOND_NS).unwrap();
        let paths = times.iter().map(name);
        paths.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn numbers_tell_files_apart() {
        assert_eq!(
            names("a/cap.jsonl.zst", rotation(true, false, 0), &[0, 1, 2]),
            ["a/cap.jsonl.zst", "a/cap.1.jsonl.zst", "a/cap.2.jsonl.zst"]
        );
        // tcpdump would overwrite the first.
        assert_eq!(
            names("cap.jsonl.zst", rotation(false, true, 9), &[0, 1]),
            ["cap.jsonl.zst", "cap.1.jsonl.zst"]
        );
    }

    #[test]
    fn a_ring_begins_anew_and_sorts() {
        let times: Vec<_> = (0..12).collect();
        let all = names("cap.jsonl.zst", rotation(true, false, 11), &times);
        assert_eq!(all[..2], ["cap.00.jsonl.zst", "cap.01.jsonl.zst"]);
        assert_eq!(all[10..], ["cap.10.jsonl.zst", "cap.00.jsonl.zst"]);
    }

    #[test]
    fn times_stand_in_names() {
        assert_eq!(
            names("%M-%S.jsonl.zst", rotation(false, true, 0), &[5, 65, 65]),
            ["00-05.jsonl.zst", "01-05.jsonl.zst", "01-05.1.jsonl.zst"]
        );
        // A time that returns overwrites no file of the same recording.
        assert_eq!(
            names(
                "%S.jsonl.zst",
                rotation(false, true, 0),
                &[5, 6, 65, 66, 125]
            ),
            [
                "05.jsonl.zst",
                "06.jsonl.zst",
                "05.1.jsonl.zst",
                "06.1.jsonl.zst",
                "05.2.jsonl.zst"
            ]
        );
        // Without -G a percent sign is one.
        assert_eq!(
            names("100%.jsonl.zst", rotation(true, false, 0), &[0]),
            ["100%.jsonl.zst"]
        );
        let wrong = Path::new("%!.jsonl");
        let by_time = rotation(false, true, 0);
        assert!(Names::new(wrong, "jsonl", &by_time, TimeZone::UTC).is_err());
    }

    #[test]
    fn names_of_deleted_files_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("%s.jsonl");
        let mut names =
            Names::new(&path, "jsonl", &rotation(false, true, 0), TimeZone::UTC).unwrap();
        let mut name = |seconds: usize| names.next(seconds as i64 * SECOND_NS).unwrap();
        let kept = name(0);
        fs::write(&kept, "").unwrap();
        let deleted = name(1);
        for seconds in 2..=MIN_USED {
            name(seconds);
        }
        assert_eq!(name(1), deleted);
        assert_ne!(name(0), kept);
    }

    /// The names of the next three files after those that recordings left: each holds
    /// when its recording began, and its place in that.
    fn goes_on(name: &str, by_time: bool, files: u32, left: &[(&str, i64, u32)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, started_ns, sequence) in left {
            let mut sink = format::create(&folder.path().join(name)).unwrap();
            let capture = Capture {
                clock_offset_ns: Some(0),
                started_ns: Some(*started_ns),
                sequence: *sequence,
                ..Capture::default()
            };
            sink.write(&Record::Capture(capture.into()), None).unwrap();
            sink.finish().unwrap();
        }
        let path = folder.path().join(name);
        let rotation = rotation(!by_time, by_time, files);
        let mut names = Names::new(&path, "jsonl", &rotation, TimeZone::UTC).unwrap();
        assert_eq!(names.go_on().len(), left.len());
        let next = (0..3).map(|_| {
            let path = names.next(5 * SECOND_NS).unwrap();
            // As a recorder does: the next one is another.
            fs::write(&path, "{}").unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        });
        next.collect()
    }

    #[test]
    fn names_go_on_behind_those_that_are_there() {
        let left = [("cap.jsonl", 1, 0), ("cap.7.jsonl", 1, 1)];
        assert_eq!(
            goes_on("cap.jsonl", false, 0, &left),
            ["cap.8.jsonl", "cap.9.jsonl", "cap.10.jsonl"]
        );
        // The newest is no more the one with the highest number.
        let left = [("cap.4.jsonl", 1, 0), ("cap.0.jsonl", 1, 1)];
        assert_eq!(
            goes_on("cap.jsonl", false, 5, &left),
            ["cap.1.jsonl", "cap.2.jsonl", "cap.3.jsonl"]
        );
        // Of a ring of another size: a name that is there is passed over.
        let left = [("cap.1.jsonl", 1, 1), ("cap.9.jsonl", 1, 9)];
        assert_eq!(
            goes_on("cap.jsonl", false, 5, &left),
            ["cap.0.jsonl", "cap.2.jsonl", "cap.3.jsonl"]
        );
        assert_eq!(goes_on("cap.jsonl", false, 5, &[])[0], "cap.0.jsonl");
        let left = [("00-05.jsonl", 1, 0), ("00-05.1.jsonl", 2, 0)];
        assert_eq!(
            goes_on("%M-%S.jsonl", true, 0, &left),
            ["00-05.2.jsonl", "00-05.3.jsonl", "00-05.4.jsonl"]
        );
    }

    #[test]
    fn files_begin_at_whole_periods() {
        let at = |began, now| rotation(false, true, 0).next_ns(began * SECOND_NS, now);
        assert_eq!(at(7, 7 * SECOND_NS), 8 * SECOND_NS);
        // The record that was waited for came late: the file after it does not.
        assert_eq!(at(8, 8 * SECOND_NS + 900_000_000), 9 * SECOND_NS);
        assert_eq!(at(8, 11 * SECOND_NS), 12 * SECOND_NS);
        let by_size = rotation(true, false, 0);
        assert_eq!(by_size.next_ns(0, SECOND_NS), i64::MAX);
    }

    #[test]
    fn a_number_of_files_is_a_ring_or_a_limit() {
        assert_eq!(rotation(true, false, 3).ring(), Some(3));
        assert_eq!(rotation(true, false, 3).limit(), None);
        assert_eq!(rotation(true, true, 3).ring(), Some(3));
        assert_eq!(rotation(false, true, 3).limit(), Some(3));
        assert_eq!(rotation(false, true, 3).ring(), None);
    }
}
