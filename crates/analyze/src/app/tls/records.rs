//! The record layer (RFC 8446 section 5.1, the same since SSL 3.0): the headers of
//! records.

use crate::app::framing;

const HEADER_BYTES: usize = 5;

/// The records of one direction.
pub(super) type Records = framing::Framing<HEADER_BYTES, Header>;

/// A part of a record.
pub(super) type Fragment<'a> = framing::Part<'a, Header>;

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

/// The header of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) content: Content,
    /// Length of what follows it.
    pub(super) length: u16,
}

impl framing::Header<HEADER_BYTES> for Header {
    fn read([content, major, minor, high, low]: [u8; HEADER_BYTES]) -> Option<Self> {
        let length = u16::from_be_bytes([high, low]);
        let is_sane = major == 3 && minor <= 4 && length <= MAX_LENGTH;
        let content = Content::of(content).filter(|_| is_sane)?;
        Some(Self { content, length })
    }

    fn length(self) -> u32 {
        self.length.into()
    }

    fn begins(piece: &[u8]) -> bool {
        piece.first_chunk().copied().and_then(Self::read).is_some()
    }
}
