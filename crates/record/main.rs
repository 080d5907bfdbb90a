//! The `tcprec` command.

mod tcpdump;

use std::env;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
#[cfg(feature = "record")]
use tcprec::command::{Doctor, Record, Top};
use tcprec_analyze::command::{self, Failure, Offline};

/// A flight recorder for TCP
#[derive(Debug, Parser)]
#[command(name = "tcprec", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "record")]
    Record(Box<Record>),
    #[cfg(feature = "record")]
    Top(Top),
    #[cfg(feature = "record")]
    Doctor(Doctor),
    #[command(flatten)]
    Offline(Offline),
}

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(failure) => return command::exit(Err(failure)),
    };
    match cli.command {
        #[cfg(feature = "record")]
        Command::Record(record) => command::exit(record.run()),
        #[cfg(feature = "record")]
        Command::Top(top) => command::exit(top.run()),
        #[cfg(feature = "record")]
        Command::Doctor(doctor) => command::exit(doctor.run()),
        Command::Offline(offline) => command::exit(offline.run()),
    }
}

/// As [`Parser::parse`], but with remedies for tcpdump's options, and without the advice to
/// write an unknown option behind `--`, where `record` takes a command.
fn parse() -> Result<Cli, Failure> {
    Cli::try_parse().or_else(|mut error| {
        let first = env::args_os().nth(1).unwrap_or_default();
        let first = first.to_string_lossy();
        if error.kind() == ErrorKind::UnknownArgument
            && let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg)
            && let Some(remedy) = tcpdump::remedy(&first, option)
        {
            return Err(Failure::Usage(format!("{option} {remedy}")));
        }
        if first == "record" {
            error.remove(ContextKind::Suggested);
        }
        error.exit()
    })
}
