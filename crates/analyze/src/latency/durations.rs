//! Durations, and what most of them do not exceed.

use hdrhistogram::Histogram;

use crate::tcp::Waits;

/// So many durations are kept as they are; beyond, they are put into classes.
const MAX_EXACT: usize = 1000;

/// Significant decimal digits of a class: it is 1 % wide at most.
const DIGITS: u8 = 2;

/// Durations that so many percent do not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantiles {
    /// 50 %.
    pub p50_ns: i64,
    /// 90 %.
    pub p90_ns: i64,
    /// 99 %.
    pub p99_ns: i64,
    /// All.
    pub max_ns: i64,
}

/// Durations, of which quantiles are asked for: exact ones (nearest rank) of up
/// to a thousand, else up to 1 % too long.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durations {
    exact_ns: Vec<i64>,
    /// Once there are more; what is negative counts as 0 there.
    classes: Option<Histogram<u32>>,
    max_ns: Option<i64>,
    count: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, ns: i64) {
        self.add_many(ns, 1);
    }

    /// Adds all waits of a connection.
    pub(super) fn add_all(&mut self, waits: &Waits) {
        waits
            .iter()
            .for_each(|(ns, count)| self.add_many(ns, count));
    }

    /// Adds all of another's.
    pub(crate) fn join(&mut self, other: Self) {
        let max_ns = self.max_ns.max(other.max_ns);
        for ns in other.exact_ns {
            self.add(ns);
        }
        for class in other.classes.iter().flat_map(Histogram::iter_recorded) {
            let ns = i64::try_from(class.value_iterated_to()).unwrap_or(i64::MAX);
            self.add_many(ns, class.count_at_value().into());
        }
        // That of a class may be a little longer.
        self.max_ns = max_ns;
    }

    fn add_many(&mut self, ns: i64, count: u64) {
        self.count += count;
        self.max_ns = self.max_ns.max(Some(ns));
        if self.classes.is_none() {
            let left = (MAX_EXACT - self.exact_ns.len()) as u64;
            if count <= left {
                self.exact_ns.extend((0..count).map(|_| ns));
                return;
            }
            self.classes = Histogram::new(DIGITS).ok();
            for ns in std::mem::take(&mut self.exact_ns) {
                self.classify(ns, 1);
            }
        }
        self.classify(ns, count);
    }

    fn classify(&mut self, ns: i64, count: u64) {
        if let Some(classes) = &mut self.classes {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            // There is a class for any duration.
            let _ = classes.record_n(u64::try_from(ns).unwrap_or(0), count);
        }
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn quantiles(mut self) -> Quantiles {
        self.exact_ns.sort_unstable();
        let max_ns = self.max_ns.unwrap_or(0);
        let at = |percent: u8| {
            let Some(classes) = &self.classes else {
                let rank = (self.exact_ns.len() * usize::from(percent)).div_ceil(100);
                let place = rank.saturating_sub(1);
                return self.exact_ns.get(place).copied().unwrap_or(0);
            };
            let ns = classes.value_at_quantile(f64::from(percent) / 100.0);
            i64::try_from(ns).unwrap_or(i64::MAX).min(max_ns)
        };
        Quantiles {
            p50_ns: at(50),
            p90_ns: at(90),
            p99_ns: at(99),
            max_ns,
        }
    }
}

#[cfg(test)]
pub(super) fn durations(all_ns: impl IntoIterator<Item = i64>) -> Durations {
    let mut durations = Durations::default();
    all_ns.into_iter().for_each(|ns| durations.add(ns));
    durations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_quantiles_are_of_the_nearest_rank() {
        let quantiles = durations((1..=200).rev()).quantiles();
        assert_eq!(quantiles.p50_ns, 100);
        assert_eq!(quantiles.p90_ns, 180);
        assert_eq!(quantiles.p99_ns, 198);
        assert_eq!(quantiles.max_ns, 200);
        let one = durations([-7]).quantiles();
        assert_eq!((one.p50_ns, one.max_ns), (-7, -7));
        assert_eq!(durations([]).quantiles(), Quantiles::default());
    }

    #[test]
    fn what_is_joined_has_the_quantiles_of_all() {
        for (one, other) in [(700, 300), (700, 5_000), (5_000, 700), (5_000, 5_000)] {
            let range = |from: i64, count| (from..from + count).map(|ms| ms * 1_000_000 + 1);
            let mut joined = durations(range(0, one));
            joined.join(durations(range(one, other)));
            assert_eq!(joined.count(), durations(range(0, one + other)).count());
            let all = durations(range(0, one + other)).quantiles();
            assert_eq!(joined.quantiles(), all);
        }
    }

    #[test]
    fn many_quantiles_are_at_most_one_percent_too_long() {
        const COUNT: i64 = 100_000;
        let many = durations((1..=COUNT).map(|ms| ms * 1_000_000 - 3_000_000));
        let bytes = many.classes.as_ref().unwrap().distinct_values() * 4;
        assert!(bytes < 32 * 1024, "{bytes}");
        let quantiles = many.quantiles();
        for (found, percent) in [
            (quantiles.p50_ns, 50),
            (quantiles.p90_ns, 90),
            (quantiles.p99_ns, 99),
        ] {
            let exact_ns = COUNT * percent / 100 * 1_000_000 - 3_000_000;
            assert!(
                (0..=exact_ns / 100).contains(&(found - exact_ns)),
                "{found}"
            );
        }
        assert_eq!(quantiles.max_ns, COUNT * 1_000_000 - 3_000_000);
        assert_eq!(durations(vec![i64::MAX; 2000]).quantiles().p99_ns, i64::MAX);
    }
}
