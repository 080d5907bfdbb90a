//! Where a recording goes: the options that say so, and what they open.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufWriter};
use std::num::NonZeroU32;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use tcprec_analyze::command::number::count;
use tcprec_analyze::command::{Failure, LineArgs, ReportFormat, ReportOptions, Reporter};
use tcprec_analyze::condition::Condition;
use tcprec_analyze::print::Printer;
use tcprec_shared::format::{Format, folder_of, is_standard_stream};

use super::values::{period, size};
use crate::capture_file::CaptureFile;
use crate::lock;
use crate::output::Output;
use crate::recorder::RecordError;
use crate::rotation::{Names, Rotation, files_of};

// The groups that the options stand in.
const OUTPUT: &str = "Output";
const SERIES: &str = "Series of files";

/// The options.
#[derive(Debug, Args)]
pub(super) struct Outputs {
    /// File to write; may be repeated: if one fails, as on a full disk, recording continues with
    /// the others. The extension selects the format: .jsonl, .jsonl.zst, .pcapng or .pcapng.zst.
    /// `-` writes JSON lines to standard output. Only one recorder can write to a name at a time
    #[arg(
        help_heading = OUTPUT,
        short = 'o',
        long = "output",
        visible_short_alias = 'w',
        value_name = "FILE"
    )]
    files: Vec<PathBuf>,

    /// Write records as soon as they come from the kernel, ten times a second instead of once, for
    /// programs that read while recording. Compressed files become larger
    #[arg(help_heading = OUTPUT, short = 'U', long = "packet-buffered")]
    is_packet_buffered: bool,

    /// Continue in another file once this one has this size: millions of bytes, or with a unit,
    /// such as 512k, 10M, 1GiB (powers of 1024), 10MB. A file begins with the open sockets, so with
    /// very many of them it becomes larger. The next files are named cap.1.jsonl.zst,
    /// cap.2.jsonl.zst, ...; `tcprec analyze cap` reads all of them as one. Files of earlier
    /// recordings of that name are kept and read with them: the numbers continue behind them
    #[arg(help_heading = SERIES, short = 'C', long = "file-size", value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    file_size: Option<u64>,

    /// Continue in another file after this many seconds. The name may contain the time at which a
    /// file begins, as in cap-%Y%m%d-%H%M%S.jsonl.zst (strftime); a name that already exists gets a
    /// number
    #[arg(help_heading = SERIES, short = 'G', long = "file-time", value_name = "SECONDS", value_parser = period, allow_negative_numbers = true)]
    file_time: Option<Duration>,

    /// With -C, keep this many files, including those of earlier recordings of that name: the
    /// oldest is deleted to make room for the next, so numbers start over at 0. With -G alone, stop
    /// after this many files
    #[arg(help_heading = SERIES, short = 'W', long = "file-count", value_name = "COUNT", value_parser = count::<NonZeroU32>, allow_negative_numbers = true)]
    file_count: Option<NonZeroU32>,

    /// Print each record as a line, like `tcprec print`
    #[arg(help_heading = OUTPUT, long)]
    print: bool,

    #[command(flatten, next_help_heading = OUTPUT)]
    lines: LineArgs,

    /// Analyze while recording: findings are reported on standard error as they occur, and the
    /// report of `tcprec analyze` on standard output at the end
    #[arg(
        help_heading = OUTPUT,
        long,
        value_enum,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text"
    )]
    analyze: Option<ReportFormat>,

    /// With --analyze: only connections, requests and findings that meet this condition, such as
    /// 'status >= 500'; `tcprec analyze --help` lists the fields
    #[arg(help_heading = OUTPUT, long = "where", value_name = "CONDITION", requires = "analyze")]
    condition: Option<Condition>,
}

impl Outputs {
    /// What captures are written to.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether files are created later.
    pub(super) const fn is_series(&self) -> bool {
        self.file_size.is_some() || self.file_time.is_some()
    }

    /// Whether what was recorded is to be written at once.
    pub(super) const fn is_packet_buffered(&self) -> bool {
        self.is_packet_buffered || self.print && self.lines.are_written_at_once()
    }

    /// Whether what programs read goes to the standard output: nothing else may stand there.
    pub(super) fn takes_stdout(&self) -> bool {
        self.has_stdout() || self.analyze.is_some_and(|it| it != ReportFormat::Text)
    }

    /// Whether lines go to the standard output while it records.
    pub(super) fn writes_lines(&self) -> bool {
        self.print || self.has_stdout()
    }

    fn has_stdout(&self) -> bool {
        self.files.iter().any(|path| is_standard_stream(path))
    }

    /// The files whose opening waits for somebody who reads.
    pub(super) fn fifos(&self) -> impl Iterator<Item = &Path> {
        let is_fifo =
            |path: &&Path| fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        self.files.iter().map(PathBuf::as_path).filter(is_fifo)
    }

    /// Nothing stands between the lines of something else, nor over another's.
    ///
    /// # Errors
    /// What is wrong with the options, with the remedy.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.files.is_empty() && !self.print && self.analyze.is_none() {
            return Err(Failure::Usage(
                "no output: give -o FILE (such as cap.jsonl.zst or cap.pcapng), --print or \
                 --analyze"
                    .to_owned(),
            ));
        }
        let mut places = HashSet::new();
        for path in &self.files {
            if !places.insert(place(path)) {
                return Err(Failure::Usage(format!(
                    "{}: given twice; give each output its own file",
                    path.display()
                )));
            }
        }
        if self.print && self.has_stdout() {
            return Err(Failure::Usage(
                "--print and -o - both write to standard output; give -o a file".to_owned(),
            ));
        }
        if !self.print && self.lines.style().bytes.is_some() {
            return Err(Failure::Usage(
                "-A, -x and -X show the bytes of printed packets: add --print".to_owned(),
            ));
        }
        let has_lines = self.print && self.analyze != Some(ReportFormat::Text);
        if self.analyze.is_some() && (self.has_stdout() || has_lines) {
            return Err(Failure::Usage(
                "--analyze writes its report to standard output, which --print or -o - uses \
                 already; give -o a file, and leave out --print"
                    .to_owned(),
            ));
        }
        for path in &self.files {
            Format::to_write(path)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }

    /// When to begin another file, and the names of those of each output.
    ///
    /// # Errors
    /// What is wrong with the options, with the remedy.
    pub(super) fn rotation(&self) -> Result<Option<(Rotation, Vec<Names>)>, Failure> {
        let rotation = Rotation {
            max_bytes: self.file_size,
            period: self.file_time,
            files: self.file_count,
        };
        if !self.is_series() {
            return match self.file_count {
                None => Ok(None),
                Some(_) => Err(Failure::Usage(
                    "-W needs -C or -G, which say when the next file begins".to_owned(),
                )),
            };
        }
        let names = self.files.iter().map(|path| {
            if is_standard_stream(path) {
                return Err("-C and -G need a file, not standard output".to_owned());
            }
            let format = Format::to_write(path).map_err(|error| error.to_string())?;
            Names::new(path, &format.to_string(), &rotation, TimeZone::system())
                .map_err(|error| format!("{}: {error}", path.display()))
        });
        let names: Result<_, _> = names.collect();
        Ok(Some((rotation, names.map_err(Failure::Usage)?)))
    }

    /// Opens all, of a recording that begins at `ts_ns`.
    ///
    /// # Errors
    /// With the name of the file.
    pub(super) fn open(
        self,
        rotation: Option<&(Rotation, Vec<Names>)>,
        ts_ns: i64,
    ) -> Result<Vec<Output>, RecordError> {
        let each = rotation.map_or_else(Rotation::default, |(rotation, _)| *rotation);
        // Before any is touched. A ring's next file would take the place of another one.
        let mut files = self.files.iter().flat_map(|path| files_of(path, &each));
        if let Some(held) = files.find(|file| lock::is_held(file)) {
            return Err(cannot_write(&held.display(), &lock::IS_HELD));
        }
        let mut outputs = Vec::new();
        for (index, path) in self.files.iter().enumerate() {
            let rotation = rotation.and_then(|(rotation, names)| {
                let names = names.get(index)?;
                Some((*rotation, names.clone()))
            });
            let capture = CaptureFile::create(path, rotation, ts_ns)
                .map_err(|(name, error)| cannot_write(&name, &error))?;
            outputs.push(Output::Capture(Box::new(capture)));
        }
        if self.print {
            outputs.push(Output::Lines {
                printer: Printer::new(self.lines.style(), TimeZone::system()),
                to: Box::new(BufWriter::new(io::stdout())),
            });
        }
        outputs.extend(self.analyze.map(|format| {
            Output::Report(Box::new(Reporter::new(ReportOptions {
                format,
                condition: self.condition,
                ..ReportOptions::default()
            })))
        }));
        Ok(outputs)
    }
}

fn cannot_write(name: &dyn Display, error: &dyn Display) -> RecordError {
    RecordError::Usage(format!("cannot write {name}: {error}"))
}

/// A path that names the same file, however it was given, if that can be told.
fn place(path: &Path) -> PathBuf {
    if let Ok(existing) = fs::canonicalize(path) {
        return existing;
    }
    let folder = folder_of(path);
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    path.file_name()
        .map_or_else(|| path.to_owned(), |name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Outputs;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        outputs: Outputs,
    }

    #[test]
    fn lines_and_packets_are_written_at_once_where_asked_for() {
        for (arguments, at_once) in [
            (&["", "--print"][..], false),
            (&["", "--print", "-l"], true),
            (&["", "-w", "cap.pcapng", "-U"], true),
            (&["", "-w", "cap.pcapng", "-l"], false),
        ] {
            let command = Command::parse_from(arguments);
            assert_eq!(
                command.outputs.is_packet_buffered(),
                at_once,
                "{arguments:?}"
            );
        }
    }
}
