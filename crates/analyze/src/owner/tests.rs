use super::*;
use tcprec_shared::record::TcpState;

const NS: u32 = 4026531840;
const SECOND: i64 = 1_000_000_000;

fn endpoint(text: &str) -> Endpoint {
    let text: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::new(text.ip(), text.port())
}

fn pid(pid: u32) -> ProcessId {
    ProcessId {
        pid,
        start_ns: i64::from(pid) * SECOND,
    }
}

fn event(kind: EventKind, ts: i64, local: &str, remote: &str) -> Event {
    Event::new(kind, ts * SECOND, NS, endpoint(local), endpoint(remote))
}

fn end(local: &str, remote: &str, first: i64, last: i64) -> End {
    End {
        netns: NS,
        local: endpoint(local),
        remote: endpoint(remote),
        cookie: None,
        span: Span {
            first_ns: first * SECOND,
            last_ns: last * SECOND,
        },
    }
}

struct Table(Owners);

impl Table {
    fn new() -> Self {
        Self(Owners::new(100))
    }

    fn see(&mut self, event: Event) -> &mut Self {
        self.0.observe(&Record::Event(event));
        self
    }

    fn owner(&self, end: &End) -> Option<(u32, Provenance)> {
        let owner = self.0.facts(end).owner?;
        Some((owner.process.id.pid, owner.provenance))
    }
}

const CLIENT: &str = "10.0.0.1:41234";
const CLIENT_NO_PORT: &str = "10.0.0.1:0";
const SERVER: &str = "10.0.0.2:80";
const NONE: &str = "0.0.0.0:0";

#[test]
fn connect_without_a_port_is_joined_by_cookie() {
    let mut table = Table::new();
    table.see(Event {
        cookie: Some(7),
        process: Some(pid(811)),
        old_state: Some(TcpState::Close),
        new_state: Some(TcpState::SynSent),
        ..event(EventKind::Connect, 1, CLIENT_NO_PORT, SERVER)
    });
    let mut asked = end(CLIENT, SERVER, 1, 2);
    assert_eq!(table.owner(&asked), None);
    asked.cookie = Some(7);
    assert_eq!(table.owner(&asked), Some((811, Provenance::Connect)));
    table.see(Event {
        cookie: Some(7),
        old_state: Some(TcpState::SynSent),
        new_state: Some(TcpState::Established),
        ..event(EventKind::State, 1, CLIENT, SERVER)
    });
    asked.cookie = None;
    assert_eq!(table.owner(&asked), Some((811, Provenance::Connect)));
    let other_end = end(SERVER, CLIENT, 1, 2);
    assert_eq!(table.owner(&other_end), None);
}

#[test]
fn an_outgoing_packet_tells_the_port() {
    use tcprec_shared::headers::LinkType;
    use tcprec_shared::record::{Interface, KernelParse};

    let mut table = Table::new();
    table.0.observe(&Record::Interface(Interface {
        netns: Some(NS),
        ..Interface::new(3, None, LinkType::ETHERNET)
    }));
    table.see(Event {
        cookie: Some(7),
        process: Some(pid(811)),
        ..event(EventKind::Connect, 1, CLIENT_NO_PORT, SERVER)
    });
    table.0.observe(&Record::Packet(Packet {
        ts_ns: SECOND,
        interface: 3,
        direction: Some(Direction::Out),
        wire_bytes: 74,
        cookie: Some(7),
        kernel: Some(KernelParse {
            src: endpoint(CLIENT),
            dst: endpoint(SERVER),
            flags: 2,
            header_bytes: 74,
            payload_bytes: 0,
        }),
        data: (&[]).into(),
    }));
    let asked = end(CLIENT, SERVER, 1, 2);
    assert_eq!(table.owner(&asked), Some((811, Provenance::Connect)));
}

#[test]
fn accept_comes_late_and_until_then_the_listener_is_a_guess() {
    let mut table = Table::new();
    table.see(Event {
        cookie: Some(1),
        process: Some(pid(900)),
        ..event(EventKind::Listen, 0, "0.0.0.0:80", NONE)
    });
    let asked = end(SERVER, CLIENT, 1, 2);
    // Nothing says yet that 10.0.0.2 is this host's.
    assert_eq!(table.owner(&asked), None);
    table.see(Event {
        cookie: Some(2),
        old_state: Some(TcpState::SynRecv),
        new_state: Some(TcpState::Established),
        ..event(EventKind::State, 1, SERVER, CLIENT)
    });
    assert_eq!(table.owner(&asked), Some((900, Provenance::Guess)));
    table.see(Event {
        cookie: Some(2),
        process: Some(pid(901)),
        ..event(EventKind::Accept, 3, SERVER, CLIENT)
    });
    assert_eq!(table.owner(&asked), Some((901, Provenance::Accept)));
}

#[test]
fn a_translated_end_is_known_by_its_cookie() {
    const TRANSLATED: &str = "10.0.0.2:8080";
    let mut table = Table::new();
    for (cookie, process, local) in [(1, 900, SERVER), (2, 901, TRANSLATED)] {
        table.see(Event {
            cookie: Some(cookie),
            process: Some(pid(process)),
            ..event(EventKind::Listen, 0, local, NONE)
        });
    }
    table.see(Event {
        cookie: Some(3),
        old_state: Some(TcpState::SynRecv),
        ..event(EventKind::State, 1, TRANSLATED, CLIENT)
    });
    let mut asked = end(SERVER, CLIENT, 1, 2);
    asked.cookie = Some(3);
    assert_eq!(table.owner(&asked), Some((901, Provenance::Guess)));
    table.see(Event {
        cookie: Some(3),
        process: Some(pid(902)),
        ..event(EventKind::Accept, 2, TRANSLATED, CLIENT)
    });
    assert_eq!(table.owner(&asked), Some((902, Provenance::Accept)));
}

#[test]
fn the_most_specific_listener_is_guessed() {
    let mut table = Table::new();
    let mut listen = |cookie, process, local: &str, ts| {
        table.see(Event {
            cookie: Some(cookie),
            process: Some(pid(process)),
            ..event(EventKind::Listen, ts, local, "[::]:0")
        });
    };
    listen(1, 10, "[::]:80", 0);
    listen(2, 11, "10.0.0.2:80", 0);
    listen(3, 12, "0.0.0.0:80", 0);
    listen(4, 13, "[::]:443", 0);
    listen(5, 14, "[::]:8080", 5);
    for local in ["10.0.0.2:1", "10.0.0.3:1"] {
        table.see(event(EventKind::Reset, 0, local, CLIENT));
    }
    let owner = |local: &str| table.owner(&end(local, CLIENT, 1, 2));
    assert_eq!(owner("10.0.0.2:80"), Some((11, Provenance::Guess)));
    assert_eq!(owner("10.0.0.3:80"), Some((12, Provenance::Guess)));
    assert_eq!(owner("10.0.0.3:443"), Some((13, Provenance::Guess)));
    // It began to listen later than this connection was.
    assert_eq!(owner("10.0.0.3:8080"), None);
    // Another host's address.
    assert_eq!(owner("10.0.0.9:443"), None);
    table.see(Event {
        cookie: Some(6),
        process: Some(pid(15)),
        ..event(EventKind::Listen, 0, "0.0.0.0:80", NONE)
    });
    // Either of two (SO_REUSEPORT).
    assert_eq!(table.owner(&end("10.0.0.3:80", CLIENT, 1, 2)), None);
}

#[test]
fn a_tuple_used_again_has_the_owner_of_its_time() {
    let mut table = Table::new();
    for (cookie, process, ts) in [(1, 10, 10), (2, 20, 20)] {
        table
            .see(Event {
                cookie: Some(cookie),
                process: Some(pid(process)),
                ..event(EventKind::Connect, ts, CLIENT, SERVER)
            })
            .see(Event {
                cookie: Some(cookie),
                old_state: Some(TcpState::FinWait2),
                new_state: Some(TcpState::Close),
                ..event(EventKind::Close, ts + 5, CLIENT, SERVER)
            });
    }
    let owner = |first, last| table.owner(&end(CLIENT, SERVER, first, last));
    assert_eq!(owner(10, 16), Some((10, Provenance::Connect)));
    assert_eq!(owner(19, 24), Some((20, Provenance::Connect)));
    // Between both, the nearer one.
    assert_eq!(owner(16, 16), Some((10, Provenance::Connect)));
    assert_eq!(owner(19, 19), Some((20, Provenance::Connect)));
}

#[test]
fn a_scan_names_the_youngest_holder_and_an_accept_outdoes_it() {
    let mut table = Table::new();
    let scan = |process| Event {
        cookie: Some(5),
        process: Some(pid(process)),
        new_state: Some(TcpState::Established),
        ..event(EventKind::Scan, 1, SERVER, CLIENT)
    };
    let asked = end(SERVER, CLIENT, 0, 2);
    table.see(scan(50));
    assert_eq!(table.owner(&asked), Some((50, Provenance::Scan)));
    table.see(scan(70)).see(scan(60));
    assert_eq!(table.owner(&asked), Some((70, Provenance::Inherited)));
    table.see(Event {
        cookie: Some(5),
        process: Some(pid(50)),
        ..event(EventKind::Accept, 1, SERVER, CLIENT)
    });
    assert_eq!(table.owner(&asked), Some((50, Provenance::Accept)));
}

#[test]
fn who_uses_a_socket_owns_it_however_it_came_by_it() {
    let mut table = Table::new();
    let asked = end(SERVER, CLIENT, 0, 2);
    let mut does = |kind, process| {
        table.see(Event {
            cookie: Some(5),
            process: Some(pid(process)),
            new_state: Some(TcpState::Established),
            ..event(kind, 1, SERVER, CLIENT)
        });
        table.owner(&asked)
    };
    // Who accepted it is not known.
    let found = does(EventKind::Handover, 40);
    assert_eq!(found, Some((40, Provenance::Cookie)));
    let found = does(EventKind::Accept, 50);
    assert_eq!(found, Some((40, Provenance::Inherited)));
    let found = does(EventKind::Handover, 60);
    assert_eq!(found, Some((60, Provenance::Inherited)));
    let found = does(EventKind::Close, 70);
    assert_eq!(found, Some((60, Provenance::Inherited)));
    // And back.
    let found = does(EventKind::Handover, 50);
    assert_eq!(found, Some((50, Provenance::Accept)));
}

#[test]
fn of_several_holders_the_one_that_uses_it_is_the_owner() {
    let mut table = Table::new();
    let asked = end(SERVER, CLIENT, 0, 2);
    let mut does = |kind, process| {
        table.see(Event {
            cookie: Some(5),
            process: Some(pid(process)),
            new_state: Some(TcpState::Established),
            ..event(kind, 1, SERVER, CLIENT)
        });
        table.owner(&asked)
    };
    does(EventKind::Scan, 50);
    does(EventKind::Scan, 60);
    let found = does(EventKind::Handover, 50);
    assert_eq!(found, Some((50, Provenance::Scan)));
    // One that was born later.
    let found = does(EventKind::Handover, 70);
    assert_eq!(found, Some((70, Provenance::Inherited)));
}

#[test]
fn closing_a_socket_is_the_weakest_claim() {
    let mut table = Table::new();
    table.see(Event {
        cookie: Some(5),
        process: Some(pid(50)),
        old_state: Some(TcpState::Established),
        new_state: Some(TcpState::FinWait1),
        ..event(EventKind::State, 1, SERVER, CLIENT)
    });
    let asked = end(SERVER, CLIENT, 0, 2);
    assert_eq!(table.owner(&asked), Some((50, Provenance::Cookie)));
}

#[test]
fn a_socket_of_another_namespace_stands_for_the_end_but_not_on_loopback() {
    let mut table = Table::new();
    for local in [SERVER, "127.0.0.1:80"] {
        table.see(Event {
            netns: NS + 1,
            process: Some(pid(50)),
            ..event(EventKind::Accept, 1, local, CLIENT)
        });
    }
    assert_eq!(
        table.owner(&end(SERVER, CLIENT, 0, 2)),
        Some((50, Provenance::Accept))
    );
    assert_eq!(table.owner(&end("127.0.0.1:80", CLIENT, 0, 2)), None);
}

#[test]
fn two_namespaces_with_the_same_ends_are_not_mixed_up() {
    let mut table = Table::new();
    let seen_in = |netns| End {
        netns,
        ..end(SERVER, CLIENT, 0, 2)
    };
    for netns in [NS, NS + 1] {
        table.see(Event {
            netns,
            process: Some(pid(netns - NS + 50)),
            ..event(EventKind::Accept, 1, SERVER, CLIENT)
        });
    }
    let owner = |netns| table.owner(&seen_in(netns)).map(|(pid, _)| pid);
    assert_eq!(owner(NS), Some(50));
    assert_eq!(owner(NS + 1), Some(51));
    // Seen from a third one it may be either.
    assert_eq!(owner(NS + 2), None);
    // The end is in a namespace that has the address, though its socket is not known.
    table.see(Event {
        netns: NS + 3,
        ..event(EventKind::Reset, 1, "10.0.0.2:9", "10.0.0.9:5000")
    });
    assert_eq!(table.owner(&seen_in(NS + 3)), None);
}

#[test]
fn packets_long_after_a_socket_are_not_its_own() {
    let mut table = Table::new();
    for kind in [EventKind::Connect, EventKind::Close] {
        table.see(Event {
            cookie: Some(1),
            process: Some(pid(50)),
            ..event(kind, 1, CLIENT, SERVER)
        });
    }
    assert!(table.owner(&end(CLIENT, SERVER, 60, 60)).is_some());
    assert_eq!(table.owner(&end(CLIENT, SERVER, 62, 62)), None);
    // In another namespace they are another connection's sooner.
    let elsewhere = |ts| End {
        netns: NS + 1,
        ..end(CLIENT, SERVER, ts, ts)
    };
    assert!(table.owner(&elsewhere(2)).is_some());
    assert_eq!(table.owner(&elsewhere(3)), None);
    for ts in [2, 3] {
        let claim = table.0.claim(&elsewhere(ts));
        assert_eq!(claim.holder.is_some(), ts == 2);
        assert_eq!(claim.span.last_ns, ts * SECOND);
    }
}

#[test]
fn kernel_facts_are_those_of_the_incarnation() {
    let mut table = Table::new();
    let facts = TcpFacts {
        srtt_ns: 1000,
        retransmitted_packets: 3,
        ..TcpFacts::default()
    };
    table
        .see(Event {
            cookie: Some(1),
            ..event(EventKind::Connect, 1, CLIENT, SERVER)
        })
        .see(event(EventKind::Retransmit, 2, CLIENT, SERVER))
        .see(Event {
            cookie: Some(1),
            tcp: Some(facts),
            ..event(EventKind::Close, 3, CLIENT, SERVER)
        });
    // A refused port: no socket, one reset for each attempt.
    for ts in [10, 20] {
        table.see(Event {
            direction: Some(Direction::Out),
            ..event(EventKind::Reset, ts, "10.0.0.1:81", "10.0.0.9:5000")
        });
    }
    assert_eq!(
        table.0.facts(&end(CLIENT, SERVER, 1, 3)).kernel,
        Some(KernelFacts {
            retransmits: 3,
            closed_ns: Some(3 * SECOND),
            tcp: Some(facts),
            ..KernelFacts::default()
        })
    );
    let refused = table
        .0
        .facts(&end("10.0.0.1:81", "10.0.0.9:5000", 20, 20))
        .kernel;
    assert_eq!(refused.unwrap().resets_sent, 1);
    assert_eq!(
        table.0.facts(&end("10.0.0.1:82", CLIENT, 1, 3)).kernel,
        None
    );
}

#[test]
fn what_was_sent_again_before_the_recording_is_not_counted() {
    let resent = |kind, ts, retransmitted_packets| Event {
        cookie: Some(1),
        tcp: Some(TcpFacts {
            retransmitted_packets,
            ..TcpFacts::default()
        }),
        ..event(kind, ts, CLIENT, SERVER)
    };
    let counted = |first: EventKind| {
        let mut table = Table::new();
        table
            .see(resent(first, 1, 1000))
            .see(resent(EventKind::Close, 9, 1002));
        let kernel = table.0.facts(&end(CLIENT, SERVER, 1, 9)).kernel;
        kernel.map(|kernel| kernel.retransmits)
    };
    assert_eq!(counted(EventKind::Scan), Some(2));
    // Nothing is older.
    assert_eq!(counted(EventKind::Connect), Some(1002));
}

#[test]
fn closed_sockets_are_forgotten() {
    let mut table = Table::new();
    for port in 1000..2000 {
        let local = format!("10.0.0.1:{port}");
        for kind in [EventKind::Connect, EventKind::Close] {
            table.see(Event {
                cookie: Some(port),
                process: Some(pid(1)),
                ..event(kind, 1, &local, SERVER)
            });
        }
    }
    assert_eq!(table.owner(&end("10.0.0.1:1000", SERVER, 1, 1)), None);
    assert!(table.owner(&end("10.0.0.1:1900", SERVER, 1, 1)).is_some());
}
