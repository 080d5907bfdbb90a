//! The report for people.
//!
//! First what was recorded and what was lost, then who talked, then the
//! connections, one line for each end, then the requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use tcprec_shared::record::{Capture, LossCause};

use super::table::{Cell, GAP, Kind, Table};
use super::units::{self, counted};
use super::{Connection, EndFacts, Ending, LossSummary, OwnerId, Report};
use crate::app::Request;
use crate::tcp::{self, ConnState};

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
    /// What the reader can do to see all rows, as `--all`.
    pub all_option: &'static str,
}

/// Writes a report for people.
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
    text.processes(to)?;
    text.connections(to)?;
    text.requests(to)
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

    /// The first rows of a list, with a line that says how many are left.
    fn first<'r, T>(&self, all: &'r [T]) -> (&'r [T], Option<String>) {
        let shown = self.looks.rows.unwrap_or(usize::MAX);
        match all.split_at_checked(shown) {
            Some((first, rest)) if !rest.is_empty() => {
                let left = units::count(rest.len() as u64);
                let note = format!("… {left} more; {} shows them", self.looks.all_option);
                (first, Some(note))
            }
            _ => (all, None),
        }
    }

    fn note(&self, to: &mut dyn Write, note: Option<&str>) -> io::Result<()> {
        let Some(note) = note else { return Ok(()) };
        let style = if self.looks.color { DIM } else { Style::new() };
        writeln!(to, "  {style}{note}{style:#}")
    }

    fn capture(&self, to: &mut dyn Write) -> io::Result<()> {
        let style = if self.looks.color { BOLD } else { Style::new() };
        writeln!(to, "{style}Capture{style:#}")?;
        let mut table = Table::new([("", Kind::Text), ("", Kind::Text)]);
        let lines = self.capture_lines();
        let names = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let around = names + 2 * GAP.len();
        let width = self
            .looks
            .width
            .unwrap_or(usize::MAX)
            .saturating_sub(around);
        for (name, value) in lines {
            let mut name = Cell::styled(name, DIM);
            for line in value.wrap(width) {
                table.row([std::mem::take(&mut name), line]);
            }
        }
        self.table(to, &table)
    }

    fn capture_lines(&self) -> Vec<(&'static str, Cell)> {
        let capture = &self.report.capture;
        let mut lines: Vec<(&str, Cell)> = Vec::new();
        lines.push(("recorded", self.when().into()));
        if let Some(made) = &capture.made {
            lines.push(("by", by(made).into()));
            if !made.command.is_empty() {
                lines.push(("command", made.command.join(" ").into()));
            }
            if let Some(filter) = &made.filter {
                lines.push(("filter", filter.as_str().into()));
            }
        }
        if capture.files > 1 {
            lines.push(("files", units::count(capture.files).into()));
        }
        lines.push(("packets", self.packets().into()));
        self.interfaces(&mut lines);
        if capture.has_events() {
            let mut events = units::count(capture.events);
            if capture.scanned_sockets > 0 {
                let sockets = counted(capture.scanned_sockets, "socket");
                let _ = write!(events, ", and {sockets} older than the recording");
            }
            lines.push(("events", events.into()));
        }
        lines.extend(self.lost().into_iter().map(|loss| ("lost", loss)));
        let ended = match &capture.ending {
            Ending::Unknown => None,
            Ending::Complete(end) if end.reason.is_empty() => Some("in good order".into()),
            Ending::Complete(end) => Some(format!("in good order: {}", end.reason).into()),
            Ending::Abrupt => {
                let abrupt = "abruptly: the recorder wrote no end, the last moments may be missing";
                Some(Cell::styled(abrupt, WARN))
            }
            Ending::Cut(detail) => Some(Cell::styled(
                &format!("{detail}; analyzed up to there"),
                WARN,
            )),
        };
        lines.extend(ended.map(|ended| ("ended", ended)));
        if capture.damaged_records > 0 {
            let records = counted(capture.damaged_records, "record");
            let first = capture.damage.as_deref().unwrap_or("unknown");
            let line = format!("{records} passed over, the first: {first}");
            lines.push(("damaged", Cell::styled(&line, WARN)));
        }
        if capture.packets.disagreements > 0 {
            let packets = counted(capture.packets.disagreements, "packet");
            let line = format!(
                "{packets} where the kernel's parser came to something else; please report this"
            );
            lines.push(("defect", Cell::styled(&line, BAD)));
        }
        if capture.evicted_connections > 0 {
            let connections = counted(capture.evicted_connections, "connection");
            let line = format!("{connections} ended early in the analysis to bound its memory");
            lines.push(("limits", Cell::styled(&line, WARN)));
        }
        lines.extend(self.owners_unknown().map(|why| ("owners", why)));
        lines
    }

    /// What passed each interface, if there is something to tell apart.
    fn interfaces(&self, lines: &mut Vec<(&'static str, Cell)>) {
        const SHOWN: usize = 8;
        let all = &self.report.interfaces;
        let used: Vec<_> = all.iter().filter(|on| on.packets > 0).collect();
        if all.len() == 1 && all.iter().all(|on| on.interface.name.is_none()) {
            return;
        }
        let shown = self.looks.rows.map_or(usize::MAX, |_| SHOWN);
        for on in used.iter().take(shown) {
            let name = match &on.interface.name {
                Some(name) => name.clone(),
                None => format!("interface {}", on.interface.id),
            };
            let packets = counted(on.packets, "packet");
            let line = format!("{name}: {packets}, {}", units::bytes(on.wire_bytes));
            lines.push(("", line.into()));
        }
        if used.len() > shown {
            let left = counted((used.len() - shown) as u64, "interface");
            lines.push(("", format!("and {left} more").into()));
        }
    }

    /// When it was recorded, and for how long.
    fn when(&self) -> String {
        let capture = &self.report.capture;
        let Some((first, last)) = capture.first_ns.zip(capture.last_ns) else {
            return "nothing".into();
        };
        let from = units::moment(first, &self.looks.zone, "%Y-%m-%d %H:%M:%S%.3f %Z");
        format!(
            "{from}, for {}",
            units::duration(last.saturating_sub(first))
        )
    }

    fn packets(&self) -> String {
        let packets = self.report.capture.packets;
        let mut line = units::count(packets.all);
        if packets.all > 0 {
            let _ = write!(line, ", {}", units::bytes(packets.wire_bytes));
        }
        if packets.captured_bytes < packets.wire_bytes {
            let _ = write!(
                line,
                ", {} of it kept",
                units::bytes(packets.captured_bytes)
            );
        }
        for (count, what) in [
            (packets.not_tcp, "not TCP"),
            (
                packets.copies,
                "seen twice on their way through several interfaces",
            ),
            (packets.cut, "cut before the TCP header ended"),
            (packets.malformed, "malformed"),
            (packets.unknown_link, "of an unknown link type"),
        ] {
            if count > 0 {
                let _ = write!(line, "; {} {what}", units::count(count));
            }
        }
        line
    }

    /// What was lost, one line for each cause.
    fn lost(&self) -> Vec<Cell> {
        let report = self.report;
        if !report.losses.is_empty() {
            let lines = report.losses.iter().map(|loss| self.loss(loss));
            return lines.map(|line| Cell::styled(&line, BAD)).collect();
        }
        match &report.capture.ending {
            Ending::Complete(end) if end.lost_packets > 0 || end.lost_events > 0 => {
                let packets = counted(end.lost_packets, "packet");
                let events = counted(end.lost_events, "event");
                vec![Cell::styled(&format!("{packets} and {events}"), BAD)]
            }
            Ending::Complete(_) => vec![Cell::styled("nothing", GOOD)],
            _ if report.capture.has_events() => vec!["nothing up to where it ends".into()],
            _ => vec!["not known: the capture says nothing of losses".into()],
        }
    }

    fn loss(&self, loss: &LossSummary) -> String {
        let why = match loss.cause {
            LossCause::RingFull => "the kernel's ring buffer was full",
            LossCause::Snap => "the kernel could not copy them",
            LossCause::Decode => "the recorder could not decode them",
            LossCause::Writer => "the file could not be written",
        };
        let size = match loss.bytes {
            0 => String::new(),
            bytes => format!(", {}", units::bytes(bytes)),
        };
        let (first, last) = (self.moment(loss.first_ns), self.moment(loss.last_ns));
        let when = if first == last {
            format!("at {first}")
        } else {
            format!("{first} to {last}")
        };
        format!(
            "{}{size}, {when}: {why}",
            counted(loss.count, loss.lost.noun())
        )
    }

    /// Why no owner is known, or fewer than could be.
    fn owners_unknown(&self) -> Option<Cell> {
        let capture = &self.report.capture;
        if !capture.has_events() {
            let why = "not known: packets alone do not tell processes; `tcprec record` records \
                both";
            return Some(why.into());
        }
        let missing = &capture.made.as_ref()?.missing_hooks;
        if missing.is_empty() {
            return None;
        }
        let hooks: Vec<_> = missing
            .iter()
            .map(|missing| format!("{} ({})", missing.hook, missing.reason))
            .collect();
        let line = format!("may be missing: no {}", hooks.join(", no "));
        Some(Cell::styled(&line, WARN))
    }

    fn processes(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut all: Vec<_> = self.report.processes.values().collect();
        if all.is_empty() {
            return Ok(());
        }
        all.sort_by_key(|summary| {
            let bytes = summary.sent_bytes.saturating_add(summary.received_bytes);
            (std::cmp::Reverse(bytes), summary.process.id)
        });
        self.heading(to, "Processes", &units::count(all.len() as u64))?;
        let mut table = Table::new([
            ("PROCESS", Kind::Text),
            ("UID", Kind::Figure),
            ("CONNECTED", Kind::Figure),
            ("ACCEPTED", Kind::Figure),
            ("ASKED", Kind::Figure),
            ("ANSWERED", Kind::Figure),
            ("SENT", Kind::Figure),
            ("RECEIVED", Kind::Figure),
            ("COMMAND", Kind::Flexible),
        ]);
        let (first, note) = self.first(&all);
        for summary in first {
            let process = &summary.process;
            let command = if process.argv.is_empty() {
                process.exe.clone().unwrap_or_default()
            } else {
                process.argv.join(" ")
            };
            table.row([
                self.name(process.id).into(),
                process
                    .uid
                    .map_or(String::new(), |uid| uid.to_string())
                    .into(),
                unless_zero(summary.connections_made),
                unless_zero(summary.connections_taken),
                unless_zero(summary.requests_made),
                unless_zero(summary.requests_taken),
                units::bytes(summary.sent_bytes).into(),
                units::bytes(summary.received_bytes).into(),
                command.into(),
            ]);
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }

    /// The name of a process, as `curl[811]`.
    fn name(&self, id: tcprec_shared::record::ProcessId) -> String {
        let process = self.report.processes.get(&id);
        let comm = process.map_or("", |summary| summary.process.comm.as_str());
        format!("{comm}[{}]", id.pid)
    }

    fn owner(&self, owner: Option<OwnerId>) -> String {
        owner.map_or(String::new(), |owner| {
            format!("{} {}", self.name(owner.process), owner.provenance)
        })
    }

    fn connections(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.connections;
        let mut by_state = BTreeMap::new();
        for connection in all {
            *by_state.entry(ended(connection.tcp.state).0).or_insert(0) += 1;
        }
        self.heading(to, "Connections", &tally(all.len(), by_state))?;
        if all.is_empty() {
            return Ok(());
        }
        let mut table = Table::new([
            ("START", Kind::Text),
            ("STATE", Kind::Text),
            ("FROM -> TO", Kind::Text),
            ("OWNER", Kind::Flexible),
            ("PACKETS", Kind::Figure),
            ("BYTES", Kind::Figure),
            ("RESENT", Kind::Figure),
            ("RTT", Kind::Figure),
        ]);
        let (first, note) = self.first(all);
        for connection in first {
            self.connection(&mut table, connection);
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }

    /// Two lines: the end that asked for the connection, and the other.
    fn connection(&self, table: &mut Table, connection: &Connection) {
        let Connection {
            tcp, orig, resp, ..
        } = connection;
        let (state, style) = ended(tcp.state);
        let figures = |end: &tcp::End, facts: &EndFacts| {
            let resent = facts
                .kernel
                .map_or(end.retransmitted_packets, |kernel| kernel.retransmits);
            let rtt = facts.kernel.and_then(|kernel| kernel.tcp);
            let rtt = rtt.and_then(|tcp| i64::try_from(tcp.srtt_ns).ok());
            let rtt = rtt
                .filter(|rtt| *rtt > 0)
                .map_or(String::new(), units::duration);
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
        let mut row: Vec<Cell> = vec![
            self.moment(tcp.first_ns).into(),
            Cell::styled(state, style),
            tcp.orig.endpoint.to_string().into(),
            self.owner(orig.owner).into(),
        ];
        row.extend(figures(&tcp.orig, orig));
        table.row(row);
        let mut row: Vec<Cell> = vec![
            Cell::default(),
            Cell::styled(&units::duration(tcp.duration_ns), DIM),
            format!("-> {}", tcp.resp.endpoint).into(),
            self.owner(resp.owner).into(),
        ];
        row.extend(figures(&tcp.resp, resp));
        table.row(row);
    }

    fn requests(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.requests;
        if all.is_empty() {
            return Ok(());
        }
        let mut by_status = BTreeMap::new();
        for request in all {
            let status = request.response.as_ref().map(|message| message.status);
            let status = status.map_or("unanswered".into(), |status| status.to_string());
            *by_status.entry(status).or_insert(0) += 1;
        }
        self.heading(to, "HTTP requests", &tally(all.len(), by_status))?;
        let mut waits: Vec<_> = all.iter().filter_map(Request::ttfb_ns).collect();
        waits.sort_unstable();
        if waits.len() > 1 {
            let at = |percent| quantile(&waits, percent).map_or(String::new(), units::duration);
            let line = format!(
                "waited for the first byte: median {}, 99% within {}, longest {}",
                at(50),
                at(99),
                at(100)
            );
            self.note(to, Some(&line))?;
        }
        let mut table = Table::new([
            ("START", Kind::Text),
            ("STATUS", Kind::Text),
            ("WAIT", Kind::Figure),
            ("TOTAL", Kind::Figure),
            ("CLIENT", Kind::Text),
            ("SERVER", Kind::Text),
            ("REQUEST", Kind::Flexible),
        ]);
        let (first, note) = self.first(all);
        for request in first {
            self.request(&mut table, request);
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }

    fn request(&self, table: &mut Table, request: &Request) {
        let (asked, answered) = (request.request.as_ref(), request.response.as_ref());
        let start = asked
            .map(|message| message.first_ns)
            .or(answered.map(|message| message.first_ns));
        let status = match answered.map(|message| message.status) {
            None => Cell::styled("none", BAD),
            Some(status) => {
                let style = match status {
                    ..400 => Style::new(),
                    400..500 => WARN,
                    _ => BAD,
                };
                Cell::styled(&status.to_string(), style)
            }
        };
        let [client, server] = self.report.owners_of(request);
        let who = |owner: Option<OwnerId>, endpoint: tcprec_shared::flow::Endpoint| {
            owner.map_or_else(|| endpoint.to_string(), |owner| self.name(owner.process))
        };
        let what = asked.map_or("(not seen)".into(), |message| {
            let host = message.host.as_deref().unwrap_or("");
            // An absolute target has the host in it; `*` and CONNECT's have none.
            let host = if message.target.starts_with('/') {
                host
            } else {
                ""
            };
            // A request line may lack the target.
            let line = format!("{} {host}{}", message.method, message.target);
            line.trim_end().to_owned()
        });
        let duration = |ns: Option<i64>| Cell::from(ns.map_or(String::new(), units::duration));
        table.row([
            start.map_or(String::new(), |ns| self.moment(ns)).into(),
            status,
            duration(request.ttfb_ns()),
            duration(request.total_ns()),
            who(client, request.client).into(),
            who(server, request.server).into(),
            what.into(),
        ]);
    }
}

/// Who made a capture and where, as `tcprec 0.1.0 on web1 (Linux 6.18.0)`.
fn by(made: &Capture) -> String {
    let mut by = made.program.clone();
    if by.is_empty() {
        by.push_str("a program that does not say");
    }
    if let Some(host) = &made.host {
        let _ = write!(by, " on {host}");
    }
    if let Some(kernel) = &made.kernel {
        let _ = write!(by, " ({kernel})");
    }
    by
}

fn unless_zero(count: u64) -> Cell {
    match count {
        0 => Cell::default(),
        _ => units::count(count).into(),
    }
}

/// The whole and its parts, as `12: 10 closed, 2 refused`; the largest first.
fn tally<K: std::fmt::Display + Ord>(all: usize, parts: BTreeMap<K, u64>) -> String {
    let whole = units::count(all as u64);
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

/// The value that so many percent of the sorted ones do not exceed (nearest rank).
fn quantile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
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
