//! The report for people.
//!
//! First what was recorded and what was lost, then what is worth attention and
//! who talked, and to whom, then the
//! connections, one line for each end, then the requests, how long they
//! took, how long what is no request did, and which requests were the slowest. Each has its module;
//! here is what they share.

mod capture;
mod connections;
mod findings;
mod latency;
mod processes;
mod requests;
mod services;
mod slow;
mod table;
mod turns;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use tcprec_shared::record::ProcessId;

use self::table::{Cell, Table};
use super::{OwnerId, Report, Sort, units};
use crate::gaps::Incomplete;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// How the report is to look.
#[derive(Debug, Clone)]
pub struct Looks {
    /// Columns of the terminal; none where lines may be of any length.
    pub width: Option<usize>,
    /// Whether to use colours.
    pub color: bool,
    /// The time zone of all times.
    pub zone: TimeZone,
    /// At most so many rows of each table; none for all.
    pub rows: Option<usize>,
    /// The order of the connections that the report keeps.
    pub sort: Sort,
    /// Show where the time of the slowest requests went that the report keeps.
    pub slow: bool,
    /// What the reader can do to see all rows, as `--all`.
    pub all_option: &'static str,
}

/// Writes a report for people, with as many of the rows that it keeps as wanted.
///
/// # Errors
/// The output's.
pub fn write(report: &Report, looks: &Looks, to: &mut dyn Write) -> io::Result<()> {
    let text = Text {
        report,
        looks,
        moments: moments(report),
    };
    text.capture(to)?;
    text.findings(to)?;
    text.processes(to)?;
    text.services(to)?;
    text.connections(to)?;
    text.requests(to)?;
    text.latencies(to)?;
    text.turns(to)?;
    text.slow(to)
}

/// How to write a moment: with the date where there is more than one.
fn moments(report: &Report) -> &'static str {
    const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;
    let (first, last) = (report.capture.first_ns, report.capture.last_ns);
    match first.zip(last) {
        Some((first, last)) if last.saturating_sub(first) >= DAY_NS => "%m-%d %H:%M:%S%.3f",
        _ => "%H:%M:%S%.3f",
    }
}

struct Text<'a> {
    report: &'a Report,
    looks: &'a Looks,
    moments: &'static str,
}

impl Text<'_> {
    fn moment(&self, ts_ns: i64) -> String {
        units::moment(ts_ns, &self.looks.zone, self.moments)
    }

    fn table(&self, to: &mut dyn Write, table: &Table) -> io::Result<()> {
        table.write(to, self.looks.width, self.looks.color)
    }

    fn heading(&self, to: &mut dyn Write, title: &str, rest: &str) -> io::Result<()> {
        let style = if self.looks.color { BOLD } else { Style::new() };
        let colon = if rest.is_empty() { "" } else { ": " };
        writeln!(to, "\n{style}{title}{style:#}{colon}{rest}")
    }

    /// The first rows of a list, with a line that says how many of `count`
    /// are left.
    fn first<'r, T>(&self, all: &'r [T], count: u64) -> (&'r [T], Option<String>) {
        let shown = self.looks.rows.unwrap_or(usize::MAX).min(all.len());
        let first = all.get(..shown).unwrap_or(all);
        let left = count.saturating_sub(shown as u64);
        let note = (left > 0).then(|| {
            let left = units::count(left);
            format!("… {left} more; {} shows them", self.looks.all_option)
        });
        (first, note)
    }

    fn note(&self, to: &mut dyn Write, note: Option<&str>) -> io::Result<()> {
        let Some(note) = note else { return Ok(()) };
        let style = if self.looks.color { DIM } else { Style::new() };
        writeln!(to, "  {style}{note}{style:#}")
    }

    /// The name of a process, as `curl[811]`.
    fn name(&self, id: ProcessId) -> String {
        self.name_parts(id).concat()
    }

    /// The program of a process, and what tells it from others of the same.
    fn name_parts(&self, id: ProcessId) -> [String; 2] {
        let process = self.report.processes.get(&id);
        let comm = process.map_or("", |summary| summary.process.comm.as_str());
        [comm.to_owned(), format!("[{}]", id.pid)]
    }

    fn owner(&self, owner: Option<OwnerId>) -> Cell {
        owner.map_or_else(Cell::default, |owner| {
            let [comm, pid] = self.name_parts(owner.process);
            let how = format!(" {}", owner.provenance);
            Cell::keeping([&comm, &pid, &how], Style::new())
        })
    }
}

/// What may be missing of a connection or request.
fn missing(incomplete: Incomplete) -> Cell {
    let words: Vec<_> = incomplete.words().collect();
    Cell::styled(&words.join(", "), WARN)
}

/// The whole and its parts, as `12: 10 closed, 2 refused`; the largest first.
fn tally<K: std::fmt::Display + Ord>(all: u64, parts: BTreeMap<K, u64>) -> String {
    let whole = units::count(all);
    let mut parts: Vec<_> = parts.into_iter().collect();
    match parts.as_slice() {
        [] => return whole,
        [(what, 1)] => return format!("{whole} ({what})"),
        [(what, _)] => return format!("{whole} (all {what})"),
        _ => {}
    }
    parts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let parts: Vec<_> = parts
        .iter()
        .map(|(what, count)| format!("{} {what}", units::count(*count)))
        .collect();
    format!("{whole} ({})", parts.join(", "))
}

/// The text of a report, without colours.
#[cfg(test)]
fn written(report: &Report, width: Option<usize>) -> String {
    let looks = Looks {
        width,
        color: false,
        zone: TimeZone::UTC,
        rows: None,
        sort: Sort::Start,
        slow: false,
        all_option: "",
    };
    let mut text = Vec::new();
    write(report, &looks, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::CaptureSummary;

    #[test]
    fn moments_have_a_date_where_there_are_several_days() {
        const DAY_NS: i64 = 86_400_000_000_000;
        let moments = |first_ns, last_ns| {
            let capture = CaptureSummary {
                first_ns,
                last_ns,
                ..CaptureSummary::default()
            };
            moments(&Report {
                capture,
                ..Report::default()
            })
        };
        assert_eq!(moments(None, None), "%H:%M:%S%.3f");
        assert_eq!(moments(Some(1), Some(DAY_NS)), "%H:%M:%S%.3f");
        assert_eq!(moments(Some(0), Some(DAY_NS)), "%m-%d %H:%M:%S%.3f");
    }
}
