//! Episodes: what a touchpoint does to those of one kind.

use super::{Episode, Judge, State};
use crate::judge::plan::{Name, Scope};

impl Judge<'_> {
    /// Returns the episodes in which this is progress.
    pub(super) fn episode_step(&mut self, index: usize, here: usize) -> Vec<usize> {
        let kind = &self.plan.kinds[index];
        let touch = self.seen[here].touch.clone();
        let at = touch.happened;
        let is = |name: &Name| self.is(here, name);
        let opens = is(&kind.opens);
        let (completes, empties) = (is(&kind.completes), kind.empties.as_ref().is_some_and(is));
        let cancels = kind.cancels.as_ref().is_some_and(is);
        let id = touch.k.filter(|_| kind.by_id);
        let any = kind.progresses.is_none();
        let listed = opens || kind.progresses.iter().flatten().any(is) || (any && id.is_some());
        let pays = kind.pays.as_ref().is_some_and(|(by, _)| is(by));
        let listed = listed || pays;
        let meant = match id {
            Some(_) => self
                .episodes
                .iter()
                .rposition(|episode| episode.kind == index && episode.id == id && episode.state != State::Emptied),
            None => self.latest_open(index),
        };
        let mut stirred = Vec::new();
        if completes || empties || cancels {
            self.close(index, here, meant, completes, empties);
        } else if id.is_none_or(|id| !self.closed.contains(&(index, id))) {
            match meant.map(|number| (number, self.episodes[number].state)) {
                Some((number, State::Open)) if listed => {
                    self.belong(number, here, false);
                    if !self.is_paid(number, here, pays) {
                        stirred.push(number);
                    }
                }
                Some((number, State::Abandoned)) if listed => {
                    self.episodes[number].state = State::Open;
                    // A date that has passed is not waited for again.
                    let episode = &mut self.episodes[number];
                    episode.date = episode.date.filter(|date| *date > touch.log_time);
                    self.belong(number, here, true);
                    if !self.is_paid(number, here, pays) {
                        (self.episodes[number].told, self.episodes[number].next) = (0, None);
                        // Of an absence that ended, the latest telling is still known.
                        let before = self.episodes[number].tellings.len().saturating_sub(1);
                        self.episodes[number].tellings.drain(..before);
                        stirred.push(number);
                        let name = self.episode_name(number);
                        self.say(at, Some(here), &format!("resumption {name}"));
                    }
                }
                Some((_, State::Completed | State::Cancelled)) => {}
                Some(_) | None => {
                    let older = id.is_none() && self.bought.iter().any(|(kind, bought)| *kind == index && at < *bought);
                    if opens && !older {
                        self.episodes.push(Episode {
                            kind: index,
                            number: self.of_kind(index) + 1,
                            id,
                            opened: at,
                            state: State::Open,
                            progress: Vec::new(),
                            latest: here,
                            date: None,
                            dated: None,
                            value: None,
                            valued: None,
                            abandoned: None,
                            abandonments: 0,
                            left: (0, 0),
                            then: 0,
                            happened: Vec::new(),
                            paid: 0,
                            told: 0,
                            tellings: Vec::new(),
                            next: None,
                        });
                        let number = self.episodes.len() - 1;
                        self.belong(number, here, true);
                        if !self.is_paid(number, here, pays) {
                            stirred.push(number);
                        }
                    }
                }
            }
        }
        if any {
            // Whatever the customer does is progress in everything that is open.
            let open = |number: &usize| {
                let episode = &self.episodes[*number];
                episode.kind == index && episode.state == State::Open && !stirred.contains(number)
            };
            let others: Vec<usize> = (0..self.episodes.len()).filter(open).collect();
            stirred.extend(others);
        }
        // How long from here on is known when everything else is.
        for &number in &stirred {
            self.episodes[number].progress.push((self.seen[here].counts_from, None));
            self.episodes[number].happened.push(at);
        }
        stirred
    }

    pub(super) fn close(&mut self, index: usize, here: usize, meant: Option<usize>, completes: bool, empties: bool) {
        let kind = &self.plan.kinds[index];
        let touch = self.seen[here].touch.clone();
        let at = touch.happened;
        let known = touch.k.filter(|_| kind.by_id);
        let goes_on = meant.is_some_and(|number| matches!(self.episodes[number].state, State::Open | State::Abandoned));
        // A purchase that is told once more is none.
        if completes && (goes_on || known.is_none_or(|id| !self.closed.contains(&(index, id)))) {
            self.bought.push((index, at));
        }
        if !empties && kind.by_id {
            self.closed.extend(touch.k.map(|id| (index, id)));
        }
        let there = self.of_kind(index);
        let in_time = |episode: &super::Episode| {
            let fits = |left: super::Seconds| {
                let recovered = left <= at && at < left + kind.recovered_within && there == episode.then;
                recovered || (episode.opened <= at && at < left)
            };
            let left = episode.state == State::Abandoned && episode.abandoned.is_some_and(fits);
            episode.kind == index && left
        };
        // What is emptied or cancelled is the one left last, whatever was bought since.
        let was_left = |episode: &super::Episode| episode.kind == index && episode.state == State::Abandoned;
        // What opened after the purchase was not bought, as long as there is anything else.
        let left = |by_then: bool| {
            let is = |episode: &super::Episode| match completes {
                true => in_time(episode) && (!by_then || episode.opened <= at),
                false => was_left(episode),
            };
            self.episodes.iter().rposition(is).filter(|_| !kind.by_id)
        };
        let by_then = |number: &usize| !completes || known.is_some() || self.episodes[*number].opened <= at;
        let meant = meant.filter(by_then).or_else(|| left(true)).or(meant).or_else(|| left(false));
        let Some(number) = meant.filter(|number| matches!(self.episodes[*number].state, State::Open | State::Abandoned))
        else {
            return;
        };
        let episode = &mut self.episodes[number];
        let was = episode.state;
        let wrong = episode.take_back_after(at);
        let answers = episode
            .abandoned
            .filter(|abandoned| *abandoned <= at && at < abandoned + kind.recovered_within && there == episode.then);
        if !completes {
            episode.state = if empties { State::Emptied } else { State::Cancelled };
            return;
        }
        if was == State::Abandoned && !kind.by_id && answers.is_none() && wrong.is_empty() {
            return;
        }
        episode.state = State::Completed;
        let name = self.episode_name(number);
        for wrong in wrong {
            self.say(wrong, None, &format!("retraction {name}"));
        }
        self.say(at, Some(here), &format!("completion {name}"));
        if answers.is_some() {
            self.say(at, Some(here), &format!("recovery {name}"));
        }
    }

    /// Adds what is paid; all of it completes the episode.
    fn is_paid(&mut self, number: usize, here: usize, pays: bool) -> bool {
        let touch = self.seen[here].touch.clone();
        let kind = &self.plan.kinds[self.episodes[number].kind];
        let Some((_, all)) = &kind.pays else { return false };
        let there = self.of_kind(self.episodes[number].kind);
        let episode = &mut self.episodes[number];
        if pays {
            episode.paid += touch.value.unwrap_or_default();
        }
        if all.or(episode.value).is_none_or(|all| episode.paid < all) {
            return false;
        }
        episode.state = State::Completed;
        // It was paid when all of it was.
        let paid = episode.happened.iter().copied().fold(touch.happened, i64::max);
        let wrong = episode.take_back_after(paid);
        let left = episode.abandoned;
        let answers = left.filter(|left| *left <= paid && paid < left + kind.recovered_within && there == episode.then);
        let index = episode.kind;
        self.bought.push((index, touch.happened));
        let ids = [episode.id, touch.k.filter(|_| kind.by_id)];
        self.closed.extend(ids.into_iter().flatten().map(|id| (index, id)));
        let name = self.episode_name(number);
        for wrong in wrong {
            self.say(wrong, None, &format!("retraction {name}"));
        }
        self.say(touch.happened, Some(here), &format!("completion {name}"));
        if answers.is_some() {
            self.say(touch.happened, Some(here), &format!("recovery {name}"));
        }
        true
    }

    /// `anew`: it opens or takes up the episode.
    pub(super) fn belong(&mut self, number: usize, here: usize, anew: bool) {
        let touch = &self.seen[here].touch;
        let episode = &mut self.episodes[number];
        episode.latest = here;
        // The latest is what happened last, whatever arrives last.
        if touch.value.is_some() && episode.valued.is_none_or(|at| at <= touch.happened) {
            (episode.value, episode.valued) = (touch.value, Some(touch.happened));
        }
        if self.plan.kinds[episode.kind].abandoned_at {
            // What the abandonment has told is not told again; what had passed before it came is due when it comes.
            let carried = touch.ends.filter(|_| episode.dated.is_none_or(|at| at <= touch.happened));
            episode.dated = carried.map(|_| touch.happened).or(episode.dated);
            let due = carried.filter(|date| episode.abandoned.is_none_or(|told| *date > told));
            episode.date = due.map(|date| if anew { date } else { date.max(touch.log_time) }).or(episode.date);
        }
    }

    /// The open episode that a touchpoint is about: that of its id, or the one that progressed last.
    pub(super) fn concerned(&self, index: usize, here: usize) -> Option<usize> {
        let kind = &self.plan.kinds[index];
        let Some(id) = self.seen[here].touch.k.filter(|_| kind.by_id) else { return self.latest_open(index) };
        let named = |episode: &Episode| episode.kind == index && episode.id == Some(id) && episode.state == State::Open;
        self.episodes.iter().rposition(named)
    }

    /// Whether an episode names it, or it is trouble in one; all episodes here have a worth.
    pub(super) fn is_buying(&self, here: usize) -> bool {
        let is = |name: &Name| self.is(here, name);
        let of_kind = self.plan.kinds.iter().any(|kind| {
            let others = [&kind.empties, &kind.cancels];
            is(&kind.opens)
                || is(&kind.completes)
                || kind.progresses.iter().flatten().any(is)
                || kind.pays.as_ref().is_some_and(|(by, _)| is(by))
                || others.into_iter().flatten().any(is)
        });
        of_kind
            || self
                .plan
                .rules
                .iter()
                .enumerate()
                .any(|(at, rule)| matches!(rule.scope, Scope::Episode(_)) && self.is_trouble(at, here))
    }

    /// What came last before a purchase and was no part of buying.
    pub(super) fn decision(&self, cause: usize) -> String {
        let purchase = self.plan.kinds.iter().any(|kind| self.is(cause, &kind.completes));
        let last = self.seen[..cause].iter().enumerate().rfind(|(_, seen)| !seen.buying);
        let Some((at, decided)) = last.filter(|_| purchase) else { return String::new() };
        let stage = decided.after.map_or("nowhere", |stage| &self.plan.stages[stage].name);
        let before = (self.seen[cause].touch.happened - decided.touch.happened).max(0);
        format!(" decided by t{at} in {stage} {before}s before")
    }

    /// How many there have been of a kind.
    pub(super) fn of_kind(&self, index: usize) -> usize {
        self.episodes.iter().filter(|episode| episode.kind == index).count()
    }

    pub(super) fn kind_called(&self, name: &str) -> usize {
        self.plan.kinds.iter().position(|kind| kind.name == name).expect("a kind of the plan")
    }

    pub(super) fn latest_open(&self, kind: usize) -> Option<usize> {
        let fits = |episode: &Episode| episode.kind == kind && episode.state == State::Open;
        let open = self.episodes.iter().enumerate().filter(|(_, episode)| fits(episode));
        open.max_by_key(|(_, episode)| episode.latest).map(|(number, _)| number)
    }

    pub(super) fn episode_name(&self, number: usize) -> String {
        let episode = &self.episodes[number];
        format!("{}#{}", self.plan.kinds[episode.kind].name, episode.number)
    }
}

impl Episode {
    /// Bought in time, told late: what was told of its absence after that never was; the latest first.
    fn take_back_after(&mut self, bought: super::Seconds) -> Vec<super::Seconds> {
        if self.opened > bought || self.abandoned.is_none_or(|left| left <= bought) {
            return Vec::new();
        }
        let wrong: Vec<super::Seconds> = self.tellings.iter().rev().copied().filter(|told| *told > bought).collect();
        self.abandoned = self.tellings.iter().copied().rfind(|told| *told <= bought);
        wrong
    }
}
