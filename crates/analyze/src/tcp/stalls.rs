//! When an end could not send, though it may have had to: its peer's window
//! was zero, or it waited for a retransmission timeout.

use tcprec_shared::headers::TcpFlags;

use super::packet::Packet;
use super::pair::{Pair, Side};
use super::{Stall, StallCause};

/// At most so many are kept of a connection: the first.
const MAX_STALLS: usize = 256;

/// A sender that was silent for so long before it sent again waited for its
/// timer. Linux waits at least 200 ms (`TCP_RTO_MIN`), RFC 6298 clause 2.4
/// asks for 1 s; a loss that duplicate ACKs told of is repaired within a
/// round trip.
const TIMEOUT_NS: i64 = 190_000_000;

/// The stalls of a connection so far.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    senders: Pair<Sender>,
    found: Vec<(Side, Stall)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sender {
    /// When it last sent something that has to be acknowledged, or was let to.
    last_ns: Option<i64>,
    /// Since when its peer's window is zero, and what its peer had by then.
    closed: Option<(i64, i64)>,
}

/// What was found of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Position of its first payload byte.
    pub(super) position: i64,
    /// Whether it was sent before, or fills a hole, and is still waited for.
    pub(super) is_repair: bool,
    /// Up to where it acknowledges what the other end sent, if it does.
    pub(super) acknowledged: Option<i64>,
}

impl Stalls {
    /// Takes a packet.
    #[inline(always)]
    pub(super) fn packet(&mut self, packet: &Packet<'_>, sent: Sent, rtt_ns: Option<i64>) {
        let Packet { side, ts_ns, .. } = *packet;
        let [syn, rst] = [TcpFlags::SYN, TcpFlags::RST].map(|flag| packet.has(flag));
        if rst {
            return;
        }
        if packet.payload_bytes > 0 || syn {
            let sender = self.senders[side];
            // While the window is zero, what is sent again is a probe.
            if let (true, Some(last_ns), None) = (sent.is_repair, sender.last_ns, sender.closed) {
                let round_trip_ns = rtt_ns.map_or(0, |rtt_ns| rtt_ns.saturating_mul(3) / 2);
                if ts_ns.saturating_sub(last_ns) >= TIMEOUT_NS.max(round_trip_ns) {
                    self.found(side, StallCause::Timeout, last_ns, ts_ns, sent.position);
                }
            }
            self.senders[side].last_ns = sender.last_ns.max(Some(ts_ns));
        }
        // The window of a SYN is not scaled, and says what one to come may be.
        let Some(position) = sent.acknowledged.filter(|_| !syn) else {
            return;
        };
        let other = side.other();
        let peer = &mut self.senders[other];
        if packet.window == 0 {
            peer.closed.get_or_insert((ts_ns, position));
        } else if let Some((closed_ns, position)) = peer.closed.take() {
            peer.last_ns = peer.last_ns.max(Some(ts_ns));
            self.found(other, StallCause::ZeroWindow, closed_ns, ts_ns, position);
        }
    }

    #[cold]
    fn found(&mut self, side: Side, cause: StallCause, from_ns: i64, to_ns: i64, position: i64) {
        if self.found.len() < MAX_STALLS
            && let Some(stall) = stall(cause, from_ns, to_ns, position)
        {
            self.found.push((side, stall));
        }
    }

    /// Whether there were none so far.
    pub(super) fn is_empty(&self) -> bool {
        let is_closed = |sender: &Sender| sender.closed.is_some();
        self.found.is_empty() && !is_closed(&self.senders.low) && !is_closed(&self.senders.high)
    }

    /// All of them, of a connection whose last packet came at `end_ns`.
    pub(super) fn all(&self, originator: Side, end_ns: i64) -> Vec<Stall> {
        let closed = [Side::Low, Side::High].into_iter().filter_map(|side| {
            let (closed_ns, position) = self.senders[side].closed?;
            stall(StallCause::ZeroWindow, closed_ns, end_ns, position).map(|stall| (side, stall))
        });
        let all = self.found.iter().copied().chain(closed).take(MAX_STALLS);
        let all = all.map(|(side, stall)| Stall {
            by_orig: side == originator,
            ..stall
        });
        all.collect()
    }
}

/// A stall, if it lasted; whose it is has still to be told.
fn stall(cause: StallCause, from_ns: i64, to_ns: i64, position: i64) -> Option<Stall> {
    (from_ns < to_ns).then(|| Stall {
        by_orig: false,
        cause,
        from_ns,
        to_ns,
        // The first byte has position 1: the SYN stands before it.
        at_byte: position.saturating_sub(1).max(0).cast_unsigned(),
    })
}
