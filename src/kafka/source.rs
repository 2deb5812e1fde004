//! The loop that polls a worker's consumer and tells its seat.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tracing::warn;

use super::batch::{Batch, Place, Record, Records};
use super::ends::{Asked, End, Ends};
use super::rebalance::{Desk, GroupConsumer};
use super::restore::Restorer;
use super::{Connection, Protocol, answers, client};
use crate::ledger::Ledger;
use crate::port::{Now, Origin, RawRecord, Stamped};
use crate::time::Timestamp;

/// How long to wait for a first record: deadlines are looked at in between.
const WAIT: Duration = Duration::from_millis(10);

/// A consumer that knows the brokers, but takes no part in its group yet.
pub(super) fn connect(
    connection: &Arc<Connection>,
    worker: usize,
    restorer: Restorer,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Result<Arc<GroupConsumer>, String> {
    let desk = Desk::new(Arc::clone(connection), restorer, Arc::clone(ledger), Arc::clone(stop));
    let made = client::consumer(connection, worker).create_with_context(desk);
    made.map(Arc::new).map_err(|error| format!("cannot make a consumer: {error}"))
}

pub(super) fn drive(
    connection: &Arc<Connection>,
    consumer: &Arc<GroupConsumer>,
    now: &Now,
    stop: &Arc<AtomicBool>,
) -> Result<(), String> {
    let topics: Vec<&str> = connection.inputs.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| format!("cannot subscribe: {error}"))?;
    let (topics, ends) = (consumer.context().topics().to_vec(), Ends::start(connection, now)?);
    let records = Records::new(consumer, &topics)?;
    let batch = records.batch();
    let mut source = Source { connection, topics, consumer, records, batch, ends };
    let ended = loop {
        if stop.load(Ordering::Acquire) {
            break Ok(());
        }
        if let Err(reason) = source.round() {
            break Err(reason);
        }
    };
    let released = consumer.context().release();
    match connection.protocol {
        // A static member does not leave its group: whoever comes back by its name within the session time-out finds its
        // shards as they were, and nobody is disturbed.
        Protocol::Classic => {}
        Protocol::Consumer => consumer.unsubscribe(),
    }
    ended.and(released)
}

struct Source<'a> {
    connection: &'a Connection,
    /// The inputs, and after them the control topic.
    topics: Vec<String>,
    consumer: &'a Arc<GroupConsumer>,
    records: Records<'a, Desk>,
    batch: Batch<'a>,
    ends: Ends,
}

impl Source<'_> {
    fn round(&mut self) -> Result<(), String> {
        self.serve_group()?;
        self.records.take(WAIT, &mut self.batch);
        self.hand_over()?;
        if let Some(reason) = self.consumer.context().failure() {
            return Err(reason);
        }
        self.consumer.context().seat_restored(self.consumer)?;
        self.tell_ends()?;
        self.consumer.context().seat().turn()?;
        self.consumer.context().set_parked_aside(self.consumer)?;
        self.steer()
    }

    /// Lets partitions come and go: between two batches, so that none holds what has gone.
    fn serve_group(&self) -> Result<(), String> {
        match self.consumer.poll(Duration::ZERO) {
            None => {}
            Some(Err(error)) => self.judge(&error)?,
            // It is in nobody's hands then; it is read again from where the shard stands.
            Some(Ok(_)) => return Err("a record came outside of a batch".to_owned()),
        }
        if self.consumer.context().have_partitions_come() {
            let assigned = self.consumer.assignment();
            self.records.forward(&assigned.map_err(|error| format!("cannot read the assignment: {error}"))?)?;
        }
        Ok(())
    }

    fn hand_over(&self) -> Result<(), String> {
        let desk = self.consumer.context();
        for message in self.batch.iter() {
            match message {
                Ok(record) if desk.takes(record.partition.unsigned_abs()) => self.hand_over_one(record),
                Ok(_) => {}
                Err(fault) => self.judge(&fault.error)?,
            }
        }
        for Place { topic, partition, offset } in self.batch.interruptions() {
            let assigned = self.consumer.assignment().map_err(|error| format!("cannot read the assignment: {error}"))?;
            if assigned.find_partition(&self.topics[topic], partition).is_some() {
                desk.seek(self.consumer, (topic, partition.unsigned_abs()), offset)?;
            }
        }
        Ok(())
    }

    fn hand_over_one(&self, Record { topic: input, partition, offset, timestamp, key, value }: Record<'_>) {
        // A record without a timestamp is as old as its receipt.
        let timestamp = timestamp.map_or(Timestamp::MAX, Timestamp::from_millis);
        let origin = Origin { shard: partition.unsigned_abs(), input, offset };
        let record = RawRecord { origin, timestamp, stamped: Stamped::OnEntry, key, value };
        let mut seat = self.consumer.context().seat();
        if input < self.connection.inputs.len() {
            seat.record(record);
        } else {
            seat.control(record);
        }
    }

    /// What the client cannot mend by itself ends the worker.
    fn judge(&self, error: &KafkaError) -> Result<(), String> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(format!("the consumer cannot go on: {error}")),
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                // At the next start it is known which shard that is: it is parked then, and the others go on.
                Err(format!(
                    "a position lies outside what an input still holds (retention has deleted it?): {error}; start again, and \
                     see docs/kafka.md, \"When the state log does not fit\""
                ))
            }
            _ => {
                warn!(%error, "the consumer reports an error");
                Ok(())
            }
        }
    }

    /// Passes on the answered questions whose input has been handed over to the end.
    fn tell_ends(&mut self) -> Result<(), String> {
        let answers: Vec<End> = self.ends.answers().flatten().collect();
        if answers.is_empty() {
            return Ok(());
        }
        let positions = self.positions()?;
        let mut seat = self.consumer.context().seat();
        for End { input, shard, offset, at } in answers {
            if positions.get(&(input, shard)).is_some_and(|position| *position >= offset) {
                seat.caught_up(shard, input, offset, at);
            }
        }
        Ok(())
    }

    /// librdkafka's own positions, since they count control records; where it has none yet, the one it was told to begin at: it
    /// was assigned, or sought, which makes it forget its own.
    fn positions(&self) -> Result<BTreeMap<Asked, i64>, String> {
        let fault = |error| format!("cannot read the positions: {error}");
        let named = |list: &TopicPartitionList| -> Vec<(Asked, i64)> {
            let one = |elem: &TopicPartitionListElem<'_>| {
                let input = self.connection.inputs.iter().position(|input| input == elem.topic())?;
                Some(((input, elem.partition().unsigned_abs()), answers::number(elem.offset())?))
            };
            list.elements().iter().filter_map(one).collect()
        };
        let mut positions: BTreeMap<Asked, i64> = named(&self.consumer.assignment().map_err(fault)?).into_iter().collect();
        positions.extend(self.consumer.context().sought());
        positions.extend(named(&self.consumer.position().map_err(fault)?));
        Ok(positions)
    }

    /// Asks for the ends of what has run dry, and pauses what has too much.
    fn steer(&mut self) -> Result<(), String> {
        let mut dry = Vec::new();
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        let owned = self.consumer.context().owned();
        let mut paused = self.consumer.context().paused();
        let seat = self.consumer.context().seat();
        for shard in owned {
            for (input, topic) in self.topics.iter().enumerate() {
                let waiting = seat.buffered(shard, input);
                // The end of the control topic proves nothing, and nobody waits for it.
                if waiting == 0 && input < self.connection.inputs.len() {
                    dry.push((input, shard));
                }
                if waiting > self.connection.buffered_records && paused.insert((input, shard)) {
                    pause.add_partition(topic, shard as i32);
                } else if waiting <= self.connection.buffered_records / 2 && paused.remove(&(input, shard)) {
                    resume.add_partition(topic, shard as i32);
                }
            }
        }
        drop((seat, paused));
        self.ends.want(dry);
        let fault = |error| format!("cannot pause or resume an input: {error}");
        if pause.count() > 0 {
            self.consumer.pause(&pause).map_err(fault)?;
        }
        if resume.count() > 0 {
            self.consumer.resume(&resume).map_err(fault)?;
        }
        Ok(())
    }
}
