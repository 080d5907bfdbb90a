//! By what the rows are sorted.

use std::cmp::Reverse;

use clap::ValueEnum;

use super::Row;

/// By what the rows are sorted: the most comes first, but for the process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Payload, both ways
    Bytes,
    /// Payload sent
    Sent,
    /// Payload received
    Received,
    /// Packets, both ways
    Packets,
    /// Connections asked for
    Connects,
    /// Connections accepted
    Accepts,
    /// Segments sent again
    Retransmits,
    /// The process id, the smallest first
    Pid,
}

impl Sort {
    /// The key on a terminal that asks for it, and what it does.
    pub(crate) const KEYS: [(char, Self); 8] = [
        ('b', Self::Bytes),
        ('s', Self::Sent),
        ('r', Self::Received),
        ('p', Self::Packets),
        ('c', Self::Connects),
        ('a', Self::Accepts),
        ('t', Self::Retransmits),
        ('i', Self::Pid),
    ];

    /// The word for it, as in the options.
    pub(crate) fn word(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Brings rows in this order; where they are alike, that of the process id.
    pub(crate) fn sort(self, rows: &mut [Row]) {
        rows.sort_by_key(|row| (Reverse(self.figure(row)), row.owner));
    }

    fn figure(self, row: &Row) -> u64 {
        let counts = &row.counts;
        match self {
            Self::Bytes => counts.sent_bytes.saturating_add(counts.received_bytes),
            Self::Sent => counts.sent_bytes,
            Self::Received => counts.received_bytes,
            Self::Packets => counts.sent_packets.saturating_add(counts.received_packets),
            Self::Connects => counts.connects,
            Self::Accepts => counts.accepts,
            Self::Retransmits => counts.retransmits,
            Self::Pid => 0,
        }
    }
}
