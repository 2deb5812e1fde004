//! `sillage state`: journeys where they are kept. Each command takes the configuration of `sillage run`, and works on the log
//! that it names.

mod export;
pub(super) mod group;
mod import;
mod inspect;
mod shown;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::{Failure, files, run};
use crate::config::Config;
use crate::model::Model;
use crate::wire::pages::Mark;

pub(super) use import::settled;

/// Look at journeys where they are kept, check them, and move them to another log.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show one customer: stage, open episodes and their deadlines, sums, the latest touchpoints.
    Inspect(inspect::Args),
    /// Read all that is kept and check it: checksums, versions, commits without a hole, sizes, positions.
    Verify(verify::Args),
    /// Write all customers to standard output, one a line.
    Export(export::Args),
    /// Take what `export` wrote into a log that holds no journeys yet.
    Import(import::Args),
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
    }
}

/// Where to look.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The configuration of the service; without one, `SILLAGE_…` variables alone.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What the configuration says.
pub(super) struct Setting {
    pub(super) config: Config,
    pub(super) models: Vec<Arc<Model>>,
}

impl Where {
    pub(super) fn setting(&self) -> Result<Setting, Failure> {
        let config = run::configuration(self.config.as_deref())?;
        let models = files::models(&config.models)?;
        Ok(Setting { config, models })
    }
}

impl Setting {
    /// The models as state logs and exports name them.
    pub(super) fn marks(&self) -> Vec<Mark> {
        self.models.iter().map(|model| Mark::of(model)).collect()
    }

    /// Whether the models are those that a state is about, by their structures.
    pub(super) fn check_models(&self, structures: &[String], whose: &str) -> Result<(), Failure> {
        let own: Vec<String> = self.models.iter().map(|model| model.structure()).collect();
        if own == *structures {
            return Ok(());
        }
        Err(Failure::could_not_run(format!(
            "{whose} holds journeys of other models ({}) than those of the configuration ({}); name the models it was \
             written with",
            structures.join("; "),
            own.join("; ")
        )))
    }
}
