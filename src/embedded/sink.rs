//! What a worker writes: gathered in memory, and handed to the writer as one piece at the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::work::{Publication, Work};
use super::writer::Job;
use super::{INPUT, Store};
use crate::journey::Outcome;
use crate::journey::packed::pack_identity;
use crate::port::{Origin, ShardId, Sink, Verdict};
use crate::shard::{HandOff, Progress, Unusable, Written};
use crate::touchpoint::Identity;
use crate::wire::{self, Format, erasures, handing, outputs};

/// Between two tries at a commit that was undone.
const PAUSE: Duration = Duration::from_millis(200);
/// So many tries without a look at anything else end the worker: one minute.
const TRIES: u32 = 300;
/// A dead letter with more bytes than this goes without its value.
const DEAD_LETTER_BYTES: usize = (1 << 20) + (64 << 10);

/// What sink and driver of one worker tell each other about commits that are undone.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Commits undone since one succeeded: nothing more is handed over until one does.
    undone: AtomicU32,
    /// Commits undone since the driver last looked.
    tries: AtomicU32,
}

impl Trouble {
    /// The driver begins a round; says whether the last commit was undone.
    pub(super) fn look(&self) -> bool {
        self.tries.store(0, Ordering::Relaxed);
        self.undone.load(Ordering::Relaxed) > 0
    }

    /// The worker starts over from what is committed.
    pub(super) fn forget(&self) {
        self.undone.store(0, Ordering::Relaxed);
    }
}

/// The store's side of a worker's transactions.
pub(super) struct StoreSink {
    store: Arc<Store>,
    trouble: Arc<Trouble>,
    work: Work,
    /// Why the open transaction can never be committed.
    unwritable: Option<String>,
}

impl StoreSink {
    pub(super) fn new(store: Arc<Store>, trouble: Arc<Trouble>) -> Self {
        StoreSink { store, trouble, work: Work::default(), unwritable: None }
    }

    /// A worker whose transaction is full tries to commit until it succeeds; that must not turn in circles at full speed, nor
    /// for ever without a look at whether to stop.
    fn undone(&self, reason: String) -> Verdict {
        self.trouble.undone.fetch_add(1, Ordering::Relaxed);
        if self.trouble.tries.fetch_add(1, Ordering::Relaxed) >= TRIES {
            return Verdict::Lost(format!("no commit has succeeded for a minute: {reason}"));
        }
        std::thread::sleep(PAUSE);
        Verdict::Aborted(reason)
    }
}

impl Sink for StoreSink {
    fn publish(&mut self, _shard: ShardId, outcome: &Outcome, stale: bool) {
        let mut value = Vec::with_capacity(512);
        wire::encode_outcome(Format::Json, outcome, &mut value);
        self.work.outcomes.push(Publication { topic: outputs::of(&outcome.what), stale, value });
    }

    fn dead_letter(&mut self, origin: Origin, record: &Unusable) {
        match serde_json::to_vec(&DeadLetter::of(origin, record)) {
            Ok(value) => self.work.outcomes.push(Publication { topic: outputs::DEAD_LETTERS, stale: false, value }),
            Err(error) => self.unwritable = Some(format!("cannot write a dead letter: {error}")),
        }
    }

    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize {
        if self.work.remember(self.store.seal, shard, written).is_err() {
            self.unwritable = Some("a customer's packed state cannot be read".to_owned());
        }
        0
    }

    fn word(&mut self, shard: ShardId, number: u32, text: &str) -> usize {
        self.work.words.push((shard, number, text.to_owned()));
        0
    }

    fn forget(&mut self, shard: ShardId, who: &Identity) -> usize {
        let mut key = Vec::new();
        pack_identity(who, &mut key);
        self.work.forgotten.push((shard, key));
        0
    }

    /// The store keeps all outcomes, for as long as it is told to.
    fn tombstone(&mut self, _who: &Identity) {}

    fn announce(&mut self, who: &Identity) {
        self.work.announced.push(erasures::encode(who));
    }

    fn hand_over(&mut self, to: ShardId, hand_off: &HandOff) {
        self.work.handed.push((to, handing::encode(hand_off)));
    }

    /// The store keeps each customer's latest state.
    fn keep_from(&mut self, _shard: ShardId, _sequence: u64) {}

    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        let mut work = std::mem::take(&mut self.work);
        if let Some(reason) = self.unwritable.take() {
            return Verdict::Lost(reason);
        }
        work.progress = progress.to_vec();
        match self.store.ask(|answer| Job::Commit { work, answer }) {
            Some(Verdict::Committed) => {
                self.trouble.forget();
                Verdict::Committed
            }
            Some(Verdict::Aborted(reason)) => self.undone(reason),
            Some(Verdict::Lost(reason)) => Verdict::Lost(reason),
            None => Verdict::Lost("the store is closed".to_owned()),
        }
    }

    fn abort(&mut self) -> Verdict {
        self.work = Work::default();
        self.unwritable = None;
        Verdict::Aborted("asked for".to_owned())
    }
}

/// A dead letter's JSON. Bytes that are text stand as text, others in hexadecimal digits.
#[derive(Serialize)]
struct DeadLetter<'a> {
    topic: &'static str,
    partition: ShardId,
    offset: i64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    /// Bytes of the value.
    size: usize,
    /// In place of a value that is too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_xxh3_128: Option<String>,
}

impl<'a> DeadLetter<'a> {
    fn of(origin: Origin, record: &'a Unusable) -> Self {
        let value = record.value.as_deref();
        let size = value.map_or(0, <[u8]>::len);
        let fits = size <= DEAD_LETTER_BYTES;
        let (key, key_hex) = shown(record.key.as_deref());
        let (shown_value, value_hex) = shown(value.filter(|_| fits));
        DeadLetter {
            topic: INPUT,
            partition: origin.shard,
            offset: origin.offset,
            reason: &record.reason,
            key,
            key_hex,
            value: shown_value,
            value_hex,
            size,
            value_xxh3_128: (!fits).then(|| format!("{:032x}", xxhash_rust::xxh3::xxh3_128(value.unwrap_or_default()))),
        }
    }
}

/// Bytes as text, or else as hexadecimal digits.
fn shown(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(std::str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(_)) => (None, bytes.map(hexadecimal)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| DIGITS[usize::from(half)]).collect()
}
