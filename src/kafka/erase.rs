//! Asking for an erasure from outside a worker: the HTTP side and `sillage erase` write to the control topic themselves.
//!
//! To every partition, since nobody but its shard knows a customer; acknowledged by all of them before it counts as asked for.
//! Where only some have it, asking again does no harm.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tracing::debug;

use super::{Connection, client};
use crate::touchpoint::Identity;
use crate::wire::{erasures, outputs};

/// How long the brokers may take for one question.
const REACH: Duration = Duration::from_secs(10);
/// After so long a record that was not acknowledged is given up.
const DELIVERY_MILLIS: u64 = 15_000;
/// Between two looks at what was acknowledged.
const LOOK: Duration = Duration::from_millis(2);

/// Asks for erasures; reaches the brokers when it is first used.
pub struct Eraser {
    connection: Connection,
    producer: Mutex<Option<Arc<ThreadedProducer<Receipts>>>>,
}

/// One question's acknowledgements.
#[derive(Default)]
struct Receipt {
    there: AtomicUsize,
    trouble: OnceLock<String>,
}

struct Receipts;

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What matters comes back with a delivery; the client reconnects by itself.
        debug!(%error, reason, "the control topic's producer reports an error");
    }
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Arc<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Arc<Receipt>) {
        match result {
            Ok(_) => drop(receipt.there.fetch_add(1, Ordering::AcqRel)),
            Err((error, _)) => drop(receipt.trouble.get_or_init(|| error.to_string())),
        }
    }
}

impl Eraser {
    /// Reaches nobody yet.
    pub fn new(connection: Connection) -> Self {
        Eraser { connection, producer: Mutex::default() }
    }

    /// Lets every shard hear that somebody is to be erased; returns how many there are, once all have it in the log.
    ///
    /// # Errors
    /// Who does not answer, or which topic is missing. Some shards may have heard all the same.
    pub fn ask(&self, who: &Identity) -> Result<usize, String> {
        let topic = outputs::topic(&self.connection.output, outputs::CONTROL);
        let producer = self.producer()?;
        let brokers = &self.connection.brokers;
        let metadata = producer.client().fetch_metadata(Some(&topic), REACH);
        let metadata = metadata.map_err(|error| format!("no broker answers at {brokers}: {error}; try again later"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        let partitions = found.map_or(0, |found| found.partitions().len());
        if partitions == 0 {
            return Err(format!("there is no topic {topic} at {brokers}; start the service once, which creates it"));
        }
        let (value, receipt) = (erasures::encode(who), Arc::new(Receipt::default()));
        for partition in 0..partitions {
            let record: BaseRecord<'_, [u8], [u8], Arc<Receipt>> =
                BaseRecord::with_opaque_to(&topic, Arc::clone(&receipt)).partition(partition as i32).payload(&value);
            producer.send(record).map_err(|(error, _)| format!("cannot write to {topic}: {error}; try again"))?;
        }
        let begun = Instant::now();
        while receipt.there.load(Ordering::Acquire) < partitions {
            if let Some(trouble) = receipt.trouble.get() {
                return Err(format!("cannot write to {topic}: {trouble}; try again"));
            }
            if begun.elapsed() > Duration::from_millis(2 * DELIVERY_MILLIS) {
                return Err(format!("{topic} does not acknowledge; try again later"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(partitions)
    }

    fn producer(&self) -> Result<Arc<ThreadedProducer<Receipts>>, String> {
        let mut kept = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*kept {
            return Ok(Arc::clone(producer));
        }
        let mut config = client::base(&self.connection);
        config.set("enable.idempotence", "true").set("message.timeout.ms", DELIVERY_MILLIS.to_string());
        let made = config.create_with_context(Receipts).map(Arc::new);
        let producer = made.map_err(|error| format!("cannot make a producer: {error}; check the properties"))?;
        *kept = Some(Arc::clone(&producer));
        Ok(producer)
    }
}
