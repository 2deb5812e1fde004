//! Partitions come and go: answered inside the rebalance callback, and nowhere else (see kafka traps: a deferred answer can
//! wipe a newer assignment). Partitions that go are committed for first; partitions that come are looked up first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{info, warn};

use super::answers::{self, Patience};
use super::client;
use super::ends::Asked;
use super::restore::Restorer;
use super::{Connection, Protocol, Start};
use crate::ledger::{self, Found, Ledger, Seating};
use crate::metrics;
use crate::port::{Assignment, Known, Seat, ShardId};
use crate::shard::{Position, Progress};
use crate::time::Timestamp;

/// A worker's consumer.
pub(super) type GroupConsumer = BaseConsumer<Desk>;

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How long to go on asking where to start: a predecessor's open transaction blocks the answer until it times out.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long an assignment that cannot be used may stand before the worker gives up.
const MENDING: Duration = Duration::from_secs(60);

/// What the consumer's callbacks work on. The seat is never locked while the consumer is polled, so the callback, which
/// runs on the polling thread, can always have it.
pub(super) struct Desk {
    connection: Arc<Connection>,
    /// Taken before anything is subscribed to, and so before any callback comes.
    seat: OnceLock<Arc<Mutex<dyn Seat>>>,
    owned: Mutex<BTreeSet<ShardId>>,
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

/// What an assignment comes to.
#[derive(Default)]
struct Plan {
    /// Where each partition goes on.
    positions: TopicPartitionList,
    /// Shards that run at once.
    ready: Vec<Assignment>,
    /// Shards whose state must be read first, and what the committed offsets say of them.
    found: BTreeMap<ShardId, Found>,
    /// Shards that cannot be used, and why.
    parked: Vec<(ShardId, String)>,
}

impl Plan {
    fn shards(&self) -> BTreeSet<ShardId> {
        shards_of(&self.positions).iter().map(|shard| shard.unsigned_abs()).collect()
    }

    fn at(&mut self, topics: &[String], shard: ShardId, positions: &[Position]) -> Result<(), String> {
        for (topic, position) in topics.iter().zip(positions) {
            let added = self.positions.add_partition_offset(topic, shard as i32, Offset::Offset(position.offset));
            added.map_err(|error| format!("cannot start at offset {}: {error}", position.offset))?;
        }
        Ok(())
    }

    /// A shard that cannot be used, whatever was thought of it so far.
    fn park(&mut self, shard: ShardId, reason: String) {
        self.ready.retain(|assignment| assignment.shard != shard);
        self.found.remove(&shard);
        if self.parked.iter().all(|(parked, _)| *parked != shard) {
            self.parked.push((shard, reason));
        }
    }
}

fn open<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub(super) fn new(connection: Arc<Connection>, restorer: Restorer, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) -> Self {
        let (owned, paused, awaited) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (strayed, sought, failed) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (seat, topics) = (OnceLock::new(), ledger.topics());
        Desk { connection, seat, owned, paused, awaited, strayed, sought, failed, restorer, ledger, topics, stop }
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
        let fault = |error| format!("cannot take partitions: {error}");
        if let Some(reason) = self.lopsided(given) {
            // Taken as nothing: a topic created a moment ago may not be known to every member yet.
            warn!(reason, "partitions are not taken; waiting for the next assignment");
            self.fail(reason, MENDING);
            return self.take(consumer, &TopicPartitionList::new()).map_err(fault);
        }
        match self.connection.protocol {
            // This is all that there is to take.
            Protocol::Classic => drop(open(&self.failed).take()),
            // What comes beside what was not taken mends nothing.
            Protocol::Consumer => {}
        }
        let plan = self.plan(consumer, given)?;
        self.take(consumer, &plan.positions).map_err(fault)?;
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
    fn take(&self, consumer: &GroupConsumer, positions: &TopicPartitionList) -> KafkaResult<()> {
        match self.connection.protocol {
            Protocol::Classic => consumer.assign(positions),
            Protocol::Consumer => consumer.incremental_assign(positions),
        }
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

    /// A shard that nothing was ever committed of, once that is known.
    fn fresh(&self, consumer: &GroupConsumer, shard: ShardId, found: &Found) -> Result<Assignment, String> {
        let (mut fresh, mut begun) = (TopicPartitionList::new(), Vec::new());
        self.as_found(&mut fresh, shard, found)?;
        self.begin_fresh(consumer, &fresh, &mut begun, &mut TopicPartitionList::new())?;
        begun.pop().ok_or_else(|| format!("partition {shard} begins nowhere"))
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
            let (topic, offset) = (elem.topic(), elem.offset());
            let sought = consumer.seek(topic, shard as i32, offset, CALL);
            sought.map_err(|error| format!("cannot go back to {offset:?} of {topic}: {error}"))?;
            let input = self.topics.iter().position(|input| input == topic);
            if let (Some(input), Some(offset)) = (input, answers::number(offset)) {
                open(&self.sought).insert((input, shard), offset);
            }
        }
        Ok(None)
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

    /// Where each given shard goes on, and what has to be done before.
    fn plan(&self, consumer: &GroupConsumer, given: &TopicPartitionList) -> Result<Plan, String> {
        let shards = shards_of(given);
        let mut plan = Plan::default();
        if shards.is_empty() {
            return Ok(plan);
        }
        let numbers: Vec<ShardId> = shards.iter().map(|shard| shard.unsigned_abs()).collect();
        let asked = self.partitions_of(&numbers);
        let committed = self.persistently("the committed offsets", || {
            consumer.committed_offsets(asked.clone(), CALL).and_then(answers::whole)
        })?;
        let mut unknown = Vec::new();
        for shard in numbers {
            let found = answers::found(&self.ledger, &committed, shard);
            match found.progress() {
                Some(progress) if self.seat().kept(shard).as_ref() == Some(&progress) => {
                    plan.at(&self.topics, shard, &progress.positions)?;
                    plan.ready.push(Assignment { shard, progress, customers: Known::Kept, needed_from: 0 });
                }
                Some(progress) => {
                    plan.at(&self.topics, shard, &progress.positions)?;
                    plan.found.insert(shard, found);
                }
                None => unknown.push(shard),
            }
        }
        let nowhere = self.plan_unknown(consumer, &unknown, &committed, &mut plan)?;
        for (shard, reason) in self.within_what_is_kept(consumer, &mut plan.positions)? {
            if !nowhere.contains(&shard) {
                plan.park(shard, reason);
            }
        }
        // They begin where their state log says.
        open(&self.strayed).extend(nowhere);
        Ok(plan)
    }

    /// Sees to it that every position lies in what its topic still holds. What is gone of the control topic cannot be heard any
    /// more; of an input it would be left out, so that shard is not to be served (rule 23): returns those, and why.
    fn within_what_is_kept(
        &self,
        consumer: &GroupConsumer,
        positions: &mut TopicPartitionList,
    ) -> Result<Vec<(ShardId, String)>, String> {
        let shards = shards_of(positions);
        let partitions: Vec<(String, i32)> =
            shards.iter().flat_map(|shard| self.topics.iter().map(|topic| (topic.clone(), *shard))).collect();
        let firsts = self.look_up(consumer, &partitions, Offset::Beginning)?;
        let ends = self.look_up(consumer, &partitions, Offset::End)?;
        let control = self.ledger.control();
        let mut gone = Vec::new();
        for (topic, shard) in &partitions {
            let first = answers::number_of(&firsts, topic, *shard);
            let end = answers::number_of(&ends, topic, *shard);
            let Some(mut position) = positions.find_partition(topic, *shard) else { continue };
            let (Some(first), Some(at)) = (first, answers::number(position.offset())) else { continue };
            let why = match end {
                _ if at < first => format!("begins at offset {first}: retention has deleted what lies between"),
                Some(end) if at > end => format!("ends at offset {end}: it was made anew, or has lost its end"),
                Some(_) | None => continue,
            };
            let set = position.set_offset(Offset::Offset(first));
            set.map_err(|error| format!("cannot start at offset {first}: {error}"))?;
            if *topic != control {
                let remedy = "see docs/kafka.md, \"When the state log does not fit\"";
                gone.push((
                    shard.unsigned_abs(),
                    format!("partition {shard} of {topic} goes on at offset {at}, but {why}; {remedy}"),
                ));
            } else if at > 0 {
                warn!(shard, "erasures that were asked for are not in the control topic any more; ask for them again");
            }
        }
        Ok(gone)
    }

    /// Shards whose committed offsets do not say where they go on: never seen before, or their first positions are in the state
    /// log, which is read beside the shards that run. Returns the latter.
    fn plan_unknown(
        &self,
        consumer: &GroupConsumer,
        shards: &[ShardId],
        committed: &TopicPartitionList,
        plan: &mut Plan,
    ) -> Result<BTreeSet<ShardId>, String> {
        let (mut fresh, mut awaited) = (TopicPartitionList::new(), BTreeSet::new());
        let empty = self.restorer.empty(shards)?;
        for shard in shards {
            let found = answers::found(&self.ledger, committed, *shard);
            let judged = match empty.contains(shard) {
                true => ledger::seating(&self.ledger, *shard, None, &found).map(Some),
                false => Ok(None),
            };
            match judged {
                Ok(Some(Seating::Fresh | Seating::At(_) | Seating::Recovered(_))) => {
                    self.as_found(&mut fresh, *shard, &found)?;
                    continue;
                }
                Ok(None) => {
                    plan.found.insert(*shard, found);
                    awaited.insert(*shard);
                }
                Err(reason) => plan.parked.push((*shard, reason)),
            }
            // Somewhere, since it is paused there.
            let nowhere = Position { offset: 0, log_time: Timestamp::MIN };
            plan.at(&self.topics, *shard, &vec![nowhere; self.topics.len()])?;
        }
        self.begin_fresh(consumer, &fresh, &mut plan.ready, &mut plan.positions)?;
        Ok(awaited)
    }

    /// Adds what the group's offsets say of a shard that nothing was ever committed of.
    fn as_found(&self, fresh: &mut TopicPartitionList, shard: ShardId, found: &Found) -> Result<(), String> {
        for (topic, (offset, _)) in self.connection.inputs.iter().zip(&found.offsets) {
            let offset = offset.map_or(Offset::Invalid, Offset::Offset);
            let added = fresh.add_partition_offset(topic, shard as i32, offset);
            added.map_err(|error| format!("cannot start partition {shard} of {topic}: {error}"))?;
        }
        Ok(())
    }

    /// Shards that nothing was ever committed of (`fresh`, with what the group's offsets say): at offsets that somebody set, or
    /// where `start` says.
    fn begin_fresh(
        &self,
        consumer: &GroupConsumer,
        fresh: &TopicPartitionList,
        assignments: &mut Vec<Assignment>,
        positions: &mut TopicPartitionList,
    ) -> Result<(), String> {
        let firsts = self.first_offsets(consumer, fresh)?;
        for shard in shards_of(fresh) {
            let mut progress = Progress::default();
            for topic in &self.connection.inputs {
                let offset = answers::number_of(fresh, topic, shard);
                let offset = offset.or_else(|| answers::number_of(&firsts, topic, shard));
                let offset = offset.ok_or_else(|| format!("cannot learn where partition {shard} of {topic} starts"))?;
                progress.positions.push(Position { offset, log_time: Timestamp::MIN });
                let added = positions.add_partition_offset(topic, shard, Offset::Offset(offset));
                added.map_err(|error| format!("cannot start at offset {offset}: {error}"))?;
            }
            let progress = self.ledger.complete(progress);
            let added = positions.add_partition_offset(&self.ledger.control(), shard, Offset::Offset(0));
            added.map_err(|error| format!("cannot start at the beginning of the control topic: {error}"))?;
            let customers = Known::Restored(Vec::new());
            assignments.push(Assignment { shard: shard.unsigned_abs(), progress, customers, needed_from: 0 });
        }
        Ok(())
    }

    /// Where partitions without a committed offset start (rule 24), as numbers. Where that is not simply the beginning, it is
    /// committed at once: a worker that dies before its first commit must not find another "latest" when it comes back.
    fn first_offsets(&self, consumer: &GroupConsumer, committed: &TopicPartitionList) -> Result<TopicPartitionList, String> {
        let fresh: Vec<(String, i32)> = committed
            .elements()
            .iter()
            .filter(|elem| answers::number(elem.offset()).is_none())
            .map(|elem| (elem.topic().to_owned(), elem.partition()))
            .collect();
        if fresh.is_empty() {
            return Ok(TopicPartitionList::new());
        }
        let found = match self.connection.start {
            Start::Earliest => return self.look_up(consumer, &fresh, Offset::Beginning),
            Start::Latest => self.look_up(consumer, &fresh, Offset::End)?,
            Start::At(instant) => {
                let mut found = self.look_up(consumer, &fresh, Offset::Offset(instant.as_millis()))?;
                // Nothing is stamped so late yet: everything that comes is new.
                let ends = self.look_up(consumer, &fresh, Offset::End)?;
                for (topic, partition) in &fresh {
                    let unknown = answers::number_of(&found, topic, *partition).is_none();
                    if let Some(end) = ends.find_partition(topic, *partition).filter(|_| unknown) {
                        let set = found.set_partition_offset(topic, *partition, end.offset());
                        set.map_err(|error| format!("cannot start at the end of {topic}: {error}"))?;
                    }
                }
                found
            }
        };
        self.persistently("whether the start is committed", || consumer.commit(&found, CommitMode::Sync))?;
        Ok(found)
    }

    /// Looks the offsets of an instant up, for all partitions in one question; the client's "beginning" and "end" are instants
    /// as well.
    fn look_up(&self, consumer: &GroupConsumer, fresh: &[(String, i32)], at: Offset) -> Result<TopicPartitionList, String> {
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in fresh {
            let added = asked.add_partition_offset(topic, *partition, at);
            added.map_err(|error| format!("cannot start at {at:?}: {error}"))?;
        }
        self.persistently("where to start", || consumer.offsets_for_times(asked.clone(), CALL).and_then(answers::whole))
    }

    /// Asks until there is an answer, for a bounded time.
    fn persistently<T>(&self, what: &str, ask: impl FnMut() -> KafkaResult<T>) -> Result<T, String> {
        Patience::of(PATIENCE, &self.stop).ask(what, ask)
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
