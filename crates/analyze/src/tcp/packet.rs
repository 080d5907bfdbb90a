//! A packet as a connection sees it, and the three kinds of them that there are
//! for a machine.

use tcprec_shared::headers::{Segment, TcpFlags};

use super::SynOptions;
use super::pair::Side;
use super::seq::Seq;

/// The flags that rules ask for.
const KNOWN: u8 = TcpFlags::SYN.0 | TcpFlags::ACK.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;

/// What the rules need of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    /// The end that sent it.
    pub(super) side: Side,
    pub(super) ts_ns: i64,
    /// SYN, ACK, FIN and RST; no rule asks for others.
    flags: TcpFlags,
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    /// Length of its payload on the wire.
    pub(super) payload_bytes: u32,
    /// Not scaled.
    pub(super) window: u32,
    /// Those of a SYN.
    pub(super) options: Option<SynOptions>,
    pub(super) segment: &'a Segment<'a>,
}

/// A packet by what can be asked of it.
///
/// Whoever handles each kind by itself, with the same code, has it compiled for
/// each: what cannot be of that kind falls away.
pub(super) enum Kind<'a> {
    /// Nothing but ACK, no payload.
    Ack(Packet<'a>),
    /// Payload, with ACK and neither SYN, FIN nor RST.
    Data(Packet<'a>),
    /// Any other.
    Signal(Packet<'a>),
}

impl<'a> Packet<'a> {
    #[inline(always)]
    pub(super) fn new(side: Side, ts_ns: i64, segment: &'a Segment<'a>) -> Self {
        Self {
            side,
            ts_ns,
            flags: TcpFlags(segment.flags.0 & KNOWN),
            seq: Seq(segment.seq),
            ack: Seq(segment.ack),
            payload_bytes: segment.payload_bytes,
            window: u32::from(segment.window),
            options: None,
            segment,
        }
    }

    /// Of which kind it is. What the kind says is constant in it.
    #[inline(always)]
    pub(super) fn kind(self) -> Kind<'a> {
        let flags = TcpFlags::ACK;
        if self.flags != flags {
            Kind::Signal(self)
        } else if self.payload_bytes > 0 {
            Kind::Data(Self { flags, ..self })
        } else {
            Kind::Ack(Self {
                flags,
                payload_bytes: 0,
                ..self
            })
        }
    }

    /// This packet with its options read, if it is a SYN.
    pub(super) fn with_options(self) -> Self {
        let is_syn = self.has(TcpFlags::SYN);
        let read = || SynOptions::read(self.segment.options, self.segment.are_options_cut());
        Self {
            options: is_syn.then(read),
            ..self
        }
    }

    #[inline(always)]
    pub(super) const fn has(&self, flag: TcpFlags) -> bool {
        self.flags.has(flag)
    }

    #[inline(always)]
    pub(super) const fn is_syn_or_fin(&self) -> bool {
        self.has(TcpFlags::SYN) || self.has(TcpFlags::FIN)
    }

    /// Whether it takes up sequence numbers.
    #[inline(always)]
    pub(super) const fn is_numbered(&self) -> bool {
        self.payload_bytes > 0 || self.is_syn_or_fin()
    }
}
