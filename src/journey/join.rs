//! An anonymous journey joins a customer's: what each of the two sides does (rule 19).
//!
//! Three messages go between them, and nothing else, so that the two need not be in one place. A touchpoint that names both
//! is a *claim* on the anonymous id. The anonymous side answers it with its *state* at the instant of that touchpoint, and with
//! the *touchpoints* of after; until then the two run apart, each under its own identity. The customer's side takes the state
//! in just before that touchpoint. What comes of the anonymous id later follows the redirect as a touchpoint of the customer.
//!
//! On either side that is a story told anew: outcomes of the anonymous id that lie behind the link are retracted, and the
//! customer's story has in it what the anonymous one did.

use std::sync::Arc;

use compact_str::CompactString;

use super::contacts::Contacts;
use super::offering::Step;
use super::packed::Words;
use super::recent::SeenBefore;
use super::rewind::{as_read, put_right};
use super::window::{Beside, Entry};
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

/// What the anonymous side hands over.
#[derive(Clone, Debug)]
pub struct HandedOver {
    /// The anonymous customer at the instant of the link, with the numbers of its latest outcomes.
    state: Box<Customer>,
    /// What it did since.
    touchpoints: Vec<Entry>,
    /// What it may be offered, and was: no part of the story, so that it goes over once.
    contacts: Contacts,
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
        let contacts = std::mem::take(&mut self.contacts);
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
            let entries = self.window_entries(words);
            let state = self.detach(words, &sequences);
            self.leave(into, &entries, Redirect { into: None, at, used_at, sequences }, words);
            return HandedOver { state, touchpoints: Vec::new(), contacts };
        }
        let mut entries = self.window_entries(words);
        let Retelling { without, with, said, says, counted, refusals: _ } = retelling;
        said.clear();
        says.clear();
        without.go_back(self, words);
        without.tell(models, &entries, until, rules, words, said);
        let touchpoints = entries.split_off(entries.partition_point(|entry| entry.at <= at));
        with.go_back(self, words);
        with.tell(models, &entries, at, rules, words, says);
        counted.applied_again += (entries.len() * 2 + touchpoints.len()) as u64;
        counted.retractions += put_right(models, &mut sequences, said, says, outcomes);
        self.exchange_state(with);
        let state = self.detach(words, &sequences);
        self.leave(into, &entries, Redirect { into: None, at, used_at, sequences }, words);
        HandedOver { state, touchpoints, contacts }
    }

    /// As an anonymous id whose journey has been joined: takes a touchpoint that happened before the link, and hands over what
    /// the state at the link is with it. `None` where that cannot be told any more; then nothing is changed.
    pub(crate) fn receive_before_link(&mut self, received: Received<'_>, telling: Telling<'_>) -> Option<HandedOver> {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let (at, is_late) = self.place(received, rules);
        let link = self.redirect.as_ref()?.at;
        if is_late || at > link || !self.window.is_open() {
            return None;
        }
        let mut redirect = self.redirect.take()?;
        let mut entries = self.window_entries(words);
        let Retelling { without, with, said, says, counted, refusals: _ } = retelling;
        said.clear();
        says.clear();
        without.go_back(self, words);
        without.tell(models, &entries, link, rules, words, said);
        let place = entries.partition_point(|entry| entry.at <= at);
        entries.insert(place, Entry { touchpoint: as_read(received.touchpoint, models), at, joins: None });
        with.go_back(self, words);
        with.tell(models, &entries, link, rules, words, says);
        counted.out_of_order += 1;
        counted.applied_again += entries.len() as u64 * 2;
        counted.retractions += put_right(models, &mut redirect.sequences, said, says, outcomes);
        self.exchange_state(with);
        let state = self.detach(words, &redirect.sequences);
        self.empty();
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.retell(&entries, link, None, beside, words);
        self.redirect = Some(redirect);
        Some(HandedOver { state, touchpoints: Vec::new(), contacts: Contacts::default() })
    }

    /// As a customer: takes a touchpoint that joins an anonymous journey, and what that handed over. A link that is older than
    /// the one known before takes its place.
    pub(crate) fn take_in(&mut self, received: Received<'_>, handed: HandedOver, telling: Telling<'_>) -> Applied {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let Received { touchpoint, stream_time, .. } = received;
        let (at, is_late) = self.place(received, rules);
        let HandedOver { state, touchpoints, contacts } = handed;
        self.contacts.unite(contacts);
        retelling.counted.late += u64::from(is_late);
        let sequences = state.sequences();
        let entry = Entry { touchpoint: as_read(touchpoint, models), at, joins: Some(state) };
        if at >= self.window.last() && touchpoints.is_empty() {
            let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
            self.window.begin_step(at, stream_time, rules.grace, beside);
            let mut entries = self.window_entries(words);
            if let Some(state) = &entry.joins {
                self.absorb(models, state, touchpoint, rules, words, outcomes);
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
            if let Some(known) = joining(entries, touchpoint.linked.as_ref()) {
                entries[known].joins = None;
            }
            insert(entries, entry);
            for entry in touchpoints {
                let is_repeat = entry.touchpoint.id_given
                    && entries.iter().any(|known| known.touchpoint.id_given && known.touchpoint.id == entry.touchpoint.id);
                if !is_repeat {
                    insert(entries, entry);
                }
            }
        };
        self.retell_edited(edit, (stream_time, &sequences), Telling { models, rules, words, retelling, outcomes });
        let named = models.iter().any(|model| model.types.names(&touchpoint.kind));
        if named { Applied::Counted } else { Applied::Ignored }
    }

    /// As a customer whom an anonymous id has joined, or of whom that tells something else now: decides what is offered. What
    /// both sides have said begins at `begin`.
    pub(crate) fn offer_joined(&mut self, received: Received<'_>, begin: usize, telling: Telling<'_>) {
        let Telling { models, rules, retelling, outcomes, .. } = telling;
        let Received { touchpoint, stream_time, .. } = received;
        self.follow_askers(&outcomes[begin..]);
        let step = Step { touchpoint: Some(touchpoint), now: stream_time, stale_after: rules.stale_after, begin };
        self.offer(models, step, &mut retelling.refusals, outcomes);
    }

    /// As an anonymous id whose journey has been joined: whether the touchpoint happened before the link.
    pub(crate) fn was_before_link(&self, touchpoint: &Touchpoint) -> bool {
        self.redirect.as_ref().is_some_and(|redirect| touchpoint.event_time <= redirect.at)
    }

    /// As a customer: whether what an anonymous id did before its link can still be told otherwise, and the touchpoint is new.
    pub(crate) fn can_correct(
        &mut self,
        anonymous: &Identity,
        touchpoint: &Touchpoint,
        rules: &Rules,
        words: &Words,
    ) -> bool {
        self.can_join_earlier(anonymous, words) && !self.is_repeat(touchpoint, touchpoint.event_time, rules, words)
    }

    fn is_repeat(&mut self, touchpoint: &Touchpoint, at: Timestamp, rules: &Rules, words: &Words) -> bool {
        self.show_namesakes(touchpoint, words);
        let id = Id::of(&touchpoint.id);
        touchpoint.id_given && self.has_seen(&id, &touchpoint.kind, at, rules.grace, words) == SeenBefore::Yes
    }

    /// As a customer: what an anonymous id had done before its link was something else.
    pub(crate) fn correct(&mut self, handed: HandedOver, stream_time: Timestamp, telling: Telling<'_>) {
        let state = handed.state;
        let sequences = state.sequences();
        let edit = |entries: &mut Vec<Entry>| {
            if let Some(place) = joining(entries, Some(&state.identity.id)) {
                entries[place].joins = Some(state);
            }
        };
        self.retell_edited(edit, (stream_time, &sequences), telling);
    }

    /// As a customer: whether the touchpoint that joined an anonymous id can still give way to an earlier one.
    pub(crate) fn can_join_earlier(&self, anonymous: &Identity, words: &Words) -> bool {
        self.window.is_open() && joining(&self.window_entries(words), Some(&anonymous.id)).is_some()
    }

    /// Tells the story of the window anew, with other touchpoints in it, up to stream time.
    fn retell_edited(
        &mut self,
        edit: impl FnOnce(&mut Vec<Entry>),
        (stream_time, at_least): (Timestamp, &[u64]),
        telling: Telling<'_>,
    ) {
        let Telling { models, rules, words, retelling, outcomes } = telling;
        let Retelling { without, with, said, says, counted, refusals: _ } = retelling;
        said.clear();
        says.clear();
        let mut entries = self.window_entries(words);
        without.go_back(self, words);
        let first = without.tell(models, &entries, stream_time, rules, words, said);
        debug_assert!(without.is_as(self, words), "the story as it was is what was told");
        counted.applied_again += entries.len() as u64;
        edit(&mut entries);
        with.go_back(self, words);
        let told = with.tell(models, &entries, stream_time, rules, words, says);
        counted.applied_again += entries.len() as u64;
        counted.noticed = counted.noticed.plus_beyond(told.noticed, first.noticed);
        let mut sequences = self.sequences();
        sequences.resize(sequences.len().max(at_least.len()), 0);
        sequences.iter_mut().zip(at_least).for_each(|(sequence, least)| *sequence = (*sequence).max(*least));
        self.exchange_state(with);
        // No younger image: the window makes one once it is old enough.
        let last = told.last.max(self.window.reaches_to());
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.retell(&entries, last, None, beside, words);
        counted.retractions += put_right(models, &mut sequences, said, says, outcomes);
        self.set_sequences(&sequences);
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

fn insert(entries: &mut Vec<Entry>, entry: Entry) {
    entries.insert(entries.partition_point(|known| known.at <= entry.at), entry);
}
