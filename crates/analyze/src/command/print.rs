//! `tcprec print`.

use std::io::{self, BufWriter, Write as _};
use std::num::NonZeroU64;
use std::path::PathBuf;

use tcprec_shared::record::Record;

use super::chosen::Chosen;
use super::number::count;
use super::{CAPTURE_HELP, Captures, Failure, FilterArgs, LineArgs, TcpdumpArgs, zone};
use crate::annotate::LookAhead;
use crate::print::Printer;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(help = CAPTURE_HELP)]
    capture: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
    /// Stop after this many packets
    #[arg(short = 'c', long, value_name = "PACKETS", value_parser = count::<NonZeroU64>, allow_negative_numbers = true)]
    count: Option<NonZeroU64>,
    #[command(flatten)]
    lines: LineArgs,
    /// Show times in UTC instead of local time
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    _tcpdump: TcpdumpArgs,
}

pub(super) fn run(mut args: Args) -> Result<(), Failure> {
    let captures = Captures::new(args.capture, args.filter.take_captures());
    let mut chosen = Chosen::new(args.filter.selection()?, &captures);
    let input = captures.open()?;
    // A stream may come from a running recording: what it brings is shown at once.
    let at_once = input.total_bytes().is_none() || args.lines.are_written_at_once();
    let mut input = LookAhead::new(input);
    let mut printer = Printer::new(args.lines.style(), zone(args.utc));
    let most_packets = args.count.map_or(u64::MAX, NonZeroU64::get);
    let mut to = BufWriter::new(io::stdout().lock());
    let mut packets = 0;
    while packets < most_packets {
        match input.next_record() {
            Ok(Some(record)) => {
                let Some((_, record)) = chosen.choose(record, input.annotator())? else {
                    continue;
                };
                packets += u64::from(matches!(record, Record::Packet(_)));
                printer.write(&record, &input.annotator().note(&record), &mut to)?;
                if at_once {
                    to.flush()?;
                }
            }
            Ok(None) => break,
            Err(error) => captures.read_on(&error)?,
        }
    }
    to.flush()?;
    Ok(())
}
