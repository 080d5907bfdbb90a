//! What is worth a person's attention: few things, each with its evidence.
//!
//! What happened often to the same ends is one finding, shown by its worst
//! case. Nothing is found in what may be missing ([`crate::gaps`]), but for
//! what was seen to happen.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::ProcessId;

use crate::latency::route;
use crate::report::{Connection, Ends, Request};
use crate::tcp::{ConnState, Stall, StallCause};

/// At most so many are kept; beyond, the half that is the least grave, or the
/// rarest, is forgotten.
const MAX_FINDINGS: usize = 1 << 13;

/// A stall or a server's thinking that is worth a word. Linux' shortest
/// retransmission timeout is as long, so that none of these is missed.
const LONG_NS: i64 = 200_000_000;

/// A request that takes the client so long to send is worth a word.
const LONG_SENDING_NS: i64 = 1_000_000_000;

/// A SYN is sent again after 1 s (RFC 6298 clause 2.1): by then there should
/// have been an answer.
const UNANSWERED_NS: i64 = 1_000_000_000;

/// A connection that only one end has closed is left over after this time.
const LEFTOVER_NS: i64 = 10_000_000_000;

/// What it is about, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// A connection was refused.
    Refused,
    /// Nobody answered a connection attempt.
    Unanswered,
    /// An end reset a connection.
    Reset,
    /// An end waited for a retransmission timeout.
    Timeout,
    /// An end did not read, and its peer could not send.
    ZeroWindow,
    /// The server thought long about a request.
    SlowServer,
    /// The client took long to send a request.
    SlowClient,
    /// One end has closed the connection long ago, the other has not.
    HalfOpen,
    /// Only one end's packets were captured.
    OneSided,
}

impl FindingKind {
    /// The word for it in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::ZeroWindow => "zero_window",
            Self::SlowServer => "slow_server",
            Self::SlowClient => "slow_client",
            Self::HalfOpen => "half_open",
            Self::OneSided => "one_sided",
        }
    }
}

/// Something worth attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// How many connections, stalls or requests it was seen on.
    pub count: u64,
    /// The connection of the worst case, or of the first.
    pub ends: Ends,
    /// Whether it is the originator's doing; none if it is nobody's.
    pub by_orig: Option<bool>,
    /// When it began there: with this packet.
    pub first_ns: i64,
    /// When it ended there: with this packet.
    pub last_ns: i64,
    /// How much of the end's payload came before a stall.
    pub at_byte: Option<u64>,
    /// Method and path of the requests.
    pub route: Option<String>,
}

impl Finding {
    /// How long the worst case took.
    #[must_use]
    pub const fn duration_ns(&self) -> i64 {
        self.last_ns.saturating_sub(self.first_ns)
    }
}

/// What makes findings one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: FindingKind,
    by_orig: Option<bool>,
    client: Option<ProcessId>,
    client_addr: IpAddr,
    server: Endpoint,
    route: Option<String>,
}

/// What is worth attention, so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: BTreeMap<Key, Finding>,
    forgotten: u64,
}

impl Findings {
    /// All of them, the gravest first.
    pub(crate) fn finish(self) -> Vec<Finding> {
        let mut all: Vec<_> = self.found.into_iter().collect();
        all.sort_by_key(|(key, finding)| (key.kind, Reverse(finding.count)));
        all.into_iter().map(|(_, finding)| finding).collect()
    }

    /// How many were forgotten to bound the memory.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn add(&mut self, finding: Finding) {
        let ends = finding.ends;
        let key = Key {
            kind: finding.kind,
            by_orig: finding.by_orig,
            client: ends.orig_owner.map(|owner| owner.process),
            client_addr: ends.orig.addr,
            server: ends.resp,
            route: finding.route.clone(),
        };
        if self.found.len() >= MAX_FINDINGS && !self.found.contains_key(&key) {
            self.forget_half();
        }
        let known = self.found.entry(key).or_insert_with(|| Finding {
            count: 0,
            ..finding.clone()
        });
        let count = known.count + 1;
        // Of equals the first, in whatever order they come.
        let rank = |it: &Finding| (it.duration_ns(), Reverse((it.ends.id, it.first_ns)));
        if rank(&finding) > rank(known) {
            *known = finding;
        }
        known.count = count;
    }

    fn forget_half(&mut self) {
        let mut all: Vec<_> = std::mem::take(&mut self.found).into_iter().collect();
        all.sort_by_key(|(key, finding)| (key.kind, Reverse(finding.count)));
        let kept = all.len() / 2;
        self.forgotten += (all.len() - kept) as u64;
        all.truncate(kept);
        self.found = all.into_iter().collect();
    }

    /// Looks at a finished connection, of a capture whose latest packet is of
    /// `now_ns`.
    pub(crate) fn connection(&mut self, connection: &Connection, now_ns: i64) {
        let tcp = &connection.tcp;
        let of = |kind, by_orig| Finding {
            kind,
            count: 1,
            ends: connection.ends(),
            by_orig,
            first_ns: tcp.first_ns,
            last_ns: tcp.last_ns,
            at_byte: None,
            route: None,
        };
        match tcp.state {
            ConnState::Rej => self.add(of(FindingKind::Refused, None)),
            ConnState::Rsto | ConnState::Rstos0 => {
                self.add(of(FindingKind::Reset, Some(true)));
            }
            ConnState::Rstr | ConnState::Rstrh => {
                self.add(of(FindingKind::Reset, Some(false)));
            }
            _ => {}
        }
        if connection.incomplete.lacks_packets() {
            return;
        }
        let silent_ns = now_ns.saturating_sub(tcp.last_ns);
        if is_one_sided(connection) {
            self.add(of(FindingKind::OneSided, None));
            return; // what the other end did is not known
        }
        match tcp.state {
            ConnState::S0 => {
                let asked_ns = now_ns.saturating_sub(tcp.first_ns);
                if asked_ns >= UNANSWERED_NS {
                    self.add(of(FindingKind::Unanswered, None));
                }
                return; // there is no other cause to look for
            }
            ConnState::S2 if silent_ns >= LEFTOVER_NS => {
                self.add(of(FindingKind::HalfOpen, Some(false)));
            }
            ConnState::S3 if silent_ns >= LEFTOVER_NS => {
                self.add(of(FindingKind::HalfOpen, Some(true)));
            }
            _ => {}
        }
        for stall in &tcp.stalls {
            let Stall {
                cause,
                from_ns,
                to_ns,
                at_byte,
                ..
            } = *stall;
            if to_ns.saturating_sub(from_ns) < LONG_NS {
                continue;
            }
            let (kind, by_orig) = match cause {
                StallCause::Timeout => (FindingKind::Timeout, stall.by_orig),
                StallCause::ZeroWindow => (FindingKind::ZeroWindow, !stall.by_orig),
            };
            let finding = Finding {
                first_ns: from_ns,
                last_ns: to_ns,
                at_byte: Some(at_byte),
                ..of(kind, Some(by_orig))
            };
            self.add(finding);
        }
    }

    /// Looks at a finished request.
    pub(crate) fn request(&mut self, request: &Request) {
        let (Some(asked), Some(timing)) = (&request.app.request, &request.timing) else {
            return;
        };
        let client_is_orig = request.client_is_orig();
        let of = |kind, by_orig, first_ns: i64, ns| Finding {
            kind,
            count: 1,
            ends: request.ends,
            by_orig: Some(by_orig),
            first_ns,
            last_ns: first_ns.saturating_add(ns),
            at_byte: None,
            route: Some(format!("{} {}", asked.method, route(&asked.target))),
        };
        // What the network may have taken is not held against the server.
        if let Some(server_ns) = timing.server_ns().filter(|ns| *ns >= LONG_NS) {
            let kind = FindingKind::SlowServer;
            self.add(of(kind, !client_is_orig, asked.last_ns, server_ns));
        }
        if timing.send_ns >= LONG_SENDING_NS {
            let kind = FindingKind::SlowClient;
            self.add(of(kind, client_is_orig, asked.first_ns, timing.send_ns));
        }
    }
}

/// Whether one end sent more than a few packets, and the other must have sent
/// some that were not captured.
fn is_one_sided(connection: &Connection) -> bool {
    let (orig, resp) = (&connection.tcp.orig, &connection.tcp.resp);
    let is_alone = |one: &crate::tcp::End, other: &crate::tcp::End| {
        other.packets == 0 && one.packets >= 3 && one.data_packets > 0
    };
    is_alone(orig, resp) || is_alone(resp, orig)
}
