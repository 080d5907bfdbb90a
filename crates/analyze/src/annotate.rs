//! Owners beside packets that are written or shown one by one.
//!
//! A packet often comes before the event that names its owner: the handshake
//! is over before a process accepts. So records are taken in batches, and the
//! events of a whole batch are known before its first packet is annotated.

use std::collections::HashMap;

use tcprec_shared::flow::{Endpoint, Flow};
use tcprec_shared::headers::{self, Headers, LinkType};
use tcprec_shared::record::{Direction, Packet, Process, Record};
use tcprec_shared::stream::{Annotation, ReadError, Source};

use crate::owner::{End, Owners, Span};

/// What is known of a record beyond what stands in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Note<'a> {
    /// Of a packet of a connection: whose it is.
    pub annotation: Option<Annotation<'a>>,
    /// Of an event: the process that did it.
    pub process: Option<&'a Process>,
}

/// How many closed sockets are remembered: late packets come soon.
const CLOSED_SOCKETS: usize = 1 << 16;

/// How many Community IDs are kept at hand.
const COMMUNITY_IDS: usize = 1 << 14;

/// Finds the owners of packets.
#[derive(Debug)]
pub struct Annotator {
    owners: Owners,
    links: HashMap<u32, LinkType>,
    community_ids: HashMap<Flow, String>,
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
            links: HashMap::new(),
            community_ids: HashMap::new(),
        }
    }

    /// Takes in the facts of a batch, before its packets are annotated.
    pub fn observe(&mut self, batch: &[Record<'_>]) {
        for record in batch {
            self.owners.observe(record);
        }
    }

    /// What is known of a record of the batch; to be asked in their order.
    pub fn note(&mut self, record: &Record<'_>) -> Note<'_> {
        match record {
            Record::Interface(interface) => {
                self.links.insert(interface.id, interface.link_type);
                Note::default()
            }
            Record::Packet(packet) => Note {
                annotation: self.packet(packet),
                process: None,
            },
            Record::Event(event) => Note {
                annotation: None,
                process: event.process.and_then(|id| self.owners.process(id)),
            },
            Record::Capture(_) | Record::Process(_) | Record::Loss(_) | Record::End(_) => {
                Note::default()
            }
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Option<Annotation<'_>> {
        let (src, dst) = self.endpoints(packet)?;
        let flow = Flow::between(src, dst);
        if self.community_ids.len() >= COMMUNITY_IDS {
            self.community_ids.clear();
        }
        let community_id = self
            .community_ids
            .entry(flow)
            .or_insert_with(|| flow.community_id());
        let owner = |local, remote, cookie| {
            self.owners.owner(&End {
                netns: self.owners.netns(packet.interface)?,
                local,
                remote,
                cookie,
                span: Span::at(packet.ts_ns),
            })
        };
        let sender = owner(src, dst, packet.cookie);
        let receiver = owner(dst, src, None);
        let (owner, peer) = match packet.direction {
            Some(Direction::In) => (receiver, sender),
            Some(Direction::Out) | None => (sender, receiver),
        };
        Some(Annotation {
            owner,
            peer,
            community_id,
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
                Headers::Other(_) => return None,
            }
        };
        (src.port != 0 && dst.port != 0).then_some((src, dst))
    }
}

/// A batch is as many records as one looks ahead to find owners, at most.
const BATCH_RECORDS: usize = 8192;
const BATCH_BYTES: usize = 16 << 20;
/// In capture time, so that what is read from a running recording comes soon.
const BATCH_NS: i64 = 1_000_000_000;

/// Reads the next batch, and the error that ended it, if one did. An empty
/// batch without an error is the end.
pub fn read_batch(
    source: &mut (impl Source + ?Sized),
    batch: &mut Vec<Record<'static>>,
) -> Option<ReadError> {
    batch.clear();
    let mut bytes = 0;
    let mut first_ns = None;
    while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
        let record = match source.next() {
            Ok(Some(record)) => record.into_owned(),
            Ok(None) => return None,
            Err(error) => return Some(error),
        };
        let ts_ns = match &record {
            Record::Packet(packet) => {
                bytes += packet.data.len();
                Some(packet.ts_ns)
            }
            Record::Event(event) => Some(event.ts_ns),
            _ => None,
        };
        batch.push(record);
        if let Some(ts_ns) = ts_ns
            && ts_ns.saturating_sub(*first_ns.get_or_insert(ts_ns)) >= BATCH_NS
        {
            break;
        }
    }
    None
}
