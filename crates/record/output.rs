//! What records are written to: a capture, lines for people, or the report of their
//! analysis. Which records those are is the writer's to decide.

use std::io::{self, Write};

use tcprec_analyze::annotate::Note;
use tcprec_analyze::command::Reporter;
use tcprec_analyze::print::Printer;
use tcprec_shared::record::Record;

use crate::capture_file::{CaptureFile, WriteError, Written};
use crate::processes::Processes;

/// Where records go.
pub(crate) enum Output {
    Capture(Box<CaptureFile>),
    /// Lines for people, on the standard output.
    Lines {
        printer: Printer,
        to: Box<dyn Write + Send>,
    },
    /// A report, on the standard output.
    Report(Box<Reporter>),
}

impl Output {
    /// Whether it has a place for what is derived of a packet.
    pub(crate) fn is_annotated(&self) -> bool {
        match self {
            Self::Capture(capture) => capture.is_annotated(),
            Self::Lines { .. } => true,
            Self::Report(_) => false,
        }
    }

    /// The series of files that it is, if it is one.
    pub(crate) fn series(&mut self) -> Option<&mut CaptureFile> {
        match self {
            Self::Capture(capture) if capture.is_series() => Some(capture),
            _ => None,
        }
    }

    pub(crate) fn write(
        &mut self,
        record: &Record<'_>,
        note: &Note<'_>,
        processes: &Processes,
    ) -> Result<(), WriteError> {
        match self {
            Self::Capture(capture) => capture.write(record, note, processes),
            Self::Lines { printer, to } => printer.write(record, note, to).map_err(on_terminal),
            Self::Report(reporter) => reporter.push(record).map_err(on_terminal),
        }
    }

    /// Makes what was written so far readable for others.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        match self {
            Self::Capture(capture) => capture.flush(),
            Self::Lines { to, .. } => to.flush().map_err(on_terminal),
            Self::Report(_) => Ok(()),
        }
    }

    /// What is worth attention by now, and was not before: of what was recorded, or of the
    /// file that it is in.
    pub(crate) fn news(&mut self, ts_ns: i64) -> Vec<String> {
        match self {
            Self::Report(reporter) => reporter.news(ts_ns),
            Self::Capture(capture) => capture.news().into_iter().collect(),
            Self::Lines { .. } => Vec::new(),
        }
    }

    /// Ends it in good order. Tells of captures only.
    pub(crate) fn finish(self) -> Result<Option<Written>, WriteError> {
        match self {
            Self::Capture(capture) => capture.finish().map(Some),
            Self::Lines { mut to, .. } => to.flush().map(|()| None).map_err(on_terminal),
            Self::Report(reporter) => reporter.finish().map(|()| None).map_err(on_terminal),
        }
    }
}

fn on_terminal(source: io::Error) -> WriteError {
    WriteError {
        name: "the standard output".to_owned(),
        source,
        held: None,
    }
}
