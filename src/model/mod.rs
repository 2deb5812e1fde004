//! What a journey may be: the compiled model that the engine runs.
//!
//! Three steps, a file each: [`written`] reads the YAML as it stands, [`check`] finds everything wrong with it, and the
//! [`Model`] here is what remains to be known at run time, with every name resolved to an index. Knows nothing of
//! customers, time or topics.

pub mod check;
pub mod written;

use std::collections::HashMap;

use compact_str::CompactString;

use crate::time::Span;

pub use check::load;

/// A stage by its place in the model's order.
pub type StageIndex = u16;
/// An episode kind by its place in the model's order.
pub type EpisodeIndex = u16;

/// A checked model, ready to run.
#[derive(Clone, Debug)]
pub struct Model {
    /// The model's name; part of every outcome and its id.
    pub name: CompactString,
    /// The author's version of it.
    pub version: u32,
    /// The phases in order, with the stages of each.
    pub phases: Vec<(CompactString, Vec<StageIndex>)>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// The episode kinds in order.
    pub episodes: Vec<EpisodeKind>,
    /// What each named type means; every other type means [`Model::other`].
    types: HashMap<CompactString, TypeRoles>,
    other: TypeRoles,
}

/// A stage as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name, which is the id.
    pub name: CompactString,
    /// Abandoned after so long without progress; `None`: never.
    pub quiet: Option<Span>,
    /// For so long after an abandonment, advancing recovers it.
    pub recovered_within: Span,
    /// Left out of drop-off figures; changes no movement (rule 10).
    pub optional: bool,
}

/// A kind of thing inside a journey with its own ids and deadlines: basket, checkout, order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpisodeKind {
    /// The name, which is the id.
    pub name: CompactString,
    /// The explicit part of the correlation chain: property names, in order.
    pub ids: Vec<CompactString>,
    /// Whether the chain goes on to the session.
    pub by_session: bool,
    /// Whether the chain ends at the customer.
    pub by_customer: bool,
    /// The property that carries what the episode is worth.
    pub worth: Option<CompactString>,
    /// Abandoned after so long without progress; `None`: never.
    pub abandoned_after: Option<Span>,
    /// For so long after an abandonment, completing recovers it.
    pub recovered_within: Span,
    /// A completing touchpoint with an unknown id completes nothing.
    pub strict: bool,
    /// Every touchpoint of the customer is progress, not only the listed types (rule 12).
    pub any_progress: bool,
}

/// What one type of touchpoint means to one episode kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpisodeRole {
    /// Opens one where none is open.
    pub opens: bool,
    /// Named as belonging to it: opening, or listed as progress.
    pub belongs: bool,
    /// Completes it.
    pub completes: bool,
}

/// What one type of touchpoint means to the model. The lists by stage and by episode kind are as long as the model's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeRoles {
    /// The stages it belongs to, in order.
    pub enters: Vec<StageIndex>,
    /// By present stage: whether it puts the stage's deadline off.
    pub progresses: Vec<bool>,
    /// By present stage: the earlier stage it leads back to.
    pub back: Vec<Option<StageIndex>>,
    /// By present stage: whether it begins the customer's next journey.
    pub again: Vec<bool>,
    /// By episode kind.
    pub episodes: Vec<EpisodeRole>,
}

impl TypeRoles {
    /// The roles of a type that the model does not name: progress where everything is, and nothing else.
    pub fn unnamed(stage_any_progress: &[bool], episodes: usize) -> Self {
        TypeRoles {
            enters: Vec::new(),
            progresses: stage_any_progress.to_vec(),
            back: vec![None; stage_any_progress.len()],
            again: vec![false; stage_any_progress.len()],
            episodes: vec![EpisodeRole::default(); episodes],
        }
    }
}

impl Model {
    /// Puts a model together from its checked parts. Only [`check`] calls this; tests go through YAML like everybody.
    pub(crate) fn assemble(
        name: CompactString,
        version: u32,
        phases: Vec<(CompactString, Vec<StageIndex>)>,
        stages: Vec<Stage>,
        episodes: Vec<EpisodeKind>,
        types: HashMap<CompactString, TypeRoles>,
        other: TypeRoles,
    ) -> Self {
        Model { name, version, phases, stages, episodes, types, other }
    }

    /// What a type of touchpoint means here.
    pub fn roles(&self, kind: &str) -> &TypeRoles {
        self.types.get(kind).unwrap_or(&self.other)
    }

    /// Whether the model names this type at all.
    pub fn names(&self, kind: &str) -> bool {
        self.types.contains_key(kind)
    }

    /// The stage's name.
    pub fn stage_name(&self, stage: StageIndex) -> &str {
        &self.stages[usize::from(stage)].name
    }

    /// The last stage in order; entering it completes the journey's way.
    pub fn last_stage(&self) -> StageIndex {
        (self.stages.len() - 1) as StageIndex
    }

    /// What must stay the same for running journeys to go on under another file of this model (rule 25): names in order.
    pub fn structure(&self) -> String {
        let names = |list: Vec<&str>| list.join(", ");
        format!(
            "{}: stages {}; episodes {}",
            self.name,
            names(self.stages.iter().map(|stage| stage.name.as_str()).collect()),
            names(self.episodes.iter().map(|kind| kind.name.as_str()).collect()),
        )
    }
}
