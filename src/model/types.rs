//! What each type of touchpoint means to a model, conditions of groups included.

use std::collections::HashMap;

use compact_str::CompactString;

use super::{RuleIndex, StageIndex};
use crate::expression::{Expression, Facts};
use crate::touchpoint::is_about_offers;

/// What the types of touchpoints mean. A type that belongs to groups with conditions means different things as they hold.
#[derive(Clone, Debug, Default)]
pub struct Types {
    named: HashMap<CompactString, Meanings, foldhash::fast::FixedState>,
    other: TypeRoles,
    /// What a type that is not named and tells what became of an offer means.
    about_offers: TypeRoles,
}

#[derive(Clone, Debug)]
struct Meanings {
    /// The conditions of the groups that the type belongs to.
    conditions: Vec<Expression>,
    /// By which of them hold, as bits: what the type means then. Two to the power of the conditions.
    roles: Vec<TypeRoles>,
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
    /// Drops it without a word; its ids may open one again.
    pub empties: bool,
    /// Drops it without a word; its ids stay closed.
    pub cancels: bool,
    /// Is summed up in it, as bits.
    pub sums: u32,
    /// Joins one to another, by the place of the way in the kind's list.
    pub joins: Option<u8>,
}

/// That a type counts for a way into a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enters {
    /// The stage.
    pub stage: StageIndex,
    /// Which of the stage's demands.
    pub demand: u8,
    /// Which part of a demand for all of several.
    pub part: u8,
}

/// That a type is evidence of friction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The rule.
    pub rule: RuleIndex,
    /// Which parts of its sign it can be, as bits.
    pub parts: u32,
}

/// What one type of touchpoint means to the model. The lists by stage and by episode kind are as long as the model's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeRoles {
    /// The ways into stages that it counts for, in the order of the stages.
    pub enters: Vec<Enters>,
    /// By present stage: whether it is listed as progress there. What enters a stage is progress too, as far as the stage's
    /// condition lets it in.
    pub progresses: Vec<bool>,
    /// By present stage: the earlier stage it leads back to.
    pub back: Vec<Option<StageIndex>>,
    /// By present stage: the earlier stage it leads back to if it does nothing else there.
    pub back_otherwise: Vec<Option<StageIndex>>,
    /// By present stage: whether it begins the customer's next journey.
    pub again: Vec<bool>,
    /// By present stage: the stage in which the next journey begins when it renews this one.
    pub renews: Vec<Option<StageIndex>>,
    /// By episode kind.
    pub episodes: Vec<EpisodeRole>,
    /// The tallies it counts for, in order.
    pub tallies: Vec<usize>,
    /// The friction rules it is evidence for, in order.
    pub friction: Vec<Evidence>,
}

impl TypeRoles {
    /// The roles of a type that the model does not name: progress where everything is, and nothing else.
    pub fn unnamed(stage_any_progress: &[bool], episodes: usize) -> Self {
        TypeRoles {
            progresses: stage_any_progress.to_vec(),
            back: vec![None; stage_any_progress.len()],
            back_otherwise: vec![None; stage_any_progress.len()],
            again: vec![false; stage_any_progress.len()],
            renews: vec![None; stage_any_progress.len()],
            episodes: vec![EpisodeRole::default(); episodes],
            ..TypeRoles::default()
        }
    }
}

impl Types {
    /// What the types not named mean, and those that tell what became of an offer; the rest is added by [`Types::name`].
    pub fn new(other: TypeRoles, about_offers: TypeRoles) -> Self {
        Types { named: HashMap::default(), other, about_offers }
    }

    fn unnamed(&self, kind: &str) -> &TypeRoles {
        if is_about_offers(kind) { &self.about_offers } else { &self.other }
    }

    /// Says what a type means: `roles` by the bits of which conditions hold, so two to the power of the conditions.
    pub fn name(&mut self, kind: &str, conditions: Vec<Expression>, roles: Vec<TypeRoles>) {
        debug_assert_eq!(roles.len(), 1 << conditions.len(), "roles of {kind}");
        self.named.insert(kind.into(), Meanings { conditions, roles });
    }

    /// What a touchpoint of this type means, as the facts stand; and whether the model names the type at all.
    pub fn roles(&self, kind: &str, facts: &dyn Facts) -> (&TypeRoles, bool) {
        let Some(meanings) = self.named.get(kind) else { return (self.unnamed(kind), false) };
        let held = meanings.conditions.iter().enumerate().filter(|(_, condition)| condition.holds(facts));
        let bits = held.fold(0, |bits, (at, _)| bits | 1 << at);
        (&meanings.roles[bits], true)
    }

    /// What a type means when none of its conditions holds.
    pub fn plain(&self, kind: &str) -> &TypeRoles {
        self.named.get(kind).map_or_else(|| self.unnamed(kind), |meanings| &meanings.roles[0])
    }

    /// Everything that a type may mean: the conditions of its groups, and its roles by the bits of those that hold.
    pub fn meanings(&self, kind: &str) -> Option<(&[Expression], &[TypeRoles])> {
        self.named.get(kind).map(|meanings| (meanings.conditions.as_slice(), meanings.roles.as_slice()))
    }

    /// What a type means that the model does not name.
    pub fn other(&self) -> &TypeRoles {
        &self.other
    }

    /// Whether the model names this type.
    pub fn names(&self, kind: &str) -> bool {
        self.named.contains_key(kind)
    }

    /// Everything that any touchpoint can mean, whichever conditions hold; in no order.
    pub fn every(&self) -> impl Iterator<Item = &TypeRoles> {
        self.named.values().flat_map(|meanings| &meanings.roles).chain([&self.other])
    }

    /// A mark of the types whose meaning, under whichever conditions, is of some sort: the same for the same types.
    pub fn mark(&self, fits: impl Fn(&TypeRoles) -> bool) -> u32 {
        let fitting = self.named().into_iter().filter(|kind| self.named[*kind].roles.iter().any(&fits));
        let names: Vec<&str> = fitting.collect();
        xxhash_rust::xxh3::xxh3_64(names.join("\n").as_bytes()) as u32
    }

    /// The types that the model names, sorted.
    pub fn named(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.named.keys().map(CompactString::as_str).collect();
        names.sort_unstable();
        names
    }
}
