//! What findings make of many cases.

use super::*;
use crate::report::row::sample;
use crate::tcp::ConnState;
use tcprec_shared::record::{ProcessId, Record};

/// A connect() of a process that fails after three seconds, without a packet.
fn connect_in_vain(findings: &mut Findings, owners: &mut Owners, pid: u32) {
    let id = ProcessId { pid, start_ns: 0 };
    let named = format!(r#"{{"pid":{pid},"start_ns":0,"comm":"curl"}}"#);
    owners.observe(&Record::Process(serde_json::from_str(&named).unwrap()));
    let local = Endpoint::new([10, 0, 0, 1].into(), 40_000);
    for (kind, ts_ns, old_state) in [
        (EventKind::Connect, 0, TcpState::Close),
        (EventKind::Close, 3 * UNANSWERED_NS, TcpState::SynSent),
    ] {
        let event = Event {
            cookie: Some(pid.into()),
            process: Some(id),
            old_state: Some(old_state),
            ..Event::new(kind, ts_ns, 1, local, Endpoint { port: 80, ..local })
        };
        owners.observe(&Record::Event(event.clone()));
        findings.event(&event, owners);
    }
}

#[test]
fn what_sends_no_packet_is_news_too() {
    let (mut findings, mut owners) = (Findings::with_news(), Owners::new(10));
    connect_in_vain(&mut findings, &mut owners, 7);
    assert!(findings.news(2 * UNANSWERED_NS, &owners).is_empty());
    let news = findings.news(3 * UNANSWERED_NS, &owners);
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].kind, FindingKind::Unanswered);
    assert!(findings.news(4 * UNANSWERED_NS, &owners).is_empty());
}

#[test]
fn what_another_namespace_saw_was_seen() {
    let count = |pid| {
        let (mut findings, mut owners) = (Findings::default(), Owners::new(10));
        connect_in_vain(&mut findings, &mut owners, 7);
        let mut connection = sample::connection();
        connection.incomplete = Default::default();
        connection.tcp.tls = None;
        connection.tcp.goaway = None;
        let tcp = &mut connection.tcp;
        let ends = findings.unseen.keys().next().copied();
        (tcp.orig.endpoint, tcp.resp.endpoint, tcp.scope) = ends.unwrap();
        (tcp.scope, tcp.state, tcp.resp.packets) = (tcp.scope + 1, ConnState::S0, 0);
        let owner = connection.orig.owner.as_mut().unwrap();
        owner.process = ProcessId { pid, start_ns: 0 };
        findings.connection(&connection, &owners, i64::MAX);
        let found = findings.finish(&owners).into_iter();
        found.map(|it| it.count).sum::<u64>()
    };
    assert_eq!(count(7), 1);
    // Another's, which has the same ends elsewhere.
    assert_eq!(count(8), 2);
}

#[test]
fn one_finding_of_several_processes_says_so() {
    let found = |pids: [u32; 2]| {
        let (mut findings, mut owners) = (Findings::default(), Owners::new(10));
        for (number, pid) in (0..).zip(pids) {
            connect_in_vain(&mut findings, &mut owners, pid);
            // Each from a port of its own.
            let (_, mut finding) = findings.unseen.pop_first().unwrap();
            finding.ends.orig.port += number;
            findings.add(finding, &owners);
        }
        let found = findings.finish(&owners);
        assert_eq!((found.len(), found[0].count), (1, 2));
        found[0].of_several
    };
    assert!(!found([7, 7]));
    assert!(found([7, 8]));
}

#[test]
fn what_several_namespaces_saw_counts_in_that_of_its_process() {
    let count = |seen: &[bool]| {
        let (mut findings, owners) = (Findings::default(), Owners::new(0));
        for (number, is_elsewhere) in (0..).zip(seen) {
            let mut ends = sample::connection().ends();
            ends.resp_owner = ends.resp_owner.map(|owner| OwnerId {
                is_elsewhere: *is_elsewhere,
                ..owner
            });
            let finding = Finding::new(FindingKind::Reset, ends, None, Span::at(number));
            findings.add(finding, &owners);
        }
        findings.finish(&owners)[0].count
    };
    assert_eq!(count(&[false, true, false]), 2);
    assert_eq!(count(&[true, false]), 1);
    assert_eq!(count(&[true, true]), 2);
}

#[test]
fn who_is_not_known_is_not_another() {
    let ends = sample::connection().ends();
    let resp_owner = None;
    let [mut known, unknown] = [ends, Ends { resp_owner, ..ends }]
        .map(|ends| Finding::new(FindingKind::Unanswered, ends, None, Span::at(0)));
    known.join(unknown);
    assert!(!known.of_several);
}

/// What is found where a client connects to these ports, and how often.
fn found_at(kind: FindingKind, ports: impl Iterator<Item = u16>) -> Vec<(u64, u16, bool)> {
    let (mut findings, owners) = (Findings::default(), Owners::new(0));
    for (number, port) in (0..).zip(ports) {
        let connection = sample::connection();
        let mut finding = Finding::new(kind, connection.ends(), None, Span::at(number));
        finding.ends.resp.port = port;
        findings.add(finding, &owners);
    }
    let found = findings.finish(&owners).into_iter();
    found
        .map(|it| (it.count, it.ends.resp.port, it.of_many_ports))
        .collect()
}

#[test]
fn many_ports_of_a_server_are_one_finding() {
    let ten = found_at(FindingKind::Refused, 1..=10);
    assert_eq!(ten.len(), 10);
    assert!(ten.iter().all(|found| !found.2));
    for kind in [FindingKind::Refused, FindingKind::Unanswered] {
        assert_eq!(found_at(kind, 1..=11), [(11, 1, true)]);
        // More than are kept: what else was found is not forgotten for them.
        let all = (1..=u16::MAX).rev().chain(1..=u16::MAX);
        assert_eq!(found_at(kind, all), [(2 * 65_535, u16::MAX, true)]);
    }
    assert_eq!(found_at(FindingKind::Reset, 1..=11).len(), 11);
    assert_eq!(found_at(FindingKind::OneSided, 1..=11), [(11, 1, false)]);
}

/// What is found where clients with these numbers connect to a server.
fn found_of(kind: FindingKind, clients: impl Iterator<Item = u32>) -> Vec<(u64, bool)> {
    let (mut findings, owners) = (Findings::default(), Owners::new(0));
    for (number, client) in (0..).zip(clients) {
        let connection = sample::connection();
        let mut finding = Finding::new(kind, connection.ends(), None, Span::at(number));
        finding.ends.orig.addr = client.to_be_bytes().into();
        findings.add(finding, &owners);
    }
    let found = findings.finish(&owners).into_iter();
    found.map(|it| (it.count, it.of_many_clients)).collect()
}

#[test]
fn many_clients_of_a_server_are_one_finding() {
    let ten = found_of(FindingKind::Reset, (0..10).chain(0..10));
    assert_eq!(ten, [(2, false); 10]);
    for kind in [FindingKind::Reset, FindingKind::Unanswered] {
        assert_eq!(found_of(kind, 0..11), [(11, true)]);
        // More than are kept, as of a flood.
        let all = (0..20_000).rev().chain(0..20_000);
        assert_eq!(found_of(kind, all), [(40_000, true)]);
    }
    // Whose ports are used again is the client's.
    let reused = (0..20).chain(0..20).cycle().take(400);
    assert_eq!(found_of(FindingKind::PortReuse, reused).len(), 20);
}

/// What is found between clients and servers with these numbers, at these ports: how often,
/// and whether of many clients, servers and ports.
fn found_between(
    kind: FindingKind,
    cases: impl Iterator<Item = (u8, u8, u16)>,
) -> Vec<(u64, [bool; 3])> {
    let (mut findings, owners) = (Findings::default(), Owners::new(0));
    for (number, (client, server, port)) in (0..).zip(cases) {
        let connection = sample::connection();
        let mut finding = Finding::new(kind, connection.ends(), None, Span::at(number));
        finding.ends.orig.addr = [10, 0, 0, client].into();
        finding.ends.resp = Endpoint::new([10, 0, 1, server].into(), port);
        findings.add(finding, &owners);
    }
    let found = findings.finish(&owners).into_iter();
    let many = |it: &Finding| [it.of_many_clients, it.of_many_servers, it.of_many_ports];
    found.map(|it| (it.count, many(&it))).collect()
}

#[test]
fn many_servers_of_a_client_are_one_finding() {
    let of = |servers| (0..servers).map(|server| (1, server, 22));
    assert_eq!(found_between(FindingKind::Refused, of(10)).len(), 10);
    for kind in [FindingKind::Refused, FindingKind::Timeout] {
        let all = found_between(kind, of(11).chain(of(11)));
        assert_eq!(all, [(22, [false, true, false])]);
    }
    // Of one pair of ends each has its own count.
    assert_eq!(found_between(FindingKind::DelayedAck, of(20)).len(), 0);
}

#[test]
fn what_is_of_many_clients_is_none_of_many_servers() {
    let clients = (0..11).map(|client| (client, 1, 80));
    let servers = (2..12).map(|server| (1, server, 80));
    let all = found_between(FindingKind::Reset, clients.chain(servers));
    assert_eq!(all[0], (11, [true, false, false]));
    assert_eq!(all[1..], [(1, [false; 3]); 10]);
}

#[test]
fn many_may_differ_in_several_ways() {
    // Each of many clients looks for open ports of a server.
    let scans = (0..20).flat_map(|client| (1..=20).map(move |port| (client, 1, port)));
    let all = found_between(FindingKind::Refused, scans);
    assert_eq!(all.iter().map(|it| it.0).sum::<u64>(), 400);
    assert!(all.len() <= 20, "{all:?}");
    // Clients and servers in pairs have nothing in common.
    let pairs = (0..20).map(|number| (number, number, 80));
    assert_eq!(found_between(FindingKind::Reset, pairs).len(), 20);
    let all = (0..20).flat_map(|client| (0..20).map(move |server| (client, server, 80)));
    let all = found_between(FindingKind::Reset, all);
    assert_eq!(all.iter().map(|it| it.0).sum::<u64>(), 400);
    assert!(all.len() <= 20, "{all:?}");
}

#[test]
fn the_least_grave_and_the_rarest_are_forgotten() {
    let (mut findings, owners) = (Findings::default(), Owners::new(0));
    let mut add = |kind, port| {
        let mut finding = Finding::new(kind, sample::connection().ends(), None, Span::at(0));
        finding.ends.resp.port = port;
        findings.add(finding, &owners);
    };
    let last = u16::try_from(MAX_FINDINGS).unwrap();
    for port in (1..last).chain([last - 1]) {
        add(FindingKind::Reset, port);
    }
    for _ in 0..3 {
        add(FindingKind::HalfOpen, 1);
    }
    add(FindingKind::Reset, last);
    assert_eq!(findings.forgotten(), MAX_FINDINGS as u64 / 2);
    let left = findings.finish(&owners);
    assert!(left.iter().all(|it| it.kind == FindingKind::Reset));
    let often = left.iter().filter(|it| it.count == 2);
    assert!(often.map(|it| it.ends.resp.port).eq([last - 1]));
}
