//! `sillage model test`: runs scenarios, shows what differs, and which parts of a model no scenario exercises.

use std::path::PathBuf;

use crate::cli::Failure;

/// Run the scenarios of models.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scenario files, folders or models; by default every `*.scenarios.md` below this folder.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let _ = args.paths;
    Err(Failure::could_not_run("not there yet"))
}
