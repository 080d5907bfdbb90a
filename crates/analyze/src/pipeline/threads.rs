//! Several threads at one capture.
//!
//! Each carries a batch through all that is to be done with it: reads it, parses its
//! headers, and goes with its segments from shard to shard, and with what came of them to
//! the collector. What is done in order has its order from the numbers of the batches. So what
//! was read stays in the cache of one core, and so does a connection that begins and ends
//! within a batch. (oneTBB's `parallel_pipeline` has the same shape.)

use std::mem;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;

use rayon::Yield;
use tcprec_shared::batch::Batch;

use super::collector::Collector;
use super::interfaces::Interfaces;
use super::part::{Part, Room, has_interface};
use super::sequence::Sequence;
use super::servers::Servers;
use super::shard::Shard;
use super::shards::{Outcome, Shards};
use super::stage::{Alarm, SPINS, Stage};
use crate::report::Rows;

/// The threads of rayon's global pool.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// Those that have nothing to do.
    spare: Mutex<Vec<Worker>>,
}

/// What a thread has in its hands.
#[derive(Debug, Default)]
struct Worker {
    batch: Batch,
    room: Room,
}

/// Where batches come from.
pub(super) struct Input<N> {
    next: N,
    spare: Option<Batch>,
    /// How many came.
    count: u64,
    is_over: bool,
    left: Option<Batch>,
}

impl<N: FnMut(Batch) -> Option<Batch>> Input<N> {
    /// From what takes batches that are not needed any more, as this one, and gives others.
    pub(super) const fn new(spare: Batch, next: N) -> Self {
        Self {
            next,
            spare: Some(spare),
            count: 0,
            is_over: false,
            left: None,
        }
    }

    /// The next batch and its number, up to one that tells of an interface.
    fn next(&mut self, spare: Batch) -> Option<(u64, Batch)> {
        if self.is_over {
            return None;
        }
        match (self.next)(self.spare.take().unwrap_or(spare)) {
            Some(batch) if !has_interface(&batch) => {
                let number = self.count;
                self.count += 1;
                Some((number, batch))
            }
            left => {
                self.is_over = true;
                self.left = left;
                None
            }
        }
    }

    /// The batch that tells of an interface: all before it has to be done first.
    pub(super) fn into_left(self) -> Option<Batch> {
        self.left
    }
}

impl Threads {
    /// Has all of `input` worked on, until it is over.
    pub(super) fn work(
        &self,
        shards: &mut Shards,
        collector: &mut Collector,
        input: &mut Input<impl FnMut(Batch) -> Option<Batch> + Send>,
        rows: &mut (impl Rows + Send),
    ) {
        let line = Line {
            interfaces: &shards.interfaces,
            input: Mutex::new(input),
            servers: RwLock::new(&mut shards.servers),
            sequence: Stage::new(&mut shards.sequence),
            shards: shards.all.iter_mut().map(Stage::new).collect(),
            collector: Stage::new((collector, rows)),
            alarm: Alarm::default(),
        };
        rayon::broadcast(|_| {
            let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            let mut worker = spare().pop().unwrap_or_default();
            let watch = line.alarm.watch();
            while line.carry(&mut worker).is_some() {}
            drop(watch);
            spare().push(worker);
        });
    }
}

/// All that batches come to, in this order, and what is needed for it.
struct Line<'a, N, R> {
    input: Mutex<&'a mut Input<N>>,
    sequence: Stage<&'a mut Sequence>,
    shards: Vec<Stage<&'a mut Shard>>,
    collector: Stage<(&'a mut Collector, &'a mut R)>,
    interfaces: &'a Interfaces,
    /// What later parts tell does not count: they have other places.
    servers: RwLock<&'a mut Servers>,
    alarm: Alarm,
}

impl<N: FnMut(Batch) -> Option<Batch>, R: Rows> Line<'_, N, R> {
    /// Carries the next batch from one end to the other; none if there is nothing more to do.
    fn carry(&self, worker: &mut Worker) -> Option<()> {
        let (number, batch) = self.fetch(mem::take(&mut worker.batch))?;
        worker.batch = batch;
        let part = Part::whole(&worker.batch);
        let mut parsed = part.parse(self.interfaces, mem::take(&mut worker.room));
        let mut wholes = Vec::new();
        let (begun, telling) = self.sequence.pass(number, &self.alarm, |sequence| {
            let begun = sequence.begin();
            if part.other(0).is_some() {
                let servers = self.servers.write();
                let mut servers = servers.unwrap_or_else(PoisonError::into_inner);
                servers.part(begun.0, &part);
            }
            for (at, piece) in mem::take(&mut parsed.pieces) {
                let whole = sequence.pieces.take(&at, &piece);
                wholes.extend(whole.map(|whole| (at, whole)));
            }
            (begun, sequence.count(mem::take(&mut parsed.tally)))
        })?;
        for (at, whole) in &wholes {
            if let Some(segment) = whole.segment() {
                parsed.insert(*at, segment);
            }
        }
        let mut outputs = Vec::with_capacity(self.shards.len());
        for (shard, items) in self.shards.iter().zip(&parsed.segments) {
            outputs.push(shard.pass(number, &self.alarm, |shard| {
                let servers = self.servers.read();
                let servers = servers.unwrap_or_else(PoisonError::into_inner);
                shard.take(items, begun, &servers)
            })?);
        }
        worker.room = parsed.into_room();
        let outcome = Outcome { outputs, telling };
        self.collector
            .pass(number, &self.alarm, |(collector, rows)| {
                collector.take(&part, outcome, *rows);
                if rows.are_refused() {
                    self.alarm.raise();
                }
            })
    }

    /// The next batch and its number.
    fn fetch(&self, spare: Batch) -> Option<(u64, Batch)> {
        let is_free = |look: u32| {
            // Whoever has it may wait for frames that others can decompress, or read a part of
            // a pcapng, which takes longer than most turns.
            if rayon::yield_now() != Some(Yield::Executed) && look > SPINS {
                thread::yield_now();
            }
            self.input.try_lock().ok()
        };
        let input = (0..2 * SPINS).find_map(is_free);
        let mut input =
            input.unwrap_or_else(|| self.input.lock().unwrap_or_else(PoisonError::into_inner));
        if self.alarm.is_raised() {
            return None;
        }
        input.next(spare)
    }
}
