//! Standing by: following the state logs, so that little is left to read when a member's place is taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
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

    /// Lets go of what nobody took: it is with other members, and grows old here.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
    let mut logs = Logs::default();
    let (mut measured, mut measures) = (Instant::now(), 0_u32);
    info!(partitions = ledger.partitions, "standing by: following the state logs");
    while !over() {
        match client.poll(Duration::from_millis(50)) {
            Some(Ok(record)) => {
                logs.take(ledger, record.partition().unsigned_abs(), record.offset(), record.payload().unwrap_or_default());
            }
            // The end of a log for now.
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => client::report(&error, "following the state logs"),
        }
        if measured.elapsed() > MEASURE {
            (measured, measures) = (Instant::now(), measures.wrapping_add(1));
            logs.begin_again(|shard| client.seek(&topic, shard as i32, Offset::Beginning, CALL));
            let customers: usize = logs.known.values().map(|(reading, _)| reading.customers()).sum();
            metrics::standing_by(customers);
            if measures.is_multiple_of(TELL) {
                info!(customers, "standing by");
            }
        }
    }
    metrics::standing_by(0);
    *followed.0.lock().unwrap_or_else(PoisonError::into_inner) = logs.known;
    Ok(())
}

/// What is known of the state logs while they are followed.
#[derive(Default)]
struct Logs {
    known: BTreeMap<ShardId, (Reading, i64)>,
    /// Of no use as read so far: to be read from the beginning, once a measure at most, since what is wrong may be wrong there
    /// as well.
    stale: BTreeSet<ShardId>,
}

impl Logs {
    fn take(&mut self, ledger: &Ledger, shard: ShardId, offset: i64, page: &[u8]) {
        if self.stale.contains(&shard) {
            return;
        }
        let (reading, next) = self.known.entry(shard).or_insert_with(|| (Reading::of(shard), 0));
        *next = offset + 1;
        if let Err(Unfit::Hole(reason) | Unfit::Wrong(reason)) = reading.take(ledger, page) {
            // It was cut under the reader, or something is wrong that is told when the shard is taken: what is known is of no
            // use, and nothing is until it is read from its beginning.
            warn!(shard, reason, "the state log is followed from its beginning again");
            self.known.remove(&shard);
            self.stale.insert(shard);
        }
    }

    fn begin_again<E: std::fmt::Display>(&mut self, mut seek: impl FnMut(ShardId) -> Result<(), E>) {
        self.stale.retain(|shard| match seek(*shard) {
            Ok(()) => false,
            Err(error) => {
                warn!(shard, %error, "cannot go back in the state log yet");
                true
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Position, Progress};
    use crate::time::Timestamp;
    use crate::wire::pages::{Draft, Head};

    fn page(partitions: u32, sequence: u64) -> Vec<u8> {
        let position = Position { offset: 0, log_time: Timestamp::MIN };
        let progress = Some(Progress { positions: vec![position], stream_time: None, sequence });
        let inputs = vec!["in".to_owned()];
        let (models, attempt) = (Vec::new(), "a".to_owned());
        let head = Head { part: 0, partitions, inputs, models, progress, attempt, retain_from: 0 };
        Draft::default().finish(&head).expect("a page")
    }

    /// What is wrong may be wrong at the beginning as well: it is not read over and over as fast as the brokers deliver.
    #[test]
    fn a_log_that_does_not_fit_is_left_alone_until_it_is_begun_again_and_the_others_go_on() {
        let ledger = Ledger::sample(2);
        let mut logs = Logs::default();
        logs.take(&ledger, 0, 5, &page(2, 1));
        logs.take(&ledger, 1, 7, &page(3, 1));
        logs.take(&ledger, 1, 8, &page(2, 2));
        assert_eq!((logs.known.keys().collect::<Vec<_>>(), logs.stale.len()), (vec![&0], 1));
        logs.begin_again(|_| Err("nobody answers"));
        logs.take(&ledger, 1, 9, &page(2, 3));
        assert_eq!((logs.known.len(), logs.stale.len()), (1, 1), "it is tried again later");
        let mut sought = Vec::new();
        logs.begin_again(|shard| {
            sought.push(shard);
            Ok::<(), &str>(())
        });
        logs.take(&ledger, 1, 7, &page(2, 1));
        logs.begin_again(|_| Err("there is no need to"));
        assert_eq!((sought, logs.known[&1].1, logs.stale.len()), (vec![1], 8, 0));
    }
}
