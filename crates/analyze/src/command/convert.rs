//! `tcprec convert`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tcprec_shared::format::{self, CreateError};
use tcprec_shared::record::Record;
use tcprec_shared::stream::{Annotation, Sink};

use super::chosen::Chosen;
use super::left_out::LeftOut;
use super::progress::Progress;
use super::{CAPTURE_HELP, Captures, Failure, FilterArgs, warn};
use crate::annotate::LookAhead;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(help = CAPTURE_HELP)]
    input: PathBuf,
    /// The file to write, in the format of its extension; `-` writes JSON lines to standard output.
    /// After several captures it comes last, and must not exist yet
    output: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) fn run(mut args: Args) -> Result<(), Failure> {
    let mut paths = vec![args.output];
    paths.extend(args.filter.take_captures());
    let path = paths.pop().unwrap_or_default();
    let has_several_inputs = !paths.is_empty();
    let captures = Captures::new(args.input, paths);
    let mut chosen = Chosen::new(args.filter.selection()?, &captures);
    let input = captures.open()?;
    let name = path.display();
    let mut inputs = input.files().iter();
    if inputs.any(|input| is_same_file(input, &path)) {
        return Err(Failure::Usage(format!(
            "{name}: is the input; give another output file"
        )));
    }
    if has_several_inputs && path.is_file() {
        return Err(Failure::Usage(format!(
            "{name}: exists, and may be meant as an input; give another output file"
        )));
    }
    let sink = format::create(&path).map_err(|error| {
        Failure::Usage(match error {
            CreateError::Io(error) => format!("cannot write {name}: {error}"),
            error => format!("{name}: {error}"),
        })
    })?;
    let mut input = LookAhead::new(input);
    let mut output = Output {
        captures: &captures,
        path: &path,
        sink,
        left_out: LeftOut::default(),
    };
    let mut progress = Progress::new();
    loop {
        match input.next_record() {
            Ok(Some(record)) => {
                if let Some((process, record)) = chosen.choose(record, input.annotator())? {
                    if let Some(process) = process {
                        output.write(&Record::Process(process), None)?;
                    }
                    let note = input.annotator().note(&record);
                    output.write(&record, note.annotation.as_ref())?;
                }
            }
            Ok(None) => break,
            Err(error) => captures.read_on(&error)?,
        }
        progress.record(input.source());
    }
    drop(progress);
    output.finish()
}

/// The file that is written.
struct Output<'a> {
    captures: &'a Captures,
    path: &'a Path,
    sink: Box<dyn Sink + Send>,
    left_out: LeftOut,
}

impl Output<'_> {
    fn write(
        &mut self,
        record: &Record<'_>,
        annotation: Option<&Annotation<'_>>,
    ) -> Result<(), Failure> {
        let Self {
            captures,
            path,
            sink,
            left_out,
        } = self;
        left_out.observe(record);
        let written = if let Record::End(end) = record {
            left_out
                .write_loss(&mut **sink)
                .and_then(|()| sink.write(&Record::End(left_out.end(end)), None))
        } else {
            sink.write(record, annotation)
        };
        match (written, record) {
            // No file of this format can say what this record does.
            (Err(error), Record::Packet(packet)) if is_unfit(&error) => {
                left_out.add(packet, error);
                Ok(())
            }
            // Other records are what packets are understood by.
            (Err(error), _) if is_unfit(&error) => Err(Failure::Failed(format!(
                "{captures}: {error}; JSON lines (.jsonl) can hold it"
            ))),
            (written, _) => written.map_err(|error| unwritten(path, error)),
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.left_out
            .write_loss(&mut *self.sink)
            .and_then(|()| self.sink.finish())
            .map_err(|error| unwritten(self.path, error))?;
        if let Some(first) = &self.left_out.first {
            let (from, name) = (self.captures, self.path.display());
            warn(&match self.left_out.count {
                1 => format!("{from}: left out a packet that {name} cannot hold: {first}"),
                count => format!(
                    "{from}: left out {count} packets that {name} cannot hold; the first: {first}"
                ),
            });
        }
        Ok(())
    }
}

/// Whether it is the record that cannot be written, not the file.
fn is_unfit(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// An output that takes no more. One that nobody reads any more is none of these.
fn unwritten(path: &Path, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Output(error),
        _ => Failure::Failed(format!("cannot write {}: {error}", path.display())),
    }
}

/// Whether writing the one would destroy the other.
fn is_same_file(input: &Path, output: &Path) -> bool {
    let canonical = |path: &Path| fs::canonicalize(path).ok().filter(|path| path.is_file());
    canonical(input).is_some_and(|input| canonical(output) == Some(input))
}
