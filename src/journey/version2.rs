//! Customers as versions 2 to 4 of the state log and version 2 of a state's bytes held them: read, never written.
//!
//! They kept the history and the ids against repeats apart, and a change said what one list had lost and gained.

use std::collections::VecDeque;

use compact_str::CompactString;
use serde::Deserialize;

use super::recent::{Recent, Trace};
use super::{Customer, Id, Journey, PastTouchpoint};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// A customer as it was written.
#[derive(Clone, Debug, Deserialize)]
pub struct CustomerV2 {
    identity: Identity,
    links: Vec<CompactString>,
    touchpoints: u64,
    history: VecDeque<PastV2>,
    seen: VecDeque<(u64, Timestamp)>,
    journeys: Vec<Journey>,
}

/// How an image followed from the one before.
#[derive(Clone, Debug, Deserialize)]
pub struct ChangeV2 {
    identity: Identity,
    /// How many touchpoints had been applied in the image before.
    after: u64,
    touchpoints: u64,
    links: Vec<CompactString>,
    history: Tail<PastV2>,
    seen: Tail<(u64, Timestamp)>,
    journeys: Vec<Journey>,
}

#[derive(Clone, Debug, Deserialize)]
struct PastV2 {
    id: Id,
    kind: CompactString,
    channel: Option<CompactString>,
    at: Timestamp,
}

/// How a list follows from one that loses at its front and gains at its back.
#[derive(Clone, Debug, Deserialize)]
struct Tail<T> {
    dropped: u32,
    added: Vec<T>,
}

impl<T> Tail<T> {
    /// Says whether there was as much as is dropped.
    fn follow(self, list: &mut VecDeque<T>) -> bool {
        let dropped = self.dropped as usize;
        let fits = dropped <= list.len();
        list.drain(..dropped.min(list.len()));
        list.extend(self.added);
        fits
    }
}

impl From<CustomerV2> for Customer {
    fn from(old: CustomerV2) -> Self {
        let CustomerV2 { identity, links, touchpoints, history, mut seen, journeys } = old;
        let base = history.front().map(|past| past.at).or(journeys.first().map(|journey| journey.started_at));
        // The history holds the latest touchpoints, so what it shares with the other list stands at that one's end.
        let mut kept: VecDeque<PastTouchpoint> = VecDeque::with_capacity(history.len());
        for PastV2 { id, kind, channel, at } in history.into_iter().rev() {
            let seen_at = seen.back().filter(|(hash, _)| *hash == id.hash()).map(|(_, seen_at)| *seen_at);
            if seen_at.is_some() {
                seen.pop_back();
            }
            kept.push_front(PastTouchpoint { id, kind, channel, at, seen_at });
        }
        let traces = seen.into_iter().map(|(hash, seen_at)| Trace { hash, seen_at });
        let recent = Recent::of(traces, kept, base.unwrap_or(Timestamp::from_millis(0)));
        Customer { links, touchpoints, recent, journeys, ..Customer::new(identity) }
    }
}

impl ChangeV2 {
    /// Whose change it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes this image, which was written in the same layout, the one that follows from it.
    ///
    /// # Errors
    /// The change follows from another image; that one is then of no use.
    pub fn apply(self, customer: &mut CustomerV2) -> Result<(), String> {
        let ChangeV2 { identity, after, touchpoints, links, history, seen, journeys } = self;
        let found = customer.touchpoints;
        if after != found || identity != customer.identity {
            return Err(format!("it says how a customer changed after {after} touchpoints, and knows it after {found}"));
        }
        if !(history.follow(&mut customer.history) & seen.follow(&mut customer.seen)) {
            return Err("it drops more of a customer's history than there is".to_owned());
        }
        (customer.touchpoints, customer.links, customer.journeys) = (touchpoints, links, journeys);
        Ok(())
    }
}

impl CustomerV2 {
    /// The journeys, to be brought over to other models.
    pub fn journeys_mut(&mut self) -> &mut Vec<Journey> {
        &mut self.journeys
    }

    /// Whose state it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
