//! What is offered to customers while they are still there, as the engine runs it.

use compact_str::CompactString;

use super::written::{Cap, Quiet};
use crate::diagnostic::Place;
use crate::expression::Expression;
use crate::time::Span;

/// An intervention: which outcomes ask for it, for whom, how often, and what is offered.
#[derive(Clone, Debug)]
pub struct Intervention {
    /// The name, which stands in outcomes.
    pub name: CompactString,
    /// `model/name`: what state and metrics know it by.
    pub id: CompactString,
    /// The outcomes that ask for it.
    pub on: Vec<Trigger>,
    /// Must hold when it is asked for.
    pub when: Option<Expression>,
    /// The segments it is for; empty: everyone.
    pub segments: Vec<CompactString>,
    /// Where it reaches the customer.
    pub channel: CompactString,
    /// The higher wins.
    pub priority: u32,
    /// How often one customer gets it.
    pub caps: Vec<Cap>,
    /// So long after anything on its channel there is no other.
    pub cool_down: Option<Span>,
    /// The consent without which it is not made, and where the file says so.
    pub needs: Option<(CompactString, Place)>,
    /// What becomes of it in quiet hours.
    pub quiet: Quiet,
    /// Who never gets it.
    pub holdout: Option<Holdout>,
    /// What the draw of variants depends on beside the customer.
    pub salt: CompactString,
    /// The variants with their weights, in order.
    pub variants: Vec<(CompactString, u32)>,
    /// How long it stands.
    pub expires: Span,
    /// The outcomes that take it back.
    pub withdrawn_by: Vec<Trigger>,
    /// What it is to bring about, and in which time.
    pub goal: Option<(Trigger, Span)>,
    /// What is handed on with it, by name.
    pub payload: Vec<(CompactString, Payload)>,
}

/// Outcomes of one kind by their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// `friction`, `abandonment`, `transition`, `completion`, `resumption` or `recovery`.
    pub kind: &'static str,
    /// The rule, the stage or the episode.
    pub of: CompactString,
}

/// A part of the customers that is left alone for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdout {
    /// In hundredths of a percent.
    pub share: u32,
    /// What the draw depends on beside the customer.
    pub salt: CompactString,
}

/// A value that is handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The same for everyone.
    Same(CompactString),
    /// By variant; others get none.
    ByVariant(Vec<(CompactString, CompactString)>),
}
