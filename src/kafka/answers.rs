//! What brokers answer about partitions, and how long they are asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::client;
use crate::ledger::{Found, Ledger, OffsetMetadata};
use crate::port::ShardId;

/// How long a service that was asked to end goes on asking brokers that do not answer.
const STOPPING: Duration = Duration::from_secs(3);
/// How long to ask brokers again that refuse: somebody may be changing what they allow.
const REFUSED: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// How long to go on with something that the brokers do not answer.
pub(super) struct Patience {
    begun: Instant,
    longest: Duration,
    stop: Arc<AtomicBool>,
}

impl Patience {
    pub(super) fn of(longest: Duration, stop: &Arc<AtomicBool>) -> Self {
        Patience { begun: Instant::now(), longest, stop: Arc::clone(stop) }
    }

    /// That of a running service, which outlives its brokers' absence however long that lasts.
    pub(super) fn endless(stop: &Arc<AtomicBool>) -> Self {
        Patience::of(Duration::MAX, stop)
    }

    /// Whether to give up: after a while, or soon where the service was asked to end.
    pub(super) fn is_over(&self) -> bool {
        let allowed = if self.stop.load(Ordering::Acquire) { STOPPING } else { self.longest };
        self.begun.elapsed() > allowed
    }

    /// Whether to give up after this error: of those that refuse, nobody expects another answer for ever.
    pub(super) fn is_over_after(&self, error: &KafkaError) -> bool {
        self.is_over() || (client::is_refusal(error) && self.begun.elapsed() > REFUSED)
    }

    /// Asks until there is an answer. That brokers do not answer is told by whoever looks after the service.
    pub(super) fn ask<T>(&self, what: &str, mut ask: impl FnMut() -> KafkaResult<T>) -> Result<T, String> {
        let mut refused = false;
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) if self.is_over_after(&error) => return Err(format!("cannot learn {what}: {error}")),
                Err(error) if client::is_refusal(&error) && !refused => {
                    refused = true;
                    warn!(%error, "cannot learn {what}: the brokers refuse to tell");
                }
                Err(error) => debug!(%error, "cannot learn {what} yet"),
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// An answer about partitions is one only if it holds no fault about any of them: a partition whose answer failed would look
/// like one that has nothing to say.
pub(super) fn whole(answer: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
    answer.elements().iter().try_for_each(TopicPartitionListElem::error)?;
    Ok(answer)
}

/// Looks the offsets of instants up, for the client "beginning" and "end" among them. Of a partition that nobody leads there is
/// no answer, and the others need not wait for it.
pub(super) fn led<C: ConsumerContext>(
    client: &impl Consumer<C>,
    asked: &TopicPartitionList,
    call: Duration,
) -> KafkaResult<TopicPartitionList> {
    let refused = match client.offsets_for_times(asked.clone(), call).and_then(whole) {
        Err(error) => error,
        answer @ Ok(_) => return answer,
    };
    let topics: BTreeSet<String> = asked.elements().iter().map(|elem| elem.topic().to_owned()).collect();
    let mut led = TopicPartitionList::new();
    for topic in topics {
        let metadata = client.fetch_metadata(Some(&topic), call)?;
        for partition in
            metadata.topics().iter().flat_map(|topic| topic.partitions()).filter(|partition| partition.leader() >= 0)
        {
            if let Some(elem) = asked.find_partition(&topic, partition.id()) {
                led.add_partition_offset(&topic, partition.id(), elem.offset())?;
            }
        }
    }
    match led.count() {
        0 => Ok(led),
        all if all == asked.count() => Err(refused),
        _ => client.offsets_for_times(led, call).and_then(whole),
    }
}

/// An offset, where it is a number.
pub(super) fn number(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }
}

/// The number that a list holds of a partition.
pub(super) fn number_of(list: &TopicPartitionList, topic: &str, partition: i32) -> Option<i64> {
    number(list.find_partition(topic, partition)?.offset())
}

/// The metadata beside a committed offset. Somebody else's metadata can be any bytes, and the client's accessor panics at what
/// is not UTF-8; in a callback out of C that would end the process.
pub(super) fn metadata(offset: &TopicPartitionListElem<'_>) -> Option<OffsetMetadata> {
    let text = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| offset.metadata().to_owned()));
    text.ok().and_then(|text| OffsetMetadata::parse(&text))
}

/// What the committed offsets say of a shard, those of what is read beside the inputs among them.
pub(super) fn found(ledger: &Ledger, committed: &TopicPartitionList, shard: ShardId) -> Found {
    let of = |topic: &String| {
        let elem = committed.find_partition(topic, shard as i32);
        elem.map_or((None, None), |elem| (number(elem.offset()), metadata(&elem)))
    };
    let found = Found { offsets: ledger.inputs.iter().map(of).collect() };
    [ledger.control(), ledger.handoff()].iter().fold(found, |found, topic| {
        let (offset, mark) = of(topic);
        found.with_beside(offset, mark)
    })
}

/// The metadata beside the committed offsets of one topic, by shard.
pub(super) fn metadata_of(
    committed: &TopicPartitionList,
    topic: &str,
    shards: &[ShardId],
) -> BTreeMap<ShardId, OffsetMetadata> {
    let mark = |shard: &ShardId| Some((*shard, metadata(&committed.find_partition(topic, *shard as i32)?)?));
    shards.iter().filter_map(mark).collect()
}
