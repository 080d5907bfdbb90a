//! From records to a report.
//!
//! One pass, for a live recording and for a file alike: connections come out
//! of the tracker as they finish, and their owners are looked up then, when
//! late events are in. No I/O, no clock: equal records give equal reports.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::{self, Headers, Other};
use tcprec_shared::record::{
    Capture, Event, EventKind, Interface, Loss, LossCause, Lost, Packet, ProcessId, Record,
};
use tcprec_shared::stream::ReadError;

use crate::app::Request;
use crate::gaps::Incomplete;
use crate::owner::{self, Owners, Span};
use crate::report::{
    Connection, EndFacts, Ending, InterfaceSummary, LossSummary, OwnerId, Part, ProcessSummary,
    Report,
};
use crate::tcp::{self, Limits, Observer, Seen, Tracker};

/// At most so many interfaces are known; packets of others are not analyzed.
const MAX_INTERFACES: usize = 1 << 16;

/// At most so many ways of connections over several interfaces are known;
/// beyond, all are found out anew.
const MAX_CARRIERS: usize = 1 << 21;

/// Makes a report of records.
#[derive(Debug)]
pub struct Pipeline {
    tracker: Tracker,
    owners: Owners,
    found: Found,
    /// What was seen so far, but for connections, requests and processes.
    report: Report,
    losses: BTreeMap<(LossCause, Lost), LossSummary>,
    carriers: Carriers,
    /// Time of the record before.
    latest_ns: i64,
    /// What the file that is being read says of itself.
    file: Option<Capture>,
    /// Whether that file goes on with the recording of the one before.
    is_continuation: bool,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Pipeline {
    /// A pipeline that has seen nothing, and follows connections within limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            tracker: Tracker::new(limits),
            // As many as the tracker follows, and so may ask for.
            owners: Owners::new(limits.connections),
            found: Found::default(),
            report: Report::default(),
            losses: BTreeMap::new(),
            carriers: Carriers::default(),
            latest_ns: i64::MIN,
            file: None,
            is_continuation: false,
        }
    }

    /// Takes the next record of a capture.
    pub fn push(&mut self, record: &Record<'_>) {
        self.owners.observe(record);
        let capture = &mut self.report.capture;
        match record {
            Record::Packet(packet) => self.packet(packet),
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
            self.report.gaps.packets.add(span);
            self.report.gaps.events.add(span);
        } else {
            capture.ending = Ending::Cut(error.to_string());
        }
    }

    /// Ends the analysis.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let mut report = self.report;
        report.capture.evicted_connections = self.tracker.evicted_connections();
        self.tracker.finish(&mut Resolver {
            owners: &self.owners,
            carriers: &mut self.carriers,
            found: &mut self.found,
        });
        report.losses = self.losses.into_values().collect();
        report.gaps.packets.merge();
        report.gaps.events.merge();
        report.gaps.is_cut = matches!(report.capture.ending, Ending::Abrupt | Ending::Cut(_));
        report.connections = self.found.connections;
        report.connections.sort_by_key(|found| found.tcp.id);
        for connection in &mut report.connections {
            connection.incomplete = report.gaps.of_connection(&connection.tcp);
        }
        report.requests = self.found.requests;
        report
            .requests
            .sort_by_key(|found| (began_ns(found), found.connection, found.index));
        report.processes = processes(&report, &self.owners);
        report
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

    fn packet(&mut self, packet: &Packet<'_>) {
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
        let mut resolver = Resolver {
            owners: &self.owners,
            carriers: &mut self.carriers,
            found: &mut self.found,
        };
        match &headers {
            Headers::Segment(segment) => {
                self.tracker.segment(seen, segment, &mut resolver);
            }
            Headers::Fragment(fragment) => {
                self.tracker.fragment(seen, fragment, &mut resolver);
            }
            Headers::Other(_) => {}
        }
    }

    fn event(&mut self, event: &Event) {
        if event.kind == EventKind::Scan {
            // A file that goes on tells again of the sockets that are open.
            self.report.capture.scanned_sockets += u64::from(!self.is_continuation);
        } else {
            self.seen_at(event.ts_ns);
            self.report.capture.events += 1;
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
            Lost::Packets => self.report.gaps.packets.add(span),
            Lost::Events => self.report.gaps.events.add(span),
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

/// When a request began, as far as it was seen.
fn began_ns(request: &Request) -> Option<i64> {
    let request_ns = request.request.as_ref().map(|message| message.first_ns);
    request_ns.or(request.response.as_ref().map(|message| message.first_ns))
}

/// Which interface carries a direction of a connection, where several of one
/// network namespace see its packets (`-i any`, a bridge and its ports): the
/// one that saw the first. The others have copies.
#[derive(Debug, Default)]
struct Carriers {
    /// The interfaces of each namespace that is known.
    interfaces: HashMap<u32, Vec<u32>>,
    /// Whether any namespace has several.
    is_needed: bool,
    first: HashMap<(u32, Endpoint, Endpoint), u32>,
}

impl Carriers {
    fn interface(&mut self, interface: &Interface) {
        let Some(netns) = interface.netns else { return };
        let known = self.interfaces.entry(netns).or_default();
        if known.len() < 2 && !known.contains(&interface.id) {
            known.push(interface.id);
        }
        self.is_needed |= known.len() > 1;
    }

    fn is_copy(&mut self, scope: u32, src: Endpoint, dst: Endpoint, interface: u32) -> bool {
        if !self.is_needed || scope == 0 {
            return false;
        }
        if self.first.len() >= MAX_CARRIERS {
            self.first.clear();
        }
        *self.first.entry((scope, src, dst)).or_insert(interface) != interface
    }

    fn forget(&mut self, scope: u32, a: Endpoint, b: Endpoint) {
        if self.is_needed {
            self.first.remove(&(scope, a, b));
            self.first.remove(&(scope, b, a));
        }
    }
}

/// What came out of the tracker.
#[derive(Debug, Default)]
struct Found {
    connections: Vec<Connection>,
    requests: Vec<Request>,
}

/// Takes connections as they finish, and finds out whose they are.
struct Resolver<'a> {
    owners: &'a Owners,
    carriers: &'a mut Carriers,
    found: &'a mut Found,
}

impl Resolver<'_> {
    fn facts(&self, connection: &tcp::Connection, end: &tcp::End, other: &tcp::End) -> EndFacts {
        if connection.scope == 0 {
            return EndFacts::default();
        }
        let end = owner::End {
            netns: connection.scope,
            local: end.endpoint,
            remote: other.endpoint,
            cookie: end.cookie,
            span: Span {
                first_ns: connection.first_ns,
                last_ns: connection.last_ns,
            },
        };
        EndFacts {
            owner: self.owners.owner(&end).map(|owner| OwnerId {
                process: owner.process.id,
                provenance: owner.provenance,
            }),
            kernel: self.owners.kernel(&end),
        }
    }
}

impl Observer for Resolver<'_> {
    fn request(&mut self, request: Request) {
        self.found.requests.push(request);
    }

    fn connection(&mut self, connection: tcp::Connection) {
        let (orig, resp) = (&connection.orig, &connection.resp);
        self.carriers
            .forget(connection.scope, orig.endpoint, resp.endpoint);
        let found = Connection {
            orig: self.facts(&connection, orig, resp),
            resp: self.facts(&connection, resp, orig),
            netns: Some(connection.scope).filter(|scope| *scope != 0),
            incomplete: Incomplete::default(), // until all losses are known
            tcp: connection,
        };
        self.found.connections.push(found);
    }
}

/// The processes that own an end of a connection, with their part in it.
fn processes(report: &Report, owners: &Owners) -> BTreeMap<ProcessId, ProcessSummary> {
    let mut all = BTreeMap::new();
    let mut count = |owner: Option<OwnerId>, part: Part| {
        if let Some(process) = owner.and_then(|owner| owners.process(owner.process)) {
            let summary = all.entry(process.id).or_insert_with(|| ProcessSummary {
                process: process.clone(),
                part: Part::default(),
            });
            summary.part += part;
        }
    };
    for connection in &report.connections {
        let (orig, resp) = (&connection.tcp.orig, &connection.tcp.resp);
        let made = Part {
            connections_made: 1,
            sent_bytes: orig.bytes,
            received_bytes: resp.bytes,
            ..Part::default()
        };
        let taken = Part {
            connections_taken: 1,
            sent_bytes: resp.bytes,
            received_bytes: orig.bytes,
            ..Part::default()
        };
        count(connection.orig.owner, made);
        count(connection.resp.owner, taken);
    }
    for request in &report.requests {
        let [client, server] = report.owners_of(request);
        let made = Part {
            requests_made: 1,
            ..Part::default()
        };
        let taken = Part {
            requests_taken: 1,
            ..Part::default()
        };
        count(client, made);
        count(server, taken);
    }
    all
}
