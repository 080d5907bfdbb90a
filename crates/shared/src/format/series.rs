//! Several files that are one capture: the parts of a rotated recording, those of
//! the recordings of one name, or what stands in a folder.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::vec;

use crate::record::{Capture, Interface, MAX_RECORDINGS, Packet, Record, RecordingId};
use crate::stream::{ReadError, Source};

use super::find;
use super::open::{Opened, glance, open_file};

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

    /// Takes those out that tell again what others do: of a recording that was written in
    /// several formats, or converted, the files of one kind stay. These are such that a
    /// filter left the most in, else those of which there are most, else the best format.
    /// The numbers of two kinds tell nothing of each other: each is rotated by itself.
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
    pub(super) fn in_order(self) -> Vec<PathBuf> {
        let mut parts = self.0;
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
        parts.into_iter().map(|(_, path)| path).collect()
    }
}

/// Those of `files` that recordings wrote, in the order in which they did.
#[must_use]
pub fn recorded(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut parts = Parts::of(files);
    parts.0.retain(|(place, _)| {
        let capture = place.capture.as_ref();
        capture.is_some_and(|capture| capture.is_of_same_recording(capture))
    });
    parts.in_order()
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

/// Several files as one source.
pub(super) struct Series {
    files: vec::IntoIter<PathBuf>,
    read_bytes: Arc<AtomicU64>,
    /// The file that is being read.
    part: Option<Part>,
    /// The latest file of each recording, by its number, and what was added to the ids
    /// of its interfaces. The files of several may stand among each other.
    latest: HashMap<RecordingId, (u32, u32)>,
    /// The lowest id that no interface has.
    free_id: u32,
    /// The bytes of the packet that was given last.
    data: Vec<u8>,
}

struct Part {
    path: PathBuf,
    source: Box<dyn Source + Send>,
    /// What is added to the ids of the file's interfaces: those of all
    /// recordings must differ.
    first_id: u32,
}

impl Series {
    pub(super) fn new(files: Vec<PathBuf>, read_bytes: Arc<AtomicU64>) -> Self {
        Self {
            files: files.into_iter(),
            read_bytes,
            part: None,
            latest: HashMap::new(),
            free_id: 0,
            data: Vec::new(),
        }
    }

    /// Opens the next file, if none is being read and there is one.
    fn open_next(&mut self) -> Result<(), ReadError> {
        if self.part.is_none()
            && let Some(path) = self.files.next()
        {
            let opened = open_file(&path, Arc::clone(&self.read_bytes));
            let Opened { source, .. } = opened.map_err(|error| named(&path, error))?;
            self.part = Some(Part {
                path,
                source,
                first_id: self.free_id,
            });
        }
        Ok(())
    }

    /// The next record; the bytes of a packet stand in `data`.
    fn record(&mut self) -> Result<Option<Record<'static>>, ReadError> {
        loop {
            self.open_next()?;
            let Some(part) = &mut self.part else {
                return Ok(None);
            };
            let first_id = part.first_id;
            let record = match part.source.next() {
                Ok(Some(Record::Packet(packet))) => {
                    self.data.clear();
                    self.data.extend_from_slice(&packet.data);
                    Record::Packet(Packet {
                        interface: packet.interface.saturating_add(first_id),
                        data: Cow::Borrowed(&[]),
                        ..packet
                    })
                }
                Ok(Some(Record::Interface(interface))) => {
                    let id = interface.id.saturating_add(first_id);
                    self.free_id = self.free_id.max(id.saturating_add(1));
                    Record::Interface(Interface { id, ..interface })
                }
                Ok(Some(Record::Capture(capture))) => {
                    self.begin_file(&capture);
                    Record::Capture(capture)
                }
                Ok(Some(record)) => record.into_owned(),
                Ok(None) => {
                    self.part = None;
                    continue;
                }
                Err(error) => return Err(self.failed(error)),
            };
            return Ok(Some(record));
        }
    }

    /// The files of one recording name the same interfaces.
    fn begin_file(&mut self, capture: &Capture) {
        let (Some(part), Some(recording)) = (&mut self.part, capture.recording()) else {
            return;
        };
        let latest = self.latest.get(&recording);
        if let Some((_, first_id)) = latest.filter(|(number, _)| *number < capture.sequence) {
            part.first_id = *first_id;
        }
        if self.latest.len() >= MAX_RECORDINGS {
            self.latest.clear();
        }
        let latest = (capture.sequence, part.first_id);
        self.latest.insert(recording, latest);
    }

    /// What an error of the file that is being read means for the series: one
    /// that is cut is followed by the others.
    fn failed(&mut self, error: ReadError) -> ReadError {
        let Some(part) = &self.part else {
            return error;
        };
        let error = named(&part.path, error);
        match error {
            ReadError::Truncated { at_bytes, detail } if !self.files.as_slice().is_empty() => {
                self.part = None;
                ReadError::Damaged { at_bytes, detail }
            }
            error => error,
        }
    }
}

impl Source for Series {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        Ok(self.record()?.map(|record| match record {
            Record::Packet(packet) => Record::Packet(Packet {
                data: Cow::Borrowed(&self.data),
                ..packet
            }),
            record => record,
        }))
    }

    fn has_next(&self) -> bool {
        let part = self.part.as_ref();
        part.is_some_and(|part| part.source.has_next())
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
