//! What is worth attention.

use std::io::{self, Write};
use std::mem;

use super::table::{Cell, GAP, Kind, Table};
use super::{BAD, Text};
use crate::report::{self, units};

impl Text<'_> {
    pub(super) fn findings(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.findings;
        if all.is_empty() {
            return Ok(());
        }
        self.heading(to, "Findings", &units::count(all.len() as u64))?;
        let (first, note) = self.first(all, all.len() as u64);
        let rows: Vec<_> = first
            .iter()
            .map(|finding| {
                let word = finding.kind.word().replace('_', " ");
                (self.moment(finding.first_ns), word, finding)
            })
            .collect();
        let widest = rows.iter().map(|(when, word, _)| when.len() + word.len());
        let around = widest.max().unwrap_or(0) + 3 * GAP.len();
        let room = self.looks.width.unwrap_or(usize::MAX);
        let mut table = Table::new([("WHEN", Kind::Text), ("WHAT", Kind::Text), ("", Kind::Text)]);
        for (when, word, finding) in rows {
            let sentence = Cell::from(report::findings::sentence(self.report, finding));
            let (mut when, mut word) = (Cell::from(when), Cell::styled(&word, BAD));
            // Little would be left of one that is cut, and all of it matters.
            for line in sentence.wrap(room.saturating_sub(around)) {
                table.row([mem::take(&mut when), mem::take(&mut word), line]);
            }
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }
}
