//! `sillage reset`: where a stopped service goes on, and with which journeys.

use std::io::{self, BufRead, IsTerminal};

use clap::ValueEnum;

use super::state::group::{Group, last_commit};
use super::state::{Setting, Where, settled};
use super::table::table;
use super::{Failure, print};
use crate::config::{KafkaLog, Log};
use crate::embedded;
use crate::kafka::Start;
use crate::ledger::{Found, Ledger};
use crate::port::{ShardId, Sink};
use crate::shard::{Position, Progress};
use crate::time::Timestamp;

/// Set back or forward where a stopped service goes on, keeping its journeys or dropping them.
///
/// Says beforehand what it will do, and does it once that is confirmed. To process everything again, as if for the first
/// time: `--to earliest --state drop`. Outcomes then come again, with the same ids.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// Where to go on: `earliest`, `latest`, or the first record stamped with this instant or later.
    #[arg(long, value_name = "earliest|latest|INSTANT", value_parser = To::parse)]
    to: To,
    /// What becomes of the journeys.
    #[arg(long, value_enum)]
    state: Fate,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Earliest,
    Latest,
    At(Timestamp),
}

/// What becomes of the journeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fate {
    /// They stay: what is skipped never counts, what is read again counts twice.
    Keep,
    /// They begin anew.
    Drop,
}

impl To {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(To::Earliest),
            "latest" => Ok(To::Latest),
            instant => {
                let fault =
                    |_| format!("{instant:?} is none of earliest, latest, or an instant such as 2026-11-22T10:00:00Z");
                Timestamp::parse(instant).map(To::At).map_err(fault)
            }
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let setting = args.place.setting()?;
    match &setting.config.log {
        Log::Kafka(log) => on_kafka(&args, &setting, log),
        Log::Embedded(settings) => on_store(&args, &setting, settings),
    }
}

/// What happens to one input of a shard.
struct Move {
    what: String,
    from: Option<i64>,
    to: i64,
}

/// Says what will be done, and asks whether it shall.
fn confirmed(args: &Args, moves: &[Move], customers: u64) -> Result<(), Failure> {
    let mut rows = table(&["input", "goes on at", "instead of", ""]);
    let (mut again, mut skipped) = (0, 0);
    for Move { what, from, to } in moves {
        let change = from.map_or(0, |from| to - from);
        again += (-change).max(0);
        skipped += change.max(0);
        let told = match change {
            0 => String::new(),
            ahead if ahead > 0 => format!("skips {ahead}"),
            back => format!("reads {} again", -back),
        };
        rows.add_row([
            what.clone(),
            to.to_string(),
            from.map_or_else(|| "nowhere".to_owned(), |from| from.to_string()),
            told,
        ]);
    }
    print(&format!("{rows}\n"))?;
    print(&match (args.state, again) {
        (Fate::Drop, _) => {
            format!("{customers} customers are dropped: their journeys begin anew, and outcomes may come again\n")
        }
        (Fate::Keep, 0) => format!("{customers} customers are kept; {skipped} records never count for them\n"),
        (Fate::Keep, again) => format!(
            "{customers} customers are kept, and {again} records that they have counted already count a second time, but for \
             the latest of each customer that came with an id\n"
        ),
    })?;
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::answer_is_no("nothing was done; add --yes to do it"));
    }
    print("Type yes to do it: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::could_not_run(format!("cannot read: {error}")))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::answer_is_no("nothing was done")) }
}

fn on_store(args: &Args, setting: &Setting, settings: &embedded::Settings) -> Result<(), Failure> {
    // There must be one: opening to write would make it.
    embedded::Snapshot::open(settings).map_err(Failure::could_not_run)?;
    let mut store = embedded::Offline::open(settings, &setting.models).map_err(Failure::could_not_run)?;
    let since = match args.to {
        To::Earliest => Timestamp::MIN,
        To::Latest => Timestamp::MAX,
        To::At(instant) => instant,
    };
    let plan = store.plan(since).map_err(Failure::answer_is_no)?;
    let moves: Vec<Move> = (0..)
        .zip(&plan)
        .map(|(shard, step): (u32, _)| Move { what: format!("partition {shard}"), from: Some(step.from), to: step.to })
        .collect();
    confirmed(args, &moves, plan.iter().map(|step| step.customers).sum())?;
    let fate = match args.state {
        Fate::Keep => embedded::Fate::Keep,
        Fate::Drop => embedded::Fate::Drop,
    };
    store.reset(&plan, fate).map_err(Failure::could_not_run)?;
    print("done\n")
}

/// What a shard was, and what becomes of it.
struct Change {
    customers: u64,
    progress: Progress,
    /// From which commit on the state log is needed then.
    retain_from: u64,
    moves: Vec<Move>,
}

/// In this order, so that a reset that is killed in the middle leaves a shard that is refused rather than a wrong one: first
/// the state log is cut, where the state is dropped, then one transaction holds the new offsets and a page of each shard.
fn on_kafka(args: &Args, setting: &Setting, log: &KafkaLog) -> Result<(), Failure> {
    let group = Group::reach(log, setting.marks(), None)?;
    group.wait_until_deserted()?;
    let committed = group.offline.committed().map_err(Failure::could_not_run)?;
    let start = match args.to {
        To::Earliest => Start::Earliest,
        To::Latest => Start::Latest,
        To::At(instant) => Start::At(instant),
    };
    let starts = group.offline.starts(start).map_err(Failure::could_not_run)?;
    let changes =
        (0..).zip(committed.iter().zip(&starts)).map(|(shard, (found, to))| change(args, &group, shard, found, to));
    let changes = changes.collect::<Result<Vec<_>, _>>()?;
    let customers = changes.iter().map(|change| change.customers).sum();
    let (mut moves, mut progress, mut retain_from) = (Vec::new(), Vec::new(), Vec::new());
    for (shard, change) in (0..).zip(changes) {
        moves.extend(change.moves);
        progress.push((shard, change.progress));
        retain_from.push((shard, change.retain_from));
    }
    confirmed(args, &moves, customers)?;
    // Somebody may have started the service while this was thought over.
    group.wait_until_deserted()?;
    let name = format!("reset-{}", uuid::Uuid::new_v4().simple());
    let mut sink = group.offline.sink(name).map_err(Failure::could_not_run)?;
    if args.state == Fate::Drop {
        group.offline.cut_all().map_err(Failure::could_not_run)?;
    }
    retain_from.into_iter().for_each(|(shard, sequence)| sink.keep_from(shard, sequence));
    settled(sink.commit(&progress))?;
    print("done\n")
}

fn change(args: &Args, group: &Group, shard: ShardId, found: &Found, to: &[i64]) -> Result<Change, Failure> {
    let restored = match (group.offline.read(shard), args.state) {
        (Ok(kept), _) => kept.restored,
        // A state that cannot be read can still be dropped.
        (Err(reason), Fate::Drop) => {
            super::say(&format!("partition {shard}: {reason}"));
            Default::default()
        }
        (Err(reason), Fate::Keep) => return Err(Failure::could_not_run(reason)),
    };
    let known = restored.progress;
    let sequence = match (args.state, &known) {
        // The next page of the log that stays, wherever the offsets were.
        (Fate::Keep, Some(progress)) => progress.sequence + 1,
        (Fate::Keep, None) | (Fate::Drop, _) => {
            known.as_ref().map_or(0, |progress| progress.sequence).max(last_commit(found)) + 1
        }
    };
    let retain_from = match args.state {
        Fate::Keep => restored.retain_from,
        Fate::Drop => sequence,
    };
    let (stream_time, log_times) = match (args.state, &known) {
        (Fate::Keep, Some(progress)) => {
            (progress.stream_time, progress.positions.iter().take(to.len()).map(|position| position.log_time).collect())
        }
        (Fate::Keep, None) | (Fate::Drop, _) => (None, vec![Timestamp::MIN; to.len()]),
    };
    let mut positions: Vec<Position> =
        to.iter().zip(log_times).map(|(offset, log_time)| Position { offset: *offset, log_time }).collect();
    let ledger = group.offline.ledger();
    if let (Fate::Keep, Some(progress)) = (args.state, &known) {
        positions.extend(control(ledger, progress, to));
    }
    positions.resize(ledger.inputs.len() + 1, Position { offset: 0, log_time: Timestamp::MIN });
    positions.push(handoff(args, group, shard, known.as_ref())?);
    let progress = ledger.complete(Progress { positions, stream_time, sequence });
    let place = |(input, (topic, to)): (usize, (&String, &i64))| {
        let committed = found.offsets.get(input).and_then(|(offset, _)| *offset);
        let logged = known.as_ref().and_then(|progress| progress.positions.get(input)).map(|position| position.offset);
        Move { what: format!("{topic}, partition {shard}"), from: committed.or(logged), to: *to }
    };
    Ok(Change {
        customers: restored.customers.len() as u64,
        progress,
        retain_from,
        moves: ledger.inputs.iter().zip(to).enumerate().map(place).collect(),
    })
}

/// Where a shard goes on in what others hand to it. With a state that stays: where it was. Otherwise at the end: what was handed
/// over comes of touchpoints that are read again, or of customers whose state is dropped.
fn handoff(args: &Args, group: &Group, shard: ShardId, known: Option<&Progress>) -> Result<Position, Failure> {
    let place = group.offline.ledger().inputs.len() + 1;
    match (args.state, known.and_then(|progress| progress.positions.get(place))) {
        (Fate::Keep, Some(position)) => Ok(*position),
        (Fate::Keep, None) | (Fate::Drop, _) => {
            let offset = group.offline.handoff_end(shard).map_err(Failure::could_not_run)?;
            Ok(Position { offset, log_time: Timestamp::MIN })
        }
    }
}

/// Where the control topic goes on with a state that stays: where it was, unless an input goes back. Then orders are read again
/// as well, since whoever was erased may come again with what is read again; and no sooner than that, which is why they count as
/// of the latest log time that any input has reached (rule 5: at the same instant, inputs come first).
fn control(ledger: &Ledger, known: &Progress, to: &[i64]) -> Option<Position> {
    let inputs = known.positions.get(..ledger.inputs.len())?;
    let goes_back = inputs.iter().zip(to).any(|(position, to)| *to < position.offset);
    let heard = *known.positions.get(ledger.inputs.len())?;
    let latest = inputs.iter().map(|position| position.log_time).fold(heard.log_time, Timestamp::max);
    Some(if goes_back { Position { offset: 0, log_time: latest } } else { heard })
}
