//! Where a shard keeps its customers, with the images that undo and readers need.
//!
//! Each customer has one [`Entry`]: the image last committed and, while a transaction is open, the image being changed,
//! marked with that transaction's number. Committing is one number going up, so no reader can see half a transaction.

use std::collections::HashMap;

use crate::journey::Customer;
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// A shard's customers. A plain map serves replay and simulation, the shell shares a concurrent one with its readers.
pub trait Customers {
    /// Works on the entry of a customer, vacant when there is none yet.
    fn entry<R>(&mut self, who: &Identity, work: impl FnOnce(&mut Entry) -> R) -> R;
    /// Removes an entry that holds nothing.
    fn remove_vacant(&mut self, who: &Identity);
    /// Makes everything up to this transaction visible to readers, at once.
    fn publish(&mut self, transaction: u64);
    /// Works on every entry, in no particular order.
    fn each(&self, work: impl FnMut(&Entry));
}

/// One customer: committed image, pending image, and the instants at which the wheel will ask for the customer.
#[derive(Clone, Debug)]
pub struct Entry {
    committed: Option<Box<Customer>>,
    /// What `transaction` makes of the customer; `None` where it erases the customer.
    pending: Option<Box<Customer>>,
    /// The transaction that changes the customer; 0: none does.
    transaction: u64,
    /// When the wheel asks for the customer next, never later than the earliest deadline; [`Timestamp::MAX`]: nothing is
    /// awaited. Not part of the state: an abort does not undo it.
    pub armed: Timestamp,
    /// A later instant at which the wheel asks as well, left from before something nearer was awaited. Remembered so that
    /// the same far deadline is not put into the wheel again after every near one.
    spare: Timestamp,
}

impl Default for Entry {
    fn default() -> Self {
        Entry { committed: None, pending: None, transaction: 0, armed: Timestamp::MAX, spare: Timestamp::MAX }
    }
}

impl Entry {
    /// The image as of the transactions up to `committed`, for readers.
    pub fn image(&self, committed: u64) -> Option<&Customer> {
        if self.is_changing() && self.transaction <= committed { self.pending.as_deref() } else { self.committed.as_deref() }
    }

    /// The latest image, committed or not, for the shard itself.
    pub fn latest(&self) -> Option<&Customer> {
        if self.is_changing() { self.pending.as_deref() } else { self.committed.as_deref() }
    }

    /// What the open transaction changes: the image last committed, where there is one.
    pub fn before(&self) -> Option<&Customer> {
        if self.is_changing() { self.committed.as_deref() } else { None }
    }

    /// The image that `transaction` changes, and whether it is the first change of this transaction.
    pub fn change(&mut self, who: &Identity, transaction: u64) -> (&mut Customer, bool) {
        let first = self.begin(transaction);
        if first {
            self.pending = self.committed.clone();
        }
        (self.pending.get_or_insert_with(|| Box::new(Customer::new(who.clone()))), first)
    }

    /// Lets `transaction` erase the customer; returns whether that is its first change.
    pub fn erase(&mut self, transaction: u64) -> bool {
        let first = self.begin(transaction);
        self.pending = None;
        first
    }

    fn begin(&mut self, transaction: u64) -> bool {
        let first = self.transaction != transaction;
        if first {
            self.fold(transaction - 1);
            self.transaction = transaction;
        }
        first
    }

    /// Drops the older of the two images once the pending one is committed.
    pub fn fold(&mut self, committed: u64) {
        if self.is_changing() && self.transaction <= committed {
            self.committed = self.pending.take();
            self.transaction = 0;
        }
    }

    /// Puts the before-image back.
    pub fn undo(&mut self, transaction: u64) {
        if self.transaction == transaction {
            self.pending = None;
            self.transaction = 0;
        }
    }

    /// Puts in a committed image, at restore.
    pub fn restore(&mut self, customer: Customer) {
        self.committed = Some(Box::new(customer));
        self.pending = None;
        self.transaction = 0;
    }

    fn is_changing(&self) -> bool {
        self.transaction != 0
    }

    /// Whether the open transaction erases somebody who was there before it.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_changing() && self.pending.is_none() && self.committed.is_some()
    }

    /// The instants at which the wheel will ask for the customer.
    pub(super) fn rings(&self) -> [Timestamp; 2] {
        [self.armed, self.spare]
    }

    /// The image as of the transactions up to `committed`, taken out.
    pub fn into_image(self, committed: u64) -> Option<Customer> {
        let changed = self.is_changing() && self.transaction <= committed;
        let image = if changed { self.pending } else { self.committed };
        image.map(|customer| *customer)
    }

    /// Sees to it that the wheel asks at `deadline` or before; says whether it must be told, and at which instant it need not ask
    /// any more ([`Timestamp::MAX`]: at none), since there is no room to remember a third.
    pub fn arm(&mut self, deadline: Timestamp) -> (bool, Timestamp) {
        if deadline == Timestamp::MAX {
            return (false, Timestamp::MAX);
        }
        let before = std::mem::replace(&mut self.armed, deadline);
        if self.spare <= deadline {
            self.armed = std::mem::replace(&mut self.spare, before);
            return (false, Timestamp::MAX);
        }
        if before == Timestamp::MAX {
            return (true, Timestamp::MAX);
        }
        if self.spare == Timestamp::MAX {
            self.spare = before;
            return (true, Timestamp::MAX);
        }
        // The farther of the two is worth remembering: it would stay in the wheel for longest.
        (true, before)
    }

    /// The wheel asks at this instant; says whether that is what the customer waits for.
    pub fn ring(&mut self, instant: Timestamp) -> bool {
        let awaited = self.armed == instant;
        if awaited {
            self.armed = Timestamp::MAX;
        } else if self.spare == instant {
            self.spare = Timestamp::MAX;
        }
        awaited
    }

    /// Whether the entry holds no customer, not even one that the open transaction erases.
    pub fn is_vacant(&self) -> bool {
        self.committed.is_none() && !self.is_changing()
    }
}

/// A plain map, for replay and simulation.
#[derive(Debug, Default)]
pub struct PlainCustomers(HashMap<Identity, Entry>);

impl Customers for PlainCustomers {
    fn entry<R>(&mut self, who: &Identity, work: impl FnOnce(&mut Entry) -> R) -> R {
        match self.0.get_mut(who) {
            Some(entry) => work(entry),
            None => work(self.0.entry(who.clone()).or_default()),
        }
    }

    fn remove_vacant(&mut self, who: &Identity) {
        if self.0.get(who).is_some_and(Entry::is_vacant) {
            self.0.remove(who);
        }
    }

    fn publish(&mut self, _transaction: u64) {}

    fn each(&self, mut work: impl FnMut(&Entry)) {
        self.0.values().for_each(&mut work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each customer, so what erasing needs must not make it larger.
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 40);
        assert_eq!(
            size_of::<Option<Identity>>(),
            size_of::<Identity>(),
            "a hole in the roster takes no more than a customer"
        );
    }

    #[test]
    fn readers_see_who_is_erased_until_that_is_committed() {
        let who = Identity::customer("a");
        let mut entry = Entry::default();
        entry.restore(Customer::new(who.clone()));
        assert!(entry.erase(7) && !entry.erase(7));
        assert_eq!((entry.image(6).is_some(), entry.image(7).is_some(), entry.latest().is_some()), (true, false, false));
        assert!(entry.is_leaving() && !entry.is_vacant());
        let mut undone = entry.clone();
        undone.undo(7);
        assert_eq!(undone.latest(), Some(&Customer::new(who.clone())));
        let (again, first) = entry.change(&who, 7);
        again.touchpoints = 1;
        assert!(!first && !entry.is_leaving());
        assert_eq!(entry.image(7).map(|customer| customer.touchpoints), Some(1));
        entry.erase(7);
        assert_eq!(entry.clone().into_image(6), Some(Customer::new(who)));
        entry.fold(7);
        assert!(entry.is_vacant());
    }
}
