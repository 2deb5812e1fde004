//! A worker's transaction as it is gathered in memory, until the writer takes it.

use std::ops::Range;

use super::people;
use super::seal::Seal;
use crate::journey::packed::{Damaged, identity_bytes};
use crate::port::ShardId;
use crate::shard::{Progress, Written};

/// Something published.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) topic: &'static str,
    pub(super) stale: bool,
    pub(super) value: Vec<u8>,
}

/// Where a customer's state lies, and in it the key.
#[derive(Debug)]
struct Remembered {
    shard: ShardId,
    key: Range<usize>,
    state: Range<usize>,
}

/// A worker's transaction.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) outcomes: Vec<Publication>,
    customers: Vec<Remembered>,
    /// The states of the customers, one after the other.
    images: Vec<u8>,
    /// By shard: what the sum of the checks of its customers grows by, but for those that are forgotten.
    pub(super) grown: Vec<(ShardId, u64)>,
    /// Words that a shard's dictionary has, some of which may be known.
    pub(super) words: Vec<(ShardId, u32, String)>,
    /// Shard and key of every customer of whom nothing is to be left.
    pub(super) forgotten: Vec<(ShardId, Vec<u8>)>,
    /// Erasures that every shard is to hear of, as records.
    pub(super) announced: Vec<Vec<u8>>,
    /// What is handed to other shards, as records.
    pub(super) handed: Vec<(ShardId, Vec<u8>)>,
    pub(super) progress: Vec<(ShardId, Progress)>,
}

impl Work {
    pub(super) fn bytes(&self) -> usize {
        let outcomes = self.outcomes.iter().map(|outcome| outcome.value.len()).sum::<usize>();
        outcomes + self.images.len() + self.handed.iter().map(|(_, record)| record.len()).sum::<usize>()
    }

    /// Takes a customer's state.
    pub(super) fn remember(&mut self, seal: Seal, shard: ShardId, written: Written<'_>) -> Result<(), Damaged> {
        let key = identity_bytes(written.now)?.len();
        let begin = self.images.len();
        let share = people::write(seal, shard, written.now, &mut self.images);
        let before = written.before.map_or(0, |before| people::share(seal, shard, before));
        if self.grown.last().is_none_or(|(last, _)| *last != shard) {
            self.grown.push((shard, 0));
        }
        if let Some((_, grown)) = self.grown.last_mut() {
            *grown = grown.wrapping_add(share).wrapping_sub(before);
        }
        let packed = begin + people::HEAD;
        self.customers.push(Remembered { shard, key: packed..packed + key, state: begin..self.images.len() });
        Ok(())
    }

    /// Shard, key and state of every customer that changed.
    pub(super) fn customers(&self) -> impl Iterator<Item = (ShardId, &[u8], &[u8])> {
        self.customers.iter().map(|at| (at.shard, &self.images[at.key.clone()], &self.images[at.state.clone()]))
    }
}
