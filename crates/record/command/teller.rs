//! What is said on standard error while a recording runs, and when it ended.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::mem;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tcprec_analyze::report::units;
use tcprec_shared::format::is_standard_stream;
use tcprec_shared::record::MissingHook;

use crate::capture_file::Written;
use crate::recorder::{Summary, Watcher};
use crate::writer::Progress;

/// So many notes wait at most while standard error takes none: the latest.
const MAX_NOTES: usize = 64;

/// So many events without a packet are worth a word: a connection has about ten.
const MANY_EVENTS: u64 = 100;

/// So many interfaces are told by their names. A host of containers has hundreds, which
/// stand in the file.
const MANY_INTERFACES: usize = 16;

/// Clears the line that the terminal's cursor is in.
const CLEAR: &str = "\r\x1b[K";

/// Tells the user on standard error how it goes.
pub(super) struct Teller {
    outputs: Vec<PathBuf>,
    is_terminal: bool,
    /// Whether figures are shown, on a line of their own.
    shows_figures: bool,
    /// What was not told yet.
    notes: VecDeque<String>,
}

impl Teller {
    /// What else is written to the terminal would go on behind the figures.
    pub(super) fn new(outputs: &[PathBuf], shares_terminal: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self {
            outputs: outputs.to_vec(),
            is_terminal,
            shows_figures: is_terminal && !shares_terminal,
            notes: VecDeque::new(),
        }
    }

    /// Tells what waits, unless a terminal was stopped (Ctrl-S) or nobody reads: the rings
    /// are not to wait for them. Says whether it could.
    fn tell_notes(&mut self) -> bool {
        while can_take_more(&io::stderr()) {
            match self.notes.pop_front() {
                Some(note) => self.say(&note),
                None => return true,
            }
        }
        false
    }

    pub(super) fn say(&self, text: &str) {
        let clear = if self.is_terminal { CLEAR } else { "" };
        // What peers send is among it: the path of a request, the name of a process.
        let text = units::clean_message(text);
        // Nothing can be done where standard error is closed.
        let _ = writeln!(io::stderr(), "{clear}tcprec: {text}");
    }

    pub(super) fn ended(&mut self, summary: &Summary) {
        for note in mem::take(&mut self.notes) {
            self.say(&note);
        }
        let totals = &summary.totals;
        let lost = totals.packets.lost + totals.events.lost;
        let mut text = format!(
            "{} ({}) and {} recorded, {} lost",
            units::counted(totals.packets.recorded, "packet"),
            units::bytes(totals.wire_bytes),
            units::counted(totals.events.recorded, "event"),
            if lost == 0 {
                "none".to_owned()
            } else {
                units::count(lost)
            },
        );
        if !summary.behind.is_empty() {
            let names = summary.behind.iter().map(String::as_str);
            let names = names.collect::<Vec<_>>().join(", ");
            // Writing to a string does not fail.
            let _ = write!(
                text,
                " of what came to tcprec: programs in front of it at {names} may have taken packets"
            );
        }
        for Written {
            name,
            files,
            bytes,
            kept,
            is_removed,
        } in &summary.written
        {
            if is_standard_stream(Path::new(name)) {
                continue;
            }
            let bytes = units::bytes(*bytes);
            // Writing to a string does not fail.
            let _ = match files {
                1 => write!(text, "; {bytes} in {name}"),
                files => write!(text, "; {bytes} in {files} files of {name}"),
            };
            if let Some((files, bytes)) = kept {
                let bytes = units::bytes(*bytes);
                let _ = write!(text, ", the last {files} kept ({bytes})");
            }
            if *is_removed {
                let which = if *files == 1 {
                    "which"
                } else {
                    "the last of which"
                };
                let _ = write!(text, ", {which} was removed and is lost");
            }
        }
        let _ = write!(text, " ({})", summary.reason);
        self.say(&text);
        if totals.no_room_packets > 0 {
            self.say(&format!(
                "{} did not fit into the kernel's buffer: enlarge it with --buffer, or record \
                 less with a filter",
                units::counted(totals.no_room_packets, "packet"),
            ));
        }
        let elsewhere = &summary.elsewhere;
        if totals.packets.recorded == 0 && elsewhere.events >= MANY_EVENTS {
            self.say(&format!(
                "{} are of {}: --netns PID records the packets of the one that process is in",
                units::counted(elsewhere.events, "event"),
                units::counted(elsewhere.namespaces(), "other network namespace"),
            ));
        }
        if summary.unaccounted > 0 {
            self.say(&format!(
                "{} records are unaccounted for: this is a defect of tcprec, please report it",
                summary.unaccounted
            ));
        }
    }
}

impl Watcher for Teller {
    fn started(&mut self, interfaces: &[String], hooks: &[String], missing: &[MissingHook]) {
        for MissingHook { hook, reason } in missing {
            self.say(&format!("without {hook}: {reason}"));
        }
        let hook = hooks.iter().find(|hook| !hook.contains('/'));
        let to: Vec<_> = self.outputs.iter().map(|path| to(path)).collect();
        let (named, more) = interfaces.split_at(interfaces.len().min(MANY_INTERFACES));
        let more = match more.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let mut text = format!(
            "recording on {}{more} ({})",
            named.join(", "),
            hook.map_or("no hook", String::as_str)
        );
        if !to.is_empty() {
            let _ = write!(text, " to {}", to.join(" and "));
        }
        self.say(&text);
    }

    fn note(&mut self, text: &str) {
        if self.notes.len() >= MAX_NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(text.to_owned());
        self.tell_notes();
    }

    fn tick(&mut self, elapsed: Duration, progress: &Progress) {
        if !self.tell_notes() || !self.shows_figures {
            return;
        }
        let count =
            |counter: &std::sync::atomic::AtomicU64| units::count(counter.load(Ordering::Relaxed));
        let _ = write!(
            io::stderr(),
            "\r{} s  {} packets  {} events  {} lost\x1b[K",
            elapsed.as_secs(),
            count(&progress.packets),
            count(&progress.events),
            count(&progress.lost),
        );
    }

    fn over(&mut self) {
        if self.shows_figures && can_take_more(&io::stderr()) {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}

/// Whether a short text can be written without waiting.
fn can_take_more(to: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    // Where it was closed, a write fails at once.
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn to(path: &Path) -> String {
    if is_standard_stream(path) {
        "the standard output".to_owned()
    } else {
        path.display().to_string()
    }
}
