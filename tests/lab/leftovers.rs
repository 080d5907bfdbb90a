//! What is found of what connections leave behind: ports used again, an end that
//! never closes or is gone, and what only one end's packets tell.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::netns::Socket;
use crate::process::{Process, wait_until};
use crate::recorder::{Recorder, analyze};
use crate::report::Report;
use crate::tun::TunCable;
use crate::world::World;

/// Answers one request on each connection. Those to 8080 and 8081 it closes
/// first, those to 8082 and 8083 never.
const SERVER: &str = "
import socket, threading

def serve(port, held):
    listener = socket.create_server(('', port))
    while True:
        client, _ = listener.accept()
        client.recv(1000)
        client.sendall(b'answer')
        if held is None:
            client.close()
        else:
            held.append(client)

for port, held in [(8080, None), (8081, None), (8082, []), (8083, [])]:
    threading.Thread(target=serve, args=[port, held]).start()
";

/// What clients have in common.
const ASK: &str = "
import os, socket, sys, time

def ask(port, source=0):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(('', source))
    client.connect(('10.77.0.2', port))
    client.sendall(b'question')
    assert client.recv(1000) == b'answer'
    return client
";

/// Twelve connections from one port, and ten to another from another. The server
/// closes each first, so that it is the one that keeps them in TIME-WAIT.
const SAME_PORTS: &str = "
def is_free(port):
    with open('/proc/net/tcp') as table:
        return not any(f':{port:04X} ' in line for line in table)

for port, source, times in [(8080, 40000, 12), (8081, 40001, 10)]:
    for _ in range(times):
        client = ask(port, source)
        assert client.recv(1) == b''
        client.close()
        while not is_free(source):
            time.sleep(0.001)
";

/// Closes a connection whose server does not, and one whose server is gone
/// meanwhile; lives on until that is long ago.
const CLOSES: &str = "
# How often a FIN is sent again after close().
with open('/proc/sys/net/ipv4/tcp_orphan_retries', 'w') as retries:
    retries.write('2')
ask(8082).close()
gone = ask(8083)
open(sys.argv[1], 'w').close()
while os.path.exists(sys.argv[1]):
    time.sleep(0.01)
gone.close()
time.sleep(13)
with socket.create_server(('127.0.0.1', 0)) as listener:
    client = socket.create_connection(listener.getsockname())
    client.close()
    listener.accept()[0].close()
";

fn start_server(world: &World) -> Process {
    let mut command = Command::new("python3");
    command.args(["-c", SERVER]);
    let server = world.start(&world.server, command);
    wait_until("the server listens", || {
        [8080, 8081, 8082, 8083]
            .iter()
            .all(|port| world.server.listeners(*port) == 1)
    });
    server
}

/// Word, end, count and server's port of each finding.
fn found(report: &Report) -> Vec<(&str, Option<&str>, u64, u64)> {
    let number = |value: &Value| value.as_u64().expect("a number");
    let findings = report.findings().map(|finding| {
        let word = finding["finding"].as_str().expect("a word");
        let end = finding["end"].as_str();
        (
            word,
            end,
            number(&finding["count"]),
            number(&finding["id.resp_p"]),
        )
    });
    findings.collect()
}

pub(crate) fn ports_used_again() {
    let world = World::new();
    let server = start_server(&world);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.server, &["-i", "eth0", "-o", output]);
    let script = [ASK, SAME_PORTS].concat();
    let client = world.run(&world.client, "python3", &["-c", &script]);
    client.expect_code(0);
    world.settle();
    let sockets = world.server.sockets();
    assert!(sockets.iter().any(Socket::is_in_time_wait), "{sockets:?}");
    recorder.stop();
    server.stop();
    let report = analyze(&world, &capture);
    // Of ten from a port nine use it again: too few for a word.
    assert_eq!(found(&report), [("port_reuse", Some("orig"), 11, 8080)]);
    // The client has nearly all its ports left.
    let text = &report.findings().next().expect("a finding")["text"];
    let said = "10.77.0.1 reuses ports to 10.77.0.2:8080 that are in TIME-WAIT: \
                it connects often (11 times)";
    assert_eq!(text, said);
    let again = |row: &&Value| row["reused_ports"] == true;
    assert_eq!(report.of_kind("conn").count(), 22);
    assert_eq!(report.of_kind("conn").filter(again).count(), 20);
}

pub(crate) fn half_open() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let world = World::without_cable();
    let cuts = Arc::clone(&is_gone);
    let _cable = TunCable::losing(&world.client, &world.server, move |_| {
        !cuts.load(Ordering::Relaxed)
    });
    world.give_addresses();
    let server = start_server(&world);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let arguments = ["-i", "eth0", "-i", "lo", "-o", output];
    let recorder = Recorder::start(&world, &world.client, &arguments);
    let connected = world.file("connected");
    let mut command = Command::new("python3");
    command
        .args(["-c", &[ASK, CLOSES].concat()])
        .arg(&connected);
    let client = world.start(&world.client, command);
    wait_until("the client is connected", || connected.exists());
    is_gone.store(true, Ordering::Relaxed);
    fs::remove_file(&connected).expect("the file is there");
    client.finish().expect_code(0);
    recorder.stop();
    server.stop();
    let report = analyze(&world, &capture);
    let mut found = found(&report);
    found.sort_unstable();
    let expected = [
        ("half_open", Some("resp"), 1, 8082),
        ("half_open", Some("resp"), 1, 8083),
    ];
    assert_eq!(found, expected);
}

/// Two recordings of the same connections, each of one way. That is found where it was
/// not asked for.
pub(crate) fn one_sided() {
    let world = World::new();
    let server = start_server(&world);
    let captures = ["in", "out"].map(|way| (way, world.file(way).with_extension("jsonl")));
    let recorders = captures.each_ref().map(|(way, capture)| {
        let output = capture.to_str().expect("a path in UTF-8");
        Recorder::start(
            &world,
            &world.client,
            &["-i", "eth0", "-Q", way, "-o", output],
        )
    });
    let script = [ASK, "for _ in range(3): ask(8080).recv(1)"].concat();
    let client = world.run(&world.client, "python3", &["-c", &script]);
    client.expect_code(0);
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    server.stop();
    for ((way, capture), silent) in captures.iter().zip(["orig_pkts", "resp_pkts"]) {
        let report = analyze(&world, capture);
        assert_eq!(found(&report), [], "{way}");
        for connection in report.of_kind("conn") {
            assert_eq!(connection["incomplete"][0], "packets", "{connection}");
        }
        let lines = fs::read_to_string(capture).expect("lines");
        let asked = format!("\"direction\":\"{way}\",\"snap_bytes\"");
        assert!(lines.contains(&asked), "{lines}");
        let lines = lines.replacen(&asked, "\"snap_bytes\"", 1);
        fs::write(capture, lines).expect("lines");
        let report = analyze(&world, capture);
        assert_eq!(found(&report), [("one_sided", None, 3, 8080)], "{way}");
        for connection in report.of_kind("conn") {
            assert_eq!(connection[silent], 0, "{way}: {connection}");
        }
    }
}
