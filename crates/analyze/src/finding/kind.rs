//! What a finding may be about.

/// What it is about, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// A connection was refused.
    Refused,
    /// Nobody answered a connection attempt.
    Unanswered,
    /// A client had no free port to connect from.
    NoFreePort,
    /// A TLS handshake came to no good end.
    TlsFailed,
    /// An end reset a connection.
    Reset,
    /// An end waited for a retransmission timeout.
    Timeout,
    /// An end sent many packets again in short time.
    Retransmissions,
    /// An end did not read, and its peer could not send.
    ZeroWindow,
    /// The server thought long about a request.
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
    /// All words.
    pub(crate) const WORDS: [&str; 15] = [
        Self::Refused.word(),
        Self::Unanswered.word(),
        Self::NoFreePort.word(),
        Self::TlsFailed.word(),
        Self::Reset.word(),
        Self::Timeout.word(),
        Self::Retransmissions.word(),
        Self::ZeroWindow.word(),
        Self::SlowServer.word(),
        Self::SlowClient.word(),
        Self::CutOff.word(),
        Self::NoAnswer.word(),
        Self::PortReuse.word(),
        Self::HalfOpen.word(),
        Self::OneSided.word(),
    ];

    /// The word for it in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::NoFreePort => "no_free_port",
            Self::TlsFailed => "tls_failed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Retransmissions => "retransmissions",
            Self::ZeroWindow => "zero_window",
            Self::SlowServer => "slow_server",
            Self::SlowClient => "slow_client",
            Self::CutOff => "cut_off",
            Self::NoAnswer => "no_answer",
            Self::PortReuse => "port_reuse",
            Self::HalfOpen => "half_open",
            Self::OneSided => "one_sided",
        }
    }
}
