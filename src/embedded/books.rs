//! The few numbers that the writer keeps in memory and in the store alike: where each shard ends, how far it is processed,
//! how many outcomes there are. They change with a transaction, or not at all.

use rusqlite::{Connection, params};

use super::Refusal;
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
}

impl Default for ShardBook {
    fn default() -> Self {
        ShardBook {
            end: 0,
            stamped: Timestamp::MIN,
            position: Position { offset: 0, log_time: Timestamp::MIN },
            stream_time: None,
            sequence: 0,
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
}

/// All numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    /// By shard.
    pub(super) shards: Vec<ShardBook>,
    /// Position of the latest outcome.
    pub(super) published: u64,
    /// Whether a history is being loaded.
    pub(super) loading: bool,
}

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
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection
            .prepare("SELECT end, stamped, position, log_time, stream_time, sequence FROM shards ORDER BY shard")?;
        let instant = |millis: i64| Timestamp::from_millis(millis);
        let rows = statement.query_map([], |row| {
            Ok(ShardBook {
                end: row.get(0)?,
                stamped: instant(row.get(1)?),
                position: Position { offset: row.get(2)?, log_time: instant(row.get(3)?) },
                stream_time: row.get::<_, Option<i64>>(4)?.map(instant),
                sequence: row.get::<_, i64>(5)?.unsigned_abs(),
            })
        })?;
        let shards = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let number = |name: &str| connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0));
        let published: i64 = number("published")?;
        let loading: i64 = number("loading")?;
        Ok(Books { shards, published: published.unsigned_abs(), loading: loading != 0 })
    }

    /// Writes what has changed since `before`.
    pub(super) fn save(&self, before: &Books, transaction: &Connection) -> rusqlite::Result<()> {
        let mut update = transaction.prepare_cached(
            "UPDATE shards SET end = ?2, stamped = ?3, position = ?4, log_time = ?5, stream_time = ?6, sequence = ?7 \
             WHERE shard = ?1",
        )?;
        for (number, (shard, before)) in self.shards.iter().zip(&before.shards).enumerate() {
            if shard != before {
                update.execute(params![
                    number as i64,
                    shard.end,
                    shard.stamped.as_millis(),
                    shard.position.offset,
                    shard.position.log_time.as_millis(),
                    shard.stream_time.map(Timestamp::as_millis),
                    shard.sequence as i64,
                ])?;
            }
        }
        let mut meta = transaction.prepare_cached("UPDATE meta SET value = ?2 WHERE name = ?1")?;
        if self.published != before.published {
            meta.execute(params!["published", self.published as i64])?;
        }
        if self.loading != before.loading {
            meta.execute(params!["loading", i64::from(self.loading)])?;
        }
        Ok(())
    }
}
