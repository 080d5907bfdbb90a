//! Sequence numbers, and positions in the stream that they number.

use std::ops::Add;

/// A TCP sequence number. It wraps, so that only the way from one to another
/// has a meaning (RFC 9293 section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seq(pub(super) u32);

impl Seq {
    /// How far this number is beyond `other`, the shorter way round; negative
    /// if it is before.
    pub(super) fn since(self, other: Self) -> i64 {
        i64::from(self.0.wrapping_sub(other.0).cast_signed())
    }

    /// How far one has to count up from `other` to get here.
    pub(super) fn up_from(self, other: Self) -> i64 {
        i64::from(self.0.wrapping_sub(other.0))
    }
}

/// The number so many places further; back, if negative.
impl Add<i64> for Seq {
    type Output = Self;

    fn add(self, places: i64) -> Self {
        // All but the lower half wraps away.
        Self(self.0.wrapping_add(places as u32))
    }
}

/// No position is beyond this by more than a sequence number reaches, nor by more than
/// a packet is long: sums of these need not be checked.
const MAX_POSITION: i64 = i64::MAX >> 1;

/// Turns the sequence numbers of one direction into positions of 64 bits,
/// which do not wrap. Position 0 is that of the SYN, seen or not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unwrap {
    zero: Seq,
    highest: i64,
}

impl Unwrap {
    /// Positions counted from `zero`, the number of the SYN.
    pub(super) const fn from(zero: Seq) -> Self {
        Self { zero, highest: 0 }
    }

    /// The position of a number: of those it may mean, the one nearest to the
    /// highest position reached.
    pub(super) fn position(&self, seq: Seq) -> i64 {
        self.highest + seq.since(self.zero + self.highest)
    }

    /// Notes that the direction has come so far, but for what only a made capture claims.
    pub(super) fn reach(&mut self, position: i64) {
        self.highest = self.highest.max(position.min(MAX_POSITION));
    }
}

/// How much payload comes before a position. The first byte has position 1: the SYN
/// stands before it.
pub(super) fn at_byte(position: i64) -> u64 {
    position.saturating_sub(1).max(0).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_have_an_end() {
        let mut unwrap = Unwrap::from(Seq(0));
        unwrap.reach(i64::MAX);
        let further = unwrap.zero + unwrap.highest + i64::from(i32::MAX);
        assert!(unwrap.position(further) > MAX_POSITION);
        unwrap.reach(unwrap.position(further));
        assert_eq!(unwrap.highest, MAX_POSITION);
    }

    #[test]
    fn the_shorter_way_counts() {
        assert_eq!(Seq(5).since(Seq(u32::MAX)), 6);
        assert_eq!(Seq(u32::MAX).since(Seq(5)), -6);
        assert_eq!(Seq(4).up_from(Seq(5)), i64::from(u32::MAX));
    }

    #[test]
    fn positions_go_on_beyond_a_wrap() {
        let mut unwrap = Unwrap::from(Seq(0xffff_fff0));
        for turn in 0..5 {
            for quarter in 0..4 {
                let position = turn * (1 << 32) + quarter * (1 << 30);
                assert_eq!(unwrap.position(Seq(0xffff_fff0) + position), position);
                unwrap.reach(position);
            }
        }
        assert_eq!(
            unwrap.position(Seq(0xffff_ffef)),
            4 * (1 << 32) + (1 << 32) - 1
        );
    }
}
