//! What one end sent, counted without guessing.

use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::TcpFlags;

use super::holes::Holes;
use super::options::has_multipath;
use super::packet::Packet;
use super::ranges::{Range, Ranges};
use super::rare::Rare;
use super::seq::{Seq, Unwrap};
use super::{Analysis, End, RoundTrips, SynOptions};

/// The numbers of the next connection on a 5-tuple begin so far behind those of the last
/// one at least (Linux's `tcp_timewait_state_process`); others come from a clock, and are
/// farther. What is nearer some broken end sent behind its FIN.
const NEXT_BEGINS: i64 = 65_535;

/// What one end sent so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Direction {
    /// The number of its SYN, seen or not; none before the first packet from
    /// this end, or to it with an ACK.
    begin: Option<Seq>,
    numbers: Unwrap,
    /// The sequence numbers seen, those of SYN and FIN among them.
    sent: Ranges,
    /// The payload seen.
    payload: Ranges,
    /// The payload of packets that were captured whole, once one was cut.
    captured: Option<Box<Ranges>>,
    /// Up to here it is known what was acknowledged and not captured.
    settled: i64,
    /// Where the payload begins, if a SYN said so.
    data_begin: Option<i64>,
    fin: Option<i64>,
    cookie: Option<u64>,
    syn_options: Option<SynOptions>,
    /// The TTL of the latest packet but resets; 0 if none is known.
    ttl: u8,
    /// Its packets came with several.
    has_several_ttls: bool,
    packets: u64,
    data_packets: u64,
    wire_bytes: u64,
    uniq_bytes: u64,
    ip_bytes: u64,
    syn_packets: u32,
    fin_packets: u32,
    unusual: Rare<Unusual>,
}

/// How many packets were what few ends send, and the holes that are few.
#[derive(Debug, Clone, Default)]
struct Unusual {
    rst_packets: u64,
    zero_window_packets: u64,
    retransmitted_packets: u64,
    duplicate_packets: u64,
    late_packets: u64,
    is_multipath: bool,
    /// The TTL of the first reset.
    reset_ttl: u8,
    /// A reset acknowledged all of the payload.
    is_known_at_end: bool,
    holes: Holes,
}

/// Where a packet stands in what its end sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Position of its first payload byte.
    pub(super) position: i64,
    /// Whether all of it was sent before, and seen both times.
    pub(super) is_again: bool,
    /// Whether it is that, or fills a hole.
    pub(super) is_repair: bool,
    /// When the hole opened that it fills, if that was seen.
    pub(super) opened_ns: Option<i64>,
}

impl Direction {
    /// Whether a SYN with this number asks for a connection other than this one.
    pub(super) fn is_other(&self, syn: Seq) -> bool {
        self.begin.is_some_and(|begin| begin != syn)
    }

    /// Whether it sent its last.
    pub(super) const fn has_ended(&self) -> bool {
        self.fin.is_some()
    }

    /// Whether a packet that ends with this number is too far beyond its last.
    pub(super) fn is_outrun_by(&self, end: Seq) -> bool {
        self.fin
            .is_some_and(|fin| self.numbers.position(end) - fin > NEXT_BEGINS)
    }

    /// Notes that its SYN has another number than was thought.
    pub(super) const fn begin_anew(&mut self, syn: Seq) {
        self.begin = Some(syn);
    }

    /// Counts positions from `syn`, if they are not counted already.
    #[inline(always)]
    pub(super) fn begin_at(&mut self, syn: Seq) {
        if self.begin.is_none() {
            self.begin = Some(syn);
            self.numbers = Unwrap::from(syn);
            self.settled = 1;
        }
    }

    /// Takes a packet, sent by the socket that `cookie` tells.
    #[inline(always)]
    pub(super) fn packet(&mut self, packet: &Packet<'_>, cookie: Option<u64>) -> Place {
        let [syn, fin, rst] =
            [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST].map(|flag| packet.has(flag));
        let payload_bytes = i64::from(packet.payload_bytes);
        self.packets += 1;
        self.ip_bytes += u64::from(packet.segment.ip_bytes);
        self.wire_bytes += u64::from(packet.payload_bytes);
        self.data_packets += u64::from(payload_bytes > 0);
        self.syn_packets = self.syn_packets.saturating_add(syn.into());
        self.fin_packets = self.fin_packets.saturating_add(fin.into());
        let ttl = packet.segment.ttl;
        if !rst {
            self.has_several_ttls |= self.ttl != ttl && self.packets > 1;
            self.ttl = ttl;
        }
        if rst {
            let unusual = self.unusual.make();
            if unusual.rst_packets == 0 {
                unusual.reset_ttl = ttl;
            }
            unusual.rst_packets += 1;
        } else if packet.window == 0 && !(syn || fin) {
            self.unusual.make().zero_window_packets += 1;
        }
        self.cookie = cookie.or(self.cookie);
        if packet.options.is_some() && has_multipath(packet.segment.options) {
            self.unusual.make().is_multipath = true;
        }
        self.syn_options = self.syn_options.or(packet.options);

        self.begin_at(if syn { packet.seq } else { packet.seq + -1 });
        let start = self.numbers.position(packet.seq);
        let data = start + i64::from(syn);
        let mut place = Place {
            position: data,
            is_again: false,
            is_repair: false,
            opened_ns: None,
        };
        if rst {
            return place;
        }
        let end = data + payload_bytes;
        self.numbers.reach(end);
        if syn && self.payload.end().is_none() {
            self.settled = data;
            self.data_begin = Some(data);
        }
        let is_outrun = self.fin.is_some_and(|fin| data < fin);
        if fin {
            self.fin = Some(end);
        }
        if packet.is_numbered() {
            let all = Range {
                start,
                end: end + i64::from(fin),
            };
            if self.sent.insert(all) == 0 {
                self.unusual.make().retransmitted_packets += 1;
                (place.is_again, place.is_repair) = (true, true);
            }
        }
        if payload_bytes > 0 {
            let highest = self.payload.end();
            let captured_bytes = packet.segment.payload.len();
            let is_cut = captured_bytes < packet.payload_bytes as usize;
            if is_cut || self.captured.is_some() {
                self.capture(Range { start: data, end }, is_cut);
            }
            let new = self.payload.insert(Range { start: data, end });
            self.uniq_bytes += new;
            if new == 0 {
                self.unusual.make().duplicate_packets += 1;
            } else if highest.is_some_and(|highest| data < highest) {
                let unusual = self.unusual.make();
                unusual.late_packets += 1;
                place.is_repair = true;
                place.opened_ns = unusual.holes.opened_ns(data);
            } else if is_outrun {
                // Its FIN came before it.
                place.is_repair = true;
            }
            if let Some(awaited) = highest.or(self.data_begin).filter(|it| *it < data) {
                let is_first = self.payload.hole_count() <= 1;
                let holes = &mut self.unusual.make().holes;
                holes.open(awaited, packet.ts_ns, is_first);
            }
        }
        place
    }

    /// Notes which payload was captured, before it is noted as seen. Zeek takes
    /// none of a packet that was cut (`TCP_Endpoint::DataSent`).
    fn capture(&mut self, range: Range, is_cut: bool) {
        if is_cut && self.captured.is_none() {
            self.captured = Some(Box::new(self.payload.clone()));
        }
        if let (Some(captured), false) = (&mut self.captured, is_cut) {
            captured.insert(range);
        }
    }

    /// Whether payload up to there was acknowledged.
    pub(super) const fn is_acknowledged(&self, position: i64) -> bool {
        position <= self.settled
    }

    /// The segment size that its SYN asked for.
    pub(super) fn mss(&self) -> Option<u16> {
        self.syn_options?.mss
    }

    /// The position of its first payload byte, if a SYN told it.
    pub(super) const fn data_begin(&self) -> Option<i64> {
        self.data_begin
    }

    /// Takes an ACK of what this end sent, which has [begun](Self::begin_at).
    /// Gives the position up to which all is acknowledged, and each stretch of
    /// payload that is now known to be missing, or cut, to `missing`.
    #[inline(always)]
    pub(super) fn acknowledge(&mut self, ack: Seq, missing: impl FnMut(Range)) -> i64 {
        let position = self.numbers.position(ack);
        // FIN has a number, but is no payload.
        let payload = self.fin.map_or(position, |fin| position.min(fin));
        if payload > self.settled {
            let within = Range {
                start: self.settled,
                end: payload,
            };
            self.settled = payload;
            let captured = self.captured.as_deref().unwrap_or(&self.payload);
            if !captured.covers(within) {
                captured.holes(within).for_each(missing);
            }
        }
        position
    }

    /// Payload that was acknowledged, and not seen.
    fn unseen_bytes(&self) -> u64 {
        let acknowledged = Range {
            start: self.data_begin.unwrap_or(1),
            end: self.settled,
        };
        if acknowledged.start >= acknowledged.end {
            return 0;
        }
        let holes = self.payload.holes(acknowledged);
        holes.map(Range::len).sum()
    }

    /// Takes what a reset acknowledges, which is to be trusted only if it is all.
    #[inline(never)]
    pub(super) fn acknowledge_at_end(&mut self, ack: Seq) {
        if self.payload.end() == Some(self.numbers.position(ack)) {
            self.unusual.make().is_known_at_end = true;
        }
    }

    /// Payload that was seen, and not acknowledged, with the holes in it.
    fn unacknowledged_bytes(&self) -> u64 {
        let is_known = self.unusual.get().is_some_and(|it| it.is_known_at_end);
        let end = self.payload.end().filter(|_| !is_known);
        let bytes = end.map_or(0, |end| end.saturating_sub(self.settled));
        u64::try_from(bytes).unwrap_or(0)
    }

    /// The TTL of its packets and that of its first reset, where the one is always the same
    /// and the other is another: as a rule a host sends both alike.
    fn foreign_ttl(&self, rst_packets: u64, reset_ttl: u8) -> Option<[u8; 2]> {
        let is_known = rst_packets > 0 && self.ttl != 0 && reset_ttl != 0;
        let is_foreign = is_known && !self.has_several_ttls && reset_ttl != self.ttl;
        is_foreign.then_some([self.ttl, reset_ttl])
    }

    /// What is told of it, with what others found: `bytes` of payload by
    /// sequence numbers, when its latest packet came, and Wireshark's view.
    pub(super) fn end(
        &self,
        endpoint: Endpoint,
        bytes: u64,
        last_ns: i64,
        (analysis, round_trips): (Analysis, Option<RoundTrips>),
    ) -> End {
        let Unusual {
            rst_packets,
            zero_window_packets,
            retransmitted_packets,
            duplicate_packets,
            late_packets,
            is_multipath,
            reset_ttl,
            is_known_at_end: _,
            holes: _,
        } = self.unusual.get().cloned().unwrap_or_default();
        End {
            endpoint,
            last_ns: (self.packets > 0).then_some(last_ns),
            cookie: self.cookie,
            packets: self.packets,
            data_packets: self.data_packets,
            bytes,
            wire_bytes: self.wire_bytes,
            uniq_bytes: self.uniq_bytes,
            gap_bytes: self.payload.span().saturating_sub(self.uniq_bytes),
            unseen_bytes: self.unseen_bytes(),
            unacknowledged_bytes: self.unacknowledged_bytes(),
            ip_bytes: self.ip_bytes,
            syn_packets: self.syn_packets.into(),
            fin_packets: self.fin_packets.into(),
            rst_packets,
            zero_window_packets,
            retransmitted_packets,
            duplicate_packets,
            late_packets,
            syn_options: self.syn_options,
            is_multipath,
            foreign_ttl: self.foreign_ttl(rst_packets, reset_ttl),
            analysis,
            round_trips,
        }
    }
}
