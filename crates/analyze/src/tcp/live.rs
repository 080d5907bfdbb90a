//! A connection that is being followed.

use tcprec_shared::flow::Flow;
use tcprec_shared::headers::{Segment, TcpFlags};

use super::analysis::Analyzer;
use super::bursts::Bursts;
use super::direction::Direction;
use super::handshake::Handshake;
use super::pair::{Pair, Side};
use super::ports;
use super::seq::Seq;
use super::stalls::{Sent, Stalls};
use super::state::States;
use super::tracker::Seen;
use super::waiting::Waiting;
use super::{ConnState, Connection, ConnectionId};
use crate::app::{Budget, Conversation, Outcome, Request};

/// A connection that is being followed, and all that is known of it so far.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: ConnectionId,
    pub(super) scope: u32,
    flow: Flow,
    begin_ns: i64,
    first_ns: i64,
    last_ns: i64,
    reused_ports: bool,
    reused_after_ns: Option<i64>,
    missed_bytes: u64,
    states: States,
    handshake: Handshake,
    analyzer: Analyzer,
    stalls: Stalls,
    bursts: Bursts,
    directions: Pair<Direction>,
    application: Application,
    /// Requests that are finished, and not told yet.
    waiting: Waiting,
}

/// What is known of the payload.
#[derive(Debug)]
enum Application {
    /// There was none.
    Silent,
    /// It is looked into.
    Talking(Box<Conversation>),
    /// It is not looked into any more.
    Over(Outcome),
}

impl Live {
    /// A connection before its first packet, `segment`, and what used its
    /// 5-tuple before.
    pub(super) fn new(
        id: ConnectionId,
        flow: Flow,
        seen: Seen,
        segment: &Segment<'_>,
        before: Option<&Self>,
    ) -> Self {
        let sender = Self::sender(flow, segment);
        let flipped = ports::is_from_server(segment);
        Self {
            id,
            scope: seen.scope,
            flow,
            begin_ns: seen.ts_ns,
            first_ns: seen.ts_ns,
            last_ns: seen.ts_ns,
            reused_ports: before.is_some(),
            reused_after_ns: before
                .filter(|before| before.states.is_closed())
                .map(|before| seen.ts_ns.saturating_sub(before.last_ns)),
            missed_bytes: 0,
            states: States::new(if flipped { sender.other() } else { sender }, flipped),
            handshake: Handshake::default(),
            analyzer: Analyzer::default(),
            stalls: Stalls::default(),
            bursts: Bursts::default(),
            directions: Pair::default(),
            application: Application::Silent,
            waiting: Waiting::default(),
        }
    }

    fn sender(flow: Flow, segment: &Segment<'_>) -> Side {
        if segment.src == flow.low {
            Side::Low
        } else {
            Side::High
        }
    }

    /// Whether `segment` begins another connection on the same 5-tuple.
    ///
    /// A SYN with another number than this connection began with does, as in
    /// Wireshark; one with the same number is sent again, even after a reset.
    /// (Zeek also splits there, and does not split where a live connection is
    /// begun anew.)
    pub(super) fn is_ended_by(&self, segment: &Segment<'_>) -> bool {
        segment.flags.has(TcpFlags::SYN)
            && !segment.flags.has(TcpFlags::ACK)
            && self.directions[Self::sender(self.flow, segment)].is_other(Seq(segment.seq))
    }

    /// Takes a packet. What is kept of its payload is `budget`'s; without one
    /// it is not looked into.
    pub(super) fn packet(&mut self, seen: Seen, segment: &Segment<'_>, budget: Option<&Budget>) {
        let side = Self::sender(self.flow, segment);
        let [syn, ack, rst] =
            [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::RST].map(|flag| segment.flags.has(flag));
        self.first_ns = self.first_ns.min(seen.ts_ns);
        self.last_ns = self.last_ns.max(seen.ts_ns);
        let initial_rtt_ns = self.handshake.initial_rtt_ns();
        let retransmissions = self.analyzer.retransmissions(side);
        self.analyzer
            .packet(side, seen.ts_ns, segment, initial_rtt_ns);
        self.handshake.packet(side, seen.ts_ns, segment.flags);
        self.states.packet(side, seen.ts_ns, segment);
        let (direction, peer) = self.directions.split(side);
        if syn && ack && direction.is_other(Seq(segment.seq)) {
            // Another answer than the one before: Wireshark takes it for one
            // of another connection, whose SYN was missed.
            self.reused_ports = true;
            direction.begin_anew(Seq(segment.seq));
        }
        let mut acknowledged = None;
        if ack {
            peer.begin_at(Seq(segment.ack) + -1);
        }
        // What a reset acknowledges is not to be trusted.
        if ack && !rst {
            let (states, missed_bytes) = (&mut self.states, &mut self.missed_bytes);
            let position = peer.acknowledge(Seq(segment.ack), |missing| {
                if states.gap(side.other()) {
                    *missed_bytes += missing.len();
                }
            });
            acknowledged = Some(position);
            if let Application::Talking(conversation) = &mut self.application {
                let waiting = &mut self.waiting;
                conversation.acknowledged(side.other(), position, |request| waiting.push(request));
            }
        }
        let repairs = direction.repairs();
        let retransmitted = direction.retransmitted_packets();
        let position = direction.packet(segment, seen.cookie);
        let end = position.saturating_add(segment.payload_bytes.into());
        let is_awaited = syn || !direction.is_acknowledged(end);
        let sent = Sent {
            side,
            ts_ns: seen.ts_ns,
            position,
            is_repair: direction.repairs() > repairs && is_awaited,
            acknowledged,
        };
        if segment.payload_bytes > 0 || syn {
            // Wireshark takes what is sent again soon for out of order, and
            // what fills a hole for sent again: both count.
            let is_again = direction.retransmitted_packets() > retransmitted
                || self.analyzer.retransmissions(side) > retransmissions;
            self.bursts.packet(side, position, seen.ts_ns, is_again);
        }
        self.stalls
            .packet(sent, segment, self.handshake.initial_rtt_ns());
        if segment.payload_bytes > 0
            && !rst
            && let Some(budget) = budget
        {
            self.payload(side, position, seen.ts_ns, segment, budget);
        }
    }

    fn payload(
        &mut self,
        side: Side,
        position: i64,
        ts_ns: i64,
        segment: &Segment<'_>,
        budget: &Budget,
    ) {
        if matches!(self.application, Application::Silent) {
            let begins = Pair {
                low: self.directions.low.data_begin(),
                high: self.directions.high.data_begin(),
            };
            let conversation = Conversation::new(self.id, self.flow, begins, budget);
            self.application = Application::Talking(Box::new(conversation));
        }
        if let Application::Talking(conversation) = &mut self.application {
            let waiting = &mut self.waiting;
            conversation.payload(
                side,
                position,
                segment.payload_bytes,
                segment.payload,
                ts_ns,
                |request| waiting.push(request),
            );
            if conversation.is_over() {
                self.application = Application::Over(conversation.outcome());
            }
        }
    }

    /// Whether no more payload is to be expected.
    pub(super) fn is_over(&self) -> bool {
        self.states.is_over()
    }

    /// When the latest packet came.
    pub(super) const fn last_ns(&self) -> i64 {
        self.last_ns
    }

    /// Whether all goes well, as far as its packets tell: neither refused nor
    /// reset, nothing sent again, no end that waits.
    pub(super) fn goes_well(&self) -> bool {
        let is_good = matches!(
            self.states.summary(),
            ConnState::S1 | ConnState::S2 | ConnState::S3 | ConnState::Sf | ConnState::Oth
        );
        is_good && self.bursts.is_empty() && self.stalls.is_empty()
    }

    /// The requests that wait until it is finished.
    pub(super) fn waiting_requests(&self) -> impl Iterator<Item = &Request> {
        self.waiting.iter()
    }

    /// The bytes that its waiting requests take.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    /// Takes out the waiting requests that were over by `until_ns`.
    pub(super) fn take_requests(&mut self, until_ns: i64) -> Vec<Request> {
        self.waiting.take(until_ns)
    }

    /// What is known of it, and of the requests that were not taken out.
    pub(super) fn finish(mut self) -> (Connection, Vec<Request>) {
        if let Application::Talking(conversation) = &mut self.application {
            let waiting = &mut self.waiting;
            conversation.finish(|request| waiting.push(request));
        }
        (self.so_far(), self.waiting.take(i64::MAX))
    }

    /// What is known of it so far.
    pub(super) fn so_far(&self) -> Connection {
        let outcome = match &self.application {
            Application::Silent => Outcome::default(),
            Application::Talking(conversation) => conversation.outcome(),
            Application::Over(outcome) => outcome.clone(),
        };
        let originator = self
            .handshake
            .originator()
            .unwrap_or(self.states.originator());
        let [low, high] =
            [Side::Low, Side::High].map(|side| (self.states.size(side), self.analyzer.of(side)));
        let low = self.directions.low.end(self.flow.low, low.0, low.1);
        let high = self.directions.high.end(self.flow.high, high.0, high.1);
        let (orig, resp) = match originator {
            Side::Low => (low, high),
            Side::High => (high, low),
        };
        Connection {
            id: self.id,
            scope: self.scope,
            orig,
            resp,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            duration_ns: self.states.last_ns().saturating_sub(self.begin_ns),
            state: self.states.summary(),
            history: self.states.history(originator),
            missed_bytes: self.missed_bytes,
            syn_synack_ns: self.handshake.syn_synack_ns(),
            synack_ack_ns: self.handshake.synack_ack_ns(),
            initial_rtt_ns: self.handshake.initial_rtt_ns(),
            syn_ns: self.handshake.first_syn_ns(),
            established_ns: self.handshake.established_ns(),
            stalls: self.stalls.all(originator, self.last_ns),
            bursts: self.bursts.worst(originator),
            reused_ports: self.reused_ports,
            reused_after_ns: self.reused_after_ns,
            requests: outcome.requests,
            tls: outcome.tls,
        }
    }
}
