//! Who talks to whom.

use std::net::IpAddr;

use serde::Serialize;

use super::seconds;
use crate::services::{Client, Service};

/// A [`Service`].
#[derive(Debug, Serialize)]
pub(in crate::report) struct ServiceRow<'a> {
    kind: &'static str,
    client_comm: Option<&'a str>,
    client_addr: Option<IpAddr>,
    server_comm: Option<&'a str>,
    addr: IpAddr,
    port: u16,
    connections: u64,
    failed: u64,
    orig_bytes: u64,
    resp_bytes: u64,
    orig_resent: u64,
    resp_resent: u64,
    connect_p50: Option<f64>,
    connect_p90: Option<f64>,
    connect_p99: Option<f64>,
    connect_max: Option<f64>,
}

pub(in crate::report) fn service(service: &Service) -> ServiceRow<'_> {
    let (group, sums, connect) = (&service.group, service.sums, service.connect);
    let (client_comm, client_addr) = match &group.client {
        Client::Many => (None, None),
        Client::Address(addr) => (None, Some(*addr)),
        Client::Process(name) => (Some(name.as_str()), None),
    };
    let [orig_bytes, resp_bytes] = sums.bytes;
    let [orig_resent, resp_resent] = sums.resent_packets;
    ServiceRow {
        kind: "service",
        client_comm,
        client_addr,
        server_comm: group.server.as_deref(),
        addr: group.endpoint.addr,
        port: group.endpoint.port,
        connections: sums.connections,
        failed: sums.failed,
        orig_bytes,
        resp_bytes,
        orig_resent,
        resp_resent,
        connect_p50: connect.map(|it| seconds(it.p50_ns)),
        connect_p90: connect.map(|it| seconds(it.p90_ns)),
        connect_p99: connect.map(|it| seconds(it.p99_ns)),
        connect_max: connect.map(|it| seconds(it.max_ns)),
    }
}
