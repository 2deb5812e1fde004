//! What delivery reads and writes on the embedded log: the store's outcomes, and a file of its own beside it that keeps how each
//! delivery stands, where reading goes on, and what could not be delivered.
//!
//! A file of its own, since deliveries come and go many times between two commits of the workers, who wait for nobody here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tracing::warn;

use super::{Entering, Entry, Refusal, Store};
use crate::outbox::{Event, Outbox, Write};
use crate::port::ShardId;
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;
use crate::wire::outputs;

/// Beside the store.
const FILE: &str = "deliveries.db";
/// Outcomes read at once, and their bytes.
const AT_ONCE: usize = 1_000;
const BYTES: usize = 4 << 20;
/// All outcomes are one shard's here.
const SHARD: ShardId = 0;
/// Between two tries while the store takes nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// Dead letters that are kept.
const DEAD_LETTERS: u32 = 10_000;

const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS position (only INTEGER PRIMARY KEY CHECK (only = 0), next INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS dead_letters (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, destination TEXT NOT NULL,
        reason TEXT NOT NULL, value BLOB NOT NULL);";

/// What delivery reads and writes.
pub struct Deliveries {
    store: Arc<Store>,
    file: Connection,
    /// The position that was read last.
    read: u64,
    seated: bool,
    stop: Arc<AtomicBool>,
}

impl Deliveries {
    /// Opens the file, and makes it where it is missing: then it begins with what is published from now on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(store: Arc<Store>, stop: Arc<AtomicBool>) -> Result<Self, String> {
        let path = store.settings.dir.join(FILE);
        let fault = |error: rusqlite::Error| format!("cannot open {}: {error}", path.display());
        let file = Connection::open(&path).map_err(fault)?;
        file.execute_batch(TABLES).map_err(fault)?;
        let next = file.query_row("SELECT next FROM position", [], |row| row.get::<_, i64>(0)).optional().map_err(fault)?;
        let next = match next {
            // A store that was put back to a backup has fewer outcomes.
            Some(next) => next.cast_unsigned().min(store.last_position() + 1),
            None => store.last_position() + 1,
        };
        let deliveries = Deliveries { store, file, read: next - 1, seated: false, stop };
        deliveries.go_on_at(next).map_err(|error| format!("cannot write to {FILE}: {error}"))?;
        Ok(deliveries)
    }

    /// Writes touchpoints from any thread; durable once it returns.
    pub fn reporter(&self) -> impl Fn(&Touchpoint, Vec<u8>) -> Result<(), String> + Send + Sync + 'static {
        let store = Arc::clone(&self.store);
        move |touchpoint: &Touchpoint, value: Vec<u8>| match store.append(vec![entry(touchpoint, value)], Entering::Live) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(words(refusal)),
        }
    }

    fn go_on_at(&self, next: u64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO position VALUES (0, ?1) ON CONFLICT DO UPDATE SET next = excluded.next";
        self.file.prepare_cached(sql)?.execute([next.cast_signed()]).map(drop)
    }

    fn kept(&self) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
        let mut statement = self.file.prepare("SELECT key, value FROM kept")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    fn keep(&mut self, writes: &[Write], now: Timestamp) -> rusqlite::Result<()> {
        let transaction = self.file.transaction()?;
        for write in writes {
            match write {
                Write::Keep { key, value: Some(value), .. } => {
                    let sql = "INSERT INTO kept VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
                    transaction.prepare_cached(sql)?.execute(params![key, value])?;
                }
                Write::Keep { key, value: None, .. } => {
                    transaction.prepare_cached("DELETE FROM kept WHERE key = ?1")?.execute([key])?;
                }
                Write::DeadLetter { value, reason, destination, .. } => {
                    let sql = "INSERT INTO dead_letters (at, destination, reason, value) VALUES (?1, ?2, ?3, ?4)";
                    transaction.prepare_cached(sql)?.execute(params![now.as_millis(), destination, reason, value])?;
                    let sql = "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - ?1";
                    transaction.prepare_cached(sql)?.execute([DEAD_LETTERS])?;
                    warn!(destination, reason, "an intervention could not be delivered");
                }
                Write::Touchpoint { .. } => {}
            }
        }
        transaction.commit()
    }
}

impl Outbox for Deliveries {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        if !self.seated {
            self.seated = true;
            let kept = self.kept().map_err(|error| format!("{FILE} cannot be read: {error}"))?;
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
            warn!(reason, "the store takes nothing of delivery; trying again");
            std::thread::sleep(PAUSE);
        }
        while let Err(error) = self.keep(&writes, now) {
            if self.stop.load(Ordering::Acquire) {
                return Err(format!("cannot write to {FILE}: {error}"));
            }
            warn!(%error, "what delivery must keep cannot be written; trying again");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<ShardId, u64>) -> Result<(), String> {
        // One that fails is made up for by the next.
        if let Some(Err(error)) = positions.get(&SHARD).map(|next| self.go_on_at(*next)) {
            warn!(%error, "where delivery goes on was not written");
        }
        Ok(())
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
