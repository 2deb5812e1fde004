//! What a shard is told about time, limits and undoing.

use super::Control;
use crate::journey::Rules;
use crate::time::Span;

/// What a shard is told about time, limits and undoing.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long after its end an idle input is waited for (rule 4).
    pub settle: Span,
    /// Touchpoints that enter the log within this time of their event time are told in the order of events, in whatever order
    /// they come (rule 18); zero: in the order in which they come.
    pub grace: Span,
    /// Without a grace, a touchpoint that entered the log so long after it happened counts from its log time (rule 6).
    pub max_delay: Span,
    /// Touchpoints kept in a customer's history.
    pub history: usize,
    /// An outcome that is older when it is decided asks for no intervention.
    pub stale_after: Span,
    /// A customer without a touchpoint for so long, and without anything awaited, is forgotten (rule 28); `None`: never.
    pub forget_after: Option<Span>,
    /// Where erasures come from.
    pub control: Control,
    /// Records applied and deadlines fired that say something, per transaction before a commit is asked for.
    pub decisions_per_transaction: usize,
    /// Bytes of records and of customers' states that a transaction may hold before a commit is asked for.
    pub transaction_bytes: usize,
    /// Whether transactions can be aborted.
    pub undo: Undo,
    /// Whether the log holds every change of the state, so that it must be written anew in turn.
    pub state_log: StateLog,
}

/// How the log keeps the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateLog {
    /// As a log of changes: everybody is written anew in turn, so that it can be cut behind.
    Changes,
    /// Each customer's latest state, or nothing at all.
    Latest,
}

/// Whether before-images and applied records are kept until a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Kept: the log can abort.
    Kept,
    /// Not kept: nothing ever aborts (replay, scenarios).
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            settle: Span::from_millis(50),
            grace: Span::from_secs(600),
            max_delay: Span::from_secs(60),
            history: 20,
            stale_after: Span::from_secs(300),
            forget_after: None,
            control: Control::AmongTouchpoints,
            decisions_per_transaction: 20_000,
            transaction_bytes: 64 << 20,
            undo: Undo::Kept,
            state_log: StateLog::Latest,
        }
    }
}

impl Settings {
    /// What holds for every customer.
    pub(super) fn rules(&self) -> Rules {
        Rules { grace: self.grace, max_delay: self.max_delay, history: self.history, stale_after: self.stale_after }
    }
}
