//! What is done to a store that nobody serves: filling it with a state from elsewhere, and setting it back.
//!
//! Each is one transaction, so that it is done or not, whatever is killed.

use std::fs::File;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::books::{Books, ShardBook, key, offset};
use super::{Settings, schema, succession};
use crate::journey::Customer;
use crate::model::Model;
use crate::partitioner::Partitioner;
use crate::port::ShardId;
use crate::time::Timestamp;
use crate::wire::state;

/// A store that this process alone has.
#[derive(Debug)]
pub struct Offline {
    connection: Connection,
    books: Books,
    settings: Settings,
    models: Vec<Arc<Model>>,
    /// Held as long as the store is open.
    _lock: File,
}

/// What becomes of the state when positions are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Journeys stay as they are.
    Keep,
    /// Journeys begin anew.
    Drop,
}

/// What a reset does to one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the shard is.
    pub from: i64,
    /// Where it goes on.
    pub to: i64,
    /// Its customers.
    pub customers: u64,
}

fn fault(error: rusqlite::Error) -> String {
    format!("cannot write to the store: {error}; nothing was changed")
}

impl Offline {
    /// Takes a store, or makes one. What is in it stays as it is, under other models as well.
    ///
    /// # Errors
    /// One that is in use, or made for other partitions.
    pub fn open(settings: &Settings, models: &[Arc<Model>]) -> Result<Self, String> {
        let lock = schema::lock(settings)?;
        let opened = schema::open(settings, models)?;
        let (settings, models) = (settings.clone(), models.to_vec());
        Ok(Offline { connection: opened.connection, books: opened.books, settings, models, _lock: lock })
    }

    /// What is in the store is brought over to the models, which what is done next is about.
    fn follow(&mut self) -> Result<(), String> {
        succession::follow(&mut self.connection, &self.settings, &self.models)
    }

    /// Why the store cannot be filled; `None` where it can.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn occupied(&self) -> Result<Option<String>, String> {
        let sql = "SELECT 1 FROM customers LIMIT 1";
        let customer = self.connection.query_row(sql, [], |_| Ok(())).optional().map_err(fault)?;
        let waiting: u64 = self.books.shards.iter().map(ShardBook::pending).sum();
        Ok(if customer.is_some() {
            Some("the store holds journeys already; begin with an empty directory".to_owned())
        } else if waiting > 0 {
            Some(format!("{waiting} touchpoints wait in the store to be processed; begin with an empty directory"))
        } else if self.books.loading {
            Some("a history is being loaded into the store; begin with an empty directory".to_owned())
        } else {
            None
        })
    }

    /// Fills the store with what `bring` puts in; nothing is there where that fails.
    ///
    /// # Errors
    /// What `bring` says, or a store that cannot be written.
    pub fn fill<T>(&mut self, bring: impl FnOnce(&mut Filling<'_>) -> Result<T, String>) -> Result<T, String> {
        self.follow()?;
        let partitions = self.books.shards.len() as u32;
        let transaction = self.connection.transaction().map_err(fault)?;
        let mut filling =
            Filling { transaction, partitions, state: Vec::new(), stream_times: vec![None; partitions as usize] };
        let brought = bring(&mut filling)?;
        let Filling { transaction, stream_times, .. } = filling;
        let mut books = self.books.clone();
        for (book, stream_time) in books.shards.iter_mut().zip(stream_times) {
            book.sequence += 1;
            book.stream_time = book.stream_time.max(stream_time);
            // The log time of what comes is a running maximum, and lies nowhere before what has been decided.
            book.position.log_time = book.position.log_time.max(stream_time.unwrap_or(Timestamp::MIN));
        }
        books.save(&self.books, &transaction).map_err(fault)?;
        transaction.commit().map_err(fault)?;
        self.books = books;
        Ok(brought)
    }

    /// What a reset to the first touchpoint stamped `since` or later would do, by shard. `Timestamp::MIN` is the oldest that is
    /// kept, `Timestamp::MAX` the end.
    ///
    /// # Errors
    /// A store that cannot be read, or a history that is being loaded.
    pub fn plan(&self, since: Timestamp) -> Result<Vec<Step>, String> {
        if self.books.loading {
            return Err("a history is being loaded; end that first (`DELETE /v1/history`)".to_owned());
        }
        self.books.shards.iter().enumerate().map(|(number, book)| self.step(number as ShardId, book, since)).collect()
    }

    fn step(&self, shard: ShardId, book: &ShardBook, since: Timestamp) -> Result<Step, String> {
        let first = "SELECT min(id) FROM touchpoints WHERE id >= ?1 AND id < ?2 AND stamped >= ?3";
        let bounds = params![key(shard, 0), key(shard, book.end), since.as_millis()];
        let first: Option<i64> = self.connection.query_row(first, bounds, |row| row.get(0)).map_err(fault)?;
        let count = "SELECT count(*) FROM customers WHERE shard = ?1";
        let customers: i64 = self.connection.query_row(count, [shard], |row| row.get(0)).map_err(fault)?;
        let to = first.map_or(book.end, offset);
        Ok(Step { from: book.position.offset, to, customers: customers.unsigned_abs() })
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// A store that cannot be written, or journeys that stay and may not go on under the models; nothing was changed.
    pub fn reset(&mut self, plan: &[Step], fate: Fate) -> Result<(), String> {
        match fate {
            Fate::Keep => self.follow()?,
            // The next start brings nobody over.
            Fate::Drop => {}
        }
        let transaction = self.connection.transaction().map_err(fault)?;
        let mut books = self.books.clone();
        for (book, step) in books.shards.iter_mut().zip(plan) {
            book.position.offset = step.to;
            book.sequence += 1;
            match fate {
                Fate::Keep => {}
                Fate::Drop => {
                    book.position.log_time = Timestamp::MIN;
                    book.stream_time = None;
                }
            }
        }
        match fate {
            Fate::Keep => 0,
            Fate::Drop => transaction.execute("DELETE FROM customers", []).map_err(fault)?,
        };
        books.save(&self.books, &transaction).map_err(fault)?;
        transaction.commit().map_err(fault)?;
        self.books = books;
        Ok(())
    }
}

/// A store being filled.
#[derive(Debug)]
pub struct Filling<'a> {
    transaction: Transaction<'a>,
    partitions: u32,
    state: Vec<u8>,
    stream_times: Vec<Option<Timestamp>>,
}

impl Filling<'_> {
    /// Puts in a customer; says into which shard.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn put(&mut self, customer: &Customer) -> Result<ShardId, String> {
        let shard = Partitioner::Murmur2.partition(customer.identity.id.as_bytes(), self.partitions).unwrap_or(0);
        let mut key = Vec::new();
        state::key(&customer.identity, &mut key);
        self.state.clear();
        state::encode(customer, &mut self.state);
        let insert = "INSERT INTO customers (shard, identity, state) VALUES (?1, ?2, ?3)";
        let mut insert = self.transaction.prepare_cached(insert).map_err(fault)?;
        insert.execute(params![shard, key, self.state]).map_err(fault)?;
        Ok(shard)
    }

    /// Sets the stream time of each shard.
    pub fn stream_times(&mut self, at: impl Fn(ShardId) -> Option<Timestamp>) {
        self.stream_times = (0..self.partitions).map(at).collect();
    }
}
