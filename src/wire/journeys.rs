//! A customer's state as JSON, for look-ups: whose it is, what came last, and where every model's journey stands.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::journey::{Customer, Episode, Journey, PastTouchpoint, Standing, TallyState, Watch};
use crate::model::{EpisodeKind, Model, Tally};
use crate::time::Timestamp;
use crate::touchpoint::{Money, Value as Property};

/// The state of a customer under these models, which must be those it was built with. Instants are RFC 3339 texts; what is
/// absent is null.
pub fn customer_json(models: &[Arc<Model>], customer: &Customer) -> Value {
    let begun = models.iter().zip(&customer.journeys).filter(|(_, journey)| journey.has_begun());
    let mut shown = json!({
        "customer_id": customer.identity.customer_id(),
        "anonymous_id": customer.identity.anonymous_id(),
        "links": &customer.links,
        "touchpoints": customer.touchpoints,
        "history": customer.history().map(past_touchpoint).collect::<Vec<_>>(),
        "journeys": begun.map(|(model, journey)| one(model, journey)).collect::<Vec<_>>(),
    });
    // Only of customers of whom anything is kept.
    let contacts = customer.contacts();
    let consents: Map<String, Value> = contacts
        .consents()
        .map(|(name, given, at)| (name.to_owned(), json!({ "given": given, "at": instant(at) })))
        .collect();
    if !consents.is_empty() {
        shown["consents"] = consents.into();
    }
    let offered: Vec<Value> = contacts
        .offered()
        .map(|(of, channel, at)| json!({ "intervention": of, "channel": channel, "at": instant(at) }))
        .collect();
    if !offered.is_empty() {
        shown["offered"] = offered.into();
    }
    let waiting: Vec<Value> =
        contacts.waiting().map(|(of, until)| json!({ "intervention": of, "until": instant(until) })).collect();
    if !waiting.is_empty() {
        shown["waiting"] = waiting.into();
    }
    shown
}

fn past_touchpoint(past: &PastTouchpoint) -> Value {
    json!({ "event_id": &past.id, "type": &past.kind, "channel": &past.channel, "occurred_at": instant(past.at) })
}

fn one(model: &Model, journey: &Journey) -> Value {
    let reached: Map<String, Value> = model
        .stages
        .iter()
        .zip(&journey.reached)
        .filter_map(|(stage, at)| Some((stage.name.to_string(), instant((*at)?))))
        .collect();
    let episodes = journey.episodes.iter().filter_map(|state| {
        let kind = model.episodes.get(usize::from(state.kind))?;
        Some(episode(kind, state))
    });
    json!({
        "model": &model.name,
        "model_version": model.version,
        "journey": journey.number,
        "journey_started_at": instant(journey.started_at),
        "sequence": journey.sequence,
        "transitions": journey.transitions,
        "stage": journey.standing.as_ref().map(|standing| stage(model, standing)),
        "reached": reached,
        "furthest": journey.furthest(model).map(|stage| model.stage_name(stage)),
        "episodes": episodes.collect::<Vec<_>>(),
        "segment": journey.segment.and_then(|segment| Some(&model.segments.get(usize::from(segment))?.name)),
        "tallies": model.tallies.iter().zip(&journey.tallies).map(tally).collect::<Map<String, Value>>(),
        "frictions": journey.frictions,
    })
}

/// A tally by its name: over all journeys, in this one, and of a latest value by stage.
fn tally((tally, state): (&Tally, &TallyState)) -> (String, Value) {
    let shown = match state {
        TallyState::Count { customer, journey } | TallyState::Visits { customer, journey, .. } => {
            json!({ "customer": customer, "journey": journey })
        }
        TallyState::Number { customer, journey } => json!({ "customer": customer, "journey": journey }),
        TallyState::Money { customer, journey } => {
            let amounts = |sums: &[Money]| sums.iter().copied().map(money).collect::<Vec<_>>();
            json!({ "customer": amounts(customer), "journey": amounts(journey) })
        }
        TallyState::Once { sum, .. } => return self::tally((tally, sum)),
        TallyState::Last { customer, journey, .. } => {
            json!({ "customer": customer.as_ref().map(property), "journey": journey.as_ref().map(property) })
        }
    };
    (tally.name.to_string(), shown)
}

fn property(value: &Property) -> Value {
    match value {
        Property::Text(text) => json!(text),
        Property::Number(number) => json!(number),
        Property::Flag(flag) => json!(flag),
    }
}

fn money(money: Money) -> Value {
    json!({ "amount": money.amount(), "currency": money.currency.as_str() })
}

fn stage(model: &Model, standing: &Standing) -> Value {
    let mut stage = json!({ "stage": model.stage_name(standing.stage), "abandoned": standing.abandoned });
    watched(&mut stage, &standing.watch);
    stage
}

fn episode(kind: &EpisodeKind, state: &Episode) -> Value {
    let mut ids: Map<String, Value> = Map::new();
    for id in &state.ids {
        let Some(name) = kind.ids.get(usize::from(id.name)) else { continue };
        if let Value::Array(ids) = ids.entry(name.as_str()).or_insert_with(|| json!([])) {
            ids.push(json!(&id.value));
        }
    }
    let mut episode = json!({
        "episode": &kind.name,
        "number": state.number,
        "ids": ids,
        "session_id": &state.session,
        "abandoned": state.abandoned,
        "value": state.value.map(money),
    });
    if !kind.sums.is_empty() {
        // An episode has no part of a journey's: what it has summed up is all there is.
        let sums = kind.sums.iter().zip(&state.sums).map(|sum| {
            let (name, mut shown) = tally(sum);
            (name, shown["customer"].take())
        });
        episode["sums"] = sums.collect::<Map<String, Value>>().into();
    }
    watched(&mut episode, &state.watch);
    episode
}

/// Adds what a stage and an episode have in common.
fn watched(value: &mut Value, watch: &Watch) {
    value["opened_by"] = json!(&watch.opened_by);
    value["opened_at"] = instant(watch.opened_at);
    value["last_progress"] = json!(&watch.last_progress);
    value["last_progress_at"] = instant(watch.last_progress_at);
    value["progress_count"] = json!(watch.progress_count);
    value["deadline"] = Some(watch.deadline).filter(|deadline| *deadline != Timestamp::MAX).map_or(Value::Null, instant);
    value["abandonments"] = json!(watch.abandonments);
}

fn instant(at: Timestamp) -> Value {
    Value::String(at.to_string())
}
