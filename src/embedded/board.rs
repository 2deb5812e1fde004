//! The board on which the writer, the workers and the readers of outcomes tell each other how far things are.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::books::Books;
use crate::port::Now;
use crate::time::Timestamp;

/// What stands on the board.
#[derive(Debug)]
pub(super) struct Notices {
    /// The numbers as of the last durable transaction.
    pub(super) books: Books,
    /// Stamp of the transaction that the writer is at: what it holds may be durable already and is not told yet.
    in_flight: Option<Timestamp>,
    /// The latest instant that was promised to a worker: nothing may be stamped before it.
    promised: Timestamp,
    /// The workers are asked to come to rest, because a history is about to begin.
    pub(super) rest: bool,
    workers: usize,
    at_rest: usize,
    /// Why nothing can be written any more.
    pub(super) broken: Option<String>,
    /// What a reader found damaged.
    hurt: Option<String>,
}

/// The board.
#[derive(Debug)]
pub(super) struct Board {
    notices: Mutex<Notices>,
    /// Something for the workers: touchpoints, or a change of what they may do.
    news: Condvar,
    published: Condvar,
    rested: Condvar,
}

impl Board {
    pub(super) fn new(books: Books) -> Self {
        let promised = Timestamp::MIN;
        let notices =
            Notices { books, in_flight: None, promised, rest: false, workers: 0, at_rest: 0, broken: None, hurt: None };
        Board { notices: Mutex::new(notices), news: Condvar::new(), published: Condvar::new(), rested: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the numbers.
    pub(super) fn books<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&self.lock().books)
    }

    /// The writer begins a transaction: its stamp is not before anything that was stamped or promised. Asked under the lock,
    /// so that no worker is promised a later instant before this one has ended.
    pub(super) fn begin(&self, now: &Now) -> Timestamp {
        let mut notices = self.lock();
        let stamp = now().max(notices.promised).max(notices.books.latest());
        notices.in_flight = Some(notices.in_flight.map_or(stamp, |earlier| earlier.min(stamp)));
        stamp
    }

    /// A transaction is durable.
    pub(super) fn durable(&self, books: &Books) {
        let mut notices = self.lock();
        if notices.books.published != books.published {
            self.published.notify_all();
        }
        let changed = |before: &Books| {
            let ends = before.shards.iter().zip(&books.shards).any(|(before, now)| before.end != now.end);
            ends || before.loading != books.loading
        };
        if changed(&notices.books) {
            self.news.notify_all();
        }
        notices.books.clone_from(books);
    }

    /// Everything that the writer was at has ended, one way or the other.
    pub(super) fn ended(&self) {
        self.lock().in_flight = None;
    }

    /// Nothing can be written any more.
    pub(super) fn broken(&self, reason: &str) {
        self.lock().broken = Some(reason.to_owned());
        self.news.notify_all();
    }

    /// Why nothing is written: it cannot be, or a transaction has not ended for `still`.
    pub(super) fn trouble(&self, now: Timestamp, still: Duration) -> Option<String> {
        let notices = self.lock();
        let writing =
            Duration::from_millis(notices.in_flight.map_or(0, |begun| now.since(begun).as_millis().unsigned_abs()));
        let hangs = (writing >= still)
            .then(|| format!("a transaction has not come back from the disk for {} s: look at the disk", writing.as_secs()));
        notices.broken.clone().or_else(|| notices.hurt.clone()).or(hangs)
    }

    /// A reader found something damaged.
    pub(super) fn hurt(&self, reason: &str) {
        let mut notices = self.lock();
        if notices.hurt.is_none() {
            tracing::error!(reason, "the store is damaged");
            crate::metrics::store_damaged(true);
            notices.hurt = Some(reason.to_owned());
        }
    }

    /// What is wrong, if anything is.
    pub(super) fn health(&self) -> Result<(), String> {
        let notices = self.lock();
        notices.broken.clone().or_else(|| notices.hurt.clone()).map_or(Ok(()), Err)
    }

    /// Waits up to `wait` for an outcome after `position`.
    pub(super) fn wait_published(&self, position: u64, wait: Duration) {
        let begun = Instant::now();
        let mut notices = self.lock();
        while notices.books.published <= position {
            let Some(left) = wait.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { return };
            notices = self.published.wait_timeout(notices, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What a worker sees, after waiting up to `wait` for what it calls news; with the instant before which nothing will be
    /// stamped that it does not see.
    pub(super) fn look<T>(
        &self,
        now: &Now,
        wait: Duration,
        is_news: impl Fn(&Notices) -> bool,
        see: impl FnOnce(&Notices, Timestamp) -> T,
    ) -> T {
        let mut notices = self.lock();
        if !is_news(&notices) {
            notices = self.news.wait_timeout(notices, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        let at = notices.in_flight.unwrap_or_else(|| now());
        notices.promised = notices.promised.max(at);
        see(&notices, at)
    }

    /// Asks the workers to come to rest, and says whether they have.
    pub(super) fn ask_for_rest(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        let mut notices = self.lock();
        notices.rest = true;
        self.news.notify_all();
        while notices.at_rest < notices.workers {
            let Some(left) = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { return false };
            notices = self.rested.wait_timeout(notices, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The workers may go on.
    pub(super) fn end_rest(&self) {
        self.lock().rest = false;
        self.news.notify_all();
    }

    /// A worker that has let go of its shards rests while it is asked to, or until `wait` is over; says whether it may go on.
    pub(super) fn rest(&self, wait: Duration) -> bool {
        let mut notices = self.lock();
        if notices.rest {
            notices.at_rest += 1;
            self.rested.notify_all();
            notices = self.news.wait_timeout(notices, wait).unwrap_or_else(PoisonError::into_inner).0;
            notices.at_rest -= 1;
        }
        !notices.rest
    }

    /// A worker arrives; it is counted until it drops what it gets.
    pub(super) fn arrive(self: &std::sync::Arc<Self>) -> Presence {
        self.lock().workers += 1;
        Presence(std::sync::Arc::clone(self))
    }
}

/// A worker that is here.
#[derive(Debug)]
pub(super) struct Presence(std::sync::Arc<Board>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.lock().workers -= 1;
        self.0.rested.notify_all();
    }
}
