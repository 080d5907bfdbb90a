//! What is known of a socket.

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, ProcessId, Provenance};

use super::KernelFacts;
use super::holders::Holders;
use crate::span::Span;

/// An incarnation of a socket, or a listener.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) netns: u32,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) cookie: Option<u64>,
    /// When it came to be; the beginning of time if before the recording.
    pub(super) opened_ns: i64,
    /// That, where it was seen.
    pub(super) born_ns: Option<i64>,
    pub(super) closed_ns: Option<i64>,
    pub(super) holders: Holders,
    pub(super) facts: KernelFacts,
    /// How many segments it had sent again when the kernel first told so.
    pub(super) resent_before: Option<u32>,
    pub(super) kind: SocketKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketKind {
    Connection,
    Listener,
    /// Not a socket but something the kernel did without one, as a reset for
    /// a closed port, or before there was one, as a SYN-ACK sent again.
    Stray,
}

impl Socket {
    /// The process that holds it, and how that is known.
    pub(super) fn claim(&self) -> Option<(ProcessId, Provenance)> {
        self.holders.claim()
    }

    /// Takes what the kernel did to it.
    pub(super) fn observe(&mut self, event: &Event) {
        self.holders.observe(event);
        self.facts.observe(event);
        if let Some(tcp) = event.tcp {
            self.resent_before.get_or_insert(tcp.retransmitted_packets);
        }
    }

    /// How many segments the kernel counts as sent again, of those since the first event.
    pub(super) fn counted_retransmits(&self) -> Option<u32> {
        let counted = self.facts.tcp?.retransmitted_packets;
        Some(counted.saturating_sub(self.resent_before?))
    }

    /// How long it and `span` have in common, and how far they are apart;
    /// one of both is 0.
    pub(super) fn nearness(&self, span: Span) -> (i64, i64) {
        let first = self.opened_ns.max(span.first_ns);
        let last = self.closed_ns.unwrap_or(i64::MAX).min(span.last_ns);
        (
            last.saturating_sub(first).max(0),
            first.saturating_sub(last).max(0),
        )
    }

    pub(super) fn is_between(&self, local: Endpoint, remote: Endpoint) -> bool {
        self.local == local && self.remote == remote
    }
}
