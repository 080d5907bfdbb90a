//! Connections and requests: as many, and the same, as were really made.

use std::ffi::OsStr;
use std::thread;

use crate::netns::Namespace;
use crate::recorder::{Recorder, analyze, convert};
use crate::records;
use crate::report::Ends;
use crate::web::{Nginx, Traffic};
use crate::world::World;

/// A little of everything, on both families: connections that are kept alive
/// and such that are not, answers good and bad, short and long, a refusal.
pub(crate) fn some_of_everything(world: &World, client: &Namespace, servers: [&str; 2]) -> Traffic {
    let mut traffic = Traffic::default();
    for server in servers {
        let targets = ["/item/1", "/missing", "/big", "/item/2"].map(str::to_owned);
        traffic.fetch(world, client, server, &targets);
        traffic.fetch(world, client, server, &targets[..1]);
        traffic.knock(world, client, server);
    }
    traffic
}

/// Recorded from one host of a cable: only what is on that host has an owner.
fn over_the_cable(recorded: fn(&World) -> &Namespace, hook: &str, ends: Ends) {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(
        &world,
        recorded(&world),
        &["-i", "eth0", "-o", output, "--hook", hook],
    );
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    analyze(&world, &capture).expect(&traffic, ends);
}

pub(crate) fn client_side_tcx() {
    over_the_cable(|world| &world.client, "tcx", Ends::Client);
}

pub(crate) fn client_side_socket_filter() {
    over_the_cable(|world| &world.client, "socket-filter", Ends::Client);
}

pub(crate) fn server_side_tcx() {
    over_the_cable(|world| &world.server, "tcx", Ends::Server);
}

pub(crate) fn server_side_socket_filter() {
    over_the_cable(|world| &world.server, "socket-filter", Ends::Server);
}

fn over_loopback(arguments: &[&str]) {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(
        &world,
        &world.server,
        &[arguments, &["-o", output]].concat(),
    );
    let mut traffic = some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    analyze(&world, &capture).expect(&traffic, Ends::Both);
    // There a packet passes both ways and is kept once.
    for packet in records::of_type(&records::read(&capture), "packet") {
        assert_eq!(packet["direction"], "out", "{packet}");
    }
}

pub(crate) fn loopback_tcx() {
    over_loopback(&["-i", "lo", "--hook", "tcx"]);
}

pub(crate) fn loopback_socket_filter() {
    over_loopback(&["-i", "lo", "--hook", "socket-filter"]);
}

/// Where not that of this processor is chosen.
pub(crate) fn loopback_transports() {
    for hook in ["tcx", "socket-filter"] {
        for transport in ["ring", "perf"] {
            over_loopback(&["-i", "lo", "--transport", transport, "--hook", hook]);
        }
    }
}

pub(crate) fn any_interface() {
    over_loopback(&["-i", "any"]);
}

/// A thousand requests, four at a time: 200 over connections of their own, 10
/// to a closed port, and the rest over connections that are kept alive.
fn a_thousand_requests(world: &World, client: &Namespace, servers: [&str; 2]) -> Traffic {
    let quarter = |first: usize| {
        let mut traffic = Traffic::default();
        for number in (first..200).step_by(4) {
            let folder = if number % 10 == 0 { "missing" } else { "item" };
            let server = servers[number / 4 % 2];
            traffic.fetch(world, client, server, &[format!("/{folder}/{number}")]);
        }
        for number in (first..10).step_by(4) {
            let server = servers[number / 4 % 2];
            let targets: Vec<_> = (0..79)
                .map(|item| format!("/item/{number}/{item}"))
                .collect();
            traffic.fetch(world, client, server, &targets);
            traffic.knock(world, client, server);
        }
        traffic.connections
    };
    let connections = thread::scope(|scope| {
        let quarters = [0, 1, 2, 3].map(|first| scope.spawn(move || quarter(first)));
        quarters
            .into_iter()
            .flat_map(|quarter| quarter.join().expect("a quarter of the traffic"))
            .collect()
    });
    let traffic = Traffic { connections };
    assert_eq!((traffic.connections.len(), traffic.requests()), (220, 990));
    traffic
}

/// To the last, with both owners; the same from each format and after two conversions.
pub(crate) fn a_thousand_requests_in_every_format() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let captures =
        ["a.jsonl", "a.jsonl.zst", "a.pcapng", "a.pcapng.zst"].map(|name| world.file(name));
    let mut arguments = vec![OsStr::new("-i"), OsStr::new("lo")];
    arguments.extend(
        captures
            .iter()
            .flat_map(|path| [OsStr::new("-o"), path.as_os_str()]),
    );
    let recorder = Recorder::start(&world, &world.server, &arguments);
    let mut traffic = a_thousand_requests(&world, &world.server, ["127.0.0.1", "::1"]);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    let [_, _, pcapng, _] = &captures;
    let [there, back] = ["b.jsonl.zst", "b.pcapng"].map(|name| world.file(name));
    convert(&world, pcapng, &there);
    convert(&world, &there, &back);
    for capture in captures.iter().chain([&there, &back]) {
        analyze(&world, capture).expect(&traffic, Ends::Both);
    }
}

/// To the last, recorded on both hosts at once.
pub(crate) fn a_thousand_requests_from_both_hosts() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let sides = [
        (&world.client, Ends::Client, "client.jsonl.zst"),
        (&world.server, Ends::Server, "server.jsonl.zst"),
    ];
    let recorders = sides.map(|(host, _, name)| {
        let output = world.file(name);
        Recorder::start(
            &world,
            host,
            &[
                OsStr::new("-i"),
                OsStr::new("eth0"),
                OsStr::new("-o"),
                output.as_os_str(),
            ],
        )
    });
    let mut traffic = a_thousand_requests(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    for (_, ends, name) in sides {
        analyze(&world, &world.file(name)).expect(&traffic, ends);
    }
}
