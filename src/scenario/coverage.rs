//! Which parts of a model the stories exercise, judged by outcomes alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;

use crate::journey::{Movement, Outcome, Subject, What};
use crate::model::{Model, TypeRoles};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// A part of a model that something can come of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Stage(CompactString),
    Back { from: CompactString, to: CompactString },
    BackOnFriction { from: CompactString, to: CompactString, rule: CompactString },
    Again { from: CompactString },
    Renews { from: CompactString, to: CompactString },
    Then { from: CompactString, to: CompactString },
    StageAbandoned(CompactString),
    EpisodeCompleted(CompactString),
    EpisodeAbandoned(CompactString),
    Friction(CompactString),
    Evidence(CompactString),
    Intervention(CompactString),
    Segment(CompactString),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Stage(stage) => write!(f, "stage {stage} (nothing enters it)"),
            Part::Back { from, to } => write!(f, "way back {from} → {to}"),
            Part::BackOnFriction { from, to, rule } => write!(f, "way back {from} → {to} on friction {rule}"),
            Part::Again { from } => write!(f, "the next journey from {from} (again)"),
            Part::Renews { from, to } => write!(f, "renewal {from} → {to}"),
            Part::Then { from, to } => write!(f, "ending in {to} after {from} was abandoned (then)"),
            Part::StageAbandoned(stage) => write!(f, "stage {stage} abandoned"),
            Part::EpisodeCompleted(kind) => write!(f, "episode {kind} completed"),
            Part::EpisodeAbandoned(kind) => write!(f, "episode {kind} abandoned"),
            Part::Friction(rule) => write!(f, "friction {rule}"),
            Part::Evidence(rule) => write!(f, "friction {rule} as evidence in a score"),
            Part::Intervention(name) => write!(f, "intervention {name}"),
            Part::Segment(segment) => write!(f, "segment {segment}"),
        }
    }
}

/// What of one model has been exercised.
#[derive(Clone, Debug)]
pub struct Coverage {
    model: Arc<Model>,
    /// Every part, in the order of the model.
    parts: Vec<Part>,
    exercised: BTreeSet<Part>,
}

impl Coverage {
    /// Nothing of the model has been exercised.
    pub fn new(model: Arc<Model>) -> Self {
        Coverage { parts: parts(&model), model, exercised: BTreeSet::new() }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Takes down what came out of one row of a story that runs through this model.
    pub fn take(&mut self, outcomes: &[Outcome]) {
        // Friction that leads back comes out beside the way: by whom and when, the rules.
        let mut friction: BTreeMap<(&Identity, Timestamp), Vec<&CompactString>> = BTreeMap::new();
        for outcome in outcomes {
            if let What::Friction { rule, .. } = &outcome.what {
                friction.entry((&outcome.identity, outcome.at)).or_default().push(rule);
            }
        }
        for outcome in outcomes {
            self.exercised.extend(outcome.segment.clone().map(Part::Segment));
            let rules = friction.get(&(&outcome.identity, outcome.at)).map(Vec::as_slice).unwrap_or_default();
            self.take_one(outcome, rules);
        }
    }

    fn take_one(&mut self, outcome: &Outcome, rules: &[&CompactString]) {
        match &outcome.what {
            What::Transition { from, to, movement, .. } => {
                self.exercised.insert(Part::Stage(to.clone()));
                if let Some(from) = from {
                    self.take_move(outcome, from, to, *movement, rules);
                }
            }
            What::Completion { about } => {
                if let Subject::Episode { kind, .. } = &about.subject {
                    self.exercised.insert(Part::EpisodeCompleted(kind.clone()));
                }
            }
            What::Abandonment { about, .. } => match &about.subject {
                Subject::Stage(stage) => drop(self.exercised.insert(Part::StageAbandoned(stage.clone()))),
                Subject::Episode { kind, .. } => drop(self.exercised.insert(Part::EpisodeAbandoned(kind.clone()))),
                Subject::Session(_) | Subject::Journey => {}
            },
            What::Friction { rule, score, .. } => {
                self.exercised.insert(Part::Friction(rule.clone()));
                let evidence = score.iter().flat_map(|(_, rules)| rules.iter().cloned());
                self.exercised.extend(evidence.map(Part::Evidence));
            }
            // Also where it would be offered: a story cannot choose its customer's arm.
            What::Intervention { offer } => drop(self.exercised.insert(Part::Intervention(offer.name.clone()))),
            What::Withdrawal { .. }
            | What::Measurement { .. }
            | What::Resumption { .. }
            | What::Recovery { .. }
            | What::Merge { .. }
            | What::Retraction { .. } => {}
        }
    }

    fn take_move(
        &mut self,
        outcome: &Outcome,
        from: &CompactString,
        to: &CompactString,
        movement: Movement,
        rules: &[&CompactString],
    ) {
        let (from, to) = (from.clone(), to.clone());
        match movement {
            Movement::Advance | Movement::Skip | Movement::Complete => {}
            Movement::Regress => {
                let by_friction: Vec<Part> = self.friction_ways(&from, &to, rules).collect();
                if by_friction.is_empty() {
                    self.exercised.insert(Part::Back { from, to });
                }
                self.exercised.extend(by_friction);
            }
            Movement::ReEnter => drop(self.exercised.insert(Part::Again { from })),
            Movement::Renew => drop(self.exercised.insert(Part::Renews { from, to })),
            Movement::End if outcome.cause.is_none() => drop(self.exercised.insert(Part::Then { from, to })),
            Movement::End => {}
        }
    }

    /// The ways back between two stages that friction of one of these rules leads.
    fn friction_ways(
        &self,
        from: &CompactString,
        to: &CompactString,
        rules: &[&CompactString],
    ) -> impl Iterator<Item = Part> {
        let stage = self.model.stages.iter().filter(|stage| stage.name == *from);
        let ways = stage.flat_map(|stage| &stage.back_on_friction);
        ways.filter_map(move |(rule, entered)| {
            let rule = &self.model.friction.get(usize::from(*rule))?.name;
            let leads = rules.contains(&rule) && self.model.stage_name(*entered) == to;
            leads.then(|| Part::BackOnFriction { from: from.clone(), to: to.clone(), rule: rule.clone() })
        })
    }

    /// How many parts the model has.
    pub fn total(&self) -> usize {
        self.parts.len()
    }

    /// How many of them were exercised.
    pub fn exercised(&self) -> usize {
        self.parts.iter().filter(|part| self.exercised.contains(part)).count()
    }

    /// The parts that no story exercised, in words, in the order of the model.
    pub fn missing(&self) -> Vec<String> {
        self.parts.iter().filter(|part| !self.exercised.contains(part)).map(Part::to_string).collect()
    }

    /// How much was exercised: whole per cent, 100 only where nothing is missing.
    pub fn percent(&self) -> usize {
        (self.exercised() * 100).checked_div(self.total()).unwrap_or(100)
    }
}

/// Everything that can come out of a model.
fn parts(model: &Model) -> Vec<Part> {
    let roles: Vec<&TypeRoles> = model.types.every().collect();
    let name = |stage: u16| -> CompactString { model.stage_name(stage).into() };
    let mut parts = Vec::new();
    for (at, stage) in model.stages.iter().enumerate() {
        let own = || stage.name.clone();
        parts.push(Part::Stage(own()));
        let to = |ways: fn(&TypeRoles) -> &[Option<u16>]| -> BTreeSet<u16> {
            roles.iter().filter_map(|roles| ways(roles).get(at).copied().flatten()).collect()
        };
        parts.extend(to(|roles| &roles.back).into_iter().map(|to| Part::Back { from: own(), to: name(to) }));
        let otherwise = to(|roles| &roles.back_otherwise);
        parts.extend(otherwise.into_iter().map(|to| Part::Back { from: own(), to: name(to) }));
        for (rule, to) in &stage.back_on_friction {
            let rule = model.friction[usize::from(*rule)].name.clone();
            parts.push(Part::BackOnFriction { from: own(), to: name(*to), rule });
        }
        if roles.iter().any(|roles| roles.again.get(at).copied().unwrap_or_default()) {
            parts.push(Part::Again { from: own() });
        }
        parts.extend(to(|roles| &roles.renews).into_iter().map(|to| Part::Renews { from: own(), to: name(to) }));
        if stage.quiet.is_some() || stage.abandoned_at.is_some() {
            parts.push(Part::StageAbandoned(own()));
        }
        parts.extend(stage.then.map(|to| Part::Then { from: own(), to: name(to) }));
    }
    for (at, kind) in model.episodes.iter().enumerate() {
        let completed = roles.iter().any(|roles| roles.episodes.get(at).is_some_and(|role| role.completes));
        if completed || kind.completes_when.is_some() {
            parts.push(Part::EpisodeCompleted(kind.name.clone()));
        }
        if kind.abandoned_after.is_some() || kind.abandoned_at.is_some() {
            parts.push(Part::EpisodeAbandoned(kind.name.clone()));
        }
    }
    parts.extend(model.friction.iter().map(|rule| match rule.evidence_only {
        true => Part::Evidence(rule.name.clone()),
        false => Part::Friction(rule.name.clone()),
    }));
    parts.extend(model.interventions.iter().map(|intervention| Part::Intervention(intervention.name.clone())));
    parts.extend(model.segments.iter().map(|segment| Part::Segment(segment.name.clone())));
    // Friction and a touchpoint may lead the same way.
    let mut seen = BTreeSet::new();
    parts.retain(|part| seen.insert(part.clone()));
    parts
}
