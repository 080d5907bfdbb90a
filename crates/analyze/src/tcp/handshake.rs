//! When the packets of the handshake came.

use tcprec_shared::headers::TcpFlags;

use super::packet::Packet;
use super::pair::Side;
use super::seq::Seq;

/// The times of a handshake.
#[derive(Debug, Clone, Default)]
pub(super) struct Handshake {
    originator: Option<Side>,
    syn_seen: bool,
    first_syn_ns: Option<i64>,
    last_syn_ns: Option<i64>,
    syn_ack_ns: Option<i64>,
    /// What the first SYN-ACK awaits.
    awaited: Seq,
    syn_synack_ns: Option<i64>,
    synack_ack_ns: Option<i64>,
    initial_rtt_ns: Option<i64>,
}

impl Handshake {
    /// Takes a packet.
    #[inline(always)]
    pub(super) fn packet(&mut self, packet: &Packet<'_>) {
        let Packet { side, ts_ns, .. } = *packet;
        match (packet.has(TcpFlags::SYN), packet.has(TcpFlags::ACK)) {
            (true, false) => {
                if !self.syn_seen {
                    self.originator = Some(side);
                    self.syn_seen = true;
                }
                self.first_syn_ns.get_or_insert(ts_ns);
                self.last_syn_ns = Some(ts_ns);
            }
            (true, true) => {
                self.originator.get_or_insert(side.other());
                if let (Some(syn_ns), None) = (self.last_syn_ns, self.syn_synack_ns) {
                    self.syn_synack_ns = Some(ts_ns.saturating_sub(syn_ns));
                }
                if self.syn_ack_ns.is_none() {
                    self.syn_ack_ns = Some(ts_ns);
                    self.awaited = packet.ack;
                }
            }
            (false, true) => self.ack(packet),
            (false, false) => {}
        }
    }

    #[inline(always)]
    fn ack(&mut self, packet: &Packet<'_>) {
        let ts_ns = packet.ts_ns;
        let ends = packet.has(TcpFlags::FIN) || packet.has(TcpFlags::RST);
        // Payload that comes later in the stream is not the first, and what ends a connection
        // is not either: filters that pass only these leave the ACK out. Without payload the
        // first ACK is taken for it, as by Wireshark.
        if let (Some(syn_ack_ns), None) = (self.syn_ack_ns, self.synack_ack_ns)
            && self.originator == Some(packet.side)
            && (packet.seq == self.awaited || packet.payload_bytes == 0)
            && !ends
        {
            self.synack_ack_ns = Some(ts_ns.saturating_sub(syn_ack_ns));
        }
        // Wireshark's rule: the first ACK after a SYN, from either end; a time
        // of 0 counts as none.
        if let Some(syn_ns) = self.last_syn_ns
            && self.initial_rtt_ns.unwrap_or(0) == 0
        {
            self.initial_rtt_ns = Some(ts_ns.saturating_sub(syn_ns)).filter(|rtt_ns| *rtt_ns != 0);
        }
    }

    /// The end that sent the SYN, else the one that got the SYN-ACK.
    pub(super) const fn originator(&self) -> Option<Side> {
        self.originator
    }

    /// When the first SYN came.
    pub(super) const fn first_syn_ns(&self) -> Option<i64> {
        self.first_syn_ns
    }

    /// When the originator's first ACK after a SYN-ACK came.
    pub(super) fn established_ns(&self) -> Option<i64> {
        self.syn_ack_ns?.checked_add(self.synack_ack_ns?)
    }

    /// From the latest SYN to the first SYN-ACK.
    pub(super) const fn syn_synack_ns(&self) -> Option<i64> {
        self.syn_synack_ns
    }

    /// From the first SYN-ACK to the originator's first ACK.
    pub(super) const fn synack_ack_ns(&self) -> Option<i64> {
        self.synack_ack_ns
    }

    /// From the latest SYN to the first ACK.
    pub(super) const fn initial_rtt_ns(&self) -> Option<i64> {
        self.initial_rtt_ns
    }
}
