//! What shards hand to each other, as bytes: a version, a checksum, and the rest in postcard. States are the bytes of
//! `wire::state`. A worker of another version reads what it knows and leaves the rest to a later one.

use std::borrow::Cow;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::state;
use crate::journey::HandedOver;
use crate::shard::{Claiming, HandOff, Handed, ShardId};
use crate::time::Timestamp;
use crate::touchpoint::{Identity, Touchpoint, Value};

const VERSION: u8 = 1;
/// Version and checksum stand in front.
const HEAD: usize = 5;

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    log_time: i64,
    #[serde(borrow)]
    what: What<'a>,
}

#[derive(Serialize, Deserialize)]
enum What<'a> {
    Touchpoint(#[serde(borrow)] Act<'a>),
    Claim(#[serde(borrow)] Claim<'a>),
    Answer(#[serde(borrow)] Claim<'a>, #[serde(borrow)] Option<State<'a>>),
    Followed(Cow<'a, str>, i64, #[serde(borrow)] Act<'a>, #[serde(borrow)] Option<State<'a>>),
}

#[derive(Serialize, Deserialize)]
struct Claim<'a> {
    from: ShardId,
    customer: Cow<'a, str>,
    anonymous: Cow<'a, str>,
    at: i64,
    can_tell_from: i64,
}

#[derive(Serialize, Deserialize)]
struct State<'a> {
    state: Cow<'a, [u8]>,
    #[serde(borrow)]
    touchpoints: Vec<(i64, Act<'a>)>,
}

/// A touchpoint.
#[derive(Serialize, Deserialize)]
struct Act<'a> {
    id: Cow<'a, str>,
    id_given: bool,
    identity: Identity,
    linked: Option<Cow<'a, str>>,
    event_time: i64,
    kind: Cow<'a, str>,
    channel: Option<Cow<'a, str>>,
    session: Option<Cow<'a, str>>,
    properties: Vec<(CompactString, Value)>,
}

impl<'a> Act<'a> {
    fn of(touchpoint: &'a Touchpoint) -> Self {
        let Touchpoint { id, id_given, identity, linked, event_time, kind, channel, session, properties } = touchpoint;
        let text = |text: &'a Option<CompactString>| text.as_deref().map(Cow::Borrowed);
        Act {
            id: Cow::Borrowed(id),
            id_given: *id_given,
            identity: identity.clone(),
            linked: text(linked),
            event_time: event_time.as_millis(),
            kind: Cow::Borrowed(kind),
            channel: text(channel),
            session: text(session),
            properties: properties.clone(),
        }
    }

    fn read(self) -> Touchpoint {
        let text = |text: Option<Cow<'_, str>>| text.map(CompactString::from);
        Touchpoint {
            id: self.id.into(),
            id_given: self.id_given,
            identity: self.identity,
            linked: text(self.linked),
            event_time: Timestamp::from_millis(self.event_time),
            kind: self.kind.into(),
            channel: text(self.channel),
            session: text(self.session),
            properties: self.properties,
        }
    }
}

impl<'a> Claim<'a> {
    fn of(claim: &'a Claiming) -> Self {
        let Claiming { from, customer, anonymous, at, can_tell_from } = claim;
        Claim {
            from: *from,
            customer: Cow::Borrowed(customer),
            anonymous: Cow::Borrowed(anonymous),
            at: at.as_millis(),
            can_tell_from: can_tell_from.as_millis(),
        }
    }

    fn read(self) -> Claiming {
        Claiming {
            from: self.from,
            customer: self.customer.into(),
            anonymous: self.anonymous.into(),
            at: Timestamp::from_millis(self.at),
            can_tell_from: Timestamp::from_millis(self.can_tell_from),
        }
    }
}

impl<'a> State<'a> {
    fn of(handed: &'a HandedOver) -> Self {
        let mut bytes = Vec::new();
        state::encode(handed.state(), &mut bytes);
        let touchpoints = handed.touchpoints().map(|(touchpoint, at)| (at.as_millis(), Act::of(touchpoint)));
        State { state: Cow::Owned(bytes), touchpoints: touchpoints.collect() }
    }

    fn read(self) -> Result<HandedOver, String> {
        let customer = state::decode(&self.state)?;
        let touchpoints = self.touchpoints.into_iter().map(|(at, act)| (act.read(), Timestamp::from_millis(at)));
        Ok(HandedOver::of(Box::new(customer), touchpoints))
    }
}

/// The bytes of what is handed over.
pub fn encode(hand_off: &HandOff) -> Vec<u8> {
    let what = match &hand_off.what {
        Handed::Touchpoint(touchpoint) => What::Touchpoint(Act::of(touchpoint)),
        Handed::Claim(claim) => What::Claim(Claim::of(claim)),
        Handed::Answer { claim, handed } => What::Answer(Claim::of(claim), handed.as_ref().map(State::of)),
        Handed::Followed { customer, since, touchpoint, handed } => {
            let state = handed.as_ref().map(State::of);
            What::Followed(Cow::Borrowed(customer), since.as_millis(), Act::of(touchpoint), state)
        }
    };
    let written = Written { log_time: hand_off.log_time.as_millis(), what };
    let head = vec![VERSION, 0, 0, 0, 0];
    // Texts, numbers and bytes can always be written.
    let mut bytes = postcard::to_extend(&written, head).unwrap_or_default();
    let check = crc32fast::hash(&bytes[HEAD..]).to_le_bytes();
    bytes[1..HEAD].copy_from_slice(&check);
    bytes
}

/// Reads what is handed over.
///
/// # Errors
/// What is wrong with the bytes, and what to do.
pub fn decode(bytes: &[u8]) -> Result<HandOff, String> {
    let unreadable = |reason: &str| format!("what another shard handed over cannot be read: {reason}");
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(|| unreadable("it is cut off"))?;
    if head[0] != VERSION {
        return Err(unreadable(&format!("it has version {}, and this is {VERSION}; run one version everywhere", head[0])));
    }
    if head[1..] != crc32fast::hash(rest).to_le_bytes() {
        return Err(unreadable("it is not what was written"));
    }
    let written: Written<'_> = postcard::from_bytes(rest).map_err(|error| unreadable(&error.to_string()))?;
    let what = match written.what {
        What::Touchpoint(act) => Handed::Touchpoint(Box::new(act.read())),
        What::Claim(claim) => Handed::Claim(claim.read()),
        What::Answer(claim, state) => Handed::Answer { claim: claim.read(), handed: state.map(State::read).transpose()? },
        What::Followed(customer, since, act, state) => Handed::Followed {
            customer: customer.into(),
            since: Timestamp::from_millis(since),
            touchpoint: Box::new(act.read()),
            handed: state.map(State::read).transpose()?,
        },
    };
    Ok(HandOff { log_time: Timestamp::from_millis(written.log_time), what })
}
