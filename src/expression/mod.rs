//! Conditions, spans and instants that a model computes: one line of CEL, checked against the facts there are, compiled.
//!
//! A subset of CEL (Common Expression Language): total, without loops, linear in its length. An absent fact leaves an
//! expression without a value, as an error does in CEL, with one deviation: in `c ? a : b` a `c` without a value takes `b`.
//! All numbers are floating-point; arithmetic on time that leaves the range of [`Timestamp`] or [`Span`] has no value. Knows
//! nothing of models, journeys or touchpoints: facts are slots.
//!
//! [`token`], [`parse`], [`check`] and [`code`] turn text into code; [`told`] and [`words`] say what is wrong with it. The
//! crate `cel` judges the result in `tests/it/expressions.rs`. Its parser is not used here: it answers `nps = 9` or `5m` with
//! what its ANTLR grammar expected instead, leaves all types to the evaluation, and brings 36 crates (half a minute to build
//! on two idle cores).

mod absent;
mod check;
mod code;
mod parse;
mod token;
mod told;
mod words;

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::{Faults, Spanned};
use crate::time::{Span, Timestamp};
use code::{Code, Flag};
use told::Told;

/// The longest expression, in bytes.
pub const MAX_BYTES: usize = 1024;

/// What kind of value an expression or a fact has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number; all of them are floating-point.
    Number,
    /// A text.
    Text,
    /// True or false.
    Flag,
    /// A length of time.
    Duration,
    /// A point in time.
    Instant,
}

/// A fact by its place in the environment.
pub type Slot = u16;

/// The facts that expressions of one model may mention, by name.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    facts: Vec<(String, Type)>,
    notes: Vec<(String, Note)>,
}

/// What to say about names of a namespace that are not declared; `*` stands for the rest of the name.
#[derive(Clone, Debug)]
struct Note {
    cause: Option<String>,
    help: String,
}

impl Environment {
    /// Declares a fact (`touchpoint.nps`, `segment`); its slot is its place in the order of declaring.
    pub fn declare(&mut self, name: impl Into<String>, kind: Type) -> Slot {
        self.facts.push((name.into(), kind));
        (self.facts.len() - 1) as Slot
    }

    /// What to do about an undeclared name in a namespace (`touchpoint`), where no known name is near; `*` stands for what
    /// follows the namespace: ``declare it: `*: number` under `properties` ``.
    pub fn advise(&mut self, namespace: impl Into<String>, help: impl Into<String>) {
        self.notes.push((namespace.into(), Note { cause: None, help: help.into() }));
    }

    /// Says why nothing of a namespace can be mentioned here (`a segment does not see the touchpoint`), and what to do.
    pub fn withhold(&mut self, namespace: impl Into<String>, cause: impl Into<String>, help: impl Into<String>) {
        self.notes.push((namespace.into(), Note { cause: Some(cause.into()), help: help.into() }));
    }

    /// The slot and the type of a fact.
    pub fn find(&self, name: &str) -> Option<(Slot, Type)> {
        let slot = self.facts.iter().position(|(known, _)| known == name)?;
        Some((slot as Slot, self.facts[slot].1))
    }

    /// The name of a fact.
    pub fn name(&self, slot: Slot) -> Option<&str> {
        self.facts.get(usize::from(slot)).map(|(name, _)| name.as_str())
    }

    /// The names in the order of declaring.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.facts.iter().map(|(name, _)| name.as_str())
    }

    /// The latest note on a namespace.
    fn note(&self, namespace: &str) -> Option<&Note> {
        self.notes.iter().rev().find(|(name, _)| name == namespace).map(|(_, note)| note)
    }
}

/// Where an expression finds its facts when it is evaluated. A fact that is absent, or of another type than declared, is
/// `None`.
pub trait Facts {
    /// The number in a slot.
    fn number(&self, slot: Slot) -> Option<f64>;
    /// The text in a slot.
    fn text(&self, slot: Slot) -> Option<&str>;
    /// The flag in a slot.
    fn flag(&self, slot: Slot) -> Option<bool>;
    /// The instant in a slot.
    fn instant(&self, slot: Slot) -> Option<Timestamp>;
    /// The duration in a slot.
    fn duration(&self, slot: Slot) -> Option<Span>;
}

/// A checked expression, ready to be evaluated; a clone shares the code.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
}

struct Compiled {
    source: Box<str>,
    code: Code,
    slots: Box<[Slot]>,
}

impl Expression {
    /// Reads and checks an expression that must yield `expected`. What is wrong is told at its character.
    pub fn compile(
        text: &Spanned<String>,
        environment: &Environment,
        expected: Type,
        faults: &mut Faults,
    ) -> Option<Expression> {
        let mut told = Told::default();
        let compiled = read(&text.value, environment, expected, &mut told).filter(|_| told.is_usable());
        told.hand_over(text, faults);
        let (code, slots) = compiled?;
        let compiled = Compiled { source: text.value.as_str().into(), code, slots: slots.into() };
        Some(Expression { compiled: Arc::new(compiled) })
    }

    /// Warns where a condition says what a property of the touchpoint must not be, and does not ask whether there is one.
    pub fn warn_of_absence(text: &Spanned<String>, faults: &mut Faults) {
        let mut told = Told::default();
        if let Some(root) = parse::parse(&text.value, &mut Told::default()) {
            absent::warn(&text.value, &root, &mut told);
        }
        told.hand_over(text, faults);
    }

    /// The expression as it is written.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// Whether the condition holds; one without a value does not, nor does what is no condition.
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        match &self.compiled.code {
            Code::Flag(flag) => flag.value(facts) == Some(true),
            Code::Number(_) | Code::Text(_) | Code::Duration(_) | Code::Instant(_) => false,
        }
    }

    /// The condition's value: `None` where an absent fact leaves it without one.
    pub fn flag(&self, facts: &dyn Facts) -> Option<bool> {
        match &self.compiled.code {
            Code::Flag(flag) => flag.value(facts),
            Code::Number(_) | Code::Text(_) | Code::Duration(_) | Code::Instant(_) => None,
        }
    }

    /// The number, if the expression is one and has a value.
    pub fn number(&self, facts: &dyn Facts) -> Option<f64> {
        match &self.compiled.code {
            Code::Number(number) => number.value(facts),
            Code::Flag(_) | Code::Text(_) | Code::Duration(_) | Code::Instant(_) => None,
        }
    }

    /// The text, if the expression is one and has a value.
    pub fn text<'a>(&'a self, facts: &'a dyn Facts) -> Option<&'a str> {
        match &self.compiled.code {
            Code::Text(text) => text.value(facts),
            Code::Flag(_) | Code::Number(_) | Code::Duration(_) | Code::Instant(_) => None,
        }
    }

    /// The duration, if the expression is one and has a value; never negative.
    pub fn span(&self, facts: &dyn Facts) -> Option<Span> {
        match &self.compiled.code {
            Code::Duration(duration) => duration.value(facts).map(|span| span.max(Span::ZERO)),
            Code::Flag(_) | Code::Number(_) | Code::Text(_) | Code::Instant(_) => None,
        }
    }

    /// The instant, if the expression is one and has a value.
    pub fn instant(&self, facts: &dyn Facts) -> Option<Timestamp> {
        match &self.compiled.code {
            Code::Instant(instant) => instant.value(facts),
            Code::Flag(_) | Code::Number(_) | Code::Text(_) | Code::Duration(_) => None,
        }
    }

    /// Whether the condition is `true` for everybody, with no fact asked.
    pub fn always_holds(&self) -> bool {
        matches!(self.compiled.code, Code::Flag(Flag::Known(true)))
    }

    /// The facts it mentions, each once, in the order of their slots.
    pub fn slots(&self) -> &[Slot] {
        &self.compiled.slots
    }
}

fn read(text: &str, environment: &Environment, expected: Type, told: &mut Told) -> Option<(Code, Vec<Slot>)> {
    if text.len() > MAX_BYTES {
        let cause = format!("a condition may have {MAX_BYTES} bytes, and this one has {}", text.len());
        told.error("M105", &(0..text.len()), cause, "give parts of it names, as groups with a condition or segments");
        return None;
    }
    let root = parse::parse(text, told)?;
    check::check(text, &root, environment, expected, told)
}

/// Two expressions are alike when they are written alike.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}

#[cfg(test)]
mod tests;
