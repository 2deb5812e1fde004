//! An anonymous journey joins a customer's where both live in this shard (rule 19).
//!
//! What goes from one customer to the other are a claim, a state and touchpoints, and each side decides by itself
//! ([`crate::journey::HandedOver`]). Here both sides are at hand, and the transaction that applies the touchpoint changes both.

use super::{Action, Shard, Slot, StateLog};
use crate::journey::{Applied, Claim, Customer, Received, Telling};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

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
        let who = Identity::anonymous(anonymous.clone());
        let (slot, is_new) = self.customers.find_or_add(&who);
        let mut other = std::mem::take(&mut self.other);
        if self.customers.open(slot, &mut other) {
            let awaited = other.next_deadline();
            self.moved.subtract(&other, awaited);
        } else {
            other.begin(&who);
        }
        let had_window = other.has_window();
        let is_joined = other.redirected_to().is_some();
        let mut changed = true;
        let applied = match other.answer(&hand.identity, at, received.stream_time, &self.rules) {
            Claim::Granted if !is_joined || hand.can_join_earlier(&who, self.customers.words()) => {
                let into = (&hand.identity, at);
                let begin = self.scratch.len();
                let handed = other.hand_over(into, received.stream_time, self.telling());
                let applied = hand.take_in(received, handed, self.telling());
                hand.offer_joined(received, begin, self.telling());
                applied
            }
            Claim::Contested => {
                self.retelling.counted.shared += 1;
                other.share();
                self.give_to(hand, received)
            }
            Claim::Granted | Claim::Known => {
                changed = other.note_use(at);
                self.give_to(hand, received)
            }
            Claim::Shared => {
                changed = false;
                self.give_to(hand, received)
            }
        };
        self.put_other(slot, &other, (is_new, had_window, changed), received.stream_time);
        self.other = other;
        self.publish(received.log_time, actions);
        applied
    }

    /// Applies a touchpoint of an anonymous id whose journey was joined to a customer's: `anonymous` is what is left of it.
    pub(super) fn follow(
        &mut self,
        slot: Slot,
        anonymous: &mut Customer,
        received: Received<'_>,
        actions: &mut Vec<Action>,
    ) {
        let Some(into) = anonymous.redirected_to() else { return };
        let (customer, is_new) = self.customers.find_or_add(&into);
        let mut other = std::mem::take(&mut self.other);
        if self.customers.open(customer, &mut other) {
            let awaited = other.next_deadline();
            self.moved.subtract(&other, awaited);
        } else {
            other.begin(&into);
        }
        let had_window = other.has_window();
        let begin = self.scratch.len();
        let is_used = anonymous.note_use(received.stream_time);
        let is_before = anonymous.was_before_link(received.touchpoint)
            && other.can_correct(&anonymous.identity, received.touchpoint, &self.rules, self.customers.words());
        let handed = if is_before { anonymous.receive_before_link(received, self.telling()) } else { None };
        if is_used || handed.is_some() {
            self.keep(slot, anonymous);
        }
        let applied = match handed {
            Some(handed) => {
                other.correct(handed, received.stream_time, self.telling());
                other.offer_joined(received, begin, self.telling());
                Applied::Counted
            }
            None => self.give_to(&mut other, received),
        };
        self.count(applied);
        self.retelling.counted.followed += 1;
        self.put_other(customer, &other, (is_new, had_window, applied != Applied::Duplicate), received.stream_time);
        self.other = other;
        self.publish(received.log_time, actions);
    }

    fn telling(&mut self) -> Telling<'_> {
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
    fn put_other(
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
