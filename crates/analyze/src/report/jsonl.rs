//! One JSON object a line; its `kind` says what it is.

use std::io::{self, Write};

use serde::Serialize;

use super::{Connection, Report, Request, Rows, row};
use crate::owner::Owners;

/// Writes the rows of a report as lines of JSON as they are finished, and the
/// rest of it behind them.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    error: Option<io::Error>,
}

impl<W: Write> Writer<W> {
    /// Nothing is written yet.
    pub const fn new(to: W) -> Self {
        Self { to, error: None }
    }

    /// Says why a row could not be written, if so. No more are written then.
    ///
    /// # Errors
    /// The output's.
    pub fn check(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Writes what stands behind the rows, and gives the output back.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self, report: &Report) -> io::Result<W> {
        for finding in &report.findings {
            self.line(&row::FindingRow {
                names: report,
                finding,
            });
        }
        for latency in &report.latencies {
            self.line(&row::LatencyRow { report, latency });
        }
        for process in report.processes.values() {
            self.line(&row::process(process));
        }
        for loss in &report.losses {
            self.line(&row::loss(loss));
        }
        self.line(&row::capture(report));
        self.check()?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn line(&mut self, row: &impl Serialize) {
        if self.error.is_none() {
            let written = serde_json::to_writer(&mut self.to, row);
            let written = written.map_err(io::Error::from);
            self.error = written.and_then(|()| self.to.write_all(b"\n")).err();
        }
    }
}

impl<W: Write> Rows for Writer<W> {
    fn connection(&mut self, connection: &Connection, names: &Owners) {
        self.line(&row::Conn { names, connection });
    }

    fn request(&mut self, request: &Request, names: &Owners) {
        self.line(&row::Http { names, request });
    }
}
