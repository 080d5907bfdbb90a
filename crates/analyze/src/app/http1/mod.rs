//! HTTP/1.0 and 1.1 (RFC 9112), found by content on any port.
//!
//! This module finds the messages of both directions and says which response
//! answers which request. It needs neither all packets nor all of their
//! payload: of a head that is cut it takes what there is, and where it lost
//! the place it goes on at the next packet that begins with a message.

mod begin;
mod body;
mod direction;
mod exchanges;
mod head;
mod heads;
#[cfg(test)]
mod tests;

use std::mem;
use std::sync::Arc;

use self::body::{Body, Progress};
use self::direction::{Direction, State};
use self::exchanges::Exchanges;
pub(super) use self::exchanges::Finished;
pub(super) use self::head::asks;
pub(crate) use self::head::describe;
use self::head::{Framing, ResponseHead, Start};
pub(super) use self::heads::Heads;
use self::heads::Meaning;
use super::budget::{Budget, Buffer};
use super::reassembly::Piece;
use super::{Arrived, Asked, Completion, RequestMessage};
use crate::tcp::{Pair, Side};

/// A head longer than this is cut.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// After so many packets without a message a direction is not looked at any
/// more, unless the other one has messages.
const MAX_MISSES: u8 = 16;

/// What is known of a connection that may carry HTTP/1.
#[derive(Debug)]
pub(super) struct Http1 {
    budget: Budget,
    /// Where each end's first byte is, if that is known.
    begins: Pair<Option<i64>>,
    /// The end that sends requests; none before the first message.
    client: Option<Side>,
    carries: Carries,
    /// The request that was answered by going over to HTTP/2.
    upgraded: Option<RequestMessage>,
    directions: Pair<Direction>,
    exchanges: Exchanges,
}

/// What a connection carries, as far as is known.
#[derive(Debug, Clone, Copy, Default)]
enum Carries {
    #[default]
    Http,
    /// What it is a tunnel for (CONNECT): it may be HTTP again.
    Anything,
    /// Something else (Upgrade).
    Other,
}

/// Where HTTP/2 begins.
#[derive(Debug)]
pub(super) struct Upgrade<'a> {
    /// The request that asked for it.
    pub(super) request: RequestMessage,
    /// What follows the answer.
    pub(super) piece: Piece<'a>,
}

impl Http1 {
    /// A connection that nothing is known of.
    pub(super) fn new(begins: Pair<Option<i64>>, budget: Budget) -> Self {
        Self {
            budget,
            begins,
            client: None,
            carries: Carries::default(),
            upgraded: None,
            directions: Pair::default(),
            exchanges: Exchanges::default(),
        }
    }

    /// Whether nothing that `side` sends is looked at, for now.
    pub(super) fn is_opaque(&self, side: Side) -> bool {
        matches!(self.directions[side].state, State::Opaque)
    }

    /// Whether the next piece of `side` may begin something else: no message was
    /// found yet, or the connection was handed over.
    pub(super) fn is_looking(&self, side: Side) -> bool {
        let state = &self.directions[side].state;
        self.is_unclaimed() && matches!(state, State::Between | State::Lost)
    }

    /// Whether it carries no HTTP/1, as far as is known.
    pub(super) const fn is_unclaimed(&self) -> bool {
        self.client.is_none() || !matches!(self.carries, Carries::Http)
    }

    /// Whether nothing will be found any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_unclaimed()
            && self.is_opaque(Side::Low)
            && self.is_opaque(Side::High)
            && self.exchanges.is_empty()
    }

    /// The end that sends requests, if there were messages.
    pub(super) const fn client(&self) -> Option<Side> {
        self.client
    }

    /// Up to where `side` has acknowledged what the other end sent.
    pub(super) fn heard(&mut self, side: Side, position: i64) {
        self.directions[side].heard = position;
    }

    /// Takes the next piece that the end `side` sent. Gives what of it is not
    /// HTTP/1 but HTTP/2.
    pub(super) fn piece<'a>(&mut self, side: Side, piece: Piece<'a>) -> Option<Upgrade<'a>> {
        let mut rest = piece.bytes;
        if !rest.is_empty() {
            if self.may_begin(side) {
                self.look(side, piece);
            }
            self.directions[side].lacks_last = false;
        }
        while !rest.is_empty() {
            rest = match mem::take(&mut self.directions[side].state) {
                State::Between => self.begin(side, rest, piece),
                State::Head { bytes, searched } => self.head(side, bytes, searched, rest, piece),
                State::Body(body) => self.body(side, body, rest, piece),
                State::Lost => {
                    self.directions[side].state = State::Lost;
                    self.touch(side, piece, rest.len() as u64);
                    break;
                }
                State::Opaque => {
                    self.directions[side].state = State::Opaque;
                    return None;
                }
            };
            if let Some(request) = self.upgraded.take() {
                let piece = Piece {
                    bytes: rest,
                    ..piece
                };
                return Some(Upgrade { request, piece });
            }
        }
        if piece.missing > 0 {
            self.missing(side, piece);
        }
        None
    }

    /// Takes more of a head. Gives what follows it.
    fn head<'a>(
        &mut self,
        side: Side,
        mut before: Buffer,
        searched: usize,
        bytes: &'a [u8],
        piece: Piece<'_>,
    ) -> &'a [u8] {
        let known = before.len();
        let room = before.extend(bytes);
        if let Some(end) = head::end(&before, searched) {
            let head = self.read(&before[..end]);
            self.message(side, head, end as u64, piece, true);
            return &bytes[end - known..];
        }
        let direction = &mut self.directions[side];
        direction.head = direction.head.and(piece.arrived_ns);
        if !self.fits(side, head::start(&before)) {
            self.directions[side].state = State::Lost;
            self.miss(side);
        } else if before.len() >= MAX_HEAD_BYTES || !room {
            self.cut(side, &before, piece);
        } else {
            // The end may stand across: a line end and an empty line.
            let searched = before.len().saturating_sub(3);
            self.directions[side].state = State::Head {
                bytes: before,
                searched,
            };
        }
        &[]
    }

    /// Takes what there is of a head.
    fn cut(&mut self, side: Side, bytes: &[u8], piece: Piece<'_>) {
        let head = self.read(bytes);
        self.message(side, head, bytes.len() as u64, piece, false);
    }

    /// Reads a head, or as much of it as there is.
    fn read(&self, bytes: &[u8]) -> Option<Meaning> {
        let head = head::read(bytes)?;
        Some(self.budget.heads().meaning(head))
    }

    /// Takes a head, `whole` or cut, and goes on with what must follow it.
    fn message(
        &mut self,
        side: Side,
        head: Option<Meaning>,
        head_bytes: u64,
        piece: Piece<'_>,
        whole: bool,
    ) {
        let arrived = self.directions[side].head.and(piece.arrived_ns);
        let after = match head {
            Some(Meaning::Request { asked, framing }) if self.fits(side, Start::Request) => {
                self.found(side);
                self.request(asked, framing, arrived)
            }
            Some(Meaning::Response(mut head)) if self.fits(side, Start::Response) => {
                // Where HTTP/2 begins is not known of a head that is cut.
                head.is_http2 &= whole;
                head.has_upgrade |= !whole;
                self.found(side.other());
                self.response(&head, head_bytes, arrived)
            }
            _ => {
                self.directions[side].state = State::Lost;
                return;
            }
        };
        let direction = &mut self.directions[side];
        direction.open = true;
        match after {
            After::Handed(carries) => self.hand_over(carries),
            After::Body(_) | After::Nothing if !whole => {
                direction.state = State::Lost;
                self.exchanges.lacks_body(self.client == Some(side));
            }
            After::Body(body) => direction.state = State::Body(body),
            After::Nothing => {
                direction.state = State::Between;
                self.end(side, Completion::Seen);
            }
        }
    }

    /// Takes it that `client` sends the requests.
    fn found(&mut self, client: Side) {
        if self.is_unclaimed() {
            self.client = Some(client);
            self.carries = Carries::Http;
            for side in [client, client.other()] {
                let state = &mut self.directions[side].state;
                if matches!(state, State::Opaque) {
                    *state = State::Lost;
                }
            }
        }
    }

    fn request(&mut self, asked: Arc<Asked>, framing: Framing, arrived: Arrived) -> After {
        let client = self.client.unwrap_or(Side::Low);
        let server = client.other();
        let answered = matches!(self.directions[server].state, State::Body(_));
        let message = RequestMessage {
            asked,
            arrived,
            body_bytes: Some(0),
            completion: Completion::Unknown,
        };
        let Direction {
            head_at,
            head_heard,
            ..
        } = self.directions[client];
        let is_first = self.begins[client] == Some(head_at);
        self.exchanges
            .request(message, answered, is_first, head_heard);
        Body::of_request(framing).map_or(After::Nothing, After::Body)
    }

    fn response(&mut self, head: &ResponseHead, head_bytes: u64, arrived: Arrived) -> After {
        if head.is_http2
            && let Some(request) = self.exchanges.take_request()
        {
            self.upgraded = Some(request);
            return After::Handed(Carries::Other);
        }
        let interim = (100..200).contains(&head.status) && head.status != 101;
        if interim {
            return After::Nothing;
        }
        let server = self.client.unwrap_or(Side::Low).other();
        let head_at = self.directions[server].head_at;
        let asked = self.exchanges.response(head, head_at, head_bytes, arrived);
        match head.status {
            101 if head.has_upgrade => After::Handed(Carries::Other),
            200..300 if asked.connect => After::Handed(Carries::Anything),
            101 | 204 | 304 => After::Nothing,
            _ if asked.head => After::Nothing,
            _ => Body::of_response(head.framing).map_or(After::Nothing, After::Body),
        }
    }

    /// Ends all messages. What follows may be something that others know.
    fn hand_over(&mut self, carries: Carries) {
        self.carries = carries;
        for side in [Side::Low, Side::High] {
            let direction = &mut self.directions[side];
            direction.state = State::Lost;
            direction.open = false;
            direction.misses = 0;
        }
        self.exchanges.end_request(Completion::Seen);
        self.exchanges.end_response(Completion::Seen);
        self.exchanges.look();
    }

    /// Takes more of a body. Gives what follows it.
    fn body<'a>(
        &mut self,
        side: Side,
        mut body: Body,
        bytes: &'a [u8],
        piece: Piece<'_>,
    ) -> &'a [u8] {
        let (rest, taken, progress) = body.take(bytes);
        self.touch(side, piece, taken);
        self.go_on(side, body, progress);
        rest
    }

    fn go_on(&mut self, side: Side, body: Body, progress: Progress) {
        let direction = &mut self.directions[side];
        match progress {
            Progress::More => direction.state = State::Body(body),
            Progress::Lost => direction.state = State::Lost,
            Progress::Ended => {
                direction.state = State::Between;
                self.end(side, Completion::Seen);
            }
        }
    }

    /// Takes it that bytes are missing after those of a piece.
    fn missing(&mut self, side: Side, piece: Piece<'_>) {
        self.directions[side].lacks_last = piece.arrived_ns.is_none();
        match mem::take(&mut self.directions[side].state) {
            State::Between => self.directions[side].state = State::Lost,
            State::Head { bytes, .. } => self.cut(side, &bytes, piece),
            State::Body(mut body) => {
                let (beyond, taken, progress) = body.skip(piece.missing);
                self.touch(side, piece, taken);
                self.go_on(side, body, progress);
                if beyond > 0 {
                    self.directions[side].state = State::Lost;
                }
            }
            State::Lost => {
                self.directions[side].state = State::Lost;
                self.touch(side, piece, piece.missing);
            }
            State::Opaque => self.directions[side].state = State::Opaque,
        }
        let is_lost = matches!(self.directions[side].state, State::Lost);
        if is_lost && self.client == Some(side.other()) {
            self.exchanges.unseen(piece.missing_at);
        }
    }

    /// Counts body bytes, and when they came, to the message that is open.
    fn touch(&mut self, side: Side, piece: Piece<'_>, body_bytes: u64) {
        if self.directions[side].open {
            if self.client == Some(side) {
                self.exchanges.more_request(piece.arrived_ns, body_bytes);
            } else {
                self.exchanges.more_response(piece.arrived_ns, body_bytes);
            }
        }
    }

    /// Ends the message that is open, with what is known of its end if the last of it
    /// was seen.
    fn end(&mut self, side: Side, completion: Completion) {
        let direction = &mut self.directions[side];
        if mem::take(&mut direction.open) {
            let completion = if direction.lacks_last {
                Completion::Unseen
            } else {
                completion
            };
            if self.client == Some(side) {
                self.exchanges.end_request(completion);
            } else {
                self.exchanges.end_response(completion);
            }
            self.exchanges.look();
        }
    }

    /// What was finished since the last time.
    pub(super) fn finished(&mut self) -> impl Iterator<Item = Finished> + '_ {
        self.exchanges.finished()
    }

    /// Takes it that nothing more comes. (A head that its sender did not end
    /// is no message.)
    pub(super) fn finish(&mut self) {
        let completion = |state: &State| match state {
            State::Body(Body::UntilClose) => Completion::AtClose,
            State::Body(_) => Completion::Missing,
            _ => Completion::Unknown,
        };
        let client = self.client.unwrap_or(Side::Low);
        let [client, server] = [client, client.other()].map(|side| &self.directions[side].state);
        // What was not understood may have been answers.
        let is_lost = !matches!(server, State::Between | State::Body(_));
        self.exchanges
            .finish(completion(client), completion(server), is_lost);
    }
}

/// What follows a head.
enum After {
    Body(Body),
    Nothing,
    /// What the connection carries from there on, both ways.
    Handed(Carries),
}
