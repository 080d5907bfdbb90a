//! A capture in batches of the records that are selected, read while those before are
//! worked on where there are several cores.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::thread;

use tcprec_shared::batch::Batch;
use tcprec_shared::format::Input;
use tcprec_shared::stream::{ReadError, Source as _};

use super::progress::Progress;
use super::{Captures, Failure, select};
use crate::select::Selection;

/// At most so many batches wait for whoever works on them.
const MAX_BATCHES: usize = 16;

/// Of a file, so many packets for each thread are worked on together: that is work for
/// half a millisecond. Twice as many need a tenth more time, for they are not in the
/// caches any more.
const PACKETS_OF_A_THREAD: usize = 2048;

/// Nor is more read ahead of what was worked on than so many bytes: a batch may be
/// a single packet of 16 MiB.
const MAX_BYTES: usize = 8 << 20;

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

/// As [`Step`], with one batch.
enum One {
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

/// Reads all of `input`, which is these captures, with so many threads. What comes goes
/// to `take`, which gives batches back that it does not need any more.
///
/// # Errors
/// That of `take`, which is not called again then.
pub(super) fn read(
    input: Input,
    selection: Selection,
    captures: &Captures,
    threads: usize,
    take: impl FnMut(Step) -> Result<Vec<Batch>, Failure> + Send,
) -> Result<(), Failure> {
    let is_at_hand = input.is_at_hand();
    let is_stream = input.total_bytes().is_none();
    let reader = Reader {
        input,
        selection,
        captures: captures.clone(),
        packets_together: PACKETS_OF_A_THREAD * threads,
        progress: Progress::new(),
        after: None,
        is_over: false,
    };
    match (threads, is_at_hand) {
        // On one core, too, what a stream brought is not to wait for what it will bring.
        (..2, _) if !is_stream => one_by_one(reader, take),
        (_, true) => rayon::scope(|_| beside(reader, take)),
        (_, false) => ahead(reader, take),
    }
}

/// Reads one batch after the other.
fn one_by_one(
    mut reader: Reader,
    mut take: impl FnMut(Step) -> Result<Vec<Batch>, Failure>,
) -> Result<(), Failure> {
    let mut spare = Vec::new();
    while let Some(one) = reader.next(spare.pop().unwrap_or_default()) {
        spare = take(one.into())?;
    }
    Ok(())
}

/// Reads the next batches while those before are worked on, on threads of rayon's pool.
fn beside(
    mut reader: Reader,
    mut take: impl FnMut(Step) -> Result<Vec<Batch>, Failure> + Send,
) -> Result<(), Failure> {
    let mut spare = Vec::new();
    let mut next = reader.several(&mut spare);
    while let Some(step) = next {
        let (taken, after) = rayon::join(|| take(step), || reader.several(&mut spare));
        spare.extend(taken?);
        next = after;
    }
    Ok(())
}

/// Reads on a thread of its own.
fn ahead(
    reader: Reader,
    mut take: impl FnMut(Step) -> Result<Vec<Batch>, Failure>,
) -> Result<(), Failure> {
    let (to, steps) = mpsc::sync_channel(MAX_BATCHES);
    let (back, from) = mpsc::channel();
    // Where it is not waited for any more it ends with the process: it may
    // wait for a pipe.
    thread::spawn(move || reader.run(&to, &from));
    // What came behind the batches that were given last.
    let mut next = None;
    loop {
        let first = match next.take().map_or_else(|| steps.try_recv(), Ok) {
            Err(TryRecvError::Empty) => {
                give_back(take(Step::Wait)?, &back);
                steps.recv().ok()
            }
            one => one.ok(),
        };
        let step = match first {
            None => return Ok(()),
            Some(One::Records(batch)) => {
                let mut batches = vec![batch];
                while batches.len() < MAX_BATCHES
                    && next.is_none()
                    && let Ok(one) = steps.try_recv()
                {
                    match one {
                        One::Records(batch) => batches.push(batch),
                        one => next = Some(one),
                    }
                }
                Step::Records(batches)
            }
            Some(one) => one.into(),
        };
        give_back(take(step)?, &back);
    }
}

fn give_back(spare: Vec<Batch>, to: &Sender<Batch>) {
    for batch in spare {
        // Nobody takes it where all was read.
        let _ = to.send(batch);
    }
}

/// Reads the records that are selected.
struct Reader {
    input: Input,
    selection: Selection,
    captures: Captures,
    packets_together: usize,
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

    /// What comes next, several batches if there are any.
    fn several(&mut self, spare: &mut Vec<Batch>) -> Option<Step> {
        let mut batches = Vec::new();
        let (mut packets, mut bytes) = (0, 0);
        while packets < self.packets_together && bytes < MAX_BYTES {
            match self.next(spare.pop().unwrap_or_default()) {
                Some(One::Records(batch)) => {
                    packets += batch.packet_count();
                    bytes += batch.memory_bytes();
                    batches.push(batch);
                }
                one if batches.is_empty() => return one.map(Step::from),
                one => {
                    self.after = one;
                    break;
                }
            }
        }
        Some(Step::Records(batches))
    }

    /// What comes next, in a batch that may be used again.
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
                self.is_over = !matches!(&*one, One::Error(error) if error.is_passing());
                Some(*one)
            }
        };
        self.progress.record(&self.input);
        if batch.is_empty() {
            return self.next(batch);
        }
        Some(One::Records(batch))
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, Box<One>> {
        let failed = |error| Box::new(One::Error(error));
        if self.selection.is_all() {
            return self.input.fill(batch).map_err(failed);
        }
        while batch.is_empty() || !batch.is_full() && self.input.has_next() {
            let Some(record) = self.input.next().map_err(failed)? else {
                return Ok(false);
            };
            let selected = select(&mut self.selection, &self.captures, record);
            if let Some(record) = selected.map_err(|failure| Box::new(One::Failure(failure)))? {
                batch.push(record);
            }
        }
        Ok(true)
    }
}
