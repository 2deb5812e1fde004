//! What was offered, beside what the interventions of `slow-shop.yaml` promise: worked out from what the customers did and from
//! the outcomes that asked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::load::{KEPT_AWAY, SLOWNESS};
use crate::shopper::Customer;
use crate::watcher::Outcome;

/// What the model says of `rescue` and `thanks`: milliseconds, numbers and words.
const CAP: (usize, i64) = (2, 90_000);
const COOL_DOWN: i64 = 40_000;
const EXPIRES: i64 = 60_000;
const HELD_OUT: (&str, u64) = ("rescue-1", 2_000);
const AGREES: &str = "email.opened";
const REFUSES: &str = "coupon.denied";

/// An outcome that was read so soon was decided while its offer was still worth making.
const SOON: i64 = EXPIRES / 2;

/// How many there were.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    pub offered: usize,
    pub held_out: usize,
    pub withdrawn: usize,
    /// Offers that break a promise, and those that are missing.
    pub broken: usize,
}

/// What was published about offers to one customer: an intervention, a `would-have` or a withdrawal.
pub(crate) struct Offer {
    pub sequence: u64,
    pub record: Value,
}

impl Offer {
    pub(crate) fn id(&self) -> &str {
        self.record["outcome_id"].as_str().unwrap_or_default()
    }

    fn is(&self, field: &str, word: &str) -> bool {
        self.record[field] == word
    }

    fn is_made(&self) -> bool {
        !self.is("kind", "withdrawal")
    }

    fn about(&self, field: &str) -> &str {
        self.record["intervention"][field].as_str().unwrap_or_default()
    }

    fn at(&self) -> i64 {
        instant(&self.record["at"])
    }

    fn expires_at(&self) -> i64 {
        instant(&self.record["intervention"]["expires_at"])
    }

    fn answers(&self) -> &str {
        self.record["answers"]["outcome_id"].as_str().unwrap_or_default()
    }
}

fn instant(value: &Value) -> i64 {
    let instant = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    instant.map_or(i64::MIN, |instant| instant.as_millisecond())
}

/// One customer's, in order of sequence.
pub(crate) struct Story<'a> {
    pub customer: &'a Customer,
    pub begin: i64,
    pub outcomes: &'a [Outcome],
    pub offers: &'a [Offer],
}

impl Story<'_> {
    /// What is wrong, in words.
    pub(crate) fn judge(&self, sums: &mut Offers) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut made: Vec<&Offer> = Vec::new();
        for offer in self.offers {
            if offer.is_made() {
                wrong.extend(self.breaks(offer, &made).map(|how| format!("{how}: {}", offer.record)));
                sums.held_out += usize::from(offer.is("kind", "would-have"));
                sums.offered += usize::from(offer.is("kind", "intervention"));
                made.push(offer);
            } else {
                sums.withdrawn += 1;
            }
        }
        wrong.extend(self.withdrawals(&made));
        wrong.extend(self.missing(&made));
        sums.broken += wrong.len();
        wrong
    }

    fn breaks(&self, offer: &Offer, before: &[&Offer]) -> Option<&'static str> {
        let now = offer.at();
        let name = offer.about("name");
        let own = |one: &&&Offer| one.about("name") == name;
        let since = |span: i64| before.iter().filter(own).filter(move |one| now - one.at() < span).count();
        let Some(asked) = self.outcomes.iter().find(|outcome| outcome.id == offer.answers()) else {
            return Some("nothing asked");
        };
        let ended = self.outcomes.iter().any(|outcome| {
            let between = outcome.sequence > asked.sequence && outcome.sequence < offer.sequence;
            between && outcome.told.kind == "completion"
        });
        let (salt, share) = HELD_OUT;
        let held_out = name == "rescue" && bucket(self.customer, salt) < share;
        let another = before.iter().filter(own).any(|one| one.about("variant") != offer.about("variant"));
        if held_out != offer.is("kind", "would-have") || another {
            return Some("another arm");
        }
        match name {
            _ if asked.sequence > offer.sequence => Some("before what asked"),
            _ if now - asked.told.at >= EXPIRES => Some("too late"),
            "rescue" if !self.agrees(now) => Some("without consent"),
            "rescue" if since(CAP.1) >= CAP.0 => Some("above the cap"),
            "rescue" if ended => Some("after the purchase"),
            "rescue" if asked.told.kind == "abandonment" => None,
            "thanks" if since(COOL_DOWN) > 0 => Some("within the cool-down"),
            "thanks" if asked.told.to == Some("retention") => None,
            _ => Some("nobody would ask for it"),
        }
    }

    /// What a purchase or a withdrawn consent ends is withdrawn, once, and nothing else is. What had expired when that was written
    /// to the log may be either.
    fn withdrawals(&self, made: &[&Offer]) -> Vec<String> {
        let (mut expected, mut late): (BTreeMap<&str, &str>, BTreeSet<&str>) = Default::default();
        for offer in made.iter().filter(|offer| offer.about("name") == "rescue") {
            let stands = |at: i64| at < offer.expires_at();
            let bought = self.outcomes.iter().filter(|outcome| {
                outcome.told.kind == "completion" && outcome.sequence > offer.sequence && stands(outcome.told.at)
            });
            let refused = self.said().filter(|(at, agrees)| !agrees && *at > offer.at() && stands(*at));
            let ends = bought.map(|outcome| (outcome.told.at, "completed"));
            if let Some((at, why)) = ends.chain(refused.map(|(at, _)| (at, "consent-withdrawn"))).min() {
                if at + KEPT_AWAY < offer.expires_at() {
                    expected.insert(offer.id(), why);
                } else {
                    late.insert(offer.id());
                }
            }
        }
        let mut wrong = Vec::new();
        for back in self.offers.iter().filter(|offer| !offer.is_made()) {
            match expected.remove(back.answers()) {
                Some(why) if back.about("reason") == why => {}
                None if late.remove(back.answers()) => {}
                _ => wrong.push(format!("no reason to withdraw: {}", back.record)),
            }
        }
        wrong.extend(expected.iter().map(|(id, why)| format!("not withdrawn, though {why}: {id}")));
        wrong
    }

    /// Where something asked, and nothing stood against it, something was offered.
    fn missing(&self, made: &[&Offer]) -> Vec<String> {
        let mut answered: BTreeSet<i64> = BTreeSet::new();
        for offer in made {
            let asked = self.outcomes.iter().find(|outcome| outcome.id == offer.answers());
            answered.extend(asked.map(|asked| asked.told.at));
        }
        let since = |name: &str, span: i64, at: i64| {
            let own = made.iter().filter(|one| one.about("name") == name);
            own.filter(|one| one.at() < at + EXPIRES && at - one.at() < span).count()
        };
        let asks = |outcome: &&Outcome| {
            let at = outcome.told.at;
            let of_episode = outcome.told.subject.as_deref().is_some_and(|subject| !subject.starts_with("stage "));
            match outcome.told.kind {
                "abandonment" => of_episode && self.agrees(at) && since("rescue", CAP.1, at) < CAP.0,
                "transition" => outcome.told.to == Some("retention") && since("thanks", COOL_DOWN, at) == 0,
                _ => false,
            }
        };
        let in_time = |outcome: &&Outcome| outcome.read_at - outcome.told.at < SOON;
        let unanswered = self.outcomes.iter().filter(asks).filter(in_time);
        let unanswered = unanswered.filter(|outcome| !answered.contains(&outcome.told.at));
        unanswered.map(|outcome| format!("nothing offered: {:?}", outcome.told)).collect()
    }

    /// When the customer said yes or no to chats.
    fn said(&self) -> impl Iterator<Item = (i64, bool)> {
        let said = self.customer.acts.iter().filter(|(_, act)| [AGREES, REFUSES].contains(&act.kind));
        said.map(|(_, act)| (self.begin + act.at * SLOWNESS, act.kind == AGREES))
    }

    fn agrees(&self, now: i64) -> bool {
        self.said().take_while(|(at, _)| *at <= now).last().is_some_and(|(_, agrees)| agrees)
    }
}

/// The bucket of ten thousand that a customer is in, as docs/interventions.md says.
fn bucket(customer: &Customer, salt: &str) -> u64 {
    let kind = if customer.anonymous { "anonymous" } else { "customer" };
    let digest = Sha256::digest(format!("sillage.arm.1\0{salt}\0{kind}\0{}", customer.id));
    let first = digest[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    ((u128::from(first) * 10_000) >> 64) as u64
}
