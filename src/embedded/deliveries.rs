//! What delivery reads and writes on the embedded log: the store's outcomes, and a file of its own beside it that keeps how each
//! delivery stands, where reading goes on, and what could not be delivered.
//!
//! A file of its own, since deliveries come and go many times between two commits of the workers, who wait for nobody here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tracing::{info, warn};

use super::seal::{Seal, Sort};
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

/// Says that the file was there: one that is gone does not look like one that never was.
const MADE: &str = "deliveries.made";
/// Between two lines of the log while something goes on failing.
const TELLING: Duration = Duration::from_secs(60);

const VERSION: i64 = 1;
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL, seal INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS position (only INTEGER PRIMARY KEY CHECK (only = 0), next INTEGER NOT NULL, kept INTEGER NOT NULL,
        seal INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS dead_letters (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, destination TEXT NOT NULL,
        reason TEXT NOT NULL, value BLOB NOT NULL, seal INTEGER NOT NULL);";
/// The file as it was before anything in it had a seal.
const SEALED: &str = "
    ALTER TABLE kept ADD COLUMN seal INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE position ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE position ADD COLUMN seal INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE dead_letters ADD COLUMN seal INTEGER NOT NULL DEFAULT 0;";

/// What delivery reads and writes.
pub struct Deliveries {
    store: Arc<Store>,
    file: Connection,
    /// The position that was read last.
    read: u64,
    /// The sum of the seals of what is kept: a row that is gone is missed there.
    sum: i64,
    seated: bool,
    stop: Arc<AtomicBool>,
    /// When it was told last that something cannot be written.
    told: Option<Instant>,
}

impl Deliveries {
    /// Opens the file, and makes it where it is missing: then it begins with what is published from now on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(store: Arc<Store>, stop: Arc<AtomicBool>) -> Result<Self, String> {
        let (dir, seal) = (&store.settings.dir, store.seal);
        let path = dir.join(FILE);
        missing(dir).map_or(Ok(()), Err)?;
        let fault = |error: rusqlite::Error| unreadable(dir, &error);
        let mut file = Connection::open(&path).map_err(fault)?;
        file.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(fault)?;
        make(&mut file, seal).map_err(fault)?;
        let read = read(&file, seal).map_err(|unread| unread.of(dir))?;
        let next = match read.next {
            // A store that was put back to a backup has fewer outcomes.
            Some(next) => next.cast_unsigned().min(store.last_position() + 1),
            None => store.last_position() + 1,
        };
        let deliveries = Deliveries { sum: read.sum, store, file, read: next - 1, seated: false, stop, told: None };
        deliveries.go_on_at(next).map_err(|error| format!("cannot write to {FILE}: {error}"))?;
        let dir = &deliveries.store.settings.dir;
        let made = std::fs::write(dir.join(MADE), format!("{:016x}\n", seal.name()));
        made.map_err(|error| format!("cannot write to {}: {error}", dir.join(MADE).display()))?;
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
        set_position(&self.file, self.store.seal, next.cast_signed(), self.sum)
    }

    fn kept(&self) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
        let mut statement = self.file.prepare("SELECT key, value FROM kept")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    fn keep(&mut self, writes: &[Write], now: Timestamp) -> rusqlite::Result<()> {
        let seal = self.store.seal;
        let transaction = self.file.transaction()?;
        let mut sum = self.sum;
        for write in writes {
            match write {
                Write::Keep { key, value, .. } => {
                    let known = "SELECT seal FROM kept WHERE key = ?1";
                    let known =
                        transaction.prepare_cached(known)?.query_row([key], |row| row.get::<_, i64>(0)).optional()?;
                    sum = sum.wrapping_sub(known.unwrap_or(0));
                    if let Some(value) = value {
                        let seal = seal_of_kept(seal, key, value);
                        let sql = "INSERT INTO kept VALUES (?1, ?2, ?3)
                            ON CONFLICT DO UPDATE SET value = excluded.value, seal = excluded.seal";
                        transaction.prepare_cached(sql)?.execute(params![key, value, seal])?;
                        sum = sum.wrapping_add(seal);
                    } else {
                        transaction.prepare_cached("DELETE FROM kept WHERE key = ?1")?.execute([key])?;
                    }
                }
                Write::DeadLetter { value, reason, destination, .. } => {
                    let seal = seal_of_letter(seal, now.as_millis(), destination, reason, value);
                    let sql = "INSERT INTO dead_letters (at, destination, reason, value, seal) VALUES (?1, ?2, ?3, ?4, ?5)";
                    transaction.prepare_cached(sql)?.execute(params![now.as_millis(), destination, reason, value, seal])?;
                    let sql = "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - ?1";
                    transaction.prepare_cached(sql)?.execute([DEAD_LETTERS])?;
                    warn!(destination, reason, "an intervention could not be delivered");
                }
                Write::Touchpoint { .. } => {}
            }
        }
        if sum != self.sum {
            let next = transaction.query_row("SELECT next FROM position", [], |row| row.get(0))?;
            set_position(&transaction, seal, next, sum)?;
        }
        transaction.commit()?;
        self.sum = sum;
        Ok(())
    }

    /// Whether it is time to tell that something cannot be written.
    fn is_to_be_told(&mut self) -> bool {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELLING);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }

    fn is_written(&mut self) {
        if self.told.take().is_some() {
            info!("delivery can write again");
        }
    }
}

/// What the file says.
struct Read {
    next: Option<i64>,
    sum: i64,
}

/// Why it cannot be used.
enum Unfit {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        Unfit::Sqlite(error)
    }
}

impl Unfit {
    fn of(self, dir: &Path) -> String {
        match self {
            Unfit::Sqlite(error) => unreadable(dir, &error),
            Unfit::Damaged(what) => format!("{} is damaged: {what}; {}", dir.join(FILE).display(), remedy()),
        }
    }
}

fn remedy() -> String {
    format!(
        "put it back, or delete {FILE} and {MADE}: delivery then goes on with what is published from now on, and what waited is not \
         delivered"
    )
}

fn unreadable(dir: &Path, error: &rusqlite::Error) -> String {
    format!("{} cannot be used ({error}); if the disk is sound, {}", dir.join(FILE).display(), remedy())
}

/// What is wrong where the file was there and is no more.
fn missing(dir: &Path) -> Option<String> {
    let is_empty = std::fs::metadata(dir.join(FILE)).map_or(0, |file| file.len()) == 0;
    let gone = || format!("{} was there, and is empty or gone; {}", dir.join(FILE).display(), remedy());
    (is_empty && dir.join(MADE).exists()).then(gone)
}

fn make(file: &mut Connection, seal: Seal) -> rusqlite::Result<()> {
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0));
    let version = number("PRAGMA user_version")?;
    if version >= VERSION {
        return Ok(());
    }
    let was_there = number("SELECT count(*) FROM sqlite_master WHERE name = 'kept'")? > 0;
    let transaction = file.transaction()?;
    if was_there {
        transaction.execute_batch(SEALED)?;
        seal_all(&transaction, seal)?;
    }
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn seal_all(file: &Connection, seal: Seal) -> rusqlite::Result<()> {
    let mut sum = 0_i64;
    for (key, value, _) in kept_rows(file)? {
        let seal = seal_of_kept(seal, &key, &value);
        sum = sum.wrapping_add(seal);
        file.execute("UPDATE kept SET seal = ?1 WHERE key = ?2", params![seal, key])?;
    }
    for Letter { number, at, destination, reason, value, .. } in letters(file)? {
        let seal = seal_of_letter(seal, at, &destination, &reason, &value);
        file.execute("UPDATE dead_letters SET seal = ?1 WHERE number = ?2", [seal, number])?;
    }
    let next = file.query_row("SELECT next FROM position", [], |row| row.get(0)).optional()?;
    next.map_or(Ok(()), |next| set_position(file, seal, next, sum))
}

fn kept_rows(file: &Connection) -> rusqlite::Result<Vec<(String, Vec<u8>, i64)>> {
    let mut statement = file.prepare("SELECT key, value, seal FROM kept")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

struct Letter {
    number: i64,
    at: i64,
    destination: String,
    reason: String,
    value: Vec<u8>,
    seal: i64,
}

fn letters(file: &Connection) -> rusqlite::Result<Vec<Letter>> {
    let mut statement = file.prepare("SELECT number, at, destination, reason, value, seal FROM dead_letters")?;
    let letter = |row: &rusqlite::Row<'_>| {
        Ok(Letter {
            number: row.get(0)?,
            at: row.get(1)?,
            destination: row.get(2)?,
            reason: row.get(3)?,
            value: row.get(4)?,
            seal: row.get(5)?,
        })
    };
    statement.query_map([], letter)?.collect()
}

fn seal_of_kept(seal: Seal, key: &str, value: &[u8]) -> i64 {
    seal.of(Sort::Kept, &[key.len() as i64], &[key.as_bytes(), value].concat()).cast_signed()
}

fn seal_of_position(seal: Seal, next: i64, sum: i64) -> i64 {
    seal.of(Sort::Reading, &[next, sum], b"").cast_signed()
}

fn seal_of_letter(seal: Seal, at: i64, destination: &str, reason: &str, value: &[u8]) -> i64 {
    let numbers = [at, destination.len() as i64, reason.len() as i64];
    seal.of(Sort::DeadLetter, &numbers, &[destination.as_bytes(), reason.as_bytes(), value].concat()).cast_signed()
}

fn set_position(file: &Connection, seal: Seal, next: i64, sum: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO position VALUES (0, ?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET next = excluded.next, kept = excluded.kept, seal = excluded.seal";
    file.prepare_cached(sql)?.execute([next, sum, seal_of_position(seal, next, sum)]).map(drop)
}

/// Reads and checks what delivery goes on from.
fn read(file: &Connection, seal: Seal) -> Result<Read, Unfit> {
    let mut sum = 0_i64;
    for (key, value, known) in kept_rows(file)? {
        if seal_of_kept(seal, &key, &value) != known {
            return Err(Unfit::Damaged(format!("the delivery {key:?} is not what was written")));
        }
        sum = sum.wrapping_add(known);
    }
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let position = file.query_row("SELECT next, kept, seal FROM position", [], row).optional()?;
    match position {
        None if sum == 0 => Ok(Read { next: None, sum }),
        Some((next, kept, known)) if seal_of_position(seal, next, kept) == known && kept == sum => {
            Ok(Read { next: Some(next), sum })
        }
        None | Some(_) => {
            Err(Unfit::Damaged("deliveries are missing, or where to go on is not what was written".to_owned()))
        }
    }
}

/// What is wrong with the file beside a store, if it is there or was.
pub(super) fn verify(dir: &Path, seal: Seal) -> Option<String> {
    let path = dir.join(FILE);
    if let Some(missing) = missing(dir) {
        return Some(missing);
    }
    if !path.exists() {
        return None;
    }
    let check = || -> Result<(), Unfit> {
        let file = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // A service may write: all is read as of one commit.
        file.execute_batch("BEGIN")?;
        let told: String = file.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if told != "ok" {
            return Err(Unfit::Damaged(told));
        }
        // One of an earlier version has nothing to be held against.
        if file.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? < VERSION {
            return Ok(());
        }
        read(&file, seal)?;
        let is_wrong = |letter: &Letter| {
            seal_of_letter(seal, letter.at, &letter.destination, &letter.reason, &letter.value) != letter.seal
        };
        match letters(&file)?.iter().find(|letter| is_wrong(letter)) {
            Some(letter) => Err(Unfit::Damaged(format!("dead letter {} is not what was written", letter.number))),
            None => Ok(()),
        }
    };
    check().err().map(|unfit| unfit.of(dir))
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
            if self.is_to_be_told() {
                warn!(reason, "the store takes nothing of delivery; trying again");
            }
            std::thread::sleep(PAUSE);
        }
        while let Err(error) = self.keep(&writes, now) {
            if self.stop.load(Ordering::Acquire) {
                return Err(format!("cannot write to {FILE}: {error}"));
            }
            if self.is_to_be_told() {
                warn!(%error, "what delivery must keep cannot be written; trying again");
            }
            std::thread::sleep(PAUSE);
        }
        self.is_written();
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<ShardId, u64>) -> Result<(), String> {
        // One that fails is made up for by the next.
        if let Some(Err(error)) = positions.get(&SHARD).map(|next| self.go_on_at(*next))
            && self.is_to_be_told()
        {
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
