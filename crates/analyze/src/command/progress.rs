//! How far reading has come, on the standard error if that is a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use tcprec_shared::format::Input;

/// Shown so often, and not before so long.
const INTERVAL: Duration = Duration::from_millis(250);

/// The clock is looked at once in so many records.
const RECORDS: u32 = 4096;

/// A line that says how much was read. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    is_wanted: bool,
    is_shown: bool,
    records: u32,
    next: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            is_wanted: io::stderr().is_terminal(),
            is_shown: false,
            records: 0,
            next: Instant::now() + INTERVAL,
        }
    }

    /// Says how far `input` was read, if it is time to.
    pub(super) fn record(&mut self, input: &Input) {
        self.records += 1;
        if !self.is_wanted || self.records < RECORDS {
            return;
        }
        self.records = 0;
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        self.is_shown = true;
        let read = input.read_bytes();
        let mut to = io::stderr();
        // A progress that cannot be shown is no reason to stop.
        let _ = match input.total_bytes() {
            Some(total) if total > 0 => {
                let percent = read.saturating_mul(100).checked_div(total).unwrap_or(0);
                write!(to, "\r\x1b[Kreading: {}%", percent.min(100))
            }
            _ => write!(to, "\r\x1b[Kreading: {} MB", read / 1_000_000),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
