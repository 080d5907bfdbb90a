//! What was seen of a connection's TLS: the object `tls` in its row.

use serde::Serialize;

use super::{end_word, seconds};
use crate::app::{Alert, Tls};
use crate::tcp;

/// A [`Tls`].
#[derive(Debug, Serialize)]
pub(super) struct TlsRow<'a> {
    client: &'static str,
    ts: Option<f64>,
    version: Option<String>,
    offered_version: Option<String>,
    cipher: Option<String>,
    server_name: Option<&'a str>,
    alpn: Option<&'a str>,
    offered_alpn: &'a [String],
    established: bool,
    handshake_time: Option<f64>,
    resumed: Option<bool>,
    retried: bool,
    asks_certificate: Option<bool>,
    alerts: Vec<AlertRow>,
    orig_encrypted_alerts: u64,
    resp_encrypted_alerts: u64,
}

#[derive(Debug, Serialize)]
struct AlertRow {
    end: &'static str,
    level: String,
    description: String,
    ts: Option<f64>,
}

pub(super) fn row<'a>(tls: &'a Tls, connection: &tcp::Connection) -> TlsRow<'a> {
    let client_is_orig = tls.client == connection.orig.endpoint;
    let alert = |alert: &Alert| AlertRow {
        end: end_word(alert.by_client == client_is_orig),
        level: alert.level_word(),
        description: alert.description_word(),
        ts: alert.ts_ns.map(seconds),
    };
    let mut encrypted_alerts = [tls.client_encrypted_alerts, tls.server_encrypted_alerts];
    if !client_is_orig {
        encrypted_alerts.reverse();
    }
    let [orig_encrypted_alerts, resp_encrypted_alerts] = encrypted_alerts;
    TlsRow {
        client: end_word(client_is_orig),
        ts: tls.first_ns.map(seconds),
        version: tls.version.map(|version| version.to_string()),
        offered_version: tls.offered_version.map(|version| version.to_string()),
        cipher: tls.cipher.map(|cipher| cipher.to_string()),
        server_name: tls.server_name.as_deref(),
        alpn: tls.alpn.as_deref(),
        offered_alpn: &tls.offered_alpn,
        established: tls.is_established,
        handshake_time: tls.handshake_ns().map(seconds),
        resumed: tls.is_resumed,
        retried: tls.is_retried,
        asks_certificate: tls.asks_certificate,
        alerts: tls.alerts.iter().map(alert).collect(),
        orig_encrypted_alerts,
        resp_encrypted_alerts,
    }
}
