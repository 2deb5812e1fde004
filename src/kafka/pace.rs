//! How far the shards of other processes have come: what stands beside the group's committed offsets.
//!
//! On a thread and a client of its own, as the pulse is. Nothing is written for it, and nothing asked while this process has all
//! shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

use super::Connection;
use super::answers;
use super::client::{self, Plain};
use crate::frontiers::Frontiers;
use crate::port::{Now, ShardId};

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(200);
/// The same while a shard waits for others to come as far.
const AT_BOUND: Duration = Duration::from_millis(20);
/// An answer later than this is none.
const CALL: Duration = Duration::from_secs(3);

/// Goes on asking until `stop` is set. Nobody waits for its end: it holds nothing that could be lost.
///
/// # Errors
/// A client or a thread that cannot be made.
pub fn keep_pace(
    connection: &Connection,
    partitions: u32,
    frontiers: &Arc<Frontiers>,
    now: &Now,
    stop: Arc<AtomicBool>,
) -> Result<(), String> {
    // Offsets of a transaction that is open are not waited for: those before it are what is committed.
    let mut config = client::asking(connection, "read_uncommitted");
    config.set("group.id", &connection.group).set("enable.auto.offset.store", "false");
    let client: BaseConsumer<Plain> =
        config.create_with_context(Plain::default()).map_err(|error| format!("cannot make a client: {error}"))?;
    let Some(topic) = connection.inputs.first().cloned() else { return Ok(()) };
    let (frontiers, now) = (Arc::clone(frontiers), Arc::clone(now));
    let ask = move || {
        while !stop.load(Ordering::Acquire) {
            if !frontiers.are_all_ours() {
                hear(&client, &topic, partitions, &frontiers, &now);
            }
            // What it reports waits to be taken, and would pile up.
            let _ = client.poll(if frontiers.is_waited_for() { AT_BOUND } else { INTERVAL });
        }
    };
    let thread = std::thread::Builder::new().name("sillage-pace".to_owned()).spawn(ask);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

fn hear(client: &BaseConsumer<Plain>, topic: &str, partitions: u32, frontiers: &Frontiers, now: &Now) {
    let mut asked = TopicPartitionList::new();
    for shard in 0..partitions {
        if asked.add_partition_offset(topic, shard as i32, Offset::Invalid).is_err() {
            return;
        }
    }
    match client.committed_offsets(asked, CALL) {
        Ok(committed) => {
            let all: Vec<ShardId> = (0..partitions).collect();
            let marks = answers::metadata_of(&committed, topic, &all);
            let reached = |shard: ShardId| (shard, marks.get(&shard).and_then(|mark| mark.stream_time));
            frontiers.heard(all.iter().copied().map(reached), now());
        }
        Err(error) => debug!(%error, "asking how far other processes have come"),
    }
}
