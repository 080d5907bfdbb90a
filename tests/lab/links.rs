//! Packets that are wrapped otherwise than usual.

use std::fs;

use crate::frames::{self, Form};
use crate::netns::Namespace;
use crate::process::wait_until;
use crate::recorder::{Recorder, analyze};
use crate::report::Ends;
use crate::traffic::some_of_everything;
use crate::tun::TunCable;
use crate::web::{Nginx, Traffic};
use crate::world::World;

const HOOKS: [&str; 2] = ["tcx", "socket-filter"];

pub(crate) fn without_headers() {
    for hook in HOOKS {
        let world = World::without_cable();
        let _cable = TunCable::between(&world.client, &world.server);
        world.give_addresses();
        let nginx = Nginx::start(&world, &world.server);
        let capture = world.file("capture.pcapng");
        let output = capture.to_str().expect("a path in UTF-8");
        let recorder = Recorder::start(
            &world,
            &world.client,
            &["-i", "eth0", "-o", output, "--hook", hook],
        );
        let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
        traffic.join_log(&nginx);
        world.settle();
        recorder.stop();
        analyze(&world, &capture).expect(&traffic, Ends::Client);
    }
}

/// Frames made by hand are sent by the client and recorded on a host.
fn by_hand(recorded: fn(&World) -> &Namespace, form: Form) {
    for hook in HOOKS {
        let world = World::new();
        let capture = world.file("capture.pcapng");
        let output = capture.to_str().expect("a path in UTF-8");
        // Which packets came is looked at while it records.
        let lines = world.file("capture.jsonl");
        let at_once = ["-U", "-o", lines.to_str().expect("a path in UTF-8")];
        let arguments = ["-i", "eth0", "-o", output, "--hook", hook];
        let recorder = Recorder::start(
            &world,
            recorded(&world),
            &[&arguments[..], &at_once].concat(),
        );
        let sent = frames::send_connection(&world.client, form);
        wait_until("all frames have arrived", || {
            let text = fs::read_to_string(&lines).expect("a capture");
            text.matches(r#"{"type":"packet""#).count() >= sent
        });
        recorder.stop();
        let report = analyze(&world, &capture);
        report.expect(
            &Traffic {
                connections: vec![frames::connection()],
            },
            Ends::Server,
        );
        let answer = report.of_kind("http").next().expect("a request");
        assert_eq!(answer["response_body_len"], form.body_bytes(), "{answer}");
        if let Form::Tagged(id) = form {
            let tagged = ["-r", output, "-Y", &format!("vlan.id == {id} && tcp")];
            let listed = world
                .run(&world.client, "tshark", &tagged)
                .expect_code(0)
                .output;
            assert_eq!(
                listed.lines().count(),
                sent,
                "frames with their tag:\n{listed}"
            );
        }
    }
}

pub(crate) fn vlan_tags_in_the_bytes() {
    by_hand(|world| &world.client, Form::Tagged(42));
}

/// On the way in the kernel moves the tag out of the bytes before any hook runs.
pub(crate) fn vlan_tags_beside_the_bytes() {
    by_hand(|world| &world.server, Form::Tagged(42));
}

pub(crate) fn fragments() {
    by_hand(|world| &world.server, Form::Fragmented);
}

/// A router whose only interface takes packets in and sends them out again.
pub(crate) fn through_one_interface() {
    let world = World::without_cable();
    let [switch, router] = [Namespace::new(), Namespace::new()];
    switch.ip("link add br0 type bridge");
    switch.ip("link set br0 up");
    for (number, host) in [(1, &world.client), (2, &world.server), (3, &router)] {
        let port = format!("port{number}");
        let netns = host.path();
        switch.ip(&format!(
            "link add {port} type veth peer name eth0 netns {netns}"
        ));
        switch.ip(&format!("link set {port} master br0 up"));
        host.ip("link set eth0 up");
        host.ip(&format!("address add 10.77.0.{number}/32 dev eth0"));
        host.ip("route add 10.77.0.3 dev eth0");
    }
    world.client.ip("route add 10.77.0.2 via 10.77.0.3");
    world.server.ip("route add 10.77.0.1 via 10.77.0.3");
    router.ip("route add 10.77.0.0/24 dev eth0");
    router.enter(|| {
        // Without telling them the shorter way.
        for (name, value) in [
            ("ip_forward", "1"),
            ("conf/all/send_redirects", "0"),
            ("conf/eth0/send_redirects", "0"),
        ] {
            fs::write(format!("/proc/sys/net/ipv4/{name}"), value).expect("a setting");
        }
    });
    let _nginx = Nginx::start(&world, &world.server);
    let captures = HOOKS.map(|hook| {
        let capture = world.file(&format!("{hook}.jsonl"));
        let output = capture.to_str().expect("a path in UTF-8");
        let arguments = ["-i", "eth0", "-o", output, "--hook", hook];
        (Recorder::start(&world, &router, &arguments), capture)
    });
    let targets = ["/item/1".to_owned(), "/item/2".to_owned()];
    for _ in 0..10 {
        Traffic::default().fetch(&world, &world.client, World::SERVER[0], &targets);
    }
    world.settle();
    for (recorder, capture) in captures {
        recorder.stop();
        let report = analyze(&world, &capture);
        assert_eq!(report.findings().count(), 0);
        assert_eq!(report.of_kind("http").count(), 20);
        let connections: Vec<_> = report.of_kind("conn").collect();
        assert_eq!(connections.len(), 10);
        for connection in connections {
            for end in ["orig", "resp"] {
                assert_eq!(connection[format!("{end}_rexmt")], 0, "{connection}");
            }
        }
        let told = report.of_kind("capture").next().expect("a capture");
        let copies = told["copied_packets"].as_u64().expect("a number");
        assert_eq!(told["packets"], 2 * copies);
    }
}

/// What one host sends comes by two cables by turns, as from a bond.
pub(crate) fn by_turns() {
    let world = World::new();
    let peer = world.server.path();
    world.client.ip(&format!(
        "link add eth1 type veth peer name eth1 netns {peer}"
    ));
    let show = ["-o", "link", "show", "eth0"];
    let shown = world.run(&world.client, "ip", &show).expect_code(0).output;
    let mut words = shown.split_whitespace();
    let address = words
        .find(|word| *word == "link/ether")
        .and_then(|_| words.next())
        .unwrap_or_else(|| panic!("no address: {shown}"));
    world.client.ip(&format!("link set eth1 address {address}"));
    for host in [&world.client, &world.server] {
        host.ip("link set eth1 up");
    }
    world.client.enter(|| {
        for interface in ["all", "eth0", "eth1"] {
            let filter = format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter");
            fs::write(filter, "0").expect("a setting");
        }
    });
    let rules = "table netdev lab {
        chain out {
            type filter hook egress device eth0 priority 0
            meta l4proto tcp numgen inc mod 2 1 fwd to eth1
        }
    }";
    world.run(&world.server, "nft", &[rules]).expect_code(0);
    let nginx = Nginx::start(&world, &world.server);
    let captures = HOOKS.map(|hook| {
        let capture = world.file(&format!("{hook}.jsonl"));
        let output = capture.to_str().expect("a path in UTF-8");
        let arguments = ["-i", "eth0", "-i", "eth1", "-o", output, "--hook", hook];
        (Recorder::start(&world, &world.client, &arguments), capture)
    });
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    for (recorder, capture) in captures {
        recorder.stop();
        let report = analyze(&world, &capture);
        report.expect(&traffic, Ends::Client);
        let told = report.of_kind("capture").next().expect("a capture");
        let passed = told["interfaces"].as_array().expect("interfaces");
        assert!(passed.iter().all(|on| on["packets"] != 0), "{told}");
        for connection in report.of_kind("conn") {
            assert_eq!(connection["resp_gap_bytes"], 0, "{connection}");
        }
    }
}
