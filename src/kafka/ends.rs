//! Where the inputs end now: the questions behind "caught up" (rule 4).
//!
//! Asked on a thread and two clients of its own, one per isolation level, since on the consuming client such a question
//! waits behind its long-poll fetch; and of the leaders themselves (`leaders`), while those clients ask. What an answer proves
//! is judged by [`crate::ledger::group`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::debug;

use super::leaders::Leaders;
use super::stalls::{Stalls, Unproven};
use super::{Connection, answers, client};
use crate::ledger::group::{End, LogEnd, Partition};
use crate::port::Now;
use crate::seldom::Seldom;

/// At most so often, where a shard has read its inputs to the end.
const INTERVAL: Duration = Duration::from_millis(25);
/// At most so often, where shards of a backlog wait for each other.
const AT_BOUND: Duration = Duration::from_millis(2);
/// An answer later than this is of no use.
const CALL: Duration = Duration::from_secs(2);
/// At most so often a client is made to look for the leaders anew.
const LOOK: Duration = Duration::from_millis(250);
/// How many replicas there are is asked at least so often, where that matters.
const REPLICAS: Duration = Duration::from_secs(30);
/// So many reports of a client are taken at once.
const REPORTS: usize = 100;
/// How often it is told that an end is unknown.
const TELL: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Slate {
    wanted: Mutex<Vec<Partition>>,
    changed: Condvar,
    stop: AtomicBool,
}

/// The thread that asks.
pub(super) struct Ends {
    slate: Arc<Slate>,
    answers: Receiver<Vec<End>>,
    thread: Option<JoinHandle<()>>,
}

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        debug!(?level, facility, "{line}");
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        debug!(%error, reason, "the end-offset client reports an error");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}

impl Ends {
    /// `topics` are the inputs, and what is read beside them.
    pub(super) fn start(
        connection: &Arc<Connection>,
        topics: &[String],
        unproven: Unproven,
        now: &Now,
    ) -> Result<Self, String> {
        let make = |isolation| -> Result<Asker, String> {
            let client = client::asking(connection, isolation).create_with_context(Quiet);
            client.map(|client| Asker::of(client, topics)).map_err(|error| format!("cannot make a client: {error}"))
        };
        let (stable, high) = (make("read_committed")?, make("read_uncommitted")?);
        let leaders = Leaders::of(connection);
        let (send, answers) = channel();
        let slate = Arc::new(Slate::default());
        let (shared, connection, now) = (Arc::clone(&slate), Arc::clone(connection), Arc::clone(now));
        let thread = std::thread::Builder::new()
            .name("sillage-ends".to_owned())
            .spawn(move || {
                let round = Round { stable, high, leaders, stalls: Stalls::new(unproven), told: Seldom::new(TELL) };
                ask_on(&shared, &connection, &now, round, &send);
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Ends { slate, answers, thread: Some(thread) })
    }

    /// Says which inputs have nothing buffered and want to know their end.
    pub(super) fn want(&self, inputs: Vec<Partition>) {
        *self.slate.wanted.lock().unwrap_or_else(PoisonError::into_inner) = inputs;
        self.slate.changed.notify_one();
    }

    /// The answers since the last look.
    pub(super) fn answers(&self) -> Vec<End> {
        self.answers.try_iter().flatten().collect()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.slate.stop.store(true, Ordering::Release);
        self.slate.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that could be lost; if it panicked, there is nothing to mend at the end either.
            let _ = thread.join();
        }
    }
}

fn ask_on(slate: &Slate, connection: &Connection, now: &Now, mut round: Round, answers: &Sender<Vec<End>>) {
    while !slate.stop.load(Ordering::Acquire) {
        let wanted = {
            let wanted = slate.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            let (wanted, _) = slate.changed.wait_timeout(wanted, INTERVAL).unwrap_or_else(PoisonError::into_inner);
            wanted.clone()
        };
        if wanted.is_empty() {
            continue;
        }
        if answers.send(round.ends(connection, now, &wanted)).is_err() {
            return;
        }
        // The next question is not asked before the interval is over, however fast the answer was.
        let of_inputs = wanted.iter().any(|(topic, _)| *topic < connection.inputs.len());
        std::thread::sleep(if of_inputs { INTERVAL.max(round.leaders.pause()) } else { AT_BOUND });
    }
}

/// Whoever is asked, round after round.
struct Round {
    stable: Asker,
    high: Asker,
    leaders: Leaders,
    stalls: Stalls,
    /// That an end is unknown.
    told: Seldom,
}

impl Round {
    /// The ends of these partitions, as far as they are known.
    fn ends(&mut self, connection: &Connection, now: &Now, wanted: &[Partition]) -> Vec<End> {
        let is_input = |(topic, _): &&Partition| *topic < connection.inputs.len();
        let (inputs, beside): (Vec<Partition>, Vec<Partition>) = wanted.iter().partition(is_input);
        let mut ends = if inputs.is_empty() { Vec::new() } else { self.ends_of_inputs(connection, now, &inputs) };
        if !beside.is_empty() {
            let at = now();
            let both = beside.iter().zip(self.stable.ends(&beside)).zip(self.high.ends(&beside));
            // Of what is read beside inputs no silence is proven.
            let log = LogEnd::Unknown;
            ends.extend(both.filter_map(|((partition, stable), high)| {
                Some(End { partition: *partition, stable: stable.ok()?, high: high.ok()?, log: log.clone(), at })
            }));
        }
        ends
    }

    fn ends_of_inputs(&mut self, connection: &Connection, now: &Now, wanted: &[Partition]) -> Vec<End> {
        let at = now();
        // The leaders answer while the others are asked.
        self.leaders.ask(wanted);
        let both = [self.stable.ends(wanted), self.high.ends(wanted)];
        let logs = self.leaders.ends(wanted);
        let refused = wanted.iter().zip(&logs).filter(|(_, log)| **log == LogEnd::Refused).map(|(partition, _)| *partition);
        let single = self.high.single(&refused.collect::<Vec<_>>());
        let [stable, high] = &both;
        let known = wanted.iter().zip(logs).zip(stable.iter().zip(high)).filter_map(|((partition, log), (stable, high))| {
            let log = if single.contains(partition) { LogEnd::OneReplica } else { log };
            Some(End { partition: *partition, stable: *stable.as_ref().ok()?, high: *high.as_ref().ok()?, log, at })
        });
        let ends: Vec<End> = known.collect();
        self.stalls.note(connection, &ends, self.leaders.refusal());
        // Unanswered questions hold stream time, which is told by whoever looks after the service.
        let unknown =
            wanted.iter().cycle().zip(both.iter().flatten()).find_map(|(asked, end)| Some((asked, end.as_ref().err()?)));
        if let Some(((input, shard), error)) = unknown.filter(|_| self.told.is_due()) {
            let topic = &connection.inputs[*input];
            debug!(topic, shard, error, "the end of an input is unknown: nothing that is missing there can be decided");
        }
        ends
    }
}

/// A client that is asked, again and again, and nothing else.
struct Asker {
    client: BaseConsumer<Quiet>,
    topics: Vec<String>,
    looked: Option<Instant>,
    /// How many replicas the partitions of these inputs have, and when that was asked.
    replicas: BTreeMap<usize, (Instant, BTreeMap<u32, usize>)>,
}

impl Asker {
    fn of(client: BaseConsumer<Quiet>, topics: &[String]) -> Self {
        Asker { client, topics: topics.to_vec(), looked: None, replicas: BTreeMap::new() }
    }

    /// The ends of all wanted inputs, asked for at once. A partition without an answer holds its own shard only.
    fn ends(&mut self, wanted: &[Partition]) -> Vec<Result<i64, String>> {
        let found = self.ask(wanted);
        let end = |(input, shard): &Partition| {
            let found = found.as_ref().map_err(ToString::to_string)?;
            let found = found.find_partition(&self.topics[*input], *shard as i32).ok_or("nobody knows it")?;
            found.error().map_err(|error| error.to_string())?;
            answers::number(found.offset()).ok_or_else(|| "it is no number".to_owned())
        };
        let ends: Vec<Result<i64, String>> = wanted.iter().map(end).collect();
        let missing = wanted.iter().zip(&ends).filter(|(_, end)| end.is_err()).map(|((input, _), _)| *input);
        self.look_for_leaders(missing.collect());
        ends
    }

    /// Those of these partitions that have one replica, as far as the brokers say.
    fn single(&mut self, partitions: &[Partition]) -> BTreeSet<Partition> {
        let inputs: BTreeSet<usize> = partitions.iter().map(|(input, _)| *input).collect();
        for input in inputs {
            if self.replicas.get(&input).is_none_or(|(at, _)| at.elapsed() > REPLICAS)
                && let Ok(metadata) = self.client.fetch_metadata(Some(&self.topics[input]), CALL)
            {
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                let counts = partitions.map(|one| (one.id().unsigned_abs(), one.replicas().len())).collect();
                self.replicas.insert(input, (Instant::now(), counts));
            }
        }
        let single = |(input, shard): &&Partition| {
            self.replicas.get(input).and_then(|(_, counts)| counts.get(shard)).is_some_and(|count| *count == 1)
        };
        partitions.iter().filter(single).copied().collect()
    }

    /// A look-up by time with librdkafka's "latest" as the time.
    fn ask(&self, wanted: &[Partition]) -> KafkaResult<TopicPartitionList> {
        let mut asked = TopicPartitionList::new();
        for (input, shard) in wanted {
            asked.add_partition_offset(&self.topics[*input], *shard as i32, Offset::End)?;
        }
        self.client.offsets_for_times(asked, CALL)
    }

    /// A client that consumes nothing takes what it once heard of a partition without a leader for true until its next periodic
    /// refresh, which is minutes away: it does not even ask. So it is made to.
    fn look_for_leaders(&mut self, inputs: BTreeSet<usize>) {
        if inputs.is_empty() || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        // What the client reports waits to be taken, and would pile up.
        (0..REPORTS).for_each(|_| drop(self.client.poll(Duration::ZERO)));
        for input in inputs {
            if let Err(error) = self.client.fetch_metadata(Some(&self.topics[input]), CALL) {
                debug!(%error, "looking for the leaders of an input");
            }
        }
    }
}
