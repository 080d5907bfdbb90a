//! Segments, alone and in tunnels, from IP fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use tcprec_shared::headers::{
    Fragment, Headers, Segment, TunnelFragment, parse_tunnel, segment_of_payload,
};

use super::ranges::{Range, Ranges};
use super::tracker::Seen;

/// Length of the longest IP payload.
const MAX_BYTES: u32 = 0xffff;

/// So many packets may be incomplete at a time; the oldest are dropped first.
const MAX_PACKETS: usize = 256;

/// A packet whose fragments do not all come within this time is dropped
/// (RFC 8200 section 4.5).
const TIMEOUT_NS: i64 = 60_000_000_000;

/// Length of the TCP header without options.
const TCP_HEADER_BYTES: u32 = 20;

/// Number of TCP among the protocols of IP.
const TCP: u8 = 6;

/// A fragment of any protocol.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    id: u32,
    offset_bytes: u32,
    more: bool,
    ip_bytes: u32,
    /// Length of the IP payload on the wire.
    wire_bytes: u32,
    data: &'a [u8],
}

impl<'a> From<&Fragment<'a>> for Piece<'a> {
    fn from(fragment: &Fragment<'a>) -> Self {
        Self {
            src: fragment.src.addr,
            dst: fragment.dst.addr,
            protocol: TCP,
            id: fragment.id,
            offset_bytes: fragment.offset_bytes,
            more: fragment.more,
            ip_bytes: fragment.ip_bytes,
            wire_bytes: wire_bytes(fragment),
            data: fragment.data,
        }
    }
}

impl<'a> From<&TunnelFragment<'a>> for Piece<'a> {
    fn from(fragment: &TunnelFragment<'a>) -> Self {
        Self {
            src: fragment.src,
            dst: fragment.dst,
            protocol: fragment.protocol,
            id: fragment.id,
            offset_bytes: fragment.offset_bytes,
            more: fragment.more,
            ip_bytes: 0, // of no use: the packet inside has its own
            wire_bytes: fragment.payload_bytes,
            data: fragment.data,
        }
    }
}

/// The packets of which some fragments were seen.
#[derive(Debug, Default)]
pub struct Fragments {
    packets: HashMap<Key, Whole>,
    /// When they began, in the order of that.
    begun: VecDeque<(i64, Key)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    scope: u32,
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    id: u32,
}

impl Fragments {
    /// Takes the next piece of a packet, if it is one. Once a packet is whole that
    /// has a segment in it, gives that.
    pub fn take(&mut self, seen: Seen, headers: &Headers<'_>) -> Option<Whole> {
        let mut whole = match headers {
            Headers::Fragment(fragment) => self.push(seen, &fragment.into())?,
            Headers::TunnelFragment(fragment) => self.push(seen, &fragment.into())?,
            Headers::Segment(_) | Headers::Other(_) => return None,
        };
        // What is in a tunnel may be in pieces itself; each is smaller.
        loop {
            let next = match whole.headers()? {
                Headers::Segment(_) => return Some(whole),
                Headers::Fragment(fragment) => self.push(seen, &(&fragment).into())?,
                Headers::TunnelFragment(fragment) => self.push(seen, &(&fragment).into())?,
                Headers::Other(_) => return None,
            };
            whole = next;
        }
    }

    /// Takes a fragment, and gives the packet if it is whole now.
    fn push(&mut self, seen: Seen, fragment: &Piece<'_>) -> Option<Whole> {
        while let Some(&(begun_ns, key)) = self.begun.front()
            && (self.begun.len() >= MAX_PACKETS || begun_ns.saturating_add(TIMEOUT_NS) < seen.ts_ns)
        {
            self.begun.pop_front();
            self.packets.remove(&key);
        }
        let key = Key {
            scope: seen.scope,
            src: fragment.src,
            dst: fragment.dst,
            protocol: fragment.protocol,
            id: fragment.id,
        };
        let packet = self.packets.entry(key).or_insert_with(|| {
            self.begun.push_back((seen.ts_ns, key));
            Whole::new(key)
        });
        packet.add(fragment);
        if !packet.is_whole() {
            return None;
        }
        self.begun.retain(|(_, begun)| *begun != key);
        self.packets.remove(&key)
    }
}

/// A packet put together from its fragments, with a segment in it.
#[derive(Debug)]
pub struct Whole {
    key: Key,
    packets: u64,
    ip_bytes: u32,
    wire_bytes: Option<u32>,
    seen: Ranges,
    captured: Ranges,
    data: Vec<u8>,
}

impl Whole {
    fn new(key: Key) -> Self {
        Self {
            key,
            packets: 0,
            ip_bytes: 0,
            wire_bytes: None,
            seen: Ranges::default(),
            captured: Ranges::default(),
            data: Vec::new(),
        }
    }

    fn add(&mut self, fragment: &Piece<'_>) {
        self.packets += 1;
        let wire_bytes = fragment.wire_bytes;
        let end = fragment.offset_bytes.saturating_add(wire_bytes);
        if end > MAX_BYTES {
            return;
        }
        self.ip_bytes = self.ip_bytes.saturating_add(fragment.ip_bytes);
        if !fragment.more {
            self.wire_bytes = Some(end);
        }
        self.seen.insert(range(fragment.offset_bytes, end));
        let start = fragment.offset_bytes as usize;
        let kept = fragment.data.len().min(wire_bytes as usize);
        if self.data.len() < start + kept {
            self.data.resize(start + kept, 0);
        }
        let captured = range(fragment.offset_bytes, fragment.offset_bytes + kept as u32);
        // What came first stays: an overlap must not change what was sent.
        for hole in self.captured.holes(captured) {
            let (from, to) = (hole.start as usize, hole.end as usize);
            if let (Some(to), Some(from)) = (
                self.data.get_mut(from..to),
                fragment.data.get(from - start..to - start),
            ) {
                to.copy_from_slice(from);
            }
        }
        self.captured.insert(captured);
    }

    fn is_whole(&self) -> bool {
        self.wire_bytes
            .is_some_and(|end| self.seen.holes(range(0, end)).next().is_none())
    }

    /// The IP payload, as much of it as was captured without a hole, with its
    /// protocol and its length on the wire.
    fn payload(&self) -> Option<(u8, &[u8], u32)> {
        let wire_bytes = self.wire_bytes?;
        let captured = self
            .captured
            .holes(range(0, wire_bytes))
            .next()
            .map_or(wire_bytes as usize, |hole| hole.start as usize);
        Some((self.key.protocol, self.data.get(..captured)?, wire_bytes))
    }

    /// What is in it, as far as that can be told.
    fn headers(&self) -> Option<Headers<'_>> {
        let (protocol, data, wire_bytes) = self.payload()?;
        if protocol != TCP {
            return Some(parse_tunnel(protocol, data, wire_bytes));
        }
        let mut segment = segment_of_payload(self.key.src, self.key.dst, self.ip_bytes, data)?;
        segment.payload_bytes = wire_bytes.checked_sub(header_bytes(data))?;
        Some(Headers::Segment(segment))
    }

    /// How many fragments it was put together from.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// The segment in it.
    #[must_use]
    pub fn segment(&self) -> Option<Segment<'_>> {
        match self.headers()? {
            Headers::Segment(segment) => Some(segment),
            Headers::Fragment(_) | Headers::TunnelFragment(_) | Headers::Other(_) => None,
        }
    }
}

fn range(start: u32, end: u32) -> Range {
    Range {
        start: i64::from(start),
        end: i64::from(end),
    }
}

/// Length of the TCP header, as it says itself.
fn header_bytes(segment: &[u8]) -> u32 {
    segment
        .get(12)
        .map_or(TCP_HEADER_BYTES, |offset| u32::from(offset >> 4) * 4)
}

/// Length on the wire of a fragment's part of the IP payload.
fn wire_bytes(fragment: &Fragment<'_>) -> u32 {
    if fragment.src.port == 0 && fragment.dst.port == 0 {
        fragment.payload_bytes
    } else {
        fragment.payload_bytes + header_bytes(fragment.data)
    }
}
