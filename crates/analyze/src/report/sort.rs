//! The order in which a text shows connections.

use clap::ValueEnum;

use super::Connection;

/// What connections are ordered by. Those that have the same are in the order of their
/// first packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Sort {
    /// Their first packet, the earliest first
    #[default]
    Start,
    /// How long they lasted
    Duration,
    /// Packets of both ends
    Packets,
    /// Payload of both ends
    Bytes,
    /// Retransmitted packets (RESENT)
    Retransmits,
}

impl Sort {
    /// What there is to the order, in words.
    pub(super) const fn note(self) -> Option<&'static str> {
        match self {
            Self::Start => None,
            Self::Duration => Some("the longest first"),
            Self::Packets => Some("the most packets first"),
            Self::Bytes => Some("the most bytes first"),
            Self::Retransmits => Some("the most packets sent again first"),
        }
    }

    /// How much a connection has of it; the most comes first.
    pub(crate) fn amount(self, connection: &Connection) -> u64 {
        let (orig, resp) = (&connection.tcp.orig, &connection.tcp.resp);
        match self {
            Self::Start => 0,
            Self::Duration => u64::try_from(connection.tcp.duration_ns).unwrap_or(0),
            Self::Packets => orig.packets.saturating_add(resp.packets),
            Self::Bytes => orig.bytes.saturating_add(resp.bytes),
            Self::Retransmits => {
                let [orig, resp] = connection.resent_packets();
                orig.saturating_add(resp)
            }
        }
    }
}
