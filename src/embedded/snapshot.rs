//! Looking at a store from outside, also while a service works on it: everything as of one committed transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::books::{Books, key};
use super::{Settings, schema, succession};
use crate::journey::Customer;
use crate::partitioner::Partitioner;
use crate::port::ShardId;
use crate::shard::Progress;
use crate::touchpoint::Identity;
use crate::wire::pages::Mark;
use crate::wire::state;

/// At most so many faults are told of one store.
const MAX_FAULTS: usize = 20;

/// How far a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where its last commit left it.
    pub progress: Progress,
    /// Touchpoints that are durable and not processed yet.
    pub waiting: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// By shard: customers, and the bytes of their states.
    pub shards: Vec<(u64, u64)>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// A store as of one instant.
#[derive(Debug)]
pub struct Snapshot {
    connection: Connection,
    books: Books,
    partitions: u32,
}

fn fault(error: rusqlite::Error) -> String {
    format!("cannot read the store: {error}; look at the disk, or restore its directory from a backup")
}

impl Snapshot {
    /// Opens a store to look at it.
    ///
    /// # Errors
    /// A directory without a store, or one that cannot be read.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let connection = schema::reader(settings)?;
        schema::check_version(&connection, settings)?;
        // From the first read on, everything is as of that instant.
        connection.execute_batch("BEGIN").map_err(fault)?;
        let books = Books::load(&connection).map_err(fault)?;
        let partitions = schema::partitions(&connection).map_err(fault)?;
        Ok(Snapshot { connection, books, partitions })
    }

    /// How far each shard is.
    pub fn shards(&self) -> Vec<Standing> {
        let standing = |book: &super::books::ShardBook| Standing { progress: book.progress(), waiting: book.pending() };
        self.books.shards.iter().map(standing).collect()
    }

    /// The models that the journeys run under.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn models(&self) -> Result<Vec<Mark>, String> {
        succession::stored(&self.connection)
    }

    /// A customer and where.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn customer(&self, who: &Identity) -> Result<Option<(ShardId, Customer)>, String> {
        let mut key = Vec::new();
        state::key(who, &mut key);
        let mut statement =
            self.connection.prepare("SELECT shard, state FROM customers WHERE identity = ?1 LIMIT 1").map_err(fault)?;
        let found = statement.query_row([key], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))).optional();
        let Some((shard, bytes)) = found.map_err(fault)? else { return Ok(None) };
        Ok(Some((shard, state::decode(&bytes)?)))
    }

    /// Hands over every customer, with the bytes of the state.
    ///
    /// # Errors
    /// A store or a state that cannot be read, or what `take` says.
    pub fn each(&self, mut take: impl FnMut(ShardId, Customer, &[u8]) -> Result<(), String>) -> Result<(), String> {
        self.rows(|shard, key, bytes| {
            let customer = state::decode(bytes).map_err(|reason| format!("{}: {reason}", shown(shard, key)))?;
            take(shard, customer, bytes)
        })
    }

    fn rows(&self, mut take: impl FnMut(ShardId, &[u8], &[u8]) -> Result<(), String>) -> Result<(), String> {
        let mut statement = self.connection.prepare("SELECT shard, identity, state FROM customers").map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            let blob = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
            take(row.get(0).map_err(fault)?, blob(1).map_err(fault)?, blob(2).map_err(fault)?)?;
        }
        Ok(())
    }

    /// Checks the file, the numbers, and every customer.
    ///
    /// # Errors
    /// A store that cannot be read at all.
    pub fn verify(&self) -> Result<Findings, String> {
        let mut found = Findings { shards: vec![(0, 0); self.partitions as usize], faults: Vec::new() };
        self.check_file(&mut found.faults)?;
        self.check_books(&mut found.faults)?;
        self.rows(|shard, key, bytes| {
            if let Some(place) = found.shards.get_mut(shard as usize) {
                place.0 += 1;
                place.1 += bytes.len() as u64;
            }
            if found.faults.len() < MAX_FAULTS
                && let Some(wrong) = self.wrong_with(shard, key, bytes)
            {
                found.faults.push(format!("{}: {wrong}", shown(shard, key)));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// What SQLite says of its file.
    fn check_file(&self, faults: &mut Vec<String>) -> Result<(), String> {
        let mut statement = self.connection.prepare("PRAGMA quick_check(5)").map_err(fault)?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0)).map_err(fault)?;
        for line in lines {
            let line = line.map_err(fault)?;
            if line != "ok" {
                faults.push(format!("the file is damaged: {line}"));
            }
        }
        Ok(())
    }

    /// Whether the touchpoints that wait are there, and the numbers fit together.
    fn check_books(&self, faults: &mut Vec<String>) -> Result<(), String> {
        if self.books.shards.len() != self.partitions as usize {
            faults.push(format!(
                "there are {} partitions, and there should be {}",
                self.books.shards.len(),
                self.partitions
            ));
        }
        let count = "SELECT count(*) FROM touchpoints WHERE id >= ?1 AND id < ?2";
        for (number, book) in self.books.shards.iter().enumerate() {
            let (shard, from) = (number as ShardId, book.position.offset);
            if from < 0 || from > book.end {
                faults.push(format!("partition {number} is processed to {from}, and ends at {}", book.end));
                continue;
            }
            let bounds = params![key(shard, from), key(shard, book.end)];
            let there: i64 = self.connection.query_row(count, bounds, |row| row.get(0)).map_err(fault)?;
            if there != book.end - from {
                let due = book.end - from;
                faults.push(format!("partition {number}: {due} touchpoints wait, and {there} of them are there"));
            }
        }
        Ok(())
    }

    fn wrong_with(&self, shard: ShardId, key: &[u8], bytes: &[u8]) -> Option<String> {
        let customer = match state::decode(bytes) {
            Ok(customer) => customer,
            Err(reason) => return Some(reason),
        };
        let mut own = Vec::new();
        state::key(&customer.identity, &mut own);
        if own != key {
            return Some("the state is another customer's".to_owned());
        }
        let home = Partitioner::Murmur2.partition(customer.identity.id.as_bytes(), self.partitions);
        let stray = home.filter(|home| *home != shard)?;
        Some(format!("the customer belongs to partition {stray}"))
    }
}

/// Names a row without a customer's id (rule 27).
fn shown(shard: ShardId, key: &[u8]) -> String {
    format!("partition {shard}, customer with hash {:016x}", xxhash_rust::xxh3::xxh3_64(key))
}
