//! What the packets of a part of a batch say by themselves: the first thing that
//! is done with records, for many parts at the same time.

use std::ops::Range;

use tcprec_shared::batch::{self, Batch};
use tcprec_shared::headers::{self, Headers, Other, Segment};
use tcprec_shared::record::{Direction, EventKind, Packet, Record};

use super::copies::CapturePoint;
use super::interfaces::Interfaces;
use super::shard::{SHARDS, shard_of};
use crate::report::PacketCounts;
use crate::tcp::Seen;

/// Whether a batch tells of an interface: what is before that has to be done first.
pub(super) fn has_interface(batch: &Batch) -> bool {
    let is_interface = |other: &batch::Other| matches!(other.record, Record::Interface(_));
    batch.others().iter().any(is_interface)
}

/// Records of a batch that need no more than the same interfaces.
#[derive(Debug)]
pub(super) struct Part<'a> {
    batch: &'a Batch,
    packets: Range<usize>,
    others: Range<usize>,
}

impl<'a> Part<'a> {
    /// All of a batch, in parts between its interfaces' records, which come with
    /// the part before them.
    pub(super) fn all(
        batch: &'a Batch,
    ) -> impl Iterator<Item = (Self, Option<&'a Record<'static>>)> {
        let is_interface =
            |(_, other): &(usize, &batch::Other)| matches!(other.record, Record::Interface(_));
        let interfaces = batch.others().iter().enumerate().filter(is_interface);
        let ends = interfaces.map(|(place, other)| (other.after, place, Some(&other.record)));
        let end = (batch.packet_count(), batch.others().len(), None);
        let mut begin = (0, 0);
        ends.chain([end]).map(move |(packets, others, interface)| {
            let part = Self {
                batch,
                packets: begin.0..packets,
                others: begin.1..others,
            };
            begin = (packets, others + usize::from(interface.is_some()));
            (part, interface)
        })
    }

    /// All of a batch, where no interface is among its records.
    pub(super) fn whole(batch: &'a Batch) -> Self {
        Self {
            batch,
            packets: 0..batch.packet_count(),
            others: 0..batch.others().len(),
        }
    }

    /// A packet by its place in the part, without its bytes and with these.
    #[inline]
    pub(super) fn packet(&self, place: u32) -> Option<(Packet<'static>, &'a [u8])> {
        self.batch.packet(self.packets.start + place as usize)
    }

    /// One of the other records, and how many packets of the part are before it.
    pub(super) fn other(&self, place: usize) -> Option<(u32, &'a Record<'static>)> {
        let place = self.others.start + place;
        let other = self.batch.others().get(place);
        let other = other.filter(|_| place < self.others.end)?;
        Some(((other.after - self.packets.start) as u32, &other.record))
    }

    /// Reads the headers of all packets; what belongs to connections goes to `found`,
    /// where it stands: copying it took as long as reading it.
    pub(super) fn read(
        &self,
        interfaces: &Interfaces,
        mut found: impl FnMut(At, &Headers<'a>),
    ) -> Tally {
        let mut tally = Tally::default();
        let mut others = (0..).map_while(|place| self.other(place)).peekable();
        let packets = self.batch.packets(self.packets.clone());
        for (place, (packet, data)) in (0..).zip(packets) {
            while let Some((_, record)) = others.next_if(|(after, _)| *after <= place) {
                tally.other(record);
            }
            tally.packet(place, &packet, data, interfaces, &mut found);
        }
        others.for_each(|(_, record)| tally.other(record));
        tally
    }

    /// As [`Self::read`], with what is found divided among the shards, in the room
    /// that they had before.
    pub(super) fn parse(&self, interfaces: &Interfaces, room: Room) -> Parsed<'a> {
        let mut segments = room.map(emptied);
        let mut pieces = Vec::new();
        let tally = self.read(interfaces, |at, headers| match headers {
            Headers::Segment(segment) => {
                let shard = shard_of(at.seen.scope, segment);
                if let Some(segments) = segments.get_mut(shard) {
                    segments.push(Item {
                        at,
                        may_be_copy: true,
                        segment: *segment,
                    });
                }
            }
            headers => pieces.push((at, *headers)),
        });
        Parsed {
            segments,
            pieces,
            tally,
        }
    }
}

/// Where a packet was found that belongs to a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// The place among the packets of the part.
    pub(super) place: u32,
    pub(super) point: CapturePoint,
    pub(super) seen: Seen,
    /// The latest time in the part until then.
    pub(super) latest_ns: i64,
}

/// A segment on its way to its connection.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) at: At,
    /// Of pieces it is known that they are none.
    pub(super) may_be_copy: bool,
    pub(super) segment: Segment<'a>,
}

/// Where the segments of a part were, by shard: room for those of another.
pub(super) type Room = [Vec<Item<'static>>; SHARDS];

/// The same vector, empty: collecting a vector's own items keeps its memory.
#[allow(clippy::unnecessary_filter_map)] // a filter would keep the lifetime
fn emptied<'a>(mut items: Vec<Item<'_>>) -> Vec<Item<'a>> {
    items.clear();
    items.into_iter().filter_map(|_| None).collect()
}

/// A part whose packets are divided among the shards.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// By shard, in their order.
    pub(super) segments: [Vec<Item<'a>>; SHARDS],
    /// What is to become segments.
    pub(super) pieces: Vec<(At, Headers<'a>)>,
    pub(super) tally: Tally,
}

impl<'a> Parsed<'a> {
    /// Gives the room that its segments took.
    pub(super) fn into_room(self) -> Room {
        self.segments.map(emptied)
    }

    /// Puts a segment where it belongs, once its pieces are together.
    pub(super) fn insert(&mut self, at: At, segment: Segment<'a>) {
        let shard = shard_of(at.seen.scope, &segment);
        if let Some(segments) = self.segments.get_mut(shard) {
            let place = segments.partition_point(|other| other.at.place < at.place);
            let item = Item {
                at,
                may_be_copy: false,
                segment,
            };
            segments.insert(place, item);
        }
    }
}

/// Packets of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traffic {
    pub(super) packets: u64,
    pub(super) wire_bytes: u64,
}

/// What is counted of a part.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: PacketCounts,
    /// By an interface's id, for packets that follow each other.
    pub(super) traffic: Vec<(u32, Traffic)>,
    /// The places of the packets that may tell the owner of a socket something.
    pub(super) telling: Vec<u32>,
    /// Those of packets and events; none if there are none.
    pub(super) times: Option<Times>,
}

/// When something was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
    /// That of the last record, which need not be the latest time.
    pub(super) of_last_ns: i64,
}

impl Times {
    const fn at(ts_ns: i64) -> Self {
        Self {
            first_ns: ts_ns,
            last_ns: ts_ns,
            of_last_ns: ts_ns,
        }
    }

    /// These times, and later ones in the order of the file.
    pub(super) fn and(self, after: Self) -> Self {
        Self {
            first_ns: self.first_ns.min(after.first_ns),
            last_ns: self.last_ns.max(after.last_ns),
            of_last_ns: after.of_last_ns,
        }
    }
}

impl Tally {
    fn other(&mut self, record: &Record<'_>) {
        if let Record::Event(event) = record
            && event.kind != EventKind::Scan
        {
            self.seen_at(event.ts_ns);
        }
    }

    /// Gives the latest time by then.
    fn seen_at(&mut self, ts_ns: i64) -> i64 {
        let now = Times::at(ts_ns);
        let times = self.times.map_or(now, |before| before.and(now));
        self.times = Some(times);
        times.last_ns
    }

    #[inline]
    fn packet<'a>(
        &mut self,
        place: u32,
        packet: &Packet<'static>,
        data: &'a [u8],
        interfaces: &Interfaces,
        found: &mut impl FnMut(At, &Headers<'a>),
    ) {
        let latest_ns = self.seen_at(packet.ts_ns);
        let counts = &mut self.counts;
        counts.all += 1;
        counts.wire_bytes += u64::from(packet.wire_bytes);
        counts.captured_bytes += data.len() as u64;
        let Some(on) = interfaces.find(packet.interface) else {
            counts.unknown_link += 1;
            return;
        };
        let wire_bytes = u64::from(packet.wire_bytes);
        match self.traffic.last_mut() {
            Some((interface, traffic)) if *interface == packet.interface => {
                traffic.packets += 1;
                traffic.wire_bytes += wire_bytes;
            }
            _ => {
                let packets = 1;
                let traffic = Traffic {
                    packets,
                    wire_bytes,
                };
                self.traffic.push((packet.interface, traffic));
            }
        }
        let headers = headers::parse(on.link_type, data, packet.wire_bytes);
        if let Some(kernel) = packet.kernel {
            counts.disagreements += u64::from(!kernel.agrees(&headers));
            if packet.cookie.is_some() && packet.direction != Some(Direction::In) {
                self.telling.push(place);
            }
        }
        if let Headers::Other(other) = headers {
            *match other {
                Other::NotTcp => &mut counts.not_tcp,
                Other::Cut => &mut counts.cut,
                Other::Malformed => &mut counts.malformed,
                Other::LinkType(_) => &mut counts.unknown_link,
            } += 1;
            return;
        }
        // That on a tunnel's packet is of the tunnel's socket.
        let is_tunnel = matches!(headers, Headers::TunnelFragment(_));
        let seen = Seen {
            ts_ns: packet.ts_ns,
            // What keeps equal tuples apart. Captures of other tools know no
            // namespaces and are one scope.
            scope: on.netns.unwrap_or(0),
            cookie: packet.cookie.filter(|_| !is_tunnel),
        };
        let at = At {
            place,
            point: CapturePoint {
                interface: packet.interface,
                direction: packet.direction,
            },
            seen,
            latest_ns,
        };
        found(at, &headers);
    }
}
