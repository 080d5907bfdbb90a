//! HTTP/2 in plain text as curl and nginx speak it, recorded as users record:
//! what is told of each stream is what curl says of it.

use std::process::Command;

use serde_json::{Value, json};

use crate::process::wait_until;
use crate::recorder::{Recorder, analyze};
use crate::web::{BIG_BYTES, Nginx, curl};
use crate::world::World;

/// A call of curl: its arguments, and what of the stream is known before.
const CALLS: [(&[&str], &str, &str, u16); 4] = [
    (&[], "/item/1", "GET", 200),
    (&["--head"], "/big", "HEAD", 200),
    (&[], "/missing", "GET", 404),
    (&[], "/big", "GET", 200),
];

pub(crate) fn prior_knowledge() {
    let world = World::new();
    let _nginx = Nginx::start_with(&world, &world.server, "", "listen 8080 http2;");
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.client, &["-i", "eth0", "-o", output]);
    let mut expected = Vec::new();
    let mut took = Vec::new();
    for (arguments, path, method, status) in CALLS {
        let mut command = curl();
        command
            .args(["--http2-prior-knowledge", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code} %{size_download} %{time_total}"])
            .args(arguments)
            .arg(format!("http://10.77.0.2:8080{path}"));
        let ended = world.start(&world.client, command).finish().expect_code(0);
        let words: Vec<_> = ended.output.split(' ').collect();
        let [code, received, total] = words[..] else {
            panic!("a line of curl: {}", ended.output);
        };
        assert_eq!(code, status.to_string());
        let number = |text: &str| text.parse::<usize>().expect("a number");
        if method == "GET" && path == "/big" {
            assert_eq!(number(received), BIG_BYTES);
        }
        expected.push(json!({
            "version": "HTTP/2",
            "stream_id": 1,
            "method": method,
            "uri": path,
            "host": "10.77.0.2:8080",
            "status_code": status,
            "request_body_len": 0,
            "response_body_len": if method == "HEAD" { 0 } else { number(received) },
            "orig_pid": ended.pid,
        }));
        took.push(total.parse::<f64>().expect("seconds"));
    }
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    let rows: Vec<_> = report.of_kind("http").collect();
    let found = rows.iter().zip(&expected).map(|(row, expected)| {
        let names = expected.as_object().expect("an object").keys();
        names
            .map(|name| (name.clone(), row[name].clone()))
            .collect()
    });
    assert_eq!(found.collect::<Vec<Value>>(), expected);
    assert_eq!(rows.len(), expected.len(), "{rows:#?}");
    for (row, took) in rows.iter().zip(took) {
        let time = row["time_total"].as_f64().expect("a time");
        // curl's clock runs before the first packet and after the last.
        assert!(time > 0.0 && time <= took, "{took}: {row}");
    }
}

/// A server behind nginx that leaves in the middle of its answer.
const LEAVES_EARLY: &str = "
import socket
listener = socket.create_server(('127.0.0.1', 9000))
connection, _ = listener.accept()
connection.recv(1000)
connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\n' + 100 * b'x')
connection.close()
";

/// nginx breaks off the stream whose rest it will never have.
pub(crate) fn broken_off() {
    let world = World::new();
    let directives = "listen 8080 http2; location /early { proxy_pass http://127.0.0.1:9000; }";
    let _nginx = Nginx::start_with(&world, &world.server, "", directives);
    let mut command = Command::new("python3");
    command.args(["-c", LEAVES_EARLY]);
    let _behind = world.start(&world.server, command);
    wait_until("the server behind listens", || {
        world.server.listeners(9000) == 1
    });
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.client, &["-i", "eth0", "-o", output]);
    let mut command = curl();
    command
        .args(["--http2-prior-knowledge", "--output", "/dev/null"])
        .arg("http://10.77.0.2:8080/early");
    const HTTP2_STREAM: i32 = 92;
    world
        .start(&world.client, command)
        .finish()
        .expect_code(HTTP2_STREAM);
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    let resets: Vec<_> = report
        .of_kind("http")
        .map(|row| &row["stream_reset"])
        .collect();
    assert_eq!(resets, [&json!({"end": "resp", "error": "internal_error"})]);
    let found =
        |finding: &Value| ["finding", "end", "error", "route"].map(|it| finding[it].clone());
    let found: Vec<_> = report.findings().map(found).collect();
    assert_eq!(
        found,
        [["stream_reset", "resp", "internal_error", "GET /early"]]
    );
}

/// A client that opens a stream whose number is a server's (RFC 9113 section 5.1.1).
const ASKS_WRONGLY: &str = "
import socket
connection = socket.create_connection(('10.77.0.2', 8080))
settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
headers = bytes([0, 0, 3, 1, 5, 0, 0, 0, 2, 0x82, 0x84, 0x86])
connection.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + settings + headers)
while connection.recv(1000):
    pass
";

/// nginx gives a client up that makes a mistake.
pub(crate) fn given_up() {
    let world = World::new();
    let _nginx = Nginx::start_with(&world, &world.server, "", "listen 8080 http2;");
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.client, &["-i", "eth0", "-o", output]);
    world
        .run(&world.client, "python3", &["-c", ASKS_WRONGLY])
        .expect_code(0);
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    let found = |finding: &Value| ["finding", "end", "error"].map(|it| finding[it].clone());
    let found: Vec<_> = report.findings().map(found).collect();
    let expected = json!([
        ["goaway", "resp", "protocol_error"],
        ["no_answer", "resp", null],
    ]);
    assert_eq!(json!(found), expected);
}
