//! Who talks to whom.

use std::io::{self, Write};

use super::table::{Cell, Kind, Table};
use super::{BAD, Text, WARN};
use crate::report::units;
use crate::services::{Client, Service};

impl Text<'_> {
    pub(super) fn services(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.services;
        // Of one connection there is no more to say than stands in its lines.
        if all.iter().all(|service| service.sums.connections < 2) {
            return Ok(());
        }
        self.heading(to, "Services", &units::count(all.len() as u64))?;
        let mut table = Table::new([
            ("CONNS", Kind::Figure),
            ("FAILED", Kind::Figure),
            ("SENT", Kind::Figure),
            ("RECEIVED", Kind::Figure),
            ("RESENT", Kind::Spare),
            ("CONNECT 50%", Kind::Spare),
            ("99%", Kind::Spare),
            ("CLIENT", Kind::Flexible),
            ("SERVER", Kind::Flexible),
            ("AT", Kind::Flexible),
        ]);
        let (first, note) = self.first(all, all.len() as u64);
        for service in first {
            table.row(cells(service));
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }
}

fn cells(service: &Service) -> [Cell; 10] {
    let (group, sums) = (&service.group, service.sums);
    let client = match &group.client {
        Client::Many => "many addresses".into(),
        Client::Address(addr) => addr.to_string(),
        Client::Process(name) => name.clone(),
    };
    let unless_zero = |count: u64, style| match count {
        0 => Cell::default(),
        count => Cell::styled(&units::count(count), style),
    };
    let [sent, received] = sums.bytes.map(|bytes| units::bytes(bytes).into());
    let [orig, resp] = sums.resent_packets;
    let duration = |ns: Option<i64>| Cell::from(ns.map_or(String::new(), units::duration));
    [
        units::count(sums.connections).into(),
        unless_zero(sums.failed, BAD),
        sent,
        received,
        unless_zero(orig.saturating_add(resp), WARN),
        duration(service.connect.map(|connect| connect.p50_ns)),
        duration(service.connect.map(|connect| connect.p99_ns)),
        client.into(),
        group.server.clone().unwrap_or_default().into(),
        group.endpoint.to_string().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::written;
    use super::*;
    use crate::latency::Quantiles;
    use crate::report::Report;
    use crate::services::{ServiceGroup, ServiceSums};
    use tcprec_shared::flow::Endpoint;

    /// What is told of services with so many connections.
    fn told(connections: u64, failed: u64, client: Client) -> Vec<String> {
        let service = Service {
            group: ServiceGroup {
                endpoint: Endpoint::new([10, 0, 0, 2].into(), 80),
                server: Some("nginx".into()),
                client,
            },
            sums: ServiceSums {
                connections,
                failed,
                bytes: [1_000, 2_000_000],
                resent_packets: [1, 2],
            },
            connect: Some(Quantiles {
                p50_ns: 1_000_000,
                p99_ns: 2_000_000,
                ..Quantiles::default()
            }),
        };
        let report = Report {
            services: vec![service],
            ..Report::default()
        };
        let text = written(&report, None);
        let lines = text
            .lines()
            .skip_while(|line| !line.starts_with("Services"));
        let lines = lines.take(3).map(|line| line.trim().to_owned());
        lines.collect()
    }

    #[test]
    fn a_service_is_told_with_its_client() {
        let [_, _, row] = &told(1_234, 5, Client::Process("curl".into()))[..] else {
            panic!("no table");
        };
        let cells: Vec<_> = row.split_whitespace().collect();
        let expected = "1,234 5 1.00 kB 2.00 MB 3 1.00 ms 2.00 ms curl nginx 10.0.0.2:80";
        assert_eq!(cells.join(" "), expected);
        let row = &told(2, 0, Client::Many)[2];
        assert!(row.contains("many addresses  nginx"), "{row}");
        let titles = &told(2, 0, Client::Address([10, 0, 0, 1].into()))[1];
        assert!(!titles.contains("FAILED"), "{titles}");
    }

    #[test]
    fn one_connection_is_no_table() {
        assert!(told(1, 0, Client::Many).is_empty());
    }
}
