//! The embedded log: Sillage without Kafka. One SQLite store in one directory holds touchpoints, state, outcomes and
//! positions, so that a commit is one local transaction: whatever is killed, nothing is lost and nothing is repeated.
//!
//! Why SQLite, of the transactional stores there are: the best-kept one, its file format is promised to be readable for
//! decades, its answer to a full disk and to a kill is documented and tested, and anybody can look inside with a tool that
//! every machine has. One thread writes; what waits for it is grouped into one transaction and answered when that is durable.
//!
//! Knows nothing of models beyond what is recorded of them, and of touchpoints only whose they are and their ids.

mod append;
mod backup;
mod batches;
mod board;
mod books;
mod counter;
mod deliveries;
mod disk;
mod drive;
mod fault;
mod ids;
mod offline;
mod opened;
mod outcomes;
mod people;
mod place;
mod retention;
mod schema;
mod seal;
mod sink;
mod snapshot;
mod succession;
mod tables;
#[cfg(test)]
mod tests;
mod upgrade;
mod work;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use compact_str::CompactString;
use rusqlite::Connection;

use crate::model::Model;
use crate::port::{Now, ShardOwner, Sink};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

use board::Board;
use place::Place;
use seal::Seal;
use writer::{Job, Writer};

pub use backup::{Backup, NoBackup, backup};
pub use deliveries::Deliveries;
pub use offline::{Fate, Filling, Offline, Step};
pub use snapshot::{Findings, Snapshot, Standing};

/// The name of the one input, for a worker's `topics` and in dead letters.
pub const INPUT: &str = "touchpoints";

/// At most so many partitions.
pub const MAX_PARTITIONS: u32 = 4_096;

/// Requests that wait for the writer; more make their senders wait.
const QUEUE: usize = 256;
/// How long the beginning of a history waits for the workers to come to rest.
const REST: Duration = Duration::from_secs(60);

/// Where the store lies and what it keeps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its directory; made where it is missing.
    pub dir: PathBuf,
    /// Number of shards; fixed once the store exists (rule 26).
    pub partitions: u32,
    /// Processed touchpoints are kept for so long.
    pub keep_touchpoints: Span,
    /// Outcomes and dead letters are kept for so long.
    pub keep_outcomes: Span,
    /// The names of models that are gone for good, with their journeys.
    pub retired: Vec<String>,
    /// The store grows to so many bytes; the last eighth is left to the workers' commits. `None`: as far as the disk goes.
    pub max_bytes: Option<u64>,
    /// Bytes of touchpoints that may wait for their turn in the shards of one worker.
    pub waiting_bytes: u64,
}

impl Settings {
    /// A store in `dir` with four partitions that keeps touchpoints for 7 days and outcomes for 30.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Settings {
            dir: dir.into(),
            partitions: 4,
            keep_touchpoints: Span::from_days(7),
            keep_outcomes: Span::from_days(30),
            retired: Vec::new(),
            max_bytes: None,
            waiting_bytes: 256 << 20,
        }
    }
}

/// A touchpoint to be appended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose it is; decides the shard. `None` for bytes that cannot be read: they go to the dead letters.
    pub identity: Option<Identity>,
    /// Its id, by which repeats are dropped (rule 17).
    pub id: Option<CompactString>,
    /// Its event time; the log time of a history being loaded.
    pub event_time: Timestamp,
    /// The record's bytes.
    pub value: Vec<u8>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Touchpoints that are durable now for the first time.
    pub accepted: u64,
    /// Repeats that were dropped.
    pub duplicates: u64,
}

/// Whether a touchpoint enters the log now, or stands for what happened long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entering {
    /// Log time is the instant of the durable append.
    Live,
    /// Log time is event time (rule 6); needs an open load.
    History,
}

/// Why an append was refused; nothing of the batch is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk is full. What is stored stays.
    Full(String),
    /// A history is being loaded, so live touchpoints must wait; or there is no load open for history.
    Loading(String),
    /// Stream time has already passed the beginning of this history.
    TooLate(String),
    /// The store is broken or closed.
    Broken(String),
}

/// A committed outcome or dead letter, with the position after which a reader goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// 1, 2, … over all topics; never used twice.
    pub position: u64,
    /// As `wire::outputs` names them.
    pub topic: String,
    /// The JSON that was published.
    pub value: Vec<u8>,
    /// Decided long after its deadline (rule 24).
    pub stale: bool,
}

/// An open store. One process at a time.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    board: Arc<Board>,
    /// Absent once the store is being closed.
    jobs: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
    /// Absent once the store is being closed.
    outcomes: Option<Mutex<Connection>>,
    seal: Seal,
    place: Place,
    /// One load is opened or ended at a time.
    loading: Mutex<()>,
    /// Held as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// A directory in use, not writable, made for other partitions or other models, with the next action.
    pub fn open(settings: &Settings, models: &[Arc<Model>], now: &Now) -> Result<Arc<Self>, String> {
        let lock = schema::lock(settings)?;
        let mut opened = schema::open(settings, models)?;
        succession::follow(&mut opened, settings, models)?;
        let outcomes = Some(Mutex::new(schema::reader(settings)?));
        crate::metrics::store_damaged(false);
        let seal = opened.seal;
        let board = Arc::new(Board::new(opened.books.clone()));
        let (jobs, queue) = sync_channel(QUEUE);
        let writer = Writer::new(opened, settings.clone(), Arc::clone(&board), Arc::clone(now));
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(&queue));
        let thread = thread.map_err(|error| format!("cannot start the store's thread: {error}"))?;
        Ok(Arc::new(Store {
            settings: settings.clone(),
            board,
            jobs: Some(jobs),
            writer: Some(thread),
            outcomes,
            seal,
            place: Place::of(&settings.dir),
            loading: Mutex::new(()),
            _lock: lock,
        }))
    }

    /// Appends a batch; returns when it is durable.
    ///
    /// # Errors
    /// Why nothing of it was stored.
    pub fn append(&self, batch: Vec<Entry>, entering: Entering) -> Result<Appended, Refusal> {
        if batch.is_empty() {
            return Ok(Appended::default());
        }
        self.ask(|answer| Job::Append { batch, entering, answer }).unwrap_or_else(|| Err(closed()))
    }

    /// Lets every shard hear that somebody is to be erased; returns when that is durable. What entered the log before is then
    /// forgotten, in the order of the log.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn erase(&self, who: &Identity) -> Result<(), Refusal> {
        self.ask(|answer| Job::Erase { who: who.clone(), answer }).unwrap_or_else(|| Err(closed()))
    }

    /// At most `limit` outcomes and dead letters after a position, waiting up to `wait` for the first. What brings them to
    /// `bytes` is the last of them.
    ///
    /// # Errors
    /// A store that cannot be read, or is damaged there: then [`Store::health`] says so too.
    pub fn stored_after(&self, position: u64, limit: usize, bytes: usize, wait: Duration) -> Result<Vec<Stored>, String> {
        self.board.wait_published(position, wait);
        // What is in the store and not counted yet is nobody's.
        let limit = limit.min(usize::try_from(self.last_position().saturating_sub(position)).unwrap_or(usize::MAX));
        let Some(connection) = self.outcomes.as_ref().filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes::read_after(&connection, self.seal, position, (limit, bytes)).map_err(|unread| {
            let reason = unread.to_string();
            self.board.hurt(&reason);
            reason
        })
    }

    /// Whether all that was read and written so far is as it should be.
    ///
    /// # Errors
    /// What is wrong with the store, and what to do.
    pub fn health(&self) -> Result<(), String> {
        self.board.health()
    }

    /// Position of the latest outcome or dead letter; 0 before the first.
    pub fn last_position(&self) -> u64 {
        self.board.books(|books| books.published)
    }

    /// Touchpoints that are durable and not yet processed by a committed transaction.
    pub fn pending(&self) -> u64 {
        self.board.books(|books| books.shards.iter().map(|shard| shard.pending()).sum())
    }

    /// Number of shards.
    pub fn partitions(&self) -> u32 {
        self.settings.partitions
    }

    /// Whether a history is being loaded.
    pub fn is_loading(&self) -> bool {
        self.board.books(|books| books.loading)
    }

    /// Why nothing can be stored now, as far as that is known: the disk is full, the store is broken, or a transaction has not
    /// come back from the disk for `still`.
    pub fn trouble(&self, now: Timestamp, still: Duration) -> Option<String> {
        let room = disk::room(&self.settings.dir, disk::Wanted::Touchpoints);
        let fault = || self.place.check().and(room).err().map(|fault| fault.reason().to_owned());
        self.board.trouble(now, still).or_else(fault)
    }

    /// Opens the load of a history that begins at `first`; opening one that is open already goes on with it.
    ///
    /// Whatever stream time the workers hold in mind beyond their last commit is given up for it: they come to rest, and go
    /// on from what is committed.
    ///
    /// # Errors
    /// Where stream time has already passed `first`.
    pub fn begin_history(&self, first: Timestamp) -> Result<(), Refusal> {
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.board.books(|books| if books.loading { Ok(()) } else { books.admits_history(first) })?;
        let at_rest = self.board.ask_for_rest(REST);
        let answer = if at_rest {
            self.ask(|answer| Job::BeginHistory { first, answer }).unwrap_or_else(|| Err(closed()))
        } else {
            let busy = "the workers cannot commit what they have decided; look at the log for the reason, and try again";
            Err(Refusal::Broken(busy.to_owned()))
        };
        self.board.end_rest();
        answer
    }

    /// Ends the load of a history: stream time may go on to the present.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn end_history(&self) -> Result<(), Refusal> {
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.ask(|answer| Job::EndHistory { answer }).unwrap_or_else(|| Err(closed()))
    }

    /// Hands a job to the writer and waits for its answer; `None` when there is no writer any more.
    fn ask<T>(&self, job: impl FnOnce(SyncSender<T>) -> Job) -> Option<T> {
        let (answer, wait): (SyncSender<T>, Receiver<T>) = sync_channel(1);
        self.jobs.as_ref()?.send(job(answer)).ok()?;
        wait.recv().ok()
    }
}

impl Drop for Store {
    /// Ends the writer once it has answered what waits, and only then lets go of the directory.
    fn drop(&mut self) {
        self.jobs = None;
        // Whoever closes the store last takes SQLite's log away, and must be able to write.
        self.outcomes = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing more to say.
            let _ = writer.join();
        }
    }
}

/// Runs one worker's side of the store on this thread until `stop` is set or something ends it. Worker `worker` of `workers`
/// owns the shards whose number leaves that remainder.
///
/// # Errors
/// The reason why the worker cannot go on.
pub fn drive(
    store: &Arc<Store>,
    worker: usize,
    workers: usize,
    now: &Now,
    stop: &AtomicBool,
    make_owner: impl FnOnce(Box<dyn Sink>) -> Arc<Mutex<dyn ShardOwner>>,
) -> Result<(), String> {
    let trouble = Arc::new(sink::Trouble::default());
    let sink = sink::StoreSink::new(Arc::clone(store), Arc::clone(&trouble));
    let owner = make_owner(Box::new(sink));
    let shards = (0..store.partitions()).filter(|shard| *shard as usize % workers.max(1) == worker).collect();
    drive::Driver::new(store, shards, owner, now, trouble)?.run(stop)
}

fn closed() -> Refusal {
    Refusal::Broken("the store is closed; start Sillage again".to_owned())
}
