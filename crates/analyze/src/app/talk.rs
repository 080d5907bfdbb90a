//! What tests let two ends say to each other.

use tcprec_shared::flow::{Endpoint, Flow};

use super::{Budget, Conversation, Request, Tls};
use crate::tcp::{ConnectionId, Pair, Side};

pub(super) const CLIENT: Side = Side::Low;
pub(super) const SERVER: Side = Side::High;

/// Two ends that speak in turn, a packet each millisecond.
pub(super) struct Talk {
    pub(super) conversation: Conversation,
    pub(super) next: Pair<i64>,
    pub(super) now_ns: i64,
    pub(super) found: Vec<Request>,
}

impl Talk {
    pub(super) fn new() -> Self {
        Self::with_budget(1 << 20)
    }

    pub(super) fn with_budget(bytes: usize) -> Self {
        let end = |last| Endpoint::new([10, 0, 0, last].into(), 80);
        let flow = Flow::between(end(1), end(2));
        let begins = Pair {
            low: Some(1),
            high: Some(1),
        };
        Self {
            conversation: Conversation::new(ConnectionId(7), flow, begins, &Budget::new(bytes)),
            next: Pair { low: 1, high: 1 },
            now_ns: 0,
            found: Vec::new(),
        }
    }

    /// A packet at a place of the sender's stream, cut after `kept` bytes.
    pub(super) fn packet(mut self, side: Side, position: i64, bytes: &[u8], kept: usize) -> Self {
        self.now_ns += 1_000_000;
        let captured = &bytes[..kept.min(bytes.len())];
        self.conversation.payload(
            side,
            position,
            u32::try_from(bytes.len()).unwrap(),
            captured,
            self.now_ns,
            |request| self.found.push(request),
        );
        self
    }

    pub(super) fn says(self, side: Side, text: impl AsRef<[u8]>) -> Self {
        self.says_cut(side, text, usize::MAX)
    }

    pub(super) fn says_cut(mut self, side: Side, text: impl AsRef<[u8]>, kept: usize) -> Self {
        let (position, bytes) = (self.next[side], text.as_ref());
        self.next[side] += i64::try_from(bytes.len()).unwrap();
        self.packet(side, position, bytes, kept)
    }

    /// A packet that is not captured.
    pub(super) fn loses(mut self, side: Side, length: i64) -> Self {
        self.next[side] += length;
        self
    }

    /// The other end has all that `side` sent.
    pub(super) fn acknowledged(mut self, side: Side) -> Self {
        let position = self.next[side];
        self.conversation
            .acknowledged(side, position, |request| self.found.push(request));
        self
    }

    /// What is known of the TLS in the end.
    pub(super) fn tls(mut self) -> Option<Box<Tls>> {
        self.conversation.finish(drop);
        self.conversation.outcome().tls
    }

    pub(super) fn finish(mut self) -> Vec<Request> {
        self.conversation.finish(|request| self.found.push(request));
        assert_eq!(
            self.conversation.outcome().requests,
            self.found.len() as u64
        );
        self.found
    }

    /// Each request in one word, as `GET/a=200+5`: method, target, status and
    /// length of the response's body.
    pub(super) fn summary(self) -> Vec<String> {
        let summary = |found: Request| {
            let request = found.request.map_or_else(
                || "?".to_owned(),
                |request| {
                    let (method, target) = (request.method.as_deref(), request.target.as_deref());
                    method.unwrap_or("?").to_owned() + target.unwrap_or("?")
                },
            );
            let response = found.response.map_or_else(
                || "none".to_owned(),
                |response| {
                    let status = response.status.map(|status| status.to_string());
                    let status = status.unwrap_or_else(|| "?".to_owned());
                    let body = response.body_bytes.map(|bytes| bytes.to_string());
                    format!("{status}+{}", body.as_deref().unwrap_or("?"))
                },
            );
            format!("{request}={response}")
        };
        self.finish().into_iter().map(summary).collect()
    }
}
