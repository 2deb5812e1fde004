//! Where the shards of an assignment go on, by the committed offsets, the state log, and what the inputs still hold
//! (rules 23 and 24).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::{CALL, Desk, GroupConsumer, open, shards_of};
use crate::kafka::Start;
use crate::kafka::answers::{self, Patience};
use crate::ledger::{self, Found};
use crate::port::{Assignment, Known, ShardId};
use crate::shard::{Position, Progress};
use crate::time::Timestamp;

/// How long to go on asking where to start: a predecessor's open transaction blocks the answer until it times out.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an assignment comes to.
#[derive(Default)]
pub(super) struct Plan {
    /// Where each partition goes on.
    pub positions: TopicPartitionList,
    /// Shards that run at once.
    pub ready: Vec<Assignment>,
    /// Shards whose state must be read first, and what the committed offsets say of them.
    pub found: BTreeMap<ShardId, Found>,
    /// Shards that cannot be used, and why.
    pub parked: Vec<(ShardId, String)>,
}

impl Plan {
    pub(super) fn shards(&self) -> BTreeSet<ShardId> {
        shards_of(&self.positions).iter().map(|shard| shard.unsigned_abs()).collect()
    }

    pub(super) fn at(&mut self, topics: &[String], shard: ShardId, positions: &[Position]) -> Result<(), String> {
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

impl Desk {
    /// Where each given shard goes on, and what has to be done before.
    pub(super) fn plan(&self, consumer: &GroupConsumer, given: &TopicPartitionList) -> Result<Plan, String> {
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
    pub(super) fn within_what_is_kept(
        &self,
        consumer: &GroupConsumer,
        positions: &mut TopicPartitionList,
    ) -> Result<Vec<(ShardId, String)>, String> {
        let shards = shards_of(positions);
        let partitions: Vec<(String, i32)> =
            shards.iter().flat_map(|shard| self.topics.iter().map(|topic| (topic.clone(), *shard))).collect();
        // What nobody leads now cannot be read from anywhere.
        let look = |at| {
            let asked = instants(&partitions, at)?;
            self.persistently("what the inputs hold", || answers::led(consumer, &asked, CALL))
        };
        let (firsts, ends) = (look(Offset::Beginning)?, look(Offset::End)?);
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
            if !empty.contains(shard) {
                plan.found.insert(*shard, found);
                awaited.insert(*shard);
            } else if let Err(reason) = ledger::seating(&self.ledger, *shard, None, &found) {
                plan.parked.push((*shard, reason));
            } else {
                self.as_found(&mut fresh, *shard, &found)?;
                continue;
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
            let customers = Known::Restored(crate::shard::Customers::default());
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
        let asked = instants(fresh, at)?;
        self.persistently("where to start", || consumer.offsets_for_times(asked.clone(), CALL).and_then(answers::whole))
    }

    /// Asks until there is an answer, for a bounded time.
    fn persistently<T>(&self, what: &str, ask: impl FnMut() -> KafkaResult<T>) -> Result<T, String> {
        Patience::of(PATIENCE, &self.stop).ask(what, ask)
    }

    /// A shard that nothing was ever committed of, once that is known.
    pub(super) fn fresh(&self, consumer: &GroupConsumer, shard: ShardId, found: &Found) -> Result<Assignment, String> {
        let (mut fresh, mut begun) = (TopicPartitionList::new(), Vec::new());
        self.as_found(&mut fresh, shard, found)?;
        self.begin_fresh(consumer, &fresh, &mut begun, &mut TopicPartitionList::new())?;
        begun.pop().ok_or_else(|| format!("partition {shard} begins nowhere"))
    }
}

/// A question about one instant of these partitions.
fn instants(partitions: &[(String, i32)], at: Offset) -> Result<TopicPartitionList, String> {
    let mut asked = TopicPartitionList::new();
    for (topic, partition) in partitions {
        let added = asked.add_partition_offset(topic, *partition, at);
        added.map_err(|error| format!("cannot start at {at:?}: {error}"))?;
    }
    Ok(asked)
}
