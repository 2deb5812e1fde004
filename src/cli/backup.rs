//! `sillage backup`: the store of the embedded log in one file.

use std::path::PathBuf;

use super::{Failure, print};
use crate::config::Log;
use crate::embedded::{self, Backup, NoBackup};

/// Copy the store of the embedded log into one file, while the service runs or not.
///
/// The copy is of one commit, whole, and read again before it gets its name. To put it back: stop the service, make an empty
/// directory, copy the file there as `sillage.db`, and start with `directory` set to it. On Kafka the topics hold everything.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service's configuration; without one, `SILLAGE_…` variables alone.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file to write; it must not be there yet.
    #[arg(value_name = "BACKUP")]
    file: PathBuf,
}

/// Runs the command. Exit code 1: the store is damaged, and so would be the copy. Exit code 2: it could not be read or written.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = super::run::configuration(args.config.as_deref())?;
    let Log::Embedded(settings) = config.log else {
        let told = "this configuration keeps everything on Kafka: back up its topics there, or write the journeys with \
                    `sillage state export`";
        return Err(Failure::could_not_run(told));
    };
    let Backup { bytes, customers, outcomes } =
        embedded::backup(&settings, &args.file).map_err(|no_backup| match no_backup {
            NoBackup::Failed(reason) => Failure::could_not_run(reason),
            NoBackup::Damaged(faults) => Failure::answer_is_no(format!(
                "the store is damaged, and its copy was not kept: {}; see docs/embedded.md, \"Backups\"",
                faults.join("; ")
            )),
        })?;
    print(&format!("{}: {bytes} bytes, {customers} customers, outcomes up to position {outcomes}\n", args.file.display()))
}
