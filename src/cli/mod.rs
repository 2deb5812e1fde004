//! The commands: what each takes, and how each ends.
//!
//! Exit codes: 0 fine, 1 the answer is no, 2 could not run, 75 the machine's clock is wrong (restart me). Only this room
//! writes to standard output.

mod failure;
mod files;
pub mod ndjson;
mod replay;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// Sillage: touchpoints in, stage transitions and abandonments out, exactly once.
#[derive(Debug, Parser)]
#[command(name = "sillage", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: on Kafka, or on the embedded log where the configuration names no brokers.
    Run(run::Args),
    /// Run touchpoints from files through models at full speed, without a log.
    Replay(replay::Args),
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Replay(args) => replay::run(args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
