//! How far the shards of all processes have decided, so that none runs far ahead of one that may still hand customers to it.
//!
//! In a backlog shards are read at their own pace. What one hands over comes with the log time of the record that caused it, and
//! can be put in its place only as long as the receiver can tell its story anew from there. So nobody decides further beyond the
//! least of all than a part of the grace. One that does not move holds nobody for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::shard::{ShardId, may_be_ahead};
use crate::time::{Span, Timestamp};

/// For so long a shard that does not move is waited for, by the worker clock.
const WAIT: Span = Span::from_secs(10);
/// And for so long once it was waited for in vain.
const WAIT_AGAIN: Span = Span::from_secs(1);

/// How far all shards have decided, as far as is known.
#[derive(Debug)]
pub struct Frontiers {
    partitions: usize,
    known: Mutex<Known>,
    /// A shard waits for others since somebody last looked.
    waits: AtomicBool,
    /// So often has a shard of this process handed something over, has that been committed, or has a shard come or gone.
    hand_offs: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    shards: BTreeMap<ShardId, One>,
    /// Worker clock when this process got its first shard.
    begun: Option<Timestamp>,
    /// What others have committed was heard.
    heard: bool,
    /// Shards that are not waited for, and hand over what comes late.
    left: BTreeSet<ShardId>,
}

#[derive(Clone, Copy, Debug)]
struct One {
    whose: Whose,
    /// It hands over nothing more of before; `None`: that is not known yet.
    reached: Option<Timestamp>,
    /// Worker clock when that changed last, or was heard of first.
    moved: Timestamp,
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
    /// Of so many shards.
    pub fn new(partitions: u32) -> Self {
        let (waits, hand_offs) = (AtomicBool::new(false), AtomicU64::new(0));
        Frontiers { partitions: partitions as usize, known: Mutex::default(), waits, hand_offs }
    }

    /// A shard of this process has come so far.
    pub fn reached(&self, shard: ShardId, reached: Option<Timestamp>, now: Timestamp) {
        let mut known = self.locked();
        known.begun.get_or_insert(now);
        match known.shards.get_mut(&shard).filter(|known| known.whose == Whose::Ours) {
            Some(known) if known.reached == reached => {}
            Some(known) => (known.reached, known.moved) = (reached, now),
            // It may be about to read much. What it has handed over elsewhere was not heard of here.
            None => {
                known.shards.insert(shard, One { whose: Whose::Ours, reached, moved: now });
                self.count_hand_off();
            }
        }
    }

    /// A shard of this process hands something over; and once more when that is committed, since only from then on it can be read.
    /// In between the shard does not tell how far it has come.
    pub fn count_hand_off(&self) {
        self.hand_offs.fetch_add(1, Ordering::AcqRel);
    }

    /// A count that is the same as before where nobody has handed anything over since: then there is nothing to be read. `None`
    /// where other processes have shards. To be asked after [`Frontiers::least`].
    pub fn hand_offs(&self) -> Option<u64> {
        self.are_all_ours().then(|| self.hand_offs.load(Ordering::Acquire))
    }

    /// A shard is no more this process's. Whoever gets it may have much to read before it moves.
    pub fn gone(&self, shard: ShardId, now: Timestamp) {
        if let Some(known) = self.locked().shards.get_mut(&shard) {
            (known.whose, known.moved) = (Whose::Others, now);
        }
        self.count_hand_off();
    }

    /// What has been committed of all shards; `None`: nothing yet.
    pub fn heard(&self, committed: impl IntoIterator<Item = (ShardId, Option<Timestamp>)>, now: Timestamp) {
        let mut known = self.locked();
        known.heard = true;
        for (shard, reached) in committed {
            match known.shards.get_mut(&shard) {
                Some(known) if known.whose == Whose::Ours || known.reached == reached => {}
                Some(known) => (known.reached, known.moved) = (reached, now),
                None => drop(known.shards.insert(shard, One { whose: Whose::Others, reached, moved: now })),
            }
        }
    }

    /// A shard of this process waits for others to come as far.
    pub fn wait(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }

    /// Whether a shard of this process has waited for others since this was last asked.
    pub fn is_waited_for(&self) -> bool {
        self.waits.swap(false, Ordering::Relaxed)
    }

    /// Whether this process has all shards.
    pub fn are_all_ours(&self) -> bool {
        self.locked().are_all_ours(self.partitions)
    }

    /// Up to where the least of those has come that are waited for; [`Timestamp::MIN`] where that is not known yet,
    /// [`Timestamp::MAX`] where nobody moves. Everybody waits for itself too: what it hands over can come back to it.
    pub fn least(&self, now: Timestamp) -> Timestamp {
        let known = self.locked();
        let waits = known.begun.is_none_or(|begun| now.since(begun) < WAIT);
        if !known.heard && waits && !known.are_all_ours(self.partitions) {
            return Timestamp::MIN;
        }
        let moving = known.shards.values().filter(|one| now.since(one.moved) < WAIT);
        // Of others of whom nothing is committed, nothing is known: at the very first start they wait for this process likewise.
        let reached = moving.filter_map(|one| match one.whose {
            Whose::Ours => Some(one.reached.unwrap_or(Timestamp::MIN)),
            Whose::Others => one.reached,
        });
        reached.min().unwrap_or(Timestamp::MAX)
    }

    /// Shards that do not move and are not waited for any more, though this process is further ahead of them than it may be; and
    /// those of which that is over: what has changed since this was last asked.
    pub fn left_behind(&self, ahead: Span, now: Timestamp) -> Vec<(ShardId, bool)> {
        let Known { shards, left, .. } = &mut *self.locked();
        let furthest = shards.values().filter(|one| one.whose == Whose::Ours).filter_map(|one| one.reached).max();
        let is_left = |one: &One| {
            let is_far = |reached: Timestamp| furthest.is_some_and(|furthest| furthest > reached + ahead);
            now.since(one.moved) >= WAIT && one.reached.is_some_and(is_far)
        };
        let mut changed = Vec::new();
        for (shard, one) in shards {
            let is_left = is_left(one);
            let is_new = if is_left { left.insert(*shard) } else { left.remove(shard) };
            if is_new {
                changed.push((*shard, is_left));
            }
        }
        changed
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn are_all_ours(&self, partitions: usize) -> bool {
        self.shards.values().filter(|one| one.whose == Whose::Ours).count() >= partitions
    }
}

/// How far one shard may decide.
///
/// It is not enough that others have come so far: what they have handed over until then must have been read as well. So the
/// bound is raised to what was known when the end of the hand-off was asked for, once all before that end has come. Where it is
/// known that nobody has handed anything over since, it is raised at once.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    ahead: Span,
    /// Nothing is to be decided beyond this.
    until: Timestamp,
    question: Option<Question>,
    /// What was handed over up to this count has all been read.
    read_up_to: Option<u64>,
    /// The last question was given up: the next is not waited for so long.
    gave_up: bool,
}

/// Whether all has come that was handed over.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// Worker clock when it was asked: an end that was asked for later answers it.
    asked: Timestamp,
    /// The bound once it is answered.
    then: Timestamp,
    /// The count of what was handed over when it was asked.
    hand_offs: Option<u64>,
}

impl Bound {
    /// Of a shard with that grace that knows of nobody yet.
    pub fn new(grace: Span) -> Self {
        Bound { ahead: may_be_ahead(grace), until: Timestamp::MIN, question: None, read_up_to: None, gave_up: false }
    }

    /// Nothing is to be decided beyond this.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Whether it must be known that all has been read that was handed over before now.
    pub fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// Others have come so far, and the shard itself, and this is the count of what was handed over ([`Frontiers::hand_offs`]).
    /// Says whether what was handed over could not be read for so long that it is not waited for any more.
    pub fn look(&mut self, least: Timestamp, reached: Option<Timestamp>, hand_offs: Option<u64>, now: Timestamp) -> bool {
        let next = match least {
            Timestamp::MIN | Timestamp::MAX => least,
            least => least + self.ahead,
        };
        // Where nobody is waited for, nobody hands anything over that would be too late.
        let nothing_since = hand_offs.is_some() && hand_offs == self.read_up_to;
        if next <= self.until || next == Timestamp::MAX || nothing_since {
            (self.until, self.question) = (next, None);
            return false;
        }
        if let Some(Question { asked, then, .. }) = &mut self.question {
            // Somebody may have begun further behind since it was asked.
            *then = next.min(*then);
            // Somebody's open transaction may stand before the end.
            if now.since(*asked) < if self.gave_up { WAIT_AGAIN } else { WAIT } {
                return false;
            }
            (self.until, self.question) = (*then, None);
            return !std::mem::replace(&mut self.gave_up, true);
        }
        let half = Span::from_millis(self.ahead.as_millis() / 2);
        if self.until == Timestamp::MIN || reached.is_none_or(|reached| reached + half >= self.until) {
            self.question = Some(Question { asked: now, then: next, hand_offs });
        }
        false
    }

    /// All has come that was handed over before `at`; of [`Timestamp::MAX`] that is not so, but there is no room to wait for it. Says
    /// whether that raises the bound.
    pub fn has_read(&mut self, at: Timestamp) -> bool {
        match self.question {
            Some(Question { asked, then, hand_offs }) if at > asked => {
                (self.until, self.question, self.gave_up) = (then, None, false);
                self.read_up_to = hand_offs.filter(|_| at < Timestamp::MAX);
                true
            }
            Some(_) | None => false,
        }
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
        let (frontiers, never) = (Frontiers::new(2), Timestamp::MIN);
        frontiers.reached(0, None, at(0));
        frontiers.reached(1, Some(at(-3_600)), at(0));
        assert!(frontiers.are_all_ours());
        assert_eq!(frontiers.least(at(1)), never, "the first has not begun");
        frontiers.reached(0, Some(at(-7_200)), at(2));
        assert_eq!(frontiers.least(at(3)), at(-7_200));
        frontiers.reached(0, Some(at(-10)), at(9));
        assert_eq!(frontiers.least(at(9)), at(-3_600));
        assert_eq!(frontiers.least(at(10)), at(-10), "the second has not moved for so long that it is not waited for");
        assert_eq!(frontiers.least(at(24)), Timestamp::MAX, "nobody moves");
        frontiers.reached(1, Some(at(-3_000)), at(25));
        assert_eq!(frontiers.least(at(25)), at(-3_000), "it moves again");
    }

    #[test]
    fn a_process_that_begins_hears_first_how_far_others_are() {
        let frontiers = Frontiers::new(3);
        frontiers.reached(0, Some(at(-10)), at(0));
        assert_eq!(frontiers.least(at(9)), Timestamp::MIN, "nothing was heard");
        assert_eq!(frontiers.least(at(10)), Timestamp::MAX, "the brokers are away");
        frontiers.heard([(0, Some(at(-9_000))), (1, Some(at(-3_600))), (2, None)], at(11));
        frontiers.reached(0, Some(at(-9)), at(11));
        assert_eq!(frontiers.least(at(12)), at(-3_600), "of the third nothing is known");
        frontiers.heard([(1, Some(at(-3_600))), (2, Some(at(-5)))], at(13));
        assert_eq!(frontiers.least(at(14)), at(-3_600));
        assert_eq!(frontiers.least(at(21)), at(-5), "the second does not move");
        // It comes here, and goes again.
        frontiers.reached(1, Some(at(-3_400)), at(23));
        frontiers.gone(1, at(24));
        assert_eq!(frontiers.least(at(25)), at(-3_400), "whoever gets it has not begun");
        assert_eq!(frontiers.least(at(34)), Timestamp::MAX, "nobody has moved since");
    }

    #[test]
    fn a_shard_that_stands_still_is_named_until_it_moves() {
        let (frontiers, ahead) = (Frontiers::new(3), Span::from_secs(100));
        frontiers.reached(0, Some(at(0)), at(0));
        frontiers.heard([(1, Some(at(-200))), (2, Some(at(-50)))], at(0));
        assert!(frontiers.left_behind(ahead, at(9)).is_empty());
        assert_eq!(frontiers.left_behind(ahead, at(10)), [(1, true)]);
        assert!(frontiers.left_behind(ahead, at(11)).is_empty(), "that is known");
        frontiers.heard([(1, Some(at(-100)))], at(12));
        assert_eq!(frontiers.left_behind(ahead, at(12)), [(1, false)]);
    }

    #[test]
    fn a_bound_rises_once_what_was_handed_over_until_then_has_been_read() {
        let mut bound = Bound::new(Span::from_secs(400));
        assert_eq!(bound.until(), Timestamp::MIN);
        bound.look(at(-1_000), None, None, at(0));
        assert!(bound.is_asking() && bound.until() == Timestamp::MIN);
        assert!(!bound.has_read(at(-1)), "the question is older than what is known");
        // What becomes known meanwhile needs a question of its own.
        bound.look(at(-500), None, None, at(1));
        assert!(!bound.has_read(at(0)), "it may have been asked for before that was known");
        assert!(bound.has_read(at(1)) && !bound.is_asking());
        assert_eq!(bound.until(), at(-900));
        bound.look(at(-500), Some(at(-951)), None, at(2));
        assert!(!bound.is_asking(), "there is room");
        bound.look(at(-500), Some(at(-950)), None, at(2));
        assert!(bound.is_asking());
        // A transaction stands open before the end: not for ever.
        assert!(!bound.look(at(-400), Some(at(-900)), None, at(11)));
        assert_eq!(bound.until(), at(-900));
        assert!(bound.look(at(-400), Some(at(-900)), None, at(12)), "it is told");
        assert_eq!((bound.until(), bound.is_asking()), (at(-400), false));
        // And the next time not for so long.
        bound.look(at(-200), Some(at(-400)), None, at(12));
        assert!(bound.is_asking() && !bound.look(at(-200), Some(at(-400)), None, at(13)));
        assert_eq!(bound.until(), at(-100));
        bound.look(at(-3_000), Some(at(-900)), None, at(13));
        assert_eq!(bound.until(), at(-2_900), "somebody begins far behind");
        // The same while a question is asked.
        bound.look(at(-1_000), Some(at(-2_900)), None, at(14));
        bound.look(at(-2_000), Some(at(-2_900)), None, at(14));
        assert!(bound.is_asking() && bound.has_read(at(15)));
        assert_eq!(bound.until(), at(-1_900), "the answer is not taken for more than is known now");
        bound.look(Timestamp::MAX, Some(at(-900)), None, at(14));
        assert_eq!(bound.until(), Timestamp::MAX, "nobody else moves");
    }

    #[test]
    fn where_nobody_has_handed_anything_over_nothing_is_asked() {
        let (frontiers, ahead) = (Frontiers::new(2), may_be_ahead(Span::from_secs(400)));
        let mut bound = Bound::new(Span::from_secs(400));
        frontiers.reached(0, Some(at(-900)), at(0));
        assert_eq!(frontiers.hand_offs(), None, "the other shard may be anybody's");
        frontiers.reached(1, Some(at(-1_000)), at(0));
        let look = |bound: &mut Bound, reached, now| {
            frontiers.reached(1, Some(reached), now);
            bound.look(frontiers.least(now), Some(reached), frontiers.hand_offs(), now);
        };
        look(&mut bound, at(-1_000), at(0));
        assert!(bound.is_asking(), "of what was before nothing is known");
        assert!(bound.has_read(at(1)));
        look(&mut bound, at(-901), at(2));
        assert_eq!((bound.until(), bound.is_asking()), (at(-901) + ahead, false));
        frontiers.count_hand_off();
        look(&mut bound, at(-900), at(3));
        assert!(!bound.is_asking(), "there is room");
        frontiers.reached(0, Some(at(-700)), at(4));
        look(&mut bound, at(-750), at(4));
        assert_eq!((bound.until(), bound.is_asking()), (at(-801), true));
        // What is handed over while it is asked may stand behind the end that is read to.
        frontiers.count_hand_off();
        assert!(bound.has_read(at(5)));
        look(&mut bound, at(-690), at(6));
        assert!(bound.is_asking() && bound.has_read(at(7)));
        look(&mut bound, at(-640), at(8));
        assert_eq!((bound.until(), bound.is_asking()), (at(-600), false));
        // What was read up to while a transaction was open did not hold what that hands over: its commit counts once more.
        frontiers.count_hand_off();
        frontiers.reached(0, Some(at(-500)), at(8));
        look(&mut bound, at(-601), at(8));
        assert!(bound.is_asking() && bound.has_read(at(9)));
        frontiers.count_hand_off();
        look(&mut bound, at(-500), at(9));
        assert!(bound.is_asking(), "it can be read only now");
        // Where there is no room to wait for it, it is not read.
        assert!(bound.has_read(Timestamp::MAX));
        frontiers.reached(0, Some(at(-300)), at(9));
        look(&mut bound, at(-300), at(9));
        assert!(bound.is_asking() && bound.has_read(at(10)));
        // Who goes may hand over something elsewhere.
        frontiers.gone(0, at(11));
        frontiers.reached(0, Some(at(-200)), at(11));
        look(&mut bound, at(-200), at(11));
        assert!(bound.is_asking());
    }
}
