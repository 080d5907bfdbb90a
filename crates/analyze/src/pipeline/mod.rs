//! From records to a report.
//!
//! One pass, for a live recording and for a file alike: connections come out
//! of the trackers as they finish, and their owners are looked up then, when
//! late events are in. They go to whoever wants the rows, and into the sums;
//! what is kept does not grow with the capture. No I/O, no clock: equal records
//! give equal reports, however they are divided into batches, and however many
//! threads work on them.

mod books;
mod carriers;
mod files;
mod interfaces;
mod numbers;
mod part;
mod reading;
mod resolver;
mod servers;
mod shard;
mod shards;
#[cfg(test)]
mod tests;

use std::mem;

use tcprec_shared::batch::{Batch, Other};
use tcprec_shared::record::Record;
use tcprec_shared::stream::ReadError;

use self::books::Books;
use self::part::Part;
use self::shards::{Outcome, Shards};
use crate::condition::Condition;
use crate::report::{Keep, Report, Rows};
use crate::tcp::Limits;

/// A round of records, and what came of it.
type Round = (Vec<Batch>, Outcome);

/// Makes a report of records.
#[derive(Debug)]
pub struct Pipeline {
    shards: Shards,
    books: Books,
    /// Rounds of fewer packets are done by one thread.
    many_packets: usize,
    /// The round before, and what came of it: not in the books yet.
    before: Option<Round>,
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
            books: Books::new(limits.connections, keep),
            many_packets: usize::MAX,
            before: None,
            waiting: Batch::default(),
        }
    }

    /// Lets the threads of rayon's global pool help wherever so many packets are
    /// taken at once: few are not worth it to wake them.
    #[must_use]
    pub const fn with_threads(mut self, many_packets: usize) -> Self {
        self.many_packets = many_packets;
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
        self.books.report.capture.condition = condition.as_ref().map(ToString::to_string);
        self.books.condition = condition;
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
            self.take_waiting(rows);
        }
    }

    /// Takes the next records of a capture. What is finished goes to `rows`, then or
    /// later. Gives batches back that are not needed any more.
    pub fn take(&mut self, batches: Vec<Batch>, rows: &mut (impl Rows + Send)) -> Vec<Batch> {
        self.take_waiting(rows);
        self.take_batches(batches, rows)
    }

    /// Takes the error that stands in the place of a record.
    pub fn read_error(&mut self, error: &ReadError, rows: &mut (impl Rows + Send)) {
        self.settle(rows);
        let latest_ns = self.shards.of_last_ns().unwrap_or(i64::MIN);
        self.books.read_error(error, latest_ns);
    }

    /// Gives a sentence for what is worth attention by `now_ns`, and was not when
    /// it was asked before: of a recording that goes on, to be asked about each
    /// second. The report is none the other for it.
    pub fn news(&mut self, now_ns: i64, rows: &mut (impl Rows + Send)) -> Vec<String> {
        self.settle(rows);
        self.books.news(&self.shards, now_ns)
    }

    /// Ends the analysis. The last rows go to `rows`.
    #[must_use]
    pub fn finish(mut self, rows: &mut (impl Rows + Send)) -> Report {
        self.settle(rows);
        if self.many_packets < usize::MAX {
            // By one of the threads: another would be woken after each step.
            rayon::scope(|_| self.books.finish(self.shards, rows, true))
        } else {
            self.books.finish(self.shards, rows, false)
        }
    }

    /// Brings all into the books that was taken so far; what is finished goes to
    /// `rows`. Gives the batches back.
    pub fn settle(&mut self, rows: &mut (impl Rows + Send)) -> Vec<Batch> {
        self.take_waiting(rows);
        self.books.take_round(self.before.take(), rows)
    }

    fn take_waiting(&mut self, rows: &mut (impl Rows + Send)) {
        if !self.waiting.is_empty() {
            let waiting = mem::take(&mut self.waiting);
            // Usually the same one, and its memory.
            if let Some(mut batch) = self.take_batches(vec![waiting], rows).pop() {
                batch.clear();
                self.waiting = batch;
            }
        }
    }

    fn take_batches(&mut self, batches: Vec<Batch>, rows: &mut (impl Rows + Send)) -> Vec<Batch> {
        let is_interface = |other: &Other| matches!(other.record, Record::Interface(_));
        let has_interface = |batch: &Batch| batch.others().iter().any(is_interface);
        if !batches.iter().any(has_interface) {
            return self.round(batches, rows);
        }
        let mut spare = self.books.take_round(self.before.take(), rows);
        for batch in &batches {
            for (part, interface) in Part::all(batch) {
                let parts = [part];
                let outcome = self.shards.take(&parts);
                self.books.take(&parts, outcome, rows);
                if let Some(record) = interface {
                    if let Record::Interface(interface) = record {
                        self.shards.interface(interface);
                    }
                    self.books.record(record);
                }
            }
        }
        spare.extend(batches);
        spare
    }

    /// Takes records that are about the same interfaces. With threads, those before
    /// are brought into the books meanwhile.
    fn round(&mut self, batches: Vec<Batch>, rows: &mut (impl Rows + Send)) -> Vec<Batch> {
        let (shards, books, before) = (&mut self.shards, &mut self.books, self.before.take());
        let packets: usize = batches.iter().map(Batch::packet_count).sum();
        if packets < self.many_packets {
            let mut spare = books.take_round(before, rows);
            let parts = Part::of(&batches);
            let outcome = shards.take(&parts);
            spare.extend(books.take_round(Some((batches, outcome)), rows));
            return spare;
        }
        let (outcome, spare) = rayon::join(
            || shards.take_with_threads(&Part::of(&batches)),
            || books.take_round(before, rows),
        );
        self.before = Some((batches, outcome));
        spare
    }
}
