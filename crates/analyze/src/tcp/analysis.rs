//! What Wireshark says of packets: its `tcp.analysis` flags and round trips.
//!
//! The rules are those of `tcp_analyze_sequence_number` in Wireshark 4.0's
//! packet-tcp.c, told for people in "TCP Analysis" of its User's Guide. They
//! guess: whether a packet was sent again or overtaken depends on times. What
//! needs no guess is counted in [`Direction`](super::direction::Direction).

use tcprec_shared::headers::TcpFlags;

use super::packet::Packet;
use super::pair::{Pair, Side};
use super::rare::Rare;
use super::seq::Seq;
use super::unacked::Unacked;
use super::{Analysis, Probes, RoundTrips, SynOptions};

/// So many segments may wait for their ACK; more are not timed. Wireshark's
/// `TCP_MAX_UNACKED_SEGMENTS`.
const MAX_UNACKED: usize = 10_000;

/// So many where nothing of the other end was seen, the latest: it may never be.
const MAX_UNACKED_ALONE: usize = 64;

/// A retransmission is fast if it comes so soon after duplicate ACKs.
const FAST_NS: i64 = 20_000_000;

/// A packet is out of order if it comes so soon after the highest one, where
/// the round trip is not known.
const OUT_OF_ORDER_NS: i64 = 3_000_000;

/// RFC 7323 section 2.3: a larger shift counts as this.
const MAX_WINDOW_SHIFT: u8 = 14;

/// What is known of both directions.
#[derive(Debug, Clone, Default)]
pub(super) struct Analyzer {
    senders: Pair<Sender>,
}

/// What one end sent.
#[derive(Debug, Clone)]
struct Sender {
    /// Few packets are worth a word.
    found: Rare<Analysis>,
    round_trips: RoundTrips,
    /// One past the highest sequence number, and when that came.
    next: Seq,
    next_ns: i64,
    /// Up to here the other end may acknowledge what was seen.
    acknowledgeable: Option<Seq>,
    last_ack: Seq,
    last_ns: i64,
    last: Last,
    duplicates: Duplicates,
    window: u32,
    scale: Scale,
    /// Its SYN was the latest packet: its window was not scaled.
    after_syn: bool,
    unacked: Unacked,
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            found: Rare::default(),
            round_trips: RoundTrips::NONE,
            next: Seq(0),
            next_ns: 0,
            acknowledgeable: None,
            last_ack: Seq(0),
            last_ns: 0,
            last: Last::Other,
            duplicates: Duplicates::Count(0),
            window: u32::MAX,
            scale: Scale::Unknown,
            after_syn: false,
            unacked: Unacked::default(),
        }
    }
}

/// What a packet is beside those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It says something new, or was overtaken.
    New,
    /// It asks whether the other end is still there.
    KeepAlive,
    /// It was sent again.
    SentAgain,
    /// It was sent again because the other end asked for it.
    SentFast,
}

impl Judged {
    /// Whether it was sent again.
    pub(super) const fn is_again(self) -> bool {
        matches!(self, Self::SentAgain | Self::SentFast)
    }
}

/// What the latest packet of an end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    KeepAlive,
    ZeroWindowProbe,
    Other,
}

/// How often the latest ACK of an end was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duplicates {
    Count(u32),
    /// What it sent was acknowledged, and not seen: that is told once.
    /// (Wireshark keeps a count of -1 for it, which is more than any.)
    Unseen,
}

/// How the windows of an end are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Unknown,
    None,
    Shift(u8),
}

impl Analyzer {
    /// Takes a packet. `initial_rtt_ns` is what was known of the handshake before
    /// it. Says what the packet is.
    #[inline(always)]
    pub(super) fn packet(&mut self, packet: &Packet<'_>, initial_rtt_ns: Option<i64>) -> Judged {
        let (sender, peer) = self.senders.split(packet.side);
        let mut judged = Judged::New;
        sender.last = sender.look(peer, packet);
        if packet.ack != sender.last_ack {
            sender.duplicates = Duplicates::Count(0);
        }
        if packet.has(TcpFlags::ACK) {
            sender.acknowledges_unseen(peer, packet.ack);
        }
        if packet.is_numbered() {
            let out_of_order_ns = initial_rtt_ns.unwrap_or(OUT_OF_ORDER_NS);
            judged = sender.judge(peer, packet, out_of_order_ns);
        }
        sender.advance(packet, peer.seen_next().is_none());
        if let Some(sent_ns) = peer.unacked.acknowledge(packet.ack) {
            peer.round_trip(packet.ts_ns.saturating_sub(sent_ns));
        }
        if let Some(options) = packet.options {
            sender.after_syn = true;
            sender.takes_scale(peer, packet, options);
        } else if packet.has(TcpFlags::ACK) {
            sender.after_syn = false;
        }
        judged
    }

    /// When the segment with this number of an end was first sent, if it still waits for
    /// its ACK.
    pub(super) fn sent_ns(&self, side: Side, seq: Seq) -> Option<i64> {
        self.senders[side].unacked.sent_ns(seq)
    }

    /// When the latest packet of an end came, if one did.
    pub(super) const fn last_ns(&self, side: Side) -> i64 {
        match side {
            Side::Low => self.senders.low.last_ns,
            Side::High => self.senders.high.last_ns,
        }
    }

    /// The shortest way from one end to the other and back, if both ends were seen
    /// to acknowledge.
    pub(super) fn shortest_round_trip_ns(&self) -> Option<i64> {
        let Pair { low, high } = &self.senders;
        let [low, high] = [low.round_trips, high.round_trips];
        (low.count > 0 && high.count > 0).then(|| low.min_ns.saturating_add(high.min_ns))
    }

    /// What was found of the packets that an end sent, and of the time until
    /// they were acknowledged.
    pub(super) fn of(&self, side: Side) -> (Analysis, Option<RoundTrips>) {
        let sender = &self.senders[side];
        let round_trips = (sender.round_trips.count > 0).then_some(sender.round_trips);
        (sender.found.copied(), round_trips)
    }
}

/// Sequence numbers as Wireshark counts them.
impl Packet<'_> {
    /// One past its payload.
    #[inline(always)]
    fn end(&self) -> Seq {
        self.seq + i64::from(self.payload_bytes)
    }

    /// One past its last sequence number; SYN and FIN together count as one.
    #[inline(always)]
    fn next(&self) -> Seq {
        self.end() + i64::from(self.is_syn_or_fin())
    }
}

impl Sender {
    /// What a packet is by itself and what stands before it.
    #[inline(always)]
    fn look(&mut self, peer: &Self, packet: &Packet<'_>) -> Last {
        let expected = self.next == packet.seq;
        if packet.payload_bytes == 1 && expected && peer.window == 0 {
            self.found.make().zero_window_probes += 1;
            return Last::ZeroWindowProbe;
        }
        let gap = self
            .seen_next()
            .is_some_and(|next| packet.seq.since(next) > 0);
        if gap && !packet.has(TcpFlags::RST) {
            self.found.make().lost_segments += 1;
        }
        if packet.is_syn_or_fin() || packet.has(TcpFlags::RST) {
            return Last::Other;
        }
        if packet.window == 0 {
            self.found.make().zero_windows += 1;
        }
        let mut last = Last::Other;
        if packet.payload_bytes <= 1 && self.next == packet.seq + 1 {
            let found = self.found.make();
            found.keep_alives += 1;
            found.probes = Probes {
                count: match found.probes {
                    Probes { count, heard_ns } if heard_ns == peer.last_ns => count + 1,
                    _ => 1,
                },
                heard_ns: peer.last_ns,
            };
            last = Last::KeepAlive;
        }
        if packet.payload_bytes > 0 {
            if peer.window_end() == Some(packet.end()) {
                self.found.make().windows_full += 1;
            }
        } else if expected && packet.ack == self.last_ack {
            self.repeats(peer, packet.window);
        }
        last
    }

    /// A packet without payload has the same numbers as the one before.
    #[inline(never)]
    fn repeats(&mut self, peer: &Self, window: u32) {
        match (window == self.window, window, peer.last) {
            (false, 1.., _) => self.found.make().window_updates += 1,
            (true, 1.., Last::KeepAlive) => self.found.make().keep_alive_acks += 1,
            (true, 0, Last::ZeroWindowProbe) => self.found.make().zero_window_probe_acks += 1,
            (true, 1.., _) => {
                self.found.make().duplicate_acks += 1;
                self.duplicates = match self.duplicates {
                    Duplicates::Count(count) => Duplicates::Count(count.saturating_add(1)),
                    Duplicates::Unseen => Duplicates::Count(1),
                };
            }
            _ => {}
        }
    }

    /// The number that its next packet should have, for what asks whether there was one
    /// before: Wireshark takes 0 for none there, but compares it everywhere else.
    #[inline(always)]
    fn seen_next(&self) -> Option<Seq> {
        (self.next != Seq(0)).then_some(self.next)
    }

    /// One past the last byte that the other end may send.
    fn window_end(&self) -> Option<Seq> {
        let shift = match self.scale {
            Scale::Unknown => return None,
            _ if self.after_syn => 0,
            Scale::None => 0,
            Scale::Shift(shift) => shift,
        };
        Some(self.last_ack + (i64::from(self.window) << shift))
    }

    /// Looks whether an ACK covers what was not seen.
    #[inline(always)]
    fn acknowledges_unseen(&mut self, peer: &mut Self, ack: Seq) {
        if let Some(known) = peer.acknowledgeable
            && ack.since(known) > 0
        {
            self.acknowledges_beyond(peer, known);
        }
    }

    #[cold]
    fn acknowledges_beyond(&mut self, peer: &mut Self, known: Seq) {
        if known.since(peer.next) < 0 {
            peer.acknowledgeable = peer.seen_next();
            self.found.make().acked_lost_segments += 1;
            return;
        }
        if peer.duplicates == Duplicates::Count(0) {
            self.found.make().acked_lost_segments += 1;
        }
        peer.duplicates = Duplicates::Unseen;
    }

    /// Looks whether a packet with sequence numbers has been sent before, or
    /// was overtaken.
    #[inline(always)]
    fn judge(&mut self, peer: &Self, packet: &Packet<'_>, out_of_order_ns: i64) -> Judged {
        if self.last == Last::KeepAlive {
            return Judged::KeepAlive;
        }
        let acknowledged = peer.last_ack != Seq(0) && packet.end().since(peer.last_ack) <= 0;
        if packet.payload_bytes > 0 && acknowledged {
            let found = self.found.make();
            found.spurious_retransmissions += 1;
            found.retransmissions += 1;
            return Judged::SentAgain;
        }
        // More than one byte from just before the next number on is new data
        // after a probe.
        let probed = packet.payload_bytes > 1 && self.next == packet.seq + 1;
        let behind = self
            .seen_next()
            .is_some_and(|next| packet.seq.since(next) < 0);
        if behind && !probed {
            self.falls_behind(peer, *packet, out_of_order_ns)
        } else {
            Judged::New
        }
    }

    /// A packet that begins before the next number is sent again, or overtaken.
    #[cold]
    fn falls_behind(&mut self, peer: &Self, packet: Packet<'_>, out_of_order_ns: i64) -> Judged {
        let within = |since_ns: i64, limit_ns: i64| {
            (0..limit_ns).contains(&packet.ts_ns.saturating_sub(since_ns))
        };
        if !matches!(peer.duplicates, Duplicates::Count(0 | 1))
            && peer.last_ack == packet.seq
            && within(peer.last_ns, FAST_NS)
        {
            let found = self.found.make();
            found.fast_retransmissions += 1;
            found.retransmissions += 1;
            return Judged::SentFast;
        }
        if within(self.next_ns, out_of_order_ns) && self.next != packet.next() {
            self.found.make().out_of_order += 1;
            return Judged::New;
        }
        self.found.make().retransmissions += 1;
        Judged::SentAgain
    }

    /// Takes the numbers of a packet for those that follow. `alone` says that
    /// nothing of the other end was seen.
    #[inline(always)]
    fn advance(&mut self, packet: &Packet<'_>, alone: bool) {
        let probe = self.last == Last::ZeroWindowProbe;
        if packet.is_numbered() {
            if alone {
                self.unacked.make_room(MAX_UNACKED_ALONE);
            }
            self.unacked.push(packet.next(), packet.ts_ns, MAX_UNACKED);
        }
        let further = self
            .seen_next()
            .is_none_or(|next| packet.next().since(next) > 0);
        if further && !probe {
            self.next = packet.next();
            self.next_ns = packet.ts_ns;
        }
        if !probe && self.acknowledgeable.is_none_or(|known| known == packet.seq) {
            self.acknowledgeable = self.seen_next();
        }
        self.window = packet.window;
        self.last_ack = packet.ack;
        self.last_ns = packet.ts_ns;
    }

    fn round_trip(&mut self, ns: i64) {
        // Wireshark does not show a time of 0.
        if ns != 0 {
            self.round_trips.add(ns);
        }
    }

    /// Takes the window scale of a SYN or SYN-ACK: it holds if both have it.
    fn takes_scale(&mut self, peer: &mut Self, packet: &Packet<'_>, options: SynOptions) {
        if let Some(shift) = options.window_scale {
            self.scale = Scale::Shift(shift.min(MAX_WINDOW_SHIFT));
        }
        match (self.scale, peer.scale) {
            // It may be in what was cut off.
            (Scale::Unknown, _) if packet.segment.are_options_cut() => {}
            (Scale::Unknown, _) => {
                self.scale = Scale::None;
                peer.scale = Scale::None;
            }
            (_, Scale::None) if packet.has(TcpFlags::ACK) => self.scale = Scale::None,
            _ => {}
        }
    }
}
