//! The final journeys: where each customer stands, what was reached when, and how every episode went.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use compact_str::CompactString;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::journey::{Customer, Id, Journey, Outcome, Subject, What};
use crate::model::Model;
use crate::shard::Customers;
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// What outcomes said about episodes, since a completed one leaves the state.
#[derive(Default)]
pub(super) struct Stories {
    all: BTreeMap<(Identity, CompactString), Episodes>,
    /// Whose the episodes are that an anonymous id had opened up to an instant.
    joined: BTreeMap<(CompactString, CompactString), (Identity, Timestamp)>,
}

/// By kind, and when and by what it was opened: an anonymous id's episodes have other numbers once it has joined a customer.
type Episodes = BTreeMap<(CompactString, Timestamp, CompactString), Episode>;

struct Episode {
    number: u32,
    ids: Vec<(CompactString, CompactString)>,
    last_progress: Id,
    last_progress_at: Timestamp,
    progress_count: u32,
    /// What became of it, in order: `abandonment`, `resumption`, `completion`, `recovery`.
    story: Vec<Step>,
    /// It is in the journey's state: whether it is abandoned there.
    left: Option<bool>,
}

struct Step {
    kind: &'static str,
    id: Uuid,
    at: Timestamp,
    written: Value,
}

impl Episode {
    fn new(number: u32, opened_at: Timestamp) -> Self {
        Episode {
            number,
            ids: Vec::new(),
            last_progress: Id::default(),
            last_progress_at: opened_at,
            progress_count: 0,
            story: Vec::new(),
            left: None,
        }
    }

    /// `open`, `abandoned` or `completed`.
    fn state(&self) -> &'static str {
        match (self.left, self.story.last().map(|step| step.kind)) {
            (Some(true), _) | (None, Some("abandonment")) => "abandoned",
            (None, Some("completion" | "recovery")) => "completed",
            (Some(false), _) | (None, _) => "open",
        }
    }
}

impl Stories {
    /// Takes an outcome down.
    pub(super) fn tell(&mut self, outcome: &Outcome) {
        if let What::Merge { from, .. } = &outcome.what {
            return self.join(from, outcome);
        }
        let retracted = matches!(outcome.what, What::Retraction { .. });
        let Some(about) = outcome.what.about() else { return };
        let Subject::Episode { kind, number, ids } = &about.subject else { return };
        // Friction, and what is offered, is not about how the episode ended.
        let (What::Abandonment { .. } | What::Resumption { .. } | What::Completion { .. } | What::Recovery { .. }) =
            outcome.what.original()
        else {
            return;
        };
        let joined = outcome.identity.anonymous_id().map(|id| (CompactString::from(id), outcome.model.clone()));
        let joined = joined.and_then(|id| self.joined.get(&id)).filter(|(_, at)| about.opened_at <= *at);
        let whose = joined.map_or(&outcome.identity, |(whose, _)| whose);
        let episodes = self.all.entry((whose.clone(), outcome.model.clone())).or_default();
        if retracted || outcome.again {
            episodes.values_mut().for_each(|episode| episode.story.retain(|step| step.id != outcome.id));
        }
        if retracted {
            episodes.retain(|_, episode| !episode.story.is_empty());
            return;
        }
        let key = (kind.clone(), about.opened_at, about.opened_by.to_text());
        let episode = episodes.entry(key).or_insert_with(|| Episode::new(*number, about.opened_at));
        episode.number = *number;
        episode.ids.clone_from(ids);
        episode.last_progress.clone_from(&about.last_progress);
        episode.last_progress_at = about.last_progress_at;
        episode.progress_count = about.progress_count;
        let written = json!({
            "what": outcome.what.kind(),
            "at": outcome.at.to_string(),
            "cause": &outcome.cause,
            "outcome_id": outcome.id.to_string(),
        });
        let place = episode.story.partition_point(|step| step.at <= outcome.at);
        let step = Step { kind: outcome.what.kind(), id: outcome.id, at: outcome.at, written };
        // What comes late stands where it belongs.
        episode.story.insert(place, step);
    }

    /// The episodes of an anonymous id are the customer's from now on.
    fn join(&mut self, from: &CompactString, outcome: &Outcome) {
        self.joined.insert((from.clone(), outcome.model.clone()), (outcome.identity.clone(), outcome.at));
        let Some(theirs) = self.all.remove(&(Identity::anonymous(from.clone()), outcome.model.clone())) else { return };
        let mine = self.all.entry((outcome.identity.clone(), outcome.model.clone())).or_default();
        for (key, mut episode) in theirs {
            if let Some(known) = mine.remove(&key) {
                episode.story.extend(known.story);
                episode.story.sort_by_key(|step| step.at);
            }
            mine.insert(key, episode);
        }
    }

    /// Writes a line per customer and model, in the order of the identities.
    pub(super) fn write(mut self, models: &[Arc<Model>], customers: &Customers, output: &mut impl Write) -> io::Result<()> {
        for customer in &customers.all() {
            for (model, journey) in models.iter().zip(&customer.journeys) {
                let episodes = self.all.remove(&(customer.identity.clone(), model.name.clone())).unwrap_or_default();
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
        let key = (kind.name.clone(), episode.watch.opened_at, episode.watch.opened_by.id.to_text());
        let told = episodes.entry(key).or_insert_with(|| Episode::new(episode.number, episode.watch.opened_at));
        told.number = episode.number;
        told.ids = ids;
        told.last_progress = episode.watch.last_progress.id.clone();
        told.last_progress_at = episode.watch.last_progress_at;
        told.progress_count = episode.watch.progress_count;
        told.left = Some(episode.abandoned);
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
        "episodes": episodes.into_iter().map(|(opened, episode)| told(opened, episode)).collect::<Vec<_>>(),
    })
}

fn told((kind, opened_at, opened_by): (CompactString, Timestamp, CompactString), episode: Episode) -> Value {
    let ids: Vec<Value> = episode.ids.iter().map(|(name, id)| json!({ "name": name.as_str(), "id": id.as_str() })).collect();
    json!({
        "episode": kind.as_str(),
        "number": episode.number,
        "ids": ids,
        "opened_by": opened_by.as_str(),
        "opened_at": opened_at.to_string(),
        "last_progress": &episode.last_progress,
        "last_progress_at": episode.last_progress_at.to_string(),
        "progress_count": episode.progress_count,
        "state": episode.state(),
        "story": episode.story.into_iter().map(|step| step.written).collect::<Vec<_>>(),
    })
}
