//! Episodes: things inside a journey with their own ids and deadlines, and how a touchpoint finds its own (rules 11–14).
//!
//! The correlation chain of a kind is its property names in order, then the session, then the customer. A touchpoint first
//! speaks through its explicit ids, the first name of the chain deciding; only without any, or with unknown ones, it falls
//! back along the chain.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::closed::{ClosedIds, EpisodeId, EpisodeIds, MAX_REUSED, add_ids, differ, is_same};
use super::facts::View;
use super::outcome::{BY_SESSION, Cause, OutcomeBuilder, Passed, Subject, What};
use super::signs::Signs;
use super::tallies::add;
use super::watch::{Belonging, Watch};
use super::{Arrival, Id, Journey, Moment, Noticed, TallyState, TouchpointId};
use crate::model::{EpisodeIndex, EpisodeKind, EpisodeRole, Join, Model, TypeRoles};
use crate::time::Timestamp;
use crate::touchpoint::{Money, Touchpoint, Value, is_about_offers};

/// At most so many episodes of one kind are open, or abandoned and remembered, for one customer; see [`Journey::make_room`].
pub(super) const MAX_EPISODES: usize = 64;

/// Why room is made among the episodes of a kind: something came.
#[derive(Clone, Copy)]
pub(super) struct RoomMade<'a> {
    pub(super) index: EpisodeIndex,
    /// When it happened.
    pub(super) at: Timestamp,
    /// Until when what ends for it is remembered.
    pub(super) until: Timestamp,
    pub(super) cause: &'a Id,
}

/// An episode that is open, or abandoned and still remembered. A completed one leaves only its ids behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Which kind.
    pub kind: EpisodeIndex,
    /// 1, 2, … per customer and kind.
    pub number: u32,
    /// The explicit ids it is known by.
    pub ids: EpisodeIds,
    /// The session it was touched in last.
    pub session: Option<Id>,
    /// The latest worth (by event time).
    pub value: Option<Money>,
    /// Event time of the touchpoint that carried it; none where nothing is known of it.
    #[serde(skip)]
    pub value_at: Option<Timestamp>,
    /// The customer's touchpoint count when it was touched last; orders episodes by progress.
    pub touched: u64,
    /// What is awaited.
    pub watch: Watch,
    /// Whether it is abandoned and not resumed.
    pub abandoned: bool,
    /// The number of the episode opened last when this one was abandoned; a later one ends the wait for a recovery (rule 14).
    pub latest_then: u32,
    /// Evidence of friction.
    pub signs: Signs,
    /// What is summed up in it, in the order of its kind's sums.
    #[serde(skip)]
    pub sums: Vec<TallyState>,
}

/// What is remembered of all episodes of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeKindState {
    /// The number of the episode opened last.
    pub opened: u32,
    /// The latest event time of a completing touchpoint.
    pub last_completion: Option<Timestamp>,
    /// What is remembered by ids: completed episodes above all.
    pub closed: ClosedIds,
    /// Ids that turned out to be the same for several episodes, the oldest first: they name none any more.
    #[serde(skip)]
    pub reused: Vec<EpisodeId>,
}

impl EpisodeKindState {
    /// Remembers ids that name no single episode; of too many the oldest is forgotten.
    pub(super) fn note_reused(&mut self, ids: impl IntoIterator<Item = EpisodeId>) {
        for id in ids {
            if !self.reused.contains(&id) {
                self.reused.push(id);
            }
        }
        let surplus = self.reused.len().saturating_sub(MAX_REUSED);
        self.reused.drain(..surplus);
    }
}

/// Where a fallback looks.
#[derive(Clone)]
pub(super) enum Scope {
    Session(Id),
    Customer,
}

impl Scope {
    pub(super) fn holds(&self, episode: &Episode) -> bool {
        match self {
            Scope::Session(session) => episode.session.as_ref() == Some(session),
            Scope::Customer => true,
        }
    }
}

/// A touchpoint as one episode kind sees it.
pub(super) struct Candidate<'a> {
    pub(super) model: &'a Model,
    pub(super) index: EpisodeIndex,
    pub(super) kind: &'a EpisodeKind,
    pub(super) role: EpisodeRole,
    pub(super) ids: EpisodeIds,
    /// The id of what goes into what the others name.
    pub(super) joining: Option<EpisodeId>,
    pub(super) touchpoint: &'a Touchpoint,
    pub(super) id: &'a TouchpointId,
    /// Its session, whether the kind goes by sessions or not.
    pub(super) named_session: Option<&'a Id>,
    pub(super) moment: Moment,
    /// The customer's touchpoint count.
    pub(super) count: u64,
}

impl Candidate<'_> {
    pub(super) fn session(&self) -> Option<&Id> {
        self.named_session.filter(|_| self.kind.by_session)
    }

    pub(super) fn worth(&self) -> Option<Money> {
        let property = self.kind.worth.as_ref()?;
        self.touchpoint.money(property, self.model.form(property), self.model.currency)
    }

    /// Until which log time what ends now is remembered.
    pub(super) fn remembered_until(&self) -> Timestamp {
        self.moment.log_time + self.kind.remembered_for
    }
}

impl Journey {
    /// Applies a touchpoint to the episodes of every kind. Deadlines are to be armed afterwards.
    pub(super) fn step_episodes(
        &mut self,
        model: &Model,
        roles: &TypeRoles,
        arrival: &Arrival<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        let Some(touchpoint) = arrival.touchpoint else { return };
        for (index, (kind, role)) in model.episodes.iter().zip(&roles.episodes).enumerate() {
            let named = role.belongs || role.completes || role.empties || role.cancels;
            // What the kind does not name is progress at most, and closes what an id that it carries ties to a completed one.
            let idle = self.episodes.is_empty() && self.kinds[index].closed.is_empty();
            let ties = || kind.ids.iter().filter(|id| touchpoint.property(id).is_some()).nth(1).is_some();
            let is_nothing = !kind.any_progress || is_about_offers(&touchpoint.kind);
            if !named && (is_nothing || (idle && !ties())) {
                continue;
            }
            let candidate = Candidate {
                model,
                index: index as EpisodeIndex,
                kind,
                role: *role,
                ids: explicit_ids(kind, *role, &self.kinds[index].reused, touchpoint),
                joining: joining(kind, *role, touchpoint),
                touchpoint,
                id: arrival.id,
                named_session: arrival.session.as_ref(),
                moment: arrival.moment,
                count: arrival.count,
            };
            self.forget(&candidate);
            self.join(&candidate, noticed, outcomes);
            let touched = if role.empties || role.cancels {
                self.drop_episodes(&candidate, noticed);
                None
            } else if role.completes {
                self.open_to_complete(&candidate, noticed, outcomes);
                self.complete(&candidate, noticed, outcomes);
                None
            } else if self.is_over(&candidate) {
                self.tie_to_closed(&candidate, noticed, outcomes);
                None
            } else {
                match self.find_or_open(&candidate, noticed, outcomes) {
                    Found::At(place) => self.touch(place, &candidate, noticed, outcomes),
                    Found::Opened(place) => self.complete_by_condition(place, None, &candidate, noticed, outcomes),
                    Found::Nothing => {
                        // Whatever opens later by one of the ids is known by the others too.
                        self.kinds[index].closed.pair(&candidate.ids, candidate.remembered_until(), noticed);
                        None
                    }
                }
            };
            self.progress_others(&candidate, touched);
        }
    }

    /// Sets the deadlines of the episodes that the touchpoint stirred, now that the segment is known.
    pub(super) fn arm_episodes(&mut self, model: &Model, arrival: &Arrival<'_>) {
        for place in 0..self.episodes.len() {
            let episode = &self.episodes[place];
            let pending = episode.watch.pending;
            if pending == super::watch::PendingArm::None {
                continue;
            }
            let kind = &model.episodes[usize::from(episode.kind)];
            let view = View { own: Some(episode), ..self.view(model, arrival.touchpoint) };
            let quiet = kind.abandoned_after.as_ref().and_then(|wait| wait.span(&view, self.segment));
            // Only what belongs to the episode says until when it runs: another touchpoint may carry another's instant.
            let until = kind.abandoned_at.as_ref().filter(|_| pending.belongs()).and_then(|at| at.instant(&view));
            let watch = &mut self.episodes[place].watch;
            let until = watch.take_date(until, arrival.at);
            watch.arm(quiet, until, arrival.moment);
        }
    }

    /// The open episode that a touchpoint concerns without being named by its kind: evidence of friction in it.
    pub(super) fn concerned(&self, model: &Model, index: EpisodeIndex, touchpoint: &Touchpoint) -> Option<usize> {
        let kind = model.episodes.get(usize::from(index))?;
        let session = touchpoint.session.as_deref().map(Id::of);
        let candidate = Candidate {
            model,
            index,
            kind,
            role: EpisodeRole::default(),
            ids: explicit_ids(kind, EpisodeRole::default(), &self.kinds[usize::from(index)].reused, touchpoint),
            joining: None,
            touchpoint,
            id: &TouchpointId::default(),
            named_session: session.as_ref(),
            moment: Moment { log_time: Timestamp::MIN, counts_from: Timestamp::MIN, stream_time: Timestamp::MIN },
            count: 0,
        };
        if self.is_over(&candidate) {
            return None;
        }
        let place = self
            .by_id(&candidate)
            .or_else(|| self.fallback(&candidate).filter(|place| could_be_named(&self.episodes[*place], &candidate.ids)));
        place.filter(|place| !self.episodes[*place].abandoned)
    }

    /// Drops the episodes that a touchpoint empties or cancels, without a word. What is emptied may be opened again by the
    /// same id; what is cancelled may not.
    fn drop_episodes(&mut self, candidate: &Candidate<'_>, noticed: &mut Noticed) {
        let named = self.all_by_id(candidate);
        let places = if !named.is_empty() || self.is_closed(candidate) {
            named
        } else {
            let open = self.fallback(candidate).filter(|place| could_be_named(&self.episodes[*place], &candidate.ids));
            // What was left goes too, however long ago: a late purchase must not bring it back.
            let left = || self.nearest(candidate, |episode| episode.abandoned).filter(|_| candidate.ids.is_empty());
            open.or_else(left).into_iter().collect()
        };
        let dropped = self.take(places);
        if candidate.role.cancels {
            self.keep_closed(&dropped, candidate, noticed);
        }
    }

    /// Drops what is remembered no longer: abandoned episodes and closed ids past their horizon.
    fn forget(&mut self, candidate: &Candidate<'_>) {
        let (index, now, keep) = (candidate.index, candidate.moment.log_time, candidate.kind.remembered_for);
        self.episodes.retain(|episode| {
            // From when it was left at the earliest: an absolute date can lie long before the touchpoint that carried it.
            let left = |at: Timestamp| at.max(episode.watch.counts_from);
            let gone = episode.abandoned && episode.watch.abandonment.is_some_and(|it| left(it.at) + keep <= now);
            episode.kind != index || !gone
        });
        self.kinds[usize::from(index)].closed.forget(now);
    }

    /// The episode that a touchpoint that completes nothing belongs to, or a new one for it.
    fn find_or_open(
        &mut self,
        candidate: &Candidate<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) -> Found {
        if let Some(place) = self.by_id(candidate) {
            return Found::At(place);
        }
        let role = candidate.role;
        if !candidate.ids.is_empty() {
            if role.opens {
                // What was bought by then may well be this: the purchase did not know the id. Where it must, it was not.
                if !candidate.kind.strict && self.is_before_last_completion(candidate) {
                    return Found::Nothing;
                }
                // What was opened without an id has one now.
                let nameless = self.nearest(candidate, |episode| !episode.abandoned && episode.ids.is_empty());
                return nameless.map_or_else(|| self.open(candidate, noticed, outcomes), Found::At);
            }
            // An id that is new for a name under which the open episode has none yet names the same thing once more.
            let may_alias = role.belongs && (candidate.kind.by_session || candidate.kind.by_customer);
            return match self
                .fallback(candidate)
                .filter(|place| may_alias && could_be_named(&self.episodes[*place], &candidate.ids))
            {
                Some(place) => Found::At(place),
                None => Found::Nothing,
            };
        }
        match self.fallback(candidate).filter(|_| role.belongs) {
            Some(place) => Found::At(place),
            None if role.opens && !self.is_before_last_completion(candidate) => self.open(candidate, noticed, outcomes),
            None => Found::Nothing,
        }
    }

    pub(super) fn is_closed(&self, candidate: &Candidate<'_>) -> bool {
        self.kinds[usize::from(candidate.index)].closed.ended(&candidate.ids).is_some()
    }

    /// Whether the touchpoint's ids name what is over and nothing that is not: of a group, others can still be open.
    fn is_over(&self, candidate: &Candidate<'_>) -> bool {
        let Some(closed) = self.kinds[usize::from(candidate.index)].closed.ended(&candidate.ids) else { return false };
        let goes_on = |place: usize| differ(&closed.ids, &self.episodes[place].ids);
        !self.all_by_id(candidate).into_iter().any(goes_on)
    }

    /// An episode that nothing was known of is not opened by a touchpoint older than the last completion (rule 13).
    fn is_before_last_completion(&self, candidate: &Candidate<'_>) -> bool {
        self.kinds[usize::from(candidate.index)].last_completion.is_some_and(|last| candidate.touchpoint.event_time < last)
    }

    /// The open or abandoned episode that the touchpoint's ids name: by the first name of the chain under which there is any,
    /// an open one before an abandoned one, and of several (a group's id names all of the group) the one touched last.
    pub(super) fn by_id(&self, candidate: &Candidate<'_>) -> Option<usize> {
        let named = self.all_by_id(candidate);
        let rank = |place: &usize| {
            let episode = &self.episodes[*place];
            let name = candidate.ids.iter().find(|id| episode.ids.contains(id)).map_or(0, |id| id.name);
            (std::cmp::Reverse(name), !episode.abandoned, episode.touched, *place)
        };
        named.into_iter().max_by_key(rank)
    }

    /// All episodes that the touchpoint's ids name, in the order of their opening.
    pub(super) fn all_by_id(&self, candidate: &Candidate<'_>) -> Vec<usize> {
        if candidate.ids.is_empty() {
            return Vec::new();
        }
        let named = |episode: &Episode| episode.kind == candidate.index && is_same(&candidate.ids, &episode.ids);
        (0..self.episodes.len()).filter(|place| named(&self.episodes[*place])).collect()
    }

    /// The open episode that progressed last (rule 11).
    pub(super) fn fallback(&self, candidate: &Candidate<'_>) -> Option<usize> {
        self.nearest(candidate, |episode| !episode.abandoned)
    }

    /// The episode that progressed last among those that fit: of the session, and of the customer as far as the chain goes. A
    /// touchpoint that names no session to go by belongs to the customer's in any case (rule 11).
    pub(super) fn nearest(&self, candidate: &Candidate<'_>, fits: impl Fn(&Episode) -> bool) -> Option<usize> {
        let Some(session) = candidate.session() else { return self.latest(candidate, &Scope::Customer, fits) };
        let in_session = self.latest(candidate, &Scope::Session(session.clone()), &fits);
        in_session.or_else(|| candidate.kind.by_customer.then(|| self.latest(candidate, &Scope::Customer, &fits)).flatten())
    }

    pub(super) fn latest(&self, candidate: &Candidate<'_>, scope: &Scope, fits: impl Fn(&Episode) -> bool) -> Option<usize> {
        let all = self.episodes.iter().enumerate();
        let fitting = all.filter(|(_, episode)| episode.kind == candidate.index && scope.holds(episode) && fits(episode));
        fitting.max_by_key(|(place, episode)| (episode.touched, *place)).map(|(place, _)| place)
    }

    pub(super) fn open(
        &mut self,
        candidate: &Candidate<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) -> Found {
        let (at, until) = (candidate.touchpoint.event_time, candidate.remembered_until());
        let end = RoomMade { index: candidate.index, at, until, cause: &candidate.id.id };
        self.make_room(MAX_EPISODES - 1, end, candidate.model, noticed, outcomes);
        let state = &mut self.kinds[usize::from(candidate.index)];
        state.opened += 1;
        let mut ids = candidate.ids.clone();
        state.closed.give_pairs(&mut ids, noticed);
        self.episodes.push(Episode {
            kind: candidate.index,
            number: state.opened,
            ids,
            session: candidate.named_session.cloned(),
            value: candidate.worth(),
            value_at: candidate.worth().map(|_| candidate.touchpoint.event_time),
            touched: candidate.count,
            watch: Watch::open(candidate.id, candidate.touchpoint.event_time, candidate.moment),
            abandoned: false,
            latest_then: 0,
            signs: Signs::default(),
            sums: Vec::new(),
        });
        let place = self.episodes.len() - 1;
        self.sum_up(place, candidate);
        Found::Opened(place)
    }

    /// Keeps no more than `most` episodes of a kind: the one abandoned longest ago is forgotten first; where all are open, the
    /// one untouched longest ends, which is told. Its ids stay closed: a purchase of it must not complete others.
    pub(super) fn make_room(
        &mut self,
        most: usize,
        made: RoomMade<'_>,
        model: &Model,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        let RoomMade { index, at, until, cause } = made;
        loop {
            let places = || (0..self.episodes.len()).filter(|place| self.episodes[*place].kind == index);
            if places().count() <= most {
                return;
            }
            let left = |episode: &Episode| episode.watch.abandonment.filter(|_| episode.abandoned).map(|told| told.at);
            let abandoned = places().filter(|place| self.episodes[*place].abandoned);
            let abandoned = abandoned.min_by_key(|place| left(&self.episodes[*place]));
            let victim = abandoned.or_else(|| places().min_by_key(|place| self.episodes[*place].touched));
            let Some(mut episode) = victim.map(|place| self.episodes.remove(place)) else { return };
            noticed.episodes += 1;
            if episode.abandoned {
                noticed.ids += episode.ids.len() as u64;
                continue;
            }
            let kind = &model.episodes[usize::from(index)];
            let what = What::Abandonment { about: about(kind, &episode), passed: Passed::Room };
            outcomes.emit(self, at, Cause::Touchpoint(cause), episode.value, what);
            let state = &mut self.kinds[usize::from(index)];
            episode.ids.retain(|id| !state.reused.contains(id));
            state.closed.end(&episode.ids, at, until, noticed);
        }
    }

    /// A touchpoint belongs to an episode and is none that completes it. Says where the episode is then, if it goes on.
    fn touch(
        &mut self,
        place: usize,
        candidate: &Candidate<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) -> Option<usize> {
        let episode = &mut self.episodes[place];
        add_ids(&mut episode.ids, &candidate.ids, noticed);
        if !candidate.ids.is_empty() {
            self.kinds[usize::from(candidate.index)].closed.give_pairs(&mut episode.ids, noticed);
        }
        if candidate.named_session.is_some() {
            episode.session = candidate.named_session.cloned();
        }
        let at = candidate.touchpoint.event_time;
        if let Some(worth) = candidate.worth().filter(|_| episode.value_at.is_none_or(|known| known <= at)) {
            (episode.value, episode.value_at) = (Some(worth), Some(at));
        }
        episode.touched = candidate.count;
        let left = episode.abandoned.then(|| episode.watch.clone());
        if left.is_some() {
            episode.watch.resume(candidate.id, at, candidate.moment);
        } else {
            episode.watch.progress(candidate.id, at, candidate.moment, Belonging::Yes);
        }
        self.sum_up(place, candidate);
        // What is completed is not resumed: it is recovered.
        let comes_back = left.is_some();
        self.complete_by_condition(place, left, candidate, noticed, outcomes)?;
        if !comes_back {
            return Some(place);
        }
        let episode = &mut self.episodes[place];
        episode.abandoned = false;
        let (about, value) = (about(candidate.kind, episode), episode.value);
        if let Some(answers) = episode.watch.abandonment {
            let what = What::Resumption { about, answers };
            outcomes.emit(self, at, Cause::Touchpoint(&candidate.id.id), value, what);
        }
        Some(place)
    }

    /// Adds the touchpoint to what is summed up in the episode that it belongs to.
    fn sum_up(&mut self, place: usize, candidate: &Candidate<'_>) {
        let sums = &mut self.episodes[place].sums;
        // A sum that is new in the model begins here.
        let new = candidate.kind.sums.get(sums.len()..).unwrap_or_default();
        sums.extend(new.iter().map(TallyState::new));
        let bits = candidate.role.sums | candidate.kind.sums_of_any;
        for (at, (sum, state)) in candidate.kind.sums.iter().zip(sums).enumerate() {
            if bits & 1 << at != 0 {
                add(candidate.model, sum, state, None, candidate.touchpoint);
            }
        }
    }

    /// Where any touchpoint is progress, it puts off the deadlines of all other open episodes of the kind (rule 12). What
    /// belongs to one of a group by the group's id alone is progress in all of the group.
    fn progress_others(&mut self, candidate: &Candidate<'_>, touched: Option<usize>) {
        let any = candidate.kind.any_progress && !is_about_offers(&candidate.touchpoint.kind);
        if !any && (touched.is_none() || candidate.ids.is_empty()) {
            return;
        }
        for (place, episode) in self.episodes.iter_mut().enumerate() {
            let concerned = any || is_same(&candidate.ids, &episode.ids);
            if episode.kind == candidate.index && !episode.abandoned && Some(place) != touched && concerned {
                episode.watch.progress(candidate.id, candidate.touchpoint.event_time, candidate.moment, Belonging::No);
            }
        }
    }

    /// Takes back what episodes were abandoned after an instant, which their absence did not last to: their deadlines stand again.
    pub(super) fn reopen_episodes(&mut self, model: &Model, after: Timestamp, outcomes: &mut OutcomeBuilder<'_>) {
        for place in 0..self.episodes.len() {
            let episode = &self.episodes[place];
            if !(episode.abandoned && episode.watch.abandonment.is_some_and(|wrong| wrong.at > after)) {
                continue;
            }
            let kind = &model.episodes[usize::from(episode.kind)];
            let (about, value, watch) = (about(kind, episode), episode.value, episode.watch.clone());
            let (session, before) = (episode.session.clone(), outcomes.len());
            let (taken_back, stands) = outcomes.retract(self, watch.told(), after, value, about);
            outcomes.set_session(before, session.as_ref());
            let episode = &mut self.episodes[place];
            episode.abandoned = stands.is_some();
            episode.watch.take_back(taken_back, stands);
        }
    }

    /// Abandons every episode whose deadline is exactly `deadline`, by kind and number.
    pub(super) fn fire_episodes(&mut self, model: &Model, deadline: Timestamp, outcomes: &mut OutcomeBuilder<'_>) {
        let mut due: Vec<usize> =
            (0..self.episodes.len()).filter(|place| self.episodes[*place].watch.deadline == deadline).collect();
        due.sort_by_key(|place| (self.episodes[*place].kind, self.episodes[*place].number));
        for place in due {
            let episode = &self.episodes[place];
            let about = about(&model.episodes[usize::from(episode.kind)], episode);
            let (value, passed, last) = (episode.value, episode.watch.passed(), episode.watch.last_progress.id.clone());
            let what = What::Abandonment { about, passed };
            let session = episode.session.clone();
            let before = outcomes.len();
            let id = outcomes.emit(self, deadline, Cause::AbsenceAfter(&last), value, what);
            outcomes.set_session(before, session.as_ref());
            let episode = &mut self.episodes[place];
            episode.watch.abandon(id, deadline, model.episodes[usize::from(episode.kind)].again);
            // Told again, it is not the latest anew: another may have opened since.
            if !episode.abandoned {
                episode.latest_then = self.kinds[usize::from(episode.kind)].opened;
            }
            episode.abandoned = true;
            episode.signs.forget_evidence();
        }
    }
}

/// Where a touchpoint's episode was found.
pub(super) enum Found {
    At(usize),
    Opened(usize),
    Nothing,
}

/// The ids that a touchpoint carries, in the order of the chain; what names no single episode is none.
fn explicit_ids(kind: &EpisodeKind, role: EpisodeRole, reused: &[EpisodeId], touchpoint: &Touchpoint) -> EpisodeIds {
    if touchpoint.properties.is_empty() {
        return EpisodeIds::new();
    }
    let join = way(kind, role);
    // What goes into another one is not what the touchpoint is about.
    let about = |property: &CompactString| join.is_none_or(|join| join.from.0 != *property);
    let chain = kind.ids.iter().zip(0_u8..).filter(|(property, _)| about(property));
    let named = chain.chain(join.map(|join| (&join.into.0, join.into.1)));
    let mut ids = EpisodeIds::new();
    for (property, name) in named {
        let value = touchpoint.property(property).and_then(Value::as_id);
        let Some(id) = value.map(|value| EpisodeId { name, value: Id::of(&value) }) else { continue };
        if !reused.contains(&id) && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// How the touchpoint joins one to another, if it does.
fn way(kind: &EpisodeKind, role: EpisodeRole) -> Option<&Join> {
    kind.joins.get(usize::from(role.joins?))
}

/// The id of what the touchpoint says goes into another one.
fn joining(kind: &EpisodeKind, role: EpisodeRole, touchpoint: &Touchpoint) -> Option<EpisodeId> {
    let (property, name) = &way(kind, role)?.from;
    Some(EpisodeId { name: *name, value: Id::of(&touchpoint.property(property)?.as_id()?) })
}

/// An id that is new for a name under which the episode has none yet may name the same thing once more.
fn could_be_named(episode: &Episode, ids: &[EpisodeId]) -> bool {
    ids.iter().all(|id| episode.ids.iter().all(|known| known.name != id.name))
}

pub(super) fn about(kind: &EpisodeKind, episode: &Episode) -> super::About {
    // An id by a name that the model's chain has no more says nothing (rule 25).
    let named = |id: &EpisodeId| Some((kind.ids.get(usize::from(id.name))?.clone(), id.value.to_text()));
    let mut ids: Vec<_> = episode.ids.iter().filter_map(named).collect();
    // Without any it is known by its session; one that has none either, by its customer.
    let session = episode.session.as_ref().filter(|_| ids.is_empty() && kind.by_session);
    ids.extend(session.map(|session| (BY_SESSION.into(), session.to_text())));
    episode.watch.about(Subject::Episode { kind: kind.name.clone(), number: episode.number, ids })
}
