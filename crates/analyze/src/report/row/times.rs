//! Where time went, of one request and of many.

use serde::{Serialize, Serializer};

use super::fields::{self, Fields, Row};
use super::{end_word, seconds};
use crate::latency::{Group, Latency};
use crate::report::Report;
use crate::tcp::Stall;
use crate::timing::Timing;

pub(super) fn times<F: Fields>(to: &mut F, timing: &Timing) -> Result<(), F::Error> {
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
        to.field(name, &ns.map(seconds))?;
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

pub(super) fn stalls<F: Fields>(to: &mut F, stalls: &[Stall]) -> Result<(), F::Error> {
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
    to.field("stalls", &rows.collect::<Vec<_>>())
}

/// A [`Latency`].
pub(in crate::report) struct LatencyRow<'a> {
    pub(in crate::report) report: &'a Report,
    pub(in crate::report) latency: &'a Latency,
}

impl Row for LatencyRow<'_> {
    fn fields<F: Fields>(&self, to: &mut F) -> Result<(), F::Error> {
        let Self { report, latency } = *self;
        to.field("kind", "latency")?;
        to.field("by", latency.group.kind().word())?;
        match &latency.group {
            Group::Server(id) | Group::Client(id) => {
                let process = report.processes.get(id);
                to.field("pid", &id.pid)?;
                to.field("pid_start_ns", &id.start_ns)?;
                to.field("comm", &process.map(|summary| &summary.process.comm))?;
            }
            Group::Endpoint(endpoint, host) => {
                to.field("addr", &endpoint.addr)?;
                to.field("port", &endpoint.port)?;
                to.field("host", host)?;
            }
            Group::Route(method, path) => {
                to.field("method", method)?;
                to.field("path", path)?;
                if latency.has_several_endpoints {
                    to.field("several_endpoints", &true)?;
                }
            }
        }
        to.field("requests", &latency.requests)?;
        to.field("errors", &latency.errors)?;
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
            to.field(name, &seconds(ns))?;
        }
        Ok(())
    }
}

impl Serialize for LatencyRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields::serialize(self, to)
    }
}
