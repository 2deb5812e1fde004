//! `sillage state verify`: reads all that is kept, and says what is wrong with it.

use super::{Setting, Where};
use crate::cli::table::table;
use crate::cli::{Failure, print};
use crate::config::Log;
use crate::embedded;

/// Read all that is kept and check it: checksums, versions, commits without a hole, sizes, positions.
///
/// Exit code 0: all is well. 1: something is wrong, and said. 2: it could not be read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let setting = args.place.setting()?;
    let faults = match &setting.config.log {
        Log::Kafka(_) => return Err(Failure::could_not_run("Kafka comes next")),
        Log::Embedded(settings) => of_store(&setting, settings)?,
    };
    if faults.is_empty() {
        return print("all is well\n");
    }
    for fault in &faults {
        print(&format!("wrong: {fault}\n"))?;
    }
    let told = format!("{} things are wrong; see docs/state.md, \"What verify checks\"", faults.len());
    Err(Failure::answer_is_no(told))
}

fn of_store(setting: &Setting, settings: &embedded::Settings) -> Result<Vec<String>, Failure> {
    let snapshot = embedded::Snapshot::open(settings).map_err(Failure::could_not_run)?;
    let found = snapshot.verify().map_err(Failure::could_not_run)?;
    let mut rows =
        table(&["partition", "customers", "bytes of state", "processed to", "waiting", "commits", "decided until"]);
    for (number, (standing, (customers, bytes))) in snapshot.shards().iter().zip(&found.shards).enumerate() {
        rows.add_row([
            number.to_string(),
            customers.to_string(),
            bytes.to_string(),
            standing.progress.positions.first().map_or(0, |position| position.offset).to_string(),
            standing.waiting.to_string(),
            standing.progress.sequence.to_string(),
            standing.progress.stream_time.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        ]);
    }
    print(&format!("{rows}\n"))?;
    let mut faults = found.faults;
    if let Err(other) = setting.check_models(&snapshot.models().map_err(Failure::could_not_run)?, "the store") {
        faults.push(other.to_string());
    }
    Ok(faults)
}
