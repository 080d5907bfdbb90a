//! What is worth attention.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::mem;

use super::table::{Cell, GAP, Kind, Table};
use super::{BAD, Text};
use crate::finding::Finding;
use crate::report::{self, units};

/// So many of a kind are shown before those of other kinds are.
const FIRST_OF_KIND: usize = 3;

impl Text<'_> {
    pub(super) fn findings(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.findings;
        if all.is_empty() {
            return Ok(());
        }
        self.heading(to, "Findings", &units::count(all.len() as u64))?;
        let chosen = in_turn(all, self.looks.rows.unwrap_or(usize::MAX));
        let (first, note) = self.first(&chosen, all.len() as u64);
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

/// As many findings as have room, in their order: one kind of which there are many does not
/// keep the others out.
fn in_turn(all: &[Finding], room: usize) -> Vec<&Finding> {
    let mut of_kind = BTreeMap::new();
    let mut places: Vec<_> = (0..)
        .zip(all)
        .map(|(place, finding)| {
            let number = of_kind.entry(finding.kind).or_insert(0);
            *number += 1;
            (*number > FIRST_OF_KIND, place, finding)
        })
        .collect();
    places.sort_by_key(|(is_late, place, _)| (*is_late, *place));
    places.truncate(room);
    places.sort_by_key(|(_, place, _)| *place);
    places.into_iter().map(|(_, _, finding)| finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::FindingKind::{self, Refused, Reset, Timeout};
    use crate::report::row::sample;

    #[test]
    fn one_kind_does_not_keep_the_others_out() {
        let of = |(count, kind): (u64, FindingKind)| Finding {
            kind,
            count,
            ..sample::finding(&sample::connection())
        };
        let kinds = [Refused; 6].into_iter().chain([Reset; 4]).chain([Timeout]);
        let all: Vec<_> = (0..).zip(kinds).map(of).collect();
        let shown = |room| {
            let shown = in_turn(&all, room).into_iter();
            shown.map(|finding| finding.count).collect::<Vec<_>>()
        };
        assert_eq!(shown(20), (0..11).collect::<Vec<_>>());
        assert_eq!(shown(9), [0, 1, 2, 3, 4, 6, 7, 8, 10]);
        assert_eq!(shown(5), [0, 1, 2, 6, 7]);
        assert_eq!(shown(0), [0; 0]);
    }
}
