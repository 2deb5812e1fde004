//! Where a journey stands among the stages, and how a touchpoint moves it (rules 10, 12, 14).

use serde::{Deserialize, Serialize};

use super::outcome::{Cause, Movement, OutcomeBuilder, Subject, What};
use super::signs::Signs;
use super::watch::{Belonging, Watch};
use super::{Arrival, Episode, Journey};
use crate::model::{Model, RuleIndex, StageIndex, TypeRoles};
use crate::time::Timestamp;
use crate::touchpoint::Money;

/// The stage that a journey stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which stage.
    pub stage: StageIndex,
    /// Since when, and what is awaited. Opened by the touchpoint that entered the stage.
    pub watch: Watch,
    /// Whether the stage is abandoned and not resumed.
    pub abandoned: bool,
    /// Evidence of friction in this stay.
    pub signs: Signs,
}

/// What a touchpoint does to the present stage.
enum Way {
    /// Into another stage, or the same one of the next journey.
    Move(StageIndex, Movement),
    /// It belongs to the present stage.
    Belongs,
    /// Nothing.
    Stay,
}

/// Stages as bits, by index.
#[derive(Clone, Copy, Default)]
pub(super) struct StageSet(u64);

impl StageSet {
    pub(super) fn insert(&mut self, stage: StageIndex) {
        self.0 |= 1 << (stage % 64);
    }

    fn holds(self, stage: StageIndex) -> bool {
        self.0 & (1 << (stage % 64)) != 0
    }

    fn iter(self) -> impl Iterator<Item = StageIndex> {
        (0..64).filter(move |stage| self.holds(*stage))
    }
}

/// The stages that a touchpoint belongs to.
#[derive(Clone, Copy, Default)]
pub(super) struct Belongs {
    /// Its type enters them and their condition holds.
    pub(super) named: StageSet,
    /// And what they demand is fulfilled.
    pub(super) fulfilled: StageSet,
}

impl Journey {
    /// Moves the journey among the stages as the touchpoint demands; `friction` has just been published.
    pub(super) fn step_stage(
        &mut self,
        model: &Model,
        roles: &TypeRoles,
        arrival: &Arrival<'_>,
        friction: &[RuleIndex],
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        let belongs = self.belongs(model, roles, arrival);
        for stage in belongs.fulfilled.iter() {
            self.reached[usize::from(stage)].get_or_insert(arrival.at);
        }
        let way = match self.way_of_friction(model, friction) {
            Some(to) => Way::Move(to, Movement::Regress),
            None => self.way(model, roles, belongs, arrival),
        };
        let entered = matches!(way, Way::Move(..));
        match way {
            Way::Move(to, movement) => self.enter(model, to, movement, arrival, roles, outcomes),
            Way::Belongs => self.progress_stage(model, roles, arrival, Belonging::Yes, outcomes),
            Way::Stay => self.progress_stage(model, roles, arrival, Belonging::No, outcomes),
        }
        // Who belongs to a segment can depend on the stage and the journey that the touchpoint led to.
        self.segment = self.find_segment(model);
        if entered {
            self.ask_where_entered(model, roles, arrival);
        }
        self.arm_stage(model, arrival);
    }

    /// Leads the journey back where friction that an absence brought to light says so.
    pub(super) fn step_back(
        &mut self,
        model: &Model,
        rule: RuleIndex,
        arrival: &Arrival<'_>,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        if let Some(to) = self.way_of_friction(model, &[rule]) {
            self.enter(model, to, Movement::Regress, arrival, &TypeRoles::default(), outcomes);
            self.arm_stage(model, arrival);
        }
    }

    fn way_of_friction(&self, model: &Model, friction: &[RuleIndex]) -> Option<StageIndex> {
        if friction.is_empty() {
            return None;
        }
        let ways = &model.stages[usize::from(self.stage()?)].back_on_friction;
        ways.iter().find(|(rule, _)| friction.contains(rule)).map(|(_, to)| *to)
    }

    /// The ways that a stage names itself come first (back, renewal, again); then staying; then the nearest later stage.
    fn way(&self, model: &Model, roles: &TypeRoles, belongs: Belongs, arrival: &Arrival<'_>) -> Way {
        let ends = |stage: StageIndex| model.stages[usize::from(stage)].ends;
        let first = belongs.fulfilled.iter().find(|stage| !ends(*stage));
        let Some(standing) = &self.standing else {
            return belongs.fulfilled.iter().next().map_or(Way::Stay, |to| Way::Move(to, forward(model, None, to)));
        };
        let present = standing.stage;
        let at = usize::from(present);
        if ends(present) {
            return first.map_or(Way::Stay, |to| Way::Move(to, Movement::ReEnter));
        }
        if let Some(to) = roles.back[at] {
            return Way::Move(to, Movement::Regress);
        }
        if let Some(to) = roles.renews[at] {
            return Way::Move(to, Movement::Renew);
        }
        if let Some(to) = first.filter(|_| roles.again[at]) {
            return Way::Move(to, Movement::ReEnter);
        }
        if belongs.named.holds(present) {
            return Way::Belongs;
        }
        let later = belongs.fulfilled.iter().find(|stage| *stage > present);
        let dwelt = model.stages[at]
            .at_least
            .is_none_or(|at_least| arrival.moment.counts_from >= standing.watch.opened_at + at_least);
        match (later, roles.back_otherwise[at]) {
            (Some(to), _) if dwelt || ends(to) => Way::Move(to, forward(model, Some(present), to)),
            (None, Some(to)) => Way::Move(to, Movement::Regress),
            (Some(_), _) | (None, None) => Way::Stay,
        }
    }

    fn enter(
        &mut self,
        model: &Model,
        to: StageIndex,
        movement: Movement,
        arrival: &Arrival<'_>,
        roles: &TypeRoles,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        let value = self.at_stake();
        let left = self.standing.take();
        if let (Some(left), Movement::Advance | Movement::Skip | Movement::Complete | Movement::Renew) = (&left, movement) {
            let within = model.stages[usize::from(left.stage)].recovered_within;
            if let Some(abandonment) = left.watch.recoverable(arrival.at, within) {
                let about = left.watch.about(Subject::Stage(model.stage_name(left.stage).into()));
                let what = What::Recovery { about, answers: abandonment };
                outcomes.emit(self, arrival.at, arrival.cause(), value, what);
            }
        }
        if matches!(movement, Movement::ReEnter | Movement::Renew) {
            self.begin_next(arrival.at, roles);
        } else if left.is_none() && self.transitions == 0 {
            // Until here it was only known since when the customer is.
            self.started_at = arrival.at;
        }
        // A way back can lead into a stage that nothing belonging to it has reached.
        self.reached[usize::from(to)].get_or_insert(arrival.at);
        self.forget_counts(to);
        self.transitions += 1;
        let what = What::Transition {
            decision: self.decision(model, roles, movement, arrival.at),
            from: left.as_ref().map(|left| model.stage_name(left.stage).into()),
            to: model.stage_name(to).into(),
            movement,
            time_in_stage: left.map(|left| arrival.at.since(left.watch.opened_at)),
        };
        outcomes.emit(self, arrival.at, arrival.cause(), value, what);
        let watch = Watch::open(arrival.id, arrival.at, arrival.moment);
        self.standing = Some(Standing { stage: to, watch, abandoned: false, signs: Signs::default() });
    }

    /// Whether the journey has entered a stage, which is when it starts.
    pub(super) fn has_started(&self) -> bool {
        self.standing.is_some() || self.transitions > 0
    }

    /// The customer's next journey begins: what belongs to one journey begins anew.
    fn begin_next(&mut self, at: Timestamp, roles: &TypeRoles) {
        self.number += 1;
        self.started_at = at;
        self.transitions = 0;
        self.signs = Signs::default();
        self.begin_tallies(roles);
    }

    fn progress_stage(
        &mut self,
        model: &Model,
        roles: &TypeRoles,
        arrival: &Arrival<'_>,
        belonging: Belonging,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        let value = self.at_stake();
        let (Some(standing), Some(touchpoint)) = (&mut self.standing, arrival.touchpoint) else { return };
        if standing.abandoned {
            // Only a touchpoint that enters the stage resumes it (rule 14).
            if let (Belonging::Yes, Some(answers)) = (belonging, standing.watch.abandonment) {
                standing.watch.resume(arrival.id, touchpoint.event_time, arrival.moment);
                standing.abandoned = false;
                let about = standing.watch.about(Subject::Stage(model.stage_name(standing.stage).into()));
                let what = What::Resumption { about, answers };
                outcomes.emit(self, arrival.at, arrival.cause(), value, what);
            }
        } else if belonging == Belonging::Yes || roles.progresses[usize::from(standing.stage)] {
            standing.watch.progress(arrival.id, touchpoint.event_time, arrival.moment, belonging);
        }
    }

    /// Sets the deadline of the present stage, if the touchpoint stirred it.
    fn arm_stage(&mut self, model: &Model, arrival: &Arrival<'_>) {
        let Some(standing) = &self.standing else { return };
        let (stage, pending) = (&model.stages[usize::from(standing.stage)], standing.watch.pending);
        let view = self.view(model, arrival.touchpoint);
        let quiet = stage.quiet.as_ref().and_then(|wait| wait.span(&view, self.segment));
        let until = stage.abandoned_at.as_ref().filter(|_| pending.belongs()).and_then(|at| at.instant(&view));
        if let Some(standing) = &mut self.standing {
            let until = standing.watch.take_date(until, arrival.at);
            standing.watch.arm(quiet, until, arrival.moment);
        }
    }

    /// Takes back that the present stage was abandoned after an instant: its deadline stands again.
    pub(super) fn reopen_stage(&mut self, model: &Model, after: Timestamp, outcomes: &mut OutcomeBuilder<'_>) {
        let value = self.at_stake();
        let Some(standing) = self.standing.as_ref().filter(|standing| standing.abandoned) else { return };
        if standing.watch.abandonment.is_none_or(|wrong| wrong.at <= after) {
            return;
        }
        let stage = &model.stages[usize::from(standing.stage)];
        let (about, watch) = (standing.watch.about(Subject::Stage(stage.name.clone())), standing.watch.clone());
        let (taken_back, stands) = outcomes.retract(self, watch.told(), after, value, about);
        if let Some(standing) = &mut self.standing {
            standing.abandoned = stands.is_some();
            standing.watch.take_back(taken_back, stands);
        }
    }

    /// Abandons the present stage when its deadline is exactly `deadline`; where the stage says so, the journey ends.
    pub(super) fn fire_stage(&mut self, model: &Model, deadline: Timestamp, outcomes: &mut OutcomeBuilder<'_>) {
        let value = self.at_stake();
        let Some(standing) = self.standing.as_ref().filter(|standing| standing.watch.deadline == deadline) else { return };
        let stage = &model.stages[usize::from(standing.stage)];
        let about = standing.watch.about(Subject::Stage(stage.name.clone()));
        let passed = standing.watch.passed();
        let last = standing.watch.last_progress.clone();
        let cause = Cause::AbsenceAfter(&last.id);
        let id = outcomes.emit(self, deadline, cause, value, What::Abandonment { about, passed });
        if let Some(standing) = &mut self.standing {
            standing.watch.abandon(id, deadline, stage.abandoned_again.filter(|_| stage.then.is_none()));
            standing.abandoned = true;
            standing.signs.forget_evidence();
        }
        if let Some(to) = stage.then {
            let arrival = Arrival::absence(&last, deadline);
            self.enter(model, to, Movement::End, &arrival, &TypeRoles::default(), outcomes);
            self.arm_stage(model, &arrival);
        }
    }

    /// What an outcome about a stage says is at stake: the worth of the open episode touched last that has one.
    pub(super) fn at_stake(&self) -> Option<Money> {
        let valued = |episode: &&Episode| !episode.abandoned && episode.value.is_some();
        self.episodes.iter().filter(valued).max_by_key(|episode| episode.touched)?.value
    }
}

/// In which way a journey moves forward.
fn forward(model: &Model, from: Option<StageIndex>, to: StageIndex) -> Movement {
    if model.stages[usize::from(to)].ends {
        Movement::End
    } else if to == model.last_stage() {
        Movement::Complete
    } else if to == from.map_or(0, |from| from + 1) {
        Movement::Advance
    } else {
        Movement::Skip
    }
}
