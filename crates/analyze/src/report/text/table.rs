//! Aligned columns for people.

use std::io::{self, Write};
use std::ops::Range;

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::report::units;

/// What stands between two columns.
pub(super) const GAP: &str = "  ";

/// Stands where something is left out of a text.
const MARK: &str = "…";

/// A column that is to give way is not made narrower than this.
const MIN_FLEXIBLE_WIDTH: usize = 10;

/// Before one is made narrower than this, columns that can be spared are left out.
const FLEXIBLE_WIDTH: usize = 28;

/// Where the text of a column stands, and whether it may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, to the left.
    Text,
    /// Text that is cut where the table is wider than the terminal.
    Flexible,
    /// Figures, to the right.
    Figure,
    /// Figures that are left out, the last first, where the table is wider than the
    /// terminal: JSON has them.
    Spare,
}

/// Text from a capture, made safe, with its looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
    /// The part that is kept where the text is cut; nothing where its beginning is.
    kept: Range<usize>,
}

impl Cell {
    pub(super) fn styled(text: &str, style: Style) -> Self {
        Self {
            text: units::clean(text).into_owned(),
            style,
            kept: 0..0,
        }
    }

    /// A text of three parts, the second of which matters most: where there is no room,
    /// the last part is left out, then the first is cut.
    pub(super) fn keeping(parts: [&str; 3], style: Style) -> Self {
        let [before, kept, after] = parts.map(units::clean);
        let end = before.len() + kept.len();
        Self {
            kept: before.len()..end,
            text: [before, kept, after].concat(),
            style,
        }
    }

    /// What of the text has room in so many columns: its beginning, the mark that says so
    /// if that is not all, and what stands behind the mark.
    fn fit(&self, width: usize) -> [&str; 3] {
        let text = self.text.as_str();
        if text.width() <= width {
            return [text, "", ""];
        }
        let room = width.saturating_sub(MARK.width());
        if self.kept.is_empty() {
            return [units::start_of(text, room), MARK, ""];
        }
        let part = |range: Range<usize>| text.get(range).unwrap_or("");
        let (before, kept) = (part(0..self.kept.start), part(self.kept.clone()));
        if before.width() + kept.width() <= width {
            return [before, "", kept];
        }
        match room.checked_sub(kept.width()) {
            Some(room) => [units::start_of(before, room), MARK, kept],
            None => [units::start_of(kept, room), MARK, ""],
        }
    }

    /// The text in lines of so many columns, where there are spaces to break it.
    pub(super) fn wrap(&self, width: usize) -> Vec<Self> {
        let mut lines: Vec<Self> = Vec::new();
        let mut used = 0;
        for word in self.text.split(' ') {
            let more = 1 + word.width();
            match lines.last_mut() {
                Some(line) if more <= width.saturating_sub(used) => {
                    line.text.push(' ');
                    line.text.push_str(word);
                    used += more;
                }
                _ => {
                    lines.push(Self {
                        text: word.to_owned(),
                        style: self.style,
                        kept: 0..0,
                    });
                    used = more - 1;
                }
            }
        }
        lines
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::styled(&text, Style::new())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::styled(text, Style::new())
    }
}

/// A table; columns that stay empty are not shown.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Kind)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    /// One for each column.
    Cells(Vec<Cell>),
    /// A text across all columns, wrapped where it is too long.
    Remark(Cell),
}

impl Table {
    pub(super) fn new(columns: impl Into<Vec<(&'static str, Kind)>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(Row::Cells(cells.into()));
    }

    /// Says something of the row before.
    pub(super) fn remark(&mut self, text: String) {
        self.rows.push(Row::Remark(text.into()));
    }

    /// Writes the table, indented, within `width` columns of text if it can be.
    pub(super) fn write(
        &self,
        to: &mut dyn Write,
        width: Option<usize>,
        color: bool,
    ) -> io::Result<()> {
        let widths = self.widths(width);
        let head = Style::new().dimmed();
        let titles: Vec<_> = self
            .columns
            .iter()
            .map(|(title, _)| Cell::styled(title, head))
            .collect();
        if titles.iter().any(|title| !title.text.is_empty()) {
            self.write_row(to, &titles, &widths, color)?;
        }
        let room = width.unwrap_or(usize::MAX).saturating_sub(2 * GAP.len());
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.write_row(to, cells, &widths, color)?,
                Row::Remark(text) => {
                    for line in text.wrap(room) {
                        writeln!(to, "{GAP}{GAP}{}", line.text)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The width of each column; 0 where there is nothing in it.
    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths = vec![0; self.columns.len()];
        let cells = self.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => Some(cells),
            Row::Remark(_) => None,
        });
        for row in cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        for (width, (title, _)) in widths.iter_mut().zip(&self.columns) {
            if *width > 0 {
                *width = (*width).max(title.width());
            }
        }
        let limit = limit.unwrap_or(usize::MAX);
        let takes = |width: usize| if width > 0 { width + GAP.len() } else { 0 };
        let mut total: usize = widths.iter().copied().map(takes).sum();
        let columns = || widths.iter().zip(&self.columns);
        let flexible = columns().filter(|(_, (_, kind))| *kind == Kind::Flexible);
        let to_cut: usize = flexible
            .map(|(width, _)| width.saturating_sub(FLEXIBLE_WIDTH))
            .sum();
        for (width, (_, kind)) in widths.iter_mut().zip(&self.columns).rev() {
            if *kind == Kind::Spare && total.saturating_sub(to_cut) > limit {
                total -= takes(*width);
                *width = 0;
            }
        }
        // The widest gives way first: what is short tells little once it is cut.
        for _ in limit..total {
            let columns = widths.iter_mut().zip(&self.columns);
            let flexible = columns.filter(|(_, (_, kind))| *kind == Kind::Flexible);
            let widest = flexible.map(|(width, _)| width).max();
            match widest {
                Some(width) if *width > MIN_FLEXIBLE_WIDTH => *width -= 1,
                _ => break,
            }
        }
        widths
    }

    fn write_row(
        &self,
        to: &mut dyn Write,
        row: &[Cell],
        widths: &[usize],
        color: bool,
    ) -> io::Result<()> {
        // Spaces are held back until text follows: no line ends in them.
        let mut spaces = 0;
        for ((cell, width), (_, kind)) in row.iter().zip(widths).zip(&self.columns) {
            if *width == 0 {
                continue;
            }
            spaces += GAP.len();
            let text = cell.fit(*width);
            let used: usize = text.into_iter().map(str::width).sum();
            let (before, after) = match kind {
                Kind::Figure | Kind::Spare => (width - used, 0),
                Kind::Text | Kind::Flexible => (0, width - used),
            };
            spaces += before;
            if used > 0 {
                write!(to, "{:spaces$}", "")?;
                spaces = 0;
                let style = if color { cell.style } else { Style::new() };
                let [start, mark, end] = text;
                write!(to, "{style}{start}{mark}{end}{style:#}")?;
            }
            spaces += after;
        }
        writeln!(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(table: &Table, width: Option<usize>) -> String {
        let mut text = Vec::new();
        table.write(&mut text, width, false).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn table() -> Table {
        let mut table = Table::new([
            ("NAME", Kind::Text),
            ("EMPTY", Kind::Text),
            ("BYTES", Kind::Figure),
            ("WHAT", Kind::Flexible),
        ]);
        table.row([
            "curl".into(),
            Cell::default(),
            "7 B".into(),
            "GET /index.html".into(),
        ]);
        table.row([
            "日本".into(),
            Cell::default(),
            "1.23 kB".into(),
            Cell::default(),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        assert_eq!(
            written(&table(), None),
            "  NAME    BYTES  WHAT\n  curl      7 B  GET /index.html\n  日本  1.23 kB\n"
        );
    }

    #[test]
    fn long_text_is_broken_at_spaces() {
        let lines = |width| {
            let lines = Cell::from("one two three").wrap(width);
            lines.into_iter().map(|line| line.text).collect::<Vec<_>>()
        };
        assert_eq!(lines(usize::MAX), ["one two three"]);
        assert_eq!(lines(7), ["one two", "three"]);
        assert_eq!(lines(0), ["one", "two", "three"]);
    }

    #[test]
    fn a_remark_has_the_whole_width_and_is_told_whole() {
        let mut table = table();
        let width = written(&table, None).lines().map(str::len).max();
        table.remark("one two three".into());
        assert!(written(&table, width).ends_with("\n    one two three\n"));
        assert!(written(&table, Some(12)).ends_with("\n    one two\n    three\n"));
    }

    #[test]
    fn a_spare_column_is_left_out() {
        let mut table = Table::new([
            ("WHAT", Kind::Flexible),
            ("BYTES", Kind::Figure),
            ("RTT", Kind::Spare),
            ("LONGEST", Kind::Spare),
        ]);
        table.row(["x".repeat(40), "7 B".into(), "1 ms".into(), "2 ms".into()].map(Cell::from));
        for (width, titles) in [
            (58, "WHAT BYTES RTT LONGEST"),
            (52, "WHAT BYTES RTT LONGEST"),
            (51, "WHAT BYTES RTT"),
            (43, "WHAT BYTES RTT"),
            (42, "WHAT BYTES"),
        ] {
            let text = written(&table, Some(width));
            let head: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
            assert_eq!(head.join(" "), titles, "{text}");
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width);
            assert!(widest.max() <= Some(width), "{text}");
        }
    }

    #[test]
    fn the_widest_gives_way_first() {
        let mut table = Table::new([("A", Kind::Flexible), ("B", Kind::Flexible)]);
        table.row([12, 30].map(|width| "x".repeat(width)).map(Cell::from));
        for (width, widths) in [
            (46, [12, 30]),
            (45, [12, 29]),
            (28, [12, 12]),
            (27, [12, 11]),
            (26, [11, 11]),
            (1, [10, 10]),
        ] {
            assert_eq!(table.widths(Some(width)), widths);
        }
    }

    #[test]
    fn what_tells_one_from_another_is_cut_last() {
        let owner = Cell::keeping(["python3", "[21403]", " accept"], Style::new());
        for (width, expected) in [
            (21, "python3[21403] accept"),
            (20, "python3[21403]"),
            (14, "python3[21403]"),
            (13, "pytho…[21403]"),
            (10, "py…[21403]"),
            (8, "…[21403]"),
            (7, "[21403…"),
        ] {
            assert_eq!(owner.fit(width).concat(), expected);
        }
        let steers = Cell::keeping(["a\x1b", "[7]", ""], Style::new());
        assert_eq!(steers.fit(6).concat(), "a\\…[7]");
    }

    #[test]
    fn the_flexible_column_gives_way() {
        let narrow = written(&table(), Some(30));
        assert!(narrow.contains("  GET /index.h…\n"), "{narrow}");
        let least = written(&table(), Some(1));
        assert!(least.contains("  GET /inde…\n"), "{least}");
    }
}
