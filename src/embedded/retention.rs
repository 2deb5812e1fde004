//! Deleting what is done with, in slices, so that nobody who commits waits long for it.

use rusqlite::{Connection, params};

use super::Settings;
use super::books::{Books, key};
use super::ids::Ids;
use crate::time::Timestamp;

/// At most so many rows of each sort are deleted in one transaction.
const SLICE: i64 = 4_000;

/// How much was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swept {
    /// All that there was.
    All,
    /// As much as goes into a slice; there may be more.
    Slice,
}

/// Deletes a slice of each sort. Positions are never reused: they are counted apart from the rows.
pub(super) fn sweep(
    connection: &mut Connection,
    books: &Books,
    ids: &mut Ids,
    settings: &Settings,
    now: Timestamp,
) -> rusqlite::Result<Swept> {
    let transaction = connection.transaction()?;
    let mut deleted = [0; 3];
    for (shard, book) in books.shards.iter().enumerate() {
        let (from, to) = (key(shard as u32, 0), key(shard as u32, book.position.offset));
        let left = SLICE - deleted[0];
        deleted[0] += touchpoints(&transaction, from, to, now - settings.keep_touchpoints, left)?;
    }
    deleted[1] = outcomes(&transaction, now - settings.keep_outcomes)?;
    let (count, emptied) = ids.prune(&transaction, now, SLICE)?;
    deleted[2] = count;
    transaction.commit()?;
    emptied.into_iter().for_each(|bucket| ids.emptied(bucket));
    let full = emptied.is_some() || deleted.iter().any(|count| *count >= SLICE);
    Ok(if full { Swept::Slice } else { Swept::All })
}

/// Stamps never decrease within a shard, so what is old enough stands in front.
fn touchpoints(transaction: &Connection, from: i64, to: i64, before: Timestamp, slice: i64) -> rusqlite::Result<i64> {
    let mut last = transaction.prepare_cached(
        "SELECT max(id) FROM (SELECT id, stamped FROM touchpoints WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3) \
         WHERE stamped < ?4",
    )?;
    let last: Option<i64> = last.query_row(params![from, to, slice, before.as_millis()], |row| row.get(0))?;
    let Some(last) = last else { return Ok(0) };
    let mut delete = transaction.prepare_cached("DELETE FROM touchpoints WHERE id >= ?1 AND id <= ?2")?;
    Ok(delete.execute(params![from, last])? as i64)
}

fn outcomes(transaction: &Connection, before: Timestamp) -> rusqlite::Result<i64> {
    let mut last = transaction.prepare_cached(
        "SELECT max(position) FROM (SELECT position, at FROM outcomes ORDER BY position LIMIT ?1) WHERE at < ?2",
    )?;
    let last: Option<i64> = last.query_row(params![SLICE, before.as_millis()], |row| row.get(0))?;
    let Some(last) = last else { return Ok(0) };
    let mut delete = transaction.prepare_cached("DELETE FROM outcomes WHERE position <= ?1")?;
    Ok(delete.execute([last])? as i64)
}
