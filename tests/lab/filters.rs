//! Filters, as the kernel applies them: the packets that tcpdump takes.

use std::path::Path;

use crate::process::wait_until;
use crate::recorder::{Recorder, tcprec};
use crate::records;
use crate::traffic::some_of_everything;
use crate::tun::TunCable;
use crate::web::Nginx;
use crate::world::World;

/// Of TCP only: tcprec takes nothing else. None that asks for what changes
/// on the way from one program to the other.
const EXPRESSIONS: [&str; 4] = [
    "tcp port 80 and not host fd77::2",
    "ip6 and tcp dst port 80",
    "tcp and greater 200",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
];

fn with_hook(hook: &str) {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let name = |kind: &str, number: usize| {
        let path = world.file(&format!("{kind}.{number}.jsonl"));
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let everything = name("all", 0);
    let start = |output: &str, expression: &[&str]| {
        let options = ["-i", "eth0", "--hook", hook, "-s", "0", "-o", output];
        let arguments = [&options[..], expression].concat();
        Recorder::start(&world, &world.client, &arguments)
    };
    let mut recorders = vec![start(&everything, &[])];
    for (number, expression) in EXPRESSIONS.iter().enumerate() {
        recorders.push(start(&name("live", number), &[expression]));
    }
    let ways: Vec<_> = ["in", "out"]
        .iter()
        .enumerate()
        .map(|(number, way)| {
            let output = name("way", number);
            recorders.push(start(&output, &["tcp", "-Q", way, "and", "not", "port 9"]));
            (*way, output)
        })
        .collect();
    some_of_everything(&world, &world.client, World::SERVER).join_log(&nginx);
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    let all = packets(&everything);
    for (number, expression) in EXPRESSIONS.iter().enumerate() {
        let offline = name("offline", number);
        tcprec(
            &world,
            &world.client,
            &["convert", &everything, &offline, expression],
        )
        .expect_code(0);
        let live = name("live", number);
        let found = packets(&live);
        assert_eq!(found, packets(&offline), "{expression}");
        assert!(
            !found.is_empty() && found.len() < all.len(),
            "{expression}: {} of {}",
            found.len(),
            all.len()
        );
        let records = records::read(Path::new(&live));
        let [capture] = records::of_type(&records, "capture")[..] else {
            panic!("one capture record");
        };
        assert_eq!(capture["filter"], *expression);
        let [end] = records::of_type(&records, "end")[..] else {
            panic!("one end");
        };
        assert_eq!(end["seen_packets"], found.len());
    }
    let mut both = 0;
    for (way, output) in ways {
        let records = records::read(Path::new(&output));
        for packet in records::of_type(&records, "packet") {
            assert_eq!(packet["direction"], way);
            both += 1;
        }
    }
    assert_eq!(both, all.len());
}

/// Packets of an interface that comes later, and begin with another header, pass the
/// filter too, or if it makes no sense for them are not recorded.
pub(crate) fn hold_for_what_comes() {
    for (expression, told) in [
        ("tcp port 9", "recording on eth0 too"),
        ("ether src host 1:2:3:4:5:6", "does not fit its packets"),
    ] {
        let world = World::without_cable();
        let _nginx = Nginx::start(&world, &world.server);
        let output = world.file("capture.jsonl").display().to_string();
        let arguments = ["-i", "any", "-o", &output, expression];
        let recorder = Recorder::start(&world, &world.client, &arguments);
        let _cable = TunCable::between(&world.client, &world.server);
        world.give_addresses();
        wait_until(told, || recorder.errors().contains(told));
        some_of_everything(&world, &world.client, World::SERVER);
        world.settle();
        recorder.stop();
        assert_eq!(packets(&output), [""; 0], "{expression}");
    }
}

/// The bytes of all packets, sorted: each recorder has its own times, and two
/// CPUs at once may come in another order.
fn packets(path: &str) -> Vec<String> {
    let records = records::read(Path::new(path));
    let packets = records::of_type(&records, "packet");
    let mut bytes: Vec<_> = packets
        .iter()
        .map(|packet| packet["data"].as_str().expect("base64").to_owned())
        .collect();
    bytes.sort();
    bytes
}

pub(crate) fn tcx() {
    with_hook("tcx");
}

pub(crate) fn socket_filter() {
    with_hook("socket-filter");
}

/// Only TCP is recorded, and tags stand beside the bytes: that a filter asks for something
/// else is told.
pub(crate) fn in_vain() {
    const NO_TCP: &str = "without packets: no TCP packet passes the filter";
    const VLAN: &str = "without vlan in the filter: the kernel";
    let world = World::without_cable();
    for (filter, expected) in [
        ("udp port 53", Some(NO_TCP)),
        ("icmp or arp", Some(NO_TCP)),
        ("port 53", None),
        // TCP may follow behind such a header.
        ("ip6[6] = 0", None),
        ("port 80 or (vlan and port 80)", Some(VLAN)),
    ] {
        let arguments = ["record", "-i", "lo", "--print", filter, "--", "true"];
        let ended = tcprec(&world, &world.server, &arguments).expect_code(0);
        for told in [NO_TCP, VLAN] {
            let is_told = ended.errors.contains(told);
            assert_eq!(
                is_told,
                expected == Some(told),
                "{filter}: {}",
                ended.errors
            );
        }
    }
}
