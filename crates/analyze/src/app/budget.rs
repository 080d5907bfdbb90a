//! A bound on the bytes that all conversations of a capture keep together, and
//! the heads and texts that they share.

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
            budget: self.clone(),
        }
    }
}

/// Bytes that are kept.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    budget: Budget,
}

impl Buffer {
    /// Keeps `bytes` too. Says whether there was room for them.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> bool {
        let take = |left: usize| left.checked_sub(bytes.len());
        let room = self
            .budget
            .0
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
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

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget
            .0
            .left
            .fetch_add(self.bytes.len(), Ordering::Relaxed);
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
