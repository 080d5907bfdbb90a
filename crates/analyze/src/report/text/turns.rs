//! How long answers were waited for in what cannot be read, by who answered whom.

use std::io::{self, Write};

use super::Text;
use super::table::{Cell, Kind, Table};
use crate::latency::{TurnGroup, TurnLatency};
use crate::report::units;

impl Text<'_> {
    pub(super) fn turns(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.turns;
        if all.is_empty() {
            return Ok(());
        }
        let turns = all.iter().map(|latency| latency.turns).sum();
        self.heading(to, "Turns where no HTTP is read", &units::count(turns))?;
        let line = "waited: from the client's last byte to the first of the server's answer";
        self.note(to, Some(line))?;
        let mut table = Table::new([
            ("TURNS", Kind::Figure),
            ("CONNS", Kind::Spare),
            ("WAIT 50%", Kind::Figure),
            ("90%", Kind::Figure),
            ("99%", Kind::Figure),
            ("LONGEST", Kind::Figure),
            ("CLIENT", Kind::Flexible),
            ("SERVER", Kind::Flexible),
            ("AT", Kind::Flexible),
        ]);
        let (first, note) = self.first(all, all.len() as u64);
        for latency in first {
            table.row(cells(latency));
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }
}

fn cells(latency: &TurnLatency) -> [Cell; 9] {
    let TurnGroup {
        client,
        server,
        endpoint,
        server_name,
    } = &latency.group;
    let at = match server_name {
        Some(name) => format!("{endpoint} as {name}"),
        None => endpoint.to_string(),
    };
    let name = |name: &Option<String>| Cell::from(name.clone().unwrap_or_default());
    let wait = latency.wait;
    let [p50, p90, p99, max] = [wait.p50_ns, wait.p90_ns, wait.p99_ns, wait.max_ns]
        .map(|ns| Cell::from(units::duration(ns)));
    [
        units::count(latency.turns).into(),
        units::count(latency.connections).into(),
        p50,
        p90,
        p99,
        max,
        name(client),
        name(server),
        at.into(),
    ]
}
