//! The output topics, by the names that follow the prefix, and which outcome goes where.

use crate::journey::What;

/// Stages entered, and anonymous journeys that join a customer's.
pub const TRANSITIONS: &str = "transitions";
/// Episodes completed.
pub const COMPLETIONS: &str = "completions";
/// Stages and episodes abandoned.
pub const ABANDONMENTS: &str = "abandonments";
/// Resumptions and recoveries.
pub const RECOVERIES: &str = "recoveries";
/// Friction.
pub const FRICTION: &str = "friction";
/// What is offered, and what of it is taken back.
pub const INTERVENTIONS: &str = "interventions";
/// What would be offered to customers who are held out. A topic of its own: whoever forgets to look at a flag would treat
/// those with whom the treated are compared.
pub const HELD_OUT: &str = "held-out";
/// What became of the goals of interventions, of all arms.
pub const MEASUREMENTS: &str = "measurements";
/// Records that cannot be used.
pub const DEAD_LETTERS: &str = "dead-letters";
/// The state log: no output, though its name is made alike.
pub const STATE: &str = "state";
/// The control topic: who is to be erased. No output either.
pub const CONTROL: &str = "control";
/// What shards hand to each other. No output either.
pub const HANDOFF: &str = "handoff";
/// How deliveries of interventions stand. No output either.
pub const DELIVERIES: &str = "deliveries";
/// All outputs.
pub const ALL: [&str; 9] =
    [TRANSITIONS, COMPLETIONS, ABANDONMENTS, RECOVERIES, FRICTION, INTERVENTIONS, HELD_OUT, MEASUREMENTS, DEAD_LETTERS];

/// Where an outcome goes.
pub fn of(what: &What) -> &'static str {
    match what {
        What::Transition { .. } | What::Merge { .. } => TRANSITIONS,
        What::Completion { .. } => COMPLETIONS,
        What::Abandonment { .. } => ABANDONMENTS,
        What::Resumption { .. } | What::Recovery { .. } => RECOVERIES,
        What::Friction { .. } => FRICTION,
        What::Intervention { offer } | What::Withdrawal { offer, .. } => match offer.arm.is_held_out() {
            true => HELD_OUT,
            false => INTERVENTIONS,
        },
        What::Measurement { .. } => MEASUREMENTS,
        What::Retraction { of: retracted } => of(retracted),
    }
}

/// The full name of a topic behind a prefix.
pub fn topic(prefix: &str, output: &str) -> String {
    format!("{prefix}.{output}")
}
