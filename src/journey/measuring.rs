//! Whether interventions brought about what they are for: each customer's first decision is an exposure, and what became of its
//! goal is measured once, when nothing of the goal's window can be told anew any more.
//!
//! By intention to treat: whether an offer was withdrawn, or what asked for it retracted, changes nothing. Exposures lie beside
//! the story; which goals were reached follows it, and what holds when it is measured counts.

use std::sync::Arc;

use compact_str::CompactString;
use uuid::Uuid;

use super::contacts::Contacts;
use super::exposures::{Exposure, MAX_EXPOSURES, Pending};
use super::outcome::{Answered, Measurement, name_of};
use super::sums::{ArmOf, Measured, Sums};
use super::{Abandonment, Arm, Customer, Journey, Outcome, What};
use crate::model::{Intervention, Model, Trigger};
use crate::time::{Span, Timestamp};

/// So long before an exposure it is looked how often its goal was reached.
const LOOKS_BACK: Span = Span::from_days(30);

impl Customer {
    /// A decision was made: the first one of this intervention and version is an exposure.
    pub(super) fn expose(
        &self,
        (model, at): (&Model, usize),
        intervention: &Intervention,
        (now, grace): (Timestamp, Span),
        (id, arm, variant): (Uuid, Arm, Option<CompactString>),
        contacts: &mut Contacts,
    ) {
        let Some((goal, within)) = &intervention.goal else { return };
        let is_known = |known: &Exposure| known.of.intervention == intervention.id && known.of.version == model.version;
        if contacts.exposures.iter().any(is_known) {
            return;
        }
        if contacts.exposures.len() >= MAX_EXPOSURES {
            let Some(oldest) = contacts.exposures.iter().position(|known| known.pending.is_none()) else { return };
            contacts.exposures.remove(oldest);
        }
        let until = now + *within;
        let before = self.journeys[at].reached_before(model, goal, now);
        contacts.exposures.push(Exposure {
            of: ArmOf { intervention: intervention.id.clone(), version: model.version, arm, variant },
            at: now,
            until,
            pending: Some(Pending { id, due: until + grace, before, crossed: false, goals: Vec::new() }),
        });
    }

    /// Measures what is due.
    pub(super) fn measure(&mut self, models: &[Arc<Model>], now: Timestamp, sums: &mut Sums, outcomes: &mut Vec<Outcome>) {
        if self.contacts.next_measurement() > now {
            return;
        }
        let mut exposures = std::mem::take(&mut self.contacts.exposures);
        let mut due: Vec<&mut Exposure> = exposures.iter_mut().filter(|one| one.due() <= now).collect();
        due.sort_by_key(|one| one.due());
        for exposure in due {
            let Some(pending) = exposure.pending.take() else { continue };
            if pending.crossed {
                sums.cross(exposure.of.clone());
                continue;
            }
            // What no model measures any more is left out: nobody has looked for its goal.
            let begun = models.iter().enumerate().take(self.journeys.len());
            let mut known = begun.flat_map(|(at, model)| model.interventions.iter().map(move |one| (at, one)));
            let is_it = |(_, one): &(usize, &Intervention)| one.id == exposure.of.intervention && one.goal.is_some();
            let Some((at, intervention)) = known.find(is_it) else { continue };
            let measured = pending.measured();
            sums.measure(exposure.of.clone(), measured);
            self.publish_measurement((models[at].as_ref(), at), intervention, exposure, &pending, measured, outcomes);
        }
        self.contacts.exposures = exposures;
    }

    fn publish_measurement(
        &mut self,
        (model, at): (&Model, usize),
        intervention: &Intervention,
        exposure: &Exposure,
        pending: &Pending,
        measured: Measured,
        outcomes: &mut Vec<Outcome>,
    ) {
        let Measured { converted, value, before, due } = measured;
        let answers = Abandonment { id: pending.id, at: exposure.at };
        let measurement = Measurement {
            intervention: intervention.name.clone(),
            version: exposure.of.version,
            arm: exposure.of.arm,
            variant: exposure.of.variant.clone(),
            converted,
            before,
            answers,
        };
        let segment = self.journeys[at].segment.and_then(|segment| model.segments.get(usize::from(segment)));
        let segment = segment.map(|segment| segment.name.clone());
        let answered = Answered { cause: None, channel: None, session: None, value, segment };
        self.publish(model, at, due, answered, What::Measurement { of: Box::new(measurement) }, outcomes);
    }
}

impl Contacts {
    /// When something is to be measured next; [`Timestamp::MAX`]: never.
    pub(super) fn next_measurement(&self) -> Timestamp {
        self.exposures.iter().map(Exposure::due).min().unwrap_or(Timestamp::MAX)
    }

    /// Takes in what was said of goals.
    pub(super) fn note_goals(&mut self, models: &[Arc<Model>], said: &[Outcome], sums: &mut Sums) {
        if self.exposures.is_empty() {
            return;
        }
        for outcome in said {
            let Some(model) = models.iter().find(|model| model.name == outcome.model) else { continue };
            for exposure in &mut self.exposures {
                let is_goal = |one: &Intervention| {
                    let goal = one.goal.as_ref().filter(|_| one.id == exposure.of.intervention);
                    goal.is_some_and(|(goal, _)| goal.names(outcome.what.original()))
                };
                if !model.interventions.iter().any(is_goal) {
                    continue;
                }
                let spans = exposure.spans(outcome.at);
                match &mut exposure.pending {
                    Some(pending) => pending.note(outcome, spans && !outcome.what.is_retraction()),
                    None if spans => sums.late(exposure.of.clone()),
                    None => {}
                }
            }
        }
    }

    /// What was taken back when an anonymous id was handed over was no goal reached.
    pub(super) fn forget_goals(&mut self, said: &[Outcome]) {
        for outcome in said.iter().filter(|outcome| outcome.what.is_retraction()) {
            for pending in self.exposures.iter_mut().filter_map(|exposure| exposure.pending.as_mut()) {
                pending.note(outcome, false);
            }
        }
    }

    /// The customer is gone: what could not be measured yet is counted.
    pub(crate) fn erase_exposures(&self, sums: &mut Sums) {
        let pending = self.exposures.iter().filter(|exposure| exposure.pending.is_some());
        pending.for_each(|exposure| sums.erase(exposure.of.clone()));
    }

    /// Takes in the exposures of an anonymous id that joins the customer, whose arms are not united yet. One customer is measured
    /// once; where the two have drawn different arms, what is pending is crossed.
    pub(super) fn unite_exposures(&mut self, other: &mut Contacts) {
        let differ = |of: &str| {
            let mine = self.arms.iter().find(|drawn| drawn.of == of);
            let theirs = other.arms.iter().find(|drawn| drawn.of == of);
            mine.zip(theirs).is_some_and(|(mine, theirs)| (mine.arm, &mine.variant) != (theirs.arm, &theirs.variant))
        };
        let of_all = differ("");
        let all = || self.exposures.iter().chain(&other.exposures);
        let crossed: Vec<CompactString> =
            all().map(|exposure| &exposure.of.intervention).filter(|of| of_all || differ(of)).cloned().collect();
        for theirs in std::mem::take(&mut other.exposures) {
            let is_same = |mine: &&mut Exposure| {
                (&mine.of.intervention, mine.of.version) == (&theirs.of.intervention, theirs.of.version)
            };
            match self.exposures.iter_mut().find(is_same) {
                None => self.exposures.push(theirs),
                Some(mine) => mine.unite(theirs),
            }
        }
        self.exposures.sort_by_key(|exposure| exposure.at);
        for exposure in self.exposures.iter_mut().filter(|exposure| crossed.contains(&exposure.of.intervention)) {
            exposure.pending.iter_mut().for_each(|pending| pending.crossed = true);
        }
        while self.exposures.len() > MAX_EXPOSURES {
            let oldest = self.exposures.iter().position(|known| known.pending.is_none()).unwrap_or(0);
            self.exposures.remove(oldest);
        }
    }
}

impl Journey {
    /// How often a goal was reached in the 30 days before, as far as the state knows anyway: by the ids of what was completed,
    /// or else the last completion; of a stage, whether it was first reached then.
    fn reached_before(&self, model: &Model, goal: &Trigger, now: Timestamp) -> u64 {
        let recent = |at: &Timestamp| *at <= now && now.since(*at) < LOOKS_BACK;
        match goal.kind {
            "completion" => {
                let kind = model.episodes.iter().position(|kind| kind.name == goal.of);
                let Some(kind) = kind.and_then(|kind| self.kinds.get(kind)) else { return 0 };
                let ended = kind.closed.0.iter().filter_map(|closed| closed.ended).filter(recent).count() as u64;
                ended.max(u64::from(kind.last_completion.as_ref().is_some_and(recent)))
            }
            "transition" => {
                let stage = model.stages.iter().position(|stage| stage.name == goal.of);
                let reached = stage.and_then(|stage| *self.reached.get(stage)?);
                u64::from(reached.as_ref().is_some_and(recent))
            }
            _ => 0,
        }
    }
}

impl Trigger {
    /// Whether it names what happened.
    pub(crate) fn names(&self, what: &What) -> bool {
        self.kind == what.kind() && name_of(what).is_some_and(|name| name == self.of)
    }
}
