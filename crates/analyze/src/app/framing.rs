//! Framing: a header of a fixed length says how much follows it, and then comes the next.
//!
//! HTTP/2 is framed so, and TLS twice: its records, and the messages in them. Of what was
//! cut off, or not captured, lengths tell where the next header stands.

/// A header of `N` bytes.
pub(super) trait Header<const N: usize>: Copy {
    /// Reads it; none if these bytes cannot be one.
    fn read(bytes: [u8; N]) -> Option<Self>;

    /// How many bytes follow it.
    fn length(self) -> u32;

    /// Whether a piece may begin with a header, where no length tells.
    fn begins(_piece: &[u8]) -> bool {
        false
    }
}

/// A part of what follows a header, and is its.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a, H> {
    pub(super) header: H,
    /// When the header began.
    pub(super) first_ns: Option<i64>,
    pub(super) bytes: &'a [u8],
    /// How much follows that was cut off, or never seen.
    pub(super) missing: u64,
    /// Whether it is the first.
    pub(super) is_begin: bool,
    /// Whether it is the last.
    pub(super) is_end: bool,
    pub(super) arrived_ns: Option<i64>,
}

/// What is found in a direction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a, H> {
    Part(Part<'a, H>),
    /// Bytes in which headers stand, and nobody knows where.
    Lost {
        bytes: u64,
        arrived_ns: Option<i64>,
    },
    /// From here on it is known again.
    Again,
}

/// The framing of one direction.
#[derive(Debug)]
pub(super) struct Framing<const N: usize, H> {
    state: State<N, H>,
}

#[derive(Debug, Clone, Copy)]
enum State<const N: usize, H> {
    /// In a header, of which so many bytes are known.
    Header {
        bytes: [u8; N],
        known: usize,
        first_ns: Option<i64>,
    },
    /// Behind one, with so much of what is its still to come.
    Body {
        header: H,
        left: u32,
        first_ns: Option<i64>,
    },
    /// Somewhere.
    Lost,
}

impl<const N: usize, H> State<N, H> {
    const BEGIN: Self = Self::Header {
        bytes: [0; N],
        known: 0,
        first_ns: None,
    };
}

impl<const N: usize, H> Default for Framing<N, H> {
    fn default() -> Self {
        Self {
            state: State::BEGIN,
        }
    }
}

impl<const N: usize, H: Header<N>> Framing<N, H> {
    /// Takes the next piece, after which so many bytes are missing, and gives what is
    /// found.
    pub(super) fn piece(
        &mut self,
        piece: &[u8],
        missing: u64,
        arrived_ns: Option<i64>,
        mut give: impl FnMut(Found<'_, H>),
    ) {
        let mut rest = piece;
        if matches!(self.state, State::Lost) && H::begins(rest) {
            self.state = State::BEGIN;
            give(Found::Again);
        }
        while !rest.is_empty() {
            rest = match self.state {
                State::Header { .. } => self.header(rest, arrived_ns, &mut give),
                State::Body { left, .. } => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX);
                    let (bytes, after) = rest.split_at(rest.len().min(length));
                    self.body(bytes, 0, arrived_ns, &mut give);
                    after
                }
                State::Lost => {
                    let bytes = rest.len() as u64;
                    give(Found::Lost { bytes, arrived_ns });
                    &[]
                }
            };
        }
        let mut missing = missing;
        if missing > 0
            && let State::Body { left, .. } = self.state
        {
            let of_body = missing.min(left.into());
            self.body(&[], of_body, arrived_ns, &mut give);
            missing -= of_body;
        }
        if missing > 0 {
            self.state = State::Lost;
            give(Found::Lost {
                bytes: missing,
                arrived_ns,
            });
        }
    }

    /// Takes more of a header. Gives back what follows it.
    fn header<'a>(
        &mut self,
        piece: &'a [u8],
        arrived_ns: Option<i64>,
        give: &mut impl FnMut(Found<'_, H>),
    ) -> &'a [u8] {
        let State::Header {
            bytes,
            known,
            first_ns,
        } = &mut self.state
        else {
            return piece;
        };
        let (now, rest) = piece.split_at(piece.len().min(N - *known));
        for (to, byte) in bytes.iter_mut().skip(*known).zip(now) {
            *to = *byte;
        }
        if *known == 0 {
            *first_ns = arrived_ns;
        }
        *known += now.len();
        if *known == N {
            let first_ns = *first_ns;
            self.state = H::read(*bytes).map_or(State::Lost, |header| State::Body {
                header,
                left: header.length(),
                first_ns,
            });
            if matches!(self.state, State::Body { left: 0, .. }) {
                self.body(&[], 0, arrived_ns, give);
            }
        }
        rest
    }

    /// Takes more of what is a header's: `bytes`, or as many as are `missing`.
    fn body(
        &mut self,
        bytes: &[u8],
        missing: u64,
        arrived_ns: Option<i64>,
        give: &mut impl FnMut(Found<'_, H>),
    ) {
        let State::Body {
            header,
            left: before,
            first_ns,
        } = self.state
        else {
            return;
        };
        let taken = u32::try_from(bytes.len() as u64 + missing).unwrap_or(u32::MAX);
        let left = before.saturating_sub(taken);
        self.state = if left == 0 {
            State::BEGIN
        } else {
            State::Body {
                header,
                left,
                first_ns,
            }
        };
        give(Found::Part(Part {
            header,
            first_ns,
            bytes,
            missing,
            is_begin: before == header.length(),
            is_end: left == 0,
            arrived_ns,
        }));
    }
}
