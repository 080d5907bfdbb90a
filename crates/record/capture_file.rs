//! A capture that is written: one file, or a series of them. Which records stand in it is
//! the writer's to decide.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tcprec_analyze::annotate::Note;
use tcprec_analyze::report::units::counted;
use tcprec_shared::format::{self, Container, CreateError, Format};
use tcprec_shared::record::{Event, Process, ProcessId, Record};
use tcprec_shared::stream::Sink;
use thiserror::Error;

use crate::books::Held;
use crate::lock::Lock;
use crate::processes::Processes;
use crate::rotation::{Names, Rotation};

/// An output that could not be written.
#[derive(Debug, Error)]
#[error("cannot write {name}: {source}{}", told(*held))]
pub(crate) struct WriteError {
    pub(crate) name: String,
    pub(crate) source: io::Error,
    /// What was written before, where it is a capture.
    pub(crate) held: Option<Held>,
}

fn told(held: Option<Held>) -> String {
    held.map_or_else(String::new, |held| {
        let packets = counted(held.packets, "packet");
        format!(
            "; {packets} and {} were written before",
            counted(held.events, "event")
        )
    })
}

/// What a capture came to.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Of a ring that is full: how many files are left, and their bytes.
    pub(crate) kept: Option<(u64, u64)>,
    /// Whether the last file was removed while it was written.
    pub(crate) is_removed: bool,
}

/// A capture: one file, or a series of which this is the latest.
pub(crate) struct CaptureFile {
    /// What the user called it.
    name: String,
    file: OpenFile,
    is_annotated: bool,
    /// What the sink took, of all files, and of it what is in the whole bytes.
    taken: Held,
    whole: Held,
    /// Of the files before.
    past_bytes: u64,
    series: Option<Series>,
}

/// The file that is written.
struct OpenFile {
    path: PathBuf,
    sink: Box<dyn Sink + Send>,
    written_bytes: Arc<AtomicU64>,
    /// Of the bytes that are written those up to the end of a record.
    whole_bytes: u64,
    lock: Lock,
    /// Whether it was told that somebody removed it.
    is_told_removed: bool,
}

impl OpenFile {
    /// `file_bytes`: as [`format::create_counted`] takes it.
    fn create(path: &Path, file_bytes: Option<u64>) -> Result<Self, CreateError> {
        let lock = Lock::take(path)?;
        let written_bytes = Arc::default();
        Ok(Self {
            path: path.to_owned(),
            sink: format::create_counted(path, Arc::clone(&written_bytes), file_bytes)?,
            written_bytes,
            whole_bytes: 0,
            lock,
            is_told_removed: false,
        })
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Ends it in good order, with this record if there is one; where that fails, behind its
    /// last whole record. Gives how many bytes it has, and its lock.
    fn finish(self, end: Option<&Record<'_>>) -> Result<(u64, Lock), (PathBuf, io::Error)> {
        let Self {
            path,
            mut sink,
            written_bytes,
            whole_bytes,
            lock,
            ..
        } = self;
        let written = end.map_or(Ok(()), |end| sink.write(end, None));
        match written.and_then(|()| sink.finish()) {
            Ok(()) => Ok((written_bytes.load(Ordering::Relaxed), lock)),
            Err(error) => {
                lock.cut(whole_bytes);
                Err((path, error))
            }
        }
    }
}

/// What makes several files one capture.
struct Series {
    rotation: Rotation,
    names: Names,
    /// Number of the file that is written, from 0.
    sequence: u32,
    /// When the next file begins by time; never, if at all.
    next_ns: i64,
    /// How much of the file is its head: what each begins with.
    head_bytes: u64,
    /// The files of a ring, those of earlier recordings among them, the oldest first.
    kept: VecDeque<PathBuf>,
    /// The newest file of an earlier recording.
    before: Option<PathBuf>,
    /// The processes that the file has the records of.
    told: HashSet<ProcessId>,
}

impl Series {
    /// The name of the next file. In a ring the oldest one makes room for it.
    ///
    /// # Errors
    /// With the file that could not be removed, if it is that.
    fn next(&mut self, ts_ns: i64) -> Result<PathBuf, (Option<PathBuf>, io::Error)> {
        let ring = self.rotation.ring();
        while ring.is_some_and(|ring| self.kept.len() >= ring)
            && let Some(oldest) = self.kept.pop_front()
        {
            match fs::remove_file(&oldest) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err((Some(oldest), error));
                }
                _ => {}
            }
        }
        let path = self.names.next(ts_ns);
        let path = path.map_err(|error| (None, io::Error::other(error)))?;
        if ring.is_some() {
            // A name whose file somebody deleted may come again.
            self.kept.retain(|kept| *kept != path);
            self.kept.push_back(path.clone());
        }
        Ok(path)
    }
}

impl CaptureFile {
    /// Creates one file, or the first of a series that begins at `ts_ns`.
    ///
    /// # Errors
    /// [`CreateError`], with the name of the file.
    pub(crate) fn create(
        path: &Path,
        rotation: Option<(Rotation, Names)>,
        ts_ns: i64,
    ) -> Result<Self, (String, CreateError)> {
        let name = path.display().to_string();
        let mut path = path.to_owned();
        let series = match rotation {
            None => None,
            Some((rotation, mut names)) => {
                let kept = VecDeque::from(names.go_on());
                let mut series = Series {
                    rotation,
                    names,
                    sequence: 0,
                    next_ns: rotation.next_ns(ts_ns, ts_ns),
                    head_bytes: 0,
                    before: kept.back().cloned(),
                    kept,
                    told: HashSet::new(),
                };
                path = series.next(ts_ns).map_err(|(path, error)| {
                    let path = path.map(|path| path.display().to_string());
                    (path.unwrap_or_else(|| name.clone()), error.into())
                })?;
                Some(series)
            }
        };
        let file_bytes = series.as_ref().and_then(|series| series.rotation.max_bytes);
        let file = OpenFile::create(&path, file_bytes)
            .map_err(|error| (path.display().to_string(), error))?;
        let container = Format::to_write(&path).map(|format| format.container);
        Ok(Self {
            name,
            file,
            is_annotated: container.is_ok_and(|container| container == Container::Pcapng),
            taken: Held::default(),
            whole: Held::default(),
            past_bytes: 0,
            series,
        })
    }

    /// Whether it has a place for what is derived of a packet.
    pub(crate) fn is_annotated(&self) -> bool {
        self.is_annotated
    }

    /// Whether it is a series of files.
    pub(crate) fn is_series(&self) -> bool {
        self.series.is_some()
    }

    /// Whether another file is to be begun before a record of this time. However
    /// many sockets are open, no more than half of a file is its head.
    pub(crate) fn is_due(&self, ts_ns: i64) -> bool {
        self.series.as_ref().is_some_and(|series| {
            let least = series.head_bytes.saturating_mul(2);
            let written = self.file.written_bytes();
            let max_bytes = series.rotation.max_bytes;
            ts_ns >= series.next_ns || max_bytes.is_some_and(|max| written > max.max(least))
        })
    }

    /// The newest file of an earlier recording of this name, behind which it goes on.
    pub(crate) fn before(&self) -> Option<&Path> {
        self.series.as_ref()?.before.as_deref()
    }

    /// Whether the series has as many files as it may have.
    pub(crate) fn is_last(&self) -> bool {
        self.series.as_ref().is_some_and(|series| {
            let limit = series.rotation.limit();
            limit.is_some_and(|limit| series.sequence.saturating_add(1) >= limit)
        })
    }

    /// Ends the file with `end` and begins the next, which begins with what
    /// `head` gives for its number.
    pub(crate) fn rotate(
        &mut self,
        ts_ns: i64,
        end: &Record<'_>,
        head: impl FnOnce(u32) -> Vec<Record<'static>>,
        processes: &Processes,
    ) -> Result<(), WriteError> {
        if self.series.is_some() {
            // If there can be no next file, this one holds all so far.
            self.flush()?;
        }
        let Some(series) = &mut self.series else {
            return Ok(());
        };
        let held = Some(self.whole);
        let failed = |path: &Path, source| WriteError {
            name: path.display().to_string(),
            source,
            held,
        };
        let path = series.next(ts_ns).map_err(|(path, error)| {
            failed(path.as_deref().unwrap_or(Path::new(&self.name)), error)
        })?;
        // First the next file, then the end of this one, which says that there
        // is a next.
        let next = OpenFile::create(&path, series.rotation.max_bytes).map_err(|error| {
            let source = match error {
                CreateError::Io(source) => source,
                error => io::Error::other(error),
            };
            failed(&path, source)
        })?;
        let before = mem::replace(&mut self.file, next);
        let (bytes, lock) = before
            .finish(Some(end))
            .map_err(|(path, source)| failed(&path, source))?;
        self.whole = self.taken;
        self.past_bytes += bytes;
        series.sequence = series.sequence.saturating_add(1);
        series.next_ns = series.rotation.next_ns(series.next_ns, ts_ns);
        series.told.clear();
        let sequence = series.sequence;
        for record in head(sequence) {
            self.put(&record, &Note::default(), processes)?;
        }
        // From now on it is a capture, whatever happens.
        self.flush()?;
        // Not before: whoever begins to record asks only of files that hold something.
        drop(lock);
        if let Some(series) = &mut self.series {
            series.head_bytes = self.file.whole_bytes;
        }
        Ok(())
    }

    /// Makes what was written so far readable for others.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        let flushed = self.file.sink.flush();
        self.checked(flushed)
    }

    /// That somebody removed the file, once.
    pub(crate) fn news(&mut self) -> Option<String> {
        let OpenFile {
            path,
            lock,
            is_told_removed,
            ..
        } = &mut self.file;
        let removed = lock.removed().filter(|_| !*is_told_removed)?;
        *is_told_removed = true;
        Some(format!(
            "{} was removed, and is lost when it ends; until then it can be copied from {}",
            path.display(),
            removed.display()
        ))
    }

    /// Writes a record that was recorded, with what is derived of it.
    pub(crate) fn write(
        &mut self,
        record: &Record<'_>,
        note: &Note<'_>,
        processes: &Processes,
    ) -> Result<(), WriteError> {
        self.taken.enter(record);
        self.put(record, note, processes)
    }

    /// Writes a record, and before it the process that it names, if the file
    /// does not hold that yet.
    fn put(
        &mut self,
        record: &Record<'_>,
        note: &Note<'_>,
        processes: &Processes,
    ) -> Result<(), WriteError> {
        if let Some(series) = &mut self.series {
            match record {
                Record::Process(Process { id, .. }) => {
                    series.told.insert(*id);
                }
                Record::Event(Event {
                    process: Some(id), ..
                }) if series.told.insert(*id) => {
                    if let Some(process) = processes.known(*id) {
                        let told = self
                            .file
                            .sink
                            .write(&Record::Process(process.clone()), None);
                        self.checked(told)?;
                    }
                }
                _ => {}
            }
        }
        let written = self.file.sink.write(record, note.annotation.as_ref());
        self.checked(written)
    }

    fn checked(&mut self, result: io::Result<()>) -> Result<(), WriteError> {
        match result {
            Ok(()) => {
                // A sink that writes anything writes all that it took.
                let written_bytes = self.file.written_bytes();
                if written_bytes != self.file.whole_bytes {
                    self.file.whole_bytes = written_bytes;
                    self.whole = self.taken;
                }
                Ok(())
            }
            Err(source) => {
                self.file.lock.cut(self.file.whole_bytes);
                Err(WriteError {
                    name: self.file.path.display().to_string(),
                    source,
                    held: Some(self.whole),
                })
            }
        }
    }

    /// Ends it in good order, and tells what it came to.
    pub(crate) fn finish(self) -> Result<Written, WriteError> {
        let (bytes, lock) = self
            .file
            .finish(None)
            .map_err(|(path, source)| WriteError {
                name: path.display().to_string(),
                source,
                held: Some(self.whole),
            })?;
        let series = self.series.as_ref();
        let files = series.map_or(0, |series| u64::from(series.sequence)) + 1;
        let ring = series.filter(|series| series.rotation.ring().is_some());
        let kept = ring.map(|series| {
            let kept = series
                .kept
                .iter()
                .filter_map(|path| fs::metadata(path).ok());
            kept.fold((0, 0), |(files, bytes), file| {
                (files + 1, bytes + file.len())
            })
        });
        Ok(Written {
            name: self.name,
            files,
            bytes: self.past_bytes + bytes,
            kept: kept.filter(|(kept, _)| *kept < files),
            is_removed: lock.removed().is_some(),
        })
    }
}

#[cfg(test)]
mod tests;
