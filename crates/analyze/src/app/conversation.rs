//! What the two ends of a connection say to each other.

use tcprec_shared::flow::Flow;

use super::budget::Budget;
use super::http1::{self, Http1};
use super::http2::{self, Http2};
use super::reassembly::{Piece, Reassembly};
use super::{Goaway, Request, Tls, tls};
use crate::tcp::{ConnectionId, Pair, Side};

/// The payload of a connection, as far as it is not understood yet.
#[derive(Debug)]
pub(crate) struct Conversation {
    connection: ConnectionId,
    flow: Flow,
    budget: Budget,
    directions: Pair<Reassembly>,
    protocols: Protocols,
    requests: u64,
    /// How many of them came before anything else than HTTP/1.
    http1_requests: u64,
}

/// What the ends speak: HTTP/1, as far as is known, until something else begins.
#[derive(Debug)]
struct Protocols {
    http1: Http1,
    tls: Option<Box<tls::Session>>,
    http2: Option<Box<Http2>>,
}

impl Protocols {
    fn piece(&mut self, side: Side, piece: Piece<'_>, budget: &Budget) {
        self.look(side, piece.bytes, budget);
        if let Some(session) = &mut self.tls {
            session.piece(side, piece);
        } else if let Some(http2) = &mut self.http2 {
            http2.piece(side, piece);
        } else if let Some(upgrade) = self.http1.piece(side, piece) {
            let mut http2 = Box::new(Http2::new(side.other(), budget));
            http2.upgraded(upgrade.request);
            http2.piece(side, upgrade.piece);
            self.http2 = Some(http2);
        }
    }

    /// Looks whether something else than HTTP/1 begins.
    fn look(&mut self, side: Side, bytes: &[u8], budget: &Budget) {
        if self.is_http1() && self.http1.is_looking(side) {
            if tls::begins(bytes) {
                self.tls = Some(Box::new(tls::Session::new(budget)));
            } else if let Some(by_client) = http2::begins(bytes) {
                let client = if by_client { side } else { side.other() };
                self.http2 = Some(Box::new(Http2::new(client, budget)));
            }
        } else if self.http2.as_ref().is_some_and(|it| it.awaits(side))
            && http2::begins(bytes).is_none()
            && http1::asks(bytes)
        {
            // A server may say that it speaks HTTP/2 before its client has said anything
            // (RFC 9113 section 3.4), which may be of HTTP/1.
            self.http2 = None;
        }
    }

    /// Whether nothing else has begun.
    const fn is_http1(&self) -> bool {
        self.tls.is_none() && self.http2.is_none()
    }

    /// Whether nothing that `side` sends is looked at, for now.
    fn is_opaque(&self, side: Side) -> bool {
        self.is_http1() && self.http1.is_opaque(side)
    }

    /// Whether nothing will be found any more.
    fn is_over(&self) -> bool {
        match &self.tls {
            Some(session) => session.is_over(),
            None => self.http2.is_none() && self.http1.is_over(),
        }
    }
}

/// What hides the requests of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// A protocol that is not known.
    Unknown,
    /// TLS.
    Tls,
    /// TLS 1.3, or a draft of it.
    Tls13,
}

/// What was found in a conversation, but for the requests themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// How many requests there were.
    pub(crate) requests: u64,
    /// What was seen of its TLS.
    pub(crate) tls: Option<Box<Tls>>,
}

impl Conversation {
    /// A conversation before its first payload. Where `begins` is known, it is
    /// the position of the first byte of a direction.
    pub(crate) fn new(
        connection: ConnectionId,
        flow: Flow,
        begins: Pair<Option<i64>>,
        budget: &Budget,
    ) -> Self {
        Self {
            connection,
            flow,
            budget: budget.clone(),
            directions: Pair {
                low: Reassembly::new(begins.low),
                high: Reassembly::new(begins.high),
            },
            protocols: Protocols {
                http1: Http1::new(begins, budget.clone()),
                tls: None,
                http2: None,
            },
            requests: 0,
            http1_requests: 0,
        }
    }

    /// Takes payload: `length` bytes at `position`, of which `bytes` were captured.
    pub(crate) fn payload(
        &mut self,
        side: Side,
        position: i64,
        length: u32,
        bytes: &[u8],
        arrived_ns: i64,
        out: impl FnMut(Request),
    ) {
        let (protocols, budget) = (&mut self.protocols, &self.budget);
        if protocols.is_opaque(side) {
            self.directions[side].pass(position, length);
            return;
        }
        let heard = self.directions[side.other()].acknowledged_until();
        protocols.http1.heard(side, heard);
        self.directions[side].segment(position, length, bytes, arrived_ns, budget, |piece| {
            protocols.piece(side, piece, budget);
        });
        self.give(out);
    }

    /// Takes it that what `side` sent before `position` has arrived.
    pub(crate) fn acknowledged(&mut self, side: Side, position: i64, out: impl FnMut(Request)) {
        let (protocols, budget) = (&mut self.protocols, &self.budget);
        let is_more = self.directions[side]
            .acknowledged(position, |piece| protocols.piece(side, piece, budget));
        if is_more {
            self.give(out);
        }
    }

    /// Whether nothing will be found any more.
    pub(crate) fn is_over(&self) -> bool {
        self.protocols.is_over()
    }

    /// What hides its requests, if anything does: not while they are read, nor while a
    /// handshake goes on that will hide them.
    pub(crate) fn hidden(&self) -> Option<Hidden> {
        let Protocols { http1, tls, http2 } = &self.protocols;
        match tls {
            Some(session) => session.is_established().then(|| {
                if session.hides_handshake() {
                    Hidden::Tls13
                } else {
                    Hidden::Tls
                }
            }),
            None => (http2.is_none() && http1.is_unclaimed()).then_some(Hidden::Unknown),
        }
    }

    /// What was found.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            requests: self.requests,
            tls: (self.protocols.tls.as_ref()).and_then(|session| session.facts(&self.flow)),
        }
    }

    /// The error by which an end gave its HTTP/2 up, if one did.
    pub(crate) fn goaway(&self) -> Option<Box<Goaway>> {
        self.protocols.http2.as_ref()?.goaway(&self.flow)
    }

    /// Takes it that nothing more comes.
    pub(crate) fn finish(&mut self, out: impl FnMut(Request)) {
        let (protocols, budget) = (&mut self.protocols, &self.budget);
        for side in [Side::Low, Side::High] {
            self.directions[side].finish(|piece| protocols.piece(side, piece, budget));
        }
        protocols.http1.finish();
        if let Some(http2) = &mut protocols.http2 {
            http2.finish();
        }
        self.give(out);
    }

    fn give(&mut self, mut out: impl FnMut(Request)) {
        let Protocols { http1, http2, .. } = &mut self.protocols;
        let ends = |client: Side| [client, client.other()].map(|side| side.endpoint(&self.flow));
        let [client, server] = ends(http1.client().unwrap_or(Side::Low));
        for finished in http1.finished() {
            out(Request {
                connection: self.connection,
                index: self.http1_requests,
                client,
                server,
                request: finished.request,
                response: finished.response,
                may_be_answered: finished.may_be_answered,
                stream: None,
            });
            self.http1_requests += 1;
            self.requests += 1;
        }
        let Some(http2) = http2 else {
            return;
        };
        let [client, server] = ends(http2.client());
        for exchange in http2.finished() {
            out(Request {
                connection: self.connection,
                index: self.http1_requests + exchange.index,
                client,
                server,
                request: exchange.request,
                response: exchange.response,
                may_be_answered: exchange.stream.lacks_frames,
                stream: Some(exchange.stream),
            });
            self.requests += 1;
        }
    }
}
