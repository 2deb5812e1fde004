//! A touchpoint that came late: the customer's latest story is told anew with it, and what was published is put right
//! (rule 18).
//!
//! The window holds the state before the story and the touchpoints of it. The story is told twice from there, without the
//! newcomer and with it. The first telling says what was published; what the second says differently is published: what is
//! gone as a retraction, what changed under its id, what is new.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use uuid::Uuid;

use super::offering::{Refusals, Step};
use super::packed::Words;
use super::recent::{MAX_SEEN, SeenBefore};
use super::window::{Beside, Entry, Image};
use super::{Applied, Customer, Id, Moment, Noticed, Outcome, Subject, Sums, What};
use crate::model::Model;
use crate::time::{Span, Timestamp};
use crate::touchpoint::Touchpoint;

/// What a shard says about time and limits to all its customers.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Touchpoints that come within this time of their event time are told in the order of events, whatever the order in which
    /// they come; zero: in the order in which they come.
    pub grace: Span,
    /// Where there is no grace: a touchpoint that entered the log so long after it happened counts from its log time (rule 6).
    pub max_delay: Span,
    /// Touchpoints kept in a customer's history.
    pub history: usize,
    /// An outcome that is older asks for no intervention.
    pub stale_after: Span,
}

/// What is counted while touchpoints are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// What no outcome tells.
    pub noticed: Noticed,
    /// Touchpoints that came later than the grace, and were applied as they came.
    pub late: u64,
    /// Touchpoints that came out of order within the grace.
    pub out_of_order: u64,
    /// Touchpoints that were applied once more because of those.
    pub applied_again: u64,
    /// Outcomes that were retracted.
    pub retractions: u64,
    /// Anonymous journeys that were joined to a customer's.
    pub joined: u64,
    /// Touchpoints of an anonymous id alone that went to the customer it was joined to.
    pub followed: u64,
    /// Anonymous ids that a second customer claimed, so that they belong to nobody any more.
    pub shared: u64,
    /// Anonymous ids that were not joined because their customer has too many.
    pub refused_links: u64,
}

impl StepCounts {
    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: StepCounts) {
        let StepCounts { noticed, late, out_of_order, applied_again, retractions, joined, followed, shared, refused_links } =
            other;
        self.noticed = self.noticed.plus(noticed);
        self.late += late;
        self.out_of_order += out_of_order;
        self.applied_again += applied_again;
        self.retractions += retractions;
        self.joined += joined;
        self.followed += followed;
        self.shared += shared;
        self.refused_links += refused_links;
    }
}

/// Room for two tellings of a story.
#[derive(Debug, Default)]
pub struct Retelling {
    pub(super) without: Customer,
    pub(super) with: Customer,
    /// What the story tells without the newcomer: as it was published.
    pub(super) published: Vec<Outcome>,
    /// What it tells with the newcomer: what holds now.
    pub(super) told_now: Vec<Outcome>,
    /// What was counted since somebody took it.
    pub counted: StepCounts,
    /// What was asked for and not offered since somebody took it.
    pub refusals: Refusals,
    /// What was measured since somebody took it.
    pub sums: Sums,
}

/// A touchpoint that has come.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The touchpoint.
    pub touchpoint: &'a Touchpoint,
    /// When its record entered the log (rule 2).
    pub log_time: Timestamp,
    /// Up to here deadlines have been decided.
    pub stream_time: Timestamp,
}

impl Customer {
    /// Takes a touchpoint: applies it where it is in order or too late, tells the story anew where it came out of order, and
    /// appends the outcomes.
    pub fn receive(
        &mut self,
        models: &[Arc<Model>],
        received: Received<'_>,
        rules: &Rules,
        words: &mut Words,
        retelling: &mut Retelling,
        outcomes: &mut Vec<Outcome>,
    ) -> Applied {
        let begin = outcomes.len();
        let applied = self.receive_story(models, received, rules, words, retelling, outcomes);
        if applied != Applied::Duplicate {
            let Received { touchpoint, stream_time, .. } = received;
            let step = Step::of(Some(touchpoint), stream_time, rules, begin);
            self.offer(models, step, retelling, outcomes);
        }
        applied
    }

    /// The same without what is offered.
    pub(super) fn receive_story(
        &mut self,
        models: &[Arc<Model>],
        received: Received<'_>,
        rules: &Rules,
        words: &mut Words,
        retelling: &mut Retelling,
        outcomes: &mut Vec<Outcome>,
    ) -> Applied {
        let Received { touchpoint, log_time, stream_time } = received;
        let counted = &mut retelling.counted;
        self.show_namesakes(touchpoint, words);
        if rules.grace == Span::ZERO {
            let moment = Moment::of(touchpoint, log_time, stream_time, rules.max_delay);
            return self.apply(models, touchpoint, moment, rules.history, &mut counted.noticed, outcomes);
        }
        let (at, is_late) = self.place(received, rules);
        let id = Id::of(&touchpoint.id);
        if touchpoint.id_given {
            match self.has_seen(&id, &touchpoint.kind, at, rules.grace, words) {
                SeenBefore::Yes => return Applied::Duplicate,
                SeenBefore::AsAnother => counted.noticed.conflicts += 1,
                SeenBefore::No => {}
            }
        }
        counted.late += u64::from(is_late);
        if at < self.window.last() {
            counted.out_of_order += 1;
            return self.retell(models, Newcomer { touchpoint, at, stream_time }, rules, words, retelling, outcomes);
        }
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.begin_step(at, stream_time, rules.grace, beside);
        // What the history loses with this touchpoint: one, unless it has become shorter.
        for listed in 0..(self.recent.len() + 1).saturating_sub(rules.history).min(self.recent.len()) {
            self.window.keep_listed(listed, beside, words);
        }
        let base = match self.recent.base().as_millis() {
            0 => touchpoint.event_time.as_millis(),
            base => base,
        };
        self.window.push(touchpoint, at, models, base, rules.history > 0, words);
        let moment = Moment::at(at);
        self.step(models, touchpoint, id, moment, rules, &mut counted.noticed, outcomes)
    }

    /// Fires everything that is due exactly at `deadline`, and keeps the state of before where touchpoints may still come that
    /// happened before.
    pub fn fire_within(
        &mut self,
        models: &[Arc<Model>],
        deadline: Timestamp,
        stream_time: Timestamp,
        rules: &Rules,
        retelling: &mut Retelling,
        outcomes: &mut Vec<Outcome>,
    ) {
        let now = deadline.max(stream_time);
        // What is measured and what waits is no part of the story. An intervention that waits is judged in the same step as a
        // deadline of the story that is due now, so that one winner is chosen among both.
        if self.next_in_story() <= deadline {
            self.fire_story(models, deadline, now, rules, retelling, outcomes);
        } else if self.contacts.next_waiting() <= deadline {
            let step = Step::of(None, now, rules, outcomes.len());
            self.offer(models, step, retelling, outcomes);
        }
        self.measure(models, deadline, &mut retelling.sums, outcomes);
    }

    fn fire_story(
        &mut self,
        models: &[Arc<Model>],
        deadline: Timestamp,
        now: Timestamp,
        rules: &Rules,
        retelling: &mut Retelling,
        outcomes: &mut Vec<Outcome>,
    ) {
        let begin = outcomes.len();
        if rules.grace > Span::ZERO {
            // A touchpoint that came too late may have armed a deadline that lies behind.
            if self.window.is_over(now, rules.grace) {
                self.window.close();
            }
            let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
            self.window.begin_step(deadline.max(self.window.last()), now, rules.grace, beside);
        }
        self.fire(models, deadline, outcomes);
        self.offer(models, Step::of(None, now, rules, begin), retelling, outcomes);
    }

    /// When the touchpoint is applied, and whether it is too late to be told in the order of events.
    pub(super) fn place(&mut self, received: Received<'_>, rules: &Rules) -> (Timestamp, bool) {
        let Received { touchpoint, log_time, stream_time } = received;
        if self.window.is_over(stream_time, rules.grace) {
            self.window.close();
        }
        let happened = touchpoint.event_time.min(stream_time);
        let is_late = log_time.since(happened) > rules.grace || happened < self.window.knows_from(stream_time, rules.grace);
        (if is_late { stream_time } else { happened }, is_late)
    }

    pub(super) fn has_seen(&self, id: &Id, kind: &str, at: Timestamp, grace: Span, words: &Words) -> SeenBefore {
        let seen = self.recent.has_seen(id, kind, at, grace);
        // The history and what is remembered behind it hold so many; those of an anonymous id that has joined a customer hold none.
        if seen == SeenBefore::No && (self.redirect.is_some() || self.window.len() >= MAX_SEEN) {
            return self.window.has(id, kind, self.beside(), words);
        }
        seen
    }

    /// Tells the story of the window anew with a newcomer in it, up to stream time.
    ///
    /// # Panics
    /// The window cannot be read: an invariant is broken.
    fn retell(
        &mut self,
        models: &[Arc<Model>],
        newcomer: Newcomer<'_>,
        rules: &Rules,
        words: &mut Words,
        retelling: &mut Retelling,
        outcomes: &mut Vec<Outcome>,
    ) -> Applied {
        let Newcomer { touchpoint, at, stream_time } = newcomer;
        let Retelling { without, with, published, told_now, counted, refusals: _, sums: _ } = retelling;
        published.clear();
        told_now.clear();
        let mut entries =
            self.window.entries(self.beside(), words).unwrap_or_else(|_| unreachable!("a window is read as it was written"));
        without.go_back(self, words);
        let first = without.tell(models, &entries, stream_time, rules, words, published);
        debug_assert!(without.is_as(self, words), "the story without the newcomer is what was told");
        let place = entries.partition_point(|entry| entry.at <= at);
        entries.insert(place, Entry { touchpoint: as_read(touchpoint, models), at, joins: None });
        with.go_back(self, words);
        // What only ever comes out of order fills a window too: then its first half becomes too old.
        let is_full = self.window.is_full();
        let younger = self.window.younger_count().map(|count| count + usize::from(place < count));
        let cut = if is_full { Some(entries.len() / 2) } else { younger };
        let (told, mut image) = with.tell_in_parts(models, (&entries, cut), stream_time, rules, words, told_now);
        counted.applied_again += entries.len() as u64 * 2;
        // What was noticed in the first telling was counted when it was told.
        counted.noticed = counted.noticed.plus_beyond(told.noticed, first.noticed);
        let mut sequences = self.sequences();
        self.exchange_state(with);
        if let Some(image) = image.take_if(|_| is_full) {
            self.window.move_anchor(image, &mut entries);
        }
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.retell(&entries, told.last, image, beside, words);
        counted.retractions += put_right(models, &mut sequences, published, told_now, outcomes);
        self.set_sequences(&sequences);
        let named = models.iter().any(|model| model.types.names(&touchpoint.kind));
        if named { Applied::Counted } else { Applied::Ignored }
    }

    /// Tells a story up to `until`. Where it is cut, an image is made of the state after so many touchpoints.
    pub(super) fn tell_in_parts(
        &mut self,
        models: &[Arc<Model>],
        (entries, cut): (&[Entry], Option<usize>),
        until: Timestamp,
        rules: &Rules,
        words: &mut Words,
        outcomes: &mut Vec<Outcome>,
    ) -> (Told, Option<Image>) {
        let Some(cut) = cut else { return (self.tell(models, entries, until, rules, words, outcomes), None) };
        let (before, after) = entries.split_at(cut);
        let told = self.tell(models, before, Timestamp::MIN, rules, words, outcomes);
        let mut state = Vec::new();
        self.pack_state(words, &mut state);
        let image = Image { state, count: cut, at: told.last };
        let rest = self.tell(models, after, until, rules, words, outcomes);
        let noticed = told.noticed.plus(rest.noticed);
        (Told { last: told.last.max(rest.last), noticed }, Some(image))
    }

    /// By model: the number of the latest outcome.
    pub(super) fn sequences(&self) -> Vec<u64> {
        self.journeys.iter().map(|journey| journey.sequence).collect()
    }

    pub(super) fn set_sequences(&mut self, sequences: &[u64]) {
        self.journeys.iter_mut().zip(sequences).for_each(|(journey, sequence)| journey.sequence = *sequence);
    }

    /// Takes the state of another telling, and gives it its own; whose it is and the window stay.
    pub(super) fn exchange_state(&mut self, other: &mut Customer) {
        std::mem::swap(&mut self.links, &mut other.links);
        std::mem::swap(&mut self.linked_at, &mut other.linked_at);
        std::mem::swap(&mut self.recent, &mut other.recent);
        std::mem::swap(&mut self.journeys, &mut other.journeys);
        std::mem::swap(&mut self.touchpoints, &mut other.touchpoints);
    }

    /// Becomes what the other was before the window.
    pub(super) fn go_back(&mut self, present: &Customer, words: &Words) {
        self.begin(&present.identity);
        let anchor = present.window.anchor();
        if !anchor.is_empty() {
            // Of more than one touchpoint that the history loses in a telling, the type is to be known.
            let opened = self.open_rest(anchor, words).and_then(|()| self.recent.expand(words));
            opened.unwrap_or_else(|_| unreachable!("an anchor is read as it was written"));
        }
    }

    /// Goes through touchpoints, and fires what is due before each and up to `until`.
    pub(super) fn tell(
        &mut self,
        models: &[Arc<Model>],
        entries: &[Entry],
        until: Timestamp,
        rules: &Rules,
        words: &Words,
        outcomes: &mut Vec<Outcome>,
    ) -> Told {
        let mut told = Told { last: Timestamp::MIN, noticed: Noticed::default() };
        for Entry { touchpoint, at, joins } in entries {
            self.fire_until(models, *at, &mut told, outcomes);
            let id = Id::of(&touchpoint.id);
            if let Some(other) = joins {
                let noticed = self.absorb(models, other, touchpoint, rules, words, outcomes);
                told.noticed = told.noticed.plus(noticed);
            }
            self.step(models, touchpoint, id, Moment::at(*at), rules, &mut told.noticed, outcomes);
            told.last = told.last.max(*at);
        }
        self.fire_until(models, until, &mut told, outcomes);
        told
    }

    fn fire_until(&mut self, models: &[Arc<Model>], until: Timestamp, told: &mut Told, outcomes: &mut Vec<Outcome>) {
        loop {
            let deadline = self.next_in_story();
            // Nothing awaited is never due, whatever the instant.
            if deadline > until || deadline == Timestamp::MAX {
                return;
            }
            self.fire(models, deadline, outcomes);
            told.last = told.last.max(deadline);
        }
    }

    /// Whether the state is the other's but for the numbers of outcomes, which no telling renumbers.
    pub(super) fn is_as(&mut self, present: &Customer, words: &mut Words) -> bool {
        for (journey, other) in self.journeys.iter_mut().zip(&present.journeys) {
            journey.sequence = other.sequence;
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        self.pack_state(words, &mut one);
        present.pack_state(words, &mut other);
        one == other
    }
}

/// Publishes in what a story differs now, with numbers that go on from these. Returns how many outcomes are retracted.
pub(super) fn put_right(
    models: &[Arc<Model>],
    sequences: &mut Vec<u64>,
    published: &[Outcome],
    told_now: &[Outcome],
    outcomes: &mut Vec<Outcome>,
) -> u64 {
    sequences.resize(models.len().max(sequences.len()), 0);
    let begin = outcomes.len();
    let (known, holds) = (last_words(published), last_words(told_now));
    let completions = completions(told_now);
    let stands = |all: &BTreeMap<Uuid, &Outcome>, id: &Uuid| all.get(id).is_some_and(|last| !last.what.is_retraction());
    // The last word about what is completed is its completion.
    let mut again: Vec<usize> = Vec::new();
    let completed = |outcome: &Outcome, what: &What| match what {
        What::Abandonment { about, .. } | What::Resumption { about, .. } | What::Friction { about, .. } => {
            episode(outcome, &about.subject).and_then(|episode| completions.get(&episode)).copied()
        }
        // What is offered is no part of a story.
        What::Intervention { .. } | What::Withdrawal { .. } | What::Measurement { .. } => None,
        What::Transition { .. }
        | What::Completion { .. }
        | What::Recovery { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => None,
    };
    for (id, last) in &known {
        match &last.what {
            // It was published before the window, and taken back within it.
            What::Retraction { of } if !holds.contains_key(id) && is_from_before(published, id) => {
                let completed = completed(last, of);
                again.extend(completed);
                let hindsight = completed.is_some();
                outcomes.push(Outcome { what: of.as_ref().clone(), again: true, hindsight, ..(*last).clone() });
            }
            What::Retraction { .. } => {}
            _ if stands(&holds, id) => {}
            what => outcomes.push(Outcome { what: What::Retraction { of: Box::new(what.clone()) }, ..(*last).clone() }),
        }
    }
    let from_before = |(id, last): &(&Uuid, &&Outcome)| {
        last.what.is_retraction() && !known.contains_key(*id) && is_from_before(told_now, id)
    };
    outcomes.extend(holds.iter().filter(from_before).map(|(_, last)| (*last).clone()));
    outcomes[begin..].sort_by_key(|outcome| outcome.at);
    let retracted = outcomes[begin..].iter().filter(|outcome| outcome.what.is_retraction()).count();
    for (place, outcome) in told_now.iter().enumerate() {
        if outcome.what.is_retraction() || !stands(&holds, &outcome.id) {
            continue;
        }
        let known = known.get(&outcome.id);
        if known.is_some_and(|known| known.says_the_same(outcome)) {
            if again.contains(&place) {
                outcomes.push(Outcome { again: true, ..outcome.clone() });
            }
            continue;
        }
        let completed = completed(outcome, &outcome.what).filter(|at| *at > place);
        again.extend(completed);
        outcomes.push(Outcome { hindsight: completed.is_some(), again: known.is_some(), ..outcome.clone() });
    }
    for outcome in &mut outcomes[begin..] {
        let Some(place) = models.iter().position(|model| model.name == outcome.model) else { continue };
        sequences[place] += 1;
        outcome.sequence = sequences[place];
    }
    retracted as u64
}

/// A touchpoint that is to be told before others.
#[derive(Clone, Copy)]
struct Newcomer<'a> {
    touchpoint: &'a Touchpoint,
    /// When it is applied.
    at: Timestamp,
    /// Up to here the story is told.
    stream_time: Timestamp,
}

/// What came of a telling.
pub(super) struct Told {
    /// The instant of the last step.
    pub(super) last: Timestamp,
    pub(super) noticed: Noticed,
}

/// Of all that name an id the last one holds, unless it is a retraction.
fn last_words(told: &[Outcome]) -> BTreeMap<Uuid, &Outcome> {
    told.iter().map(|outcome| (outcome.id, outcome)).collect()
}

/// Whether what is taken back had been published before the window.
fn is_from_before(told: &[Outcome], id: &Uuid) -> bool {
    told.iter().all(|outcome| outcome.id != *id || outcome.what.is_retraction())
}

/// An episode as outcomes name it: by model, kind and number.
type EpisodeName<'a> = (&'a CompactString, &'a CompactString, u32);

fn episode<'a>(outcome: &'a Outcome, subject: &'a Subject) -> Option<EpisodeName<'a>> {
    match subject {
        Subject::Episode { kind, number, .. } => Some((&outcome.model, kind, *number)),
        Subject::Stage(_) | Subject::Session(_) | Subject::Journey => None,
    }
}

/// By episode: where its completion is among the outcomes.
fn completions(told_now: &[Outcome]) -> BTreeMap<EpisodeName<'_>, usize> {
    let mut completions = BTreeMap::new();
    for (place, outcome) in told_now.iter().enumerate() {
        if let What::Completion { about } = &outcome.what
            && let Some(episode) = episode(outcome, &about.subject)
        {
            completions.insert(episode, place);
        }
    }
    completions
}

/// What the models read of it, without whose it is.
pub(super) fn as_read(touchpoint: &Touchpoint, models: &[Arc<Model>]) -> Touchpoint {
    let mut read = Touchpoint { identity: Touchpoint::default().identity, ..touchpoint.clone() };
    read.properties.retain(|(name, _)| models.iter().any(|model| model.reads(name)));
    read
}
