//! Friction: evidence looked up anew among all touchpoints whenever one comes, and scores weighed the same way.

use super::facts::by_segment;
use super::{COOL_DOWN, Fired, Judge, Place, State};
use crate::judge::plan::{Name, Scope, Seconds, Sign};

impl Judge<'_> {
    pub(super) fn place(&self, rule: usize, here: usize) -> Option<Place> {
        let seen = &self.seen[here];
        match &self.plan.rules[rule].scope {
            Scope::Episode(kind) => seen.episodes[self.kind_called(kind)].map(Place::Episode),
            Scope::Session => seen.touch.session.map(Place::Session),
            // What is waited for is waited for in the stage that it led to.
            Scope::Stage => {
                self.stay_of(rule, here).filter(|stay| !self.plan.stages[self.stays[*stay].stage].ends).map(Place::Stay)
            }
            Scope::Journey => Some(Place::Journey(seen.journey)),
        }
    }

    /// Whether the touchpoint is evidence of a rule, one way or another.
    pub(super) fn names(&self, rule: usize, here: usize) -> bool {
        match &self.plan.rules[rule].sign {
            Sign::Count(_, of, _) => self.is(here, of),
            Sign::Pattern(parts, _) => parts.iter().any(|part| self.is(here, part)),
            Sign::Missing { after, .. } => {
                self.is(here, after) || self.answers(rule).0.iter().any(|name| self.is(here, name))
            }
            Sign::Dwells { .. } => self.answers(rule).0.iter().any(|name| self.is(here, name)),
            Sign::Score { .. } => false,
        }
    }

    /// Whether it is what the rule finds trouble in: what answers a question, or ends a dwelling, is not.
    pub(super) fn is_trouble(&self, rule: usize, here: usize) -> bool {
        match &self.plan.rules[rule].sign {
            Sign::Missing { after, .. } => self.is(here, after),
            Sign::Dwells { on, .. } => self.is(here, on),
            Sign::Count(..) | Sign::Pattern(..) | Sign::Score { .. } => self.names(rule, here),
        }
    }

    fn stay_of(&self, rule: usize, here: usize) -> Option<usize> {
        let seen = &self.seen[here];
        match &self.plan.rules[rule].sign {
            Sign::Missing { .. } | Sign::Dwells { .. } => seen.entered.or(seen.stay),
            Sign::Count(..) | Sign::Pattern(..) | Sign::Score { .. } => seen.stay,
        }
    }

    pub(super) fn ask_where_entered(&mut self, here: usize) {
        if self.seen[here].entered.is_none() {
            return;
        }
        for rule in 0..self.plan.rules.len() {
            if self.plan.rules[rule].scope == Scope::Stage
                && self.applies(rule, &self.segment)
                && self.place(rule, here).is_some()
            {
                self.ask(rule, here, None);
            }
        }
    }

    /// If this asks something that the rule waits for, it is awaited from now on.
    fn ask(&mut self, rule: usize, here: usize, own: Option<usize>) {
        let length = match &self.plan.rules[rule].sign {
            Sign::Missing { after, within, .. } if self.is(here, after) => self.length(within, own),
            Sign::Dwells { on, length, .. } if self.is(here, on) => Some(*length),
            Sign::Missing { .. } | Sign::Dwells { .. } | Sign::Count(..) | Sign::Pattern(..) | Sign::Score { .. } => return,
        };
        let cools = |place| self.is_cooling(rule, place, self.seen[here].touch.happened);
        if self.place(rule, here).is_some_and(cools) {
            return;
        }
        self.awaited.retain(|(known, question, _)| (*known, *question) != (rule, here));
        self.awaited.push((rule, here, length));
    }

    pub(super) fn is_alive(&self, place: Place) -> bool {
        match place {
            Place::Episode(number) => self.episodes[number].state == State::Open,
            Place::Session(_) => true,
            Place::Stay(stay) => stay + 1 == self.stays.len(),
            Place::Journey(journey) => journey == self.journey(),
        }
    }

    pub(super) fn applies(&self, rule: usize, segment: &Option<Name>) -> bool {
        let segments = &self.plan.rules[rule].segments;
        segments.is_empty() || segment.as_ref().is_some_and(|segment| segments.contains(segment))
    }

    /// The rules that published something.
    pub(super) fn friction_step(&mut self, here: usize) -> Vec<usize> {
        let mut published = Vec::new();
        for rule in 0..self.plan.rules.len() {
            let Some(place) = self.place(rule, here).filter(|place| self.is_alive(*place)) else { continue };
            if !self.applies(rule, &self.seen[here].segment) {
                continue;
            }
            let evidence = match &self.plan.rules[rule].sign {
                Sign::Count(times, of, within) => self.counted(rule, place, here, *times, of, *within),
                Sign::Pattern(parts, within) => self.repeated(rule, place, here, parts, *within),
                Sign::Missing { .. } | Sign::Dwells { .. } => {
                    let own = if let Place::Episode(number) = place { Some(number) } else { None };
                    self.ask(rule, here, own);
                    None
                }
                Sign::Score { .. } => None,
            };
            if let Some(evidence) = evidence {
                let at = self.seen[here].touch.happened;
                published.extend(self.fire(rule, place, at, evidence, Some(here)));
            }
        }
        published
    }

    /// The touchpoints of a place since its rule fired last and had cooled down, as far as it applied to the customer; who
    /// left in between begins anew.
    pub(super) fn gathered(&self, rule: usize, place: Place) -> Vec<usize> {
        let last = self.fired.iter().rfind(|fired| fired.rule == rule && fired.place == place);
        let from = last.map_or(0, |fired| fired.seen).max(self.left(place).0);
        let fits = |at: &usize| self.place(rule, *at) == Some(place) && self.applies(rule, &self.seen[*at].segment);
        let cool = |at: &usize| !self.is_cooling(rule, place, self.seen[*at].touch.happened);
        (from..self.seen.len()).filter(fits).filter(cool).collect()
    }

    /// How many touchpoints there were when the place was abandoned last, and how often a rule had fired.
    pub(super) fn left(&self, place: Place) -> (usize, usize) {
        match place {
            Place::Episode(number) => self.episodes[number].left,
            Place::Stay(stay) => self.stays[stay].left,
            Place::Session(_) | Place::Journey(_) => (0, 0),
        }
    }

    /// Only what was published cools down.
    pub(super) fn is_cooling(&self, rule: usize, place: Place, at: Seconds) -> bool {
        let here = &self.plan.rules[rule];
        let cool_down = here.cool_down.unwrap_or(COOL_DOWN);
        let mine = |fired: &&Fired| fired.rule == rule && fired.place == place;
        !here.evidence_only && self.fired.iter().filter(mine).any(|fired| at < fired.at + cool_down)
    }

    /// The latest of a kind, if they are so many and close enough.
    pub(super) fn counted(
        &self,
        rule: usize,
        place: Place,
        here: usize,
        times: usize,
        of: &str,
        within: Option<Seconds>,
    ) -> Option<Vec<usize>> {
        let mut all: Vec<usize> = self.gathered(rule, place).into_iter().filter(|&at| self.is(at, of)).collect();
        if all.last() != Some(&here) {
            return None;
        }
        all.sort_by_key(|&at| self.seen[at].counts_from);
        let last = all[all.len().checked_sub(times)?..].to_vec();
        self.are_close(&last, within).then_some(last)
    }

    pub(super) fn repeated(
        &self,
        rule: usize,
        place: Place,
        here: usize,
        parts: &[Name],
        within: Option<Seconds>,
    ) -> Option<Vec<usize>> {
        let mut all = self.gathered(rule, place);
        all.retain(|&at| parts.iter().any(|part| self.is(at, part)));
        if all.last() != Some(&here) {
            return None;
        }
        let last = all[all.len().checked_sub(parts.len())?..].to_vec();
        let fits = last.iter().zip(parts).all(|(&at, part)| self.is(at, part));
        (fits && self.are_close(&last, within)).then_some(last)
    }

    /// Whether the last came soon enough after the first.
    pub(super) fn are_close(&self, all: &[usize], within: Option<Seconds>) -> bool {
        let (Some(&first), Some(&last)) = (all.first(), all.last()) else { return false };
        within.is_none_or(|within| self.seen[last].counts_from < self.seen[first].counts_from + within)
    }

    /// A rule's threshold is reached; the rules that published something.
    pub(super) fn fire(
        &mut self,
        rule: usize,
        place: Place,
        at: Seconds,
        evidence: Vec<usize>,
        cause: Option<usize>,
    ) -> Vec<usize> {
        if self.is_cooling(rule, place, at) {
            return Vec::new();
        }
        let here = &self.plan.rules[rule];
        let mut published = Vec::new();
        if !here.evidence_only {
            self.say_friction(rule, place, at, &evidence, None, cause);
            published.push(rule);
        }
        let mut weighed_in = Vec::new();
        for (score, other) in self.plan.rules.iter().enumerate() {
            if let Sign::Score { at: least, from, .. } = &other.sign
                && from.iter().any(|(name, _)| *name == here.name)
                && self.applies(score, &self.segment)
                && self.threshold(least).is_some()
                && let Some(place) = self.place_of_score(score, rule, place, cause)
                && !self.is_cooling(score, place, at)
            {
                weighed_in.push((score, place));
            }
        }
        self.fired.push(Fired { rule, place, at, evidence, seen: self.seen.len(), weighed_in: weighed_in.clone() });
        for (score, place) in weighed_in {
            published.extend(self.weigh(score, place, at, cause));
        }
        published
    }

    /// A score gathers where its rules do, if it is about the same kind of thing; else where the touchpoint belongs.
    pub(super) fn place_of_score(&self, score: usize, rule: usize, place: Place, cause: Option<usize>) -> Option<Place> {
        let scope = &self.plan.rules[score].scope;
        if *scope == self.plan.rules[rule].scope {
            return Some(place);
        }
        match (cause, scope) {
            (Some(cause), _) => self.place(score, cause).filter(|place| self.is_alive(*place)),
            (None, Scope::Stage) => self.stays.len().checked_sub(1).map(Place::Stay),
            (None, Scope::Journey) => Some(Place::Journey(self.journey())),
            (None, Scope::Episode(_) | Scope::Session) => None,
        }
    }

    pub(super) fn weigh(&mut self, score: usize, place: Place, at: Seconds, cause: Option<usize>) -> Option<usize> {
        let here = &self.plan.rules[score];
        let Sign::Score { at: least, from, within } = &here.sign else { return None };
        let since =
            self.fired.iter().rposition(|fired| fired.rule == score && fired.place == place).map_or(0, |last| last + 1);
        let (mut sum, mut evidence, mut rules) = (0, Vec::new(), Vec::new());
        let mut weighed: Vec<&Fired> = Vec::new();
        for fired in &self.fired[since.max(self.left(place).1)..] {
            if fired.weighed_in.contains(&(score, place)) {
                weighed.push(fired);
                // What was too old once stays so, though a late touchpoint come.
                weighed.retain(|earlier| within.is_none_or(|within| fired.at < earlier.at + within));
            }
        }
        for fired in weighed {
            let name = &self.plan.rules[fired.rule].name;
            let (_, weight) = from.iter().find(|(source, _)| source == name)?;
            sum += weight;
            evidence.extend(fired.evidence.iter().copied());
            if !rules.contains(&fired.rule) {
                rules.push(fired.rule);
            }
        }
        if sum < self.threshold(least)? {
            return None;
        }
        evidence.sort_by_key(|&at| (self.seen[at].counts_from, at));
        evidence.dedup();
        let rules: Vec<&str> = rules.iter().map(|&rule| self.plan.rules[rule].name.as_str()).collect();
        let score_says = format!("{sum} from {}", rules.join("+"));
        let silent = here.evidence_only;
        if !silent {
            self.say_friction(score, place, at, &evidence, Some(score_says), cause);
        }
        self.fired.push(Fired { rule: score, place, at, evidence, seen: self.seen.len(), weighed_in: Vec::new() });
        (!silent).then_some(score)
    }

    pub(super) fn threshold(&self, least: &[(Option<Name>, u32)]) -> Option<u32> {
        match least {
            [(None, least)] => Some(*least),
            by => {
                let by: Vec<(Name, u32)> = by.iter().filter_map(|(name, least)| Some((name.clone()?, *least))).collect();
                by_segment(&by, self.segment.as_ref()?)
            }
        }
    }

    pub(super) fn say_friction(
        &mut self,
        rule: usize,
        place: Place,
        at: Seconds,
        evidence: &[usize],
        score: Option<String>,
        cause: Option<usize>,
    ) {
        let place = match place {
            Place::Episode(number) => self.episode_name(number),
            Place::Session(session) => format!("session {session}"),
            Place::Stay(stay) => format!("stage {}", self.plan.stages[self.stays[stay].stage].name),
            Place::Journey(_) => "journey".to_owned(),
        };
        let evidence: Vec<String> = evidence.iter().map(|at| format!("t{at}")).collect();
        let score = score.map_or(String::new(), |score| format!(" score {score}"));
        let name = &self.plan.rules[rule].name;
        self.say(at, cause, &format!("friction {name} in {place} of {}{score}", evidence.join(",")));
    }

    pub(super) fn leads_back(&self, rule: usize) -> Option<usize> {
        let stay = self.stays.last()?;
        let (to, by) = self.plan.stages[stay.stage].back.as_ref()?;
        let name = format!("friction.{}", self.plan.rules[rule].name);
        by.contains(&name).then(|| self.stage_called(to))
    }

    pub(super) fn is_unanswered(&self, rule: usize, question: usize) -> bool {
        if self.decided.contains(&(rule, question)) {
            return false;
        }
        let Some(place) = self.place(rule, question).filter(|place| self.is_alive(*place)) else { return false };
        if question < self.left(place).0 {
            return false;
        }
        let (answers, by) = self.answers(rule);
        let answered = (question + 1..self.seen.len()).any(|later| {
            let answer = &self.seen[later];
            let asked = self.seen[question].touch.question;
            let same = !by || answer.touch.question.is_none_or(|answered| asked == Some(answered));
            self.place(rule, later) == Some(place) && answers.iter().any(|name| answer.names.contains(name)) && same
        });
        !answered
    }

    /// What answers, and whether by the question's id.
    pub(super) fn answers(&self, rule: usize) -> (Vec<Name>, bool) {
        let rule = &self.plan.rules[rule];
        match &rule.sign {
            Sign::Missing { answer, by, .. } => (vec![answer.clone()], *by),
            // The next step begins another wait.
            Sign::Dwells { on, until: Some(until), .. } => (vec![on.clone(), until.clone()], false),
            Sign::Dwells { on, until: None, .. } => {
                let Scope::Episode(kind) = &rule.scope else { return (vec![on.clone()], false) };
                let kind = &self.plan.kinds[self.kind_called(kind)];
                let mut names = vec![on.clone(), kind.opens.clone(), kind.completes.clone()];
                names.extend(kind.progresses.iter().flatten().cloned());
                names.extend(kind.pays.iter().map(|(by, _)| by.clone()));
                names.extend(kind.empties.clone());
                names.extend(kind.cancels.clone());
                (names, false)
            }
            Sign::Count(..) | Sign::Pattern(..) | Sign::Score { .. } => (Vec::new(), false),
        }
    }
}
