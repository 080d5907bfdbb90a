//! What the kernel did to sockets, and who asked it to.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize as _;
use serde_json::Value;
use tcprec_shared::record::EventKind;

use crate::owners::{Script, ends_of};
use crate::process::wait_until;
use crate::recorder::{Recorder, analyze};
use crate::records::{self, of_type};
use crate::web::{Nginx, PORT, Traffic};
use crate::world::World;

/// nginx is started and one request made, all under the recorder's eyes.
struct Scene {
    world: World,
    nginx: Nginx,
    traffic: Traffic,
    capture: PathBuf,
}

impl Scene {
    fn record() -> Self {
        let world = World::without_cable();
        let capture = world.file("capture.jsonl");
        let output = capture.to_str().expect("a path in UTF-8");
        let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", output]);
        let nginx = Nginx::start(&world, &world.server);
        let mut traffic = Traffic::default();
        traffic.fetch(&world, &world.server, "127.0.0.1", &["/item/1".to_owned()]);
        traffic.join_log(&nginx);
        world.settle();
        recorder.stop();
        Self {
            world,
            nginx,
            traffic,
            capture,
        }
    }

    /// The events of this scene's namespace: the recorder sees those of all.
    fn events(&self) -> Vec<Value> {
        let netns = self.world.server.inode();
        records::read(&self.capture)
            .into_iter()
            .filter(|record| record["netns"] == netns && record["local"].is_object())
            .collect()
    }
}

pub(crate) fn each_kind() {
    let scene = Scene::record();
    let events = scene.events();
    let [done] = &scene.traffic.connections[..] else {
        panic!("one connection was made");
    };
    let client = u64::from(done.client.expect("the client's end").port());

    let listens = of_type(&events, "listen");
    assert_eq!(listens.len(), 2, "one for each family: {listens:?}");
    for listen in listens {
        assert_eq!(listen["local"]["port"], PORT, "{listen}");
        assert_eq!(listen["process"]["pid"], scene.nginx.master(), "{listen}");
    }
    let [connect] = of_type(&events, "connect")[..] else {
        panic!("connects: {events:#?}");
    };
    assert_eq!(connect["process"]["pid"], done.curl, "{connect}");
    assert_eq!(connect["remote"]["addr"], "127.0.0.1", "{connect}");
    assert_eq!(connect["remote"]["port"], PORT, "{connect}");
    let [accept] = of_type(&events, "accept")[..] else {
        panic!("accepts: {events:#?}");
    };
    assert_eq!(
        Some(&accept["process"]["pid"]),
        done.worker.map(Value::from).as_ref(),
        "{accept}"
    );
    assert_eq!(accept["local"]["port"], PORT, "{accept}");
    assert_eq!(accept["remote"]["port"], client, "{accept}");

    let cookies: BTreeSet<_> = [connect, accept]
        .map(|event| event["cookie"].as_u64().expect("a cookie"))
        .into();
    assert_eq!(cookies.len(), 2, "each end has a socket of its own");
    let of_both = |kind| {
        let events = of_type(&events, kind);
        let cookies: BTreeSet<_> = events
            .iter()
            .filter_map(|event| event["cookie"].as_u64())
            .collect();
        (events, cookies)
    };
    let (states, with_state) = of_both("state");
    assert!(
        with_state.is_superset(&cookies),
        "both were established: {states:#?}"
    );
    // The handshake's last packet arrives while curl runs, and is no deed of curl's.
    let made = states
        .iter()
        .find(|state| state["cookie"] == accept["cookie"] && state["new_state"] == "established")
        .expect("the event that the server's end was established");
    assert!(made["process"].is_null(), "{made}");
    let (closes, closed) = of_both("close");
    assert!(
        closed.is_superset(&cookies),
        "both were closed: {closes:#?}"
    );
    for close in closes
        .iter()
        .filter(|close| close["cookie"] == connect["cookie"])
    {
        assert_eq!(close["local"]["port"], client, "{close}");
        assert!(close["tcp"]["received_bytes"].as_u64() > Some(0), "{close}");
    }
}

/// One that closes its connection after it has shut it down sets its state twice.
const SHUTS_DOWN: &str = "
import socket
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.shutdown(socket.SHUT_WR)
client.close()
";

/// What stays as it is does not change: no event tells of it.
pub(crate) fn changes() {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", output]);
    world
        .run(&world.server, "python3", &["-c", SHUTS_DOWN])
        .expect_code(0);
    world.settle();
    recorder.stop();
    let records = records::read(&capture);
    let states = of_type(&records, "state").into_iter();
    let states = states.filter(|state| state["netns"] == world.server.inode());
    let changes: Vec<_> = states
        .map(|state| ["old_state", "new_state"].map(|name| state[name].clone()))
        .collect();
    assert!(changes.contains(&["established", "fin_wait1"].map(Value::from)));
    for [old, new] in &changes {
        assert_ne!(old, new, "{changes:#?}");
    }
}

/// A close that is printed names whose the socket was, and how long it lived, also where no
/// process acted: curl closes first, so it is a packet that ends its socket.
pub(crate) fn printed_closes() {
    let world = World::without_cable();
    let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "--print"]);
    let nginx = Nginx::start(&world, &world.server);
    let mut traffic = Traffic::default();
    traffic.fetch(&world, &world.server, "127.0.0.1", &["/item/1".to_owned()]);
    traffic.join_log(&nginx);
    world.settle();
    let lines = recorder.stop().output;
    let [done] = &traffic.connections[..] else {
        panic!("one connection was made");
    };
    let client = done.client.expect("the client's end");
    let closes: Vec<_> = (lines.lines())
        .filter(|line| line.contains(" close ") && line.contains(&format!("{client} ")))
        .collect();
    let [curl, worker] = [done.curl, done.worker.expect("who accepted")];
    for name in [format!("curl[{curl}]"), format!("nginx[{worker}]")] {
        let its = closes.iter().filter(|line| line.contains(&name));
        let [close] = its.collect::<Vec<_>>()[..] else {
            panic!("one close of {name}: {closes:#?}");
        };
        assert!(close.contains(" after "), "{close}");
    }
}

pub(crate) fn processes() {
    let scene = Scene::record();
    let [done] = &scene.traffic.connections[..] else {
        panic!("one connection was made");
    };
    let records = records::read(&scene.capture);
    let place = |kind: &str, pid: u32| {
        records.iter().position(|record| {
            record["type"] == kind && (record["pid"] == pid || record["process"]["pid"] == pid)
        })
    };
    let worker = done.worker.expect("who accepted");
    for (pid, comm, exe, event) in [
        (done.curl, "curl", "/curl", "connect"),
        (worker, "nginx", "/nginx", "accept"),
    ] {
        let at = place("process", pid).expect("a record of the process");
        let process = &records[at];
        assert_eq!(process["comm"], comm, "{process}");
        assert!(
            process["exe"]
                .as_str()
                .is_some_and(|path| path.ends_with(exe)),
            "{process}"
        );
        assert!(
            process["argv"]
                .as_array()
                .is_some_and(|words| !words.is_empty()),
            "{process}"
        );
        assert_eq!(process["uid"], 0, "{process}");
        assert!(process["cgroup"].is_string(), "{process}");
        assert!(
            place(event, pid).is_some_and(|event| event > at),
            "the process stands before its events"
        );
    }
    let worker = &records[place("process", worker).expect("a record of the process")];
    assert_eq!(worker["ppid"], scene.nginx.master(), "{worker}");
}

/// A connection that was there before the recording. Its process is none of these
/// tests': that starts programs all the time, and each holds its sockets for a
/// moment.
pub(crate) fn sockets_from_before() {
    found_from_before("btf");
    found_from_before("tracepoints");
}

fn found_from_before(hooks: &str) {
    let world = World::without_cable();
    let script = "
listener = listen()
here = socket.create_connection((LOCAL, port_of(listener)))
there = listener.accept()[0]
pause()
other = threading.Thread(target=lambda: serve(there))
other.start()
hear(here)
other.join()
";
    let script = Script::start(&world, &world.server, script);
    wait_until("the connection is there", || world.file("ready").exists());
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let arguments = ["-i", "lo", "-o", output, "--events", hooks];
    let recorder = Recorder::start(&world, &world.server, &arguments);
    fs::write(world.file("go"), "").expect("a file");
    let told = script.finish();
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    let [connection] = report.of_kind("conn").collect::<Vec<_>>()[..] else {
        panic!("one connection was there: {report:#?}");
    };
    let owner = |pid| Some((pid, "scan".to_owned()));
    assert_eq!(
        ends_of(connection),
        [owner(told[0].client), owner(told[0].server)]
    );
}

/// The last record holds the totals, and they agree with the file.
pub(crate) fn totals() {
    let scene = Scene::record();
    let records = records::read(&scene.capture);
    let end = records.last().expect("a last record");
    assert_eq!(end["type"], "end");
    let count = |kind| of_type(&records, kind).len();
    assert_eq!(end["recorded_packets"], count("packet"), "{end}");
    assert_eq!(end["seen_packets"], count("packet"), "{end}");
    assert_eq!(end["lost_packets"], 0, "{end}");
    assert_eq!(end["lost_events"], 0, "{end}");
    assert_eq!(end["seen_events"], end["recorded_events"], "{end}");
    let is_event = |record: &&Value| EventKind::deserialize(&record["type"]).is_ok();
    let events = records.iter().filter(is_event).count();
    assert_eq!(end["recorded_events"], events, "{end}");
}
