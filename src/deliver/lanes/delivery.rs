//! One delivery: what is handed to which destination, and how that stands. What is kept of it survives restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::deliver::notice::{Offer, Withdrawal};
use crate::port::ShardId;
use crate::time::Timestamp;

/// Names a delivery: an outcome, and where it is to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The outcome's id, by which receivers know repeats.
    pub outcome: Uuid,
    /// The destination's name.
    pub destination: Arc<str>,
}

/// What is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An offer, which must not arrive once it has expired.
    Offer {
        /// When that is.
        expires_at: Timestamp,
    },
    /// The news that an offer stands no more.
    Withdrawal {
        /// The offer.
        answers: Uuid,
    },
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// To be sent, or on its way.
    Pending,
    /// The receiver has it.
    Sent,
    /// It was not tried before it expired.
    Expired,
    /// The offer was withdrawn before the receiver was known to have it.
    Withdrawn,
    /// It is not tried any more; a dead letter says so.
    Failed(Why),
}

/// Why a delivery is not tried any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Every try failed.
    Tries,
    /// Every try failed until it expired.
    Expired,
    /// The receiver wants nothing more (410).
    Gone,
    /// No request can be made of the record.
    Unusable,
    /// Too much waits for the destination already.
    Full,
    /// The configuration names the destination no more.
    NoDestination,
}

impl State {
    /// The word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Sent => "sent",
            State::Expired => "expired",
            State::Withdrawn => "withdrawn",
            State::Failed(_) => "failed",
        }
    }
}

impl Why {
    /// The word for dead letters and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Why::Tries => "tries",
            Why::Expired => "expired",
            Why::Gone => "gone",
            Why::Unusable => "unusable",
            Why::Full => "full",
            Why::NoDestination => "no-destination",
        }
    }
}

/// A delivery as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// What is delivered.
    pub what: What,
    /// How far it is.
    pub state: State,
    /// Whose it is; deliveries of one customer to one destination keep their order.
    pub customer: CompactString,
    /// Whether `customer` is an anonymous id.
    pub anonymous: bool,
    /// The intervention, `model/name`.
    pub intervention: CompactString,
    /// Where it reaches the customer.
    pub channel: CompactString,
    /// The shard that it was read from.
    #[serde(skip)]
    pub shard: ShardId,
    /// Its place there.
    pub order: u64,
    /// When it was read.
    pub since: Timestamp,
    /// Tries so far, one on its way included.
    pub tries: u32,
    /// Not before then is it tried again.
    pub next_at: Timestamp,
    /// Whether some try may have reached the receiver.
    pub may_have_arrived: bool,
    /// The same before the try that is on its way.
    #[serde(skip)]
    pub reached_before: bool,
    /// Whether a try is on its way.
    #[serde(skip)]
    pub in_flight: bool,
    /// Of an offer: what withdrew it.
    pub withdrawn_by: Option<Uuid>,
    /// What of the receiver's answers is needed later.
    pub captured: BTreeMap<String, String>,
    /// What the receiver, or the way there, answered last where that was no success.
    pub reply: Option<String>,
    /// Of what has ended: when it can be forgotten.
    pub known_until: Option<Timestamp>,
    /// The outcome as published; gone once it has ended.
    pub record: Option<Arc<RawValue>>,
}

impl Delivery {
    /// Of an offer that was just read.
    pub fn of_offer(offer: &Offer, shard: ShardId, order: u64, now: Timestamp) -> Self {
        Delivery {
            what: What::Offer { expires_at: offer.expires_at },
            state: State::Pending,
            customer: offer.whose.id.clone(),
            anonymous: offer.whose.customer_id().is_none(),
            intervention: offer.intervention.clone(),
            channel: offer.channel.clone(),
            shard,
            order,
            since: now,
            tries: 0,
            next_at: now,
            may_have_arrived: false,
            reached_before: false,
            in_flight: false,
            withdrawn_by: None,
            captured: BTreeMap::new(),
            reply: None,
            known_until: None,
            record: Some(Arc::clone(&offer.record)),
        }
    }

    /// Of a withdrawal that was just read.
    pub fn of_withdrawal(withdrawal: &Withdrawal, shard: ShardId, order: u64, now: Timestamp) -> Self {
        Delivery {
            what: What::Withdrawal { answers: withdrawal.answers },
            ..Delivery::of_offer(&withdrawal.as_offer(), shard, order, now)
        }
    }

    /// As which touchpoint models are told that it has ended; offers only, and none that was withdrawn.
    pub fn told_as(&self) -> Option<&'static str> {
        match (self.what, self.state) {
            (What::Withdrawal { .. }, _) | (_, State::Pending | State::Withdrawn) => None,
            (What::Offer { .. }, State::Sent) => Some("intervention.delivered"),
            (What::Offer { .. }, State::Expired) => Some("intervention.expired"),
            (What::Offer { .. }, State::Failed(_)) => Some("intervention.failed"),
        }
    }

    /// From when on it must not arrive.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self.what {
            What::Offer { expires_at } => Some(expires_at),
            What::Withdrawal { .. } => None,
        }
    }
}
