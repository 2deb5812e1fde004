//! `sillage state import`: journeys from an export, into a log that holds none yet.

use std::path::PathBuf;

use super::{Setting, Where};
use crate::cli::Failure;
use crate::cli::ndjson::{self, Line, Lines};
use crate::config::Log;
use crate::embedded;
use crate::wire::export::{Moved, Reader, StreamTimes};

/// A line of an export has so many bytes at most: a customer's state is bounded by what a model can keep.
const LINE: usize = 1 << 30;

/// Take what `export` wrote into a log that holds no journeys yet.
///
/// All of it, or nothing: a file that is cut off is refused, and leaves the log as it was. The service must not run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// What `sillage state export` wrote: plain, gzip or zstd; `-` for standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Take it although its source had records that it had not processed; they stay behind.
    #[arg(long)]
    leave_waiting: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let setting = args.place.setting()?;
    let incoming = Incoming::open(&args, &setting)?;
    let told = match &setting.config.log {
        Log::Kafka(_) => return Err(Failure::could_not_run("Kafka comes next")),
        Log::Embedded(settings) => into_store(&setting, settings, incoming)?,
    };
    eprintln!("{told}");
    Ok(())
}

/// An export being read.
pub(super) struct Incoming {
    lines: Lines,
    reader: Reader,
    times: StreamTimes,
}

impl Incoming {
    fn open(args: &Args, setting: &Setting) -> Result<Self, Failure> {
        let mut lines = Lines::new(ndjson::open(&args.file).map_err(Failure::could_not_run)?, LINE);
        let reader = match lines.next_line().map_err(unread)? {
            Some(Line::Whole { bytes, .. }) => Reader::begin(bytes).map_err(Failure::answer_is_no)?,
            Some(Line::TooLong { .. }) | None => return Err(Failure::answer_is_no("the export is empty; export again")),
        };
        let header = reader.header();
        let structures: Vec<String> = header.models.iter().map(|mark| mark.structure.clone()).collect();
        setting.check_models(&structures, "the export").map_err(|other| Failure::answer_is_no(other.to_string()))?;
        let waiting: u64 = header.shards.iter().map(|shard| shard.waiting).sum();
        if waiting > 0 && !args.leave_waiting {
            return Err(Failure::answer_is_no(format!(
                "{waiting} records of the source's inputs are not in the export: let the service there process them and export \
                 again, or leave them behind with --leave-waiting"
            )));
        }
        let times = StreamTimes::of(header);
        Ok(Incoming { lines, reader, times })
    }

    /// The number of shards of the source.
    pub(super) fn shards(&self) -> usize {
        self.reader.header().shards.len()
    }

    /// Hands over every customer to `put`, which says into which shard; then says how many there were, and at which stream
    /// time each shard goes on. Nothing may be kept of what was put where this fails.
    pub(super) fn each(mut self, mut put: impl FnMut(&Moved) -> Result<u32, String>) -> Result<(u64, StreamTimes), String> {
        while let Some(line) = self.lines.next_line().map_err(|error| unread(error).to_string())? {
            let (number, bytes) = match line {
                Line::Whole { number, bytes } => (number, bytes),
                Line::TooLong { number, length } => return Err(format!("line {number} has {length} bytes: no export has")),
            };
            if let Some(moved) = self.reader.line(bytes).map_err(|reason| format!("line {number}: {reason}"))? {
                let to = put(&moved)?;
                self.times.moved(moved.from, to);
            }
        }
        Ok((self.reader.end()?, self.times))
    }
}

fn unread(error: std::io::Error) -> Failure {
    Failure::could_not_run(format!("the export cannot be read: {error}"))
}

fn into_store(setting: &Setting, settings: &embedded::Settings, incoming: Incoming) -> Result<String, Failure> {
    let mut store = embedded::Offline::open(settings, &setting.models).map_err(Failure::could_not_run)?;
    if let Some(reason) = store.occupied().map_err(Failure::could_not_run)? {
        return Err(Failure::answer_is_no(reason));
    }
    let customers = store.fill(|filling| {
        let (customers, times) = incoming.each(|moved| filling.put(&moved.customer))?;
        filling.stream_times(|shard| times.at(shard));
        Ok(customers)
    });
    let customers = customers.map_err(Failure::answer_is_no)?;
    Ok(format!(
        "{customers} customers are in {} partitions of {}; touchpoints that are sent from now on count",
        settings.partitions,
        settings.dir.display()
    ))
}
