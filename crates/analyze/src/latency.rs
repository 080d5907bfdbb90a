//! How long requests took, by who answered, by who asked, and by what for.
//!
//! Only those are in it that were wholly seen. What is kept does not grow with
//! the requests: many durations become a histogram, and of too many groups
//! those with the fewest requests are forgotten.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::ProcessId;

use crate::report::Request;

/// At most so many groups of a kind are kept; beyond, the half with the fewest
/// requests is forgotten.
const MAX_GROUPS: usize = 1024;

/// So many durations are kept as they are; beyond, they are put into classes.
const MAX_EXACT: usize = 1000;

/// Significant decimal digits of a class: it is 1 % wide at most.
const DIGITS: u8 = 2;

/// Names from requests are kept up to this length.
const MAX_NAME_BYTES: usize = 256;

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

/// Durations, of which quantiles are asked for: exact ones (nearest rank) of up
/// to a thousand, else up to 1 % too long.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durations {
    exact_ns: Vec<i64>,
    /// Once there are more; what is negative counts as 0 there.
    classes: Option<Histogram<u32>>,
    max_ns: Option<i64>,
    count: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, ns: i64) {
        self.count += 1;
        self.max_ns = self.max_ns.max(Some(ns));
        if self.classes.is_none() {
            if self.exact_ns.len() < MAX_EXACT {
                self.exact_ns.push(ns);
                return;
            }
            self.classes = Histogram::new(DIGITS).ok();
            for ns in std::mem::take(&mut self.exact_ns) {
                self.classify(ns);
            }
        }
        self.classify(ns);
    }

    fn classify(&mut self, ns: i64) {
        if let Some(classes) = &mut self.classes {
            // There is a class for any duration.
            let _ = classes.record(u64::try_from(ns).unwrap_or(0));
        }
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn quantiles(mut self) -> Quantiles {
        self.exact_ns.sort_unstable();
        let max_ns = self.max_ns.unwrap_or(0);
        let at = |percent: u8| {
            let Some(classes) = &self.classes else {
                let rank = (self.exact_ns.len() * usize::from(percent)).div_ceil(100);
                let place = rank.saturating_sub(1);
                return self.exact_ns.get(place).copied().unwrap_or(0);
            };
            let ns = classes.value_at_quantile(f64::from(percent) / 100.0);
            i64::try_from(ns).unwrap_or(i64::MAX).min(max_ns)
        };
        Quantiles {
            p50_ns: at(50),
            p90_ns: at(90),
            p99_ns: at(99),
            max_ns,
        }
    }
}

/// What is kept of the requests of a group.
#[derive(Debug, Default)]
struct Sum {
    errors: u64,
    total: Durations,
    wait: Durations,
}

/// How long requests took, so far.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    groups: BTreeMap<GroupKind, BTreeMap<Group, Sum>>,
    forgotten_groups: u64,
}

impl Latencies {
    /// Takes a request; one that was not wholly seen has no part in it.
    pub(crate) fn add(&mut self, request: &Request) {
        let Some(timing) = &request.timing else {
            return;
        };
        let [client, server] = request.owners();
        let asked = request.app.request.as_ref();
        let answered = request.app.response.as_ref();
        let status = answered.and_then(|message| message.status);
        let host = asked.and_then(|message| message.host.as_deref().map(short));
        let route = asked.and_then(|message| {
            let (method, target) = message.route()?;
            Some(Group::Route(short(method), route(target)))
        });
        let in_groups = [
            server.map(|owner| Group::Server(owner.process)),
            client.map(|owner| Group::Client(owner.process)),
            Some(Group::Endpoint(request.app.server, host)),
            route,
        ];
        for group in in_groups.into_iter().flatten() {
            let of_kind = self.groups.entry(group.kind()).or_default();
            if of_kind.len() >= MAX_GROUPS && !of_kind.contains_key(&group) {
                self.forgotten_groups += forget_half(of_kind);
            }
            let sum = of_kind.entry(group).or_default();
            sum.errors += u64::from(status.is_some_and(|status| status >= 500));
            sum.total.add(timing.total_ns());
            sum.wait.add(timing.wait_ns);
        }
    }

    /// How many groups were forgotten to bound the memory.
    pub(crate) const fn forgotten_groups(&self) -> u64 {
        self.forgotten_groups
    }

    /// Each kind of group in its order, and in each the one with the most
    /// requests first.
    pub(crate) fn finish(self) -> Vec<Latency> {
        let all = self.groups.into_values().flatten();
        let all = all.map(|(group, sum)| Latency {
            group,
            requests: sum.total.count(),
            errors: sum.errors,
            total: sum.total.quantiles(),
            wait: sum.wait.quantiles(),
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|latency| (latency.group.kind(), Reverse(latency.requests)));
        all
    }
}

/// Forgets the groups with the fewest requests, of equals the last. Says how many.
fn forget_half(groups: &mut BTreeMap<Group, Sum>) -> u64 {
    let counts = groups.iter().map(|(group, sum)| (sum.total.count(), group));
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(count, _)| Reverse(*count));
    let rest = counts.split_off(counts.len() / 2);
    let rest: Vec<_> = rest.into_iter().map(|(_, group)| group.clone()).collect();
    for group in &rest {
        groups.remove(group);
    }
    rest.len() as u64
}

/// A name, cut where it is longer than any sensible one.
fn short(name: &str) -> String {
    let end = name.floor_char_boundary(MAX_NAME_BYTES);
    match name.split_at_checked(end) {
        Some((start, rest)) if !rest.is_empty() => format!("{start}…"),
        _ => name.to_owned(),
    }
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
    short(&folded.join("/"))
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

    fn durations(all_ns: impl IntoIterator<Item = i64>) -> Durations {
        let mut durations = Durations::default();
        all_ns.into_iter().for_each(|ns| durations.add(ns));
        durations
    }

    #[test]
    fn few_quantiles_are_of_the_nearest_rank() {
        let quantiles = durations((1..=200).rev()).quantiles();
        assert_eq!(quantiles.p50_ns, 100);
        assert_eq!(quantiles.p90_ns, 180);
        assert_eq!(quantiles.p99_ns, 198);
        assert_eq!(quantiles.max_ns, 200);
        let one = durations([-7]).quantiles();
        assert_eq!((one.p50_ns, one.max_ns), (-7, -7));
        assert_eq!(durations([]).quantiles(), Quantiles::default());
    }

    #[test]
    fn many_quantiles_are_at_most_one_percent_too_long() {
        const COUNT: i64 = 100_000;
        let many = durations((1..=COUNT).map(|ms| ms * 1_000_000 - 3_000_000));
        let bytes = many.classes.as_ref().unwrap().distinct_values() * 4;
        assert!(bytes < 32 * 1024, "{bytes}");
        let quantiles = many.quantiles();
        for (found, percent) in [
            (quantiles.p50_ns, 50),
            (quantiles.p90_ns, 90),
            (quantiles.p99_ns, 99),
        ] {
            let exact_ns = COUNT * percent / 100 * 1_000_000 - 3_000_000;
            assert!(
                (0..=exact_ns / 100).contains(&(found - exact_ns)),
                "{found}"
            );
        }
        assert_eq!(quantiles.max_ns, COUNT * 1_000_000 - 3_000_000);
        assert_eq!(durations(vec![i64::MAX; 2000]).quantiles().p99_ns, i64::MAX);
    }

    #[test]
    fn of_too_many_groups_the_smallest_are_forgotten() {
        let mut groups = BTreeMap::new();
        for number in 0..100_u8 {
            let sum: &mut Sum = groups
                .entry(Group::Route(String::new(), number.to_string()))
                .or_default();
            sum.total = durations((0..i64::from(number)).chain([1]));
        }
        assert_eq!(forget_half(&mut groups), 50);
        assert!(groups.values().all(|sum| sum.total.count() > 50));
        assert_eq!(short(&"é".repeat(200)), format!("{}…", "é".repeat(128)));
    }
}
