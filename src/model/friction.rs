//! A friction rule as the engine sees it (rule 15).

use compact_str::CompactString;

use super::{EpisodeIndex, SegmentIndex, Wait};
use crate::time::Span;

/// A friction rule by its place in the model's order.
pub type RuleIndex = u16;

/// At most so many additions to a score are kept; the oldest gives way.
pub const MAX_ADDED: usize = 32;

/// A friction rule: which evidence is gathered where, and when it is enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Friction {
    /// The name, which is the id.
    pub name: CompactString,
    /// In what the evidence is gathered.
    pub scope: Scope,
    /// What counts as evidence.
    pub sign: Sign,
    /// For so long after an outcome of this rule in the same scope, there is no other.
    pub cool_down: Span,
    /// Publishes nothing itself, and counts for scores only.
    pub evidence_only: bool,
    /// Applies to these segments only; empty: to everyone.
    pub segments: Vec<SegmentIndex>,
}

/// In what a friction rule gathers its evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One episode of a kind.
    Episode(EpisodeIndex),
    /// One session.
    Session,
    /// One stay in a stage.
    Stage,
    /// The whole journey.
    Journey,
}

/// What counts as evidence. Types contribute by [`super::Evidence`], whose bits are parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Sign {
    /// So many touchpoints (part 0), the first and the last less than `within` apart.
    Count {
        /// How many.
        times: u8,
        /// Within which time; `None`: ever.
        within: Option<Span>,
    },
    /// A touchpoint of each part in this order, with no other touchpoint of any part between.
    Pattern {
        /// How many parts.
        parts: u8,
        /// The first and the last less than this apart; `None`: however long.
        within: Option<Span>,
    },
    /// A touchpoint of part 0 that none of part 1 follows in time. One that is both answers first, then asks anew.
    Missing {
        /// How long the answer is waited for.
        within: Wait,
        /// The property that names the question; without it any answer answers all.
        by: Option<CompactString>,
    },
    /// Other rules' outcomes, weighed, reach a threshold.
    Score {
        /// From which sum on.
        threshold: Threshold,
        /// The rules and their weights.
        weights: Vec<(RuleIndex, u32)>,
        /// Only evidence less than this old counts; `None`: all.
        within: Option<Span>,
    },
}

/// From which score on friction is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// The same for everyone.
    Fixed(u32),
    /// By segment; `None`: never.
    BySegment(Vec<Option<u32>>),
}
