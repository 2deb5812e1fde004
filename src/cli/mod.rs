//! The commands: what each takes, and how each ends.
//!
//! Exit codes: 0 fine, 1 the answer is no, 2 could not run, 75 the machine's clock is wrong (restart me). Only this room
//! writes to standard output.

mod client;
mod demo;
mod failure;
mod files;
mod generate;
pub mod ingest;
mod model;
pub mod ndjson;
pub mod outcomes;
mod replay;
mod run;
mod signals;

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
    /// Send touchpoints from files to a running service (embedded log).
    Ingest(ingest::Args),
    /// Print what a running service has published (embedded log).
    Outcomes(outcomes::Args),
    /// Show Sillage at work on synthetic customers, in the terminal, without Kafka.
    Demo(demo::Args),
    /// Write synthetic touchpoints to a file or to Kafka.
    Generate(generate::Args),
    /// Check, test and draw journey models.
    Model(model::Args),
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Ingest(args) => ingest::run(args),
        Command::Outcomes(args) => outcomes::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Model(args) => model::run(args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
