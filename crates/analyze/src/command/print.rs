//! `tcprec print`.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use tcprec_shared::record::Record;

use super::{Failure, open, read_on, zone};
use crate::annotate::{Annotator, read_batch};
use crate::print::Printer;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A capture of any format, by its content; `-` is the standard input
    capture: PathBuf,
    /// Stop after so many packets
    #[arg(short = 'c', long, value_name = "PACKETS")]
    count: Option<u64>,
    /// Show times in UTC instead of local time
    #[arg(long)]
    utc: bool,
    /// Taken for tcpdump's sake: addresses and ports are always numbers
    #[arg(short = 'n', hide = true)]
    _numbers: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut input = open(&args.capture)?;
    let mut annotator = Annotator::new();
    let mut printer = Printer::new(zone(args.utc));
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut to = BufWriter::new(io::stdout().lock());
    let mut batch = Vec::new();
    loop {
        let error = read_batch(&mut input, &mut batch);
        if batch.is_empty() && error.is_none() {
            return Ok(());
        }
        annotator.observe(&batch);
        for record in &batch {
            if left == 0 {
                break;
            }
            left -= u64::from(matches!(record, Record::Packet(_)));
            printer.write(record, &annotator.note(record), &mut to)?;
        }
        to.flush()?;
        if left == 0 {
            return Ok(());
        }
        if let Some(error) = error {
            read_on(&args.capture, &error)?;
        }
    }
}
