//! `sillage state import`: journeys from an export, into a log that holds none yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::group::{Group, last_commit};
use super::{Setting, Where};
use crate::cli::Failure;
use crate::cli::ndjson::{self, Line, Lines};
use crate::config::{KafkaLog, Log};
use crate::embedded;
use crate::journey::packed::Words;
use crate::journey::{Migration, Sums};
use crate::port::{ShardId, Sink, Verdict};
use crate::shard::{Customers, Position, Progress, Written};
use crate::time::Timestamp;
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
        Log::Kafka(log) => into_group(&setting, log, incoming)?,
        Log::Embedded(settings) => into_store(&setting, settings, incoming)?,
    };
    crate::cli::say(&told);
    Ok(())
}

/// An export being read.
pub(super) struct Incoming {
    lines: Lines,
    reader: Reader,
    times: StreamTimes,
    /// To the models of the configuration.
    migration: Option<Migration>,
}

impl Incoming {
    fn open(args: &Args, setting: &Setting) -> Result<Self, Failure> {
        let mut lines = Lines::new(ndjson::open(&args.file).map_err(Failure::could_not_run)?, LINE);
        let reader = match lines.next_line().map_err(unread)? {
            Some(Line::Whole { bytes, .. }) => Reader::begin(bytes).map_err(Failure::answer_is_no)?,
            Some(Line::TooLong { .. }) | None => return Err(Failure::answer_is_no("the export is empty; export again")),
        };
        let header = reader.header();
        let migration = setting.admit(&header.models, "the export")?;
        let waiting: u64 = header.shards.iter().map(|shard| shard.waiting).sum();
        if waiting > 0 && !args.leave_waiting {
            return Err(Failure::answer_is_no(format!(
                "{waiting} records of the source's inputs are not in the export: let the service there process them and export \
                 again, or leave them behind with --leave-waiting"
            )));
        }
        let times = StreamTimes::of(header);
        Ok(Incoming { lines, reader, times, migration })
    }

    /// The number of shards of the source.
    pub(super) fn shards(&self) -> usize {
        self.reader.header().shards.len()
    }

    /// Hands over every customer to `put`, which says into which shard; then says how many there were, and at which stream
    /// time each shard goes on, and what was measured in all of them. Nothing may be kept of what was put where this fails.
    pub(super) fn each(
        mut self,
        mut put: impl FnMut(&Moved) -> Result<u32, String>,
    ) -> Result<(u64, StreamTimes, Sums), String> {
        let mut sums = Sums::default();
        while let Some(line) = self.lines.next_line().map_err(|error| unread(error).to_string())? {
            let (number, bytes) = match line {
                Line::Whole { number, bytes } => (number, bytes),
                Line::TooLong { number, length } => return Err(format!("line {number} has {length} bytes: no export has")),
            };
            if let Some(mut moved) = self.reader.line(bytes).map_err(|reason| format!("line {number}: {reason}"))? {
                if moved.customer.identity.id.is_empty() {
                    sums.append(moved.customer.contacts().sums());
                    continue;
                }
                self.migration.iter().for_each(|migration| migration.migrate(&mut moved.customer));
                let to = put(&moved)?;
                self.times.moved(moved.from, to);
            }
        }
        Ok((self.reader.end()?, self.times, sums))
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
        let (customers, times, sums) = incoming.each(|moved| Ok(filling.put(&moved.customer)))?;
        filling.put_sums(&sums);
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

fn into_group(setting: &Setting, log: &KafkaLog, incoming: Incoming) -> Result<String, Failure> {
    let group = Group::reach(log, setting.marks(), log.create)?;
    group.wait_until_deserted()?;
    let mut targets = targets(&group, log)?;
    let partitions = group.offline.ledger().partitions;
    let same = incoming.shards() == partitions as usize;
    let home = |moved: &Moved| match log.partitioner.partition(moved.customer.identity.id.as_bytes(), partitions) {
        Some(home) => Ok(home),
        None if same => Ok(moved.from),
        None => Err(format!(
            "the partitioner of the inputs is unknown, and they have {partitions} partitions where the source had others: \
             nobody can say where a customer belongs; set `partitioner`"
        )),
    };
    let mut sink =
        group.offline.sink(format!("import-{}", uuid::Uuid::new_v4().simple())).map_err(Failure::could_not_run)?;
    let mut words: BTreeMap<ShardId, Words> = BTreeMap::new();
    let mut packed = Vec::new();
    let taken = incoming.each(|moved| {
        let to = home(moved)?;
        let words = words.entry(to).or_default();
        packed.clear();
        moved.customer.pack(words, &mut packed);
        sink.remember(to, Written { now: &packed, before: None, words });
        Ok(to)
    });
    let (customers, times, sums) = taken.map_err(|reason| {
        // Whatever becomes of this, a transaction that nobody commits is undone.
        sink.abort();
        Failure::answer_is_no(reason)
    })?;
    let mut measured = Customers::default();
    measured.restore_sums(&sums);
    if let Some(row) = measured.own_row() {
        // Whoever adds them up asks all partitions.
        let words = words.entry(0).or_default();
        packed.clear();
        row.pack(words, &mut packed);
        sink.remember(0, Written { now: &packed, before: None, words });
    }
    for (shard, words) in &words {
        for (number, text) in words.after(0) {
            sink.word(*shard, number, text);
        }
    }
    for (shard, progress) in &mut targets {
        progress.sequence += 1;
        progress.stream_time = progress.stream_time.max(times.at(*shard));
        // The log time of what comes is a running maximum, and lies nowhere before what has been decided.
        let decided = times.at(*shard).unwrap_or(Timestamp::MIN);
        progress.positions.iter_mut().for_each(|position| position.log_time = position.log_time.max(decided));
        sink.keep_from(*shard, progress.sequence);
    }
    settled(sink.commit(&targets))?;
    let inputs = log.connection.inputs.len();
    let goes_on = targets.iter().map(|(shard, progress)| {
        let offsets: Vec<String> =
            progress.positions.iter().take(inputs).map(|position| position.offset.to_string()).collect();
        format!("{shard} at {}", offsets.join(" and "))
    });
    Ok(format!(
        "{customers} customers are in {partitions} partitions of {}; the inputs {} go on: partition {}",
        group.offline.ledger().topic(crate::wire::outputs::STATE),
        log.connection.inputs.join(" and "),
        goes_on.collect::<Vec<_>>().join(", ")
    ))
}

/// How a transaction from outside ended.
pub(in crate::cli) fn settled(verdict: Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Committed => Ok(()),
        Verdict::Aborted(reason) => Err(Failure::could_not_run(format!("it was undone: {reason}; try again"))),
        Verdict::Lost(reason) => Err(Failure::could_not_run(format!(
            "nobody can say whether it was done ({reason}); `sillage state verify` does, once the brokers answer"
        ))),
    }
}

/// Where each shard of the target stands: at the group's offsets, or where `start` says. Refused where somebody lives there.
fn targets(group: &Group, log: &KafkaLog) -> Result<Vec<(ShardId, Progress)>, Failure> {
    let committed = group.offline.committed().map_err(Failure::could_not_run)?;
    let starts = group.offline.starts(log.connection.start).map_err(Failure::could_not_run)?;
    let mut targets = Vec::with_capacity(committed.len());
    for (shard, (found, starts)) in (0..).zip(committed.iter().zip(starts)) {
        let restored = group.offline.read(shard).map_err(Failure::could_not_run)?.restored;
        if !restored.customers.is_empty() {
            return Err(Failure::answer_is_no(format!(
                "partition {shard} of the state log holds {} customers already; import into another `output` and `group`, or \
                 drop them with `sillage reset --to latest --state drop`",
                restored.customers.len()
            )));
        }
        let known = restored.progress.as_ref();
        let sequence = known.map_or(0, |progress| progress.sequence).max(last_commit(found));
        let position = |(input, start): (usize, i64)| {
            let own = found.offsets.get(input).and_then(|(offset, _)| *offset);
            let log_time = known.and_then(|progress| progress.positions.get(input)).map(|position| position.log_time);
            Position { offset: own.unwrap_or(start), log_time: log_time.unwrap_or(Timestamp::MIN) }
        };
        let mut positions: Vec<Position> = starts.into_iter().enumerate().map(position).collect();
        let stream_time = known.and_then(|progress| progress.stream_time);
        // The control topic from its beginning: whoever asked there to be forgotten may be among those who come. What was handed
        // over before is about others.
        let handed = group.offline.handoff_end(shard).map_err(Failure::could_not_run)?;
        positions.extend([0, handed].map(|offset| Position { offset, log_time: Timestamp::MIN }));
        targets.push((shard, Progress { positions, stream_time, sequence }));
    }
    Ok(targets)
}
