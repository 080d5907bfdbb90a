//! Owners beside packets that are written or shown one by one.
//!
//! A packet often comes before the event that names its owner: the handshake
//! is over before a process accepts. So an [`Annotator`] is shown records
//! before it is asked for their owners: a recorder shows it what is to be
//! written next, and what is read from a file goes through `LookAhead`.

mod answers;

use std::collections::VecDeque;

use answers::{Answer, Answers, Way};
use foldhash::HashMap;
use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::{self, Headers, LinkType};
use tcprec_shared::record::{
    Direction, Event, EventKind, MAX_INTERFACES, Packet, Process, ProcessId, Record,
};
use tcprec_shared::stream::{Annotation, Owner, ReadError, Source};

use crate::owner::{Claim, End, Owners};
use crate::span::Span;

/// What is known of a record beyond what stands in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Note<'a> {
    /// Of a packet of a connection: whose it is.
    pub annotation: Option<Annotation<'a>>,
    /// Of an event: the process that did it.
    pub process: Option<&'a Process>,
    /// Of what another process did to a socket, or none (an arriving packet, a timer): whose
    /// it is.
    pub owner: Option<Owner<'a>>,
    /// Of a close: when the socket came to be, if that was seen.
    pub born_ns: Option<i64>,
}

/// How many closed sockets are remembered: late packets come soon.
const CLOSED_SOCKETS: usize = 1 << 14;

/// Finds the owners of packets.
///
/// Nearly all packets belong to a connection that had others, and say of it
/// what those said: what was found for one is kept for the next.
#[derive(Debug)]
pub struct Annotator {
    owners: Owners,
    links: HashMap<u32, LinkType>,
    answers: Answers,
}

impl Default for Annotator {
    fn default() -> Self {
        Self::new()
    }
}

impl Annotator {
    /// An annotator that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            owners: Owners::new(CLOSED_SOCKETS),
            links: HashMap::default(),
            answers: Answers::default(),
        }
    }

    /// Takes in the facts of records that will be asked for.
    pub fn observe(&mut self, records: &[Record<'_>]) {
        for record in records {
            self.owners.observe(record);
        }
    }

    /// What is known of a record that was observed; to be asked in their order.
    pub fn note(&mut self, record: &Record<'_>) -> Note<'_> {
        match record {
            Record::Interface(interface) => {
                if self.links.len() < MAX_INTERFACES || self.links.contains_key(&interface.id) {
                    self.links.insert(interface.id, interface.link_type);
                }
                Note::default()
            }
            Record::Packet(packet) => Note {
                annotation: self.packet(packet),
                ..Note::default()
            },
            Record::Event(event) => self.event(event),
            Record::Capture(_) | Record::Process(_) | Record::Loss(_) | Record::End(_) => {
                Note::default()
            }
        }
    }

    /// What is known of a process.
    pub(crate) fn process(&self, id: ProcessId) -> Option<&Process> {
        self.owners.process(id)
    }

    /// An event with the port of its socket: one that is asked to connect has none yet, and
    /// its first packet tells it.
    pub(crate) fn with_port(&self, event: &Event) -> Event {
        let local = match event.local.port {
            0 => self.owners.local(event),
            _ => event.local,
        };
        Event {
            local,
            ..event.clone()
        }
    }

    fn event(&self, event: &Event) -> Note<'_> {
        let process = event.process.and_then(|id| self.owners.process(id));
        let is_done_to_it = matches!(
            event.kind,
            EventKind::State | EventKind::Retransmit | EventKind::Reset | EventKind::Close
        );
        let owner = is_done_to_it.then(|| self.owners.owner_of(event)).flatten();
        let is_close = event.kind == EventKind::Close;
        Note {
            annotation: None,
            process,
            owner: owner.filter(|owner| Some(owner.process.id) != event.process),
            born_ns: is_close.then(|| self.owners.born_ns(event)).flatten(),
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Option<Annotation<'_>> {
        let (src, dst) = self.endpoints(packet)?;
        let way = Way {
            interface: packet.interface,
            direction: packet.direction,
            src,
            dst,
            cookie: packet.cookie,
        };
        let hash = self.answers.hash(&way);
        let changes = self.owners.changes();
        let known = self.answers.get(hash, &way);
        let known = known.filter(|answer| answer.holds(packet.ts_ns, changes));
        let number = match known {
            Some(answer) => answer.number,
            None => self.find(way, hash, packet.ts_ns),
        };
        let answer = self.answers.numbered(number)?;
        Some(Annotation {
            owner: self.owners.owner(answer.owner.holder),
            peer: self.owners.owner(answer.peer.holder),
            community_id: &answer.community_id,
            number,
        })
    }

    /// Finds the owners of a packet of this way and time, and keeps them.
    fn find(&mut self, way: Way, hash: u64, ts_ns: i64) -> u64 {
        let claim = |local, remote, cookie| {
            let netns = self.owners.netns(way.interface);
            let nobody = Claim {
                holder: None,
                span: Span::ALWAYS,
            };
            netns.map_or(nobody, |netns| {
                self.owners.claim(&End {
                    netns,
                    local,
                    remote,
                    cookie,
                    span: Span::at(ts_ns),
                })
            })
        };
        let sender = claim(way.src, way.dst, way.cookie);
        let receiver = claim(way.dst, way.src, None);
        let (owner, peer) = match way.direction {
            Some(Direction::In) => (receiver, sender),
            Some(Direction::Out) | None => (sender, receiver),
        };
        let community_id = match self.answers.get(hash, &way) {
            Some(before) => before.community_id.clone(),
            None => Flow::between(way.src, way.dst).community_id(),
        };
        let changes = self.owners.changes();
        // Processes may have other names by now: the number is always new.
        self.answers.keep(hash, |number| Answer {
            way,
            owner,
            peer,
            community_id,
            number,
            changes,
        })
    }

    /// Between whom a packet is; nobody where that is not known: in captures
    /// of other protocols, and in fragments other than the first.
    fn endpoints(&self, packet: &Packet<'_>) -> Option<(Endpoint, Endpoint)> {
        let (src, dst) = if let Some(kernel) = packet.kernel {
            (kernel.src, kernel.dst)
        } else {
            let link = *self.links.get(&packet.interface)?;
            match headers::parse(link, &packet.data, packet.wire_bytes) {
                Headers::Segment(segment) => (segment.src, segment.dst),
                Headers::Fragment(fragment) => (fragment.src, fragment.dst),
                Headers::TunnelFragment(_) | Headers::Other(_) => return None,
            }
        };
        (src.port != 0 && dst.port != 0).then_some((src, dst))
    }
}

/// So far is looked ahead, at most: in capture time, in records, and in bytes.
const AHEAD_NS: i64 = 1_000_000_000;
const AHEAD_RECORDS: usize = 1 << 14;
const AHEAD_BYTES: usize = 16 << 20;

/// Gives records after it has seen those that follow.
#[derive(Debug)]
pub(crate) struct LookAhead<S> {
    source: S,
    annotator: Annotator,
    waiting: VecDeque<Record<'static>>,
    waiting_bytes: usize,
    /// The latest time seen.
    latest_ns: i64,
    is_read: bool,
}

impl<S: Source> LookAhead<S> {
    /// Looks ahead in a source.
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            annotator: Annotator::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            latest_ns: i64::MIN,
            is_read: false,
        }
    }

    /// The source, as far as it was read.
    pub(crate) const fn source(&self) -> &S {
        &self.source
    }

    /// The annotator that has seen what follows.
    pub(crate) const fn annotator(&mut self) -> &mut Annotator {
        &mut self.annotator
    }

    /// The next record, to be asked of the annotator before the one after it;
    /// none at the end.
    ///
    /// # Errors
    /// The source's, as soon as it is met, which is before the records that
    /// were read ahead. After any error it can be asked for more.
    pub(crate) fn next_record(&mut self) -> Result<Option<Record<'static>>, ReadError> {
        while !self.is_read && !self.is_far_enough() {
            match self.source.next() {
                Ok(Some(record)) => {
                    let record = record.into_owned();
                    self.annotator.owners.observe(&record);
                    self.latest_ns = self.latest_ns.max(time(&record).unwrap_or(i64::MIN));
                    self.waiting_bytes += record.heap_bytes();
                    self.waiting.push_back(record);
                }
                Ok(None) => self.is_read = true,
                Err(error) => {
                    self.is_read = !error.is_passing();
                    return Err(error);
                }
            }
        }
        let next = self.waiting.pop_front();
        self.waiting_bytes -= next.as_ref().map_or(0, Record::heap_bytes);
        Ok(next)
    }

    fn is_far_enough(&self) -> bool {
        let Some(next) = self.waiting.front() else {
            return false;
        };
        // What has no time is of the time of what comes before it.
        let is_old =
            time(next).is_none_or(|ts_ns| self.latest_ns.saturating_sub(ts_ns) >= AHEAD_NS);
        is_old || self.waiting.len() >= AHEAD_RECORDS || self.waiting_bytes >= AHEAD_BYTES
    }
}

fn time(record: &Record<'_>) -> Option<i64> {
    match record {
        Record::Packet(packet) => Some(packet.ts_ns),
        Record::Event(event) => Some(event.ts_ns),
        Record::Capture(_)
        | Record::Interface(_)
        | Record::Process(_)
        | Record::Loss(_)
        | Record::End(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use tcprec_shared::record::{EventKind, Interface, ProcessId, Provenance};

    use super::*;

    struct Records(vec::IntoIter<Record<'static>>);

    impl Source for Records {
        fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
            Ok(self.0.next())
        }

        fn has_next(&self) -> bool {
            true
        }
    }

    const NETNS: u32 = 7;
    const SERVER: ProcessId = ProcessId {
        pid: 1,
        start_ns: 0,
    };

    fn syn(ts_ns: i64) -> Record<'static> {
        let data = [
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 3, 232, 0, 80, 0, 0,
            0, 7, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0,
        ];
        Record::Packet(Packet {
            direction: Some(Direction::In),
            ..Packet::new(ts_ns, 0, data.to_vec())
        })
    }

    fn accept(ts_ns: i64) -> Record<'static> {
        Record::Event(Event {
            process: Some(SERVER),
            ..Event::new(
                EventKind::Accept,
                ts_ns,
                NETNS,
                Endpoint::new([10, 0, 0, 2].into(), 80),
                Endpoint::new([10, 0, 0, 1].into(), 1000),
            )
        })
    }

    /// Whether each of the packets has an owner.
    fn owned(records: impl IntoIterator<Item = Record<'static>>) -> Vec<bool> {
        let mut all = vec![Record::Interface(Interface {
            netns: Some(NETNS),
            ..Interface::new(0, None, LinkType::RAW)
        })];
        all.extend(records);
        let mut ahead = LookAhead::new(Records(all.into_iter()));
        let mut owned = Vec::new();
        while let Some(record) = ahead.next_record().unwrap() {
            if let Some(annotation) = ahead.annotator().note(&record).annotation {
                let provenance = annotation.owner.map(|owner| owner.provenance);
                owned.push(provenance == Some(Provenance::Accept));
            }
        }
        owned
    }

    #[test]
    fn an_accept_names_the_packets_of_the_second_before() {
        assert_eq!(owned([syn(0), accept(999_999_999)]), [true]);
        assert_eq!(
            owned([syn(0), syn(1_000_000_000), accept(1_100_000_000)]),
            [false, true]
        );
    }

    #[test]
    fn what_was_found_lasts_until_something_changes() {
        let interface = Record::Interface(Interface {
            netns: Some(NETNS),
            ..Interface::new(0, None, LinkType::RAW)
        });
        let mut annotator = Annotator::new();
        annotator.note(&interface);
        annotator.observe(&[interface, accept(0)]);
        let ask = |annotator: &mut Annotator, ts_ns| {
            let note = annotator.note(&syn(ts_ns)).annotation.unwrap();
            (note.owner.unwrap().process.comm.clone(), note.number)
        };
        let first = ask(&mut annotator, 1);
        assert_eq!(ask(&mut annotator, 2), first);

        annotator.observe(&[Record::Process(Process {
            comm: "nginx".to_owned(),
            ..Process::nameless(SERVER)
        })]);
        let (comm, number) = ask(&mut annotator, 3);
        assert_eq!(comm, "nginx");
        assert_ne!(number, first.1);

        // Another connection between the same ends: the time tells which.
        let Record::Event(event) = accept(10) else {
            unreachable!()
        };
        annotator.observe(&[
            Record::Event(Event {
                kind: EventKind::Close,
                ..event.clone()
            }),
            Record::Event(Event {
                ts_ns: 20,
                process: Some(ProcessId { pid: 2, ..SERVER }),
                ..event
            }),
        ]);
        let nginx = ask(&mut annotator, 4);
        assert_eq!(nginx.0, "nginx");
        let other = ask(&mut annotator, 30);
        assert_eq!(other.0, "");
        assert_ne!(nginx.1, other.1);
    }

    #[test]
    fn many_interfaces_take_bounded_memory() {
        let mut annotator = Annotator::new();
        for id in 0..2 * MAX_INTERFACES as u32 {
            let interface = Record::Interface(Interface {
                netns: Some(id),
                ..Interface::new(id, None, LinkType::RAW)
            });
            annotator.observe(std::slice::from_ref(&interface));
            annotator.note(&interface);
        }
        assert_eq!(annotator.links.len(), MAX_INTERFACES);
        let last = MAX_INTERFACES as u32 - 1;
        let netns = |id| annotator.owners.netns(id);
        assert_eq!([netns(last), netns(last + 1)], [Some(last), None]);
    }

    #[test]
    fn what_is_no_packet_takes_memory_too() {
        let process = Record::Process(Process {
            exe: Some("x".repeat(AHEAD_BYTES / 4)),
            ..Process::nameless(SERVER)
        });
        let mut records = vec![accept(0)];
        records.resize(100, process);
        let mut ahead = LookAhead::new(Records(records.into_iter()));
        while ahead.next_record().unwrap().is_some() {
            assert!(ahead.waiting.len() <= 5);
        }
    }

    #[test]
    fn looking_ahead_has_an_end() {
        let many = (0..100_000).map(|_| syn(0));
        let owned = owned(many.chain([accept(1)]));
        assert!(!owned[0]);
        assert!(owned[99_999]);
    }
}
