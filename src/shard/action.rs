//! What a shard asks its shell to do.

use super::{HandOff, Progress, ShardId, Slot, Unusable};
use crate::journey::Outcome;
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Publish an outcome in the open transaction.
    Publish {
        /// The outcome.
        outcome: Box<Outcome>,
        /// Log time of the record that caused it, or stream time where an absence did.
        log_time: Timestamp,
    },
    /// Send a record to the dead letters in the open transaction.
    DeadLetter {
        /// Index of the input it came from.
        input: usize,
        /// Its offset there.
        offset: i64,
        /// The record and why it cannot be used.
        record: Box<Unusable>,
    },
    /// This customer's state changed in the transaction ([`Shard::written`]).
    Remember(Slot),
    /// This customer was erased in the transaction, or has expired: nothing may be left in the log that keeps the state.
    Forget(Identity),
    /// Every shard is to erase this identity: say so in the open transaction.
    Announce(Identity),
    /// Hand something to another shard in the open transaction.
    HandOver {
        /// The shard.
        to: ShardId,
        /// What.
        hand_off: Box<HandOff>,
    },
    /// What was published of this customer so far must not stay where only the latest record of each key is kept: say so among
    /// the outcomes, in their order.
    Tombstone(Identity),
    /// Commit with this progress.
    Commit(Progress),
}

impl Action {
    /// The outcome that it publishes, if it does: all that concerns whoever keeps no log.
    pub fn outcome(self) -> Option<Box<Outcome>> {
        match self {
            Action::Publish { outcome, .. } => Some(outcome),
            Action::DeadLetter { .. }
            | Action::Remember(_)
            | Action::Forget(_)
            | Action::Announce(_)
            | Action::HandOver { .. }
            | Action::Tombstone(_)
            | Action::Commit(_) => None,
        }
    }
}
