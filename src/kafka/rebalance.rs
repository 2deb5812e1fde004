//! Partitions come and go: answered inside the rebalance callback, and nowhere else (see kafka traps: a deferred answer can
//! wipe a newer assignment). Partitions that go are committed for first; partitions that come are looked up first.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{info, warn};

use self::plan::Plan;
use super::ends::Asked;
use super::restore::Restorer;
use super::{Connection, Protocol, answers, batch, client};
use crate::ledger::{self, Found, Ledger, Seating};
use crate::metrics;
use crate::port::{Assignment, Known, Seat, ShardId};

/// A worker's consumer.
pub(super) type GroupConsumer = BaseConsumer<Desk>;

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How long an assignment that cannot be used may stand before the worker gives up.
const MENDING: Duration = Duration::from_secs(60);

/// What the consumer's callbacks work on. The seat is never locked while the consumer is polled, so the callback, which
/// runs on the polling thread, can always have it.
pub(super) struct Desk {
    connection: Arc<Connection>,
    /// Taken before anything is subscribed to, and so before any callback comes.
    seat: OnceLock<Arc<Mutex<dyn Seat>>>,
    owned: Mutex<BTreeSet<ShardId>>,
    /// Whether partitions came since this was last asked for: what they fetch waits with them.
    came: AtomicBool,
    /// Inputs of owned shards that deliver nothing for now, because too much of theirs waits.
    paused: Mutex<BTreeSet<Asked>>,
    /// Shards whose state is being read, and what the committed offsets say of them.
    awaited: Mutex<BTreeMap<ShardId, Found>>,
    /// Shards whose inputs are not read from where they go on: records came that nobody could take, or only the state log says
    /// where that is.
    strayed: Mutex<BTreeSet<ShardId>>,
    /// Where inputs are read on from instead of where they were assigned.
    sought: Mutex<BTreeMap<Asked, i64>>,
    failed: Mutex<Option<Failed>>,
    restorer: Restorer,
    ledger: Arc<Ledger>,
    /// What a shard reads: its inputs, and the control topic. The latter is not subscribed to: its partition goes along with
    /// those of the inputs, whoever else is in the group.
    topics: Vec<String>,
    stop: Arc<AtomicBool>,
}

/// What a callback could not do.
struct Failed {
    reason: String,
    /// The next assignment may mend it, if it comes before this.
    hopeless_from: Instant,
}

fn open<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub(super) fn new(connection: Arc<Connection>, restorer: Restorer, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) -> Self {
        let (owned, paused, awaited) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (strayed, sought, failed) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (seat, topics, came) = (OnceLock::new(), ledger.topics(), AtomicBool::new(false));
        Desk { connection, seat, owned, came, paused, awaited, strayed, sought, failed, restorer, ledger, topics, stop }
    }

    /// The worker that is told; once.
    pub(super) fn take_seat(&self, seat: Arc<Mutex<dyn Seat>>) {
        let _ = self.seat.set(seat);
    }

    pub(super) fn seat(&self) -> MutexGuard<'_, dyn Seat + 'static> {
        open(self.seat.get().unwrap_or_else(|| unreachable!("a seat is taken before the consumer subscribes")))
    }

    /// Whether a record of this shard can be taken. One that cannot is asked for again when the shard is seated.
    pub(super) fn takes(&self, shard: ShardId) -> bool {
        let takes = open(&self.owned).contains(&shard);
        if !takes {
            open(&self.strayed).insert(shard);
        }
        takes
    }

    /// Whether partitions came since this was last asked, so that what they fetch is to be forwarded.
    pub(super) fn have_partitions_come(&self) -> bool {
        self.came.swap(false, Ordering::AcqRel)
    }

    /// What a shard reads: its inputs in their order, and after them the control topic.
    pub(super) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The shards that this worker owns.
    pub(super) fn owned(&self) -> Vec<ShardId> {
        open(&self.owned).iter().copied().collect()
    }

    /// The inputs that are paused.
    pub(super) fn paused(&self) -> MutexGuard<'_, BTreeSet<Asked>> {
        open(&self.paused)
    }

    /// Where inputs are read on from instead of where they were assigned.
    pub(super) fn sought(&self) -> BTreeMap<Asked, i64> {
        open(&self.sought).clone()
    }

    /// Gives up everything, with a commit, because the worker ends.
    pub(super) fn release(&self) -> Result<(), String> {
        let shards: Vec<ShardId> = std::mem::take(&mut *open(&self.owned)).into_iter().collect();
        self.seat().revoking(&shards);
        // Says how that commit ended.
        self.seat().turn()
    }

    /// Why a callback could not do its work, once there is no more hope that it will.
    pub(super) fn failure(&self) -> Option<String> {
        open(&self.failed)
            .as_ref()
            .filter(|failed| failed.hopeless_from <= Instant::now())
            .map(|failed| failed.reason.clone())
    }

    fn assign(&self, consumer: &GroupConsumer, given: &TopicPartitionList) -> Result<(), String> {
        if let Some(reason) = self.lopsided(given) {
            // Taken as nothing: a topic created a moment ago may not be known to every member yet.
            warn!(reason, "partitions are not taken; waiting for the next assignment");
            self.fail(reason, MENDING);
            return self.take(consumer, &TopicPartitionList::new());
        }
        match self.connection.protocol {
            // This is all that there is to take.
            Protocol::Classic => drop(open(&self.failed).take()),
            // What comes beside what was not taken mends nothing.
            Protocol::Consumer => {}
        }
        let plan = self.plan(consumer, given)?;
        self.take(consumer, &plan.positions)?;
        // The client may remember what was paused before the partitions went and came back.
        consumer.resume(&plan.positions).map_err(|error| format!("cannot resume partitions: {error}"))?;
        open(&self.paused).retain(|(_, shard)| !plan.shards().contains(shard));
        self.pause(consumer, plan.found.keys().chain(plan.parked.iter().map(|(shard, _)| shard)))?;
        open(&self.owned).extend(plan.ready.iter().map(|assignment| assignment.shard));
        info!(shards = shards_of(given).len(), ready = plan.ready.len(), "partitions assigned");
        let awaited: Vec<ShardId> = plan.found.keys().copied().collect();
        let mut seat = self.seat();
        seat.assigned(plan.ready);
        seat.awaiting(&awaited);
        plan.parked.into_iter().for_each(|(shard, reason)| seat.park(shard, reason));
        drop(seat);
        open(&self.awaited).extend(plan.found);
        self.restorer.order(awaited);
        Ok(())
    }

    /// Answers the group: instead of all that was there, or beside it, as its protocol wants.
    fn take(&self, consumer: &GroupConsumer, positions: &TopicPartitionList) -> Result<(), String> {
        batch::hold(consumer, positions)?;
        self.came.store(true, Ordering::Release);
        let taken = match self.connection.protocol {
            Protocol::Classic => consumer.assign(positions),
            Protocol::Consumer => consumer.incremental_assign(positions),
        };
        taken.map_err(|error| format!("cannot take partitions: {error}"))
    }

    /// Seats the shards whose state has been read meanwhile. To be called between polls.
    pub(super) fn seat_restored(&self, consumer: &GroupConsumer) -> Result<(), String> {
        for (shard, restored) in self.restorer.results() {
            let Some(found) = open(&self.awaited).remove(&shard) else { continue };
            let seated = restored.and_then(|restored| {
                let seating = ledger::seating(&self.ledger, shard, restored.progress, &found)?;
                if let Seating::Recovered(_) = seating {
                    warn!(shard, "the group has no offsets: they are taken from the state log");
                }
                match seating {
                    Seating::At(progress) | Seating::Recovered(progress) => {
                        let (needed_from, progress) = (restored.needed_from, self.ledger.complete(progress));
                        Ok(Assignment { shard, progress, customers: Known::Restored(restored.customers), needed_from })
                    }
                    // Its log holds only what was undone.
                    Seating::Fresh => self.fresh(consumer, shard, &found),
                }
            });
            let seated = match seated {
                Ok(assignment) => self.bring_back(consumer, &assignment)?.map_or(Ok(assignment), Err),
                Err(reason) => Err(reason),
            };
            match seated {
                Ok(assignment) => {
                    self.seat().assigned(vec![assignment]);
                    open(&self.owned).insert(shard);
                    consumer.resume(&self.partitions_of([&shard])).map_err(|error| format!("cannot resume: {error}"))?;
                }
                Err(reason) => self.seat().park(shard, reason),
            }
        }
        Ok(())
    }

    /// Goes to where a shard goes on, where its inputs are not read from there. Returns why it cannot be used, where that is gone.
    fn bring_back(&self, consumer: &GroupConsumer, assignment: &Assignment) -> Result<Option<String>, String> {
        let shard = assignment.shard;
        if !open(&self.strayed).remove(&shard) {
            return Ok(None);
        }
        info!(shard, "its inputs are read on from where its state stands");
        let mut plan = Plan::default();
        plan.at(&self.topics, shard, &assignment.progress.positions)?;
        if let Some((_, reason)) = self.within_what_is_kept(consumer, &mut plan.positions)?.pop() {
            return Ok(Some(reason));
        }
        for elem in plan.positions.elements() {
            let input = self.topics.iter().position(|input| input == elem.topic());
            if let (Some(input), Some(offset)) = (input, answers::number(elem.offset())) {
                self.seek(consumer, (input, shard), offset)?;
            }
        }
        Ok(None)
    }

    /// Has an input read on from an offset.
    pub(super) fn seek(&self, consumer: &GroupConsumer, asked: Asked, offset: i64) -> Result<(), String> {
        let (input, shard) = asked;
        let topic = &self.topics[input];
        let sought = consumer.seek(topic, shard as i32, Offset::Offset(offset), CALL);
        sought.map_err(|error| format!("cannot go back to {offset} of partition {shard} of {topic}: {error}"))?;
        open(&self.sought).insert(asked, offset);
        Ok(())
    }

    /// Pauses the inputs of shards that the worker had to park. To be called between polls.
    pub(super) fn set_parked_aside(&self, consumer: &GroupConsumer) -> Result<(), String> {
        let parked = self.seat().take_parked();
        if parked.is_empty() {
            return Ok(());
        }
        open(&self.owned).retain(|shard| !parked.contains(shard));
        self.pause(consumer, &parked)
    }

    fn pause<'a>(&self, consumer: &GroupConsumer, shards: impl IntoIterator<Item = &'a ShardId>) -> Result<(), String> {
        let partitions = self.partitions_of(shards);
        if partitions.count() == 0 {
            return Ok(());
        }
        consumer.pause(&partitions).map_err(|error| format!("cannot pause partitions: {error}"))
    }

    fn partitions_of<'a>(&self, shards: impl IntoIterator<Item = &'a ShardId>) -> TopicPartitionList {
        let mut partitions = TopicPartitionList::new();
        for shard in shards {
            for topic in &self.topics {
                partitions.add_partition(topic, *shard as i32);
            }
        }
        partitions
    }

    /// All inputs have equally many partitions and `range` deals them alike, so a shard comes with a partition of every input,
    /// or something is wrong.
    fn lopsided(&self, given: &TopicPartitionList) -> Option<String> {
        let shards = shards_of(given);
        let missing = |shard: &i32| {
            let topic = self.connection.inputs.iter().find(|topic| given.find_partition(topic, *shard).is_none())?;
            Some(format!(
                "partition {shard} of {topic} was not given together with that of the other inputs; \
                 all members must use the range assignor and the same inputs"
            ))
        };
        shards.iter().find_map(missing)
    }

    fn revoke(&self, consumer: &GroupConsumer, taken: &TopicPartitionList) {
        let going: BTreeSet<ShardId> = taken.elements().iter().map(|elem| elem.partition().unsigned_abs()).collect();
        self.restorer.cancel();
        let awaited: Vec<ShardId> = {
            let mut awaited = open(&self.awaited);
            awaited.retain(|shard, _| !going.contains(shard));
            awaited.keys().copied().collect()
        };
        // What stays is read from the beginning once more; it is rare that anything does.
        self.restorer.order(awaited);
        open(&self.owned).retain(|shard| !going.contains(shard));
        open(&self.strayed).retain(|shard| !going.contains(shard));
        open(&self.sought).retain(|(_, shard), _| !going.contains(shard));
        open(&self.paused).retain(|(_, shard)| !going.contains(shard));
        if !going.is_empty() {
            let going: Vec<ShardId> = going.into_iter().collect();
            info!(shards = going.len(), "partitions revoked");
            for (topic, shard) in self.topics.iter().flat_map(|topic| going.iter().map(move |shard| (topic, shard))) {
                metrics::lag(topic, *shard, 0);
            }
            if consumer.assignment_lost() {
                self.seat().lost(&going);
            } else {
                self.seat().revoking(&going);
            }
        }
        let given_back = match self.connection.protocol {
            Protocol::Classic => consumer.unassign(),
            Protocol::Consumer => self.with_controls(consumer, taken).and_then(|all| consumer.incremental_unassign(&all)),
        };
        if let Err(error) = given_back {
            self.fail(format!("cannot give partitions back: {error}"), Duration::ZERO);
        }
    }

    /// What is given back, and the control topic's partitions that were taken along with it.
    fn with_controls(&self, consumer: &GroupConsumer, taken: &TopicPartitionList) -> KafkaResult<TopicPartitionList> {
        let (control, assigned) = (self.ledger.control(), consumer.assignment()?);
        let mut all = taken.clone();
        for shard in shards_of(taken) {
            if assigned.find_partition(&control, shard).is_some() && all.find_partition(&control, shard).is_none() {
                all.add_partition(&control, shard);
            }
        }
        Ok(all)
    }

    fn fail(&self, reason: String, hope: Duration) {
        let hopeless_from = Instant::now() + hope;
        open(&self.failed).get_or_insert(Failed { reason, hopeless_from });
    }
}

impl ClientContext for Desk {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        warn!(%error, reason, "the consumer reports an error");
    }

    fn stats(&self, statistics: Statistics) {
        let owned = open(&self.owned);
        for (topic, partitions) in &statistics.topics {
            for (number, partition) in &partitions.partitions {
                let shard = number.unsigned_abs();
                if *number >= 0 && owned.contains(&shard) && partition.hi_offset >= 0 {
                    // Until a first record was handed over, the position is where fetching goes on.
                    let position =
                        if partition.app_offset >= 0 { partition.app_offset } else { partition.next_offset.max(0) };
                    metrics::lag(topic, shard, (partition.hi_offset - position).max(0));
                }
            }
        }
    }
}

impl ConsumerContext for Desk {
    fn rebalance(&self, consumer: &GroupConsumer, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(reason) = self.assign(consumer, partitions) {
                self.fail(reason, Duration::ZERO);
            }
        } else {
            self.revoke(consumer, partitions);
        }
    }
}

fn shards_of(given: &TopicPartitionList) -> BTreeSet<i32> {
    given.elements().iter().map(TopicPartitionListElem::partition).collect()
}
