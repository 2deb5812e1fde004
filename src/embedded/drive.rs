//! The loop that hands a worker its shards and their touchpoints, and tells it how far the store is read (rule 4).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::append::CONTROL;
use super::board::{Notices, Presence};
use super::books::{Books, ShardBook, key, offset};
use super::sink::Trouble;
use super::{INPUT, Store, schema};
use crate::memory::Waiting;
use crate::metrics;
use crate::port::{Assignment, Known, Now, Origin, RawRecord, ShardId, ShardOwner, Stamped};
use crate::shard::Customers;
use crate::time::Timestamp;
use crate::wire::state;

/// How long to wait for touchpoints: deadlines are looked at in between.
const WAIT: Duration = Duration::from_millis(10);
/// Touchpoints of a shard handed over between two looks at the time.
const BATCH: i64 = 500;
/// And so many bytes of them, or one touchpoint.
const BATCH_BYTES: usize = 4 << 20;
/// A shard that has so many touchpoints waiting gets no more.
const BUFFERED: usize = 2_000;
/// So many rounds lie between two measurements of the lag.
const MEASURE: u32 = 100;

/// One worker's side of the store.
pub(super) struct Driver<'a> {
    store: &'a Arc<Store>,
    reader: Connection,
    owner: Arc<Mutex<dyn ShardOwner>>,
    now: &'a Now,
    trouble: Arc<Trouble>,
    shards: Vec<ShardId>,
    /// By place in `shards`: the offset after the last touchpoint that was handed over.
    handed: Vec<i64>,
    rounds: u32,
    _presence: Presence,
}

/// What the worker may know now.
struct View {
    /// By place in `shards`: where the shard ends.
    ends: Vec<i64>,
    /// Nothing will be stamped before this that does not lie before the ends.
    at: Timestamp,
    loading: bool,
    rest: bool,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        store: &'a Arc<Store>,
        shards: Vec<ShardId>,
        owner: Arc<Mutex<dyn ShardOwner>>,
        now: &'a Now,
        trouble: Arc<Trouble>,
    ) -> Result<Self, String> {
        let reader = schema::reader(&store.settings)?;
        let handed = vec![0; shards.len()];
        Ok(Driver { store, reader, owner, now, trouble, shards, handed, rounds: 0, _presence: store.board.arrive() })
    }

    /// Takes the shards, serves them, and lets go of them: at the end, and whenever a history is about to begin.
    pub(super) fn run(mut self, stop: &AtomicBool) -> Result<(), String> {
        while !stop.load(Ordering::Acquire) {
            if !self.store.board.rest(WAIT) {
                continue;
            }
            self.take_over()?;
            let ended = self.serve(stop);
            let mut owner = owner(&self.owner);
            owner.revoking(&self.shards);
            ended.and(owner.turn())?;
        }
        Ok(())
    }

    /// Restores the shards from what is committed.
    fn take_over(&mut self) -> Result<(), String> {
        self.trouble.forget();
        let books: Vec<ShardBook> =
            self.store.board.books(|books| self.shards.iter().map(|shard| books.shards[*shard as usize].clone()).collect());
        let mut assignments = Vec::with_capacity(books.len());
        for (book, (shard, handed)) in books.iter().zip(self.shards.iter().zip(&mut self.handed)) {
            *handed = book.position.offset;
            let customers = Known::Restored(restore(&self.reader, *shard)?);
            assignments.push(Assignment { shard: *shard, progress: book.progress(), customers, retain_from: 0 });
        }
        owner(&self.owner).assigned(assignments);
        Ok(())
    }

    fn serve(&mut self, stop: &AtomicBool) -> Result<(), String> {
        loop {
            let troubled = self.trouble.look();
            let ready: Vec<bool> = {
                let owner = owner(&self.owner);
                // Nothing waits for another shard, so each may have its part.
                let part = self.store.settings.waiting_bytes / self.shards.len().max(1) as u64;
                let has_room = |Waiting { records, bytes }| records < BUFFERED && bytes < part;
                self.shards.iter().map(|shard| !troubled && has_room(owner.buffered(*shard, 0))).collect()
            };
            let view = self.look(&ready)?;
            if stop.load(Ordering::Acquire) || view.rest {
                return Ok(());
            }
            self.round(&view, &ready)?;
            self.measure(&view);
        }
    }

    /// Waits for something to do, and sees how far things are.
    fn look(&self, ready: &[bool]) -> Result<View, String> {
        let places = || self.shards.iter().zip(&self.handed).zip(ready);
        let more =
            |books: &Books| places().any(|((shard, handed), ready)| *ready && books.shards[*shard as usize].end > *handed);
        let is_news = |notices: &Notices| notices.rest || notices.broken.is_some() || more(&notices.books);
        self.store.board.look(self.now, WAIT, is_news, |notices, at| match &notices.broken {
            Some(reason) => Err(reason.clone()),
            None => Ok(View {
                ends: self.shards.iter().map(|shard| notices.books.shards[*shard as usize].end).collect(),
                at,
                loading: notices.books.loading,
                rest: notices.rest,
            }),
        })
    }

    fn round(&mut self, view: &View, ready: &[bool]) -> Result<(), String> {
        let mut owner = owner(&self.owner);
        let places = self.shards.iter().zip(&view.ends).zip(&mut self.handed).zip(ready);
        for (((shard, end), handed), ready) in places {
            if *ready && *handed < *end {
                *handed = hand_over(&self.reader, &mut *owner, *shard, *handed, *end)?;
            }
            // While a history is loaded, silence means nothing: stream time goes only as far as the touchpoints take it.
            if *handed == *end && !view.loading {
                owner.caught_up(*shard, 0, *end, view.at);
            }
        }
        owner.turn()
    }

    fn measure(&mut self, view: &View) {
        if self.rounds.is_multiple_of(MEASURE) {
            for ((shard, end), handed) in self.shards.iter().zip(&view.ends).zip(&self.handed) {
                metrics::lag(INPUT, *shard, end - handed);
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
    }
}

fn owner(owner: &Mutex<dyn ShardOwner>) -> MutexGuard<'_, dyn ShardOwner + 'static> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a shard's next touchpoints, and returns the offset after the last.
fn hand_over(reader: &Connection, owner: &mut dyn ShardOwner, shard: ShardId, from: i64, end: i64) -> Result<i64, String> {
    let fault = |error: rusqlite::Error| format!("cannot read touchpoints: {error}; look at the disk");
    let mut statement = reader
        .prepare_cached(
            "SELECT id, stamped, history, value FROM touchpoints WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3",
        )
        .map_err(fault)?;
    let mut rows = statement.query(params![key(shard, from), key(shard, end), BATCH]).map_err(fault)?;
    let (mut next, mut bytes) = (from, 0);
    while let Some(row) = rows.next().map_err(fault)? {
        if next == from {
            // What is read from here on was stamped before.
            owner.begin_batch();
        }
        let at = offset(row.get(0).map_err(fault)?);
        if at != next {
            break;
        }
        let sort: i64 = row.get(2).map_err(fault)?;
        let value = row.get_ref(3).map_err(fault)?.as_blob().map_err(|error| fault(error.into()))?;
        bytes += value.len();
        let record = RawRecord {
            origin: Origin { shard, input: 0, offset: at },
            timestamp: Timestamp::from_millis(row.get(1).map_err(fault)?),
            stamped: if sort == 1 { Stamped::History } else { Stamped::OnEntry },
            key: None,
            value: Some(value),
        };
        if sort == CONTROL {
            owner.control(record);
        } else {
            owner.record(record);
        }
        next += 1;
        if bytes >= BATCH_BYTES {
            return Ok(next);
        }
    }
    if next == end || next == from + BATCH {
        return Ok(next);
    }
    Err(format!("touchpoint {next} of partition {shard} is missing; restore the store from a backup"))
}

fn restore(reader: &Connection, shard: ShardId) -> Result<Customers, String> {
    let fault = |error: rusqlite::Error| format!("cannot read the customers: {error}; look at the disk");
    let mut statement = reader.prepare_cached("SELECT state FROM customers WHERE shard = ?1").map_err(fault)?;
    let mut rows = statement.query([shard]).map_err(fault)?;
    let mut customers = Customers::default();
    while let Some(row) = rows.next().map_err(fault)? {
        let bytes = row.get_ref(0).map_err(fault)?.as_blob().map_err(|error| fault(error.into()))?;
        customers.restore(&state::decode(bytes)?);
    }
    Ok(customers)
}
