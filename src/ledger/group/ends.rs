//! Whether an input has been handed over to its end (rule 4): what the brokers say of it, judged.
//!
//! While a replica that is in sync does not fetch, its leader goes on appending, and the high watermark stands still: whoever
//! reads is "at the end", and records that entered long before stand behind it. Only the leader knows where its log ends. A
//! broker that was deposed while it stood still says so as well until it hears of it, so another broker must confirm it.

use super::Partition;
use crate::time::{Span, Timestamp};

/// The number of a broker.
pub type BrokerId = i32;

/// Who leads a partition, by which election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The leader.
    pub broker: BrokerId,
    /// Counts the elections (`leader_epoch`).
    pub epoch: i32,
}

/// The end of an input, as of questions none of which was asked before `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Which.
    pub partition: Partition,
    /// The last stable offset.
    pub stable: i64,
    /// The high watermark.
    pub high: i64,
    /// The end of its leader's log.
    pub log: LogEnd,
    /// When the first question was asked.
    pub at: Timestamp,
}

/// What is known of the end of a leader's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// There is one replica, so it is the high watermark.
    OneReplica,
    /// A broker said, as the leader, that it is this offset.
    Said {
        /// As what it was asked, and answered.
        by: Leadership,
        /// The offset behind the last record that it holds.
        offset: i64,
        /// Who led the partition, as brokers saw it who were asked after this answer.
        afterwards: Vec<(BrokerId, Leadership)>,
    },
    /// Nobody has said so this time.
    Unknown,
    /// Nobody says so to this client: it may not ask, cannot, or is not understood.
    Refused,
}

impl LogEnd {
    /// The offset, once another broker has confirmed who leads, and none knows of a later election.
    pub fn confirmed(&self) -> Option<i64> {
        match self {
            LogEnd::Said { by, offset, afterwards } => {
                let other = |(broker, seen): &(BrokerId, Leadership)| *broker != by.broker && seen == by;
                let later = |(_, seen): &(BrokerId, Leadership)| seen.epoch > by.epoch;
                (afterwards.iter().any(other) && !afterwards.iter().any(later)).then_some(*offset)
            }
            LogEnd::OneReplica | LogEnd::Unknown | LogEnd::Refused => None,
        }
    }
}

impl End {
    /// Up to which instant everything that entered has been handed over, by a client that stands at `position`; `None` where
    /// that is not known. Where nobody says where the leader's log ends, it is taken on trust that a record that entered
    /// `unproven_silence` before stands below the high watermark.
    pub(super) fn proves(&self, position: i64, unproven_silence: Span) -> Option<Timestamp> {
        // Otherwise a transaction stands open before the end, or not all has been handed over.
        if self.stable != self.high || position < self.stable {
            return None;
        }
        match &self.log {
            LogEnd::OneReplica => Some(self.at),
            said @ LogEnd::Said { .. } => said.confirmed().filter(|offset| position >= *offset).map(|_| self.at),
            LogEnd::Unknown => None,
            LogEnd::Refused => Some(self.at - unproven_silence),
        }
    }
}
