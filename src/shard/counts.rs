//! What a shard counts while it decides.

use crate::journey::StepCounts;

/// What a shard counted since the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records applied, of all sorts below too.
    pub applied: u64,
    /// Touchpoints that no model names.
    pub ignored: u64,
    /// Repeats.
    pub duplicates: u64,
    /// Records that went to the dead letters.
    pub dead_letters: u64,
    /// What touchpoints did beside.
    pub steps: StepCounts,
    /// Customers erased because somebody asked for it.
    pub erased: u64,
    /// Customers forgotten because no touchpoint came for so long.
    pub expired: u64,
    /// Records found in another shard than that of their identity.
    pub misrouted: u64,
    /// Records written for other shards, of all sorts.
    pub handed_over: u64,
    /// Of these, touchpoints that were handed on to the shard of their identity.
    pub handed_on: u64,
    /// Touchpoints that became one of another customer's as well.
    pub forwarded: u64,
    /// Touchpoints that were to, and do not say whose.
    pub nobodys: u64,
    /// Answers to claims that nobody waits for any more: the customer was erased, or has answered before.
    pub unheard: u64,
    /// What was handed over of somebody who was erased meanwhile, and dropped.
    pub buried: u64,
}

impl Counts {
    /// Adds what another shard counted.
    pub fn add(&mut self, other: Counts) {
        let Counts {
            applied,
            ignored,
            duplicates,
            dead_letters,
            steps,
            erased,
            expired,
            misrouted,
            handed_over,
            handed_on,
            forwarded,
            nobodys,
            unheard,
            buried,
        } = other;
        self.applied += applied;
        self.ignored += ignored;
        self.duplicates += duplicates;
        self.dead_letters += dead_letters;
        self.steps.add(steps);
        self.erased += erased;
        self.expired += expired;
        self.misrouted += misrouted;
        self.handed_over += handed_over;
        self.handed_on += handed_on;
        self.forwarded += forwarded;
        self.nobodys += nobodys;
        self.unheard += unheard;
        self.buried += buried;
    }
}
