//! What interventions have brought about in a shard, summed up by arm.
//!
//! The sums lie in a row among the customers, under the id of nobody, so that they are logged, undone, restored and moved as
//! every customer is. What the open transaction measures goes into it once, when that is about to be committed.

use super::{Customers, Shard, StateLog};
use crate::journey::{Customer, Sums};
use crate::touchpoint::Identity;

/// Whose row it is: no customer has an empty id.
pub(super) fn nobody() -> Identity {
    Identity::customer("")
}

impl Shard {
    /// What was measured so far, what the open transaction measures included.
    pub fn sums(&mut self) -> Sums {
        let mut sums = self.customers.latest_sums();
        sums.append(&self.retelling.sums);
        sums
    }

    /// Puts what the open transaction has measured into its row.
    pub(super) fn keep_sums(&mut self) {
        if self.retelling.sums.is_empty() {
            return;
        }
        let (slot, is_new) = self.customers.find_or_add(&nobody());
        let mut row = Customer::new(nobody());
        self.customers.open(slot, &mut row);
        row.add_sums(&self.retelling.sums);
        self.measured.append(&self.retelling.sums);
        self.retelling.sums.clear();
        self.keep(slot, &row);
        if is_new && self.settings.state_log == StateLog::Changes {
            self.refresh_cycle.joined(slot);
        }
    }
}

impl Customers {
    /// What was measured, as committed.
    pub fn sums(&self) -> Sums {
        let slot = self.find_nobody().and_then(|slot| self.committed_image(slot));
        slot.map_or_else(Sums::default, |image| self.sums_in(image))
    }

    /// The row of the shard with what was measured there, committed or not.
    pub fn own_row(&self) -> Option<Customer> {
        let image = self.latest(self.find_nobody()?)?;
        Customer::image(image, self.words()).ok()
    }

    pub(super) fn latest_sums(&self) -> Sums {
        let slot = self.find_nobody().and_then(|slot| self.latest(slot));
        slot.map_or_else(Sums::default, |image| self.sums_in(image))
    }

    fn sums_in(&self, image: &[u8]) -> Sums {
        // What is in a shard was packed here, or checked when it was restored.
        Customer::image(image, self.words()).map(|row| row.contacts().sums().clone()).unwrap_or_default()
    }

    /// Adds what was measured elsewhere to a committed state.
    pub fn restore_sums(&mut self, sums: &Sums) {
        if sums.is_empty() {
            return;
        }
        let mut row = Customer::new(nobody());
        row.add_sums(&self.sums());
        row.add_sums(sums);
        self.restore(&row);
    }
}
