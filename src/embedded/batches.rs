//! Touchpoints as they lie in the store: what a transaction appends to a shard is one row, or a few, so that a touchpoint costs
//! neither a row to write nor one to read.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::books::{Books, key, offset};
use super::seal::{Seal, Sort, Unread, demand};
use crate::port::ShardId;
use crate::time::Timestamp;

/// A row holds at most so many touchpoints.
pub(super) const MOST: usize = 500;
/// A row that has so many bytes takes no more.
const FULL: usize = 256 << 10;
/// Sort, stamp and length stand before a touchpoint's bytes.
const HEAD: usize = 13;

/// What an entry of a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// A touchpoint that was stamped when it came.
    Live,
    /// A touchpoint of a history: its stamp is its own time.
    History,
    /// No touchpoint: it asks for somebody to be erased.
    Control,
    /// Another shard hands it over.
    Handed,
}

/// An entry as read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) entered: Entered,
    pub(super) stamped: Timestamp,
    pub(super) value: &'a [u8],
}

/// The rows that the open transaction is going to append, by shard.
#[derive(Debug)]
pub(super) struct Drafts {
    seal: Seal,
    shards: Vec<Draft>,
}

#[derive(Clone, Debug, Default)]
struct Draft {
    /// The offset of its first entry.
    first: i64,
    count: usize,
    stamped: i64,
    entries: Vec<u8>,
}

impl Drafts {
    pub(super) fn new(seal: Seal, shards: usize) -> Self {
        Drafts { seal, shards: vec![Draft::default(); shards] }
    }

    /// Appends an entry to a shard.
    pub(super) fn push(
        &mut self,
        transaction: &Connection,
        books: &mut Books,
        shard: ShardId,
        entry: Entry<'_>,
    ) -> rusqlite::Result<()> {
        let (book, draft) = (&mut books.shards[shard as usize], &mut self.shards[shard as usize]);
        if draft.count == 0 {
            draft.first = book.end;
        }
        draft.entries.push(match entry.entered {
            Entered::Live => 0,
            Entered::History => 1,
            Entered::Control => 2,
            Entered::Handed => 3,
        });
        draft.entries.extend_from_slice(&entry.stamped.as_millis().to_le_bytes());
        // A touchpoint has far fewer bytes.
        draft.entries.extend_from_slice(&(entry.value.len() as u32).to_le_bytes());
        draft.entries.extend_from_slice(entry.value);
        draft.count += 1;
        draft.stamped = entry.stamped.as_millis();
        book.stamped = entry.stamped;
        book.end += 1;
        if draft.count == MOST || draft.entries.len() >= FULL {
            self.write(transaction, shard)?;
        }
        Ok(())
    }

    /// Writes all that was appended.
    pub(super) fn finish(mut self, transaction: &Connection) -> rusqlite::Result<()> {
        (0..self.shards.len() as ShardId).try_for_each(|shard| self.write(transaction, shard))
    }

    fn write(&mut self, transaction: &Connection, shard: ShardId) -> rusqlite::Result<()> {
        let draft = &mut self.shards[shard as usize];
        if draft.count == 0 {
            return Ok(());
        }
        let (id, count) = (key(shard, draft.first), draft.count as i64);
        let check = self.seal.of(Sort::Batch, &[id, count, draft.stamped], &draft.entries).cast_signed();
        let mut insert = transaction
            .prepare_cached("INSERT INTO batches (id, count, stamped, sum, entries) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        insert.execute(params![id, count, draft.stamped, check, draft.entries])?;
        draft.count = 0;
        draft.entries.clear();
        Ok(())
    }
}

/// A row as read: its check has passed.
pub(super) struct Batch<'a> {
    /// The offset of its first entry.
    pub(super) first: i64,
    /// The offset after its last.
    pub(super) end: i64,
    entries: &'a [u8],
}

impl<'a> Batch<'a> {
    /// What is in a row: id, count, stamp, check, entries.
    fn of(seal: Seal, shard: ShardId, row: &'a Row<'_>) -> Result<Self, Unread> {
        let numbers: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        let (check, entries): (i64, &[u8]) = (row.get(3)?, row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?);
        let first = offset(numbers[0]);
        let passes = seal.of(Sort::Batch, &numbers, entries) == check.cast_unsigned();
        demand(passes, || format!("touchpoint {first} of partition {shard} or one that follows is not what was written"))?;
        Ok(Batch { first, end: first + numbers[1], entries })
    }

    /// The entries in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        let mut left = self.entries;
        // The check has passed, so that this is what `push` wrote.
        std::iter::from_fn(move || {
            let (head, rest) = left.split_first_chunk::<HEAD>()?;
            let ([sort], head) = head.split_first_chunk::<1>()?;
            let (stamped, length) = head.split_first_chunk::<8>()?;
            let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length.first_chunk()?) as usize)?;
            left = rest;
            let entered = match sort {
                0 => Entered::Live,
                1 => Entered::History,
                2 => Entered::Control,
                _ => Entered::Handed,
            };
            Some(Entry { entered, stamped: Timestamp::from_millis(i64::from_le_bytes(*stamped)), value })
        })
    }
}

/// Where the row begins that holds the entry at this offset; the offset itself where there is none.
pub(super) fn begin(connection: &Connection, shard: ShardId, offset: i64) -> rusqlite::Result<i64> {
    let mut find =
        connection.prepare_cached("SELECT id FROM batches WHERE id >= ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1")?;
    let found = find.query_row(params![key(shard, 0), key(shard, offset)], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(key(shard, offset)))
}

/// Looks at the rows of a shard that hold the entries from `from` on, in their order and without a hole, until `look` says that
/// it is enough; returns the offset that it came to.
pub(super) fn each(
    connection: &Connection,
    seal: Seal,
    shard: ShardId,
    (from, end): (i64, i64),
    mut look: impl FnMut(&Batch<'_>) -> bool,
) -> Result<i64, Unread> {
    let first = begin(connection, shard, from)?;
    let mut statement = connection
        .prepare_cached("SELECT id, count, stamped, sum, entries FROM batches WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
    let mut rows = statement.query(params![first, key(shard, end)])?;
    let mut next = from;
    while next < end
        && let Some(row) = rows.next()?
    {
        let batch = Batch::of(seal, shard, row)?;
        demand(batch.first <= next && next < batch.end && batch.end <= end, || missing(shard, next))?;
        next = batch.end;
        if !look(&batch) {
            return Ok(next);
        }
    }
    demand(next == end, || missing(shard, next))?;
    Ok(next)
}

fn missing(shard: ShardId, offset: i64) -> String {
    format!("touchpoint {offset} of partition {shard} is missing")
}
