//! The streams of a connection (RFC 9113 section 5): each is one request and
//! its response.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::error;
use super::fields::Fields;
use crate::app::budget::{Budget, Share};
use crate::app::{Arrived, Asked, Completion, RequestMessage, ResponseMessage};

/// So many streams may be open; beyond, the oldest are given out as they are.
const MAX_STREAMS: usize = 1024;

/// So long may be all that their requests say.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// So many streams are remembered that were reset: the other end may not have
/// known when it sent more.
const MAX_RESET: usize = 64;

/// The version of requests and responses.
const VERSION: &str = "HTTP/2";

/// What a request has beside its two messages if it is a stream of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The stream's number.
    pub id: u32,
    /// The client did not ask: the server promised the response by itself
    /// (RFC 9113 section 8.4).
    pub is_pushed: bool,
    /// What came of a call of gRPC (its field `grpc-status`): 0 is good.
    pub grpc_status: Option<u32>,
    /// The end that broke it off, if one did.
    pub reset: Option<StreamReset>,
    /// Frames of the connection were not seen meanwhile, cut off or lost, or came
    /// when it was given out already, to bound the memory: what is missing of the two
    /// messages may have been among them.
    pub lacks_frames: bool,
}

/// A stream that was broken off (RFC 9113 section 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReset {
    /// Whether the client did it.
    pub by_client: bool,
    /// Why.
    pub code: u32,
    /// When; none if that was not seen.
    pub at_ns: Option<i64>,
}

impl StreamReset {
    /// The word for its code, as `cancel`.
    #[must_use]
    pub fn word(&self) -> String {
        error::word(self.code)
    }
}

/// A stream, as far as it is known.
#[derive(Debug)]
pub(in crate::app) struct Exchange {
    pub(in crate::app) index: u64,
    pub(in crate::app) stream: Stream,
    pub(in crate::app) request: Option<RequestMessage>,
    pub(in crate::app) response: Option<ResponseMessage>,
    asked: Half,
    answered: Half,
    /// What it takes of the budget.
    share: Share,
}

/// What is known of a message beside itself.
#[derive(Debug, Default)]
struct Half {
    /// The length of its body, as it says itself.
    announced: Option<u64>,
    is_ended: bool,
    /// Some of its frames may not have been seen.
    meets_loss: bool,
    /// Bytes of the connection that were not seen and can be nobody else's.
    lost_bytes: u64,
}

impl Exchange {
    fn new(index: u64, id: u32, budget: &Budget) -> Self {
        Self {
            index,
            stream: Stream {
                id,
                is_pushed: false,
                grpc_status: None,
                reset: None,
                lacks_frames: false,
            },
            request: None,
            response: None,
            asked: Half::default(),
            answered: Half::default(),
            share: budget.share(),
        }
    }

    /// Whether the message of an end has begun, and not ended.
    fn is_open(&self, by_client: bool) -> bool {
        if by_client {
            self.request.is_some() && !self.asked.is_ended
        } else {
            self.response.is_some() && !self.answered.is_ended
        }
    }

    const fn half(&mut self, by_client: bool) -> &mut Half {
        if by_client {
            &mut self.asked
        } else {
            &mut self.answered
        }
    }

    /// Counts body bytes, and when they arrived.
    fn more(&mut self, by_client: bool, body_bytes: u64, arrived_ns: Option<i64>) {
        match (&mut self.request, &mut self.response) {
            (Some(request), _) if by_client => request.more(arrived_ns, body_bytes),
            (_, Some(response)) if !by_client => response.more(arrived_ns, body_bytes),
            _ => {}
        }
    }

    fn end(&mut self, by_client: bool) {
        self.half(by_client).is_ended = true;
        if !by_client && let Some(response) = &mut self.response {
            response.completion = Completion::Seen;
        }
    }

    /// Whether both ends have said all.
    const fn is_done(&self) -> bool {
        self.answered.is_ended && (self.asked.is_ended || self.request.is_none())
    }

    /// Ends the message of an end if all of its body must have been in what was
    /// not seen.
    fn settle(&mut self, by_client: bool) {
        let body_bytes = if by_client {
            self.request.as_ref().and_then(|message| message.body_bytes)
        } else {
            self.response
                .as_ref()
                .and_then(|message| message.body_bytes)
        };
        let half = self.half(by_client);
        let (Some(body_bytes), Some(announced)) = (body_bytes, half.announced) else {
            return;
        };
        if half.lost_bytes > 0 && body_bytes.saturating_add(half.lost_bytes) >= announced {
            self.end(by_client);
        }
    }

    /// What is told of it: of a body that was not wholly seen its length is
    /// what was announced, if the stream was not broken off.
    fn finish(mut self) -> Self {
        self.share.give_back();
        let is_broken = self.stream.reset.is_some();
        let announced = |half: &Half| half.announced.filter(|_| !is_broken);
        if let Some(message) = &mut self.request
            && self.asked.meets_loss
        {
            message.body_bytes = announced(&self.asked);
        }
        if let Some(message) = &mut self.response
            && self.answered.meets_loss
        {
            message.body_bytes = announced(&self.answered);
        }
        let asked = self.request.as_ref();
        let is_connect = asked.is_some_and(|it| it.method.as_deref() == Some("CONNECT"));
        if let Some(message) = &mut self.response
            && message.completion == Completion::Unknown
            && !self.stream.lacks_frames
        {
            // A tunnel (RFC 9113 section 8.5), as that of a WebSocket (RFC 8441), ends
            // whenever one of its ends does.
            let is_tunnel = is_connect && matches!(message.status, Some(200..300));
            message.completion = if is_tunnel {
                Completion::AtClose
            } else {
                Completion::Missing
            };
        }
        self
    }
}

/// All streams.
#[derive(Debug)]
pub(super) struct Streams {
    budget: Budget,
    open: BTreeMap<u32, Exchange>,
    /// What the texts of their requests take.
    text_bytes: usize,
    begun: u64,
    reset: VecDeque<u32>,
    /// The last stream that was given out early.
    given_early: u32,
    finished: Vec<Exchange>,
}

impl Streams {
    /// No streams; what is open takes of `budget`.
    pub(super) const fn new(budget: Budget) -> Self {
        Self {
            budget,
            open: BTreeMap::new(),
            text_bytes: 0,
            begun: 0,
            reset: VecDeque::new(),
            given_early: 0,
            finished: Vec::new(),
        }
    }

    /// The request that asked for HTTP/2 is the first stream (RFC 7540 section
    /// 3.2).
    pub(super) fn upgraded(&mut self, request: RequestMessage) {
        let text_bytes = request.text_bytes();
        if let Some(exchange) = self.begin(1) {
            exchange.request = Some(request);
            exchange.asked.is_ended = true;
            self.keep(1, text_bytes);
        }
    }

    fn begin(&mut self, id: u32) -> Option<&mut Exchange> {
        let is_open = self.open.contains_key(&id);
        if self.reset.contains(&id) || id <= self.given_early && !is_open {
            return None;
        }
        if self.open.len() >= MAX_STREAMS && !is_open {
            self.give_oldest();
        }
        let (begun, budget) = (&mut self.begun, &self.budget);
        Some(self.open.entry(id).or_insert_with(|| {
            *begun += 1;
            Exchange::new(*begun - 1, id, budget)
        }))
    }

    /// Takes a header block: the beginning of a message, or its trailers.
    pub(super) fn headers(&mut self, id: u32, by_client: bool, fields: Fields, arrived: Arrived) {
        let Some(exchange) = self.begin(id) else {
            return;
        };
        exchange.stream.grpc_status = fields.grpc_status.or(exchange.stream.grpc_status);
        let mut text_bytes = 0;
        if by_client {
            if exchange.request.is_none() {
                exchange.asked.announced = fields.content_length;
                let request = request(fields, arrived);
                text_bytes = request.text_bytes();
                exchange.request = Some(request);
            }
        } else if fields.status.is_none_or(|status| status >= 200) {
            let before = exchange.response.as_ref();
            // One of which not even the status was known may have been interim.
            let is_interim = |response: &ResponseMessage| response.status.is_none();
            if before.is_none_or(|before| is_interim(before) && fields.status.is_some()) {
                exchange.answered.announced = fields.content_length;
                exchange.response = Some(response(&fields, arrived));
            }
        }
        exchange.more(by_client, 0, Some(arrived.last_ns));
        self.keep(id, text_bytes);
    }

    /// Takes the promise of a response (RFC 9113 section 6.6).
    pub(super) fn promise(&mut self, id: u32, fields: Fields, arrived: Arrived) {
        if let Some(exchange) = self.begin(id)
            && exchange.request.is_none()
        {
            let request = request(fields, arrived);
            let text_bytes = request.text_bytes();
            exchange.stream.is_pushed = true;
            exchange.request = Some(request);
            exchange.asked.is_ended = true;
            self.keep(id, text_bytes);
        }
    }

    /// Takes a part of a body.
    pub(super) fn data(&mut self, id: u32, by_client: bool, bytes: u64, arrived_ns: Option<i64>) {
        if let Some(exchange) = self.open.get_mut(&id) {
            exchange.more(by_client, bytes, arrived_ns);
        }
    }

    /// Takes it that a message has ended.
    pub(super) fn end(&mut self, id: u32, by_client: bool) {
        if let Some(exchange) = self.open.get_mut(&id) {
            exchange.end(by_client);
            if exchange.is_done() {
                self.give(id);
            }
        }
    }

    /// Takes it that an end broke a stream off.
    pub(super) fn reset(&mut self, id: u32, reset: StreamReset) {
        if let Some(exchange) = self.open.get_mut(&id) {
            exchange.stream.reset = Some(reset);
            self.give(id);
            if self.reset.len() >= MAX_RESET {
                self.reset.pop_front();
            }
            self.reset.push_back(id);
        }
    }

    /// Takes it that of what an end sent so many bytes are not known. Says
    /// whether header blocks may have been among them.
    pub(super) fn lost(&mut self, by_client: bool, bytes: u64, arrived_ns: Option<i64>) -> bool {
        let mut hides_headers = by_client;
        let mut open = 0;
        for exchange in self.open.values_mut() {
            if exchange.is_open(by_client) {
                open += 1;
                exchange.stream.lacks_frames = true;
                let half = exchange.half(by_client);
                half.meets_loss = true;
                // Trailers come where no length is known before.
                hides_headers |= half.announced.is_none();
            } else if !by_client && exchange.response.is_none() {
                exchange.stream.lacks_frames = true;
                hides_headers = true;
            }
        }
        let mut exchanges = self.open.values_mut();
        if open == 1
            && let Some(exchange) = exchanges.find(|it| it.is_open(by_client))
        {
            let half = exchange.half(by_client);
            half.lost_bytes = half.lost_bytes.saturating_add(bytes);
            exchange.more(by_client, 0, arrived_ns);
        }
        hides_headers
    }

    /// Takes it that what an end sends is known again.
    pub(super) fn again(&mut self, by_client: bool) {
        let mut done = Vec::new();
        for (id, exchange) in &mut self.open {
            if exchange.is_open(by_client) {
                exchange.settle(by_client);
                if exchange.is_done() {
                    done.push(*id);
                }
            }
        }
        for id in done {
            self.give(id);
        }
    }

    /// Counts a stream with its texts, and makes room for it.
    fn keep(&mut self, id: u32, text_bytes: usize) {
        self.text_bytes += text_bytes;
        while self.text_bytes > MAX_TEXT_BYTES && !self.open.is_empty() {
            self.give_oldest();
        }
        while let Some(exchange) = self.open.get_mut(&id) {
            let is_new = exchange.share.is_empty();
            let own_bytes = if is_new { size_of::<Exchange>() } else { 0 };
            if exchange.share.grow(own_bytes + text_bytes) {
                break;
            }
            self.give_oldest();
        }
    }

    fn give(&mut self, id: u32) {
        if let Some(exchange) = self.open.remove(&id) {
            self.out(exchange);
        }
    }

    fn give_oldest(&mut self) {
        if let Some((id, mut exchange)) = self.open.pop_first() {
            self.given_early = self.given_early.max(id);
            exchange.stream.lacks_frames = true;
            self.out(exchange);
        }
    }

    fn out(&mut self, exchange: Exchange) {
        let text_bytes = exchange
            .request
            .as_ref()
            .map_or(0, |message| message.text_bytes());
        self.text_bytes = self.text_bytes.saturating_sub(text_bytes);
        self.finished.push(exchange.finish());
    }

    /// Takes it that nothing more comes.
    pub(super) fn finish(&mut self) {
        for by_client in [true, false] {
            self.again(by_client);
        }
        while let Some((_, exchange)) = self.open.pop_first() {
            self.out(exchange);
        }
    }

    /// What was finished since the last time.
    pub(super) fn finished(&mut self) -> impl Iterator<Item = Exchange> + '_ {
        self.finished.drain(..)
    }
}

fn request(fields: Fields, arrived: Arrived) -> RequestMessage {
    let asked = Asked {
        method: fields.method.map(Into::into),
        target: fields.path,
        version: Some(VERSION.into()),
        host: fields.authority,
        user_agent: fields.user_agent,
    };
    RequestMessage {
        asked: Arc::new(asked),
        arrived,
        body_bytes: Some(0),
        completion: Completion::Unknown,
    }
}

fn response(fields: &Fields, arrived: Arrived) -> ResponseMessage {
    ResponseMessage {
        status: fields.status,
        arrived,
        body_bytes: Some(0),
        completion: Completion::Unknown,
        is_endless: fields.is_event_stream == Some(true),
    }
}
