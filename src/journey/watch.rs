//! Absence watched: what a stage and an episode have in common.
//!
//! A watch knows when its thing was opened, what progress came last, and until when the next progress is awaited.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Moment, outcome::About, outcome::Subject};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Touchpoint;

/// An abandonment that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandonment {
    /// Its outcome id, which a resumption or recovery answers.
    pub id: Uuid,
    /// The deadline that passed.
    pub at: Timestamp,
}

/// The absence being watched in one stage or episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The touchpoint that opened it.
    pub opened_by: CompactString,
    /// Its event time.
    pub opened_at: Timestamp,
    /// The touchpoint that was the latest progress.
    pub last_progress: CompactString,
    /// Its event time.
    pub last_progress_at: Timestamp,
    /// Touchpoints of progress, the opening one included.
    pub progress_count: u32,
    /// What the deadline counts from: the latest instant that any progress gave (rule 6).
    pub counts_from: Timestamp,
    /// When it is abandoned if nothing comes; [`Timestamp::MAX`] when nothing is awaited. Kept, not computed, so that a
    /// changed model leaves armed deadlines alone (rule 25).
    pub deadline: Timestamp,
    /// The latest abandonment, resumed or not.
    pub abandonment: Option<Abandonment>,
    /// How often it was abandoned.
    pub abandonments: u32,
}

impl Watch {
    pub(super) fn open(touchpoint: &Touchpoint, moment: Moment, quiet: Option<Span>) -> Self {
        Watch {
            opened_by: touchpoint.id.clone(),
            opened_at: touchpoint.event_time,
            last_progress: touchpoint.id.clone(),
            last_progress_at: touchpoint.event_time,
            progress_count: 1,
            counts_from: moment.counts_from,
            deadline: quiet.map_or(Timestamp::MAX, |quiet| moment.counts_from + quiet),
            abandonment: None,
            abandonments: 0,
        }
    }

    /// Progress came: counts it and puts the deadline off. One out of order never moves the deadline earlier; a span that
    /// became shorter does, though not into what is decided already (rule 6).
    pub(super) fn progress(&mut self, touchpoint: &Touchpoint, moment: Moment, quiet: Option<Span>) {
        let due = self.note(touchpoint, moment, quiet);
        self.deadline = due.max(self.deadline.min(moment.stream_time));
    }

    /// Progress came back after an abandonment: the deadline is armed anew.
    pub(super) fn resume(&mut self, touchpoint: &Touchpoint, moment: Moment, quiet: Option<Span>) {
        self.deadline = self.note(touchpoint, moment, quiet);
    }

    /// Counts the progress and says when it is due next.
    fn note(&mut self, touchpoint: &Touchpoint, moment: Moment, quiet: Option<Span>) -> Timestamp {
        self.progress_count = self.progress_count.saturating_add(1);
        if touchpoint.event_time >= self.last_progress_at {
            self.last_progress = touchpoint.id.clone();
            self.last_progress_at = touchpoint.event_time;
        }
        self.counts_from = self.counts_from.max(moment.counts_from);
        quiet.map_or(Timestamp::MAX, |quiet| self.counts_from + quiet)
    }

    /// The deadline passed.
    pub(super) fn abandon(&mut self, id: Uuid, at: Timestamp) {
        self.deadline = Timestamp::MAX;
        self.abandonment = Some(Abandonment { id, at });
        self.abandonments += 1;
    }

    /// The abandonment that something at `now` recovers: strictly less than `within` after it, as everywhere.
    pub(super) fn recoverable(&self, now: Timestamp, within: Span) -> Option<Abandonment> {
        self.abandonment.filter(|abandonment| now < abandonment.at + within)
    }

    pub(super) fn about(&self, subject: Subject) -> About {
        About {
            subject,
            opened_by: self.opened_by.clone(),
            opened_at: self.opened_at,
            last_progress: self.last_progress.clone(),
            last_progress_at: self.last_progress_at,
            progress_count: self.progress_count,
        }
    }
}
