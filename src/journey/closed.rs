//! What is remembered by ids: of episodes that are over, so that none of their ids opens another (rule 13), and which ids were
//! told to be one thing while nothing was open.
//!
//! The names of a kind's chain come in order, and the first name under which both sides have an id decides whether they are
//! the same thing: a basket of a group is known by its own id first, and only then by the group's.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::{Id, Noticed};
use crate::time::Timestamp;

/// An explicit id: which property of the kind's chain carried it, and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeId {
    /// Position in the kind's list of property names.
    pub name: u8,
    /// The id.
    pub value: Id,
}

/// The ids of one episode: mostly one or two.
pub type EpisodeIds = SmallVec<[EpisodeId; 2]>;

/// At most so many ids are kept for one thing.
pub(super) const MAX_ALIASES: usize = 16;
/// At most so many bytes of ids are remembered per customer and kind; the oldest gives way.
pub(super) const MAX_CLOSED_BYTES: usize = 16 * 1024;
/// What a thing takes beside its ids.
const RECORD_BYTES: usize = 16;
/// At most so many ids that turned out to name no single thing are kept per customer and kind.
pub(super) const MAX_REUSED: usize = 8;

/// Ids that are one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The ids, in the order they came.
    pub ids: EpisodeIds,
    /// When it ended (event time); `None` where nothing is over: the ids are only known to belong together.
    pub ended: Option<Timestamp>,
    /// Until which log time it is remembered.
    pub until: Timestamp,
    /// When a touchpoint that came after its end would have opened it anew (event time of the first).
    pub again: Option<Timestamp>,
}

/// What is remembered by ids, in the order it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedIds(pub VecDeque<Closed>);

/// Whether two sides name the same thing: the first name of the chain under which both have an id decides.
pub(super) fn is_same(one: &[EpisodeId], other: &[EpisodeId]) -> bool {
    let (mut decides, mut same) = (u8::MAX, false);
    for id in one {
        for known in other {
            if known.name == id.name && id.name <= decides {
                same = (id.name == decides && same) || known.value == id.value;
                decides = id.name;
            }
        }
    }
    same
}

/// Whether the two have different ids under one name, and none in common there: then they are not one thing.
pub(super) fn differ(one: &[EpisodeId], other: &[EpisodeId]) -> bool {
    one.iter().any(|id| {
        let mut known = other.iter().filter(|known| known.name == id.name).peekable();
        known.peek().is_some() && known.all(|known| known.value != id.value)
    })
}

/// Whether the two have an id in common, whatever else they have.
pub(super) fn shares(one: &[EpisodeId], other: &[EpisodeId]) -> bool {
    one.iter().any(|id| other.contains(id))
}

/// Adds ids that are not known yet, no more than are kept for one thing.
pub(super) fn add_ids(known: &mut EpisodeIds, ids: &[EpisodeId], noticed: &mut Noticed) {
    for id in ids {
        if known.contains(id) {
            continue;
        }
        if known.len() == MAX_ALIASES {
            noticed.ids += 1;
        } else {
            known.push(id.clone());
        }
    }
}

impl ClosedIds {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is over and is named by these ids.
    pub(super) fn ended(&self, ids: &[EpisodeId]) -> Option<&Closed> {
        if ids.is_empty() {
            return None;
        }
        self.0.iter().find(|closed| closed.ended.is_some() && is_same(ids, &closed.ids))
    }

    /// Whether something that is over has any of these ids.
    pub(super) fn has_any(&self, ids: &[EpisodeId]) -> bool {
        self.0.iter().any(|closed| closed.ended.is_some() && shares(ids, &closed.ids))
    }

    /// A touchpoint that happened at `at` would have opened what these ids name, if that were not over; whether it came after
    /// the end.
    pub(super) fn would_open(&mut self, ids: &[EpisodeId], at: Timestamp) -> bool {
        let ended = |closed: &&mut Closed| closed.ended.is_some_and(|ended| ended < at) && is_same(ids, &closed.ids);
        let Some(closed) = self.0.iter_mut().find(ended) else { return false };
        closed.again.get_or_insert(at);
        true
    }

    /// The ids by which a completing touchpoint of `at` completes a thing for a second time: it would have been opened anew
    /// in between, and the touchpoint has another id under a later name. Such ids are the same for several things.
    pub(super) fn reused(&self, ids: &[EpisodeId], at: Timestamp) -> EpisodeIds {
        let again = |closed: &Closed| closed.again.is_some_and(|again| again <= at) && differ(ids, &closed.ids);
        let Some(closed) = self.ended(ids).filter(|closed| again(closed)) else { return EpisodeIds::new() };
        ids.iter().filter(|id| closed.ids.contains(id)).cloned().collect()
    }

    /// The thing that these ids name is over, since `at`; it is remembered until this log time.
    pub(super) fn end(&mut self, ids: &[EpisodeId], at: Timestamp, until: Timestamp, noticed: &mut Noticed) {
        if !ids.is_empty() {
            let closed = self.of(ids, until, noticed);
            closed.ended = Some(closed.ended.map_or(at, |ended| ended.max(at)));
            self.keep_within_limit(noticed);
        }
    }

    /// A touchpoint that ends nothing itself has these ids of something that is over: those that were not known are over too.
    pub(super) fn tie(&mut self, ids: &[EpisodeId], until: Timestamp, noticed: &mut Noticed) {
        if self.ended(ids).is_some_and(|closed| ids.iter().any(|id| !closed.ids.contains(id))) {
            self.of(ids, until, noticed);
            self.keep_within_limit(noticed);
        }
    }

    /// These ids are one thing, of which nothing is open now.
    pub(super) fn pair(&mut self, ids: &[EpisodeId], until: Timestamp, noticed: &mut Noticed) {
        if ids.len() > 1 {
            self.of(ids, until, noticed);
            self.keep_within_limit(noticed);
        }
    }

    /// Gives an episode the other ids of what it is known by, which are remembered there from now on.
    pub(super) fn give_pairs(&mut self, ids: &mut EpisodeIds, noticed: &mut Noticed) {
        self.0.retain(|closed| {
            let pair = closed.ended.is_none() && is_same(ids, &closed.ids);
            if pair {
                add_ids(ids, &closed.ids, noticed);
            }
            !pair
        });
    }

    /// Another identity of the same customer remembers this.
    pub(super) fn unite(&mut self, theirs: ClosedIds, noticed: &mut Noticed) {
        for Closed { ids, ended, until, again } in theirs.0 {
            let whole = self.of(&ids, until, noticed);
            whole.ended = whole.ended.max(ended);
            whole.again = whole.again.or(again);
        }
        self.keep_within_limit(noticed);
    }

    /// Lets go of what is remembered no longer.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.0.retain(|closed| closed.until > now);
    }

    /// The thing that these ids name, which now stands last: everything that was known of it by one id or another.
    fn of(&mut self, ids: &[EpisodeId], until: Timestamp, noticed: &mut Noticed) -> &mut Closed {
        let mut whole = Closed { ids: EpisodeIds::new(), ended: None, until, again: None };
        add_ids(&mut whole.ids, ids, noticed);
        while let Some(place) = self.0.iter().position(|closed| is_same(&whole.ids, &closed.ids)) {
            let Some(part) = self.0.remove(place) else { break };
            add_ids(&mut whole.ids, &part.ids, noticed);
            whole.ended = whole.ended.max(part.ended);
            whole.until = whole.until.max(part.until);
            whole.again = whole.again.or(part.again);
        }
        self.0.push_back(whole);
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    fn keep_within_limit(&mut self, noticed: &mut Noticed) {
        let mut bytes: usize = self.0.iter().map(Closed::bytes).sum();
        while bytes > MAX_CLOSED_BYTES
            && let Some(oldest) = self.0.pop_front()
        {
            bytes -= oldest.bytes();
            noticed.ids += oldest.ids.len() as u64;
        }
    }
}

impl Closed {
    /// As states of before held it: one id, and nothing of when it ended but that it was before it is forgotten.
    pub(super) fn single(id: EpisodeId, until: Timestamp) -> Self {
        Closed { ids: EpisodeIds::from_iter([id]), ended: Some(until), until, again: None }
    }

    fn bytes(&self) -> usize {
        let length = |id: &EpisodeId| match &id.value {
            Id::Uuid(_) => 18,
            Id::Text(text) => 2 + text.len(),
        };
        RECORD_BYTES + self.ids.iter().map(length).sum::<usize>()
    }
}

// States in postcard held each id by itself.

impl Serialize for ClosedIds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ended = self.0.iter().filter(|closed| closed.ended.is_some());
        serializer.collect_seq(ended.flat_map(|closed| closed.ids.iter().map(move |id| (id, closed.until))))
    }
}

impl<'de> Deserialize<'de> for ClosedIds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ids = Vec::<(EpisodeId, Timestamp)>::deserialize(deserializer)?;
        Ok(ClosedIds(ids.into_iter().map(|(id, until)| Closed::single(id, until)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(all: &[(u8, &str)]) -> EpisodeIds {
        all.iter().map(|(name, value)| EpisodeId { name: *name, value: Id::of(value) }).collect()
    }

    #[test]
    fn the_first_name_that_both_have_decides() {
        for (one, other, same) in [
            (&[(0, "a")][..], &[(0, "a")][..], true),
            (&[(0, "a")], &[(0, "b")], false),
            (&[(0, "a")], &[(1, "a")], false),
            (&[], &[(0, "a")], false),
            // Two baskets of one group, and the group alone.
            (&[(0, "a"), (1, "g")], &[(0, "b"), (1, "g")], false),
            (&[(1, "g")], &[(0, "b"), (1, "g")], true),
            // One cart with two checkouts, whichever comes first.
            (&[(0, "a"), (1, "d")], &[(1, "c"), (0, "a")], true),
            (&[(1, "d"), (0, "a")], &[(0, "a"), (1, "c")], true),
            (&[(1, "d")], &[(0, "a"), (1, "c"), (1, "d")], true),
            (&[(1, "e"), (2, "o")], &[(0, "a"), (1, "c"), (1, "d"), (2, "o")], false),
        ] {
            assert_eq!(is_same(&ids(one), &ids(other)), same, "{one:?} {other:?}");
            assert_eq!(is_same(&ids(other), &ids(one)), same, "{other:?} {one:?}");
        }
    }

    #[test]
    fn what_the_limit_forgets_is_counted_and_the_oldest_goes_first() {
        let (mut closed, mut noticed) = (ClosedIds::default(), Noticed::default());
        let at = Timestamp::from_millis(0);
        for number in 0..1_000 {
            closed.end(&ids(&[(0, &format!("cart-{number:04}")), (1, &format!("o{number:04}"))]), at, at, &mut noticed);
        }
        // 16 bytes, 11 and 7: 34 for each.
        assert_eq!((closed.0.len(), noticed.ids), (481, 2 * 519));
        assert!(closed.ended(&ids(&[(0, "cart-0518")])).is_none() && closed.ended(&ids(&[(1, "o0519")])).is_some());
    }
}
