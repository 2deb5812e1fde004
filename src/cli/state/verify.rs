//! `sillage state verify`: reads all that is kept, and says what is wrong with it.

use super::group::{Group, last_commit};
use super::{Setting, Where};
use crate::cli::table::table;
use crate::cli::{Failure, print};
use crate::config::{KafkaLog, Log};
use crate::embedded;
use crate::kafka::{Extent, Kept};
use crate::ledger::{self, Found, Ledger, Seating};
use crate::port::ShardId;

/// The state log is at most so many times as large as the state, and a commit, since it can only be cut between two: twice by its
/// design, an eighth more before it is worth cutting, and the rest for a load that is not steady.
const BOUND: f64 = 2.5;
/// Logs smaller than this are mostly the heads of pages, and judged by nothing.
const SMALL: u64 = 1 << 20;

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
        Log::Kafka(log) => of_group(&setting, log)?,
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
    let snapshot = embedded::Snapshot::look(settings).map_err(Failure::could_not_run)?;
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
    if let Err(other) = setting.admit(&snapshot.models().map_err(Failure::could_not_run)?, "the store") {
        faults.push(other.to_string());
    }
    Ok(faults)
}

fn of_group(setting: &Setting, log: &KafkaLog) -> Result<Vec<String>, Failure> {
    let group = Group::reach(log, setting.marks(), None)?;
    let offline = &group.offline;
    let committed = offline.committed().map_err(Failure::could_not_run)?;
    let head = ["partition", "customers", "bytes of state", "pages", "bytes of log", "ratio", "commits", "decided until"];
    let mut rows = table(&head);
    let (mut faults, mut sums) = (Vec::new(), (0, 0, 0, 0));
    for (shard, found) in (0..).zip(&committed) {
        let kept = match offline.read(shard) {
            Ok(kept) => kept,
            Err(reason) => {
                faults.push(format!("partition {shard}: {reason}"));
                continue;
            }
        };
        let mut bytes = 0;
        kept.restored.customers.each_packed(|packed| bytes += packed.len() as u64);
        let (customers, progress) = (kept.restored.customers.len(), kept.restored.progress.as_ref());
        rows.add_row([
            shard.to_string(),
            customers.to_string(),
            bytes.to_string(),
            kept.pages.to_string(),
            kept.bytes.to_string(),
            ratio(kept.bytes, bytes),
            progress.map_or(0, |progress| progress.sequence).to_string(),
            progress.and_then(|progress| progress.stream_time).map_or_else(|| "-".to_owned(), |at| at.to_string()),
        ]);
        sums = (sums.0 + customers, sums.1 + bytes, sums.2 + kept.pages, sums.3 + kept.bytes);
        let later = if is_ahead(&kept, found) { Some(offline.committed().map_err(Failure::could_not_run)?) } else { None };
        let found = later.as_ref().and_then(|later| later.get(shard as usize)).unwrap_or(found);
        // A service that runs has committed since the log was read; what it wrote is looked at the next time.
        if last_commit(found) > kept.restored.progress.as_ref().map_or(0, |progress| progress.sequence) && later.is_some() {
            continue;
        }
        // Asked for last: no position that is known already lies beyond.
        let extents = offline.extents(shard).map_err(Failure::could_not_run)?;
        faults.extend(against(offline.ledger(), shard, &kept, bytes, found, &extents));
    }
    let (customers, bytes, pages, log_bytes) = sums;
    let total = [customers.to_string(), bytes.to_string(), pages.to_string(), log_bytes.to_string()];
    rows.add_row(std::iter::once("all".to_owned()).chain(total).chain([ratio(log_bytes, bytes)]));
    print(&format!("{rows}\n"))?;
    Ok(faults)
}

/// Whether the log tells of a later commit than the offsets, which were asked for first: a service may be running.
fn is_ahead(kept: &Kept, found: &Found) -> bool {
    kept.restored.progress.as_ref().is_some_and(|progress| progress.sequence > last_commit(found))
}

/// What is wrong with a shard's log beside its offsets and inputs.
fn against(ledger: &Ledger, shard: ShardId, kept: &Kept, bytes: u64, found: &Found, extents: &[Extent]) -> Vec<String> {
    let mut faults = Vec::new();
    if kept.bytes > SMALL && kept.bytes as f64 > BOUND * bytes as f64 + kept.restored.largest_commit as f64 {
        faults.push(format!(
            "partition {shard}: the log is {} times as large as the state; may Sillage delete records there, and has it made a \
             turn since many customers left?",
            ratio(kept.bytes, bytes)
        ));
    }
    let progress = match ledger::seating(ledger, shard, kept.restored.progress.clone(), found) {
        Ok(Seating::At(progress)) => ledger.complete(progress),
        // Taken from the log at the next start; nothing is wrong with that.
        Ok(Seating::Recovered(_) | Seating::Fresh) => return faults,
        Err(reason) => {
            faults.push(reason);
            return faults;
        }
    };
    if found.progress().as_ref() != Some(&progress) {
        faults.push(format!(
            "partition {shard}: commit {} stands in the offsets with other positions than in the state log",
            progress.sequence
        ));
    }
    for ((topic, position), extent) in ledger.inputs.iter().zip(&progress.positions).zip(extents) {
        if position.offset < extent.low || position.offset > extent.high {
            faults.push(format!(
                "partition {shard} of {topic} goes on at {}, and holds {} to {}: `sillage reset` says where else to go on",
                position.offset, extent.low, extent.high
            ));
        }
    }
    faults
}

fn ratio(log: u64, state: u64) -> String {
    if state == 0 { "-".to_owned() } else { format!("{:.2}", log as f64 / state as f64) }
}
