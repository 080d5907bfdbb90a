//! Connections and requests with all that is known of them beyond their packets: whose
//! they are, what may be missing of them, and what came of them.
//!
//! [`crate::pipeline`] makes them; what is worth attention, how long it took and what is
//! reported are questions to them.

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{ProcessId, Provenance};

use crate::app::{self, StreamReset};
use crate::gaps::Incomplete;
use crate::owner::KernelFacts;
use crate::tcp::{self, ConnectionId};
use crate::timing::Timing;

/// A connection, its owners, and what the kernel knew of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// What its packets tell.
    pub tcp: tcp::Connection,
    /// The network namespace it was seen in, where recorded.
    pub netns: Option<u32>,
    /// What may be missing of it.
    pub incomplete: Incomplete,
    /// What is known of the end that asked for it.
    pub orig: EndFacts,
    /// What is known of the end that was asked.
    pub resp: EndFacts,
}

impl Connection {
    /// Its ends, and who owns them.
    #[must_use]
    pub const fn ends(&self) -> Ends {
        Ends {
            id: Some(self.tcp.id),
            orig: self.tcp.orig.endpoint,
            resp: self.tcp.resp.endpoint,
            orig_owner: self.orig.owner,
            resp_owner: self.resp.owner,
        }
    }

    /// How many packets each end sent again: the kernel's count where it is known.
    #[must_use]
    pub fn resent_packets(&self) -> [u64; 2] {
        let ends = [(&self.orig, &self.tcp.orig), (&self.resp, &self.tcp.resp)];
        ends.map(|(facts, end)| {
            let kernel = facts.kernel.map(|kernel| kernel.retransmits);
            kernel.unwrap_or(end.retransmitted_packets)
        })
    }
}

/// What names a connection to those who are told of something on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Its number; none if no packet of it was ever sent.
    pub id: Option<ConnectionId>,
    /// The end that asked for it.
    pub orig: Endpoint,
    /// The end that was asked.
    pub resp: Endpoint,
    /// The owner of the former.
    pub orig_owner: Option<OwnerId>,
    /// The owner of the latter.
    pub resp_owner: Option<OwnerId>,
}

/// A request, its connection, and where its time went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked and answered.
    pub app: app::Request,
    /// The connection it was made on.
    pub ends: Ends,
    /// What may be missing of it.
    pub incomplete: Incomplete,
    /// Where its time went; none if it was not wholly seen.
    pub timing: Option<Timing>,
}

impl Request {
    /// Whether the client is the end that asked for the connection.
    #[must_use]
    pub fn client_is_orig(&self) -> bool {
        self.app.client == self.ends.orig
    }

    /// Who owns the client's and the server's end.
    #[must_use]
    pub fn owners(&self) -> [Option<OwnerId>; 2] {
        let mut owners = [self.ends.orig_owner, self.ends.resp_owner];
        if self.app.client == self.ends.resp {
            owners.reverse();
        }
        owners
    }

    /// What gRPC says of the call, if it failed.
    #[must_use]
    pub fn grpc_failure(&self) -> Option<u32> {
        self.app.stream?.grpc_status.filter(|status| *status != 0)
    }

    /// That the stream of HTTP/2 was broken off before all of the response came. (Behind it a
    /// server may do so, RFC 9113 section 8.1, and no harm is done.)
    #[must_use]
    pub fn broken_off(&self) -> Option<StreamReset> {
        let is_whole = self.app.is_response_whole() == Some(true);
        self.app.stream?.reset.filter(|_| !is_whole)
    }

    /// What came of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let response = self.app.response.as_ref();
        let status = response.and_then(|response| response.status);
        if let Some(failure) = self.grpc_failure() {
            return Outcome::GrpcFailed(status, failure);
        }
        match response {
            Some(_) => status.map_or(Outcome::Answered, Outcome::Status),
            None if self.broken_off().is_some() => Outcome::Reset,
            None if self.incomplete.lacks_packets() || self.app.may_be_answered => Outcome::Unknown,
            None => Outcome::Unanswered,
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A response with this status.
    Status(u16),
    /// A response with this status, if it is known, and with one of gRPC that says that
    /// the call failed.
    GrpcFailed(Option<u16>, u32),
    /// A response, but the compression of HTTP/2 hides its status.
    Answered,
    /// The stream of HTTP/2 was broken off, and no response was seen.
    Reset,
    /// No response.
    Unanswered,
    /// No response was seen, but it may have been lost or cut off.
    Unknown,
}

impl Outcome {
    /// Whether it is the server's fault: a status of 5xx, or one of gRPC that stands for
    /// such (google/rpc/code.proto: unknown, deadline exceeded, unimplemented, internal,
    /// unavailable, data loss).
    #[must_use]
    pub const fn is_server_error(self) -> bool {
        match self {
            Self::Status(status) | Self::GrpcFailed(Some(status @ 500..), _) => {
                matches!(status, 500..600)
            }
            Self::GrpcFailed(_, failure) => matches!(failure, 2 | 4 | 12..=15),
            Self::Answered | Self::Reset | Self::Unanswered | Self::Unknown => false,
        }
    }

    /// The status of HTTP, and that of gRPC where it is a failure, as `200 grpc 14`.
    #[must_use]
    pub fn status(self) -> Option<String> {
        match self {
            Self::Status(status) => Some(status.to_string()),
            Self::GrpcFailed(Some(status), failure) => Some(format!("{status} grpc {failure}")),
            Self::GrpcFailed(None, failure) => Some(format!("? grpc {failure}")),
            Self::Answered | Self::Reset | Self::Unanswered | Self::Unknown => None,
        }
    }
}

/// What is known of one end of a connection beyond its packets; nothing if it
/// is on another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndFacts {
    /// Who owns it.
    pub owner: Option<OwnerId>,
    /// What the kernel did there.
    pub kernel: Option<KernelFacts>,
}

/// The owner of an end, by its place in [`Report::processes`](crate::report::Report::processes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerId {
    /// The process.
    pub process: ProcessId,
    /// How it is known.
    pub provenance: Provenance,
    /// Whether its socket is in another network namespace that was recorded too. What
    /// was seen counts there for the process, and is not to count twice.
    pub is_elsewhere: bool,
}

impl OwnerId {
    /// Whether what was seen of these owners counts in another recorded namespace: the
    /// server's, but where it may never have accepted the client's.
    pub(crate) fn count_elsewhere(client: Option<Self>, server: Option<Self>) -> bool {
        let accepted = server.filter(|owner| owner.provenance != Provenance::Guess);
        let counting = accepted.or(client).or(server);
        counting.is_some_and(|owner| owner.is_elsewhere)
    }
}
