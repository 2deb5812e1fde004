//! How far the shards of all processes have decided, so that none runs far ahead of one that may still hand customers to it.
//!
//! In a backlog shards are read at their own pace. What one hands over comes with the log time of the record that caused it, and
//! can be put in its place only as long as the receiver can tell its story anew from there. So nobody decides further beyond the
//! least of all than a part of the grace. One that does not move holds nobody for long.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::shard::ShardId;
use crate::time::{Span, Timestamp};

/// For so long a shard that does not move is waited for, by the worker clock.
const WAIT: Span = Span::from_secs(10);
/// This part of the grace a shard may be ahead of the least.
const PART: i64 = 4;
/// Or so much, where that is more: what is committed is always a little behind.
const LEAST: Span = Span::from_secs(2);

/// How far ahead of the least a shard may decide.
pub fn ahead(grace: Span) -> Span {
    Span::from_millis(grace.as_millis() / PART).max(LEAST)
}

/// How far all shards have decided, as far as is known.
#[derive(Debug)]
pub struct Frontiers {
    ahead: Span,
    shards: Mutex<BTreeMap<ShardId, One>>,
}

#[derive(Clone, Copy, Debug)]
struct One {
    whose: Whose,
    /// What is committed is decided up to here; `None`: nothing is yet.
    reached: Option<Timestamp>,
    /// Worker clock when that changed last; `None`: it has not, since it was heard of.
    moved: Option<Timestamp>,
}

/// Whose a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// This process has it.
    Ours,
    /// Another one has it, or nobody.
    Others,
}

impl Frontiers {
    /// Of shards with that grace.
    pub fn new(grace: Span) -> Self {
        Frontiers { ahead: ahead(grace), shards: Mutex::default() }
    }

    /// A shard of this process has come so far.
    pub fn reached(&self, shard: ShardId, reached: Option<Timestamp>, now: Timestamp) {
        let mut shards = self.locked();
        match shards.get_mut(&shard).filter(|known| known.whose == Whose::Ours) {
            Some(known) if known.reached == reached => {}
            Some(known) => (known.reached, known.moved) = (reached, Some(now)),
            // It may be about to read much.
            None => drop(shards.insert(shard, One { whose: Whose::Ours, reached, moved: Some(now) })),
        }
    }

    /// A shard is no more this process's. Whoever gets it may have much to read before it moves.
    pub fn gone(&self, shard: ShardId, now: Timestamp) {
        if let Some(known) = self.locked().get_mut(&shard) {
            (known.whose, known.moved) = (Whose::Others, Some(now));
        }
    }

    /// What others have committed.
    pub fn heard(&self, committed: impl IntoIterator<Item = (ShardId, Timestamp)>, now: Timestamp) {
        let mut shards = self.locked();
        for (shard, reached) in committed {
            match shards.get_mut(&shard) {
                Some(known) if known.whose == Whose::Ours || known.reached == Some(reached) => {}
                Some(known) => (known.reached, known.moved) = (Some(reached), Some(now)),
                // An idle shard commits nothing: what it stands at says nothing until it moves.
                None => drop(shards.insert(shard, One { whose: Whose::Others, reached: Some(reached), moved: None })),
            }
        }
    }

    /// Whether this process has all of so many shards.
    pub fn are_all_ours(&self, shards: u32) -> bool {
        self.locked().values().filter(|one| one.whose == Whose::Ours).count() >= shards as usize
    }

    /// Up to where a shard may decide now; [`Timestamp::MAX`] where nobody is waited for.
    pub fn bound(&self, now: Timestamp) -> Timestamp {
        let shards = self.locked();
        let moves = |one: &&One| one.moved.is_some_and(|moved| now.since(moved) < WAIT);
        let least = shards.values().filter(moves).map(|one| one.reached.unwrap_or(Timestamp::MIN)).min();
        least.map_or(Timestamp::MAX, |least| if least == Timestamp::MIN { least } else { least + self.ahead })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<ShardId, One>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000) + Span::from_secs(seconds)
    }

    #[test]
    fn nobody_runs_far_ahead_of_one_that_moves() {
        let frontiers = Frontiers::new(Span::from_secs(400));
        assert_eq!(frontiers.bound(at(0)), Timestamp::MAX, "nobody is there");
        frontiers.reached(0, None, at(0));
        frontiers.reached(1, Some(at(-3_600)), at(0));
        assert_eq!(frontiers.bound(at(1)), Timestamp::MIN, "the first has not begun");
        frontiers.reached(0, Some(at(-7_200)), at(2));
        assert_eq!(frontiers.bound(at(3)), at(-7_100));
        frontiers.reached(0, Some(at(-7_000)), at(4));
        assert_eq!(frontiers.bound(at(5)), at(-6_900));
        // The second has not moved: it is not waited for, but would not be the least either.
        frontiers.reached(0, Some(at(-10)), at(13));
        assert_eq!(frontiers.bound(at(14)), at(90));
        assert_eq!(frontiers.bound(at(24)), Timestamp::MAX, "nobody moves");
        frontiers.reached(1, Some(at(-3_000)), at(25));
        assert_eq!(frontiers.bound(at(25)), at(-2_900), "it moves again");
        assert!(frontiers.are_all_ours(2) && !frontiers.are_all_ours(3));
    }

    #[test]
    fn what_others_committed_long_ago_holds_nobody_until_it_moves() {
        let frontiers = Frontiers::new(Span::from_secs(400));
        frontiers.reached(0, Some(at(-10)), at(0));
        frontiers.heard([(0, at(-9_000)), (1, at(-3_600))], at(0));
        assert_eq!(frontiers.bound(at(0)), at(90));
        frontiers.heard([(1, at(-3_600))], at(1));
        assert_eq!(frontiers.bound(at(1)), at(90));
        frontiers.heard([(1, at(-3_500))], at(2));
        assert_eq!(frontiers.bound(at(2)), at(-3_400));
        // It comes here, and goes again.
        frontiers.reached(1, Some(at(-3_400)), at(3));
        assert_eq!(frontiers.bound(at(3)), at(-3_300));
        frontiers.gone(1, at(4));
        assert_eq!(frontiers.bound(at(5)), at(-3_300), "whoever gets it has not begun");
        assert_eq!(frontiers.bound(at(14)), Timestamp::MAX, "nobody has moved since");
    }
}
