//! What completes an episode, and which of them a completing touchpoint means (rules 11 and 13).

use super::closed::{EpisodeIds, add_ids, shares};
use super::episodes::{Candidate, Scope, about};
use super::facts::View;
use super::outcome::{Abandonment, Cause, OutcomeBuilder, What};
use super::watch::Watch;
use super::{Episode, EpisodeKindState, Journey, Noticed};
use crate::model::EpisodeIndex;
use crate::time::Timestamp;
use crate::touchpoint::Money;

impl Journey {
    /// Completes the episode that the touchpoint belongs to where that makes its condition hold; else says where it is. `left` is
    /// its watch from before the touchpoint, where it was abandoned.
    pub(super) fn complete_by_condition(
        &mut self,
        place: usize,
        left: Option<Watch>,
        candidate: &Candidate<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) -> Option<usize> {
        let Some(condition) = &candidate.kind.completes_when else { return Some(place) };
        let own = Some(&self.episodes[place]);
        if !condition.holds(&View { own, ..self.view(candidate.model, Some(candidate.touchpoint)) }) {
            return Some(place);
        }
        let state = &mut self.kinds[usize::from(candidate.index)];
        let at = candidate.touchpoint.event_time;
        state.last_completion = state.last_completion.max(Some(at));
        if let Some(left) = left.filter(|_| was_bought_before(&self.episodes[place], candidate)) {
            // It never was resumed: each time that it was told is taken back, as it was told.
            self.episodes[place].watch = left;
        }
        self.close(vec![place], candidate, noticed, outcomes);
        None
    }

    /// What both opens and completes opens one for itself where there is none that it could complete.
    pub(super) fn open_to_complete(
        &mut self,
        candidate: &Candidate<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        if !candidate.role.opens || self.is_closed(candidate) || !self.all_by_id(candidate).is_empty() {
            return;
        }
        let nameless = |episode: &Episode| !episode.abandoned && episode.ids.is_empty();
        let waits = match candidate.ids.is_empty() {
            true => !self.completed_by(candidate).is_empty(),
            // What was opened without an id has one now.
            false => self.nearest(candidate, nameless).is_some(),
        };
        if !waits {
            self.open(candidate, noticed, outcomes);
        }
    }

    /// Completes what the touchpoint names or means, once.
    pub(super) fn complete(&mut self, candidate: &Candidate<'_>, noticed: &mut Noticed, outcomes: &mut OutcomeBuilder<'_>) {
        let places = self.completed_by(candidate);
        let again = places.is_empty() && self.is_closed(candidate);
        let state = &mut self.kinds[usize::from(candidate.index)];
        let at = candidate.touchpoint.event_time;
        if again && !candidate.kind.strict {
            // Told once more, as by a confirmation page that is opened again, unless another purchase has the same id.
            let reused = state.closed.reused(&candidate.ids, at);
            if !reused.is_empty() {
                state.note_reused(reused);
                state.last_completion = state.last_completion.max(Some(at));
            }
        } else if !again {
            state.last_completion = state.last_completion.max(Some(at));
        }
        self.close(places, candidate, noticed, outcomes);
    }

    /// A touchpoint that completes nothing itself, but says that a completed id and its other ids are one thing: the
    /// completing touchpoint came first, so what is open under the other ids is completed, and none of them opens again
    /// (rule 13: in every order of arrival).
    pub(super) fn tie_to_closed(
        &mut self,
        candidate: &Candidate<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        let places = self.all_by_id(candidate);
        if candidate.role.opens && places.is_empty() {
            let closed = &mut self.kinds[usize::from(candidate.index)].closed;
            noticed.openings += u64::from(closed.would_open(&candidate.ids, candidate.touchpoint.event_time));
        }
        self.close(places, candidate, noticed, outcomes);
    }

    /// Which episodes a completing touchpoint completes.
    fn completed_by(&self, candidate: &Candidate<'_>) -> Vec<usize> {
        let named = self.all_by_id(candidate);
        if !named.is_empty() || self.is_closed(candidate) {
            return named;
        }
        if !candidate.ids.is_empty() && candidate.kind.strict {
            return Vec::new();
        }
        // Where one of the ids is known, as that of a group is, nothing else is meant than what has it.
        let is_known = self.knows_any(candidate);
        let may = |episode: &Episode| !is_known || shares(&candidate.ids, &episode.ids);
        // What opened after the purchase is not what was bought, as far as instants can be trusted: there may be nothing else.
        let at = candidate.touchpoint.event_time;
        let by_then = self.completed_without_id(candidate, |episode| may(episode) && episode.watch.opened_at <= at);
        if by_then.is_empty() { self.completed_without_id(candidate, may) } else { by_then }
    }

    /// Whether any of the touchpoint's ids is that of an episode of the kind, or of one that is over.
    fn knows_any(&self, candidate: &Candidate<'_>) -> bool {
        let has = |episode: &Episode| episode.kind == candidate.index && shares(&candidate.ids, &episode.ids);
        self.kinds[usize::from(candidate.index)].closed.has_any(&candidate.ids) || self.episodes.iter().any(has)
    }

    /// Which of the episodes that `may` be meant a touchpoint completes that names none of them.
    fn completed_without_id(&self, candidate: &Candidate<'_>, may: impl Fn(&Episode) -> bool) -> Vec<usize> {
        let open = |episode: &Episode| !episode.abandoned && may(episode);
        let awaits = |episode: &Episode| self.is_awaited(episode, candidate) && may(episode);
        let customers = |fits: &dyn Fn(&Episode) -> bool| self.latest(candidate, &Scope::Customer, fits);
        if candidate.ids.is_empty() {
            return self.nearest(candidate, open).or_else(|| self.nearest(candidate, awaits)).into_iter().collect();
        }
        // A purchase names its session, whether baskets are known by theirs or not.
        let scope = match candidate.named_session {
            Some(session) => Scope::Session(session.clone()),
            None => Scope::Customer,
        };
        let all = self.episodes.iter().enumerate();
        let fitting = all.filter(|(_, episode)| episode.kind == candidate.index && scope.holds(episode) && open(episode));
        let in_scope: Vec<usize> = fitting.map(|(place, _)| place).collect();
        if !in_scope.is_empty() {
            return in_scope;
        }
        let left = || self.latest(candidate, &scope, awaits).or_else(|| customers(&awaits));
        customers(&open).or_else(left).into_iter().collect()
    }

    /// Whether completing the abandoned episode without a known id recovers it now, or shows that it never was abandoned.
    fn is_awaited(&self, episode: &Episode, candidate: &Candidate<'_>) -> bool {
        episode.abandoned && (self.recoverable(episode, candidate).is_some() || was_bought_before(episode, candidate))
    }

    /// The abandonment that completing the episode now recovers.
    fn recoverable(&self, episode: &Episode, candidate: &Candidate<'_>) -> Option<Abandonment> {
        let within = candidate.kind.recovered_within;
        episode.watch.recoverable(ended_at(episode, candidate), within).filter(|_| self.is_latest(episode))
    }

    /// Whether no episode of the kind has opened since this one was abandoned.
    fn is_latest(&self, episode: &Episode) -> bool {
        episode.latest_then == self.kinds[usize::from(episode.kind)].opened
    }

    /// Takes out the completed episodes and remembers all ids by which they or the touchpoint knew the thing, even when no
    /// episode was open, so that a late opening touchpoint opens nothing after the purchase (rule 13).
    pub(super) fn close(
        &mut self,
        places: Vec<usize>,
        candidate: &Candidate<'_>,
        noticed: &mut Noticed,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        let mut completed = self.take(places);
        self.keep_closed(&completed, candidate, noticed);
        // One thing can have been opened twice, under ids that were tied to each other only later.
        let tied = self.take(self.all_ended(candidate.index));
        self.keep_closed(&tied, candidate, noticed);
        completed.extend(tied);
        let values = values(&completed, candidate);
        for (episode, value) in completed.into_iter().zip(values) {
            self.tell_completion(candidate, episode, value, outcomes);
        }
    }

    /// Episodes of a kind that are over by their ids.
    fn all_ended(&self, index: EpisodeIndex) -> Vec<usize> {
        let closed = &self.kinds[usize::from(index)].closed;
        let is_over = |place: &usize| {
            let episode = &self.episodes[*place];
            episode.kind == index && closed.ended(&episode.ids).is_some()
        };
        (0..self.episodes.len()).filter(is_over).collect()
    }

    /// Takes episodes out, from the back so that places stay right; they come in the order of opening.
    pub(super) fn take(&mut self, places: Vec<usize>) -> Vec<Episode> {
        let mut taken: Vec<Episode> = places.into_iter().rev().map(|place| self.episodes.remove(place)).collect();
        taken.reverse();
        taken
    }

    /// Remembers all ids by which the episodes or the touchpoint knew the thing, each episode's by themselves.
    pub(super) fn keep_closed(&mut self, episodes: &[Episode], candidate: &Candidate<'_>, noticed: &mut Noticed) {
        let (at, until) = (candidate.touchpoint.event_time, candidate.remembered_until());
        let EpisodeKindState { closed, reused, .. } = &mut self.kinds[usize::from(candidate.index)];
        for episode in episodes {
            let mut ids = episode.ids.clone();
            add_ids(&mut ids, &candidate.ids, noticed);
            ids.retain(|id| !reused.contains(id));
            closed.end(&ids, at, until, noticed);
        }
        if episodes.is_empty() {
            let ids: EpisodeIds = candidate.ids.iter().filter(|id| !reused.contains(id)).cloned().collect();
            if candidate.role.completes || candidate.role.cancels {
                closed.end(&ids, at, until, noticed);
            } else {
                closed.tie(&ids, until, noticed);
            }
        }
    }

    fn tell_completion(
        &mut self,
        candidate: &Candidate<'_>,
        mut episode: Episode,
        value: Option<Money>,
        outcomes: &mut OutcomeBuilder<'_>,
    ) {
        add_ids(&mut episode.ids, &candidate.ids, &mut Noticed::default());
        let (at, cause) = (candidate.touchpoint.event_time, Cause::Touchpoint(&candidate.id.id));
        let about = about(candidate.kind, &episode);
        if was_bought_before(&episode, candidate) {
            // Bought before it was abandoned, whenever that was told: it was never abandoned.
            let (bought, before) = (ended_at(&episode, candidate), outcomes.len());
            let (taken_back, stands) = outcomes.retract(self, episode.watch.told(), bought, episode.value, about.clone());
            episode.watch.take_back(taken_back, stands);
            outcomes.set_session(before, episode.session.as_ref());
        }
        outcomes.emit(self, at, cause, value, What::Completion { about: about.clone() });
        if let Some(answers) = self.recoverable(&episode, candidate) {
            outcomes.emit(self, at, cause, value, What::Recovery { about, answers });
        }
    }
}

/// What each of the completed episodes was worth. What the touchpoint says of several stands once at most, so that nothing that
/// was bought is summed up twice.
fn values(completed: &[Episode], candidate: &Candidate<'_>) -> Vec<Option<Money>> {
    let worth = candidate.worth();
    if completed.len() == 1 {
        return vec![worth.or(completed[0].value)];
    }
    let is_valued = completed.iter().any(|episode| episode.value.is_some());
    let last = (0..completed.len()).max_by_key(|place| completed[*place].touched).filter(|_| !is_valued);
    (0..completed.len()).map(|place| completed[place].value.or(worth.filter(|_| last == Some(place)))).collect()
}

/// Whether the episode was open when the completing touchpoint happened, before it was abandoned.
fn was_bought_before(episode: &Episode, candidate: &Candidate<'_>) -> bool {
    let at = ended_at(episode, candidate);
    at >= episode.watch.opened_at && episode.watch.abandonment.is_some_and(|abandonment| at < abandonment.at)
}

/// When what the touchpoint completes ended: by a condition, with all that makes it hold.
fn ended_at(episode: &Episode, candidate: &Candidate<'_>) -> Timestamp {
    let at = candidate.touchpoint.event_time;
    let by_condition = !candidate.role.completes && candidate.kind.completes_when.is_some();
    if by_condition { at.max(episode.watch.last_progress_at) } else { at }
}
