//! The compiled form: one tree per type of value, so that evaluating checks no types. Parts without facts are computed when
//! the tree is built.
//!
//! `None` is "no value": a fact is absent, or arithmetic on time leaves its range. Knows nothing of text or places.

use super::{Facts, Slot, Type};
use crate::time::{Span, Timestamp};

/// A compiled expression by the type of what it yields.
#[derive(Debug)]
pub(super) enum Code {
    Number(Number),
    Text(Text),
    Flag(Flag),
    Duration(Duration),
    Instant(Moment),
}

impl Code {
    pub(super) fn kind(&self) -> Type {
        match self {
            Code::Number(_) => Type::Number,
            Code::Text(_) => Type::Text,
            Code::Flag(_) => Type::Flag,
            Code::Duration(_) => Type::Duration,
            Code::Instant(_) => Type::Instant,
        }
    }

    /// The fact in a slot, read as its type.
    pub(super) fn fact(slot: Slot, kind: Type) -> Self {
        match kind {
            Type::Number => Code::Number(Number::Fact(slot)),
            Type::Text => Code::Text(Text::Fact(slot)),
            Type::Flag => Code::Flag(Flag::Fact(slot)),
            Type::Duration => Code::Duration(Duration::Fact(slot)),
            Type::Instant => Code::Instant(Moment::Fact(slot)),
        }
    }
}

/// How two values are compared. NaN compares as IEEE 754 has it: unequal to everything, neither less nor more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Relation {
    #[inline]
    fn holds<T: PartialOrd + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Less => left < right,
            Relation::AtMost => left <= right,
            Relation::More => left > right,
            Relation::AtLeast => left >= right,
        }
    }
}

/// What is calculated of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divided,
}

/// What is asked of two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

/// True or false.
#[derive(Debug)]
pub(super) enum Flag {
    Known(bool),
    Fact(Slot),
    Has(Slot, Type),
    Not(Box<Flag>),
    All(Box<[Flag]>),
    Any(Box<[Flag]>),
    Choice(Box<(Flag, Flag, Flag)>),
    Numbers(Relation, Box<(Number, Number)>),
    Texts(Relation, Box<(Text, Text)>),
    Flags(Relation, Box<(Flag, Flag)>),
    Durations(Relation, Box<(Duration, Duration)>),
    Instants(Relation, Box<(Moment, Moment)>),
    NumberIn(Number, Box<[f64]>),
    TextIn(Text, Box<[Box<str>]>),
    FlagIn(Box<Flag>, Box<[bool]>),
    DurationIn(Duration, Box<[Span]>),
    InstantIn(Moment, Box<[Timestamp]>),
    Search(Search, Box<(Text, Text)>),
}

/// A number.
#[derive(Debug)]
pub(super) enum Number {
    Known(f64),
    Fact(Slot),
    Negated(Box<Number>),
    Calculated(Arithmetic, Box<(Number, Number)>),
    Size(Text),
    Choice(Box<(Flag, Number, Number)>),
}

/// A text.
#[derive(Debug)]
pub(super) enum Text {
    Known(Box<str>),
    Fact(Slot),
    Choice(Box<(Flag, Text, Text)>),
}

/// A length of time; may be negative on the way.
#[derive(Debug)]
pub(super) enum Duration {
    Known(Span),
    Fact(Slot),
    Sum(Box<(Duration, Duration)>),
    Difference(Box<(Duration, Duration)>),
    Between(Box<(Moment, Moment)>),
    Choice(Box<(Flag, Duration, Duration)>),
}

/// A point in time.
#[derive(Debug)]
pub(super) enum Moment {
    Known(Timestamp),
    Fact(Slot),
    Later(Box<(Moment, Duration)>),
    Earlier(Box<(Moment, Duration)>),
    Choice(Box<(Flag, Moment, Moment)>),
}

impl Flag {
    /// All of several; a false one decides even beside one without a value.
    pub(super) fn all(terms: Vec<Flag>) -> Flag {
        Flag::joined(terms, false, Flag::All)
    }

    /// Any of several; a true one decides even beside one without a value.
    pub(super) fn any(terms: Vec<Flag>) -> Flag {
        Flag::joined(terms, true, Flag::Any)
    }

    fn joined(terms: Vec<Flag>, decides: bool, join: fn(Box<[Flag]>) -> Flag) -> Flag {
        let mut left = Vec::with_capacity(terms.len());
        for term in terms {
            match term {
                Flag::Known(value) if value == decides => return Flag::Known(decides),
                Flag::Known(_) => {}
                other => left.push(other),
            }
        }
        match left.len() {
            0 => Flag::Known(!decides),
            1 => left.remove(0),
            _ => join(left.into()),
        }
    }

    /// Computes what needs no fact. Only nodes over known parts are computed, so `has` and facts stay.
    pub(super) fn folded(self) -> Flag {
        let known = match &self {
            Flag::Known(_) | Flag::Fact(_) | Flag::Has(..) | Flag::All(_) | Flag::Any(_) => false,
            Flag::Not(inner) | Flag::FlagIn(inner, _) => inner.known(),
            Flag::Choice(parts) => parts.0.known(),
            Flag::Numbers(_, sides) => sides.0.known() && sides.1.known(),
            Flag::Texts(_, sides) | Flag::Search(_, sides) => sides.0.known() && sides.1.known(),
            Flag::Flags(_, sides) => sides.0.known() && sides.1.known(),
            Flag::Durations(_, sides) => sides.0.known() && sides.1.known(),
            Flag::Instants(_, sides) => sides.0.known() && sides.1.known(),
            Flag::NumberIn(inner, _) => inner.known(),
            Flag::TextIn(inner, _) => inner.known(),
            Flag::DurationIn(inner, _) => inner.known(),
            Flag::InstantIn(inner, _) => inner.known(),
        };
        match self {
            Flag::Choice(parts) if known => {
                if let Flag::Known(true) = parts.0 {
                    parts.1
                } else {
                    parts.2
                }
            }
            other if known => other.value(&Nothing).map_or(other, Flag::Known),
            other => other,
        }
    }

    fn known(&self) -> bool {
        matches!(self, Flag::Known(_))
    }

    pub(super) fn value(&self, facts: &dyn Facts) -> Option<bool> {
        match self {
            Flag::Known(value) => Some(*value),
            Flag::Fact(slot) => facts.flag(*slot),
            Flag::Has(slot, kind) => Some(has(facts, *slot, *kind)),
            Flag::Not(inner) => inner.value(facts).map(|value| !value),
            Flag::All(terms) => decided(terms, false, facts),
            Flag::Any(terms) => decided(terms, true, facts),
            Flag::Choice(parts) => {
                if holds(&parts.0, facts) {
                    parts.1.value(facts)
                } else {
                    parts.2.value(facts)
                }
            }
            Flag::Numbers(relation, sides) => Some(relation.holds(&sides.0.value(facts)?, &sides.1.value(facts)?)),
            Flag::Texts(relation, sides) => Some(relation.holds(sides.0.value(facts)?, sides.1.value(facts)?)),
            Flag::Flags(relation, sides) => Some(relation.holds(&sides.0.value(facts)?, &sides.1.value(facts)?)),
            Flag::Durations(relation, sides) => Some(relation.holds(&sides.0.value(facts)?, &sides.1.value(facts)?)),
            Flag::Instants(relation, sides) => Some(relation.holds(&sides.0.value(facts)?, &sides.1.value(facts)?)),
            Flag::NumberIn(inner, list) => inner.value(facts).map(|value| list.contains(&value)),
            Flag::TextIn(inner, list) => inner.value(facts).map(|value| list.iter().any(|one| &**one == value)),
            Flag::FlagIn(inner, list) => inner.value(facts).map(|value| list.contains(&value)),
            Flag::DurationIn(inner, list) => inner.value(facts).map(|value| list.contains(&value)),
            Flag::InstantIn(inner, list) => inner.value(facts).map(|value| list.contains(&value)),
            Flag::Search(search, sides) => {
                let (text, wanted) = (sides.0.value(facts)?, sides.1.value(facts)?);
                Some(match search {
                    Search::StartsWith => text.starts_with(wanted),
                    Search::EndsWith => text.ends_with(wanted),
                    Search::Contains => text.contains(wanted),
                })
            }
        }
    }
}

impl Number {
    pub(super) fn folded(self) -> Number {
        let known = match &self {
            Number::Known(_) | Number::Fact(_) => false,
            Number::Negated(inner) => inner.known(),
            Number::Calculated(_, sides) => sides.0.known() && sides.1.known(),
            Number::Size(text) => text.known(),
            Number::Choice(parts) => parts.0.known(),
        };
        match self {
            Number::Choice(parts) if known => {
                if let Flag::Known(true) = parts.0 {
                    parts.1
                } else {
                    parts.2
                }
            }
            other if known => other.value(&Nothing).map_or(other, Number::Known),
            other => other,
        }
    }

    fn known(&self) -> bool {
        matches!(self, Number::Known(_))
    }

    pub(super) fn value(&self, facts: &dyn Facts) -> Option<f64> {
        match self {
            Number::Known(value) => Some(*value),
            Number::Fact(slot) => facts.number(*slot),
            Number::Negated(inner) => inner.value(facts).map(|value| -value),
            Number::Calculated(arithmetic, sides) => {
                let (left, right) = (sides.0.value(facts)?, sides.1.value(facts)?);
                Some(match arithmetic {
                    Arithmetic::Plus => left + right,
                    Arithmetic::Minus => left - right,
                    Arithmetic::Times => left * right,
                    Arithmetic::Divided => left / right,
                })
            }
            Number::Size(text) => text.value(facts).map(|text| text.chars().count() as f64),
            Number::Choice(parts) => {
                if holds(&parts.0, facts) {
                    parts.1.value(facts)
                } else {
                    parts.2.value(facts)
                }
            }
        }
    }
}

impl Text {
    pub(super) fn folded(self) -> Text {
        match self {
            Text::Choice(parts) if parts.0.known() => {
                if let Flag::Known(true) = parts.0 {
                    parts.1
                } else {
                    parts.2
                }
            }
            other => other,
        }
    }

    fn known(&self) -> bool {
        matches!(self, Text::Known(_))
    }

    pub(super) fn value<'a>(&'a self, facts: &'a dyn Facts) -> Option<&'a str> {
        match self {
            Text::Known(value) => Some(value),
            Text::Fact(slot) => facts.text(*slot),
            Text::Choice(parts) => {
                if holds(&parts.0, facts) {
                    parts.1.value(facts)
                } else {
                    parts.2.value(facts)
                }
            }
        }
    }
}

impl Duration {
    pub(super) fn folded(self) -> Duration {
        let known = match &self {
            Duration::Known(_) | Duration::Fact(_) => false,
            Duration::Sum(sides) | Duration::Difference(sides) => sides.0.known() && sides.1.known(),
            Duration::Between(sides) => sides.0.known() && sides.1.known(),
            Duration::Choice(parts) => parts.0.known(),
        };
        match self {
            Duration::Choice(parts) if known => {
                if let Flag::Known(true) = parts.0 {
                    parts.1
                } else {
                    parts.2
                }
            }
            other if known => other.value(&Nothing).map_or(other, Duration::Known),
            other => other,
        }
    }

    fn known(&self) -> bool {
        matches!(self, Duration::Known(_))
    }

    pub(super) fn value(&self, facts: &dyn Facts) -> Option<Span> {
        let millis = match self {
            Duration::Known(value) => return Some(*value),
            Duration::Fact(slot) => return facts.duration(*slot),
            Duration::Choice(parts) => {
                return if holds(&parts.0, facts) { parts.1.value(facts) } else { parts.2.value(facts) };
            }
            Duration::Sum(sides) => sides.0.value(facts)?.as_millis().checked_add(sides.1.value(facts)?.as_millis()),
            Duration::Difference(sides) => sides.0.value(facts)?.as_millis().checked_sub(sides.1.value(facts)?.as_millis()),
            Duration::Between(sides) => sides.0.value(facts)?.as_millis().checked_sub(sides.1.value(facts)?.as_millis()),
        };
        millis.map(Span::from_millis)
    }
}

impl Moment {
    pub(super) fn folded(self) -> Moment {
        let known = match &self {
            Moment::Known(_) | Moment::Fact(_) => false,
            Moment::Later(parts) | Moment::Earlier(parts) => parts.0.known() && parts.1.known(),
            Moment::Choice(parts) => parts.0.known(),
        };
        match self {
            Moment::Choice(parts) if known => {
                if let Flag::Known(true) = parts.0 {
                    parts.1
                } else {
                    parts.2
                }
            }
            other if known => other.value(&Nothing).map_or(other, Moment::Known),
            other => other,
        }
    }

    fn known(&self) -> bool {
        matches!(self, Moment::Known(_))
    }

    pub(super) fn value(&self, facts: &dyn Facts) -> Option<Timestamp> {
        let millis = match self {
            Moment::Known(value) => return Some(*value),
            Moment::Fact(slot) => return facts.instant(*slot),
            Moment::Choice(parts) => {
                return if holds(&parts.0, facts) { parts.1.value(facts) } else { parts.2.value(facts) };
            }
            Moment::Later(parts) => parts.0.value(facts)?.as_millis().checked_add(parts.1.value(facts)?.as_millis()),
            Moment::Earlier(parts) => parts.0.value(facts)?.as_millis().checked_sub(parts.1.value(facts)?.as_millis()),
        };
        millis.map(Timestamp::from_millis)
    }
}

/// Whether the condition of a choice holds: without a value it does not, which is where this language and CEL part.
fn holds(condition: &Flag, facts: &dyn Facts) -> bool {
    condition.value(facts) == Some(true)
}

/// CEL's `&&` (`decides` is false) and `||` (true): a deciding term wins, wherever it stands; else one without a value does.
fn decided(terms: &[Flag], decides: bool, facts: &dyn Facts) -> Option<bool> {
    let mut result = Some(!decides);
    for term in terms {
        match term.value(facts) {
            Some(value) if value == decides => return Some(decides),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn has(facts: &dyn Facts, slot: Slot, kind: Type) -> bool {
    match kind {
        Type::Number => facts.number(slot).is_some(),
        Type::Text => facts.text(slot).is_some(),
        Type::Flag => facts.flag(slot).is_some(),
        Type::Duration => facts.duration(slot).is_some(),
        Type::Instant => facts.instant(slot).is_some(),
    }
}

/// No facts at all, to compute what needs none.
struct Nothing;

impl Facts for Nothing {
    fn number(&self, _: Slot) -> Option<f64> {
        None
    }
    fn text(&self, _: Slot) -> Option<&str> {
        None
    }
    fn flag(&self, _: Slot) -> Option<bool> {
        None
    }
    fn instant(&self, _: Slot) -> Option<Timestamp> {
        None
    }
    fn duration(&self, _: Slot) -> Option<Span> {
        None
    }
}
