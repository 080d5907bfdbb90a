//! One JSON object a line; its `kind` says what it is.

use std::io::{self, Write};

use serde::Serialize;

use super::{Report, row};
use crate::finding::findings;
use crate::latency::latencies;

/// Writes a report as lines of JSON.
///
/// # Errors
/// The output's.
pub fn write(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    line(to, &row::capture(report))?;
    for loss in &report.losses {
        line(to, &row::loss(loss))?;
    }
    for finding in &findings(report) {
        line(to, &row::FindingRow { report, finding })?;
    }
    for process in report.processes.values() {
        line(to, &row::process(process))?;
    }
    for connection in &report.connections {
        line(to, &row::Conn { report, connection })?;
    }
    for request in &report.requests {
        line(to, &row::Http { report, request })?;
    }
    for latency in &latencies(report) {
        line(to, &row::LatencyRow { report, latency })?;
    }
    Ok(())
}

fn line(to: &mut dyn Write, row: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, row)?;
    to.write_all(b"\n")
}
