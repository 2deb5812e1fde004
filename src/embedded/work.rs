//! A worker's transaction as it is gathered in memory, until the writer takes it.

use std::ops::Range;

use crate::port::ShardId;
use crate::shard::Progress;

/// Something published.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) topic: &'static str,
    pub(super) stale: bool,
    pub(super) value: Vec<u8>,
}

/// Where a customer's key and state lie.
#[derive(Debug)]
struct Remembered {
    shard: ShardId,
    key: Range<usize>,
    end: usize,
}

/// A worker's transaction.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) outcomes: Vec<Publication>,
    customers: Vec<Remembered>,
    /// Keys and states of the customers, one after the other.
    images: Vec<u8>,
    /// Shard and key of every customer of whom nothing is to be left.
    pub(super) forgotten: Vec<(ShardId, Vec<u8>)>,
    /// Erasures that every shard is to hear of, as records.
    pub(super) announced: Vec<Vec<u8>>,
    pub(super) progress: Vec<(ShardId, Progress)>,
}

impl Work {
    pub(super) fn bytes(&self) -> usize {
        let outcomes = self.outcomes.iter().map(|outcome| outcome.value.len()).sum::<usize>();
        outcomes + self.images.len()
    }

    /// Takes a customer's state, which `write` appends after the key that it returns the end of.
    pub(super) fn remember(&mut self, shard: ShardId, write: impl FnOnce(&mut Vec<u8>) -> usize) {
        let begin = self.images.len();
        let key = begin..write(&mut self.images);
        self.customers.push(Remembered { shard, key, end: self.images.len() });
    }

    /// Shard, key and state of every customer that changed.
    pub(super) fn customers(&self) -> impl Iterator<Item = (ShardId, &[u8], &[u8])> {
        self.customers.iter().map(|at| (at.shard, &self.images[at.key.clone()], &self.images[at.key.end..at.end]))
    }
}
