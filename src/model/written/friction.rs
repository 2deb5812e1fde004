//! A friction rule as it is written.

use super::{Name, Wait, duration, listed_names, read_times, text, times};
use crate::diagnostic::{Faults, Place, Spanned, listed, quoted};
use crate::time::Span;
use crate::yaml::{Entry, Reader, Value};

/// How long the same friction is not told again, unless the model says otherwise.
const COOL_DOWN: Span = Span::from_secs(3600);
/// The largest weight and threshold of a score.
const MOST_WEIGHT: u64 = 1_000_000;
/// The most parts of a pattern.
const MOST_PARTS: usize = 8;

/// A friction rule.
#[derive(Debug)]
pub struct Friction {
    /// The name.
    pub name: Name,
    /// In what its evidence is gathered (`in:`).
    pub scope: Option<Name>,
    /// What counts as evidence; `None` where it could not be read.
    pub sign: Option<Sign>,
    /// So long after an outcome there is no other.
    pub cool_down: Span,
    /// Publishes nothing, and where that is written.
    pub evidence_only: Option<Place>,
    /// The segments it applies to; empty: everyone.
    pub segments: Vec<Name>,
}

/// What counts as evidence.
#[derive(Debug)]
pub enum Sign {
    /// So many touchpoints.
    Count {
        /// How many.
        times: u8,
        /// Of which types and groups.
        of: Vec<Name>,
        /// Within which time.
        within: Option<Spanned<Span>>,
    },
    /// Touchpoints in this order.
    Pattern {
        /// A type or a group each.
        parts: Vec<Name>,
        /// Within which time.
        within: Option<Spanned<Span>>,
    },
    /// A touchpoint that none of others follows in time.
    Missing {
        /// What is to be answered.
        after: Vec<Name>,
        /// What would answer it.
        missing: Vec<Name>,
        /// In which time.
        within: Wait,
        /// The property that names the question.
        by: Option<Name>,
    },
    /// A touchpoint after which nothing else comes.
    Dwell {
        /// Where `dwells` stands.
        place: Place,
        /// In what the customer dwells.
        on: Vec<Name>,
        /// How long.
        wait: Wait,
        /// What ends the dwelling; `None`: what the episode names.
        until: Option<Vec<Name>>,
    },
    /// Other rules, weighed.
    Score {
        /// From which sum on.
        threshold: Threshold,
        /// Where the threshold stands.
        place: Place,
        /// The rules and their weights.
        from: Vec<(Name, u32)>,
        /// Only evidence so fresh counts.
        within: Option<Spanned<Span>>,
    },
}

/// From which score on.
#[derive(Debug)]
pub enum Threshold {
    /// The same for everyone.
    Fixed(u32),
    /// By segment.
    BySegment {
        /// Where the map stands.
        place: Place,
        /// The names of segments, each with its threshold.
        thresholds: Vec<(Name, u32)>,
    },
}

/// The kinds of signs by the key that begins each, with the keys that belong to it, and how such a rule reads.
const SIGNS: [(&str, &[&str], &str); 6] = [
    ("N of", &["within"], "2 of: payment.failed"),
    ("on", &[], "on: error.shown"),
    ("pattern", &["within"], "pattern: [checkout.step, cart.viewed, checkout.step]"),
    ("after", &["missing", "within", "by"], "after: question.asked, missing: question.answered, within: 2m"),
    ("dwells", &["for", "until"], "dwells: checkout.step, for: 5m"),
    ("score", &["from", "within"], "score: 3, from: { payment-trouble: 2 }"),
];

/// What stands beside the sign.
struct Beside<'a>(Vec<(&'static str, Value<'a>)>);

impl<'a> Beside<'a> {
    fn get(&self, key: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
    }
}

impl Friction {
    /// One that cannot be read keeps its name, so that what mentions it is not reported as well.
    pub(super) fn read(entry: &Entry, faults: &mut Faults) -> Friction {
        let mut rule = Friction {
            name: entry.key.clone(),
            scope: None,
            sign: None,
            cool_down: COOL_DOWN,
            evidence_only: None,
            segments: Vec::new(),
        };
        let what = format!("friction {}", quoted(&entry.key.value));
        let Some(mut reader) = Value::from(entry).map(what, faults) else { return rule };
        rule.scope = text(reader.optional("in"), faults);
        rule.cool_down = duration(reader.optional("cool-down"), faults).map_or(COOL_DOWN, |span| span.value);
        let only = reader.optional("evidence only").and_then(|value| Some((value.key_place(), value.flag(faults)?)));
        rule.evidence_only = only.filter(|(_, flag)| flag.value).map(|(key, _)| key.clone());
        rule.segments = reader
            .optional("segments")
            .and_then(|value| listed_names(&value, "a segment", faults))
            .unwrap_or_default();
        rule.sign = sign(&rule.name, &mut reader, faults);
        reader.finish(faults);
        rule
    }
}

/// Finds the one sign that the rule gives, and reads it with what belongs to it.
fn sign(name: &Name, reader: &mut Reader<'_>, faults: &mut Faults) -> Option<Sign> {
    let counted = reader.formed("2 of", |key| times(key).is_some());
    let mut begun: Vec<(usize, Value<'_>)> = counted.iter().map(|(_, value)| (0, value.clone())).collect();
    let others = SIGNS.iter().enumerate().skip(1);
    begun.extend(others.filter_map(|(at, (key, _, _))| Some((at, reader.optional(key)?))));
    let beside = ["within", "missing", "by", "for", "until", "from"];
    let beside = Beside(beside.into_iter().filter_map(|key| Some((key, reader.optional(key)?))).collect());
    let (at, value) = match begun.as_slice() {
        [] => {
            let cause = format!("friction {} does not say what to look for", quoted(&name.value));
            let ways: Vec<&str> = SIGNS.iter().map(|(_, _, example)| *example).collect();
            faults.error("M070", &name.place, cause, format!("add one of {}", listed(ways)));
            return None;
        }
        [one] => one,
        [(first, _), (second, value), ..] => {
            let (first, second) = (SIGNS[*first].0, SIGNS[*second].0);
            let cause = format!("friction {} looks for two things, {} and {}", quoted(&name.value), quoted(first), quoted(second));
            faults.error("M070", value.key_place(), cause, "give each a rule of its own; a `score` adds them up");
            return None;
        }
    };
    let (sign, allowed, example) = SIGNS[*at];
    for (key, value) in beside.0.iter().filter(|(key, _)| !allowed.contains(key)) {
        let cause = format!("{} says nothing beside {}", quoted(key), quoted(sign));
        let help = format!("remove it; a rule with {} reads {}", quoted(sign), quoted(example));
        faults.error("M071", value.key_place(), cause, help);
    }
    read_sign(sign, value, counted.map(|(key, _)| key), &beside, faults)
}

fn read_sign(sign: &str, value: &Value<'_>, counted: Option<&Name>, beside: &Beside<'_>, faults: &mut Faults) -> Option<Sign> {
    let within = |faults: &mut Faults| duration(beside.get("within"), faults);
    let names = |value: &Value<'_>, faults: &mut Faults| listed_names(value, "a type, a group", faults);
    match sign {
        "pattern" => {
            let parts = names(value, faults)?;
            let within = within(faults);
            if !(2..=MOST_PARTS).contains(&parts.len()) {
                let cause = format!("`pattern` names {}, outside 2 to {MOST_PARTS}", parts.len());
                faults.error("Y014", value.place(), cause, "name the touchpoints in their order, such as [a, b, a, b]");
                return None;
            }
            Some(Sign::Pattern { parts, within })
        }
        "after" => {
            let after = names(value, faults);
            let missing = needed("missing", "missing: question.answered", value, beside, faults);
            let missing = missing.and_then(|value| names(&value, faults));
            let within = Wait::read(needed("within", "within: 2m", value, beside, faults), faults);
            let by = text(beside.get("by"), faults);
            Some(Sign::Missing { after: after?, missing: missing?, within: within?, by })
        }
        "dwells" => {
            let on = names(value, faults);
            let wait = Wait::read(needed("for", "for: 5m", value, beside, faults), faults);
            let until = beside.get("until").map(|value| names(&value, faults));
            let until = match until {
                Some(read) => Some(read?),
                None => None,
            };
            Some(Sign::Dwell { place: value.key_place().clone(), on: on?, wait: wait?, until })
        }
        "score" => {
            let threshold = threshold(value, faults);
            let from = needed("from", "from: { payment-trouble: 2 }", value, beside, faults);
            let from = from.and_then(|from| weights(&from, "rules", faults));
            Some(Sign::Score { threshold: threshold?, place: value.place().clone(), from: from?, within: within(faults) })
        }
        _ => {
            let times = counted.map_or(Some(1), |key| read_times(key, 1, faults));
            let of = names(value, faults);
            Some(Sign::Count { times: times?, of: of?, within: within(faults) })
        }
    }
}

fn needed<'a>(key: &str, example: &str, sign: &Value<'_>, beside: &Beside<'a>, faults: &mut Faults) -> Option<Value<'a>> {
    let value = beside.get(key);
    if value.is_none() {
        let cause = format!("{} needs {} beside it", sign.label(), quoted(key));
        faults.error("Y011", sign.key_place(), cause, format!("add {}", quoted(example)));
    }
    value
}

fn threshold(value: &Value<'_>, faults: &mut Faults) -> Option<Threshold> {
    if value.is_map() {
        let thresholds = weights(value, "segments", faults)?;
        return Some(Threshold::BySegment { place: value.place().clone(), thresholds });
    }
    value.integer(1..=MOST_WEIGHT, faults).map(|number| Threshold::Fixed(small(number.value)))
}

/// Names with whole numbers; `None` where some cannot be read.
fn weights(value: &Value<'_>, what: &str, faults: &mut Faults) -> Option<Vec<(Name, u32)>> {
    let entries = value.entries(what, faults)?;
    if entries.is_empty() {
        faults.error("M007", value.place(), format!("{} is empty", value.label()), "name at least one, or remove the line");
        return None;
    }
    let read: Vec<Option<(Name, u32)>> = entries
        .iter()
        .map(|entry| {
            let number = Value::from(entry).integer(1..=MOST_WEIGHT, faults)?;
            Some((entry.key.clone(), small(number.value)))
        })
        .collect();
    read.into_iter().collect()
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
