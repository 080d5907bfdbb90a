//! From records to a report.
//!
//! One pass, for a live recording and for a file alike: connections come out
//! of the trackers as they finish, and their owners are looked up then, when
//! late events are in. They go to whoever wants the rows, and into the sums;
//! what is kept does not grow with the capture. No I/O, no clock: equal records
//! give equal reports, however they are divided into batches, and however many
//! threads work on them.

mod closing;
mod collector;
mod copies;
mod files;
mod interfaces;
mod numbers;
mod part;
mod reach;
mod reading;
mod resolver;
mod sequence;
mod servers;
mod shard;
mod shards;
mod stage;
#[cfg(test)]
mod tests;
mod threads;

use std::mem;

use tcprec_shared::batch::Batch;
use tcprec_shared::record::Record;
use tcprec_shared::stream::ReadError;

use self::collector::Collector;
use self::part::Part;
use self::shards::Shards;
use self::threads::{Input, Threads};
use crate::condition::Condition;
use crate::report::{Keep, Report, Rows};
use crate::tcp::Limits;

/// Makes a report of records.
#[derive(Debug)]
pub struct Pipeline {
    shards: Shards,
    collector: Collector,
    /// Those that help, and after how many packets.
    threads: Option<(Threads, usize)>,
    /// Records that came one by one.
    waiting: Batch,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new(Limits::default(), Keep::default())
    }
}

impl Pipeline {
    /// A pipeline that has seen nothing, and follows connections within limits.
    /// The report will have the rows that are to be kept.
    #[must_use]
    pub fn new(limits: Limits, keep: Keep) -> Self {
        Self {
            shards: Shards::new(limits),
            // As many as are followed, and so may be asked for.
            collector: Collector::new(limits.connections, keep),
            threads: None,
            waiting: Batch::default(),
        }
    }

    /// Lets the threads of rayon's global pool help where more than so many packets are
    /// taken at once: few are not worth it to wake them.
    #[must_use]
    pub fn with_threads(mut self, many_packets: usize) -> Self {
        self.threads = Some((Threads::default(), many_packets));
        self
    }

    /// Does not look for requests, nor for TLS: that is faster.
    #[must_use]
    pub fn without_requests(mut self) -> Self {
        self.shards.ignore_payload();
        self
    }

    /// Of connections, requests and findings only those of which a condition
    /// holds are told and summed up.
    #[must_use]
    pub fn selecting(mut self, condition: Option<Condition>) -> Self {
        self.collector.report.capture.condition = condition.as_ref().map(ToString::to_string);
        self.collector.condition = condition;
        self
    }

    /// Takes the next record of a capture. What is finished goes to `rows`, then or
    /// with a later record.
    pub fn push(&mut self, record: &Record<'_>, rows: &mut (impl Rows + Send)) {
        match record {
            Record::Packet(packet) => self.waiting.push_packet(packet, &packet.data),
            record => self.waiting.push(record.clone()),
        }
        if self.waiting.is_full() {
            self.settle(rows);
        }
    }

    /// Takes the next records of a capture: all that `next` gives, to which batches come
    /// back that are not needed any more. It is not asked again after it gave none. What is
    /// finished goes to `rows`, all of it before this ends.
    pub fn take(
        &mut self,
        mut next: impl FnMut(Batch) -> Option<Batch> + Send,
        rows: &mut (impl Rows + Send),
    ) {
        self.settle(rows);
        let mut spare = Batch::default();
        let mut packets = 0;
        while let Some(batch) = next(mem::take(&mut spare)) {
            self.take_batch(&batch, rows);
            if rows.are_refused() {
                return;
            }
            packets += batch.packet_count();
            spare = batch;
            let threads = self.threads.as_ref();
            let Some((threads, _)) = threads.filter(|(_, many)| packets >= *many) else {
                continue;
            };
            let mut input = Input::new(mem::take(&mut spare), &mut next);
            threads.work(&mut self.shards, &mut self.collector, &mut input, rows);
            // What tells of an interface is one thread's.
            let Some(batch) = input.into_left() else {
                return;
            };
            self.take_batch(&batch, rows);
            spare = batch;
        }
    }

    /// Takes the error that stands in the place of a record.
    pub fn read_error(&mut self, error: &ReadError, rows: &mut (impl Rows + Send)) {
        self.settle(rows);
        let latest_ns = self.shards.sequence.of_last_ns().unwrap_or(i64::MIN);
        self.collector.read_error(error, latest_ns);
    }

    /// Gives a sentence for what is worth attention by `now_ns`, and was not when
    /// it was asked before: of a recording that goes on, to be asked about each
    /// second. The report is none the other for it.
    pub fn news(&mut self, now_ns: i64, rows: &mut (impl Rows + Send)) -> Vec<String> {
        self.settle(rows);
        self.collector.news(&self.shards, now_ns)
    }

    /// Ends the analysis. The last rows go to `rows`.
    #[must_use]
    pub fn finish(mut self, rows: &mut (impl Rows + Send)) -> Report {
        self.settle(rows);
        let Self {
            mut shards,
            mut collector,
            threads,
            ..
        } = self;
        let now_ns = collector.close(&mut shards);
        closing::finish(shards.all, now_ns, &mut collector, rows, threads.is_some());
        collector.finish()
    }

    /// Takes what came one by one.
    fn settle(&mut self, rows: &mut impl Rows) {
        if !self.waiting.is_empty() {
            let mut waiting = mem::take(&mut self.waiting);
            self.take_batch(&waiting, rows);
            // With the memory that it has.
            waiting.clear();
            self.waiting = waiting;
        }
    }

    /// Takes records on this thread.
    fn take_batch(&mut self, batch: &Batch, rows: &mut impl Rows) {
        for (part, interface) in Part::all(batch) {
            let outcome = self.shards.take(&part);
            self.collector.take(&part, outcome, rows);
            if let Some(record) = interface {
                if let Record::Interface(interface) = record {
                    self.shards.interface(interface);
                }
                self.collector.record(record);
            }
        }
    }
}
