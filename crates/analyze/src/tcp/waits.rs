//! Many durations of one connection, in little memory.

/// So many different ones are kept as they are.
const MAX_EXACT: usize = 64;

/// Beyond, those that are alike in so many of their first bits, and as long, are one: the
/// longest that is, which is 3 % more at most.
const ALIKE_BITS: u32 = 6;

/// Durations, none of which is negative: exact ones as long as they are few.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waits {
    /// Each in nanoseconds with how many there are, in their order.
    counts: Vec<(i64, u64)>,
    is_rounded: bool,
}

impl Waits {
    pub(super) fn add(&mut self, ns: i64) {
        let ns = if self.is_rounded { rounded(ns) } else { ns };
        match self.counts.binary_search_by_key(&ns, |(ns, _)| *ns) {
            Ok(place) => {
                if let Some((_, count)) = self.counts.get_mut(place) {
                    *count += 1;
                }
            }
            Err(place) => self.counts.insert(place, (ns, 1)),
        }
        if self.counts.len() > MAX_EXACT && !self.is_rounded {
            self.is_rounded = true;
            self.counts
                .iter_mut()
                .for_each(|(ns, _)| *ns = rounded(*ns));
            self.counts.dedup_by(|(ns, count), (before_ns, before)| {
                let is_same = ns == before_ns;
                *before += if is_same { *count } else { 0 };
                is_same
            });
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Each in nanoseconds with how many there are.
    pub fn iter(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.counts.iter().copied()
    }
}

/// The longest of those that are like it.
const fn rounded(ns: i64) -> i64 {
    let bits = i64::BITS - ns.leading_zeros();
    let alike = (1 << bits.saturating_sub(ALIKE_BITS)) - 1;
    ns | alike
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_exact_and_many_three_percent_too_long() {
        let mut waits = Waits::default();
        assert!(waits.is_empty());
        for ns in (0..64).rev().chain(0..64) {
            waits.add(ns * 1001);
        }
        assert!(waits.iter().eq((0..64).map(|ns| (ns * 1001, 2))));
        for ns in (0..100_000).map(|ns| ns * 1000 + 7).chain([i64::MAX]) {
            waits.add(ns);
        }
        assert_eq!(waits.count(), 128 + 100_001);
        assert!(waits.counts.len() < 600, "{}", waits.counts.len());
        assert!(waits.counts.is_sorted_by(|a, b| a.0 < b.0));
        for ns in [0, 1, 31, 63, 64, 1000, 123_456_789, i64::MAX] {
            assert!(
                (ns..=ns.saturating_add(ns / 32)).contains(&rounded(ns)),
                "{ns}"
            );
            assert_eq!(rounded(rounded(ns)), rounded(ns));
        }
    }
}
