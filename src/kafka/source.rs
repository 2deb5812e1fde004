//! The loop that polls a worker's consumer and hands its records to the worker, which owns the shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::info;

use super::batch::{Batch, Fault, Place, Record, Records};
use super::ends::Ends;
use super::rebalance::{GroupConsumer, RebalanceHandler};
use super::restore::Restorer;
use super::stalls::Unproven;
use super::{Connection, Facts, Protocol, client};
use crate::ledger::Ledger;
use crate::ledger::group::{Event, Partition};
use crate::port::{Now, Origin, RawRecord, ShardOwner, Stamped};
use crate::time::Timestamp;

/// How long to wait for a first record: deadlines are looked at in between.
const WAIT: Duration = Duration::from_millis(10);
/// A worker that has not served its group for so long was kept by something.
const KEPT: Duration = Duration::from_secs(1);
/// It has taken in all that waits when nothing is left for so long.
const CATCHING_UP: Duration = Duration::from_millis(100);

/// A consumer that knows the brokers, but takes no part in its group yet.
pub(super) fn connect(
    connection: &Arc<Connection>,
    unproven: Unproven,
    facts: &Facts,
    worker: usize,
    restorer: Restorer,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Result<Arc<GroupConsumer>, String> {
    let (stop, ledger) = (Arc::clone(stop), Arc::clone(ledger));
    let handler = RebalanceHandler::new(Arc::clone(connection), unproven.silence, restorer, ledger, stop);
    let made = client::consumer(connection, worker, facts.producer_bytes).create_with_context(handler);
    made.map(Arc::new).map_err(|error| format!("cannot make a consumer: {error}"))
}

/// Why a consumer cannot go on.
pub(super) enum Over {
    /// Somebody has its name in the group. Nothing of what it was given is its own any more.
    Fenced(String),
    /// What was assigned cannot be begun, as where brokers do not answer. Nothing of it has been done yet.
    NotBegun(String),
    /// Something else.
    Unable(String),
}

impl From<String> for Over {
    fn from(reason: String) -> Self {
        Over::Unable(reason)
    }
}

pub(super) fn drive(
    connection: &Arc<Connection>,
    unproven: Unproven,
    consumer: &Arc<GroupConsumer>,
    now: &Now,
    stop: &Arc<AtomicBool>,
) -> Result<(), Over> {
    let topics: Vec<&str> = connection.inputs.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| format!("cannot subscribe: {error}"))?;
    consumer.context().watch(Ends::start(connection, consumer.context().topics(), unproven, now)?);
    let records = Records::new(consumer, consumer.context().topics())?;
    let batch = records.batch();
    let mut source = Source { connection, consumer, records, batch, served: Instant::now() };
    let ended = loop {
        if stop.load(Ordering::Acquire) {
            break Ok(());
        }
        match source.round() {
            Ok(()) => {}
            Err(Over::Fenced(reason)) => {
                consumer.context().abandon(consumer);
                return Err(Over::Fenced(reason));
            }
            Err(over) => break Err(over),
        }
    };
    let released = consumer.context().release(consumer);
    match connection.protocol {
        // A static member does not leave its group: whoever comes back by its name within the session time-out finds its
        // shards as they were, and nobody is disturbed.
        Protocol::Classic => {}
        Protocol::Consumer => consumer.unsubscribe(),
    }
    match (ended, released) {
        (Err(Over::NotBegun(reason)), Ok(())) if stop.load(Ordering::Acquire) => {
            info!(
                reason,
                "the worker was asked to end before it could begin what was assigned to it: nothing is left undone"
            );
            Ok(())
        }
        (ended, released) => ended.and(released.map_err(Over::Unable)),
    }
}

struct Source<'a> {
    connection: &'a Connection,
    consumer: &'a Arc<GroupConsumer>,
    records: Records<'a, RebalanceHandler>,
    batch: Batch<'a>,
    /// When the group was served last.
    served: Instant,
}

impl Source<'_> {
    fn round(&mut self) -> Result<(), Over> {
        self.serve_group()?;
        self.records.take(WAIT, &mut self.batch);
        self.hand_over()?;
        let handler = self.consumer.context();
        if let Some(reason) = handler.failure() {
            return Err(Over::NotBegun(reason));
        }
        handler.seat_restored(self.consumer)?;
        self.tell_ends()?;
        handler.owner().turn()?;
        handler.set_parked_aside(self.consumer)?;
        Ok(handler.tell(self.consumer, handler.buffered())?)
    }

    /// Lets partitions come and go: between two batches, so that none holds what has gone.
    ///
    /// What the client reports waits in one queue with what the group says, several reports a second while brokers are away. A worker
    /// that was kept by a commit for long takes in all of it at once: one report a round, it would hear for minutes that it owns
    /// what the group has long taken away.
    fn serve_group(&mut self) -> Result<(), Over> {
        let (begun, kept) = (Instant::now(), self.served.elapsed() > KEPT);
        let patience = if kept { CATCHING_UP } else { Duration::ZERO };
        loop {
            let asked = Instant::now();
            match self.consumer.poll(patience) {
                // Something else than an error may have been taken: a poll that has found nothing has waited.
                None if asked.elapsed() >= patience => break,
                None => {}
                Some(Err(error)) => self.judge(&error)?,
                // It is in nobody's hands then; it is read again from where the shard stands.
                Some(Ok(_)) => return Err("a record came outside of a batch".to_owned().into()),
            }
            if begun.elapsed() > KEPT {
                break;
            }
        }
        self.served = Instant::now();
        if self.consumer.context().have_partitions_come() {
            let assigned = self.consumer.assignment();
            self.records.forward(&assigned.map_err(|error| format!("cannot read the assignment: {error}"))?)?;
        }
        Ok(())
    }

    fn hand_over(&self) -> Result<(), Over> {
        let handler = self.consumer.context();
        // Within a batch no partition comes or goes.
        let mut taken: Option<(i32, bool)> = None;
        let mut refused = Vec::new();
        let mut owner = handler.owner();
        owner.begin_batch();
        for message in self.batch.iter() {
            let record = match message {
                Ok(record) => record,
                Err(fault) => {
                    match self.refusal(&fault) {
                        Some(refusal) => refused.push(refusal),
                        None => self.judge(&fault.error)?,
                    }
                    continue;
                }
            };
            let takes = match taken {
                Some((partition, takes)) if partition == record.partition => takes,
                Some(_) | None => handler.takes(record.partition.unsigned_abs()),
            };
            taken = Some((record.partition, takes));
            if takes {
                self.hand_over_one(&mut *owner, record);
            }
        }
        drop(owner);
        for (partition, reason) in refused {
            handler.tell(self.consumer, Event::Refused(partition, reason))?;
        }
        for Place { topic, partition, offset } in self.batch.interruptions() {
            handler.tell(self.consumer, Event::Interrupted((topic, partition.unsigned_abs()), offset))?;
        }
        Ok(())
    }

    fn hand_over_one(&self, owner: &mut dyn ShardOwner, record: Record<'_>) {
        let Record { topic: input, partition, offset, timestamp, key, value } = record;
        // A record without a timestamp is as old as its receipt.
        let timestamp = timestamp.map_or(Timestamp::MAX, Timestamp::from_millis);
        let origin = Origin { shard: partition.unsigned_abs(), input, offset };
        let record = RawRecord { origin, timestamp, stamped: Stamped::OnEntry, key, value };
        match input.checked_sub(self.connection.inputs.len()) {
            None => owner.record(record),
            Some(0) => owner.control(record),
            Some(_) => owner.handed_over(record),
        }
    }

    /// A batch that the client cannot read now or ever: the partition, and what to do.
    fn refusal(&self, fault: &Fault) -> Option<(Partition, String)> {
        let KafkaError::MessageConsumption(code) = fault.error else { return None };
        let Place { topic, partition, offset } = fault.place?;
        let hopeless = [
            RDKafkaErrorCode::BadCompression,
            RDKafkaErrorCode::BadMessage,
            RDKafkaErrorCode::InvalidMessage,
            RDKafkaErrorCode::MessageSizeTooLarge,
            RDKafkaErrorCode::NotImplemented,
        ];
        let name = &self.consumer.context().topics()[topic];
        hopeless.contains(&code).then(|| {
            let reason = format!(
                "the client cannot read the batch at offset {offset} of {name}, partition {partition} ({code}): it is damaged, \
                 or larger than `receive.message.max.bytes` when it is decompressed; see docs/kafka.md, \"A batch that cannot be \
                 read\""
            );
            ((topic, partition.unsigned_abs()), reason)
        })
    }

    /// What the client cannot mend by itself ends the worker.
    fn judge(&self, error: &KafkaError) -> Result<(), Over> {
        match error {
            KafkaError::MessageConsumptionFatal(code) => {
                let reason = format!("the consumer cannot go on: {error}");
                Err(if *code == RDKafkaErrorCode::FencedInstanceId { Over::Fenced(reason) } else { Over::Unable(reason) })
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                // At the next start it is known which shard that is: it is parked then, and the others go on.
                Err(Over::Unable(format!(
                    "a position lies outside what an input still holds (retention has deleted it?): {error}; start again, and \
                     see docs/kafka.md, \"When the state log does not fit\""
                )))
            }
            _ => {
                client::report(error, "the consumer");
                Ok(())
            }
        }
    }

    /// Passes on what the brokers say about ends, and librdkafka's own positions, since they count control records.
    fn tell_ends(&self) -> Result<(), String> {
        let handler = self.consumer.context();
        let ends = handler.ends();
        if ends.is_empty() {
            return Ok(());
        }
        let positions = self.consumer.position().map_err(|error| format!("cannot read the positions: {error}"))?;
        handler.tell(self.consumer, Event::Ends { ends, positions: handler.numbers(&positions) })
    }
}
