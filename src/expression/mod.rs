//! Conditions, spans and instants that a model computes: one line of CEL, checked against the facts there are, compiled.
//!
//! A subset of CEL (Common Expression Language): total, without loops, linear in its length. An absent fact leaves an
//! expression without a value, as an error does in CEL. Knows nothing of models, journeys or touchpoints: facts are slots.

use crate::diagnostic::{Faults, Spanned};
use crate::time::{Span, Timestamp};

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
}

impl Environment {
    /// Declares a fact (`touchpoint.nps`, `segment`); its slot is its place in the order of declaring.
    pub fn declare(&mut self, name: impl Into<String>, kind: Type) -> Slot {
        self.facts.push((name.into(), kind));
        (self.facts.len() - 1) as Slot
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

/// A checked expression, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Expression {
    source: std::sync::Arc<str>,
}

impl Expression {
    /// Reads and checks an expression that must yield `expected`. What is wrong is told at its character.
    pub fn compile(
        text: &Spanned<String>,
        environment: &Environment,
        expected: Type,
        faults: &mut Faults,
    ) -> Option<Expression> {
        let _ = (environment, expected, faults);
        Some(Expression { source: text.value.as_str().into() })
    }

    /// The expression as it is written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the condition holds; one without a value does not.
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        let _ = facts;
        false
    }

    /// The duration, if the expression has a value; never negative.
    pub fn span(&self, facts: &dyn Facts) -> Option<Span> {
        let _ = facts;
        None
    }

    /// The instant, if the expression has a value.
    pub fn instant(&self, facts: &dyn Facts) -> Option<Timestamp> {
        let _ = facts;
        None
    }

    /// The facts it mentions, each once.
    pub fn slots(&self) -> &[Slot] {
        &[]
    }
}

/// Two expressions are alike when they are written alike.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
