//! The one thread that writes. It takes what waits, makes one transaction of it, and answers when that is durable; a
//! transaction that fails is tried again job by job, so that nobody pays for another's fault.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tracing::{debug, error, warn};

use super::append::{announce, append};
use super::board::Board;
use super::books::Books;
use super::disk::{Wanted, room};
use super::fault::Fault;
use super::ids::Ids;
use super::retention::{Swept, sweep};
use super::schema::{Opened, PAGE_BYTES};
use super::work::Work;
use super::{Appended, Entering, Entry, Refusal, Settings};
use crate::port::{Now, ShardId, Verdict};
use crate::time::Timestamp;
use crate::touchpoint::Identity;
use crate::wire::erasures;

/// So many touchpoints make a transaction full; what waits goes into the next.
const GROUP_ENTRIES: usize = 20_000;
/// So many bytes likewise.
const GROUP_BYTES: usize = 16 << 20;
/// How often to look for what retention is to delete.
const SWEEP: Duration = Duration::from_secs(1);
/// Between two lines about transactions that were rolled back.
const TELL: Duration = Duration::from_secs(60);
/// What the writer is asked for.
pub(super) enum Job {
    Append { batch: Vec<Entry>, entering: Entering, answer: SyncSender<Result<Appended, Refusal>> },
    Commit { work: Work, answer: SyncSender<Verdict> },
    Erase { who: Identity, answer: SyncSender<Result<(), Refusal>> },
    BeginHistory { first: Timestamp, answer: SyncSender<Result<(), Refusal>> },
    EndHistory { answer: SyncSender<Result<(), Refusal>> },
}

/// An answer that is held back until the transaction is durable. Who no longer waits for it does not get it.
type Answer = Box<dyn FnOnce()>;

fn answer<T: 'static>(to: &SyncSender<T>, with: T) -> Answer {
    let to = to.clone();
    Box::new(move || drop(to.send(with)))
}

impl Job {
    fn size(&self) -> (usize, usize) {
        match self {
            Job::Append { batch, .. } => (batch.len(), batch.iter().map(|entry| entry.value.len()).sum()),
            Job::Commit { work, .. } => (0, work.bytes()),
            Job::Erase { .. } | Job::BeginHistory { .. } | Job::EndHistory { .. } => (0, 0),
        }
    }

    fn refusal(self, fault: Fault) -> Answer {
        match self {
            Job::Append { answer: to, .. } => answer(&to, Err(fault.refusal())),
            Job::Commit { answer: to, .. } => answer(&to, fault.verdict()),
            Job::Erase { answer: to, .. } | Job::BeginHistory { answer: to, .. } | Job::EndHistory { answer: to } => {
                answer(&to, Err(fault.refusal()))
            }
        }
    }
}

/// The writer.
pub(super) struct Writer {
    connection: Connection,
    books: Books,
    ids: Ids,
    settings: Settings,
    board: Arc<Board>,
    now: Now,
    /// Why nothing is written any more.
    broken: Option<Fault>,
    next_sweep: Instant,
    /// When it was told last that a transaction was rolled back.
    told: Option<Instant>,
}

impl Writer {
    pub(super) fn new(opened: Opened, settings: Settings, board: Arc<Board>, now: Now) -> Self {
        let Opened { connection, books, ids } = opened;
        Writer { connection, books, ids, settings, board, now, broken: None, next_sweep: Instant::now(), told: None }
    }

    /// Writes until nobody can ask for anything any more.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            match queue.recv_timeout(self.next_sweep.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let group = gather(first, queue);
                    self.group(group);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= self.next_sweep {
                self.sweep();
            }
        }
    }

    fn group(&mut self, jobs: Vec<Job>) {
        let answers = match self.transact(&jobs) {
            Ok(answers) => answers,
            Err(fault) if jobs.len() == 1 => jobs.into_iter().map(|job| job.refusal(fault.clone())).collect(),
            Err(_) => {
                let one_by_one = jobs.into_iter().flat_map(|job| {
                    let done = self.transact(std::slice::from_ref(&job));
                    done.unwrap_or_else(|fault| vec![job.refusal(fault)])
                });
                one_by_one.collect()
            }
        };
        self.board.ended();
        answers.into_iter().for_each(|answer| answer());
    }

    /// One transaction: all of it is durable when this returns, or nothing of it is there.
    fn transact(&mut self, jobs: &[Job]) -> Result<Vec<Answer>, Fault> {
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        self.make_room();
        let stamp = self.board.begin(&self.now);
        let mut books = self.books.clone();
        let written = self.write(&mut books, jobs, stamp);
        match written {
            Ok(done) => {
                self.board.durable(&books);
                self.ids.committed();
                self.books = books;
                Ok(done)
            }
            Err(error) => {
                self.ids.undone();
                Err(self.roll_back(error))
            }
        }
    }

    fn write(&mut self, books: &mut Books, jobs: &[Job], stamp: Timestamp) -> rusqlite::Result<Vec<Answer>> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match job {
                Job::Append { batch, entering, answer: to } => answer(to, self.append(books, batch, *entering, stamp)?),
                Job::Commit { work, answer: to } => answer(to, self.commit(books, work, stamp)?),
                Job::Erase { who, answer: to } => answer(to, self.erase(books, who, stamp)?),
                Job::BeginHistory { first, answer: to } => answer(to, begin_history(books, *first)),
                Job::EndHistory { answer: to } => {
                    books.loading = false;
                    answer(to, Ok(()))
                }
            });
        }
        books.save(&self.books, &self.connection)?;
        self.ids.save(&self.connection, stamp)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(answers)
    }

    fn append(
        &mut self,
        books: &mut Books,
        batch: &[Entry],
        entering: Entering,
        stamp: Timestamp,
    ) -> rusqlite::Result<Result<Appended, Refusal>> {
        match self.room() {
            Ok(()) => append(&self.connection, books, &mut self.ids, batch, entering, stamp),
            Err(fault) => Ok(Err(fault.refusal())),
        }
    }

    fn erase(&self, books: &mut Books, who: &Identity, stamp: Timestamp) -> rusqlite::Result<Result<(), Refusal>> {
        if books.loading {
            return Ok(Err(Refusal::Loading("a history is being loaded; ask again when it has ended".to_owned())));
        }
        if let Err(fault) = room(&self.settings.dir, Wanted::Commit) {
            return Ok(Err(fault.refusal()));
        }
        announce(&self.connection, books, &erasures::encode(who), stamp).map(Ok)
    }

    /// Undoes a transaction that failed. What cannot even be undone is broken.
    fn roll_back(&mut self, error: rusqlite::Error) -> Fault {
        let fault = Fault::from(error);
        let undone = self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        let fault = if undone { fault } else { Fault::Broken(format!("cannot undo what failed: {}", fault.reason())) };
        match &fault {
            Fault::Full(reason) | Fault::Disk(reason) if self.told.is_none_or(|told| told.elapsed() >= TELL) => {
                self.told = Some(Instant::now());
                warn!(reason, "a transaction of the store was rolled back");
            }
            Fault::Full(reason) | Fault::Disk(reason) => debug!(reason, "a transaction of the store was rolled back"),
            Fault::Broken(reason) => {
                error!(reason, "nothing is written to the store any more");
                self.board.broken(reason);
                self.broken = Some(fault.clone());
            }
        }
        fault
    }

    /// Whether there is room for touchpoints beside what the workers need to commit.
    fn room(&self) -> Result<(), Fault> {
        if let Some(limit) = self.settings.max_bytes {
            let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let pages = pragma("page_count").and_then(|pages| Ok(pages - pragma("freelist_count")?));
            let used = pages.map_err(Fault::from)?.unsigned_abs() * PAGE_BYTES;
            if used > limit - limit / 8 {
                return Err(Fault::full(&format!("{used} of {limit} bytes are used")));
            }
        }
        room(&self.settings.dir, Wanted::Touchpoints)
    }

    /// What SQLite's log holds may have a place in its file already; when space is short, that is given back.
    fn make_room(&self) {
        if room(&self.settings.dir, Wanted::Commit).is_err() {
            let log = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            debug!(?log, "space is short: tried to shorten the log");
        }
    }

    /// Everything of a worker's transaction: outcomes, states, progress. The inner verdict has written nothing if it is not
    /// `Committed`.
    fn commit(&self, books: &mut Books, work: &Work, stamp: Timestamp) -> rusqlite::Result<Verdict> {
        if let Err(fault) = room(&self.settings.dir, Wanted::Commit) {
            return Ok(fault.verdict());
        }
        for (shard, progress) in &work.progress {
            let known = books.shards.get(*shard as usize).is_some_and(|book| book.sequence + 1 == progress.sequence);
            if !known || progress.positions.len() != 1 {
                return Ok(Verdict::Lost(format!(
                    "another worker has committed for partition {shard}; run one worker per partition"
                )));
            }
        }
        let mut publish = self
            .connection
            .prepare_cached("INSERT INTO outcomes (position, at, topic, stale, value) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for outcome in &work.outcomes {
            books.published += 1;
            let position = books.published as i64;
            publish.execute(params![position, stamp.as_millis(), outcome.topic, outcome.stale, outcome.value])?;
        }
        let mut remember = self.connection.prepare_cached(
            "INSERT INTO customers (shard, identity, state) VALUES (?1, ?2, ?3) \
             ON CONFLICT (shard, identity) DO UPDATE SET state = excluded.state",
        )?;
        for (shard, identity, state) in work.customers() {
            remember.execute(params![shard, identity, state])?;
        }
        self.forget(&work.forgotten)?;
        for record in &work.announced {
            announce(&self.connection, books, record, stamp)?;
        }
        for (shard, progress) in &work.progress {
            let book = &mut books.shards[*shard as usize];
            book.position = progress.positions[0];
            book.stream_time = progress.stream_time;
            book.sequence = progress.sequence;
        }
        Ok(Verdict::Committed)
    }

    /// Deletes customers so that their bytes are gone from the file too.
    fn forget(&self, forgotten: &[(ShardId, Vec<u8>)]) -> rusqlite::Result<()> {
        if forgotten.is_empty() {
            return Ok(());
        }
        let overwrite = |how| self.connection.pragma_update_and_check(None, "secure_delete", how, |_| Ok(()));
        overwrite("ON")?;
        let mut forget = self.connection.prepare_cached("DELETE FROM customers WHERE shard = ?1 AND identity = ?2")?;
        for (shard, identity) in forgotten {
            forget.execute(params![shard, identity])?;
        }
        overwrite("FAST")
    }

    /// Deletes a slice of what retention has done with. There is more to do at once only where the slice was full.
    fn sweep(&mut self) {
        self.next_sweep = Instant::now() + SWEEP;
        if self.broken.is_some() {
            return;
        }
        match sweep(&mut self.connection, &self.books, &mut self.ids, &self.settings, (self.now)()) {
            Ok(Swept::All) => {}
            Ok(Swept::Slice) => self.next_sweep = Instant::now(),
            Err(error) => drop(self.roll_back(error)),
        }
    }
}

fn begin_history(books: &mut Books, first: Timestamp) -> Result<(), Refusal> {
    if !books.loading {
        books.admits_history(first)?;
        books.loading = true;
    }
    Ok(())
}

/// What waits, up to what makes a transaction full.
fn gather(first: Job, queue: &Receiver<Job>) -> Vec<Job> {
    let (mut entries, mut bytes) = first.size();
    let mut group = vec![first];
    while entries < GROUP_ENTRIES
        && bytes < GROUP_BYTES
        && let Ok(job) = queue.try_recv()
    {
        let (more_entries, more_bytes) = job.size();
        entries += more_entries;
        bytes += more_bytes;
        group.push(job);
    }
    group
}
