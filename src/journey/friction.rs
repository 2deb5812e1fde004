//! Friction: evidence gathered in episodes, sessions, stages and journeys, and what is published when it is enough (rule 15).

use serde::{Deserialize, Serialize};

use super::facts::View;
use super::outcome::{About, OutcomeBuilder, Subject, What};
use super::signs::{Seen, Signs};
use super::{Arrival, Id, Journey, TouchpointId};
use crate::model::{Evidence, Friction, Model, RuleIndex, Scope, Sign, Threshold, TypeRoles};
use crate::time::Timestamp;
use crate::touchpoint::{Money, Touchpoint};

/// Evidence of so many sessions of one customer is kept at once; the one untouched longest gives way.
pub(super) const MAX_SESSIONS: usize = 4;

/// The evidence of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSigns {
    /// The session.
    pub id: Id,
    /// The customer's touchpoint count when evidence came last.
    pub touched: u64,
    /// The evidence.
    pub signs: Signs,
}

/// A place where evidence is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// The episode at this place of the journey's list.
    Episode(usize),
    /// The session at this place of the journey's list.
    Session(usize),
    Stage,
    Journey,
}

/// A rule whose evidence is enough.
struct Fired {
    rule: RuleIndex,
    spot: Spot,
    evidence: Vec<Seen>,
    /// The score and the rules that made it.
    score: Option<(u32, Vec<RuleIndex>)>,
}

impl Journey {
    /// Takes a touchpoint as evidence; returns the rules that published something.
    pub(super) fn step_friction(
        &mut self,
        model: &Model,
        roles: &TypeRoles,
        arrival: &Arrival<'_>,
        outcomes: &mut OutcomeBuilder<'_>,
    ) -> Vec<RuleIndex> {
        let mut published = Vec::new();
        let Some(touchpoint) = arrival.touchpoint else { return published };
        for evidence in &roles.friction {
            let rule = &model.friction[usize::from(evidence.rule)];
            // An answer counts, whatever segment the customer is in when it comes.
            if !self.concerns(rule) && !matches!(rule.sign, Sign::Missing { .. }) {
                continue;
            }
            let Some(spot) = self.spot(model, rule.scope, touchpoint, arrival.count) else { continue };
            if let Some(seen) = self.gather(model, *evidence, spot, arrival, touchpoint) {
                let fired = Fired { rule: evidence.rule, spot, evidence: seen, score: None };
                self.publish(model, fired, arrival, outcomes, &mut published);
            }
        }
        published
    }

    /// The touchpoint has entered a stage: what waits for an answer in a stage waits for it there.
    pub(super) fn ask_where_entered(&mut self, model: &Model, roles: &TypeRoles, arrival: &Arrival<'_>) {
        let Some(touchpoint) = arrival.touchpoint else { return };
        for evidence in &roles.friction {
            let rule = &model.friction[usize::from(evidence.rule)];
            let waits = rule.scope == Scope::Stage && matches!(rule.sign, Sign::Missing { .. }) && self.concerns(rule);
            let spot = if waits { self.spot(model, rule.scope, touchpoint, arrival.count) } else { None };
            if let Some(spot) = spot {
                self.gather(model, *evidence, spot, arrival, touchpoint);
            }
        }
    }

    /// Publishes what answers are missing exactly at `deadline`: by rule, episodes by their numbers, then the rest. Returns
    /// the rules that published something.
    pub(super) fn fire_friction(
        &mut self,
        model: &Model,
        deadline: Timestamp,
        outcomes: &mut OutcomeBuilder<'_>,
    ) -> Vec<(RuleIndex, TouchpointId)> {
        let mut due: Vec<(RuleIndex, u32, Spot)> = Vec::new();
        for (place, episode) in self.episodes.iter().enumerate() {
            due.extend(episode.signs.due(deadline).map(|rule| (rule, episode.number, Spot::Episode(place))));
        }
        for (place, session) in self.sessions.iter().enumerate() {
            due.extend(session.signs.due(deadline).map(|rule| (rule, 0, Spot::Session(place))));
        }
        if let Some(standing) = &self.standing {
            due.extend(standing.signs.due(deadline).map(|rule| (rule, 0, Spot::Stage)));
        }
        due.extend(self.signs.due(deadline).map(|rule| (rule, 0, Spot::Journey)));
        due.sort_by_key(|(rule, number, _)| (*rule, *number));
        let mut all = Vec::new();
        for (rule, _, spot) in due {
            let Some(seen) = self.signs_at(spot).and_then(|signs| signs.overdue(rule, deadline)) else { continue };
            if !model.friction.get(usize::from(rule)).is_some_and(|rule| self.concerns(rule)) {
                continue;
            }
            let id = seen.id.clone();
            let arrival = Arrival::absence(&id, deadline);
            let mut published = Vec::new();
            let fired = Fired { rule, spot, evidence: vec![seen], score: None };
            self.publish(model, fired, &arrival, outcomes, &mut published);
            all.extend(published.into_iter().map(|rule| (rule, id.clone())));
        }
        all
    }

    /// When an answer is missing next, anywhere.
    pub(super) fn next_friction(&self) -> Timestamp {
        let episodes = self.episodes.iter().map(|episode| episode.signs.next_deadline());
        let sessions = self.sessions.iter().map(|session| session.signs.next_deadline());
        let stage = self.standing.as_ref().map(|standing| standing.signs.next_deadline());
        episodes.chain(sessions).chain(stage).fold(self.signs.next_deadline(), Timestamp::min)
    }

    /// Whether the rule applies to this customer's segment.
    fn concerns(&self, rule: &Friction) -> bool {
        rule.segments.is_empty() || self.segment.is_some_and(|segment| rule.segments.contains(&segment))
    }

    /// Where a rule gathers the touchpoint's evidence, if there is such a place.
    fn spot(&mut self, model: &Model, scope: Scope, touchpoint: &Touchpoint, count: u64) -> Option<Spot> {
        match scope {
            Scope::Episode(kind) => self.concerned(model, kind, touchpoint).map(Spot::Episode),
            Scope::Session => {
                let session = touchpoint.session.as_deref().map(Id::of);
                session.map(|session| Spot::Session(self.session_place(&session, count)))
            }
            Scope::Stage => {
                self.standing.as_ref().filter(|standing| !model.stages[usize::from(standing.stage)].ends)?;
                Some(Spot::Stage)
            }
            Scope::Journey => Some(Spot::Journey),
        }
    }

    fn session_place(&mut self, id: &Id, count: u64) -> usize {
        if let Some(place) = self.sessions.iter().position(|session| session.id == *id) {
            self.sessions[place].touched = count;
            return place;
        }
        if self.sessions.len() == MAX_SESSIONS {
            let oldest = (0..MAX_SESSIONS).min_by_key(|place| self.sessions[*place].touched);
            oldest.map(|place| self.sessions.remove(place));
        }
        self.sessions.push(SessionSigns { id: id.clone(), touched: count, signs: Signs::default() });
        self.sessions.len() - 1
    }

    fn signs_at(&mut self, spot: Spot) -> Option<&mut Signs> {
        match spot {
            Spot::Episode(place) => self.episodes.get_mut(place).map(|episode| &mut episode.signs),
            Spot::Session(place) => self.sessions.get_mut(place).map(|session| &mut session.signs),
            Spot::Stage => self.standing.as_mut().map(|standing| &mut standing.signs),
            Spot::Journey => Some(&mut self.signs),
        }
    }

    /// Adds the touchpoint to a rule's evidence; the evidence, if that is enough now.
    fn gather(
        &mut self,
        model: &Model,
        evidence: Evidence,
        spot: Spot,
        arrival: &Arrival<'_>,
        touchpoint: &Touchpoint,
    ) -> Option<Vec<Seen>> {
        let rule = &model.friction[usize::from(evidence.rule)];
        let seen = Seen { id: arrival.id.clone(), at: arrival.moment.counts_from, parts: evidence.parts };
        let waited = match &rule.sign {
            Sign::Missing { within, .. } if evidence.parts & 1 != 0 && self.concerns(rule) => {
                // Of a question about an episode, that one is meant, not the one that progressed last.
                let own = match spot {
                    Spot::Episode(place) => self.episodes.get(place),
                    Spot::Session(_) | Spot::Stage | Spot::Journey => None,
                };
                within.span(&View { own, ..self.view(model, Some(touchpoint)) }, self.segment)
            }
            Sign::Missing { .. } | Sign::Count { .. } | Sign::Pattern { .. } | Sign::Score { .. } => None,
        };
        let signs = self.signs_at(spot)?;
        match &rule.sign {
            Sign::Count { times, within } => {
                let cooling = signs.is_cooling(evidence.rule, arrival.at);
                (!cooling).then(|| signs.count(evidence.rule, seen, *times, *within)).flatten()
            }
            Sign::Pattern { parts, within } => {
                let cooling = signs.is_cooling(evidence.rule, arrival.at);
                (!cooling).then(|| signs.follow(evidence.rule, seen, *parts, *within)).flatten()
            }
            Sign::Missing { by, .. } => {
                let key = by.as_ref().and_then(|by| touchpoint.property(by)?.as_id());
                if evidence.parts & 2 != 0 {
                    signs.answer(evidence.rule, key.as_ref());
                }
                // As everywhere, evidence that comes while the rule cools down does not count.
                if let Some(waited) = waited.filter(|_| !signs.is_cooling(evidence.rule, arrival.at)) {
                    let deadline = seen.at + waited;
                    signs.ask(evidence.rule, seen, key, deadline);
                }
                None
            }
            Sign::Score { .. } => None,
        }
    }

    /// Publishes a rule's friction, unless it cools down or is evidence only, and adds it to the scores that weigh it.
    fn publish(
        &mut self,
        model: &Model,
        fired: Fired,
        arrival: &Arrival<'_>,
        outcomes: &mut OutcomeBuilder<'_>,
        published: &mut Vec<RuleIndex>,
    ) {
        let rule = &model.friction[usize::from(fired.rule)];
        let Some(signs) = self.signs_at(fired.spot) else { return };
        if signs.is_cooling(fired.rule, arrival.at) {
            return;
        }
        if !rule.evidence_only {
            signs.cool(fired.rule, arrival.at, rule.cool_down);
            self.tell_friction(model, &fired, arrival, outcomes);
            published.push(fired.rule);
        }
        self.add_to_scores(model, &fired, arrival, outcomes, published);
    }

    fn add_to_scores(
        &mut self,
        model: &Model,
        fired: &Fired,
        arrival: &Arrival<'_>,
        outcomes: &mut OutcomeBuilder<'_>,
        published: &mut Vec<RuleIndex>,
    ) {
        for (index, rule) in (0..).zip(&model.friction) {
            let Sign::Score { threshold, weights, within } = &rule.sign else { continue };
            let Some((_, weight)) = weights.iter().find(|(part, _)| *part == fired.rule) else { continue };
            let threshold = match threshold {
                Threshold::Fixed(threshold) => Some(*threshold),
                Threshold::BySegment(by) => self.segment.and_then(|segment| *by.get(usize::from(segment))?),
            };
            let (Some(threshold), true) = (threshold, self.concerns(rule)) else { continue };
            let Some(spot) = self.spot_of_score(model, rule.scope, fired.spot, arrival) else { continue };
            let Some(signs) = self.signs_at(spot).filter(|signs| !signs.is_cooling(index, arrival.at)) else { continue };
            let part = (fired.rule, *weight);
            if let Some(reached) = signs.add(index, part, &fired.evidence, arrival.at, (threshold, *within)) {
                let score = Some((reached.score, reached.rules));
                let fired = Fired { rule: index, spot, evidence: reached.evidence, score };
                // Scores weigh no scores, so this goes one step deep.
                self.publish(model, fired, arrival, outcomes, published);
            }
        }
    }

    /// A score gathers where its parts do, if it is about the same kind of thing; else where the touchpoint belongs.
    fn spot_of_score(&mut self, model: &Model, scope: Scope, part: Spot, arrival: &Arrival<'_>) -> Option<Spot> {
        let same = match (scope, part) {
            (Scope::Episode(kind), Spot::Episode(place)) => self.episodes[place].kind == kind,
            (Scope::Session, Spot::Session(_)) | (Scope::Stage, Spot::Stage) | (Scope::Journey, Spot::Journey) => true,
            (Scope::Episode(_) | Scope::Session | Scope::Stage | Scope::Journey, _) => false,
        };
        match (same, arrival.touchpoint, scope) {
            (true, _, _) => Some(part),
            (false, Some(touchpoint), _) => self.spot(model, scope, touchpoint, arrival.count),
            (false, None, Scope::Stage) => self.standing.is_some().then_some(Spot::Stage),
            (false, None, Scope::Journey) => Some(Spot::Journey),
            (false, None, Scope::Episode(_) | Scope::Session) => None,
        }
    }

    fn tell_friction(&mut self, model: &Model, fired: &Fired, arrival: &Arrival<'_>, outcomes: &mut OutcomeBuilder<'_>) {
        let name = |rule: RuleIndex| model.friction[usize::from(rule)].name.clone();
        let (Some(about), value) = self.about_spot(model, fired) else { return };
        let what = What::Friction {
            about,
            rule: name(fired.rule),
            evidence: fired.evidence.iter().map(|seen| seen.id.to_text()).collect(),
            score: fired.score.as_ref().map(|(score, rules)| (*score, rules.iter().map(|rule| name(*rule)).collect())),
        };
        self.frictions += 1;
        outcomes.emit(self, arrival.at, arrival.cause(), value, what);
    }

    /// What the friction is about, and what is at stake.
    fn about_spot(&self, model: &Model, fired: &Fired) -> (Option<About>, Option<Money>) {
        let of_evidence = |subject: Subject| {
            let (first, last) = (fired.evidence.first()?, fired.evidence.last()?);
            Some(About {
                subject,
                opened_by: first.id.id.clone(),
                opened_at: first.at,
                last_progress: last.id.id.clone(),
                last_progress_at: last.at,
                progress_count: fired.evidence.len() as u32,
                abandonments: 0,
            })
        };
        match fired.spot {
            Spot::Episode(place) => {
                let episode = &self.episodes[place];
                let kind = &model.episodes[usize::from(episode.kind)];
                (Some(super::episodes::about(kind, episode)), episode.value)
            }
            Spot::Stage => {
                let about = |standing: &super::Standing| {
                    standing.watch.about(Subject::Stage(model.stage_name(standing.stage).into()))
                };
                (self.standing.as_ref().map(about), self.at_stake())
            }
            Spot::Session(place) => (of_evidence(Subject::Session(self.sessions[place].id.to_text())), self.at_stake()),
            Spot::Journey => (of_evidence(Subject::Journey), self.at_stake()),
        }
    }
}
