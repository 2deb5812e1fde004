//! Where the inputs end now: the questions behind "caught up" (rule 4).
//!
//! Asked on a thread and two clients of its own, one per isolation level, since on the consuming client such a question
//! waits behind its long-poll fetch. Last stable offset = high watermark means that no transaction stands open before the
//! end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryIter, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::debug;

use super::{Connection, answers, client};
use crate::port::{Now, ShardId};
use crate::time::Timestamp;

/// At most so often.
const INTERVAL: Duration = Duration::from_millis(25);
/// An answer later than this is of no use.
const CALL: Duration = Duration::from_secs(5);

/// An input that wants to know its end: index of the topic, partition.
pub(super) type Asked = (usize, ShardId);

/// The end of an input as of a question sent at `at`.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub input: usize,
    pub shard: ShardId,
    /// High watermark, equal to the last stable offset.
    pub offset: i64,
    pub at: Timestamp,
}

#[derive(Default)]
struct Slate {
    wanted: Mutex<Vec<Asked>>,
    changed: Condvar,
    stop: AtomicBool,
}

/// The thread that asks.
pub(super) struct Ends {
    slate: Arc<Slate>,
    answers: Receiver<Vec<End>>,
    thread: Option<JoinHandle<()>>,
}

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        debug!(?level, facility, "{line}");
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        debug!(%error, reason, "the end-offset client reports an error");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}

impl Ends {
    pub(super) fn start(connection: &Arc<Connection>, now: &Now) -> Result<Self, String> {
        let make = |isolation| -> KafkaResult<BaseConsumer<Quiet>> {
            client::asking(connection, isolation).create_with_context(Quiet)
        };
        let fault = |error| format!("cannot make a client: {error}");
        let stable = make("read_committed").map_err(fault)?;
        let high = make("read_uncommitted").map_err(fault)?;
        let (send, answers) = channel();
        let slate = Arc::new(Slate::default());
        let (shared, connection, now) = (Arc::clone(&slate), Arc::clone(connection), Arc::clone(now));
        let thread = std::thread::Builder::new()
            .name("sillage-ends".to_owned())
            .spawn(move || ask_on(&shared, &connection, &now, [&stable, &high], &send))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Ends { slate, answers, thread: Some(thread) })
    }

    /// Says which inputs have nothing buffered and want to know their end.
    pub(super) fn want(&self, inputs: Vec<Asked>) {
        *self.slate.wanted.lock().unwrap_or_else(PoisonError::into_inner) = inputs;
        self.slate.changed.notify_one();
    }

    /// The answers since the last look.
    pub(super) fn answers(&self) -> TryIter<'_, Vec<End>> {
        self.answers.try_iter()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.slate.stop.store(true, Ordering::Release);
        self.slate.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that could be lost; if it panicked, there is nothing to mend at the end either.
            let _ = thread.join();
        }
    }
}

fn ask_on(
    slate: &Slate,
    connection: &Connection,
    now: &Now,
    [stable, high]: [&BaseConsumer<Quiet>; 2],
    answers: &Sender<Vec<End>>,
) {
    while !slate.stop.load(Ordering::Acquire) {
        let wanted = {
            let wanted = slate.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            let (wanted, _) = slate.changed.wait_timeout(wanted, INTERVAL).unwrap_or_else(PoisonError::into_inner);
            wanted.clone()
        };
        if wanted.is_empty() {
            continue;
        }
        let at = now();
        match (ends(stable, connection, &wanted), ends(high, connection, &wanted)) {
            (Ok(stable), Ok(high)) => {
                let agreed = wanted.iter().zip(stable.iter().zip(&high)).filter(|(_, (stable, high))| stable == high);
                let found = agreed.filter_map(|((input, shard), (offset, _))| {
                    Some(End { input: *input, shard: *shard, offset: (*offset)?, at })
                });
                if answers.send(found.collect()).is_err() {
                    return;
                }
            }
            // Unanswered questions hold stream time; the lag of stream time is a metric.
            (Err(error), _) | (_, Err(error)) => debug!(%error, "the ends of the inputs are unknown"),
        }
        // The next question is not asked before the interval is over, however fast the answer was.
        std::thread::sleep(INTERVAL);
    }
}

/// Asks for the ends of all wanted inputs at once: a look-up by time with librdkafka's "latest" as the time.
fn ends(client: &BaseConsumer<Quiet>, connection: &Connection, wanted: &[Asked]) -> KafkaResult<Vec<Option<i64>>> {
    let mut asked = TopicPartitionList::new();
    for (input, shard) in wanted {
        asked.add_partition_offset(&connection.inputs[*input], *shard as i32, Offset::End)?;
    }
    let found = client.offsets_for_times(asked, CALL)?;
    // A partition without an answer holds its own shard only.
    let offset = |(input, shard): &Asked| {
        let found = found.find_partition(&connection.inputs[*input], *shard as i32)?;
        match found.error() {
            Ok(()) => answers::number(found.offset()),
            Err(error) => {
                debug!(%error, "the end of an input is unknown");
                None
            }
        }
    };
    Ok(wanted.iter().map(offset).collect())
}
