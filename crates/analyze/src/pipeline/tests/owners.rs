//! What counts for the processes that own sockets.

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, EventKind, Process, ProcessId, Record, TcpState};

use super::{interface, packet, report};

#[test]
fn a_process_counts_a_connection_once_though_two_namespaces_see_it() {
    let id = ProcessId {
        pid: 7,
        start_ns: 1,
    };
    let seen_in = |namespaces: &[u32]| {
        let interfaces = (0..).zip(namespaces);
        let mut records: Vec<_> = interfaces
            .clone()
            .map(|(id, netns)| interface(id, Some(*netns)))
            .collect();
        records.push(Record::Process(process(id)));
        records.push(Record::Event(Event {
            kind: EventKind::Connect,
            ts_ns: 0,
            cookie: Some(1),
            netns: 5,
            local: Endpoint::new([10, 0, 0, 1].into(), 1000),
            remote: Endpoint::new([10, 0, 0, 2].into(), 80),
            process: Some(id),
            tid: None,
            old_state: Some(TcpState::Close),
            new_state: Some(TcpState::SynSent),
            direction: None,
            tcp: None,
        }));
        let packets = interfaces.map(|(id, _)| Record::Packet(packet(id, 1, false)));
        records.extend(packets);
        report(records)
    };
    for namespaces in [&[5, 6][..], &[6, 5], &[5], &[6]] {
        let report = seen_in(namespaces);
        let owners = report.connections.iter().map(|seen| seen.orig.owner);
        let pids: Vec<_> = owners.flatten().map(|owner| owner.process.pid).collect();
        assert_eq!(pids, vec![7; namespaces.len()]);
        assert_eq!(report.processes[&id].part.connections_made, 1);
    }
}

fn process(id: ProcessId) -> Process {
    Process {
        id,
        ppid: None,
        uid: None,
        comm: "curl".into(),
        exe: None,
        argv: Vec::new(),
        cgroup: None,
        container: None,
    }
}
