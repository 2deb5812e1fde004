//! What the brokers are asked before a shard can go on, and for how long.

use std::collections::BTreeMap;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::{CALL, GroupConsumer, RebalanceHandler};
use crate::kafka::answers::{self, Patience};
use crate::ledger::group::{Answer, Extent, Moment, Partition, Question};
use crate::port::ShardId;

impl RebalanceHandler {
    pub(super) fn answer(&self, consumer: &GroupConsumer, question: &Question) -> Result<Answer, String> {
        match question {
            Question::Committed(shards) => {
                let asked = self.list(&self.partitions_of(shards));
                let committed = self.persistently("the committed offsets", || {
                    consumer.committed_offsets(asked.clone(), CALL).and_then(answers::whole)
                })?;
                let found = |shard: &ShardId| (*shard, answers::found(&self.ledger, &committed, *shard));
                let (found, owner) = (shards.iter().map(found).collect(), self.owner());
                let kept = shards.iter().filter_map(|shard| Some((*shard, owner.kept(*shard)?))).collect();
                Ok(Answer::Committed { found, kept })
            }
            Question::StateLogEnds(shards) => {
                let works = self.held().restorer.works();
                Ok(Answer::StateLogEnds(works.ends_now(shards)?))
            }
            Question::Offsets { partitions, at } => {
                let at = match at {
                    Moment::Beginning => Offset::Beginning,
                    Moment::End => Offset::End,
                    Moment::At(instant) => Offset::Offset(instant.as_millis()),
                };
                let asked = self.instants(partitions, at)?;
                let whole = || consumer.offsets_for_times(asked.clone(), CALL).and_then(answers::whole);
                let found = self.persistently("where to start", whole)?;
                Ok(Answer::Offsets(self.numbers(&found)))
            }
            Question::CommitStart(starts) => {
                let starts = self.offsets(starts)?;
                self.persistently("whether the start is committed", || consumer.commit(&starts, CommitMode::Sync))?;
                Ok(Answer::StartCommitted)
            }
            Question::Extents(shards) => {
                let partitions = self.partitions_of(shards);
                let look = |at| {
                    let asked = self.instants(&partitions, at)?;
                    let led = self.persistently("what the inputs hold", || answers::led(consumer, &asked, CALL))?;
                    Ok::<_, String>(self.numbers(&led))
                };
                let (firsts, ends) = (look(Offset::Beginning)?, look(Offset::End)?);
                let extent = |(partition, first)| (partition, Extent { first, end: ends.get(&partition).copied() });
                Ok(Answer::Extents(firsts.into_iter().map(extent).collect()))
            }
        }
    }

    fn partitions_of(&self, shards: &[ShardId]) -> Vec<Partition> {
        let topics = 0..self.topics.len();
        shards.iter().flat_map(|shard| topics.clone().map(move |input| (input, *shard))).collect()
    }

    /// A question about one instant of these partitions; the client's "beginning" and "end" are instants as well.
    fn instants(&self, partitions: &[Partition], at: Offset) -> Result<TopicPartitionList, String> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for (input, shard) in partitions {
            let added = asked.add_partition_offset(&self.topics[*input], *shard as i32, at);
            added.map_err(|error| format!("cannot start at {at:?}: {error}"))?;
        }
        Ok(asked)
    }

    /// The offsets of a list that are numbers.
    pub(in crate::kafka) fn numbers(&self, list: &TopicPartitionList) -> BTreeMap<Partition, i64> {
        let number = |(partition, offset)| Some((partition, answers::number(offset)?));
        self.partitions(list).into_iter().filter_map(number).collect()
    }

    /// Asks until there is an answer: a predecessor's open transaction blocks it until it times out, and brokers that are away
    /// come back.
    fn persistently<T>(&self, what: &str, ask: impl FnMut() -> KafkaResult<T>) -> Result<T, String> {
        Patience::endless(&self.stop).ask(what, ask)
    }
}
