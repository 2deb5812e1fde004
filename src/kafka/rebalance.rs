//! Partitions come and go: answered inside the rebalance callback, and nowhere else (see kafka traps: a deferred answer can
//! wipe a newer assignment). Partitions that go are committed for first; partitions that come are looked up first.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{info, warn};

use super::bookmark::Bookmark;
use super::client::{self, Patience};
use super::ends::Asked;
use super::restore::Restorer;
use super::{Connection, Start};
use crate::metrics;
use crate::port::{Assignment, Seat, ShardId};
use crate::shard::{Position, Progress};
use crate::time::Timestamp;
use crate::wire::outputs;

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
    seat: Arc<Mutex<dyn Seat>>,
    owned: Mutex<BTreeSet<ShardId>>,
    /// Inputs of owned shards that deliver nothing for now, because too much of theirs waits.
    paused: Mutex<BTreeSet<Asked>>,
    failed: Mutex<Option<Failed>>,
    restorer: Restorer,
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
    pub(super) fn new(
        connection: Arc<Connection>,
        seat: Arc<Mutex<dyn Seat>>,
        restorer: Restorer,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let (owned, paused, failed) = (Mutex::default(), Mutex::default(), Mutex::default());
        Desk { connection, seat, owned, paused, failed, restorer, stop }
    }

    pub(super) fn seat(&self) -> MutexGuard<'_, dyn Seat + 'static> {
        open(&self.seat)
    }

    /// The shards that this worker owns.
    pub(super) fn owned(&self) -> Vec<ShardId> {
        open(&self.owned).iter().copied().collect()
    }

    /// The inputs that are paused.
    pub(super) fn paused(&self) -> MutexGuard<'_, BTreeSet<Asked>> {
        open(&self.paused)
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
            return consumer.assign(&TopicPartitionList::new()).map_err(|error| format!("cannot take nothing: {error}"));
        }
        open(&self.failed).take();
        let (assignments, positions) = self.places(consumer, given)?;
        consumer.assign(&positions).map_err(|error| format!("cannot take partitions: {error}"))?;
        // The client may remember what was paused before the partitions went and came back.
        consumer.resume(&positions).map_err(|error| format!("cannot resume partitions: {error}"))?;
        open(&self.paused).clear();
        open(&self.owned).extend(assignments.iter().map(|assignment| assignment.shard));
        if !assignments.is_empty() {
            info!(shards = assignments.len(), "partitions assigned");
        }
        self.seat().assigned(assignments);
        Ok(())
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

    /// Where each given shard goes on.
    fn places(
        &self,
        consumer: &GroupConsumer,
        given: &TopicPartitionList,
    ) -> Result<(Vec<Assignment>, TopicPartitionList), String> {
        let shards = shards_of(given);
        let mut asked = TopicPartitionList::new();
        for shard in &shards {
            for topic in &self.connection.inputs {
                asked.add_partition(topic, *shard);
            }
        }
        if shards.is_empty() {
            return Ok((Vec::new(), asked));
        }
        let committed = self.persistently("the committed offsets", || {
            consumer.committed_offsets(asked.clone(), CALL).and_then(client::whole)
        })?;
        // After the committed offsets: the state log has come at least as far as they (see `restore`).
        let numbers: Vec<ShardId> = shards.iter().map(|shard| shard.unsigned_abs()).collect();
        let mut states = self.restorer.restore(&numbers)?;
        let mut positions = TopicPartitionList::new();
        let mut assignments = Vec::new();
        let mut fresh = TopicPartitionList::new();
        for shard in shards {
            let restored = states.remove(&shard.unsigned_abs()).unwrap_or_default();
            match self.agreed(shard, restored.progress, &committed)? {
                Some(progress) => {
                    for (topic, position) in self.connection.inputs.iter().zip(&progress.positions) {
                        let added = positions.add_partition_offset(topic, shard, Offset::Offset(position.offset));
                        added.map_err(|error| format!("cannot start at offset {}: {error}", position.offset))?;
                    }
                    let customers = restored.customers;
                    assignments.push(Assignment { shard: shard.unsigned_abs(), progress, customers });
                }
                None => {
                    for topic in &self.connection.inputs {
                        let found = committed.find_partition(topic, shard).map_or(Offset::Invalid, |found| found.offset());
                        let added = fresh.add_partition_offset(topic, shard, found);
                        added.map_err(|error| format!("cannot start partition {shard} of {topic}: {error}"))?;
                    }
                }
            }
        }
        self.begin_fresh(consumer, &fresh, &mut assignments, &mut positions)?;
        Ok((assignments, positions))
    }

    /// Where the state log says that a shard goes on, if the committed offsets agree; `None` for a shard that nothing was
    /// ever committed of (rule 23).
    fn agreed(
        &self,
        shard: i32,
        state: Option<Progress>,
        committed: &TopicPartitionList,
    ) -> Result<Option<Progress>, String> {
        let found = |topic: &String| committed.find_partition(topic, shard);
        let marks: Vec<Option<Bookmark>> =
            self.connection.inputs.iter().map(|topic| found(topic).as_ref().and_then(Bookmark::beside)).collect();
        let none = self.connection.inputs.iter().all(|topic| found(topic).and_then(|elem| number(&elem)).is_none());
        let remedy = "see docs/kafka.md, \"When the state log does not fit\"";
        let Some(progress) = state else {
            return match marks.iter().flatten().map(|mark| mark.sequence).max() {
                Some(sequence) if sequence > 0 => Err(format!(
                    "partition {shard}: commit {sequence} is in the offsets of group {}, but the state log {}.{} holds nothing; \
                     {remedy}",
                    self.connection.group,
                    self.connection.output,
                    outputs::STATE
                )),
                Some(_) | None => Ok(None),
            };
        };
        if none {
            warn!(shard, "the group has no offsets: they are taken from the state log");
            return Ok(Some(progress));
        }
        if marks.iter().all(|mark| mark.as_ref().is_some_and(|mark| mark.sequence == progress.sequence)) {
            return Ok(Some(progress));
        }
        let said = marks.iter().flatten().map(|mark| mark.sequence).max();
        Err(format!(
            "partition {shard}: the offsets of group {} are {}, the state log {}.{} is at commit {}; {remedy}",
            self.connection.group,
            said.map_or("not Sillage's (set by hand?)".to_owned(), |sequence| format!("of commit {sequence}")),
            self.connection.output,
            outputs::STATE,
            progress.sequence
        ))
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
                let found = fresh.find_partition(topic, shard);
                let offset =
                    found.and_then(|found| number(&found)).or_else(|| number(&firsts.find_partition(topic, shard)?));
                let offset = offset.ok_or_else(|| format!("cannot learn where partition {shard} of {topic} starts"))?;
                progress.positions.push(Position { offset, log_time: Timestamp::MIN });
                let added = positions.add_partition_offset(topic, shard, Offset::Offset(offset));
                added.map_err(|error| format!("cannot start at offset {offset}: {error}"))?;
            }
            assignments.push(Assignment { shard: shard.unsigned_abs(), progress, customers: Vec::new() });
        }
        Ok(())
    }

    /// Where partitions without a committed offset start (rule 24), as numbers. Where that is not simply the beginning, it is
    /// committed at once: a worker that dies before its first commit must not find another "latest" when it comes back.
    fn first_offsets(&self, consumer: &GroupConsumer, committed: &TopicPartitionList) -> Result<TopicPartitionList, String> {
        let fresh: Vec<(String, i32)> = committed
            .elements()
            .iter()
            .filter(|elem| number(elem).is_none())
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
                    let unknown = found.find_partition(topic, *partition).is_none_or(|elem| number(&elem).is_none());
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
        self.persistently("where to start", || consumer.offsets_for_times(asked.clone(), CALL).and_then(client::whole))
    }

    /// Asks until there is an answer, for a bounded time.
    fn persistently<T>(&self, what: &str, mut ask: impl FnMut() -> KafkaResult<T>) -> Result<T, String> {
        let patience = Patience::of(PATIENCE, &self.stop);
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) if patience.is_over() => return Err(format!("cannot learn {what}: {error}")),
                Err(error) => {
                    warn!(%error, "cannot learn {what} yet");
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    fn revoke(&self, consumer: &GroupConsumer, taken: &TopicPartitionList) {
        let going: BTreeSet<ShardId> = taken.elements().iter().map(|elem| elem.partition().unsigned_abs()).collect();
        let mut owned = open(&self.owned);
        let going: Vec<ShardId> = owned.extract_if(.., |shard| going.contains(shard)).collect();
        drop(owned);
        open(&self.paused).retain(|(_, shard)| !going.contains(shard));
        if !going.is_empty() {
            info!(shards = going.len(), "partitions revoked");
            for (topic, shard) in
                self.connection.inputs.iter().flat_map(|topic| going.iter().map(move |shard| (topic, shard)))
            {
                metrics::lag(topic, *shard, 0);
            }
            if consumer.assignment_lost() {
                self.seat().lost(&going);
            } else {
                self.seat().revoking(&going);
            }
        }
        if let Err(error) = consumer.unassign() {
            self.fail(format!("cannot give partitions back: {error}"), Duration::ZERO);
        }
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

fn number(elem: &TopicPartitionListElem<'_>) -> Option<i64> {
    match elem.offset() {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }
}
