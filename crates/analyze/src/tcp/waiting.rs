//! Requests that are finished, and wait for their connection to be: what comes
//! late (losses, owners, the kernel's figures) concerns them too.

use std::collections::VecDeque;

use crate::app::Request;

/// The requests of a connection that wait, in the order they were finished.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, request: Request) {
        self.bytes += request.memory_bytes();
        self.requests.push_back(request);
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
        let is_over = |request: &Request| request.last_ns() <= until_ns;
        let young = self.requests.iter().position(|request| !is_over(request));
        let taken: Vec<_> = match young {
            Some(count) => self.requests.drain(..count).collect(),
            None => std::mem::take(&mut self.requests).into(),
        };
        let bytes: usize = taken.iter().map(Request::memory_bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }
}
