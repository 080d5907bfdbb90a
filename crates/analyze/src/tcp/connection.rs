//! What is known of a connection once it is finished.

use std::fmt;

use compact_str::CompactString;
use strum::{IntoStaticStr, VariantNames};
use tcprec_shared::flow::{Endpoint, Flow};

use super::turns::{Farewell, Turns};
use crate::app::{Goaway, Tls};

/// Number of a connection within one analysis: its place in the order of first
/// packets, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A finished connection: one incarnation of a TCP 5-tuple within one scope.
///
/// The originator is the end that asked for the connection: the sender of the
/// SYN, else the receiver of the SYN-ACK. In a capture that begins later it is
/// the sender of the first packet, unless that packet comes from a well-known
/// server port and goes to none (Zeek's `likely_server_ports`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// Where its packets were seen (see [`Seen::scope`](super::Seen::scope)).
    pub scope: u32,
    /// The end that asked for the connection.
    pub orig: End,
    /// The end that was asked.
    pub resp: End,
    /// Time of the earliest packet.
    pub first_ns: i64,
    /// Time of the latest packet.
    pub last_ns: i64,
    /// Time of the first FIN or reset; none if there was none.
    pub left_ns: Option<i64>,
    /// Zeek's `duration`: from the first packet to the last one before both
    /// ends had closed, so that a late ACK or reset does not count.
    pub duration_ns: i64,
    /// Zeek's summary of how it began and ended.
    pub state: ConnState,
    /// Zeek's `history`: a letter for each kind of packet in the order of
    /// first appearance, upper case from the originator, lower case from the
    /// responder, `^` where the ends changed places.
    pub history: CompactString,
    /// Zeek's `missed_bytes`: payload that was acknowledged but not captured,
    /// which is all of a packet that the snap length cut.
    pub missed_bytes: u64,
    /// From the latest SYN to the first SYN-ACK.
    pub syn_synack_ns: Option<i64>,
    /// From the first SYN-ACK to the originator's first ACK.
    pub synack_ack_ns: Option<i64>,
    /// Wireshark's `tcp.analysis.initial_rtt`: from the SYN to the ACK that
    /// ends the handshake.
    pub initial_rtt_ns: Option<i64>,
    /// Time of the first SYN.
    pub syn_ns: Option<i64>,
    /// Time of the originator's first ACK after a SYN-ACK.
    pub established_ns: Option<i64>,
    /// When an end could not send; the first 256.
    pub stalls: Vec<Stall>,
    /// What an end held back until delayed ACKs came, of each end.
    pub delays: Vec<Delays>,
    /// The stretch in which an end sent the most packets again, of each end.
    pub bursts: Vec<Burst>,
    /// Whether its 5-tuple had been used by an earlier connection of the capture.
    pub reused_ports: bool,
    /// How long ago that had ended then, where both its ends had closed it: one
    /// of them waited in the state TIME-WAIT (RFC 9293 section 3.6.1).
    pub reused_after_ns: Option<i64>,
    /// How many requests were found on it.
    pub requests: u64,
    /// What was seen of its TLS, if there was any.
    pub tls: Option<Box<Tls>>,
    /// The error by which an end gave its HTTP/2 up, if one did.
    pub goaway: Option<Box<Goaway>>,
    /// How long answers were waited for in what cannot be read; none without any.
    pub turns: Option<Box<Turns>>,
    /// How its session of TLS ended.
    pub farewell: Farewell,
}

impl Connection {
    /// The 5-tuple.
    #[must_use]
    pub fn flow(&self) -> Flow {
        Flow::between(self.orig.endpoint, self.resp.endpoint)
    }

    /// Whether an end has closed it in good order (FIN).
    #[must_use]
    pub fn is_closed_by(&self, endpoint: Endpoint) -> bool {
        let ends = [&self.orig, &self.resp];
        ends.iter()
            .any(|end| end.endpoint == endpoint && end.fin_packets > 0)
    }

    /// Whether an end sent payload that may have come, but is in no packet. What the other
    /// end left without having acknowledged it did not come.
    #[must_use]
    pub fn has_unseen_payload(&self, endpoint: Endpoint) -> bool {
        let ends = [(&self.orig, &self.resp), (&self.resp, &self.orig)];
        ends.iter().any(|(end, other)| {
            let has_left = other.fin_packets > 0 || other.rst_packets > 0;
            let may_have_come = !has_left && end.bytes > end.uniq_bytes;
            end.endpoint == endpoint && (end.unseen_bytes > 0 || may_have_come)
        })
    }

    /// Whether both ends speak Multipath TCP: what they send may go by other connections, too.
    #[must_use]
    pub const fn is_multipath(&self) -> bool {
        self.orig.is_multipath && self.resp.is_multipath
    }

    /// How it was left first, as a letter of the history; none if no end did.
    fn left(&self) -> Option<u8> {
        let is_end = |kind: &u8| matches!(kind, b'F' | b'R' | b'f' | b'r');
        self.history.bytes().find(is_end)
    }

    /// Whether it was the originator that closed or reset it first; none if neither
    /// end did.
    #[must_use]
    pub fn is_left_by_orig(&self) -> Option<bool> {
        Some(self.left()?.is_ascii_uppercase())
    }

    /// Whether it was reset before an end had closed it.
    #[must_use]
    pub fn is_left_by_reset(&self) -> bool {
        matches!(self.left(), Some(b'R' | b'r'))
    }

    /// Whether it was the originator that reset it first, after it was established or in
    /// the midst of that; none if it did not end so. (Zeek's state has the latter of two
    /// resets, which is as a rule how Linux answers what still comes after the first.)
    #[must_use]
    pub fn is_reset_by_orig(&self) -> Option<bool> {
        let by_state = match self.state {
            ConnState::Rsto | ConnState::Rstos0 => true,
            ConnState::Rstr | ConnState::Rstrh => false,
            _ => return None,
        };
        let first = self.history.chars().find(|kind| "Rr".contains(*kind));
        Some(first.map_or(by_state, |kind| kind.is_ascii_uppercase()))
    }

    /// Whether an end had closed it before it reset it, as Linux does with what comes
    /// for a socket that is closed.
    #[must_use]
    pub fn is_closed_before_reset(&self, by_orig: bool) -> bool {
        let [fin, rst] = if by_orig { ['F', 'R'] } else { ['f', 'r'] };
        let first = self.history.find(fin);
        first.is_some_and(|fin| self.history.find(rst).is_none_or(|rst| fin < rst))
    }

    /// From the first packet to the last one.
    #[must_use]
    pub const fn raw_duration_ns(&self) -> i64 {
        self.last_ns.saturating_sub(self.first_ns)
    }
}

/// One end of a connection and what it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Address and port.
    pub endpoint: Endpoint,
    /// When its latest packet came; none if it sent none.
    pub last_ns: Option<i64>,
    /// The latest socket cookie on the packets that it sent.
    pub cookie: Option<u64>,
    /// TCP packets; an IP-fragmented one counts once.
    pub packets: u64,
    /// Packets with payload.
    pub data_packets: u64,
    /// Zeek's `orig_bytes`/`resp_bytes`: payload by sequence and ACK numbers,
    /// gaps included, retransmissions not.
    pub bytes: u64,
    /// Payload in all packets, retransmissions included.
    pub wire_bytes: u64,
    /// Payload that was seen, each sequence number once.
    pub uniq_bytes: u64,
    /// Holes between the first and the last payload byte seen.
    pub gap_bytes: u64,
    /// Payload that was acknowledged, and is in no packet.
    pub unseen_bytes: u64,
    /// Payload up to its last byte seen that was not acknowledged.
    pub unacknowledged_bytes: u64,
    /// IP total length of all packets.
    pub ip_bytes: u64,
    /// Packets with SYN.
    pub syn_packets: u64,
    /// Packets with FIN.
    pub fin_packets: u64,
    /// Packets with RST.
    pub rst_packets: u64,
    /// Packets with a zero window, but for SYN, FIN and RST.
    pub zero_window_packets: u64,
    /// Retransmitted packets: every sequence number in it, those of SYN and
    /// FIN included, had been seen before.
    pub retransmitted_packets: u64,
    /// Packets with payload all of which had been seen before.
    pub duplicate_packets: u64,
    /// Packets with new payload that begins below the highest byte seen: they
    /// came out of order, or fill a loss.
    pub late_packets: u64,
    /// The options of its first SYN or SYN-ACK.
    pub syn_options: Option<SynOptions>,
    /// Whether its SYN or SYN-ACK was one of Multipath TCP (RFC 8684 section 3).
    pub is_multipath: bool,
    /// The TTL of its packets, and another that its first reset came with.
    pub foreign_ttl: Option<[u8; 2]>,
    /// What Wireshark would say of its packets.
    pub analysis: Analysis,
    /// How long it took until what it sent was acknowledged; none if nothing was.
    pub round_trips: Option<RoundTrips>,
}

/// How many packets of an end Wireshark would mark: its `tcp.analysis` fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Analysis {
    /// `retransmission`: sent again; the two kinds that follow are among them.
    pub retransmissions: u64,
    /// `fast_retransmission`: sent again after duplicate ACKs.
    pub fast_retransmissions: u64,
    /// `spurious_retransmission`: sent again though acknowledged.
    pub spurious_retransmissions: u64,
    /// `out_of_order`: overtaken by later ones.
    pub out_of_order: u64,
    /// `lost_segment`: one before it was not captured.
    pub lost_segments: u64,
    /// `ack_lost_segment`: it acknowledges one that was not captured.
    pub acked_lost_segments: u64,
    /// `duplicate_ack`: the same ACK again.
    pub duplicate_acks: u64,
    /// `zero_window`: the end cannot take any more.
    pub zero_windows: u64,
    /// `zero_window_probe`: a byte sent into a zero window.
    pub zero_window_probes: u64,
    /// `zero_window_probe_ack`: the answer to that.
    pub zero_window_probe_acks: u64,
    /// `window_full`: the other end's window is used up.
    pub windows_full: u64,
    /// `keep_alive`: the byte before the next one, or none, sent again.
    pub keep_alives: u64,
    /// `keep_alive_ack`: the answer to that.
    pub keep_alive_acks: u64,
    /// `window_update`: nothing but another window.
    pub window_updates: u64,
    /// The latest of the keep-alives that nothing came between from the other end.
    pub probes: Probes,
}

/// Keep-alives in a row, and the silence of the end that they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probes {
    /// How many there are.
    pub count: u64,
    /// When the other end's latest packet had come.
    pub heard_ns: i64,
}

/// Times from a segment to the ACK that ends with it (Wireshark's
/// `tcp.analysis.ack_rtt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrips {
    /// How many were measured.
    pub count: u64,
    /// The shortest.
    pub min_ns: i64,
    /// The longest.
    pub max_ns: i64,
    /// All of them together.
    pub sum_ns: i64,
}

impl RoundTrips {
    pub(super) const NONE: Self = Self {
        count: 0,
        min_ns: i64::MAX,
        max_ns: i64::MIN,
        sum_ns: 0,
    };

    pub(super) fn add(&mut self, ns: i64) {
        self.count += 1;
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Their mean.
    #[must_use]
    pub fn mean_ns(&self) -> i64 {
        i64::try_from(self.count).map_or(0, |count| self.sum_ns.checked_div(count).unwrap_or(0))
    }
}

/// A time in which an end could not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// Whether the end that could not send is the originator.
    pub by_orig: bool,
    /// Why it could not.
    pub cause: StallCause,
    /// Since when: its packet before, or its peer's first zero window.
    pub from_ns: i64,
    /// When what it then sent again was first seen; `from_ns` if that is not known.
    pub sent_ns: i64,
    /// Until when: it sent again, or its peer's window opened.
    pub to_ns: i64,
    /// The window had not opened when the latest packet came, which `to_ns` is then.
    pub is_open: bool,
    /// Length of the payload that was sent again after a timeout; 0 of a SYN, a FIN, and of a
    /// zero window.
    pub payload_bytes: u32,
    /// How much of its payload came before: what is sent again begins there,
    /// or its peer had received so much.
    pub at_byte: u64,
}

/// A stretch of time in which an end sent packets again, none more than a
/// second after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Whether that end is the originator.
    pub by_orig: bool,
    /// How many packets it sent again.
    pub packets: u64,
    /// When the first of them came.
    pub first_ns: i64,
    /// When the last one came.
    pub last_ns: i64,
    /// How much of the end's payload came before the first.
    pub at_byte: u64,
}

/// Segments that an end held back until a delayed ACK came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// Whether that end is the originator.
    pub by_orig: bool,
    /// How often it did.
    pub count: u64,
    /// When it sent what was acknowledged late, the longest time.
    pub first_ns: i64,
    /// When it went on then.
    pub last_ns: i64,
}

/// Why an end could not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StallCause {
    /// A packet was lost, and it waited for the retransmission timeout.
    Timeout,
    /// Its peer had no room: the window was zero.
    ZeroWindow,
}

impl StallCause {
    /// The word for it in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ZeroWindow => "zero_window",
        }
    }
}

/// The options of a SYN or SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SynOptions {
    /// Maximum segment size (RFC 9293 section 3.7.1).
    pub mss: Option<u16>,
    /// Window scale: the shift count (RFC 7323 section 2).
    pub window_scale: Option<u8>,
    /// SACK permitted (RFC 2018 section 2); none if that is not known: the options were cut.
    pub sack_permitted: Option<bool>,
    /// Timestamps (RFC 7323 section 3); none if that is not known.
    pub timestamps: Option<bool>,
}

/// How a connection began and ended: Zeek's `conn_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "UPPERCASE")]
pub enum ConnState {
    /// Attempt without an answer.
    S0,
    /// Established, not ended.
    S1,
    /// Established and closed by both ends.
    Sf,
    /// Attempt rejected with a reset.
    Rej,
    /// Established; the originator closed, the responder did not.
    S2,
    /// Established; the responder closed, the originator did not.
    S3,
    /// Established; reset by the originator.
    Rsto,
    /// Established; reset by the responder.
    Rstr,
    /// The originator sent SYN and then a reset, the responder nothing.
    Rstos0,
    /// The responder sent SYN-ACK and then a reset, the originator nothing.
    Rstrh,
    /// The originator sent SYN and then FIN, the responder no SYN-ACK.
    Sh,
    /// The responder sent SYN-ACK and then FIN, the originator no SYN.
    Shr,
    /// Traffic without a beginning.
    Oth,
}

impl ConnState {
    /// Whether it was seen to end: both ends closed it, or one reset it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Sf | Self::Rej | Self::Rsto | Self::Rstr | Self::Rstos0 | Self::Rstrh => true,
            Self::S0 | Self::S1 | Self::S2 | Self::S3 | Self::Sh | Self::Shr | Self::Oth => false,
        }
    }

    /// Zeek's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for ConnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
