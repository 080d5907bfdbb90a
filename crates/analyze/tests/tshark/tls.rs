//! Handshakes of TLS, held against tshark's fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Fixture, micros};

/// What tshark does not tell, but `record.sh` knows: the connections that go on
/// with a session, and where the server asks for a certificate.
const RESUMED: [u64; 3] = [1, 4, 6];
const ASKS_CERTIFICATE: u64 = 7;

/// A packet with TLS, as tshark sees it: every field a list of texts.
struct Packet(Value);

impl Packet {
    fn all(&self, field: &str) -> Vec<&str> {
        let values = self.0[field].as_array().into_iter().flatten();
        values.map(|value| value.as_str().unwrap()).collect()
    }

    fn first(&self, field: &str) -> Option<&str> {
        self.all(field).first().copied()
    }

    fn has(&self, field: &str, value: &str) -> bool {
        self.all(field).contains(&value)
    }

    fn number(&self, field: &str) -> Option<u64> {
        let text = self.first(field)?;
        let digits = text.trim_start_matches("0x");
        let radix = if digits == text { 10 } else { 16 };
        Some(u64::from_str_radix(digits, radix).unwrap())
    }

    fn by_client(&self) -> bool {
        self.number("tcp_dstport") < self.number("tcp_srcport")
    }

    fn ts(&self) -> f64 {
        self.first("frame_time_epoch").unwrap().parse().unwrap()
    }
}

/// Connections by their number.
fn connections(packets: Vec<Value>) -> BTreeMap<u64, Vec<Packet>> {
    let mut connections = BTreeMap::<u64, Vec<Packet>>::new();
    for packet in packets.into_iter().map(Packet) {
        let stream = packet.number("tcp_stream").unwrap();
        connections.entry(stream).or_default().push(packet);
    }
    connections
}

/// What tshark's fields amount to, of those that it has.
fn expected(packets: &[Packet]) -> Value {
    let hello = packets
        .iter()
        .find(|packet| packet.has("tls_handshake_type", "1"))
        .unwrap();
    let hellos = packets
        .iter()
        .filter(|packet| packet.has("tls_handshake_type", "1"));
    let mut answers = packets
        .iter()
        .filter(|packet| packet.has("tls_handshake_type", "2"));
    let retried = hellos.count() > 1;
    let answer = answers.next_back();
    let version = |packet: &Packet| {
        let versions = packet.all("tls_handshake_extensions_supported_version");
        let highest = versions.into_iter().max();
        let version = highest.or(packet.first("tls_handshake_version")).unwrap();
        match version {
            "0x0303" => "TLSv1.2",
            "0x0304" => "TLSv1.3",
            other => panic!("{other}"),
        }
    };
    let cipher = answer.map(
        |answer| match answer.first("tls_handshake_ciphersuite").unwrap() {
            "0x1302" => "TLS_AES_256_GCM_SHA384",
            "0xc02c" => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            other => panic!("{other}"),
        },
    );
    // Both ends send their Finished behind a change of ciphers; in TLS 1.3 the
    // first packet of the client with application data has it.
    let is_modern = answer.is_some_and(|answer| version(answer) == "TLSv1.3");
    let (content, kind) = if is_modern {
        ("tls_record_opaque_type", "23")
    } else {
        ("tls_record_content_type", "20")
    };
    let ends = [true, false].map(|by_client| {
        let mut packets = packets
            .iter()
            .filter(|packet| packet.by_client() == by_client);
        packets
            .find(|packet| packet.has(content, kind))
            .map(Packet::ts)
    });
    let failed = packets
        .iter()
        .any(|packet| packet.has("tls_alert_message_level", "2"));
    let finished = match ends {
        [Some(client), Some(server)] if !failed => Some(client.max(server)),
        _ => None,
    };
    let alerts = packets
        .iter()
        .filter_map(|packet| Some((packet.by_client(), packet.number("tls_alert_message_desc")?)));
    let encrypted = |by_client| {
        let is_alert = |packet: &&Packet| {
            packet.by_client() == by_client
                && packet.has("tls_record_content_type", "21")
                && packet.first("tls_alert_message_level").is_none()
        };
        packets.iter().filter(is_alert).count()
    };
    json!({
        "offered_version": version(hello),
        "version": answer.map(version),
        "cipher": cipher,
        "server_name": hello.first("tls_handshake_extensions_server_name"),
        "offered_alpn": hello.all("tls_handshake_extensions_alpn_str"),
        "alpn": answer.and_then(|answer| answer.first("tls_handshake_extensions_alpn_str")),
        "retried": retried,
        "established": finished.is_some(),
        "handshake_us": finished.map(|finished| micros(finished - hello.ts())),
        "alerts": alerts.collect::<Vec<_>>(),
        "orig_encrypted_alerts": encrypted(true),
        "resp_encrypted_alerts": encrypted(false),
    })
}

/// The same fields of a row.
fn found(tls: &Value) -> Value {
    let number = |alert: &Value| match alert["description"].as_str().unwrap() {
        "handshake_failure" => 40,
        "unknown_ca" => 48,
        "protocol_version" => 70,
        "unrecognized_name" => 112,
        "no_application_protocol" => 120,
        other => panic!("{other}"),
    };
    let alerts = tls["alerts"].as_array().unwrap().iter();
    let alerts = alerts.map(|alert| (alert["end"] == "orig", number(alert)));
    let mut found = json!({
        "handshake_us": tls["handshake_time"].as_f64().map(micros),
        "alerts": alerts.collect::<Vec<(bool, u64)>>(),
    });
    for name in [
        "offered_version",
        "version",
        "cipher",
        "server_name",
        "offered_alpn",
        "alpn",
        "retried",
        "established",
        "orig_encrypted_alerts",
        "resp_encrypted_alerts",
    ] {
        found[name] = tls[name].clone();
    }
    found
}

#[test]
fn as_tshark() {
    let Some(fixture) = Fixture::find("tls") else {
        return;
    };
    let mut expectations = connections(fixture.tshark());
    for row in fixture.rows("input.pcap", "conn") {
        let number = row["conn_id"].as_u64().unwrap();
        let packets = expectations.remove(&number);
        assert_eq!(found(&row["tls"]), expected(&packets.unwrap()), "{row}");
        let is_resumed = row["tls"]["resumed"] == true;
        assert_eq!(is_resumed, RESUMED.contains(&number), "{row}");
        let asks_certificate = row["tls"]["asks_certificate"] == true;
        assert_eq!(asks_certificate, number == ASKS_CERTIFICATE, "{row}");
    }
    assert!(expectations.is_empty());
}
