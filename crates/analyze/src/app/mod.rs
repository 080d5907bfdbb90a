//! What applications said to each other over a connection: requests, and the
//! TLS that hides them.
//!
//! `Conversation` takes the payload of both directions of a connection, finds
//! out by content what it is, and finds the messages in it; which packets belong
//! to the connection is [`crate::tcp`]'s to say.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use tcprec_shared::flow::Endpoint;

use crate::tcp::{Connection, ConnectionId};

mod budget;
mod conversation;
mod framing;
mod http1;
mod http2;
mod reassembly;
mod text;
mod tls;

pub(crate) use budget::Budget;
pub(crate) use conversation::{Conversation, Hidden, Outcome};
pub(crate) use http1::describe as describe_http;
pub use http2::{Goaway, GoawayError, Stream, StreamReset};
pub use tls::{Alert, CipherSuite, Tls, Version};
pub(crate) use tls::{describe as describe_tls, is_hidden_finished};

/// One exchange of HTTP: a request and its final response, or one of the
/// two where the other was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The connection it was made on.
    pub connection: ConnectionId,
    /// Its place among the requests of the connection, from 0.
    pub index: u64,
    /// The end that sends requests.
    pub client: Endpoint,
    /// The end that sends responses.
    pub server: Endpoint,
    /// The request message; none if only a response was seen.
    pub request: Option<RequestMessage>,
    /// The final response message (none of the interim 1xx ones but 101).
    pub response: Option<ResponseMessage>,
    /// Without a response: there may have been one that was not seen, or that could
    /// not be told from others.
    pub may_be_answered: bool,
    /// The stream of HTTP/2 that it is.
    pub stream: Option<Stream>,
}

impl Request {
    /// When its two messages arrived.
    fn arrived(&self) -> [Option<Arrived>; 2] {
        let request = self.request.as_ref().map(|message| message.arrived);
        let response = self.response.as_ref().map(|message| message.arrived);
        [request, response]
    }

    /// When the last of it was seen.
    #[must_use]
    pub fn last_ns(&self) -> i64 {
        let arrived = self.arrived().into_iter().flatten();
        arrived.map(|it| it.last_ns).max().unwrap_or(i64::MIN)
    }

    /// When it began, as far as it was seen.
    #[must_use]
    pub fn first_ns(&self) -> Option<i64> {
        let [request, response] = self.arrived();
        Some(request.or(response)?.first_ns)
    }

    /// How much memory it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let asked = self
            .request
            .as_ref()
            .map_or(0, |message| size_of::<Asked>() + message.asked.text_bytes());
        size_of::<Self>() + asked
    }

    /// Whether it is a stream of HTTP/2 that may have had more frames than were
    /// seen.
    #[must_use]
    pub fn lacks_frames(&self) -> bool {
        self.stream.is_some_and(|stream| stream.lacks_frames)
    }

    /// Whether the head of one of its messages may be among the frames that were not seen:
    /// when that began nobody knows.
    fn lacks_head(&self) -> bool {
        let asked = self.request.as_ref().map(|it| it.method.is_some());
        let answered = self.response.as_ref().map(|it| it.status.is_some());
        self.lacks_frames() && [asked, answered].contains(&Some(false))
    }

    /// Whether nothing is known to be missing of its response.
    fn may_be_whole(&self, response: &ResponseMessage) -> bool {
        match response.completion {
            Completion::Seen | Completion::AtClose => true,
            Completion::Missing | Completion::Unseen => false,
            Completion::Unknown => !self.lacks_frames(),
        }
    }

    /// Whether all of its response came; none if there was none, or that is not known.
    #[must_use]
    pub fn is_response_whole(&self) -> Option<bool> {
        match self.response.as_ref()?.completion {
            Completion::Seen | Completion::AtClose => Some(true),
            Completion::Missing => Some(false),
            Completion::Unknown | Completion::Unseen => None,
        }
    }

    /// Whether the client had closed its connection before the response came, and did not
    /// take it: it answered with a reset.
    #[must_use]
    pub fn is_unheard(&self, connection: &Connection) -> bool {
        let client_is_orig = self.client == connection.orig.endpoint;
        let client = if client_is_orig {
            &connection.orig
        } else {
            &connection.resp
        };
        client.rst_packets > 0
            && connection.is_left_by_orig() == Some(client_is_orig)
            && !connection.is_left_by_reset()
            && (connection.left_ns.zip(self.response.as_ref()))
                .is_some_and(|(left_ns, response)| left_ns < response.arrived.first_ns)
    }

    /// Time to the first byte: from the last byte of the request to the first
    /// byte of the response. Negative if the server did not wait for the end
    /// of the request; none if that last byte was not seen, or may have been before.
    #[must_use]
    pub fn ttfb_ns(&self) -> Option<i64> {
        let (request, response) = (self.request.as_ref()?, self.response.as_ref()?);
        if request.completion == Completion::Unseen || self.lacks_head() {
            return None;
        }
        let (asked_ns, answered_ns) = (request.arrived.last_ns, response.arrived.first_ns);
        // What came after the answer may be another request, which was not told from it.
        let is_end_known = request.completion != Completion::Unknown || self.stream.is_some();
        let ttfb_ns = answered_ns.saturating_sub(asked_ns);
        Some(ttfb_ns).filter(|ns| *ns >= 0 || is_end_known)
    }

    /// From the first byte of the request to the last byte of the response; none if
    /// that did not come.
    #[must_use]
    pub fn total_ns(&self) -> Option<i64> {
        let (request, response) = (self.request.as_ref()?, self.response.as_ref()?);
        if !self.may_be_whole(response) || self.lacks_head() {
            return None;
        }
        Some(
            response
                .arrived
                .last_ns
                .saturating_sub(request.arrived.first_ns),
        )
    }
}

/// What goes on within this time makes no pause: an end that has something to send, and is
/// let to, sends it, however slow the network is. So long a silence may be a timeout, too.
const PAUSE_NS: i64 = 200_000_000;

/// When the bytes of a message, or of its head, arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Time of the packet with the first.
    pub first_ns: i64,
    /// Time of the packet that completed it.
    pub last_ns: i64,
    /// How long none came, in all pauses of 200 ms and more together.
    pub paused_ns: i64,
    /// How many pauses that were.
    pub pauses: u32,
}

impl Default for Arrived {
    /// No bytes yet.
    fn default() -> Self {
        Self {
            first_ns: i64::MAX,
            last_ns: i64::MIN,
            paused_ns: 0,
            pauses: 0,
        }
    }
}

impl Arrived {
    /// Whether what came at this time may be of it.
    pub(crate) const fn spans(&self, at_ns: i64) -> bool {
        self.first_ns <= at_ns && at_ns <= self.last_ns
    }

    /// With more of them; none if they were never seen.
    pub(crate) fn and(self, at_ns: Option<i64>) -> Self {
        let Some(at_ns) = at_ns else {
            return self;
        };
        let silent_ns = at_ns.saturating_sub(self.last_ns);
        let is_pause = self.first_ns <= self.last_ns && silent_ns >= PAUSE_NS;
        let paused_ns = if is_pause { silent_ns } else { 0 };
        Self {
            first_ns: self.first_ns.min(at_ns),
            last_ns: self.last_ns.max(at_ns),
            paused_ns: self.paused_ns.saturating_add(paused_ns),
            pauses: self.pauses.saturating_add(u32::from(is_pause)),
        }
    }
}

/// A request message (RFC 9110 section 6). It can be asked for all that stands in
/// [`Asked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMessage {
    /// What it asks for.
    pub asked: Arc<Asked>,
    /// When it arrived.
    pub arrived: Arrived,
    /// Length of its body on the wire, without the framing of chunks or frames, as far
    /// as it was seen or announced; none if its head was cut, so that nobody knows where
    /// the body began.
    pub body_bytes: Option<u64>,
    /// What is known of its end.
    pub completion: Completion,
}

impl RequestMessage {
    /// Counts body bytes, and when they arrived.
    fn more(&mut self, arrived_ns: Option<i64>, body_bytes: u64) {
        self.arrived = self.arrived.and(arrived_ns);
        let before = self.body_bytes;
        self.body_bytes = before.map(|before| before.saturating_add(body_bytes));
    }
}

impl Deref for RequestMessage {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

/// What a request asks for. Those that ask for the same share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The method, as `GET`; none if the compression of HTTP/2 hides it. So
    /// with the target and the host.
    pub method: Option<Cow<'static, str>>,
    /// The request target as sent, as `/index.html?x=1`.
    pub target: Option<Arc<str>>,
    /// The version, as `HTTP/1.1`, or nothing where there is none; none if it was cut off.
    pub version: Option<Cow<'static, str>>,
    /// The Host header, or HTTP/2's `:authority`.
    pub host: Option<Arc<str>>,
    /// The User-Agent header.
    pub user_agent: Option<Arc<str>>,
}

impl Asked {
    /// How much memory its texts take, if they are its own. (Versions are short, and
    /// mostly nobody's own.)
    fn text_bytes(&self) -> usize {
        let texts = [&self.target, &self.host, &self.user_agent];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        texts.sum::<usize>() + self.method.as_ref().map_or(0, |method| method.len())
    }

    /// Method and target, where both are known.
    #[must_use]
    pub fn route(&self) -> Option<(&str, &str)> {
        self.method.as_deref().zip(self.target.as_deref())
    }
}

/// A response message (RFC 9110 section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseMessage {
    /// The status code; none if the compression of HTTP/2 hides it.
    pub status: Option<u16>,
    /// When it arrived.
    pub arrived: Arrived,
    /// Length of its body on the wire, without the framing of chunks or frames, as far
    /// as it was seen or announced; none if its head was cut, so that nobody knows where
    /// the body began. If its request has no version, its head counts as body.
    pub body_bytes: Option<u64>,
    /// What is known of its end.
    pub completion: Completion,
    /// It is a stream of server-sent events, which has no end of its own.
    pub is_endless: bool,
}

/// Whether a content type is that of server-sent events (WHATWG HTML section 9.2).
fn is_event_stream(content_type: &[u8]) -> bool {
    let kind = content_type.split(|byte| *byte == b';').next();
    kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

impl ResponseMessage {
    /// Counts body bytes, and when they arrived.
    fn more(&mut self, arrived_ns: Option<i64>, body_bytes: u64) {
        self.arrived = self.arrived.and(arrived_ns);
        let before = self.body_bytes;
        self.body_bytes = before.map(|before| before.saturating_add(body_bytes));
    }
}

/// What is known of the end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// It was seen.
    Seen,
    /// It is where its sender closes the connection (RFC 9112 section 6.3).
    AtClose,
    /// It did not come: there was more of it to come, by its own words.
    Missing,
    /// It may have come: how long the message is was not seen.
    Unknown,
    /// It came, or may have come, in packets that were not captured.
    Unseen,
}

#[cfg(test)]
mod talk;
#[cfg(test)]
mod tests;
