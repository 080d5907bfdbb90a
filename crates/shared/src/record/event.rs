//! What the kernel did to a TCP socket.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::{Direction, ProcessId};
use crate::flow::Endpoint;

/// What happened to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// A process asked for a connection.
    Connect,
    /// A process took a connection from a listening socket.
    Accept,
    /// A process began to listen.
    Listen,
    /// The connection came to another state that has no kind of its own.
    State,
    /// The kernel sent a segment again.
    Retransmit,
    /// A reset was sent (direction `out`) or received (`in`).
    Reset,
    /// The connection came to its end.
    Close,
    /// Another process than before uses the socket: it received from it, or
    /// its program was started with it as input or output.
    Handover,
    /// Nothing happened: the socket existed before the recording, or before
    /// this file of a rotated series.
    Scan,
}

impl EventKind {
    /// The word for it in files and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }
}

/// One thing the kernel did to a TCP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When.
    pub ts_ns: i64,
    /// The socket's cookie: the same in all records of one socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cookie: Option<u64>,
    /// The socket's network namespace: the inode number of its nsfs file.
    pub netns: u32,
    /// The socket's own end.
    pub local: Endpoint,
    /// The other end; port 0 when listening.
    pub remote: Endpoint,
    /// The process that did it. None where the kernel acted on its own (a
    /// timer, an arriving packet): the task it interrupted has no part in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<ProcessId>,
    /// The thread of the process, where it was not its first one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tid: Option<u32>,
    /// The state it left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old_state: Option<TcpState>,
    /// The state it came to, or is in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_state: Option<TcpState>,
    /// Way of a reset.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<Direction>,
    /// What the kernel knew of the connection then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcp: Option<TcpFacts>,
}

impl Event {
    /// An event of which nothing is known but its kind, time and ends.
    #[must_use]
    pub const fn new(
        kind: EventKind,
        ts_ns: i64,
        netns: u32,
        local: Endpoint,
        remote: Endpoint,
    ) -> Self {
        Self {
            kind,
            ts_ns,
            cookie: None,
            netns,
            local,
            remote,
            process: None,
            tid: None,
            old_state: None,
            new_state: None,
            direction: None,
            tcp: None,
        }
    }
}

/// What the kernel knew of a connection (as tcp_info of linux/tcp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TcpFacts {
    /// Smoothed round-trip time; 0 before the first measurement.
    pub srtt_ns: u64,
    /// Payload bytes sent, with those sent again.
    pub sent_bytes: u64,
    /// Bytes of ours that the other end acknowledged; the kernel counts SYN
    /// and FIN as one byte each.
    pub acked_bytes: u64,
    /// Bytes received in order; the kernel counts FIN as one byte.
    pub received_bytes: u64,
    /// Segments retransmitted.
    pub retransmitted_packets: u32,
}

impl TcpFacts {
    /// The smoothed round-trip time in nanoseconds, if one was measured.
    #[must_use]
    pub fn round_trip_ns(&self) -> Option<i64> {
        i64::try_from(self.srtt_ns).ok().filter(|ns| *ns > 0)
    }
}

/// States of a TCP connection (RFC 9293 section 3.3.2), as Linux names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
#[strum(serialize_all = "snake_case")]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl TcpState {
    /// The word for it in files and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }
}
