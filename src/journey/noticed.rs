//! What was noticed while touchpoints were applied: counted, so that somebody learns of it.

/// How often something happened that no outcome tells. Adds up until it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Episodes that ended, or that were forgotten after their abandonment, because the customer had too many of a kind.
    pub episodes: u64,
    /// Ids of episodes that are remembered no longer, or were not taken: there were too many.
    pub ids: u64,
    /// Opening touchpoints of an id that was completed before them: nothing opened. Many of them mean that the id is no
    /// basket's, but the same for all baskets of a customer.
    pub openings: u64,
    /// Touchpoints with the id of another one of another type: applied, as two things are not one.
    pub conflicts: u64,
}

impl Noticed {
    /// Both together.
    pub(super) fn plus(self, more: Noticed) -> Self {
        self.plus_beyond(more, Noticed::default())
    }

    /// With what was noticed `now`, as far as it goes beyond what had been noticed `before` of the same.
    pub(super) fn plus_beyond(self, now: Noticed, before: Noticed) -> Self {
        let Noticed { episodes, ids, openings, conflicts } = self;
        Noticed {
            episodes: episodes + now.episodes.saturating_sub(before.episodes),
            ids: ids + now.ids.saturating_sub(before.ids),
            openings: openings + now.openings.saturating_sub(before.openings),
            conflicts: conflicts + now.conflicts.saturating_sub(before.conflicts),
        }
    }
}
