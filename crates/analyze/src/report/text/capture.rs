//! What was recorded, and what was lost.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::Style;
use tcprec_shared::filter::expression;
use tcprec_shared::record::{Capture, Direction, Interface, LossCause};

use super::table::{Cell, GAP, Kind, Table};
use super::{BAD, BOLD, DIM, GOOD, Text, WARN};
use crate::report::units::{self, counted};
use crate::report::{Ending, LeftOut, LossSummary, Owned};

/// Silence at the beginning or the end of a recording that is worth a word.
const LONG_QUIET_NS: i64 = 1_000_000_000;

impl Text<'_> {
    pub(super) fn capture(&self, to: &mut dyn Write) -> io::Result<()> {
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
                // What was asked for, not the thousands of characters that it takes.
                let filter = filter.replace(&expression::http(), "--http-only");
                lines.push(("filter", filter.into()));
            }
            let way = made.direction.map(|direction| match direction {
                Direction::In => "packets that came in",
                Direction::Out => "packets that went out",
            });
            for only in way.into_iter().chain(made.processes.as_deref()) {
                lines.push(("only", only.into()));
            }
        }
        if let Some(condition) = &capture.condition {
            lines.push(("where", condition.as_str().into()));
        }
        lines.extend(self.files().map(|files| ("files", files)));
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
        lines.extend(self.attributed().map(|share| ("owners", share)));
        lines.extend(self.lost().into_iter().map(|loss| ("lost", loss)));
        lines.extend(self.not_seen().map(|line| ("not seen", line)));
        let ended = match &capture.ending {
            Ending::Unknown => None,
            Ending::Complete(end) if end.reason.is_empty() => Some("in good order".into()),
            Ending::Complete(end) => Some(format!("in good order: {}", end.reason).into()),
            Ending::Continued(_) => {
                let continued = "not here: the recording goes on in another file of the series";
                Some(Cell::styled(continued, WARN))
            }
            Ending::Failed(_) => {
                let failed = "with a failure of the recorder: the last moments may be missing";
                Some(Cell::styled(failed, WARN))
            }
            Ending::Abrupt => {
                // A file does not say whether somebody writes it.
                let abrupt = "no end was written: it is still being recorded, or the recorder was killed or could write no more";
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
        lines.extend(self.left_out().map(|left_out| ("limits", left_out)));
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
            let name = interface_name(&on.interface);
            let packets = counted(on.packets, "packet");
            let line = format!("{name}: {packets}, {}", units::bytes(on.wire_bytes));
            lines.push(("", line.into()));
        }
        if used.len() > shown {
            let left = counted((used.len() - shown) as u64, "interface");
            lines.push(("", format!("and {left} more").into()));
        }
        let namespaces: BTreeSet<_> = used.iter().filter_map(|on| on.interface.netns).collect();
        if namespaces.len() > 1 {
            let line = format!(
                "of {} network namespaces: a connection between them is told in each",
                namespaces.len()
            );
            lines.push(("", line.into()));
        }
    }

    /// How many files it is, and how many more there must have been.
    fn files(&self) -> Option<Cell> {
        let capture = &self.report.capture;
        let (missing, unfinished) = (capture.missing_files, capture.unfinished_files);
        let mut line = units::count(capture.files);
        if capture.has_several_recordings {
            line.push_str(", of several recordings, told as one");
        }
        if missing > 0 {
            let files = counted(missing, "file");
            let _ = write!(line, "; {files} of the series not here");
        }
        if unfinished > 0 {
            let _ = write!(line, "; {} without an end", units::count(unfinished));
        }
        if missing + unfinished > 0 || capture.has_several_recordings {
            return Some(Cell::styled(&line, WARN));
        }
        (capture.files > 1).then(|| line.into())
    }

    /// What the analysis left out to bound its memory.
    fn left_out(&self) -> Option<Cell> {
        let LeftOut {
            evicted_connections,
            findings,
            latencies,
            services,
            processes,
        } = self.report.capture.left_out;
        let parts = [
            (
                evicted_connections,
                "connection",
                "connections",
                "ended early",
            ),
            (findings, "finding", "findings", "left out"),
            (
                latencies,
                "group",
                "groups",
                "of requests left out of the latencies",
            ),
            (
                services,
                "group",
                "groups",
                "of connections left out of the services",
            ),
            (processes, "process", "processes", "forgotten"),
        ];
        let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
        let parts = parts.map(|(number, one, many, what)| {
            let noun = if number == 1 { one } else { many };
            format!("{} {noun} {what}", units::count(number))
        });
        let parts: Vec<_> = parts.collect();
        let line = format!("to bound the memory of the analysis: {}", parts.join(", "));
        (!parts.is_empty()).then(|| Cell::styled(&line, WARN))
    }

    /// When it was recorded, for how long, and where nothing came for long.
    fn when(&self) -> String {
        let capture = &self.report.capture;
        let Some((begin, end)) = capture.begin_ns().zip(capture.end_ns()) else {
            return "nothing".into();
        };
        let from = units::moment(begin, &self.looks.zone, "%Y-%m-%d %H:%M:%S%.3f %Z");
        let time = units::duration(end.saturating_sub(begin));
        let Some((first, last)) = capture.first_ns.zip(capture.last_ns) else {
            return format!("{from}, for {time}; nothing came");
        };
        let quiet = [
            ("first", first.saturating_sub(begin)),
            ("last", end.saturating_sub(last)),
        ];
        let quiet = quiet.into_iter().filter(|(_, ns)| *ns >= LONG_QUIET_NS);
        let quiet = quiet.map(|(which, ns)| format!("the {which} {}", units::duration(ns)));
        let quiet = quiet.collect::<Vec<_>>().join(" and ");
        let quiet = match quiet.as_str() {
            "" => quiet,
            quiet => format!("; nothing in {quiet}"),
        };
        format!("{from}, for {time}{quiet}")
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
            (packets.copies, "copies on further interfaces"),
            (packets.cut, "cut before the TCP header ended"),
            (packets.malformed, "malformed"),
            (packets.unassembled, "fragments without the others"),
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
            Ending::Complete(end) | Ending::Continued(end) | Ending::Failed(end)
                if end.lost_packets > 0 || end.lost_events > 0 =>
            {
                let packets = counted(end.lost_packets, "packet");
                let events = counted(end.lost_events, "event");
                vec![Cell::styled(&format!("{packets} and {events}"), BAD)]
            }
            Ending::Complete(_) | Ending::Continued(_) => vec![Cell::styled("nothing", GOOD)],
            _ if report.capture.has_events() => vec!["nothing up to where it ends".into()],
            _ => vec!["not known: the capture says nothing of losses".into()],
        }
    }

    /// Where programs in front of the recorder's kept it from seeing everything.
    fn not_seen(&self) -> Option<Cell> {
        let behind = self.report.interfaces.iter().map(|on| &on.interface);
        let behind = behind.filter(|interface| interface.behind);
        let names: BTreeSet<_> = behind.map(interface_name).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let line =
            format!("packets that programs in front of the recorder's may have taken at {names}");
        (!names.is_empty()).then(|| Cell::styled(&line, WARN))
    }

    fn loss(&self, loss: &LossSummary) -> String {
        let why = match loss.cause {
            LossCause::RingFull => "the kernel's ring buffer was full",
            LossCause::Snap => "the kernel could not copy them",
            LossCause::Recursion => "a program ran on that CPU already",
            LossCause::Decode => "the recorder could not decode them",
            LossCause::Writer => "they could not be written to the file",
        };
        let size = match loss.bytes {
            0 => String::new(),
            bytes => format!(", {}", units::bytes(bytes)),
        };
        let (first, last) = (self.moment(loss.first_ns), self.moment(loss.last_ns));
        let when = match (loss.first_ns, loss.last_ns) {
            // Other tools count losses without their times.
            (0, 0) => String::new(),
            _ if first == last => format!(", at {first}"),
            _ => format!(", {first} to {last}"),
        };
        format!(
            "{}{size}{when}: {why}",
            counted(loss.count, loss.lost.noun())
        )
    }

    /// How much of the traffic has an owner.
    fn attributed(&self) -> Option<Cell> {
        let Owned { all, attributed } = &self.report.totals.owned;
        if !self.report.capture.has_events() || all.connections == 0 {
            return None;
        }
        let packets = units::share(attributed.packets, all.packets);
        let bytes = units::share(attributed.bytes, all.bytes);
        let mut line = format!("known of {packets} of the connections' packets");
        if all.bytes > 0 {
            let _ = write!(line, ", {bytes} of their payload");
        }
        Some(line.into())
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
}

fn interface_name(interface: &Interface) -> String {
    let name = interface.name.clone();
    name.unwrap_or_else(|| format!("interface {}", interface.id))
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

#[cfg(test)]
mod tests {
    use tcprec_shared::headers::LinkType;
    use tcprec_shared::record::End;

    use super::super::written;
    use super::*;
    use crate::report::{CaptureSummary, InterfaceSummary, Report};

    #[test]
    fn what_others_took_is_not_seen() {
        let interface = |id, behind| InterfaceSummary {
            interface: Interface {
                behind,
                ..Interface::new(
                    id,
                    (id != 2).then(|| format!("eth{id}")),
                    LinkType::ETHERNET,
                )
            },
            packets: 0,
            wire_bytes: 0,
            copies: 0,
        };
        let told = |interfaces: [InterfaceSummary; 3]| {
            let report = Report {
                interfaces: interfaces.into(),
                ..Report::default()
            };
            let text = written(&report, None);
            let line = text.lines().find(|line| line.contains("not seen"));
            line.map(|line| line.trim().to_owned())
        };
        let all = [(0, true), (1, false), (2, true)].map(|(id, behind)| interface(id, behind));
        assert_eq!(
            told(all).unwrap(),
            "not seen  packets that programs in front of the recorder's may have taken at eth0, \
             interface 2"
        );
        assert_eq!(told([0, 1, 2].map(|id| interface(id, false))), None);
    }

    /// The first line about a capture.
    fn first_line(capture: CaptureSummary) -> String {
        let report = Report {
            capture,
            ..Report::default()
        };
        let text = written(&report, None);
        text.lines().nth(1).unwrap().trim_start().to_owned()
    }

    /// A recording from 10 s to 60 s, with packets from `first_ns` to `last_ns`.
    fn recorded(sequence: u32, first_and_last_ns: Option<(i64, i64)>) -> CaptureSummary {
        CaptureSummary {
            made: Some(Capture {
                started_ns: Some(10_000_000_000),
                sequence,
                ..Capture::default()
            }),
            first_ns: first_and_last_ns.map(|(first_ns, _)| first_ns),
            last_ns: first_and_last_ns.map(|(_, last_ns)| last_ns),
            ending: Ending::Complete(End {
                ts_ns: 60_000_000_000,
                ..End::default()
            }),
            ..CaptureSummary::default()
        }
    }

    #[test]
    fn a_recording_lasts_from_its_beginning_to_its_end() {
        let when = |sequence, first_ns, last_ns| {
            let line = first_line(recorded(sequence, Some((first_ns, last_ns))));
            line.replace("recorded  1970-01-01 00:00:", "")
        };
        let second = 1_000_000_000;
        assert_eq!(
            when(0, 12 * second, 57 * second),
            "10.000 UTC, for 50.0 s; nothing in the first 2.00 s and the last 3.00 s"
        );
        assert_eq!(
            when(0, 12 * second, 59 * second + 1),
            "10.000 UTC, for 50.0 s; nothing in the first 2.00 s"
        );
        assert_eq!(
            when(0, 11 * second - 1, 59 * second),
            "10.000 UTC, for 50.0 s; nothing in the last 1.00 s"
        );
        // A clock that was set back meanwhile makes nothing older than the recording.
        assert_eq!(when(0, 9 * second, 60 * second), "09.000 UTC, for 51.0 s");
        // The files before are not here.
        assert_eq!(when(3, 40 * second, 60 * second), "40.000 UTC, for 20.0 s");
        let nothing = first_line(recorded(0, None));
        assert!(
            nothing.ends_with("10.000 UTC, for 50.0 s; nothing came"),
            "{nothing}"
        );
        assert!(first_line(CaptureSummary::default()).ends_with("recorded  nothing"));
    }
}
