//! No shard runs far ahead of others in a backlog ([`crate::frontiers`]).

use super::{OwnedShard, Worker};
use crate::shard::Input;
use crate::time::Timestamp;

impl Worker {
    /// Tells how far the shards have come, and lets them go on as far as those of others allow.
    pub(super) fn keep_pace(&mut self, now: Timestamp) {
        let Some(frontiers) = self.job.frontiers.clone() else { return };
        for (id, owned) in &self.shards {
            frontiers.reached(*id, owned.shard.lock().frontier(), now);
        }
        let bound = frontiers.bound(now);
        let mut waiting = Vec::new();
        for (id, owned) in &self.shards {
            let mut shard = owned.shard.lock();
            shard.bind(bound);
            if shard.is_at_bound() {
                waiting.push(*id);
            }
        }
        waiting.iter().for_each(|id| self.handle(*id, Input::Received));
        let waits = |owned: &OwnedShard| owned.shard.lock().is_at_bound();
        self.is_at_bound = self.shards.values().any(waits);
    }
}
