//! The heads that were met lately: most of what clients and servers say, they say
//! again and again, and what is known need not be read again.

use std::sync::Arc;

use super::head::{self, Framing, Head, ResponseHead, Start};
use crate::app::Asked;
use crate::app::text::Texts;

/// So many heads are remembered.
const MAX_HEADS: usize = 64;

/// Longer ones are not.
const MAX_HEAD_BYTES: usize = 1024;

/// What a head says, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Of a request.
    Request { asked: Arc<Asked>, framing: Framing },
    /// Of a response.
    Response(ResponseHead),
}

impl Meaning {
    /// What begins so.
    pub(super) const fn start(&self) -> Start {
        match self {
            Self::Request { .. } => Start::Request,
            Self::Response(_) => Start::Response,
        }
    }
}

/// Heads that were met lately. Each is at the place that the length of its packet
/// tells; another one may take it.
#[derive(Debug, Default)]
pub(in crate::app) struct Heads {
    texts: Texts,
    met: Vec<Met>,
}

#[derive(Debug, Clone, Default)]
struct Met {
    bytes: Vec<u8>,
    /// None before the first.
    meaning: Option<Meaning>,
}

impl Heads {
    /// What a head says.
    pub(super) fn meaning(&mut self, head: Head<'_>) -> Meaning {
        match head {
            Head::Request(head) => Meaning::Request {
                asked: head.asked(&mut self.texts),
                framing: head.framing,
            },
            Head::Response(head) => Meaning::Response(head),
        }
    }

    /// What the head says that a packet's bytes begin with, and its length, if it is
    /// all there.
    pub(super) fn read_whole(&mut self, bytes: &[u8]) -> Option<(Meaning, usize)> {
        if self.met.is_empty() {
            self.met.resize(MAX_HEADS, Met::default());
        }
        let place = bytes.len() % MAX_HEADS;
        if let Some(met) = self.met.get(place)
            && let Some(meaning) = &met.meaning
            && bytes.starts_with(&met.bytes)
        {
            return Some((meaning.clone(), met.bytes.len()));
        }
        let (head, rest) = head::read_whole(bytes)?;
        let head_bytes = bytes.get(..bytes.len() - rest.len())?;
        let meaning = self.meaning(head);
        if head_bytes.len() <= MAX_HEAD_BYTES
            && let Some(met) = self.met.get_mut(place)
        {
            met.bytes.clear();
            met.bytes.extend_from_slice(head_bytes);
            met.meaning = Some(meaning.clone());
        }
        Some((meaning, head_bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_met_says_the_same_again() {
        let mut heads = Heads::default();
        let texts = [
            "GET /a HTTP/1.1\r\nHost: one\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: two\r\n\r\n",
            "GET /b HTTP/1.1\r\nHost: two\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: one\r\n\r\nmore",
            "PUT /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nmore",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmore",
            "HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nmore",
            "HTTP/1.1 204 No Content\n\n",
        ];
        // Whatever was met before, and wherever it is.
        for text in texts.iter().chain(texts.iter().rev()).chain(&texts) {
            for copies in 1..4 {
                let bytes = text.repeat(copies);
                let fresh = Heads::default().read_whole(bytes.as_bytes());
                assert!(fresh.is_some(), "{text}");
                assert_eq!(heads.read_whole(bytes.as_bytes()), fresh, "{text}");
            }
            for cut in ["", "\n", "\r\n\r\n"] {
                let bytes = text.split("\n\r\n").next().unwrap().trim_end().to_owned() + cut;
                let fresh = Heads::default().read_whole(bytes.as_bytes());
                assert_eq!(heads.read_whole(bytes.as_bytes()), fresh, "{bytes}");
            }
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
        assert!(heads.read_whole(long.as_bytes()).is_some());
        assert!(
            heads
                .met
                .iter()
                .all(|met| met.bytes.len() <= MAX_HEAD_BYTES)
        );
        assert_eq!(heads.met.len(), MAX_HEADS);
    }
}
