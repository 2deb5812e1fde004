//! `sillage deliver`: a role of its own beside the service, which brings interventions to those who act on them.

use std::path::PathBuf;

use super::{Failure, files, run};
use crate::runtime::delivery::{self, Delivery};
use crate::runtime::machine;
use crate::runtime::service::{Ended, Patience};

/// Deliver interventions to those who act on them (Kafka).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The destinations; the file names the service's configuration, where its topics are.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// End with exit code 2 instead of trying again where no broker answers within ten seconds.
    #[arg(long)]
    exit_on_unreachable: bool,
    /// Read the configurations, and end.
    #[arg(long)]
    check: bool,
    /// Write the addresses that HTTP is served on to this file, once it is: health and metrics, then the widget's.
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let settings = files::destinations(&args.config)?;
    let config = run::configuration(Some(&settings.service))?;
    if args.check {
        let names = settings.destinations.iter().map(|destination| destination.name.to_string());
        return super::print(&format!("fine: {}\n", names.collect::<Vec<_>>().join(", ")));
    }
    run::log_to_stderr(&config);
    machine::give_memory_back();
    let patience = if args.exit_on_unreachable { Patience::None } else { Patience::Endless };
    match delivery::run(Delivery { config, settings, patience, announce: args.announce }) {
        Ended::Asked => Ok(()),
        Ended::Unable(reason) => Err(Failure::could_not_run(reason)),
        Ended::ClockIsWrong(reason) => Err(Failure::clock_is_wrong(reason)),
    }
}
