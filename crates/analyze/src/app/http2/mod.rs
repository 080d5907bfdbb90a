//! HTTP/2 in plain text (RFC 9113): with prior knowledge, or after an upgrade
//! from HTTP/1 (RFC 7540 section 3.2), on any port. gRPC is that, too.
//!
//! This module frames both directions and tells each stream as a request. Where
//! frames are not known any more (payload that is cut within bulk data, lost
//! packets), it goes on at the next packet that begins with one; what the
//! compression of headers then does not tell is not known.

mod error;
mod fields;
mod frames;
mod hpack;
mod streams;

use std::mem;

use tcprec_shared::flow::Flow;

pub use self::error::{Goaway, GoawayError};
pub use self::streams::{Stream, StreamReset};

use self::fields::Fields;
use self::frames::{Found, Fragment, Frames, HEADER_BYTES, Header, are_frames, flag, kind};
use self::hpack::Table;
pub(super) use self::streams::Exchange;
use self::streams::Streams;
use super::budget::{Budget, Buffer};
use super::reassembly::Piece;
use super::{Arrived, RequestMessage};
use crate::tcp::{Pair, Side};

/// What a client says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Of a longer header block no more is read.
const MAX_BLOCK_BYTES: usize = 1 << 15;

/// Which end a piece that begins so comes from, if it is HTTP/2's: the client,
/// or else the server.
pub(super) fn begins(bytes: &[u8]) -> Option<bool> {
    const LEAST_PREFACE: usize = 4;
    match bytes {
        [b'P', ..] => {
            let known = bytes.get(..PREFACE.len()).unwrap_or(bytes);
            (known.len() >= LEAST_PREFACE && PREFACE.starts_with(known)).then_some(true)
        }
        [0, ..] if are_frames(bytes) => under_way(bytes),
        _ => None,
    }
}

/// As [`begins`], where the connection may be older than the capture: its first
/// frame tells. A server begins with its settings, and a message with one of
/// the fields that stand before all others.
fn under_way(bytes: &[u8]) -> Option<bool> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::of(*header);
    match header.kind {
        kind::SETTINGS if !header.has(flag::ACK) => Some(false),
        kind::HEADERS if header.stream % 2 == 1 && header.has(flag::END_HEADERS) => {
            let skipped = usize::from(header.has(flag::PADDED))
                + if header.has(flag::PRIORITY) { 5 } else { 0 };
            // RFC 7541 appendix A: `:authority`, `:method`, `:path` and
            // `:scheme` are the entries 1 to 7, `:status` is 8 to 14.
            match payload.get(skipped)? {
                0x82..=0x87 | 0x41..=0x47 | 0x01..=0x07 => Some(true),
                0x88..=0x8e | 0x48..=0x4e | 0x08..=0x0e => Some(false),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A connection that carries HTTP/2.
#[derive(Debug)]
pub(super) struct Http2 {
    client: Side,
    ends: Pair<End>,
    streams: Streams,
    /// The first error by which an end gave it up.
    error: Option<(Side, GoawayError)>,
}

/// What one end sends.
#[derive(Debug)]
struct End {
    /// How much of the preface may still come.
    preface_bytes: usize,
    frames: Frames,
    headers: Headers,
}

impl Http2 {
    /// A connection before its first frame.
    pub(super) fn new(client: Side, budget: &Budget) -> Self {
        let end = |side| End {
            preface_bytes: if side == client { PREFACE.len() } else { 0 },
            frames: Frames::default(),
            headers: Headers::new(budget.clone()),
        };
        Self {
            client,
            ends: Pair {
                low: end(Side::Low),
                high: end(Side::High),
            },
            streams: Streams::new(budget.clone()),
            error: None,
        }
    }

    /// Takes it that `request`, which was not answered, asked for HTTP/2.
    pub(super) fn upgraded(&mut self, request: RequestMessage) {
        self.streams.upgraded(request);
    }

    /// The end that sends requests.
    pub(super) const fn client(&self) -> Side {
        self.client
    }

    /// Whether the end `side` is the client, and has not said its first yet.
    pub(super) fn awaits(&self, side: Side) -> bool {
        self.ends[side].preface_bytes == PREFACE.len()
    }

    /// Takes the next piece that the end `side` sent.
    pub(super) fn piece(&mut self, side: Side, piece: Piece<'_>) {
        let by_client = side == self.client;
        let End {
            preface_bytes,
            frames,
            headers,
        } = &mut self.ends[side];
        let streams = &mut self.streams;
        let Piece {
            bytes,
            missing,
            arrived_ns,
            ..
        } = without_preface(preface_bytes, piece);
        frames.piece(bytes, missing, arrived_ns, |found| match found {
            Found::Part(fragment) if fragment.header.kind == kind::DATA => {
                headers.other();
                data(streams, by_client, fragment);
            }
            Found::Part(fragment) => match headers.fragment(fragment) {
                Some(Told::Reset {
                    stream,
                    code,
                    at_ns,
                }) => {
                    let reset = StreamReset {
                        by_client,
                        code,
                        at_ns,
                    };
                    streams.reset(stream, reset);
                }
                Some(Told::Goaway(error)) => {
                    self.error.get_or_insert((side, error));
                }
                Some(Told::Block(of, fields, arrived)) => {
                    block(streams, by_client, of, fields, arrived);
                }
                None => {}
            },
            Found::Lost { bytes, arrived_ns } => {
                if streams.lost(by_client, bytes, arrived_ns) {
                    headers.lose();
                }
            }
            Found::Again => streams.again(by_client),
        });
    }

    /// The error by which an end gave it up, if one did.
    pub(super) fn goaway(&self, flow: &Flow) -> Option<Box<Goaway>> {
        let (side, error) = self.error.clone()?;
        let end = side.endpoint(flow);
        Some(Box::new(Goaway { end, error }))
    }

    /// Takes it that nothing more comes.
    pub(super) fn finish(&mut self) {
        self.streams.finish();
    }

    /// What was finished since the last time.
    pub(super) fn finished(&mut self) -> impl Iterator<Item = Exchange> + '_ {
        self.streams.finished()
    }
}

/// What of a piece comes after the preface, if that is what comes next.
fn without_preface<'a>(left: &mut usize, piece: Piece<'a>) -> Piece<'a> {
    let expected = PREFACE.get(PREFACE.len() - *left..).unwrap_or_default();
    let length = expected.len().min(piece.bytes.len());
    let (preface, bytes) = piece.bytes.split_at(length);
    if !expected.starts_with(preface) {
        *left = 0;
        return piece;
    }
    *left -= length;
    let missing = piece.missing.min(*left as u64);
    *left -= usize::try_from(missing).unwrap_or(*left);
    Piece {
        bytes,
        missing: piece.missing - missing,
        ..piece
    }
}

fn data(streams: &mut Streams, by_client: bool, fragment: Fragment<'_>) {
    let header = fragment.header;
    let mut body_bytes = 0;
    if fragment.is_begin {
        let is_padded = header.has(flag::PADDED);
        let padding = fragment.bytes.first().filter(|_| is_padded);
        let padding = u32::from(is_padded) + padding.map_or(0, |length| u32::from(*length));
        body_bytes = header.length.saturating_sub(padding);
    }
    streams.data(
        header.stream,
        by_client,
        body_bytes.into(),
        fragment.arrived_ns,
    );
    if fragment.is_end && header.has(flag::END_STREAM) {
        streams.end(header.stream, by_client);
    }
}

fn block(streams: &mut Streams, by_client: bool, of: Of, fields: Fields, arrived: Arrived) {
    match of.promised {
        Some(promised) => streams.promise(promised, fields, arrived),
        None => streams.headers(of.stream, by_client, fields, arrived),
    }
    if of.ends_stream {
        streams.end(of.stream, by_client);
    }
}

/// What a frame that is none of data tells of a stream.
#[derive(Debug)]
enum Told {
    /// A header block that ends with it.
    Block(Of, Fields, Arrived),
    Reset {
        stream: u32,
        code: u32,
        at_ns: Option<i64>,
    },
    Goaway(GoawayError),
}

/// The frames of one direction but for those of data, and the header blocks
/// that they carry.
#[derive(Debug)]
struct Headers {
    budget: Budget,
    table: Table,
    /// The payload of the frame that is being read.
    payload: Payload,
    block: Option<Block>,
}

/// What was captured of something, up to the first hole.
#[derive(Debug)]
struct Payload {
    bytes: Buffer,
    is_whole: bool,
}

impl Payload {
    fn new(budget: &Budget) -> Self {
        Self {
            bytes: budget.buffer(),
            is_whole: true,
        }
    }

    fn more(&mut self, bytes: &[u8], is_whole: bool) {
        let has_room = self.bytes.len() + bytes.len() <= MAX_BLOCK_BYTES;
        self.is_whole = self.is_whole && has_room && self.bytes.extend(bytes) && is_whole;
    }
}

/// A header block that goes on in the next frame.
#[derive(Debug)]
struct Block {
    of: Of,
    payload: Payload,
}

/// What a header block belongs to.
#[derive(Debug, Clone, Copy)]
struct Of {
    stream: u32,
    /// The stream that it promises.
    promised: Option<u32>,
    ends_stream: bool,
    first_ns: Option<i64>,
}

impl Headers {
    fn new(budget: Budget) -> Self {
        Self {
            table: Table::new(budget.clone()),
            payload: Payload::new(&budget),
            budget,
            block: None,
        }
    }

    /// Takes it that header blocks may not have been seen.
    fn lose(&mut self) {
        self.block = None;
        self.table.lose();
    }

    /// Takes it that a frame begins that has no part of a header block.
    fn other(&mut self) {
        if self.block.take().is_some() {
            self.table.lose();
        }
    }

    fn fragment(&mut self, fragment: Fragment<'_>) -> Option<Told> {
        let is_of_interest = matches!(
            fragment.header.kind,
            kind::HEADERS
                | kind::RST_STREAM
                | kind::PUSH_PROMISE
                | kind::GOAWAY
                | kind::CONTINUATION
        );
        if !is_of_interest {
            self.other();
            return None;
        }
        if fragment.is_begin && fragment.is_end && fragment.missing == 0 {
            return self.frame(fragment, fragment.bytes, true);
        }
        if fragment.is_begin {
            self.payload = Payload::new(&self.budget);
        }
        self.payload.more(fragment.bytes, fragment.missing == 0);
        if !fragment.is_end {
            return None;
        }
        let empty = Payload::new(&self.budget);
        let payload = mem::replace(&mut self.payload, empty);
        self.frame(fragment, &payload.bytes, payload.is_whole)
    }

    /// Takes a frame that has ended, of whose payload `payload` is known.
    fn frame(&mut self, fragment: Fragment<'_>, payload: &[u8], is_whole: bool) -> Option<Told> {
        let header = fragment.header;
        if header.kind == kind::CONTINUATION {
            let before = self.block.take();
            let Some(mut block) = before.filter(|block| block.of.stream == header.stream) else {
                self.lose();
                return None;
            };
            block.payload.more(payload, is_whole);
            if header.has(flag::END_HEADERS) {
                let Block { of, payload } = block;
                return self.read(of, &payload.bytes, payload.is_whole, fragment.arrived_ns);
            }
            self.block = Some(block);
            return None;
        }
        self.other();
        if header.kind == kind::RST_STREAM {
            return Some(Told::Reset {
                stream: header.stream,
                code: u32::from_be_bytes(*payload.first_chunk()?),
                at_ns: fragment.arrived_ns,
            });
        }
        if header.kind == kind::GOAWAY {
            return GoawayError::read(payload, fragment.arrived_ns).map(Told::Goaway);
        }
        let is_promise = header.kind == kind::PUSH_PROMISE;
        let Some((promised, block)) = block_of(header, payload) else {
            self.lose();
            return None;
        };
        let of = Of {
            stream: header.stream,
            promised: promised.filter(|_| is_promise),
            ends_stream: !is_promise && header.has(flag::END_STREAM),
            first_ns: fragment.first_ns,
        };
        if header.has(flag::END_HEADERS) {
            return self.read(of, block, is_whole, fragment.arrived_ns);
        }
        let mut payload = Payload::new(&self.budget);
        payload.more(block, is_whole);
        self.block = Some(Block { of, payload });
        None
    }

    fn read(
        &mut self,
        of: Of,
        block: &[u8],
        is_whole: bool,
        arrived_ns: Option<i64>,
    ) -> Option<Told> {
        let fields = Fields::read(&mut self.table, block, is_whole);
        // One of the two is known: nothing is read of what was never seen.
        arrived_ns.or(of.first_ns)?;
        let arrived = Arrived::default().and(of.first_ns).and(arrived_ns);
        Some(Told::Block(of, fields, arrived))
    }
}

/// The header block in the payload of HEADERS or PUSH_PROMISE, and the stream
/// that the latter promises (RFC 9113 sections 6.2 and 6.6).
fn block_of(header: Header, mut payload: &[u8]) -> Option<(Option<u32>, &[u8])> {
    let mut length = header.length as usize;
    if header.has(flag::PADDED) {
        let (padding, rest) = payload.split_first()?;
        length = length.checked_sub(1 + usize::from(*padding))?;
        payload = rest;
    }
    let mut promised = None;
    if header.kind == kind::PUSH_PROMISE {
        let (id, rest) = payload.split_first_chunk()?;
        promised = Some(u32::from_be_bytes(*id) & !(1 << 31));
        (payload, length) = (rest, length.checked_sub(4)?);
    } else if header.has(flag::PRIORITY) {
        (payload, length) = (payload.get(5..)?, length.checked_sub(5)?);
    }
    Some((promised, payload.get(..length).unwrap_or(payload)))
}

#[cfg(test)]
mod tests;
