//! Which customers' latest stories can be told anew, and when that is over.

use super::{Shard, Slot};
use crate::journey::Customer;
use crate::time::Timestamp;

impl Shard {
    /// The customer may have a window now, which is to be dropped when it is over.
    pub(super) fn watch_window(&mut self, slot: Slot, hand: &Customer, now: Timestamp) {
        if hand.has_window() {
            self.windows.push_back((now + self.rules.grace, slot));
        }
    }

    /// Drops the windows that will be over once the open transaction is committed, of whomever it changes. In a backlog stream
    /// time passes so fast that most of them are; live, none is.
    pub(super) fn drop_changed_windows(&mut self) {
        let (grace, before) = (self.rules.grace, self.committed.stream_time);
        let Some(now) = self.stream_time.filter(|now| before.is_none_or(|before| before + grace < *now)) else { return };
        self.customers.drop_changed_windows(|window_to| window_to + grace < now);
    }

    /// Drops the windows that are over, so that nothing is kept of customers who have not been active within the grace. What is
    /// not committed may be undone, so `now` is committed stream time where that can be.
    pub(super) fn drop_windows(&mut self, now: Timestamp) {
        while let Some((_, slot)) = self.windows.pop_front_if(|(look_at, _)| *look_at < now) {
            let Some(window_to) = self.customers.window_to(slot) else { continue };
            let over_at = window_to + self.rules.grace;
            if over_at < now {
                self.customers.drop_window(slot);
            } else {
                // They are looked at in the order of the queue. One that waits for an answer lasts longer, and holds up nobody.
                self.windows.push_back((over_at.min(now + self.rules.grace), slot));
            }
        }
    }
}
