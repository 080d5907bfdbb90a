//! Which files are one capture, and in which order: the parts of a rotated recording,
//! those of the recordings of one name, or what stands in a folder.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::record::{Capture, Record};
use crate::stream::ReadError;

use super::find;
use super::open::glance;

/// After so many records without a time a file is taken to have none.
const MAX_UNTIMED: usize = 100_000;

/// Files, each with its place among them.
pub(super) struct Parts(Vec<(Place, PathBuf)>);

impl Parts {
    /// Looks at the beginning of files.
    pub(super) fn of(files: Vec<PathBuf>) -> Self {
        let parts = files.into_iter().map(|path| (Place::of(&path), path));
        Self(parts.collect())
    }

    /// Takes out the files that tell again what others tell. Of a recording that was written
    /// in several formats, or converted, the files of one kind stay: those with the shortest
    /// filter, which leaves the most in; of these the kind with the most files; of these the
    /// best format. Numbers are compared within a kind only, for each is rotated by itself.
    pub(super) fn take_doubled(&mut self) -> Vec<PathBuf> {
        let mut recordings = HashMap::<_, BTreeMap<_, Vec<_>>>::new();
        for (place, (part, path)) in self.0.iter().enumerate() {
            let Some(capture) = &part.capture else {
                continue;
            };
            if let Some(recording) = capture.recording() {
                let filter_bytes = capture.filter.as_ref().map_or(0, String::len);
                let kinds = recordings.entry(recording).or_default();
                let kind = kinds.entry((filter_bytes, find::rank(path)));
                kind.or_default().push((capture.sequence, path, place));
            }
        }
        let mut doubled = BTreeSet::new();
        for kinds in recordings.into_values() {
            let numbers = kinds.values().flatten().map(|(number, ..)| number);
            let files: usize = kinds.values().map(Vec::len).sum();
            if numbers.collect::<BTreeSet<_>>().len() == files {
                continue;
            }
            let best = kinds
                .iter()
                .min_by_key(|((filter_bytes, rank), files)| {
                    (*filter_bytes, Reverse(files.len()), *rank)
                })
                .map(|(kind, _)| *kind);
            for (kind, mut files) in kinds {
                files.sort_unstable();
                let mut before = None;
                for (number, _, place) in files {
                    let is_again = before.replace(number) == Some(number);
                    if Some(kind) != best || is_again {
                        doubled.insert(place);
                    }
                }
            }
        }
        let mut places = 0..;
        let is_doubled = |_: &mut _| places.next().is_some_and(|place| doubled.contains(&place));
        let taken = self.0.extract_if(.., is_doubled);
        taken.map(|(_, path)| path).collect()
    }

    /// Brings them in the order in which they were recorded: by their numbers
    /// where they are the files of one recording, else by the first time in them.
    pub(super) fn sort(&mut self) {
        let parts = &mut self.0;
        let of_first = parts.first().and_then(|(place, _)| place.capture.clone());
        let is_one_recording = parts.iter().all(|(place, _)| {
            let both = place.capture.as_ref().zip(of_first.as_ref());
            both.is_some_and(|(one, first)| one.is_of_same_recording(first))
        });
        let mut numbers: Vec<_> = parts.iter().map(|(place, _)| place.sequence()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let is_numbered = is_one_recording && numbers.len() == parts.len();
        parts.sort_by_cached_key(|(place, path)| {
            let number = is_numbered.then(|| place.sequence());
            (number, place.is_untimed, place.first_ns, path.clone())
        });
    }

    /// The files.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|(_, path)| path.clone()).collect()
    }

    /// The files in strands: those of one recording by their numbers, each other file by
    /// itself. A strand stands where its first file does.
    pub(super) fn into_strands(self) -> Vec<Vec<DatedFile>> {
        let mut strands: Vec<Vec<(Place, PathBuf)>> = Vec::new();
        let mut known = HashMap::new();
        for (place, path) in self.0 {
            let recording = place.capture.as_ref().and_then(Capture::recording);
            let at = recording.map(|recording| *known.entry(recording).or_insert(strands.len()));
            match at.and_then(|at| strands.get_mut(at)) {
                Some(strand) => strand.push((place, path)),
                None => strands.push(vec![(place, path)]),
            }
        }
        strands.into_iter().map(in_order).collect()
    }
}

/// A file, and the first time in it. That of one without a time is the next one's of
/// its strand; if there is none either, it is the last of all.
pub(super) struct DatedFile {
    pub(super) path: PathBuf,
    pub(super) first_ns: i64,
}

/// The files of a strand in their order.
fn in_order(mut strand: Vec<(Place, PathBuf)>) -> Vec<DatedFile> {
    strand.sort_by_key(|(place, _)| place.sequence());
    let mut next_ns = i64::MAX;
    let mut files: Vec<_> = strand
        .into_iter()
        .rev()
        .map(|(place, path)| {
            if !place.is_untimed {
                next_ns = place.first_ns;
            }
            DatedFile {
                path,
                first_ns: next_ns,
            }
        })
        .collect();
    files.reverse();
    files
}

/// Those of `files` that recordings wrote, in the order in which they did.
#[must_use]
pub fn recorded(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut parts = Parts::of(files);
    parts.0.retain(|(place, _)| {
        let capture = place.capture.as_ref();
        capture.is_some_and(|capture| capture.is_of_same_recording(capture))
    });
    parts.sort();
    parts.paths()
}

/// Where a file belongs among others.
#[derive(Debug)]
pub(super) struct Place {
    /// What it says of itself.
    capture: Option<Capture>,
    /// Files without a time come last.
    is_untimed: bool,
    first_ns: i64,
}

impl Place {
    fn sequence(&self) -> u32 {
        self.capture.as_ref().map_or(0, |capture| capture.sequence)
    }

    fn of(path: &Path) -> Self {
        let mut place = Self {
            capture: None,
            is_untimed: true,
            first_ns: 0,
        };
        let Ok(mut file) = glance(path) else {
            return place;
        };
        for _ in 0..MAX_UNTIMED {
            // What is wrong with a file is told when its turn comes.
            let Ok(Some(record)) = file.source.next() else {
                break;
            };
            let first_ns = record.ts_ns();
            if let Record::Capture(capture) = record {
                place.capture.get_or_insert(*capture);
            }
            if let Some(first_ns) = first_ns {
                return Self {
                    is_untimed: false,
                    first_ns,
                    ..place
                };
            }
        }
        place.began()
    }

    /// The first file of a recording that was killed before anything happened.
    fn began(self) -> Self {
        let first = self.capture.as_ref().filter(|it| it.sequence == 0);
        match first.and_then(|capture| capture.started_ns) {
            Some(first_ns) => Self {
                is_untimed: false,
                first_ns,
                ..self
            },
            None => self,
        }
    }
}

/// An error that says in which file it is.
pub(super) fn named(path: &Path, error: ReadError) -> ReadError {
    let path = path.display();
    match error {
        ReadError::Io(error) => {
            ReadError::Io(io::Error::new(error.kind(), format!("{path}: {error}")))
        }
        ReadError::Truncated { at_bytes, detail } => ReadError::Truncated {
            at_bytes,
            detail: format!("{path}: {detail}"),
        },
        ReadError::Damaged { at_bytes, detail } => ReadError::Damaged {
            at_bytes,
            detail: format!("{path}: {detail}"),
        },
        ReadError::Unsupported(detail) => ReadError::Unsupported(format!("{path}: {detail}")),
    }
}
