//! Zeek's view of a connection: the states of its ends, how it began and
//! ended, and how much payload the sequence numbers tell of.
//!
//! The rules are those of Zeek's TCPSessionAdapter.cc and TCP_Endpoint.cc; the
//! summary is that of its `conn/main.zeek`. Zeek's timers have no part in it:
//! when a connection is over and another begins is the
//! [tracker's](super::tracker) to decide.

use compact_str::CompactString;
use tcprec_shared::headers::TcpFlags;

use super::ConnState;
use super::history::{Entries, History};
use super::packet::Packet;
use super::pair::{Pair, Side};
use super::seq::Seq;

/// A sequence number that a SYN or a reset brings is not believed if it is
/// farther than this from what was seen (Zeek's `TOO_LARGE_SEQ_DELTA`).
const TOO_FAR: i64 = 1 << 20;

/// What an end has done (Zeek's `EndpointState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing yet.
    #[default]
    Inactive,
    /// Sent a SYN.
    SynSent,
    /// Sent a SYN-ACK without a SYN from the other end.
    SynAckSent,
    /// Sent something without a SYN before.
    Partial,
    /// Went through the handshake.
    Established,
    /// Sent a FIN.
    Closed,
    /// Sent a reset.
    Reset,
}

/// One end.
#[derive(Debug, Clone, Default)]
struct Endpoint {
    state: State,
    previous: State,
    /// Number of its SYN, seen or not.
    start: Seq,
    /// One past the highest number it sent, counted from `start`.
    sent: i64,
    /// The highest acknowledgment it got, counted from `start`.
    acked: i64,
    fin: bool,
    closed: bool,
    entries: Entries,
}

impl Endpoint {
    fn go(&mut self, state: State) {
        if self.state != state {
            self.previous = self.state;
            self.state = state;
        }
    }

    /// It closes or resets the connection, or both.
    fn leave(&mut self, fin: bool, rst: bool) {
        if fin {
            self.go(State::Closed);
        }
        if rst {
            self.go(State::Reset);
        }
        self.closed |= fin || rst;
    }

    const fn is_idle(&self) -> bool {
        matches!(self.state, State::Inactive | State::Partial)
    }

    /// Whether nothing but missing packets can explain missing payload.
    fn is_clean(&self) -> bool {
        self.state == State::Established
            || self.state == State::Closed && self.previous == State::Established
    }

    /// Takes the first number of a packet where it is the first known of this
    /// end, or a SYN that begins it anew.
    #[inline(always)]
    fn begin(&mut self, syn: bool, seq: Seq, length: i64) {
        match self.state {
            State::Inactive if !syn => {
                self.start = seq + -1;
                self.acked = 0;
                self.sent = 1;
                return;
            }
            State::Inactive => {}
            State::SynSent | State::SynAckSent if syn && seq != self.start => {}
            State::Established | State::Partial if syn => {}
            // What a forged reset said of an end that had sent nothing.
            State::Reset if syn && self.previous == State::Inactive => {}
            _ => return,
        }
        self.start = seq;
        self.acked = 0;
        self.sent = length;
    }

    #[inline(always)]
    fn acknowledge(&mut self, ack: Seq, rst: bool) {
        if self.state == State::Inactive {
            self.start = ack + -1;
            (self.acked, self.sent) = (0, 0);
            return;
        }
        let further = ack.since(self.start + self.acked);
        let before_start = self.acked.saturating_add(further) < 0;
        // The ACK of a reset is not to be trusted, and an ACK of 0 far away is
        // rather a broken one than a large connection.
        if !rst && !before_start && further > 0 && (ack != Seq(0) || further <= TOO_FAR) {
            self.acked = self.acked.saturating_add(further);
        }
    }

    /// Takes a packet and the number one past it. Says whether it is payload sent
    /// again.
    #[inline(always)]
    fn send(&mut self, packet: &Packet<'_>, end: Seq) -> bool {
        let highest = self.start + self.sent;
        let further = end.since(highest);
        if (packet.has(TcpFlags::SYN) || packet.has(TcpFlags::RST)) && further.abs() > TOO_FAR {
            return false;
        }
        if packet.has(TcpFlags::FIN) && self.sent == 1 {
            // More than 2 GB of which only SYN and FIN were seen.
            self.sent = self.sent.saturating_add(end.up_from(highest));
            return false;
        }
        if self.state == State::Reset {
            return false;
        }
        self.sent = self.sent.saturating_add(further.max(0));
        further <= 0 && packet.payload_bytes > 0
    }

    /// Payload bytes by its numbers, without SYN and FIN.
    fn size(&self, peer: &Self) -> u64 {
        if self.previous == State::SynSent
            && self.state == State::Reset
            && peer.state == State::Inactive
            && self.acked > 1
        {
            // The answer to a half-open connection: its numbers mislead.
            return 0;
        }
        let numbers = self.sent.max(self.acked).max(0).cast_unsigned();
        numbers
            .saturating_sub(1)
            .saturating_sub(u64::from(self.fin))
    }
}

/// Both ends, and what is told of them.
#[derive(Debug, Clone)]
pub(super) struct States {
    ends: Pair<Endpoint>,
    originator: Side,
    history: History,
    last_ns: i64,
    is_over: bool,
}

impl States {
    /// Before the first packet. `flipped` says that its sender is not the
    /// originator.
    pub(super) fn new(originator: Side, flipped: bool) -> Self {
        let mut history = History::default();
        if flipped {
            history.flip();
        }
        Self {
            ends: Pair::default(),
            originator,
            history,
            last_ns: 0,
            is_over: false,
        }
    }

    /// Takes a packet.
    #[inline(always)]
    pub(super) fn packet(&mut self, packet: &Packet<'_>) {
        let side = packet.side;
        let [syn, ack, fin, rst] = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN, TcpFlags::RST]
            .map(|flag| packet.has(flag));
        // The payload of a reset is not part of the stream.
        let payload = if rst {
            0
        } else {
            i64::from(packet.payload_bytes)
        };
        let length = payload + i64::from(syn) + i64::from(fin);

        let ordinary = !(syn || fin || rst) && (ack || packet.payload_bytes > 0);
        if ordinary && self.history.is_syn_ack_only() {
            // A connection, and no scan by SYN-ACK (Zeek pull request 2191).
            self.flip();
        }
        let originator = side == self.originator;
        let (end, peer) = self.ends.split(side);
        end.begin(syn, packet.seq, length);
        let place = packet.seq.since(end.start);
        end.entries
            .packet(&mut self.history, originator, packet, place);
        if packet.window == 0 && !rst && peer.state != State::Closed && end.state != State::Reset {
            end.entries.zero_window(&mut self.history, originator);
        }
        if !(end.closed && peer.closed) {
            self.last_ns = packet.ts_ns;
        }
        end.fin |= fin;
        if ack {
            peer.acknowledge(packet.ack, rst);
        }
        if end.send(packet, packet.seq + length) {
            end.entries.retransmission(&mut self.history, originator);
        }
        // Only these bring an end on that has sent something before.
        if syn || fin || rst || end.state == State::Inactive {
            self.advance(*packet);
        }
    }

    /// Brings the states on: the sender's, and where it follows the other's.
    #[inline(never)]
    fn advance(&mut self, packet: Packet<'_>) {
        let side = packet.side;
        let [syn, ack, fin, rst] = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN, TcpFlags::RST]
            .map(|flag| packet.has(flag));
        let originator = side == self.originator;
        let (end, peer) = self.ends.split(side);
        let before = end.state;
        match before {
            State::Inactive => {
                let mut reversed = false;
                if syn && originator {
                    end.go(if ack {
                        State::SynAckSent
                    } else {
                        State::SynSent
                    });
                } else if syn {
                    if !ack && peer.state == State::SynAckSent && packet.seq == end.start {
                        // The SYN that was answered, seen after its answer.
                        reversed = true;
                        peer.go(State::Established);
                    } else if peer.state == State::SynSent {
                        peer.go(State::Established);
                    }
                    end.go(State::Established);
                }
                end.leave(fin, rst);
                if end.state == State::Inactive {
                    if !originator && packet.payload_bytes == 0 && peer.state == State::SynSent {
                        // Some acknowledge a SYN before they answer it.
                    } else if ack && peer.state == State::Established {
                        // The SYN was missed.
                        end.go(State::Established);
                    } else {
                        end.go(State::Partial);
                    }
                }
                if reversed {
                    self.flip();
                }
            }
            State::SynSent | State::SynAckSent => end.leave(fin, rst),
            State::Partial | State::Established => {
                if syn && !ack && before == State::Partial && peer.state == State::Inactive {
                    end.go(State::SynSent);
                }
                let fin = fin && !rst;
                if fin && peer.state == State::Reset && peer.previous == State::Closed {
                    // FIN, then RST: a normal end after all.
                    peer.go(State::Closed);
                }
                end.leave(fin, rst);
            }
            State::Closed if peer.state != State::Closed => end.leave(false, rst),
            State::Closed | State::Reset => {}
        }
        let Pair { low, high } = &self.ends;
        self.is_over =
            low.closed && high.closed || low.state == State::Reset || high.state == State::Reset;
    }

    fn flip(&mut self) {
        self.originator = self.originator.other();
        self.history.flip();
    }

    /// Takes it that payload of the end `side` is missing. Says whether that
    /// tells of lost packets: before a handshake, and after a reset, it may
    /// come from numbers that are not what they seem
    /// (`established_or_cleanly_closing` in Zeek's TCP_Reassembler.cc).
    pub(super) fn gap(&mut self, side: Side) -> bool {
        let originator = side == self.originator;
        let (end, peer) = self.ends.split(side);
        let lost = end.is_clean() && peer.is_clean();
        if lost {
            end.entries.gap(&mut self.history, originator);
        }
        lost
    }

    /// Which end asked for the connection, by Zeek's rules.
    pub(super) const fn originator(&self) -> Side {
        self.originator
    }

    /// Whether no more payload is to be expected.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether both ends have closed in good order.
    pub(super) fn is_closed(&self) -> bool {
        self.summary() == ConnState::Sf
    }

    /// When the last packet came before both ends had closed.
    pub(super) const fn last_ns(&self) -> i64 {
        self.last_ns
    }

    /// Payload bytes that an end sent, by its sequence numbers and their
    /// acknowledgments.
    pub(super) fn size(&self, side: Side) -> u64 {
        self.ends[side].size(&self.ends[side.other()])
    }

    /// The connection's state in one word.
    pub(super) fn summary(&self) -> ConnState {
        let orig = &self.ends[self.originator];
        let resp = &self.ends[self.originator.other()];
        match (orig.state, resp.state) {
            (State::SynSent | State::SynAckSent, State::Reset) => ConnState::Rej,
            (State::Reset, State::Reset) if orig.size(resp) == 0 && resp.size(orig) == 0 => {
                ConnState::Rej
            }
            (_, State::Reset) if orig.is_idle() => ConnState::Rstrh,
            (_, State::Reset) => ConnState::Rstr,
            (State::Reset, _) if !resp.is_idle() => ConnState::Rsto,
            (State::Reset, _) if self.history.is_syn_then_reset() => ConnState::Rstos0,
            (State::Reset, _) => ConnState::Oth,
            (State::Closed, State::Closed) => ConnState::Sf,
            (State::Closed, _) if resp.is_idle() => ConnState::Sh,
            (State::Closed, _) => ConnState::S2,
            (_, State::Closed) if orig.is_idle() => ConnState::Shr,
            (_, State::Closed) => ConnState::S3,
            (State::SynSent, State::Inactive) => ConnState::S0,
            (State::Established, State::Established) => ConnState::S1,
            _ => ConnState::Oth,
        }
    }

    /// The history in Zeek's letters, those of `originator` in upper case.
    pub(super) fn history(&self, originator: Side) -> CompactString {
        let mut history = self.history.clone();
        if originator != self.originator {
            history.flip();
        }
        history.into_text()
    }
}
