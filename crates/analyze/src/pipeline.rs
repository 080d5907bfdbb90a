//! From records to a report.
//!
//! One pass, for a live recording and for a file alike: connections come out
//! of the tracker as they finish, and their owners are looked up then, when
//! late events are in. They go to whoever wants the rows, and into the sums;
//! what is kept does not grow with the capture. No I/O, no clock: equal records
//! give equal reports.

mod carriers;
mod resolver;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use tcprec_shared::headers::{self, Headers, Other};
use tcprec_shared::record::{
    Capture, Event, EventKind, Interface, Loss, LossCause, Lost, Packet, Record,
};
use tcprec_shared::stream::ReadError;

use self::carriers::Carriers;
use self::resolver::Resolver;
use crate::condition::Condition;
use crate::finding::Findings;
use crate::gaps::Gaps;
use crate::owner::{Owners, Span};
use crate::report::findings::sentence;
use crate::report::row::FindingRow;
use crate::report::{Ending, InterfaceSummary, Keep, LossSummary, Report, Rows};
use crate::summary::Summary;
use crate::tcp::{Fragments, Limits, Seen, Tracker, Whole};

/// At most so many interfaces are known; packets of others are not analyzed.
const MAX_INTERFACES: usize = 1 << 16;

/// So old is what is told while a recording goes on: a loss of records is known
/// by then.
const LATE_NS: i64 = 2_000_000_000;

/// So far back is looked for it: it is asked for each second, more or less.
const NEWS_NS: i64 = 3 * LATE_NS;

/// Makes a report of records.
#[derive(Debug)]
pub struct Pipeline {
    tracker: Tracker,
    fragments: Fragments,
    owners: Owners,
    summary: Summary,
    /// When records were lost.
    gaps: Gaps,
    /// What was seen so far, but for what is summed up of connections and requests.
    report: Report,
    losses: BTreeMap<(LossCause, Lost), LossSummary>,
    carriers: Carriers,
    /// Time of the record before.
    latest_ns: i64,
    /// What the file that is being read says of itself.
    file: Option<Capture>,
    /// Whether that file goes on with the recording of the one before.
    is_continuation: bool,
    /// Which rows are wanted, if not all.
    condition: Option<Condition>,
    /// What was told while the recording goes on, if anybody asks.
    news: Option<Box<Findings>>,
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
            tracker: Tracker::new(limits),
            fragments: Fragments::default(),
            // As many as the tracker follows, and so may ask for.
            owners: Owners::new(limits.connections),
            summary: Summary::new(keep),
            gaps: Gaps::default(),
            report: Report::default(),
            losses: BTreeMap::new(),
            carriers: Carriers::default(),
            latest_ns: i64::MIN,
            file: None,
            is_continuation: false,
            condition: None,
            news: None,
        }
    }

    /// Does not look for requests, nor for TLS: that is faster.
    #[must_use]
    pub fn without_requests(mut self) -> Self {
        self.tracker.ignore_payload();
        self
    }

    /// Of connections, requests and findings only those of which a condition
    /// holds are told and summed up.
    #[must_use]
    pub fn selecting(mut self, condition: Option<Condition>) -> Self {
        self.report.capture.condition = condition.as_ref().map(ToString::to_string);
        self.condition = condition;
        self
    }

    /// Takes the next record of a capture. What is finished goes to `rows`.
    pub fn push(&mut self, record: &Record<'_>, rows: &mut impl Rows) {
        self.owners.observe(record);
        let capture = &mut self.report.capture;
        match record {
            Record::Packet(packet) => self.packet(packet, rows),
            Record::Event(event) => self.event(event),
            Record::Interface(interface) => self.interface(interface),
            Record::Loss(loss) => self.loss(loss),
            Record::Process(_) => {}
            Record::Capture(made) => self.file(made),
            Record::End(end) if end.continued => capture.ending = Ending::Continued(end.clone()),
            Record::End(end) => capture.ending = Ending::Complete(end.clone()),
        }
    }

    /// Takes the error that stands in the place of a record.
    pub fn read_error(&mut self, error: &ReadError) {
        let capture = &mut self.report.capture;
        if error.is_passing() {
            capture.damaged_records += 1;
            capture.damage.get_or_insert_with(|| error.to_string());
            // It may have been any record, of about that time.
            let span = Span::at(self.latest_ns);
            self.gaps.packets.add(span);
            self.gaps.events.add(span);
        } else {
            capture.ending = Ending::Cut(error.to_string());
        }
    }

    /// Gives a sentence for what is worth attention by `now_ns`, and was not when
    /// it was asked before: of a recording that goes on, to be asked about each
    /// second. The report is none the other for it.
    pub fn news(&mut self, now_ns: i64) -> Vec<String> {
        let mut findings = self
            .news
            .take()
            .unwrap_or_else(|| Box::new(Findings::with_news()));
        let mut no_rows = ();
        let resolver = Resolver {
            owners: &self.owners,
            gaps: &self.gaps,
            condition: None,
            carriers: &mut self.carriers,
            summary: &mut self.summary,
            rows: &mut no_rows,
            now_ns,
        };
        let since_ns = now_ns.saturating_sub(NEWS_NS);
        self.tracker
            .look(since_ns, Findings::may_have, |connection, requests| {
                let connection = resolver.resolve(connection);
                for request in requests {
                    findings.request(
                        &resolver.resolve_request(&connection, request),
                        &self.owners,
                    );
                }
                findings.connection(&connection, &self.owners, now_ns);
            });
        let news = findings.news(now_ns.saturating_sub(LATE_NS));
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

    /// Ends the analysis. The last rows go to `rows`.
    #[must_use]
    pub fn finish(mut self, rows: &mut impl Rows) -> Report {
        let ending = &self.report.capture.ending;
        self.gaps.is_cut = matches!(ending, Ending::Abrupt | Ending::Cut(_));
        let evicted_connections = self.tracker.evicted_connections();
        self.report.capture.left_out.evicted_connections = evicted_connections;
        let (tracker, mut resolver) = self.resolver(rows);
        std::mem::take(tracker).finish(&mut resolver);
        let mut report = self.report;
        report.losses = self.losses.into_values().collect();
        self.summary.finish(&self.owners, &mut report);
        if let Some(condition) = &self.condition {
            let names = &self.owners;
            let is_wanted = |finding: &_| condition.holds(&FindingRow { names, finding });
            report.findings.retain(is_wanted);
        }
        report
    }

    /// The tracker, and what takes what it finds.
    fn resolver<'a, R: Rows>(&'a mut self, rows: &'a mut R) -> (&'a mut Tracker, Resolver<'a, R>) {
        let resolver = Resolver {
            owners: &self.owners,
            gaps: &self.gaps,
            condition: self.condition.as_ref(),
            carriers: &mut self.carriers,
            summary: &mut self.summary,
            rows,
            now_ns: self.report.capture.last_ns.unwrap_or(self.latest_ns),
        };
        (&mut self.tracker, resolver)
    }

    /// Another file begins. It may be the next one of the recording, or a later
    /// one: those between are missing.
    fn file(&mut self, made: &Capture) {
        let capture = &mut self.report.capture;
        capture.files += 1;
        capture.made.get_or_insert_with(|| made.clone());
        if made.schema.is_none() {
            return;
        }
        let before = self.file.replace(made.clone());
        let of_same = before.filter(|before| made.continues(before));
        self.is_continuation = of_same.is_some();
        let expected = of_same.map_or(0, |before| before.sequence.saturating_add(1));
        capture.missing_files += u64::from(made.sequence.saturating_sub(expected));
        match capture.ending {
            Ending::Abrupt => capture.unfinished_files += 1,
            Ending::Continued(_) if !self.is_continuation => capture.missing_files += 1,
            _ => {}
        }
        capture.ending = Ending::Abrupt; // until an end is seen
    }

    fn seen_at(&mut self, ts_ns: i64) {
        self.latest_ns = ts_ns;
        let capture = &mut self.report.capture;
        capture.first_ns = Some(capture.first_ns.map_or(ts_ns, |first| first.min(ts_ns)));
        capture.last_ns = Some(capture.last_ns.map_or(ts_ns, |last| last.max(ts_ns)));
    }

    fn packet(&mut self, packet: &Packet<'_>, rows: &mut impl Rows) {
        self.seen_at(packet.ts_ns);
        let counts = &mut self.report.capture.packets;
        counts.all += 1;
        counts.wire_bytes += u64::from(packet.wire_bytes);
        counts.captured_bytes += packet.data.len() as u64;
        let Some(on) = find(&mut self.report.interfaces, packet.interface) else {
            counts.unknown_link += 1;
            return;
        };
        on.packets += 1;
        on.wire_bytes += u64::from(packet.wire_bytes);
        let headers = headers::parse(on.interface.link_type, &packet.data, packet.wire_bytes);
        if packet.kernel.is_some_and(|kernel| !kernel.agrees(&headers)) {
            counts.disagreements += 1;
        }
        let (src, dst) = match &headers {
            Headers::Segment(segment) => (segment.src, segment.dst),
            Headers::Fragment(fragment) => (fragment.src, fragment.dst),
            Headers::TunnelFragment(_) => {
                let seen = Seen {
                    ts_ns: packet.ts_ns,
                    scope: scope(on.interface.netns),
                    cookie: None,
                };
                let whole = self.fragments.take(seen, &headers);
                let inside = whole.as_ref().and_then(Whole::segment);
                counts.not_tcp += u64::from(inside.is_none());
                if let Some(segment) = inside {
                    let (tracker, mut resolver) = self.resolver(rows);
                    tracker.segment(seen, &segment, &mut resolver);
                }
                return;
            }
            Headers::Other(other) => {
                *match other {
                    Other::NotTcp => &mut counts.not_tcp,
                    Other::Cut => &mut counts.cut,
                    Other::Malformed => &mut counts.malformed,
                    Other::LinkType(_) => &mut counts.unknown_link,
                } += 1;
                return;
            }
        };
        let scope = scope(on.interface.netns);
        if self.carriers.is_copy(scope, src, dst, packet.interface) {
            counts.copies += 1;
            on.copies += 1;
            return;
        }
        let seen = Seen {
            ts_ns: packet.ts_ns,
            scope,
            cookie: packet.cookie,
        };
        let whole = self.fragments.take(seen, &headers);
        let segment = match headers {
            Headers::Segment(segment) => Some(segment),
            _ => whole.as_ref().and_then(Whole::segment),
        };
        if let Some(segment) = segment {
            let (tracker, mut resolver) = self.resolver(rows);
            tracker.segment(seen, &segment, &mut resolver);
        }
    }

    fn event(&mut self, event: &Event) {
        if event.kind == EventKind::Scan {
            // A file that goes on tells again of the sockets that are open.
            self.report.capture.scanned_sockets += u64::from(!self.is_continuation);
        } else {
            self.seen_at(event.ts_ns);
            self.report.capture.events += 1;
            self.summary.event(event, &self.owners);
            if let Some(news) = &mut self.news {
                news.event(event, &self.owners);
            }
        }
    }

    fn interface(&mut self, interface: &Interface) {
        let interfaces = &mut self.report.interfaces;
        match interfaces.binary_search_by_key(&interface.id, |known| known.interface.id) {
            Ok(place) => {
                if let Some(known) = interfaces.get_mut(place) {
                    known.interface = interface.clone();
                }
            }
            Err(place) if interfaces.len() < MAX_INTERFACES => interfaces.insert(
                place,
                InterfaceSummary {
                    interface: interface.clone(),
                    packets: 0,
                    wire_bytes: 0,
                    copies: 0,
                },
            ),
            Err(_) => {}
        }
        self.carriers.interface(interface);
    }

    fn loss(&mut self, loss: &Loss) {
        let span = match (loss.first_ns, loss.last_ns) {
            // Other tools count losses without their times.
            (0, 0) => Span {
                first_ns: i64::MIN,
                last_ns: i64::MAX,
            },
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

/// An interface by its id, which mostly is its place, for ids count from 0.
fn find(interfaces: &mut [InterfaceSummary], id: u32) -> Option<&mut InterfaceSummary> {
    let place = id as usize;
    let is_there = |known: &InterfaceSummary| known.interface.id == id;
    let place = if interfaces.get(place).is_some_and(is_there) {
        place
    } else {
        interfaces
            .binary_search_by_key(&id, |known| known.interface.id)
            .ok()?
    };
    interfaces.get_mut(place)
}

/// What keeps equal tuples apart: the network namespace. Captures of other
/// tools know none and are one scope.
fn scope(netns: Option<u32>) -> u32 {
    netns.unwrap_or(0)
}
