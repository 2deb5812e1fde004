//! Episodes that go into others: a guest's basket into the customer's.

use super::closed::{EpisodeIds, add_ids, is_same};
use super::episodes::{Candidate, about};
use super::outcome::{Cause, OutcomeBuilder, What};
use super::tallies::unite_sums;
use super::{Episode, Journey, Noticed};

impl Journey {
    /// What the touchpoint says goes into another one: its ids name that one from now on, and so does what it had.
    pub(super) fn join(&mut self, candidate: &Candidate<'_>, noticed: &mut Noticed, outcomes: &mut OutcomeBuilder<'_>) {
        let Some(joining) = candidate.joining.as_ref().filter(|_| !candidate.ids.is_empty()) else { return };
        let from = std::slice::from_ref(joining);
        let closed = &self.kinds[usize::from(candidate.index)].closed;
        if closed.ended(from).is_some() || candidate.ids.contains(joining) {
            return;
        }
        let at = candidate.touchpoint.event_time;
        let ended = closed.ended(&candidate.ids).map(|into| into.ended.is_some_and(|ended| at <= ended));
        let named = |episode: &Episode| episode.kind == candidate.index && is_same(from, &episode.ids);
        let mut going: Vec<usize> = (0..self.episodes.len()).filter(|place| named(&self.episodes[*place])).collect();
        match (ended, self.by_id(candidate)) {
            // It went into what was completed since.
            (Some(true), _) => self.close(going, candidate, noticed, outcomes),
            // What was over before takes nothing in.
            (Some(false), _) => {}
            (None, Some(into)) => {
                going.retain(|place| *place != into);
                let number = self.episodes[into].number;
                for mut gone in self.take(going) {
                    self.resume_to_join(&mut gone, candidate, outcomes);
                    let is_it = |episode: &&mut Episode| episode.kind == candidate.index && episode.number == number;
                    if let Some(into) = self.episodes.iter_mut().find(is_it) {
                        into.take_in(gone, noticed);
                    }
                }
                if let Some(into) = self.by_id(candidate) {
                    add_ids(&mut self.episodes[into].ids, from, noticed);
                }
            }
            (None, None) => match going.first() {
                Some(place) => add_ids(&mut self.episodes[*place].ids, &candidate.ids, noticed),
                None => {
                    let ids: EpisodeIds = candidate.ids.iter().chain(from).cloned().collect();
                    let until = candidate.remembered_until();
                    self.kinds[usize::from(candidate.index)].closed.pair(&ids, until, noticed);
                }
            },
        }
    }

    /// What was abandoned goes on in another one.
    fn resume_to_join(&mut self, gone: &mut Episode, candidate: &Candidate<'_>, outcomes: &mut OutcomeBuilder<'_>) {
        if !gone.abandoned {
            return;
        }
        let at = candidate.touchpoint.event_time;
        gone.watch.resume(candidate.id, at, candidate.moment);
        gone.abandoned = false;
        if let Some(answers) = gone.watch.abandonment {
            let what = What::Resumption { about: about(candidate.kind, gone), answers };
            outcomes.emit(self, at, Cause::Touchpoint(&candidate.id.id), gone.value, what);
        }
    }
}

impl Episode {
    /// Takes in all that another one has: what both are worth is worth both.
    fn take_in(&mut self, gone: Episode, noticed: &mut Noticed) {
        let later = gone.watch.last_progress_at > self.watch.last_progress_at;
        add_ids(&mut self.ids, &gone.ids, noticed);
        match (&mut self.value, gone.value) {
            (Some(mine), Some(more)) if mine.currency == more.currency => {
                mine.micros = mine.micros.saturating_add(more.micros);
            }
            (mine @ None, more) => *mine = more,
            (Some(_), _) => {}
        }
        self.value_at = self.value_at.max(gone.value_at);
        self.touched = self.touched.max(gone.touched);
        self.watch.progress_count = self.watch.progress_count.saturating_add(gone.watch.progress_count);
        unite_sums(&mut self.sums, gone.sums, later);
    }
}
