//! The two ends of a connection.

use std::ops::{Index, IndexMut};

use tcprec_shared::flow::{Endpoint, Flow};

/// One of the two ends, by the order of its endpoint in the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The smaller endpoint.
    Low,
    /// The larger endpoint.
    High,
}

impl Side {
    /// The other end.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }

    /// Its address and port.
    pub(crate) const fn endpoint(self, flow: &Flow) -> Endpoint {
        match self {
            Self::Low => flow.low,
            Self::High => flow.high,
        }
    }
}

/// Something for each end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pair<T> {
    pub(crate) low: T,
    pub(crate) high: T,
}

impl<T> Pair<T> {
    /// That of `side`, and that of the other end.
    pub(crate) const fn split(&mut self, side: Side) -> (&mut T, &mut T) {
        match side {
            Side::Low => (&mut self.low, &mut self.high),
            Side::High => (&mut self.high, &mut self.low),
        }
    }
}

impl<T> Index<Side> for Pair<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Low => &self.low,
            Side::High => &self.high,
        }
    }
}

impl<T> IndexMut<Side> for Pair<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        self.split(side).0
    }
}
