//! Requests that are finished, and wait for their connection to be: what comes
//! late (losses, owners, the kernel's figures) concerns them too.

use std::mem;

use crate::app::Request;

/// The requests of a connection that wait, in the order they were finished.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: Vec<Request>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, request: Request) {
        self.bytes += request.memory_bytes();
        if self.requests.capacity() == 0 {
            // Of most connections it is the only one.
            self.requests.reserve_exact(1);
        }
        self.requests.push(request);
    }

    /// All that wait.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter()
    }

    /// How much memory they take.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes out those that were over by `until_ns`, up to the first that was not.
    pub(super) fn take(&mut self, until_ns: i64) -> Vec<Request> {
        let is_young = |request: &Request| request.last_ns() > until_ns;
        let young = match self.requests.iter().position(is_young) {
            Some(first) => self.requests.split_off(first),
            None => Vec::new(),
        };
        self.bytes = young.iter().map(Request::memory_bytes).sum();
        mem::replace(&mut self.requests, young)
    }
}
