//! The one thread that writes. It takes what waits, makes one transaction of it, and answers when that is durable; a
//! transaction that fails is tried again job by job, so that nobody pays for another's fault.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};
use tracing::{debug, error, warn};

use super::append::{announce, append, hand_over};
use super::batches::Drafts;
use super::board::Board;
use super::books::Books;
use super::counter::Counter;
use super::disk::{Wanted, room};
use super::fault::Fault;
use super::ids::Ids;
use super::opened::Opened;
use super::place::Place;
use super::retention::{Swept, sweep};
use super::seal::{Seal, Unread};
use super::tables::PAGE_BYTES;
use super::work::Work;
use super::{Appended, Entering, Entry, Refusal, Settings, outcomes, people};
use crate::port::{Now, ShardId, Verdict};
use crate::seldom::Seldom;
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
    seal: Seal,
    counter: Counter,
    place: Place,
    settings: Settings,
    board: Arc<Board>,
    now: Now,
    /// Why nothing is written any more.
    broken: Option<Fault>,
    next_sweep: Instant,
    /// That a transaction was rolled back.
    told: Seldom,
}

impl Writer {
    pub(super) fn new(opened: Opened, settings: Settings, board: Arc<Board>, now: Now) -> Self {
        let Opened { connection, books, ids, seal, counter } = opened;
        Writer {
            connection,
            books,
            ids,
            seal,
            counter,
            place: Place::of(&settings.dir),
            settings,
            board,
            now,
            broken: None,
            next_sweep: Instant::now(),
            told: Seldom::new(TELL),
        }
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
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= self.next_sweep {
                self.sweep();
            }
        }
        // What is in SQLite's log goes into its file, so that a copy of that alone is whole.
        if self.broken.is_none() {
            let moved = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            debug!(?moved, "the store is closed");
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
        books.commits += 1;
        let written = self.write(&mut books, jobs, stamp);
        match written {
            Ok(done) => {
                self.place.check().map_err(|fault| self.broken(fault))?;
                self.count(books.commits)?;
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

    /// A transaction is in the store. Until it is counted nobody may be told: whether it is lost later could not be seen.
    fn count(&mut self, commits: u64) -> Result<(), Fault> {
        let Err(error) = self.counter.note(commits) else { return Ok(()) };
        let reason = format!("a commit cannot be counted ({error}); look at the disk, and start Sillage again");
        Err(self.broken(Fault::Broken(reason)))
    }

    fn broken(&mut self, fault: Fault) -> Fault {
        let reason = fault.reason();
        error!(reason, "nothing is written to the store any more");
        self.board.broken(reason);
        self.broken = Some(fault.clone());
        fault
    }

    fn write(&mut self, books: &mut Books, jobs: &[Job], stamp: Timestamp) -> rusqlite::Result<Vec<Answer>> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut drafts = Drafts::new(self.seal, books.shards.len());
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match job {
                Job::Append { batch, entering, answer: to } => {
                    answer(to, self.append((&mut *books, &mut drafts), batch, *entering, stamp)?)
                }
                Job::Commit { work, answer: to } => answer(to, self.commit((&mut *books, &mut drafts), work, stamp)?),
                Job::Erase { who, answer: to } => answer(to, self.erase((&mut *books, &mut drafts), who, stamp)?),
                Job::BeginHistory { first, answer: to } => answer(to, begin_history(books, *first)),
                Job::EndHistory { answer: to } => {
                    books.loading = false;
                    answer(to, Ok(()))
                }
            });
        }
        drafts.finish(&self.connection)?;
        self.ids.save(&self.connection, books, stamp)?;
        books.save(&self.books, &self.connection, self.seal)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(answers)
    }

    fn append(
        &mut self,
        open: (&mut Books, &mut Drafts),
        batch: &[Entry],
        entering: Entering,
        stamp: Timestamp,
    ) -> rusqlite::Result<Result<Appended, Refusal>> {
        match self.room() {
            Ok(()) => append(&self.connection, open, &mut self.ids, batch, entering, stamp),
            Err(fault) => Ok(Err(fault.refusal())),
        }
    }

    fn erase(
        &self,
        open: (&mut Books, &mut Drafts),
        who: &Identity,
        stamp: Timestamp,
    ) -> rusqlite::Result<Result<(), Refusal>> {
        if open.0.loading {
            return Ok(Err(Refusal::Loading("a history is being loaded; ask again when it has ended".to_owned())));
        }
        if let Err(fault) = room(&self.settings.dir, Wanted::Commit) {
            return Ok(Err(fault.refusal()));
        }
        announce(&self.connection, open, &erasures::encode(who), stamp).map(Ok)
    }

    /// Undoes a transaction that failed. What cannot even be undone is broken.
    fn roll_back(&mut self, error: rusqlite::Error) -> Fault {
        let fault = Fault::from(error);
        let undone = self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        let fault = if undone { fault } else { Fault::Broken(format!("cannot undo what failed: {}", fault.reason())) };
        match &fault {
            Fault::Full(reason) | Fault::Disk(reason) if self.told.is_due() => {
                warn!(reason, "a transaction of the store was rolled back");
            }
            Fault::Full(reason) | Fault::Disk(reason) => debug!(reason, "a transaction of the store was rolled back"),
            Fault::Broken(_) => return self.broken(fault),
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
    fn commit(
        &self,
        (books, drafts): (&mut Books, &mut Drafts),
        work: &Work,
        stamp: Timestamp,
    ) -> rusqlite::Result<Verdict> {
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
        self.publish(books, work, stamp)?;
        self.remember(books, work)?;
        self.forget(books, &work.forgotten)?;
        for record in &work.announced {
            announce(&self.connection, (&mut *books, &mut *drafts), record, stamp)?;
        }
        for (shard, record) in &work.handed {
            hand_over(&self.connection, (&mut *books, &mut *drafts), (*shard, record), stamp)?;
        }
        for (shard, progress) in &work.progress {
            let book = &mut books.shards[*shard as usize];
            book.position = progress.positions[0];
            book.stream_time = progress.stream_time;
            book.sequence = progress.sequence;
        }
        Ok(Verdict::Committed)
    }

    fn publish(&self, books: &mut Books, work: &Work, stamp: Timestamp) -> rusqlite::Result<()> {
        let mut publish = self.connection.prepare_cached(
            "INSERT INTO outcomes (position, at, topic, stale, sum, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for outcome in &work.outcomes {
            books.published += 1;
            let (position, at) = (books.published.cast_signed(), stamp.as_millis());
            let check = outcomes::check(self.seal, position, at, outcome.topic, outcome.stale, &outcome.value);
            publish.execute(params![position, at, outcome.topic, outcome.stale, check.cast_signed(), outcome.value])?;
        }
        Ok(())
    }

    fn remember(&self, books: &mut Books, work: &Work) -> rusqlite::Result<()> {
        let mut remember = self.connection.prepare_cached(
            "INSERT INTO customers (shard, identity, state) VALUES (?1, ?2, ?3) \
             ON CONFLICT (shard, identity) DO UPDATE SET state = excluded.state",
        )?;
        for (shard, identity, state) in work.customers() {
            remember.execute(params![shard, identity, state])?;
        }
        for (shard, grown) in &work.grown {
            let state = &mut books.shards[*shard as usize].state;
            *state = state.wrapping_add(*grown);
        }
        let mut learn =
            self.connection.prepare_cached("INSERT OR IGNORE INTO words (shard, number, text) VALUES (?1, ?2, ?3)")?;
        for (shard, number, text) in &work.words {
            if learn.execute(params![shard, number, text])? > 0 {
                let state = &mut books.shards[*shard as usize].state;
                *state = state.wrapping_add(people::word_check(self.seal, *shard, *number, text));
            }
        }
        Ok(())
    }

    /// Deletes customers so that their bytes are gone from the file too.
    fn forget(&self, books: &mut Books, forgotten: &[(ShardId, Vec<u8>)]) -> rusqlite::Result<()> {
        if forgotten.is_empty() {
            return Ok(());
        }
        let overwrite = |how| self.connection.pragma_update_and_check(None, "secure_delete", how, |_| Ok(()));
        overwrite("ON")?;
        let mut forget =
            self.connection.prepare_cached("DELETE FROM customers WHERE shard = ?1 AND identity = ?2 RETURNING state")?;
        for (shard, identity) in forgotten {
            let state: Option<Vec<u8>> = forget.query_row(params![shard, identity], |row| row.get(0)).optional()?;
            let book = &mut books.shards[*shard as usize];
            book.state = book
                .state
                .wrapping_sub(state.and_then(|state| people::written_share(self.seal, *shard, &state)).unwrap_or(0));
        }
        overwrite("FAST")
    }

    /// Deletes a slice of what retention has done with. There is more to do at once only where the slice was full.
    fn sweep(&mut self) {
        self.next_sweep = Instant::now() + SWEEP;
        if self.broken.is_some() {
            return;
        }
        let mut books = self.books.clone();
        match sweep(&mut self.connection, self.seal, (&self.books, &mut books), &mut self.ids, &self.settings, (self.now)())
        {
            Ok(swept) => {
                if swept == Swept::Slice {
                    self.next_sweep = Instant::now();
                }
                self.board.durable(&books);
                self.books = books;
            }
            Err(Unread::Sqlite(error)) => drop(self.roll_back(error)),
            // It stays as it is, and so does what is older.
            Err(unread @ Unread::Damaged(_)) => self.board.hurt(&unread.to_string()),
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
