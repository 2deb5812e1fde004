//! Absence watched: what a stage and an episode have in common.
//!
//! A watch knows when its thing was opened, what progress came last, and until when the next progress is awaited. Progress is
//! noted when it comes, and the deadline armed once everything that a span can depend on is known.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::outcome::{Abandonment, About, Passed, Subject};
use super::{Moment, TouchpointId};
use crate::model::Again;
use crate::time::{Span, Timestamp};

/// So many tellings of an absence before the latest are known, to be taken back where it never was.
pub(super) const MAX_TOLD_BEFORE: usize = 64;

/// The absence being watched in one stage or episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The touchpoint that opened it.
    pub opened_by: TouchpointId,
    /// Its event time.
    pub opened_at: Timestamp,
    /// The touchpoint that was the latest progress.
    pub last_progress: TouchpointId,
    /// Its event time.
    pub last_progress_at: Timestamp,
    /// Touchpoints of progress, the opening one included.
    pub progress_count: u32,
    /// What the deadline counts from: the latest instant that any progress gave (rule 6).
    pub counts_from: Timestamp,
    /// When it is abandoned if nothing comes; [`Timestamp::MAX`] when nothing is awaited. Kept, not computed, so that a
    /// changed model leaves armed deadlines alone (rule 25).
    pub deadline: Timestamp,
    /// When it is abandoned whatever progress comes: the instant that the latest touchpoint (by event time) carried.
    pub until: Option<Timestamp>,
    /// Event time of the touchpoint that carried a date last (by event time); none where none has.
    #[serde(skip)]
    pub until_at: Option<Timestamp>,
    /// The latest abandonment, resumed or not.
    pub abandonment: Option<Abandonment>,
    /// How often it was abandoned.
    pub abandonments: u32,
    /// How often the latest absence is told again, the time that is awaited now included.
    #[serde(skip)]
    pub repeats: u32,
    /// How the latest absence was told before the latest abandonment, the oldest first.
    #[serde(skip)]
    pub told_before: Vec<Abandonment>,
    /// What the touchpoint being applied did to it; nothing between touchpoints.
    #[serde(skip)]
    pub(super) pending: PendingArm,
}

/// What a touchpoint did to a watch whose deadline is not armed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PendingArm {
    /// Nothing: the deadline stands.
    #[default]
    None,
    /// Opened or resumed it: the deadline is armed anew.
    Anew(Belonging),
    /// Was progress.
    Progress(Belonging),
}

/// Whether a touchpoint belongs to a thing, or is progress in it as any touchpoint of the customer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belonging {
    Yes,
    No,
}

impl PendingArm {
    /// Whether the touchpoint belongs to the thing, so that it may carry its absolute deadline.
    pub(super) fn belongs(self) -> bool {
        matches!(self, PendingArm::Anew(Belonging::Yes) | PendingArm::Progress(Belonging::Yes))
    }
}

impl Watch {
    /// Opened by the touchpoint `id` that happened at `at`; to be armed.
    pub(super) fn open(id: &TouchpointId, at: Timestamp, moment: Moment) -> Self {
        Watch {
            opened_by: id.clone(),
            opened_at: at,
            last_progress: id.clone(),
            last_progress_at: at,
            progress_count: 1,
            counts_from: moment.counts_from,
            deadline: Timestamp::MAX,
            until: None,
            until_at: None,
            abandonment: None,
            abandonments: 0,
            repeats: 0,
            told_before: Vec::new(),
            pending: PendingArm::Anew(Belonging::Yes),
        }
    }

    /// Progress came; to be armed.
    pub(super) fn progress(&mut self, id: &TouchpointId, at: Timestamp, moment: Moment, belonging: Belonging) {
        self.note(id, at, moment);
        if self.pending == PendingArm::None {
            self.pending = PendingArm::Progress(belonging);
        }
    }

    /// Progress came back after an abandonment; to be armed.
    pub(super) fn resume(&mut self, id: &TouchpointId, at: Timestamp, moment: Moment) {
        self.note(id, at, moment);
        self.repeats = 0;
        self.told_before.clear();
        self.pending = PendingArm::Anew(Belonging::Yes);
    }

    fn note(&mut self, id: &TouchpointId, at: Timestamp, moment: Moment) {
        self.progress_count = self.progress_count.saturating_add(1);
        if at >= self.last_progress_at {
            self.last_progress = id.clone();
            self.last_progress_at = at;
        }
        self.counts_from = self.counts_from.max(moment.counts_from);
    }

    /// Sets the deadline after progress: so long after it, and in any case at the absolute instant. Progress out of order
    /// never moves the deadline earlier; a span that became shorter does, though not into what is decided already (rule 6).
    pub(super) fn arm(&mut self, quiet: Option<Span>, until: Option<Timestamp>, moment: Moment) {
        if matches!(self.pending, PendingArm::Anew(_)) {
            // An instant that passed while this was abandoned is not waited for again.
            self.until = self.until.filter(|until| *until > moment.stream_time);
        }
        self.until = until.or(self.until);
        let after = quiet.map_or(Timestamp::MAX, |quiet| self.counts_from + quiet);
        let due = self.until.map_or(after, |until| until.min(after));
        self.deadline = match std::mem::take(&mut self.pending) {
            PendingArm::None => return,
            PendingArm::Anew(_) => due,
            PendingArm::Progress(_) => due.max(self.deadline.min(moment.stream_time)),
        };
    }

    /// Takes the date that a touchpoint of `at` carries as the latest; none where a later touchpoint has carried one already,
    /// or where the latest abandonment has told it: nothing passes twice.
    pub(super) fn take_date(&mut self, date: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
        let date = date.filter(|_| self.until_at.is_none_or(|known| known <= at))?;
        self.until_at = Some(at);
        Some(date).filter(|date| self.abandonment.is_none_or(|told| *date > told.at))
    }

    /// What passes at the deadline. A date that had passed when a touchpoint carried it is due at once, later than it says.
    pub(super) fn passed(&self) -> Passed {
        self.passed_at(self.deadline)
    }

    /// What passed at that deadline.
    pub(super) fn passed_at(&self, deadline: Timestamp) -> Passed {
        if self.until.is_some_and(|until| until <= deadline) { Passed::Date } else { Passed::Silence }
    }

    /// The deadline passed; `again` says whether that is told again while nothing comes.
    pub(super) fn abandon(&mut self, id: Uuid, at: Timestamp, again: Option<Again>) {
        self.deadline = Timestamp::MAX;
        // What has passed does not pass again after a resumption.
        self.until = self.until.filter(|until| *until > at);
        let before = self.abandonment.replace(Abandonment { id, at });
        self.told_before.extend(before.filter(|_| self.repeats > 0));
        let surplus = self.told_before.len().saturating_sub(MAX_TOLD_BEFORE);
        self.told_before.drain(..surplus);
        self.abandonments += 1;
        // A date that had passed when it was carried tells nothing of the time since.
        let again = again.filter(|again| self.repeats + 1 < again.at_most && at >= self.counts_from);
        if let Some(again) = again {
            self.repeats += 1;
            self.deadline = at + again.every;
        }
    }

    /// How the latest absence was told, the latest first, and what had passed then.
    pub(super) fn told(&self) -> impl Iterator<Item = (Abandonment, Passed)> {
        let before = self.told_before.iter().rev().copied();
        self.abandonment.into_iter().chain(before).map(|told| (told, self.passed_at(told.at)))
    }

    /// So many times the latest absence was told wrongly, the first of them at this instant: its deadline stands again. What was
    /// told before stands.
    pub(super) fn take_back(&mut self, (count, first): (u32, Timestamp), stands: Option<Abandonment>) {
        let told = self.repeats + u32::from(self.deadline == Timestamp::MAX);
        self.repeats = if stands.is_some() { told.saturating_sub(count) } else { 0 };
        self.deadline = first;
        let left = if stands.is_some() { self.told_before.len().saturating_sub(count as usize) } else { 0 };
        self.told_before.truncate(left);
        self.abandonment = stands;
        self.abandonments = self.abandonments.saturating_sub(count);
    }

    /// The abandonment that something at `now` recovers: at it or after it, and strictly less than `within` after, as everywhere.
    pub(super) fn recoverable(&self, now: Timestamp, within: Span) -> Option<Abandonment> {
        self.abandonment.filter(|abandonment| abandonment.at <= now && now < abandonment.at + within)
    }

    pub(super) fn about(&self, subject: Subject) -> About {
        About {
            subject,
            opened_by: self.opened_by.id.clone(),
            opened_at: self.opened_at,
            last_progress: self.last_progress.id.clone(),
            last_progress_at: self.last_progress_at,
            progress_count: self.progress_count,
            abandonments: self.abandonments,
        }
    }
}
