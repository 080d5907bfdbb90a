//! The writing side of a recording, on a thread of its own: has batches decoded,
//! and hands the records to the outputs.
//!
//! It also keeps the books: every packet and event that the kernel side handed
//! over ends up recorded, lost for a cause, or left out behind the `-c` limit.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tcprec_analyze::annotate::{Annotator, Note};
use tcprec_shared::record::{Capture, End, LossCause, Lost, Record};

use crate::books::{Elsewhere, Totals};
use crate::capture_file::{WriteError, Written};
use crate::decoder::Decoder;
use crate::kernel::{Batch, Device, Losses, Ring};
use crate::output::Output;
use crate::processes::Processes;
use crate::sockets::Sockets;

/// What others may know while the writer works.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) packets: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// How many seconds the writer has come past.
    pub(crate) ticks: AtomicU64,
    /// What was found worth attention, and nobody was told of yet.
    news: Mutex<Vec<String>>,
    /// Why no more records are wanted, as soon as that is so.
    pub(crate) done: OnceLock<&'static str>,
}

impl Progress {
    /// A number that rises as long as the writer gets on.
    pub(crate) fn steps(&self) -> u64 {
        [&self.packets, &self.events, &self.lost, &self.ticks]
            .map(|counter| counter.load(Ordering::Relaxed))
            .into_iter()
            .fold(0, u64::wrapping_add)
    }

    /// What was found worth attention since the last time.
    pub(crate) fn take_news(&self) -> Vec<String> {
        mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add_news(&self, news: Vec<String>) {
        let mut all = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(news);
    }

    fn end(&self, reason: &'static str) {
        // The first reason counts.
        let _ = self.done.set(reason);
    }
}

/// The writer.
pub(crate) struct Writer {
    outputs: Vec<Output>,
    /// Where an output wants to know more of a packet than stands in it.
    annotator: Option<Annotator>,
    decoder: Decoder,
    /// Room for the records of a batch, kept from the last one.
    spare: Vec<Record<'static>>,
    /// What stands at the head of each file of a series.
    capture: Capture,
    /// The same, where there is a series.
    sockets: Option<Sockets>,
    /// Stop after this many packets.
    limit: Option<u64>,
    /// Whether what a batch holds is readable for others at once.
    flushes_batches: bool,
    /// A series has all the files it may have.
    is_full: bool,
    totals: Totals,
    /// As long as there are no packets.
    elsewhere: Elsewhere,
    progress: Arc<Progress>,
    /// The outputs that failed. No more is written to those.
    failures: Vec<WriteError>,
}

/// How a recording ended.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) totals: Totals,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) written: Vec<Written>,
    pub(crate) failures: Vec<WriteError>,
}

impl Writer {
    pub(crate) fn new(
        mut outputs: Vec<Output>,
        decoder: Decoder,
        capture: Capture,
        limit: Option<u64>,
        flushes_batches: bool,
        progress: Arc<Progress>,
    ) -> Self {
        let is_annotated = outputs.iter().any(Output::is_annotated);
        let is_series = outputs.iter_mut().any(|output| output.series().is_some());
        Self {
            outputs,
            annotator: is_annotated.then(Annotator::new),
            decoder,
            spare: Vec::new(),
            capture,
            sockets: is_series.then(Sockets::default),
            limit,
            flushes_batches,
            is_full: false,
            totals: Totals::default(),
            elsewhere: Elsewhere::default(),
            progress,
            failures: Vec::new(),
        }
    }

    /// Writes what stands at the head of a capture: how it was made, and the
    /// interfaces. From now on the file can be read, whatever happens.
    pub(crate) fn begin(&mut self) {
        let mut records = vec![Record::Capture(Box::new(self.capture.clone()))];
        records.extend(self.decoder.recorded.records().map(Record::Interface));
        self.write(&records);
        self.each_output(Output::flush);
    }

    /// Writes the sockets that existed.
    pub(crate) fn scan(&mut self, raw_scan: &[u8]) {
        let mut records = Vec::new();
        self.totals.scanned += self.decoder.scan(raw_scan, &mut records);
        self.write(&records);
        self.each_output(Output::flush);
    }

    /// Writes a batch. Records wait for the others only where these may tell more of
    /// them: many in memory cost more than all that is done to make them.
    pub(crate) fn batch(&mut self, batch: &Batch) {
        let mut records = recycled(mem::take(&mut self.spare));
        for (ring, raw) in batch.iter() {
            match ring {
                Ring::Packets { netns } => records.push(self.decoder.packet(netns, raw)),
                Ring::Events => self.decoder.push_here(raw, &mut records),
            }
            if self.annotator.is_none() {
                self.write(&records);
                records.clear();
            }
        }
        self.totals.events.left_out = self.decoder.left_out_events;
        self.write(&records);
        if self.flushes_batches {
            self.each_output(Output::flush);
        }
        self.spare = recycled(records);
    }

    /// Writes what the kernel side lost.
    pub(crate) fn losses(&mut self, losses: &Losses) {
        let losses = losses.records(self.decoder.clock);
        self.write(&losses.map(Record::Loss).collect::<Vec<_>>());
    }

    /// Makes what was written so far readable for others, and begins another
    /// file where it is time, though nothing happens.
    pub(crate) fn flush(&mut self, ts_ns: i64) {
        self.rotate(ts_ns);
        self.each_output(Output::flush);
        for output in &mut self.outputs {
            self.progress.add_news(output.news(ts_ns));
        }
        self.progress.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes an interface that came later.
    pub(crate) fn interface(&mut self, device: Device) {
        let interface = self.decoder.recorded.add(device).map(Record::Interface);
        self.write(interface.as_slice());
    }

    /// Writes that programs of others stand in front at an interface.
    pub(crate) fn fall_behind(&mut self, device: &Device) {
        let interface = self.decoder.recorded.fall_behind(device);
        self.write(interface.map(Record::Interface).as_slice());
    }

    /// Ends the files in good order.
    pub(crate) fn finish(mut self, reason: &str, ts_ns: i64) -> Closed {
        let end = self.totals.end(reason, ts_ns);
        self.write(&[Record::End(end)]);
        let mut written = Vec::new();
        let mut is_whole = false;
        for output in mem::take(&mut self.outputs) {
            match output.finish() {
                Ok(capture) => {
                    is_whole = true;
                    written.extend(capture);
                }
                Err(error) => self.failures.push(error),
            }
        }
        if !is_whole {
            self.correct_books();
        }
        Closed {
            totals: self.totals,
            elsewhere: self.elsewhere,
            written,
            failures: self.failures,
        }
    }

    /// Writes records, and enters them into the books.
    fn write(&mut self, records: &[Record<'_>]) {
        if let Some(annotator) = &mut self.annotator {
            annotator.observe(records);
        }
        let mut annotator = self.annotator.take();
        for record in records {
            if let Record::Packet(_) | Record::Event(_) = record
                && let Some(ts_ns) = record.ts_ns()
            {
                self.rotate(ts_ns);
            }
            if matches!(record, Record::Packet(_)) && self.is_over() {
                self.totals.packets.left_out += 1;
                continue;
            }
            let note = annotator
                .as_mut()
                .map_or_else(Note::default, |annotator| annotator.note(record));
            let is_written =
                self.each_output_with(|output, processes| output.write(record, &note, processes));
            if let (Some(sockets), Record::Event(event)) = (&mut self.sockets, record) {
                sockets.observe(event);
            }
            self.account(record, is_written);
        }
        self.annotator = annotator;
    }

    fn is_over(&self) -> bool {
        let is_reached = |limit| self.totals.packets.recorded >= limit;
        self.is_full || self.limit.is_some_and(is_reached)
    }

    fn account(&mut self, record: &Record<'_>, is_written: bool) {
        if let Record::Event(event) = record
            && self.totals.packets.recorded == 0
        {
            let mut devices = self.decoder.recorded.devices().iter();
            if devices.all(|device| device.netns != event.netns) {
                self.elsewhere.enter(event);
            }
        }
        let (total, counter) = match record {
            Record::Packet(_) => (&mut self.totals.packets, &self.progress.packets),
            Record::Event(_) => (&mut self.totals.events, &self.progress.events),
            Record::Loss(loss) => {
                match loss.lost {
                    Lost::Packets => {
                        self.totals.packets.lost += loss.count;
                        if loss.cause == LossCause::RingFull {
                            self.totals.no_room_packets += loss.count;
                        }
                    }
                    Lost::Events => self.totals.events.lost += loss.count,
                    // Their events are there, and tell their names.
                    Lost::Processes => {}
                }
                self.progress.lost.fetch_add(loss.count, Ordering::Relaxed);
                return;
            }
            Record::Capture(_) | Record::Interface(_) | Record::Process(_) | Record::End(_) => {
                return;
            }
        };
        if is_written {
            total.recorded += 1;
            counter.store(total.recorded, Ordering::Relaxed);
        } else {
            total.lost += 1;
            self.progress.lost.fetch_add(1, Ordering::Relaxed);
        }
        if let (Record::Packet(packet), true) = (record, is_written) {
            self.totals.wire_bytes += u64::from(packet.wire_bytes);
            if self.is_over() {
                self.progress.end("packet limit reached");
            }
        }
    }

    /// Begins another file in each series in which it is time.
    fn rotate(&mut self, ts_ns: i64) {
        if self.sockets.is_none() || self.is_full {
            return;
        }
        let Self {
            outputs,
            decoder,
            capture,
            sockets,
            totals,
            progress,
            is_full,
            ..
        } = self;
        let mut failed = Vec::new();
        outputs.retain_mut(|output| {
            let Some(series) = output.series().filter(|series| series.is_due(ts_ns)) else {
                return true;
            };
            if series.is_last() {
                *is_full = true;
                progress.end("all files written");
                return true;
            }
            let end = Record::End(End {
                continued: true,
                ..totals.end("rotated", ts_ns)
            });
            let head = |sequence| {
                let mut records = vec![Record::Capture(Box::new(Capture {
                    sequence,
                    ..capture.clone()
                }))];
                records.extend(decoder.recorded.records().map(Record::Interface));
                let open = sockets.iter().flat_map(|sockets| sockets.scan(ts_ns));
                records.extend(open.map(Record::Event));
                records
            };
            let rotated = series.rotate(ts_ns, &end, head, &decoder.processes);
            rotated.map_err(|error| failed.push(error)).is_ok()
        });
        self.give_up(failed);
    }

    /// Whether an output took it.
    fn each_output(&mut self, mut work: impl FnMut(&mut Output) -> Result<(), WriteError>) -> bool {
        self.each_output_with(|output, _| work(output))
    }

    fn each_output_with(
        &mut self,
        mut work: impl FnMut(&mut Output, &Processes) -> Result<(), WriteError>,
    ) -> bool {
        let Self {
            outputs, decoder, ..
        } = self;
        let mut failed = Vec::new();
        outputs.retain_mut(|output| {
            let worked = work(output, &decoder.processes);
            worked.map_err(|error| failed.push(error)).is_ok()
        });
        self.give_up(failed);
        !self.outputs.is_empty()
    }

    /// Goes on without outputs that failed, as long as there is another.
    fn give_up(&mut self, failed: Vec<WriteError>) {
        if failed.is_empty() {
            return;
        }
        for error in failed {
            if error.source.kind() == io::ErrorKind::BrokenPipe {
                // `| head` has seen enough.
                self.progress.end("nobody reads any more");
            } else if !self.outputs.is_empty() {
                let news = format!("{error}; recording continues without it");
                self.progress.add_news(vec![news]);
            }
            self.failures.push(error);
        }
        if self.outputs.is_empty() {
            self.progress.end("an output failed");
            self.correct_books();
        }
    }

    /// What waited to be written to an output when it failed is in the others, unless
    /// all failed.
    fn correct_books(&mut self) {
        let held = self.failures.iter().filter_map(|failure| failure.held);
        if let Some(most) = held.max() {
            self.totals.correct(most);
        }
    }
}

/// The empty vector for records of another life, with its memory: a batch's
/// worth would be mapped and faulted in anew each time.
fn recycled<'to>(mut records: Vec<Record<'_>>) -> Vec<Record<'to>> {
    records.clear();
    // Collecting in place keeps the allocation.
    records.into_iter().map(Record::into_owned).collect()
}

#[cfg(test)]
mod tests;
