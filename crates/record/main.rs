//! The `tcprec` command.

use std::env;
use std::process::ExitCode;

use clap::error::ContextKind;
use clap::{Parser, Subcommand};
#[cfg(feature = "record")]
use tcprec::command::{Doctor, Record, Top};
use tcprec_analyze::command::{self, Offline};

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
    match parse().command {
        #[cfg(feature = "record")]
        Command::Record(record) => command::exit(record.run()),
        #[cfg(feature = "record")]
        Command::Top(top) => command::exit(top.run()),
        #[cfg(feature = "record")]
        Command::Doctor(doctor) => command::exit(doctor.run()),
        Command::Offline(offline) => command::exit(offline.run()),
    }
}

/// As [`Parser::parse`], but for the advice to write an unknown option behind `--`, where
/// `record` takes a command.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        if env::args_os().nth(1).is_some_and(|name| name == "record") {
            error.remove(ContextKind::Suggested);
        }
        error.exit()
    })
}
