//! How long requests took, by what they have in common.

use std::io::{self, Write};

use tcprec_shared::flow::Endpoint;

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
            row.push(self.group(latency).into());
            table.row(row);
        }
        table
    }

    fn group(&self, latency: &Latency) -> String {
        match &latency.group {
            Group::Server(process) | Group::Client(process) => self.name(*process),
            Group::Endpoint(endpoint, None) => endpoint.to_string(),
            Group::Endpoint(endpoint, Some(host)) if is_of(host, *endpoint) => endpoint.to_string(),
            Group::Endpoint(endpoint, Some(host)) => format!("{endpoint} as {host}"),
            Group::Route(method, path) => {
                // The target of a request line may be empty.
                let route = format!("{method} {path}");
                let route = route.trim_end();
                if latency.has_several_endpoints {
                    format!("{route} (several endpoints)")
                } else {
                    route.to_owned()
                }
            }
        }
    }
}

/// Whether a host says no more than the endpoint that was asked for it. The port of HTTP
/// is mostly left out (RFC 9110 section 4.2.1).
fn is_of(host: &str, endpoint: Endpoint) -> bool {
    let endpoint_text = endpoint.to_string();
    let without_port = endpoint_text.strip_suffix(":80");
    host == endpoint_text || Some(host) == without_port
}

#[cfg(test)]
mod tests {
    use super::super::written;
    use super::*;
    use crate::latency::Quantiles;
    use crate::report::Report;

    /// What is told of a group, in the last column.
    fn told(group: Group, has_several_endpoints: bool) -> String {
        let report = Report {
            latencies: vec![Latency {
                group,
                has_several_endpoints,
                requests: 2,
                errors: 0,
                total: Quantiles::default(),
                wait: Quantiles::default(),
            }],
            ..Report::default()
        };
        let text = written(&report, None);
        let (_, told) = text.trim_end().rsplit_once("0 s  ").unwrap();
        told.to_owned()
    }

    #[test]
    fn a_host_is_told_where_it_says_more_than_the_address() {
        for (endpoint, host, expected) in [
            ("10.77.0.2:8080", "10.77.0.2:8080", "10.77.0.2:8080"),
            ("10.77.0.2:80", "10.77.0.2", "10.77.0.2:80"),
            ("[::1]:80", "[::1]", "[::1]:80"),
            ("10.77.0.2:8080", "10.77.0.2", "10.77.0.2:8080 as 10.77.0.2"),
            (
                "10.77.0.2:80",
                "10.77.0.2:81",
                "10.77.0.2:80 as 10.77.0.2:81",
            ),
            ("10.77.0.2:80", "example.org", "10.77.0.2:80 as example.org"),
        ] {
            let endpoint: std::net::SocketAddr = endpoint.parse().unwrap();
            let endpoint = Endpoint::new(endpoint.ip(), endpoint.port());
            let group = Group::Endpoint(endpoint, Some(host.to_owned()));
            assert_eq!(told(group, false), expected);
        }
    }

    #[test]
    fn a_route_says_if_several_answer_it() {
        let route = || Group::Route("GET".into(), "/small".into());
        assert_eq!(told(route(), false), "GET /small");
        assert_eq!(told(route(), true), "GET /small (several endpoints)");
    }
}
