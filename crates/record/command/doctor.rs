//! `tcprec doctor`: what this kernel and these rights allow, as a table or JSON.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tcprec_analyze::command::{Failure, has_color};

use crate::doctor::{Check, Status, checks};
use crate::kernel;

use super::Record;

/// Check what this kernel and your privileges allow, and how to fix the rest
///
/// Starts a recording and ends it at once, to see what works; without the privileges it says which
/// are missing. The exit code is 0 if nothing is missing, even if a fallback is used, and 1
/// otherwise.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    Text,
    /// One JSON object
    Json,
}

#[derive(Serialize)]
struct Findings<'a> {
    program: &'a str,
    /// Whether nothing is missing.
    complete: bool,
    checks: &'a [Check],
}

impl Doctor {
    /// Looks, and tells.
    ///
    /// # Errors
    /// Where not even that can be found out, or the output's.
    pub fn run(self) -> Result<u8, Failure> {
        kernel::set_verbose(false);
        let recording = Record::without_options()?;
        let checks = checks(&recording).map_err(|error| Failure::Failed(error.to_string()))?;
        let complete = !checks.iter().any(|check| check.status == Status::Missing);
        let mut to = io::stdout().lock();
        let written = match self.format {
            Format::Text => table(&checks, &mut to),
            Format::Json => {
                let findings = Findings {
                    program: concat!("tcprec ", env!("CARGO_PKG_VERSION")),
                    complete,
                    checks: &checks,
                };
                serde_json::to_writer_pretty(&mut to, &findings)
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(to))
            }
        };
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(u8::from(!complete)),
        }
    }
}

fn table(checks: &[Check], to: &mut dyn Write) -> io::Result<()> {
    let has_color = has_color();
    let width = checks.iter().map(|check| check.check.chars().count()).max();
    let width = width.unwrap_or(0);
    writeln!(to, "{:<8}  {:<width$}  DETAIL", "STATUS", "CHECK")?;
    for Check {
        check,
        status,
        detail,
        advice,
    } in checks
    {
        let (word, color) = match status {
            Status::Ok => ("ok", AnsiColor::Green),
            Status::Fallback => ("fallback", AnsiColor::Yellow),
            Status::Missing => ("missing", AnsiColor::Red),
            Status::Unknown => ("unknown", AnsiColor::Yellow),
        };
        let style = if has_color {
            color.on_default()
        } else {
            Style::new()
        };
        let line = format!("{style}{word:<8}{style:#}  {check:<width$}  {detail}");
        writeln!(to, "{}", line.trim_end())?;
        if let Some(advice) = advice {
            writeln!(to, "{:<8}  {:<width$}  -> {advice}", "", "")?;
        }
    }
    Ok(())
}
