//! What a finding may be about.

use strum::{IntoStaticStr, VariantNames};

/// What it is about, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum FindingKind {
    /// A connection was refused.
    Refused,
    /// Nobody answered a connection attempt.
    Unanswered,
    /// A client had no free port to connect from.
    NoFreePort,
    /// A TLS handshake came to no good end.
    TlsFailed,
    /// A server answered many requests with an error of its own.
    ServerErrors,
    /// An end fell silent, and its peer asked in vain.
    Unresponsive,
    /// An end reset a connection.
    Reset,
    /// An end gave a connection of HTTP/2 up by an error.
    Goaway,
    /// A server broke off a stream of HTTP/2 before its response was whole, or its client did
    /// after a long wait without any.
    StreamReset,
    /// A server's queue of connections to accept was full.
    ListenOverflow,
    /// An end waited for a retransmission timeout.
    Timeout,
    /// An end sent many packets again in short time.
    Retransmissions,
    /// An end held segments back until delayed ACKs came.
    DelayedAck,
    /// An end did not read, and its peer could not send.
    ZeroWindow,
    /// The server took long to process a request.
    SlowServer,
    /// The client took long to send a request.
    SlowClient,
    /// A connection was closed before a response was whole.
    CutOff,
    /// A connection was closed, or the capture ended, before a request was answered.
    NoAnswer,
    /// A client uses ports again whose connections are hardly over.
    PortReuse,
    /// One end has closed the connection long ago, the other has not.
    HalfOpen,
    /// Only one end's packets were captured.
    OneSided,
}

impl FindingKind {
    /// The word for it in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }
}
