//! How connections begin, go and end.

use super::{All, CLIENT, SERVER, at, endpoint, segment, track};
use crate::tcp::{ConnState, Connection, Limits, Seen, Tracker};

/// The one connection that packets between client and server make. A packet is
/// given as sender, flags, sequence number, ACK number and payload.
fn connection(packets: &[(u8, &str, u32, u32, &str)]) -> Connection {
    let segments = packets.iter().map(|&(from, flags, seq, ack, payload)| {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        segment(from, to, flags, seq, ack, payload.as_bytes())
    });
    let mut connections = track(segments).connections;
    assert_eq!(connections.len(), 1, "{connections:?}");
    connections.remove(0)
}

const HANDSHAKE: [(u8, &str, u32, u32, &str); 3] = [
    (CLIENT, "S", 100, 0, ""),
    (SERVER, "S.", 500, 101, ""),
    (CLIENT, ".", 101, 501, ""),
];

/// The handshake and what follows it.
fn established(packets: &[(u8, &str, u32, u32, &str)]) -> Connection {
    connection(&[&HANDSHAKE[..], packets].concat())
}

#[test]
fn a_connection_from_begin_to_end() {
    let connection = established(&[
        (CLIENT, "P.", 101, 501, "question"),
        (SERVER, ".", 501, 109, ""),
        (SERVER, "P.", 501, 109, "answer"),
        (SERVER, "F.", 507, 109, ""),
        (CLIENT, "F.", 109, 508, ""),
        (SERVER, ".", 508, 110, ""),
    ]);
    assert_eq!(connection.state, ConnState::Sf);
    assert_eq!(connection.history, "ShADadfF");
    assert_eq!(connection.orig.endpoint, endpoint(CLIENT));
    assert_eq!((connection.orig.bytes, connection.resp.bytes), (8, 6));
    assert_eq!((connection.orig.packets, connection.resp.packets), (4, 5));
    assert_eq!(connection.orig.ip_bytes, 4 * 40 + 8);
    // The ACK of the last FIN is late.
    assert_eq!(connection.duration_ns, 7_000_000);
    assert_eq!(connection.raw_duration_ns(), 8_000_000);
    assert_eq!(connection.syn_synack_ns, Some(1_000_000));
    assert_eq!(connection.synack_ack_ns, Some(1_000_000));
    assert_eq!(connection.initial_rtt_ns, Some(2_000_000));
}

/// Before all of its head came, nobody knows what it is.
#[test]
fn a_request_is_no_question_of_what_follows_it() {
    let asked = [
        (CLIENT, "P.", 101, 501, "GET /chat HTTP/1.1\r\n"),
        (CLIENT, "P.", 121, 501, "Upgrade: x\r\n\r\n"),
        (SERVER, "P.", 501, 135, "HTTP/1.1 101 Yes\r\n"),
        (SERVER, "P.", 519, 135, "Upgrade: x\r\n\r\n"),
    ];
    let turns = |steps: &[_]| {
        let turns = established(&[&asked, steps].concat()).turns;
        turns.map_or(0, |turns| turns.waits.iter().count())
    };
    assert_eq!(turns(&[]), 0);
    let talk = [
        (CLIENT, "P.", 135, 533, "question"),
        (SERVER, "P.", 533, 143, "answer"),
    ];
    assert_eq!(turns(&talk), 1);
}

/// The ports are used again, and the packets that say so were lost.
#[test]
fn what_comes_far_behind_a_fin_is_another_connection() {
    let ended = [
        (CLIENT, "P.", 101, 501, "question"),
        (SERVER, "F.", 501, 109, ""),
        (CLIENT, "F.", 109, 502, ""),
        (SERVER, ".", 502, 110, ""),
        // What was sent again, and what answers it.
        (CLIENT, "F.", 109, 502, ""),
        (SERVER, ".", 502, 110, ""),
        (CLIENT, "R", 30_000_000, 0, ""),
    ];
    assert_eq!(established(&ended).orig.bytes, 8);
    let other = [
        (SERVER, "P.", 66_100, 27_000_000, "answer"),
        (CLIENT, ".", 27_000_000, 66_106, ""),
        (SERVER, "F.", 66_106, 27_000_000, ""),
    ];
    let packets = [&HANDSHAKE[..], &ended, &other].concat();
    let segments = packets.iter().map(|&(from, flags, seq, ack, payload)| {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        segment(from, to, flags, seq, ack, payload.as_bytes())
    });
    let connections = track(segments).connections;
    let bytes = connections.iter().map(|it| (it.orig.bytes, it.resp.bytes));
    assert_eq!(bytes.collect::<Vec<_>>(), [(8, 0), (0, 6)]);
    assert!(connections[1].reused_ports);
}

#[test]
fn no_later_payload_ends_a_handshake() {
    for (flags, seq, payload, told_ns) in [
        (".", 101, "", Some(1_000_000)),
        ("P.", 101, "question", Some(1_000_000)),
        // The ACK was not captured.
        (".", 109, "", Some(1_000_000)),
        ("P.", 109, "question", None),
        ("F.", 101, "", None),
        ("R.", 101, "", None),
    ] {
        let [syn, syn_ack, _] = HANDSHAKE;
        let connection = connection(&[syn, syn_ack, (CLIENT, flags, seq, 501, payload)]);
        assert_eq!(connection.synack_ack_ns, told_ns, "{flags} {seq}");
    }
}

#[test]
fn how_a_connection_went_is_told_in_one_word() {
    use ConnState as S;
    let client = |flags| (CLIENT, flags, 101, 501, "");
    let server = |flags| (SERVER, flags, 501, 101, "");
    for (packets, state, history) in [
        (vec![], S::S1, "ShA"),
        (vec![client("F.")], S::S2, "ShAF"),
        (vec![server("F.")], S::S3, "ShAf"),
        (vec![client("R")], S::Rsto, "ShAR"),
        (vec![server("R.")], S::Rstr, "ShAr"),
        (vec![server("F."), client("R")], S::Rsto, "ShAfR"),
        (
            vec![client("F."), client("R"), server("F.")],
            S::Sf,
            "ShAFRf",
        ),
    ] {
        let connection = established(&packets);
        assert_eq!((connection.state, &*connection.history), (state, history));
    }
    for (packets, state, history) in [
        (vec![HANDSHAKE[0]], S::S0, "S"),
        (vec![HANDSHAKE[0], HANDSHAKE[0]], S::S0, "S"),
        (vec![HANDSHAKE[0], (SERVER, "R.", 0, 101, "")], S::Rej, "Sr"),
        (vec![HANDSHAKE[0], client("F")], S::Sh, "SF"),
        (vec![HANDSHAKE[0], client("R")], S::Rstos0, "SR"),
        (vec![HANDSHAKE[1], server("R.")], S::Rstrh, "^hr"),
        (vec![HANDSHAKE[1], server("F.")], S::Shr, "^hf"),
        (vec![(CLIENT, "P.", 7, 7, "x")], S::Oth, "D"),
        (vec![(SERVER, "P.", 7, 7, "x")], S::Oth, "^d"),
        (vec![(CLIENT, "FR", 7, 7, "")], S::Oth, "I"),
    ] {
        let connection = connection(&packets);
        assert_eq!((connection.state, &*connection.history), (state, history));
        assert_eq!(connection.orig.endpoint, endpoint(CLIENT), "{history}");
    }
}

#[test]
fn the_receiver_of_a_syn_ack_is_the_originator_on_any_port() {
    let syn_ack = segment(7, 8, "S.", 500, 101, b"");
    let ack = segment(8, 7, ".", 101, 501, b"");
    for segments in [vec![syn_ack], vec![syn_ack, ack]] {
        let all = track(segments);
        assert_eq!(all.connections[0].orig.endpoint, endpoint(8));
        assert_eq!(&all.connections[0].history[..2], "^h");
    }
}

#[test]
fn a_syn_that_comes_after_its_answer_begins_the_connection() {
    let all = track([
        segment(7, 8, "S.", 500, 101, b""),
        segment(8, 7, "S", 100, 0, b""),
        segment(8, 7, ".", 101, 501, b""),
    ]);
    let connection = &all.connections[0];
    assert_eq!(connection.state, ConnState::S1);
    assert_eq!(connection.history, "^hSA");
    assert_eq!(connection.orig.endpoint, endpoint(8));
    assert!(!connection.reused_ports);
}

#[test]
fn packets_are_told_by_what_they_bring() {
    let connection = established(&[
        (CLIENT, ".", 101, 501, "aaaa"),
        (CLIENT, ".", 109, 501, "cccc"), // before b: a hole
        (CLIENT, ".", 101, 501, "aaaa"), // again
        (CLIENT, ".", 105, 501, "bbbb"), // late
        (CLIENT, ".", 111, 501, "ccdd"), // half new
        (CLIENT, ".", 125, 501, "ffff"), // a hole that stays
        (CLIENT, "F.", 129, 501, ""),
        (CLIENT, "F.", 129, 501, ""),
    ]);
    let orig = &connection.orig;
    assert_eq!(orig.wire_bytes, 24);
    assert_eq!(orig.uniq_bytes, 18);
    assert_eq!(orig.gap_bytes, 10);
    assert_eq!(orig.bytes, 28);
    assert_eq!(orig.data_packets, 6);
    assert_eq!(orig.duplicate_packets, 1);
    assert_eq!(orig.retransmitted_packets, 2); // with the FIN
    assert_eq!(orig.late_packets, 2);
    assert_eq!(orig.fin_packets, 2);
}

#[test]
fn what_was_acknowledged_and_not_seen_is_missing() {
    let connection = established(&[
        (SERVER, ".", 501, 101, "aaaa"),
        (SERVER, ".", 509, 101, "cccc"),
        (CLIENT, ".", 101, 513, ""),
        (CLIENT, ".", 101, 515, ""),
        (SERVER, ".", 505, 101, "bbbb"), // too late
    ]);
    assert_eq!(connection.missed_bytes, 6);
    assert_eq!(connection.history, "ShAdgt");
}

#[test]
fn what_was_cut_off_is_missing_but_no_gap() {
    let mut segments = vec![
        segment(CLIENT, SERVER, "S", 100, 0, b""),
        segment(SERVER, CLIENT, "S.", 500, 101, b""),
        segment(CLIENT, SERVER, ".", 101, 501, b"aaaa"),
        segment(CLIENT, SERVER, ".", 105, 501, b"bb"),
        segment(SERVER, CLIENT, ".", 501, 109, b""),
    ];
    segments[3].payload_bytes = 4;
    let connection = &track(segments).connections[0];
    assert_eq!(connection.missed_bytes, 4);
    assert_eq!(
        (connection.orig.uniq_bytes, connection.orig.gap_bytes),
        (8, 0)
    );
}

#[test]
fn sequence_numbers_wrap() {
    let mut segments = vec![
        segment(CLIENT, SERVER, "S", u32::MAX - 1, 0, b""),
        segment(SERVER, CLIENT, "S.", 0, u32::MAX, b""),
    ];
    let mut seq = u32::MAX;
    let count = 9000; // 9 GB: two wraps
    for _ in 0..count {
        let mut data = segment(CLIENT, SERVER, ".", seq, 1, b"cut");
        data.payload_bytes = 1 << 20;
        segments.push(data);
        seq = seq.wrapping_add(data.payload_bytes);
    }
    let all = track(segments);
    let orig = &all.connections[0].orig;
    assert_eq!(orig.bytes, count << 20);
    assert_eq!(orig.uniq_bytes, count << 20);
    assert_eq!((orig.gap_bytes, orig.retransmitted_packets), (0, 0));
}

#[test]
fn a_syn_with_another_number_begins_another_connection() {
    let again = segment(CLIENT, SERVER, "S", 9000, 0, b"");
    let segments = HANDSHAKE.map(|(from, flags, seq, ack, _)| {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        segment(from, to, flags, seq, ack, b"")
    });
    let all = track(segments.into_iter().chain([segments[0], again, again]));
    let told: Vec<_> = all
        .connections
        .iter()
        .map(|connection| (connection.orig.packets, connection.reused_ports))
        .collect();
    assert_eq!(told, [(3, false), (2, true)]);
}

#[test]
fn an_ack_tells_where_the_other_end_began() {
    // A reset that answers an earlier SYN: the number is another.
    let reset = segment(SERVER, CLIENT, "R.", 0, 50, b"");
    let syn = segment(CLIENT, SERVER, "S", 100, 0, b"");
    assert_eq!(track([reset, syn]).connections.len(), 2);
    // One that answers this SYN, and was captured before it.
    let reset = segment(SERVER, CLIENT, "R.", 0, 101, b"");
    assert_eq!(track([reset, syn]).connections.len(), 1);
}

#[test]
fn a_scope_keeps_connections_apart() {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for (scope, cookie) in [(1, Some(11)), (2, Some(22)), (1, None)] {
        let seen = Seen {
            ts_ns: 0,
            scope,
            cookie,
        };
        tracker.segment(seen, &segment(CLIENT, SERVER, "S", 1, 0, b""), &mut all);
    }
    all.finish(tracker);
    let told: Vec<_> = all
        .connections
        .iter()
        .map(|connection| {
            (
                connection.scope,
                connection.orig.packets,
                connection.orig.cookie,
            )
        })
        .collect();
    assert_eq!(told, [(1, 2, Some(11)), (2, 1, Some(22))]);
}

#[test]
fn both_ends_may_be_the_same() {
    let all = track([
        segment(5, 5, "S", 1, 0, b""),
        segment(5, 5, "S.", 1, 2, b""),
    ]);
    assert_eq!(all.connections.len(), 1);
    assert_eq!(
        all.connections[0].orig.packets + all.connections[0].resp.packets,
        2
    );
}

#[test]
fn too_many_connections_are_finished_early() {
    let mut all = All::default();
    let mut tracker = Tracker::new(Limits {
        connections: 16,
        lingering: 4,
        ..Limits::default()
    });
    for host in 100..=255 {
        let syn = segment(host, SERVER, "S", 1, 0, b"");
        tracker.segment(at(i64::from(host)), &syn, &mut all);
        // The first stays busy.
        tracker.segment(
            at(i64::from(host)),
            &segment(100, SERVER, ".", 2, 0, b""),
            &mut all,
        );
    }
    assert_eq!(tracker.evicted_connections(), all.connections.len() as u64);
    assert!((140..156).contains(&all.connections.len()));
    all.finish(tracker);
    assert_eq!(all.connections.len(), 156);
    let first = all.connections.iter().find(|it| it.id.0 == 0).unwrap();
    assert_eq!(first.orig.packets, 157);
}
