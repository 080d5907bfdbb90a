//! Where the body of a message ends (RFC 9112 sections 6 and 7).

use super::head::Framing;

/// The part of a body that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// All that is sent.
    UntilClose,
}

/// The place within chunks (RFC 9112 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line with the size; the digits may be over.
    Size { size: Option<u64>, digits: bool },
    /// So many bytes before the end of a chunk.
    Data(u64),
    /// In the line end after a chunk.
    DataEnd,
    /// In a line after the last chunk, empty so far or not.
    Trailer { empty: bool },
}

impl Chunk {
    const BEGIN: Self = Self::Size {
        size: None,
        digits: true,
    };
}

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    More,
    /// It ends here.
    Ended,
    /// It makes no sense, or its framing was not seen: there is no telling
    /// where it ends.
    Lost,
}

impl Body {
    /// The body of a request; none if it has none.
    pub(super) fn of_request(framing: Framing) -> Option<Self> {
        match framing {
            Framing { chunked: true, .. } => Some(Self::Chunked(Chunk::BEGIN)),
            Framing {
                content_length: Some(length),
                ..
            } if length > 0 => Some(Self::Length(length)),
            _ => None,
        }
    }

    /// The body of a response that may have one; none if it is empty.
    pub(super) fn of_response(framing: Framing) -> Option<Self> {
        match framing {
            Framing { chunked: true, .. } => Some(Self::Chunked(Chunk::BEGIN)),
            Framing { coded: true, .. } => Some(Self::UntilClose),
            Framing {
                content_length: Some(length),
                ..
            } => (length > 0).then_some(Self::Length(length)),
            _ => Some(Self::UntilClose),
        }
    }

    /// Takes bytes. Gives what is left of them after the body, how many of
    /// them were body without framing, and how far the body has come.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], u64, Progress) {
        match self {
            Self::UntilClose => (&[], bytes.len() as u64, Progress::More),
            Self::Length(left) => {
                let (rest, taken) = take_up_to(left, bytes);
                let progress = if *left == 0 {
                    Progress::Ended
                } else {
                    Progress::More
                };
                (rest, taken, progress)
            }
            Self::Chunked(chunk) => chunk.take(bytes),
        }
    }

    /// Takes it that so many bytes follow that are not known. Gives how many
    /// of them come after the body, how many were body, and how far the body
    /// has come.
    pub(super) fn skip(&mut self, missing: u64) -> (u64, u64, Progress) {
        match self {
            Self::UntilClose => (0, missing, Progress::More),
            Self::Length(left) => {
                let taken = missing.min(*left);
                *left -= taken;
                let progress = if *left == 0 {
                    Progress::Ended
                } else {
                    Progress::More
                };
                (missing - taken, taken, progress)
            }
            Self::Chunked(Chunk::Data(left)) if missing < *left => {
                *left -= missing;
                (0, missing, Progress::More)
            }
            Self::Chunked(Chunk::Data(left)) if missing == *left => {
                *self = Self::Chunked(Chunk::DataEnd);
                (0, missing, Progress::More)
            }
            Self::Chunked(_) => (0, missing, Progress::Lost),
        }
    }
}

fn take_up_to<'a>(left: &mut u64, bytes: &'a [u8]) -> (&'a [u8], u64) {
    let length = usize::try_from(*left).unwrap_or(usize::MAX);
    let (taken, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    *left -= taken.len() as u64;
    (rest, taken.len() as u64)
}

impl Chunk {
    fn take<'a>(&mut self, mut bytes: &'a [u8]) -> (&'a [u8], u64, Progress) {
        let mut body_bytes = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            match self {
                Self::Data(left) => {
                    let (rest, taken) = take_up_to(left, bytes);
                    body_bytes += taken;
                    bytes = rest;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    continue;
                }
                Self::Size { size, digits } => match (byte, char::from(byte).to_digit(16)) {
                    (b'\n', _) => {
                        let Some(size) = *size else {
                            return (rest, body_bytes, Progress::Lost);
                        };
                        *self = match size {
                            0 => Self::Trailer { empty: true },
                            size => Self::Data(size),
                        };
                    }
                    (_, Some(digit)) if *digits => {
                        let Some(shifted) = size.unwrap_or(0).checked_mul(16) else {
                            return (rest, body_bytes, Progress::Lost);
                        };
                        *size = Some(shifted + u64::from(digit));
                    }
                    // The line end, or an extension.
                    _ if size.is_some() => *digits = false,
                    _ => return (rest, body_bytes, Progress::Lost),
                },
                Self::DataEnd => match byte {
                    b'\n' => *self = Self::BEGIN,
                    b'\r' => {}
                    _ => return (rest, body_bytes, Progress::Lost),
                },
                Self::Trailer { empty } => match byte {
                    b'\n' if *empty => return (rest, body_bytes, Progress::Ended),
                    b'\n' => *empty = true,
                    b'\r' => {}
                    _ => *empty = false,
                },
            }
            bytes = rest;
        }
        (bytes, body_bytes, Progress::More)
    }
}
