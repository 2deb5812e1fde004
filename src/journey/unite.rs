//! What two identities of one customer did becomes one journey, by the table in `docs/identity.md`.
//!
//! Nothing is decided anew: deadlines keep their instants, what was completed stays completed, sums add. All of it is a
//! function of the two states, so that the same two give the same one.

use std::sync::Arc;

use super::closed::{add_ids, is_same};
use super::episodes::{MAX_EPISODES, RoomMade};
use super::friction::MAX_SESSIONS;
use super::outcome::{Cause, Moved, OutcomeBuilder, What};
use super::packed::Words;
use super::tallies::unite_sums;
use super::watch::{PendingArm, Watch};
use super::{
    Customer, Episode, EpisodeKindState, Id, Journey, Noticed, Outcome, Rules, SessionSigns, Standing, TouchpointId,
};
use crate::model::{Demand, EpisodeKind, Model};
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;

impl Customer {
    /// Takes in the state of an anonymous id just before the touchpoint that links them, and tells what moved.
    pub(super) fn absorb(
        &mut self,
        models: &[Arc<Model>],
        other: &Customer,
        link: &Touchpoint,
        rules: &Rules,
        words: &Words,
        outcomes: &mut Vec<Outcome>,
    ) -> Noticed {
        let mut noticed = Noticed::default();
        if other.touchpoints == 0 {
            return noticed;
        }
        let mut other = other.clone();
        let expanded = self.recent.expand(words).and_then(|()| other.recent.expand(words));
        expanded.unwrap_or_else(|_| unreachable!("touchpoints are read as they were written"));
        let later = other.recent.latest() > self.recent.latest();
        let (mine, theirs) = (self.touchpoints, other.touchpoints);
        self.recent.unite(&other.recent, rules.history);
        self.touchpoints += other.touchpoints;
        let id = Id::of(&link.id);
        for (place, model) in models.iter().enumerate() {
            let theirs = other.journeys.get_mut(place).filter(|journey| journey.has_begun()).map(|journey| {
                let earlier = if later { mine } else { 0 };
                journey.sessions.iter_mut().for_each(|session| session.touched += earlier);
                std::mem::replace(journey, Journey::unbegun(0, 0, Vec::new()))
            });
            let moved = theirs.as_ref().map(|journey| journey.moved(model, other.touchpoints));
            match theirs {
                Some(theirs) if place == self.journeys.len() => self.journeys.push(theirs),
                Some(theirs) if self.journeys[place].has_begun() => {
                    let earlier = if later { 0 } else { other.touchpoints };
                    let journey = &mut self.journeys[place];
                    journey.sessions.iter_mut().for_each(|session| session.touched += earlier);
                    journey.unite(model, theirs, later, &mut noticed);
                }
                Some(theirs) => {
                    let sequence = self.journeys[place].sequence.max(theirs.sequence);
                    self.journeys[place] = Journey { sequence, ..theirs };
                }
                None if place == self.journeys.len() => match other.journeys.get(place) {
                    // A place only, before the journeys of later models.
                    Some(unbegun) => self.journeys.push(unbegun.clone()),
                    None => break,
                },
                None => {}
            }
            let journey = &mut self.journeys[place];
            // Touchpoints have other numbers now.
            journey.each_reference(&mut |reference: &mut TouchpointId| {
                *reference = TouchpointId::new(std::mem::take(&mut reference.id), 0)
            });
            journey.order_episodes(self.touchpoints);
            let Some(moved) = moved else { continue };
            journey.segment = journey.find_segment(model);
            let (segment, value) = (journey.segment, journey.at_stake());
            let mut builder = OutcomeBuilder::new(model, &self.identity, outcomes);
            let what = What::Merge { from: other.identity.id.clone(), moved };
            builder.emit(journey, link.event_time, Cause::Touchpoint(&id), value, what);
            for (index, kind) in (0..).zip(&model.episodes) {
                let (at, until) = (link.event_time, link.event_time + kind.remembered_for);
                let made = RoomMade { index, at, until, cause: &id };
                journey.make_room(MAX_EPISODES, made, model, &mut noticed, &mut builder);
            }
            builder.set_segment(segment);
            builder.set_origin(link, &id);
        }
        debug_assert_eq!(self.touchpoints, mine + theirs, "all touchpoints are the customer's");
        noticed
    }
}

impl Journey {
    fn moved(&self, model: &Model, touchpoints: u64) -> Moved {
        let stage = self.stage().map(|stage| model.stage_name(stage).into());
        Moved { touchpoints, episodes: self.episodes.len() as u32, stage }
    }

    /// Becomes the journey of both. `later`: the other one's latest touchpoint came later.
    fn unite(&mut self, model: &Model, theirs: Journey, later: bool, noticed: &mut Noticed) {
        self.started_at = match (self.has_started(), theirs.has_started()) {
            (true, false) => self.started_at,
            (false, true) => theirs.started_at,
            (true, true) | (false, false) => self.started_at.min(theirs.started_at),
        };
        self.number = self.number.max(theirs.number);
        self.sequence = self.sequence.max(theirs.sequence);
        self.transitions = self.transitions.saturating_add(theirs.transitions);
        self.standing = unite_standing(model, self.standing.take(), theirs.standing);
        for (mine, theirs) in self.reached.iter_mut().zip(theirs.reached) {
            *mine = [*mine, theirs].into_iter().flatten().min();
        }
        self.unite_episodes(model, theirs.episodes, theirs.kinds, noticed);
        let their_tallies = theirs.tallies.len();
        for (place, tally) in theirs.tallies.into_iter().enumerate() {
            match self.tallies.get_mut(place) {
                Some(mine) => mine.unite(tally, later),
                None => self.tallies.push(tally),
            }
        }
        debug_assert!(self.tallies.len() >= their_tallies);
        for counted in theirs.counted {
            match self.counted.iter_mut().find(|mine| (mine.stage, mine.demand) == (counted.stage, counted.demand)) {
                None => self.counted.push(counted),
                Some(mine) => {
                    mine.seen.extend(counted.seen);
                    mine.seen.sort_unstable();
                    let demands = model.stages.get(usize::from(mine.stage)).map(|stage| &stage.demands);
                    if let Some(Demand::All { .. }) = demands.and_then(|demands| demands.get(usize::from(mine.demand))) {
                        // Of each part the latest.
                        let all = mine.seen.clone();
                        mine.seen.retain(|(at, part)| !all.iter().any(|(other, same)| same == part && other > at));
                        mine.seen.dedup();
                    }
                }
            }
        }
        unite_sessions(&mut self.sessions, theirs.sessions);
        self.signs.unite(theirs.signs);
        self.frictions = self.frictions.saturating_add(theirs.frictions);
        if let Some(influence) = theirs.influence
            && self.influence.as_ref().is_none_or(|mine| influence.at > mine.at)
        {
            self.influence = Some(influence);
        }
    }

    /// Episodes of one explicit id are one, and what one of the two completed is completed.
    fn unite_episodes(
        &mut self,
        model: &Model,
        theirs: Vec<Episode>,
        mut their_kinds: Vec<EpisodeKindState>,
        noticed: &mut Noticed,
    ) {
        their_kinds.resize_with(self.kinds.len(), EpisodeKindState::default);
        let mine = std::mem::take(&mut self.episodes);
        let stands_last = |episode: &Episode, kinds: &[EpisodeKindState], others: &[Episode]| {
            let opened_since =
                |at: Timestamp| others.iter().any(|other| other.kind == episode.kind && other.watch.opened_at > at);
            episode.latest_then == kinds[usize::from(episode.kind)].opened
                && episode.watch.abandonment.is_some_and(|abandonment| !opened_since(abandonment.at))
        };
        let their_last: Vec<bool> = theirs.iter().map(|episode| stands_last(episode, &their_kinds, &mine)).collect();
        let my_last: Vec<bool> = mine.iter().map(|episode| stands_last(episode, &self.kinds, &theirs)).collect();
        let closed = |episode: &Episode, kinds: &[EpisodeKindState]| {
            kinds[usize::from(episode.kind)].closed.ended(&episode.ids).is_some()
        };
        let mut all: Vec<(Episode, bool)> =
            mine.into_iter().zip(my_last).filter(|(episode, _)| !closed(episode, &their_kinds)).collect();
        for (mut episode, is_last) in theirs.into_iter().zip(their_last) {
            if closed(&episode, &self.kinds) {
                continue;
            }
            let kind = &model.episodes[usize::from(episode.kind)];
            match all.iter().position(|(mine, _)| is_one(kind, mine, &episode)) {
                Some(place) => {
                    let (mine, mine_last) = &mut all[place];
                    unite_episode(mine, episode, noticed);
                    *mine_last |= is_last;
                }
                None => {
                    let state = &mut self.kinds[usize::from(episode.kind)];
                    state.opened += 1;
                    episode.number = state.opened;
                    all.push((episode, is_last));
                }
            }
        }
        for (mine, theirs) in self.kinds.iter_mut().zip(their_kinds) {
            mine.last_completion = mine.last_completion.max(theirs.last_completion);
            mine.closed.unite(theirs.closed, noticed);
            mine.note_reused(theirs.reused);
        }
        for (episode, is_last) in &mut all {
            let opened = self.kinds[usize::from(episode.kind)].opened;
            episode.latest_then = if episode.abandoned && *is_last { opened } else { 0 };
        }
        self.episodes = all.into_iter().map(|(episode, _)| episode).collect();
    }

    /// Which of the episodes was touched last is told by their progress.
    fn order_episodes(&mut self, touchpoints: u64) {
        let mut places: Vec<usize> = (0..self.episodes.len()).collect();
        places.sort_by_key(|place| (self.episodes[*place].watch.last_progress_at, self.episodes[*place].touched, *place));
        let behind = places.len() as u64;
        for (rank, place) in (1..).zip(places) {
            self.episodes[place].touched = touchpoints.saturating_sub(behind - rank);
        }
    }

    /// Shows every touchpoint that the journey refers to.
    fn each_reference(&mut self, work: &mut impl FnMut(&mut TouchpointId)) {
        let mut watch = |watch: &mut Watch| {
            work(&mut watch.opened_by);
            work(&mut watch.last_progress);
        };
        self.standing.iter_mut().for_each(|standing| watch(&mut standing.watch));
        self.episodes.iter_mut().for_each(|episode| watch(&mut episode.watch));
        self.standing.iter_mut().for_each(|standing| standing.signs.each_reference(work));
        self.episodes.iter_mut().for_each(|episode| episode.signs.each_reference(work));
        self.sessions.iter_mut().for_each(|session| session.signs.each_reference(work));
        self.signs.each_reference(work);
        self.influence.iter_mut().for_each(|influence| work(&mut influence.id));
    }
}

/// The further one stands; one in which a journey ends counts as least. Of one stage, both are one stay.
fn unite_standing(model: &Model, mine: Option<Standing>, theirs: Option<Standing>) -> Option<Standing> {
    let (mine, theirs) = match (mine, theirs) {
        (Some(mine), Some(theirs)) => (mine, theirs),
        (mine, theirs) => return mine.or(theirs),
    };
    if mine.stage == theirs.stage {
        let mut signs = mine.signs;
        signs.unite(theirs.signs);
        let watch = unite_watch(mine.watch, mine.abandoned, theirs.watch, theirs.abandoned);
        return Some(Standing { watch, signs, abandoned: mine.abandoned && theirs.abandoned, stage: mine.stage });
    }
    let rank = |standing: &Standing| {
        let ends = model.stages.get(usize::from(standing.stage)).is_some_and(|stage| stage.ends);
        (!ends, standing.stage)
    };
    Some(if rank(&theirs) > rank(&mine) { theirs } else { mine })
}

/// Whether two episodes are one thing: known by one id, or both without one where the kind would not have kept them apart.
fn is_one(kind: &EpisodeKind, mine: &Episode, theirs: &Episode) -> bool {
    if mine.kind != theirs.kind {
        return false;
    }
    let nameless = mine.ids.is_empty() && theirs.ids.is_empty() && !mine.abandoned && !theirs.abandoned;
    let together = kind.by_customer || (mine.session.is_some() && mine.session == theirs.session);
    is_same(&mine.ids, &theirs.ids) || (nameless && together)
}

fn unite_episode(mine: &mut Episode, theirs: Episode, noticed: &mut Noticed) {
    let later = theirs.watch.last_progress_at > mine.watch.last_progress_at;
    add_ids(&mut mine.ids, &theirs.ids, noticed);
    if later || mine.session.is_none() {
        mine.session = theirs.session.or(mine.session.take());
    }
    if theirs.value.is_some() && (mine.value.is_none() || theirs.value_at > mine.value_at) {
        (mine.value, mine.value_at) = (theirs.value, theirs.value_at);
    }
    mine.signs.unite(theirs.signs);
    unite_sums(&mut mine.sums, theirs.sums, later);
    mine.watch = unite_watch(mine.watch.clone(), mine.abandoned, theirs.watch, theirs.abandoned);
    mine.abandoned &= theirs.abandoned;
}

/// Opened by the earlier, the latest progress of both. Of two open ones the later deadline holds, since progress in one would
/// have put the other's off.
fn unite_watch(mine: Watch, mine_abandoned: bool, theirs: Watch, theirs_abandoned: bool) -> Watch {
    let earlier = theirs.opened_at < mine.opened_at;
    let later = theirs.last_progress_at > mine.last_progress_at;
    let (until, until_at) =
        if theirs.until_at > mine.until_at { (theirs.until, theirs.until_at) } else { (mine.until, mine.until_at) };
    let told_later = theirs.abandonment.map(|told| told.at) > mine.abandonment.map(|told| told.at);
    let (deadline, repeats, told_before) = match (mine_abandoned, theirs_abandoned) {
        (false, true) => (mine.deadline, mine.repeats, mine.told_before),
        (true, false) => (theirs.deadline, theirs.repeats, theirs.told_before),
        // What is told again goes on from the later of the two.
        (true, true) if told_later => (theirs.deadline, theirs.repeats, theirs.told_before),
        (true, true) => (mine.deadline, mine.repeats, mine.told_before),
        (false, false) => (mine.deadline.max(theirs.deadline).min(until.unwrap_or(Timestamp::MAX)), 0, Vec::new()),
    };
    let abandonment = match (mine.abandonment, theirs.abandonment) {
        (Some(one), Some(other)) => Some(if other.at > one.at { other } else { one }),
        (one, other) => one.or(other),
    };
    let (opened_by, opened_at) =
        if earlier { (theirs.opened_by, theirs.opened_at) } else { (mine.opened_by, mine.opened_at) };
    let (last_progress, last_progress_at) =
        if later { (theirs.last_progress, theirs.last_progress_at) } else { (mine.last_progress, mine.last_progress_at) };
    Watch {
        opened_by,
        opened_at,
        last_progress,
        last_progress_at,
        progress_count: mine.progress_count.saturating_add(theirs.progress_count),
        counts_from: mine.counts_from.max(theirs.counts_from),
        deadline,
        until,
        until_at,
        abandonment,
        abandonments: mine.abandonments.saturating_add(theirs.abandonments),
        repeats,
        told_before,
        pending: PendingArm::None,
    }
}

fn unite_sessions(mine: &mut Vec<SessionSigns>, theirs: Vec<SessionSigns>) {
    for session in theirs {
        match mine.iter_mut().find(|known| known.id == session.id) {
            Some(known) => {
                known.touched = known.touched.max(session.touched);
                known.signs.unite(session.signs);
            }
            None => mine.push(session),
        }
    }
    while mine.len() > MAX_SESSIONS {
        let oldest = (0..mine.len()).min_by_key(|place| mine[*place].touched);
        oldest.map(|place| mine.remove(place));
    }
}
