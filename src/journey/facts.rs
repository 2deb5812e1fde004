//! What expressions can know of a journey and the touchpoint being applied.

use super::deferred::Asker;
use super::tallies::Extent;
use super::{Episode, Journey, TallyState};
use crate::expression::{Facts, Slot};
use crate::model::{EpisodeIndex, Fact, Model};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Decimal, Money, Touchpoint, Value};

/// A journey, a touchpoint where one is being applied, and the episode whose own lines are evaluated.
pub(super) struct View<'a> {
    pub(super) model: &'a Model,
    pub(super) journey: &'a Journey,
    pub(super) touchpoint: Option<&'a Touchpoint>,
    pub(super) own: Option<&'a Episode>,
    /// The outcome that asks for an intervention whose condition is evaluated.
    pub(super) asker: Option<Asker<'a>>,
}

impl Journey {
    /// The journey as expressions see it, outside any episode.
    pub(super) fn view<'a>(&'a self, model: &'a Model, touchpoint: Option<&'a Touchpoint>) -> View<'a> {
        View { model, journey: self, touchpoint, own: None, asker: None }
    }

    /// The journey as conditions of interventions see it.
    pub(super) fn view_of_asker<'a>(&'a self, model: &'a Model, asker: Asker<'a>) -> View<'a> {
        View { model, journey: self, touchpoint: None, own: None, asker: Some(asker) }
    }
}

/// What a fact is at present. A value that was carried by a touchpoint is of whatever type its source gave it.
enum Known<'a> {
    Number(f64),
    Text(&'a str),
    Flag(bool),
    Instant(Timestamp),
    /// Its texts write numbers with this.
    Carried(&'a Value, Decimal),
}

/// What a tally keeps was converted when it came.
fn kept(value: &Value) -> Known<'_> {
    Known::Carried(value, Decimal::Point)
}

impl<'a> View<'a> {
    /// What is known; `None` where it is absent.
    fn known(&self, slot: Slot) -> Option<Known<'a>> {
        let journey = self.journey;
        let count = |count: u32| Some(Known::Number(f64::from(count)));
        let text = |text: &'a str| Some(Known::Text(text));
        match self.model.fact(slot)? {
            Fact::TouchpointType => text(&self.touchpoint?.kind),
            Fact::TouchpointChannel => text(self.touchpoint?.channel.as_deref()?),
            Fact::TouchpointSession => text(self.touchpoint?.session.as_deref()?),
            Fact::TouchpointId => text(&self.touchpoint?.id),
            Fact::TouchpointAt => Some(Known::Instant(self.touchpoint?.event_time)),
            Fact::Property(name) => {
                let value = self.touchpoint?.property(name)?;
                Some(Known::Carried(value, self.model.form(name).decimal))
            }
            Fact::Amount(name) => self.amount(self.touchpoint?.money(name, self.model.form(name), self.model.currency)),
            Fact::CustomerTally(index) => self.tally(*index, Extent::Customer),
            Fact::JourneyTally(index) => self.tally(*index, Extent::Journey),
            Fact::StageTally(index) => journey.tallies.get(*index)?.last_in(journey.stage()?).map(kept),
            Fact::JourneyNumber => count(journey.number),
            Fact::JourneyStartedAt => journey.has_started().then_some(Known::Instant(journey.started_at)),
            Fact::StageName => text(self.model.stage_name(journey.stage()?)),
            Fact::StageEnteredAt => Some(Known::Instant(journey.standing.as_ref()?.watch.opened_at)),
            Fact::StageTouchpoints => count(journey.standing.as_ref()?.watch.progress_count),
            Fact::SegmentName => text(&self.model.segments.get(usize::from(journey.segment?))?.name),
            Fact::EpisodeOpen(kind) => Some(Known::Flag(self.episode(*kind).is_some_and(|episode| !episode.abandoned))),
            Fact::EpisodeValue(kind) => self.amount(self.episode(*kind)?.value),
            Fact::EpisodeTouchpoints(kind) => count(self.episode(*kind)?.watch.progress_count),
            Fact::EpisodeOpenedAt(kind) => Some(Known::Instant(self.episode(*kind)?.watch.opened_at)),
            Fact::EpisodeSum(kind, sum) => {
                // What was opened before the model had the sum has summed up nothing.
                self.summed(self.episode(*kind)?.sums.get(*sum)?, Extent::Customer)
            }
            Fact::EpisodeAbandonments(kind) => count(self.episode(*kind)?.watch.abandonments),
            Fact::OutcomeKind => text(self.asker?.kind),
            Fact::OutcomeName => text(self.asker?.name?),
            Fact::OutcomeValue => self.amount(self.asker?.value),
        }
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
    fn amount(&self, money: Option<Money>) -> Option<Known<'a>> {
        money.filter(|money| Some(money.currency) == self.model.currency).map(|money| Known::Number(money.amount()))
    }

    fn tally(&self, index: usize, extent: Extent) -> Option<Known<'a>> {
        self.summed(self.journey.tallies.get(index)?, extent)
    }

    fn summed(&self, state: &'a TallyState, extent: Extent) -> Option<Known<'a>> {
        let sum = || state.sum(extent, self.model.currency).map(Known::Number);
        state.last(extent).map(kept).or_else(sum)
    }
}

impl Facts for View<'_> {
    fn number(&self, slot: Slot) -> Option<f64> {
        match self.known(slot)? {
            Known::Number(number) => Some(number),
            Known::Carried(value, decimal) => value.as_number(decimal),
            Known::Text(_) | Known::Flag(_) | Known::Instant(_) => None,
        }
    }

    fn text(&self, slot: Slot) -> Option<&str> {
        match self.known(slot)? {
            Known::Text(text) => Some(text),
            Known::Carried(Value::Text(text), _) => Some(text),
            Known::Number(_) | Known::Flag(_) | Known::Instant(_) => None,
            Known::Carried(Value::Number(_) | Value::Flag(_), _) => None,
        }
    }

    fn flag(&self, slot: Slot) -> Option<bool> {
        match self.known(slot)? {
            Known::Flag(flag) => Some(flag),
            Known::Carried(value, _) => value.as_flag(),
            Known::Number(_) | Known::Text(_) | Known::Instant(_) => None,
        }
    }

    fn instant(&self, slot: Slot) -> Option<Timestamp> {
        match self.known(slot)? {
            Known::Instant(at) => Some(at),
            Known::Carried(value, _) => value.as_instant(self.model.zone.as_ref()),
            Known::Number(_) | Known::Text(_) | Known::Flag(_) => None,
        }
    }

    fn duration(&self, _slot: Slot) -> Option<Span> {
        // No fact is a duration; instants have differences.
        None
    }
}
