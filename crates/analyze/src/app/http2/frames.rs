//! Frames (RFC 9113 section 4): their headers.

use crate::app::framing;

pub(super) const HEADER_BYTES: usize = 9;

/// The frames of one direction.
pub(super) type Frames = framing::Framing<HEADER_BYTES, Header>;

/// What is found of them.
pub(super) type Found<'a> = framing::Found<'a, Header>;

/// A part of a frame.
pub(super) type Fragment<'a> = framing::Part<'a, Header>;

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

impl framing::Header<HEADER_BYTES> for Header {
    fn read(bytes: [u8; HEADER_BYTES]) -> Option<Self> {
        Some(Self::of(bytes))
    }

    fn length(self) -> u32 {
        self.length
    }

    fn begins(piece: &[u8]) -> bool {
        are_frames(piece)
    }
}

impl Header {
    /// Any bytes are one.
    pub(super) const fn of(bytes: [u8; HEADER_BYTES]) -> Self {
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
        let header = Self::of(bytes);
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
        let length = HEADER_BYTES + Header::of(*header).length as usize;
        bytes = bytes.get(length..).unwrap_or_default();
    }
    true
}
