//! Since when there are holes in what an end sent.

use std::collections::VecDeque;

/// So many are kept; beyond, the oldest is forgotten.
const MAX_HOLES: usize = 128;

/// The holes that opened since there were none: where each begins, and when what
/// is behind it came, ascending.
#[derive(Debug, Clone, Default)]
pub(super) struct Holes(VecDeque<(i64, i64)>);

impl Holes {
    /// A packet came and left a hole, which begins at the highest position before.
    /// `is_first` says that there was no other.
    #[cold]
    pub(super) fn open(&mut self, position: i64, ts_ns: i64, is_first: bool) {
        if is_first {
            self.0.clear();
        }
        if self.0.len() >= MAX_HOLES {
            self.0.pop_front();
        }
        self.0.push_back((position, ts_ns));
    }

    /// When the hole opened in which this position is, or was.
    pub(super) fn opened_ns(&self, position: i64) -> Option<i64> {
        let behind = self.0.partition_point(|(begin, _)| *begin <= position);
        let (_, opened_ns) = self.0.get(behind.checked_sub(1)?)?;
        Some(*opened_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_of_a_position_is_told() {
        let mut holes = Holes::default();
        holes.open(10, 1000, true);
        holes.open(30, 2000, false);
        let opened = [9, 10, 29, 30, 99].map(|position| holes.opened_ns(position));
        let expected = [None, Some(1000), Some(1000), Some(2000), Some(2000)];
        assert_eq!(opened, expected);
        holes.open(50, 3000, true);
        assert_eq!([30, 50].map(|at| holes.opened_ns(at)), [None, Some(3000)]);
    }

    #[test]
    fn the_oldest_of_too_many_is_forgotten() {
        let mut holes = Holes::default();
        for at in 0..=MAX_HOLES as i64 {
            holes.open(at * 10, at, at == 0);
        }
        assert_eq!([5, 15].map(|at| holes.opened_ns(at)), [None, Some(1)]);
    }
}
