//! Where the time went, and what was wrong: as it was really made, and
//! nothing else.

use std::process::Command;

use serde_json::Value;

use crate::process::{Ended, wait_until};
use crate::recorder::{Recorder, analyze};
use crate::world::World;

/// Answers `/slow` after a second and `/big` with 2 MB, at once everything else,
/// and writes how long it took it to answer each. Makes a file when the window for
/// `/big` is full. On the next port it resets whoever sends something.
const SERVER: &str = "
import socket, struct, threading, time

def tell_when_full(client):
    # linux/tcp.h, struct tcp_info: nothing is on the way, though there is more to send.
    is_full = False
    while not is_full:
        time.sleep(0.001)
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 148)
        unacked, unsent = (struct.unpack_from('I', info, at)[0] for at in (24, 144))
        is_full = not unacked and unsent
    open('full', 'w').close()

def web(client):
    lines = client.makefile('rb')
    while line := lines.readline():
        begun = time.monotonic()
        while lines.readline().strip():
            pass
        path = line.split()[1].decode()
        if path == '/slow':
            time.sleep(1)
        body = b'x' * (2_000_000 if path == '/big' else 10)
        if path == '/big':
            threading.Thread(target=tell_when_full, args=[client], daemon=True).start()
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

/// Asks for each, reads `/big` only when its window was full for 0.5 s, is reset and refused.
/// Writes how long it waited for the first byte of each answer, and how long it took in all.
const CLIENT: &str = "
import os, socket, time

def connect(port):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect(('10.77.0.2', port))
    return client

for path in ['/fast', '/slow', '/big', '/fast']:
    begun = time.monotonic()
    client = connect(8080)
    asked = time.monotonic()
    client.sendall(b'GET %s HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n' % path.encode())
    if path == '/big':
        while not os.path.exists('full'):
            time.sleep(0.001)
        time.sleep(0.5)
    client.recv(1)
    answered = time.monotonic()
    client.shutdown(socket.SHUT_WR)
    while client.recv(100_000):
        pass
    print(path, answered - asked, time.monotonic() - begun)
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

/// So long the client lets the window be full, in seconds.
const FULL: f64 = 0.5;

/// Recorded on either host, the same is said.
pub(crate) fn causes() {
    let world = World::new();
    let script = |script| {
        let mut command = Command::new("python3");
        command.current_dir(world.folder()).args(["-c", script]);
        command
    };
    let server = world.start(&world.server, script(SERVER));
    wait_until("both servers listen", || {
        [8080, 8081].map(|port| world.server.listeners(port)) == [1, 1]
    });
    let hosts = [&world.client, &world.server];
    let captures = ["client.jsonl", "server.jsonl"].map(|name| world.file(name));
    let recorders = [0, 1].map(|at| {
        let output = captures[at].to_str().expect("a path in UTF-8");
        Recorder::start(&world, hosts[at], &["-i", "eth0", "-o", output])
    });
    let client = world.start(&world.client, script(CLIENT)).finish();
    let client = client.expect_code(0);
    let waited = client.output.strip_suffix("reset\nrefused\n");
    let waited = waited.expect("the last two are reset and refused");
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    let answered = server.stop();
    for capture in &captures {
        let report = analyze(&world, capture);
        expect_times(&answered, waited, report.of_kind("http").collect());
        expect_findings(report.of_kind("finding").collect());
    }
}

/// A path, and the seconds that stand behind it.
fn times<const N: usize>(line: &str) -> (&str, [f64; N]) {
    let mut words = line.split(' ');
    let path = words.next().expect("a path");
    let seconds = words.map(|word| word.parse().expect("seconds"));
    let seconds: Vec<f64> = seconds.collect();
    (path, seconds.try_into().expect("as many times"))
}

/// What is told of the wire lies between what the server says, whose clock runs
/// only while it has the request, and what the client says.
fn expect_times(answered: &Ended, waited: &str, mut requests: Vec<&Value>) {
    assert_eq!(waited.lines().count(), requests.len(), "{requests:#?}");
    for (line, waited) in answered.output.lines().zip(waited.lines()) {
        let (path, [thought]) = times(line);
        let (asked, [waited, took]) = times(waited);
        assert_eq!(path, asked);
        let place = requests.iter().position(|request| request["uri"] == path);
        let request = requests.remove(place.expect("a request in the report"));
        let time = |part: &str| {
            request[part]
                .as_f64()
                .unwrap_or_else(|| panic!("{request}"))
        };
        let wait = time("time_server") + time("time_network");
        assert!(
            thought <= wait && wait <= waited,
            "{thought} {waited}: {request}"
        );
        let parts = ["connect", "send", "wait", "receive", "stalled"];
        let sum: f64 = parts.map(|part| time(&format!("time_{part}"))).iter().sum();
        assert!((sum - time("time_total")).abs() < 1e-6, "{request}");
        assert!(sum <= took, "{took}: {request}");
        let full = if path == "/big" { FULL } else { 0.0 };
        assert!(time("time_stalled") >= full, "{request}");
    }
    assert!(requests.is_empty(), "{requests:#?}");
}

fn expect_findings(findings: Vec<&Value>) {
    let what = findings.iter().map(|finding| {
        let port = finding["id.resp_p"].as_u64().expect("a port");
        let word = finding["finding"].as_str().expect("a word");
        (word, finding["end"].as_str(), port)
    });
    let mut what: Vec<_> = what.collect();
    // A busy machine may make it slow for others, too, and let timers run out.
    what.retain(|(word, ..)| !["timeout", "slow_client"].contains(word));
    what.dedup();
    let expected = [
        ("refused", None, 8082),
        ("reset", Some("resp"), 8081),
        ("zero_window", Some("orig"), 8080),
        ("slow_server", Some("resp"), 8080),
    ];
    assert_eq!(what, expected, "{findings:#?}");
}
