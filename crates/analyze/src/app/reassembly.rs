//! The payload of one direction in its order.

use super::budget::{Budget, Buffer};

/// So many bytes of a direction are kept that came before those they follow.
const MAX_WAITING_BYTES: usize = 2 << 20;

/// In so many pieces.
const MAX_WAITING_PIECES: usize = 1024;

/// A piece of the stream, at the place where the one before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// What was captured of it.
    pub(super) bytes: &'a [u8],
    /// How much follows that was cut off, or never seen.
    pub(super) missing: u64,
    /// The position of what follows.
    pub(super) missing_at: i64,
    /// When it arrived; none if it was never seen.
    pub(super) arrived_ns: Option<i64>,
}

/// A piece that came too early.
#[derive(Debug)]
struct Waiting {
    start: i64,
    end: i64,
    bytes: Buffer,
    arrived_ns: i64,
}

/// Brings the payload of one direction into its order.
///
/// A hole is waited for until the other end has acknowledged it, or too much
/// was kept behind it.
#[derive(Debug)]
pub(super) struct Reassembly {
    /// Where the next piece begins; none before the first.
    next: Option<i64>,
    acknowledged: i64,
    /// Ascending by start.
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
}

impl Reassembly {
    /// A stream that begins at `begin`, or where its first piece does.
    pub(super) const fn new(begin: Option<i64>) -> Self {
        Self {
            next: begin,
            acknowledged: i64::MIN,
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    /// Up to where the other end is known to have all of it.
    pub(super) const fn acknowledged_until(&self) -> i64 {
        self.acknowledged
    }

    /// Takes it that nobody wants what comes before the end of this piece.
    pub(super) fn pass(&mut self, start: i64, length: u32) {
        let end = start.saturating_add(i64::from(length));
        self.next = Some(self.next.unwrap_or(end).max(end));
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// Takes a piece of `length` bytes at `start`, of which `bytes` were captured.
    /// One that came too early is kept in a buffer of `budget`'s.
    pub(super) fn segment(
        &mut self,
        start: i64,
        length: u32,
        bytes: &[u8],
        arrived_ns: i64,
        budget: &Budget,
        mut deliver: impl FnMut(Piece<'_>),
    ) {
        let end = start.saturating_add(i64::from(length));
        let bytes = bytes.get(..length as usize).unwrap_or(bytes);
        let next = *self.next.get_or_insert(start);
        if end <= next {
            return;
        }
        let mut full = false;
        if start <= next {
            self.next = Some(end);
            deliver(piece(start, end, bytes, arrived_ns, next));
            if self.waiting.is_empty() {
                return;
            }
        } else {
            let mut kept = budget.buffer();
            full = !kept.extend(bytes);
            let place = self.waiting.partition_point(|other| other.start <= start);
            self.waiting_bytes += kept.len();
            self.waiting.insert(
                place,
                Waiting {
                    start,
                    end,
                    bytes: kept,
                    arrived_ns,
                },
            );
        }
        self.drain(full, &mut deliver);
    }

    /// Takes it that the other end has all before `position`. Says whether anything
    /// waited for that.
    pub(super) fn acknowledged(
        &mut self,
        position: i64,
        mut deliver: impl FnMut(Piece<'_>),
    ) -> bool {
        self.acknowledged = self.acknowledged.max(position);
        let is_waiting = !self.waiting.is_empty();
        if is_waiting {
            self.drain(false, &mut deliver);
        }
        is_waiting
    }

    /// Gives out all that is kept.
    pub(super) fn finish(&mut self, mut deliver: impl FnMut(Piece<'_>)) {
        self.drain(true, &mut deliver);
    }

    /// Gives out what is next, over holes that are given up: all if `full`.
    fn drain(&mut self, full: bool, deliver: &mut impl FnMut(Piece<'_>)) {
        let mut given = 0;
        for piece_waiting in &self.waiting {
            let &Waiting { start, end, .. } = piece_waiting;
            let next = self.next.unwrap_or(start);
            if start > next {
                let full = full
                    || self.waiting_bytes > MAX_WAITING_BYTES
                    || self.waiting.len() - given > MAX_WAITING_PIECES;
                if start > self.acknowledged && !full {
                    break;
                }
                deliver(Piece {
                    bytes: &[],
                    missing: start.abs_diff(next),
                    missing_at: next,
                    arrived_ns: None,
                });
                self.next = Some(start);
            }
            let next = self.next.unwrap_or(start);
            if end > next {
                self.next = Some(end);
                deliver(piece(
                    start,
                    end,
                    &piece_waiting.bytes,
                    piece_waiting.arrived_ns,
                    next,
                ));
            }
            self.waiting_bytes -= piece_waiting.bytes.len();
            given += 1;
        }
        self.waiting.drain(..given);
    }
}

/// The part from `next` on of what stands from `start` to `end`.
fn piece(start: i64, end: i64, bytes: &[u8], arrived_ns: i64, next: i64) -> Piece<'_> {
    let known = usize::try_from(next.abs_diff(start)).unwrap_or(usize::MAX);
    let bytes = bytes.get(known..).unwrap_or_default();
    let missing = end.abs_diff(next).saturating_sub(bytes.len() as u64);
    Piece {
        bytes,
        missing,
        missing_at: end.saturating_sub_unsigned(missing),
        arrived_ns: Some(arrived_ns),
    }
}
