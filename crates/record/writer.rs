//! The writing side of a recording, on a thread of its own: decodes batches,
//! tells processes before their first event, and hands records to the sinks.
//!
//! It also keeps the books: every packet and event that the kernel side handed
//! over ends up recorded, lost for a cause, or left out behind the `-c` limit.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tcprec_analyze::annotate::{Annotator, Note};
use tcprec_analyze::print::Printer;
use tcprec_shared::record::{Capture, End, Loss, LossCause, Lost, Record};
use tcprec_shared::stream::Sink;
use thiserror::Error;

use crate::kernel::{Batch, Clock, DecodeError, Decoded, Losses, Recorded, Ring, decode, scan};
use crate::processes::Processes;

/// Where records go, and its name for messages.
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) to: Form,
}

/// What records are written as.
pub(crate) enum Form {
    /// A capture.
    Capture {
        sink: Box<dyn Sink + Send>,
        /// Whether it has a place for what is derived of a packet.
        is_annotated: bool,
    },
    /// Lines for people.
    Lines {
        printer: Printer,
        to: Box<dyn Write + Send>,
    },
}

impl Form {
    fn is_annotated(&self) -> bool {
        match self {
            Self::Capture { is_annotated, .. } => *is_annotated,
            Self::Lines { .. } => true,
        }
    }

    fn write(&mut self, record: &Record<'_>, note: &Note<'_>) -> io::Result<()> {
        match self {
            Self::Capture { sink, .. } => sink.write(record, note.annotation.as_ref()),
            Self::Lines { printer, to } => printer.write(record, note, to),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Capture { sink, .. } => sink.flush(),
            Self::Lines { to, .. } => to.flush(),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Capture { sink, .. } => sink.finish(),
            Self::Lines { mut to, .. } => to.flush(),
        }
    }
}

/// An output that could not be written.
#[derive(Debug, Error)]
#[error("cannot write {name}: {source}")]
pub(crate) struct WriteError {
    name: String,
    pub(crate) source: io::Error,
}

/// What others may know while the writer works.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) packets: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Set when no more records are wanted: the limit is reached, or an output failed.
    pub(crate) is_done: AtomicBool,
}

/// The totals of one kind of record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) recorded: u64,
    pub(crate) lost: u64,
    /// Handed over after the limit was reached.
    pub(crate) left_out: u64,
}

impl Total {
    fn handed_over(self) -> u64 {
        self.recorded + self.lost + self.left_out
    }
}

/// What a recording came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) packets: Total,
    pub(crate) events: Total,
    pub(crate) wire_bytes: u64,
    /// Found by the scan, so not among what the programs saw.
    pub(crate) scanned: u64,
}

impl Totals {
    /// How many records of what the programs saw have no place in the books:
    /// other than 0 is a defect.
    pub(crate) fn unaccounted(&self, seen_packets: u64, seen_events: u64) -> u64 {
        self.packets.handed_over().abs_diff(seen_packets)
            + self
                .events
                .handed_over()
                .abs_diff(seen_events + self.scanned)
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
    /// Stop after so many packets.
    limit: Option<u64>,
    totals: Totals,
    progress: Arc<Progress>,
    /// After an output failed: nothing is written any more.
    failure: Option<WriteError>,
}

impl Writer {
    pub(crate) fn new(
        outputs: Vec<Output>,
        recorded: Recorded,
        clock: Clock,
        limit: Option<u64>,
        progress: Arc<Progress>,
    ) -> Self {
        let is_annotated = outputs.iter().any(|output| output.to.is_annotated());
        Self {
            outputs,
            annotator: is_annotated.then(Annotator::new),
            decoder: Decoder {
                recorded,
                clock,
                processes: Processes::new(clock),
            },
            spare: Vec::new(),
            limit,
            totals: Totals::default(),
            progress,
            failure: None,
        }
    }

    /// Writes what stands at the head of a capture: how it was made, the
    /// interfaces, the sockets that existed.
    pub(crate) fn head(&mut self, capture: Capture, raw_scan: &[u8]) {
        let mut records = vec![Record::Capture(capture)];
        records.extend(self.decoder.recorded.records().map(Record::Interface));
        for decoded in scan(raw_scan, self.decoder.clock) {
            self.totals.scanned += 1;
            self.decoder.push(Ring::Events, decoded, &mut records);
        }
        self.write(&records);
        self.flush();
    }

    /// Writes a batch; lines are shown at once.
    pub(crate) fn batch(&mut self, batch: &Batch) {
        let mut records = recycled(mem::take(&mut self.spare));
        for (ring, raw) in batch.iter() {
            let decoded = decode(ring, raw, self.decoder.clock, &self.decoder.recorded);
            self.decoder.push(ring, decoded, &mut records);
        }
        self.write(&records);
        self.spare = recycled(records);
    }

    /// Writes what the kernel side lost.
    pub(crate) fn losses(&mut self, losses: &Losses) {
        let losses = losses.records(self.decoder.clock);
        self.write(&losses.map(Record::Loss).collect::<Vec<_>>());
    }

    /// Makes what was written so far readable for others.
    pub(crate) fn flush(&mut self) {
        self.each_output(Form::flush);
    }

    /// Ends the files in good order.
    pub(crate) fn finish(mut self, reason: &str, ts_ns: i64) -> (Totals, Option<WriteError>) {
        let Totals {
            packets,
            events,
            wire_bytes,
            ..
        } = self.totals;
        self.write(&[Record::End(End {
            ts_ns,
            reason: reason.to_owned(),
            seen_packets: packets.recorded + packets.lost,
            recorded_packets: packets.recorded,
            lost_packets: packets.lost,
            seen_events: events.recorded + events.lost,
            recorded_events: events.recorded,
            lost_events: events.lost,
            wire_bytes,
        })]);
        for Output { name, to } in self.outputs {
            if let Err(source) = to.finish()
                && self.failure.is_none()
            {
                self.failure = Some(WriteError { name, source });
            }
        }
        (self.totals, self.failure)
    }

    /// Writes records, and enters them into the books.
    fn write(&mut self, records: &[Record<'_>]) {
        if let Some(annotator) = &mut self.annotator {
            annotator.observe(records);
        }
        let mut annotator = self.annotator.take();
        for record in records {
            if matches!(record, Record::Packet(_)) && self.is_over() {
                self.totals.packets.left_out += 1;
                continue;
            }
            let note = annotator
                .as_mut()
                .map_or_else(Note::default, |annotator| annotator.note(record));
            let is_written = self.each_output(|to| to.write(record, &note));
            self.account(record, is_written);
        }
        self.annotator = annotator;
    }

    fn is_over(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.totals.packets.recorded >= limit)
    }

    fn account(&mut self, record: &Record<'_>, is_written: bool) {
        let (total, counter) = match record {
            Record::Packet(_) => (&mut self.totals.packets, &self.progress.packets),
            Record::Event(_) => (&mut self.totals.events, &self.progress.events),
            Record::Loss(loss) => {
                match loss.lost {
                    Lost::Packets => self.totals.packets.lost += loss.count,
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
            counter.fetch_add(1, Ordering::Relaxed);
        } else {
            total.lost += 1;
            self.progress.lost.fetch_add(1, Ordering::Relaxed);
        }
        if let (Record::Packet(packet), true) = (record, is_written) {
            self.totals.wire_bytes += u64::from(packet.wire_bytes);
            if self.is_over() {
                self.progress.is_done.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether all outputs took it.
    fn each_output(&mut self, mut work: impl FnMut(&mut Form) -> io::Result<()>) -> bool {
        if self.failure.is_some() {
            return false;
        }
        for output in &mut self.outputs {
            if let Err(source) = work(&mut output.to) {
                self.failure = Some(WriteError {
                    name: output.name.clone(),
                    source,
                });
                self.progress.is_done.store(true, Ordering::Relaxed);
                return false;
            }
        }
        true
    }
}

/// The empty vector for records of another life, with its memory: a batch's
/// worth would be mapped and faulted in anew each time.
fn recycled<'to>(mut records: Vec<Record<'_>>) -> Vec<Record<'to>> {
    records.clear();
    // Collecting in place keeps the allocation.
    records.into_iter().map(Record::into_owned).collect()
}

/// Makes records of what the kernel side says: a process before its first
/// event, a loss of what makes no sense.
struct Decoder {
    recorded: Recorded,
    clock: Clock,
    processes: Processes,
}

impl Decoder {
    fn push<'a>(
        &mut self,
        ring: Ring,
        decoded: Result<Decoded<'a>, DecodeError>,
        records: &mut Vec<Record<'a>>,
    ) {
        match decoded {
            Ok(Decoded::Packet(packet)) => records.push(Record::Packet(packet)),
            Ok(Decoded::Event(event, task)) => {
                let process = task.and_then(|task| self.processes.meet(&task));
                records.extend(process.map(Record::Process));
                records.push(Record::Event(event));
            }
            Ok(Decoded::Exec(exec)) => {
                records.extend(self.processes.start(exec).map(Record::Process));
            }
            Err(_) => {
                let now = Clock::boot_ns().map_or(0, |boot| self.clock.unix_ns(boot));
                records.push(Record::Loss(Loss {
                    cause: LossCause::Decode,
                    lost: match ring {
                        Ring::Packets => Lost::Packets,
                        Ring::Events => Lost::Events,
                    },
                    cpu: None,
                    count: 1,
                    bytes: 0,
                    first_ns: now,
                    last_ns: now,
                }));
            }
        }
    }
}
