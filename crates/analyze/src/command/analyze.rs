//! `tcprec analyze`.

use std::env;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use tcprec_shared::stream::{ReadError, Source as _};
use terminal_size::{Width, terminal_size};

use super::progress::Progress;
use super::{Failure, FilterArgs, open, read_on, select, zone};
use crate::pipeline::Pipeline;
use crate::report::text::{self, Looks};
use crate::report::{Keep, Report, Rows, json, jsonl};
use crate::tcp::Limits;

/// So many rows of each table are shown if not all are asked for.
const ROWS: usize = 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A capture of any format, by its content; `-` is the standard input
    capture: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show all rows of each table in the text
    #[arg(long)]
    all: bool,
    /// Show where the time of the N slowest requests went, in the text
    #[arg(long, value_name = "N")]
    slow: Option<usize>,
    /// Look at connections only, not into their payload: faster
    #[arg(long, conflicts_with = "slow")]
    no_requests: bool,
    /// Show times in UTC instead of local time
    #[arg(long)]
    utc: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Jsonl,
    /// One JSON document
    Json,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let stdout = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Text => {
            let keep = Keep {
                rows: (!args.all).then_some(ROWS),
                slowest: args.slow.unwrap_or(0),
            };
            let (report, whole) = report(args, keep, &mut (), |()| Ok(()))?;
            written(stdout, |to| text::write(&report, &looks(args), to))?;
            whole
        }
        Format::Json => {
            let (report, whole) = report(args, Keep::default(), &mut (), |()| Ok(()))?;
            written(stdout, |to| json::write(&report, to))?;
            whole
        }
        Format::Jsonl => {
            let none = Keep {
                rows: Some(0),
                slowest: 0,
            };
            let mut writer = jsonl::Writer::new(stdout);
            let (report, whole) = report(args, none, &mut writer, jsonl::Writer::check)?;
            writer.finish(&report)?;
            whole
        }
    }
}

fn written<W: Write>(
    mut to: W,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    write(&mut to)?;
    Ok(to.flush()?)
}

/// Makes the report, and says whether it is of the whole capture. Rows go to
/// `rows` meanwhile; `check` says whether they can be written.
fn report<R: Rows>(
    args: &Args,
    keep: Keep,
    rows: &mut R,
    check: impl Fn(&mut R) -> io::Result<()>,
) -> Result<(Report, Result<(), Failure>), Failure> {
    let mut selection = args.filter.selection()?;
    let mut input = open(&args.capture)?;
    let mut pipeline = Pipeline::new(Limits::default(), keep);
    if args.no_requests {
        pipeline = pipeline.without_requests();
    }
    let mut progress = Progress::new();
    let mut whole = Ok(());
    loop {
        match input.next() {
            Ok(Some(record)) => {
                if selection.is_all() {
                    pipeline.push(&record, rows);
                } else if let Some(record) = select(&mut selection, &args.capture, record)? {
                    pipeline.push(&record, rows);
                }
                check(rows)?;
            }
            Ok(None) => break,
            Err(error) => {
                // Damaged records are told in the report, all in one line.
                pipeline.read_error(&error);
                if !error.is_passing() {
                    read_on(&args.capture, &error)?;
                    if matches!(error, ReadError::Io(_)) {
                        let what = format!("the report is not whole: {error}");
                        whole = Err(Failure::Failed(what));
                    }
                    break;
                }
            }
        }
        progress.record(&input);
    }
    drop(progress);
    Ok((pipeline.finish(rows), whole))
}

fn looks(args: &Args) -> Looks {
    let is_terminal = io::stdout().is_terminal();
    // https://no-color.org
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let width = terminal_size().filter(|_| is_terminal);
    Looks {
        width: width.map(|(Width(columns), _)| columns.into()),
        color: is_terminal && !no_color,
        zone: zone(args.utc),
        rows: (!args.all).then_some(ROWS),
        slow: args.slow.is_some(),
        all_option: "--all",
    }
}
