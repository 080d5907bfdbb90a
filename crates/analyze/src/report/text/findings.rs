//! What is worth attention.

use std::io::{self, Write};

use super::table::{Cell, Kind, Table};
use super::{BAD, Text};
use crate::report::{self, units};

impl Text<'_> {
    pub(super) fn findings(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.findings;
        if all.is_empty() {
            return Ok(());
        }
        self.heading(to, "Findings", &units::count(all.len() as u64))?;
        let mut table = Table::new([
            ("WHEN", Kind::Text),
            ("WHAT", Kind::Text),
            ("", Kind::Flexible),
        ]);
        let (first, note) = self.first(all, all.len() as u64);
        for finding in first {
            let word = finding.kind.word().replace('_', " ");
            let sentence = report::findings::sentence(self.report, finding);
            table.row([
                self.moment(finding.first_ns).into(),
                Cell::styled(&word, BAD),
                sentence.into(),
            ]);
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }
}
