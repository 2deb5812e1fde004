//! The file beside the store, with a seal on everything in it: a row that was changed does not pass, and one that is gone is missed
//! in a sum. A file that is put back to what it was cannot be told from what it was.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::embedded::seal::{Seal, Sort};
use crate::outbox::Write;
use crate::time::Timestamp;

pub(super) const FILE: &str = "deliveries.db";
/// Says that the file was there: one that is gone does not look like one that never was.
const MADE: &str = "deliveries.made";
/// Dead letters that are kept.
const DEAD_LETTERS: u32 = 10_000;

const VERSION: i64 = 1;
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL, seal INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS position (only INTEGER PRIMARY KEY CHECK (only = 0), next INTEGER NOT NULL, kept INTEGER NOT NULL,
        seal INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS dead_letters (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, destination TEXT NOT NULL,
        reason TEXT NOT NULL, value BLOB NOT NULL, seal INTEGER NOT NULL);";
/// What the tables of a file lack that was made before anything in it had a seal.
const SEALED: &str = "
    ALTER TABLE kept ADD COLUMN seal INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE position ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE position ADD COLUMN seal INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE dead_letters ADD COLUMN seal INTEGER NOT NULL DEFAULT 0;";

/// How each delivery stands, where reading goes on, and the latest dead letters.
pub(super) struct Kept {
    file: Connection,
    seal: Seal,
    /// Where reading goes on; none in a file that is new.
    next: Option<i64>,
    /// The sum of the seals of all deliveries.
    sum: i64,
}

impl Kept {
    /// Opens the file, and makes it where there never was one.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(super) fn open(dir: &Path, seal: Seal) -> Result<Self, String> {
        missing(dir).map_or(Ok(()), Err)?;
        let fault = |error: rusqlite::Error| unreadable(dir, &error);
        let mut file = Connection::open(dir.join(FILE)).map_err(fault)?;
        file.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(fault)?;
        make(&mut file, seal).map_err(fault)?;
        let (next, sum) = read(&file, seal).map_err(|unfit| unfit.of(dir))?;
        let made = std::fs::write(dir.join(MADE), format!("{:016x}\n", seal.name()));
        made.map_err(|error| format!("cannot write to {}: {error}", dir.join(MADE).display()))?;
        Ok(Kept { file, seal, next, sum })
    }

    /// Where reading goes on.
    pub(super) fn next(&self) -> Option<u64> {
        self.next.map(i64::cast_unsigned)
    }

    /// Reading goes on here from now on.
    pub(super) fn go_on_at(&mut self, next: u64) -> rusqlite::Result<()> {
        set_position(&self.file, self.seal, next.cast_signed(), self.sum)?;
        self.next = Some(next.cast_signed());
        Ok(())
    }

    /// All deliveries, by their keys.
    pub(super) fn rows(&self) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
        Ok(kept_rows(&self.file)?.into_iter().map(|(key, value, _)| (key, value)).collect())
    }

    /// Writes how deliveries stand, and what could not be delivered.
    pub(super) fn keep(&mut self, writes: &[Write], now: Timestamp) -> rusqlite::Result<()> {
        let transaction = self.file.transaction()?;
        let mut sum = self.sum;
        for write in writes {
            match write {
                Write::Keep { key, value, .. } => {
                    sum = sum.wrapping_add(set_kept(&transaction, self.seal, key, value.as_deref())?);
                }
                Write::DeadLetter { value, reason, destination, .. } => {
                    let seal = seal_of_letter(self.seal, now.as_millis(), destination, reason, value);
                    let sql = "INSERT INTO dead_letters (at, destination, reason, value, seal) VALUES (?1, ?2, ?3, ?4, ?5)";
                    transaction.prepare_cached(sql)?.execute(params![now.as_millis(), destination, reason, value, seal])?;
                    let sql = "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - ?1";
                    transaction.prepare_cached(sql)?.execute([DEAD_LETTERS])?;
                }
                Write::Touchpoint { .. } => {}
            }
        }
        if let Some(next) = self.next {
            set_position(&transaction, self.seal, next, sum)?;
        }
        transaction.commit()?;
        self.sum = sum;
        Ok(())
    }
}

/// Writes or deletes a delivery; says by how much the sum of all changes.
fn set_kept(file: &Connection, seal: Seal, key: &str, value: Option<&[u8]>) -> rusqlite::Result<i64> {
    let mut known = file.prepare_cached("SELECT seal FROM kept WHERE key = ?1")?;
    let known = known.query_row([key], |row| row.get::<_, i64>(0)).optional()?.unwrap_or(0);
    let Some(value) = value else {
        file.prepare_cached("DELETE FROM kept WHERE key = ?1")?.execute([key])?;
        return Ok(known.wrapping_neg());
    };
    let seal = seal_of_kept(seal, key, value);
    let sql = "INSERT INTO kept VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value, seal = excluded.seal";
    file.prepare_cached(sql)?.execute(params![key, value, seal])?;
    Ok(seal.wrapping_sub(known))
}

/// Why it cannot be used.
enum Unfit {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        Unfit::Sqlite(error)
    }
}

impl Unfit {
    fn of(self, dir: &Path) -> String {
        match self {
            Unfit::Sqlite(error) => unreadable(dir, &error),
            Unfit::Damaged(what) => format!("{} is damaged: {what}; {}", dir.join(FILE).display(), remedy()),
        }
    }
}

fn remedy() -> String {
    format!(
        "put it back, or delete {FILE} and {MADE}: delivery then goes on with what is published from now on, and what waited is not \
         delivered"
    )
}

fn unreadable(dir: &Path, error: &rusqlite::Error) -> String {
    format!("{} cannot be used ({error}); if the disk is sound, {}", dir.join(FILE).display(), remedy())
}

/// What is wrong where the file was there and is no more.
fn missing(dir: &Path) -> Option<String> {
    let is_empty = std::fs::metadata(dir.join(FILE)).map_or(0, |file| file.len()) == 0;
    let gone = || format!("{} was there, and is empty or gone; {}", dir.join(FILE).display(), remedy());
    (is_empty && dir.join(MADE).exists()).then(gone)
}

fn make(file: &mut Connection, seal: Seal) -> rusqlite::Result<()> {
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0));
    let version = number("PRAGMA user_version")?;
    if version >= VERSION {
        return Ok(());
    }
    let was_there = number("SELECT count(*) FROM sqlite_master WHERE name = 'kept'")? > 0;
    let transaction = file.transaction()?;
    if was_there {
        transaction.execute_batch(SEALED)?;
        seal_all(&transaction, seal)?;
    }
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn seal_all(file: &Connection, seal: Seal) -> rusqlite::Result<()> {
    let mut sum = 0_i64;
    for (key, value, _) in kept_rows(file)? {
        let seal = seal_of_kept(seal, &key, &value);
        sum = sum.wrapping_add(seal);
        file.execute("UPDATE kept SET seal = ?1 WHERE key = ?2", params![seal, key])?;
    }
    for Letter { number, at, destination, reason, value, .. } in letters(file)? {
        let seal = seal_of_letter(seal, at, &destination, &reason, &value);
        file.execute("UPDATE dead_letters SET seal = ?1 WHERE number = ?2", [seal, number])?;
    }
    let next = file.query_row("SELECT next FROM position", [], |row| row.get(0)).optional()?;
    next.map_or(Ok(()), |next| set_position(file, seal, next, sum))
}

fn kept_rows(file: &Connection) -> rusqlite::Result<Vec<(String, Vec<u8>, i64)>> {
    let mut statement = file.prepare("SELECT key, value, seal FROM kept")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

struct Letter {
    number: i64,
    at: i64,
    destination: String,
    reason: String,
    value: Vec<u8>,
    seal: i64,
}

fn letters(file: &Connection) -> rusqlite::Result<Vec<Letter>> {
    let mut statement = file.prepare("SELECT number, at, destination, reason, value, seal FROM dead_letters")?;
    let letter = |row: &rusqlite::Row<'_>| {
        Ok(Letter {
            number: row.get(0)?,
            at: row.get(1)?,
            destination: row.get(2)?,
            reason: row.get(3)?,
            value: row.get(4)?,
            seal: row.get(5)?,
        })
    };
    statement.query_map([], letter)?.collect()
}

fn seal_of_kept(seal: Seal, key: &str, value: &[u8]) -> i64 {
    seal.of(Sort::Kept, &[key.len() as i64], &[key.as_bytes(), value].concat()).cast_signed()
}

fn seal_of_position(seal: Seal, next: i64, sum: i64) -> i64 {
    seal.of(Sort::Reading, &[next, sum], b"").cast_signed()
}

fn seal_of_letter(seal: Seal, at: i64, destination: &str, reason: &str, value: &[u8]) -> i64 {
    let numbers = [at, destination.len() as i64, reason.len() as i64];
    seal.of(Sort::DeadLetter, &numbers, &[destination.as_bytes(), reason.as_bytes(), value].concat()).cast_signed()
}

fn set_position(file: &Connection, seal: Seal, next: i64, sum: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO position VALUES (0, ?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET next = excluded.next, kept = excluded.kept, seal = excluded.seal";
    file.prepare_cached(sql)?.execute([next, sum, seal_of_position(seal, next, sum)]).map(drop)
}

/// Reads and checks what delivery goes on from: the next position, if there is any, and the sum of what is kept.
fn read(file: &Connection, seal: Seal) -> Result<(Option<i64>, i64), Unfit> {
    let mut sum = 0_i64;
    for (key, value, known) in kept_rows(file)? {
        if seal_of_kept(seal, &key, &value) != known {
            return Err(Unfit::Damaged(format!("the delivery {key:?} is not what was written")));
        }
        sum = sum.wrapping_add(known);
    }
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let position = file.query_row("SELECT next, kept, seal FROM position", [], row).optional()?;
    match position {
        None if sum == 0 => Ok((None, sum)),
        Some((next, kept, known)) if seal_of_position(seal, next, kept) == known && kept == sum => Ok((Some(next), sum)),
        None | Some(_) => {
            Err(Unfit::Damaged("deliveries are missing, or where to go on is not what was written".to_owned()))
        }
    }
}

/// What is wrong with the file beside a store, if it is there or was.
pub(in crate::embedded) fn verify(dir: &Path, seal: Seal) -> Option<String> {
    let path = dir.join(FILE);
    if let Some(missing) = missing(dir) {
        return Some(missing);
    }
    if !path.exists() {
        return None;
    }
    let check = || -> Result<(), Unfit> {
        let file = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // A service may write: all is read as of one commit.
        file.execute_batch("BEGIN")?;
        let told: String = file.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if told != "ok" {
            return Err(Unfit::Damaged(told));
        }
        // One of an earlier version has nothing to be held against.
        if file.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? < VERSION {
            return Ok(());
        }
        read(&file, seal)?;
        let is_wrong = |letter: &Letter| {
            seal_of_letter(seal, letter.at, &letter.destination, &letter.reason, &letter.value) != letter.seal
        };
        match letters(&file)?.iter().find(|letter| is_wrong(letter)) {
            Some(letter) => Err(Unfit::Damaged(format!("dead letter {} is not what was written", letter.number))),
            None => Ok(()),
        }
    };
    check().err().map(|unfit| unfit.of(dir))
}
