//! One large transaction of a group that nobody is a member of: its pages and offsets, all of them or none.
//!
//! A worker's transactions are small and end within seconds; this one may hold a whole state, and has its own transactional id
//! and time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::answers::{self, Patience};
use super::client::{self, OFFLINE_TRANSACTION, Plain};
use super::transactions::{self, classified, listed, retried};
use super::{Connection, Facts};
use crate::ledger::{Failure, OffsetMetadata, Outgoing, Position, ProducerState, Transactions};
use crate::port::ShardId;

/// How long one call to the transaction coordinator may take.
const CALL: Duration = Duration::from_secs(60);

/// How long to wait for a transaction coordinator.
const PATIENCE: Duration = Duration::from_secs(60);

/// The transaction of somebody from outside.
pub struct OfflineTransaction<'a> {
    connection: &'a Connection,
    config: ClientConfig,
    consumer: &'a BaseConsumer,
    stop: &'a Arc<AtomicBool>,
    producer: ThreadedProducer<Plain>,
}

impl<'a> OfflineTransaction<'a> {
    pub(super) fn open(
        connection: &'a Connection,
        facts: &Facts,
        consumer: &'a BaseConsumer,
        stop: &'a Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let mut config = client::producer(connection, 0, facts.producer_bytes);
        config
            .set("transactional.id", format!("{}-{}-offline", connection.group, connection.instance))
            .set("transaction.timeout.ms", OFFLINE_TRANSACTION.as_millis().to_string())
            // Not more than this waits in memory for the brokers.
            .set("queue.buffering.max.kbytes", "131072");
        let producer = transactions::initiated(&config, &Patience::of(PATIENCE, stop))?;
        Ok(OfflineTransaction { connection, config, consumer, stop, producer })
    }

    fn drain(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 {
            if begun.elapsed() > OFFLINE_TRANSACTION {
                return Err(Failure::Unclear("records were not acknowledged in time".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Transactions for OfflineTransaction<'_> {
    fn begin(&mut self) -> Result<(), String> {
        self.producer.begin_transaction().map_err(|error| error.to_string())
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), String> {
        transactions::send(&self.producer, record)
    }

    fn send_offsets(&mut self, offsets: &[Position<'_>]) -> Result<(), Failure> {
        let list = listed(offsets).map_err(|error| Failure::Abort(format!("cannot name the offsets: {error}")))?;
        self.drain()?;
        let group = self.consumer.group_metadata();
        let group = group.ok_or_else(|| Failure::Abort("the client knows no group".to_owned()))?;
        retried(|| self.producer.send_offsets_to_transaction(&list, &group, CALL))
    }

    fn commit(&mut self) -> Result<ProducerState, Failure> {
        // Nothing of this producer comes after, so that a request that is repeated can end nothing else.
        classified(self.producer.commit_transaction(CALL)).map(|()| ProducerState::Clean)
    }

    fn abort(&mut self) -> Result<ProducerState, Failure> {
        retried(|| self.producer.abort_transaction(CALL)).map(|()| ProducerState::Clean)
    }

    fn replace(&mut self) -> Result<(), String> {
        self.producer = transactions::initiated(&self.config, &Patience::of(PATIENCE, self.stop))?;
        Ok(())
    }

    fn committed(&mut self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, OffsetMetadata>, String> {
        let topic = &self.connection.inputs[0];
        let mut asked = TopicPartitionList::new();
        for shard in shards {
            let added = asked.add_partition_offset(topic, *shard as i32, Offset::Invalid);
            added.map_err(|error| error.to_string())?;
        }
        let committed = self.consumer.committed_offsets(asked, CALL).and_then(answers::whole);
        let committed = committed.map_err(|error| error.to_string())?;
        Ok(answers::metadata_of(&committed, topic, shards))
    }

    fn take_first_pages(&mut self) -> BTreeMap<ShardId, i64> {
        self.producer.context().take_noted().into_iter().map(|(shard, offset)| (shard.unsigned_abs(), offset)).collect()
    }

    /// What the worker finds superfluous it cuts; a move leaves nothing behind.
    fn cut(&mut self, _shard: ShardId, _offset: i64) {}
}
