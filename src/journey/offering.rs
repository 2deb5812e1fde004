//! Deciding what is offered: in the same step as the outcomes that ask for it, with what is kept of the customer.
//!
//! The order of judgement: trigger, `when`, `for` → age, and whether what takes it back has come → consent → quiet hours →
//! caps and cool-down → one winner per channel among those that one touchpoint or one instant asks for → arm. What waits until
//! it is not quiet any more is judged again as a whole then. Knows nothing of the window: what is told anew asks for nothing
//! twice, and takes nothing back that was spent.

use std::sync::Arc;

use compact_str::CompactString;

use super::arm::{self, Arm};
use super::contacts::{Contacts, Drawn, Made, Pending};
use super::deferred::{Asker, AskingOutcome, Deferred, MAX_DEFERRED};
use super::outcome::{Answered, Offer, Reason, measurement_id, offer_id};
use super::{Abandonment, Customer, Id, Outcome, Retelling, Rules, Telling, What};
use crate::model::{self, Holdout, Intervention, Model, Payload, Quiet};
use crate::time::{Span, Timestamp, Zone};
use crate::touchpoint::{Identity, Touchpoint};

/// Offers to one customer that stand at once.
pub(super) const MAX_STANDING: usize = 32;

/// Why something that was asked for is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The outcome that asks is older than the offer would stand.
    Stale,
    /// What takes it back has come already.
    Over,
    /// The customer has not agreed.
    Consent,
    /// It is quiet where the customer is.
    QuietHours,
    /// The customer has had it, or all together, as often as a cap allows, or too many offers stand.
    Cap,
    /// Something was offered on this channel a short time ago.
    CoolDown,
    /// Another one wins the channel.
    Outranked,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 7] = [
        Refusal::Stale,
        Refusal::Over,
        Refusal::Consent,
        Refusal::QuietHours,
        Refusal::Cap,
        Refusal::CoolDown,
        Refusal::Outranked,
    ];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Stale => "stale",
            Refusal::Over => "over",
            Refusal::Consent => "no-consent",
            Refusal::QuietHours => "quiet-hours",
            Refusal::Cap => "cap",
            Refusal::CoolDown => "cool-down",
            Refusal::Outranked => "outranked",
        }
    }
}

/// What was refused, by the ids of interventions, since somebody took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals(Vec<(CompactString, Refusal, u64)>);

impl Refusals {
    fn add(&mut self, of: &CompactString, refusal: Refusal) {
        match self.0.iter_mut().find(|(known, why, _)| known == of && *why == refusal) {
            Some((_, _, count)) => *count += 1,
            None => self.0.push((of.clone(), refusal, 1)),
        }
    }

    /// By intervention and reason: how many.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Refusal, u64)> {
        self.0.iter().map(|(of, why, count)| (of.as_str(), *why, *count))
    }

    /// Takes in what was refused elsewhere.
    pub fn append(&mut self, other: Refusals) {
        for (of, refusal, times) in other.0 {
            match self.0.iter_mut().find(|(known, why, _)| *known == of && *why == refusal) {
                Some((_, _, count)) => *count += times,
                None => self.0.push((of, refusal, times)),
            }
        }
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all of it, and keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The step in which it is decided.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// The touchpoint that has come; `None` where a deadline has passed.
    pub(super) touchpoint: Option<&'a Touchpoint>,
    /// Stream time.
    pub(super) now: Timestamp,
    /// An outcome that is older asks for nothing.
    pub(super) stale_after: Span,
    /// Within this time touchpoints may still come that happened before.
    pub(super) grace: Span,
    /// The outcomes of the step begin here.
    pub(super) begin: usize,
}

impl<'a> Step<'a> {
    /// A step whose outcomes begin at `begin`.
    pub(super) fn of(touchpoint: Option<&'a Touchpoint>, now: Timestamp, rules: &Rules, begin: usize) -> Self {
        Step { touchpoint, now, stale_after: rules.stale_after, grace: rules.grace, begin }
    }
}

/// An intervention that is asked for, and nothing speaks against it.
struct Candidate {
    model: usize,
    place: usize,
    /// The outcome that asks.
    asker: AskingOutcome,
    /// Until when it has waited, where it has.
    waited: Option<Timestamp>,
    priority: u32,
}

impl Customer {
    /// Takes in what the touchpoint says of consents, takes back what does not stand any more, and decides what is offered.
    pub(super) fn offer(
        &mut self,
        models: &[Arc<Model>],
        step: Step<'_>,
        retelling: &mut Retelling,
        outcomes: &mut Vec<Outcome>,
    ) {
        let rules = models.iter().find_map(|model| model.contacts.as_deref());
        let offers = models.iter().any(|model| !model.interventions.is_empty());
        if !offers {
            // Nobody knows any more what waits, and it would be due for ever.
            self.contacts.waiting.clear();
        }
        if rules.is_none() && !offers {
            return;
        }
        let mut contacts = std::mem::take(&mut self.contacts);
        if let (Some(rules), Some(touchpoint)) = (rules, step.touchpoint) {
            contacts.take_in(rules, touchpoint, step.now);
        }
        let stands = !contacts.pending.is_empty() || !contacts.waiting.is_empty();
        if offers && (outcomes.len() > step.begin || stands) {
            contacts.note_goals(models, &outcomes[step.begin..], &mut retelling.sums);
            contacts.forget(models, rules, &step);
            self.withdraw(models, rules, &step, &mut contacts, outcomes);
            self.ask(models, rules, &step, &mut contacts, &mut retelling.refusals, outcomes);
        }
        self.contacts = contacts;
    }

    /// Where an outcome that asked for what is out belongs to the customer now, and so has another id, that one has asked.
    pub(super) fn follow_askers(&mut self, models: &[Arc<Model>], said: &[Outcome]) {
        let Customer { identity, contacts, .. } = self;
        let asks = |of: &CompactString, asked_at: Timestamp| {
            said.iter().find(|outcome| {
                let is_own = outcome.identity == *identity && !outcome.what.is_retraction();
                let asks = |one: &Intervention| one.id == *of && one.on.iter().any(|trigger| trigger.is(outcome));
                is_own && outcome.at == asked_at && of_model(models, outcome).any(|(_, one)| asks(one))
            })
        };
        for pending in contacts.pending.iter_mut().filter(|pending| pending.asked_by.is_nil()) {
            if let Some(outcome) = asks(&pending.of, pending.asked_at) {
                pending.asked_by = outcome.id;
            }
        }
        for deferred in contacts.waiting.iter_mut().filter(|deferred| deferred.asker.id.is_nil()) {
            if let Some(outcome) = asks(&deferred.of, deferred.asker.at) {
                deferred.asker = AskingOutcome::of(outcome);
            }
        }
    }

    /// Takes back all that is out, since the customer is erased.
    pub(crate) fn withdraw_all(&mut self, now: Timestamp, telling: Telling<'_>) {
        let Telling { models, rules, outcomes, .. } = telling;
        let mut contacts = std::mem::take(&mut self.contacts);
        let step = Step::of(None, now, rules, outcomes.len());
        contacts.forget(models, models.iter().find_map(|model| model.contacts.as_deref()), &step);
        contacts.waiting.clear();
        for pending in std::mem::take(&mut contacts.pending) {
            if let Some((at, _, intervention)) = self.intervention(models, &pending.of) {
                self.publish_withdrawal(models, at, intervention, &pending, Reason::Erased, &step, outcomes);
            }
        }
        self.contacts = contacts;
    }

    /// What is out or waits, as the models know it, and the place of its model. A model that has seen nothing of the customer has
    /// no journey to speak of.
    fn intervention<'a>(&self, models: &'a [Arc<Model>], of: &str) -> Option<(usize, usize, &'a Intervention)> {
        models.iter().enumerate().take(self.journeys.len()).find_map(|(at, model)| {
            let place = model.interventions.iter().position(|one| one.id == of)?;
            Some((at, place, &model.interventions[place]))
        })
    }

    /// Takes back what is out and does not stand any more, and notes what takes things back. What waits goes without a word:
    /// nobody has heard of it.
    fn withdraw(
        &mut self,
        models: &[Arc<Model>],
        rules: Option<&model::Contacts>,
        step: &Step<'_>,
        contacts: &mut Contacts,
        outcomes: &mut Vec<Outcome>,
    ) {
        let end = outcomes.len();
        for outcome in &outcomes[step.begin..] {
            if outcome.what.is_retraction() {
                continue;
            }
            for (_, intervention) in of_model(models, outcome) {
                if intervention.withdrawn_by.iter().any(|trigger| trigger.is(outcome)) {
                    contacts.end(&intervention.id, outcome.at);
                }
            }
        }
        let mut kept = Vec::with_capacity(contacts.pending.len());
        for pending in std::mem::take(&mut contacts.pending) {
            // What the models do not know any more stands until it expires.
            let Some((at, _, intervention)) = self.intervention(models, &pending.of) else {
                kept.push(pending);
                continue;
            };
            let (said, asked) = (&outcomes[step.begin..end], (pending.asked_by, pending.asked_at));
            let reason = self.why_withdrawn(&models[at], at, intervention, asked, said, contacts, rules);
            match reason {
                Some(reason) => self.publish_withdrawal(models, at, intervention, &pending, reason, step, outcomes),
                None => kept.push(pending),
            }
        }
        contacts.pending = kept;
        let mut waiting = std::mem::take(&mut contacts.waiting);
        waiting.retain_mut(|one| {
            let Some((at, _, intervention)) = self.intervention(models, &one.of) else { return false };
            let (said, asked) = (&outcomes[step.begin..end], (one.asker.id, one.asker.at));
            if self.why_withdrawn(&models[at], at, intervention, asked, said, contacts, rules).is_some() {
                return false;
            }
            // What is told otherwise meanwhile is what asks.
            let Some(told) = said.iter().rev().find(|outcome| outcome.id == one.asker.id) else { return true };
            one.asker = AskingOutcome::of(told);
            !told.hindsight
        });
        contacts.waiting = waiting;
    }

    #[expect(clippy::too_many_arguments, reason = "all that an offer can be taken back by")]
    fn why_withdrawn(
        &self,
        model: &Model,
        at: usize,
        intervention: &Intervention,
        (asked_by, asked_at): (uuid::Uuid, Timestamp),
        said: &[Outcome],
        contacts: &Contacts,
        rules: Option<&model::Contacts>,
    ) -> Option<Reason> {
        if contacts.ended(&intervention.id).is_some_and(|ended| ended >= asked_at) {
            return Some(Reason::Completed);
        }
        if !agrees(intervention, contacts, rules) {
            return Some(Reason::ConsentWithdrawn);
        }
        if asked_by.is_nil() {
            return Some(Reason::Retracted);
        }
        let about = said.iter().rev().find(|outcome| outcome.id == asked_by)?;
        let stands = !about.what.is_retraction() && self.applies(model, at, intervention, about.into());
        (!stands).then_some(Reason::Retracted)
    }

    #[expect(clippy::too_many_arguments, reason = "what an outcome says")]
    fn publish_withdrawal(
        &mut self,
        models: &[Arc<Model>],
        at: usize,
        intervention: &Intervention,
        pending: &Pending,
        reason: Reason,
        step: &Step<'_>,
        outcomes: &mut Vec<Outcome>,
    ) {
        let offer = Offer {
            name: intervention.name.clone(),
            channel: pending.channel.clone(),
            arm: pending.arm,
            variant: pending.variant.clone(),
            expires_at: pending.expires_at,
            answers: Abandonment { id: pending.id, at: pending.at },
            about: None,
            payload: Vec::new(),
        };
        let what = What::Withdrawal { offer: Box::new(offer), reason };
        let cause = step.touchpoint.map(|touchpoint| Id::of(&touchpoint.id));
        let (channel, session) = match step.touchpoint {
            Some(touchpoint) => (touchpoint.channel.clone(), touchpoint.session.clone()),
            None => (None, None),
        };
        let answered = Answered { cause, channel, session, value: None, segment: None };
        self.publish(&models[at], at, step.now, answered, what, outcomes);
    }

    /// Judges what the outcomes of this step ask for, and what has waited until now.
    fn ask(
        &mut self,
        models: &[Arc<Model>],
        rules: Option<&model::Contacts>,
        step: &Step<'_>,
        contacts: &mut Contacts,
        refusals: &mut Refusals,
        outcomes: &mut Vec<Outcome>,
    ) {
        let mut candidates = self.waited(models, rules, step, contacts, refusals);
        for outcome in &outcomes[step.begin..] {
            if outcome.hindsight || outcome.again || outcome.what.is_retraction() {
                continue;
            }
            let Some(model) = models.iter().position(|model| model.name == outcome.model) else { continue };
            for (place, intervention) in models[model].interventions.iter().enumerate() {
                let asks = intervention.on.iter().any(|trigger| trigger.is(outcome));
                if !asks || contacts.has_asked(outcome.id, &intervention.id) {
                    continue;
                }
                if !self.applies(&models[model], model, intervention, outcome.into()) {
                    continue;
                }
                let asker = || AskingOutcome::of(outcome);
                match judge(intervention, (outcome.at, None), rules, step, contacts) {
                    Ok(()) => {
                        let (priority, asker) = (intervention.priority, asker());
                        candidates.push(Candidate { model, place, asker, waited: None, priority });
                    }
                    Err(refusal) => {
                        contacts.wait_or_refuse(intervention, (outcome.at, asker), refusal, rules, step.now, refusals);
                    }
                }
            }
        }
        // The higher priority wins; of equal ones the first in the order of models and files, and of its own outcomes the first.
        candidates.sort_by_key(|one| (std::cmp::Reverse(one.priority), one.model, one.place));
        let mut taken: Vec<CompactString> = Vec::new();
        for Candidate { model: at, place, asker, waited, .. } in candidates {
            let intervention = &models[at].interventions[place];
            if taken.contains(&intervention.channel) {
                refusals.add(&intervention.id, Refusal::Outranked);
                continue;
            }
            // Another channel's winner may have used up what is left over all.
            if let Err(refusal) = judge(intervention, (asker.at, waited), rules, step, contacts) {
                refusals.add(&intervention.id, refusal);
                continue;
            }
            taken.push(intervention.channel.clone());
            self.make(models, at, intervention, asker, rules, step, contacts, outcomes);
        }
    }

    /// What has waited until now, and what nothing speaks against.
    fn waited(
        &self,
        models: &[Arc<Model>],
        rules: Option<&model::Contacts>,
        step: &Step<'_>,
        contacts: &mut Contacts,
        refusals: &mut Refusals,
    ) -> Vec<Candidate> {
        let mut due: Vec<Deferred> = contacts.waiting.extract_if(.., |waiting| waiting.due <= step.now).collect();
        due.sort_by_key(|waiting| waiting.due);
        let mut candidates = Vec::new();
        for Deferred { of, asker, due } in due {
            let Some((model, place, intervention)) = self.intervention(models, &of) else { continue };
            if !self.applies(&models[model], model, intervention, (&asker).into()) {
                continue;
            }
            match judge(intervention, (asker.at, Some(due)), rules, step, contacts) {
                Ok(()) => {
                    let priority = intervention.priority;
                    candidates.push(Candidate { model, place, asker, waited: Some(due), priority });
                }
                Err(refusal) => {
                    contacts.wait_or_refuse(intervention, (asker.at, || asker), refusal, rules, step.now, refusals);
                }
            }
        }
        candidates
    }

    #[expect(clippy::too_many_arguments, reason = "what an outcome says")]
    fn make(
        &mut self,
        models: &[Arc<Model>],
        at: usize,
        intervention: &Intervention,
        asker: AskingOutcome,
        rules: Option<&model::Contacts>,
        step: &Step<'_>,
        contacts: &mut Contacts,
        outcomes: &mut Vec<Outcome>,
    ) {
        let now = step.now;
        let (arm, variant) = contacts.draw(intervention, rules, &self.identity);
        let mut expires_at = now + intervention.expires;
        if intervention.quiet != Quiet::Ignore
            && let Some(begins) = rules.and_then(|rules| contacts.quiet_from(rules, now))
        {
            expires_at = expires_at.min(begins);
        }
        let AskingOutcome { id: asked_by, at: asked_at, about, value, segment, cause, channel, session, .. } = asker;
        let offer = Offer {
            name: intervention.name.clone(),
            channel: intervention.channel.clone(),
            arm,
            variant: variant.clone(),
            expires_at,
            answers: Abandonment { id: asked_by, at: asked_at },
            about,
            payload: payload(intervention, variant.as_ref()),
        };
        let answered = Answered { cause, channel, session, value, segment };
        let what = What::Intervention { offer: Box::new(offer) };
        let id = self.publish(&models[at], at, now, answered, what, outcomes);
        let (of, channel) = (intervention.id.clone(), intervention.channel.clone());
        contacts.made.push(Made { of: of.clone(), channel: channel.clone(), at: now });
        self.expose((models[at].as_ref(), at), intervention, (now, step.grace), (id, arm, variant.clone()), contacts);
        contacts.pending.push(Pending { of, channel, id, at: now, asked_by, asked_at, expires_at, arm, variant });
    }

    /// Appends an outcome of the customer's journey in a model.
    pub(super) fn publish(
        &mut self,
        model: &Model,
        at: usize,
        now: Timestamp,
        answered: Answered,
        what: What,
        outcomes: &mut Vec<Outcome>,
    ) -> uuid::Uuid {
        let journey = &mut self.journeys[at];
        journey.sequence += 1;
        let id = match &what {
            What::Measurement { of } => measurement_id(model, &self.identity, of),
            _ => offer_id(model, &self.identity, &what, now),
        };
        outcomes.push(Outcome {
            id,
            model: model.name.clone(),
            model_version: model.version,
            identity: self.identity.clone(),
            journey: journey.number,
            journey_started_at: journey.started_at,
            sequence: journey.sequence,
            at: now,
            cause: answered.cause,
            channel: answered.channel,
            session: answered.session,
            value: answered.value,
            segment: answered.segment,
            hindsight: false,
            again: false,
            what,
        });
        id
    }

    /// Whether `when` and `for` hold.
    fn applies(&self, model: &Model, at: usize, intervention: &Intervention, asker: Asker<'_>) -> bool {
        let is_for = intervention.segments.is_empty()
            || asker.segment.as_ref().is_some_and(|segment| intervention.segments.contains(segment));
        is_for
            && intervention.when.as_ref().is_none_or(|when| {
                let view = self.journeys[at].view_of_asker(model, asker);
                when.holds(&view)
            })
    }
}

/// The interventions of the model that an outcome is of.
fn of_model<'a>(models: &'a [Arc<Model>], outcome: &Outcome) -> impl Iterator<Item = (usize, &'a Intervention)> {
    let model = models.iter().position(|model| model.name == outcome.model);
    model.into_iter().flat_map(move |at| models[at].interventions.iter().map(move |one| (at, one)))
}

/// What speaks against an intervention, in the order of judgement. One that has waited is as old as the end of its waiting.
fn judge(
    intervention: &Intervention,
    (asked_at, waited): (Timestamp, Option<Timestamp>),
    rules: Option<&model::Contacts>,
    step: &Step<'_>,
    contacts: &Contacts,
) -> Result<(), Refusal> {
    let now = step.now;
    if now.since(waited.unwrap_or(asked_at)) > intervention.expires.min(step.stale_after) {
        return Err(Refusal::Stale);
    }
    if contacts.ended(&intervention.id).is_some_and(|ended| ended >= asked_at) {
        return Err(Refusal::Over);
    }
    if !agrees(intervention, contacts, rules) {
        return Err(Refusal::Consent);
    }
    if intervention.quiet != Quiet::Ignore && rules.is_some_and(|rules| contacts.is_quiet(rules, now)) {
        return Err(Refusal::QuietHours);
    }
    let own = intervention.caps.iter().map(|cap| (Some(intervention.id.as_str()), cap));
    let all = rules.iter().flat_map(|rules| rules.caps.iter().map(|cap| (None, cap)));
    let is_full = contacts.pending.len() >= MAX_STANDING;
    if is_full || own.chain(all).any(|(of, cap)| contacts.count(of, cap.within, now) >= cap.most as usize) {
        return Err(Refusal::Cap);
    }
    match intervention.cool_down {
        Some(cool_down) if contacts.is_fresh(&intervention.channel, cool_down, now) => Err(Refusal::CoolDown),
        Some(_) | None => Ok(()),
    }
}

/// Whether the customer agrees, as far as that is needed. What nobody can agree to is a no.
fn agrees(intervention: &Intervention, contacts: &Contacts, rules: Option<&model::Contacts>) -> bool {
    let Some((needs, _)) = &intervention.needs else { return true };
    let Some(consent) = rules.and_then(|rules| rules.consent(needs)) else { return false };
    contacts.consent(needs).unwrap_or(consent.otherwise_given)
}

fn payload(intervention: &Intervention, variant: Option<&CompactString>) -> Vec<(CompactString, CompactString)> {
    let value = |value: &Payload| match value {
        Payload::Same(text) => Some(text.clone()),
        Payload::ByVariant(by) => by.iter().find(|(name, _)| Some(name) == variant).map(|(_, text)| text.clone()),
    };
    intervention.payload.iter().filter_map(|(name, held)| Some((name.clone(), value(held)?))).collect()
}

impl Contacts {
    /// What has asked for an offer that is out, and does not hold any more, is no outcome of the anonymous id from here on.
    pub(super) fn note_retracted(&mut self, said: &[Outcome]) {
        let pending = self.pending.iter_mut().map(|pending| &mut pending.asked_by);
        for asked_by in pending.chain(self.waiting.iter_mut().map(|waiting| &mut waiting.asker.id)) {
            let last = said.iter().rev().find(|outcome| outcome.id == *asked_by);
            if last.is_some_and(|outcome| outcome.what.is_retraction()) {
                *asked_by = uuid::Uuid::nil();
            }
        }
        self.forget_goals(said);
    }

    /// Whether an outcome has asked for what is out, or waits.
    fn has_asked(&self, outcome: uuid::Uuid, of: &str) -> bool {
        let mut pending = self.pending.iter().map(|one| (one.asked_by, &one.of));
        let mut waiting = self.waiting.iter().map(|one| (one.asker.id, &one.of));
        let is_it = |(asked_by, known): (uuid::Uuid, &CompactString)| asked_by == outcome && known == of;
        pending.any(is_it) || waiting.any(is_it)
    }

    /// What is asked for in quiet hours waits for their end, if it may; anything else that speaks against it is counted.
    fn wait_or_refuse(
        &mut self,
        intervention: &Intervention,
        (asked_at, asker): (Timestamp, impl FnOnce() -> AskingOutcome),
        refusal: Refusal,
        rules: Option<&model::Contacts>,
        now: Timestamp,
        refusals: &mut Refusals,
    ) {
        if let (Refusal::QuietHours, Quiet::Wait { at_most }) = (refusal, intervention.quiet)
            && let Some(due) = rules.and_then(|rules| self.quiet_until(rules, now))
            && due > now
            && due.since(asked_at) <= at_most
        {
            // Of two that ask for the same the later one is what the customer remembers.
            let known = self.waiting.iter().position(|one| one.of == intervention.id);
            if let Some(known) = known {
                self.waiting.remove(known);
                refusals.add(&intervention.id, Refusal::Outranked);
            }
            if self.waiting.len() < MAX_DEFERRED {
                return self.waiting.push(Deferred { of: intervention.id.clone(), asker: asker(), due });
            }
        }
        refusals.add(&intervention.id, refusal);
    }

    /// Takes in what a touchpoint says of consents and of where the customer is.
    fn take_in(&mut self, rules: &model::Contacts, touchpoint: &Touchpoint, now: Timestamp) {
        for consent in &rules.consents {
            if let Some(given) = rules.says(consent, touchpoint) {
                self.state(&consent.name, given, touchpoint.event_time.min(now));
            }
        }
        let zone = rules.quiet.as_ref().and_then(|quiet| quiet.zone.as_ref());
        if let Some(crate::touchpoint::Value::Text(zone)) = zone.and_then(|property| touchpoint.property(property))
            && self.zone.as_ref() != Some(zone)
            && Zone::named(zone).is_some()
        {
            self.zone = Some(zone.clone());
        }
    }

    /// Forgets what nothing looks back to any more.
    fn forget(&mut self, models: &[Arc<Model>], rules: Option<&model::Contacts>, step: &Step<'_>) {
        let now = step.now;
        self.pending.retain(|pending| pending.expires_at > now);
        let all = || models.iter().flat_map(|model| &model.interventions);
        // What asks is no older than this, unless it waits: also under another id that joins the customer.
        let waits = |of: &CompactString| {
            let longest = all().filter(|one| one.id == *of).map(|one| match one.quiet {
                Quiet::Wait { at_most } => at_most,
                Quiet::Skip | Quiet::Ignore => Span::ZERO,
            });
            longest.fold(step.stale_after, Span::max)
        };
        self.ended.retain(|(of, at)| *at + waits(of) + step.grace >= now);
        let over_all = rules.map_or(Span::ZERO, model::Contacts::looks_back);
        // A cool-down looks back to the last one on its channel only.
        let is_last = |place: usize| !self.made[place + 1..].iter().any(|later| later.channel == self.made[place].channel);
        let last: Vec<bool> = (0..self.made.len()).map(is_last).collect();
        let mut last = last.into_iter();
        self.made.retain(|made| {
            let is_last = last.next().unwrap_or(true);
            let own = all().filter(|one| one.id == made.of).flat_map(|one| one.caps.iter().map(|cap| cap.within));
            let channel = all().filter(|one| is_last && one.channel == made.channel).filter_map(|one| one.cool_down);
            let back = own.chain(channel).fold(over_all, Span::max);
            // Where it joins a customer, that may live in a shard that is behind.
            made.at + back + step.grace > now
        });
    }

    /// The customer's arm: the one that was drawn, or a new draw.
    fn draw(
        &mut self,
        intervention: &Intervention,
        rules: Option<&model::Contacts>,
        identity: &Identity,
    ) -> (Arm, Option<CompactString>) {
        let below = |holdout: &Holdout| arm::bucket(&holdout.salt, identity) < holdout.share;
        if let Some(holdout) = rules.and_then(|rules| rules.holdout.as_ref()) {
            let known = self.arms.iter().find(|drawn| drawn.of.is_empty()).map(|drawn| drawn.arm);
            let arm = known.unwrap_or_else(|| {
                let arm = if below(holdout) { Arm::HeldOutOfAll } else { Arm::Treated };
                self.arms.push(Drawn { of: CompactString::default(), arm, variant: None });
                arm
            });
            if arm.is_held_out() {
                return (arm, None);
            }
        }
        if intervention.holdout.is_none() && intervention.variants.is_empty() {
            return (Arm::Treated, None);
        }
        let known = self.arms.iter().position(|drawn| drawn.of == intervention.id);
        if let Some(drawn) = known.map(|place| &self.arms[place]) {
            let is_variant = |name: &CompactString| intervention.variants.iter().any(|(known, _)| known == name);
            let stands = match (&drawn.arm, &drawn.variant) {
                (Arm::Treated, Some(variant)) => is_variant(variant),
                (Arm::Treated, None) => intervention.variants.is_empty(),
                (Arm::HeldOut | Arm::HeldOutOfAll, _) => intervention.holdout.is_some(),
            };
            if stands {
                return (drawn.arm, drawn.variant.clone());
            }
        }
        let share = intervention.holdout.as_ref().map_or(0, |holdout| holdout.share);
        let bucket = arm::bucket(&intervention.salt, identity);
        // Who was treated already is not held out by a draw for another variant.
        let held_out = bucket < share && known.is_none();
        let bucket = if held_out { bucket } else { bucket.max(share) };
        let variant = arm::variant(bucket, share, intervention.variants.iter().map(|(_, weight)| *weight));
        let drawn = Drawn {
            of: intervention.id.clone(),
            arm: if held_out { Arm::HeldOut } else { Arm::Treated },
            variant: variant.filter(|_| !held_out).map(|place| intervention.variants[place].0.clone()),
        };
        let said = (drawn.arm, drawn.variant.clone());
        match known {
            Some(place) => self.arms[place] = drawn,
            None => self.arms.push(drawn),
        }
        said
    }

    fn zone_of(&self, quiet: &model::QuietHours) -> Option<Zone> {
        let own = self.zone.as_ref().filter(|_| quiet.zone.is_some()).and_then(|zone| Zone::named(zone));
        own.or_else(|| quiet.otherwise.clone())
    }

    /// Whether it is quiet where the customer is; where that is not known, it is.
    fn is_quiet(&self, rules: &model::Contacts, now: Timestamp) -> bool {
        let Some(quiet) = &rules.quiet else { return false };
        let Some(zone) = self.zone_of(quiet) else { return true };
        let minute = zone.minute_of_day(now);
        if quiet.from <= quiet.to {
            (quiet.from..quiet.to).contains(&minute)
        } else {
            minute >= quiet.from || minute < quiet.to
        }
    }

    /// When it is not quiet any more where the customer is.
    fn quiet_until(&self, rules: &model::Contacts, now: Timestamp) -> Option<Timestamp> {
        let quiet = rules.quiet.as_ref()?;
        self.zone_of(quiet)?.next(now, quiet.to)
    }

    /// When it is quiet next where the customer is.
    fn quiet_from(&self, rules: &model::Contacts, now: Timestamp) -> Option<Timestamp> {
        let quiet = rules.quiet.as_ref()?;
        self.zone_of(quiet)?.next(now, quiet.from)
    }
}

impl model::Trigger {
    /// Whether it names an outcome.
    fn is(&self, outcome: &Outcome) -> bool {
        self.names(&outcome.what)
    }
}
