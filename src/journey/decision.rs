//! The decision moment: what came last before a customer began to buy.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::outcome::{Decision, Movement};
use super::{Arrival, Journey};
use crate::model::{Model, Scope, StageIndex, TypeRoles};
use crate::time::Timestamp;

/// The latest touchpoint that was not part of buying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Influence {
    /// Its id.
    pub id: CompactString,
    /// What happened.
    pub kind: CompactString,
    /// On which channel.
    pub channel: Option<CompactString>,
    /// When (event time).
    pub at: Timestamp,
    /// The stage that the journey stood in after it.
    pub stage: Option<StageIndex>,
}

impl Journey {
    /// Keeps the touchpoint as the latest influence, unless an episode, or friction in one, names its type: that is buying.
    pub(super) fn note_influence(&mut self, model: &Model, roles: &TypeRoles, arrival: &Arrival<'_>) {
        let Some(touchpoint) = arrival.touchpoint.filter(|_| !model.episodes.is_empty()) else { return };
        let of_episode = roles.episodes.iter().any(|role| *role != crate::model::EpisodeRole::default());
        let in_episode = roles.friction.iter().any(|evidence| {
            let rule = model.friction.get(usize::from(evidence.rule));
            rule.is_some_and(|rule| matches!(rule.scope, Scope::Episode(_)))
        });
        if of_episode || in_episode {
            return;
        }
        self.influence = Some(Box::new(Influence {
            id: touchpoint.id.clone(),
            kind: touchpoint.kind.clone(),
            channel: touchpoint.channel.clone(),
            at: touchpoint.event_time,
            stage: self.stage(),
        }));
    }

    /// What preceded a purchase that moves the journey forward.
    pub(super) fn decision(
        &self,
        model: &Model,
        roles: &TypeRoles,
        movement: Movement,
        at: Timestamp,
    ) -> Option<Box<Decision>> {
        let forward = matches!(movement, Movement::Advance | Movement::Skip | Movement::Complete | Movement::Renew);
        if !forward || !roles.episodes.iter().any(|role| role.completes) {
            return None;
        }
        let influence = self.influence.as_ref()?;
        Some(Box::new(Decision {
            stage: influence.stage.map(|stage| model.stage_name(stage).into()),
            touchpoint: influence.id.clone(),
            kind: influence.kind.clone(),
            channel: influence.channel.clone(),
            before: at.since(influence.at),
        }))
    }
}
