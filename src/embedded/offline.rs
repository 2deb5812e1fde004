//! What is done to a store that nobody serves: filling it with a state from elsewhere, and setting it back.
//!
//! Each is one transaction, so that it is done or not, whatever is killed.

use std::fs::File;
use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use super::batches;
use super::books::{ShardBook, key, offset};
use super::opened::Opened;
use super::seal::{Unread, demand};
use super::{Settings, people, schema, succession};
use crate::journey::{Customer, Sums};
use crate::model::Model;
use crate::partitioner::Partitioner;
use crate::port::ShardId;
use crate::shard::Customers;
use crate::time::Timestamp;

/// A store that this process alone has.
#[derive(Debug)]
pub struct Offline {
    opened: Opened,
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
        Ok(Offline { opened, settings, models, _lock: lock })
    }

    /// What is in the store is brought over to the models, which what is done next is about.
    fn follow(&mut self) -> Result<(), String> {
        succession::follow(&mut self.opened, &self.settings, &self.models)
    }

    /// Why the store cannot be filled; `None` where it can.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn occupied(&self) -> Result<Option<String>, String> {
        let sql = "SELECT 1 FROM customers LIMIT 1";
        let customer = self.opened.connection.query_row(sql, [], |_| Ok(())).optional().map_err(fault)?;
        let waiting: u64 = self.opened.books.shards.iter().map(ShardBook::pending).sum();
        Ok(if customer.is_some() {
            Some("the store holds journeys already; begin with an empty directory".to_owned())
        } else if waiting > 0 {
            Some(format!("{waiting} touchpoints wait in the store to be processed; begin with an empty directory"))
        } else if self.opened.books.loading {
            Some("a history is being loaded into the store; begin with an empty directory".to_owned())
        } else {
            None
        })
    }

    /// Fills the store with what `bring` puts in; nothing is there where that fails.
    ///
    /// # Errors
    /// What `bring` says, or a store that cannot be written.
    pub fn fill<T>(&mut self, bring: impl FnOnce(&mut Filling) -> Result<T, String>) -> Result<T, String> {
        self.follow()?;
        let partitions = self.opened.books.shards.len();
        let mut filling = Filling {
            shards: (0..partitions).map(|_| Customers::default()).collect(),
            stream_times: vec![None; partitions],
        };
        let brought = bring(&mut filling)?;
        let Filling { shards, stream_times } = filling;
        self.opened.transact(|transaction, seal, books| {
            let places = (0..).zip(&mut books.shards).zip(shards).zip(stream_times);
            for (((shard, book), customers), stream_time) in places {
                book.state = people::replace(transaction, seal, shard, &customers).map_err(fault)?;
                book.sequence += 1;
                book.stream_time = book.stream_time.max(stream_time);
                // The log time of what comes is a running maximum, and lies nowhere before what has been decided.
                book.position.log_time = book.position.log_time.max(stream_time.unwrap_or(Timestamp::MIN));
            }
            Ok(brought)
        })
    }

    /// What a reset to the first touchpoint stamped `since` or later would do, by shard. `Timestamp::MIN` is the oldest that is
    /// kept, `Timestamp::MAX` the end.
    ///
    /// # Errors
    /// A store that cannot be read, or a history that is being loaded.
    pub fn plan(&self, since: Timestamp) -> Result<Vec<Step>, String> {
        let books = &self.opened.books;
        if books.loading {
            return Err("a history is being loaded; end that first (`DELETE /v1/history`)".to_owned());
        }
        let step = |(number, book): (usize, &ShardBook)| Ok(self.step(number as ShardId, book, since)?);
        books.shards.iter().enumerate().map(step).collect()
    }

    fn step(&self, shard: ShardId, book: &ShardBook, since: Timestamp) -> Result<Step, Unread> {
        let Opened { connection, seal, .. } = &self.opened;
        // Stamps never decrease, so the first row that ends late enough holds the first touchpoint that is.
        let first = "SELECT id FROM batches WHERE id >= ?1 AND id < ?2 AND stamped >= ?3 ORDER BY id LIMIT 1";
        let bounds = params![key(shard, book.kept_from), key(shard, book.end), since.as_millis()];
        let first: Option<i64> = connection.query_row(first, bounds, |row| row.get(0)).optional()?;
        let mut to = book.end;
        if let Some(first) = first.map(offset) {
            batches::each(connection, *seal, shard, (first, book.end), |batch| {
                let late = batch.entries().position(|entry| entry.stamped >= since);
                to = batch.first + late.map_or(0, |place| place as i64);
                false
            })?;
        }
        let oldest = since > Timestamp::MIN || to == book.kept_from;
        demand(oldest, || format!("touchpoint {} of partition {shard} is missing", book.kept_from))?;
        // The rows of a partition itself have one byte for whose they are.
        let count = "SELECT count(*) FROM customers WHERE shard = ?1 AND length(identity) > 1";
        let customers: i64 = connection.query_row(count, [shard], |row| row.get(0))?;
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
        self.opened.transact(|transaction, seal, books| {
            for ((shard, book), step) in (0..).zip(&mut books.shards).zip(plan) {
                book.position.offset = step.to;
                book.sequence += 1;
                match fate {
                    Fate::Keep => {}
                    Fate::Drop => {
                        book.position.log_time = Timestamp::MIN;
                        book.stream_time = None;
                        book.state = people::replace(transaction, seal, shard, &Customers::default()).map_err(fault)?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// What a store is going to be filled with.
#[derive(Debug)]
pub struct Filling {
    shards: Vec<Customers>,
    stream_times: Vec<Option<Timestamp>>,
}

impl Filling {
    /// Puts in a customer; says into which shard.
    pub fn put(&mut self, customer: &Customer) -> ShardId {
        let partitions = self.shards.len() as u32;
        let shard = Partitioner::Murmur2.partition(customer.identity.id.as_bytes(), partitions).unwrap_or(0);
        self.shards[shard as usize].restore(customer);
        shard
    }

    /// Adds what was measured elsewhere.
    pub fn put_sums(&mut self, sums: &Sums) {
        if let Some(first) = self.shards.first_mut() {
            first.restore_sums(sums);
        }
    }

    /// Sets the stream time of each shard.
    pub fn stream_times(&mut self, at: impl Fn(ShardId) -> Option<Timestamp>) {
        self.stream_times = (0..self.shards.len() as ShardId).map(at).collect();
    }
}
