//! Deleting what is done with, in slices, so that nobody who commits waits long for it.

use rusqlite::{Connection, params};

use super::books::{Books, ShardBook, key, offset};
use super::ids::Ids;
use super::seal::{Seal, Unread, demand};
use super::{Settings, batches, outcomes};
use crate::port::ShardId;
use crate::time::Timestamp;

/// At most so many outcomes or ids are deleted in one transaction.
const SLICE: i64 = 4_000;
/// At most so many rows of touchpoints, each of which holds up to some hundred.
const BATCHES: i64 = 128;

/// How much was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swept {
    /// All that there was.
    All,
    /// As much as goes into a slice; there may be more.
    Slice,
}

/// Deletes a slice of each sort, and says in `books` what is kept. Positions are never reused: they are counted apart from the
/// rows. The last row of each slice is read whole, and what it says checked: a stamp that is damaged must not make what is young
/// go.
pub(super) fn sweep(
    connection: &mut Connection,
    seal: Seal,
    (before, books): (&Books, &mut Books),
    ids: &mut Ids,
    settings: &Settings,
    now: Timestamp,
) -> Result<Swept, Unread> {
    let transaction = connection.transaction()?;
    let mut batches = 0;
    for (shard, book) in (0..).zip(&mut books.shards) {
        batches += touchpoints(&transaction, seal, (shard, &mut *book), now - settings.keep_touchpoints, BATCHES - batches)?;
    }
    let outcomes = published(&transaction, seal, books, now - settings.keep_outcomes)?;
    let (count, emptied) = ids.prune(&transaction, books, now, SLICE)?;
    books.save(before, &transaction, seal)?;
    transaction.commit()?;
    emptied.into_iter().for_each(|bucket| ids.emptied(bucket));
    let full = emptied.is_some() || batches >= BATCHES || outcomes >= SLICE || count >= SLICE;
    Ok(if full { Swept::Slice } else { Swept::All })
}

/// Stamps never decrease within a shard, so what is old enough stands in front. A row goes once all in it has been processed.
fn touchpoints(
    transaction: &Connection,
    seal: Seal,
    (shard, book): (ShardId, &mut ShardBook),
    before: Timestamp,
    slice: i64,
) -> Result<i64, Unread> {
    let mut last = transaction.prepare_cached(
        "SELECT max(id + count) FROM (SELECT id, count, stamped FROM batches WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3) \
         WHERE stamped < ?4 AND id + count <= ?2",
    )?;
    let (from, to) = (key(shard, 0), key(shard, book.position.offset));
    let end: Option<i64> = last.query_row(params![from, to, slice, before.as_millis()], |row| row.get(0))?;
    let Some(end) = end else { return Ok(0) };
    let mut old = false;
    batches::each(transaction, seal, shard, (offset(end) - 1, offset(end)), |batch| {
        old = batch.entries().last().is_some_and(|entry| entry.stamped < before);
        true
    })?;
    demand(old, || format!("touchpoint {} of partition {shard} is younger than was read", offset(end) - 1))?;
    let mut delete = transaction.prepare_cached("DELETE FROM batches WHERE id >= ?1 AND id < ?2")?;
    let deleted = delete.execute(params![from, end])?;
    book.kept_from = offset(end);
    Ok(deleted as i64)
}

fn published(transaction: &Connection, seal: Seal, books: &mut Books, before: Timestamp) -> Result<i64, Unread> {
    let mut last = transaction.prepare_cached(
        "SELECT max(position) FROM (SELECT position, at FROM outcomes ORDER BY position LIMIT ?1) WHERE at < ?2",
    )?;
    let last: Option<i64> = last.query_row(params![SLICE, before.as_millis()], |row| row.get(0))?;
    let Some(last) = last else { return Ok(0) };
    outcomes::read(transaction, seal, books, last.cast_unsigned() - 1, (1, usize::MAX))?;
    let mut delete = transaction.prepare_cached("DELETE FROM outcomes WHERE position <= ?1")?;
    let deleted = delete.execute([last])?;
    books.outcomes_from = last.unsigned_abs() + 1;
    Ok(deleted as i64)
}
