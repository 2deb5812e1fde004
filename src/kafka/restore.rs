//! Where the state log of a shard is read: on a thread of its own, beside the shards that run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, info};

use super::answers::{self, Patience};
use super::client::{self, Plain};
use super::{Connection, Entrance};
use crate::ledger::{Ledger, Look, Restored, Restoring, StateReader, Step};
use crate::port::ShardId;
use crate::wire::outputs;

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How long it is asked about all shards at once; after that, those that nobody leads are left out.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long nothing may come before the restore is given up: an open transaction ends before, be it that of an import that was
/// killed (`client::OFFLINE_TRANSACTION`). The others go on meanwhile.
const OPEN: Duration = client::OFFLINE_TRANSACTION.saturating_add(Duration::from_secs(60));
/// How often progress is told.
const TELL: Duration = Duration::from_secs(10);

/// A shard's state, or why it cannot be had.
pub(super) type Outcome = (ShardId, Result<Restored, String>);

/// Reads state logs.
pub(super) struct Restorer {
    works: Arc<Works>,
    orders: Option<Sender<Order>>,
    results: Receiver<(u64, Outcome)>,
    thread: Option<JoinHandle<()>>,
}

/// What a reader of state logs works with.
pub(super) struct Works {
    connection: Arc<Connection>,
    ledger: Arc<Ledger>,
    entrance: Arc<Entrance>,
    stop: Arc<AtomicBool>,
    /// Orders of an earlier assignment are of no use any more.
    assignment: AtomicU64,
}

struct Order {
    assignment: u64,
    shards: Vec<ShardId>,
}

impl Restorer {
    pub(super) fn start(
        connection: Arc<Connection>,
        ledger: Arc<Ledger>,
        entrance: Arc<Entrance>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let works = Works { connection, ledger, entrance, stop: Arc::clone(stop), assignment: AtomicU64::new(0) };
        let works = Arc::new(works);
        let (orders, incoming) = channel();
        let (answer, results) = channel();
        let shared = Arc::clone(&works);
        let thread = std::thread::Builder::new()
            .name("sillage-restore".to_owned())
            .spawn(move || work_on(&shared, &incoming, &answer))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Restorer { works, orders: Some(orders), results, thread: Some(thread) })
    }

    /// What it works with, to ask something meanwhile.
    pub(super) fn works(&self) -> Arc<Works> {
        Arc::clone(&self.works)
    }

    /// Has the state of these shards read, one after the other. To be asked when their committed offsets are known.
    pub(super) fn order(&self, shards: Vec<ShardId>) {
        let assignment = self.works.assignment.load(Ordering::Acquire);
        if let Some(orders) = self.orders.as_ref().filter(|_| !shards.is_empty()) {
            // The thread ends only with this.
            let _ = orders.send(Order { assignment, shards });
        }
    }

    /// What was ordered is wanted no more.
    pub(super) fn cancel(&self) {
        self.works.assignment.fetch_add(1, Ordering::AcqRel);
    }

    /// What has been read since this was last asked.
    pub(super) fn results(&self) -> Vec<Outcome> {
        let assignment = self.works.assignment.load(Ordering::Acquire);
        self.results.try_iter().filter(|(of, _)| *of == assignment).map(|(_, outcome)| outcome).collect()
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        self.cancel();
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It holds nothing that could be lost.
            let _ = thread.join();
        }
    }
}

fn work_on(works: &Works, orders: &Receiver<Order>, answers: &Sender<(u64, Outcome)>) {
    while let Ok(Order { assignment, shards }) = orders.recv() {
        works.restore(assignment, &shards, |outcome| {
            // Nobody listens any more at the end only.
            let _ = answers.send((assignment, outcome));
        });
    }
}

impl Works {
    /// Where the logs of these shards end now, uncommitted records included; of one that nobody leads now, nothing. To be asked
    /// when their committed offsets are known.
    pub(super) fn ends_now(&self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, i64>, String> {
        self.ends(&self.asking()?, shards, Duration::ZERO)
    }

    fn is_wanted(&self, assignment: u64) -> bool {
        self.assignment.load(Ordering::Acquire) == assignment
    }

    /// One after the other, so that no more than one shard's pages are in memory beside what is restored.
    fn restore(&self, assignment: u64, shards: &[ShardId], mut tell: impl FnMut(Outcome)) {
        let begun = Instant::now();
        let prepared = || -> Result<_, String> {
            let ends = self.ends(&self.asking()?, shards, PATIENCE)?;
            let client = client::state_reader(&self.connection)?;
            let stable = self.ends(&client, shards, Duration::ZERO)?;
            Ok((ends, stable, client))
        };
        let (ends, stable, client) = match prepared() {
            Ok(prepared) => prepared,
            Err(reason) => return shards.iter().for_each(|shard| tell((*shard, Err(reason.clone())))),
        };
        let mut reader = Reader { client, topic: self.ledger.topic(outputs::STATE), shard: 0 };
        // Those where a transaction stands open come last, since it may do so for long.
        let (free, held): (Vec<ShardId>, Vec<ShardId>) =
            shards.iter().partition(|shard| ends.get(shard) == stable.get(shard));
        for shard in free.into_iter().chain(held) {
            reader.shard = shard;
            let read = match ends.get(&shard) {
                Some(end) => self.read(assignment, &mut reader, *end),
                None => Err(format!("cannot learn where partition {shard} of {} ends", reader.topic)),
            };
            if !self.is_wanted(assignment) {
                return;
            }
            tell((shard, read));
        }
        info!(shards = shards.len(), seconds = begun.elapsed().as_secs_f64(), "state restored");
    }

    /// A client for which a log ends after what is uncommitted.
    fn asking(&self) -> Result<BaseConsumer<Plain>, String> {
        let made = client::asking(&self.connection, "read_uncommitted").create_with_context(Plain::default());
        made.map_err(|error| format!("cannot make a client: {error}"))
    }

    /// Where each shard's log ends now, for this client; 0 where there is nothing. Those that nobody leads are waited for for so
    /// long, and have no end then.
    fn ends(
        &self,
        client: &BaseConsumer<Plain>,
        shards: &[ShardId],
        patience: Duration,
    ) -> Result<BTreeMap<ShardId, i64>, String> {
        if shards.is_empty() {
            // The client takes a question about nothing for a fault.
            return Ok(BTreeMap::new());
        }
        let topic = self.ledger.topic(outputs::STATE);
        let mut asked = TopicPartitionList::new();
        for shard in shards {
            let added = asked.add_partition_offset(&topic, *shard as i32, Offset::End);
            added.map_err(|error| format!("cannot ask for the end of the state log: {error}"))?;
        }
        let what = "where the state log ends";
        let whole = || client.offsets_for_times(asked.clone(), CALL).and_then(answers::whole);
        let ends = Patience::of(patience, &self.stop)
            .ask(what, whole)
            .or_else(|_| Patience::endless(&self.stop).ask(what, || answers::led(client, &asked, CALL)))?;
        let end = |shard: &ShardId| Some((*shard, answers::number_of(&ends, &topic, *shard as i32)?));
        Ok(shards.iter().filter_map(end).collect())
    }

    /// Reads one shard's log to its end.
    fn read(&self, assignment: u64, reader: &mut Reader, end: i64) -> Result<Restored, String> {
        let shard = reader.shard;
        let (mut restoring, from) = match self.entrance.followed.take(shard) {
            Some((reading, next)) => (Restoring::go_on(reading, end), Offset::Offset(next)),
            None => (Restoring::begin(shard, end), Offset::Beginning),
        };
        reader.stand_at(from)?;
        let place = format!("partition {shard} of {}", reader.topic);
        let (begun, mut told, mut known) = (Instant::now(), Instant::now(), 0);
        let restored = read_through(&mut restoring, &self.ledger, reader, &place, OPEN, &self.stop, |restoring| {
            if told.elapsed() > TELL && restoring.customers() > known {
                (told, known) = (Instant::now(), restoring.customers());
                info!(shard, customers = known, end, "restoring");
            }
            self.is_wanted(assignment).then_some(()).ok_or("nobody wants it any more")
        })?;
        let (customers, seconds) = (restored.customers.len(), begun.elapsed().as_secs_f64());
        debug!(shard, customers, seconds, "shard restored");
        Ok(restored)
    }
}

/// Reads one shard's log to its end, as long as `go_on` finds no reason against it, and nothing new is waited for longer than
/// `longest`.
pub(super) fn read_through(
    restoring: &mut Restoring,
    ledger: &Ledger,
    reader: &mut impl StateReader,
    place: &str,
    longest: Duration,
    stop: &Arc<AtomicBool>,
    mut go_on: impl FnMut(&Restoring) -> Result<(), &'static str>,
) -> Result<Restored, String> {
    let mut patience = Patience::of(longest, stop);
    loop {
        match restoring.step(ledger, reader)? {
            Step::Done(restored) => return Ok(restored),
            Step::Further => patience = Patience::of(longest, stop),
            Step::Idle if reader.was_disturbed() => patience = Patience::of(longest, stop),
            Step::Idle if patience.is_over() => {
                return Err(format!("{place} cannot be read to its end: does a transaction stand open there?"));
            }
            Step::Idle => {}
        }
        go_on(restoring)?;
    }
}

/// Reads one partition of the state log.
pub(super) struct Reader {
    pub(super) client: BaseConsumer<Plain>,
    pub(super) topic: String,
    pub(super) shard: ShardId,
}

impl Reader {
    fn stand_at(&mut self, offset: Offset) -> Result<(), String> {
        let mut assigned = TopicPartitionList::new();
        let added = assigned.add_partition_offset(&self.topic, self.shard as i32, offset);
        added.and_then(|()| self.client.assign(&assigned)).map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &KafkaError) -> String {
        format!("cannot read partition {} of {}: {error}", self.shard, self.topic)
    }
}

impl StateReader for Reader {
    fn was_disturbed(&mut self) -> bool {
        self.client.context().was_disturbed()
    }

    fn rewind(&mut self) -> Result<(), String> {
        self.stand_at(Offset::Beginning)
    }

    fn look<R>(&mut self, take: impl FnOnce(Look<'_>) -> R) -> Result<R, String> {
        match self.client.poll(Duration::from_millis(50)) {
            Some(Ok(record)) => return Ok(take(Look::Page(record.offset(), record.payload().unwrap_or_default()))),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => client::report(&error, "reading the state log"),
        }
        // librdkafka's own position, since it counts the records that end transactions.
        let position = self.client.position().map_err(|error| self.fault(&error))?;
        Ok(take(Look::Nothing(answers::number_of(&position, &self.topic, self.shard as i32))))
    }
}
