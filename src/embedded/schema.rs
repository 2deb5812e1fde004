//! Opening: the directory and its lock, the tables, whether the store is whole, and whether it was made for what is asked of it
//! now.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use tracing::warn;
use uuid::Uuid;

use super::books::{Books, ShardBook};
use super::counter::{self, Counted, Counter};
use super::ids::Ids;
use super::opened::Opened;
use super::seal::{REMEDY, Seal, Unread};
use super::tables::{
    APPLICATION, FILE, OLDER_TABLES, PAGE_BYTES, TABLES, VERSION, check_head, meta, seal, seal_head, version,
};
use super::{MAX_PARTITIONS, Settings, succession, upgrade};
use crate::model::Model;
use crate::wire::pages::Mark;

/// SQLite's log: what is in it is not in the file yet.
const LOG: &str = "sillage.db-wal";
const LOCK: &str = "lock";

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
    let opened = open_or_make(settings, Some(models))?;
    check_partitions(&opened.connection, settings)?;
    Ok(opened)
}

/// Brings a store of an earlier version over to this one, unless somebody has it. What is there and is not of an earlier version
/// stays as it is.
pub(super) fn renew(settings: &Settings) -> Result<(), String> {
    let version =
        reader(settings).and_then(|connection| version(&connection).map_err(|error| Unread::from(error).to_string()))?;
    if !(1..VERSION).contains(&version) {
        return Ok(());
    }
    let _lock = lock(settings)?;
    open_or_make(settings, None).map(drop)
}

/// Without models nothing is made.
fn open_or_make(settings: &Settings, models: Option<&[Arc<Model>]>) -> Result<Opened, String> {
    let dir = &settings.dir;
    let path = dir.join(FILE);
    let fault = |error: rusqlite::Error| {
        format!("cannot open the store {}: {error}; see to its permissions, or restore it from a backup", path.display())
    };
    let counted = counter::read(dir)?;
    // Before SQLite sees it: an empty file is a new store to SQLite, and the log beside it of no use.
    let size = |name| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    if size(FILE) == 0 && (size(LOG) > 0 || counted != Counted::Nothing) {
        return Err(emptied(settings));
    }
    if path.exists() && size(FILE) == 0 {
        warn!(file = %path.display(), "the store's file was there and is empty; if it should hold a backup, stop and copy that anew");
    }
    let mut connection = Connection::open(&path).map_err(fault)?;
    // Until the store is found whole its files stay as they are.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fault)?;
    set_up(&connection, settings).map_err(fault)?;
    match (version(&connection).map_err(fault)?, models) {
        (0, Some(models)) if counted == Counted::Nothing => make(&mut connection, settings, models).map_err(fault)?,
        (0, Some(_)) => return Err(emptied(settings)),
        (1, _) => upgrade::upgrade(&mut connection)
            .map_err(|reason| format!("cannot bring the store in {} over to this version: {reason}", dir.display()))?,
        _ => check_version(&connection, settings)?,
    }
    let seal = seal(&connection)?;
    check_head(&connection, seal)?;
    let books = Books::load(&connection, seal)?;
    check_count(settings, seal, counted, &books)?;
    let ids = Ids::load(&connection, seal, &books)?;
    let counter = Counter::open(dir, seal, books.commits)
        .map_err(|error| format!("cannot write to {}: {error}; see to its permissions", dir.display()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(fault)?;
    Ok(Opened { connection, books, ids, seal, counter })
}

fn emptied(settings: &Settings) -> String {
    format!(
        "the store in {} was there, and {FILE} is empty or gone; {REMEDY}, or begin anew with an empty directory",
        settings.dir.display()
    )
}

/// Whether the store holds all commits that were counted.
pub(super) fn check_count(settings: &Settings, seal: Seal, counted: Counted, books: &Books) -> Result<(), String> {
    let Counted::Commits { name, number } = counted else { return Ok(()) };
    let (dir, commits) = (settings.dir.display(), books.commits);
    if name != seal.name() {
        return Err(format!("the file `commits` in {dir} is another store's: files of two stores are mixed up; {REMEDY}"));
    }
    if commits < number {
        return Err(format!(
            "the store in {dir} is at commit {commits}, and commit {number} was acknowledged: its file or its log was damaged, \
             cut off or put back; {REMEDY}. To go on without what came after commit {commits}, delete the file `commits` there"
        ));
    }
    Ok(())
}

/// Whether this Sillage knows the tables.
pub(super) fn check_version(connection: &Connection, settings: &Settings) -> Result<(), String> {
    match version(connection).map_err(Unread::from)? {
        VERSION => Ok(()),
        0 => Err(format!("there is no store in {} yet; start Sillage once, or name its directory", settings.dir.display())),
        other => Err(format!(
            "the store {} has version {other}, and this Sillage knows versions 1 and {VERSION}; use the Sillage that made it",
            settings.dir.join(FILE).display()
        )),
    }
}

/// A connection that only reads.
pub(super) fn reader(settings: &Settings) -> Result<Connection, String> {
    let path = settings.dir.join(FILE);
    // SQLite reads a file without a byte as a store without a table.
    if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
        return Err(emptied(settings));
    }
    reader_of(&path)
}

/// A connection that only reads this file.
pub(super) fn reader_of(file: &Path) -> Result<Connection, String> {
    let fault = |error| format!("cannot read the store {}: {error}", file.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(fault)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(fault)?;
    connection.pragma_update(None, "cell_size_check", true).map_err(fault)?;
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
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    if let Some(bytes) = settings.max_bytes {
        let pages = i64::try_from(bytes / PAGE_BYTES).unwrap_or(i64::MAX).clamp(1, 0xffff_fffe);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}

fn make(connection: &mut Connection, settings: &Settings, models: &[Arc<Model>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(OLDER_TABLES)?;
    transaction.execute_batch(TABLES)?;
    let set = |name: &str, value: &dyn rusqlite::ToSql| {
        transaction.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", params![name, value])
    };
    let seal = Seal(Uuid::new_v4().as_u64_pair().1);
    set("partitions", &settings.partitions)?;
    set("models", &succession::text(&Mark::all(models, &settings.retired)))?;
    set("seed", &seal.0.cast_signed())?;
    seal_head(&transaction, seal)?;
    let shards = vec![ShardBook::default(); settings.partitions as usize];
    Books { shards, ..Books::default() }.make(&transaction, seal)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
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
