//! What `tcprec analyze --format jsonl` says, held against what was done.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use crate::web::{Connection, Request, Traffic};

/// Which ends of a connection were on the recorded host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Client,
    Server,
    Both,
}

/// A report.
#[derive(Debug)]
pub(crate) struct Report(Vec<Value>);

impl Report {
    pub(crate) fn parse(text: &str) -> Self {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        Self(text.lines().map(parse).collect())
    }

    /// All objects of a kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// Each packet was recorded once, whole as far as its headers go, and the
    /// kernel's parse of it is the analyzer's.
    fn expect_good_packets(&self) {
        const DEFECTS: [&str; 8] = [
            "copied_packets",
            "cut_packets",
            "damaged_records",
            "evicted_connections",
            "malformed_packets",
            "not_tcp_packets",
            "parser_disagreements",
            "unknown_link_packets",
        ];
        for capture in self.of_kind("capture") {
            for defect in DEFECTS {
                assert_eq!(capture[defect], 0, "{defect}: {capture}");
            }
        }
    }

    /// Nothing more and nothing less than what was done stands here, with the
    /// right owners; and nothing was lost.
    pub(crate) fn expect(&self, traffic: &Traffic, ends: Ends) {
        self.expect_all(&[(traffic, ends)]);
    }

    /// What is found, but for what a busy machine makes: it keeps programs waiting, and lets
    /// timers run out.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Value> {
        const OF_A_BUSY_MACHINE: [&str; 4] =
            ["slow_client", "slow_server", "timeout", "zero_window"];
        self.of_kind("finding").filter(|finding| {
            let word = finding["finding"].as_str().expect("a word");
            !OF_A_BUSY_MACHINE.contains(&word)
        })
    }

    /// What is found is what was refused, and nothing else: all is well.
    fn expect_refused(&self, all: &[(&Traffic, Ends)]) {
        let connections = all.iter().flat_map(|(traffic, _)| &traffic.connections);
        let refused = connections.filter(|done| done.client.is_none()).count();
        let mut found = 0;
        for finding in self.findings() {
            assert_eq!(
                finding["finding"], "refused",
                "nothing else was done: {finding}"
            );
            found += finding["count"].as_u64().unwrap_or(0);
        }
        assert_eq!(found, refused as u64, "refused connections");
    }

    /// The same, where the ends on the recorded host differ.
    pub(crate) fn expect_all(&self, all: &[(&Traffic, Ends)]) {
        let losses: Vec<_> = self.of_kind("loss").collect();
        assert!(losses.is_empty(), "{losses:#?}");
        self.expect_good_packets();
        self.expect_refused(all);
        let mut found: Vec<_> = self.of_kind("conn").map(Found::connection).collect();
        let mut requests = BTreeMap::<_, Vec<_>>::new();
        for http in self.of_kind("http") {
            requests
                .entry(endpoints(http))
                .or_default()
                .push((request(http), Owners::of(http)));
        }
        let done = all
            .iter()
            .flat_map(|(traffic, ends)| traffic.connections.iter().map(|done| (done, *ends)));
        for (done, ends) in done {
            let place = found.iter().position(|found| found.is(done, ends));
            let Some(place) = place else {
                panic!("not in the report: {done:#?}\nin it, not yet matched: {found:#?}");
            };
            let connection = found.swap_remove(place);
            let told = requests.remove(&connection.endpoints).unwrap_or_default();
            for (_, owners) in &told {
                assert_eq!(
                    owners, &connection.owners,
                    "owners of a request and its connection"
                );
            }
            let told: Vec<_> = told.into_iter().map(|(request, _)| request).collect();
            assert_eq!(
                told, done.requests,
                "requests of {:?}",
                connection.endpoints
            );
        }
        assert!(
            found.is_empty(),
            "in the report, but never done: {found:#?}"
        );
        assert!(
            requests.is_empty(),
            "in the report, but never done: {requests:#?}"
        );
    }
}

/// A connection of the report.
#[derive(Debug)]
struct Found {
    endpoints: (SocketAddr, SocketAddr),
    state: String,
    owners: Owners,
}

impl Found {
    fn connection(object: &Value) -> Self {
        Self {
            endpoints: endpoints(object),
            state: text(&object["conn_state"]),
            owners: Owners::of(object),
        }
    }

    /// Whether it is the one that was made.
    fn is(&self, done: &Connection, ends: Ends) -> bool {
        let expected = Owners {
            client: (ends != Ends::Server).then(|| Owner::new(done.curl, "curl", "connect")),
            server: (ends != Ends::Client)
                .then(|| {
                    done.worker
                        .map(|worker| Owner::new(worker, "nginx", "accept"))
                })
                .flatten(),
        };
        let (client, server) = self.endpoints;
        let state = if done.client.is_some() { "SF" } else { "REJ" };
        done.client.is_none_or(|port| port == client)
            && server == done.server
            && self.state == state
            && self.owners == expected
    }
}

/// The owners of both ends.
#[derive(Debug, PartialEq, Eq)]
struct Owners {
    client: Option<Owner>,
    server: Option<Owner>,
}

impl Owners {
    fn of(object: &Value) -> Self {
        Self {
            client: Owner::of(object, "orig"),
            server: Owner::of(object, "resp"),
        }
    }
}

/// A process, and how it is known to be the owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) provenance: String,
}

impl Owner {
    pub(crate) fn new(pid: u32, comm: &str, provenance: &str) -> Self {
        Self {
            pid,
            comm: comm.to_owned(),
            provenance: provenance.to_owned(),
        }
    }

    /// The owner that an object names for an end (`orig` or `resp`).
    pub(crate) fn of(object: &Value, end: &str) -> Option<Self> {
        let field = |name| &object[format!("{end}_{name}")];
        let pid = field("pid").as_u64()?;
        Some(Self {
            pid: u32::try_from(pid).expect("a process id"),
            comm: text(field("comm")),
            provenance: text(field("owner")),
        })
    }
}

fn endpoints(object: &Value) -> (SocketAddr, SocketAddr) {
    let endpoint = |end| {
        let addr = text(&object[format!("id.{end}_h")]);
        let port = object[format!("id.{end}_p")]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        SocketAddr::new(addr.parse().expect("an address"), port.expect("a port"))
    };
    (endpoint("orig"), endpoint("resp"))
}

fn request(object: &Value) -> Request {
    let status = object["status_code"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok());
    Request {
        method: text(&object["method"]),
        target: text(&object["uri"]),
        status: status.expect("a status"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map(str::to_owned).unwrap_or_default()
}
