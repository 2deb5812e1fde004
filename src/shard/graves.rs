//! Who was erased lately (rule 28), so that nothing brings them back that entered the log before and is still being handed over.
//!
//! Graves lie in a row of the shard's own among the customers, so that they are logged, undone and restored as every customer
//! is. One shard alone is handed nothing, and has none.

use super::{Customers, Shard, StateLog};
use crate::journey::{Customer, Graves};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// Whose row it is: no anonymous id is empty.
pub(super) fn graves_row() -> Identity {
    Identity::anonymous("")
}

impl Shard {
    /// Remembers that somebody was erased at this log time; of an anonymous id, whether it had been claimed.
    pub(super) fn remember_erased(&mut self, who: &Identity, log_time: Timestamp, was_claimed: bool) {
        if self.homes.shards > 1 {
            self.graves.remember(who, log_time, was_claimed);
            self.graves_changed = true;
        }
    }

    /// Forgets the erasures of long before.
    pub(super) fn forget_graves(&mut self, now: Timestamp) {
        self.graves.forget(now);
        self.graves_changed = true;
        self.decided_at(now);
    }

    /// Whether somebody was erased after what has this log time had entered the log.
    pub(super) fn was_erased_since(&self, who: &Identity, log_time: Timestamp) -> bool {
        self.graves.was_erased_since(who, log_time)
    }

    /// Puts the graves of the open transaction into their row.
    pub(super) fn keep_graves(&mut self) {
        if !std::mem::take(&mut self.graves_changed) {
            return;
        }
        let (slot, is_new) = self.customers.find_or_add(&graves_row());
        let Some(next_end) = self.graves.next_end() else {
            if !is_new {
                self.customers.erase(slot, self.settings.undo);
                self.note_leaving(slot);
            }
            return;
        };
        let mut row = Customer::new(graves_row());
        row.set_graves(self.graves.clone());
        self.keep(slot, &row);
        if is_new && self.settings.state_log == StateLog::Changes {
            self.refresh_cycle.joined(slot);
        }
        if next_end < self.customers.next_wakeup(slot) {
            self.arm(slot, next_end);
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
        let image = self.find_own(&graves_row()).and_then(|slot| self.latest(slot));
        // What is in a shard was packed here, or checked when it was restored.
        let row = image.and_then(|image| Customer::image(image, self.words()).ok());
        row.map(|row| row.contacts().graves().clone()).unwrap_or_default()
    }
}
