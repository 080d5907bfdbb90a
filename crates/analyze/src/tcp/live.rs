//! A connection that is being followed.

use tcprec_shared::flow::Flow;
use tcprec_shared::headers::{Segment, TcpFlags};

use super::analysis::{Analyzer, Judged};
use super::bursts::Bursts;
use super::direction::Direction;
use super::handshake::Handshake;
use super::nagle::New;
use super::packet::{Kind, Packet};
use super::pair::{Pair, Side};
use super::seq::Seq;
use super::stalls::{Sent, Stalls};
use super::state::States;
use super::tracker::Seen;
use super::turns::{Said, TurnTaking};
use super::waiting::Waiting;
use super::{ConnState, Connection, ConnectionId};
use crate::app::{Budget, Completion, Conversation, Hidden, Outcome, Request};

/// A connection that is being followed, and all that is known of it so far.
///
/// Many are, and each packet of one has to find what it needs in the caches: what
/// only few connections need stands in a [`Rare`](super::rare::Rare).
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: ConnectionId,
    pub(super) scope: u32,
    pub(super) flow: Flow,
    begin_ns: i64,
    first_ns: i64,
    last_ns: i64,
    left_ns: Option<i64>,
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
    /// Of what cannot be read.
    turns: TurnTaking,
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
    /// It is not looked into any more. With what hides the rest.
    Over(Outcome, Option<Hidden>),
}

impl Live {
    /// A connection before its first packet, and what used its 5-tuple before.
    pub(super) fn new(
        id: ConnectionId,
        flow: Flow,
        states: States,
        seen: Seen,
        before: Option<&Self>,
    ) -> Self {
        Self {
            id,
            scope: seen.scope,
            flow,
            begin_ns: seen.ts_ns,
            first_ns: seen.ts_ns,
            last_ns: seen.ts_ns,
            left_ns: None,
            reused_ports: before.is_some(),
            reused_after_ns: before
                .filter(|before| before.states.is_closed())
                .map(|before| seen.ts_ns.saturating_sub(before.last_ns)),
            missed_bytes: 0,
            states,
            handshake: Handshake::default(),
            analyzer: Analyzer::default(),
            stalls: Stalls::default(),
            bursts: Bursts::default(),
            directions: Pair::default(),
            application: Application::Silent,
            turns: TurnTaking::default(),
            waiting: Waiting::default(),
        }
    }

    /// Whether `segment` from `sender` begins another connection on the same 5-tuple, or is
    /// of another one whose beginning was lost.
    ///
    /// A SYN with another number than this connection began with does, as in
    /// Wireshark; one with the same number is sent again, even after a reset.
    /// (Zeek also splits there, and does not split where a live connection is
    /// begun anew.)
    #[inline(always)]
    pub(super) fn is_ended_by(&self, sender: Side, segment: &Segment<'_>) -> bool {
        segment.flags.has(TcpFlags::SYN)
            && !segment.flags.has(TcpFlags::ACK)
            && self.directions[sender].is_other(Seq(segment.seq))
            || self.directions[sender].has_ended() && self.is_outlived_by(sender, segment)
    }

    /// Whether `segment` is of another connection, since its sender had sent the last of
    /// this one. A reset may have any number.
    ///
    /// (Wireshark and Zeek take its numbers for this one's. Where packets were lost and
    /// ports are used again, that is gigabytes of payload that nobody sent.)
    #[inline(never)]
    fn is_outlived_by(&self, sender: Side, segment: &Segment<'_>) -> bool {
        let end = Seq(segment.seq) + i64::from(segment.payload_bytes);
        !segment.flags.has(TcpFlags::RST) && self.directions[sender].is_outrun_by(end)
    }

    /// Takes a packet from `sender`. What is kept of its payload is `budget`'s;
    /// without one it is not looked into.
    pub(super) fn packet(
        &mut self,
        sender: Side,
        seen: Seen,
        segment: &Segment<'_>,
        budget: Option<&Budget>,
    ) {
        #[expect(clippy::match_same_arms, reason = "one way, compiled for each kind")]
        let position = match Packet::new(sender, seen.ts_ns, segment).kind() {
            Kind::Ack(packet) => self.take(&packet, seen.cookie),
            Kind::Data(packet) => self.take(&packet, seen.cookie),
            Kind::Signal(packet) => self.take_signal(packet, seen.cookie),
        };
        if segment.payload_bytes > 0
            && !segment.flags.has(TcpFlags::RST)
            && let Some(budget) = budget
        {
            self.payload(sender, position, seen.ts_ns, segment, budget);
        }
    }

    #[inline(never)]
    fn take_signal(&mut self, packet: Packet<'_>, cookie: Option<u64>) -> i64 {
        self.take(&packet.with_options(), cookie)
    }

    /// Takes a packet, but for its payload, and gives the position of that.
    #[inline(always)]
    fn take(&mut self, packet: &Packet<'_>, cookie: Option<u64>) -> i64 {
        let Packet { side, ts_ns, .. } = *packet;
        let [syn, ack, rst] =
            [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::RST].map(|flag| packet.has(flag));
        if rst || packet.has(TcpFlags::FIN) {
            self.left_ns.get_or_insert(ts_ns);
        }
        self.first_ns = self.first_ns.min(ts_ns);
        self.last_ns = self.last_ns.max(ts_ns);
        let initial_rtt_ns = self.handshake.initial_rtt_ns();
        let judged = self.analyzer.packet(packet, initial_rtt_ns);
        self.handshake.packet(packet);
        self.states.packet(packet);
        let (direction, peer) = self.directions.split(side);
        if syn && ack && direction.is_other(packet.seq) {
            // Another answer than the one before: Wireshark takes it for one
            // of another connection, whose SYN was missed.
            self.reused_ports = true;
            direction.begin_anew(packet.seq);
        }
        let mut acknowledged = None;
        if ack {
            peer.begin_at(packet.ack + -1);
        }
        if ack && rst {
            peer.acknowledge_at_end(packet.ack);
        }
        // What a reset acknowledges is not to be trusted.
        if ack && !rst {
            let (states, missed_bytes) = (&mut self.states, &mut self.missed_bytes);
            let position = peer.acknowledge(packet.ack, |missing| {
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
        let place = direction.packet(packet, cookie);
        let position = place.position;
        let end = position + i64::from(packet.payload_bytes);
        let is_awaited = match (syn, ack) {
            // If it was answered, the answer was lost.
            (true, false) => self.handshake.syn_synack_ns().is_none(),
            (true, true) => true,
            (false, _) => !direction.is_acknowledged(end),
        };
        let sent = Sent {
            position,
            is_again: place.is_again,
            // One that was asked for did not wait for a timer.
            is_repair: place.is_repair && is_awaited && judged != Judged::SentFast,
            // A single byte asks whether the other end is still there.
            is_needless: place.is_again && !is_awaited && packet.payload_bytes > 1,
            acknowledged,
        };
        if (packet.payload_bytes > 0 || syn) && judged != Judged::KeepAlive {
            let analyzer = &self.analyzer;
            let round_trip_ns = || analyzer.shortest_round_trip_ns();
            let is_again = place.is_again
                || place.is_repair
                    && is_asked_for(place.opened_ns, ts_ns, round_trip_ns())
                        .unwrap_or_else(|| judged.is_again());
            self.bursts
                .packet(side, position, ts_ns, is_again, round_trip_ns);
        }
        let analyzer = &self.analyzer;
        let rtt_ns = self.handshake.initial_rtt_ns();
        // By value: of a packet whose address is kept nothing would be constant.
        let seq = packet.seq;
        let first_sent_ns = move || analyzer.sent_ns(side, seq);
        let payload_bytes = packet.payload_bytes;
        let new = || New {
            ts_ns,
            position,
            payload_bytes,
            is_alone: direction.is_acknowledged(position),
            mss: peer.mss(),
            rtt_ns,
        };
        self.stalls.packet(packet, sent, rtt_ns, first_sent_ns, new);
        position
    }

    #[inline(never)]
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
                let (outcome, hidden) = (conversation.outcome(), conversation.hidden());
                self.application = Application::Over(outcome, hidden);
            }
        }
        let hidden = match &self.application {
            Application::Silent => None,
            Application::Talking(conversation) => conversation.hidden(),
            Application::Over(_, hidden) => *hidden,
        };
        if let Some(hidden) = hidden {
            let client = self.originator();
            let asked = &self.directions[client];
            let said = Said {
                by_client: side == client,
                ts_ns,
                position,
                bytes: segment.payload_bytes,
                captured: segment.payload,
            };
            self.turns
                .packet(said, hidden, |end| asked.is_acknowledged(end));
        } else {
            self.turns.read();
        }
    }

    /// The end that asked for the connection, as far as is known.
    fn originator(&self) -> Side {
        let told = self.handshake.originator();
        told.unwrap_or(self.states.originator())
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
        let mut requests = self.waiting.take(until_ns);
        self.withdraw(&mut requests);
        requests
    }

    /// Takes it that a response did not come of which something was sent again after a
    /// timeout, and was never acknowledged: it was seen to be sent, no more. Where no
    /// ACKs of either end are seen, nothing tells.
    fn withdraw(&self, requests: &mut [Request]) {
        for (side, stall) in self.stalls.timeouts() {
            let has_come = self.directions[side].is_acknowledged(stall.at_byte.cast_signed() + 2);
            if has_come || self.analyzer.shortest_round_trip_ns().is_none() {
                continue;
            }
            let server = side.endpoint(&self.flow);
            let its = requests.iter_mut().filter(|it| it.server == server);
            for response in its.filter_map(|it| it.response.as_mut()) {
                if response.arrived.spans(stall.sent_ns) {
                    response.completion = Completion::Missing;
                }
            }
        }
    }

    /// What is known of it, and of the requests that were not taken out. It keeps no
    /// payload any more.
    pub(super) fn finish(&mut self) -> (Connection, Vec<Request>) {
        if let Application::Talking(conversation) = &mut self.application {
            let waiting = &mut self.waiting;
            conversation.finish(|request| waiting.push(request));
        }
        let connection = self.so_far();
        self.application = Application::Silent;
        (connection, self.take_requests(i64::MAX))
    }

    /// What is known of it so far.
    pub(super) fn so_far(&self) -> Connection {
        let outcome = match &self.application {
            Application::Silent => Outcome::default(),
            Application::Talking(conversation) => conversation.outcome(),
            Application::Over(outcome, _) => outcome.clone(),
        };
        let goaway = match &self.application {
            Application::Talking(conversation) => conversation.goaway(),
            Application::Silent | Application::Over(..) => None,
        };
        let originator = self.originator();
        let end = |side| {
            let (bytes, analysis) = (self.states.size(side), self.analyzer.of(side));
            let last_ns = self.analyzer.last_ns(side);
            self.directions[side].end(side.endpoint(&self.flow), bytes, last_ns, analysis)
        };
        Connection {
            id: self.id,
            scope: self.scope,
            orig: end(originator),
            resp: end(originator.other()),
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            left_ns: self.left_ns,
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
            delays: self.stalls.delays(originator),
            bursts: self.bursts.worst(originator),
            reused_ports: self.reused_ports,
            reused_after_ns: self.reused_after_ns,
            requests: outcome.requests,
            tls: outcome.tls,
            goaway,
            turns: self.turns.so_far(),
            farewell: self.turns.farewell(),
        }
    }
}

/// Whether a packet that fills a hole was sent because of the hole; none if that is not
/// known, and Wireshark's guess has to do. Wherever packets are captured, it takes a round
/// trip until the receiver has told of the hole and the sender has filled it; a packet
/// that was only overtaken comes sooner. Half of the shortest is asked for: times are not
/// exact.
fn is_asked_for(opened_ns: Option<i64>, ts_ns: i64, round_trip_ns: Option<i64>) -> Option<bool> {
    Some(ts_ns.saturating_sub(opened_ns?) >= round_trip_ns? / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_little_memory() {
        assert!(size_of::<Live>() <= 1216, "{}", size_of::<Live>());
    }
}
