//! The real log: Apache Kafka through rdkafka.
//!
//! One consumer and one transactional producer per worker. What has to be asked of them, and in which order, so that nothing
//! is lost or doubled, stands in [`crate::ledger`]; here is how rdkafka is asked: `transactions` commits, `rebalance` performs
//! what [`crate::ledger::group`] decides when partitions come and go, `restore` reads the state log, `log_trimmer` cuts it, `ends`
//! knows where the inputs end, `leaders` asks what rdkafka cannot ask, `deliveries` is what delivery reads and writes (`overheard`: what widgets read), `source` polls, and takes records by the hundred from `batch`. Knows nothing of models or
//! journeys.

mod answers;
mod batch;
mod client;
mod deliveries;
mod ends;
pub mod erase;
mod follow;
mod leaders;
mod log_trimmer;
mod offline;
mod offline_transaction;
mod overheard;
mod pace;
pub mod produce;
mod promises;
mod pulse;
mod rebalance;
mod restore;
mod source;
mod stalls;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use tracing::info;

use source::Over;

use self::stalls::Unproven;
use crate::ledger::{Ledger, LedgerSink};
use crate::memory::Budget;
use crate::port::{Now, ShardOwner, Sink};
use crate::shard::Settings;
use crate::time::Span;
use crate::wire::Format;
use crate::wire::pages::Mark;

pub use crate::ledger::group::{Protocol, Start};
pub use deliveries::{Begin, Deliveries};
pub use follow::{Followed, follow};
pub use offline::{Extent, Kept, Offline};
pub use offline_transaction::OfflineTransaction;
pub use overheard::Overheard;
pub use pace::keep_pace;
pub use promises::{Promise, Silence, promises};
pub use pulse::feel_pulse;
pub use topics::{Create, Facts, Stamps, Standing, Trouble, prepare, remove};

/// Of brokers that were away so recently, being fenced says little; so often in that time a member joins anew.
const MENDING: Duration = Duration::from_secs(300);
const MENDED: usize = 3;
/// Between two looks at the entrance.
const LOOK: Duration = Duration::from_millis(10);

/// How to reach the brokers, and what is read and written there.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// Tells the instances of a group apart; stable across restarts, since the transactional ids and the places in the group
    /// derive from it.
    pub instance: String,
    /// Who deals the partitions.
    pub protocol: Protocol,
    /// Input topics, sorted by name.
    pub inputs: Vec<String>,
    /// Prefix of the output topics.
    pub output: String,
    /// Format of the outcomes.
    pub format: Format,
    /// Where a group without offsets starts.
    pub start: Start,
    /// Any librdkafka property, for all clients.
    pub properties: BTreeMap<String, String>,
    /// An input is paused when so many of its records wait in a shard.
    pub buffered_records: usize,
    /// How far stream time stays behind the present in silence, where somebody has set it.
    pub settle: Option<Span>,
    /// What the process may take in memory for what passes through it.
    pub memory: Budget,
}

/// What a worker waits for before it takes a place in its group: at once, or when a standby is to take over.
#[derive(Debug, Default)]
pub struct Entrance {
    /// What the standby has read by then.
    pub followed: Followed,
    open: AtomicBool,
}

impl Entrance {
    /// Lets the workers in.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Waits until it is open, or the service is to stop.
    fn pass(&self, stop: &AtomicBool) {
        while !self.open.load(Ordering::Acquire) && !stop.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
        }
    }
}

/// Runs one worker's side of Kafka on this thread until `stop` is set or something ends it.
///
/// `make_owner` makes the worker around the sink that it is given. Clients are made, and get to know the brokers, before the
/// `entrance` opens.
///
/// # Errors
/// The reason why the worker cannot go on.
#[expect(clippy::too_many_arguments, reason = "the parts of a worker, put together in one place")]
pub fn drive(
    worker: usize,
    connection: &Arc<Connection>,
    ledger: &Arc<Ledger>,
    facts: &Facts,
    entrance: &Arc<Entrance>,
    now: &Now,
    stop: &Arc<AtomicBool>,
    make_owner: impl FnOnce(Box<dyn Sink>) -> Arc<Mutex<dyn ShardOwner>>,
) -> Result<(), String> {
    let membership = Arc::new(transactions::Membership::default());
    let mut log =
        transactions::KafkaTransactions::connect(Arc::clone(connection), facts, worker, Arc::clone(&membership), stop)?;
    let unproven = connection.unproven(facts);
    let connect = || {
        let restorer = restore::Restorer::start(Arc::clone(connection), Arc::clone(ledger), Arc::clone(entrance), stop)?;
        source::connect(connection, unproven, facts, worker, restorer, ledger, stop)
    };
    let mut consumer = connect()?;
    membership.set(&consumer);
    entrance.pass(stop);
    if stop.load(Ordering::Acquire) {
        return Ok(());
    }
    // Before anything is read: it ends what a predecessor left open, which would block the question for the offsets.
    if let Err(reason) = log.begin_for_good() {
        // Whoever is asked to stop before anything has begun leaves nothing undone.
        return if stop.load(Ordering::Acquire) { Ok(()) } else { Err(reason) };
    }
    // Names this process's attempts to commit among those of all that ever used the transactional id.
    let name = uuid::Uuid::new_v4().simple().to_string();
    let sink = LedgerSink::new(Arc::clone(ledger), log, name).with_compacted(facts.compacted.clone());
    let owner = make_owner(Box::new(sink));
    let mut mended = Vec::new();
    loop {
        consumer.context().set_owner(Arc::clone(&owner));
        let reason = match source::drive(connection, unproven, &consumer, now, stop) {
            Ok(()) => return Ok(()),
            Err(Over::NotBegun(reason) | Over::Unable(reason)) => return Err(reason),
            Err(Over::Fenced(reason)) => reason,
        };
        // After an outage the brokers may take one member for two, and fence it. Otherwise somebody has taken its place.
        mended.retain(|mended: &Instant| mended.elapsed() < MENDING);
        if !consumer.context().were_brokers_away(MENDING) || mended.len() >= MENDED {
            return Err(reason);
        }
        mended.push(Instant::now());
        info!(reason, "the brokers were away and have fenced this member: it joins its group anew");
        drop(consumer);
        consumer = connect()?;
        membership.set(&consumer);
    }
}

impl Connection {
    fn unproven(&self, facts: &Facts) -> Unproven {
        let (in_sync_for, settle) = (facts.in_sync_for, self.settle);
        let more = in_sync_for.as_millis() - Settings::default().settle.as_millis();
        let silence = Span::from_millis(if settle.is_some() { 0 } else { more.max(0) });
        Unproven { silence, in_sync_for, settle }
    }

    /// What the ledger of this connection is about.
    pub fn ledger(&self, facts: &Facts, models: Vec<Mark>) -> Ledger {
        Ledger {
            group: self.group.clone(),
            inputs: self.inputs.clone(),
            output: self.output.clone(),
            partitions: facts.partitions,
            format: self.format,
            dead_letter_bytes: facts.dead_letter_bytes,
            models,
        }
    }
}
