//! The record layer (RFC 8446 section 5.1, the same since SSL 3.0): from the
//! bytes of one direction to the contents of records.

use crate::app::reassembly::Piece;

const HEADER_BYTES: usize = 5;

/// RFC 5246 section 6.2.3: no record is longer.
const MAX_LENGTH: u16 = (1 << 14) + 2048;

/// What a record holds (RFC 8446 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
    Heartbeat,
}

impl Content {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            24 => Self::Heartbeat,
            _ => return None,
        })
    }
}

/// A part of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    pub(super) content: Content,
    /// Length of the whole record.
    pub(super) record_bytes: u16,
    pub(super) bytes: &'a [u8],
    /// How much follows that was cut off, or never seen.
    pub(super) missing: u64,
    /// Whether the record ends with it.
    pub(super) is_end: bool,
    pub(super) arrived_ns: Option<i64>,
}

/// The records of one direction.
#[derive(Debug)]
pub(super) struct Records {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In a header, of which so many bytes are known.
    Header([u8; HEADER_BYTES], usize),
    /// In a record, of which so much is still to come.
    Record { record: Header, left: u16 },
    /// Somewhere: a packet may begin with a record.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    content: Content,
    length: u16,
}

impl Header {
    fn read([content, major, minor, high, low]: [u8; HEADER_BYTES]) -> Option<Self> {
        let length = u16::from_be_bytes([high, low]);
        let is_sane = major == 3 && minor <= 4 && length <= MAX_LENGTH;
        let content = Content::of(content).filter(|_| is_sane)?;
        Some(Self { content, length })
    }
}

const BEGIN: State = State::Header([0; HEADER_BYTES], 0);

impl Default for Records {
    fn default() -> Self {
        Self { state: BEGIN }
    }
}

impl Records {
    /// Takes the next piece, and gives what it has of records.
    pub(super) fn piece(&mut self, piece: Piece<'_>, mut give: impl FnMut(Fragment<'_>)) {
        let mut rest = piece.bytes;
        if matches!(self.state, State::Lost)
            && rest.first_chunk().copied().and_then(Header::read).is_some()
        {
            self.state = BEGIN;
        }
        while !rest.is_empty() {
            rest = match self.state {
                State::Header(header, known) => self.header(header, known, rest, piece, &mut give),
                State::Record { record, left } => {
                    let length = rest.len().min(left.into());
                    let (bytes, after) = rest.split_at(length);
                    self.record(record, left, bytes, 0, piece, &mut give);
                    after
                }
                State::Lost => return,
            };
        }
        match self.state {
            _ if piece.missing == 0 => {}
            State::Record { record, left } => {
                let missing = piece.missing.min(left.into());
                self.record(record, left, &[], missing, piece, &mut give);
                if piece.missing > missing {
                    self.state = State::Lost;
                }
            }
            State::Header(..) | State::Lost => self.state = State::Lost,
        }
    }

    /// Takes more of a header. Gives what follows it.
    fn header<'a>(
        &mut self,
        mut header: [u8; HEADER_BYTES],
        known: usize,
        bytes: &'a [u8],
        piece: Piece<'_>,
        give: &mut impl FnMut(Fragment<'_>),
    ) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - known));
        for (to, byte) in header.iter_mut().skip(known).zip(now) {
            *to = *byte;
        }
        let known = known + now.len();
        self.state = State::Header(header, known);
        if known == HEADER_BYTES {
            match Header::read(header) {
                Some(record) => self.record_begins(record, piece, give),
                None => self.state = State::Lost,
            }
        }
        rest
    }

    fn record_begins(
        &mut self,
        record: Header,
        piece: Piece<'_>,
        give: &mut impl FnMut(Fragment<'_>),
    ) {
        let left = record.length;
        self.state = State::Record { record, left };
        if left == 0 {
            self.record(record, 0, &[], 0, piece, give);
        }
    }

    /// Takes more of a record: of it `bytes`, or as many as are `missing`.
    fn record(
        &mut self,
        record: Header,
        left: u16,
        bytes: &[u8],
        missing: u64,
        piece: Piece<'_>,
        give: &mut impl FnMut(Fragment<'_>),
    ) {
        let taken = u16::try_from(bytes.len() as u64 + missing).unwrap_or(u16::MAX);
        let left = left.saturating_sub(taken);
        self.state = if left == 0 {
            BEGIN
        } else {
            State::Record { record, left }
        };
        give(Fragment {
            content: record.content,
            record_bytes: record.length,
            bytes,
            missing,
            is_end: left == 0,
            arrived_ns: piece.arrived_ns,
        });
    }
}
