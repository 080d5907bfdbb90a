//! How long requests took, by what they have in common.

use std::io::{self, Write};

use super::table::{Cell, Kind, Table};
use super::{BAD, Text};
use crate::latency::{Group, GroupKind, Latency};
use crate::report::units;

impl Text<'_> {
    pub(super) fn latencies(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.latencies;
        // Of one request there is no more to say than stands in its line.
        if all.iter().all(|latency| latency.requests < 2) {
            return Ok(());
        }
        for kind in GroupKind::ALL {
            let of_kind = all.iter().filter(|latency| latency.group.kind() == kind);
            let of_kind: Vec<_> = of_kind.collect();
            // Groups of one request each say nothing that the requests do not.
            if of_kind.iter().all(|latency| latency.requests < 2) {
                continue;
            }
            let title = format!("Latency by {}", kind.word());
            self.heading(to, &title, &units::count(of_kind.len() as u64))?;
            let (first, note) = self.first(&of_kind, of_kind.len() as u64);
            self.table(to, &self.latency_table(first))?;
            self.note(to, note.as_deref())?;
        }
        Ok(())
    }

    fn latency_table(&self, rows: &[&Latency]) -> Table {
        let mut table = Table::new([
            ("REQUESTS", Kind::Figure),
            ("ERRORS", Kind::Figure),
            ("WAIT 50%", Kind::Figure),
            ("90%", Kind::Figure),
            ("99%", Kind::Figure),
            ("LONGEST", Kind::Figure),
            ("TOTAL 50%", Kind::Spare),
            ("90%", Kind::Spare),
            ("99%", Kind::Spare),
            ("LONGEST", Kind::Spare),
            ("OF", Kind::Flexible),
        ]);
        for latency in rows {
            let errors = match latency.errors {
                0 => Cell::default(),
                errors => Cell::styled(&units::count(errors), BAD),
            };
            let mut row = vec![units::count(latency.requests).into(), errors];
            for quantiles in [latency.wait, latency.total] {
                let [p50, p90, p99, max] = [
                    quantiles.p50_ns,
                    quantiles.p90_ns,
                    quantiles.p99_ns,
                    quantiles.max_ns,
                ]
                .map(|ns| Cell::from(units::duration(ns)));
                row.extend([p50, p90, p99, max]);
            }
            row.push(self.group(&latency.group).into());
            table.row(row);
        }
        table
    }

    fn group(&self, group: &Group) -> String {
        match group {
            Group::Server(process) | Group::Client(process) => self.name(*process),
            Group::Endpoint(endpoint, None) => endpoint.to_string(),
            Group::Endpoint(endpoint, Some(host)) => format!("{endpoint} {host}"),
            // The target of a request line may be empty.
            Group::Route(method, path) => format!("{method} {path}").trim_end().to_owned(),
        }
    }
}
