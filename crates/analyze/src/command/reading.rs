//! A capture in batches of the records that are selected, as they are asked for; read
//! ahead by a thread of its own where that has to be waited for.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::thread;

use tcprec_shared::batch::Batch;
use tcprec_shared::format::Input;
use tcprec_shared::stream::{ReadError, Source as _};

use super::progress::Progress;
use super::{Captures, Failure, select};
use crate::select::Selection;

/// At most so many batches are read ahead.
const MAX_BATCHES: usize = 16;

/// Nor more than so many bytes: a batch may be a single packet of 16 MiB.
const MAX_BYTES: usize = 8 << 20;

/// Why there is no next batch.
pub(super) enum Stop {
    /// All was read.
    End,
    /// It has not come yet.
    Wait,
    /// This stands in the place of a record.
    Error(ReadError),
    /// Nothing more can be read, for another reason.
    Failure(Failure),
}

/// What comes of reading on.
type Step = Result<Batch, Stop>;

/// The records of a capture.
pub(super) struct Records {
    from: From,
    /// What came and was not given yet.
    step: Option<Step>,
}

enum From {
    Reader(Box<Reader>),
    Thread(Ahead),
}

/// A thread that reads ahead.
struct Ahead {
    steps: Receiver<Step>,
    /// For each batch that is taken its bytes, and a batch that is not needed any more.
    taken: Sender<(usize, Batch)>,
}

impl Records {
    /// Those of `input`, which is these captures, for so many threads that work on them.
    pub(super) fn of(
        input: Input,
        selection: Selection,
        captures: &Captures,
        threads: usize,
    ) -> Self {
        let is_stream = input.total_bytes().is_none();
        let is_at_hand = input.is_at_hand();
        let reader = Box::new(Reader {
            input,
            selection,
            captures: captures.clone(),
            progress: Progress::new(),
            stop: None,
        });
        // On one core, too, what a stream brought is not to wait for what it will bring.
        let from = if is_stream || threads > 1 && !is_at_hand {
            From::Thread(Ahead::start(reader))
        } else {
            From::Reader(reader)
        };
        Self { from, step: None }
    }

    /// The next batch; none where something else comes, which [`Self::stop`] tells. Takes
    /// one that is not needed any more.
    pub(super) fn next(&mut self, spare: Batch) -> Option<Batch> {
        let step = self.step.take().unwrap_or_else(|| match &mut self.from {
            From::Reader(reader) => reader.next(spare),
            From::Thread(ahead) => ahead.next(spare),
        });
        step.map_err(|stop| self.step = Some(Err(stop))).ok()
    }

    /// Why there was no batch.
    pub(super) fn stop(&mut self) -> Stop {
        match self.step.take() {
            Some(Err(stop)) => stop,
            _ => Stop::End,
        }
    }

    /// Waits for what comes next.
    pub(super) fn wait(&mut self) {
        if let From::Thread(ahead) = &mut self.from {
            self.step = Some(ahead.wait());
        }
    }
}

impl Ahead {
    fn start(mut reader: Box<Reader>) -> Self {
        let (to, steps) = mpsc::sync_channel(MAX_BATCHES);
        let (taken, of_taken) = mpsc::channel();
        // Where it is not waited for any more it ends with the process: it may wait for a pipe.
        thread::spawn(move || reader.run(&to, &of_taken));
        Self { steps, taken }
    }

    fn next(&self, spare: Batch) -> Step {
        match self.steps.try_recv() {
            Ok(step) => self.took(step, spare),
            Err(TryRecvError::Empty) => self.took(Err(Stop::Wait), spare),
            Err(TryRecvError::Disconnected) => Err(Stop::End),
        }
    }

    fn wait(&self) -> Step {
        let step = self.steps.recv().unwrap_or(Err(Stop::End));
        self.took(step, Batch::default())
    }

    fn took(&self, step: Step, spare: Batch) -> Step {
        let bytes = step.as_ref().map_or(0, Batch::memory_bytes);
        // Nobody needs it where all was read.
        let _ = self.taken.send((bytes, spare));
        step
    }
}

/// Reads the records that are selected.
struct Reader {
    input: Input,
    selection: Selection,
    captures: Captures,
    progress: Progress,
    /// What comes after the records that were given last.
    stop: Option<Stop>,
}

impl Reader {
    /// Reads all there is.
    fn run(&mut self, to: &SyncSender<Step>, taken: &Receiver<(usize, Batch)>) {
        let mut spare = Vec::new();
        let mut ahead_bytes: usize = 0;
        loop {
            while let Some((bytes, batch)) = if ahead_bytes > MAX_BYTES {
                taken.recv().ok()
            } else {
                taken.try_recv().ok()
            } {
                ahead_bytes = ahead_bytes.saturating_sub(bytes);
                // An empty one has no memory to use again.
                if !batch.is_empty() {
                    spare.push(batch);
                }
            }
            let step = self.next(spare.pop().unwrap_or_default());
            ahead_bytes += step.as_ref().map_or(0, Batch::memory_bytes);
            let is_last = matches!(step, Err(Stop::End | Stop::Failure(_)));
            if to.send(step).is_err() || is_last {
                return;
            }
        }
    }

    /// What comes next, in a batch that may be used again.
    fn next(&mut self, mut batch: Batch) -> Step {
        loop {
            if let Some(stop) = self.stop.take() {
                return Err(stop);
            }
            batch.clear();
            self.stop = match self.fill(&mut batch) {
                Ok(is_more) => (!is_more).then_some(Stop::End),
                Err(stop) => Some(stop),
            };
            self.progress.record(&self.input);
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, Stop> {
        if self.selection.is_all() {
            return self.input.fill(batch).map_err(Stop::Error);
        }
        while batch.is_empty() || !batch.is_full() && self.input.has_next() {
            let Some(record) = self.input.next().map_err(Stop::Error)? else {
                return Ok(false);
            };
            let selected = select(&mut self.selection, &self.captures, record);
            if let Some(record) = selected.map_err(Stop::Failure)? {
                batch.push(record);
            }
        }
        Ok(true)
    }
}
