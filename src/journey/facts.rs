//! What expressions can know of a journey and the touchpoint being applied.

use super::{Episode, Journey};
use crate::expression::{Facts, Slot};
use crate::model::{EpisodeIndex, Fact, Model};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Money, Touchpoint, Value};

/// A journey, a touchpoint where one is being applied, and the episode whose own lines are evaluated.
pub(super) struct View<'a> {
    pub(super) model: &'a Model,
    pub(super) journey: &'a Journey,
    pub(super) touchpoint: Option<&'a Touchpoint>,
    pub(super) own: Option<&'a Episode>,
}

impl Journey {
    /// The journey as expressions see it, outside any episode.
    pub(super) fn view<'a>(&'a self, model: &'a Model, touchpoint: Option<&'a Touchpoint>) -> View<'a> {
        View { model, journey: self, touchpoint, own: None }
    }
}

impl<'a> View<'a> {
    fn fact(&self, slot: Slot) -> Option<&'a Fact> {
        self.model.fact(slot)
    }

    /// Within an episode that one, elsewhere the open one of the kind that progressed last (rule 11).
    fn episode(&self, kind: EpisodeIndex) -> Option<&'a Episode> {
        if let Some(own) = self.own.filter(|own| own.kind == kind) {
            return Some(own);
        }
        let open = self.journey.episodes.iter().filter(|episode| episode.kind == kind && !episode.abandoned);
        open.max_by_key(|episode| episode.touched)
    }

    /// The amount, where it is in the model's currency.
    fn amount(&self, money: Option<Money>) -> Option<f64> {
        money.filter(|money| Some(money.currency) == self.model.currency).map(|money| money.amount())
    }

    /// The value behind a fact that is kept or carried as one.
    fn value(&self, fact: &Fact) -> Option<&'a Value> {
        match fact {
            Fact::Property(name) => self.touchpoint?.property(name),
            Fact::CustomerTally(index) => self.journey.tallies.get(*index)?.of_customer(),
            Fact::JourneyTally(index) => self.journey.tallies.get(*index)?.of_journey(),
            Fact::StageTally(index) => self.journey.tallies.get(*index)?.of_stage(self.journey.stage()?),
            _ => None,
        }
    }
}

impl Facts for View<'_> {
    fn number(&self, slot: Slot) -> Option<f64> {
        let fact = self.fact(slot)?;
        let count = |count: u32| Some(f64::from(count));
        match fact {
            Fact::Amount(name) => self.amount(self.touchpoint?.money(name)),
            Fact::JourneyNumber => count(self.journey.number),
            Fact::StageTouchpoints => count(self.journey.standing.as_ref()?.watch.progress_count),
            Fact::EpisodeValue(kind) => self.amount(self.episode(*kind)?.value),
            Fact::EpisodeTouchpoints(kind) => count(self.episode(*kind)?.watch.progress_count),
            Fact::EpisodeAbandonments(kind) => count(self.episode(*kind)?.watch.abandonments),
            Fact::CustomerTally(index) | Fact::JourneyTally(index) | Fact::StageTally(index) => match self.value(fact) {
                Some(Value::Number(number)) => Some(*number),
                Some(Value::Text(_) | Value::Flag(_)) => None,
                None => {
                    let tally = self.journey.tallies.get(*index)?;
                    match fact {
                        Fact::CustomerTally(_) => tally.sum_of_customer(self.model.currency),
                        Fact::JourneyTally(_) => tally.sum_of_journey(self.model.currency),
                        _ => None,
                    }
                }
            },
            _ => match self.value(fact)? {
                Value::Number(number) => Some(*number),
                Value::Text(_) | Value::Flag(_) => None,
            },
        }
    }

    fn text(&self, slot: Slot) -> Option<&str> {
        let fact = self.fact(slot)?;
        match fact {
            Fact::TouchpointType => Some(&self.touchpoint?.kind),
            Fact::TouchpointChannel => self.touchpoint?.channel.as_deref(),
            Fact::TouchpointSession => self.touchpoint?.session.as_deref(),
            Fact::TouchpointId => Some(&self.touchpoint?.id),
            Fact::StageName => Some(self.model.stage_name(self.journey.stage()?)),
            Fact::SegmentName => Some(&self.model.segments.get(usize::from(self.journey.segment?))?.name),
            _ => match self.value(fact)? {
                Value::Text(text) => Some(text),
                Value::Number(_) | Value::Flag(_) => None,
            },
        }
    }

    fn flag(&self, slot: Slot) -> Option<bool> {
        match self.fact(slot)? {
            Fact::EpisodeOpen(kind) => Some(self.episode(*kind).is_some_and(|episode| !episode.abandoned)),
            fact => match self.value(fact)? {
                Value::Flag(flag) => Some(*flag),
                Value::Text(_) | Value::Number(_) => None,
            },
        }
    }

    fn instant(&self, slot: Slot) -> Option<Timestamp> {
        match self.fact(slot)? {
            Fact::TouchpointAt => Some(self.touchpoint?.event_time),
            Fact::JourneyStartedAt => Some(self.journey.started_at),
            Fact::StageEnteredAt => Some(self.journey.standing.as_ref()?.watch.opened_at),
            Fact::EpisodeOpenedAt(kind) => Some(self.episode(*kind)?.watch.opened_at),
            fact => self.value(fact)?.as_instant(),
        }
    }

    fn duration(&self, _slot: Slot) -> Option<Span> {
        // No fact is a duration; instants have differences.
        None
    }
}
