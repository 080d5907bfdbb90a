//! What the kernel side is told: which packets and events are wanted, how they are taken,
//! and how much of them is kept.

use std::sync::Arc;

use tcprec_shared::record::Direction;

use super::skeleton::packets::types::limits;
use super::{EventHooks, Filter, Namespace, Transport, Wanted};

/// Hook for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Hook {
    /// tcx if the kernel has it (Linux 6.6), else a socket filter.
    Auto,
    /// tcx: knows the sending socket of each packet.
    Tcx,
    /// A socket filter on a packet socket that queues nothing.
    SocketFilter,
}

/// How much of a packet is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snap {
    /// So many bytes of each packet, at most [`MAX_SNAP_BYTES`].
    Fixed(u32),
    /// The first bytes of each message, and all headers (`bpf/snap.bpf.h`).
    Adaptive,
}

/// How many bytes of a message are kept: the longest heads of HTTP that servers
/// take by default, and the TLS handshake up to the certificates.
pub(super) const MESSAGE_BYTES: u32 = 8192;

impl Snap {
    /// How many bytes of a packet are kept at most.
    pub(crate) const fn packet_bytes(self) -> u32 {
        // Ethernet with VLAN tags, IPv6 with extension headers, TCP with options.
        const MAX_HEADER_BYTES: u32 = 512;
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Adaptive => MESSAGE_BYTES + MAX_HEADER_BYTES,
        }
    }

    /// How many bytes of a message are kept, where that is the measure.
    pub(crate) const fn message_bytes(self) -> Option<u32> {
        match self {
            Self::Fixed(_) => None,
            Self::Adaptive => Some(MESSAGE_BYTES),
        }
    }
}

/// What the kernel side is told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) hook: Hook,
    pub(crate) event_hooks: EventHooks,
    /// As [`Transport::choose`] gave it.
    pub(crate) transport: Transport,
    pub(crate) snap: Snap,
    /// The packets that are wanted; all without it.
    pub(crate) filter: Option<Filter>,
    /// The way of the packets that are wanted; both without it. On loopback
    /// each packet goes both ways.
    pub(crate) direction: Option<Direction>,
    /// Of which processes.
    pub(crate) wanted: Wanted,
    /// How many bytes of packets may wait for the recorder, at least: for each
    /// network namespace.
    pub(crate) buffer_bytes: u32,
    /// Whose interfaces are recorded.
    pub(crate) namespaces: Arc<[Namespace]>,
    /// Whose events are recorded, at most [`MAX_NAMESPACES`]; empty: all.
    pub(crate) events_of: Vec<u32>,
}

/// So many network namespaces are recorded at most.
pub(crate) const MAX_NAMESPACES: usize = 16;

/// tcpdump's largest snap length, and ours.
pub(crate) const MAX_SNAP_BYTES: u32 = limits::MAX_SNAP_BYTES.0;
