//! The loop that hands a worker its shards and their touchpoints, and tells it how far the store is read (rule 4).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::batches::{self, Entered};
use super::board::{Notices, Presence};
use super::books::{Books, ShardBook};
use super::seal::Seal;
use super::sink::Trouble;
use super::{INPUT, Store, people, schema};
use crate::memory::Waiting;
use crate::metrics;
use crate::port::{Assignment, Known, Now, Origin, RawRecord, ShardId, ShardOwner, Stamped};
use crate::time::Timestamp;

/// How long to wait for touchpoints: deadlines are looked at in between.
const WAIT: Duration = Duration::from_millis(10);
/// Touchpoints of a shard handed over between two looks at the time.
const BATCH: i64 = batches::MOST as i64;
/// And so many bytes of them, or what lies with them in one row.
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
            let customers = Known::Restored(people::restore(&self.reader, self.store.seal, *shard, book.state)?);
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
                *handed = hand_over(&self.reader, self.store.seal, &mut *owner, *shard, (*handed, *end))?;
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
fn hand_over(
    reader: &Connection,
    seal: Seal,
    owner: &mut dyn ShardOwner,
    shard: ShardId,
    (from, end): (i64, i64),
) -> Result<i64, String> {
    let mut bytes = 0;
    let next = batches::each(reader, seal, shard, (from, end), |batch| {
        if batch.first <= from {
            // What is read from here on was stamped before.
            owner.begin_batch();
        }
        for (at, entry) in (batch.first..).zip(batch.entries()).filter(|(at, _)| *at >= from) {
            bytes += entry.value.len();
            let record = RawRecord {
                origin: Origin { shard, input: 0, offset: at },
                timestamp: entry.stamped,
                stamped: if entry.entered == Entered::History { Stamped::History } else { Stamped::OnEntry },
                key: None,
                value: Some(entry.value),
            };
            match entry.entered {
                Entered::Live | Entered::History => owner.record(record),
                Entered::Control => owner.control(record),
                Entered::Handed => owner.handed_over(record),
            }
        }
        batch.end - from < BATCH && bytes < BATCH_BYTES
    });
    Ok(next?)
}
