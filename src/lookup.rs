//! The shards that a worker writes and the HTTP side reads at the same time.
//!
//! A worker holds the lock of a shard while it decides on the records of a batch, some hundreds at the most, and while it writes
//! down what changed for a commit. It does not hold the lock while the brokers commit. A reader holds the lock for one customer.
//! Readers see committed state only: a shard keeps the image before of every customer whom its open transaction changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use dashmap::DashMap;

use crate::journey::{Customer, Sums};
use crate::port::ShardId;
use crate::shard::Shard;
use crate::time::Timestamp;
use crate::touchpoint::Identity;
use crate::vitals::Vitals;

/// A shard, shared with readers.
#[derive(Clone)]
pub struct SharedShard(Arc<Mutex<Shard>>);

impl SharedShard {
    /// Shares a shard.
    pub fn new(shard: Shard) -> Self {
        SharedShard(Arc::new(Mutex::new(shard)))
    }

    /// Takes its lock. A worker that panicked within has given the shard up, and nobody reads it any more.
    pub fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it has come; `None` while its worker has the lock.
    fn reached(&self) -> Option<Reached> {
        let shard = match self.0.try_lock() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let applied = shard.committed().positions.iter().map(|position| position.offset).sum();
        Some(Reached { stream_time: shard.stream_time(), applied })
    }
}

/// How far a shard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its stream time, once it has one.
    pub stream_time: Option<Timestamp>,
    /// The sum of its committed offsets, which grows with every record that is committed.
    pub applied: i64,
}

/// All shards that live in this process, for look-ups.
#[derive(Default)]
pub struct Lookup {
    shards: DashMap<ShardId, SharedShard>,
    missing: RwLock<BTreeMap<ShardId, Missing>>,
    /// Workers that the log has given their shards, be they none.
    workers: AtomicUsize,
    vitals: Arc<Vitals>,
    /// Bytes of the state of all shards, and how many they may have; `None`: any number.
    state: AtomicU64,
    state_limit: Option<u64>,
}

/// The state of all shards takes more bytes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// So many.
    pub bytes: u64,
    /// It may have so many.
    pub limit: u64,
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
    /// For shards whose state may have so many bytes, all together.
    pub fn limited(state_limit: u64) -> Self {
        Lookup { state_limit: Some(state_limit), ..Lookup::default() }
    }

    /// Notes that the state of a shard takes so many bytes, after it took `before`. Says by how much that is too much.
    pub fn count_state(&self, before: u64, bytes: u64) -> Result<(), TooMuch> {
        let added = bytes.wrapping_sub(before);
        let all = self.state.fetch_add(added, Ordering::AcqRel).wrapping_add(added);
        match self.state_limit.filter(|limit| all > *limit && bytes > before) {
            Some(limit) => Err(TooMuch { bytes: all, limit }),
            None => Ok(()),
        }
    }

    /// Bytes of the state of all shards.
    pub fn state(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }

    /// Notes that the log has given one more worker its shards, be they none.
    pub fn worker_assigned(&self) {
        self.workers.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that the log has taken a worker's shards away, and will say what is its own from now on.
    pub fn worker_waits(&self) {
        self.workers.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many workers the log has given their shards.
    pub fn assigned_workers(&self) -> usize {
        self.workers.load(Ordering::Acquire)
    }

    /// Notes that a shard which this process was given cannot be read.
    pub fn miss(&self, shard: ShardId, why: Missing) {
        self.shards.remove(&shard);
        self.missing.write().unwrap_or_else(PoisonError::into_inner).insert(shard, why);
    }

    /// The shards that this process was given and that cannot be read.
    pub fn missing(&self) -> BTreeMap<ShardId, Missing> {
        self.missing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a shard readable.
    pub fn add(&self, id: ShardId, shard: SharedShard) {
        self.missing.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.shards.insert(id, shard);
    }

    /// Takes a shard away.
    pub fn remove(&self, shard: ShardId) {
        self.missing.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        self.shards.remove(&shard);
    }

    /// What the parts of the process tell of themselves.
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// How far each readable shard has come; `None` where its worker is at it just now. Waits for nobody.
    pub fn reached(&self) -> Vec<(ShardId, Option<Reached>)> {
        self.shared().into_iter().map(|(id, shard)| (id, shard.reached())).collect()
    }

    /// How many shards are readable.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// How many customers a shard has as of its last commit; 0 where it is not readable.
    pub fn customers(&self, shard: ShardId) -> usize {
        self.shared().into_iter().find(|(id, _)| *id == shard).map_or(0, |(_, shard)| shard.lock().customers().len())
    }

    /// What was measured of interventions in the readable shards, as of their last commits, and which shards these are.
    pub fn sums(&self) -> (Vec<ShardId>, Sums) {
        let mut sums = Sums::default();
        let mut shards = Vec::new();
        for (id, shard) in self.shared() {
            sums.append(&shard.lock().customers().sums());
            shards.push(id);
        }
        shards.sort_unstable();
        (shards, sums)
    }

    /// The committed state of a customer, looked for in every shard of this process; of an anonymous id whose journey was joined to
    /// a customer's, that customer's.
    pub fn customer(&self, who: &Identity) -> Option<Customer> {
        let shards = self.shared();
        let image = |who: &Identity| shards.iter().find_map(|(_, shard)| shard.lock().customers().image(who));
        // The two may live in different shards.
        image(who).or_else(|| image(&shards.iter().find_map(|(_, shard)| shard.lock().customers().joined_to(who))?))
    }

    /// The shards, so that nobody waits for one of them with the map in hand.
    fn shared(&self) -> Vec<(ShardId, SharedShard)> {
        self.shards.iter().map(|entry| (*entry.key(), entry.value().clone())).collect()
    }
}
