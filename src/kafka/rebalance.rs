//! Partitions come and go: answered inside the rebalance callback, and nowhere else (see kafka traps: a deferred answer can
//! wipe a newer assignment). Partitions that go are committed for first; partitions that come are looked up first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{info, warn};

use super::bookmark::Bookmark;
use super::client;
use super::{Connection, Start};
use crate::metrics;
use crate::port::{Assignment, Seat, ShardId};
use crate::shard::{Position, Progress};
use crate::time::Timestamp;

/// A worker's consumer.
pub(super) type GroupConsumer = BaseConsumer<Desk>;

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How long to go on asking where to start: a predecessor's open transaction blocks the answer until it times out.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the consumer's callbacks work on. The seat is never locked while the consumer is polled, so the callback, which
/// runs on the polling thread, can always have it.
pub(super) struct Desk {
    connection: Arc<Connection>,
    seat: Arc<Mutex<dyn Seat>>,
    owned: Mutex<BTreeSet<ShardId>>,
    failed: Mutex<Option<String>>,
}

fn open<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub(super) fn new(connection: Arc<Connection>, seat: Arc<Mutex<dyn Seat>>) -> Self {
        Desk { connection, seat, owned: Mutex::default(), failed: Mutex::default() }
    }

    pub(super) fn seat(&self) -> MutexGuard<'_, dyn Seat + 'static> {
        open(&self.seat)
    }

    /// The shards that this worker owns.
    pub(super) fn owned(&self) -> Vec<ShardId> {
        open(&self.owned).iter().copied().collect()
    }

    /// Gives up everything, with a commit, because the worker ends.
    pub(super) fn release(&self) {
        let shards: Vec<ShardId> = std::mem::take(&mut *open(&self.owned)).into_iter().collect();
        self.seat().revoking(&shards);
    }

    /// Why a callback could not do its work.
    pub(super) fn failure(&self) -> Option<String> {
        open(&self.failed).clone()
    }

    fn assign(&self, consumer: &GroupConsumer, given: &TopicPartitionList) -> Result<(), String> {
        let (assignments, positions) = self.places(consumer, given)?;
        consumer.assign(&positions).map_err(|error| format!("cannot take partitions: {error}"))?;
        open(&self.owned).extend(assignments.iter().map(|assignment| assignment.shard));
        if !assignments.is_empty() {
            info!(shards = assignments.len(), "partitions assigned; journeys begin empty (the state log comes later)");
        }
        self.seat().assigned(assignments);
        Ok(())
    }

    /// Where each given shard goes on. All inputs have equally many partitions and `range` deals them alike, so a shard comes
    /// with a partition of every input, or something is wrong.
    fn places(
        &self,
        consumer: &GroupConsumer,
        given: &TopicPartitionList,
    ) -> Result<(Vec<Assignment>, TopicPartitionList), String> {
        let shards: BTreeSet<i32> = given.elements().iter().map(TopicPartitionListElem::partition).collect();
        let mut asked = TopicPartitionList::new();
        for shard in &shards {
            for topic in &self.connection.inputs {
                if given.find_partition(topic, *shard).is_none() {
                    return Err(format!(
                        "partition {shard} of {topic} was given to another member than that of the other inputs; \
                         all members must use the range assignor and the same inputs"
                    ));
                }
                asked.add_partition(topic, *shard);
            }
        }
        if shards.is_empty() {
            return Ok((Vec::new(), asked));
        }
        let committed = persistently("the committed offsets", || consumer.committed_offsets(asked.clone(), CALL))?;
        let mut positions = TopicPartitionList::new();
        let mut assignments = Vec::new();
        for shard in shards {
            let mut progress = Progress::default();
            for topic in &self.connection.inputs {
                let found = committed.find_partition(topic, shard);
                let mark = found.as_ref().and_then(|found| Bookmark::parse(found.metadata()));
                let offset = match found.map(|found| found.offset()) {
                    Some(Offset::Offset(offset)) => offset,
                    Some(_) | None => self.first_offset(consumer, topic, shard)?,
                };
                if let Some(mark) = &mark {
                    progress.sequence = progress.sequence.max(mark.sequence);
                    progress.stream_time = progress.stream_time.max(mark.stream_time);
                }
                progress.positions.push(Position { offset, log_time: mark.map_or(Timestamp::MIN, |mark| mark.log_time) });
                let added = positions.add_partition_offset(topic, shard, Offset::Offset(offset));
                added.map_err(|error| format!("cannot start at offset {offset}: {error}"))?;
            }
            assignments.push(Assignment { shard: shard.unsigned_abs(), progress, customers: Vec::new() });
        }
        Ok((assignments, positions))
    }

    /// Where a partition without a committed offset starts (rule 24), as a number, so that it is committed as such.
    fn first_offset(&self, consumer: &GroupConsumer, topic: &str, partition: i32) -> Result<i64, String> {
        let (low, high) =
            persistently("the ends of a partition", || consumer.fetch_watermarks(topic, partition, CALL))?;
        let Start::At(instant) = self.connection.start else {
            return Ok(if self.connection.start == Start::Earliest { low } else { high });
        };
        let mut asked = TopicPartitionList::new();
        let added = asked.add_partition_offset(topic, partition, Offset::Offset(instant.as_millis()));
        added.map_err(|error| format!("cannot start at {instant}: {error}"))?;
        let found = persistently("the offset of an instant", || consumer.offsets_for_times(asked.clone(), CALL))?;
        match found.find_partition(topic, partition).map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset),
            Some(_) | None => Ok(high),
        }
    }

    fn revoke(&self, consumer: &GroupConsumer, taken: &TopicPartitionList) {
        let going: BTreeSet<ShardId> = taken.elements().iter().map(|elem| elem.partition().unsigned_abs()).collect();
        let mut owned = open(&self.owned);
        let going: Vec<ShardId> = owned.extract_if(.., |shard| going.contains(shard)).collect();
        drop(owned);
        if !going.is_empty() {
            info!(shards = going.len(), "partitions revoked");
            if consumer.assignment_lost() {
                self.seat().lost(&going);
            } else {
                self.seat().revoking(&going);
            }
        }
        if let Err(error) = consumer.unassign() {
            self.fail(format!("cannot give partitions back: {error}"));
        }
    }

    fn fail(&self, reason: String) {
        open(&self.failed).get_or_insert(reason);
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
                    metrics::lag(topic, shard, (partition.hi_offset - partition.app_offset.max(0)).max(0));
                }
            }
        }
    }
}

impl ConsumerContext for Desk {
    fn rebalance(&self, consumer: &GroupConsumer, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(reason) = self.assign(consumer, partitions) {
                self.fail(reason);
            }
        } else {
            self.revoke(consumer, partitions);
        }
    }
}

/// Asks until there is an answer, for a bounded time.
fn persistently<T>(what: &str, mut ask: impl FnMut() -> KafkaResult<T>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if begun.elapsed() > PATIENCE => return Err(format!("cannot learn {what}: {error}")),
            Err(error) => {
                warn!(%error, "cannot learn {what} yet");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}
