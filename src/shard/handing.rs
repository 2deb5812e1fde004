//! What shards hand to each other: a touchpoint whose customer lives elsewhere, a claim on an anonymous id that lives elsewhere
//! and the answer to it (rule 19).
//!
//! What is handed over is written in the transaction that decides it and read as one more input. It never holds stream time:
//! shards that waited for each other would stand still. But it is applied only once stream time has reached the log time of
//! the record that caused it, and what should have come earlier is told anew, as a late touchpoint is.

use compact_str::CompactString;

use super::frontier::Reach;
use super::{Action, Shard, Undo};
use crate::journey::{Applied, HandedOver, Link, Received};
use crate::partitioner::Partitioner;
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint};

/// A shard: partition number of all inputs together.
pub type ShardId = u32;

/// This part of the grace a shard may be ahead of the least.
const PART: i64 = 4;
/// Or so much, where that is more: what is committed is always a little behind.
const LEAST: Span = Span::from_secs(2);
/// A state that is handed over takes about so many bytes of memory.
const STATE_BYTES: usize = 4 << 10;

/// How far ahead of the least a shard may decide.
pub fn may_be_ahead(grace: Span) -> Span {
    Span::from_millis(grace.as_millis() / PART).max(LEAST)
}

/// Where identities live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Homes {
    /// This shard.
    pub here: ShardId,
    /// How many there are.
    pub shards: u32,
    /// Which of them an id belongs to.
    pub partitioner: Partitioner,
    /// What becomes of a touchpoint that is found in another shard than its identity's.
    pub misrouted: Misrouted,
}

/// What becomes of a touchpoint that is found in another shard than its identity's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misrouted {
    /// It is handed on to that shard.
    HandOn,
    /// It is applied where it is.
    Apply,
}

impl Homes {
    /// One shard, where everybody lives.
    pub const ALONE: Homes = Homes { here: 0, shards: 1, partitioner: Partitioner::Unknown, misrouted: Misrouted::Apply };

    /// The shard where an identity lives, where that is another one.
    fn elsewhere(self, who: &Identity) -> Option<ShardId> {
        if self.shards == 1 {
            return None;
        }
        let home = self.partitioner.partition(who.id.as_bytes(), self.shards)?;
        (home != self.here).then_some(home)
    }
}

/// What one shard hands to another.
#[derive(Clone, Debug)]
pub struct HandOff {
    /// Log time of the record that caused it.
    pub log_time: Timestamp,
    /// What it is.
    pub what: Handed,
}

/// What is handed over.
#[derive(Clone, Debug)]
pub enum Handed {
    /// A touchpoint whose identity lives there.
    Touchpoint(Box<Touchpoint>),
    /// A customer's claim on an anonymous id that lives there.
    Claim(Claiming),
    /// The answer to a claim.
    Answer {
        /// Which.
        claim: Claiming,
        /// What the anonymous id hands over; `None` where it does not join the customer now.
        handed: Option<HandedOver>,
    },
    /// A touchpoint of an anonymous id that was joined to a customer who lives there.
    Followed {
        /// The customer.
        customer: CompactString,
        /// Since when the anonymous id is the customer's.
        since: Timestamp,
        /// The touchpoint.
        touchpoint: Box<Touchpoint>,
        /// Where it happened before the link: what the anonymous id hands over with it.
        handed: Option<HandedOver>,
    },
}

impl HandOff {
    /// Roughly the bytes of memory that it takes while it waits.
    pub(super) fn bytes(&self) -> usize {
        let (touchpoint, handed) = match &self.what {
            Handed::Touchpoint(touchpoint) => (touchpoint.bytes(), None),
            Handed::Claim(_) => (0, None),
            Handed::Answer { handed, .. } => (0, handed.as_ref()),
            Handed::Followed { touchpoint, handed, .. } => (touchpoint.bytes(), handed.as_ref()),
        };
        let bytes_of = |handed: &HandedOver| {
            STATE_BYTES + handed.touchpoints().map(|(touchpoint, _)| touchpoint.bytes()).sum::<usize>()
        };
        size_of::<HandOff>() + touchpoint + handed.map_or(0, bytes_of)
    }
}

/// A customer's claim on an anonymous id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claiming {
    /// The shard that the answer goes to.
    pub from: ShardId,
    /// The customer.
    pub customer: CompactString,
    /// The anonymous id.
    pub anonymous: CompactString,
    /// The id of the touchpoint that names both.
    pub touchpoint: CompactString,
    /// The instant of the link.
    pub at: Timestamp,
    /// A later link of the same two can still give way to this one if it is later than this instant.
    pub can_tell_from: Timestamp,
}

impl Shard {
    /// The same shard as one of several.
    #[must_use]
    pub fn among(mut self, homes: Homes) -> Self {
        self.homes = homes;
        self
    }

    /// Nothing is to be decided beyond this instant, since others have not come so far; decides nothing by itself.
    pub fn bind(&mut self, bound: Timestamp) {
        self.bound = bound;
    }

    /// Whether more would have been decided the last time, but for others who have not come so far.
    pub fn is_at_bound(&self) -> bool {
        self.is_at_bound
    }

    /// Whether the open transaction hands anything over: nobody can read that before it is committed.
    pub fn has_handed_over(&self) -> bool {
        self.has_handed_over
    }

    /// What is handed over next counts from this instant on, as far as that is known. After an undone transaction the same records
    /// in the same order are decided alike, so only what is handed over must be committed first. (An erasure that was read
    /// meanwhile can change that: what is then handed over may come late, and is counted so.)
    pub fn frontier(&self) -> Option<Timestamp> {
        if self.has_handed_over && self.settings.undo == Undo::Kept {
            return self.committed.stream_time;
        }
        match self.inputs.reach() {
            Reach::Nowhere => self.stream_time,
            Reach::Until(next) | Reach::Record(next) => {
                // Beyond its bound it may still be handed what others wait for it to answer. At first nobody has one.
                let next = if self.bound == Timestamp::MIN { next } else { next.min(self.bound) };
                Some(self.stream_time.map_or(next, |now| now.max(next)))
            }
        }
    }

    /// Whether stream time has come so far since the last commit that others should hear of it: half as far as they may be ahead.
    pub fn is_due_to_be_heard(&self) -> bool {
        let far = Span::from_millis(may_be_ahead(self.settings.grace).as_millis() / 2);
        match (self.stream_time, self.committed.stream_time) {
            (Some(now), Some(committed)) => now.since(committed) >= far,
            (now, None) => now.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// The shard where an identity lives, where that is another one.
    pub(super) fn elsewhere(&self, who: &Identity) -> Option<ShardId> {
        self.homes.elsewhere(who)
    }

    /// The shard where the identity of a record lives, where the record was found in another one.
    pub(super) fn misrouted(&mut self, who: &Identity) -> Option<ShardId> {
        let to = self.elsewhere(who)?;
        self.counts.misrouted += 1;
        Some(to)
    }

    /// Hands a touchpoint on whose identity lives elsewhere; says whether it did.
    pub(super) fn hand_on(&mut self, touchpoint: &Touchpoint, log_time: Timestamp, actions: &mut Vec<Action>) -> bool {
        let Some(to) = self.misrouted(&touchpoint.identity) else { return false };
        if self.homes.misrouted == Misrouted::Apply {
            return false;
        }
        self.counts.handed_on += 1;
        self.hand_over(to, log_time, Handed::Touchpoint(Box::new(touchpoint.clone())), actions);
        true
    }

    /// Takes what another shard has handed over.
    pub(super) fn take_handed(&mut self, hand_off: &HandOff, actions: &mut Vec<Action>) {
        let log_time = hand_off.log_time;
        match &hand_off.what {
            Handed::Touchpoint(touchpoint) if self.was_erased_since(&touchpoint.identity, log_time) => {
                self.counts.buried += 1;
                self.erase_linked(touchpoint, log_time, actions);
            }
            Handed::Touchpoint(touchpoint) => self.apply_touchpoint(touchpoint, log_time, actions),
            Handed::Claim(claim) => self.answer_claim(claim, log_time, actions),
            Handed::Answer { claim, handed } => self.hear_answer(claim, handed.as_ref(), log_time, actions),
            Handed::Followed { customer, since, touchpoint, handed } => {
                self.take_followed((customer, *since), touchpoint, handed.as_ref(), log_time, actions);
            }
        }
    }

    fn answer_claim(&mut self, claim: &Claiming, log_time: Timestamp, actions: &mut Vec<Action>) {
        let stream_time = self.stream_time.unwrap_or(log_time);
        let customer = Identity::customer(claim.customer.clone());
        let mut handed = self.answer(&customer, claim, (log_time, stream_time), actions);
        self.publish(log_time, actions);
        if let Some(handed) = &mut handed {
            handed.expand(self.customers.words());
        }
        self.hand_over(claim.from, log_time, Handed::Answer { claim: claim.clone(), handed }, actions);
    }

    fn hear_answer(
        &mut self,
        claim: &Claiming,
        handed: Option<&HandedOver>,
        log_time: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let who = Identity::customer(claim.customer.clone());
        let known = if self.was_erased_since(&who, log_time) { None } else { self.lift_known(&who) };
        let Some((slot, mut hand)) = known else {
            // Whoever is gone was erased meanwhile, and with a customer the anonymous ids go that were seen together with it: also
            // what the other shard has left of this one when it answered.
            self.counts.unheard += 1;
            self.drop_handed(handed, log_time, actions);
            actions.extend(handed.map(|_| Action::Announce(Identity::anonymous(claim.anonymous.clone()))));
            return;
        };
        // The anonymous id was erased after it had answered: the customer waits no longer, and gets nothing.
        let is_erased = self.was_erased_since(&Identity::anonymous(claim.anonymous.clone()), log_time);
        if is_erased {
            self.drop_handed(handed, log_time, actions);
        }
        let handed = handed.filter(|_| !is_erased);
        let stream_time = self.stream_time.unwrap_or(log_time);
        let had_window = hand.has_window();
        let link = Link { anonymous: &claim.anonymous, touchpoint: &claim.touchpoint, at: claim.at };
        let begin = self.scratch.len();
        let waited = hand.hear_answer(link, handed.cloned(), stream_time, self.telling());
        if waited {
            hand.offer_joined(None, stream_time, begin, self.telling());
        }
        self.counts.unheard += u64::from(!waited);
        self.put_other(slot, &hand, (false, had_window, waited), stream_time);
        self.other = hand;
        self.publish(log_time, actions);
    }

    fn take_followed(
        &mut self,
        (customer, since): (&CompactString, Timestamp),
        touchpoint: &Touchpoint,
        handed: Option<&HandedOver>,
        log_time: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let who = Identity::customer(customer.clone());
        if self.was_erased_since(&who, log_time) || self.was_erased_since(&touchpoint.identity, log_time) {
            return self.drop_handed(handed, log_time, actions);
        }
        let stream_time = self.stream_time.unwrap_or(log_time);
        let received = Received { touchpoint, log_time, stream_time };
        let (slot, is_new, mut hand) = self.lift(&who);
        let had_window = hand.has_window();
        let link = (&touchpoint.identity.id, since);
        let applied = match handed {
            Some(handed) if hand.can_correct(link, touchpoint, &self.rules, self.customers.words()) => {
                let begin = self.scratch.len();
                hand.correct(since, handed.clone(), stream_time, self.telling());
                hand.offer_joined(Some(touchpoint), stream_time, begin, self.telling());
                Applied::Counted
            }
            Some(_) | None => self.give_to(&mut hand, received),
        };
        self.count(applied);
        self.put_other(slot, &hand, (is_new, had_window, applied != Applied::Duplicate), stream_time);
        self.other = hand;
        self.publish(log_time, actions);
        if applied != Applied::Duplicate {
            self.forward(touchpoint, log_time, actions);
        }
    }

    /// Drops what was handed over of somebody who was erased.
    fn drop_handed(&mut self, handed: Option<&HandedOver>, log_time: Timestamp, actions: &mut Vec<Action>) {
        self.counts.buried += 1;
        if let Some(handed) = handed {
            handed.state().contacts().erase_exposures(&mut self.retelling.sums);
            handed.state().clone().withdraw_all(self.stream_time.unwrap_or(log_time), self.telling());
            self.publish(log_time, actions);
            actions.push(Action::Tombstone(handed.state().identity.clone()));
        }
    }

    /// Writes to another shard in the open transaction.
    pub(super) fn hand_over(&mut self, to: ShardId, log_time: Timestamp, what: Handed, actions: &mut Vec<Action>) {
        self.counts.handed_over += 1;
        self.has_handed_over = true;
        actions.push(Action::HandOver { to, hand_off: Box::new(HandOff { log_time, what }) });
    }
}
