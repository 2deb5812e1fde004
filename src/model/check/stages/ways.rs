//! Ways between stages: that each stage has one in, and that none is in the way of another.

use std::collections::{HashMap, HashSet};

use super::Checked;
use crate::diagnostic::{Diagnostic, Faults, Place, quoted};
use crate::model::check::groups::{Guard, Mention, includes};
use crate::model::written::{self, Stage};
use crate::model::{Demand, StageIndex};

pub(super) fn check(stages: &[Checked<'_>], written: &[Stage], faults: &mut Faults) {
    check_entered(stages, faults);
    check_next_journeys(stages, faults);
    let latest = latest_entered(stages);
    for (index, stage) in (0..).zip(stages) {
        check_ways(index, stage, &latest, written, faults);
        check_own_ways(stage, faults);
        check_parts(stage, faults);
    }
    check_shadowed(stages, faults);
}

/// Something leads into each stage: a touchpoint, a way back, a renewal, or an abandonment.
fn check_entered(stages: &[Checked<'_>], faults: &mut Faults) {
    let led_to = led_to(stages);
    for (index, stage) in (0..).zip(stages) {
        let nothing = stage.written.enter.as_ref().is_some_and(Vec::is_empty);
        if nothing && !led_to.contains(&index) {
            let cause = format!("nothing enters stage {}", quoted(&stage.written.name.value));
            let help = if stage.written.ends.is_some() {
                format!(
                    "add `enter:` with the types of touchpoints that lead here, or `then: {}` to a stage that is abandoned",
                    stage.written.name.value
                )
            } else {
                "add `enter:` with the types of touchpoints that lead here".to_owned()
            };
            faults.error("M030", &stage.written.name.place, cause, help);
        }
    }
}

/// A touchpoint that begins the next journey must enter some stage of it.
fn check_next_journeys(stages: &[Checked<'_>], faults: &mut Faults) {
    // Where a list could not be read, nobody knows what it would have named.
    if stages.iter().any(|stage| stage.written.enter.is_none()) {
        return;
    }
    let entering: HashSet<&str> = stages.iter().flat_map(|stage| stage.entering().map(|mention| mention.kind)).collect();
    for stage in stages {
        for mention in stage.again.iter().filter(|mention| !entering.contains(mention.kind)) {
            let cause = format!("{} begins the next journey, but enters no stage of it", quoted(mention.kind));
            faults.error("M034", mention.place, cause, "add it to what enters a stage, or remove it here");
        }
    }
}

/// By type, the stages that it enters, with when it does; the latest stage last.
fn latest_entered<'a>(stages: &[Checked<'a>]) -> HashMap<&'a str, Vec<(StageIndex, Guard)>> {
    let mut entered: HashMap<&str, Vec<(StageIndex, Guard)>> = HashMap::new();
    for (index, stage) in (0..).zip(stages) {
        for mention in stage.entering() {
            entered.entry(mention.kind).or_default().push((index, mention.guard.clone()));
        }
    }
    entered
}

/// From one stage a type leads one way: back, into the next journey, or forward.
fn check_ways(
    index: StageIndex,
    stage: &Checked<'_>,
    entered: &HashMap<&str, Vec<(StageIndex, Guard)>>,
    stages: &[Stage],
    faults: &mut Faults,
) {
    let from = quoted(&stage.written.name.value);
    let mut led: HashMap<&str, Vec<(&Guard, &Place)>> = HashMap::new();
    let back = stage.back.iter().flat_map(|(_, types)| types);
    let away = back.chain(&stage.again).map(|mention| (mention, Some(index)));
    // What enters a stage the first time may well renew it the next time: a renewal is no way away from it.
    let renews = stage.renews.iter().flat_map(|(_, types)| types).map(|mention| (mention, None));
    for (Mention { kind, place, guard }, away_from) in away.chain(renews) {
        let others = led.entry(kind).or_default();
        if let Some((_, first)) = others.iter().find(|(other, _)| *other == guard) {
            let cause = format!("{} leads two ways from stage {from}", quoted(kind));
            faults.push(
                Diagnostic::error("M032", place, cause, "keep it in one of the two lists").see(first, "the other way"),
            );
            continue;
        }
        others.push((guard, place));
        let Some(index) = away_from else { continue };
        // A way under a condition leaves the others to the touchpoints that it does not hold for.
        let later = entered.get(kind).into_iter().flatten().rev();
        let mut later = later.filter(|(stage, other)| *stage >= index && includes(guard, other));
        if let Some((entered, _)) = later.next() {
            let name = quoted(&stages[usize::from(*entered)].name.value);
            let cause = format!("{} leads away from stage {from}, yet also enters {name}", quoted(kind));
            faults.warning("M033", place, cause, format!("remove it here, or from what enters {name}"));
        }
    }
}

/// A way that asks for several touchpoints of which one alone enters as well.
fn check_own_ways(stage: &Checked<'_>, faults: &mut Faults) {
    let alone: Vec<&Mention<'_>> = alone(stage).collect();
    for (way, written) in stage.enter.iter().zip(stage.written.enter.iter().flatten()) {
        let place = match written {
            written::Way::One(_) => continue,
            written::Way::Count { place, .. } | written::Way::All { place, .. } => place,
        };
        let shadowed = way.parts.iter().any(|part| !part.is_empty() && part.iter().all(|mention| covered(mention, &alone)));
        if shadowed {
            let cause = format!(
                "this way into {} is never needed: one touchpoint alone enters already",
                quoted(&stage.written.name.value)
            );
            faults.warning("M048", place, cause, "remove this way, or take its types out of those that enter alone");
        }
    }
}

/// Parts of `all of` are to be different things: a touchpoint that belongs to two of them would fulfil both.
fn check_parts(stage: &Checked<'_>, faults: &mut Faults) {
    for way in stage.enter.iter().filter(|way| matches!(way.demand, Demand::All { .. })) {
        let mut earlier: HashMap<&str, Vec<&Mention<'_>>> = HashMap::new();
        for part in &way.parts {
            let meets = |mention: &&Mention<'_>, other: &&&Mention<'_>| {
                includes(&other.guard, &mention.guard) || includes(&mention.guard, &other.guard)
            };
            let shared = part.iter().find_map(|mention| {
                let others = earlier.get(mention.kind)?;
                others.iter().find(|other| meets(&mention, other)).map(|other| (mention, *other))
            });
            if let Some((mention, other)) = shared {
                let cause = format!("{} belongs to two parts of `all of`: it alone would fulfil both", quoted(mention.kind));
                let help = "name parts that have no type in common";
                faults.push(Diagnostic::error("M008", mention.place, cause, help).see(other.place, "the other part"));
            }
            for mention in part {
                earlier.entry(mention.kind).or_default().push(mention);
            }
        }
    }
}

/// A stage whose types all belong to one that is always met first: the stage right before it, where a customer stays, or a
/// terminal one between, as nobody stands there.
fn check_shadowed(stages: &[Checked<'_>], faults: &mut Faults) {
    let led_to = led_to(stages);
    for (at, (index, stage)) in (0..).zip(stages).enumerate() {
        let mut entering = stage.entering().peekable();
        if led_to.contains(&index) || entering.peek().is_none() {
            continue;
        }
        let entering: Vec<&Mention<'_>> = entering.collect();
        let ends = |stage: &Checked<'_>| stage.written.ends.is_some();
        let between = stages[..at].iter().rev().take_while(|stage| ends(stage)).count();
        let met_first = &stages[at.saturating_sub(between + 1)..at];
        let shadows = |before: &&Checked<'_>| {
            let alone: Vec<&Mention<'_>> = alone(before).collect();
            holds_too(before, stage) && entering.iter().all(|mention| covered(mention, &alone))
        };
        let Some(before) = met_first.iter().find(shadows) else { continue };
        let (name, first) = (quoted(&stage.written.name.value), quoted(&before.written.name.value));
        let cause = format!("nobody gets into stage {name}: whatever enters it belongs to {first} before it");
        let help = format!("take the types of {name} out of what enters {first}, or add a type that only {name} has");
        faults.push(
            Diagnostic::warning("M048", &stage.written.name.place, cause, help)
                .see(&before.written.name.place, "the stage before"),
        );
    }
}

/// Whether the condition of a stage holds wherever another's does.
fn holds_too(one: &Checked<'_>, other: &Checked<'_>) -> bool {
    match (&one.written.when, &other.written.when) {
        (None, _) => true,
        (Some(one), Some(other)) => one.value == other.value,
        (Some(_), None) => false,
    }
}

/// The stages that something else than a touchpoint's own entering leads to.
fn led_to(stages: &[Checked<'_>]) -> HashSet<StageIndex> {
    let mut led_to: HashSet<StageIndex> = HashSet::new();
    for stage in stages {
        led_to.extend(stage.back.iter().map(|(target, _)| *target));
        led_to.extend(stage.back_on_friction.iter().map(|(_, target)| *target));
        led_to.extend(stage.renews.iter().map(|(target, _)| *target));
        led_to.extend(stage.then);
    }
    led_to
}

fn alone<'s, 'a>(stage: &'s Checked<'a>) -> impl Iterator<Item = &'s Mention<'a>> {
    let ways = stage.enter.iter().filter(|way| way.demand == Demand::One);
    ways.flat_map(|way| way.parts.iter().flatten())
}

fn covered(mention: &Mention<'_>, alone: &[&Mention<'_>]) -> bool {
    alone.iter().any(|other| other.kind == mention.kind && includes(&other.guard, &mention.guard))
}
