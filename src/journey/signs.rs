//! The evidence of friction that one episode, session, stage or journey has gathered, by rule (rule 15).
//!
//! Bounded: what is kept per rule is what its sign can still use, and questions wait in a short line.

use std::collections::VecDeque;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::TouchpointId;
use crate::model::{MAX_ADDED, RuleIndex};
use crate::time::{Span, Timestamp};

/// At most so many questions of one rule wait for their answers in one place; further ones are not waited for.
pub(super) const MAX_QUESTIONS: usize = 16;
/// At most so many touchpoints are listed as evidence of one friction outcome; the latest stay.
pub(super) const MAX_EVIDENCE: usize = 32;

/// The evidence gathered in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signs(pub(super) Vec<Gathered>);

/// The evidence gathered for one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gathered {
    pub(super) rule: RuleIndex,
    /// Touchpoints that a count or a pattern can still use.
    pub(super) seen: VecDeque<Seen>,
    /// What waits for an answer, in the order it was asked.
    pub(super) questions: Vec<Question>,
    /// What was added to a score, in the order it came.
    pub(super) added: VecDeque<Added>,
    /// No outcome of the rule before this instant.
    pub(super) cooled_at: Timestamp,
}

/// A touchpoint that is evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) id: TouchpointId,
    /// The instant that windows count from.
    pub(super) at: Timestamp,
    /// Which parts of the sign it can be, as bits.
    pub(super) parts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) id: TouchpointId,
    pub(super) at: Timestamp,
    /// What names it, where the rule says by which property.
    pub(super) key: Option<CompactString>,
    pub(super) deadline: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Added {
    pub(super) rule: RuleIndex,
    pub(super) weight: u32,
    pub(super) at: Timestamp,
    pub(super) evidence: Vec<Seen>,
}

/// A score that was reached.
pub(super) struct Reached {
    pub(super) score: u32,
    pub(super) rules: Vec<RuleIndex>,
    pub(super) evidence: Vec<Seen>,
}

impl Signs {
    /// Whether nothing was ever gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&mut self, rule: RuleIndex) -> &mut Gathered {
        let place = match self.0.iter().position(|gathered| gathered.rule == rule) {
            Some(place) => place,
            None => {
                self.0.push(Gathered {
                    rule,
                    seen: VecDeque::new(),
                    questions: Vec::new(),
                    added: VecDeque::new(),
                    cooled_at: Timestamp::MIN,
                });
                self.0.len() - 1
            }
        };
        &mut self.0[place]
    }

    /// Whether the rule says nothing for now. Evidence that comes meanwhile does not count.
    pub(super) fn is_cooling(&self, rule: RuleIndex, now: Timestamp) -> bool {
        self.0.iter().any(|gathered| gathered.rule == rule && now < gathered.cooled_at)
    }

    /// An outcome of the rule came at `now`.
    pub(super) fn cool(&mut self, rule: RuleIndex, now: Timestamp, cool_down: Span) {
        self.of(rule).cooled_at = now + cool_down;
    }

    /// Who has left is not stuck any more: what was gathered is forgotten. What cools down goes on cooling.
    pub(super) fn forget_evidence(&mut self) {
        self.0.retain(|gathered| gathered.cooled_at > Timestamp::MIN);
        for gathered in &mut self.0 {
            gathered.seen.clear();
            gathered.questions.clear();
            gathered.added.clear();
        }
    }

    /// As gathered for other rules: `rule` says which one it is now, and whether what was gathered is still evidence for it.
    /// What cools down goes on cooling.
    pub(super) fn brought_over(self, rule: impl Fn(RuleIndex) -> Option<(RuleIndex, bool)>) -> Self {
        let gathered = |mut gathered: Gathered| {
            let (now, keeps_evidence) = rule(gathered.rule)?;
            if !keeps_evidence {
                gathered.seen.clear();
                gathered.questions.clear();
                gathered.added.clear();
            }
            let added = gathered.added.into_iter();
            let added = added.filter_map(|added| Some(Added { rule: rule(added.rule)?.0, ..added })).collect();
            (keeps_evidence || gathered.cooled_at > Timestamp::MIN).then_some(Gathered { rule: now, added, ..gathered })
        };
        Signs(self.0.into_iter().filter_map(gathered).collect())
    }

    /// A touchpoint of a count came; the evidence, if that is enough.
    pub(super) fn count(&mut self, rule: RuleIndex, seen: Seen, times: u8, within: Option<Span>) -> Option<Vec<Seen>> {
        let times = usize::from(times);
        if times == 1 {
            return Some(vec![seen]);
        }
        let kept = &mut self.of(rule).seen;
        let place = kept.iter().rposition(|other| other.at <= seen.at).map_or(0, |place| place + 1);
        kept.insert(place, seen);
        while kept.len() > times {
            kept.pop_front();
        }
        enough(kept, times, within)
    }

    /// A touchpoint of a pattern came; the evidence, if the latest touchpoints are the pattern.
    pub(super) fn follow(&mut self, rule: RuleIndex, seen: Seen, parts: u8, within: Option<Span>) -> Option<Vec<Seen>> {
        let parts = usize::from(parts);
        let kept = &mut self.of(rule).seen;
        kept.push_back(seen);
        while kept.len() > parts {
            kept.pop_front();
        }
        let fits = kept.len() == parts && kept.iter().enumerate().all(|(part, seen)| seen.parts & (1 << part) != 0);
        if fits { enough(kept, parts, within) } else { None }
    }

    /// Something was asked that must be answered before `deadline`.
    pub(super) fn ask(&mut self, rule: RuleIndex, seen: Seen, key: Option<CompactString>, deadline: Timestamp) {
        let questions = &mut self.of(rule).questions;
        if questions.len() < MAX_QUESTIONS {
            questions.push(Question { id: seen.id, at: seen.at, key, deadline });
        }
    }

    /// An answer came: to the question of that key, or to all where it names none.
    pub(super) fn answer(&mut self, rule: RuleIndex, key: Option<&CompactString>) {
        if let Some(gathered) = self.0.iter_mut().find(|gathered| gathered.rule == rule) {
            gathered.questions.retain(|question| key.is_some() && question.key.as_ref() != key);
        }
    }

    /// Takes the first question of the rule that was due at `deadline`.
    pub(super) fn overdue(&mut self, rule: RuleIndex, deadline: Timestamp) -> Option<Seen> {
        let gathered = self.0.iter_mut().find(|gathered| gathered.rule == rule)?;
        let place = gathered.questions.iter().position(|question| question.deadline == deadline)?;
        let question = gathered.questions.remove(place);
        Some(Seen { id: question.id, at: question.at, parts: 1 })
    }

    /// Another rule's outcome adds to a score; what was gathered, if that is enough.
    pub(super) fn add(
        &mut self,
        score: RuleIndex,
        (rule, weight): (RuleIndex, u32),
        evidence: &[Seen],
        at: Timestamp,
        (threshold, within): (u32, Option<Span>),
    ) -> Option<Reached> {
        let added = &mut self.of(score).added;
        added.push_back(Added { rule, weight, at, evidence: evidence.to_vec() });
        if let Some(within) = within {
            added.retain(|added| at < added.at + within);
        }
        if added.len() > MAX_ADDED {
            added.pop_front();
        }
        // No more is told than so much evidence: what is older keeps its weight, not its ids.
        let mut kept = 0;
        for added in added.iter_mut().rev() {
            kept += added.evidence.len();
            if kept > MAX_EVIDENCE {
                added.evidence.clear();
            }
        }
        let sum = added.iter().fold(0_u32, |sum, added| sum.saturating_add(added.weight));
        if sum < threshold {
            return None;
        }
        let mut reached = Reached { score: sum, rules: Vec::new(), evidence: Vec::new() };
        for added in added.drain(..) {
            if !reached.rules.contains(&added.rule) {
                reached.rules.push(added.rule);
            }
            for seen in added.evidence {
                if !reached.evidence.iter().any(|known| known.id == seen.id) {
                    reached.evidence.push(seen);
                }
            }
        }
        reached.evidence.sort_by_key(|seen| seen.at);
        let surplus = reached.evidence.len().saturating_sub(MAX_EVIDENCE);
        reached.evidence.drain(..surplus);
        Some(reached)
    }

    /// Another identity of the same customer has gathered evidence too.
    pub(super) fn unite(&mut self, theirs: Signs) {
        for other in theirs.0 {
            let mine = self.of(other.rule);
            mine.seen.extend(other.seen);
            mine.seen.make_contiguous().sort_by_key(|seen| seen.at);
            mine.questions.extend(other.questions);
            mine.questions.sort_by_key(|question| question.at);
            mine.questions.truncate(MAX_QUESTIONS);
            mine.added.extend(other.added);
            mine.added.make_contiguous().sort_by_key(|added| added.at);
            mine.added.drain(..mine.added.len().saturating_sub(MAX_ADDED));
            mine.cooled_at = mine.cooled_at.max(other.cooled_at);
        }
    }

    /// Shows every touchpoint that the evidence refers to.
    pub(super) fn each_reference(&mut self, work: &mut impl FnMut(&mut TouchpointId)) {
        for gathered in &mut self.0 {
            gathered.seen.iter_mut().for_each(|seen| work(&mut seen.id));
            gathered.questions.iter_mut().for_each(|question| work(&mut question.id));
            gathered.added.iter_mut().flat_map(|added| &mut added.evidence).for_each(|seen| work(&mut seen.id));
        }
    }

    /// The earliest instant at which an answer is missing; [`Timestamp::MAX`] when none is waited for.
    pub(super) fn next_deadline(&self) -> Timestamp {
        let questions = self.0.iter().flat_map(|gathered| &gathered.questions);
        questions.map(|question| question.deadline).min().unwrap_or(Timestamp::MAX)
    }

    /// The rules that miss an answer exactly at `deadline`, once for each question.
    pub(super) fn due(&self, deadline: Timestamp) -> impl Iterator<Item = RuleIndex> {
        self.0.iter().flat_map(move |gathered| {
            let due = gathered.questions.iter().filter(move |question| question.deadline == deadline);
            due.map(|_| gathered.rule)
        })
    }
}

/// Takes the evidence out, if there is enough within the window.
fn enough(kept: &mut VecDeque<Seen>, needed: usize, within: Option<Span>) -> Option<Vec<Seen>> {
    let (Some(first), Some(last)) = (kept.front(), kept.back()) else { return None };
    let close = within.is_none_or(|within| last.at < first.at + within);
    (kept.len() >= needed && close).then(|| kept.drain(..).collect())
}
