//! Several files as one source: one after the other, and merged by the times of their
//! records where they overlap.
//!
//! Of the files that are open the one goes on whose next record is the oldest; of equals
//! the one that stands first. A file is opened when its first time is reached, so that
//! of files that do not overlap one is open. The order inside a file stays as it is, however
//! its times are; a record that is no packet, event or end follows the one before it.
//! The files of one recording follow each other by their numbers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::vec;

use foldhash::{HashMap, HashMapExt as _};

use crate::batch::Batch;
use crate::record::{Capture, Interface, MAX_INTERFACES, Packet, Record};
use crate::stream::{ReadError, Source};

use super::open::{Opened, open_file};
use super::series::{DatedFile, named};

/// At most so many files are open at the same time. Each has a buffer, and a decoder's
/// window of as much as 8 MiB; macOS gives a process 256 descriptors.
pub(super) const MAX_OPEN: usize = 128;

/// When a strand goes on, and its place among the strands.
type Turn = (i64, usize);

/// Several files as one source.
pub(super) struct Merge {
    strands: Vec<Strand>,
    /// The one whose turn it is.
    leading: Option<usize>,
    /// When it is the turn of each other one that goes on.
    waiting: BinaryHeap<Reverse<Turn>>,
    open_files: usize,
    read_bytes: Arc<AtomicU64>,
    /// The strand whose capture was given last.
    told: Option<usize>,
    /// The strands by the ids of their interfaces.
    interfaces: HashMap<u32, usize>,
    /// The lowest id that no interface has.
    free_id: u32,
}

/// Files that are read one after the other, whatever their times.
struct Strand {
    files: vec::IntoIter<DatedFile>,
    /// The one that is open.
    part: Option<Part>,
    ids: Ids,
}

/// The ids that the interfaces of a strand have among those of all: they must differ. The
/// files of one recording name the same ones.
#[derive(Default)]
struct Ids {
    /// What is added to those in the files; none before the first is opened.
    shift: Option<u32>,
    /// Those that came when another strand had the id already.
    others: HashMap<u32, u32>,
}

/// An open file.
struct Part {
    path: PathBuf,
    source: Box<dyn Source + Send>,
    /// Records that were read ahead, and the error that stands behind them.
    batch: Batch,
    error: Option<ReadError>,
    is_read: bool,
    /// What the file says of itself, where that tells the recording.
    capture: Option<Box<Capture>>,
}

impl Merge {
    pub(super) fn new(strands: Vec<Vec<DatedFile>>, read_bytes: Arc<AtomicU64>) -> Self {
        let strands: Vec<_> = strands
            .into_iter()
            .map(|files| Strand {
                files: files.into_iter(),
                part: None,
                ids: Ids::default(),
            })
            .collect();
        let firsts = strands.iter().enumerate();
        let turns = firsts.filter_map(|(place, strand)| Some((strand.begins_ns()?, place)));
        Self {
            waiting: turns.map(Reverse).collect(),
            strands,
            leading: None,
            open_files: 0,
            read_bytes,
            told: None,
            interfaces: HashMap::new(),
            free_id: 0,
        }
    }

    /// The strand whose record comes next, which its part's batch begins with; none at
    /// the end.
    fn next_strand(&mut self) -> Result<Option<usize>, ReadError> {
        loop {
            let next = || self.waiting.pop().map(|Reverse((_, place))| place);
            let Some(place) = self.leading.or_else(next) else {
                return Ok(None);
            };
            self.leading = Some(place);
            let strand = &mut self.strands[place];
            if let Some(ts_ns) = strand.next_ns()
                && let Some(Reverse(first)) = self.waiting.peek()
                && (ts_ns, place) > *first
            {
                self.waiting.push(Reverse((ts_ns, place)));
                self.leading = None;
                continue;
            }
            match &mut strand.part {
                Some(part) if !part.batch.is_empty() => return Ok(Some(place)),
                Some(part) => {
                    if let Some(error) = part.error.take() {
                        let error = named(&part.path, error);
                        return Err(self.failed(place, error));
                    }
                    if part.is_read {
                        self.close(place);
                    } else {
                        part.read_on();
                    }
                }
                None if strand.files.len() > 0 => self.open_next(place)?,
                None => {
                    strand.ids = Ids::default();
                    self.leading = None;
                }
            }
        }
    }

    /// Opens the next file of a strand.
    fn open_next(&mut self, place: usize) -> Result<(), ReadError> {
        if self.open_files >= MAX_OPEN {
            return Err(ReadError::Unsupported(format!(
                "more than {MAX_OPEN} captures overlap in time, which is the limit; name fewer, \
                 or merge some of them first (mergecap)"
            )));
        }
        let strand = &mut self.strands[place];
        let Some(DatedFile { path, .. }) = strand.files.next() else {
            return Ok(());
        };
        match open_file(&path, self.open_files, Arc::clone(&self.read_bytes)) {
            Ok(Opened { source, .. }) => {
                self.open_files += 1;
                strand.ids.shift.get_or_insert(self.free_id);
                strand.part = Some(Part {
                    path,
                    source,
                    batch: Batch::default(),
                    error: None,
                    is_read: false,
                    capture: None,
                });
                Ok(())
            }
            Err(error) => Err(self.failed(place, named(&path, error))),
        }
    }

    fn close(&mut self, place: usize) {
        if self.strands[place].part.take().is_some() {
            self.open_files -= 1;
        }
    }

    /// What an error of a file means for all of them: one that is cut is followed by
    /// the others.
    fn failed(&mut self, place: usize, error: ReadError) -> ReadError {
        if error.is_passing() {
            return error;
        }
        self.close(place);
        let is_last = self.waiting.is_empty() && self.strands[place].begins_ns().is_none();
        match error {
            ReadError::Truncated { at_bytes, detail } if !is_last => {
                ReadError::Damaged { at_bytes, detail }
            }
            error => error,
        }
    }

    /// Takes the next record, of this strand.
    fn take(&mut self, place: usize) -> Option<Record<'_>> {
        let strand = &mut self.strands[place];
        let part = strand.part.as_mut()?;
        let is_of_capture = matches!(
            part.batch.next_other(),
            Some(Record::Interface(_) | Record::End(_))
        );
        // These are of the recording whose capture stands before them.
        if is_of_capture
            && self.told.is_some_and(|told| told != place)
            && let Some(capture) = &part.capture
        {
            self.told = Some(place);
            return Some(Record::Capture(capture.clone()));
        }
        Some(match part.batch.take_next()? {
            Record::Packet(packet) => Record::Packet(Packet {
                interface: strand.ids.of(packet.interface),
                ..packet
            }),
            Record::Interface(interface) => {
                let mut id = strand.ids.of(interface.id);
                if self.interfaces.get(&id).is_some_and(|of| *of != place) {
                    id = self.free_id;
                    strand.ids.others.insert(interface.id, id);
                }
                if self.interfaces.len() < MAX_INTERFACES {
                    self.interfaces.insert(id, place);
                }
                self.free_id = self.free_id.max(id.saturating_add(1));
                Record::Interface(Interface { id, ..interface })
            }
            Record::Capture(capture) => {
                self.told = Some(place);
                part.capture = capture.recording().map(|_| capture.clone());
                Record::Capture(capture)
            }
            record => record,
        })
    }

    /// Whether it is the strand's turn until all that was read ahead is given, which tells
    /// of no file and no interface.
    fn leads_plainly(&self, place: usize) -> bool {
        let is_plain = |record: &Record<'_>| {
            !matches!(
                record,
                Record::Capture(_) | Record::Interface(_) | Record::End(_)
            )
        };
        let until_ns = self.waiting.peek().map(|Reverse((ts_ns, _))| *ts_ns);
        let part = self.strands[place].part.as_ref();
        part.is_some_and(|Part { batch, .. }| {
            let mut others = batch.others().iter();
            batch.is_whole()
                && others.all(|other| is_plain(&other.record))
                && until_ns.is_none_or(|until_ns| batch.times().all(|ts_ns| ts_ns < until_ns))
        })
    }
}

impl Source for Merge {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        Ok(match self.next_strand()? {
            Some(place) => self.take(place),
            None => None,
        })
    }

    fn has_next(&self) -> bool {
        let strand = self.leading.and_then(|place| self.strands.get(place));
        let part = strand.and_then(|strand| strand.part.as_ref());
        part.is_some_and(|part| !part.batch.is_empty())
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        while !batch.is_full() {
            let Some(place) = self.next_strand()? else {
                return Ok(false);
            };
            if batch.is_empty() && self.leads_plainly(place) {
                let Strand { part, ids, .. } = &mut self.strands[place];
                if let Some(part) = part {
                    mem::swap(batch, &mut part.batch);
                }
                if !ids.are_as_in_files() {
                    batch.rename_interfaces(|id| ids.of(id));
                }
                return Ok(true);
            }
            if let Some(record) = self.take(place) {
                batch.push(record);
            }
        }
        Ok(true)
    }
}

impl Strand {
    /// The time of the record that comes next, if it is known and has one.
    fn next_ns(&self) -> Option<i64> {
        match &self.part {
            Some(part) => part.batch.next_ns(),
            None => self.begins_ns(),
        }
    }

    /// The first time of the next file.
    fn begins_ns(&self) -> Option<i64> {
        self.files.as_slice().first().map(|file| file.first_ns)
    }
}

impl Part {
    /// Reads the next records.
    fn read_on(&mut self) {
        self.batch.clear();
        match self.source.fill(&mut self.batch) {
            Ok(is_more) => self.is_read = !is_more,
            Err(error) => self.error = Some(error),
        }
    }
}

impl Ids {
    /// That of an interface which has this one in its file.
    fn of(&self, id: u32) -> u32 {
        let other = self.others.get(&id).copied();
        other.unwrap_or_else(|| id.saturating_add(self.shift.unwrap_or(0)))
    }

    fn are_as_in_files(&self) -> bool {
        self.shift == Some(0) && self.others.is_empty()
    }
}
