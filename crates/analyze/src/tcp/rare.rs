//! What is kept of few connections.
//!
//! Most connections are short and go well. What each packet of these needs stands
//! in the connection itself, in few cache lines; the rest stands behind a pointer,
//! and takes neither room nor time before it is needed.

/// Something that few connections need: made when it is first written to.
#[derive(Debug, Clone)]
pub(super) struct Rare<T>(Option<Box<T>>);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Default> Rare<T> {
    /// It, if it was needed before.
    #[inline(always)]
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// It, if it was needed before, to be changed.
    #[inline(always)]
    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// It, to be changed; made now if it was not needed before.
    pub(super) fn make(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// A copy of it, as it was made if it was not needed.
    pub(super) fn copied(&self) -> T
    where
        T: Copy,
    {
        self.get().copied().unwrap_or_default()
    }
}
