//! The journeys that a worker writes and the HTTP side reads at the same time: one concurrent map per shard.
//!
//! Readers see committed state only (see `shard::store`): the number of the last committed transaction goes up once, and
//! with it everything that the transaction changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;

use crate::journey::Customer;
use crate::port::ShardId;
use crate::shard::{Customers, Entry};
use crate::touchpoint::Identity;

#[derive(Debug, Default)]
struct Shelf {
    entries: DashMap<Identity, Entry>,
    committed: AtomicU64,
}

/// The customers of one shard, shared with readers.
#[derive(Clone, Debug, Default)]
pub struct SharedCustomers(Arc<Shelf>);

impl SharedCustomers {
    /// Takes the customers out, as last committed.
    pub fn take(&self) -> Vec<Customer> {
        let committed = self.0.committed.load(Ordering::Acquire);
        let who: Vec<Identity> = self.0.entries.iter().map(|entry| entry.key().clone()).collect();
        who.iter().filter_map(|who| self.0.entries.remove(who)?.1.into_image(committed)).collect()
    }

    /// A shard's customers as restored from the log.
    pub fn restored(customers: Vec<Customer>) -> Self {
        let shared = SharedCustomers::default();
        for customer in customers {
            shared.0.entries.entry(customer.identity.clone()).or_default().restore(customer);
        }
        shared
    }
}

impl Customers for SharedCustomers {
    fn entry<R>(&mut self, who: &Identity, work: impl FnOnce(&mut Entry) -> R) -> R {
        if let Some(mut entry) = self.0.entries.get_mut(who) {
            return work(&mut entry);
        }
        // Only the shard's worker inserts, so nobody can have come between.
        work(&mut self.0.entries.entry(who.clone()).or_default())
    }

    fn remove_vacant(&mut self, who: &Identity) {
        self.0.entries.remove_if(who, |_, entry| entry.is_vacant());
    }

    fn publish(&mut self, transaction: u64) {
        self.0.committed.store(transaction, Ordering::Release);
    }

    fn each(&self, mut work: impl FnMut(&Entry)) {
        self.0.entries.iter().for_each(|entry| work(&entry));
    }
}

/// All shards that live in this process, for look-ups.
#[derive(Debug, Default)]
pub struct Lookup {
    shelves: RwLock<BTreeMap<ShardId, SharedCustomers>>,
    missing: RwLock<BTreeMap<ShardId, Missing>>,
    seated: AtomicUsize,
}

/// Why a shard that this process was given cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Its state is being read from the log.
    Awaited,
    /// It is parked, for this reason.
    Parked(String),
}

impl Lookup {
    /// Notes that the log has given one more worker its shards, be they none.
    pub fn seat(&self) {
        self.seated.fetch_add(1, Ordering::AcqRel);
    }

    /// How many workers the log has given their shards.
    pub fn seated(&self) -> usize {
        self.seated.load(Ordering::Acquire)
    }

    /// Notes that a shard which this process was given cannot be read.
    pub fn miss(&self, shard: ShardId, why: Missing) {
        self.shelves.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        self.missing.write().unwrap_or_else(PoisonError::into_inner).insert(shard, why);
    }

    /// The shards that this process was given and that cannot be read.
    pub fn missing(&self) -> BTreeMap<ShardId, Missing> {
        self.missing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a shard readable.
    pub fn add(&self, shard: ShardId, customers: SharedCustomers) {
        self.missing.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        self.shelves.write().unwrap_or_else(PoisonError::into_inner).insert(shard, customers);
    }

    /// Takes a shard away.
    pub fn remove(&self, shard: ShardId) {
        self.missing.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        self.shelves.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }

    /// How many shards are readable.
    pub fn shards(&self) -> usize {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many customers a shard has as of its last commit; 0 where it is not readable.
    pub fn customers(&self, shard: ShardId) -> usize {
        let shards = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&shard).map_or(0, |shared| {
            let committed = shared.0.committed.load(Ordering::Acquire);
            shared.0.entries.iter().filter(|entry| entry.image(committed).is_some()).count()
        })
    }

    /// The committed state of a customer, looked for in every shard of this process.
    pub fn customer(&self, who: &Identity) -> Option<Customer> {
        let shards = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        shards.values().find_map(|shared| {
            let entry = shared.0.entries.get(who)?;
            entry.image(shared.0.committed.load(Ordering::Acquire)).cloned()
        })
    }
}
