//! Where time went, of one request and of many.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{end_word, seconds};
use crate::latency::{Group, Latency};
use crate::report::Report;
use crate::tcp::Stall;
use crate::timing::Timing;

pub(super) fn times<M: SerializeMap>(to: &mut M, timing: &Timing) -> Result<(), M::Error> {
    for (name, ns) in [
        ("time_connect", timing.connect_ns),
        ("time_send", Some(timing.send_ns)),
        ("time_wait", Some(timing.wait_ns)),
        ("time_network", timing.network_ns),
        ("time_server", timing.server_ns()),
        ("time_receive", Some(timing.receive_ns)),
        ("time_stalled", Some(timing.stalled_ns)),
        ("time_total", Some(timing.total_ns())),
    ] {
        to.serialize_entry(name, &ns.map(seconds))?;
    }
    stalls(to, &timing.stalls)
}

/// [`Stall`].
#[derive(Debug, Serialize)]
struct StallRow {
    end: &'static str,
    cause: &'static str,
    ts: f64,
    duration: f64,
    at_byte: u64,
}

pub(super) fn stalls<M: SerializeMap>(to: &mut M, stalls: &[Stall]) -> Result<(), M::Error> {
    if stalls.is_empty() {
        return Ok(());
    }
    let rows = stalls.iter().map(|stall| StallRow {
        end: end_word(stall.by_orig),
        cause: stall.cause.word(),
        ts: seconds(stall.from_ns),
        duration: seconds(stall.to_ns.saturating_sub(stall.from_ns)),
        at_byte: stall.at_byte,
    });
    to.serialize_entry("stalls", &rows.collect::<Vec<_>>())
}

/// A [`Latency`].
pub(in crate::report) struct LatencyRow<'a> {
    pub(in crate::report) report: &'a Report,
    pub(in crate::report) latency: &'a Latency,
}

impl Serialize for LatencyRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { report, latency } = *self;
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("kind", "latency")?;
        row.serialize_entry("by", latency.group.kind().word())?;
        match &latency.group {
            Group::Server(id) | Group::Client(id) => {
                let process = report.processes.get(id);
                row.serialize_entry("pid", &id.pid)?;
                row.serialize_entry("pid_start_ns", &id.start_ns)?;
                row.serialize_entry("comm", &process.map(|summary| &summary.process.comm))?;
            }
            Group::Endpoint(endpoint, host) => {
                row.serialize_entry("addr", &endpoint.addr)?;
                row.serialize_entry("port", &endpoint.port)?;
                row.serialize_entry("host", host)?;
            }
            Group::Route(method, path) => {
                row.serialize_entry("method", method)?;
                row.serialize_entry("path", path)?;
            }
        }
        row.serialize_entry("requests", &latency.requests)?;
        row.serialize_entry("errors", &latency.errors)?;
        let (wait, total) = (latency.wait, latency.total);
        for (name, ns) in [
            ("wait_p50", wait.p50_ns),
            ("wait_p90", wait.p90_ns),
            ("wait_p99", wait.p99_ns),
            ("wait_max", wait.max_ns),
            ("total_p50", total.p50_ns),
            ("total_p90", total.p90_ns),
            ("total_p99", total.p99_ns),
            ("total_max", total.max_ns),
        ] {
            row.serialize_entry(name, &seconds(ns))?;
        }
        row.end()
    }
}
