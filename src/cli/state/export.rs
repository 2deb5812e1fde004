//! `sillage state export`: a whole state as lines of JSON, as of one commit.

use std::io::{self, BufWriter, Write};

use super::{Setting, Where};
use crate::cli::Failure;
use crate::config::Log;
use crate::embedded::{self, INPUT};
use crate::runtime::clock::Clock;
use crate::wire::export::{Header, Shard, Writer};

/// Write all customers to standard output, one a line.
///
/// Also while the service runs: then it is what was committed when the export began. To move journeys elsewhere, stop the
/// service first.
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
        Log::Kafka(_) => return Err(Failure::could_not_run("Kafka comes next")),
        Log::Embedded(settings) => from_store(&setting, settings, output)?,
    };
    let Exported { customers, shards, waiting } = done;
    eprintln!("{customers} customers of {shards} partitions");
    if waiting > 0 {
        eprintln!("{waiting} records of the inputs are not in it: they had not been processed");
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
    setting.check_models(&snapshot.models().map_err(Failure::could_not_run)?, "the store")?;
    let shards = snapshot.shards().into_iter();
    let header = Header {
        written_at: Clock::starting_now(1.0).now(),
        inputs: vec![INPUT.to_owned()],
        models: setting.marks(),
        shards: shards.map(|shard| Shard { progress: shard.progress, waiting: shard.waiting }).collect(),
    };
    let mut writer = Writer::begin(output, &header).map_err(unwritten).map_err(Failure::could_not_run)?;
    let each = snapshot.each(|shard, customer, bytes| writer.customer(shard, &customer.identity, bytes).map_err(unwritten));
    each.map_err(Failure::could_not_run)?;
    Ok(Exported { customers: writer.end().map_err(unwritten).map_err(Failure::could_not_run)?, ..Exported::of(&header) })
}
