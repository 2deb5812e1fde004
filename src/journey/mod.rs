//! What one customer did, and what follows from it: the state, and two pure functions over it.
//!
//! [`Customer::apply`] takes a touchpoint, [`Customer::fire`] takes the deadlines of an instant; both change the state and
//! append the outcomes. Nothing here knows other customers, logs, clocks or topics.

pub mod arm;
mod closed;
mod completions;
mod contacts;
mod decision;
mod deferred;
mod entries;
mod episodes;
mod exposures;
mod facts;
mod friction;
mod graves;
mod id;
mod join;
mod joins;
pub mod limits;
mod measuring;
mod migrate;
mod noticed;
mod offering;
mod outcome;
pub mod packed;
mod recent;
mod redirect;
mod rewind;
mod sentence;
mod signs;
mod stages;
mod sums;
mod tallies;
#[cfg(test)]
mod tests;
mod unite;
mod version2;
mod watch;
mod window;

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::model::{Model, SegmentIndex, StageIndex};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint, put_text};

pub use arm::Arm;
pub use closed::{Closed, ClosedIds, EpisodeId, EpisodeIds};
pub use contacts::Contacts;
pub use decision::Influence;
pub use entries::Counted;
pub use episodes::{Episode, EpisodeKindState};
pub use friction::SessionSigns;
pub use graves::Graves;
pub use id::{Id, TouchpointId};
pub(crate) use join::Telling;
pub use join::{Claim, HandedOver, Link};
pub use migrate::Migration;
pub use noticed::Noticed;
pub use offering::{Refusal, Refusals};
pub use outcome::{
    Abandonment, About, Decision, Measurement, Moved, Movement, Offer, Outcome, Passed, Reason, Subject, What, uuid_of,
};
pub use recent::{PastTouchpoint, Recent};
pub use redirect::Redirect;
pub use rewind::{Received, Retelling, Rules, StepCounts};
pub use signs::Signs;
pub use stages::Standing;
pub use sums::{ArmOf, ArmSums, Measured, Sums, ValueSums};
pub use tallies::{Amount, CountedOnce, LatestAt, TallyState};
pub use version2::{ChangeV2, CustomerV2};
pub use watch::Watch;
pub use window::Window;

use outcome::{Cause, OutcomeBuilder};
use packed::Words;
use recent::SeenBefore;

/// Everything known about one customer. What is common to all models is kept once (rule 9).
#[derive(Clone, Debug, PartialEq)]
pub struct Customer {
    /// Whose state this is.
    pub identity: Identity,
    /// Anonymous ids seen together with the customer id, oldest first.
    pub links: Vec<CompactString>,
    /// By link: when both were named together last.
    linked_at: Vec<Timestamp>,
    /// What became of an anonymous id that was seen together with a customer id.
    redirect: Option<Box<Redirect>>,
    /// How many touchpoints were applied; also orders what happened within the customer.
    pub touchpoints: u64,
    /// The latest touchpoints, and the ids that repeats are told by.
    recent: Recent,
    /// One journey per model, in the order of the models.
    pub journeys: Vec<Journey>,
    /// How the customer may be and was contacted. No telling anew touches it.
    contacts: Contacts,
    /// What the latest story can be told anew from.
    window: Window,
}

/// One customer's passage through one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journey {
    /// 1, 2, … as the customer re-enters; 0 for the place of a model that has not seen the customer yet.
    pub number: u32,
    /// Event time of the touchpoint that entered its first stage; before that, of the first touchpoint.
    pub started_at: Timestamp,
    /// Sequence number of the latest outcome.
    pub sequence: u64,
    /// How many transitions this journey has made.
    pub transitions: u32,
    /// Where the journey stands; `None` until a first stage is entered.
    pub standing: Option<Standing>,
    /// By stage: when a touchpoint that belongs to it first came, across re-entries (rule 10).
    pub reached: Vec<Option<Timestamp>>,
    /// Episodes that are open, or abandoned and still remembered, in the order of their opening.
    pub episodes: Vec<Episode>,
    /// By episode kind: numbers, last completion, closed ids.
    pub kinds: Vec<EpisodeKindState>,
    /// What is summed up, by tally.
    pub tallies: Vec<TallyState>,
    /// The customer's segment after the latest touchpoint.
    pub segment: Option<SegmentIndex>,
    /// What counts towards entering stages.
    pub counted: Vec<Counted>,
    /// Evidence of friction, by session.
    pub sessions: Vec<SessionSigns>,
    /// Evidence of friction in this journey as a whole.
    pub signs: Signs,
    /// How many friction outcomes there were, over all journeys.
    pub frictions: u32,
    /// The latest touchpoint that was not part of buying.
    pub influence: Option<Box<Influence>>,
}

/// The instants that belong to a touchpoint being applied.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When its record entered the log (rule 2). With a grace, the instant at which it is applied: its event time, or stream time
    /// where it came too late.
    pub log_time: Timestamp,
    /// What spans count from: its event time, or the log time where it came too late (rule 6).
    pub counts_from: Timestamp,
    /// Stream time when it is applied: no deadline is moved before it (rule 6).
    pub stream_time: Timestamp,
}

impl Moment {
    /// All that counts happens at this instant.
    pub fn at(at: Timestamp) -> Self {
        Moment { log_time: at, counts_from: at, stream_time: at }
    }

    /// Decides what spans count from: the event time unless the touchpoint entered the log more than `max_delay` after.
    pub fn of(touchpoint: &Touchpoint, log_time: Timestamp, stream_time: Timestamp, max_delay: Span) -> Self {
        let late = log_time.since(touchpoint.event_time) > max_delay;
        Moment { log_time, counts_from: if late { log_time } else { touchpoint.event_time }, stream_time }
    }
}

/// What reaches a journey: a touchpoint, or the instant at which one is missing.
pub(crate) struct Arrival<'a> {
    /// The touchpoint; `None` where an absence arrives.
    touchpoint: Option<&'a Touchpoint>,
    /// The touchpoint's id; of an absence, that of the touchpoint after which nothing came.
    id: &'a TouchpointId,
    /// The touchpoint's session.
    session: Option<Id>,
    /// Event time, or the deadline.
    at: Timestamp,
    moment: Moment,
    /// The customer's touchpoint count.
    count: u64,
}

impl<'a> Arrival<'a> {
    fn of(touchpoint: &'a Touchpoint, id: &'a TouchpointId, moment: Moment, count: u64) -> Self {
        let session = touchpoint.session.as_deref().map(Id::of);
        Arrival { touchpoint: Some(touchpoint), id, session, at: touchpoint.event_time, moment, count }
    }

    /// What comes of it comes of the touchpoint, or of the absence after one.
    fn cause(&self) -> Cause<'a> {
        match self.touchpoint {
            Some(_) => Cause::Touchpoint(&self.id.id),
            None => Cause::AbsenceAfter(&self.id.id),
        }
    }

    fn absence(id: &'a TouchpointId, deadline: Timestamp) -> Self {
        let moment = Moment::at(deadline);
        Arrival { touchpoint: None, id, session: None, at: deadline, moment, count: 0 }
    }
}

/// What became of a touchpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Some model names its type.
    Counted,
    /// No model names its type; it was only kept in the history, and is progress where anything is.
    Ignored,
    /// A repeat: no journey changed.
    Duplicate,
}

impl Journey {
    fn new(model: &Model, started_at: Timestamp) -> Self {
        let tallies = model.tallies.iter().map(TallyState::new).collect();
        Journey { number: 1, started_at, ..Journey::unbegun(model.stages.len(), model.episodes.len(), tallies) }
    }

    /// The place of a journey in a model, with so many stages and kinds of episodes, that has not seen the customer yet.
    fn unbegun(stages: usize, kinds: usize, tallies: Vec<TallyState>) -> Self {
        Journey {
            number: 0,
            started_at: Timestamp::MIN,
            sequence: 0,
            transitions: 0,
            standing: None,
            reached: vec![None; stages],
            episodes: Vec::new(),
            kinds: vec![EpisodeKindState::default(); kinds],
            tallies,
            segment: None,
            counted: Vec::new(),
            sessions: Vec::new(),
            signs: Signs::default(),
            frictions: 0,
            influence: None,
        }
    }

    /// Whether the model has seen the customer; until then this keeps a place only, before the journeys of later models.
    pub fn has_begun(&self) -> bool {
        self.number > 0
    }

    /// The stage that the journey stands in.
    pub fn stage(&self) -> Option<StageIndex> {
        self.standing.as_ref().map(|standing| standing.stage)
    }

    /// The last stage in order that was ever reached; terminal ones are no progress.
    pub fn furthest(&self, model: &Model) -> Option<StageIndex> {
        let reached = self.reached.iter().zip(&model.stages).rposition(|(at, stage)| at.is_some() && !stage.ends);
        reached.map(|index| index as StageIndex)
    }

    fn next_deadline(&self) -> Timestamp {
        let stage = self.standing.as_ref().map_or(Timestamp::MAX, |standing| standing.watch.deadline);
        let stage = stage.min(self.next_friction());
        self.episodes.iter().map(|episode| episode.watch.deadline).fold(stage, Timestamp::min)
    }

    /// What a touchpoint does, in this order: sums, episodes, the segment, friction, the stage, and the segment again, which
    /// can depend on the stage. Spans are computed when everything that they can depend on is known. Returns whether the
    /// model names the type.
    fn step(
        &mut self,
        model: &Model,
        arrival: &Arrival<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) -> bool {
        let Some(touchpoint) = arrival.touchpoint else { return false };
        let (roles, named) = model.types.roles(&touchpoint.kind, &self.view(model, Some(touchpoint)));
        self.tally(model, roles, touchpoint);
        self.step_episodes(model, roles, arrival, noticed, outcomes);
        self.segment = self.find_segment(model);
        self.arm_episodes(model, arrival);
        let friction = self.step_friction(model, roles, arrival, outcomes);
        self.step_stage(model, roles, arrival, &friction, outcomes);
        self.note_influence(model, roles, arrival);
        outcomes.set_segment(self.segment);
        outcomes.set_origin(touchpoint, &arrival.id.id);
        named
    }

    /// Fires everything that is due exactly at `deadline`: episodes, friction, the stage (rule 7).
    fn fire(&mut self, model: &Model, deadline: Timestamp, outcomes: &mut OutcomeBuilder<'_>) {
        self.fire_episodes(model, deadline, outcomes);
        for (rule, id) in self.fire_friction(model, deadline, outcomes) {
            self.step_back(model, rule, &Arrival::absence(&id, deadline), outcomes);
        }
        self.fire_stage(model, deadline, outcomes);
        outcomes.set_segment(self.segment);
    }

    /// The first segment whose condition holds.
    fn find_segment(&self, model: &Model) -> Option<SegmentIndex> {
        if model.segments.is_empty() {
            return None;
        }
        let view = self.view(model, None);
        let holds = |segment: &crate::model::Segment| segment.when.as_ref().is_none_or(|when| when.holds(&view));
        model.segments.iter().position(holds).map(|index| index as SegmentIndex)
    }
}

impl Customer {
    /// A customer of whom nothing is known yet.
    pub fn new(identity: Identity) -> Self {
        Customer {
            identity,
            links: Vec::new(),
            linked_at: Vec::new(),
            redirect: None,
            touchpoints: 0,
            recent: Recent::default(),
            journeys: Vec::new(),
            contacts: Contacts::default(),
            window: Window::default(),
        }
    }

    /// Becomes a customer of whom nothing is known yet, and keeps its memory.
    pub(crate) fn begin(&mut self, identity: &Identity) {
        self.identity.kind = identity.kind;
        put_text(&identity.id, &mut self.identity.id);
        self.links.clear();
        self.linked_at.clear();
        self.redirect = None;
        self.touchpoints = 0;
        self.recent.reset(0);
        self.journeys.clear();
        self.contacts.clear();
        self.window.reset();
    }

    /// Prepares a customer in hand for a touchpoint: where the history has its id, the type there decides whether it is a repeat.
    pub fn show_namesakes(&mut self, touchpoint: &Touchpoint, words: &Words) {
        if touchpoint.id_given {
            self.recent.reveal(&Id::of(&touchpoint.id), words);
        }
    }

    /// Applies a touchpoint to the common state and to every model's journey, and appends the outcomes: per model first the
    /// episodes in model order, then friction, then the stage (rule 16).
    pub fn apply(
        &mut self,
        models: &[Arc<Model>],
        touchpoint: &Touchpoint,
        moment: Moment,
        history: usize,
        noticed: &mut Noticed,
        outcomes: &mut Vec<Outcome>,
    ) -> Applied {
        let id = Id::of(&touchpoint.id);
        if touchpoint.id_given {
            match self.recent.has_seen(&id, &touchpoint.kind, moment.log_time, Span::ZERO) {
                SeenBefore::Yes => return Applied::Duplicate,
                SeenBefore::AsAnother => noticed.conflicts += 1,
                SeenBefore::No => {}
            }
        }
        let rules = Rules { grace: Span::ZERO, max_delay: Span::ZERO, history, stale_after: Span::ZERO };
        self.step(models, touchpoint, id, moment, &rules, noticed, outcomes)
    }

    /// Applies a touchpoint that is no repeat.
    #[expect(clippy::too_many_arguments, reason = "what `apply` is given")]
    fn step(
        &mut self,
        models: &[Arc<Model>],
        touchpoint: &Touchpoint,
        id: Id,
        moment: Moment,
        rules: &Rules,
        noticed: &mut Noticed,
        outcomes: &mut Vec<Outcome>,
    ) -> Applied {
        self.keep(touchpoint, &id, moment.log_time, rules);
        let id = TouchpointId::new(id, self.touchpoints);
        // A model that is new to this customer begins its journey here.
        for model in &models[self.journeys.len().min(models.len())..] {
            let sequence = self.sequence_before(self.journeys.len());
            self.journeys.push(Journey { sequence, ..Journey::new(model, touchpoint.event_time) });
        }
        let arrival = Arrival::of(touchpoint, &id, moment, self.touchpoints);
        let mut applied = Applied::Ignored;
        for (model, journey) in models.iter().zip(&mut self.journeys) {
            if !journey.has_begun() {
                *journey = Journey::new(model, touchpoint.event_time);
            }
            let mut builder = OutcomeBuilder::new(model, &self.identity, outcomes);
            if journey.step(model, &arrival, noticed, &mut builder) {
                applied = Applied::Counted;
            }
        }
        applied
    }

    /// Fires everything that is due exactly at `deadline`, in the order (model, rule position, episode number), where
    /// episode kinds stand before stages (rule 7).
    pub fn fire(&mut self, models: &[Arc<Model>], deadline: Timestamp, outcomes: &mut Vec<Outcome>) {
        for (model, journey) in models.iter().zip(&mut self.journeys) {
            let mut builder = OutcomeBuilder::new(model, &self.identity, outcomes);
            journey.fire(model, deadline, &mut builder);
        }
    }

    /// How the customer may be and was contacted.
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Adds to the sums of a shard, whose row this is.
    pub(crate) fn add_sums(&mut self, sums: &Sums) {
        self.contacts.sums.append(sums);
    }

    /// Sets the graves of a shard, whose row this is.
    pub(crate) fn set_graves(&mut self, graves: Graves) {
        self.contacts.graves = graves;
    }

    /// Whether the latest story can be told anew.
    pub(crate) fn has_window(&self) -> bool {
        !self.window.is_closed()
    }

    /// To when the window lasts, without the grace; `None`: there is none.
    pub(crate) fn window_to(&self) -> Option<Timestamp> {
        self.has_window().then(|| self.window.lasts_to())
    }

    /// The customer without its window, where that is over at stream time: a shard drops it some time after, and says nothing.
    pub fn as_of(self, stream_time: Timestamp, grace: Span) -> Self {
        if self.window.is_over(stream_time, grace) { self.without_window() } else { self }
    }

    /// The customer as once nothing of it can be told anew any more.
    pub fn without_window(mut self) -> Self {
        self.window.reset();
        self
    }

    /// The customer as if what happened since a claim that nobody has answered could not be told anew.
    pub fn past_claims(mut self) -> Self {
        if self.window.awaits_any() {
            self.window.seal();
        }
        self
    }

    /// The customer as if nobody had ever been contacted.
    pub fn without_contacts(mut self) -> Self {
        self.contacts.clear();
        self
    }

    /// When something is awaited next, to be measured or to be judged again; [`Timestamp::MAX`] when nothing is.
    pub fn next_deadline(&self) -> Timestamp {
        self.next_in_story().min(self.contacts.next_measurement()).min(self.contacts.next_waiting())
    }

    /// The earliest deadline of all journeys; [`Timestamp::MAX`] when nothing is awaited.
    pub(crate) fn next_in_story(&self) -> Timestamp {
        self.journeys.iter().map(Journey::next_deadline).min().unwrap_or(Timestamp::MAX)
    }

    /// When the latest touchpoint came: its log time, or its event time where it had no id of its own. Found in what is kept
    /// anyway; without a history, not before the present journeys began. `None` where no touchpoint has come.
    pub fn last_touchpoint(&self) -> Option<Timestamp> {
        self.recent.latest().max(self.journeys.iter().map(|journey| journey.started_at).max())
    }

    /// The latest touchpoints, oldest first; of an image only ([`Customer::image`]), and of a customer that was never packed.
    pub fn history(&self) -> impl ExactSizeIterator<Item = &PastTouchpoint> {
        self.recent.fresh()
    }

    fn keep(&mut self, touchpoint: &Touchpoint, id: &Id, log_time: Timestamp, rules: &Rules) {
        self.touchpoints += 1;
        if let Some(anonymous) = &touchpoint.linked {
            self.keep_link(anonymous, log_time);
        }
        let past = PastTouchpoint {
            id: id.clone(),
            kind: touchpoint.kind.clone(),
            channel: touchpoint.channel.clone(),
            at: touchpoint.event_time,
            seen_at: touchpoint.id_given.then_some(log_time),
        };
        self.recent.keep(past, rules.history, log_time, rules.grace);
    }
}

impl Default for Customer {
    fn default() -> Self {
        Customer::new(Identity::customer(""))
    }
}
