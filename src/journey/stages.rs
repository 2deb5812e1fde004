//! Where a journey stands among the stages, and how a touchpoint moves it (rules 10, 12, 14).

use serde::{Deserialize, Serialize};

use super::outcome::{Movement, Subject, Teller, What};
use super::watch::Watch;
use super::{Episode, Journey, Moment};
use crate::model::{Model, StageIndex, TypeRoles};
use crate::time::Timestamp;
use crate::touchpoint::{Money, Touchpoint};

/// The stage that a journey stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which stage.
    pub stage: StageIndex,
    /// Since when, and what is awaited. Opened by the touchpoint that entered the stage.
    pub watch: Watch,
    /// Whether the stage is abandoned and not resumed.
    pub abandoned: bool,
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

impl Journey {
    /// Moves the journey among the stages as the touchpoint demands.
    pub(super) fn step_stage(
        &mut self,
        model: &Model,
        roles: &TypeRoles,
        touchpoint: &Touchpoint,
        moment: Moment,
        teller: &mut Teller<'_>,
    ) {
        for way in &roles.enters {
            self.reached[usize::from(way.stage)].get_or_insert(touchpoint.event_time);
        }
        match self.way(model, roles) {
            Way::Move(to, movement) => self.enter(model, to, movement, touchpoint, moment, teller),
            Way::Belongs => self.progress_stage(model, roles, touchpoint, moment, Belonging::Yes, teller),
            Way::Stay => self.progress_stage(model, roles, touchpoint, moment, Belonging::No, teller),
        }
    }

    /// The ways that a stage names itself come first (back, then again); then staying; then the nearest later stage.
    fn way(&self, model: &Model, roles: &TypeRoles) -> Way {
        let forward = |from: Option<StageIndex>| {
            roles.enters.iter().map(|way| &way.stage).find(|stage| from.is_none_or(|from| **stage > from)).map(|to| {
                let next = from.map_or(0, |from| from + 1);
                let movement = if *to == model.last_stage() {
                    Movement::Complete
                } else if *to == next {
                    Movement::Advance
                } else {
                    Movement::Skip
                };
                Way::Move(*to, movement)
            })
        };
        let Some(present) = self.stage() else { return forward(None).unwrap_or(Way::Stay) };
        let at = usize::from(present);
        if let Some(to) = roles.back[at] {
            return Way::Move(to, Movement::Regress);
        }
        if roles.again[at]
            && let Some(to) = roles.enters.first().map(|way| &way.stage)
        {
            return Way::Move(*to, Movement::ReEnter);
        }
        if roles.enters.iter().any(|way| way.stage == present) {
            return Way::Belongs;
        }
        forward(Some(present)).unwrap_or(Way::Stay)
    }

    fn enter(
        &mut self,
        model: &Model,
        to: StageIndex,
        movement: Movement,
        touchpoint: &Touchpoint,
        moment: Moment,
        teller: &mut Teller<'_>,
    ) {
        let value = self.at_stake();
        let left = self.standing.take();
        if let (Some(left), Movement::Advance | Movement::Skip | Movement::Complete) = (&left, movement) {
            let within = model.stages[usize::from(left.stage)].recovered_within;
            if let Some(abandonment) = left.watch.recoverable(touchpoint.event_time, within) {
                let about = left.watch.about(Subject::Stage(model.stage_name(left.stage).into()));
                let what = What::Recovery { about, answers: abandonment };
                teller.tell(self, touchpoint.event_time, Some(touchpoint), value, what, left.watch.abandonments);
            }
        }
        if movement == Movement::ReEnter {
            self.number += 1;
            self.started_at = touchpoint.event_time;
            self.transitions = 0;
        }
        // A way back can lead into a stage that nothing belonging to it has reached.
        self.reached[usize::from(to)].get_or_insert(touchpoint.event_time);
        self.transitions += 1;
        let what = What::Transition {
            from: left.as_ref().map(|left| model.stage_name(left.stage).into()),
            to: model.stage_name(to).into(),
            movement,
            time_in_stage: left.map(|left| touchpoint.event_time.since(left.watch.opened_at)),
            decision: None,
        };
        let occurrence = self.transitions;
        teller.tell(self, touchpoint.event_time, Some(touchpoint), value, what, occurrence);
        self.standing = Some(Standing {
            stage: to,
            watch: Watch::open(touchpoint, moment, model.stages[usize::from(to)].quiet.as_ref().and_then(crate::model::Wait::fixed)),
            abandoned: false,
        });
    }

    fn progress_stage(
        &mut self,
        model: &Model,
        roles: &TypeRoles,
        touchpoint: &Touchpoint,
        moment: Moment,
        belonging: Belonging,
        teller: &mut Teller<'_>,
    ) {
        let value = self.at_stake();
        let Some(standing) = &mut self.standing else { return };
        let stage = &model.stages[usize::from(standing.stage)];
        if standing.abandoned {
            // Only a touchpoint that enters the stage resumes it (rule 14).
            if let (Belonging::Yes, Some(answers)) = (belonging, standing.watch.abandonment) {
                standing.watch.resume(touchpoint, moment, stage.quiet.as_ref().and_then(crate::model::Wait::fixed));
                standing.abandoned = false;
                let about = standing.watch.about(Subject::Stage(stage.name.clone()));
                let occurrence = standing.watch.abandonments;
                let what = What::Resumption { about, answers };
                teller.tell(self, touchpoint.event_time, Some(touchpoint), value, what, occurrence);
            }
        } else if roles.progresses[usize::from(standing.stage)] {
            standing.watch.progress(touchpoint, moment, stage.quiet.as_ref().and_then(crate::model::Wait::fixed));
        }
    }

    /// Abandons the present stage when its deadline is exactly `deadline`.
    pub(super) fn fire_stage(&mut self, model: &Model, deadline: Timestamp, teller: &mut Teller<'_>) {
        let value = self.at_stake();
        let Some(standing) = self.standing.as_ref().filter(|standing| standing.watch.deadline == deadline) else { return };
        let about = standing.watch.about(Subject::Stage(model.stage_name(standing.stage).into()));
        let occurrence = standing.watch.abandonments + 1;
        let id = teller.tell(self, deadline, None, value, What::Abandonment { about }, occurrence);
        if let Some(standing) = &mut self.standing {
            standing.watch.abandon(id, deadline);
            standing.abandoned = true;
        }
    }

    /// What an outcome about a stage says is at stake: the worth of the open episode touched last that has one.
    fn at_stake(&self) -> Option<Money> {
        let valued = |episode: &&Episode| !episode.abandoned && episode.value.is_some();
        self.episodes.iter().filter(valued).max_by_key(|episode| episode.touched)?.value
    }
}

/// Whether a touchpoint belongs to the present stage.
#[derive(Clone, Copy)]
enum Belonging {
    Yes,
    No,
}
