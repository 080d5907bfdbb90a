//! What the two ends of a connection say to each other.

use tcprec_shared::flow::Flow;

use super::Request;
use super::budget::Budget;
use super::http1::Http1;
use super::reassembly::Reassembly;
use crate::tcp::{ConnectionId, Pair, Side};

/// The payload of a connection, as far as it is not understood yet.
#[derive(Debug)]
pub(crate) struct Conversation {
    connection: ConnectionId,
    flow: Flow,
    directions: Pair<Reassembly>,
    http1: Http1,
    requests: u64,
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
            directions: Pair {
                low: Reassembly::new(begins.low, budget.clone()),
                high: Reassembly::new(begins.high, budget.clone()),
            },
            http1: Http1::new(budget.clone()),
            requests: 0,
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
        let http1 = &mut self.http1;
        if http1.is_opaque(side) {
            self.directions[side].pass(position, length);
            return;
        }
        self.directions[side].segment(position, length, bytes, arrived_ns, |piece| {
            http1.piece(side, piece);
        });
        self.give(out);
    }

    /// Takes it that what `side` sent before `position` has arrived.
    pub(crate) fn acknowledged(&mut self, side: Side, position: i64, out: impl FnMut(Request)) {
        let http1 = &mut self.http1;
        self.directions[side].acknowledged(position, |piece| http1.piece(side, piece));
        self.give(out);
    }

    /// Whether nothing will be found any more.
    pub(crate) fn is_over(&self) -> bool {
        self.http1.is_over()
    }

    /// How many requests were found.
    pub(crate) const fn requests(&self) -> u64 {
        self.requests
    }

    /// Takes it that nothing more comes.
    pub(crate) fn finish(&mut self, out: impl FnMut(Request)) {
        let http1 = &mut self.http1;
        for side in [Side::Low, Side::High] {
            self.directions[side].finish(|piece| http1.piece(side, piece));
        }
        http1.finish();
        self.give(out);
    }

    fn give(&mut self, mut out: impl FnMut(Request)) {
        let client = self.http1.client().unwrap_or(Side::Low);
        let (client, server) = match client {
            Side::Low => (self.flow.low, self.flow.high),
            Side::High => (self.flow.high, self.flow.low),
        };
        for finished in self.http1.finished() {
            out(Request {
                connection: self.connection,
                index: self.requests,
                client,
                server,
                request: finished.request,
                response: finished.response,
            });
            self.requests += 1;
        }
    }
}
