//! What one end of a connection sends, and how far it was read.

use super::body::Body;
use crate::app::Arrived;
use crate::app::budget::Buffer;

/// What one end sends.
#[derive(Debug, Default)]
pub(super) struct Direction {
    pub(super) state: State,
    /// A message has begun, and its end is not known.
    pub(super) open: bool,
    /// When the bytes in the state's head arrived.
    pub(super) head: Arrived,
    /// Where that head begins in what it sends.
    pub(super) head_at: i64,
    /// What it had `heard` by then.
    pub(super) head_heard: i64,
    /// The last that the open message is known to have was not seen.
    pub(super) lacks_last: bool,
    /// Up to where it had acknowledged what the other end sent.
    pub(super) heard: i64,
    pub(super) misses: u8,
}

#[derive(Debug, Default)]
pub(super) enum State {
    /// The next byte begins a message.
    #[default]
    Between,
    /// In a head, of which so many bytes were searched for its end.
    Head { bytes: Buffer, searched: usize },
    /// In a body.
    Body(Body),
    /// Somewhere: a packet may begin with a message.
    Lost,
    /// In what is not HTTP.
    Opaque,
}
