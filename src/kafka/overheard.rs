//! Reads the topic `interventions` beside every group, all partitions from some instant on: for whoever must know all that
//! stands, whatever share of it the process delivers.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

use super::client::{self, Plain};
use super::{Connection, Trouble};
use crate::time::Timestamp;
use crate::wire::outputs;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// The topic as it is overheard.
pub struct Overheard(BaseConsumer<Plain>);

impl Overheard {
    /// Begins with what was published since.
    ///
    /// # Errors
    /// Which broker does not answer, or that the topic is missing.
    pub fn since(connection: &Connection, since: Timestamp) -> Result<Self, Trouble> {
        let topic = outputs::topic(&connection.output, outputs::INTERVENTIONS);
        let mut config = client::asking(connection, "read_committed");
        config.set("group.id", format!("{}-overheard", connection.group)).set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "latest").set("fetch.wait.max.ms", "50");
        let made = config.create_with_context(Plain::default());
        let consumer: BaseConsumer<Plain> =
            made.map_err(|error| Trouble::Unfit(format!("cannot make a client: {error}")))?;
        let unreachable = |error: KafkaError| Trouble::Unreachable(format!("no broker answers: {error}"));
        let metadata = consumer.fetch_metadata(Some(&topic), CALL).map_err(unreachable)?;
        let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
        if partitions == 0 {
            return Err(Trouble::Unreachable(format!("there is no topic {topic} yet; start the service, which creates it")));
        }
        let mut asked = TopicPartitionList::new();
        for partition in 0..partitions {
            let at = Offset::Offset(since.as_millis());
            asked.add_partition_offset(&topic, partition as i32, at).map_err(unreachable)?;
        }
        let found = consumer.offsets_for_times(asked, CALL).map_err(unreachable)?;
        consumer.assign(&found).map_err(unreachable)?;
        Ok(Overheard(consumer))
    }

    /// The next record, waiting so long for it.
    pub fn next(&self, wait: Duration) -> Option<Vec<u8>> {
        match self.0.poll(wait)? {
            Ok(record) => record.payload().map(<[u8]>::to_vec),
            Err(error) => {
                debug!(%error, "nothing overheard");
                None
            }
        }
    }
}
