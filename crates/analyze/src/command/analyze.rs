//! `tcprec analyze`.

use std::num::{NonZero, NonZeroUsize};
use std::path::PathBuf;
use std::thread;

use tcprec_shared::stream::ReadError;

use super::number::count;
use super::reading::{Records, Stop};
use super::reporter::{ReportFormat, ReportOptions, Reporter};
use super::{CAPTURE_HELP, Captures, Failure, FilterArgs, TcpdumpArgs};
use crate::condition::{self, Condition};
use crate::report::Sort;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(help = CAPTURE_HELP)]
    capture: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// Show all rows of each table in the text
    #[arg(long)]
    all: bool,
    /// Order of the connections in the text
    #[arg(long, value_name = "BY", value_enum, default_value_t)]
    sort: Sort,
    /// Show where the time of the N slowest requests went, in the text
    #[arg(long, value_name = "N", value_parser = count::<NonZeroUsize>, allow_negative_numbers = true)]
    slow: Option<NonZeroUsize>,
    /// Analyze connections only, not their payload: faster
    #[arg(long, conflicts_with = "slow")]
    no_requests: bool,
    /// Only connections, requests and findings that meet this condition, such as 'status >= 500' or
    /// 'state == REJ'; --help lists the fields
    #[arg(long = "where", value_name = "CONDITION", long_help = condition::help())]
    condition: Option<Condition>,
    /// Show times in UTC instead of local time
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    _tcpdump: TcpdumpArgs,
}

pub(super) fn run(mut args: Args) -> Result<(), Failure> {
    let captures = Captures::new(args.capture, args.filter.take_captures());
    let selection = args.filter.selection()?;
    let input = captures.open()?;
    let mut reporter = Reporter::new(ReportOptions {
        format: args.format,
        all: args.all,
        sort: args.sort,
        slow: args.slow.map(NonZero::get),
        utc: args.utc,
        no_requests: args.no_requests,
        condition: args.condition,
    });
    let mut whole = Ok(());
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    if threads > 1 {
        reporter = reporter.with_threads();
    }
    let mut records = Records::of(input, selection, &captures, threads);
    loop {
        reporter.take(|spare| records.next(spare))?;
        match records.stop() {
            Stop::End => break,
            Stop::Wait => {
                reporter.flush()?;
                records.wait();
            }
            Stop::Error(error) => {
                // Damaged records are told in the report, all in one line.
                reporter.read_error(&error);
                if !error.is_passing() {
                    captures.read_on(&error)?;
                    if matches!(error, ReadError::Io(_)) {
                        let what = format!("the report is incomplete: {error}");
                        whole = Err(Failure::Failed(what));
                    }
                }
            }
            Stop::Failure(failure) => return Err(failure),
        }
    }
    reporter.finish()?;
    whole
}
