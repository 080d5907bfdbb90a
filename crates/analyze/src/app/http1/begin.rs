//! Where a message begins: behind the one before, or, where the place was lost, with a
//! packet that looks like it.

use super::direction::State;
use super::head::{self, Start};
use super::{Arrived, Carries, Completion, Http1, MAX_MISSES, Piece, Side};

impl Http1 {
    /// Whether a message that begins so may come from the end `side`.
    pub(super) fn fits(&self, side: Side, start: Start) -> bool {
        match start {
            _ if matches!(self.carries, Carries::Other) => false,
            Start::Request => self.client.is_none_or(|client| client == side),
            Start::Response => self.client.is_none_or(|client| client != side),
            Start::Unsure => true,
            Start::Neither => false,
        }
    }

    fn start_of(bytes: &[u8], piece: Piece<'_>) -> Start {
        if piece.missing > 0 {
            head::start_of_cut(bytes)
        } else {
            head::start(bytes)
        }
    }

    /// Whether a message may begin wherever a packet does: the place was lost, or it is
    /// not known whether a response has a body.
    pub(super) fn may_begin(&mut self, side: Side) -> bool {
        match self.directions[side].state {
            State::Lost => true,
            State::Body(_) => self.client == Some(side.other()) && self.exchanges.may_lack_body(),
            State::Between | State::Head { .. } | State::Opaque => false,
        }
    }

    /// Looks whether a packet begins with a message.
    pub(super) fn look(&mut self, side: Side, piece: Piece<'_>) {
        // Its start line may go on in the next packet.
        let start = head::start_of_cut(without_blank(piece.bytes));
        if matches!(start, Start::Request | Start::Response) && self.fits(side, start) {
            // Where the message before ended was not seen.
            self.end(side, Completion::Unknown);
            self.directions[side].state = State::Between;
        } else if !self.directions[side].open {
            self.miss(side);
        }
    }

    /// Takes the first bytes of a message. Gives what is not taken of them.
    pub(super) fn begin<'a>(&mut self, side: Side, bytes: &'a [u8], piece: Piece<'_>) -> &'a [u8] {
        let bytes = without_blank(bytes);
        if bytes.is_empty() {
            return bytes;
        }
        let whole = self.budget.heads().read_whole(bytes);
        let start = match &whole {
            Some((head, _)) => head.start(),
            None => Self::start_of(bytes, piece),
        };
        if !self.fits(side, start) {
            self.directions[side].state = State::Lost;
            self.miss(side);
            return bytes;
        }
        let direction = &mut self.directions[side];
        direction.head = Arrived::default().and(piece.arrived_ns);
        direction.head_heard = direction.heard;
        direction.head_at = piece.missing_at.saturating_sub_unsigned(bytes.len() as u64);
        if let Some((head, head_bytes)) = whole {
            self.message(side, Some(head), head_bytes as u64, piece, true);
            return bytes.get(head_bytes..).unwrap_or_default();
        }
        direction.state = State::Head {
            bytes: self.budget.buffer(),
            searched: 0,
        };
        bytes
    }

    pub(super) fn miss(&mut self, side: Side) {
        let is_unclaimed = self.is_unclaimed();
        let direction = &mut self.directions[side];
        direction.misses = direction.misses.saturating_add(1);
        if is_unclaimed && direction.misses >= MAX_MISSES {
            direction.state = State::Opaque;
        }
    }
}

/// What follows the empty lines before a message, which are passed over (RFC 9112
/// section 2.2).
fn without_blank(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    &bytes[bytes.iter().take_while(is_blank).count()..]
}
