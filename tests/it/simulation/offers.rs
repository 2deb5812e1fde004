//! What is offered in a run, and the promises that it must keep: worked out from what stands in the inputs and in the outputs.
//! Shares no code with what it judges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use sillage::journey::Sums;
use sillage::model;

use super::load::{self, Made};
use super::log::Millis;
use super::story::Entered;
use crate::offers::bucket;

pub(super) const LAW: &str = "offers keep their promises";

/// What gives the consent to chats, and what withdraws it.
pub(super) const AGREES: &str = "agrees";
pub(super) const REFUSES: &str = "refuses";

/// In the model, below its friction.
pub(super) const INTERVENTIONS: &str = "
interventions:
  help:
    on: { friction: [stuck, unanswered] }
    channel: chat
    priority: 2
    at most: { 1 within: 5s }
    needs: chat
    holdout: { share: 30%, salt: help-1 }
    variants: { plain: 1, warm: 1 }
    expires: 3s
    withdrawn by: { completion: basket }
    goal: { completion: basket, within: 4s }
  hint:
    on: { friction: unanswered }
    channel: chat
    at most: { 2 within: 8s }
    expires: 2s
    withdrawn by: { completion: basket }
  reminder:
    on: { abandonment: basket }
    channel: mail
    cool-down: 4s
    expires: 6s
    withdrawn by: { completion: basket }
    goal: { completion: basket, within: 3s }
";

const CONTACTS: &str = "
consents: { chat: { given: agrees, withdrawn: refuses } }
contact: { at most: { 4 within: 15s } }
";

pub(super) fn contacts() -> Arc<model::Contacts> {
    let (contacts, faults) = model::load_contacts("contacts.yaml", CONTACTS);
    Arc::new(contacts.unwrap_or_else(|| panic!("{faults:?}")))
}

/// Whether an outcome is about something offered.
pub(super) fn is_offer(outcome: &Value) -> bool {
    is_made(outcome) || outcome["kind"] == "withdrawal" || outcome["kind"] == "measurement"
}

pub(super) fn is_made(outcome: &Value) -> bool {
    outcome["kind"] == "intervention" || outcome["kind"] == "would-have"
}

/// A statement about a consent, as if it had been made when it came.
pub(super) fn by_arrival(value: &[u8], log_time: Millis) -> Option<Vec<u8>> {
    let mut json: Value = serde_json::from_slice(value).ok()?;
    if json["type"] != AGREES && json["type"] != REFUSES {
        return None;
    }
    json["occurred_at"] = super::story::instant(log_time).into();
    Some(json.to_string().into_bytes())
}

/// A statement: when it entered, when it was made, and what it says.
type Statement = (Millis, Millis, bool);

/// How many offers there are.
///
/// # Errors
/// How a promise is broken.
pub(super) fn judge(
    published: &[Value],
    made: &[Made],
    entered: &[Entered<'_>],
    clocks_are_right: bool,
) -> Result<usize, String> {
    let by_id: BTreeMap<&str, &Made> = made.iter().map(|made| (made.id.as_str(), made)).collect();
    let mut came: BTreeMap<&str, Millis> = BTreeMap::new();
    let mut statements: BTreeMap<String, Vec<Statement>> = BTreeMap::new();
    let mut touches: BTreeMap<String, Vec<(Millis, Millis)>> = BTreeMap::new();
    for record in entered {
        let Ok(json) = serde_json::from_slice::<Value>(record.value) else { continue };
        let Some(made) = json["event_id"].as_str().and_then(|id| by_id.get(id)) else { continue };
        // It counts once, when it came first.
        if came.contains_key(made.id.as_str()) {
            continue;
        }
        came.insert(&made.id, record.log_time);
        touches.entry(load::name(made.customer)).or_default().push((record.log_time, made.touch.happened));
        if [AGREES, REFUSES].contains(&made.touch.kind) {
            let said = (record.log_time, made.touch.happened.min(record.log_time), made.touch.kind == AGREES);
            statements.entry(load::name(made.customer)).or_default().push(said);
        }
    }
    let mut told: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for outcome in published {
        told.entry(outcome["customer_id"].as_str().unwrap_or_default()).or_default().push(outcome);
    }
    for (who, mut outcomes) in told {
        outcomes.sort_by_key(|outcome| outcome["sequence"].as_i64());
        let said = statements.get(who).map_or(&[][..], Vec::as_slice);
        let touches = touches.get(who).map_or(&[][..], Vec::as_slice);
        let judge = Judge { who, outcomes: &outcomes, said, touches, came: &came, clocks_are_right };
        judge.judge().map_err(|how| format!("{who}: {how}\n{}", judge.told()))?;
    }
    Ok(published.iter().filter(|outcome| is_made(outcome)).count())
}

/// What was measured, by intervention, arm and variant: how many, and of them who reached the goal.
type Measured = BTreeMap<(String, String, Option<String>), (u64, u64)>;

/// Whether the sums in the state are those of what was published, and nobody was measured twice. How many were measured.
///
/// # Errors
/// How they differ.
pub(super) fn judge_sums(published: &[Value], sums: &Sums) -> Result<usize, String> {
    let (mut expected, mut whose) = (Measured::new(), BTreeSet::new());
    for outcome in published.iter().filter(|outcome| outcome["kind"] == "measurement") {
        let of = &outcome["measurement"];
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let name = text(&of["intervention"]).unwrap_or_default();
        if !whose.insert((text(&outcome["customer_id"]), name.clone())) {
            return Err(format!("{} is measured once more: {outcome}", outcome["customer_id"]));
        }
        let arm = (name, text(&of["arm"]).unwrap_or_default(), text(&of["variant"]));
        let (measured, converted) = expected.entry(arm).or_default();
        *measured += 1;
        *converted += u64::from(of["converted"] == true);
    }
    let found: Measured = (sums.iter().filter(|(_, sums)| sums.measured > 0))
        .map(|(of, sums)| {
            let name = of.intervention.split('/').next_back().unwrap_or_default().to_owned();
            let variant = of.variant.as_ref().map(ToString::to_string);
            ((name, of.arm.as_str().to_owned(), variant), (sums.measured, sums.converted))
        })
        .collect();
    match found == expected {
        true => Ok(whose.len()),
        false => Err(format!("the sums say {found:?}, what was published {expected:?}")),
    }
}

struct Judge<'a> {
    who: &'a str,
    outcomes: &'a [&'a Value],
    said: &'a [Statement],
    /// When each of the customer's touchpoints entered, and when it happened.
    touches: &'a [(Millis, Millis)],
    came: &'a BTreeMap<&'a str, Millis>,
    clocks_are_right: bool,
}

fn at(value: &Value) -> Millis {
    let instant = value.as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    instant.map_or(i64::MIN, |instant| instant.as_millisecond())
}

fn id(outcome: &Value) -> &str {
    outcome["outcome_id"].as_str().unwrap_or_default()
}

impl Judge<'_> {
    fn told(&self) -> String {
        let line = |outcome: &&Value| format!("{} {} {}\n", outcome["sequence"], outcome["at"], outcome["says"]);
        let said: Vec<String> = self.said.iter().map(|said| format!("{said:?}\n")).collect();
        self.outcomes.iter().map(line).chain(said).collect()
    }

    fn judge(&self) -> Result<(), String> {
        let mut made: Vec<&Value> = Vec::new();
        let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
        for outcome in self.outcomes {
            if is_made(outcome) {
                self.judge_offer(outcome, &made, &last)?;
                made.push(outcome);
            } else if outcome["kind"] == "completion" {
                self.judge_end(outcome, &made)?;
            }
            last.insert(id(outcome), outcome);
        }
        Ok(())
    }

    fn judge_offer(&self, offer: &Value, made: &[&Value], last: &BTreeMap<&str, &Value>) -> Result<(), String> {
        let (says, now) = (&offer["says"], at(&offer["at"]));
        let (name, channel) = (&offer["intervention"]["name"], &offer["intervention"]["channel"]);
        let within = |millis: Millis| made.iter().filter(move |one| now - at(&one["at"]) < millis);
        let own = |millis: Millis| within(millis).filter(|one| one["intervention"]["name"] == *name).count();
        let fresh = |millis: Millis| within(millis).any(|one| one["intervention"]["channel"] == *channel);
        let broken = match name.as_str().unwrap_or_default() {
            "help" if own(5_000) >= 1 => Some("the cap of help"),
            "hint" if own(8_000) >= 2 => Some("the cap of hints"),
            "reminder" if fresh(4_000) => Some("the cool-down"),
            "help" if self.clocks_are_right && !self.agrees(now) => Some("consent"),
            _ if within(15_000).count() >= 4 => Some("the cap over all"),
            _ => None,
        };
        if let Some(law) = broken {
            return Err(format!("{says} breaks {law}"));
        }
        let twin = made.iter().find(|one| {
            let same = |field: &str| one[field] == offer[field];
            // Deadlines of several instants can be decided at one.
            let one_step =
                same("at") && same("cause") && (!offer["cause"].is_null() || one["answers"]["at"] == offer["answers"]["at"]);
            one_step && one["intervention"]["channel"] == *channel
        });
        if twin.is_some() {
            return Err(format!("{says}: two on one channel"));
        }
        let held_out = name == "help" && bucket("help-1", self.who) < 3_000;
        if held_out != (offer["kind"] == "would-have") {
            return Err(format!("{says}: another arm"));
        }
        let Some(asked) = offer["answers"]["outcome_id"].as_str().and_then(|asked| last.get(asked)) else {
            return Err(format!("{says}: nothing asked for it"));
        };
        let ended = last.values().find(|other| other["kind"] == "completion" && at(&other["at"]) >= at(&asked["at"]));
        match ended {
            Some(ended) => Err(format!("{says} comes after {}", ended["says"])),
            None if asked["kind"] == "retraction" || asked["hindsight"] == true => Err(format!("{says} answers {asked}")),
            None => Ok(()),
        }
    }

    /// Whether the customer agreed at an instant. What came in the same millisecond may have come before or after.
    fn agrees(&self, now: Millis) -> bool {
        let latest = |until: Millis| {
            let said = self.said.iter().filter(|(came, ..)| *came < until);
            said.max_by_key(|(_, made, agrees)| (*made, !agrees)).is_some_and(|(.., agrees)| *agrees)
        };
        latest(now) || latest(now + 1)
    }

    /// What a completion ends is taken back.
    fn judge_end(&self, completion: &Value, made: &[&Value]) -> Result<(), String> {
        let came = completion["cause"].as_str().and_then(|cause| self.came.get(cause));
        let Some(now) = came.filter(|_| self.clocks_are_right) else { return Ok(()) };
        // What came late may have shown only then that something is completed.
        let before = self.touches.iter().filter(|(_, happened)| *happened <= at(&completion["at"]));
        let known = before.map(|(came, _)| *came).fold(*now, Millis::max);
        let back: BTreeSet<&str> = (self.outcomes.iter().filter(|other| other["kind"] == "withdrawal"))
            .filter_map(|other| other["answers"]["outcome_id"].as_str())
            .collect();
        let outlives = made.iter().find(|offer| {
            let is_out = at(&offer["at"]) < *now && at(&offer["intervention"]["expires_at"]) > known;
            is_out && at(&offer["answers"]["at"]) <= at(&completion["at"]) && !back.contains(id(offer))
        });
        outlives.map_or(Ok(()), |offer| Err(format!("{} outlives {}", offer["says"], completion["says"])))
    }
}
