//! Kernels that lack something: the recorder does without, and says so.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use serde_json::Value;

use crate::netns::Namespace;
use crate::process::{Process, wait_until};
use crate::recorder::{Recorder, TCPREC, analyze, tcprec};
use crate::records::{self, of_type};
use crate::report::{Ends, Owner};
use crate::traffic::some_of_everything;
use crate::web::{Nginx, PORT, Traffic};
use crate::world::World;

/// tcprec where the kernel does not tell its types: in a mount namespace where
/// they are covered, of which nothing is left.
pub(crate) fn without_btf(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", script, TCPREC]);
    command.args(arguments);
    command
}

fn record_without_btf(world: &World, host: &Namespace, arguments: &[&str]) -> Recorder {
    let arguments = [&["record"], arguments].concat();
    Recorder::ready(world.start(host, without_btf(&arguments)))
}

/// Repeats a test until the kernel passed over none of its events: it runs no
/// classic tracepoint's program on a CPU that is in the midst of another, or of a
/// system call on a map, whosever these are. The capture says so, as a loss.
fn undisturbed(test: fn() -> Vec<Value>) {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let records = test();
        let losses = of_type(&records, "loss");
        if losses.is_empty() {
            return;
        }
        assert!(
            losses.iter().all(|loss| loss["cause"] == "recursion"),
            "{losses:#?}"
        );
    }
    panic!("disturbed {ATTEMPTS} times");
}

fn is_disturbed(records: &[Value]) -> bool {
    !of_type(records, "loss").is_empty()
}

/// The same connections and requests, and the owners of all that connect.
pub(crate) fn no_btf() {
    undisturbed(connections_without_btf);
}

fn connections_without_btf() -> Vec<Value> {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    let recorder = record_without_btf(&world, &world.client, &["-i", "eth0", "-o", &output]);
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    let errors = recorder.stop().errors;
    assert!(
        errors.contains("without tp_btf: this kernel has no BTF"),
        "{errors}"
    );
    assert!(!errors.contains("unaccounted for"), "{errors}");
    let records = records::read(&capture);
    if is_disturbed(&records) {
        return records;
    }
    analyze(&world, &capture).expect(&traffic, Ends::Client);
    let hooks = &records[0]["hooks"];
    assert_eq!(hooks[0], "tracepoint/sock/inet_sock_set_state", "{hooks}");
    let missing = records[0]["missing_hooks"].as_array().expect("a list");
    for hook in ["tp_btf", "accept", "iter/task_file"] {
        let named = missing.iter().find(|missing| missing["hook"] == hook);
        let reason = named.and_then(|missing| missing["reason"].as_str());
        assert!(
            reason.is_some_and(|reason| !reason.is_empty()),
            "{hook}: {missing:?}"
        );
    }
    let connects = of_type(&records, "connect");
    for done in &traffic.connections {
        let is_its = |connect: &&&Value| connect["process"]["pid"] == done.curl;
        let connect = connects.iter().find(is_its).expect("curl's connect");
        let processes = of_type(&records, "process");
        let process = processes.iter().find(|process| process["pid"] == done.curl);
        assert_eq!(process.expect("curl")["comm"], "curl", "{connect}");
    }
    records
}

/// A process that listens.
fn listener(world: &World, host: &Namespace, port: u16) -> Process {
    let mut command = Command::new("python3");
    let listen = format!("import socket, time; it = socket.create_server(('', {port}))");
    command.args(["-c", &format!("{listen}; time.sleep(3600)")]);
    let process = world.start(host, command);
    wait_until("it listens", || host.listeners(port) == 1);
    process
}

/// On one host with the server: who listens is known, and that is all that is
/// said of who answers. Another namespace's connections are not in the file, and
/// its listener on the same port, whose end alone is seen, is none of here.
pub(crate) fn no_btf_listener() {
    undisturbed(listener_without_btf);
}

fn listener_without_btf() -> Vec<Value> {
    const ELSEWHERE: u16 = 8099;
    let world = World::without_cable();
    let other = listener(&world, &world.client, PORT);
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    let recorder = record_without_btf(&world, &world.server, &["-i", "lo", "-o", &output]);
    let nginx = Nginx::start(&world, &world.server);
    let talk = format!(
        "import socket, time
listener = socket.create_server(('127.0.0.1', {ELSEWHERE}))
caller = socket.create_connection(('127.0.0.1', {ELSEWHERE}))
time.sleep(1)"
    );
    world
        .run(&world.client, "python3", &["-c", &talk])
        .expect_code(0);
    let mut traffic = Traffic::default();
    traffic.fetch(&world, &world.server, "127.0.0.1", &["/item/1".to_owned()]);
    traffic.join_log(&nginx);
    world.settle();
    other.stop();
    recorder.stop();
    let records = records::read(&capture);
    if is_disturbed(&records) {
        return records;
    }
    let report = analyze(&world, &capture);
    let conns: Vec<_> = report.of_kind("conn").collect();
    let [connection] = conns[..] else {
        panic!("one connection was made: {conns:#?}");
    };
    let owners = ["orig", "resp"].map(|end| {
        Owner::of(connection, end)
            .unwrap_or_else(|| panic!("{end} has none: {connection}\n{records:#?}"))
    });
    let [client, server] = owners.map(|owner| (owner.pid, owner.provenance));
    assert_eq!(client, (traffic.connections[0].curl, "connect".to_owned()));
    assert_eq!(server, (nginx.master(), "guess".to_owned()));
    for record in &records {
        let ports = [&record["local"]["port"], &record["remote"]["port"]];
        assert!(!ports.contains(&&Value::from(ELSEWHERE)), "{record}");
    }
    records
}

/// Of who listened and is gone before /proc could be asked, as beside a flood, the
/// namespace is not known: it takes nothing from who listens here.
pub(crate) fn no_btf_gone_listener() {
    undisturbed(gone_listener_without_btf);
}

fn gone_listener_without_btf() -> Vec<Value> {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    let recorder = record_without_btf(&world, &world.server, &["-i", "lo", "-o", &output]);
    recorder.pause();
    let other = listener(&world, &world.client, PORT);
    let nginx = Nginx::start(&world, &world.server);
    let mut traffic = Traffic::default();
    traffic.fetch(&world, &world.server, "127.0.0.1", &["/item/1".to_owned()]);
    traffic.join_log(&nginx);
    other.stop();
    recorder.go_on();
    world.settle();
    recorder.stop();
    let records = records::read(&capture);
    if is_disturbed(&records) {
        return records;
    }
    let report = analyze(&world, &capture);
    let connection = report.of_kind("conn").next().expect("a connection");
    let server = Owner::of(connection, "resp");
    let master = Owner::new(nginx.master(), "nginx", "guess");
    assert_eq!(server, Some(master), "{records:#?}");
    records
}

/// A listener that was there before, and that several processes hold, is one: one of
/// them is the guess, in each file of a series, also when another namespace's ends.
pub(crate) fn no_btf_older_listener() {
    undisturbed(older_listener_without_btf);
}

fn older_listener_without_btf() -> Vec<Value> {
    const CLOSED: u16 = 8099;
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let elsewhere = [PORT, CLOSED].map(|port| listener(&world, &world.client, port));
    let closed = listener(&world, &world.server, CLOSED);
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    let arguments = ["-i", "lo", "-G", "1", "-o", &output];
    let recorder = record_without_btf(&world, &world.server, &arguments);
    for other in elsewhere {
        other.stop();
    }
    // Where it stands in the table while another one is closed, that was another's.
    wait_until("the second file begins", || {
        world.file("capture.1.jsonl").exists()
    });
    closed.stop();
    let later = world.file("capture.2.jsonl");
    wait_until("the third file begins", || later.exists());
    let mut traffic = Traffic::default();
    traffic.fetch(&world, &world.server, "127.0.0.1", &["/item/1".to_owned()]);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    let files = ["capture.jsonl", "capture.1.jsonl", "capture.2.jsonl"];
    let [first, second, third] = files.map(|name| records::read(&world.file(name)));
    let records = [first, second, third.clone()].concat();
    if is_disturbed(&records) {
        return records;
    }
    let cookies = |records: &[Value], kind, port: u16| -> Vec<u64> {
        let events = of_type(records, kind).into_iter();
        let local = serde_json::json!({"addr": "0.0.0.0", "port": port});
        let its = events.filter(|event| event["local"] == local);
        its.filter_map(|event| event["cookie"].as_u64()).collect()
    };
    let known = cookies(&records, "scan", PORT);
    assert!(known.contains(&cookies(&third, "scan", PORT)[0]));
    let known = cookies(&records, "scan", CLOSED);
    assert_eq!(cookies(&records, "close", CLOSED), known[..1]);
    assert!(cookies(&third, "scan", CLOSED).is_empty(), "{third:#?}");
    let report = analyze(&world, &world.file("capture"));
    let connection = report.of_kind("conn").next().expect("a connection");
    let server = Owner::of(connection, "resp").expect("an owner");
    assert_eq!(server.comm, "nginx");
    assert_eq!(server.provenance, "guess");
    records
}

/// A socket has its number for itself, also when the one whose memory it has was aborted.
pub(crate) fn no_btf_numbers() {
    undisturbed(numbers_without_btf);
}

fn numbers_without_btf() -> Vec<Value> {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    let recorder = record_without_btf(&world, &world.server, &["-i", "lo", "-o", &output]);
    // What is closed with something unread is aborted.
    let abort = format!(
        "import socket
listener = socket.create_server(('127.0.0.1', {PORT}))
for _ in range(100):
    caller = socket.create_connection(('127.0.0.1', {PORT}))
    caller.sendall(b'unread')
    listener.accept()[0].close()
    try:
        caller.recv(1)
    except ConnectionResetError:
        pass
    caller.close()"
    );
    world
        .run(&world.server, "python3", &["-c", &abort])
        .expect_code(0);
    recorder.stop();
    let records = records::read(&capture);
    if is_disturbed(&records) {
        return records;
    }
    let mut ends: HashMap<u64, HashSet<String>> = HashMap::new();
    for record in &records {
        let is_server = record["local"]["port"] == PORT && record["remote"]["port"] != 0;
        if let Some(cookie) = record["cookie"].as_u64().filter(|_| is_server) {
            let remote = record["remote"]["port"].to_string();
            ends.entry(cookie).or_default().insert(remote);
        }
    }
    assert_eq!(ends.len(), 100, "{ends:#?}");
    assert!(ends.values().all(|remotes| remotes.len() == 1), "{ends:#?}");
    let report = analyze(&world, &capture);
    let resets = |connection: &Value| connection["resp_kernel_resets_sent"] == 1;
    assert_eq!(report.of_kind("conn").filter(|it| resets(it)).count(), 100);
    records
}

/// What cannot be done without says so, before it begins.
pub(crate) fn no_btf_for_processes() {
    let world = World::without_cable();
    let arguments = ["record", "-i", "lo", "--print", "--pid", "1"];
    for (hooks, reason) in [("tracepoints", "a socket's owner"), ("btf", "no BTF")] {
        let arguments = [&arguments[..], &["--events", hooks]].concat();
        let ended = world
            .start(&world.server, without_btf(&arguments))
            .finish()
            .expect_code(1);
        assert!(ended.errors.contains(reason), "{}", ended.errors);
    }
    let arguments = [&arguments[..], &["--events", "tracepoints"]].concat();
    let ended = tcprec(&world, &world.server, &arguments).expect_code(1);
    assert!(
        ended.errors.contains("a socket's owner"),
        "{}",
        ended.errors
    );
}
