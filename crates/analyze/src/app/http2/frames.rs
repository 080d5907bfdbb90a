//! Frames (RFC 9113 section 4): from the bytes of one direction to the
//! contents of frames.

use crate::app::reassembly::Piece;

pub(super) const HEADER_BYTES: usize = 9;

/// The types of frame that are known (RFC 9113 section 6).
pub(super) mod kind {
    pub(in crate::app::http2) const DATA: u8 = 0;
    pub(in crate::app::http2) const HEADERS: u8 = 1;
    pub(in crate::app::http2) const PRIORITY: u8 = 2;
    pub(in crate::app::http2) const RST_STREAM: u8 = 3;
    pub(in crate::app::http2) const SETTINGS: u8 = 4;
    pub(in crate::app::http2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::app::http2) const PING: u8 = 6;
    pub(in crate::app::http2) const GOAWAY: u8 = 7;
    pub(in crate::app::http2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::app::http2) const CONTINUATION: u8 = 9;
}

/// Their flags.
pub(super) mod flag {
    pub(in crate::app::http2) const ACK: u8 = 0x1;
    pub(in crate::app::http2) const END_STREAM: u8 = 0x1;
    pub(in crate::app::http2) const END_HEADERS: u8 = 0x4;
    pub(in crate::app::http2) const PADDED: u8 = 0x8;
    pub(in crate::app::http2) const PRIORITY: u8 = 0x20;
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    pub(super) const fn read(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            // The highest bit is reserved (RFC 9113 section 4.1).
            stream: u32::from_be_bytes([d, e, f, g]) & !(1 << 31),
        }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether these bytes, found anywhere, are the header of a frame rather
    /// than something else: of a known type, with no flag, length or stream
    /// that this type does not have.
    pub(super) fn is_likely(bytes: [u8; HEADER_BYTES]) -> bool {
        use self::kind::*;
        /// No frame is longer unless both ends agree on that (RFC 9113 section 4.2).
        const MAX_LENGTH: u32 = 1 << 14;
        let header = Self::read(bytes);
        let (flags, length) = match header.kind {
            DATA => (flag::END_STREAM | flag::PADDED, 0..=MAX_LENGTH),
            HEADERS => (
                flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
                1..=MAX_LENGTH,
            ),
            PRIORITY => (0, 5..=5),
            RST_STREAM | WINDOW_UPDATE => (0, 4..=4),
            SETTINGS => (flag::ACK, 0..=600),
            PUSH_PROMISE => (flag::END_HEADERS | flag::PADDED, 5..=MAX_LENGTH),
            PING => (flag::ACK, 8..=8),
            GOAWAY => (0, 8..=MAX_LENGTH),
            CONTINUATION => (flag::END_HEADERS, 0..=MAX_LENGTH),
            _ => return false,
        };
        let fits_stream = match header.kind {
            SETTINGS => header.stream == 0 && header.length.is_multiple_of(6),
            PING | GOAWAY => header.stream == 0,
            WINDOW_UPDATE => true,
            _ => header.stream != 0,
        };
        let is_reserved = bytes.get(5).is_some_and(|byte| byte & 0x80 != 0);
        header.flags & !flags == 0 && length.contains(&header.length) && fits_stream && !is_reserved
    }
}

/// Whether bytes are frames one after another, the last of which may end later.
pub(super) fn are_frames(mut bytes: &[u8]) -> bool {
    if bytes.len() < HEADER_BYTES {
        return false;
    }
    while let Some(header) = bytes.first_chunk() {
        if !Header::is_likely(*header) {
            return false;
        }
        let length = HEADER_BYTES + Header::read(*header).length as usize;
        bytes = bytes.get(length..).unwrap_or_default();
    }
    true
}

/// A part of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    pub(super) header: Header,
    /// When the frame began.
    pub(super) first_ns: Option<i64>,
    pub(super) bytes: &'a [u8],
    /// How much follows that was cut off, or never seen.
    pub(super) missing: u64,
    /// Whether the frame begins with it.
    pub(super) is_begin: bool,
    /// Whether the frame ends with it.
    pub(super) is_end: bool,
    pub(super) arrived_ns: Option<i64>,
}

/// What is found in a direction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    Fragment(Fragment<'a>),
    /// Bytes in which frames begin and end, and nobody knows where.
    Lost {
        bytes: u64,
        arrived_ns: Option<i64>,
    },
    /// From here on frames are known again.
    Again,
}

/// The frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In a header, of which so many bytes are known.
    Header {
        bytes: [u8; HEADER_BYTES],
        known: usize,
        first_ns: Option<i64>,
    },
    /// In a frame, of which so much is still to come.
    Frame(Frame),
    /// Somewhere: a packet may begin with a frame.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    header: Header,
    first_ns: Option<i64>,
    left: u32,
}

const BEGIN: State = State::Header {
    bytes: [0; HEADER_BYTES],
    known: 0,
    first_ns: None,
};

impl Default for State {
    fn default() -> Self {
        BEGIN
    }
}

impl Frames {
    /// Takes the next piece, and gives what it has of frames.
    pub(super) fn piece(&mut self, piece: Piece<'_>, mut give: impl FnMut(Found<'_>)) {
        let mut rest = piece.bytes;
        if matches!(self.state, State::Lost) && are_frames(rest) {
            self.state = BEGIN;
            give(Found::Again);
        }
        while !rest.is_empty() {
            rest = match self.state {
                State::Header {
                    bytes,
                    known,
                    first_ns,
                } => self.header(bytes, known, first_ns, rest, piece, &mut give),
                State::Frame(frame) => {
                    let length = usize::try_from(frame.left).unwrap_or(usize::MAX);
                    let (bytes, after) = rest.split_at(rest.len().min(length));
                    self.frame(frame, bytes, 0, piece, &mut give);
                    after
                }
                State::Lost => {
                    give(Found::Lost {
                        bytes: rest.len() as u64,
                        arrived_ns: piece.arrived_ns,
                    });
                    &[]
                }
            };
        }
        let mut missing = piece.missing;
        if missing > 0
            && let State::Frame(frame) = self.state
        {
            let of_frame = missing.min(frame.left.into());
            self.frame(frame, &[], of_frame, piece, &mut give);
            missing -= of_frame;
        }
        if missing > 0 {
            self.state = State::Lost;
            give(Found::Lost {
                bytes: missing,
                arrived_ns: piece.arrived_ns,
            });
        }
    }

    /// Takes more of a header. Gives what follows it.
    fn header<'a>(
        &mut self,
        mut bytes: [u8; HEADER_BYTES],
        known: usize,
        first_ns: Option<i64>,
        rest: &'a [u8],
        piece: Piece<'_>,
        give: &mut impl FnMut(Found<'_>),
    ) -> &'a [u8] {
        let (now, rest) = rest.split_at(rest.len().min(HEADER_BYTES - known));
        for (to, byte) in bytes.iter_mut().skip(known).zip(now) {
            *to = *byte;
        }
        let first_ns = if known == 0 {
            piece.arrived_ns
        } else {
            first_ns
        };
        let known = known + now.len();
        if known < HEADER_BYTES {
            self.state = State::Header {
                bytes,
                known,
                first_ns,
            };
            return rest;
        }
        let header = Header::read(bytes);
        let frame = Frame {
            header,
            first_ns,
            left: header.length,
        };
        self.state = State::Frame(frame);
        if header.length == 0 {
            self.frame(frame, &[], 0, piece, give);
        }
        rest
    }

    /// Takes more of a frame: of it `bytes`, or as many as are `missing`.
    fn frame(
        &mut self,
        frame: Frame,
        bytes: &[u8],
        missing: u64,
        piece: Piece<'_>,
        give: &mut impl FnMut(Found<'_>),
    ) {
        let taken = u32::try_from(bytes.len() as u64 + missing).unwrap_or(u32::MAX);
        let left = frame.left.saturating_sub(taken);
        self.state = if left == 0 {
            BEGIN
        } else {
            State::Frame(Frame { left, ..frame })
        };
        give(Found::Fragment(Fragment {
            header: frame.header,
            first_ns: frame.first_ns,
            bytes,
            missing,
            is_begin: frame.left == frame.header.length,
            is_end: left == 0,
            arrived_ns: piece.arrived_ns,
        }));
    }
}
