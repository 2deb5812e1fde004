//! Opening: the directory and its lock, the tables, and whether the store was made for what is asked of it now.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};
use uuid::Uuid;

use super::books::Books;
use super::ids::Ids;
use super::{MAX_PARTITIONS, Settings, succession};
use crate::model::Model;
use crate::wire::pages::Mark;

/// Goes up with every change of the tables.
const VERSION: i64 = 1;
/// Marks the file as ours (`file` and SQLite's own tools show it): "Sill".
const APPLICATION: i64 = 0x5369_6c6c;
const FILE: &str = "sillage.db";
const LOCK: &str = "lock";
pub(super) const PAGE_BYTES: u64 = 4_096;

/// `touchpoints.id` is made by `books::key`; `history` is 1 where a row's time is the touchpoint's own, and 2 where it is no
/// touchpoint but asks for somebody to be erased; `fresh` and `seen` are told in `ids`.
pub(super) const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE shards (
    shard INTEGER PRIMARY KEY, end INTEGER NOT NULL, stamped INTEGER NOT NULL,
    position INTEGER NOT NULL, log_time INTEGER NOT NULL, stream_time INTEGER, sequence INTEGER NOT NULL
) STRICT;
CREATE TABLE touchpoints (
    id INTEGER PRIMARY KEY, stamped INTEGER NOT NULL, history INTEGER NOT NULL, value BLOB NOT NULL
) STRICT;
CREATE TABLE fresh (row INTEGER PRIMARY KEY, at INTEGER NOT NULL, hashes BLOB NOT NULL) STRICT;
CREATE TABLE seen (bucket INTEGER, hash BLOB, at INTEGER NOT NULL, PRIMARY KEY (bucket, hash)) STRICT, WITHOUT ROWID;
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, shard INTEGER NOT NULL, identity BLOB NOT NULL, state BLOB NOT NULL, UNIQUE (shard, identity)
) STRICT;
CREATE TABLE outcomes (
    position INTEGER PRIMARY KEY, at INTEGER NOT NULL, topic TEXT NOT NULL, stale INTEGER NOT NULL, value BLOB NOT NULL
) STRICT;
";

/// An opened store, for its writer.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) books: Books,
    pub(super) ids: Ids,
}

/// Takes the directory for this process; it is let go of when the file is dropped.
pub(super) fn lock(settings: &Settings) -> Result<File, String> {
    let dir = &settings.dir;
    let fault = |what: &str, error: &dyn std::fmt::Display| {
        format!("cannot {what} {}: {error}; choose another directory, or see to its permissions", dir.display())
    };
    // Customers' data: for the owner only.
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| fault("make the directory", &error))?;
    let path = dir.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = opened.map_err(|error| fault("write to", &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(dir, &mut file)),
        Err(TryLockError::Error(error)) => return Err(fault("lock", &error)),
    }
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    // Who holds the lock is a courtesy to whom it refuses; a full disk must not keep the store from opening.
    drop(noted);
    Ok(file)
}

fn in_use(dir: &Path, file: &mut File) -> String {
    let mut owner = String::new();
    let owner = match file.take(20).read_to_string(&mut owner) {
        Ok(_) if !owner.is_empty() => format!("another Sillage (process {owner})"),
        Ok(_) | Err(_) => "another Sillage".to_owned(),
    };
    format!("{} is in use by {owner}; stop that one, or choose another directory", dir.display())
}

/// Opens the store to write, making what is missing and checking what is there. Its customers may still be under other models
/// (`succession::follow`).
pub(super) fn open(settings: &Settings, models: &[Arc<Model>]) -> Result<Opened, String> {
    if !(1..=MAX_PARTITIONS).contains(&settings.partitions) {
        return Err(format!("{} partitions are out of range; choose 1 to {MAX_PARTITIONS}", settings.partitions));
    }
    let path = settings.dir.join(FILE);
    let fault = |error: rusqlite::Error| {
        format!("cannot open the store {}: {error}; see to its permissions, or restore it from a backup", path.display())
    };
    let mut connection = Connection::open(&path).map_err(fault)?;
    set_up(&connection, settings).map_err(fault)?;
    match version(&connection).map_err(fault)? {
        0 => make(&mut connection, settings, models).map_err(fault)?,
        _ => check_version(&connection, settings)?,
    }
    check_partitions(&connection, settings)?;
    let books = Books::load(&connection).map_err(fault)?;
    let seed: i64 = meta(&connection, "seed").map_err(fault)?;
    let ids = Ids::load(&connection, seed.cast_unsigned()).map_err(fault)?;
    Ok(Opened { connection, books, ids })
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether this Sillage knows the tables.
pub(super) fn check_version(connection: &Connection, settings: &Settings) -> Result<(), String> {
    match version(connection).map_err(|error| format!("cannot read the store in {}: {error}", settings.dir.display()))? {
        VERSION => Ok(()),
        0 => Err(format!("there is no store in {} yet; start Sillage once, or name its directory", settings.dir.display())),
        other => Err(format!(
            "the store {} has version {other}, and this Sillage knows version {VERSION}; use the Sillage that made it",
            settings.dir.join(FILE).display()
        )),
    }
}

/// How many partitions the store was made with.
pub(super) fn partitions(connection: &Connection) -> rusqlite::Result<u32> {
    meta(connection, "partitions")
}

/// A connection that only reads.
pub(super) fn reader(settings: &Settings) -> Result<Connection, String> {
    let fault = |error| format!("cannot read the store in {}: {error}", settings.dir.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(settings.dir.join(FILE), flags).map_err(fault)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(fault)?;
    Ok(connection)
}

fn set_up(connection: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Each commit reaches the disk before it is answered.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 4_000, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    // What is deleted or replaced is overwritten wherever its page is written anyway.
    connection.pragma_update_and_check(None, "secure_delete", "FAST", |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    if let Some(bytes) = settings.max_bytes {
        let pages = i64::try_from(bytes / PAGE_BYTES).unwrap_or(i64::MAX).clamp(1, 0xffff_fffe);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}

fn make(connection: &mut Connection, settings: &Settings, models: &[Arc<Model>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    let set = |name: &str, value: &dyn rusqlite::ToSql| {
        transaction.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", params![name, value])
    };
    set("partitions", &settings.partitions)?;
    set("models", &succession::text(&Mark::all(models, &settings.retired)))?;
    set("published", &0)?;
    set("loading", &0)?;
    set("seed", &Uuid::new_v4().as_u64_pair().1.cast_signed())?;
    for shard in 0..settings.partitions {
        transaction.execute(
            "INSERT INTO shards (shard, end, stamped, position, log_time, sequence) VALUES (?1, 0, ?2, 0, ?2, 0)",
            params![shard, i64::MIN],
        )?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn meta<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
}

/// Rule 26.
fn check_partitions(connection: &Connection, settings: &Settings) -> Result<(), String> {
    let made: i64 = meta(connection, "partitions").map_err(|error| format!("cannot read the store: {error}"))?;
    if made == i64::from(settings.partitions) {
        return Ok(());
    }
    Err(format!(
        "the store in {} was made with {made} partitions, and {} are asked for; ask for {made}, or begin with an empty \
         directory",
        settings.dir.display(),
        settings.partitions
    ))
}
