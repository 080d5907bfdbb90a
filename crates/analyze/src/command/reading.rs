//! A capture in batches of the records that are selected, read ahead by a thread
//! where there are several cores.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::thread;

use tcprec_shared::batch::Batch;
use tcprec_shared::format::Input;
use tcprec_shared::stream::{ReadError, Source as _};

use super::progress::Progress;
use super::{Failure, select};
use crate::select::Selection;

/// At most so many batches wait, and are worked on together.
const MAX_BATCHES: usize = 16;

/// Nor is more read ahead of what was worked on than so many bytes: a batch may be
/// a single packet of 16 MiB.
const MAX_BYTES: usize = 4 << 20;

/// What comes next.
pub(super) enum Step {
    /// Records.
    Records(Vec<Batch>),
    /// Nothing yet; the next step will be waited for.
    Wait,
    /// What stands in the place of a record.
    Error(ReadError),
    /// Nothing more can be read, for another reason.
    Failure(Failure),
}

/// A capture that is being read.
pub(super) enum Reading {
    /// When it is asked for the next batch.
    Now(Box<Reader>),
    /// Ahead of that.
    Ahead {
        steps: Receiver<One>,
        spare: Sender<Batch>,
        /// What came behind the batches that were given last.
        next: Option<One>,
        is_waiting: bool,
    },
}

/// As [`Step`], with one batch.
pub(super) enum One {
    Records(Batch),
    Error(ReadError),
    Failure(Failure),
}

impl From<One> for Step {
    fn from(one: One) -> Self {
        match one {
            One::Records(batch) => Self::Records(vec![batch]),
            One::Error(error) => Self::Error(error),
            One::Failure(failure) => Self::Failure(failure),
        }
    }
}

impl Reading {
    /// Reads `input`, which stands at `path`.
    pub(super) fn new(input: Input, selection: Selection, path: &Path, threads: usize) -> Self {
        let reader = Reader {
            input,
            selection,
            path: path.to_owned(),
            progress: Progress::new(),
            after: None,
            is_over: false,
        };
        if threads < 2 {
            return Self::Now(Box::new(reader));
        }
        let (to, steps) = mpsc::sync_channel(MAX_BATCHES);
        let (spare, from) = mpsc::channel();
        // Where it is not waited for any more it ends with the process: it may
        // wait for a pipe.
        thread::spawn(move || reader.run(&to, &from));
        Self::Ahead {
            steps,
            spare,
            next: None,
            is_waiting: false,
        }
    }

    /// What comes next, none at the end. What was worked on comes back with `spare`.
    pub(super) fn next(&mut self, spare: Vec<Batch>) -> Option<Step> {
        match self {
            Self::Now(reader) => {
                let batch = spare.into_iter().next();
                reader.next(batch.unwrap_or_default()).map(Step::from)
            }
            Self::Ahead {
                steps,
                spare: back,
                next,
                is_waiting,
            } => {
                for batch in spare {
                    // Nobody takes it where all was read.
                    let _ = back.send(batch);
                }
                let first = match next.take().map_or_else(|| steps.try_recv(), Ok) {
                    Err(TryRecvError::Empty) if !*is_waiting => {
                        *is_waiting = true;
                        return Some(Step::Wait);
                    }
                    Err(TryRecvError::Empty) => steps.recv().ok()?,
                    one => one.ok()?,
                };
                *is_waiting = false;
                let mut batches = match first {
                    One::Records(batch) => vec![batch],
                    one => return Some(one.into()),
                };
                while batches.len() < MAX_BATCHES {
                    match steps.try_recv() {
                        Ok(One::Records(batch)) => batches.push(batch),
                        Ok(one) => {
                            *next = Some(one);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                Some(Step::Records(batches))
            }
        }
    }
}

/// Reads the records that are selected.
pub(super) struct Reader {
    input: Input,
    selection: Selection,
    path: PathBuf,
    progress: Progress,
    /// What comes after the records that were given last.
    after: Option<One>,
    is_over: bool,
}

impl Reader {
    /// Gives all there is, in batches that come back.
    fn run(mut self, to: &SyncSender<One>, from: &Receiver<Batch>) {
        let mut spare = Vec::new();
        let mut ahead_bytes: usize = 0;
        loop {
            while let Some(batch) = if ahead_bytes > MAX_BYTES {
                from.recv().ok()
            } else {
                from.try_recv().ok()
            } {
                ahead_bytes = ahead_bytes.saturating_sub(batch.memory_bytes());
                spare.push(batch);
            }
            let Some(one) = self.next(spare.pop().unwrap_or_default()) else {
                return;
            };
            if let One::Records(batch) = &one {
                ahead_bytes += batch.memory_bytes();
            }
            if to.send(one).is_err() {
                return;
            }
        }
    }

    fn next(&mut self, mut batch: Batch) -> Option<One> {
        if let Some(after) = self.after.take() {
            return Some(after);
        }
        if self.is_over {
            return None;
        }
        batch.clear();
        self.after = match self.fill(&mut batch) {
            Ok(is_more) => {
                self.is_over = !is_more;
                None
            }
            Err(one) => {
                self.is_over = !matches!(&one, One::Error(error) if error.is_passing());
                Some(one)
            }
        };
        self.progress.record(&self.input);
        if batch.is_empty() {
            return self.next(batch);
        }
        Some(One::Records(batch))
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, One> {
        if self.selection.is_all() {
            return self.input.fill(batch).map_err(One::Error);
        }
        while !batch.is_full() {
            let Some(record) = self.input.next().map_err(One::Error)? else {
                return Ok(false);
            };
            let selected = select(&mut self.selection, &self.path, record);
            if let Some(record) = selected.map_err(One::Failure)? {
                batch.push(record);
            }
        }
        Ok(true)
    }
}
