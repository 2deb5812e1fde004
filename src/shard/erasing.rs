//! Customers who leave: because somebody asked for it, or because no touchpoint came for a long time (rule 28).
//!
//! The open transaction only marks them, so that undoing it brings them back; their entry, their place in the wheel and in the
//! turn go once it is committed. The last that is published about them takes back what was offered and stands.

use super::wheel::Wheel;
use super::{Action, Customers, Erasure, ErasureScope, Shard, Slot, StateLog, Undo};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

impl Shard {
    /// Forgets the customers, and lets the other shards know where they cannot. The anonymous ids that were seen together with
    /// a customer are that customer's as well; their shard is found by asking all.
    pub(super) fn erase(&mut self, erasure: &Erasure, log_time: Timestamp, actions: &mut Vec<Action>) {
        for who in &erasure.who {
            match erasure.scope {
                ErasureScope::AllShards => {}
                ErasureScope::ThisShard => actions.push(Action::Announce(who.clone())),
            }
            let links = self.leave(who, log_time, actions);
            for link in &links {
                self.forget_redirect(link, log_time, actions);
            }
            let unheard =
                links.into_iter().filter(|link| !(erasure.scope == ErasureScope::ThisShard && erasure.who.contains(link)));
            actions.extend(unheard.map(Action::Announce));
        }
    }

    /// Marks a customer as erased, and with it the customer that an anonymous id was joined to; returns the anonymous ids seen
    /// together with it, and that customer where it lives in another shard.
    pub(super) fn leave(&mut self, who: &Identity, log_time: Timestamp, actions: &mut Vec<Action>) -> Vec<Identity> {
        let Some(slot) = self.customers.find(who) else {
            self.remember_erased(who, log_time, false);
            return Vec::new();
        };
        let mut hand = std::mem::take(&mut self.hand);
        let mut links = Vec::new();
        let (mut joined_to, mut was_claimed) = (None, false);
        if self.customers.open(slot, &mut hand) {
            was_claimed = hand.redirected_to().is_some() || hand.is_shared();
            let awaited = hand.next_deadline();
            self.moved.subtract(&hand, awaited);
            joined_to = hand.redirected_to();
            hand.contacts().erase_exposures(&mut self.retelling.sums);
            hand.withdraw_all(self.stream_time.unwrap_or(log_time), self.telling());
            self.publish(log_time, actions);
            links.extend(hand.links.iter().map(|link| Identity::anonymous(link.clone())));
            self.counts.erased += 1;
            self.customers.erase(slot, self.settings.undo);
            actions.push(Action::Tombstone(who.clone()));
            self.note_leaving(slot);
        }
        self.hand = hand;
        self.remember_erased(who, log_time, was_claimed);
        match joined_to {
            Some(customer) if self.elsewhere(&customer).is_some() => links.push(customer),
            Some(customer) => links.extend(self.leave(&customer, log_time, actions)),
            None => {}
        }
        links
    }

    /// What an anonymous id does from now on must not be taken for an erased customer's until every shard has heard of it.
    fn forget_redirect(&mut self, anonymous: &Identity, log_time: Timestamp, actions: &mut Vec<Action>) {
        let Some(slot) = self.customers.find(anonymous) else { return };
        let mut hand = std::mem::take(&mut self.hand);
        let is_redirect = self.customers.open(slot, &mut hand) && hand.redirected_to().is_some();
        self.hand = hand;
        if is_redirect {
            self.leave(anonymous, log_time, actions);
        }
    }

    pub(super) fn note_leaving(&mut self, slot: Slot) {
        match self.settings.undo {
            Undo::Kept => self.leaving += 1,
            // Nothing is ever taken back, so nothing is waited for.
            Undo::Never => {
                disarm(&mut self.wheel, &self.customers, slot);
                if self.settings.state_log == StateLog::Changes {
                    self.refresh_cycle.left(slot);
                }
                self.customers.remove_vacant(slot);
            }
        }
    }

    /// Says what became of everybody who changed. Of somebody who came and went in one transaction the log that keeps
    /// the state never heard.
    pub(super) fn say_who_stays(&self, actions: &mut Vec<Action>) {
        let changed = (0..).map_while(|place| self.customers.changed(place));
        actions.extend(changed.filter_map(|slot| match (self.customers.latest(slot), self.customers.is_leaving(slot)) {
            (Some(_), _) => Some(Action::Remember(slot)),
            (None, true) => self.customers.identity(slot).map(Action::Forget),
            (None, false) => None,
        }));
    }

    /// Whether the log holds somebody who has gone, and everybody must be written anew before that can be cut off, be there
    /// touchpoints or not.
    pub fn refresh_due(&self) -> bool {
        self.refresh_cycle.is_due()
    }

    /// To go round within half an hour by a step every ten seconds, so many customers must be written anew in a step.
    pub fn step(&self) -> usize {
        self.refresh_cycle.step()
    }
}

/// Takes out of the wheel what waits there for somebody who has gone.
pub(super) fn disarm(wheel: &mut Wheel, customers: &Customers, slot: Slot) {
    for at in customers.wakeups(slot).into_iter().filter(|at| *at != Timestamp::MAX) {
        wheel.remove(at, slot);
    }
}
