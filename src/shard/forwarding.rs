//! What of one customer concerns another: the friend who has used a link, and whoever shared it. The touchpoint becomes one of the
//! other's as well, of a type of its own, in the transaction that applies it; where the other lives elsewhere, it is handed over.
//!
//! It goes no further, whatever models say that run side by side: what was forwarded is known by its id.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;

use super::handing::Handed;
use super::{Action, Shard};
use crate::journey;
use crate::model::{Forward, Model};
use crate::time::Timestamp;
use crate::touchpoint::{Identity, MAX_NAME_BYTES, Touchpoint, is_placeholder};

/// What stands before the id of a touchpoint that was forwarded.
const FORWARDED: &str = "forwarded:";

/// What models forward, by type.
#[derive(Debug, Default)]
pub(super) struct Forwards(HashMap<CompactString, Vec<Forward>>);

impl Forwards {
    /// What any of the models forwards, each once.
    pub(super) fn of(models: &[Arc<Model>]) -> Self {
        let mut forwards: HashMap<CompactString, Vec<Forward>> = HashMap::new();
        for forward in models.iter().flat_map(|model| &model.forwards) {
            let of_kind = forwards.entry(forward.kind.clone()).or_default();
            if !of_kind.contains(forward) {
                of_kind.push(forward.clone());
            }
        }
        Forwards(forwards)
    }

    fn get(&self, kind: &str, place: usize) -> Option<&Forward> {
        if self.0.is_empty() { None } else { self.0.get(kind)?.get(place) }
    }
}

impl Shard {
    /// Forwards a touchpoint that was applied, if it concerns others.
    pub(super) fn forward(&mut self, touchpoint: &Touchpoint, log_time: Timestamp, actions: &mut Vec<Action>) {
        let mut place = 0;
        while let Some(forward) = self.forwards.get(&touchpoint.kind, place) {
            place += 1;
            if touchpoint.id.starts_with(FORWARDED) {
                return;
            }
            let Some(forwarded) = forwarded(touchpoint, forward) else {
                self.counts.nobodys += 1;
                continue;
            };
            self.counts.forwarded += 1;
            match self.elsewhere(&forwarded.identity) {
                Some(to) => {
                    self.counts.handed_on += 1;
                    self.hand_over(to, log_time, Handed::Touchpoint(Box::new(forwarded)), actions);
                }
                None if self.was_erased_since(&forwarded.identity, log_time) => self.counts.buried += 1,
                None => {
                    // Where it is handed over it is a record of its own, and what is due is decided before it: a date that had
                    // passed when the touchpoint carried it.
                    let now = self.stream_time.unwrap_or(log_time);
                    while self.fire_next(now, actions) {}
                    self.apply_touchpoint(&forwarded, log_time, actions);
                }
            }
        }
    }
}

/// The touchpoint as one of the other customer's; `None` where it does not say whose.
fn forwarded(touchpoint: &Touchpoint, forward: &Forward) -> Option<Touchpoint> {
    let named = touchpoint.property(&forward.to)?.as_id()?;
    let who = Some(named).filter(|id| id.len() <= MAX_NAME_BYTES && !is_placeholder(id))?;
    let from = &touchpoint.identity;
    // The same for the same touchpoint, and of no two customers the same.
    let name = journey::uuid_of([&forward.becomes, from.kind.as_str(), &from.id, &touchpoint.kind, &touchpoint.id]);
    Some(Touchpoint {
        id: compact_str::format_compact!("{FORWARDED}{}", name.hyphenated()),
        id_given: true,
        identity: Identity::customer(who),
        linked: None,
        kind: forward.becomes.clone(),
        // The session is that of whoever did it.
        session: None,
        ..touchpoint.clone()
    })
}
