//! The offline subcommands, one file each: arguments and what is done with
//! them. Here is what they share: how they fail, and how they read.

mod analyze;
mod captures;
mod chosen;
mod convert;
mod filter;
mod left_out;
mod lines;
pub mod number;
mod print;
mod progress;
mod reading;
mod reporter;

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{ArgAction, Subcommand};
use jiff::tz::TimeZone;
use tcprec_shared::record::Record;
use thiserror::Error;

use self::captures::Captures;
use crate::report::units::clean_message;
use crate::select::Selection;

pub use filter::FilterArgs;
pub use lines::LineArgs;
pub use reporter::{ReportFormat, ReportOptions, Reporter};

/// What one thread finds, another brings into order and frees. The C library's allocator
/// makes threads wait for each other there: with two of them requests took a fifth longer.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's options, which it reads before `main`: pages of 2 MiB where the kernel gives
/// them. With a page fault for each 4 KiB, and as many to look up, analysis took a tenth longer.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
// SAFETY: jemalloc's name for a pointer to options that end with a zero byte.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 11] = b"thp:always\0";

/// What a capture to read may be.
const CAPTURE_HELP: &str = "A capture of any format, detected by content: a file; the files of a \
    series by their common name, such as `cap` for cap.jsonl, cap.1.jsonl, ...; a folder of \
    captures; or `-`, standard input. Several captures, such as *.pcap, are read as one, in the \
    order in which they begin, and merged by time where they overlap. Leading words count as \
    captures if they are files, are named like captures, or are folders with a / in their name";

/// What can be done with a capture anywhere, without root.
#[derive(Debug, Subcommand)]
pub enum Offline {
    /// Show what was recorded: processes, connections, requests, and losses
    Analyze(analyze::Args),
    /// Show packets and events, one line each
    Print(print::Args),
    /// Write a capture in another format
    Convert(convert::Args),
}

impl Offline {
    /// Does it. Gives the exit code.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<u8, Failure> {
        let result = match self {
            Self::Analyze(args) => analyze::run(args),
            Self::Print(args) => print::run(args),
            Self::Convert(args) => convert::run(args),
        };
        result.map(|()| 0)
    }
}

/// What fingers type that are used to tcpdump; here it is always so.
#[derive(Debug, clap::Args)]
struct TcpdumpArgs {
    /// Addresses and ports are numbers (`-n`, `-nn`)
    #[arg(short = 'n', hide = true, action = ArgAction::Count)]
    _numbers: u8,
    /// A capture is read (`-r FILE`)
    #[arg(short = 'r', hide = true)]
    _read: bool,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub enum Failure {
    /// It was asked for something that cannot be, or given what it cannot read.
    #[error("{0}")]
    Usage(String),
    /// It was able to, but something went wrong on the way.
    #[error("{0}")]
    Failed(String),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code that tells it: 2 for bad usage and unreadable input, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Output(_) => 1,
        }
    }
}

/// The exit code of a command: its own, or that of its failure, which is told
/// on the standard error. That nobody reads the output any more (`| head`) is no failure.
#[must_use]
pub fn exit(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            warn(&failure);
            failure.exit_code().into()
        }
    }
}

/// Whether the standard output shows colors: on a terminal, unless `NO_COLOR` is set
/// (<https://no-color.org>).
#[must_use]
pub fn has_color() -> bool {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !no_color
}

/// Says something on the standard error.
fn warn(what: &dyn Display) {
    let message = clean_message(&what.to_string());
    // If that cannot be said either, nobody is there to be told.
    let _ = writeln!(io::stderr(), "tcprec: {message}");
}

/// The records of a capture that are selected.
///
/// # Errors
/// The expression makes no sense for this capture.
fn select<'a>(
    selection: &mut Selection,
    captures: &Captures,
    record: Record<'a>,
) -> Result<Option<Record<'a>>, Failure> {
    selection
        .select(record)
        .map_err(|error| Failure::Usage(format!("{captures}: {error}")))
}

/// The time zone to show times in.
fn zone(utc: bool) -> TimeZone {
    if utc {
        TimeZone::UTC
    } else {
        TimeZone::system()
    }
}
