//! Who asked whom, where no SYN was seen.

use std::slice;

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Capture, Event, EventKind, Record};

use super::{batches, interface, packet, pipelines};
use crate::pipeline::Pipeline;
use crate::tcp::Limits;

/// The ends of [`ack`].
const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 9999);
const NOBODY: ([u8; 4], u16) = ([0, 0, 0, 0], 0);

/// An ACK of this server, in namespace 1.
fn ack(server: ([u8; 4], u16)) -> Record<'static> {
    let mut packet = packet(0, 10, true);
    let data = packet.data.to_mut();
    data[20..22].copy_from_slice(&server.1.to_be_bytes());
    data[22..24].copy_from_slice(&CLIENT.1.to_be_bytes());
    data[33] = 0x10;
    Record::Packet(packet)
}

fn event(
    kind: EventKind,
    netns: u32,
    local: ([u8; 4], u16),
    remote: ([u8; 4], u16),
) -> Record<'static> {
    let end = |(addr, port): ([u8; 4], u16)| Endpoint::new(addr.into(), port);
    Record::Event(Event::new(kind, 5, netns, end(local), end(remote)))
}

/// Whether the server is known as such that sends an ACK after these records.
fn is_known_after(records: &[Record<'static>]) -> bool {
    is_known_at(SERVER, records)
}

fn is_known_at(server: ([u8; 4], u16), records: &[Record<'static>]) -> bool {
    let all = [&[interface(0, Some(1))], records, &[ack(server)]].concat();
    let is_known = pipelines(Limits::default()).map(|mut pipeline| {
        let mut batches = batches(&all, 1).into_iter();
        pipeline.take(|_| batches.next(), &mut ());
        let report = pipeline.finish(&mut ());
        let [connection] = &report.connections[..] else {
            panic!("{}", report.connections.len());
        };
        connection.tcp.resp.endpoint.port == server.1
    });
    assert_eq!(is_known[0], is_known[1]);
    is_known[0]
}

#[test]
fn who_listens_or_accepts_is_the_server() {
    assert!(!is_known_after(&[])); // who sends first has asked
    let wildcard = ([0, 0, 0, 0], SERVER.1);
    for known in [
        event(EventKind::Scan, 1, SERVER, NOBODY),
        event(EventKind::Scan, 1, wildcard, NOBODY),
        event(EventKind::Listen, 1, wildcard, NOBODY),
        event(EventKind::Accept, 1, SERVER, CLIENT),
    ] {
        assert!(is_known_after(&[known]));
    }
    // In another namespace, or at the other end, it is another.
    for unknown in [
        event(EventKind::Scan, 2, SERVER, NOBODY),
        event(EventKind::Listen, 1, CLIENT, NOBODY),
        event(EventKind::Scan, 1, SERVER, CLIENT),
    ] {
        assert!(!is_known_after(&[unknown]));
    }
}

#[test]
fn an_older_socket_where_nobody_listens_is_the_clients() {
    let older = event(EventKind::Scan, 1, CLIENT, SERVER);
    assert!(is_known_after(slice::from_ref(&older)));
    let listener = event(EventKind::Scan, 1, CLIENT, NOBODY);
    assert!(!is_known_after(&[older.clone(), listener]));
    // A server's port says more, as of one whose listener is gone.
    let ssh = ([10, 0, 0, 2], 22);
    assert!(is_known_at(ssh, &[event(EventKind::Scan, 1, ssh, CLIENT)]));
    // Not where those who listen may be among the others.
    let some = Record::Capture(Box::new(Capture {
        processes: Some("--pid 7".to_owned()),
        ..Capture::default()
    }));
    assert!(!is_known_after(&[some, older]));
}

/// Nor is what is told later known before, in whatever batches it comes.
#[test]
fn what_is_told_later_is_not_known_before() {
    let told = event(EventKind::Listen, 1, SERVER, NOBODY);
    let mut pipeline = Pipeline::default();
    for record in [interface(0, Some(1)), ack(SERVER), told] {
        pipeline.push(&record, &mut ());
    }
    let report = pipeline.finish(&mut ());
    assert_eq!(report.connections[0].tcp.resp.endpoint.port, CLIENT.1);
}
