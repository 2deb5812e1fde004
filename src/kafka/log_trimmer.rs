//! Cutting the state log, and what shards hand to each other, behind what is needed (DeleteRecords).

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::client::{self, Plain};
use super::{Connection, answers};
use crate::port::ShardId;
use crate::seldom::Seldom;
use crate::wire::outputs;

/// How long the brokers may take to cut the log; what was not cut then is cut with the next.
const CALL: Duration = Duration::from_secs(30);

/// What could not be cut for so long is told, and again after so long.
const OVERDUE: Duration = Duration::from_secs(600);
/// What was not cut is tried again after so long.
const AGAIN: Duration = Duration::from_secs(10);

/// Cuts one topic on a thread of its own: no commit waits for it, and nor does the end of the service, since a broker that is away
/// keeps it for long. It holds nothing that could be lost.
pub(super) struct LogTrimmer {
    orders: Sender<(ShardId, i64)>,
}

impl LogTrimmer {
    /// Cuts the topic of that name behind the prefix, with so long a rest after each time.
    pub(super) fn start(connection: &Connection, output: &str, rest: Duration) -> Result<Self, String> {
        let knife = Knife::of(connection, output)?;
        let (orders, incoming) = channel();
        std::thread::Builder::new()
            .name(format!("sillage-{output}"))
            .spawn(move || cut_on(&knife, rest, &incoming))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(LogTrimmer { orders })
    }

    pub(super) fn cut(&self, shard: ShardId, offset: i64) {
        // The thread ends only with this; what is not cut is cut later.
        let _ = self.orders.send((shard, offset));
    }
}

fn cut_on(knife: &Knife, rest: Duration, orders: &Receiver<(ShardId, i64)>) {
    let mut all: BTreeMap<ShardId, i64> = BTreeMap::new();
    let mut overdue = Overdue::new();
    loop {
        // An idle shard gives no further order, and somebody who was erased must go from its log all the same.
        match orders.recv_timeout(if all.is_empty() { Duration::MAX } else { AGAIN }) {
            // Several orders about one shard: the last reaches farthest.
            Ok(first) => all.extend(std::iter::once(first).chain(orders.try_iter())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // The answer as a whole can be fine while that about a partition is not.
        match knife.ask(all.iter().map(|(shard, offset)| (*shard, Offset::Offset(*offset)))) {
            Ok(answer) => all.retain(|shard, _| {
                let of_it = answer.find_partition(&knife.topic, *shard as i32);
                let failed = of_it.and_then(|elem| elem.error().err());
                if let Some(error) = &failed {
                    debug!(%error, topic = knife.topic, shard, "a partition is not cut");
                }
                failed.is_some()
            }),
            Err(error) => debug!(%error, topic = knife.topic, "a topic is not cut"),
        }
        if all.is_empty() {
            overdue = Overdue::new();
        } else {
            overdue.tell(&knife.topic, &all);
            knife.look_for_leaders();
        }
        std::thread::sleep(rest);
    }
}

/// What should have been cut, and for how long.
struct Overdue {
    since: Option<Instant>,
    told: Seldom,
}

impl Overdue {
    fn new() -> Self {
        Overdue { since: None, told: Seldom::new(OVERDUE) }
    }

    /// Tells of it once it has lasted, and now and then: brokers that are away are no news of their own.
    fn tell(&mut self, topic: &str, all: &BTreeMap<ShardId, i64>) {
        let since = self.since.get_or_insert_with(Instant::now).elapsed();
        if since > OVERDUE && self.told.is_due() {
            warn!(
                topic,
                shards = all.len(),
                minutes = since.as_secs() / 60,
                "a topic is not cut, so it grows; may this client delete records there? (`log_level: debug` tells why)"
            );
        }
    }
}

/// What cuts.
pub(super) struct Knife {
    admin: AdminClient<Plain>,
    runtime: tokio::runtime::Runtime,
    topic: String,
}

impl Knife {
    pub(super) fn of(connection: &Connection, output: &str) -> Result<Self, String> {
        let made = client::base(connection).create_with_context(Plain::default());
        let admin = made.map_err(|error| format!("cannot make a client: {error}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
        Ok(Knife { admin, runtime, topic: outputs::topic(&connection.output, output) })
    }

    /// A client that consumes nothing goes on asking a leader of old for minutes.
    fn look_for_leaders(&self) {
        if let Err(error) = self.admin.inner().fetch_metadata(Some(&self.topic), CALL) {
            debug!(%error, topic = self.topic, "looking for the leaders");
        }
    }

    /// Deletes what stands before these offsets, all of it or it is an error.
    pub(super) fn cut(&self, offsets: impl Iterator<Item = (ShardId, Offset)>) -> KafkaResult<()> {
        self.ask(offsets).and_then(answers::whole).map(drop)
    }

    fn ask(&self, offsets: impl Iterator<Item = (ShardId, Offset)>) -> KafkaResult<TopicPartitionList> {
        let mut cuts = TopicPartitionList::new();
        for (shard, offset) in offsets {
            cuts.add_partition_offset(&self.topic, shard as i32, offset)?;
        }
        let options = AdminOptions::new().operation_timeout(Some(CALL));
        self.runtime.block_on(self.admin.delete_records(&cuts, &options))
    }
}
