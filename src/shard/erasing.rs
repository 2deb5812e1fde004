//! Customers who leave: because somebody asked for it, or because no touchpoint came for a long time (rule 28).
//!
//! The open transaction only marks them, so that undoing it brings them back; their entry, their place in the wheel and in the
//! turn go once it is committed. Nothing is published about them any more.

use super::{Action, Customers, Erasure, Shard, StateLog, Told, Undo};
use crate::touchpoint::Identity;

impl<C: Customers> Shard<C> {
    /// Forgets the customers, and lets the other shards know where they cannot. The anonymous ids that were seen together with
    /// a customer are that customer's as well; their shard is found by asking all.
    pub(super) fn erase(&mut self, erasure: &Erasure, actions: &mut Vec<Action>) {
        for who in &erasure.who {
            match erasure.told {
                Told::Everyone => {}
                Told::Here => actions.push(Action::Announce(who.clone())),
            }
            let links = self.leave(who, actions);
            let unheard = links.into_iter().filter(|link| !(erasure.told == Told::Here && erasure.who.contains(link)));
            actions.extend(unheard.map(Action::Announce));
        }
    }

    /// Marks a customer as erased; returns the anonymous ids seen together with it.
    fn leave(&mut self, who: &Identity, actions: &mut Vec<Action>) -> Vec<Identity> {
        let (transaction, moved) = (self.transaction, &mut self.moved);
        let left = self.customers.entry(who, |entry| {
            let customer = entry.latest()?;
            moved.subtract(customer);
            let links = customer.links.iter().map(|link| Identity::anonymous(link.clone())).collect();
            Some((entry.erase(transaction), links))
        });
        let Some((first, links)) = left else {
            self.customers.remove_vacant(who);
            return Vec::new();
        };
        self.counts.erased += 1;
        actions.push(Action::Tombstone(who.clone()));
        self.note_touched(who, first);
        self.note_leaving(who);
        links
    }

    pub(super) fn note_leaving(&mut self, who: &Identity) {
        match self.settings.undo {
            Undo::Kept => self.leaving += 1,
            // Nothing is ever taken back, so nothing is waited for.
            Undo::Never => {
                let transaction = self.transaction;
                self.customers.entry(who, |entry| entry.fold(transaction));
                self.dismiss(who);
            }
        }
    }

    /// Says what became of everybody who changed. Of somebody who came and went in one transaction the log that keeps
    /// the state never heard.
    pub(super) fn say_who_stays(&mut self, actions: &mut Vec<Action>) {
        for who in &self.touched {
            let action = self.customers.entry(who, |entry| match (entry.latest(), entry.is_leaving()) {
                (Some(_), _) => Some(Action::Remember(who.clone())),
                (None, true) => Some(Action::Forget(who.clone())),
                (None, false) => None,
            });
            actions.extend(action);
        }
    }

    /// Takes out whatever is left of somebody who is gone for good.
    pub(super) fn dismiss(&mut self, who: &Identity) {
        self.sweep_up(who);
        if self.settings.state_log == StateLog::Changes {
            self.turn.left(who);
        }
    }

    /// Takes out the entry of somebody who is not there, and its places in the wheel.
    pub(super) fn sweep_up(&mut self, who: &Identity) {
        for at in self.customers.entry(who, |entry| entry.rings()) {
            self.wheel.remove(at, who);
        }
        self.customers.remove_vacant(who);
    }

    /// Whether the log holds somebody who has gone, and everybody must be written anew before that can be cut off, be there
    /// touchpoints or not.
    pub fn owes_a_turn(&self) -> bool {
        self.turn.is_owed()
    }

    /// To go round within half an hour by a step every ten seconds, so many customers must be written anew in a step.
    pub fn step(&self) -> usize {
        self.turn.step()
    }
}
