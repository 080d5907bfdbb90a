//! Packets that are seen several times in a namespace.

use super::*;

/// A handshake that crosses a bridge: each packet passes both interfaces.
fn over_two_interfaces(netns: Option<u32>) -> Report {
    report(vec![
        interface(0, netns),
        interface(1, netns),
        Record::Packet(packet(0, 1, false)),
        Record::Packet(packet(1, 2, false)),
        Record::Packet(packet(1, 3, true)),
        Record::Packet(packet(0, 4, true)),
    ])
}

#[test]
fn a_packet_seen_twice_in_one_namespace_counts_once() {
    let report = over_two_interfaces(Some(5));
    let packets = report.capture.packets;
    assert_eq!((packets.all, packets.copies), (4, 2));
    let [connection] = report.connections.as_slice() else {
        panic!("{:?}", report.connections);
    };
    assert_eq!(connection.tcp.orig.packets, 1);
    assert_eq!(connection.tcp.resp.packets, 1);
    let copies: Vec<_> = report.interfaces.iter().map(|on| on.copies).collect();
    assert_eq!(copies, [1, 1]);
}

#[test]
fn interfaces_of_other_tools_are_one_stream() {
    let report = over_two_interfaces(None);
    assert_eq!(report.capture.packets.copies, 0);
    assert_eq!(report.connections[0].tcp.orig.packets, 2);
}

#[test]
fn namespaces_have_connections_of_their_own() {
    let report = report(vec![
        interface(0, Some(5)),
        interface(1, Some(6)),
        Record::Packet(packet(0, 1, false)),
        Record::Packet(packet(1, 2, false)),
    ]);
    assert_eq!(report.connections.len(), 2);
    assert_eq!(report.capture.packets.copies, 0);
}

const MS: i64 = 1_000_000;

/// Of a connection between two hosts, the copies that were found, and the packets that
/// were not, where the packets of one direction came by these interfaces at these times.
fn copies(seen: &[(u32, i64)], make: impl Fn(u32, i64) -> Vec<Packet<'static>>) -> (u64, u64) {
    let mut records = vec![interface(0, Some(5)), interface(1, Some(5))];
    for &(interface, ts_ns) in seen {
        records.extend(make(interface, ts_ns).into_iter().map(Record::Packet));
    }
    let report = report(records);
    let [connection] = report.connections.as_slice() else {
        panic!("{:?}", report.connections);
    };
    (report.capture.packets.copies, connection.tcp.orig.packets)
}

/// An interface that gets another name or is there again, and a bond or a route that goes
/// another way.
#[test]
fn another_interface_takes_over_from_a_silent_one() {
    let whole = |interface, ts_ns| vec![packet(interface, ts_ns, false)];
    let pieces = |interface, ts_ns| fragments(&packet(interface, ts_ns, false)).to_vec();
    let seen = [
        (0, 0),
        (1, 5 * MS),    // a copy that waited in a queue
        (0, 3000 * MS), // after a pause it is the same
        (1, 3001 * MS), //
        (1, 3200 * MS), // the other one alone goes on
        (1, 3250 * MS), //
        (0, 3251 * MS), // and now has the copies
        (1, 3400 * MS), //
        (0, 3401 * MS), //
    ];
    assert_eq!(copies(&seen, whole), (4, 5));
    assert_eq!(copies(&seen, pieces), (8, 5));
}

/// Files of two recordings of the same traffic are read one after the other.
#[test]
fn what_was_before_is_a_copy() {
    let whole = |interface, ts_ns| vec![packet(interface, ts_ns, false)];
    let seen = [(0, 0), (0, 500 * MS), (1, 0), (1, 500 * MS)];
    assert_eq!(copies(&seen, whole), (2, 2));
}

/// A router with one interface sends what it forwards out by the interface that it came by.
#[test]
fn what_goes_out_by_the_interface_that_it_came_by_counts_once() {
    let passing = |direction, ts_ns, is_answer| {
        Record::Packet(Packet {
            direction: Some(direction),
            ..packet(0, ts_ns, is_answer)
        })
    };
    let report = report(vec![
        interface(0, Some(5)),
        passing(Direction::In, 1, false),
        passing(Direction::Out, 2, false),
        passing(Direction::In, 3, true),
        passing(Direction::Out, 4, true),
    ]);
    assert_eq!(report.capture.packets.copies, 2);
    let tcp = &report.connections[0].tcp;
    assert_eq!([&tcp.orig, &tcp.resp].map(|end| end.packets), [1, 1]);
}

/// A bond or a route that goes two ways by turns, where some are faster than others, and
/// copies of all in a bridge.
#[test]
fn what_comes_by_turns_is_no_copy() {
    let part = |interface, ts_ns, number: u8| {
        let mut packet = packet(interface, ts_ns, false);
        let data = packet.data.to_mut();
        data[3] += 10;
        data[27] = 10 * number;
        data[33] = 0x10;
        data.extend([b'x'; 10]);
        packet.wire_bytes += 10;
        packet
    };
    let mut records: Vec<_> = (0..3).map(|id| interface(id, Some(5))).collect();
    let numbers = [0, 1, 3, 2, 5, 6, 4, 7];
    for (ms, number) in (0..).zip(numbers) {
        let parts = [(u32::from(number % 2), 0), (2, 1)]
            .map(|(on, late_ns)| part(on, ms * MS + late_ns, number));
        records.extend(parts.map(Record::Packet));
    }
    let report = report(records);
    let copies: Vec<_> = report.interfaces.iter().map(|on| on.copies).collect();
    assert_eq!(copies, [0, 0, 8]);
    let sent = &report.connections[0].tcp.orig;
    assert_eq!((sent.packets, sent.uniq_bytes, sent.gap_bytes), (8, 80, 0));
}
