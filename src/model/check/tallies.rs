//! Properties and tallies: what is declared, what is summed up, and whether the two fit.

use super::conditions::{Conditions, TallyFact, plain, type_of};
use super::groups::{Groups, Types};
use super::{MAX_PROPERTIES, MAX_SUMS, MAX_TALLIES, at_most, check_name};
use crate::diagnostic::{Faults, did_you_mean, quoted};
use crate::expression::Type;
use crate::model::written::{self, Episode, Kind, Name, Of, Property, Tally, Written};
use crate::model::{self, Sum};
use crate::touchpoint;

/// A tally with its types resolved.
pub(super) struct Checked<'a> {
    pub(super) tally: model::Tally,
    /// `None`: every touchpoint counts.
    pub(super) of: Option<Types<'a>>,
}

/// The parts of the touchpoint itself, which have these names in conditions.
const ENVELOPE: [&str; 5] = ["type", "channel", "session", "id", "at"];

/// Checks what properties are called.
pub(super) fn check_properties(written: &Written, faults: &mut Faults) {
    let properties = at_most(MAX_PROPERTIES, "properties", &written.properties, |property| &property.name.place, faults);
    let mut seen: Vec<(String, &Name)> = Vec::new();
    for property in properties {
        check_property(&property.name, faults);
        let name = plain(&property.name.value);
        match seen.iter().find(|(known, _)| *known == name) {
            Some((_, first)) => {
                let cause = format!(
                    "{} and {} are both `touchpoint.{name}` in conditions",
                    quoted(&first.value),
                    quoted(&property.name.value)
                );
                faults.error("M046", &property.name.place, cause, "give one of the two another name where it is sent");
            }
            None => seen.push((name, &property.name)),
        }
    }
}

fn check_property(name: &Name, faults: &mut Faults) {
    let text = name.value.as_str();
    if ENVELOPE.contains(&text) {
        let cause =
            format!("`touchpoint.{text}` is a part of every touchpoint, so no property can be called {}", quoted(text));
        faults.error("M046", &name.place, cause, format!("remove it; conditions can mention `touchpoint.{text}` as it is"));
    } else if text.len() > touchpoint::MAX_NAME_BYTES {
        let most = touchpoint::MAX_NAME_BYTES;
        let cause = format!("{} is longer than the {most} bytes of a property's name", quoted(text));
        faults.error("M002", &name.place, cause, "check the spelling; no touchpoint can have this property");
    } else if !is_mentionable(text) {
        let cause = format!("{} cannot be written in a condition", quoted(text));
        let help = "a property that conditions mention has letters, digits, `_` and `-`, and begins with a letter";
        faults.error("M002", &name.place, cause, help);
    }
}

/// Words with dots between, as conditions read them.
fn is_mentionable(text: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    text.split('.').all(word)
}

/// What conditions can say about the tallies.
pub(super) fn facts<'a>(written: &'a Written, faults: &mut Faults) -> Vec<TallyFact<'a>> {
    let tallies = at_most(MAX_TALLIES, "tallies", &written.tallies, |tally| &tally.name.place, faults);
    tallies.iter().map(|tally| fact("tally", tally, &written.properties, faults)).collect()
}

/// What conditions can say about what is summed up in episodes, by kind.
pub(super) fn facts_of_episodes<'a>(
    written: &'a Written,
    episodes: &'a [Episode],
    faults: &mut Faults,
) -> Vec<Vec<TallyFact<'a>>> {
    let sums = |episode: &'a Episode| {
        let sums = at_most(MAX_SUMS, "sums of one episode", &episode.sums, |sum| &sum.name.place, faults);
        sums.iter().map(|sum| fact("sum", sum, &written.properties, faults)).collect()
    };
    episodes.iter().map(sums).collect()
}

fn fact<'a>(what: &str, tally: &'a Tally, properties: &[Property], faults: &mut Faults) -> TallyFact<'a> {
    check_name(what, &tally.name, faults);
    let kind = match &tally.sum {
        Some(written::Sum::Sum(property, _)) => {
            let kind = declared(property, properties, faults);
            if let Some(kind @ (Kind::Text | Kind::Flag | Kind::Instant)) = kind {
                let cause = format!("{} is declared as {}, which cannot be summed up", quoted(&property.value), kind.word());
                let help = "declare it as `number` or `money`, or take the latest value with `last:`";
                faults.error("M054", &property.place, cause, help);
            }
            kind
        }
        Some(written::Sum::Last(property, _)) => {
            let kind = declared(property, properties, faults);
            if kind == Some(Kind::Money) {
                let cause = format!("{} is money, of which a tally keeps the sum only", quoted(&property.value));
                faults.error("M054", &property.place, cause, "write `sum:` instead of `last:`, or declare it as `number`");
            }
            kind
        }
        Some(written::Sum::Count(_) | written::Sum::Distinct(..) | written::Sum::Visits(_)) | None => None,
    };
    TallyFact {
        name: &tally.name,
        kind: match tally.sum {
            Some(written::Sum::Last(..)) => kind.map_or(Type::Number, type_of),
            Some(written::Sum::Sum(..) | written::Sum::Count(_) | written::Sum::Distinct(..) | written::Sum::Visits(_))
            | None => Type::Number,
        },
        money: kind == Some(Kind::Money),
        by_stage: matches!(tally.sum, Some(written::Sum::Last(..))),
    }
}

/// What a property is declared to be; a diagnostic where it is not declared.
fn declared(name: &Name, properties: &[Property], faults: &mut Faults) -> Option<Kind> {
    let found = properties.iter().find(|property| property.name.value == name.value);
    if found.is_none() {
        let cause = format!("the property {} is not declared", quoted(&name.value));
        let names: Vec<&str> = properties.iter().map(|property| property.name.value.as_str()).collect();
        let line = format!("add {} under `properties:` (or money, text …)", quoted(&format!("{}: number", name.value)));
        let help = match crate::diagnostic::nearest(&name.value, names.iter().copied()) {
            Some(_) => did_you_mean(&name.value, &names, ""),
            None => line,
        };
        faults.error("M059", &name.place, cause, help);
    }
    found.and_then(|property| property.kind)
}

/// Resolves the tallies' types.
pub(super) fn check<'a>(
    written: &'a Written,
    facts: &[TallyFact<'_>],
    groups: &mut Groups<'a>,
    faults: &mut Faults,
) -> Vec<Checked<'a>> {
    resolve(&written.tallies, facts, groups, faults)
}

/// Resolves the types of what is summed up.
pub(super) fn resolve<'a>(
    tallies: &'a [Tally],
    facts: &[TallyFact<'_>],
    groups: &mut Groups<'a>,
    faults: &mut Faults,
) -> Vec<Checked<'a>> {
    tallies
        .iter()
        .zip(facts)
        .map(|(tally, fact)| {
            let of = match &tally.sum {
                Some(
                    written::Sum::Count(of)
                    | written::Sum::Visits(of)
                    | written::Sum::Distinct(_, of)
                    | written::Sum::Sum(_, of)
                    | written::Sum::Last(_, of),
                ) => match of {
                    Of::Any => None,
                    Of::Types(names) => Some(groups.expand(names, faults)),
                },
                None => Some(Types::new()),
            };
            let once = match &tally.sum {
                Some(written::Sum::Distinct(property, _)) => Some(property),
                Some(written::Sum::Sum(..)) => tally.once.as_ref(),
                Some(written::Sum::Count(_) | written::Sum::Last(..) | written::Sum::Visits(_)) | None => None,
            };
            let once = once.map(|property| property.value.as_str().into());
            Checked { tally: model::Tally { name: tally.name.value.as_str().into(), sum: sum(tally, fact), once }, of }
        })
        .collect()
}

fn sum(tally: &Tally, fact: &TallyFact<'_>) -> Sum {
    match &tally.sum {
        Some(written::Sum::Visits(_)) => Sum::Visits,
        Some(written::Sum::Sum(property, _)) if fact.money => Sum::Money(property.value.as_str().into()),
        Some(written::Sum::Sum(property, _)) => Sum::Number(property.value.as_str().into()),
        Some(written::Sum::Last(property, _)) => Sum::Last(property.value.as_str().into(), fact.kind),
        Some(written::Sum::Count(_) | written::Sum::Distinct(..)) | None => Sum::Count,
    }
}

/// Reports what is declared and summed up for nothing.
pub(super) fn check_use(written: &Written, conditions: &Conditions<'_>, faults: &mut Faults) {
    let tallies = written.tallies.iter().chain(written.episodes.iter().flat_map(|episode| &episode.sums));
    let summed: Vec<&str> = tallies
        .flat_map(|tally| {
            let property = match &tally.sum {
                Some(
                    written::Sum::Sum(property, _) | written::Sum::Last(property, _) | written::Sum::Distinct(property, _),
                ) => Some(property),
                Some(written::Sum::Count(_) | written::Sum::Visits(_)) | None => None,
            };
            [property, tally.once.as_ref()].into_iter().flatten().map(|property| property.value.as_str())
        })
        .collect();
    conditions.unused(&summed, faults);
}
