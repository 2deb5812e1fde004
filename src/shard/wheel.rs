//! Deadlines of a shard: slots of 100 ms, made only where they are needed, with one near and one far entry per customer at the
//! most, but for stale ones that come up soon.
//!
//! An entry says only "look at this customer then": the deadline itself stands in the journey. The owner moves an entry
//! when the deadline gets earlier and re-arms it when it is popped too early, so putting a deadline off costs nothing here.
//!
//! Time is divided into pages (27 minutes), a page into strips (13 seconds), a strip into slots. A page or strip with few entries
//! is one list of them, and is divided when it gets long or its time comes. So an entry moves three times at the most, whatever
//! waits behind it is never read, and empty time is not even there: the next page is the first of a sorted map, the next strip
//! and slot the first bit of a word. Knows no more of a customer than its [`Slot`], but for those whose time has come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::slot::Slot;
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// Width of a slot in milliseconds.
const SLOT_MILLIS: i64 = 100;
/// A page has so many strips and a strip so many slots: one bit each in a word.
const PARTS: usize = 128;
/// Slots of a page.
const SLOTS: i64 = (PARTS * PARTS) as i64;
/// Width of a page in milliseconds.
const PAGE_MILLIS: i64 = SLOTS * SLOT_MILLIS;

/// A longer list is divided: finding an entry in it would take long.
const LONG: usize = 1_024;
/// A longer list is divided when its time comes: it would be looked through for each of its slots.
const SOON: usize = 32;
/// A list with room for fewer is not worth giving memory back.
const SMALL: usize = 8;

/// The wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Entries of the slots after the present one, by page.
    pages: BTreeMap<i64, Bucket>,
    /// Entries of the present slot and before it, in the order in which they are due.
    near: BinaryHeap<Reverse<(Timestamp, Identity, Slot)>>,
    /// The present slot, counted since the epoch; before all others until the first look.
    present: i64,
    /// No entry waits in an earlier slot than this; nor perhaps in this, since what was there may have been taken out.
    earliest: i64,
    /// Entries in the pages.
    waiting: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        let (pages, near) = (BTreeMap::new(), BinaryHeap::new());
        Wheel { pages, near, present: i64::MIN, earliest: i64::MAX, waiting: 0 }
    }
}

impl Wheel {
    /// An empty wheel that stands at the instant where its shard goes on.
    pub(super) fn starting_at(instant: Option<Timestamp>) -> Self {
        Wheel { present: instant.map_or(i64::MIN, slot_number), ..Wheel::default() }
    }

    /// Adds an entry. `name` is asked for whose it is where that decides about the order at once: in the present slot or before.
    /// Nothing is ever due at [`Timestamp::MAX`], so that is no entry.
    pub(super) fn insert(&mut self, at: Timestamp, slot: Slot, name: impl FnOnce() -> Identity) {
        if at == Timestamp::MAX {
            return;
        }
        let number = slot_number(at);
        if number <= self.present {
            self.near.push(Reverse((at, name(), slot)));
        } else {
            let (page, waiting) = Waiting::of(at, slot);
            self.pages.entry(page).or_default().insert(Level::Page, waiting);
            self.earliest = self.earliest.min(number);
            self.waiting += 1;
        }
    }

    /// Takes out the next entry that is due at `until` or before, in the order (instant, customer); `name` says who that is.
    pub(super) fn next_due(
        &mut self,
        until: Timestamp,
        mut name: impl FnMut(Slot) -> Identity,
    ) -> Option<(Timestamp, Slot)> {
        loop {
            // All that waits is due later than what is near.
            if self.near.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
                let due = self.near.pop().map(|Reverse((at, _, slot))| (at, slot));
                if self.near.is_empty() && self.near.capacity() > LONG {
                    self.near = BinaryHeap::new();
                }
                return due;
            }
            if !self.move_on(slot_number(until), &mut name) {
                return None;
            }
        }
    }

    /// Takes an entry out before its time, if it is there. One of the present slot stays, since that is over in a moment; by then
    /// its row may be another customer's.
    pub(super) fn remove(&mut self, at: Timestamp, slot: Slot) {
        let (page, waiting) = Waiting::of(at, slot);
        let Some(bucket) = self.pages.get_mut(&page) else { return };
        if bucket.remove(Level::Page, waiting) {
            self.waiting -= 1;
            if bucket.is_empty() {
                self.pages.remove(&page);
            }
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.near.len() + self.waiting
    }

    /// Moves on to the next slot that has entries and makes them near, or to slot `target` where that comes first; says whether
    /// there are any.
    fn move_on(&mut self, target: i64, name: &mut impl FnMut(Slot) -> Identity) -> bool {
        if target <= self.present {
            return false;
        }
        if self.earliest <= target {
            self.earliest = self.look_for_earliest(target);
        }
        if self.earliest > target {
            self.present = target;
            return false;
        }
        self.present = self.earliest;
        self.earliest += 1;
        let page = self.present.div_euclid(SLOTS);
        let (near, waiting) = (&mut self.near, &mut self.waiting);
        let Some(bucket) = self.pages.get_mut(&page) else { return false };
        bucket.take(Level::Page, place(self.present), &mut |due| {
            near.push(Reverse((due.at(page), name(due.slot()), due.slot())));
            *waiting -= 1;
        });
        if bucket.is_empty() {
            self.pages.remove(&page);
        }
        true
    }

    /// The first slot that has entries; of a page after that of `target`, which is not read yet, its beginning.
    fn look_for_earliest(&mut self, target: i64) -> i64 {
        let Some(mut first) = self.pages.first_entry() else { return i64::MAX };
        let begins = *first.key() * SLOTS;
        if begins > target { begins } else { begins + i64::from(first.get_mut().first(Level::Page)) }
    }
}

fn slot_number(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(SLOT_MILLIS)
}

/// Where a slot stands within its page.
fn place(number: i64) -> u32 {
    number.rem_euclid(SLOTS) as u32
}

/// An entry that waits in a page: the milliseconds since the page began, and the row. As one number, so that it is compared at
/// once; the earlier the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting(u64);

impl Waiting {
    /// What waits until `at`, and in which page.
    fn of(at: Timestamp, slot: Slot) -> (i64, Self) {
        let (page, since) = (at.as_millis().div_euclid(PAGE_MILLIS), at.as_millis().rem_euclid(PAGE_MILLIS));
        (page, Waiting((since as u64) << 32 | slot.index() as u64))
    }

    fn slot(self) -> Slot {
        Slot::new((self.0 & u64::from(u32::MAX)) as usize)
    }

    fn at(self, page: i64) -> Timestamp {
        // The first page begins before the first instant, so the product alone may lie outside of time.
        Timestamp::from_millis(page.wrapping_mul(PAGE_MILLIS).wrapping_add((self.0 >> 32) as i64))
    }

    /// Of which slot of its page it is.
    fn place(self) -> u32 {
        (self.0 >> 32) as u32 / SLOT_MILLIS as u32
    }
}

/// How wide a bucket is.
#[derive(Clone, Copy, Debug)]
enum Level {
    Page,
    Strip,
    Slot,
}

impl Level {
    /// The level of its parts, and in which of them a place of a page lies; a slot has none.
    fn part(self, place: u32) -> Option<(Level, usize)> {
        match self {
            Level::Page => Some((Level::Strip, place as usize / PARTS)),
            Level::Strip => Some((Level::Slot, place as usize % PARTS)),
            Level::Slot => None,
        }
    }
}

/// The entries of a page, strip or slot.
#[derive(Debug)]
enum Bucket {
    List(Vec<Waiting>),
    Divided(Box<Parts>),
}

#[derive(Debug)]
struct Parts {
    /// A bit for each part that has entries.
    used: u128,
    parts: [Bucket; PARTS],
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket::List(Vec::new())
    }
}

impl Bucket {
    fn is_empty(&self) -> bool {
        match self {
            Bucket::List(list) => list.is_empty(),
            Bucket::Divided(parts) => parts.used == 0,
        }
    }

    fn insert(&mut self, level: Level, entry: Waiting) {
        match (&mut *self, level.part(entry.place())) {
            (Bucket::Divided(parts), Some((level, part))) => {
                parts.used |= 1 << part;
                parts.parts[part].insert(level, entry);
            }
            (Bucket::List(list), parts) => {
                if list.len() == list.capacity() {
                    // Most of the memory of a wheel is room in its lists: they grow by a quarter, not by as much again.
                    list.reserve_exact((list.len() / 4).max(4));
                }
                list.push(entry);
                if list.len() > LONG && parts.is_some() {
                    self.divide(level);
                }
            }
            (Bucket::Divided(_), None) => unreachable!("a slot is never divided"),
        }
    }

    fn divide(&mut self, level: Level) {
        let undivided = Bucket::Divided(Box::new(Parts { used: 0, parts: [const { Bucket::List(Vec::new()) }; PARTS] }));
        if let Bucket::List(list) = std::mem::replace(self, undivided) {
            work::moved(list.len());
            list.into_iter().for_each(|entry| self.insert(level, entry));
        }
    }

    /// Takes an entry out; says whether it was there.
    fn remove(&mut self, level: Level, entry: Waiting) -> bool {
        match (self, level.part(entry.place())) {
            (Bucket::Divided(parts), Some((level, part))) => {
                let was_there = parts.parts[part].remove(level, entry);
                parts.clear_away(part);
                was_there
            }
            (Bucket::List(list), _) => {
                work::looked(list.len());
                let found = list.iter().position(|waiting| *waiting == entry);
                found.map(|found| list.swap_remove(found));
                give_back(list);
                found.is_some()
            }
            (Bucket::Divided(_), None) => unreachable!("a slot is never divided"),
        }
    }

    /// The first place that has entries. Its time has come, so that what is in the way there is divided.
    fn first(&mut self, level: Level) -> u32 {
        if let (Bucket::List(list), Some(_)) = (&*self, level.part(0))
            && list.len() > SOON
        {
            self.divide(level);
        }
        match (self, level.part(0)) {
            (Bucket::Divided(parts), Some((level, _))) => {
                work::looked(1);
                let first = parts.used.trailing_zeros() as usize;
                parts.parts.get_mut(first).map_or(SLOTS as u32, |part| part.first(level))
            }
            // All of a slot are in the same place.
            (Bucket::List(list), None) => list.first().map_or(SLOTS as u32, |entry| entry.place()),
            (Bucket::List(list), Some(_)) => {
                work::looked(list.len());
                list.iter().min().map_or(SLOTS as u32, |entry| entry.place())
            }
            (Bucket::Divided(_), None) => unreachable!("a slot is never divided"),
        }
    }

    /// Takes out all that is in one place.
    fn take(&mut self, level: Level, place: u32, take: &mut impl FnMut(Waiting)) {
        match (self, level.part(place)) {
            (Bucket::Divided(parts), Some((level, part))) => {
                parts.parts[part].take(level, place, take);
                parts.clear_away(part);
            }
            (Bucket::List(list), _) => {
                work::looked(list.len());
                list.extract_if(.., |entry| entry.place() == place).for_each(|entry| {
                    work::moved(1);
                    take(entry);
                });
                give_back(list);
            }
            (Bucket::Divided(_), None) => unreachable!("a slot is never divided"),
        }
    }
}

impl Parts {
    /// What is empty takes no memory.
    fn clear_away(&mut self, part: usize) {
        if self.parts[part].is_empty() {
            self.used &= !(1 << part);
            self.parts[part] = Bucket::default();
        }
    }
}

/// A list that was once much longer gives its memory back.
fn give_back(list: &mut Vec<Waiting>) {
    if list.capacity() > SMALL && list.len() < list.capacity() / 2 {
        list.shrink_to(list.len() + list.len() / 4);
    }
}

/// What the wheel does, counted for its tests: time would be a poor witness.
mod work {
    #[cfg(test)]
    thread_local! {
        pub(super) static DONE: std::cell::Cell<(usize, usize)> = const { std::cell::Cell::new((0, 0)) };
    }

    /// So many entries move from one list to another.
    pub(super) fn moved(_entries: usize) {
        #[cfg(test)]
        DONE.set((DONE.get().0 + _entries, DONE.get().1));
    }

    /// So many entries or words are looked at.
    pub(super) fn looked(_at: usize) {
        #[cfg(test)]
        DONE.set((DONE.get().0, DONE.get().1 + _at));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec as several;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const SECOND: i64 = 1_000;
    const HOUR: i64 = 3_600 * SECOND;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;

    fn row(index: usize) -> Slot {
        Slot::new(index)
    }

    /// Rows and their customers are ordered the other way round, so that the order by one is not that by the other.
    fn name(slot: Slot) -> Identity {
        Identity::customer(format!("c-{:010}", 9_999_999_999_u64 - slot.index() as u64))
    }

    fn insert(wheel: &mut Wheel, at: i64, index: usize) {
        wheel.insert(Timestamp::from_millis(at), row(index), || name(row(index)));
    }

    fn due_until(wheel: &mut Wheel, until: i64) -> Vec<(i64, usize)> {
        std::iter::from_fn(|| wheel.next_due(Timestamp::from_millis(until), name))
            .map(|(at, slot)| (at.as_millis(), slot.index()))
            .collect()
    }

    /// What was done in between: entries moved, and entries and words looked at.
    fn work_of(act: impl FnOnce()) -> (usize, usize) {
        work::DONE.set((0, 0));
        act();
        work::DONE.get()
    }

    #[test]
    fn entries_come_out_in_order_once_and_never_early() {
        let mut wheel = Wheel::default();
        for (at, index) in [(250, 1), (250, 2), (YEAR, 3), (99, 4), (2_000_000, 5)] {
            insert(&mut wheel, at, index);
        }
        for (until, expected) in [
            (98, vec![]),
            (249, vec![(99, 4)]),
            // By the customers' names.
            (250, vec![(250, 2), (250, 1)]),
            (1_999_999, vec![]),
            (2_000_000, vec![(2_000_000, 5)]),
            (YEAR - 1, vec![]),
            (YEAR + 5, vec![(YEAR, 3)]),
            (2 * YEAR, vec![]),
        ] {
            assert_eq!(due_until(&mut wheel, until), expected, "until {until}");
        }
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn what_is_taken_out_does_not_come() {
        let mut wheel = Wheel::default();
        assert_eq!(due_until(&mut wheel, 0), vec![]);
        for index in [1, 2, 3] {
            insert(&mut wheel, 5_000, index);
        }
        wheel.remove(Timestamp::from_millis(5_000), row(1));
        wheel.remove(Timestamp::from_millis(5_001), row(2));
        wheel.remove(Timestamp::MAX, row(3));
        assert_eq!(wheel.len(), 2);
        assert_eq!(due_until(&mut wheel, 5_000), vec![(5_000, 3), (5_000, 2)]);
    }

    #[test]
    fn an_entry_behind_the_present_slot_is_due_at_once() {
        let mut wheel = Wheel::default();
        assert_eq!(due_until(&mut wheel, 10_000), vec![]);
        insert(&mut wheel, 500, 1);
        assert_eq!(due_until(&mut wheel, 10_001), vec![(500, 1)]);
    }

    #[test]
    fn what_is_near_stays_and_only_its_names_are_asked_for() {
        let mut wheel = Wheel::starting_at(Some(Timestamp::from_millis(10_000)));
        for (at, index, expected) in [(10_099, 1, true), (10_100, 2, false), (9_000, 3, true), (YEAR, 4, false)] {
            let mut asked = false;
            wheel.insert(Timestamp::from_millis(at), row(index), || {
                asked = true;
                name(row(index))
            });
            assert_eq!(asked, expected, "{index}");
        }
        for (at, index) in [(10_099, 1), (9_000, 3), (10_100, 2)] {
            wheel.remove(Timestamp::from_millis(at), row(index));
        }
        assert_eq!(wheel.len(), 3);
        let mut asked = Vec::new();
        let mut naming = |slot: Slot| {
            asked.push(slot.index());
            name(slot)
        };
        while wheel.next_due(Timestamp::from_millis(YEAR - SLOT_MILLIS), &mut naming).is_some() {}
        assert_eq!(asked, Vec::<usize>::new());
        assert_eq!(due_until(&mut wheel, YEAR), vec![(YEAR, 4)]);
    }

    #[test]
    fn the_ends_of_time_are_instants_like_others_but_for_the_last() {
        let ends = [i64::MIN, i64::MIN + 1, i64::MIN + PAGE_MILLIS, -1, 0, i64::MAX - PAGE_MILLIS, i64::MAX - 1];
        let mut wheel = Wheel::default();
        for (index, at) in ends.iter().enumerate().rev() {
            insert(&mut wheel, *at, index);
        }
        insert(&mut wheel, i64::MAX, 99);
        assert_eq!(wheel.len(), ends.len());
        let expected: Vec<(i64, usize)> = ends.iter().enumerate().map(|(index, at)| (*at, index)).collect();
        assert_eq!(due_until(&mut wheel, i64::MAX), expected);
    }

    /// The spans that a customer waits for, and that time moves by.
    fn span() -> impl Strategy<Value = i64> {
        prop_oneof![
            0..300_i64,
            0..20 * SECOND,
            0..2 * HOUR,
            0..60 * DAY,
            0..5 * YEAR,
            // Many at one instant, or in one slot, strip or page.
            (0..40_i64).prop_map(|pages| pages * PAGE_MILLIS),
            (0..3_i64).prop_map(|strips| strips * PARTS as i64 * SLOT_MILLIS),
        ]
    }

    #[derive(Clone, Debug)]
    enum Act {
        /// So many entries, so far from now and from each other.
        Insert { behind: bool, ahead: i64, apart: i64, entries: usize },
        /// Of what was inserted, be it still there or not.
        Remove(Vec<Index>),
        /// So far on, and so many entries are taken out at the most.
        Look { further: i64, entries: usize },
    }

    fn act() -> impl Strategy<Value = Act> {
        let insert = (prop::bool::weighted(0.1), span(), prop_oneof![Just(0_i64), 0..500_i64, span()], 1..80_usize);
        prop_oneof![
            3 => insert.prop_map(|(behind, ahead, apart, entries)| Act::Insert { behind, ahead, apart, entries }),
            1 => (span(), 0..120_i64).prop_map(|(ahead, apart)| Act::Insert { behind: false, ahead, apart, entries: 1_500 }),
            2 => several(any::<Index>(), 1..60).prop_map(Act::Remove),
            4 => (span(), prop_oneof![Just(usize::MAX), 0..50_usize])
                .prop_map(|(further, entries)| Act::Look { further, entries }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a plain sorted set, which differs in nothing but what was near when it was to be taken out.
        #[test]
        fn it_does_what_a_sorted_set_does(
            start in prop_oneof![Just(0), -3 * YEAR..60 * YEAR, Just(i64::MIN), Just(i64::MAX - 8 * YEAR)],
            begins_nowhere in any::<bool>(),
            acts in several(act(), 1..60),
        ) {
            let mut now = start;
            let mut wheel = Wheel::starting_at((!begins_nowhere).then_some(Timestamp::from_millis(start)));
            let mut set = BTreeSet::new();
            let (mut inserted, mut next) = (Vec::new(), 0);
            for act in acts {
                match act {
                    Act::Insert { behind, ahead, apart, entries } => {
                        for entry in 0..entries {
                            let off = ahead.saturating_add(apart.saturating_mul(entry as i64));
                            let at = if behind { now.saturating_sub(off) } else { now.saturating_add(off) };
                            if at == i64::MAX {
                                continue;
                            }
                            insert(&mut wheel, at, next);
                            set.insert((at, name(row(next)), next));
                            inserted.push((at, next));
                            next += 1;
                        }
                    }
                    Act::Remove(which) if !inserted.is_empty() => {
                        for which in which {
                            let (at, index) = *which.get(&inserted);
                            let (before, entry) = (wheel.len(), (at, name(row(index)), index));
                            wheel.remove(Timestamp::from_millis(at), row(index));
                            if slot_number(Timestamp::from_millis(at)) > wheel.present {
                                prop_assert_eq!(set.remove(&entry), wheel.len() < before);
                            } else {
                                prop_assert_eq!(wheel.len(), before);
                            }
                        }
                    }
                    Act::Remove(_) => {}
                    Act::Look { further, entries } => {
                        now = now.saturating_add(further);
                        for _ in 0..entries {
                            let due = wheel.next_due(Timestamp::from_millis(now), name);
                            let expected = set.first().filter(|(at, ..)| *at <= now).map(|(at, _, index)| (*at, *index));
                            prop_assert_eq!(due.map(|(at, slot)| (at.as_millis(), slot.index())), expected);
                            if expected.is_none() {
                                break;
                            }
                            set.pop_first();
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), set.len());
            }
            let rest: Vec<(i64, usize)> = set.into_iter().map(|(at, _, index)| (at, index)).collect();
            prop_assert_eq!(due_until(&mut wheel, i64::MAX), rest);
            prop_assert_eq!((wheel.len(), wheel.pages.len()), (0, 0), "what is empty takes no memory");
        }
    }

    /// One touchpoint each `step`, each of which puts off what its customer waits for; what is done for each, when `waiting`
    /// entries lie spread over the year behind the touchpoints.
    fn work_a_touchpoint(step: i64, waiting: usize) -> (usize, usize) {
        let (touchpoints, customers) = (5_000, 500);
        let mut wheel = Wheel::starting_at(Some(Timestamp::from_millis(0)));
        let behind = step * touchpoints as i64 + DAY;
        for index in 0..waiting {
            insert(&mut wheel, behind + YEAR / waiting as i64 * index as i64, customers + index);
        }
        let mut most = (0, 0);
        let all = work_of(|| {
            for touchpoint in 0..touchpoints {
                let before = work::DONE.get();
                let now = step * touchpoint as i64;
                while let Some((at, slot)) = wheel.next_due(Timestamp::from_millis(now), name) {
                    assert!(at.as_millis() <= now && slot.index() < customers);
                }
                insert(&mut wheel, now + HOUR / 2, touchpoint % customers);
                let after = work::DONE.get();
                most = (most.0.max(after.0 - before.0), most.1.max(after.1 - before.1));
            }
        });
        assert!(most.0 <= 2 * LONG && most.1 <= 2 * LONG, "no touchpoint pays for all others: {most:?}");
        (all.0 / touchpoints, all.1 / touchpoints)
    }

    #[test]
    fn an_hour_of_empty_time_costs_what_a_second_costs() {
        let (second, hour) = (work_a_touchpoint(SECOND, 0), work_a_touchpoint(HOUR, 0));
        assert!(second.0 <= 3 && second.1 <= 3 * SOON, "{second:?}");
        assert!(hour.0 <= second.0 && hour.1 <= second.1, "{hour:?}, {second:?}");
        assert_eq!(work_a_touchpoint(YEAR, 0), hour);
    }

    #[test]
    fn a_year_of_deadlines_is_not_read_before_its_time() {
        for step in [SECOND, HOUR, 7 * DAY] {
            assert_eq!(work_a_touchpoint(step, 100_000), work_a_touchpoint(step, 0), "{step} ms a touchpoint");
        }
        let mut wheel = Wheel::starting_at(Some(Timestamp::from_millis(0)));
        (0..100_000).for_each(|index| insert(&mut wheel, YEAR + 300 * index as i64, index));
        // Minute after minute of nothing: not even a look.
        let work = work_of(|| (0..YEAR / 60_000).for_each(|minute| assert_eq!(due_until(&mut wheel, minute * 60_000), [])));
        assert_eq!(work, (0, 0));
    }

    #[test]
    fn an_entry_moves_as_often_as_there_are_levels() {
        for apart in [0, 1, 70, 13 * SECOND, HOUR, DAY] {
            let (mut wheel, entries) = (Wheel::starting_at(Some(Timestamp::from_millis(-1))), 30_000);
            let (moved, looked) = work_of(|| {
                (0..entries).for_each(|index| insert(&mut wheel, apart * index as i64 + HOUR, index));
                (0..entries as i64).for_each(|index| assert!(due_until(&mut wheel, apart * index + HOUR).len() <= entries));
            });
            assert_eq!(wheel.len(), 0);
            assert!(moved <= 3 * entries, "{moved} moves, {apart} ms apart");
            assert!(looked <= (2 * SOON + 6) * entries, "{looked} looks, {apart} ms apart");
        }
    }

    #[test]
    fn to_take_one_out_no_long_list_is_looked_through() {
        let (mut wheel, entries) = (Wheel::starting_at(Some(Timestamp::from_millis(0))), 50_000);
        let at = |index: usize| HOUR + index as i64 * HOUR / entries as i64;
        (0..entries).for_each(|index| insert(&mut wheel, at(index), index));
        for index in (0..entries).rev() {
            let (_, looked) = work_of(|| wheel.remove(Timestamp::from_millis(at(index)), row(index)));
            assert!(looked <= LONG, "{looked} looks");
        }
        assert_eq!((wheel.len(), wheel.pages.len()), (0, 0));
    }

    fn rooms(bucket: &Bucket) -> usize {
        match bucket {
            Bucket::List(list) => list.capacity(),
            Bucket::Divided(parts) => parts.parts.iter().map(rooms).sum(),
        }
    }

    #[test]
    fn an_entry_takes_eight_bytes_and_some_room() {
        assert_eq!(size_of::<Waiting>(), 8);
        assert_eq!(size_of::<Bucket>(), 24);
        let empty = Wheel::default();
        assert_eq!((empty.pages.len(), empty.near.capacity()), (0, 0), "an empty wheel takes nothing");
        for (horizon, most) in [(HOUR, 1.3), (7 * DAY, 1.3), (YEAR, 1.3)] {
            let (mut wheel, entries) = (Wheel::starting_at(Some(Timestamp::from_millis(0))), 1_000_000_usize);
            // Spread by a multiplier that meets every entry once.
            let at = |index: usize| 1_000 + (index * 7_919 % entries) as i64 * (horizon / 1_000) / (entries as i64 / 1_000);
            (0..entries).for_each(|index| insert(&mut wheel, at(index), index));
            let rooms: usize = wheel.pages.values().map(rooms).sum();
            assert!((rooms as f64) < most * entries as f64, "{rooms} rooms, {horizon} ms");
            // What is taken out gives its memory back.
            (0..entries).filter(|index| index % 16 > 0).for_each(|index| {
                wheel.remove(Timestamp::from_millis(at(index)), row(index));
            });
            let rooms: usize = wheel.pages.values().map(self::rooms).sum();
            assert!(rooms < entries / 3, "{rooms} rooms, {horizon} ms");
        }
    }
}
