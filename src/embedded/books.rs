//! The few numbers that the writer keeps in memory and in the store alike: where each shard ends, how far it is processed,
//! how many outcomes there are. They change with a transaction, or not at all.
//!
//! They say as well what must be there: from where touchpoints and outcomes are kept, and the sums of the checks of all customers
//! and ids, so that a row that is gone, or has come back, is missed.

use rusqlite::{Connection, params};

use super::Refusal;
use super::seal::{Seal, Sort, Unread, demand};
use crate::port::ShardId;
use crate::shard::{Position, Progress};
use crate::time::Timestamp;

/// Offsets take so many bits of a touchpoint's key, the shard the rest above.
const OFFSET_BITS: u32 = 40;

/// The key of a touchpoint: keys of one shard lie together, in the order of their offsets.
pub(super) fn key(shard: ShardId, offset: i64) -> i64 {
    (i64::from(shard) << OFFSET_BITS) | offset
}

/// The offset in a touchpoint's key.
pub(super) fn offset(key: i64) -> i64 {
    key & ((1 << OFFSET_BITS) - 1)
}

/// One shard's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardBook {
    /// The offset that its next touchpoint gets.
    pub(super) end: i64,
    /// Log time of its latest touchpoint.
    pub(super) stamped: Timestamp,
    /// The offset after the last processed touchpoint, and its log time.
    pub(super) position: Position,
    /// Committed stream time.
    pub(super) stream_time: Option<Timestamp>,
    /// Commits so far.
    pub(super) sequence: u64,
    /// The offset of the oldest touchpoint that is kept.
    pub(super) kept_from: i64,
    /// The sum of the checks of its customers and words.
    pub(super) state: u64,
}

impl Default for ShardBook {
    fn default() -> Self {
        ShardBook {
            end: 0,
            stamped: Timestamp::MIN,
            position: Position { offset: 0, log_time: Timestamp::MIN },
            stream_time: None,
            sequence: 0,
            kept_from: 0,
            state: 0,
        }
    }
}

impl ShardBook {
    pub(super) fn pending(&self) -> u64 {
        (self.end - self.position.offset).max(0).unsigned_abs()
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { positions: vec![self.position], stream_time: self.stream_time, sequence: self.sequence }
    }

    /// As the columns have it, with a check behind.
    fn row(&self, number: usize, seal: Seal) -> [Option<i64>; 10] {
        let columns = [
            Some(number as i64),
            Some(self.end),
            Some(self.stamped.as_millis()),
            Some(self.position.offset),
            Some(self.position.log_time.as_millis()),
            self.stream_time.map(Timestamp::as_millis),
            Some(self.sequence.cast_signed()),
            Some(self.kept_from),
            Some(self.state.cast_signed()),
        ];
        let mut row = [None; 10];
        row[..9].copy_from_slice(&columns);
        // No stream time is none of its instants.
        let numbers = columns.map(|column| column.unwrap_or(i64::MIN));
        row[9] = Some(seal.of(Sort::Shard, &numbers, &[u8::from(self.stream_time.is_some())]).cast_signed());
        row
    }

    fn of(row: &[Option<i64>; 10], seal: Seal) -> Result<Self, Unread> {
        let number = |at: usize| row[at].unwrap_or(i64::MIN);
        let instant = |at| Timestamp::from_millis(number(at));
        let book = ShardBook {
            end: number(1),
            stamped: instant(2),
            position: Position { offset: number(3), log_time: instant(4) },
            stream_time: row[5].map(Timestamp::from_millis),
            sequence: number(6).cast_unsigned(),
            kept_from: number(7),
            state: number(8).cast_unsigned(),
        };
        demand(book.row(number(0) as usize, seal) == *row, || {
            format!("the numbers of partition {} are not what was written", number(0))
        })?;
        Ok(book)
    }
}

/// All numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Books {
    /// By shard.
    pub(super) shards: Vec<ShardBook>,
    /// Position of the latest outcome.
    pub(super) published: u64,
    /// Whether a history is being loaded.
    pub(super) loading: bool,
    /// Transactions so far of which somebody was told.
    pub(super) commits: u64,
    /// Position of the oldest outcome that is kept; the next one where there is none.
    pub(super) outcomes_from: u64,
    /// The sum of the checks of the ids that are not folded yet, and of those that are.
    pub(super) fresh: u64,
    pub(super) seen: u64,
}

impl Default for Books {
    fn default() -> Self {
        let shards = Vec::new();
        Books { shards, published: 0, loading: false, commits: 0, outcomes_from: 1, fresh: 0, seen: 0 }
    }
}

/// The names of the numbers that are no shard's, in the order of [`Books::numbers`], and of their check.
const NAMES: [&str; 6] = ["published", "loading", "commits", "outcomes_from", "fresh", "seen"];
const CHECK: &str = "sum";

impl Books {
    /// The latest instant that anything in the store is stamped with; no new stamp may lie before it.
    pub(super) fn latest(&self) -> Timestamp {
        let of =
            |shard: &ShardBook| shard.stamped.max(shard.position.log_time).max(shard.stream_time.unwrap_or(Timestamp::MIN));
        self.shards.iter().map(of).max().unwrap_or(Timestamp::MIN)
    }

    /// A history may begin where neither stream time nor a touchpoint that waits has passed (rule 6).
    pub(super) fn admits_history(&self, first: Timestamp) -> Result<(), Refusal> {
        for (number, shard) in self.shards.iter().enumerate() {
            let passed = shard.stream_time.unwrap_or(Timestamp::MIN).max(shard.stamped);
            if passed > first {
                return Err(Refusal::TooLate(format!(
                    "this history begins at {first}, but partition {number} has already got to {passed}; \
                     load it into an empty directory, before anything live"
                )));
            }
        }
        Ok(())
    }

    /// Reads what the store says.
    pub(super) fn load(connection: &Connection, seal: Seal) -> Result<Self, Unread> {
        let mut books = Self::load_numbers(connection, seal)?;
        let mut statement = connection.prepare_cached(
            "SELECT shard, end, stamped, position, log_time, stream_time, sequence, kept_from, state, sum FROM shards \
             ORDER BY shard",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut columns = [None; 10];
            for (at, column) in columns.iter_mut().enumerate() {
                *column = row.get(at)?;
            }
            let place = books.shards.len();
            demand(columns[0] == Some(place as i64), || format!("the numbers of partition {place} are missing"))?;
            books.shards.push(ShardBook::of(&columns, seal)?);
        }
        Ok(books)
    }

    /// Reads the numbers that are no shard's.
    pub(super) fn load_numbers(connection: &Connection, seal: Seal) -> Result<Self, Unread> {
        let mut find = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
        let mut read = |name: &str| find.query_row([name], |row| row.get::<_, i64>(0));
        let mut numbers = [0; NAMES.len()];
        for (number, name) in numbers.iter_mut().zip(NAMES) {
            *number = read(name)?;
        }
        let check = read(CHECK)?.cast_unsigned();
        demand(seal.of(Sort::Numbers, &numbers, b"") == check, || "its numbers are not what was written".to_owned())?;
        let [published, loading, commits, outcomes_from, fresh, seen] = numbers;
        Ok(Books {
            shards: Vec::new(),
            published: published.cast_unsigned(),
            loading: loading != 0,
            commits: commits.cast_unsigned(),
            outcomes_from: outcomes_from.cast_unsigned(),
            fresh: fresh.cast_unsigned(),
            seen: seen.cast_unsigned(),
        })
    }

    fn numbers(&self) -> [i64; NAMES.len()] {
        let signed = [self.commits, self.outcomes_from, self.fresh, self.seen].map(u64::cast_signed);
        let [commits, outcomes_from, fresh, seen] = signed;
        [self.published.cast_signed(), i64::from(self.loading), commits, outcomes_from, fresh, seen]
    }

    /// Writes all of it for the first time.
    pub(super) fn make(&self, transaction: &Connection, seal: Seal) -> rusqlite::Result<()> {
        let numbers = self.numbers();
        let check = seal.of(Sort::Numbers, &numbers, b"").cast_signed();
        let mut meta = transaction.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?;
        for (name, number) in NAMES.iter().zip(numbers).chain([(&CHECK, check)]) {
            meta.execute(params![name, number])?;
        }
        let mut insert = transaction.prepare(
            "INSERT INTO shards (shard, end, stamped, position, log_time, stream_time, sequence, kept_from, state, sum) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for (number, shard) in self.shards.iter().enumerate() {
            insert.execute(shard.row(number, seal))?;
        }
        Ok(())
    }

    /// Writes what has changed since `before`.
    pub(super) fn save(&self, before: &Books, transaction: &Connection, seal: Seal) -> rusqlite::Result<()> {
        let mut update = transaction.prepare_cached(
            "UPDATE shards SET end = ?2, stamped = ?3, position = ?4, log_time = ?5, stream_time = ?6, sequence = ?7, \
             kept_from = ?8, state = ?9, sum = ?10 WHERE shard = ?1",
        )?;
        for (number, (shard, before)) in self.shards.iter().zip(&before.shards).enumerate() {
            if shard != before {
                update.execute(shard.row(number, seal))?;
            }
        }
        let (numbers, known) = (self.numbers(), before.numbers());
        if numbers == known {
            return Ok(());
        }
        let check = seal.of(Sort::Numbers, &numbers, b"").cast_signed();
        let changed = NAMES.iter().zip(numbers).zip(known).filter(|((_, number), known)| number != known);
        let mut meta = transaction.prepare_cached("UPDATE meta SET value = ?2 WHERE name = ?1")?;
        for (name, number) in changed.map(|(named, _)| named).chain([(&CHECK, check)]) {
            meta.execute(params![name, number])?;
        }
        Ok(())
    }
}
