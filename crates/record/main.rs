//! The `tcprec` command.

use std::process::ExitCode;

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
    match Cli::parse().command {
        #[cfg(feature = "record")]
        Command::Record(record) => command::exit(record.run()),
        #[cfg(feature = "record")]
        Command::Top(top) => command::exit(top.run()),
        #[cfg(feature = "record")]
        Command::Doctor(doctor) => command::exit(doctor.run()),
        Command::Offline(offline) => command::exit(offline.run()),
    }
}
