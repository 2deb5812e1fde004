//! An anonymous journey joins a customer's (rule 19).
//!
//! What goes from one customer to the other are a claim, a state and touchpoints, and each side decides by itself
//! ([`crate::journey::HandedOver`]). Where both live in this shard, the transaction that applies the touchpoint changes both;
//! otherwise shards hand it to each other.

use super::handing::{Claiming, Handed};
use super::{Action, Shard, ShardId, Slot, StateLog};
use crate::journey::{Applied, Claim, Customer, HandedOver, Received, Telling};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint};

impl Shard {
    /// Applies a touchpoint of a customer that names an anonymous id beside the customer's.
    pub(super) fn receive_linked(
        &mut self,
        hand: &mut Customer,
        received: Received<'_>,
        actions: &mut Vec<Action>,
    ) -> Applied {
        let at =
            if self.rules.grace == Span::ZERO { None } else { hand.claims(received, &self.rules, self.customers.words()) };
        let (Some(at), Some(anonymous)) = (at, &received.touchpoint.linked) else { return self.give_to(hand, received) };
        if hand.refuses_links(at) && !hand.is_linked_to(anonymous, Timestamp::MIN) {
            self.retelling.counted.refused_links += 1;
            return self.give_to(hand, received);
        }
        let claim = Claiming {
            from: self.homes.here,
            customer: hand.identity.id.clone(),
            anonymous: anonymous.clone(),
            touchpoint: received.touchpoint.id.clone(),
            at,
            can_tell_from: hand.can_tell_from(),
        };
        if let Some(to) = self.elsewhere(&Identity::anonymous(anonymous.clone())) {
            if !hand.can_claim() {
                self.retelling.counted.refused_links += 1;
                return self.give_to(hand, received);
            }
            self.hand_over(to, received.log_time, Handed::Claim(claim), actions);
            let begin = self.scratch.len();
            let applied = hand.await_answer(received, at, self.telling());
            hand.offer_joined(Some(received.touchpoint), received.stream_time, begin, self.telling());
            return applied;
        }
        let begin = self.scratch.len();
        let handed = self.answer(&hand.identity, &claim, (received.log_time, received.stream_time), actions);
        let applied = match handed {
            Some(handed) => {
                let applied = hand.take_in(received, handed, self.telling());
                hand.offer_joined(Some(received.touchpoint), received.stream_time, begin, self.telling());
                applied
            }
            None => self.give_to(hand, received),
        };
        self.publish(received.log_time, actions);
        applied
    }

    /// Answers a claim for an anonymous id of this shard: what it hands over, where it joins the customer now.
    /// Where one of the two was erased after the claim had entered the log, nothing is handed over.
    pub(super) fn answer(
        &mut self,
        customer: &Identity,
        claim: &Claiming,
        (log_time, stream_time): (Timestamp, Timestamp),
        actions: &mut Vec<Action>,
    ) -> Option<HandedOver> {
        let (at, anonymous) = (claim.at, Identity::anonymous(claim.anonymous.clone()));
        // One of the two was erased when the claim had entered the log already: they were one by then, unless the anonymous id
        // was somebody else's.
        if self.was_erased_since(&anonymous, log_time) {
            self.counts.buried += 1;
            actions.extend((!self.graves.was_claimed(&anonymous)).then(|| Action::Announce(customer.clone())));
            return None;
        }
        if self.was_erased_since(customer, log_time) {
            self.counts.buried += 1;
            if self.would_join(&anonymous, customer, (at, stream_time)) {
                self.leave(&anonymous, log_time, actions);
            }
            return None;
        }
        let (slot, is_new, mut other) = self.lift(&anonymous);
        let had_window = other.has_window();
        let gives_way = other.redirected_at().is_none_or(|known| known > claim.can_tell_from);
        let mut changed = true;
        let handed = match other.answer(customer, at, stream_time, &self.rules) {
            Claim::Granted if gives_way => Some(other.hand_over((customer, at), stream_time, self.telling())),
            Claim::Contested => {
                self.retelling.counted.shared += 1;
                other.share();
                None
            }
            Claim::Granted | Claim::Known => {
                changed = other.note_use(at);
                None
            }
            Claim::Shared => {
                changed = false;
                None
            }
        };
        self.put_other(slot, &other, (is_new, had_window, changed), stream_time);
        self.other = other;
        handed
    }

    /// A touchpoint of a customer who was erased meanwhile names an anonymous id: that goes too, if it is this customer's.
    pub(super) fn erase_linked(&mut self, touchpoint: &Touchpoint, log_time: Timestamp, actions: &mut Vec<Action>) {
        let Some(anonymous) = &touchpoint.linked else { return };
        let claim = Claiming {
            from: self.homes.here,
            customer: touchpoint.identity.id.clone(),
            anonymous: anonymous.clone(),
            touchpoint: touchpoint.id.clone(),
            at: touchpoint.event_time,
            can_tell_from: Timestamp::MAX,
        };
        match self.elsewhere(&Identity::anonymous(anonymous.clone())) {
            Some(to) => self.hand_over(to, log_time, Handed::Claim(claim), actions),
            None => {
                let now = self.stream_time.unwrap_or(log_time);
                let nothing = self.answer(&touchpoint.identity, &claim, (log_time, now), actions);
                debug_assert!(nothing.is_none(), "an erased customer is handed nothing");
            }
        }
    }

    /// Whether an anonymous id of this shard is the customer's, or would be by a claim.
    fn would_join(&mut self, anonymous: &Identity, customer: &Identity, (at, now): (Timestamp, Timestamp)) -> bool {
        let Some(slot) = self.customers.find(anonymous) else { return false };
        let mut other = std::mem::take(&mut self.other);
        let joins = self.customers.open(slot, &mut other)
            && matches!(other.answer(customer, at, now, &self.rules), Claim::Granted | Claim::Known);
        self.other = other;
        joins
    }

    /// Applies a touchpoint of an anonymous id whose journey was joined to a customer's: `anonymous` is what is left of it.
    pub(super) fn follow(
        &mut self,
        slot: Slot,
        anonymous: &mut Customer,
        received: Received<'_>,
        actions: &mut Vec<Action>,
    ) {
        let (Some(into), Some(since)) = (anonymous.redirected_to(), anonymous.redirected_at()) else { return };
        self.retelling.counted.followed += 1;
        if let Some(to) = self.elsewhere(&into) {
            return self.follow_elsewhere((slot, to), anonymous, received, actions);
        }
        let (customer, is_new, mut other) = self.lift(&into);
        let had_window = other.has_window();
        let begin = self.scratch.len();
        let is_used = anonymous.note_use(received.stream_time);
        let link = (&anonymous.identity.id, since);
        let is_before = anonymous.was_before_link(received.touchpoint)
            && other.can_correct(link, received.touchpoint, &self.rules, self.customers.words());
        let handed = if is_before { anonymous.receive_before_link(received, self.telling()) } else { None };
        if is_used || handed.is_some() {
            self.keep(slot, anonymous);
        }
        let applied = match handed {
            Some(handed) => {
                other.correct(since, handed, received.stream_time, self.telling());
                other.offer_joined(Some(received.touchpoint), received.stream_time, begin, self.telling());
                Applied::Counted
            }
            None => self.give_to(&mut other, received),
        };
        self.count(applied);
        self.put_other(customer, &other, (is_new, had_window, applied != Applied::Duplicate), received.stream_time);
        self.other = other;
        self.publish(received.log_time, actions);
        if applied != Applied::Duplicate {
            self.forward(received.touchpoint, received.log_time, actions);
        }
    }

    /// The same where the customer lives in another shard.
    fn follow_elsewhere(
        &mut self,
        (slot, to): (Slot, ShardId),
        anonymous: &mut Customer,
        received: Received<'_>,
        actions: &mut Vec<Action>,
    ) {
        let (Some(into), Some(since)) = (anonymous.redirected_to(), anonymous.redirected_at()) else { return };
        let touchpoint = received.touchpoint;
        let is_used = anonymous.note_use(received.stream_time);
        let is_before = anonymous.was_before_link(touchpoint)
            && !anonymous.is_repeat(touchpoint, touchpoint.event_time, &self.rules, self.customers.words());
        let mut handed = if is_before { anonymous.receive_before_link(received, self.telling()) } else { None };
        if let Some(handed) = &mut handed {
            handed.expand(self.customers.words());
        }
        if is_used || handed.is_some() {
            self.keep(slot, anonymous);
        }
        self.publish(received.log_time, actions);
        let followed = Handed::Followed { customer: into.id, since, touchpoint: Box::new(touchpoint.clone()), handed };
        self.hand_over(to, received.log_time, followed, actions);
    }

    /// Takes the second customer that a record concerns in hand, to be put back with [`Shard::put_other`]: where its row is, and
    /// whether nothing was known of it.
    pub(super) fn lift(&mut self, who: &Identity) -> (Slot, bool, Customer) {
        let (slot, is_new) = self.customers.find_or_add(who);
        let mut other = std::mem::take(&mut self.other);
        if self.customers.open(slot, &mut other) {
            let awaited = other.next_deadline();
            self.moved.subtract(&other, awaited);
        } else {
            other.begin(who);
        }
        (slot, is_new, other)
    }

    /// The same with somebody who is there.
    pub(super) fn lift_known(&mut self, who: &Identity) -> Option<(Slot, Customer)> {
        let slot = self.customers.find(who)?;
        self.customers.latest(slot)?;
        let (slot, _, other) = self.lift(who);
        Some((slot, other))
    }

    pub(super) fn telling(&mut self) -> Telling<'_> {
        Telling {
            models: &self.models,
            rules: &self.rules,
            words: self.customers.words_mut(),
            retelling: &mut self.retelling,
            outcomes: &mut self.scratch,
        }
    }

    /// Gives a customer a touchpoint of its own.
    pub(super) fn give_to(&mut self, hand: &mut Customer, received: Received<'_>) -> Applied {
        let words = self.customers.words_mut();
        hand.receive(&self.models, received, &self.rules, words, &mut self.retelling, &mut self.scratch)
    }

    /// The second customer that a record changes.
    pub(super) fn put_other(
        &mut self,
        slot: Slot,
        other: &Customer,
        (is_new, had_window, changed): (bool, bool, bool),
        stream_time: Timestamp,
    ) {
        let awaited = other.next_deadline();
        self.moved.add(other, awaited);
        if !had_window {
            self.watch_window(slot, other, stream_time);
        }
        if changed {
            self.keep(slot, other);
        }
        if is_new && self.settings.state_log == StateLog::Changes {
            self.refresh_cycle.joined(slot);
        }
        let next = super::attention(other, awaited, self.settings.forget_after);
        if next < self.customers.next_wakeup(slot) {
            self.arm(slot, next);
        }
    }
}
