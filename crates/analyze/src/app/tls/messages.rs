//! The messages of a handshake (RFC 8446 section 4), which records are cut of
//! at any place.

use super::records::Fragment;
use crate::app::budget::{Budget, Buffer};
use crate::app::framing::{self, Found, Framing};

const HEADER_BYTES: usize = 4;

/// Of a longer message no more is kept.
const MAX_KEPT_BYTES: usize = 1 << 15;

/// The kinds of message that are of interest (RFC 8446 section 4, RFC 5246
/// section 7.4).
pub(super) mod kind {
    pub(in crate::app::tls) const CLIENT_HELLO: u8 = 1;
    pub(in crate::app::tls) const SERVER_HELLO: u8 = 2;
    pub(in crate::app::tls) const CERTIFICATE: u8 = 11;
    pub(in crate::app::tls) const CERTIFICATE_REQUEST: u8 = 13;
}

/// A message.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    /// Of a hello what was captured of its body, up to the first hole; of
    /// others nothing.
    pub(super) body: &'a [u8],
    /// When it began.
    pub(super) first_ns: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    kind: u8,
    length: u32,
}

impl framing::Header<HEADER_BYTES> for Header {
    fn read([kind, high, middle, low]: [u8; HEADER_BYTES]) -> Option<Self> {
        let length = u32::from_be_bytes([0, high, middle, low]);
        Some(Self { kind, length })
    }

    fn length(self) -> u32 {
        self.length
    }
}

/// The messages of one direction.
#[derive(Debug)]
pub(super) struct Messages {
    budget: Budget,
    framing: Framing<HEADER_BYTES, Header>,
    /// What is kept of the one that is being read; none once it was given out.
    kept: Option<Buffer>,
}

impl Messages {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            framing: Framing::default(),
            kept: None,
        }
    }

    /// Takes a part of a handshake record, and gives the messages that end or
    /// are cut in it.
    pub(super) fn fragment(&mut self, fragment: Fragment<'_>, mut give: impl FnMut(Message<'_>)) {
        let Self {
            budget,
            framing,
            kept,
        } = self;
        let Fragment {
            bytes,
            missing,
            arrived_ns,
            ..
        } = fragment;
        framing.piece(bytes, missing, arrived_ns, |found| {
            let Found::Part(part) = found else { return };
            if part.is_begin {
                *kept = Some(budget.buffer());
            }
            let Some(body) = kept else { return };
            let kind = part.header.kind;
            let is_hello = matches!(kind, kind::CLIENT_HELLO | kind::SERVER_HELLO);
            let is_full = is_hello
                && (body.len() + part.bytes.len() > MAX_KEPT_BYTES || !body.extend(part.bytes));
            if is_full || part.missing > 0 || part.is_end {
                give(Message {
                    kind,
                    body,
                    first_ns: part.first_ns,
                });
                *kept = None;
            }
        });
    }
}
