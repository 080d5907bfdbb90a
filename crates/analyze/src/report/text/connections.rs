//! The connections: two lines each, one for each end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;

use super::table::{Cell, Kind, Table};
use super::{BAD, DIM, GOOD, Text, WARN, missing, tally};
use crate::app::Tls;
use crate::report::{Connection, EndFacts, units};
use crate::tcp::{self, ConnState};

impl Text<'_> {
    pub(super) fn connections(&self, to: &mut dyn Write) -> io::Result<()> {
        let totals = &self.report.totals.connections;
        let all = totals.values().sum();
        let mut by_state = BTreeMap::new();
        for (state, count) in totals {
            *by_state.entry(ended(*state).0).or_insert(0) += count;
        }
        self.heading(to, "Connections", &tally(all, by_state))?;
        if all == 0 {
            return Ok(());
        }
        self.note(to, self.looks.sort.note())?;
        let mut table = Table::new([
            ("START", Kind::Text),
            ("STATE", Kind::Text),
            ("FROM -> TO", Kind::Text),
            ("OWNER", Kind::Flexible),
            ("TLS", Kind::Flexible),
            ("PACKETS", Kind::Spare),
            ("BYTES", Kind::Figure),
            ("RESENT", Kind::Spare),
            ("RTT", Kind::Spare),
            ("MISSING", Kind::Text),
        ]);
        let (first, note) = self.first(&self.report.connections, all);
        for connection in first {
            self.connection(&mut table, connection);
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }

    /// Two lines: the end that asked for the connection, and the other.
    fn connection(&self, table: &mut Table, connection: &Connection) {
        let Connection {
            tcp,
            incomplete,
            orig,
            resp,
            ..
        } = connection;
        let (state, style) = ended(tcp.state);
        // What was not seen may have been lost.
        let unsure = incomplete.lacks_packets() && !tcp.state.is_over();
        let state = format!("{state}{}", if unsure { "?" } else { "" });
        let [orig_resent, resp_resent] = connection.resent_packets();
        let figures = |end: &tcp::End, facts: &EndFacts, resent: u64| {
            let rtt = facts.kernel.and_then(|kernel| kernel.tcp);
            let rtt = rtt.and_then(|tcp| tcp.round_trip_ns());
            let rtt = rtt.map_or(String::new(), units::duration);
            [
                units::count(end.packets).into(),
                units::bytes(end.bytes).into(),
                match resent {
                    0 => Cell::default(),
                    resent => Cell::styled(&units::count(resent), WARN),
                },
                rtt.into(),
            ]
        };
        let [tls_first, tls_second] = tcp.tls.as_deref().map(tls).unwrap_or_default();
        let mut row: Vec<Cell> = vec![
            self.moment(tcp.first_ns).into(),
            Cell::styled(&state, style),
            tcp.orig.endpoint.to_string().into(),
            self.owner(orig.owner),
            tls_first,
        ];
        row.extend(figures(&tcp.orig, orig, orig_resent));
        row.push(missing(*incomplete));
        table.row(row);
        let mut row: Vec<Cell> = vec![
            Cell::default(),
            Cell::styled(&units::duration(tcp.duration_ns), DIM),
            format!("-> {}", tcp.resp.endpoint).into(),
            self.owner(resp.owner),
            tls_second,
        ];
        row.extend(figures(&tcp.resp, resp, resp_resent));
        table.row(row);
    }
}

/// The server that TLS was asked for, and what came of it.
fn tls(tls: &Tls) -> [Cell; 2] {
    let version = tls.version.or(tls.offered_version);
    let version = version.map_or("TLS".into(), |version| version.to_string());
    let fatal = tls.alerts.iter().find(|alert| alert.is_fatal());
    let outcome = match (tls.is_established, tls.handshake_ns(), fatal) {
        (true, Some(ns), _) => format!("{version} in {}", units::duration(ns)).into(),
        (true, None, _) => version.into(),
        (false, _, Some(alert)) => {
            let failed = format!("{version} failed: ");
            Cell::keeping([&failed, &alert.description_word(), ""], BAD)
        }
        (false, _, None) => {
            let version = format!("{version} ");
            Cell::keeping([&version, "not completed", ""], WARN)
        }
    };
    let name = tls.server_name.as_deref().unwrap_or_default();
    [name.into(), outcome]
}

/// How a connection ended, in words, and how that looks. The client is the
/// originator.
const fn ended(state: ConnState) -> (&'static str, Style) {
    match state {
        ConnState::Sf => ("closed", Style::new()),
        ConnState::S0 => ("no answer", BAD),
        ConnState::S1 => ("open", GOOD),
        ConnState::Rej => ("refused", BAD),
        ConnState::S2 => ("client closed", WARN),
        ConnState::S3 => ("server closed", WARN),
        ConnState::Rsto | ConnState::Rstos0 => ("client reset", BAD),
        ConnState::Rstr | ConnState::Rstrh => ("server reset", BAD),
        ConnState::Sh | ConnState::Shr => ("half seen", WARN),
        ConnState::Oth => ("midway", DIM),
    }
}

#[cfg(test)]
mod tests {
    use super::super::written;
    use crate::app::Alert;
    use crate::report::row::sample;
    use crate::report::{Report, Totals};

    #[test]
    fn why_tls_failed_is_told_before_figures() {
        const UNKNOWN_CA: u8 = 48;
        let mut connection = sample::connection();
        connection.incomplete = Default::default();
        let tls = connection.tcp.tls.as_mut().unwrap();
        tls.alerts = vec![Alert {
            ts_ns: None,
            by_client: true,
            level: 2,
            description: UNKNOWN_CA,
        }];
        let report = Report {
            totals: Totals {
                connections: [(connection.tcp.state, 1)].into(),
                ..Totals::default()
            },
            connections: vec![connection],
            ..Report::default()
        };
        assert!(written(&report, None).contains("RESENT"));
        let text = written(&report, Some(80));
        assert!(!text.contains("RESENT"), "{text}");
        for kept in ["[0]", "unknown_ca"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
