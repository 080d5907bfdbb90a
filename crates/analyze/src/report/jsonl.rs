//! One JSON object a line; its `kind` says what it is.

use std::io::{self, Write};

use serde::Serialize;

use super::row::{self, Row};
use super::{Connection, Report, Request, Rows};
use crate::owner::Owners;

/// So much is written at once, or a little more.
const CHUNK_BYTES: usize = 1 << 16;

/// Writes the rows of a report as lines of JSON as they are finished, and the
/// rest of it behind them.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    error: Option<io::Error>,
}

impl<W: Write> Writer<W> {
    /// Nothing is written yet.
    pub const fn new(to: W) -> Self {
        Self {
            to,
            lines: Vec::new(),
            error: None,
        }
    }

    /// Says why a row could not be written, if so. No more are written then.
    ///
    /// # Errors
    /// The output's.
    pub fn check(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Lets nothing wait that can be read by now.
    pub fn flush(&mut self) {
        self.write();
        if self.error.is_none() {
            self.error = self.to.flush().err();
        }
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
        for turns in &report.turns {
            self.object(&row::turns(turns));
        }
        for service in &report.services {
            self.object(&row::service(service));
        }
        for process in report.processes.values() {
            self.object(&row::process(process));
        }
        for loss in &report.losses {
            self.object(&row::loss(loss));
        }
        self.object(&row::capture(report));
        self.flush();
        self.check()?;
        Ok(self.to)
    }

    fn line(&mut self, row: &impl Row) {
        let made = row::line(row, &mut self.lines);
        self.made(made);
    }

    fn object(&mut self, row: &impl Serialize) {
        let made = serde_json::to_writer(&mut self.lines, row);
        self.lines.push(b'\n');
        self.made(made);
    }

    fn made(&mut self, made: serde_json::Result<()>) {
        if let Err(error) = made {
            self.error.get_or_insert(error.into());
        } else if self.lines.len() >= CHUNK_BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.error.is_none() {
            self.error = self.to.write_all(&self.lines).err();
        }
        self.lines.clear();
    }
}

impl<W: Write> Rows for Writer<W> {
    fn connection(&mut self, connection: &Connection, names: &Owners) {
        self.line(&row::Conn { names, connection });
    }

    fn request(&mut self, request: &Request, names: &Owners) {
        self.line(&row::Http { names, request });
    }

    fn are_refused(&self) -> bool {
        self.error.is_some()
    }
}
