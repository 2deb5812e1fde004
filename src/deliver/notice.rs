//! What a record of the topic `interventions` asks for. Pure; knows no destination.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::time::Timestamp;
use crate::touchpoint::Identity;
use crate::wire;

/// What is to be delivered.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Something is offered.
    Offer(Offer),
    /// What was offered stands no more.
    Withdrawal(Withdrawal),
}

/// An offer to a customer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The outcome's id.
    pub id: Uuid,
    /// Whose it is.
    pub whose: Identity,
    /// The intervention, `model/name`.
    pub intervention: CompactString,
    /// Where it reaches the customer.
    pub channel: CompactString,
    /// It must not arrive from then on.
    pub expires_at: Timestamp,
    /// The outcome in JSON, whichever format it was published in.
    pub record: Arc<RawValue>,
}

/// An offer that stands no more.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// The outcome's id.
    pub id: Uuid,
    /// The offer.
    pub answers: Uuid,
    /// Whose it is.
    pub whose: Identity,
    /// The intervention, `model/name`.
    pub intervention: CompactString,
    /// Where it reached the customer.
    pub channel: CompactString,
    /// The outcome in JSON, whichever format it was published in.
    pub record: Arc<RawValue>,
}

impl Withdrawal {
    /// The same in the form of an offer, with no end.
    pub(super) fn as_offer(&self) -> Offer {
        Offer {
            id: self.id,
            whose: self.whose.clone(),
            intervention: self.intervention.clone(),
            channel: self.channel.clone(),
            expires_at: Timestamp::from_millis(i64::MAX),
            record: Arc::clone(&self.record),
        }
    }
}

/// The fields that are looked at; an outcome has more.
#[derive(Deserialize)]
struct Written {
    outcome_id: Uuid,
    kind: CompactString,
    model: CompactString,
    customer_id: Option<CompactString>,
    anonymous_id: Option<CompactString>,
    answers: Option<Answers>,
    intervention: Option<Intervention>,
}

#[derive(Deserialize)]
struct Answers {
    outcome_id: Uuid,
}

#[derive(Deserialize)]
struct Intervention {
    name: CompactString,
    channel: CompactString,
    arm: CompactString,
    expires_at: CompactString,
}

impl Notice {
    /// Whether it is about one of these channels; without any, about all.
    pub fn is_on(&self, channels: &[String]) -> bool {
        let channel = match self {
            Notice::Offer(offer) => &offer.channel,
            Notice::Withdrawal(withdrawal) => &withdrawal.channel,
        };
        channels.is_empty() || channels.iter().any(|known| known == channel)
    }

    /// Reads an outcome, in either format. `None` where nothing is to be delivered: kinds that are not known here, and whoever is
    /// held out.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn read(bytes: &[u8]) -> Result<Option<Notice>, String> {
        let bytes = wire::outcome_in_json(bytes)?;
        let record: Box<RawValue> = serde_json::from_slice(&bytes).map_err(|fault| format!("is no JSON: {fault}"))?;
        let written: Written = serde_json::from_str(record.get()).map_err(|fault| format!("is no outcome: {fault}"))?;
        let is_offer = match written.kind.as_str() {
            "intervention" => true,
            "withdrawal" => false,
            _ => return Ok(None),
        };
        let what = written.intervention.ok_or("says nothing of an intervention")?;
        if what.arm != "treated" {
            return Ok(None);
        }
        let whose = match (written.customer_id, written.anonymous_id) {
            (Some(id), _) => Identity::customer(id),
            (None, Some(id)) => Identity::anonymous(id),
            (None, None) => return Err("is nobody's".to_owned()),
        };
        let intervention = format_compact!("{}/{}", written.model, what.name);
        let (id, channel, record) = (written.outcome_id, what.channel, Arc::from(record));
        if is_offer {
            let expires_at = Timestamp::parse(&what.expires_at).map_err(|fault| format!("`expires_at`: {fault}"))?;
            return Ok(Some(Notice::Offer(Offer { id, whose, intervention, channel, expires_at, record })));
        }
        let answers = written.answers.ok_or("withdraws nothing")?.outcome_id;
        Ok(Some(Notice::Withdrawal(Withdrawal { id, answers, whose, intervention, channel, record })))
    }
}
