//! How long requests took, by who answered, by who asked, and by what for.
//!
//! Only those are in it that were wholly seen. What is kept does not grow with
//! the requests: many durations become a histogram, and of too many groups
//! those with the fewest requests are forgotten.

mod durations;
mod turns;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;
use memchr::memchr2;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::ProcessId;

pub(crate) use self::durations::Durations;
pub(crate) use self::durations::Quantiles;
pub(crate) use self::turns::{TurnGroup, TurnLatency};
pub(crate) use self::turns::{TurnLatencies, quantiles};
use crate::app::Asked;
use crate::forget;
use crate::resolved::{OwnerId, Request};

/// At most so many groups of a kind are kept; beyond, the half with the fewest
/// requests is forgotten.
const MAX_GROUPS: usize = 1024;

/// So many requests are remembered for what they have in common with others.
const MAX_LIKE: usize = 4096;

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
    /// Whether requests to several endpoints of servers are in it: a proxy and the server
    /// behind it are asked for the same routes.
    pub has_several_endpoints: bool,
    /// How many.
    pub requests: u64,
    /// How many of them were answered with an error of the server.
    pub errors: u64,
    /// From the beginning to the end, with the handshake if it was for it.
    pub total: Quantiles,
    /// From the last byte of the request to the first of the response.
    pub wait: Quantiles,
}

/// What is kept of the requests of a group.
#[derive(Debug, Default)]
struct Sum {
    /// The first server's that was asked.
    endpoint: Option<Endpoint>,
    has_several_endpoints: bool,
    errors: u64,
    total: Durations,
    wait: Durations,
}

/// How long requests took, so far.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// The place of each group in `sums`.
    groups: [BTreeMap<Group, usize>; GroupKind::ALL.len()],
    sums: Vec<Sum>,
    /// The places of a request's groups, by all that they are made of: most
    /// requests are like earlier ones, and names take long to make.
    like: HashMap<Vec<u8>, Places>,
    key: Vec<u8>,
    /// The request before, and its places: those of a connection come together.
    latest: Option<(Like, Places)>,
    forgotten_groups: u64,
}

type Places = [Option<usize>; GroupKind::ALL.len()];

/// What decides on the groups of a request.
#[derive(Debug)]
struct Like {
    asked: Arc<Asked>,
    owners: [Option<OwnerId>; 2],
    server: Endpoint,
}

impl Like {
    fn of(request: &Request) -> Option<Self> {
        Some(Self {
            asked: Arc::clone(&request.app.request.as_ref()?.asked),
            owners: request.owners(),
            server: request.app.server,
        })
    }

    fn is(&self, request: &Request) -> bool {
        let message = request.app.request.as_ref();
        message.is_some_and(|message| Arc::ptr_eq(&message.asked, &self.asked))
            && request.app.server == self.server
            && request.owners() == self.owners
    }
}

impl Latencies {
    /// Takes a request; one that was not wholly seen has no part in it.
    pub(crate) fn add(&mut self, request: &Request) {
        let Some(timing) = &request.timing else {
            return;
        };
        let places = match &self.latest {
            Some((like, places)) if like.is(request) => *places,
            _ => self.places(request),
        };
        let is_error = request.outcome().is_server_error();
        let total_ns = timing.total_ns();
        for place in places.into_iter().flatten() {
            if let Some(sum) = self.sums.get_mut(place) {
                sum.errors += u64::from(is_error);
                sum.total.add(total_ns);
                sum.wait.add(timing.wait_ns);
            }
        }
    }

    fn places(&mut self, request: &Request) -> Places {
        write_key(&mut self.key, request);
        let places = match self.like.get(&self.key) {
            Some(places) => *places,
            None => self.new_places(request),
        };
        self.latest = Like::of(request).map(|like| (like, places));
        places
    }

    /// The places of a request's groups, of whose like there was none.
    fn new_places(&mut self, request: &Request) -> Places {
        self.forget();
        let [client, server] = request.owners();
        let asked = request.app.request.as_ref();
        let host = asked.and_then(|message| message.host.as_deref().map(short));
        let route = asked.and_then(|message| {
            let (method, target) = message.route()?;
            Some(Group::Route(short(method), route(target)))
        });
        let is_here = |owner: &OwnerId| !owner.is_elsewhere;
        let counts = server.or(client).as_ref().is_none_or(is_here);
        let of_request = [
            server
                .filter(is_here)
                .map(|owner| Group::Server(owner.process)),
            client
                .filter(is_here)
                .map(|owner| Group::Client(owner.process)),
            counts.then_some(Group::Endpoint(request.app.server, host)),
            route.filter(|_| counts),
        ];
        let mut places = Places::default();
        let of_kinds = self.groups.iter_mut().zip(of_request).zip(&mut places);
        for ((groups, group), place) in of_kinds {
            *place = group.map(|group| {
                *groups.entry(group).or_insert_with(|| {
                    self.sums.push(Sum::default());
                    self.sums.len() - 1
                })
            });
        }
        // Requests that are alike have the same one.
        for place in places.into_iter().flatten() {
            if let Some(sum) = self.sums.get_mut(place) {
                let first = *sum.endpoint.get_or_insert(request.app.server);
                sum.has_several_endpoints |= first != request.app.server;
            }
        }
        if self.like.len() >= MAX_LIKE {
            self.like.clear();
        }
        self.like.insert(self.key.clone(), places);
        places
    }

    /// Forgets half of the groups of a kind, if there are too many: those with
    /// the fewest requests, of equals the last.
    fn forget(&mut self) {
        if self.groups.iter().all(|groups| groups.len() < MAX_GROUPS) {
            return;
        }
        let mut kept = Vec::new();
        let sums = &mut self.sums;
        for groups in &mut self.groups {
            if groups.len() >= MAX_GROUPS {
                let count = |place: usize| sums.get(place).map_or(0, |sum| sum.total.count());
                let rest = forget::half(groups, |_, place| Reverse(count(*place)));
                self.forgotten_groups += rest.len() as u64;
            }
            for place in groups.values_mut() {
                let sum = sums.get_mut(*place).map(std::mem::take);
                *place = kept.len();
                kept.push(sum.unwrap_or_default());
            }
        }
        self.sums = kept;
        self.like.clear();
        self.latest = None;
    }

    /// How many groups were forgotten to bound the memory.
    pub(crate) const fn forgotten_groups(&self) -> u64 {
        self.forgotten_groups
    }

    /// Each kind of group in its order, and in each the one with the most
    /// requests first.
    pub(crate) fn finish(mut self) -> Vec<Latency> {
        let all = self.groups.into_iter().flatten();
        let all = all.filter_map(|(group, place)| {
            let sum = self.sums.get_mut(place).map(std::mem::take)?;
            Some(Latency {
                group,
                has_several_endpoints: sum.has_several_endpoints,
                requests: sum.total.count(),
                errors: sum.errors,
                total: sum.total.quantiles(),
                wait: sum.wait.quantiles(),
            })
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|latency| (latency.group.kind(), Reverse(latency.requests)));
        all
    }
}

/// Writes all that the groups of a request are made of.
fn write_key(key: &mut Vec<u8>, request: &Request) {
    key.clear();
    for owner in request.owners() {
        if let Some(owner) = owner {
            key.extend(owner.process.pid.to_ne_bytes());
            key.extend(owner.process.start_ns.to_ne_bytes());
        }
        key.push(owner.map_or(0, |owner| 1 + u8::from(owner.is_elsewhere)));
    }
    let server = request.app.server;
    match server.addr {
        IpAddr::V4(addr) => key.extend(addr.octets()),
        IpAddr::V6(addr) => key.extend(addr.octets()),
    }
    key.extend(server.port.to_ne_bytes());
    if let Some(asked) = &request.app.request {
        let target = asked.target.as_deref().map(path);
        // No byte of UTF-8 is 254 or 255.
        for text in [asked.method.as_deref(), target, asked.host.as_deref()] {
            key.extend(text.unwrap_or("").as_bytes());
            key.push(if text.is_some() { 254 } else { 255 });
        }
    }
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
    let folded: Vec<_> = path(target).split('/').map(fold).collect();
    short(&folded.join("/"))
}

fn path(target: &str) -> &str {
    let mut path = target;
    if !target.starts_with('/')
        && let Some((_, rest)) = target.split_once("://")
    {
        // The absolute form: behind the host.
        path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    }
    let end = memchr2(b'?', b'#', path.as_bytes()).unwrap_or(path.len());
    path.get(..end).unwrap_or(path)
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
    use super::durations::durations;
    use super::*;
    use crate::app;
    use crate::timing::Timing;

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
    fn a_route_of_several_servers_is_known_as_such() {
        let connection = crate::report::row::sample::connection();
        let request = |port| Request {
            app: app::Request {
                connection: connection.tcp.id,
                index: 0,
                client: connection.tcp.orig.endpoint,
                server: Endpoint::new([10, 0, 0, 2].into(), port),
                request: Some(app::RequestMessage {
                    asked: Arc::new(Asked {
                        method: Some("GET".into()),
                        target: Some("/".into()),
                        version: None,
                        host: None,
                        user_agent: None,
                    }),
                    arrived: Default::default(),
                    body_bytes: Some(0),
                    completion: app::Completion::Seen,
                }),
                response: None,
                may_be_answered: false,
                stream: None,
            },
            ends: connection.ends(),
            incomplete: Default::default(),
            timing: Some(Timing {
                connect_ns: None,
                send_ns: 0,
                wait_ns: 0,
                network_ns: None,
                receive_ns: 0,
                stalled_ns: 0,
                stalls: Vec::new(),
            }),
        };
        let several = |ports: &[u16]| {
            let mut latencies = Latencies::default();
            for port in ports {
                latencies.add(&request(*port));
            }
            let all = latencies.finish();
            let several = |kind| {
                let mut of_kind = all.iter().filter(|latency| latency.group.kind() == kind);
                of_kind.any(|latency| latency.has_several_endpoints)
            };
            (several(GroupKind::Endpoint), several(GroupKind::Route))
        };
        assert_eq!(several(&[80, 80]), (false, false));
        assert_eq!(several(&[80, 81, 80]), (false, true));
    }

    #[test]
    fn errors_are_those_of_the_server() {
        let connection = crate::report::row::sample::connection();
        let mut latencies = Latencies::default();
        for (status, grpc_status) in [(500, 0), (404, 0), (200, 0), (200, 5), (200, 14)] {
            let mut request = crate::report::row::sample::request(&connection);
            if let Some(response) = &mut request.app.response {
                response.status = Some(status);
            }
            if let Some(stream) = &mut request.app.stream {
                stream.grpc_status = Some(grpc_status);
            }
            latencies.add(&request);
        }
        let counts = latencies.finish().into_iter();
        let mut counts = counts.map(|latency| (latency.requests, latency.errors));
        assert!(counts.len() > 0 && counts.all(|counts| counts == (5, 2)));
    }

    #[test]
    fn of_too_many_groups_the_smallest_are_forgotten() {
        let mut latencies = Latencies::default();
        let [.., routes] = &mut latencies.groups;
        for number in 0..MAX_GROUPS {
            routes.insert(Group::Route(String::new(), number.to_string()), number);
            let many = if number % 2 == 0 { 10 } else { 1 };
            latencies.sums.push(Sum {
                total: durations(vec![7; many]),
                ..Sum::default()
            });
        }
        latencies.forget();
        assert_eq!(latencies.forgotten_groups(), MAX_GROUPS as u64 / 2);
        let left = latencies.finish();
        assert_eq!(left.len(), MAX_GROUPS / 2);
        assert!(left.iter().all(|latency| latency.requests == 10));
        assert_eq!(short(&"é".repeat(200)), format!("{}…", "é".repeat(128)));
    }
}
