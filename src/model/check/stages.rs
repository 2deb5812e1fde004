//! Stages: what enters each, what leads back or into the next journey, and when silence counts as leaving.

mod ways;

use super::conditions::Conditions;
use super::friction;
use super::groups::{Groups, Types};
use super::segments::Segments;
use super::{MAX_WAYS, check_again, check_name, check_recovery};
use crate::diagnostic::{Diagnostic, Faults, did_you_mean, quoted};
use crate::expression::Expression;
use crate::model::written::{self, Friction, List, Name, Progress, Stage};
use crate::model::{Demand, RuleIndex, StageIndex, Wait};

/// A stage with its names resolved.
pub(super) struct Checked<'a> {
    pub(super) written: &'a Stage,
    pub(super) enter: Vec<Way<'a>>,
    pub(super) when: Option<Expression>,
    pub(super) quiet: Option<Wait>,
    pub(super) abandoned_at: Option<Expression>,
    /// `None`: any touchpoint is progress.
    pub(super) progresses: Option<Types<'a>>,
    pub(super) back: Vec<(StageIndex, Types<'a>)>,
    pub(super) back_on_friction: Vec<(RuleIndex, StageIndex)>,
    pub(super) again: Types<'a>,
    pub(super) renews: Vec<(StageIndex, Types<'a>)>,
    pub(super) then: Option<StageIndex>,
}

/// A way into a stage: what it demands, and by part the types that count for it.
pub(super) struct Way<'a> {
    pub(super) demand: Demand,
    pub(super) parts: Vec<Types<'a>>,
}

impl<'a> Checked<'a> {
    /// Every type that counts for entering.
    pub(super) fn entering(&self) -> impl Iterator<Item = &super::groups::Mention<'a>> {
        self.enter.iter().flat_map(|way| way.parts.iter().flatten())
    }
}

/// What stages refer to.
pub(super) struct Around<'r, 'a> {
    pub(super) stages: &'a [Stage],
    pub(super) rules: &'a [Friction],
    pub(super) segments: &'r Segments<'a>,
}

/// Resolves and checks the stages, no more of them than a model may have.
pub(super) fn check<'a>(
    around: &Around<'_, 'a>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Vec<Checked<'a>> {
    let indexed = (0..).zip(around.stages);
    let checked: Vec<Checked<'a>> =
        indexed.map(|(index, stage)| resolve(index, stage, around, groups, conditions, faults)).collect();
    check_terminal(around.stages, faults);
    ways::check(&checked, around.stages, faults);
    for stage in around.stages {
        check_silence(stage, faults);
    }
    checked
}

/// The index of a stage by its name; a diagnostic where there is none.
pub(super) fn find(name: &Name, stages: &[Stage], faults: &mut Faults) -> Option<StageIndex> {
    let found = stages.iter().position(|stage| stage.name.value == name.value);
    if found.is_none() && !stages.is_empty() {
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.value.as_str()).collect();
        let cause = format!("there is no stage {}", quoted(&name.value));
        faults.error("M020", &name.place, cause, did_you_mean(&name.value, &names, "the stages are"));
    }
    found.and_then(|index| StageIndex::try_from(index).ok())
}

fn resolve<'a>(
    index: StageIndex,
    stage: &'a Stage,
    around: &Around<'_, 'a>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Checked<'a> {
    check_name("stage", &stage.name, faults);
    let ways = stage.enter.as_deref().unwrap_or_default();
    // The types that enter alone come first, so what is beyond is no such way.
    if let Some(written::Way::Count { place, .. } | written::Way::All { place, .. }) = ways.get(MAX_WAYS) {
        let cause = format!("{} ways into a stage are more than the {MAX_WAYS} that it may have", ways.len());
        faults.error("M004", place, cause, "remove some ways, or join their types in groups");
    }
    let enter = ways.iter().take(MAX_WAYS).map(|way| resolve_way(way, groups, faults)).collect();
    let progresses = match &stage.progresses {
        Progress::Any => None,
        Progress::Only { types, .. } => Some(groups.expand(types, faults)),
    };
    let mut checked = Checked {
        written: stage,
        enter,
        when: stage.when.as_ref().and_then(|line| conditions.flag(line, faults)),
        quiet: stage.quiet.as_ref().and_then(|wait| conditions.wait(wait, around.segments, faults)),
        abandoned_at: stage.abandoned_at.as_ref().and_then(|line| conditions.instant(line, faults)),
        progresses,
        back: Vec::new(),
        back_on_friction: Vec::new(),
        again: groups.expand(&stage.again, faults),
        renews: Vec::new(),
        then: stage.then.as_ref().and_then(|name| terminal(name, stage, around.stages, faults)),
    };
    for way in &stage.back {
        let target = back_target(index, way, around.stages, faults);
        checked.lead_back(way, target, around.rules, groups, faults);
    }
    for way in &stage.renews {
        let types = groups.expand(&way.members, faults);
        checked.renews.extend(renewal(way, around.stages, faults).map(|target| (target, types)));
    }
    checked
}

fn resolve_way<'a>(way: &'a written::Way, groups: &mut Groups<'a>, faults: &mut Faults) -> Way<'a> {
    match way {
        written::Way::One(names) => Way { demand: Demand::One, parts: vec![groups.expand_or_any(names, faults)] },
        written::Way::Count { times, of, within, .. } => {
            let demand = Demand::Count { times: *times, within: *within };
            Way { demand, parts: vec![groups.expand(of, faults)] }
        }
        written::Way::All { parts, within, .. } => {
            let number = u8::try_from(parts.len()).unwrap_or(u8::MAX);
            Way { demand: Demand::All { parts: number, within: *within }, parts: groups.expand_each(parts, faults) }
        }
    }
}

impl<'a> Checked<'a> {
    /// Takes one line of `back`: types, and friction rules by `friction.NAME`.
    fn lead_back(
        &mut self,
        way: &'a List,
        target: Option<StageIndex>,
        rules: &'a [Friction],
        groups: &mut Groups<'a>,
        faults: &mut Faults,
    ) {
        let on_friction = |name: &Name| name.value.starts_with("friction.");
        // Runs of types between rules, as types are resolved by lists.
        for run in way.members.chunk_by(|one, other| on_friction(one) == on_friction(other)) {
            if run.first().is_some_and(on_friction) {
                for name in run {
                    let rule = name.value.strip_prefix("friction.").unwrap_or(&name.value);
                    let rule = friction::find(rule, &name.place, rules, faults);
                    let (Some(rule), Some(target)) = (rule, target) else { continue };
                    if self.back_on_friction.iter().any(|(known, _)| *known == rule) {
                        let cause = format!(
                            "{} leads two ways from stage {}",
                            quoted(&name.value),
                            quoted(&self.written.name.value)
                        );
                        faults.error("M032", &name.place, cause, "keep one of the two");
                    } else {
                        self.back_on_friction.push((rule, target));
                    }
                }
            } else {
                let types = groups.expand_or_any(run, faults);
                self.back.extend(target.map(|target| (target, types)));
            }
        }
    }
}

fn back_target(from: StageIndex, way: &List, stages: &[Stage], faults: &mut Faults) -> Option<StageIndex> {
    let target = find(&way.name, stages, faults)?;
    if target < from {
        return Some(target);
    }
    let (from_name, target_name) = (quoted(&stages[usize::from(from)].name.value), quoted(&way.name.value));
    let (cause, help) = if target == from {
        (format!("{from_name} cannot lead back to itself"), "name an earlier stage".to_owned())
    } else {
        let help = format!("ways forward are written under {target_name}, as what enters it");
        (format!("{target_name} comes after {from_name}, so it is no way back"), help)
    };
    faults.error("M031", &way.name.place, cause, help);
    None
}

/// The stage of `then`, which must be terminal.
fn terminal(name: &Name, stage: &Stage, stages: &[Stage], faults: &mut Faults) -> Option<StageIndex> {
    let target = find(name, stages, faults)?;
    let written = &stages[usize::from(target)];
    if written.ends.is_none() {
        let from = quoted(&stage.name.value);
        let cause =
            format!("an abandonment of {from} cannot end the journey in {}, which is not terminal", quoted(&name.value));
        let help =
            format!("add `ends: true` to {}, and list it after all stages that do not end a journey", quoted(&name.value));
        faults.push(Diagnostic::error("M039", &name.place, cause, help).see(&written.name.place, "the stage"));
        return None;
    }
    Some(target)
}

/// The stage in which the journey after a renewal begins, which must not be terminal.
fn renewal(way: &List, stages: &[Stage], faults: &mut Faults) -> Option<StageIndex> {
    let target = find(&way.name, stages, faults)?;
    if stages[usize::from(target)].ends.is_some() {
        let cause = format!("the next journey cannot begin in {}, which is terminal", quoted(&way.name.value));
        faults.error("M039", &way.name.place, cause, "name the stage in which a renewed customer goes on");
        return None;
    }
    Some(target)
}

/// Terminal stages come after all others, and nothing goes on from them.
fn check_terminal(stages: &[Stage], faults: &mut Faults) {
    let last = stages.iter().rposition(|stage| stage.ends.is_none());
    for (at, stage) in stages.iter().enumerate() {
        let Some(ends) = &stage.ends else { continue };
        let name = quoted(&stage.name.value);
        match last {
            None if at == 0 => {
                let cause = "every stage ends the journey, so none is ever under way";
                faults.error("M037", ends, cause, "add a stage without `ends` before them");
            }
            Some(last) if at < last => {
                let after = quoted(&stages[last].name.value);
                let cause = format!("{name} ends the journey, yet {after} comes after it");
                faults.error("M037", ends, cause, format!("list {name} after {after}: terminal stages come last"));
            }
            Some(_) | None => {}
        }
        for (key, place) in &stage.onward {
            let cause = format!("{} says nothing in {name}, which ends the journey", quoted(key));
            let help = "remove this line; the next touchpoint that enters a stage begins the next journey";
            faults.error("M038", place, cause, help);
        }
    }
}

fn check_silence(stage: &Stage, faults: &mut Faults) {
    if stage.ends.is_some() {
        return;
    }
    let absence = stage.quiet.is_some() || stage.abandoned_at.is_some();
    check_again(stage.abandoned_again.as_ref(), absence, "quiet", faults);
    if let (Some(then), Some(again), true) = (&stage.then, &stage.abandoned_again, absence) {
        let cause = "`every` has no effect beside `then`: the journey ends with the abandonment";
        let place = &again.every.place;
        faults.push(Diagnostic::warning("M035", place, cause, "remove one of the two lines").see(&then.place, "its end"));
    }
    check_recovery(&stage.recovered, stage.quiet.as_ref(), absence, "quiet", faults);
    if let (Progress::Only { key, .. }, None) = (&stage.progresses, &stage.quiet) {
        let help = "add `quiet` with a duration, or remove this line";
        faults.warning("M035", key, "`progresses` has no effect without `quiet`", help);
    }
    if let (Some(then), Some(place), true) = (&stage.then, &stage.recovered.place, absence) {
        let cause = "`recovered within` has no effect beside `then`: the journey ends with the abandonment";
        faults.push(Diagnostic::warning("M035", place, cause, "remove one of the two lines").see(&then.place, "its end"));
    }
    if let Some(then) = stage.then.as_ref().filter(|_| !absence) {
        let help = "add `quiet` or `abandoned at`, or remove this line";
        faults.warning("M035", &then.place, "`then` has no effect where nothing is abandoned", help);
    }
    let quiet = stage.quiet.as_ref().and_then(written::Wait::fixed);
    if let (Some(dwell), Some(quiet)) = (&stage.at_least, quiet)
        && dwell.value >= quiet.value
    {
        let cause = format!(
            "nobody moves on from here for {}, and after {} of silence the stage is abandoned",
            dwell.value, quiet.value
        );
        faults.push(
            Diagnostic::warning("M047", &dwell.place, cause, "wait less with `at least`, or longer with `quiet`")
                .see(&quiet.place, "the silence"),
        );
    }
}
