//! Stages: where a touchpoint leads, and what counts towards entering.

use super::{Judge, Stay};
use crate::judge::plan::{Name, Seconds, Stage, Way};

impl Judge<'_> {
    pub(super) fn stage_step(&mut self, here: usize, friction: Vec<usize>) {
        let at = self.seen[here].touch.happened;
        self.seen[here].lets_in = self
            .plan
            .stages
            .iter()
            .map(|stage| stage.when.as_ref().is_none_or(|when| self.holds(when, Some(&self.seen[here].touch), None)))
            .collect();
        let Some(stay) = self.stays.last() else {
            if let Some(first) = (0..self.plan.stages.len()).find(|&stage| self.enters(stage, here)) {
                let how = if self.plan.stages[first].ends { "End" } else { self.onwards(None, first) };
                self.enter(first, how, at, Some(here));
            }
            return;
        };
        let stage = &self.plan.stages[stay.stage];
        let (present, since) = (stay.stage, stay.since);
        let back = friction.into_iter().find_map(|rule| self.leads_back(rule));
        if stage.ends {
            if let Some(first) =
                (0..self.plan.stages.len()).find(|&other| !self.plan.stages[other].ends && self.enters(other, here))
            {
                self.enter(first, "ReEnter", at, Some(here));
            } else {
                self.stay_on(stage, here, false);
            }
            return;
        }
        let by_type = stage.back.as_ref().filter(|(_, by)| by.iter().any(|name| self.is(here, name)));
        if let Some(to) = back.or(by_type.map(|(to, _)| self.stage_called(to))) {
            self.enter(to, "Regress", at, Some(here));
            return;
        }
        if let Some((to, _)) = stage.renews.as_ref().filter(|(_, by)| self.is(here, by)) {
            let to = self.stage_called(to);
            self.recover(stage, here);
            self.enter(to, "Renew", at, Some(here));
            return;
        }
        if stage.again.as_ref().is_some_and(|by| self.is(here, by))
            && let Some(first) = (0..self.plan.stages.len()).find(|&other| self.enters(other, here))
        {
            self.enter(first, "ReEnter", at, Some(here));
            return;
        }
        let belongs = self.counts_for(present, here);
        let onwards = (present + 1..self.plan.stages.len()).find(|&later| self.enters(later, here));
        match (belongs, onwards) {
            (false, Some(later)) if self.has_dwelt(stage, since, here) || self.plan.stages[later].ends => {
                let ends = self.plan.stages[later].ends;
                if !ends {
                    self.recover(stage, here);
                }
                let how = if ends { "End" } else { self.onwards(Some(present), later) };
                self.enter(later, how, at, Some(here));
            }
            (false, None) if stage.back.as_ref().is_some_and(|(_, by)| by.iter().any(|name| name == "any")) => {
                let (to, _) = stage.back.as_ref().expect("a way back");
                self.enter(self.stage_called(to), "Regress", at, Some(here));
            }
            _ => self.stay_on(stage, here, belongs),
        }
    }

    /// Nobody is held back from leaving for good.
    pub(super) fn has_dwelt(&self, stage: &Stage, since: Seconds, here: usize) -> bool {
        stage.at_least.is_none_or(|least| self.seen[here].counts_from >= since + least)
    }

    /// Going on recovers a stage that was abandoned, resumed or not.
    pub(super) fn recover(&mut self, stage: &Stage, here: usize) {
        let at = self.seen[here].touch.happened;
        let abandonment = self.stays.last().and_then(|stay| stay.abandonment);
        if abandonment.is_some_and(|abandonment| abandonment <= at && at < abandonment + stage.recovered_within) {
            self.say(at, Some(here), &format!("recovery stage {}", stage.name));
        }
    }

    /// The touchpoint leaves the journey where it is.
    pub(super) fn stay_on(&mut self, stage: &Stage, here: usize, belongs: bool) {
        let at = self.seen[here].touch.happened;
        let counts_from = self.seen[here].counts_from;
        let listed = stage.progresses.as_ref().filter(|_| stage.quiet.is_some());
        let is_progress = belongs || listed.is_none_or(|names| names.iter().any(|name| self.is(here, name)));
        let stay = self.stays.last_mut().expect("a stage");
        let resumes = belongs && stay.abandoned;
        if resumes {
            stay.abandoned = false;
            (stay.told, stay.next) = (0, None);
            // A date that has passed is not waited for again.
            stay.date = stay.date.filter(|date| *date > self.seen[here].touch.log_time);
        }
        if belongs && stage.abandoned_at {
            let touch = &self.seen[here].touch;
            // What the abandonment has told is not told again; what had passed before it came is due when it comes.
            let carried = touch.ends.filter(|_| stay.dated.is_none_or(|at| at <= touch.happened));
            stay.dated = carried.map(|_| touch.happened).or(stay.dated);
            let due = carried.filter(|date| stay.abandonment.is_none_or(|told| *date > told));
            let due = due.map(|date| if resumes { date } else { date.max(touch.log_time) });
            stay.date = due.or(stay.date);
        }
        if !stay.abandoned && is_progress {
            stay.progress.push((counts_from, None));
            stay.unmeasured = true;
        }
        if resumes {
            self.say(at, Some(here), &format!("resumption stage {}", stage.name));
        }
    }

    /// How going on from a stage to a later one is called.
    pub(super) fn onwards(&self, from: Option<usize>, to: usize) -> &'static str {
        let last = self.plan.stages.iter().rposition(|stage| !stage.ends);
        match from.map_or(0, |from| from + 1) {
            _ if Some(to) == last => "Complete",
            next if next == to => "Advance",
            _ => "Skip",
        }
    }

    pub(super) fn enter(&mut self, to: usize, how: &str, at: Seconds, cause: Option<usize>) {
        let from = self.stays.last();
        let journey = match (from, how) {
            (None, _) => 1,
            (Some(from), "ReEnter" | "Renew") => from.journey + 1,
            (Some(from), _) => from.journey,
        };
        let from = from.map_or("nowhere", |from| self.plan.stages[from.stage].name.as_str()).to_owned();
        let name = self.plan.stages[to].name.clone();
        self.stays.push(Stay {
            journey,
            stage: to,
            since: at,
            first: self.seen.len(),
            progress: Vec::new(),
            unmeasured: true,
            date: None,
            dated: None,
            abandonment: None,
            abandoned: false,
            left: (0, 0),
            told: 0,
            next: None,
        });
        let forward = matches!(how, "Advance" | "Skip" | "Complete" | "Renew");
        let decision = cause.filter(|_| forward).map_or(String::new(), |cause| self.decision(cause));
        self.say(at, cause, &format!("move {from} > {name} {how}{decision}"));
        let counts_from = cause.map_or(at, |cause| self.seen[cause].counts_from);
        let date = cause.filter(|_| self.plan.stages[to].abandoned_at).and_then(|cause| self.seen[cause].touch.ends);
        if let Some(cause) = cause {
            self.seen[cause].entered = Some(self.stays.len() - 1);
        }
        let stay = self.stays.last_mut().expect("the new one");
        stay.progress.push((counts_from, None));
        stay.date = date;
        stay.dated = date.map(|_| at);
    }

    /// For how long the present stage may be silent after the progress that just came.
    pub(super) fn arm_stage(&mut self) {
        let Some(stay) = self.stays.last().filter(|stay| !stay.abandoned && stay.unmeasured) else { return };
        let length = self.plan.stages[stay.stage].quiet.as_ref().and_then(|wait| self.length(wait, None));
        let stay = self.stays.last_mut().expect("a stage");
        stay.unmeasured = false;
        stay.progress.last_mut().expect("what entered").1 = length;
    }

    pub(super) fn stage_called(&self, name: &str) -> usize {
        self.plan.stages.iter().position(|stage| stage.name == name).expect("a stage of the plan")
    }

    /// Whether this touchpoint belongs to the stage, if only as one of several that lead into it.
    pub(super) fn counts_for(&self, stage: usize, here: usize) -> bool {
        let named = self.plan.stages[stage].enter.iter().any(|way| match way {
            Way::One(name) | Way::Count(_, name, _) => self.is(here, name),
            Way::All(names, _) => names.iter().any(|name| self.is(here, name)),
        });
        named && self.seen[here].lets_in[stage]
    }

    /// Whether this touchpoint enters the stage, one way or another.
    pub(super) fn enters(&self, stage: usize, here: usize) -> bool {
        // What led into the stage before does not lead into it again.
        let from = self.stays.iter().filter(|stay| stay.stage == stage).map(|stay| stay.first).max().unwrap_or(0);
        let counting = |name: &Name| -> Vec<usize> {
            (from..=here).filter(|&at| self.is(at, name) && self.seen[at].lets_in[stage]).collect()
        };
        self.plan.stages[stage].enter.iter().any(|way| match way {
            Way::One(name) => self.is(here, name) && self.seen[here].lets_in[stage],
            Way::Count(times, name, within) => {
                let mut all = counting(name);
                if all.last() != Some(&here) {
                    return false;
                }
                all.sort_by_key(|&at| self.seen[at].counts_from);
                all.len().checked_sub(*times).is_some_and(|first| self.are_close(&all[first..], Some(*within)))
            }
            Way::All(names, within) => {
                let latest = |name: &Name| counting(name).into_iter().max_by_key(|&at| self.seen[at].counts_from);
                let mut last: Vec<usize> = names.iter().filter_map(latest).collect();
                last.sort_by_key(|&at| self.seen[at].counts_from);
                let here_too = names.iter().any(|name| counting(name).last() == Some(&here));
                here_too && last.len() == names.len() && self.are_close(&last, Some(*within))
            }
        })
    }
}
