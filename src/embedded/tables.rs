//! The tables of the store, and what it says of itself as a whole.

use rusqlite::Connection;

use super::seal::{Seal, Sort, Unread, demand};

/// Goes up with every change of the tables.
pub(super) const VERSION: i64 = 2;
/// Marks the file as ours (`file` and SQLite's own tools show it): "Sill".
pub(super) const APPLICATION: i64 = 0x5369_6c6c;
pub(super) const FILE: &str = "sillage.db";
pub(super) const PAGE_BYTES: u64 = 4_096;

/// `batches.id` is made by `books::key` of the first touchpoint in it; `fresh` and `seen` are told in `ids`. What is called `sum`
/// is a check (`seal`).
pub(super) const TABLES: &str = "
CREATE TABLE shards (
    shard INTEGER PRIMARY KEY, end INTEGER NOT NULL, stamped INTEGER NOT NULL,
    position INTEGER NOT NULL, log_time INTEGER NOT NULL, stream_time INTEGER, sequence INTEGER NOT NULL,
    kept_from INTEGER NOT NULL, state INTEGER NOT NULL, sum INTEGER NOT NULL
) STRICT;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, count INTEGER NOT NULL, stamped INTEGER NOT NULL, sum INTEGER NOT NULL, entries BLOB NOT NULL
) STRICT;
CREATE TABLE fresh (row INTEGER PRIMARY KEY, at INTEGER NOT NULL, sum INTEGER NOT NULL, hashes BLOB NOT NULL) STRICT;
CREATE TABLE words (
    shard INTEGER, number INTEGER, text TEXT NOT NULL, PRIMARY KEY (shard, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, shard INTEGER NOT NULL, identity BLOB NOT NULL, state BLOB NOT NULL, UNIQUE (shard, identity)
) STRICT;
CREATE TABLE outcomes (
    position INTEGER PRIMARY KEY, at INTEGER NOT NULL, topic TEXT NOT NULL, stale INTEGER NOT NULL, sum INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT;
";
/// Those that are as they were in the version before.
pub(super) const OLDER_TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE seen (bucket INTEGER, hash BLOB, at INTEGER NOT NULL, PRIMARY KEY (bucket, hash)) STRICT, WITHOUT ROWID;
";

/// What the store's checks are made with.
pub(super) fn seal(connection: &Connection) -> Result<Seal, Unread> {
    let seed: i64 = meta(connection, "seed")?;
    Ok(Seal(seed.cast_unsigned()))
}

/// The check of what is said of the store as a whole.
fn head(connection: &Connection, seal: Seal) -> rusqlite::Result<i64> {
    let (partitions, models): (i64, String) = (meta(connection, "partitions")?, meta(connection, "models")?);
    Ok(seal.of(Sort::Made, &[partitions], models.as_bytes()).cast_signed())
}

/// What is said of the store as a whole has changed.
pub(super) fn seal_head(transaction: &Connection, seal: Seal) -> rusqlite::Result<()> {
    let check = head(transaction, seal)?;
    transaction.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('head', ?1)", [check]).map(drop)
}

/// Whether the store is ours, as SQLite was told to keep it, and what it says of itself is what was written.
pub(super) fn check_head(connection: &Connection, seal: Seal) -> Result<(), Unread> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    for (name, expected) in [("application_id", APPLICATION), ("page_size", PAGE_BYTES.cast_signed()), ("auto_vacuum", 0)] {
        let found = pragma(name)?;
        demand(found == expected, || format!("{name} is {found}, and should be {expected}"))?;
    }
    let check: i64 = meta(connection, "head")?;
    demand(head(connection, seal)? == check, || "partitions and models are not what was written".to_owned())
}

/// The version of the tables; 0 where there are none.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// How many partitions the store was made with.
pub(super) fn partitions(connection: &Connection) -> rusqlite::Result<u32> {
    meta(connection, "partitions")
}

/// What is said of the store under this name.
pub(super) fn meta<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
}
