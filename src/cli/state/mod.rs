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
use crate::journey::Migration;
use crate::model::Model;
use crate::wire::pages::Mark;
use crate::wire::succession;

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
pub(in crate::cli) struct Where {
    /// The configuration of the service; without one, `SILLAGE_…` variables alone.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What the configuration says.
pub(in crate::cli) struct Setting {
    pub(in crate::cli) config: Config,
    pub(in crate::cli) models: Vec<Arc<Model>>,
}

impl Where {
    pub(in crate::cli) fn of(config: Option<PathBuf>) -> Self {
        Where { config }
    }

    pub(in crate::cli) fn setting(&self) -> Result<Setting, Failure> {
        let config = run::configuration(self.config.as_deref())?;
        let mut models = files::models_with(&config.models, config.contacts.as_deref())?;
        files::in_zone_of(config.fields.as_ref(), &mut models);
        Ok(Setting { config, models })
    }
}

impl Setting {
    /// The models as state logs and exports name them.
    pub(in crate::cli) fn marks(&self) -> Vec<Mark> {
        Mark::all(&self.models, &self.config.retired)
    }

    /// How customers are brought over to the configuration's models from those that a state was written under; `None` where
    /// they stay as they are. Refused where these may not follow those (rule 25).
    pub(super) fn admit(&self, written: &[Mark], whose: &str) -> Result<Option<Migration>, Failure> {
        let admitted = succession::admit(written, &self.marks());
        admitted.map_err(|reason| Failure::answer_is_no(format!("{whose}: {reason}")))
    }
}
