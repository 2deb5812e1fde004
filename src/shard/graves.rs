//! Who was erased lately (rule 28), so that nothing brings them back that entered the log before and is still being handed over.
//!
//! Graves lie in a row of the shard's own among the customers, so that they are logged, undone and restored as every customer
//! is. One shard alone is handed nothing, and has none.

use super::{Customers, Shard, StateLog};
use crate::journey::{Customer, Graves};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// Whose row it is: no anonymous id is empty.
pub(super) fn the_dead() -> Identity {
    Identity::anonymous("")
}

impl Shard {
    /// Remembers that somebody was erased at this log time.
    pub(super) fn bury(&mut self, who: &Identity, log_time: Timestamp) {
        if self.homes.shards > 1 {
            self.graves.dig(who, log_time);
            self.graves_changed = true;
        }
    }

    /// Whether somebody was erased after what has this log time had entered the log.
    pub(super) fn is_buried(&self, who: &Identity, log_time: Timestamp) -> bool {
        self.graves.hold(who, log_time)
    }

    /// Puts the graves of the open transaction into their row.
    pub(super) fn keep_graves(&mut self) {
        if !std::mem::take(&mut self.graves_changed) {
            return;
        }
        let (slot, is_new) = self.customers.find_or_add(&the_dead());
        let mut row = Customer::new(the_dead());
        row.set_graves(self.graves.clone());
        self.keep(slot, &row);
        if is_new && self.settings.state_log == StateLog::Changes {
            self.refresh_cycle.joined(slot);
        }
    }

    /// Takes the graves as their row has them.
    pub(super) fn reopen_graves(&mut self) {
        self.graves_changed = false;
        self.graves = self.customers.graves();
    }
}

impl Customers {
    fn graves(&self) -> Graves {
        let image = self.find_own(&the_dead()).and_then(|slot| self.latest(slot));
        // What is in a shard was packed here, or checked when it was restored.
        let row = image.and_then(|image| Customer::image(image, self.words()).ok());
        row.map(|row| row.contacts().graves().clone()).unwrap_or_default()
    }
}
