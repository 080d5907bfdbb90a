//! Where the time went, and what was wrong: as it was really made, and
//! nothing else.

use std::process::Command;

use serde_json::Value;

use crate::process::{Ended, wait_until};
use crate::recorder::{Recorder, analyze};
use crate::world::World;

/// Answers `/slow` after 300 ms and `/big` with 2 MB, at once everything else,
/// and writes how long it took it to answer each. On the next port it resets
/// whoever sends something.
const SERVER: &str = "
import socket, struct, threading, time

def web(client):
    lines = client.makefile('rb')
    while line := lines.readline():
        begun = time.monotonic()
        while lines.readline().strip():
            pass
        path = line.split()[1].decode()
        if path == '/slow':
            time.sleep(0.3)
        body = b'x' * (2_000_000 if path == '/big' else 10)
        print(path, time.monotonic() - begun, flush=True)
        client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body)
    lines.close()
    client.close()

def rude(client):
    client.recv(100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()

def serve(port, answer):
    listener = socket.create_server(('', port))
    while True:
        client, _ = listener.accept()
        threading.Thread(target=answer, args=[client], daemon=True).start()

threading.Thread(target=serve, args=[8081, rude], daemon=True).start()
serve(8080, web)
";

/// Asks for each, reads `/big` only after 1.5 s, is reset and refused.
const CLIENT: &str = "
import socket, time

def connect(port):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect(('10.77.0.2', port))
    return client

for path, pause in [('/fast', 0), ('/slow', 0), ('/big', 1.5), ('/fast', 0)]:
    client = connect(8080)
    client.sendall(b'GET %s HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n' % path.encode())
    time.sleep(pause)
    client.shutdown(socket.SHUT_WR)
    while client.recv(100_000):
        pass
    client.close()
try:
    client = connect(8081)
    client.sendall(b'?')
    client.recv(100)
except ConnectionResetError:
    print('reset')
try:
    connect(8082)
except ConnectionRefusedError:
    print('refused')
";

/// So far what is told may be from what the server says itself, in seconds:
/// it does not know when its packets are on the wire.
const TOLERANCE: f64 = 0.1;

/// Recorded on either host, the same is said.
pub(crate) fn causes() {
    let world = World::new();
    let mut command = Command::new("python3");
    command.args(["-c", SERVER]);
    let server = world.start(&world.server, command);
    wait_until("both servers listen", || {
        [8080, 8081].map(|port| world.server.listeners(port)) == [1, 1]
    });
    let hosts = [&world.client, &world.server];
    let captures = ["client.jsonl", "server.jsonl"].map(|name| world.file(name));
    let recorders = [0, 1].map(|at| {
        let output = captures[at].to_str().expect("a path in UTF-8");
        Recorder::start(&world, hosts[at], &["-i", "eth0", "-o", output])
    });
    let client = world.run(&world.client, "python3", &["-c", CLIENT]);
    assert_eq!(client.expect_code(0).output, "reset\nrefused\n");
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    let answered = server.stop();
    for capture in &captures {
        let report = analyze(&world, capture);
        expect_times(&answered, report.of_kind("http").collect());
        expect_findings(report.of_kind("finding").collect());
    }
}

fn expect_times(answered: &Ended, mut requests: Vec<&Value>) {
    for line in answered.output.lines() {
        let (path, seconds) = line.split_once(' ').expect("a path and how long it took");
        let seconds: f64 = seconds.parse().expect("seconds");
        let place = requests.iter().position(|request| request["uri"] == path);
        let request = requests.remove(place.expect("a request in the report"));
        let time = |part: &str| {
            request[part]
                .as_f64()
                .unwrap_or_else(|| panic!("{request}"))
        };
        let server = time("time_server");
        assert!((server - seconds).abs() < TOLERANCE, "{seconds}: {request}");
        let parts = ["connect", "send", "wait", "receive", "stalled"];
        let sum: f64 = parts.map(|part| time(&format!("time_{part}"))).iter().sum();
        assert!((sum - time("time_total")).abs() < 1e-6, "{request}");
        let stalled = time("time_stalled");
        let expected = if path == "/big" { 1.5 } else { 0.0 };
        assert!((stalled - expected).abs() < 2.0 * TOLERANCE, "{request}");
    }
    assert!(requests.is_empty(), "{requests:#?}");
}

fn expect_findings(findings: Vec<&Value>) {
    let what = findings.iter().map(|finding| {
        let port = finding["id.resp_p"].as_u64().expect("a port");
        let word = finding["finding"].as_str().expect("a word");
        (word, finding["end"].as_str(), port)
    });
    let expected = [
        ("refused", None, 8082),
        ("reset", Some("resp"), 8081),
        ("zero_window", Some("orig"), 8080),
        ("slow_server", Some("resp"), 8080),
    ];
    assert_eq!(what.collect::<Vec<_>>(), expected, "{findings:#?}");
}
