//! What stays of connections and requests when they leave the memory: counts,
//! findings, latencies, and the few rows that a report is to show.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tcprec_shared::record::ProcessId;

use crate::finding::Findings;
use crate::forget;
use crate::latency::{Durations, Latencies, TurnLatencies};
use crate::owner::Owners;
use crate::report::{
    Connection, Keep, OwnerId, Part, ProcessSummary, Report, Request, Sort, Totals, Volume,
};
use crate::services::Services;
use crate::tcp::ConnectionId;

/// The sums of at most so many processes are kept: where there are more, the half
/// of them that did least is forgotten.
const MAX_PROCESSES: usize = 1 << 17;

/// All that was summed up so far.
#[derive(Debug)]
pub(crate) struct Summary {
    totals: Totals,
    waits: Durations,
    processes: BTreeMap<ProcessId, Part>,
    forgotten_processes: u64,
    pub(crate) findings: Findings,
    latencies: Latencies,
    turns: TurnLatencies,
    services: Services,
    sort: Sort,
    connections: First<(Reverse<u64>, ConnectionId), Connection>,
    requests: First<Began, Request>,
    slowest: First<(Reverse<i64>, Began), Request>,
}

/// The order of requests: when they began, and what of equals is the first.
type Began = (Option<i64>, ConnectionId, u64);

impl Summary {
    /// Nothing so far; of the rows so many are to be kept.
    pub(crate) fn new(keep: Keep) -> Self {
        Self {
            totals: Totals::default(),
            waits: Durations::default(),
            processes: BTreeMap::new(),
            forgotten_processes: 0,
            findings: Findings::default(),
            latencies: Latencies::default(),
            turns: TurnLatencies::default(),
            services: Services::default(),
            sort: keep.sort,
            connections: First::new(keep.rows),
            requests: First::new(keep.rows),
            slowest: First::new(Some(keep.slowest)),
        }
    }

    /// Takes a finished connection.
    pub(crate) fn connection(&mut self, connection: &Connection, owners: &Owners) {
        let state = connection.tcp.state;
        *self.totals.connections.entry(state).or_default() += 1;
        let (orig, resp) = (connection.tcp.orig.bytes, connection.tcp.resp.bytes);
        let volume = Volume {
            connections: 1,
            packets: connection.tcp.orig.packets + connection.tcp.resp.packets,
            bytes: orig.saturating_add(resp),
        };
        self.totals.owned.all += volume;
        if connection.orig.owner.or(connection.resp.owner).is_some() {
            self.totals.owned.attributed += volume;
        }
        let made = Part {
            connections_made: 1,
            sent_bytes: orig,
            received_bytes: resp,
            ..Part::default()
        };
        let taken = Part {
            connections_taken: 1,
            sent_bytes: resp,
            received_bytes: orig,
            ..Part::default()
        };
        self.count(connection.orig.owner, made);
        self.count(connection.resp.owner, taken);
        self.turns.add(connection, owners);
        self.services.add(connection, owners);
        let place = (Reverse(self.sort.amount(connection)), connection.tcp.id);
        self.connections.add(place, || connection.clone());
    }

    /// Takes a finished request.
    pub(crate) fn request(&mut self, request: &Request) {
        *self.totals.requests.entry(request.outcome()).or_default() += 1;
        if !request.incomplete.lacks_packets()
            && let Some(ttfb_ns) = request.app.ttfb_ns()
        {
            self.waits.add(ttfb_ns);
        }
        self.latencies.add(request);
        let [client, server] = request.owners();
        let made = Part {
            requests_made: 1,
            ..Part::default()
        };
        let taken = Part {
            requests_taken: 1,
            ..Part::default()
        };
        self.count(client, made);
        self.count(server, taken);
        let app = &request.app;
        let began = (app.first_ns(), app.connection, app.index);
        if let Some(timing) = &request.timing {
            self.totals.timed_requests += 1;
            self.slowest
                .add((Reverse(timing.total_ns()), began), || request.clone());
        }
        self.requests.add(began, || request.clone());
    }

    fn count(&mut self, owner: Option<OwnerId>, part: Part) {
        if let Some(owner) = owner {
            // Who is elsewhere has a name here, too.
            let sum = self.processes.entry(owner.process).or_default();
            if !owner.is_elsewhere {
                *sum += part;
            }
            if self.processes.len() > MAX_PROCESSES {
                let forgotten = forget_half(&mut self.processes);
                self.forgotten_processes += forgotten;
            }
        }
    }

    /// Puts all of it into a report.
    pub(crate) fn finish(self, owners: &Owners, report: &mut Report) {
        report.totals = self.totals;
        report.totals.waits = (self.waits.count() > 1).then(|| self.waits.quantiles());
        let left_out = &mut report.capture.left_out;
        left_out.findings = self.findings.forgotten();
        left_out.latencies = self.latencies.forgotten_groups() + self.turns.forgotten_groups();
        left_out.services = self.services.forgotten_groups();
        report.findings = self.findings.finish(owners);
        report.latencies = self.latencies.finish();
        report.turns = self.turns.finish();
        report.services = self.services.finish();
        report.connections = self.connections.finish();
        report.requests = self.requests.finish();
        report.slowest = self.slowest.finish();
        let all = self.processes.len();
        let processes = self.processes.into_iter().filter_map(|(id, part)| {
            let process = owners.process(id)?.clone();
            Some((id, ProcessSummary { process, part }))
        });
        report.processes = processes.collect();
        let nobody = (all - report.processes.len()) as u64;
        report.capture.left_out.processes = self.forgotten_processes + nobody;
    }
}

/// Puts the processes of findings into a report: who asked in vain owns no connection,
/// and is to be named all the same.
pub(crate) fn name_processes(report: &mut Report, owners: &Owners) {
    for finding in &report.findings {
        let ends = [finding.ends.orig_owner, finding.ends.resp_owner];
        let owners_of_ends = ends.into_iter().flatten().map(|owner| owner.process);
        for id in owners_of_ends.chain(finding.acting) {
            if let Some(process) = owners.process(id) {
                let without_sums = || ProcessSummary {
                    process: process.clone(),
                    part: Part::default(),
                };
                report.processes.entry(id).or_insert_with(without_sums);
            }
        }
    }
}

/// Keeps the half of all processes that did more, and returns how many were forgotten.
fn forget_half(processes: &mut BTreeMap<ProcessId, Part>) -> u64 {
    let did = |id: &ProcessId, part: &Part| {
        let connections = part.connections_made + part.connections_taken;
        let requests = part.requests_made + part.requests_taken;
        let bytes = part.sent_bytes.saturating_add(part.received_bytes);
        Reverse((connections.saturating_add(requests), bytes, *id))
    };
    forget::half(processes, did).len() as u64
}

/// The first few in an order, whenever they come.
#[derive(Debug)]
struct First<K, T> {
    count: usize,
    kept: BTreeMap<K, T>,
}

impl<K: Ord, T> First<K, T> {
    /// So many are wanted; none for all.
    fn new(count: Option<usize>) -> Self {
        Self {
            count: count.unwrap_or(usize::MAX),
            kept: BTreeMap::new(),
        }
    }

    /// Whether this would be one of them, by now.
    fn wants(&self, key: &K) -> bool {
        let last = self.kept.last_key_value();
        self.kept.len() < self.count || last.is_some_and(|(last, _)| key < last)
    }

    fn add(&mut self, key: K, value: impl FnOnce() -> T) {
        if self.wants(&key) {
            self.kept.insert(key, value());
            if self.kept.len() > self.count {
                self.kept.pop_last();
            }
        }
    }

    fn finish(self) -> Vec<T> {
        self.kept.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row::sample;

    #[test]
    fn processes_that_did_least_are_forgotten() {
        let part = |requests_made| Part {
            requests_made,
            ..Part::default()
        };
        let id = |pid| ProcessId { pid, start_ns: 0 };
        let did = [(1, 7), (2, 1), (3, 9), (4, 2), (5, 8)];
        let mut processes: BTreeMap<_, _> = did.map(|(pid, did)| (id(pid), part(did))).into();
        assert_eq!(forget_half(&mut processes), 2);
        assert_eq!(processes.into_keys().collect::<Vec<_>>(), [1, 3, 5].map(id));
        assert_eq!(forget_half(&mut BTreeMap::new()), 0);
    }

    #[test]
    fn connections_are_kept_by_what_they_are_sorted_by() {
        let kept = |sort| {
            let (rows, slowest) = (Some(3), 0);
            let mut summary = Summary::new(Keep {
                rows,
                sort,
                slowest,
            });
            let owners = Owners::new(0);
            for (id, [duration_ns, packets, bytes, resent]) in (0..).zip([
                [1, 2, 3, 4],
                [9, 2, 3, 4],
                [5, 8, 3, 5],
                [9, 2, 7, 0],
                [1, 6, 3, 4],
                [1, 2, 4, 6],
            ]) {
                let mut connection = sample::connection();
                connection.tcp.id = ConnectionId(id);
                connection.tcp.duration_ns = duration_ns;
                connection.tcp.orig.packets = packets.unsigned_abs();
                connection.tcp.resp.bytes = bytes.unsigned_abs();
                // Of this end the wire's count is taken, of the other the kernel's.
                connection.orig.kernel = None;
                connection.tcp.orig.retransmitted_packets = resent.unsigned_abs();
                summary.connection(&connection, &owners);
            }
            let mut report = Report::default();
            summary.finish(&owners, &mut report);
            let kept = report.connections.iter().map(|it| it.tcp.id.0);
            kept.collect::<Vec<_>>()
        };
        assert_eq!(kept(Sort::Start), [0, 1, 2]);
        assert_eq!(kept(Sort::Duration), [1, 3, 2]);
        assert_eq!(kept(Sort::Packets), [2, 4, 0]);
        assert_eq!(kept(Sort::Bytes), [3, 5, 0]);
        assert_eq!(kept(Sort::Retransmits), [5, 2, 0]);
    }

    #[test]
    fn the_first_are_kept_whenever_they_come() {
        for order in [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [3, 5, 1, 4, 2]] {
            let kept = |count| {
                let mut first = First::new(count);
                order
                    .iter()
                    .for_each(|number| first.add(*number, || *number));
                first.finish()
            };
            assert_eq!(kept(Some(2)), [1, 2]);
            assert_eq!(kept(Some(0)), [0; 0]);
            assert_eq!(kept(None), [1, 2, 3, 4, 5]);
        }
    }
}
