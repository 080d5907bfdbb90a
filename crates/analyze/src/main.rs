//! `tcprec-analyze`: the offline commands of `tcprec`, for machines that never record.

use std::process::ExitCode;

use clap::Parser;
use tcprec_analyze::command::{self, Offline};

/// Read TCP captures: analyze, print, convert
#[derive(Debug, Parser)]
#[command(name = "tcprec-analyze", version)]
struct Cli {
    #[command(subcommand)]
    command: Offline,
}

fn main() -> ExitCode {
    command::exit(Cli::parse().command.run())
}
