//! Interventions: whether the outcomes, segments and variants that they name are there, and whether they can ever fire.

use super::conditions::Conditions;
use super::segments::Segments;
use super::{MAX_INTERVENTIONS, at_most, check_name, episodes};
use crate::diagnostic::{Faults, did_you_mean, quoted};
use crate::expression::Expression;
use crate::model::written::{self, Friction, Name, Stage};
use crate::model::{Holdout, Intervention, Payload, Trigger};

/// The kinds of outcomes that can ask for an intervention or take it back.
const KINDS: [&str; 6] = ["friction", "abandonment", "transition", "completion", "resumption", "recovery"];

/// What interventions refer to.
pub(super) struct Around<'r, 'a> {
    pub(super) model: &'a str,
    pub(super) rules: &'a [Friction],
    pub(super) stages: &'a [Stage],
    pub(super) episodes: &'r [episodes::Checked<'a>],
    pub(super) segments: &'r Segments<'a>,
}

/// Resolves and checks the interventions; those with something wrong are left out, which no model is compiled of.
pub(super) fn check(
    written: &[written::Intervention],
    around: &Around<'_, '_>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Vec<Intervention> {
    let all = at_most(MAX_INTERVENTIONS, "interventions", written, |one| &one.name.place, faults);
    all.iter().filter_map(|one| check_one(one, around, conditions, faults)).collect()
}

fn check_one(
    one: &written::Intervention,
    around: &Around<'_, '_>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Option<Intervention> {
    check_name("intervention", &one.name, faults);
    for name in one.channel.iter().chain(&one.needs) {
        check_name("channel or consent", name, faults);
    }
    let on = triggers(&one.on, around, Role::Asks, faults);
    let withdrawn_by = triggers(&one.withdrawn_by, around, Role::Ends, faults);
    let goal = one.goal.as_ref().map(|(of, within)| Some((trigger(of, around, Role::Ends, faults)?, *within)));
    let when: Option<Option<Expression>> = one.when.as_ref().map(|line| conditions.of_intervention(line, faults));
    for segment in &one.segments {
        around.segments.find(segment, faults);
    }
    check_both(one, faults);
    check_payload(one, faults);
    let name = one.name.value.as_str();
    let salt = one.holdout.as_ref().and_then(|holdout| holdout.salt.as_ref()).map_or(name, |salt| salt.value.as_str());
    Some(Intervention {
        name: name.into(),
        id: compact_str::format_compact!("{}/{name}", around.model),
        on: on?,
        when: match when {
            Some(compiled) => Some(compiled?),
            None => None,
        },
        segments: one.segments.iter().map(|segment| segment.value.as_str().into()).collect(),
        channel: one.channel.as_ref()?.value.as_str().into(),
        priority: one.priority,
        caps: one.caps.clone(),
        cool_down: one.cool_down,
        needs: one.needs.as_ref().map(|name| (name.value.as_str().into(), name.place.clone())),
        quiet: one.quiet,
        holdout: one.holdout.as_ref().map(|holdout| Holdout { share: holdout.share, salt: salt.into() }),
        salt: salt.into(),
        variants: one.variants.iter().map(|(name, weight)| (name.value.as_str().into(), *weight)).collect(),
        expires: one.expires?,
        withdrawn_by: withdrawn_by?,
        goal: match goal {
            Some(goal) => Some(goal?),
            None => None,
        },
        payload: one.payload.iter().map(|(name, value)| (name.value.as_str().into(), payload(value))).collect(),
    })
}

/// What outcomes are named for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// They ask for the intervention.
    Asks,
    /// They end it, or are its goal.
    Ends,
}

fn triggers(named: &[written::Outcomes], around: &Around<'_, '_>, role: Role, faults: &mut Faults) -> Option<Vec<Trigger>> {
    let found: Vec<Option<Trigger>> = named.iter().map(|one| trigger(one, around, role, faults)).collect();
    found.into_iter().collect()
}

fn trigger(named: &written::Outcomes, around: &Around<'_, '_>, role: Role, faults: &mut Faults) -> Option<Trigger> {
    let Some(kind) = KINDS.into_iter().find(|kind| *kind == named.kind.value) else {
        let cause = format!("there are no outcomes of the kind {}", quoted(&named.kind.value));
        faults.error("M110", &named.kind.place, cause, did_you_mean(&named.kind.value, &KINDS, "the kinds are"));
        return None;
    };
    let of = named.of.value.as_str();
    let rules = || around.rules.iter().map(|rule| rule.name.value.as_str());
    let stages = || around.stages.iter().map(|stage| stage.name.value.as_str());
    let kinds = || around.episodes.iter().map(|episode| episode.written.name.value.as_str());
    let names: Vec<&str> = match kind {
        "friction" => rules().collect(),
        "transition" => stages().collect(),
        "completion" => kinds().collect(),
        _ => kinds().chain(stages()).collect(),
    };
    if !names.contains(&of) {
        let cause = format!("there is no {kind} of {}", quoted(of));
        let help = if names.is_empty() {
            format!("nothing in the model has a {kind}; name another outcome")
        } else {
            did_you_mean(of, &names, "write one of")
        };
        faults.error("M110", &named.of.place, cause, help);
        return None;
    }
    if role == Role::Asks && !can_come(kind, of, around) {
        let cause = format!("{} is never published, so it never asks for this", quoted(of));
        faults.warning("M112", &named.of.place, cause, never_why(kind));
    }
    Some(Trigger { kind, of: of.into() })
}

fn never_why(kind: &str) -> &'static str {
    match kind {
        "friction" => "name the score that counts it, or let the rule publish: remove `evidence only`",
        _ => "say after which time it is abandoned, or name another outcome",
    }
}

/// Whether outcomes of this kind can come of it.
fn can_come(kind: &str, of: &str, around: &Around<'_, '_>) -> bool {
    match kind {
        "friction" => !around.rules.iter().any(|rule| rule.name.value == of && rule.evidence_only.is_some()),
        "abandonment" | "resumption" | "recovery" => {
            let episode = around.episodes.iter().find(|episode| episode.written.name.value == of);
            let episode = episode.map(|one| one.written.abandoned_after.is_some() || one.written.abandoned_at.is_some());
            let stage = around.stages.iter().find(|stage| stage.name.value == of);
            let stage = stage.map(|one| one.quiet.is_some() || one.abandoned_at.is_some());
            episode.or(stage).unwrap_or(true)
        }
        _ => true,
    }
}

/// What asks for an intervention does not take it back in the same breath.
fn check_both(one: &written::Intervention, faults: &mut Faults) {
    for end in &one.withdrawn_by {
        let asks = |on: &&written::Outcomes| on.kind.value == end.kind.value && on.of.value == end.of.value;
        if one.on.iter().any(|on| asks(&on)) {
            let cause = format!("{} asks for {} and takes it back", quoted(&end.of.value), quoted(&one.name.value));
            faults.warning("M112", &end.of.place, cause, "it is never made for that outcome; name it once");
        }
    }
}

fn check_payload(one: &written::Intervention, faults: &mut Faults) {
    let variants: Vec<&str> = one.variants.iter().map(|(name, _)| name.value.as_str()).collect();
    for (name, _) in &one.variants {
        check_name("variant", name, faults);
    }
    let by_variant = one.payload.iter().flat_map(|(_, value)| match value {
        written::Payload::ByVariant(by) => by.as_slice(),
        written::Payload::Same(_) => &[],
    });
    for (name, _) in by_variant {
        if !variants.contains(&name.value.as_str()) {
            missing_variant(name, &variants, faults);
        }
    }
}

fn missing_variant(name: &Name, variants: &[&str], faults: &mut Faults) {
    let cause = format!("there is no variant {}", quoted(&name.value));
    let help = if variants.is_empty() {
        "name the variants, such as `variants: { plain: 1, ten-percent: 1 }`".to_owned()
    } else {
        did_you_mean(&name.value, variants, "the variants are")
    };
    faults.error("M110", &name.place, cause, help);
}

fn payload(value: &written::Payload) -> Payload {
    match value {
        written::Payload::Same(text) => Payload::Same(text.as_str().into()),
        written::Payload::ByVariant(by) => {
            Payload::ByVariant(by.iter().map(|(name, text)| (name.value.as_str().into(), text.as_str().into())).collect())
        }
    }
}
