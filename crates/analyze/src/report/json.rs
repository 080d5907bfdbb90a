//! One JSON document, of the same objects as [`super::jsonl`] has lines.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::{Report, row};

/// Writes a report as a JSON document, with the connections and requests that
/// it keeps.
///
/// # Errors
/// The output's.
pub fn write(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, &Document(report))?;
    to.write_all(b"\n")
}

struct Document<'a>(&'a Report);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;

        let Self(report) = *self;
        let mut document = to.serialize_struct("Document", 9)?;
        document.serialize_field("capture", &row::capture(report))?;
        document.serialize_field("losses", &List(|| report.losses.iter().map(row::loss)))?;
        let names = report;
        let findings = || {
            let all = report.findings.iter();
            all.map(|finding| row::FindingRow { names, finding })
        };
        document.serialize_field("findings", &List(findings))?;
        let processes = || report.processes.values().map(row::process);
        document.serialize_field("processes", &List(processes))?;
        let connections = || {
            let all = report.connections.iter();
            all.map(|connection| row::Conn { names, connection })
        };
        document.serialize_field("connections", &List(connections))?;
        let requests = || {
            let all = report.requests.iter();
            all.map(|request| row::Http { names, request })
        };
        document.serialize_field("requests", &List(requests))?;
        let latencies = || {
            let all = report.latencies.iter();
            all.map(|latency| row::LatencyRow { report, latency })
        };
        document.serialize_field("latencies", &List(latencies))?;
        document.serialize_field("turns", &List(|| report.turns.iter().map(row::turns)))?;
        let services = || report.services.iter().map(row::service);
        document.serialize_field("services", &List(services))?;
        document.end()
    }
}

/// What an iterator gives, as a JSON array.
struct List<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq((self.0)())
    }
}
