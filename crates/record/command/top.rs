//! `tcprec top`: arguments, and the rhythm of looking and showing.

use std::env;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use tcprec_analyze::command::number::{count, pid};
use tcprec_analyze::command::{Failure, has_color};

use crate::kernel::{self, Owner, Room, Transport};
use crate::rights;
use crate::signals::Stop;
use crate::top::screen::{self, Came, Screen};
use crate::top::table::{self, Looks};
use crate::top::{Interval, Seen, Sort, jsonl};

/// Signals, keys and the size of the window are looked at so often.
const LOOK: Duration = Duration::from_millis(100);

/// Show what each process does with TCP, second by second
///
/// Counts in the kernel, over all interfaces and network namespaces: connections that a process
/// opens and accepts, packets and payload in each direction, and retransmissions. The row `-` has
/// what belongs to no known process. On a terminal keys select the order and q quits; to a pipe it
/// writes JSON lines.
#[derive(Debug, Args)]
pub struct Top {
    /// Length of an interval
    #[arg(
        short = 'd',
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = seconds,
        allow_negative_numbers = true
    )]
    interval: Duration,

    /// Stop after this many intervals
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = count::<NonZeroU64>, allow_negative_numbers = true)]
    iterations: Option<NonZeroU64>,

    /// Sort by this field
    #[arg(short = 's', long, value_enum, value_name = "FIELD", default_value_t = Sort::Bytes)]
    sort: Sort,

    /// Only this process; may be repeated
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = pid, allow_negative_numbers = true)]
    pids: Vec<u32>,

    /// Show at most this many processes per interval
    #[arg(short = 'r', long, value_name = "COUNT", value_parser = count::<NonZeroUsize>, allow_negative_numbers = true)]
    rows: Option<NonZeroUsize>,

    /// Output format. Default: text on a terminal, else JSON lines
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table of rates, for people
    Text,
    /// One JSON object per process and interval, with counts
    Jsonl,
}

fn seconds(text: &str) -> Result<Duration, String> {
    const RANGE: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
    let seconds = text.parse().ok().filter(|seconds| RANGE.contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        format!(
            "expected a number of seconds from {} to {}",
            RANGE.start(),
            RANGE.end()
        )
    })
}

impl Top {
    /// Counts and shows until something ends it.
    ///
    /// # Errors
    /// What keeps it from counting, with the remedy, or the output's.
    pub fn run(self) -> Result<u8, Failure> {
        self.watch().map(|()| 0)
    }

    fn watch(&self) -> Result<(), Failure> {
        let lacking = kernel::lacking_rights(Transport::Ring).map_err(failed)?;
        if !lacking.is_empty() {
            return Err(Failure::Usage(format!(
                "counting needs root, or {}: run it with sudo, or grant these capabilities with \
                 setcap (see tcprec record --help)",
                lacking.join(" and ")
            )));
        }
        kernel::check_pids(&self.pids).map_err(Failure::Usage)?;
        let stop = Stop::install().map_err(failed)?;
        kernel::set_verbose(false);
        let programs = kernel::Top::start(Room::default()).map_err(|error| {
            Failure::Failed(format!(
                "{error}; counting needs Linux 5.14 or newer with BTF and control groups v2"
            ))
        })?;
        rights::give_up(false).map_err(failed)?;
        let mut view = View::new(self)?;
        let mut seen = Seen::default();
        let mut begun = Instant::now();
        let mut due = begun + self.interval;
        let mut intervals = 0;
        loop {
            let now = Instant::now();
            let is_last = stop.take();
            if is_last && view.screen.is_some() {
                return Ok(());
            }
            if now < due && !is_last {
                match view.wait(LOOK.min(due - now))? {
                    Going::On => continue,
                    Going::End => return Ok(()),
                }
            }
            let counted = programs.read(Owner::is_alive).map_err(failed)?;
            let mut rows = seen.differences(counted, programs.doubts().map_err(failed)?);
            rows.retain(|row| self.is_wanted(row.owner));
            view.show(Interval {
                ts_ns: i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
                length: now - begun,
                rows,
            })?;
            intervals += 1;
            // What was counted since the last look is told as well.
            if is_last || self.iterations.is_some_and(|most| intervals >= most.get()) {
                return Ok(());
            }
            begun = now;
            // A look that comes late does not shift those that follow; ones that
            // were missed are not made up for.
            while due <= now {
                due += self.interval;
            }
        }
    }

    fn is_wanted(&self, owner: Option<Owner>) -> bool {
        self.pids.is_empty() || owner.is_some_and(|owner| self.pids.contains(&owner.pid))
    }
}

fn failed(error: impl ToString) -> Failure {
    Failure::Failed(error.to_string())
}

/// Whether to go on.
enum Going {
    On,
    End,
}

/// Where the intervals are shown, and how.
struct View {
    format: Format,
    /// The terminal, where the table is drawn over and over.
    screen: Option<Screen>,
    looks: Looks,
    last: Option<Interval>,
}

impl View {
    fn new(options: &Top) -> Result<Self, Failure> {
        let is_terminal = io::stdout().is_terminal();
        let format = options.format.unwrap_or(if is_terminal {
            Format::Text
        } else {
            Format::Jsonl
        });
        // One that does not know how to move its cursor says so.
        let is_dumb = env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        let takes_screen = format == Format::Text && is_terminal && !is_dumb;
        let mut view = Self {
            format,
            screen: takes_screen.then(Screen::enter).transpose()?,
            looks: Looks {
                window: None,
                color: takes_screen && has_color(),
                sort: options.sort,
                rows: options.rows.map(NonZeroUsize::get),
            },
            last: None,
        };
        view.draw()?;
        Ok(view)
    }

    fn show(&mut self, mut interval: Interval) -> Result<(), Failure> {
        self.looks.sort.sort(&mut interval.rows);
        let mut to = BufWriter::new(io::stdout().lock());
        if self.format == Format::Jsonl {
            jsonl::write(&mut to, &interval, self.looks.rows)?;
        } else if self.screen.is_none() {
            for line in table::lines(&interval, &self.looks) {
                writeln!(to, "{line}")?;
            }
            writeln!(to)?;
            to.flush()?;
        } else {
            drop(to);
            self.last = Some(interval);
            self.draw()?;
        }
        Ok(())
    }

    /// Waits, and does what keys ask for.
    fn wait(&mut self, time: Duration) -> Result<Going, Failure> {
        let keys = match screen::wait(time, self.screen.as_ref())? {
            Came::End => return Ok(Going::End),
            Came::Keys(keys) => keys,
            Came::Nothing => Vec::new(),
        };
        let mut has_changed = self.window().is_some() && self.window() != self.looks.window;
        for key in keys {
            let key = char::from(key);
            if key == 'q' {
                return Ok(Going::End);
            }
            if let Some((_, sort)) = Sort::KEYS.iter().find(|(known, _)| *known == key) {
                self.looks.sort = *sort;
                has_changed = true;
            }
        }
        if has_changed {
            self.draw()?;
        }
        Ok(Going::On)
    }

    /// Columns and lines for the table: the last line is for the keys.
    fn window(&self) -> Option<(usize, usize)> {
        self.screen.as_ref()?;
        let (width, height) = Screen::size();
        Some((width, height.saturating_sub(1)))
    }

    /// Draws the last interval as it is to look now.
    fn draw(&mut self) -> Result<(), Failure> {
        self.looks.window = self.window();
        let Some(screen) = &self.screen else {
            return Ok(());
        };
        let lines = match &mut self.last {
            Some(interval) => {
                self.looks.sort.sort(&mut interval.rows);
                table::lines(interval, &self.looks)
            }
            None => vec!["counting ...".to_owned()],
        };
        screen.show(&lines, &table::keys(&self.looks))?;
        Ok(())
    }
}
