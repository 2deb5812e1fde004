//! What conditions can know, worked out from the whole story.

use std::collections::BTreeSet;

use super::{Judge, Seen, State, VISIT_GAP};
use crate::judge::plan::{Condition, Name, Seconds, Sum, Touch, Wait};

impl Judge<'_> {
    /// The first begins with whatever the customer does first.
    pub(super) fn journey(&self) -> u32 {
        self.stays.last().map_or(1, |stay| stay.journey)
    }

    pub(super) fn find_segment(&self) -> Option<Name> {
        let fits = |when: &Option<Condition>| when.as_ref().is_none_or(|when| self.holds(when, None, None));
        self.plan.segments.iter().find(|(_, when)| fits(when)).map(|(name, _)| name.clone())
    }

    pub(super) fn length(&self, wait: &Wait, episode: Option<usize>) -> Option<Seconds> {
        match wait {
            Wait::Fixed(seconds) => Some(*seconds),
            Wait::BySegment(waits) => by_segment(waits, self.segment.as_ref()?),
            Wait::Computed(condition, yes, no) => Some(if self.holds(condition, None, episode) { *yes } else { *no }),
        }
    }

    pub(super) fn holds(&self, condition: &Condition, touch: Option<&Touch>, episode: Option<usize>) -> bool {
        self.value(condition, touch, episode) == Some(true)
    }

    /// True, false, or nothing where something that it mentions is absent.
    pub(super) fn value(&self, condition: &Condition, touch: Option<&Touch>, episode: Option<usize>) -> Option<bool> {
        let journey = self.journey();
        let nps = |least: i64| touch.and_then(|touch| touch.nps).map(|nps| nps >= least);
        let meant = |kind: &Name| {
            let kind = self.kind_called(kind);
            episode.filter(|number| self.episodes[*number].kind == kind).or_else(|| self.latest_open(kind))
        };
        let inner = |condition: &Condition| self.value(condition, touch, episode);
        match condition {
            Condition::Nps(least) => nps(*least),
            Condition::NpsOf(kind, least) => or(nps(*least), touch.map(|touch| touch.kind != kind.as_str())),
            Condition::Customer(tally, least) => self.sum(tally, |_| true).map(|sum| sum >= *least),
            Condition::Journey(tally, least) => {
                let sum = self.sum(tally, |seen| seen.summed_in.0 == journey)?;
                // The visit in which a journey begins is its first.
                let visits = self.plan.tallies.iter().any(|(name, sum)| name == tally && matches!(sum, Sum::Visits));
                Some(sum + i64::from(visits && journey > 1) >= *least)
            }
            Condition::StageLast(tally, least) => {
                let summed_in = (journey, Some(self.stays.last()?.stage));
                self.sum(tally, |seen| seen.summed_in == summed_in).map(|sum| sum >= *least)
            }
            Condition::Open(kind) => Some(meant(kind).is_some_and(|number| self.episodes[number].state == State::Open)),
            Condition::Worth(kind, least) => {
                let number = meant(kind)?;
                self.episodes[number].value.map(|value| value > *least)
            }
            Condition::InSegment(name) => self.segment.as_ref().map(|segment| segment == name),
            Condition::JourneyNumber(least) => Some(i64::from(self.journey()) >= *least),
            Condition::StageTouches(least) => Some(self.stays.last()?.progress.len() as i64 >= *least),
            Condition::StageAge(least) => Some(touch?.happened - self.stays.last()?.since >= *least),
            Condition::JourneyAge(least) => {
                // A journey starts where it enters its first stage.
                let first = self.stays.iter().find(|stay| stay.journey == journey)?;
                Some(touch?.happened - first.since >= *least)
            }
            Condition::Touches(kind, least) => {
                let number = meant(kind)?;
                Some(self.episodes[number].progress.len() as i64 >= *least)
            }
            Condition::Abandonments(kind, least) => {
                let number = meant(kind)?;
                Some(self.episodes[number].abandonments >= *least)
            }
            Condition::Not(one) => inner(one).map(|one| !one),
            Condition::And(one, other) => {
                or(inner(one).map(|one| !one), inner(other).map(|other| !other)).map(|either| !either)
            }
            Condition::Or(one, other) => or(inner(one), inner(other)),
        }
    }

    pub(super) fn sum(&self, tally: &Name, which: impl Fn(&Seen) -> bool) -> Option<i64> {
        let (_, sum) = self.plan.tallies.iter().find(|(name, _)| name == tally)?;
        let of = |name: &Name| self.seen.iter().filter(|seen| which(seen) && seen.names.contains(name)).collect::<Vec<_>>();
        match sum {
            Sum::Count(name) => Some(of(name).len() as i64),
            Sum::Value(name) => Some(of(name).iter().filter_map(|seen| seen.touch.value).sum()),
            Sum::Distinct(name) => {
                // Each counts where it came first.
                let mut known = BTreeSet::new();
                let all = self.seen.iter().filter(|seen| seen.names.contains(name));
                let first = all.filter(|seen| seen.touch.question.is_some_and(|question| known.insert(question)));
                Some(first.filter(|seen| which(seen)).count() as i64)
            }
            Sum::ValueOnce(name) => {
                let valued = |seen: &&Seen| seen.names.contains(name) && seen.touch.value.is_some();
                let all: Vec<&Seen> = self.seen.iter().filter(valued).collect();
                let alone = all.iter().filter(|seen| seen.touch.question.is_none() && which(seen));
                let mut sum: i64 = alone.filter_map(|seen| seen.touch.value).sum();
                let questions: BTreeSet<_> = all.iter().filter_map(|seen| seen.touch.question).collect();
                for question in questions {
                    let of = || all.iter().filter(|seen| seen.touch.question == Some(question));
                    let latest = of().max_by_key(|seen| seen.touch.happened).and_then(|seen| seen.touch.value);
                    sum += latest.filter(|_| of().next().is_some_and(|seen| which(seen))).unwrap_or_default();
                }
                Some(sum)
            }
            // Of several that happened at once, the one that came last.
            Sum::Last(name) => {
                let rated = of(name).into_iter().filter(|seen| seen.touch.nps.is_some());
                rated.max_by_key(|seen| seen.touch.happened).and_then(|seen| seen.touch.nps)
            }
            Sum::Visits => {
                Some(self.seen.iter().enumerate().filter(|(at, seen)| which(seen) && self.begins_visit(*at)).count() as i64)
            }
        }
    }

    /// The first of its session, or the first for a while of those without one.
    pub(super) fn begins_visit(&self, at: usize) -> bool {
        let touch = &self.seen[at].touch;
        let mut before = self.seen[..at]
            .iter()
            .map(|seen| &seen.touch)
            .filter(|other| other.session.is_some() == touch.session.is_some());
        match touch.session {
            Some(_) => before.all(|other| other.session != touch.session),
            None => before.map(|other| other.happened).max().is_none_or(|latest| touch.happened - latest >= VISIT_GAP),
        }
    }
}

/// What is written for a segment; what everyone's says counts for those not named.
pub(super) fn by_segment<T: Copy>(written: &[(Name, T)], segment: &Name) -> Option<T> {
    let of = |name: &str| written.iter().find(|(known, _)| known == name).map(|(_, what)| *what);
    of(segment).or_else(|| of("everyone"))
}

/// CEL's: true beside something absent is true.
fn or(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        (None, _) | (_, None) => None,
    }
}
