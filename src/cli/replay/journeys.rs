//! The final journeys: where each customer stands, what was reached when, and how every episode went.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use compact_str::CompactString;
use serde_json::{Map, Value, json};

use crate::journey::{Customer, Id, Journey, Outcome, Subject, What};
use crate::model::Model;
use crate::shard::Customers;
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// What outcomes said about episodes, since a completed one leaves the state.
#[derive(Default)]
pub(super) struct Stories(BTreeMap<(Identity, CompactString), Episodes>);

/// By kind and number.
type Episodes = BTreeMap<(CompactString, u32), Episode>;

struct Episode {
    ids: Vec<(CompactString, CompactString)>,
    opened_by: Id,
    opened_at: Timestamp,
    last_progress: Id,
    last_progress_at: Timestamp,
    progress_count: u32,
    /// What became of it, in order: `abandonment`, `resumption`, `completion`, `recovery`.
    story: Vec<Value>,
    /// `open`, `abandoned` or `completed`.
    state: &'static str,
}

impl Stories {
    /// Takes an outcome down.
    pub(super) fn tell(&mut self, outcome: &Outcome) {
        let Some(about) = outcome.what.about() else { return };
        let Subject::Episode { kind, number, ids } = &about.subject else { return };
        // Friction, and what is offered, is not about how the episode ended.
        if matches!(outcome.what, What::Friction { .. } | What::Intervention { .. } | What::Withdrawal { .. }) {
            return;
        }
        let episodes = self.0.entry((outcome.identity.clone(), outcome.model.clone())).or_default();
        let id = outcome.id.to_string();
        if matches!(outcome.what, What::Retraction { .. }) || outcome.again {
            let told = |step: &Value| step["outcome_id"] == id.as_str();
            episodes.values_mut().for_each(|episode| episode.story.retain(|step| !told(step)));
        }
        if matches!(outcome.what, What::Retraction { .. }) {
            episodes.retain(|_, episode| !episode.story.is_empty());
            return;
        }
        let episode = episodes.entry((kind.clone(), *number)).or_insert_with(|| Episode {
            ids: Vec::new(),
            opened_by: about.opened_by.clone(),
            opened_at: about.opened_at,
            last_progress: Id::default(),
            last_progress_at: about.opened_at,
            progress_count: 0,
            story: Vec::new(),
            state: "open",
        });
        episode.ids.clone_from(ids);
        episode.last_progress.clone_from(&about.last_progress);
        episode.last_progress_at = about.last_progress_at;
        episode.progress_count = about.progress_count;
        episode.story.push(json!({
            "what": outcome.what.kind(),
            "at": outcome.at.to_string(),
            "cause": &outcome.cause,
            "outcome_id": id,
        }));
        episode.state = match outcome.what {
            What::Abandonment { .. } => "abandoned",
            What::Resumption { .. } | What::Friction { .. } => "open",
            What::Intervention { .. } | What::Withdrawal { .. } => return,
            What::Completion { .. }
            | What::Recovery { .. }
            | What::Transition { .. }
            | What::Measurement { .. }
            | What::Merge { .. }
            | What::Retraction { .. } => "completed",
        };
    }

    /// Writes a line per customer and model, in the order of the identities.
    pub(super) fn write(mut self, models: &[Arc<Model>], customers: &Customers, output: &mut impl Write) -> io::Result<()> {
        for customer in &customers.all() {
            for (model, journey) in models.iter().zip(&customer.journeys) {
                let episodes = self.0.remove(&(customer.identity.clone(), model.name.clone())).unwrap_or_default();
                serde_json::to_writer(&mut *output, &line(model, customer, journey, episodes))?;
                output.write_all(b"\n")?;
            }
        }
        output.flush()
    }
}

fn line(model: &Model, customer: &Customer, journey: &Journey, mut episodes: Episodes) -> Value {
    for episode in &journey.episodes {
        let kind = &model.episodes[usize::from(episode.kind)];
        let ids = episode.ids.iter().map(|id| (kind.ids[usize::from(id.name)].clone(), id.value.to_text())).collect();
        let told = episodes.entry((kind.name.clone(), episode.number)).or_insert_with(|| Episode {
            ids: Vec::new(),
            opened_by: episode.watch.opened_by.id.clone(),
            opened_at: episode.watch.opened_at,
            last_progress: Id::default(),
            last_progress_at: episode.watch.opened_at,
            progress_count: 0,
            story: Vec::new(),
            state: "open",
        });
        told.ids = ids;
        told.last_progress = episode.watch.last_progress.id.clone();
        told.last_progress_at = episode.watch.last_progress_at;
        told.progress_count = episode.watch.progress_count;
    }
    let name = |stage| model.stage_name(stage).to_owned();
    let reached: Map<String, Value> = model
        .stages
        .iter()
        .zip(&journey.reached)
        .filter_map(|(stage, at)| Some((stage.name.to_string(), json!((*at)?.to_string()))))
        .collect();
    json!({
        "customer_id": customer.identity.customer_id(),
        "anonymous_id": customer.identity.anonymous_id(),
        "model": model.name.as_str(),
        "journey": journey.number,
        "stage": journey.stage().map(name),
        "since": journey.standing.as_ref().map(|standing| standing.watch.opened_at.to_string()),
        "furthest": journey.furthest(model).map(name),
        "reached": reached,
        "touchpoints": customer.touchpoints,
        "episodes": episodes.into_iter().map(|((kind, number), episode)| told(&kind, number, episode)).collect::<Vec<_>>(),
    })
}

fn told(kind: &str, number: u32, episode: Episode) -> Value {
    let ids: Vec<Value> = episode.ids.iter().map(|(name, id)| json!({ "name": name.as_str(), "id": id.as_str() })).collect();
    json!({
        "episode": kind,
        "number": number,
        "ids": ids,
        "opened_by": &episode.opened_by,
        "opened_at": episode.opened_at.to_string(),
        "last_progress": &episode.last_progress,
        "last_progress_at": episode.last_progress_at.to_string(),
        "progress_count": episode.progress_count,
        "state": episode.state,
        "story": episode.story,
    })
}
