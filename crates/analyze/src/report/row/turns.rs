//! Turns, of one connection and of many.

use std::net::IpAddr;

use serde::Serialize;

use super::seconds;
use crate::latency::{Quantiles, TurnLatency, quantiles};
use crate::tcp::Turns;

/// The object `turns` in the row of a connection.
#[derive(Debug, Serialize)]
pub(super) struct TurnsOfConnection {
    count: u64,
    #[serde(flatten)]
    waits: Waits,
    /// When the longest wait began.
    wait_max_ts: f64,
}

#[derive(Debug, Serialize)]
struct Waits {
    wait_p50: f64,
    wait_p90: f64,
    wait_p99: f64,
    wait_max: f64,
}

impl From<Quantiles> for Waits {
    fn from(quantiles: Quantiles) -> Self {
        Self {
            wait_p50: seconds(quantiles.p50_ns),
            wait_p90: seconds(quantiles.p90_ns),
            wait_p99: seconds(quantiles.p99_ns),
            wait_max: seconds(quantiles.max_ns),
        }
    }
}

pub(super) fn row(turns: &Turns) -> TurnsOfConnection {
    TurnsOfConnection {
        count: turns.waits.count(),
        waits: quantiles(&turns.waits).into(),
        wait_max_ts: seconds(turns.longest.asked_ns),
    }
}

/// A [`TurnLatency`].
#[derive(Debug, Serialize)]
pub(in crate::report) struct TurnsRow<'a> {
    kind: &'static str,
    client_comm: Option<&'a str>,
    server_comm: Option<&'a str>,
    addr: IpAddr,
    port: u16,
    server_name: Option<&'a str>,
    connections: u64,
    turns: u64,
    #[serde(flatten)]
    waits: Waits,
}

pub(in crate::report) fn turns(latency: &TurnLatency) -> TurnsRow<'_> {
    let group = &latency.group;
    TurnsRow {
        kind: "turns",
        client_comm: group.client.as_deref(),
        server_comm: group.server.as_deref(),
        addr: group.endpoint.addr,
        port: group.endpoint.port,
        server_name: group.server_name.as_deref(),
        connections: latency.connections,
        turns: latency.turns,
        waits: latency.wait.into(),
    }
}
