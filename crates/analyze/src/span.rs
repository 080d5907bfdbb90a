//! Stretches of time.

/// A stretch of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// When it begins.
    pub first_ns: i64,
    /// When it ends.
    pub last_ns: i64,
}

impl Span {
    /// One moment.
    #[must_use]
    pub(crate) const fn at(ts_ns: i64) -> Self {
        Self {
            first_ns: ts_ns,
            last_ns: ts_ns,
        }
    }

    /// All of time.
    pub(crate) const ALWAYS: Self = Self {
        first_ns: i64::MIN,
        last_ns: i64::MAX,
    };

    /// Whether a moment is in it.
    #[must_use]
    pub(crate) const fn contains(self, ts_ns: i64) -> bool {
        self.first_ns <= ts_ns && ts_ns <= self.last_ns
    }
}
