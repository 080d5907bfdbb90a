//! A bound on the bytes that all conversations of a capture keep together, and
//! the heads and texts that they share.

use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::http1::Heads;

/// So many bytes may be kept; all clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    left: AtomicUsize,
    heads: Mutex<Heads>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared {
            left: AtomicUsize::new(bytes),
            heads: Mutex::default(),
        }))
    }

    /// The heads that all clones share.
    pub(super) fn heads(&self) -> MutexGuard<'_, Heads> {
        let heads = self.0.heads.lock();
        heads.unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer that keeps nothing yet.
    pub(super) fn buffer(&self) -> Buffer {
        Buffer {
            bytes: Vec::new(),
            share: self.share(),
        }
    }

    /// A share of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share {
            bytes: 0,
            budget: self.clone(),
        }
    }
}

/// What something takes of a budget.
#[derive(Debug)]
pub(super) struct Share {
    bytes: usize,
    budget: Budget,
}

impl Share {
    /// Whether it has taken nothing so far.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Takes so many bytes more. Says whether there was room for them.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let left = &self.budget.0.left;
        let take = |left: usize| left.checked_sub(bytes);
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }

    /// Gives back all that it took.
    pub(super) fn give_back(&mut self) {
        let left = &self.budget.0.left;
        left.fetch_add(mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Bytes that are kept.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    share: Share,
}

impl Buffer {
    /// Keeps `bytes` too. Says whether there was room for them.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> bool {
        let room = self.share.grow(bytes.len());
        if room {
            self.bytes.extend_from_slice(bytes);
        }
        room
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_kept_again() {
        let budget = Budget::new(10);
        let mut first = budget.buffer();
        let mut second = budget.buffer();
        assert!(first.extend(b"1234567"));
        assert!(!second.extend(b"1234"));
        assert_eq!((&*first, &*second), (&b"1234567"[..], &b""[..]));
        drop(first);
        assert!(second.extend(b"1234567890"));
        assert!(!second.extend(b"1"));
    }
}
