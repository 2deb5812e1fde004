//! Performs what a member of the group decides ([`crate::ledger::group`]): tells it what rdkafka reports, and does what it asks.
//!
//! Partitions that come and go are answered inside the rebalance callback, and nowhere else (see kafka traps: a deferred answer
//! can wipe a newer assignment).

mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{debug, info, warn};

use super::ends::Ends;
use super::restore::Restorer;
use super::{Connection, Protocol, batch, client};
use crate::ledger::Ledger;
use crate::ledger::group::{Ask, End, Event, Member, Notice, Partition, Terms};
use crate::metrics;
use crate::port::{ShardId, ShardOwner};
use crate::time::Span;

/// A worker's consumer.
pub(super) type GroupConsumer = BaseConsumer<RebalanceHandler>;

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);

/// What the consumer's callbacks work on.
///
/// Neither the owner nor `held` is locked while the consumer is polled, or asked for anything else, so the callback, which runs
/// on the polling thread, can always have them.
pub(super) struct RebalanceHandler {
    connection: Arc<Connection>,
    ledger: Arc<Ledger>,
    /// What a shard reads: its inputs, and the control topic. The latter is not subscribed to: its partition goes along with
    /// those of the inputs, whoever else is in the group.
    topics: Vec<String>,
    /// Taken before anything is subscribed to, and so before any callback comes.
    owner: OnceLock<Arc<Mutex<dyn ShardOwner>>>,
    begun: Instant,
    stop: Arc<AtomicBool>,
    /// Whether partitions came since this was last asked for: what they fetch waits with them.
    came: AtomicBool,
    /// When it was last heard that no broker can be reached.
    away: Mutex<Option<Instant>>,
    held: Mutex<Held>,
}

/// The one owner of what changes when partitions come and go. A lock, since rdkafka shares a consumer's context.
struct Held {
    member: Member,
    restorer: Restorer,
    /// From the moment on when something is subscribed to.
    ends: Option<Ends>,
}

impl RebalanceHandler {
    pub(super) fn new(
        connection: Arc<Connection>,
        unproven_silence: Span,
        restorer: Restorer,
        ledger: Arc<Ledger>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let terms = Terms {
            protocol: connection.protocol,
            start: connection.start,
            buffered_records: connection.buffered_records,
            waiting_bytes: connection.memory.waiting(),
            unproven_silence,
        };
        let member = Member::new(Arc::clone(&ledger), terms);
        let held = Mutex::new(Held { member, restorer, ends: None });
        let (topics, owner, begun) = (ledger.topics(), OnceLock::new(), Instant::now());
        let (came, away) = (AtomicBool::new(false), Mutex::new(None));
        RebalanceHandler { connection, ledger, topics, owner, begun, stop, came, away, held }
    }

    /// The worker that is told; once.
    pub(super) fn set_owner(&self, owner: Arc<Mutex<dyn ShardOwner>>) {
        let _ = self.owner.set(owner);
    }

    /// Where the ends of inputs are asked for.
    pub(super) fn watch(&self, ends: Ends) {
        self.held().ends = Some(ends);
    }

    pub(super) fn owner(&self) -> MutexGuard<'_, dyn ShardOwner + 'static> {
        let owner = self.owner.get().unwrap_or_else(|| unreachable!("the owner is set before the consumer subscribes"));
        owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether partitions came since this was last asked, so that what they fetch is to be forwarded.
    pub(super) fn have_partitions_come(&self) -> bool {
        self.came.swap(false, Ordering::AcqRel)
    }

    /// What a shard reads: its inputs in their order, and after them the control topic.
    pub(super) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Whether a record of this shard can be taken.
    pub(super) fn takes(&self, shard: ShardId) -> bool {
        self.held().member.takes(shard)
    }

    /// Why the worker cannot go on, if it cannot.
    pub(super) fn failure(&self) -> Option<String> {
        self.held().member.failure(self.begun.elapsed()).map(ToOwned::to_owned)
    }

    /// Whether no broker could be reached at some time of so long.
    pub(super) fn were_brokers_away(&self, within: Duration) -> bool {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.is_some_and(|away| away.elapsed() < within)
    }

    /// Gives up everything without a commit, because it is somebody else's.
    pub(super) fn abandon(&self, consumer: &GroupConsumer) {
        let held = self.held().member.held();
        // The client can do nothing more, and need not.
        let _ = self.tell(consumer, Event::Lost(held));
    }

    /// Gives up everything, with a commit, because the worker ends.
    pub(super) fn release(&self, consumer: &GroupConsumer) -> Result<(), String> {
        self.tell(consumer, Event::Stopping)?;
        // Says how that commit ended.
        self.owner().turn()
    }

    /// Seats the shards whose state has been read meanwhile. To be called between polls.
    pub(super) fn seat_restored(&self, consumer: &GroupConsumer) -> Result<(), String> {
        let restored = self.held().restorer.results();
        restored.into_iter().try_for_each(|(shard, state)| self.tell(consumer, Event::Restored(shard, state)))
    }

    /// Pauses the inputs of shards that the worker had to park. To be called between polls.
    pub(super) fn set_parked_aside(&self, consumer: &GroupConsumer) -> Result<(), String> {
        let parked = self.owner().take_parked();
        if parked.is_empty() { Ok(()) } else { self.tell(consumer, Event::Parked(parked)) }
    }

    /// Where inputs end, as far as that has been heard since this was last asked.
    pub(super) fn ends(&self) -> Vec<End> {
        self.held().ends.as_ref().map_or_else(Vec::new, Ends::answers)
    }

    /// What the worker waits for.
    pub(super) fn buffered(&self) -> Event {
        let owned = self.held().member.owned().clone();
        let (owner, topics) = (self.owner(), 0..self.topics.len());
        let partitions = owned.into_iter().flat_map(|shard| topics.clone().map(move |input| (input, shard)));
        let waiting = partitions.map(|(input, shard)| ((input, shard), owner.buffered(shard, input))).collect();
        Event::Buffered { waiting, asking: owner.asking() }
    }

    /// Tells the member what happened, and does what it asks, until it asks nothing more.
    pub(super) fn tell(&self, consumer: &GroupConsumer, event: Event) -> Result<(), String> {
        let (mut asks, mut next) = (Vec::new(), Some(event));
        while let Some(event) = next.take() {
            self.held().member.handle(event, &mut asks);
            for ask in asks.drain(..) {
                match self.perform(consumer, ask) {
                    Ok(answer) => next = answer.or(next),
                    Err(reason) => {
                        self.held().member.handle(Event::Failed(reason.clone()), &mut Vec::new());
                        return Err(reason);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does what is asked; tells the answer to a question.
    fn perform(&self, consumer: &GroupConsumer, ask: Ask) -> Result<Option<Event>, String> {
        match ask {
            Ask::Question(question) => return self.answer(consumer, &question).map(|answer| Some(Event::Answer(answer))),
            Ask::Take(positions) => self.take(consumer, &positions)?,
            Ask::GiveBack(partitions) => {
                let given_back = match self.connection.protocol {
                    Protocol::Classic => consumer.unassign(),
                    Protocol::Consumer => consumer.incremental_unassign(&self.list(&partitions)),
                };
                given_back.map_err(|error| format!("cannot give partitions back: {error}"))?;
            }
            Ask::Pause(partitions) => {
                let paused = consumer.pause(&self.list(&partitions));
                paused.map_err(|error| format!("cannot pause partitions: {error}"))?;
            }
            Ask::Resume(partitions) => {
                let resumed = consumer.resume(&self.list(&partitions));
                resumed.map_err(|error| format!("cannot resume partitions: {error}"))?;
            }
            Ask::Seek((input, shard), offset) => {
                let topic = &self.topics[input];
                let sought = consumer.seek(topic, shard as i32, Offset::Offset(offset), CALL);
                sought.map_err(|error| format!("cannot go back to offset {offset} of {topic}: {error}"))?;
            }
            Ask::Restore(shards) => self.held().restorer.order(shards),
            Ask::StopRestoring => self.held().restorer.cancel(),
            Ask::WatchEnds(partitions) => self.held().ends.iter().for_each(|ends| ends.want(partitions.clone())),
            Ask::Assign(assignments) => self.owner().assigned(assignments),
            Ask::Await(shards) => self.owner().awaiting(&shards),
            Ask::Park(shard, reason) => self.owner().park(shard, reason),
            Ask::Revoke(shards) => self.owner().revoking(&shards),
            Ask::Lose(shards) => self.owner().lost(&shards),
            Ask::HasRead(shard, at) => self.owner().has_read(shard, at),
            Ask::CaughtUp { partition: (input, shard), position, at } => self.owner().caught_up(shard, input, position, at),
            Ask::Say(notice) => self.say(notice),
        }
        Ok(None)
    }

    /// Answers the group: instead of all that was there, or beside it, as its protocol wants.
    fn take(&self, consumer: &GroupConsumer, positions: &BTreeMap<Partition, i64>) -> Result<(), String> {
        let list = self.offsets(positions)?;
        batch::hold(consumer, &list)?;
        self.came.store(true, Ordering::Release);
        let taken = match self.connection.protocol {
            Protocol::Classic => consumer.assign(&list),
            Protocol::Consumer => consumer.incremental_assign(&list),
        };
        taken.map_err(|error| format!("cannot take partitions: {error}"))
    }

    fn say(&self, notice: Notice) {
        match notice {
            Notice::NotTaken(reason) => {
                warn!(reason, "partitions are not taken; waiting for the next assignment");
            }
            Notice::Assigned { shards, ready } => info!(shards, ready, "partitions assigned"),
            Notice::Revoked(going) => {
                info!(shards = going.len(), "partitions revoked");
                for (topic, shard) in self.topics.iter().flat_map(|topic| going.iter().map(move |shard| (topic, shard))) {
                    metrics::lag(topic, *shard, 0);
                }
            }
            Notice::OffsetsRecovered(shard) => {
                warn!(shard, "the group has no offsets: they are taken from the state log");
            }
            Notice::ErasuresGone(shard) => {
                warn!(shard, "erasures that were asked for are not in the control topic any more; ask for them again");
            }
            Notice::HandedGone(shard) => {
                warn!(shard, "what other partitions handed to this one is not there any more: customers may be split");
            }
            Notice::ReadOn(shard) => debug!(shard, "its inputs are read on from where its state stands"),
        }
    }

    fn list(&self, partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (input, shard) in partitions {
            list.add_partition(&self.topics[*input], *shard as i32);
        }
        list
    }

    fn offsets(&self, positions: &BTreeMap<Partition, i64>) -> Result<TopicPartitionList, String> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for ((input, shard), offset) in positions {
            let added = list.add_partition_offset(&self.topics[*input], *shard as i32, Offset::Offset(*offset));
            added.map_err(|error| format!("cannot start at offset {offset}: {error}"))?;
        }
        Ok(list)
    }

    /// What a list of rdkafka's names, of what is read here.
    pub(super) fn partitions(&self, list: &TopicPartitionList) -> Vec<(Partition, Offset)> {
        let input = |topic: &str| self.topics.iter().position(|input| input == topic);
        let elements = list.elements();
        let one = elements.iter().filter_map(|elem| {
            let partition = (input(elem.topic())?, elem.partition().unsigned_abs());
            Some((partition, elem.offset()))
        });
        one.collect()
    }
}

impl ClientContext for RebalanceHandler {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        client::report(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let owned: BTreeSet<ShardId> = self.held().member.owned().clone();
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

impl ConsumerContext for RebalanceHandler {
    fn rebalance(&self, consumer: &GroupConsumer, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let partitions = self.partitions(partitions).into_iter().map(|(partition, _)| partition).collect();
        let event = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Event::Assigned { partitions, at: self.begun.elapsed() }
        } else if consumer.assignment_lost() {
            Event::Lost(partitions)
        } else {
            Event::Revoked(partitions)
        };
        // What went wrong the member remembers, and ends the worker when the poll is over.
        let _ = self.tell(consumer, event);
    }
}
