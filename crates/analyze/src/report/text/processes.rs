//! Who talked.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};

use tcprec_shared::record::Process;

use super::Text;
use super::table::{Cell, Kind, Table};
use crate::report::{Part, units};

/// A process, or many of one program.
struct Row<'a> {
    /// The process, or the first of them.
    process: &'a Process,
    processes: u64,
    part: Part,
}

impl Row<'_> {
    /// Bytes that were counted; nothing where no connection was: a condition may leave in
    /// requests or findings alone.
    fn bytes(&self, bytes: u64) -> Cell {
        match self.part.connections_made + self.part.connections_taken {
            0 => Cell::default(),
            _ => units::bytes(bytes).into(),
        }
    }
}

impl Text<'_> {
    pub(super) fn processes(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.processes;
        if all.is_empty() {
            return Ok(());
        }
        let rows = all.values().map(|summary| Row {
            process: &summary.process,
            processes: 1,
            part: summary.part,
        });
        let mut rows: Vec<_> = rows.collect();
        let mut note = None;
        if self.looks.rows.is_some_and(|shown| rows.len() > shown) {
            rows = by_program(rows);
            note = Some(format!(
                "those of one program together; {} shows each",
                self.looks.all_option
            ));
        }
        rows.sort_by_key(|row| {
            let bytes = row.part.sent_bytes.saturating_add(row.part.received_bytes);
            (Reverse(bytes), row.process.id)
        });
        self.heading(to, "Processes", &units::count(all.len() as u64))?;
        let mut table = Table::new([
            ("PROCESS", Kind::Text),
            ("UID", Kind::Spare),
            ("OUTBOUND", Kind::Figure),
            ("INBOUND", Kind::Figure),
            ("ASKED", Kind::Spare),
            ("ASKED OF", Kind::Spare),
            ("SENT", Kind::Figure),
            ("RECEIVED", Kind::Figure),
            ("COMMAND", Kind::Flexible),
        ]);
        let (first, left) = self.first(&rows, rows.len() as u64);
        for row in first {
            let uid = row.process.uid.map_or(String::new(), |uid| uid.to_string());
            table.row([
                self.row_name(row).into(),
                uid.into(),
                unless_zero(row.part.connections_made),
                unless_zero(row.part.connections_taken),
                unless_zero(row.part.requests_made),
                unless_zero(row.part.requests_taken),
                row.bytes(row.part.sent_bytes),
                row.bytes(row.part.received_bytes),
                command(row).into(),
            ]);
        }
        self.table(to, &table)?;
        self.note(to, left.or(note).as_deref())
    }

    fn row_name(&self, row: &Row<'_>) -> String {
        match row.processes {
            1 => self.name(row.process.id),
            many => format!("{} × {}", units::count(many), row.process.comm),
        }
    }
}

/// Brings the processes of each program and user together.
fn by_program(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let mut programs: BTreeMap<_, Row<'_>> = BTreeMap::new();
    for row in rows {
        let Process {
            comm,
            exe,
            uid,
            container,
            ..
        } = row.process;
        programs
            .entry((comm, exe, uid, container))
            .and_modify(|program| {
                program.processes += row.processes;
                program.part += row.part;
            })
            .or_insert(row);
    }
    programs.into_values().collect()
}

/// The command line of a process, or the program of many.
fn command(row: &Row<'_>) -> String {
    if row.processes > 1 || row.process.argv.is_empty() {
        row.process.exe.clone().unwrap_or_default()
    } else {
        row.process.argv.join(" ")
    }
}

fn unless_zero(count: u64) -> Cell {
    match count {
        0 => Cell::default(),
        _ => units::count(count).into(),
    }
}

#[cfg(test)]
mod tests {
    use tcprec_shared::record::ProcessId;
    use unicode_width::UnicodeWidthStr as _;

    use super::super::written;
    use super::*;
    use crate::report::{ProcessSummary, Report};

    /// The titles, and the row of a process that had this part.
    fn told_of(part: Part, width: Option<usize>) -> [String; 2] {
        let id = ProcessId {
            pid: 4_194_304,
            start_ns: 0,
        };
        let process = Process {
            uid: Some(1000),
            comm: "a-name-of-15-by".into(),
            argv: vec!["an-argument".into(); 9],
            ..Process::nameless(id)
        };
        let report = Report {
            processes: [(id, ProcessSummary { process, part })].into(),
            ..Report::default()
        };
        let text = written(&report, width);
        let lines = text.lines().skip_while(|line| !line.starts_with("Proc"));
        let told: Vec<_> = lines.skip(1).take(2).map(str::to_owned).collect();
        told.try_into().unwrap()
    }

    #[test]
    fn eighty_columns_have_room_for_a_process() {
        let many = 1_000_000;
        let part = Part {
            connections_made: many,
            connections_taken: many,
            requests_made: many,
            requests_taken: many,
            sent_bytes: many,
            received_bytes: many,
        };
        let [titles, row] = told_of(part, Some(80));
        assert!(titles.width().max(row.width()) <= 80, "{titles}\n{row}");
        assert!(row.contains("a-name-of-15-by[4194304]"), "{row}");
        assert!(
            !titles.contains("UID") && !titles.contains("ASKED"),
            "{titles}"
        );
        let [titles, _] = told_of(part, None);
        assert!(titles.contains("ASKED OF"));
    }

    #[test]
    fn bytes_are_told_where_connections_are() {
        let asked = Part {
            requests_made: 1,
            ..Part::default()
        };
        let [titles, _] = told_of(asked, None);
        assert!(!titles.contains("SENT"), "{titles}");
        let connected = Part {
            connections_made: 1,
            ..asked
        };
        let [titles, row] = told_of(connected, None);
        assert!(titles.contains("SENT") && row.contains("0 B"), "{row}");
    }
}
