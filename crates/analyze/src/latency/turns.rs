//! How long the answers of what is not read were waited for, by who answered whom.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tcprec_shared::flow::Endpoint;

use super::durations::{Durations, Quantiles};
use super::{MAX_GROUPS, short};
use crate::forget;
use crate::owner::Owners;
use crate::resolved::{Connection, OwnerId};
use crate::tcp::{Turns, Waits};

/// Whose turns are one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TurnGroup {
    /// The name of the process that asks, if known.
    pub client: Option<String>,
    /// The name of the process that answers, if known.
    pub server: Option<String>,
    /// Where that is reached.
    pub endpoint: Endpoint,
    /// The server that TLS was asked for.
    pub server_name: Option<String>,
}

/// The turns of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnLatency {
    /// Which turns.
    pub group: TurnGroup,
    /// How many connections they are of.
    pub connections: u64,
    /// How many there are.
    pub turns: u64,
    /// From the last byte of a question to the first of its answer.
    pub wait: Quantiles,
}

#[derive(Debug, Default)]
struct Sum {
    connections: u64,
    wait: Durations,
}

/// All turns so far.
#[derive(Debug, Default)]
pub(crate) struct TurnLatencies {
    groups: BTreeMap<TurnGroup, Sum>,
    forgotten: u64,
}

impl TurnLatencies {
    /// Takes a connection; one that was not wholly seen has no part in it.
    pub(crate) fn add(&mut self, connection: &Connection, owners: &Owners) {
        let (orig, resp) = (connection.orig.owner, connection.resp.owner);
        // What is recorded in two namespaces is not to count twice.
        let counts = !OwnerId::count_elsewhere(orig, resp);
        let Some(turns) = turns(connection).filter(|_| counts) else {
            return;
        };
        let name = |owner: Option<OwnerId>| Some(owners.process(owner?.process)?.comm.clone());
        let tls = connection.tcp.tls.as_ref();
        let group = TurnGroup {
            client: name(orig),
            server: name(resp),
            endpoint: connection.tcp.resp.endpoint,
            server_name: tls.and_then(|tls| Some(short(tls.server_name.as_ref()?))),
        };
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
            self.forget();
        }
        let sum = self.groups.entry(group).or_default();
        sum.connections += 1;
        sum.wait.add_all(&turns.waits);
    }

    /// Forgets the half with the fewest turns.
    fn forget(&mut self) {
        let rest = forget::half(&mut self.groups, |_, sum| Reverse(sum.wait.count()));
        self.forgotten += rest.len() as u64;
    }

    /// How many groups were forgotten to bound the memory.
    pub(crate) const fn forgotten_groups(&self) -> u64 {
        self.forgotten
    }

    /// The group with the most turns first.
    pub(crate) fn finish(self) -> Vec<TurnLatency> {
        let all = self.groups.into_iter().map(|(group, sum)| TurnLatency {
            group,
            connections: sum.connections,
            turns: sum.wait.count(),
            wait: sum.wait.quantiles(),
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|latency| Reverse(latency.turns));
        all
    }
}

/// What so many percent of waits do not exceed.
pub(crate) fn quantiles(waits: &Waits) -> Quantiles {
    let mut durations = Durations::default();
    durations.add_all(waits);
    durations.quantiles()
}

/// The turns of a connection that was wholly seen, as far as is known: where payload is
/// missing an answer may be, and another be taken for it.
fn turns(connection: &Connection) -> Option<&Turns> {
    let tcp = &connection.tcp;
    let is_seen = !connection.incomplete.lacks_packets()
        && !tcp.has_unseen_payload(tcp.orig.endpoint)
        && !tcp.has_unseen_payload(tcp.resp.endpoint);
    tcp.turns.as_deref().filter(|_| is_seen)
}
