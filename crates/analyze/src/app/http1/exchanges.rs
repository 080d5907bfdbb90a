//! Which response answers which request: the first the first (RFC 9112
//! section 9.3.2).

use std::collections::VecDeque;
use std::iter;

use super::head::ResponseHead;
use crate::app::{Arrived, Completion, RequestMessage, ResponseMessage};

/// So many requests may wait for a response; beyond, the oldest are given out
/// without, and which response answers which request is not known any more.
const MAX_OUTSTANDING: usize = 256;

/// A request and its response, or one of the two.
#[derive(Debug, Default)]
pub(in crate::app) struct Finished {
    pub(in crate::app) request: Option<RequestMessage>,
    pub(in crate::app) response: Option<ResponseMessage>,
    /// Without a response: it passed unseen, or is among those without a request.
    pub(in crate::app) may_be_answered: bool,
    /// Up to where the client had acknowledged what the server sent when it asked.
    heard: i64,
}

/// What is known of requests that are not done with.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// In the order of the requests.
    queue: VecDeque<Finished>,
    /// So many of the first are done with.
    done: usize,
    /// How many have left the queue.
    given: u64,
    /// The number of the one whose request has not ended.
    asking: Option<u64>,
    /// The number of the one whose response has not ended.
    answering: Option<u64>,
    /// Where that response begins in what the server sends.
    answering_at: i64,
    /// Where the latest response without a request did.
    orphan_at: Option<i64>,
    /// Where the server's bytes went unseen first since the last response began.
    unseen_at: Option<i64>,
    /// Which response answers which request is not known any more.
    is_unordered: bool,
}

/// What a response needs to know of its request.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) connect: bool,
}

impl Exchanges {
    /// Whether all are done with.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.len() == self.done
    }

    /// One that is not done with.
    fn get(&mut self, number: Option<u64>) -> Option<&mut Finished> {
        let place = usize::try_from(number?.checked_sub(self.given)?).ok()?;
        self.queue.get_mut(place).filter(|_| place >= self.done)
    }

    fn push(&mut self, exchange: Finished) -> u64 {
        if self.queue.len() - self.done >= MAX_OUTSTANDING {
            self.is_unordered = true;
            self.done += 1;
        }
        if self.queue.capacity() == 0 {
            // Most clients wait for the answer.
            self.queue.reserve_exact(1);
        }
        self.queue.push_back(exchange);
        self.given + self.queue.len() as u64 - 1
    }

    /// A request begins. `answered` says that a response has begun, and not
    /// ended: if it has no request, it is of this one, and the capture has the
    /// two directions in the wrong order. The client had `heard` what the server sent
    /// up to there: if that is any of the response, it answers something else, unless
    /// this is the first that the client ever said.
    pub(super) fn request(
        &mut self,
        message: RequestMessage,
        answered: bool,
        is_first: bool,
        heard: i64,
    ) {
        let is_before = answered && (is_first || heard <= self.answering_at);
        let number = self.answering.filter(|_| is_before);
        if let Some(orphan) = self.get(number).filter(|it| it.request.is_none()) {
            orphan.request = Some(message);
            self.asking = number;
            return;
        }
        let exchange = Finished {
            request: Some(message),
            // It was asked before that one.
            may_be_answered: self.orphan_at.is_some_and(|orphan_at| heard <= orphan_at),
            heard,
            ..Finished::default()
        };
        self.asking = Some(self.push(exchange));
    }

    /// Whether the open response has no request, nor any body so far: if it answers a
    /// HEAD that was not captured, the next message may follow at once.
    pub(super) fn may_lack_body(&mut self) -> bool {
        let number = self.answering;
        let is_bare = |response: &ResponseMessage| response.body_bytes == Some(0);
        self.get(number)
            .is_some_and(|it| it.request.is_none() && it.response.as_ref().is_some_and(is_bare))
    }

    /// A final response begins at `position`, with a head of `head_bytes`.
    pub(super) fn response(
        &mut self,
        head: &ResponseHead,
        position: i64,
        head_bytes: u64,
        arrived: Arrived,
    ) -> Asked {
        if let Some(unseen_at) = self.unseen_at.take() {
            self.pass_unseen(unseen_at);
        }
        let mut waiting = self.queue.iter().skip(self.done);
        let is_waiting = |it: &Finished| it.response.is_none() && !it.may_be_answered;
        let number = match waiting.position(is_waiting) {
            Some(place) if !self.is_unordered => self.given + (self.done + place) as u64,
            _ => {
                self.orphan_at = Some(position);
                self.push(Finished::default())
            }
        };
        self.answering = Some(number);
        self.answering_at = position;
        let Some(exchange) = self.get(Some(number)) else {
            return Asked::default();
        };
        // What answers a request without a version is all body (RFC 1945
        // section 6), and Zeek counts it so, though many servers send a head.
        let is_simple = exchange
            .request
            .as_ref()
            .is_some_and(|request| request.version.as_deref() == Some(""));
        exchange.response = Some(ResponseMessage {
            status: Some(head.status),
            arrived,
            body_bytes: Some(if is_simple { head_bytes } else { 0 }),
            completion: Completion::Unknown,
            is_endless: head.is_endless,
        });
        exchange
            .request
            .as_ref()
            .map_or(Asked::default(), |request| Asked {
                head: request.method.as_deref() == Some("HEAD"),
                connect: request.method.as_deref() == Some("CONNECT"),
            })
    }

    /// What the server sent from `position` on was not seen, and where the next
    /// response begins is not known.
    pub(super) fn unseen(&mut self, position: i64) {
        self.unseen_at.get_or_insert(position);
    }

    /// Takes it that responses passed unseen from `position` on: who asks again, after it
    /// had more of what the server sent than when it asked before, was answered meanwhile.
    /// Of a client that does not wait for answers, which few do, nothing tells.
    fn pass_unseen(&mut self, position: i64) {
        let waiting = self.queue.range(self.done..);
        let pairs = waiting.clone().zip(waiting.skip(1));
        let is_between = |(before, asked): (&Finished, &Finished)| {
            before.response.is_none() && asked.heard > before.heard.max(position)
        };
        let last = pairs.map(is_between).rposition(|is_between| is_between);
        let end = last.map_or(self.done, |place| self.done + place + 1);
        let passed = self.queue.range_mut(self.done..end);
        for exchange in passed.filter(|it| it.response.is_none()) {
            exchange.may_be_answered = true;
        }
        let waiting = self.queue.range(self.done..);
        let waiting = waiting.filter(|it| it.response.is_none() && !it.may_be_answered);
        self.is_unordered |= waiting.count() > 1;
    }

    /// Takes out the request that waits for a response, because the response
    /// comes in another way.
    pub(super) fn take_request(&mut self) -> Option<RequestMessage> {
        let mut waiting = self.queue.iter_mut().skip(self.done);
        let request = waiting.find(|it| it.response.is_none())?.request.take();
        self.queue
            .retain(|it| it.request.is_some() || it.response.is_some());
        self.asking = None;
        request
    }

    /// Of the message that began last, of the client's or the server's, it is not known
    /// where its body begins.
    pub(super) fn lacks_body(&mut self, by_client: bool) {
        let number = if by_client {
            self.asking
        } else {
            self.answering
        };
        let Some(exchange) = self.get(number) else {
            return;
        };
        match (&mut exchange.request, &mut exchange.response) {
            (Some(request), _) if by_client => request.body_bytes = None,
            (_, Some(response)) if !by_client => response.body_bytes = None,
            _ => {}
        }
    }

    /// More of the open request came.
    pub(super) fn more_request(&mut self, arrived_ns: Option<i64>, body_bytes: u64) {
        let number = self.asking;
        if let Some(message) = self.get(number).and_then(|it| it.request.as_mut()) {
            message.more(arrived_ns, body_bytes);
        }
    }

    /// More of the open response came.
    pub(super) fn more_response(&mut self, arrived_ns: Option<i64>, body_bytes: u64) {
        let number = self.answering;
        if let Some(message) = self.get(number).and_then(|it| it.response.as_mut()) {
            message.more(arrived_ns, body_bytes);
        }
    }

    /// The open request ends.
    pub(super) fn end_request(&mut self, completion: Completion) {
        let number = self.asking.take();
        if let Some(message) = self.get(number).and_then(|it| it.request.as_mut()) {
            message.completion = completion;
        }
    }

    /// The open response ends.
    pub(super) fn end_response(&mut self, completion: Completion) {
        let number = self.answering.take();
        if let Some(message) = self.get(number).and_then(|it| it.response.as_mut()) {
            message.completion = completion;
        }
    }

    /// Gives out what is done with.
    pub(super) fn finished(&mut self) -> impl Iterator<Item = Finished> + '_ {
        iter::from_fn(|| {
            self.done = self.done.checked_sub(1)?;
            self.given += 1;
            let mut exchange = self.queue.pop_front()?;
            exchange.may_be_answered |= self.is_unordered;
            Some(exchange)
        })
    }

    /// Looks what is done with.
    pub(super) fn look(&mut self) {
        let open = [self.asking, self.answering];
        let is_done = |(number, exchange): &(u64, &Finished)| {
            let is_over = exchange.response.is_some() || exchange.may_be_answered;
            is_over && !open.contains(&Some(*number))
        };
        let numbered = (self.given..).zip(&self.queue).skip(self.done);
        self.done += numbered.take_while(is_done).count();
    }

    /// Takes it that all are done with, and what is known of the ends of the request
    /// and the response that have not ended. Other responses may have been sent, if the
    /// place of the next one is lost.
    pub(super) fn finish(&mut self, request: Completion, response: Completion, is_lost: bool) {
        self.end_request(request);
        self.end_response(response);
        for exchange in self.queue.range_mut(self.done..) {
            exchange.may_be_answered |= is_lost || self.unseen_at.is_some();
        }
        self.done = self.queue.len();
    }
}
