//! TLS as curl and nginx speak it, recorded as users record: what is told of
//! each handshake is what nginx says of it, and what curl was made to do.

use std::collections::BTreeMap;
use std::fs;
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

pub(crate) fn handshakes() {
    let world = World::new();
    let [certificate, key, log] = ["cert", "key", "handshakes"].map(|name| world.file(name));
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
        .of_kind("finding")
        .map(|finding| (finding["finding"].as_str(), finding["alert"].as_str()));
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
