//! The table for people: rates, in lines that fit a window.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::Style;
use jiff::tz::TimeZone;
use tcprec_analyze::report::units;
use unicode_width::UnicodeWidthStr as _;

use super::{Interval, Row, Sort, sum};
use crate::kernel::Counts;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const HEAD: Style = Style::new().invert();

/// How the table is to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    /// Columns and lines of the window; none where there may be any number.
    pub(crate) window: Option<(usize, usize)>,
    pub(crate) color: bool,
    pub(crate) sort: Sort,
    /// At most so many rows.
    pub(crate) rows: Option<usize>,
}

/// A column of rates: its title, its width, its figure.
type Column = (&'static str, usize, fn(&Counts, Duration) -> String);

const COLUMNS: [Column; 7] = [
    ("CONN", 6, |c, t| per_second(c.connects, t)),
    ("ACPT", 6, |c, t| per_second(c.accepts, t)),
    ("PKT-OUT", 8, |c, t| per_second(c.sent_packets, t)),
    ("PKT-IN", 8, |c, t| per_second(c.received_packets, t)),
    ("OUT", 8, |c, t| bytes_per_second(c.sent_bytes, t)),
    ("IN", 8, |c, t| bytes_per_second(c.received_bytes, t)),
    ("RETR", 5, |c, t| per_second(c.retransmits, t)),
];
const PID_WIDTH: usize = 7;
const UID_WIDTH: usize = 6;
/// The kernel keeps 15 bytes of it.
const COMMAND_WIDTH: usize = 15;

/// The lines of an interval, each without its end.
pub(crate) fn lines(interval: &Interval, looks: &Looks) -> Vec<String> {
    let mut lines = vec![summary(interval, looks), head(looks)];
    let height = looks.window.map_or(usize::MAX, |(_, height)| height);
    let space = height.saturating_sub(lines.len());
    let wanted = looks.rows.unwrap_or(usize::MAX).min(interval.rows.len());
    // Where not all have room, the last line says so.
    let shown = if wanted > space {
        space.saturating_sub(1)
    } else {
        wanted
    };
    let rows = interval.rows.iter().take(shown);
    lines.extend(rows.map(|row| line(row, interval.length, looks)));
    if shown < wanted {
        let more = format!("... and {} more", wanted - shown);
        lines.push(styled(&more, DIM, looks));
    }
    lines.truncate(height);
    lines
}

/// The line that says which key sorts by what.
pub(crate) fn keys(looks: &Looks) -> String {
    let keys = Sort::KEYS.map(|(key, sort)| format!("{key}:{}", sort.word()));
    styled(&keys.join(" "), DIM, looks)
}

fn summary(interval: &Interval, looks: &Looks) -> String {
    let counts = sum(&interval.rows);
    let zone = TimeZone::system();
    let mut text = format!(
        "{}  per second, by {}  out {}, in {}",
        units::moment(interval.ts_ns, &zone, "%H:%M:%S"),
        looks.sort.word(),
        bytes_per_second(counts.sent_bytes, interval.length),
        bytes_per_second(counts.received_bytes, interval.length),
    );
    if looks.window.is_some() {
        text.push_str("  (q quits)");
    }
    // Writing to a string does not fail.
    for Row { doubts, .. } in &interval.rows {
        if doubts.no_room > 0 {
            let times = units::counted(doubts.no_room, "time");
            let _ = write!(text, "  tables full ({times}): see row -");
        }
        if doubts.missed > 0 {
            let _ = write!(
                text,
                "  {} not seen",
                units::counted(doubts.missed, "event")
            );
        }
    }
    styled(&text, BOLD, looks)
}

fn head(looks: &Looks) -> String {
    let titles = COLUMNS.map(|(title, ..)| title.to_owned());
    styled(&columns("PID", "UID", "COMMAND", &titles), HEAD, looks)
}

fn line(row: &Row, length: Duration, looks: &Looks) -> String {
    let id = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let pid = id(row.owner.map(|owner| owner.pid));
    let uid = id(row.owner.map(|owner| owner.uid));
    let command = row.owner.map_or("-", |_| row.comm.as_str());
    let figures = COLUMNS.map(|(_, _, figure)| figure(&row.counts, length));
    let is_idle = row.counts == Counts::default();
    let style = if is_idle { DIM } else { Style::new() };
    styled(
        &columns(&pid, &uid, &units::clean(command), &figures),
        style,
        looks,
    )
}

fn columns(pid: &str, uid: &str, command: &str, figures: &[String; COLUMNS.len()]) -> String {
    let command = units::start_of(command, COMMAND_WIDTH);
    let gap = COMMAND_WIDTH - command.width();
    let mut text = format!("{pid:>PID_WIDTH$}{uid:>UID_WIDTH$}  {command}{:gap$}", "");
    for ((_, width, _), figure) in COLUMNS.iter().zip(figures) {
        // Writing to a string does not fail.
        let _ = write!(text, "{figure:>width$}");
    }
    text
}

fn styled(text: &str, style: Style, looks: &Looks) -> String {
    let text = match looks.window {
        Some((width, _)) => units::start_of(text, width),
        None => text,
    };
    let style = if looks.color { style } else { Style::new() };
    format!("{style}{text}{style:#}")
}

fn rate(count: u64, length: Duration) -> f64 {
    count as f64 / length.as_secs_f64().max(1e-9)
}

/// Whole where it is nearly so: no interval is exactly a second long.
fn per_second(count: u64, length: Duration) -> String {
    let rate = rate(count, length);
    let tenth = (rate - rate.round()).abs() >= 0.05;
    match rate {
        ..100.0 if tenth => format!("{rate:.1}"),
        ..100_000.0 => format!("{rate:.0}"),
        ..100_000_000.0 => format!("{:.0}k", rate / 1e3),
        _ => format!("{:.0}M", rate / 1e6),
    }
}

fn bytes_per_second(count: u64, length: Duration) -> String {
    // `as` saturates.
    match rate(count, length) as u64 {
        0 if count == 0 => "0".to_owned(),
        rate => units::bytes(rate),
    }
}
