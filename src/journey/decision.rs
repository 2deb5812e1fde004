//! The decision moment: what came last before a customer began to buy.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::outcome::{Decision, Movement};
use super::{Arrival, Journey, TouchpointId};
use crate::model::{EpisodeIndex, EpisodeRole, Model, Scope, Sign, StageIndex, TypeRoles};
use crate::time::Timestamp;
use crate::touchpoint::is_about_offers;

/// The latest touchpoint that was not part of buying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Influence {
    /// Its id.
    pub id: TouchpointId,
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
    /// Keeps the touchpoint as the latest influence, unless it is part of buying: named by an episode that has a worth, or a
    /// sign of trouble in one. An answer to a question may well be what decided.
    pub(super) fn note_influence(&mut self, model: &Model, roles: &TypeRoles, arrival: &Arrival<'_>) {
        let Some(touchpoint) = arrival.touchpoint.filter(|_| !model.episodes.is_empty()) else { return };
        // What became of an offer is nothing that the customer did, unless the model says so.
        if is_about_offers(&touchpoint.kind) && !model.types.names(&touchpoint.kind) {
            return;
        }
        let of_purchase =
            (0..).zip(&roles.episodes).any(|(kind, role)| *role != EpisodeRole::default() && is_purchase(model, kind));
        let trouble = roles.friction.iter().any(|evidence| {
            let Some(rule) = model.friction.get(usize::from(evidence.rule)) else { return false };
            let answer = matches!(rule.sign, Sign::Missing { .. }) && evidence.parts & 1 == 0;
            matches!(rule.scope, Scope::Episode(kind) if is_purchase(model, kind)) && !answer
        });
        if of_purchase || trouble {
            return;
        }
        self.set_influence(Influence {
            id: arrival.id.clone(),
            kind: touchpoint.kind.clone(),
            channel: touchpoint.channel.clone(),
            at: touchpoint.event_time,
            stage: self.stage(),
        });
    }

    /// Keeps an influence where there may be room for one already.
    pub(super) fn set_influence(&mut self, influence: Influence) {
        match &mut self.influence {
            Some(place) => **place = influence,
            None => self.influence = Some(Box::new(influence)),
        }
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
        let purchase = (0..).zip(&roles.episodes).any(|(kind, role)| role.completes && is_purchase(model, kind));
        if !forward || !purchase {
            return None;
        }
        let influence = self.influence.as_ref()?;
        Some(Box::new(Decision {
            stage: influence.stage.map(|stage| model.stage_name(stage).into()),
            touchpoint: influence.id.id.clone(),
            kind: influence.kind.clone(),
            channel: influence.channel.clone(),
            before: at.since(influence.at),
        }))
    }
}

/// Completing an episode that has a worth is a purchase; where none has, completing any is.
fn is_purchase(model: &Model, kind: EpisodeIndex) -> bool {
    let has_worth = |kind: &crate::model::EpisodeKind| kind.worth.is_some();
    model.episodes.get(usize::from(kind)).is_some_and(has_worth) || !model.episodes.iter().any(has_worth)
}
