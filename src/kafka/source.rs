//! The loop that polls a worker's consumer and tells its seat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use tracing::warn;

use super::ends::Ends;
use super::rebalance::{GroupConsumer, RebalanceHandler};
use super::restore::Restorer;
use super::{Connection, Protocol, client};
use crate::ledger::Ledger;
use crate::ledger::group::Event;
use crate::port::{Now, Origin, RawRecord, Stamped};
use crate::time::Timestamp;

/// How long to wait for a first record: deadlines are looked at in between.
const WAIT: Duration = Duration::from_millis(10);
/// Records taken between two looks at the time.
const ROUND: usize = 500;

/// A consumer that knows the brokers, but takes no part in its group yet.
pub(super) fn connect(
    connection: &Arc<Connection>,
    worker: usize,
    restorer: Restorer,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Result<Arc<GroupConsumer>, String> {
    let handler = RebalanceHandler::new(Arc::clone(connection), restorer, Arc::clone(ledger), Arc::clone(stop));
    let made = client::consumer(connection, worker).create_with_context(handler);
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
    consumer.context().watch(Ends::start(connection, now)?);
    let source = Source { connection, consumer };
    let ended = loop {
        if stop.load(Ordering::Acquire) {
            break Ok(());
        }
        if let Err(reason) = source.round() {
            break Err(reason);
        }
    };
    let released = consumer.context().release(consumer);
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
    consumer: &'a Arc<GroupConsumer>,
}

impl Source<'_> {
    fn round(&self) -> Result<(), String> {
        let mut wait = WAIT;
        for _ in 0..ROUND {
            match self.consumer.poll(wait) {
                Some(Ok(record)) => self.hand_over(&record)?,
                Some(Err(error)) => self.judge(&error)?,
                None => break,
            }
            wait = Duration::ZERO;
        }
        let handler = self.consumer.context();
        if let Some(reason) = handler.failure() {
            return Err(reason);
        }
        handler.seat_restored(self.consumer)?;
        self.tell_ends()?;
        handler.seat().turn()?;
        handler.set_parked_aside(self.consumer)?;
        handler.tell(self.consumer, Event::Buffered(handler.buffered()))
    }

    fn hand_over(&self, record: &BorrowedMessage<'_>) -> Result<(), String> {
        let (handler, topic) = (self.consumer.context(), record.topic());
        let input = handler.topics().iter().position(|input| input == topic);
        let input = input.ok_or_else(|| format!("a record of {topic} came, which is no input"))?;
        let shard = record.partition().unsigned_abs();
        if !handler.takes(shard) {
            return Ok(());
        }
        // A record without a timestamp is as old as its receipt.
        let timestamp = record.timestamp().to_millis().map_or(Timestamp::MAX, Timestamp::from_millis);
        let record = RawRecord {
            origin: Origin { shard, input, offset: record.offset() },
            timestamp,
            stamped: Stamped::OnEntry,
            key: record.key(),
            value: record.payload(),
        };
        let mut seat = handler.seat();
        if input < self.connection.inputs.len() {
            seat.record(record);
        } else {
            seat.control(record);
        }
        Ok(())
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
