//! What of a thing that goes on under a new model still means what it meant.

use crate::model::{DemandShape, RuleShape, Section, StageShape, Structure};

/// A way into a stage in the new model, and where there the parts of the old one stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Which of the stage's ways.
    pub demand: u8,
    /// By old part: which part now; `None`: it is asked for no more.
    pub parts: Vec<Option<u8>>,
}

/// By way into the old stage: which way into the new one it is, so that what has been counted goes on counting. The same
/// types first; then what is left, in order, as long as it counts in the same manner.
pub fn demands(old: &StageShape, new: &StageShape) -> Vec<Option<Way>> {
    let mut taken = vec![false; new.demands.len()];
    let mut ways: Vec<Option<Way>> = vec![None; old.demands.len()];
    for same in [true, false] {
        for (way, before) in ways.iter_mut().zip(&old.demands).filter(|(way, _)| way.is_none()) {
            let fits = |(at, after): &(usize, &DemandShape)| {
                !taken[*at] && if same { before == *after } else { is_alike(before, after) }
            };
            let Some((at, after)) = new.demands.iter().enumerate().find(fits) else { continue };
            taken[at] = true;
            *way = u8::try_from(at).ok().map(|demand| Way { demand, parts: parts(before, after) });
        }
    }
    ways
}

fn is_alike(old: &DemandShape, new: &DemandShape) -> bool {
    match (old, new) {
        (DemandShape::Count(_), DemandShape::Count(_)) | (DemandShape::All(_), DemandShape::All(_)) => true,
        (DemandShape::One | DemandShape::Count(_) | DemandShape::All(_), _) => false,
    }
}

fn parts(old: &DemandShape, new: &DemandShape) -> Vec<Option<u8>> {
    match (old, new) {
        (DemandShape::All(old), DemandShape::All(new)) => {
            let place = |mark: &u32| new.iter().position(|known| known == mark);
            old.iter().map(|mark| place(mark).and_then(|at| u8::try_from(at).ok())).collect()
        }
        (DemandShape::Count(_), _) => vec![Some(0)],
        (DemandShape::One | DemandShape::All(_), _) => Vec::new(),
    }
}

/// Whether evidence that was gathered for a rule is evidence for the new one.
pub fn same_evidence(old: &Structure, before: &RuleShape, new: &Structure, after: &RuleShape) -> bool {
    if old.names_only || new.names_only {
        return true;
    }
    let scope = new.changes.new_name(Section::Episodes, &before.scope);
    before.sign == after.sign && scope == after.scope
}
