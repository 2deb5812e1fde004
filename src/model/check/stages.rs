//! Stages: what enters each, what leads back or into the next journey, and when silence counts as leaving.

use std::collections::{HashMap, HashSet};

use super::groups::{Groups, Types};
use super::{check_name, check_recovery};
use crate::diagnostic::{Diagnostic, Faults, Place, did_you_mean, quoted};
use crate::model::StageIndex;
use crate::model::written::{List, Name, Progress, Stage};

/// A stage with its types resolved.
pub(super) struct Checked<'a> {
    pub(super) written: &'a Stage,
    pub(super) enter: Types<'a>,
    /// `None`: any touchpoint is progress.
    pub(super) progresses: Option<Types<'a>>,
    pub(super) back: Vec<(StageIndex, Types<'a>)>,
    pub(super) again: Types<'a>,
}

/// Resolves and checks the stages, no more of them than a model may have.
pub(super) fn check<'a>(stages: &'a [Stage], groups: &mut Groups<'a>, faults: &mut Faults) -> Vec<Checked<'a>> {
    let checked: Vec<Checked<'a>> =
        (0..).zip(stages).map(|(index, stage)| resolve(index, stage, stages, groups, faults)).collect();
    check_entered(&checked, faults);
    check_next_journeys(&checked, faults);
    let latest = latest_entered(&checked);
    for (index, stage) in (0..).zip(&checked) {
        check_ways(index, stage, &latest, stages, faults);
        check_silence(stage.written, faults);
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
    stages: &[Stage],
    groups: &mut Groups<'a>,
    faults: &mut Faults,
) -> Checked<'a> {
    check_name("stage", &stage.name, faults);
    let enter = groups.expand(stage.enter.as_deref().unwrap_or_default(), faults);
    let progresses = match &stage.progresses {
        Progress::Any => None,
        Progress::Only { types, .. } => Some(groups.expand(types, faults)),
    };
    let mut back = Vec::new();
    for way in &stage.back {
        let types = groups.expand(&way.members, faults);
        back.extend(back_target(index, way, stages, faults).map(|target| (target, types)));
    }
    Checked { written: stage, enter, progresses, back, again: groups.expand(&stage.again, faults) }
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

fn check_entered(stages: &[Checked<'_>], faults: &mut Faults) {
    let led_back_to: HashSet<StageIndex> =
        stages.iter().flat_map(|stage| stage.back.iter().map(|(target, _)| *target)).collect();
    for (index, stage) in (0..).zip(stages) {
        let nothing = stage.written.enter.as_ref().is_some_and(Vec::is_empty);
        if nothing && !led_back_to.contains(&index) {
            let cause = format!("nothing enters stage {}", quoted(&stage.written.name.value));
            faults.error(
                "M030",
                &stage.written.name.place,
                cause,
                "add `enter:` with the types of touchpoints that lead here",
            );
        }
    }
}

/// A touchpoint that begins the next journey must enter some stage of it.
fn check_next_journeys(stages: &[Checked<'_>], faults: &mut Faults) {
    // Where a list could not be read, nobody knows what it would have named.
    if stages.iter().any(|stage| stage.written.enter.is_none()) {
        return;
    }
    let entering: HashSet<&str> = stages.iter().flat_map(|stage| stage.enter.iter().map(|(kind, _)| *kind)).collect();
    for stage in stages {
        for (kind, place) in stage.again.iter().filter(|(kind, _)| !entering.contains(kind)) {
            let cause = format!("{} begins the next journey, but enters no stage of it", quoted(kind));
            faults.error("M034", place, cause, "add it to what enters a stage, or remove it here");
        }
    }
}

/// By type, the latest stage that it enters.
fn latest_entered<'a>(stages: &[Checked<'a>]) -> HashMap<&'a str, StageIndex> {
    let entering = (0..).zip(stages).flat_map(|(index, stage)| stage.enter.iter().map(move |(kind, _)| (*kind, index)));
    entering.collect()
}

/// From one stage a type leads one way: back, into the next journey, or forward.
fn check_ways(
    index: StageIndex,
    stage: &Checked<'_>,
    latest: &HashMap<&str, StageIndex>,
    stages: &[Stage],
    faults: &mut Faults,
) {
    let from = quoted(&stage.written.name.value);
    let mut led: HashMap<&str, &Place> = HashMap::new();
    let back = stage.back.iter().flat_map(|(_, types)| types);
    for (kind, place) in back.chain(&stage.again) {
        if let Some(first) = led.insert(kind, place) {
            let cause = format!("{} leads two ways from stage {from}", quoted(kind));
            faults.push(
                Diagnostic::error("M032", place, cause, "keep it in one of the two lists").see(first, "the other way"),
            );
        } else if let Some(entered) = latest.get(kind).filter(|entered| **entered >= index) {
            let name = quoted(&stages[usize::from(*entered)].name.value);
            let cause = format!("{} leads away from stage {from}, yet also enters {name}", quoted(kind));
            faults.warning("M033", place, cause, format!("remove it here, or from what enters {name}"));
        }
    }
}

fn check_silence(stage: &Stage, faults: &mut Faults) {
    check_recovery(&stage.recovered, stage.quiet.as_ref(), "quiet", faults);
    if let (Progress::Only { key, .. }, None) = (&stage.progresses, &stage.quiet) {
        let help = "add `quiet` with a duration, or remove this line";
        faults.warning("M035", key, "`progresses` has no effect without `quiet`", help);
    }
}
