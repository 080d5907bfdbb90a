//! The `tcprec` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
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
    #[command(flatten)]
    Offline(Offline),
}

fn main() -> ExitCode {
    let Command::Offline(command) = Cli::parse().command;
    command::exit(command.run())
}
