//! `sillage state export`: a whole state as lines of JSON, as of one commit.

use std::io::{self, BufWriter, Write};

use super::group::Group;
use super::{Setting, Where};
use crate::cli::Failure;
use crate::config::{KafkaLog, Log};
use crate::embedded::{self, INPUT};
use crate::runtime::clock::Clock;
use crate::wire::export::{Header, Shard, Writer};
use crate::wire::state;

/// Write all customers to standard output, one a line.
///
/// From the embedded log also while the service runs: then it is what was committed when the export began. To move journeys
/// elsewhere, and on Kafka anyway, stop the service first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
}

/// What was written.
pub(super) struct Exported {
    customers: u64,
    shards: usize,
    waiting: u64,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let setting = args.place.setting()?;
    let output = BufWriter::new(io::stdout().lock());
    let done = match &setting.config.log {
        Log::Kafka(log) => from_group(&setting, log, output)?,
        Log::Embedded(settings) => from_store(&setting, settings, output)?,
    };
    let Exported { customers, shards, waiting } = done;
    crate::cli::say(&format!("{customers} customers of {shards} partitions"));
    if waiting > 0 {
        crate::cli::say(&format!("{waiting} records of the inputs are not in it: they had not been processed"));
    }
    Ok(())
}

/// Why the export is not written.
fn unwritten(error: io::Error) -> String {
    format!("cannot write the export: {error}; what was written is of no use")
}

impl Exported {
    /// What a header says of itself; the customers are counted when they are written.
    pub(super) fn of(header: &Header) -> Self {
        let waiting = header.shards.iter().map(|shard| shard.waiting).sum();
        Exported { customers: 0, shards: header.shards.len(), waiting }
    }
}

fn from_store(setting: &Setting, settings: &embedded::Settings, output: impl Write) -> Result<Exported, Failure> {
    let snapshot = embedded::Snapshot::open(settings).map_err(Failure::could_not_run)?;
    let migration = setting.admit(&snapshot.models().map_err(Failure::could_not_run)?, "the store")?;
    let shards = snapshot.shards().into_iter();
    let header = Header {
        written_at: Clock::starting_now(1.0).now(),
        inputs: vec![INPUT.to_owned()],
        models: setting.marks(),
        shards: shards.map(|shard| Shard { progress: shard.progress, waiting: shard.waiting }).collect(),
    };
    let mut writer = Writer::begin(output, &header).map_err(unwritten).map_err(Failure::could_not_run)?;
    let mut encoded = Vec::new();
    let each = snapshot.each(|shard, mut customer| {
        migration.iter().for_each(|migration| migration.migrate(&mut customer));
        encoded.clear();
        state::encode(&customer, &mut encoded);
        writer.customer(shard, &customer.identity, &encoded).map_err(unwritten)
    });
    each.map_err(Failure::could_not_run)?;
    Ok(Exported { customers: writer.end().map_err(unwritten).map_err(Failure::could_not_run)?, ..Exported::of(&header) })
}

/// One shard is in memory at a time, so the header says what the offsets say, and the logs must say the same later.
fn from_group(setting: &Setting, log: &KafkaLog, output: impl Write) -> Result<Exported, Failure> {
    let group = Group::reach(log, setting.marks(), None)?;
    let committed = group.offline.committed().map_err(Failure::could_not_run)?;
    let standing = (0..).zip(&committed).map(|(shard, found)| group.standing(shard, found));
    let mut standing = standing.collect::<Result<Vec<_>, _>>()?;
    let inputs = group.offline.ledger().inputs.len();
    for (shard, progress) in (0..).zip(&standing) {
        let from = progress.positions.get(inputs + 1).map_or(0, |position| position.offset);
        if group.offline.is_handed_more(shard, from).map_err(Failure::could_not_run)? {
            return Err(Failure::answer_is_no(format!(
                "partition {shard}: customers are on their way to it from other partitions, and would be missing; run the service \
                 until it has caught up with inputs to which nothing is written, stop it, and export again"
            )));
        }
    }
    // What has been read beside the inputs means nothing elsewhere.
    standing.iter_mut().for_each(|progress| progress.positions.truncate(inputs));
    let waiting = group.waiting(&standing)?;
    let shards = standing.iter().zip(waiting).map(|(progress, waiting)| Shard { progress: progress.clone(), waiting });
    let header = Header {
        written_at: Clock::starting_now(1.0).now(),
        inputs: group.offline.ledger().inputs.clone(),
        models: setting.marks(),
        shards: shards.collect(),
    };
    let mut writer = Writer::begin(output, &header).map_err(unwritten).map_err(Failure::could_not_run)?;
    let mut bytes = Vec::new();
    for (shard, progress) in (0..).zip(&standing) {
        let restored = group.offline.read(shard).map_err(Failure::could_not_run)?.restored;
        let sequence = restored.progress.as_ref().map_or(0, |progress| progress.sequence);
        if sequence != progress.sequence {
            return Err(Failure::answer_is_no(format!(
                "partition {shard}: the offsets are of commit {}, the state log is at commit {sequence}; stop the service, see \
                 what `sillage state verify` says, and export again",
                progress.sequence
            )));
        }
        let mut written = Ok(());
        restored.customers.each(|customer| {
            bytes.clear();
            state::encode(&customer, &mut bytes);
            if written.is_ok() {
                written = writer.customer(shard, &customer.identity, &bytes);
            }
        });
        if let (Ok(()), Some(row)) = (&written, restored.customers.own_row()) {
            bytes.clear();
            state::encode(&row, &mut bytes);
            written = writer.customer(shard, &row.identity, &bytes);
        }
        written.map_err(unwritten).map_err(Failure::could_not_run)?;
    }
    Ok(Exported { customers: writer.end().map_err(unwritten).map_err(Failure::could_not_run)?, ..Exported::of(&header) })
}
