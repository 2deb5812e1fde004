//! An anonymous journey joins a customer's: what each of the two sides does (rule 19).
//!
//! Three messages go between them, and nothing else, so that the two need not be in one place. A touchpoint that names both
//! is a *claim* on the anonymous id. The anonymous side answers it with its *state* at the instant of that touchpoint, and with
//! the *touchpoints* of after; until then the two run apart, each under its own identity. The customer's side takes the state
//! in just before that touchpoint. What comes of the anonymous id later follows the redirect as a touchpoint of the customer.
//!
//! Where the anonymous id lives in another shard, its state comes some time after the claim: until then the touchpoint that
//! claims it joins nobody, and what happened since stays in the window.
//!
//! On either side that is a story told anew: outcomes of the anonymous id that lie behind the link are retracted, and the
//! customer's story has in it what the anonymous one did.

use std::sync::Arc;

use compact_str::CompactString;

use super::offering::Step;
use super::outcome::OutcomeBuilder;
use super::packed::Words;
use super::recent::SeenBefore;
use super::rewind::{as_read, put_right};
use super::window::{Beside, Entry, Window};
use super::{Applied, Customer, Id, Moment, Outcome, Received, Redirect, Retelling, Rules};
use crate::model::Model;
use crate::time::Timestamp;
use crate::touchpoint::{Identity, Touchpoint};

/// What telling stories needs beside the customer.
pub(crate) struct Telling<'a> {
    pub(crate) models: &'a [Arc<Model>],
    pub(crate) rules: &'a Rules,
    pub(crate) words: &'a mut Words,
    pub(crate) retelling: &'a mut Retelling,
    pub(crate) outcomes: &'a mut Vec<Outcome>,
}

/// How an anonymous id answers the claim of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It joins the customer, from the instant of the claim on.
    Granted,
    /// It is the customer's from before.
    Known,
    /// It was another customer's: from now on it is nobody's.
    Contested,
    /// It is nobody's, since several customers have claimed it.
    Shared,
}

/// The touchpoint by which a customer claims an anonymous id.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The anonymous id.
    pub anonymous: &'a CompactString,
    /// The touchpoint's own id.
    pub touchpoint: &'a CompactString,
    /// When that is applied.
    pub at: Timestamp,
}

/// What the anonymous side hands over.
#[derive(Clone, Debug)]
pub struct HandedOver {
    /// The anonymous customer at the instant of the link, with the numbers of its latest outcomes. What it agreed to and was
    /// offered is no part of the story, and goes over once.
    state: Box<Customer>,
    /// What it did since.
    touchpoints: Vec<Entry>,
}

impl HandedOver {
    /// From what another shard has said.
    pub fn of(state: Box<Customer>, touchpoints: impl IntoIterator<Item = (Touchpoint, Timestamp)>) -> Self {
        let entry = |(touchpoint, at)| Entry { touchpoint, at, joins: None };
        HandedOver { state, touchpoints: touchpoints.into_iter().map(entry).collect() }
    }

    /// What is not known yet of an anonymous id.
    fn awaited(anonymous: &CompactString) -> Self {
        HandedOver::of(Box::new(Customer::new(Identity::anonymous(anonymous.clone()))), [])
    }

    /// The anonymous customer at the instant of the link.
    pub fn state(&self) -> &Customer {
        &self.state
    }

    /// What it did since, and when each touchpoint is applied.
    pub fn touchpoints(&self) -> impl ExactSizeIterator<Item = (&Touchpoint, Timestamp)> {
        self.touchpoints.iter().map(|entry| (&entry.touchpoint, entry.at))
    }

    /// Makes it readable without the dictionary of its shard.
    pub(crate) fn expand(&mut self, words: &Words) {
        self.state.expand(words).unwrap_or_else(|_| unreachable!("a state is read as it was written"));
    }
}

impl Customer {
    /// When a touchpoint is applied, for a claim; `None` where it changes nothing: a repeat, or a link that is known and that
    /// an earlier claim has made.
    pub(crate) fn claims(&mut self, received: Received<'_>, rules: &Rules, words: &Words) -> Option<Timestamp> {
        let touchpoint = received.touchpoint;
        let linked = touchpoint.linked.as_deref()?;
        let (at, _) = self.place(received, rules);
        let is_repeat = self.is_repeat(touchpoint, at, rules, words);
        let is_known = self.is_linked_to(linked, at) && at >= self.window.last();
        (!is_repeat && !is_known).then_some(at)
    }

    /// Answers a claim, as an anonymous id.
    pub(crate) fn answer(&mut self, claimant: &Identity, at: Timestamp, stream_time: Timestamp, rules: &Rules) -> Claim {
        if self.window.is_over(stream_time, rules.grace) {
            self.window.close();
        }
        match &self.redirect {
            None => Claim::Granted,
            Some(redirect) => match &redirect.into {
                None => Claim::Shared,
                Some(into) if *into != claimant.id => Claim::Contested,
                // The link is older than was known, if what happened between can still be told.
                Some(_) if at < redirect.at && self.window.is_open() && at >= self.window.reaches_to() => Claim::Granted,
                Some(_) => Claim::Known,
            },
        }
    }

    /// Another customer claims the anonymous id: it is nobody's from now on.
    pub(crate) fn share(&mut self) {
        if let Some(redirect) = &mut self.redirect {
            redirect.into = None;
            self.window.close();
        }
    }

    /// As an anonymous id: ends this journey at the link and hands over what there is. What happened since is the customer's;
    /// what had been published of it is retracted.
    pub(crate) fn hand_over(
        &mut self,
        (into, at): (&Identity, Timestamp),
        stream_time: Timestamp,
        telling: Telling<'_>,
    ) -> HandedOver {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let is_first = self.redirect.is_none();
        let mut contacts = std::mem::take(&mut self.contacts);
        let begin = outcomes.len();
        retelling.counted.joined += u64::from(is_first);
        let (mut sequences, used_at, until) = match self.redirect.take() {
            Some(redirect) => (redirect.sequences, redirect.used_at.max(at), redirect.at),
            None => (self.sequences(), at, stream_time),
        };
        if is_first && (self.window.last() <= at || at < self.window.reaches_to()) {
            if !self.window.is_open() {
                let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
                self.window.begin_step(at, stream_time, rules.grace, beside);
            }
            // What led to it cannot be told anew. But whoever has logged in since had not gone away.
            retelling.counted.retractions += self.reopen_after(models, at, outcomes);
            sequences = self.sequences();
            let entries = self.window_entries(words);
            let mut state = self.detach(words, &sequences);
            contacts.note_retracted(&outcomes[begin..]);
            state.contacts = contacts;
            self.leave(into, &entries, Redirect { into: None, at, used_at, sequences }, words);
            return HandedOver { state, touchpoints: Vec::new() };
        }
        let mut entries = self.window_entries(words);
        let Retelling { without, with, published, told_now, counted, refusals: _, sums: _ } = retelling;
        published.clear();
        told_now.clear();
        without.go_back(self, words);
        without.tell(models, &entries, until, rules, words, published);
        let touchpoints = entries.split_off(entries.partition_point(|entry| entry.at <= at));
        with.go_back(self, words);
        with.tell(models, &entries, at, rules, words, told_now);
        counted.applied_again += (entries.len() * 2 + touchpoints.len()) as u64;
        counted.retractions += put_right(models, &mut sequences, published, told_now, outcomes);
        self.exchange_state(with);
        let mut state = self.detach(words, &sequences);
        contacts.note_retracted(&outcomes[begin..]);
        state.contacts = contacts;
        self.leave(into, &entries, Redirect { into: None, at, used_at, sequences }, words);
        HandedOver { state, touchpoints }
    }

    /// As an anonymous id whose journey has been joined: takes a touchpoint that happened before the link, and hands over what
    /// the state at the link is with it. `None` where that cannot be told any more; then nothing is changed.
    pub(crate) fn receive_before_link(&mut self, received: Received<'_>, telling: Telling<'_>) -> Option<HandedOver> {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let (at, is_late) = self.place(received, rules);
        let link = self.redirect.as_ref()?.at;
        if is_late || at > link || !self.window.is_open() || self.window.is_full() {
            return None;
        }
        let mut redirect = self.redirect.take()?;
        let mut entries = self.window_entries(words);
        let Retelling { without, with, published, told_now, counted, refusals: _, sums: _ } = retelling;
        published.clear();
        told_now.clear();
        without.go_back(self, words);
        without.tell(models, &entries, link, rules, words, published);
        let place = entries.partition_point(|entry| entry.at <= at);
        entries.insert(place, Entry { touchpoint: as_read(received.touchpoint, models), at, joins: None });
        with.go_back(self, words);
        with.tell(models, &entries, link, rules, words, told_now);
        counted.out_of_order += 1;
        counted.applied_again += entries.len() as u64 * 2;
        counted.retractions += put_right(models, &mut redirect.sequences, published, told_now, outcomes);
        self.exchange_state(with);
        let state = self.detach(words, &redirect.sequences);
        self.empty();
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.retell(&entries, link, None, beside, words);
        self.redirect = Some(redirect);
        Some(HandedOver { state, touchpoints: Vec::new() })
    }

    /// As a customer: takes a touchpoint that joins an anonymous journey, and what that handed over. A link that is older than
    /// the one known before takes its place.
    pub(crate) fn take_in(&mut self, received: Received<'_>, handed: HandedOver, telling: Telling<'_>) -> Applied {
        self.take_in_beside(received, handed, Others::Replaced, telling)
    }

    /// As a customer: takes a touchpoint that claims an anonymous id of another shard, at the instant that
    /// [`Customer::claims`] says. What that hands over comes later.
    pub(crate) fn await_answer(&mut self, received: Received<'_>, at: Timestamp, telling: Telling<'_>) -> Applied {
        let Some(anonymous) = &received.touchpoint.linked else { return Applied::Ignored };
        let applied = self.take_in_beside(received, HandedOver::awaited(anonymous), Others::Kept, telling);
        self.window.claim(anonymous, at);
        applied
    }

    /// As a customer: whether one more anonymous id of another shard may be claimed now.
    pub(crate) fn can_claim(&self) -> bool {
        self.window.can_claim()
    }

    /// As a customer: what another shard answers to the claim of this link. Says whether it was waited for.
    pub(crate) fn hear_answer(
        &mut self,
        to: Link<'_>,
        mut handed: Option<HandedOver>,
        stream_time: Timestamp,
        telling: Telling<'_>,
    ) -> bool {
        let Link { anonymous, at, .. } = to;
        if !self.window.awaits(anonymous, at) {
            return false;
        }
        if let Some(handed) = &mut handed {
            self.contacts.unite(std::mem::take(&mut handed.state.contacts));
        }
        self.window.answered(anonymous, at);
        let mut entries = if self.window.is_open() { self.window_entries(telling.words) } else { Vec::new() };
        match (link(&entries, anonymous, at), handed) {
            (None, None) => {}
            (Some(place), None) => {
                entries[place].joins = None;
                let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
                self.window.pack_all(&entries, beside, telling.words);
            }
            (Some(_), Some(HandedOver { state, touchpoints })) => {
                let sequences = state.sequences();
                let links = |entry: &Entry| entry.joins.is_some() && entry.touchpoint.linked.as_ref() == Some(anonymous);
                // Another claim of it may be waiting for its own answer.
                let waiting: Vec<bool> =
                    entries.iter().map(|entry| links(entry) && self.window.awaits(anonymous, entry.at)).collect();
                let edit = |entries: &mut Vec<Entry>| {
                    let mut state = Some(state);
                    for (entry, _) in entries.iter_mut().zip(waiting).filter(|(entry, waits)| links(entry) && !waits) {
                        entry.joins = if entry.at == at { state.take() } else { None };
                    }
                    insert_new(entries, touchpoints);
                };
                self.retell_edited(edit, (stream_time, &sequences), telling);
            }
            (None, Some(handed)) => self.join_late(to, handed, stream_time, telling),
        }
        true
    }

    /// Takes in what comes so late that the story cannot be told anew with it.
    fn join_late(&mut self, to: Link<'_>, handed: HandedOver, stream_time: Timestamp, telling: Telling<'_>) {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let Link { anonymous, touchpoint: id, at } = to;
        let linked = Some(anonymous.clone());
        let link = Touchpoint { id: id.clone(), linked, event_time: at, ..Touchpoint::default() };
        self.window.seal();
        let noticed = self.absorb(models, &handed.state, &link, rules, words, outcomes);
        retelling.counted.noticed = retelling.counted.noticed.plus(noticed);
        retelling.counted.late += 1;
        for entry in handed.touchpoints {
            // A story that begins with this touchpoint begins after the join.
            let mut packed = Vec::new();
            self.pack_state(words, &mut packed);
            self.window.opened(&packed);
            let received = Received { touchpoint: &entry.touchpoint, log_time: stream_time, stream_time };
            self.receive_story(models, received, rules, words, retelling, outcomes);
        }
    }

    fn take_in_beside(
        &mut self,
        received: Received<'_>,
        handed: HandedOver,
        others: Others,
        telling: Telling<'_>,
    ) -> Applied {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let Received { touchpoint, stream_time, .. } = received;
        let (at, is_late) = self.place(received, rules);
        let HandedOver { mut state, touchpoints } = handed;
        self.contacts.unite(std::mem::take(&mut state.contacts));
        retelling.counted.late += u64::from(is_late);
        let sequences = state.sequences();
        let entry = Entry { touchpoint: as_read(touchpoint, models), at, joins: Some(state) };
        if at >= self.window.last() && touchpoints.is_empty() {
            let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
            self.window.begin_step(at, stream_time, rules.grace, beside);
            let mut entries = self.window_entries(words);
            if let Some(state) = &entry.joins {
                let noticed = self.absorb(models, state, touchpoint, rules, words, outcomes);
                retelling.counted.noticed = retelling.counted.noticed.plus(noticed);
            }
            entries.push(entry);
            let counted = &mut retelling.counted;
            let id = Id::of(&touchpoint.id);
            let applied = self.step(models, touchpoint, id, Moment::at(at), rules, &mut counted.noticed, outcomes);
            let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
            self.window.pack_all(&entries, beside, words);
            return applied;
        }
        if !self.window.is_open() {
            let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
            self.window.begin_step(at, stream_time, rules.grace, beside);
        }
        retelling.counted.out_of_order += u64::from(at < self.window.last());
        let edit = |entries: &mut Vec<Entry>| {
            if let (Others::Replaced, Some(known)) = (others, joining(entries, touchpoint.linked.as_ref())) {
                entries[known].joins = None;
            }
            insert(entries, entry);
            insert_new(entries, touchpoints);
        };
        self.retell_edited(edit, (stream_time, &sequences), Telling { models, rules, words, retelling, outcomes });
        let named = models.iter().any(|model| model.types.names(&touchpoint.kind));
        if named { Applied::Counted } else { Applied::Ignored }
    }

    /// As a customer whom an anonymous id has joined or is to join, or of whom that tells something else now: decides what is
    /// offered. What has been said begins at `begin`; without a touchpoint, another shard has answered.
    pub(crate) fn offer_joined(
        &mut self,
        touchpoint: Option<&Touchpoint>,
        stream_time: Timestamp,
        begin: usize,
        telling: Telling<'_>,
    ) {
        let Telling { models, rules, retelling, outcomes, .. } = telling;
        self.follow_askers(models, &outcomes[begin..]);
        self.offer(models, Step::of(touchpoint, stream_time, rules, begin), retelling, outcomes);
    }

    /// As an anonymous id whose journey has been joined: whether the touchpoint happened before the link.
    pub(crate) fn was_before_link(&self, touchpoint: &Touchpoint) -> bool {
        self.redirect.as_ref().is_some_and(|redirect| touchpoint.event_time <= redirect.at)
    }

    /// As a customer: whether what an anonymous id did before its link can still be told otherwise, and the touchpoint is new.
    pub(crate) fn can_correct(
        &mut self,
        (anonymous, at): (&CompactString, Timestamp),
        touchpoint: &Touchpoint,
        rules: &Rules,
        words: &Words,
    ) -> bool {
        let is_there = self.window.is_open() && link(&self.window_entries(words), anonymous, at).is_some();
        is_there && !self.is_repeat(touchpoint, touchpoint.event_time, rules, words)
    }

    pub(crate) fn is_repeat(&mut self, touchpoint: &Touchpoint, at: Timestamp, rules: &Rules, words: &Words) -> bool {
        self.show_namesakes(touchpoint, words);
        let id = Id::of(&touchpoint.id);
        touchpoint.id_given && self.has_seen(&id, &touchpoint.kind, at, rules.grace, words) == SeenBefore::Yes
    }

    /// As a customer: what an anonymous id had done before its link was something else.
    pub(crate) fn correct(&mut self, at: Timestamp, handed: HandedOver, stream_time: Timestamp, telling: Telling<'_>) {
        let state = handed.state;
        let sequences = state.sequences();
        let edit = |entries: &mut Vec<Entry>| {
            if let Some(place) = link(entries, &state.identity.id, at) {
                entries[place].joins = Some(state);
            }
        };
        self.retell_edited(edit, (stream_time, &sequences), telling);
    }

    /// As a customer: a link after this instant can still give way to an earlier one.
    pub(crate) fn can_tell_from(&self) -> Timestamp {
        if self.window.is_open() { self.window.reaches_to() } else { Timestamp::MAX }
    }

    /// Tells the story of the window anew, with other touchpoints in it, up to stream time.
    fn retell_edited(
        &mut self,
        edit: impl FnOnce(&mut Vec<Entry>),
        (stream_time, at_least): (Timestamp, &[u64]),
        telling: Telling<'_>,
    ) {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let Retelling { without, with, published, told_now, counted, refusals: _, sums: _ } = retelling;
        published.clear();
        told_now.clear();
        let mut entries = self.window_entries(words);
        without.go_back(self, words);
        let first = without.tell(models, &entries, stream_time, rules, words, published);
        debug_assert!(without.is_as(self, words), "the story as it was is what was told");
        counted.applied_again += entries.len() as u64;
        edit(&mut entries);
        with.go_back(self, words);
        // No younger image: the window makes one once it is old enough.
        let cut = Window::is_full_of(&entries).then_some(entries.len() / 2);
        let (told, image) = with.tell_in_parts(models, (&entries, cut), stream_time, rules, words, told_now);
        counted.applied_again += entries.len() as u64;
        counted.noticed = counted.noticed.plus_beyond(told.noticed, first.noticed);
        let mut sequences = self.sequences();
        sequences.resize(sequences.len().max(at_least.len()), 0);
        sequences.iter_mut().zip(at_least).for_each(|(sequence, least)| *sequence = (*sequence).max(*least));
        self.exchange_state(with);
        if let Some(image) = image {
            self.window.move_anchor(image, &mut entries);
        }
        let last = told.last.max(self.window.reaches_to());
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.retell(&entries, last, None, beside, words);
        counted.retractions += put_right(models, &mut sequences, published, told_now, outcomes);
        self.set_sequences(&sequences);
    }

    /// Takes back abandonments after an instant that stand; returns how many.
    fn reopen_after(&mut self, models: &[Arc<Model>], at: Timestamp, outcomes: &mut Vec<Outcome>) -> u64 {
        let before = outcomes.len();
        for (model, journey) in models.iter().zip(&mut self.journeys).filter(|(_, journey)| journey.has_begun()) {
            let mut builder = OutcomeBuilder::new(model, &self.identity, outcomes);
            journey.reopen_episodes(model, at, &mut builder);
            journey.reopen_stage(model, at, &mut builder);
            let segment = journey.find_segment(model);
            builder.set_segment(segment);
        }
        (outcomes.len() - before) as u64
    }

    fn window_entries(&self, words: &Words) -> Vec<Entry> {
        self.window.entries(self.beside(), words).unwrap_or_else(|_| unreachable!("a window is read as it was written"))
    }

    /// The state alone, without the window, and with these numbers of outcomes.
    fn detach(&self, words: &mut Words, sequences: &[u64]) -> Box<Customer> {
        let mut packed = Vec::new();
        self.pack_state(words, &mut packed);
        let mut state = Box::new(Customer::new(self.identity.clone()));
        state.open_rest(&packed, words).unwrap_or_else(|_| unreachable!("a state is read as it was written"));
        state.set_sequences(sequences);
        state
    }

    /// Nothing is left here but where the journey has gone, and what it can be told anew from.
    fn leave(&mut self, into: &Identity, entries: &[Entry], redirect: Redirect, words: &mut Words) {
        self.empty();
        self.window.end_at(redirect.at);
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.pack_all(entries, beside, words);
        self.redirect = Some(Box::new(Redirect { into: Some(into.id.clone()), ..redirect }));
    }

    fn empty(&mut self) {
        self.links.clear();
        self.linked_at.clear();
        self.touchpoints = 0;
        self.recent.reset(0);
        self.journeys.clear();
    }
}

/// The touchpoint by which an anonymous id was joined.
fn joining(entries: &[Entry], anonymous: Option<&CompactString>) -> Option<usize> {
    entries.iter().position(|entry| entry.joins.is_some() && entry.touchpoint.linked.as_ref() == anonymous)
}

/// What becomes of another touchpoint that joined the same anonymous id.
#[derive(Clone, Copy)]
enum Others {
    /// The new one takes its place.
    Replaced,
    /// It joins it until there is an answer.
    Kept,
}

/// The touchpoint that joins an anonymous id at this instant, or waits for what that hands over.
fn link(entries: &[Entry], anonymous: &CompactString, at: Timestamp) -> Option<usize> {
    let is_link = |entry: &Entry| entry.joins.is_some() && entry.at == at;
    entries.iter().position(|entry| is_link(entry) && entry.touchpoint.linked.as_ref() == Some(anonymous))
}

/// Inserts those that are not there yet.
fn insert_new(entries: &mut Vec<Entry>, touchpoints: Vec<Entry>) {
    for entry in touchpoints {
        let is_same = |known: &Entry| known.touchpoint.id_given && known.touchpoint.id == entry.touchpoint.id;
        if !(entry.touchpoint.id_given && entries.iter().any(is_same)) {
            insert(entries, entry);
        }
    }
}

fn insert(entries: &mut Vec<Entry>, entry: Entry) {
    entries.insert(entries.partition_point(|known| known.at <= entry.at), entry);
}
