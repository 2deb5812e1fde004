//! The engine's side: the same model and touchpoints through a shard.

use std::sync::Arc;

use sillage::journey::{Outcome, Subject, What};
use sillage::model::{self, Model};
use sillage::shard::Settings;
use sillage::time::Span;
use sillage::touchpoint::{Touchpoint, Value};

use super::plan::{Plan, Seconds, Touch};
use super::walk::MAX_DELAY;
use crate::world::{START, World, touchpoint, with_id};

pub(super) fn model_of(plan: &Plan) -> Result<Arc<Model>, String> {
    let (model, faults) = model::load("judged.yaml", &plan.yaml());
    model.map(Arc::new).ok_or_else(|| sillage::diagnostic::render(&faults, sillage::diagnostic::Style::Plain))
}

/// What the engine says, in the judge's words; faults of the model, if it has any.
pub(super) fn engine(plan: &Plan, touches: &[Touch], end: Seconds) -> Result<Vec<String>, String> {
    Ok(told(model_of(plan)?, touches, end))
}

fn told(model: Arc<Model>, touches: &[Touch], end: Seconds) -> Vec<String> {
    let settings =
        Settings { settle: Span::ZERO, grace: Span::ZERO, max_delay: Span::from_secs(MAX_DELAY), ..Settings::default() };
    let mut world = World::new(&[model], settings, 1);
    let at = |seconds: Seconds| START + Span::from_secs(seconds);
    for (number, touch) in touches.iter().enumerate() {
        world.give(0, made(touch, number), at(touch.log_time));
    }
    world.quiet_until(0, at(end));
    world.take_outcomes().iter().map(line).collect()
}

pub(super) fn made(touch: &Touch, number: usize) -> Touchpoint {
    let at = |seconds: Seconds| START + Span::from_secs(seconds);
    let mut made = touchpoint("Anna", touch.kind, at(touch.happened), &format!("t{number}"));
    made.session = touch.session.map(|session| session.to_string().into());
    let ids = [("k", touch.k), ("question", touch.question)];
    for (name, id) in ids.into_iter().filter_map(|(name, id)| Some((name, id?))) {
        made = with_id(made, name, &id.to_string());
    }
    if let Some(ends) = touch.ends {
        made = with_id(made, "ends_at", &at(ends).to_string());
    }
    if touch.value.is_some() {
        made = with_id(made, "currency", "EUR");
    }
    let numbers = [("nps", touch.nps), ("value", touch.value)];
    for (name, number) in numbers.into_iter().filter_map(|(name, number)| Some((name, number?))) {
        made.properties.push((name.into(), Value::Number(number as f64)));
    }
    made.properties.sort_by(|one, other| one.0.cmp(&other.0));
    made
}

pub(super) fn line(outcome: &Outcome) -> String {
    let at = (outcome.at.as_millis() - START.as_millis()) / 1_000;
    let subject = outcome.what.about().map(|about| match &about.subject {
        Subject::Stage(name) => format!("stage {name}"),
        Subject::Episode { kind, number, .. } => format!("{kind}#{number}"),
        Subject::Session(id) => format!("session {id}"),
        Subject::Journey => "journey".to_owned(),
    });
    let subject = subject.unwrap_or_default();
    let what = match &outcome.what {
        What::Transition { from, to, movement, decision, .. } => {
            let decision = decision.as_ref().map(|decision| {
                let stage = decision.stage.as_deref().unwrap_or("nowhere");
                format!(" decided by {} in {stage} {}s before", decision.touchpoint, decision.before.as_millis() / 1_000)
            });
            let from = from.as_deref().unwrap_or("nowhere");
            format!("move {from} > {to} {movement:?}{}", decision.unwrap_or_default())
        }
        What::Friction { rule, evidence, score, .. } => {
            let score = score.as_ref().map(|(sum, rules)| format!(" score {sum} from {}", rules.join("+")));
            format!("friction {rule} in {subject} of {}{}", evidence.join(","), score.unwrap_or_default())
        }
        What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. }
        | What::Intervention { .. }
        | What::Withdrawal { .. }
        | What::Measurement { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => {
            format!("{} {subject}", outcome.what.kind())
        }
    };
    let cause = outcome.cause.as_ref().map(|cause| format!(" by {cause}")).unwrap_or_default();
    let segment = outcome.segment.as_ref().map(|segment| format!(" of {segment}")).unwrap_or_default();
    format!("{at}s {what}{cause} journey {}{segment}", outcome.journey)
}
