//! Which response answers which request: the first the first (RFC 9112
//! section 9.3.2).

use std::collections::VecDeque;

use super::head::{RequestHead, ResponseHead};
use crate::app::{RequestMessage, ResponseMessage};

/// So many requests may wait for a response; beyond, the oldest are given out
/// without.
const MAX_OUTSTANDING: usize = 256;

/// A request and its response, or one of the two.
#[derive(Debug, Default)]
pub(in crate::app) struct Finished {
    pub(in crate::app) request: Option<Box<RequestMessage>>,
    pub(in crate::app) response: Option<ResponseMessage>,
}

/// What is known of requests that are not done with.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// In the order of the requests.
    queue: VecDeque<Finished>,
    /// How many have left the queue.
    given: u64,
    /// The number of the one whose request has not ended.
    asking: Option<u64>,
    /// The number of the one whose response has not ended.
    answering: Option<u64>,
    finished: Vec<Finished>,
}

/// What a response needs to know of its request.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) connect: bool,
}

impl Exchanges {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn get(&mut self, number: Option<u64>) -> Option<&mut Finished> {
        let place = number?.checked_sub(self.given)?;
        self.queue.get_mut(usize::try_from(place).ok()?)
    }

    fn push(&mut self, exchange: Finished) -> u64 {
        if self.queue.len() >= MAX_OUTSTANDING {
            self.give_first();
        }
        self.queue.push_back(exchange);
        self.given + self.queue.len() as u64 - 1
    }

    /// A request begins. `answered` says that a response has begun, and not
    /// ended: if it has no request, it is of this one, and the capture has the
    /// two directions in the wrong order.
    pub(super) fn request(
        &mut self,
        head: RequestHead,
        first_ns: i64,
        last_ns: i64,
        answered: bool,
    ) {
        let request = Box::new(RequestMessage {
            method: Some(head.method),
            target: Some(head.target),
            version: head.version,
            host: head.host,
            user_agent: head.user_agent,
            first_ns,
            last_ns,
            body_bytes: 0,
        });
        let number = self.answering.filter(|_| answered);
        if let Some(orphan) = self.get(number).filter(|it| it.request.is_none()) {
            orphan.request = Some(request);
            self.asking = number;
            return;
        }
        let exchange = Finished {
            request: Some(request),
            response: None,
        };
        self.asking = Some(self.push(exchange));
    }

    /// A final response begins, with a head of `head_bytes`.
    pub(super) fn response(
        &mut self,
        head: &ResponseHead,
        head_bytes: u64,
        first_ns: i64,
        last_ns: i64,
    ) -> Asked {
        let waiting = self
            .queue
            .iter()
            .position(|exchange| exchange.response.is_none());
        let number = match waiting {
            Some(place) => self.given + place as u64,
            None => self.push(Finished::default()),
        };
        self.answering = Some(number);
        let Some(exchange) = self.get(Some(number)) else {
            return Asked::default();
        };
        // What answers a request without a version is all body (RFC 1945
        // section 6), and Zeek counts it so, though many servers send a head.
        let is_simple = exchange
            .request
            .as_ref()
            .is_some_and(|request| request.version.is_empty());
        exchange.response = Some(ResponseMessage {
            status: Some(head.status),
            first_ns,
            last_ns,
            body_bytes: if is_simple { head_bytes } else { 0 },
            is_ended: false,
        });
        exchange
            .request
            .as_ref()
            .map_or(Asked::default(), |request| Asked {
                head: request.method.as_deref() == Some("HEAD"),
                connect: request.method.as_deref() == Some("CONNECT"),
            })
    }

    /// Takes out the request that waits for a response, because the response
    /// comes in another way.
    pub(super) fn take_request(&mut self) -> Option<Box<RequestMessage>> {
        let waiting = self.queue.iter_mut().find(|it| it.response.is_none())?;
        let request = waiting.request.take();
        self.queue
            .retain(|it| it.request.is_some() || it.response.is_some());
        self.asking = None;
        request
    }

    /// More of the open request came.
    pub(super) fn more_request(&mut self, arrived_ns: Option<i64>, body_bytes: u64) {
        let number = self.asking;
        if let Some(message) = self.get(number).and_then(|it| it.request.as_mut()) {
            message.body_bytes += body_bytes;
            message.first_ns = message.first_ns.min(arrived_ns.unwrap_or(i64::MAX));
            message.last_ns = message.last_ns.max(arrived_ns.unwrap_or(i64::MIN));
        }
    }

    /// More of the open response came.
    pub(super) fn more_response(&mut self, arrived_ns: Option<i64>, body_bytes: u64) {
        let number = self.answering;
        if let Some(message) = self.get(number).and_then(|it| it.response.as_mut()) {
            message.body_bytes += body_bytes;
            message.first_ns = message.first_ns.min(arrived_ns.unwrap_or(i64::MAX));
            message.last_ns = message.last_ns.max(arrived_ns.unwrap_or(i64::MIN));
        }
    }

    /// The open request ends.
    pub(super) fn end_request(&mut self) {
        self.asking = None;
    }

    /// The open response ends.
    pub(super) fn end_response(&mut self) {
        let number = self.answering.take();
        if let Some(message) = self.get(number).and_then(|it| it.response.as_mut()) {
            message.is_ended = true;
        }
    }

    /// What was given out since the last time.
    pub(super) fn finished(&mut self) -> impl Iterator<Item = Finished> + '_ {
        self.finished.drain(..)
    }

    /// Gives out what is done with.
    pub(super) fn give(&mut self) {
        while self
            .queue
            .front()
            .is_some_and(|exchange| exchange.response.is_some())
            && self.asking != Some(self.given)
            && self.answering != Some(self.given)
        {
            self.give_first();
        }
    }

    fn give_first(&mut self) {
        if let Some(exchange) = self.queue.pop_front() {
            self.given += 1;
            self.finished.push(exchange);
        }
    }

    /// Gives out all.
    pub(super) fn finish(&mut self) {
        while !self.queue.is_empty() {
            self.give_first();
        }
    }
}
