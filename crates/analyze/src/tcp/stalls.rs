//! When an end could not send, though it may have had to: its peer's window
//! was zero, or it waited for a retransmission timeout.

use tcprec_shared::headers::TcpFlags;

use super::nagle::{LATE_NS, Nagle, New};
use super::options;
use super::packet::Packet;
use super::pair::{Pair, Side};
use super::rare::Rare;
use super::seq::{Seq, at_byte};
use super::{Delays, Stall, StallCause};

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
    /// When each end last sent something that has to be acknowledged, or was let
    /// to.
    last_ns: Pair<Option<i64>>,
    /// Few connections stall.
    found: Rare<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Of each end, since when its peer's window is zero, and what its peer had by
    /// then.
    closed: Pair<Option<(i64, i64)>>,
    /// What each end sent again after a timeout though the other end had it, for the ACK
    /// was lost, until it is known whether that held it up.
    needless: Pair<Option<Stall>>,
    nagle: Pair<Nagle>,
    stalls: Vec<(Side, Stall)>,
}

/// What was found of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Position of its first payload byte.
    pub(super) position: i64,
    /// Whether all of it was sent before, and seen both times.
    pub(super) is_again: bool,
    /// Whether it is that, or fills a hole, and is still waited for.
    pub(super) is_repair: bool,
    /// Whether it was sent before, and is not waited for any more.
    pub(super) is_needless: bool,
    /// Up to where it acknowledges what the other end sent, if it does.
    pub(super) acknowledged: Option<i64>,
}

impl Stalls {
    /// Takes a packet.
    #[inline(always)]
    pub(super) fn packet(
        &mut self,
        packet: &Packet<'_>,
        sent: Sent,
        rtt_ns: Option<i64>,
        first_sent_ns: impl FnOnce() -> Option<i64>,
        new: impl FnOnce() -> New,
    ) {
        let Packet { side, ts_ns, .. } = *packet;
        let [syn, fin, rst] =
            [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST].map(|flag| packet.has(flag));
        if rst {
            // It answers all that the other end sent, which waits for nothing any more:
            // Windows sends a SYN again though it was refused.
            self.last_ns[side.other()] = None;
            return;
        }
        if packet.payload_bytes > 0 || syn {
            let before_ns = self.last_ns[side];
            if sent.is_repair || sent.is_needless {
                // While the window is zero, what is sent again is a probe.
                if let Some(last_ns) = before_ns
                    && ts_ns.saturating_sub(last_ns) >= timeout_ns(rtt_ns)
                    && self.closed(side).is_none()
                {
                    let first_ns = first_sent_ns().filter(|_| sent.is_again);
                    let found = self.found.make();
                    found.timeout(packet, sent, last_ns, first_ns);
                }
            } else if let Some(found) = self.found.get_mut() {
                found.goes_on(side, ts_ns);
                if !syn && !fin {
                    found.nagle[side].sends(new());
                }
                // A single byte asks for the window; with more it was told of one.
                if packet.payload_bytes > 1
                    && let Some((closed_ns, position)) = found.closed[side]
                    && sent.position >= position
                {
                    found.closed[side] = None;
                    found.add(side, StallCause::ZeroWindow, closed_ns, ts_ns, position);
                }
            }
            self.last_ns[side] = before_ns.max(Some(ts_ns));
        }
        // The window of a SYN is not scaled, and says what one to come may be.
        let Some(position) = sent.acknowledged.filter(|_| !syn) else {
            return;
        };
        let other = side.other();
        if packet.payload_bytes == 0
            && let Some(sent_ns) = self.last_ns[other]
            && ts_ns.saturating_sub(sent_ns) >= LATE_NS
        {
            self.found.make().nagle[other].acknowledged(sent_ns, ts_ns, position);
        }
        if packet.window == 0 && fin {
            // Wireshark does not count it as a zero window.
        } else if packet.window == 0 {
            let closed = &mut self.found.make().closed[other];
            closed.get_or_insert((ts_ns, position));
        } else if let Some(found) = self.found.get_mut() {
            found.acknowledged(packet, position, timeout_ns(rtt_ns));
            if let Some((closed_ns, position)) = found.closed[other].take() {
                found.add(other, StallCause::ZeroWindow, closed_ns, ts_ns, position);
                self.last_ns[other] = self.last_ns[other].max(Some(ts_ns));
            }
        }
    }

    /// What each end held back until delayed ACKs came.
    pub(super) fn delays(&self, originator: Side) -> Vec<Delays> {
        let found = self.found.get().into_iter();
        found
            .flat_map(|found| {
                [Side::Low, Side::High]
                    .into_iter()
                    .filter_map(|side| found.nagle[side].delays(side, originator))
            })
            .collect()
    }

    /// The timeouts so far, and which end waited.
    pub(super) fn timeouts(&self) -> impl Iterator<Item = (Side, Stall)> + '_ {
        let all = self.found.get().into_iter().flat_map(|it| &it.stalls);
        all.copied()
            .filter(|(_, stall)| stall.cause == StallCause::Timeout)
    }

    fn closed(&self, side: Side) -> Option<(i64, i64)> {
        self.found.get()?.closed[side]
    }

    /// Whether there were none so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.get().is_none_or(|found| {
            let Pair { low, high } = &found.closed;
            found.stalls.is_empty() && low.is_none() && high.is_none()
        })
    }

    /// All of them, of a connection whose last packet came at `end_ns`.
    pub(super) fn all(&self, originator: Side, end_ns: i64) -> Vec<Stall> {
        let Some(found) = self.found.get() else {
            return Vec::new();
        };
        let closed = [Side::Low, Side::High].into_iter().filter_map(|side| {
            let (closed_ns, position) = found.closed[side]?;
            let stall = stall(StallCause::ZeroWindow, closed_ns, end_ns, position)?;
            let is_open = true;
            Some((side, Stall { is_open, ..stall }))
        });
        let all = found.stalls.iter().copied().chain(closed).take(MAX_STALLS);
        let all = all.map(|(side, stall)| Stall {
            by_orig: side == originator,
            ..stall
        });
        all.collect()
    }
}

impl Found {
    #[cold]
    fn timeout(&mut self, packet: &Packet<'_>, sent: Sent, from_ns: i64, first_ns: Option<i64>) {
        let Packet {
            side,
            ts_ns: to_ns,
            payload_bytes,
            ..
        } = *packet;
        let stall = stall(StallCause::Timeout, from_ns, to_ns, sent.position);
        let stall = stall.map(|stall| Stall {
            // What was acknowledged does not wait any more, but for the packet itself.
            sent_ns: first_ns.filter(|ns| *ns < to_ns).unwrap_or(from_ns),
            payload_bytes,
            ..stall
        });
        if sent.is_needless {
            self.needless[side] = stall;
        } else if let Some(stall) = stall {
            self.push(side, stall);
        }
    }

    /// An ACK of all before `position`. Where it says that what was sent again after a
    /// timeout had come before (RFC 2883), no segment was lost but an ACK. That is said
    /// at once, so a round trip later.
    fn acknowledged(&mut self, packet: &Packet<'_>, position: i64, within_ns: i64) {
        let sender = packet.side.other();
        let Some(&(_, latest)) = self.stalls.last().filter(|(side, _)| *side == sender) else {
            return;
        };
        if latest.cause != StallCause::Timeout
            || packet.ts_ns.saturating_sub(latest.to_ns) >= within_ns
        {
            return;
        }
        let Packet { ack, segment, .. } = *packet;
        let twice = options::came_twice(segment.options, ack).map(|(begin, end)| {
            let at_byte = |edge: Seq| at_byte(position.saturating_add(edge.since(ack)));
            at_byte(begin)..at_byte(end)
        });
        if twice.is_some_and(|twice| twice.contains(&latest.at_byte)) {
            self.stalls.pop();
            self.needless[sender] = Some(latest);
        }
    }

    /// An end sends what is new: if soon after something needless, that had held it up.
    fn goes_on(&mut self, side: Side, ts_ns: i64) {
        if let Some(needless) = self.needless[side].take()
            && ts_ns.saturating_sub(needless.to_ns) < TIMEOUT_NS
        {
            self.push(side, needless);
        }
    }

    #[cold]
    fn add(&mut self, side: Side, cause: StallCause, from_ns: i64, to_ns: i64, position: i64) {
        if let Some(stall) = stall(cause, from_ns, to_ns, position) {
            self.push(side, stall);
        }
    }

    fn push(&mut self, side: Side, stall: Stall) {
        if self.stalls.len() < MAX_STALLS {
            self.stalls.push((side, stall));
        }
    }
}

/// A stall, if it lasted; whose it is has still to be told.
fn stall(cause: StallCause, from_ns: i64, to_ns: i64, position: i64) -> Option<Stall> {
    (from_ns < to_ns).then(|| Stall {
        by_orig: false,
        cause,
        from_ns,
        sent_ns: from_ns,
        to_ns,
        is_open: false,
        payload_bytes: 0,
        at_byte: at_byte(position),
    })
}

/// Whoever was silent for so long waited for its timer, or for an answer: a round trip,
/// and half of one more.
#[inline(always)]
fn timeout_ns(round_trip_ns: Option<i64>) -> i64 {
    TIMEOUT_NS.max(round_trip_ns.map_or(0, |ns| ns.saturating_mul(3) / 2))
}
