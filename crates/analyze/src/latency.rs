//! How long requests took, by who answered, by who asked, and by what for.
//!
//! Quantiles are exact (nearest rank): a report holds all requests anyway.
//! Only those are in them that were wholly seen.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::ProcessId;

use crate::report::Report;

/// What requests have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The process that answers.
    Server(ProcessId),
    /// The process that asks.
    Client(ProcessId),
    /// Where the server is reached, and by the name of which host.
    Endpoint(Endpoint, Option<String>),
    /// Method and path, without what differs from one request to the next.
    Route(String, String),
}

/// The kinds of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// [`Group::Server`].
    Server,
    /// [`Group::Client`].
    Client,
    /// [`Group::Endpoint`].
    Endpoint,
    /// [`Group::Route`].
    Route,
}

impl GroupKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Server, Self::Client, Self::Endpoint, Self::Route];

    /// The word for it in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Endpoint => "endpoint",
            Self::Route => "route",
        }
    }
}

impl Group {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> GroupKind {
        match self {
            Self::Server(_) => GroupKind::Server,
            Self::Client(_) => GroupKind::Client,
            Self::Endpoint(..) => GroupKind::Endpoint,
            Self::Route(..) => GroupKind::Route,
        }
    }
}

/// How long the requests of a group took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// Which requests.
    pub group: Group,
    /// How many.
    pub requests: u64,
    /// How many of them had a status of 500 or more.
    pub errors: u64,
    /// From the beginning to the end, with the handshake if it was for it.
    pub total: Quantiles,
    /// From the last byte of the request to the first of the response.
    pub wait: Quantiles,
}

/// Durations that so many percent do not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantiles {
    /// 50 %.
    pub p50_ns: i64,
    /// 90 %.
    pub p90_ns: i64,
    /// 99 %.
    pub p99_ns: i64,
    /// All.
    pub max_ns: i64,
}

impl Quantiles {
    /// Those of some durations.
    #[must_use]
    pub fn of(mut durations_ns: Vec<i64>) -> Self {
        durations_ns.sort_unstable();
        let at = |percent: usize| {
            let rank = (durations_ns.len() * percent).div_ceil(100).max(1);
            durations_ns.get(rank - 1).copied().unwrap_or(0)
        };
        Self {
            p50_ns: at(50),
            p90_ns: at(90),
            p99_ns: at(99),
            max_ns: at(100),
        }
    }
}

#[derive(Debug, Default)]
struct Durations {
    errors: u64,
    total_ns: Vec<i64>,
    wait_ns: Vec<i64>,
}

/// How long the requests of a report took: each kind of group in its order,
/// and in each the one with the most requests first.
#[must_use]
pub fn latencies(report: &Report) -> Vec<Latency> {
    let mut groups: BTreeMap<Group, Durations> = BTreeMap::new();
    for request in &report.requests {
        let Some(timing) = report.timing(request) else {
            continue;
        };
        let [client, server] = report.owners_of(request);
        let asked = request.request.as_ref();
        let status = request.response.as_ref().map(|message| message.status);
        let host = asked.and_then(|message| message.host.clone());
        let route =
            asked.map(|message| Group::Route(message.method.clone(), route(&message.target)));
        let in_groups = [
            server.map(|owner| Group::Server(owner.process)),
            client.map(|owner| Group::Client(owner.process)),
            Some(Group::Endpoint(request.server, host)),
            route,
        ];
        for group in in_groups.into_iter().flatten() {
            let durations = groups.entry(group).or_default();
            durations.errors += u64::from(status.is_some_and(|status| status >= 500));
            durations.total_ns.push(timing.total_ns());
            durations.wait_ns.push(timing.wait_ns);
        }
    }
    let all = groups.into_iter().map(|(group, durations)| Latency {
        group,
        requests: durations.total_ns.len() as u64,
        errors: durations.errors,
        total: Quantiles::of(durations.total_ns),
        wait: Quantiles::of(durations.wait_ns),
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|latency| (latency.group.kind(), Reverse(latency.requests)));
    all
}

/// The path of a request target (RFC 9112 section 3.2), with numbers and ids
/// folded: `/user/17/photo.jpg?size=2` is `/user/{n}/photo.jpg`.
pub(crate) fn route(target: &str) -> String {
    let path = match target.split_once("://") {
        // The absolute form: behind the host.
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let folded: Vec<_> = path.split('/').map(fold).collect();
    folded.join("/")
}

fn fold(segment: &str) -> String {
    let (stem, extension) = match segment.rfind('.') {
        Some(at) if at > 0 => segment.split_at(at),
        _ => (segment, ""),
    };
    let count = |is: fn(char) -> bool| stem.chars().filter(|char| is(*char)).count();
    let digits = count(|char| char.is_ascii_digit());
    let all = stem.chars().count();
    let is_hex = count(|char| char.is_ascii_hexdigit() || char == '-') == all;
    let is_word = count(|char| char.is_ascii_alphanumeric() || "-_=".contains(char)) == all;
    let name = if digits == all && all > 0 {
        "{n}"
    } else if (is_hex && all >= 8 && digits > 0) || (is_word && all >= 20 && digits >= 3) {
        "{id}"
    } else {
        return segment.to_owned();
    };
    format!("{name}{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_request_to_request_is_folded() {
        for (target, folded) in [
            ("/", "/"),
            ("*", "*"),
            ("/user/17/photo.jpg?size=2#top", "/user/{n}/photo.jpg"),
            ("/17.html", "/{n}.html"),
            ("http://example.org/a/5?x", "/a/{n}"),
            ("http://example.org", "/"),
            ("/v1/x86/.git", "/v1/x86/.git"),
            ("/o/123e4567-e89b-12d3-a456-426614174000", "/o/{id}"),
            ("/deadbeef/cafe0001", "/deadbeef/{id}"),
            ("/s/eyJhbGciOiJIUzI1NiJ9x7", "/s/{id}"),
            (
                "/a-long-name-with-many-words-2",
                "/a-long-name-with-many-words-2",
            ),
        ] {
            assert_eq!(route(target), folded);
        }
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let quantiles = Quantiles::of((1..=200).rev().collect());
        assert_eq!(quantiles.p50_ns, 100);
        assert_eq!(quantiles.p90_ns, 180);
        assert_eq!(quantiles.p99_ns, 198);
        assert_eq!(quantiles.max_ns, 200);
        let one = Quantiles::of(vec![7]);
        assert_eq!((one.p50_ns, one.max_ns), (7, 7));
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
