//! What delivery reads and writes on the embedded log: the store's outcomes, and a file of its own beside it that keeps how each
//! delivery stands, where reading goes on, and what could not be delivered.
//!
//! A file of its own, since deliveries come and go many times between two commits of the workers, who wait for nobody here.

mod kept;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{info, warn};

use super::{Entering, Entry, Refusal, Store};
use crate::outbox::{Event, Outbox, Write};
use crate::port::ShardId;
use crate::seldom::Seldom;
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;
use crate::wire::outputs;

use kept::{FILE, Kept};

pub(super) use kept::verify;

/// Outcomes read at once, and their bytes.
const AT_ONCE: usize = 1_000;
const BYTES: usize = 4 << 20;
/// All outcomes are one shard's here.
const SHARD: ShardId = 0;
/// Between two tries while the store takes nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two lines of the log while something goes on failing.
const TELL: Duration = Duration::from_secs(60);

/// What delivery reads and writes.
pub struct Deliveries {
    store: Arc<Store>,
    kept: Kept,
    /// The position that was read last.
    read: u64,
    seated: bool,
    stop: Arc<AtomicBool>,
    /// That something cannot be written.
    told: Seldom,
}

impl Deliveries {
    /// Opens the file, and makes it where it is missing: then it begins with what is published from now on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(store: Arc<Store>, stop: Arc<AtomicBool>) -> Result<Self, String> {
        let mut kept = Kept::open(&store.settings.dir, store.seal)?;
        let end = store.last_position() + 1;
        // A store that was put back to a backup has fewer outcomes.
        let next = kept.next().map_or(end, |next| next.min(end));
        kept.go_on_at(next).map_err(|error| format!("cannot write to {FILE}: {error}"))?;
        Ok(Deliveries { store, kept, read: next - 1, seated: false, stop, told: Seldom::new(TELL) })
    }

    /// Writes touchpoints from any thread; durable once it returns.
    pub fn reporter(&self) -> impl Fn(&Touchpoint, Vec<u8>) -> Result<(), String> + Send + Sync + 'static {
        let store = Arc::clone(&self.store);
        move |touchpoint: &Touchpoint, value: Vec<u8>| match store.append(vec![entry(touchpoint, value)], Entering::Live) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(words(refusal)),
        }
    }
}

impl Outbox for Deliveries {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        if !self.seated {
            self.seated = true;
            let kept = self.kept.rows().map_err(|error| format!("{FILE} cannot be read: {error}"))?;
            events.push(Event::Assigned { shard: SHARD, kept });
        }
        for stored in self.store.stored_after(self.read, AT_ONCE, BYTES, wait)? {
            self.read = stored.position;
            if stored.topic == outputs::INTERVENTIONS {
                events.push(Event::Record { shard: SHARD, offset: stored.position, value: stored.value });
            }
        }
        Ok(events)
    }

    fn write(&mut self, writes: Vec<Write>, now: Timestamp) -> Result<(), String> {
        // What has ended is told before it is known to have ended: killed in between, it is told again, and dropped as a repeat.
        let touchpoints = writes.iter().filter_map(|write| match write {
            Write::Touchpoint { touchpoint, value } => Some(entry(touchpoint, value.clone())),
            Write::Keep { .. } | Write::DeadLetter { .. } => None,
        });
        let touchpoints: Vec<Entry> = touchpoints.collect();
        while !touchpoints.is_empty()
            && let Err(refusal) = self.store.append(touchpoints.clone(), Entering::Live)
        {
            let reason = words(refusal);
            if self.stop.load(Ordering::Acquire) {
                return Err(reason);
            }
            if self.told.is_due() {
                warn!(reason, "the store takes nothing of delivery; trying again");
            }
            std::thread::sleep(PAUSE);
        }
        while let Err(error) = self.kept.keep(&writes, now) {
            if self.stop.load(Ordering::Acquire) {
                return Err(format!("cannot write to {FILE}: {error}"));
            }
            if self.told.is_due() {
                warn!(%error, "what delivery must keep cannot be written; trying again");
            }
            std::thread::sleep(PAUSE);
        }
        if self.told.ends() {
            info!("delivery can write again");
        }
        tell_of_dead_letters(&writes);
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<ShardId, u64>) -> Result<(), String> {
        // One that fails is made up for by the next.
        if let Some(Err(error)) = positions.get(&SHARD).map(|next| self.kept.go_on_at(*next))
            && self.told.is_due()
        {
            warn!(%error, "where delivery goes on was not written");
        }
        Ok(())
    }
}

fn tell_of_dead_letters(writes: &[Write]) {
    for write in writes {
        if let Write::DeadLetter { reason, destination, .. } = write {
            warn!(destination, reason, "an intervention could not be delivered");
        }
    }
}

fn entry(touchpoint: &Touchpoint, value: Vec<u8>) -> Entry {
    Entry {
        identity: Some(touchpoint.identity.clone()),
        id: Some(touchpoint.id.clone()),
        event_time: touchpoint.event_time,
        value,
    }
}

fn words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Full(reason) | Refusal::Loading(reason) | Refusal::TooLate(reason) | Refusal::Broken(reason) => reason,
    }
}
