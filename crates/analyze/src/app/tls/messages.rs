//! The messages of a handshake (RFC 8446 section 4), which records are cut of
//! at any place.

use super::records::Fragment;
use crate::app::budget::{Budget, Buffer};

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

/// The messages of one direction.
#[derive(Debug)]
pub(super) struct Messages {
    budget: Budget,
    state: State,
}

#[derive(Debug)]
enum State {
    Header {
        bytes: [u8; HEADER_BYTES],
        known: usize,
        first_ns: Option<i64>,
    },
    Body {
        kind: u8,
        left: u32,
        kept: Buffer,
        first_ns: Option<i64>,
        /// It was given out: the rest of it is passed over.
        given: bool,
    },
    /// There is no telling where the next message begins.
    Lost,
}

const BEGIN: State = State::Header {
    bytes: [0; HEADER_BYTES],
    known: 0,
    first_ns: None,
};

impl Messages {
    pub(super) const fn new(budget: Budget) -> Self {
        Self {
            budget,
            state: BEGIN,
        }
    }

    /// Takes a part of a handshake record, and gives the messages that end or
    /// are cut in it.
    pub(super) fn fragment(&mut self, fragment: Fragment<'_>, mut give: impl FnMut(Message<'_>)) {
        let mut rest = fragment.bytes;
        while !rest.is_empty() {
            rest = match &mut self.state {
                State::Header {
                    bytes,
                    known,
                    first_ns,
                } => {
                    let (now, after) = rest.split_at(rest.len().min(HEADER_BYTES - *known));
                    for (to, byte) in bytes.iter_mut().skip(*known).zip(now) {
                        *to = *byte;
                    }
                    if *known == 0 {
                        *first_ns = fragment.arrived_ns;
                    }
                    *known += now.len();
                    if *known == HEADER_BYTES {
                        let [kind, high, middle, low] = *bytes;
                        self.state = State::Body {
                            kind,
                            left: u32::from_be_bytes([0, high, middle, low]),
                            kept: self.budget.buffer(),
                            first_ns: *first_ns,
                            given: false,
                        };
                        self.end(&mut give);
                    }
                    after
                }
                State::Body {
                    kind,
                    left,
                    kept,
                    given,
                    ..
                } => {
                    let length = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (now, after) = rest.split_at(length);
                    *left -= u32::try_from(now.len()).unwrap_or(*left);
                    let is_hello = matches!(*kind, kind::CLIENT_HELLO | kind::SERVER_HELLO);
                    if is_hello
                        && !*given
                        && (kept.len() + now.len() > MAX_KEPT_BYTES || !kept.extend(now))
                    {
                        self.give(&mut give);
                    }
                    self.end(&mut give);
                    after
                }
                State::Lost => return,
            };
        }
        if fragment.missing > 0 {
            self.missing(fragment.missing, &mut give);
        }
    }

    fn missing(&mut self, missing: u64, give: &mut impl FnMut(Message<'_>)) {
        if matches!(self.state, State::Body { .. }) {
            self.give(give);
        }
        match &mut self.state {
            State::Body { left, .. } if missing <= u64::from(*left) => {
                *left -= u32::try_from(missing).unwrap_or(*left);
                self.end(give);
            }
            _ => self.state = State::Lost,
        }
    }

    /// Gives the message out once, as far as it is known.
    fn give(&mut self, give: &mut impl FnMut(Message<'_>)) {
        if let State::Body {
            kind,
            kept,
            first_ns,
            given: given @ false,
            ..
        } = &mut self.state
        {
            *given = true;
            give(Message {
                kind: *kind,
                body: kept,
                first_ns: *first_ns,
            });
        }
    }

    /// Goes on with the next message if this one ends here.
    fn end(&mut self, give: &mut impl FnMut(Message<'_>)) {
        if matches!(self.state, State::Body { left: 0, .. }) {
            self.give(give);
            self.state = BEGIN;
        }
    }
}
