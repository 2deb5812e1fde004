//! No shard runs far ahead of others in a backlog ([`crate::frontiers`]).

use tracing::warn;

use super::{OwnedShard, Worker};
use crate::frontiers::Frontiers;
use crate::metrics;
use crate::port::ShardId;
use crate::shard::{Input, may_be_ahead};
use crate::time::Timestamp;

/// Within one turn bounds are raised so often at most.
const RAISES: usize = 1_000;

impl Worker {
    /// Tells how far the shards have come, and lets them go on as far as those of others allow.
    pub(super) fn keep_pace(&mut self, now: Timestamp) {
        let Some(frontiers) = self.job.frontiers.clone() else { return };
        self.are_heard = !frontiers.are_all_ours();
        // Where nothing is handed over, shards of one worker let each other go on until one has nothing more to read. Over a year
        // in which nothing comes they are led in several turns.
        for _ in 0..RAISES {
            if !self.raise_bounds(&frontiers, now) {
                break;
            }
        }
        let waits = |owned: &OwnedShard| owned.shard.lock().is_at_bound();
        self.is_at_bound = self.shards.values().any(waits);
        if self.is_at_bound {
            frontiers.wait();
        }
        for (shard, is_left) in frontiers.left_behind(may_be_ahead(self.job.settings.grace), now) {
            metrics::left_behind(shard, is_left);
            // While nothing can be committed, no shard of this worker moves: what cannot be committed is told instead.
            let is_expected = self.beat.is_failing() && self.shards.contains_key(&shard);
            if is_left && !is_expected {
                warn!(shard, "the partition does not move and is not waited for: what it hands over comes late");
            }
        }
    }

    /// Tells how far the shards have come, and lets those that wait go on; whether one of them could.
    fn raise_bounds(&mut self, frontiers: &Frontiers, now: Timestamp) -> bool {
        for (id, owned) in &self.shards {
            frontiers.reached(*id, owned.shard.lock().frontier(), now);
        }
        let least = frontiers.least(now);
        let hand_offs = frontiers.hand_offs();
        // An end that is asked for after this counts: what the others had handed over by then stands before it.
        let now = (self.job.now)();
        let mut raised = Vec::new();
        for (id, owned) in &mut self.shards {
            let (mut shard, before) = (owned.shard.lock(), owned.bound.until());
            if owned.bound.look(least, shard.frontier(), hand_offs, now) {
                warn!(shard = *id, "what others have handed over cannot be read for long, and is not waited for");
            }
            shard.bind(owned.bound.until());
            if shard.is_at_bound() && owned.bound.until() > before {
                raised.push(*id);
            }
        }
        raised.iter().for_each(|id| self.handle(*id, Input::Received));
        !raised.is_empty()
    }

    /// Whether anything that is handed over waits to be committed.
    pub(super) fn has_handed_over(&self) -> bool {
        self.shards.values().any(|owned| owned.shard.lock().has_handed_over())
    }

    /// Shards that must know whether all has been read that others have handed over.
    pub(super) fn shards_asking(&self) -> Vec<ShardId> {
        self.shards.iter().filter(|(_, owned)| owned.bound.is_asking()).map(|(id, _)| *id).collect()
    }

    /// All has come that others had handed over to this shard before `at`.
    pub(super) fn raise_bound(&mut self, shard: ShardId, at: Timestamp) {
        let Some(owned) = self.shards.get_mut(&shard).filter(|owned| owned.bound.is_asking()) else { return };
        if owned.bound.has_read(at) {
            owned.shard.lock().bind(owned.bound.until());
            self.handle(shard, Input::Received);
        }
    }
}
