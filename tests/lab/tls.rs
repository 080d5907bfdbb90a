//! TLS as curl and nginx speak it, recorded as users record: what is told of
//! each handshake is what nginx says of it, and what curl was made to do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::wait_until;
use crate::recorder::{Recorder, analyze};
use crate::web::{Nginx, curl};
use crate::world::World;

/// What curl says when it does not trust a certificate.
const CURLE_PEER_FAILED_VERIFICATION: i32 = 60;
/// What it says when there is no version in common.
const CURLE_SSL_CONNECT_ERROR: i32 = 35;

/// Answers each line after as many milliseconds as it says: in TLS, and without it.
const SERVER: &str = "
import socket, ssl, threading, time

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert', 'key')

def answer(client, in_tls):
    if in_tls:
        client = context.wrap_socket(client, server_side=True)
    for line in client.makefile():
        time.sleep(int(line.split()[0]) / 1000)
        client.sendall(b'answer ' * 100 + bytes([10]))

def serve(port, in_tls):
    listener = socket.create_server(('', port))
    while True:
        threading.Thread(target=answer, args=[listener.accept()[0], in_tls]).start()

for port, in_tls in [(443, True), (7000, False)]:
    threading.Thread(target=serve, args=[port, in_tls]).start()
";

/// Says how many milliseconds the answers of a connection took, in the order it asks:
/// version or none, and what to ask for, from the command line.
const CLIENT: &str = "
import socket, ssl, sys, time

version, waits = sys.argv[1], sys.argv[2:]
client = socket.create_connection(('10.77.0.2', 7000 if version == 'none' else 443))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
if version != 'none':
    context = ssl.create_default_context(cafile='cert')
    context.maximum_version = ssl.TLSVersion[version]
    client = context.wrap_socket(client, server_hostname='lab.test')
answers = client.makefile()
for wait in waits:
    start = time.monotonic()
    client.sendall(wait.encode() + b' ms' + bytes([10]))
    answers.readline()
    print((time.monotonic() - start) * 1000)
";

/// A call of curl, and what came of it.
struct Call {
    arguments: &'static [&'static str],
    code: i32,
    /// The version, the alert of the end that fails, and who that is.
    expected: (Value, Option<(&'static str, &'static str)>),
}

fn calls() -> Vec<Call> {
    let call = |arguments, code, version, alert| Call {
        arguments,
        code,
        expected: (version, alert),
    };
    vec![
        call(&["--cacert", "cert"], 0, json!("TLSv1.3"), None),
        call(
            &["--cacert", "cert", "--tls-max", "1.2"],
            0,
            json!("TLSv1.2"),
            None,
        ),
        call(
            &["--tls-max", "1.2"],
            CURLE_PEER_FAILED_VERIFICATION,
            json!("TLSv1.2"),
            Some(("orig", "unknown_ca")),
        ),
        call(
            &["--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0"],
            CURLE_SSL_CONNECT_ERROR,
            Value::Null,
            Some(("resp", "protocol_version")),
        ),
    ]
}

/// A key, and a certificate for the name `lab.test`.
fn certify(world: &World) -> [PathBuf; 2] {
    let [certificate, key] = ["cert", "key"].map(|name| world.file(name));
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes",
            "-subj",
            "/CN=lab.test",
            "-addext",
            "subjectAltName=DNS:lab.test",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    world.start(&world.server, command).finish().expect_code(0);
    [certificate, key]
}

pub(crate) fn handshakes() {
    let world = World::new();
    let [certificate, key] = certify(&world);
    let log = world.file("handshakes");
    let directives = format!(
        "listen 443 ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {}; access_log {} handshakes;",
        certificate.display(),
        key.display(),
        log.display()
    );
    let formats = "log_format handshakes '$remote_port $ssl_protocol $ssl_server_name';";
    let _nginx = Nginx::start_with(&world, &world.server, formats, &directives);
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.client, &["-i", "eth0", "-o", output]);
    let mut took = Vec::new();
    for call in calls() {
        let mut command = curl();
        command
            .current_dir(world.folder())
            .args(["--resolve", "lab.test:443:10.77.0.2"])
            .args(["--write-out", "%{time_connect} %{time_appconnect}"])
            .args(["--output", "/dev/null", "https://lab.test/big"])
            .args(call.arguments);
        let ended = world
            .start(&world.client, command)
            .finish()
            .expect_code(call.code);
        let (connected, agreed) = ended.output.split_once(' ').expect("two times");
        let [connected, agreed] =
            [connected, agreed].map(|text| text.parse::<f64>().expect("seconds"));
        took.push(agreed - connected);
    }
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    let mut rows: Vec<_> = report.of_kind("conn").collect();
    rows.sort_by_key(|row| row["conn_id"].as_u64());
    assert_eq!(rows.len(), took.len(), "{rows:#?}");
    for ((call, took), row) in calls().iter().zip(took).zip(&rows) {
        let (version, alert) = &call.expected;
        let tls = &row["tls"];
        assert_eq!(&tls["version"], version, "{row}");
        assert_eq!(tls["server_name"], "lab.test", "{row}");
        assert_eq!(tls["established"], call.code == 0, "{row}");
        let alerts = tls["alerts"].as_array().expect("alerts").iter();
        let alerts = alerts.map(|alert| (alert["end"].as_str(), alert["description"].as_str()));
        let expected = alert.map(|(end, description)| (Some(end), Some(description)));
        assert_eq!(
            alerts.collect::<Vec<_>>(),
            Vec::from_iter(expected),
            "{row}"
        );
        // What closes TLS 1.2 is known to be an alert, behind a long answer too.
        let closes = version == "TLSv1.2" && call.code == 0;
        assert_eq!(tls["orig_encrypted_alerts"], u64::from(closes), "{row}");
        match tls["handshake_time"].as_f64() {
            // curl's clock runs before the ClientHello and after both Finished.
            Some(time) => assert!(time > 0.0 && time <= took, "{took}: {row}"),
            None => assert_ne!(call.code, 0, "{row}"),
        }
    }
    let findings = report
        .findings()
        .map(|finding| (finding["finding"].as_str(), finding["error"].as_str()));
    let expected = calls();
    let expected = expected.iter().filter_map(|call| call.expected.1);
    let mut expected: Vec<_> = expected
        .map(|(_, alert)| (Some("tls_failed"), Some(alert)))
        .collect();
    expected.reverse(); // the server's come before the client's
    assert_eq!(findings.collect::<Vec<_>>(), expected);
    // nginx logs what was asked for in TLS.
    let logged = || fs::read_to_string(&log).expect("nginx's log");
    wait_until("nginx has logged both", || logged().lines().count() >= 2);
    let served: BTreeMap<_, _> = rows
        .iter()
        .filter(|row| row["tls"]["established"] == true)
        .map(|row| {
            let tls = &row["tls"];
            let said = [&tls["version"], &tls["server_name"]].map(|word| word.as_str());
            (
                row["id.orig_p"].to_string(),
                said.map(|word| word.expect("a word").to_owned()),
            )
        })
        .collect();
    let logged: BTreeMap<_, _> = logged()
        .lines()
        .map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let mut next = || words.next().expect("a word");
            (next(), [next(), next()])
        })
        .collect();
    assert_eq!(served, logged);
}

/// Of what is hidden it is told how long the server was waited for: no less than it
/// slept, and no more than its client measured.
pub(crate) fn turns() {
    let world = World::new();
    certify(&world);
    let mut server = Command::new("python3");
    server.current_dir(world.folder()).args(["-c", SERVER]);
    let _server = world.start(&world.server, server);
    wait_until("the server listens", || {
        [443, 7000]
            .iter()
            .all(|port| world.server.listeners(*port) == 1)
    });
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.client, &["-i", "eth0", "-o", output]);
    let calls: [(&str, &[u32]); 4] = [
        ("TLSv1_3", &[300]), // behind tickets
        ("TLSv1_3", &[0, 150, 20]),
        ("TLSv1_2", &[200, 0]),
        ("none", &[0, 0, 100]),
    ];
    let measured = calls.map(|(version, waits)| {
        let mut client = Command::new("python3");
        client
            .current_dir(world.folder())
            .args(["-c", CLIENT, version]);
        client.args(waits.iter().map(u32::to_string));
        let ended = world.start(&world.client, client).finish().expect_code(0);
        let lines = ended.output.lines();
        Vec::from_iter(lines.map(|line| line.parse::<f64>().expect("milliseconds")))
    });
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    let rows: Vec<_> = report.of_kind("conn").collect();
    assert_eq!(rows.len(), calls.len(), "{rows:#?}");
    for (((_, slept), measured), row) in calls.iter().zip(&measured).zip(&rows) {
        let turns = &row["turns"];
        assert_eq!(turns["count"], slept.len(), "{row}");
        let longest = slept.iter().max().expect("a wait");
        let place = slept.iter().position(|wait| wait == longest).expect("it");
        let told = turns["wait_max"].as_f64().expect("seconds") * 1000.0;
        let possible = f64::from(*longest)..measured[place];
        assert!(possible.contains(&told), "{possible:?}: {row}");
    }
    let sums = report.of_kind("turns").map(|sum| {
        let names = ["client_comm", "server_comm", "server_name"].map(|name| sum[name].as_str());
        (
            names,
            sum["port"].as_u64(),
            sum["connections"].as_u64(),
            sum["turns"].as_u64(),
        )
    });
    let of = |name, port, connections, turns| {
        let names = [Some("python3"), None, name];
        (names, Some(port), Some(connections), Some(turns))
    };
    assert_eq!(
        Vec::from_iter(sums),
        [of(Some("lab.test"), 443, 3, 6), of(None, 7000, 1, 3)]
    );
    assert_eq!(report.findings().count(), 0);
}
