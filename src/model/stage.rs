//! A stage as the engine sees it.

use compact_str::CompactString;

use super::{Again, RuleIndex, StageIndex, Wait};
use crate::expression::Expression;
use crate::time::Span;

/// A stage as the engine sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The name, which is the id.
    pub name: CompactString,
    /// What each way in demands; [`super::Enters`] names them by index.
    pub demands: Vec<Demand>,
    /// Must hold for whatever enters, and for whatever counts towards entering.
    pub when: Option<Expression>,
    /// Abandoned after so long without progress; `None`: never.
    pub quiet: Option<Wait>,
    /// Abandoned at the instant that this yields for a touchpoint that belongs here; what it yielded last counts.
    pub abandoned_at: Option<Expression>,
    /// Told again while nothing comes.
    pub abandoned_again: Option<Again>,
    /// For so long after an abandonment, advancing recovers it.
    pub recovered_within: Span,
    /// No touchpoint moves the journey forward from here sooner than this after it entered.
    pub at_least: Option<Span>,
    /// The terminal stage in which the journey ends when this one is abandoned.
    pub then: Option<StageIndex>,
    /// Friction that leads back from here, and to which earlier stage.
    pub back_on_friction: Vec<(RuleIndex, StageIndex)>,
    /// Terminal: the journey ends here, and the next entering touchpoint begins the next one.
    pub ends: bool,
    /// Left out of drop-off figures; changes no movement (rule 10).
    pub optional: bool,
}

/// What a way into a stage demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One touchpoint.
    One,
    /// So many of them, the first and the last less than `within` apart.
    Count {
        /// How many; at least two.
        times: u8,
        /// Within which time.
        within: Span,
    },
    /// One of each part, the first and the last less than `within` apart.
    All {
        /// How many parts; at least two.
        parts: u8,
        /// Within which time.
        within: Span,
    },
}
