//! Standing by: following the state logs, so that little is left to read when a member's place is taken over.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::{Connection, client};
use crate::ledger::{Ledger, Reading, Unfit};
use crate::metrics;
use crate::port::ShardId;
use crate::wire::outputs;

/// How long one question to the brokers may take.
const CALL: Duration = Duration::from_secs(10);
/// How often the metric is set, and after how many times that a line is logged.
const MEASURE: Duration = Duration::from_secs(1);
const TELL: u32 = 10;

/// The state of shards as far as it has been followed, and where reading goes on.
#[derive(Debug, Default)]
pub struct Followed(Mutex<BTreeMap<ShardId, (Reading, i64)>>);

impl Followed {
    /// What is known of a shard, once.
    pub(super) fn take(&self, shard: ShardId) -> Option<(Reading, i64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard)
    }
}

/// Follows the state logs of all shards into `followed`, until `over`.
///
/// # Errors
/// Why they cannot be read at all. What is wrong in one is told when that shard is taken.
pub fn follow(connection: &Connection, ledger: &Ledger, followed: &Followed, over: &dyn Fn() -> bool) -> Result<(), String> {
    let client = client::state_reader(connection)?;
    let topic = ledger.topic(outputs::STATE);
    let fault = |error: rdkafka::error::KafkaError| format!("cannot follow {topic}: {error}");
    let mut assigned = TopicPartitionList::new();
    for shard in 0..ledger.partitions {
        assigned.add_partition_offset(&topic, shard as i32, Offset::Beginning).map_err(fault)?;
    }
    client.assign(&assigned).map_err(fault)?;
    let mut shards: BTreeMap<ShardId, (Reading, i64)> = BTreeMap::new();
    let (mut measured, mut measures) = (Instant::now(), 0_u32);
    info!(partitions = ledger.partitions, "standing by: following the state logs");
    while !over() {
        match client.poll(Duration::from_millis(50)) {
            Some(Ok(record)) => {
                let shard = record.partition().unsigned_abs();
                let (reading, next) = shards.entry(shard).or_insert_with(|| (Reading::of(shard), 0));
                *next = record.offset() + 1;
                if let Err(unfit) = reading.take(ledger, record.payload().unwrap_or_default()) {
                    let (Unfit::Hole(reason) | Unfit::Wrong(reason)) = unfit;
                    // Nothing is known of it until it is read from its beginning.
                    shards.remove(&shard);
                    begin_again(&client, &topic, shard, &reason)?;
                }
            }
            // The end of a log for now.
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => warn!(%error, "following the state logs"),
        }
        if measured.elapsed() > MEASURE {
            (measured, measures) = (Instant::now(), measures.wrapping_add(1));
            let customers: usize = shards.values().map(|(reading, _)| reading.customers()).sum();
            metrics::standing_by(customers);
            if measures.is_multiple_of(TELL) {
                info!(customers, "standing by");
            }
        }
    }
    metrics::standing_by(0);
    *followed.0.lock().unwrap_or_else(PoisonError::into_inner) = shards;
    Ok(())
}

/// The log was cut under the reader, or something is wrong that is told when the shard is taken: either way, what is known is
/// of no use.
fn begin_again(client: &BaseConsumer, topic: &str, shard: ShardId, reason: &str) -> Result<(), String> {
    warn!(shard, reason, "the state log is followed from its beginning again");
    let sought = client.seek(topic, shard as i32, Offset::Beginning, CALL);
    sought.map_err(|error| format!("cannot follow {topic}: {error}"))
}
