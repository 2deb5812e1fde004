//! A store of version 1, which had no checks and a row for every touchpoint, is brought over to this version: in one transaction,
//! so that it is wholly the one or the other. That takes as much space again as the store, once.

use rusqlite::{Connection, params};

use super::batches::{self, Drafts, Entered};
use super::books::{Books, ShardBook, key, offset};
use super::seal::{Seal, Sort};
use super::tables::{TABLES, VERSION, meta, seal, seal_head};
use super::{outcomes, people};
use crate::port::ShardId;
use crate::shard::{Customers, Position};
use crate::time::Timestamp;
use crate::wire::state;

/// The tables of version 1 that are laid out otherwise now.
const BEFORE: [&str; 5] = ["shards", "touchpoints", "fresh", "customers", "outcomes"];

/// Brings it over.
pub(super) fn upgrade(connection: &mut Connection) -> Result<(), String> {
    let fault = |error: rusqlite::Error| format!("{error}; nothing was changed");
    // What is moved is overwritten where it was: nobody knows who will be erased later.
    let overwrite = |connection: &Connection, how| {
        connection.pragma_update_and_check(None, "secure_delete", how, |_| Ok(())).map_err(fault)
    };
    overwrite(connection, "ON")?;
    let transaction = connection.transaction().map_err(fault)?;
    let seal = seal(&transaction)?;
    for table in BEFORE {
        transaction.execute_batch(&format!("ALTER TABLE {table} RENAME TO {table}_before")).map_err(fault)?;
    }
    transaction.execute_batch(TABLES).map_err(fault)?;
    let mut books = books(&transaction).map_err(fault)?;
    for (shard, book) in (0..).zip(&mut books.shards) {
        let customers = customers(&transaction, shard)?;
        book.state = people::replace(&transaction, seal, shard, &customers).map_err(fault)?;
    }
    touchpoints(&transaction, seal, &mut books)?;
    publish(&transaction, seal).map_err(fault)?;
    ids(&transaction, seal, &mut books).map_err(fault)?;
    books.make(&transaction, seal).map_err(fault)?;
    seal_head(&transaction, seal).map_err(fault)?;
    for table in BEFORE {
        transaction.execute_batch(&format!("DROP TABLE {table}_before")).map_err(fault)?;
    }
    transaction.pragma_update(None, "user_version", VERSION).map_err(fault)?;
    transaction.commit().map_err(fault)?;
    overwrite(connection, "FAST")
}

fn books(transaction: &Connection) -> rusqlite::Result<Books> {
    let mut statement = transaction.prepare(
        "SELECT end, stamped, position, log_time, stream_time, sequence, \
         (SELECT min(id) FROM touchpoints_before WHERE id >= shard << 40 AND id < (shard + 1) << 40) \
         FROM shards_before ORDER BY shard",
    )?;
    let instant = |millis: i64| Timestamp::from_millis(millis);
    let shards = statement.query_map([], |row| {
        let end = row.get(0)?;
        Ok(ShardBook {
            end,
            stamped: instant(row.get(1)?),
            position: Position { offset: row.get(2)?, log_time: instant(row.get(3)?) },
            stream_time: row.get::<_, Option<i64>>(4)?.map(instant),
            sequence: row.get::<_, i64>(5)?.cast_unsigned(),
            kept_from: row.get::<_, Option<i64>>(6)?.map_or(end, offset),
            state: 0,
        })
    })?;
    let number = |name| meta::<i64>(transaction, name);
    let published = number("published")?.cast_unsigned();
    let first = "SELECT coalesce(min(position), ?1) FROM outcomes_before";
    let outcomes_from: i64 = transaction.query_row(first, [published.cast_signed() + 1], |row| row.get(0))?;
    Ok(Books {
        shards: shards.collect::<rusqlite::Result<_>>()?,
        published,
        loading: number("loading")? != 0,
        outcomes_from: outcomes_from.cast_unsigned(),
        ..Books::default()
    })
}

/// Each had its words with it.
fn customers(transaction: &Connection, shard: ShardId) -> Result<Customers, String> {
    let fault = |error: rusqlite::Error| format!("{error}; nothing was changed");
    let mut statement = transaction.prepare("SELECT state FROM customers_before WHERE shard = ?1").map_err(fault)?;
    let mut rows = statement.query([shard]).map_err(fault)?;
    let mut customers = Customers::default();
    while let Some(row) = rows.next().map_err(fault)? {
        let bytes = row.get_ref(0).and_then(|bytes| Ok(bytes.as_blob()?)).map_err(fault)?;
        customers.restore(&state::decode(bytes)?);
    }
    Ok(customers)
}

fn touchpoints(transaction: &Connection, seal: Seal, books: &mut Books) -> Result<(), String> {
    let fault = |error: rusqlite::Error| format!("{error}; nothing was changed");
    let mut statement = transaction
        .prepare("SELECT id, stamped, history, value FROM touchpoints_before WHERE id >= ?1 AND id < ?2 ORDER BY id")
        .map_err(fault)?;
    let mut drafts = Drafts::new(seal, books.shards.len());
    for shard in 0..books.shards.len() as ShardId {
        let book = books.shards[shard as usize].clone();
        // They are appended anew, each at its offset.
        books.shards[shard as usize].end = book.kept_from;
        let mut rows = statement.query(params![key(shard, book.kept_from), key(shard, book.end)]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            let read = || -> rusqlite::Result<(i64, i64, i64, &[u8])> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get_ref(3)?.as_blob()?))
            };
            let (id, stamped, sort, value) = read().map_err(fault)?;
            if offset(id) != books.shards[shard as usize].end {
                break;
            }
            let entered = match sort {
                0 => Entered::Live,
                1 => Entered::History,
                _ => Entered::Control,
            };
            let entry = batches::Entry { entered, stamped: Timestamp::from_millis(stamped), value };
            drafts.push(transaction, books, shard, entry).map_err(fault)?;
        }
        let came = &mut books.shards[shard as usize];
        if came.end != book.end {
            return Err(format!("touchpoint {} of partition {shard} is missing; restore the store from a backup", came.end));
        }
        came.stamped = book.stamped;
    }
    drafts.finish(transaction).map_err(fault)
}

fn publish(transaction: &Connection, seal: Seal) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare("SELECT position, at, topic, stale, value FROM outcomes_before ORDER BY position")?;
    let mut insert = transaction
        .prepare("INSERT INTO outcomes (position, at, topic, stale, sum, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (position, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (topic, stale): (String, bool) = (row.get(2)?, row.get(3)?);
        let value = row.get_ref(4)?.as_blob()?;
        let check = outcomes::check(seal, position, at, &topic, stale, value).cast_signed();
        insert.execute(params![position, at, topic, stale, check, value])?;
    }
    Ok(())
}

fn ids(transaction: &Connection, seal: Seal, books: &mut Books) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare("SELECT row, at, hashes FROM fresh_before")?;
    let mut insert = transaction.prepare("INSERT INTO fresh (row, at, sum, hashes) VALUES (?1, ?2, ?3, ?4)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        let hashes = row.get_ref(2)?.as_blob()?;
        let check = seal.of(Sort::Fresh, &[number, at], hashes);
        books.fresh = books.fresh.wrapping_add(check);
        insert.execute(params![number, at, check.cast_signed(), hashes])?;
    }
    let mut statement = transaction.prepare("SELECT bucket, hash, at FROM seen")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let check = seal.of(Sort::Seen, &[row.get(0)?, row.get(2)?], row.get_ref(1)?.as_blob()?);
        books.seen = books.seen.wrapping_add(check);
    }
    Ok(())
}
