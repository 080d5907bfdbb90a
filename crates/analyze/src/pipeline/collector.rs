//! Collects what the shards find, in the order of the records, by one thread at a time:
//! owners, losses, findings, sums and rows.

use std::collections::BTreeMap;
use std::mem;

use tcprec_shared::record::{Capture, End, Event, EventKind, Loss, LossCause, Lost, Record};
use tcprec_shared::stream::ReadError;

use super::files::{FileStart, Files};
use super::numbers::Numbers;
use super::part::Part;
use super::reading::Reading;
use super::resolver::Resolver;
use super::shard::Finished;
use super::shards::{Outcome, Shards};
use crate::condition::Condition;
use crate::finding::Findings;
use crate::gaps::Gaps;
use crate::owner::Owners;
use crate::report::findings::sentence;
use crate::report::row::FindingRow;
use crate::report::{Ending, Keep, LossSummary, Report, Rows};
use crate::span::Span;
use crate::summary::{Summary, name_processes};

/// So old is what is told while a recording goes on: a loss of records is known
/// by then.
const LATE_NS: i64 = 2_000_000_000;

/// So far back is looked for it: it is asked for each second, more or less.
const NEWS_NS: i64 = 3 * LATE_NS;

/// All that is known so far.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) owners: Owners,
    pub(super) numbers: Numbers,
    summary: Summary,
    /// When records were lost.
    gaps: Gaps,
    /// What was seen so far, but for what is summed up of connections and requests.
    pub(super) report: Report,
    losses: BTreeMap<(LossCause, Lost), LossSummary>,
    files: Files,
    /// Whether the file that is being read goes on with the recording of an earlier one.
    is_continuation: bool,
    /// Which rows are wanted, if not all.
    pub(super) condition: Option<Condition>,
    /// What was told while the recording goes on, if anybody asks.
    news: Option<Box<Findings>>,
}

impl Collector {
    /// Nothing is known. Of the sockets that close, so many are remembered.
    pub(super) fn new(closed_sockets: usize, keep: Keep) -> Self {
        Self {
            owners: Owners::new(closed_sockets),
            numbers: Numbers::default(),
            summary: Summary::new(keep),
            gaps: Gaps::default(),
            report: Report::default(),
            losses: BTreeMap::new(),
            files: Files::default(),
            is_continuation: false,
            condition: None,
            news: None,
        }
    }

    /// Takes the records of a part that are no packets, and what came of the packets,
    /// each in its place.
    pub(super) fn take(&mut self, part: &Part<'_>, outcome: Outcome, rows: &mut impl Rows) {
        let mut begun = Vec::new();
        let mut order = Vec::new();
        for (shard, output) in outcome.outputs.iter().enumerate() {
            begun.extend(output.begun.iter().map(|&(packet, id)| (packet, shard, id)));
            order.extend(output.finished.iter().map(|it| (it.packet, shard)));
        }
        begun.sort_unstable();
        for (_, shard, id) in begun {
            self.numbers.begin(shard, id);
        }
        // Those of one packet are all of one shard, which tells them in order.
        order.sort_unstable();
        let outputs = outcome.outputs.into_iter();
        let mut finished: Vec<_> = outputs.map(|output| output.finished.into_iter()).collect();
        let mut reading = Reading::new(part, &outcome.telling);
        for (packet, shard) in order {
            reading.read_to(packet, self);
            if let Some(finished) = finished.get_mut(shard).and_then(Iterator::next) {
                self.finished(shard, finished, rows);
            }
        }
        reading.read_all(self);
    }

    fn finished(&mut self, shard: usize, finished: Finished, rows: &mut impl Rows) {
        let Finished {
            now_ns,
            mut connection,
            mut requests,
            goes_on,
            ..
        } = finished;
        self.numbers
            .number(shard, &mut connection, &mut requests, goes_on);
        let mut resolver = self.resolver(now_ns, rows);
        if goes_on {
            resolver.requests(connection, requests);
        } else {
            resolver.connection(connection, requests);
        }
    }

    /// What takes connections that are finished by `now_ns`.
    pub(super) fn resolver<'a, R: Rows>(
        &'a mut self,
        now_ns: i64,
        rows: &'a mut R,
    ) -> Resolver<'a, R> {
        Resolver {
            owners: &self.owners,
            gaps: &self.gaps,
            condition: self.condition.as_ref(),
            summary: &mut self.summary,
            rows,
            now_ns,
        }
    }

    /// Takes a record that is no packet.
    pub(super) fn record(&mut self, record: &Record<'_>) {
        self.owners.observe(record);
        let capture = &mut self.report.capture;
        match record {
            Record::Event(event) => self.event(event),
            Record::Loss(loss) => self.loss(loss),
            Record::Capture(made) => self.file(made),
            Record::End(end) if end.continued => capture.ending = Ending::Continued(end.clone()),
            Record::End(end) if end.reason == End::FAILED => {
                capture.ending = Ending::Failed(end.clone());
            }
            Record::End(end) => capture.ending = Ending::Complete(end.clone()),
            Record::Packet(_) | Record::Process(_) | Record::Interface(_) => {}
        }
    }

    /// Takes the error that stands in the place of a record, behind one of
    /// `latest_ns`.
    pub(super) fn read_error(&mut self, error: &ReadError, latest_ns: i64) {
        let capture = &mut self.report.capture;
        if error.is_passing() {
            capture.damaged_records += 1;
            capture.damage.get_or_insert_with(|| error.to_string());
            // It may have been any record, of about that time.
            let span = Span::at(latest_ns);
            self.gaps.packets.add(span);
            self.gaps.events.add(span);
        } else {
            capture.ending = Ending::Cut(error.to_string());
        }
    }

    /// As [`Pipeline::news`](super::Pipeline::news).
    pub(super) fn news(&mut self, shards: &Shards, now_ns: i64) -> Vec<String> {
        let mut findings = self
            .news
            .take()
            .unwrap_or_else(|| Box::new(Findings::with_news()));
        let since_ns = now_ns.saturating_sub(NEWS_NS);
        let mut shown = Vec::new();
        shards.look(
            since_ns,
            Findings::may_have,
            |shard, mut connection, mut requests| {
                self.numbers
                    .number(shard, &mut connection, &mut requests, true);
                shown.push((connection, requests));
            },
        );
        shown.sort_by_key(|(connection, _)| connection.id);
        let mut no_rows = ();
        let resolver = self.resolver(now_ns, &mut no_rows);
        for (connection, requests) in shown {
            let connection = resolver.resolve(connection);
            for request in requests {
                let request = resolver.resolve_request(&connection, request);
                findings.request(&request, &connection, resolver.owners, now_ns);
            }
            findings.connection(&connection, resolver.owners, now_ns);
        }
        let news = findings.news(now_ns.saturating_sub(LATE_NS), &self.owners);
        let names = &self.owners;
        let condition = self.condition.as_ref();
        let is_wanted = |finding: &&_| {
            condition.is_none_or(|condition| condition.holds(&FindingRow { names, finding }))
        };
        let wanted = news.iter().filter(is_wanted);
        let sentences = wanted.map(|finding| sentence(names, finding));
        let sentences = sentences.collect();
        self.news = Some(findings);
        sentences
    }

    /// Takes it that no records come any more: what is finished from now on is judged by all
    /// of them. Gives the latest time.
    pub(super) fn close(&mut self, shards: &mut Shards) -> i64 {
        let ending = &self.report.capture.ending;
        self.gaps.is_cut = matches!(ending, Ending::Failed(_) | Ending::Abrupt | Ending::Cut(_));
        let capture = &mut self.report.capture;
        (capture.missing_files, capture.unfinished_files) = mem::take(&mut self.files).finish();
        shards.sum_up(&mut self.report);
        self.report.capture.end_ns().unwrap_or(i64::MIN)
    }

    /// What all of it sums up to.
    pub(super) fn finish(self) -> Report {
        let mut report = self.report;
        report.losses = self.losses.into_values().collect();
        self.summary.finish(&self.owners, &mut report);
        if let Some(condition) = &self.condition {
            let names = &self.owners;
            let is_wanted = |finding: &_| condition.holds(&FindingRow { names, finding });
            report.findings.retain(is_wanted);
        }
        name_processes(&mut report, &self.owners);
        report
    }

    /// Another file begins, or is told of again.
    fn file(&mut self, made: &Capture) {
        let capture = &mut self.report.capture;
        if made.schema.is_some() {
            let before = mem::replace(&mut capture.ending, Ending::Abrupt); // until one is seen
            match self.files.begin(made, &before) {
                FileStart::New(file) => self.is_continuation = file.is_continuation,
                FileStart::Resumed(file) => {
                    self.is_continuation = file.is_continuation;
                    return;
                }
            }
        }
        if made.direction.is_some() {
            // Half of the packets are missing, whenever.
            self.gaps.packets.add(Span::ALWAYS);
        }
        capture.files += 1;
        let first = capture.made.get_or_insert_with(|| made.clone());
        let is_known = |it: &Capture| it.is_of_same_recording(it);
        capture.has_several_recordings |=
            is_known(first) && is_known(made) && !made.is_of_same_recording(first);
    }

    fn event(&mut self, event: &Event) {
        if event.kind == EventKind::Scan {
            // A file that goes on tells again of the sockets that are open.
            self.report.capture.scanned_sockets += u64::from(!self.is_continuation);
        } else {
            self.report.capture.events += 1;
            self.summary.findings.event(event, &self.owners);
            if let Some(news) = &mut self.news {
                news.event(event, &self.owners);
            }
        }
    }

    fn loss(&mut self, loss: &Loss) {
        let span = match (loss.first_ns, loss.last_ns) {
            // Other tools count losses without their times.
            (0, 0) => Span::ALWAYS,
            (first_ns, last_ns) => Span { first_ns, last_ns },
        };
        match loss.lost {
            Lost::Packets => self.gaps.packets.add(span),
            Lost::Events => self.gaps.events.add(span),
            Lost::Processes => {}
        }
        let sum = self
            .losses
            .entry((loss.cause, loss.lost))
            .or_insert(LossSummary {
                cause: loss.cause,
                lost: loss.lost,
                count: 0,
                bytes: 0,
                first_ns: loss.first_ns,
                last_ns: loss.last_ns,
            });
        sum.count = sum.count.saturating_add(loss.count);
        sum.bytes = sum.bytes.saturating_add(loss.bytes);
        sum.first_ns = sum.first_ns.min(loss.first_ns);
        sum.last_ns = sum.last_ns.max(loss.last_ns);
    }
}
