//! What a picture says, in words: types by what they do, waits, signs of friction.

use std::collections::BTreeSet;

use crate::expression::Expression;
use crate::model::{Friction, Model, RuleIndex, Scope, SegmentIndex, Sign, StageIndex, Threshold, TypeRoles, Wait};
use crate::time::Span;

/// More types than this are counted, not named.
const MOST_TYPES: usize = 5;
/// The cool-down that applies where none is written; not worth a word.
const COOL_DOWN: Span = Span::from_secs(3_600);

/// The model's words.
pub(in crate::model) struct Words<'a> {
    model: &'a Model,
    types: Vec<(&'a str, &'a [Expression], &'a [TypeRoles])>,
}

impl<'a> Words<'a> {
    pub(in crate::model) fn of(model: &'a Model) -> Self {
        let meanings = |kind: &'a str| model.types.meanings(kind).map(|(conditions, roles)| (kind, conditions, roles));
        Words { model, types: model.types.named().into_iter().filter_map(meanings).collect() }
    }

    /// The types that do something, under which conditions: `cart.added, survey.answered if touchpoint.nps >= 9`.
    pub(in crate::model) fn types(&self, does: impl Fn(&TypeRoles) -> bool) -> String {
        if does(self.model.types.other()) {
            return "any other".to_owned();
        }
        let mut named = Vec::new();
        for (kind, conditions, roles) in &self.types {
            if roles.first().is_some_and(&does) {
                named.push((*kind).to_owned());
                continue;
            }
            // One condition alone mostly does; where several must hold together, they are told as a whole.
            let alone = conditions.iter().enumerate().filter(|(bit, _)| roles.get(1 << bit).is_some_and(&does));
            let alone: Vec<&str> = alone.map(|(_, condition)| condition.source()).collect();
            if !alone.is_empty() {
                named.push(format!("{kind} if {}", alone.join(" or ")));
            } else if roles.iter().any(&does) {
                let all: Vec<&str> = conditions.iter().map(Expression::source).collect();
                named.push(format!("{kind} if {}", all.join(" and ")));
            }
        }
        if named.is_empty() {
            return "nothing".to_owned();
        }
        let more = named.len().saturating_sub(MOST_TYPES);
        // One more name is as short as saying that there is one more.
        let shown = if more > 1 { &named[..MOST_TYPES] } else { &named };
        format!("{}{}", shown.join(", "), if more > 1 { format!(" and {more} more") } else { String::new() })
    }

    /// Every stage that some type leads to.
    pub(in crate::model) fn targets(&self, target: &dyn Fn(&TypeRoles) -> Option<StageIndex>) -> BTreeSet<StageIndex> {
        let named = self.types.iter().flat_map(|(_, _, roles)| roles.iter());
        named.chain([self.model.types.other()]).filter_map(target).collect()
    }

    pub(in crate::model) fn rule(&self, rule: RuleIndex) -> &'a str {
        self.model.friction.get(usize::from(rule)).map_or("", |rule| &rule.name)
    }

    fn segment(&self, segment: usize) -> &'a str {
        self.model.segments.get(segment).map_or("", |segment| &segment.name)
    }

    /// `7d`, `loyal 3d, everyone 7d`, or the condition language's line.
    pub(in crate::model) fn wait(&self, wait: &Wait) -> String {
        match wait {
            Wait::Fixed(span) => span.to_string(),
            Wait::Computed(expression) => expression.source().to_owned(),
            Wait::BySegment(waits) => self.by_segment(waits, |wait| self.wait(wait)),
        }
    }

    fn by_segment<T>(&self, values: &[Option<T>], word: impl Fn(&T) -> String) -> String {
        let one = |(at, value): (usize, &Option<T>)| {
            format!("{} {}", self.segment(at), value.as_ref().map_or_else(|| "never".to_owned(), &word))
        };
        values.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Where a rule gathers its evidence, what it is, and for whom.
    pub(in crate::model) fn friction(&self, index: usize, rule: &Friction) -> Vec<String> {
        let part = |part: u32| {
            let is = move |evidence: &crate::model::Evidence| {
                usize::from(evidence.rule) == index && evidence.parts & (1 << part) != 0
            };
            self.types(move |roles| roles.friction.iter().any(is))
        };
        let in_time = |within: &Option<Span>| within.map_or_else(String::new, |span| format!(" within {span}"));
        let sign = match &rule.sign {
            Sign::Count { times: 1, .. } => part(0),
            Sign::Count { times, within } => format!("{times} × {}{}", part(0), in_time(within)),
            Sign::Pattern { parts, within } => {
                let parts: Vec<String> = (0..u32::from(*parts)).map(part).collect();
                format!("{}{}", parts.join(" → "), in_time(within))
            }
            Sign::Missing { within, by } => {
                let by = by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
                format!("{}, then no {} within {}{by}", part(0), part(1), self.wait(within))
            }
            Sign::Score { threshold, weights, within } => {
                let weights: Vec<String> =
                    weights.iter().map(|(rule, weight)| format!("{} {weight}", self.rule(*rule))).collect();
                format!("score {} from {}{}", self.threshold(threshold), weights.join(", "), in_time(within))
            }
        };
        let mut lines = vec![format!("in {}: {sign}", self.scope(rule.scope))];
        if !rule.segments.is_empty() {
            let segments: Vec<&str> = rule.segments.iter().map(|at: &SegmentIndex| self.segment((*at).into())).collect();
            lines.push(format!("for {}", segments.join(", ")));
        }
        if rule.evidence_only {
            lines.push("counts for scores only".to_owned());
        } else if rule.cool_down != COOL_DOWN {
            lines.push(format!("again after {} at the earliest", rule.cool_down));
        }
        lines
    }

    fn threshold(&self, threshold: &Threshold) -> String {
        match threshold {
            Threshold::Fixed(score) => score.to_string(),
            Threshold::BySegment(scores) => self.by_segment(scores, u32::to_string),
        }
    }

    fn scope(&self, scope: Scope) -> &'a str {
        match scope {
            Scope::Episode(index) => self.model.episodes.get(usize::from(index)).map_or("", |kind| &kind.name),
            Scope::Session => "session",
            Scope::Stage => "stage",
            Scope::Journey => "journey",
        }
    }
}
