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
    pending: Option<(u64, Box<Customer>)>,
    /// When the wheel asks for the customer next, never later than the earliest deadline; [`Timestamp::MAX`]: nothing is
    /// awaited. Not part of the state: an abort does not undo it.
    pub armed: Timestamp,
    /// A later instant at which the wheel asks as well, left from before something nearer was awaited. Remembered so that
    /// the same far deadline is not put into the wheel again after every near one.
    spare: Timestamp,
}

impl Default for Entry {
    fn default() -> Self {
        Entry { committed: None, pending: None, armed: Timestamp::MAX, spare: Timestamp::MAX }
    }
}

impl Entry {
    /// The image as of the transactions up to `committed`, for readers.
    pub fn image(&self, committed: u64) -> Option<&Customer> {
        match &self.pending {
            Some((transaction, customer)) if *transaction <= committed => Some(customer),
            Some(_) | None => self.committed.as_deref(),
        }
    }

    /// The latest image, committed or not, for the shard itself.
    pub fn latest(&self) -> Option<&Customer> {
        self.pending.as_ref().map(|(_, customer)| customer.as_ref()).or(self.committed.as_deref())
    }

    /// The image that `transaction` changes, and whether it is the first change of this transaction.
    pub fn change(&mut self, who: &Identity, transaction: u64) -> (&mut Customer, bool) {
        let first = self.pending.as_ref().is_none_or(|(at, _)| *at != transaction);
        if first {
            self.fold(transaction - 1);
        }
        let committed = &self.committed;
        let fresh = || {
            let before = committed.as_ref();
            (transaction, before.cloned().unwrap_or_else(|| Box::new(Customer::new(who.clone()))))
        };
        (&mut self.pending.get_or_insert_with(fresh).1, first)
    }

    /// Drops the older of the two images once the pending one is committed.
    pub fn fold(&mut self, committed: u64) {
        if let Some((_, customer)) = self.pending.take_if(|(transaction, _)| *transaction <= committed) {
            self.committed = Some(customer);
        }
    }

    /// Puts the before-image back.
    pub fn undo(&mut self, transaction: u64) {
        self.pending.take_if(|(at, _)| *at == transaction);
    }

    /// Puts in a committed image, at restore.
    pub fn restore(&mut self, customer: Customer) {
        self.committed = Some(Box::new(customer));
        self.pending = None;
    }

    /// The image as of the transactions up to `committed`, taken out.
    pub fn into_image(self, committed: u64) -> Option<Customer> {
        let pending = self.pending.filter(|(transaction, _)| *transaction <= committed);
        pending.map(|(_, customer)| customer).or(self.committed).map(|customer| *customer)
    }

    /// Sees to it that the wheel asks at `deadline` or before; says whether it must be told.
    pub fn arm(&mut self, deadline: Timestamp) -> bool {
        if deadline == Timestamp::MAX {
            return false;
        }
        let before = std::mem::replace(&mut self.armed, deadline);
        if self.spare <= deadline {
            self.armed = std::mem::replace(&mut self.spare, before);
            return false;
        }
        // Of two that are left, the farther is worth remembering: the nearer is gone soon.
        if before != Timestamp::MAX && (self.spare == Timestamp::MAX || before > self.spare) {
            self.spare = before;
        }
        true
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

    /// Whether the entry holds no customer.
    pub fn is_vacant(&self) -> bool {
        self.committed.is_none() && self.pending.is_none()
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
