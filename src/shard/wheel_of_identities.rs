//! Deadlines of a shard: a one-level wheel of 100 ms slots, with one near and one far entry per customer at the most, but for
//! stale ones that come up soon.
//!
//! An entry says only "look at this customer then": the deadline itself stands in the journey. The owner moves an entry
//! when the deadline gets earlier and re-arms it when it is popped too early, so putting a deadline off costs nothing here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// Width of a slot in milliseconds.
const SLOT_MILLIS: i64 = 100;
/// Number of slots; an entry further ahead than one turn (about 27 minutes) waits in its slot for its turn to come.
const SLOTS: usize = 1 << 14;

type DueAt = (Timestamp, Identity);

/// The wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<DueAt>>,
    /// Entries of the present slot and before it, in the order in which they are due.
    near: BinaryHeap<Reverse<DueAt>>,
    /// The present slot, counted since the epoch; `None` until the first entry or look.
    tick: Option<i64>,
    /// Entries in the slots, `near` excluded.
    waiting: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel { slots: vec![Vec::new(); SLOTS], near: BinaryHeap::new(), tick: None, waiting: 0 }
    }
}

fn tick_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(SLOT_MILLIS)
}

fn slot_of(tick: i64) -> usize {
    tick.rem_euclid(SLOTS as i64) as usize
}

impl Wheel {
    /// An empty wheel that stands at the instant where its shard goes on.
    pub(super) fn starting_at(instant: Option<Timestamp>) -> Self {
        Wheel { tick: instant.map(tick_of), ..Wheel::default() }
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, at: Timestamp, who: Identity) {
        let tick = tick_of(at);
        if self.tick.is_none_or(|now| tick <= now) {
            self.near.push(Reverse((at, who)));
        } else {
            self.slots[slot_of(tick)].push((at, who));
            self.waiting += 1;
        }
    }

    /// Takes out the next entry that is due at `until` or before, in the order (instant, customer).
    pub(super) fn next_due(&mut self, until: Timestamp) -> Option<DueAt> {
        loop {
            if let Some(Reverse((at, _))) = self.near.peek()
                && *at <= until
            {
                return self.near.pop().map(|Reverse(due)| due);
            }
            if !self.turn(tick_of(until)) {
                return None;
            }
        }
    }

    /// Takes an entry out before its time. One of the present slot stays, since that is over in a moment.
    pub(super) fn remove(&mut self, at: Timestamp, who: &Identity) {
        let slot = &mut self.slots[slot_of(tick_of(at))];
        if let Some(place) = slot.iter().position(|(due, whose)| *due == at && whose == who) {
            slot.swap_remove(place);
            self.waiting -= 1;
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.near.len() + self.waiting
    }

    /// Moves on by a slot towards `target`, or all the way where that is more than a turn; says whether it moved.
    fn turn(&mut self, target: i64) -> bool {
        let now = *self.tick.get_or_insert(target);
        if now >= target {
            return false;
        }
        if self.waiting == 0 {
            self.tick = Some(target);
        } else if target - now > SLOTS as i64 {
            self.tick = Some(target);
            (0..SLOTS).for_each(|slot| self.load(slot, target));
        } else {
            self.tick = Some(now + 1);
            self.load(slot_of(now + 1), now + 1);
        }
        true
    }

    /// Moves what is due by the end of slot `tick` from one slot to the near entries.
    fn load(&mut self, slot: usize, tick: i64) {
        let near = &mut self.near;
        let before = self.slots[slot].len();
        for due in self.slots[slot].extract_if(.., |(at, _)| tick_of(*at) <= tick) {
            near.push(Reverse(due));
        }
        self.waiting -= before - self.slots[slot].len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_until(wheel: &mut Wheel, until: i64) -> Vec<(i64, String)> {
        std::iter::from_fn(|| wheel.next_due(Timestamp::from_millis(until)))
            .map(|(at, who)| (at.as_millis(), who.id.to_string()))
            .collect()
    }

    #[test]
    fn entries_come_out_in_order_once_and_never_early() {
        let mut wheel = Wheel::default();
        let year = 365 * 86_400_000;
        for (at, who) in [(250, "b"), (250, "a"), (year, "far"), (99, "c"), (2_000_000, "next turn")] {
            wheel.insert(Timestamp::from_millis(at), Identity::customer(who));
        }
        for (until, expected) in [
            (98, vec![]),
            (249, vec![(99, "c")]),
            (250, vec![(250, "a"), (250, "b")]),
            (1_999_999, vec![]),
            (2_000_000, vec![(2_000_000, "next turn")]),
            (year - 1, vec![]),
            (year + 5, vec![(year, "far")]),
            (2 * year, vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(at, who)| (at, who.to_owned())).collect();
            assert_eq!(due_until(&mut wheel, until), expected, "until {until}");
        }
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn what_is_taken_out_does_not_come() {
        let mut wheel = Wheel::default();
        assert_eq!(due_until(&mut wheel, 0), vec![]);
        for who in ["a", "b", "c"] {
            wheel.insert(Timestamp::from_millis(5_000), Identity::customer(who));
        }
        wheel.remove(Timestamp::from_millis(5_000), &Identity::customer("a"));
        wheel.remove(Timestamp::from_millis(5_001), &Identity::customer("b"));
        wheel.remove(Timestamp::MAX, &Identity::customer("c"));
        assert_eq!(wheel.len(), 2);
        assert_eq!(due_until(&mut wheel, 5_000), vec![(5_000, "b".to_owned()), (5_000, "c".to_owned())]);
    }

    #[test]
    fn an_entry_behind_the_present_slot_is_due_at_once() {
        let mut wheel = Wheel::default();
        assert_eq!(due_until(&mut wheel, 10_000), vec![]);
        wheel.insert(Timestamp::from_millis(500), Identity::customer("late"));
        assert_eq!(due_until(&mut wheel, 10_001), vec![(500, "late".to_owned())]);
    }
}
