//! The books of a recording: what was not recorded, and the totals at its end.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// Why something was not recorded.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LossCause {
    /// The kernel's ring buffer had no room.
    RingFull,
    /// The kernel could not copy the packet's bytes.
    Snap,
    /// The kernel did not run the program, because one ran on that CPU already.
    Recursion,
    /// The recorder could not make sense of what the kernel sent.
    Decode,
    /// The file could not be written, or has no place for it.
    Writer,
}

impl LossCause {
    /// The word for it in files and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }
}

/// What kind of record was lost.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Lost {
    /// Packets.
    Packets,
    /// Events.
    Events,
    /// Processes that started a program: their path and arguments.
    Processes,
}

impl Lost {
    /// The word for it in files and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// The word for one of them.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Packets => "packet",
            Self::Events => "event",
            Self::Processes => "program start",
        }
    }
}

/// What was not recorded, how much of it, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Why.
    pub cause: LossCause,
    /// What.
    pub lost: Lost,
    /// The CPU that lost it; none where it was lost after the kernel.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<u32>,
    /// How many.
    pub count: u64,
    /// How many bytes of packets, as they would have been on the wire.
    pub bytes: u64,
    /// When the first was lost.
    pub first_ns: i64,
    /// When the last was lost.
    pub last_ns: i64,
}

/// The totals of a recording whose end could be written, or of all its files up
/// to here. For packets and for events, `seen = recorded + lost`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct End {
    /// When the recording ended.
    pub ts_ns: i64,
    /// Why it ended, as `interrupted`.
    pub reason: String,
    /// Only the file ended: the recording goes on in the next one of the series.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub continued: bool,
    /// Packets that passed the hooks and the filter.
    pub seen_packets: u64,
    /// Packets recorded, in all files of a series.
    pub recorded_packets: u64,
    /// Packets lost, for any cause.
    pub lost_packets: u64,
    /// Events that the hooks saw and the scan found. The sockets told again at
    /// the head of a rotated file are not among them.
    pub seen_events: u64,
    /// Events recorded.
    pub recorded_events: u64,
    /// Events lost, for any cause.
    pub lost_events: u64,
    /// Length on the wire of the packets recorded.
    pub wire_bytes: u64,
}

impl End {
    /// The reason where the recorder failed: what came last may be missing.
    pub const FAILED: &'static str = "failed";
}
