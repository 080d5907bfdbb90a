//! What counts for the processes that own sockets.

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, EventKind, Process, ProcessId, Record, TcpState};

use super::{interface, packet, report};
use crate::pipeline::Pipeline;

const CURL: ProcessId = ProcessId {
    pid: 7,
    start_ns: 1,
};

/// A SYN of curl's that passes an interface of each of these namespaces; its socket is in
/// namespace 5.
fn seen_in(namespaces: &[u32]) -> Vec<Record<'static>> {
    let interfaces = (0..).zip(namespaces);
    let mut records: Vec<_> = interfaces
        .clone()
        .map(|(id, netns)| interface(id, Some(*netns)))
        .collect();
    records.push(Record::Process(process(CURL)));
    records.push(Record::Event(Event {
        cookie: Some(1),
        process: Some(CURL),
        old_state: Some(TcpState::Close),
        new_state: Some(TcpState::SynSent),
        ..Event::new(
            EventKind::Connect,
            0,
            5,
            Endpoint::new([10, 0, 0, 1].into(), 1000),
            Endpoint::new([10, 0, 0, 2].into(), 80),
        )
    }));
    let packets = interfaces.map(|(id, _)| Record::Packet(packet(id, 1, false)));
    records.extend(packets);
    records
}

#[test]
fn a_process_counts_a_connection_once_though_two_namespaces_see_it() {
    for namespaces in [&[5, 6][..], &[6, 5], &[5], &[6]] {
        let report = report(seen_in(namespaces));
        let owners = report.connections.iter().map(|seen| seen.orig.owner);
        let pids: Vec<_> = owners.flatten().map(|owner| owner.process.pid).collect();
        assert_eq!(pids, vec![7; namespaces.len()]);
        assert_eq!(report.processes[&CURL].part.connections_made, 1);
    }
}

/// Of one row alone, also where the process counts in the other's namespace.
#[test]
fn a_row_that_a_condition_leaves_in_names_its_process() {
    let mut made = Vec::new();
    for condition in ["conn_id == 0", "conn_id == 1"] {
        let mut pipeline = Pipeline::default().selecting(Some(condition.parse().unwrap()));
        for record in seen_in(&[5, 6]) {
            pipeline.push(&record, &mut ());
        }
        let report = pipeline.finish(&mut ());
        assert_eq!(report.connections.len(), 1);
        let curl = &report.processes[&CURL];
        assert_eq!(curl.process.comm, "curl");
        made.push(curl.part.connections_made);
    }
    assert_eq!(made, [1, 0]);
}

fn process(id: ProcessId) -> Process {
    Process {
        comm: "curl".into(),
        ..Process::nameless(id)
    }
}
