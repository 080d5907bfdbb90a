//! The report of `analyze` and of `record --analyze`: both make it of records
//! as they come, by the same pipeline, and write it in the same way.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use clap::ValueEnum;
use tcprec_shared::batch::Batch;
use tcprec_shared::record::Record;
use tcprec_shared::stream::ReadError;
use terminal_size::{Width, terminal_size};

use super::{has_color, zone};
use crate::condition::Condition;
use crate::pipeline::Pipeline;
use crate::report::text::{self, Looks};
use crate::report::{Keep, Sort, json, jsonl};
use crate::tcp::Limits;

/// So many rows of each table are shown if not all are asked for.
const ROWS: usize = 20;

/// Other threads help once so many packets came without a wait between them. Fewer do while
/// one thread keeps up with what reads ahead, and would be done before others are awake.
const MANY_PACKETS: usize = 16_384;

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Jsonl,
    /// One JSON document
    Json,
}

/// What is to stand in a report.
#[derive(Debug, Clone, Default)]
pub struct ReportOptions {
    /// Output format.
    pub format: ReportFormat,
    /// All rows of each table stand in the text, not only the first.
    pub all: bool,
    /// The order of the connections in the text.
    pub sort: Sort,
    /// Where the time of so many of the slowest requests went stands in the text.
    pub slow: Option<usize>,
    /// Times are in UTC, not in local time.
    pub utc: bool,
    /// Payload is not looked into.
    pub no_requests: bool,
    /// Which connections, requests and findings are wanted, if not all.
    pub condition: Option<Condition>,
}

/// Makes a report and writes it to the standard output.
#[derive(Debug)]
pub struct Reporter {
    options: ReportOptions,
    pipeline: Pipeline,
    to: To,
}

#[derive(Debug)]
enum To {
    /// All of it at the end.
    Whole(BufWriter<io::Stdout>),
    /// Rows as they are finished.
    Lines(jsonl::Writer<BufWriter<io::Stdout>>),
}

impl Reporter {
    /// Nothing is known yet, nothing is written.
    #[must_use]
    pub fn new(options: ReportOptions) -> Self {
        let stdout = BufWriter::new(io::stdout());
        let (to, rows) = match options.format {
            ReportFormat::Text => (To::Whole(stdout), (!options.all).then_some(ROWS)),
            ReportFormat::Json => (To::Whole(stdout), None),
            ReportFormat::Jsonl => (To::Lines(jsonl::Writer::new(stdout)), Some(0)),
        };
        let is_text = options.format == ReportFormat::Text;
        let mut keep = Keep {
            rows,
            ..Keep::default()
        };
        if is_text {
            keep.sort = options.sort;
            keep.slowest = options.slow.unwrap_or(0);
        }
        let condition = options.condition.clone();
        let condition = condition.map(|condition| condition.in_zone(zone(options.utc)));
        let mut pipeline = Pipeline::new(Limits::default(), keep).selecting(condition);
        if options.no_requests {
            pipeline = pipeline.without_requests();
        }
        Self {
            options,
            pipeline,
            to,
        }
    }

    /// Lets the threads of rayon's global pool help.
    #[must_use]
    pub fn with_threads(mut self) -> Self {
        self.pipeline = self.pipeline.with_threads(MANY_PACKETS);
        self
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The output's.
    pub fn push(&mut self, record: &Record<'_>) -> io::Result<()> {
        match &mut self.to {
            To::Whole(_) => {
                self.pipeline.push(record, &mut ());
                Ok(())
            }
            To::Lines(lines) => {
                self.pipeline.push(record, lines);
                lines.check()
            }
        }
    }

    /// Takes the next records, as [`Pipeline::take`] does.
    ///
    /// # Errors
    /// The output's.
    pub fn take(&mut self, next: impl FnMut(Batch) -> Option<Batch> + Send) -> io::Result<()> {
        match &mut self.to {
            To::Whole(_) => {
                self.pipeline.take(next, &mut ());
                Ok(())
            }
            To::Lines(lines) => {
                self.pipeline.take(next, lines);
                lines.check()
            }
        }
    }

    /// Writes all that can be told by now.
    ///
    /// # Errors
    /// The output's.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Whole(_) => Ok(()),
            To::Lines(lines) => {
                lines.flush();
                lines.check()
            }
        }
    }

    /// Takes the error that stands in the place of a record.
    pub fn read_error(&mut self, error: &ReadError) {
        match &mut self.to {
            To::Whole(_) => self.pipeline.read_error(error, &mut ()),
            To::Lines(lines) => self.pipeline.read_error(error, lines),
        }
    }

    /// Gives a sentence for what is worth attention by now, at `now_ns`, and
    /// was not when it was asked before. Rows by then are written; why they could not be
    /// is told with the next record.
    pub fn news(&mut self, now_ns: i64) -> Vec<String> {
        match &mut self.to {
            To::Whole(_) => self.pipeline.news(now_ns, &mut ()),
            To::Lines(lines) => {
                let news = self.pipeline.news(now_ns, lines);
                lines.flush();
                news
            }
        }
    }

    /// Ends the analysis, and writes what is to be written at the end.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(self) -> io::Result<()> {
        match self.to {
            To::Whole(mut to) => {
                let report = self.pipeline.finish(&mut ());
                match self.options.format {
                    ReportFormat::Json => json::write(&report, &mut to)?,
                    _ => text::write(&report, &looks(&self.options), &mut to)?,
                }
                to.flush()
            }
            To::Lines(mut lines) => {
                let report = self.pipeline.finish(&mut lines);
                lines.finish(&report).map(|_| ())
            }
        }
    }
}

fn looks(options: &ReportOptions) -> Looks {
    let width = terminal_size().filter(|_| io::stdout().is_terminal());
    Looks {
        width: width.map(|(Width(columns), _)| columns.into()),
        color: has_color(),
        zone: zone(options.utc),
        rows: (!options.all).then_some(ROWS),
        sort: options.sort,
        slow: options.slow.is_some(),
        all_option: "--all",
    }
}
