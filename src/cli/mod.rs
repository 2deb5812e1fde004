//! The commands: what each takes, and how each ends.
//!
//! Exit codes: 0 fine, 1 the answer is no, 2 could not run, 75 the machine's clock is wrong (restart me). Only this room
//! writes to standard output.

mod backup;
mod client;
mod deliver;
mod demo;
mod dry_run;
mod erase;
mod explain;
mod failure;
mod files;
mod generate;
pub mod ingest;
mod init;
pub mod input;
mod model;
pub mod ndjson;
pub mod outcomes;
mod replay;
mod reset;
mod run;
mod signals;
mod sort;
mod state;
mod table;
mod token;
mod uplift;

use std::io::Write;
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
    /// Write a starter project: a model, its scenarios and a configuration.
    Init(init::Args),
    /// Check, test, compare, draw and describe models.
    Model(model::Args),
    /// Say what a diagnostic's code means and how to mend it; without a code, list them all.
    Explain(explain::Args),
    /// Run the service: on Kafka, or on the embedded log where the configuration names no brokers.
    Run(run::Args),
    /// Deliver interventions to those who act on them (Kafka).
    Deliver(deliver::Args),
    /// Make a short token for a widget.
    Token(token::Args),
    /// Look at journeys where they are kept, check them, and move them to another log.
    State(state::Args),
    /// Copy the store of the embedded log into one file, while the service runs or not.
    Backup(backup::Args),
    /// Set back or forward where a stopped service goes on, keeping its journeys or dropping them.
    Reset(reset::Args),
    /// Run touchpoints from files through models at full speed, without a log.
    Replay(replay::Args),
    /// Send touchpoints from files to a running service (embedded log).
    Ingest(ingest::Args),
    /// Print what a running service has published (embedded log).
    Outcomes(outcomes::Args),
    /// Say what interventions have brought about.
    Uplift(uplift::Args),
    /// Erase a customer: nothing is kept of the journeys any more.
    Erase(erase::Args),
    /// Show Sillage at work on synthetic customers, in the terminal, without Kafka.
    Demo(demo::Args),
    /// Write synthetic touchpoints to a file or to Kafka.
    Generate(generate::Args),
}

/// Prints what a command was asked for. A reader that has gone (`| head`) is no fault, yet there is nothing more to do.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::answer_is_no(""),
        _ => Failure::could_not_run(format!("cannot write: {error}")),
    })
}

/// Says something on standard error, for people: nothing in it steers their terminal, and no secret is in it. Where standard error
/// is gone, nobody is there to be told.
fn say(text: &str) {
    let text = crate::terminal::plain_lines(&crate::terminal::without_secrets(text));
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Init(args) => init::run(args),
        Command::Model(args) => model::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Run(args) => run::run(args),
        Command::Deliver(args) => deliver::run(args),
        Command::Token(args) => token::run(args),
        Command::State(args) => state::run(args),
        Command::Backup(args) => backup::run(args),
        Command::Reset(args) => reset::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Ingest(args) => ingest::run(args),
        Command::Outcomes(args) => outcomes::run(args),
        Command::Uplift(args) => uplift::run(args),
        Command::Erase(args) => erase::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Generate(args) => generate::run(args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
