//! From checked parts to the [`Model`]: what each type means, by index.

use std::collections::HashMap;

use compact_str::CompactString;

use super::{episodes, stages};
use crate::model::{Demand, Enters, EpisodeKind, Model, Stage, StageIndex, TypeRoles, Types, Wait};

/// Puts the model together.
pub(super) fn model(
    name: &str,
    version: u32,
    phases: Vec<(CompactString, Vec<StageIndex>)>,
    stages: &[stages::Checked<'_>],
    episodes: &[episodes::Checked<'_>],
) -> Model {
    let any_progress: Vec<bool> = stages.iter().map(|stage| stage.progresses.is_none()).collect();
    let other = TypeRoles::unnamed(&any_progress, episodes.len());
    let mut roles = Roles { types: HashMap::new(), other: &other };
    for (index, stage) in (0..).zip(stages) {
        roles.add_stage(index, stage);
    }
    for (index, episode) in episodes.iter().enumerate() {
        roles.add_episode(index, episode);
    }
    let named = roles.types;
    let mut types = Types::new(other.clone());
    for (kind, roles) in named {
        types.name(&kind, Vec::new(), vec![roles]);
    }
    let stages = stages.iter().map(compiled_stage).collect();
    let episodes = episodes.iter().map(compiled_episode).collect();
    Model {
        name: name.into(),
        version,
        currency: None,
        phases,
        stages,
        episodes,
        friction: Vec::new(),
        tallies: Vec::new(),
        segments: Vec::new(),
        facts: Vec::new(),
        types,
    }
}

struct Roles<'a> {
    types: HashMap<CompactString, TypeRoles>,
    other: &'a TypeRoles,
}

impl Roles<'_> {
    fn of(&mut self, kind: &str) -> &mut TypeRoles {
        self.types.entry(kind.into()).or_insert_with(|| self.other.clone())
    }

    fn add_stage(&mut self, index: StageIndex, stage: &stages::Checked<'_>) {
        let at = usize::from(index);
        for (kind, _) in &stage.enter {
            let roles = self.of(kind);
            roles.enters.push(Enters { stage: index, demand: 0, part: 0 });
            // What enters a stage is progress in it, listed or not, as what opens an episode is progress of that.
            roles.progresses[at] = true;
        }
        for (kind, _) in stage.progresses.iter().flatten() {
            self.of(kind).progresses[at] = true;
        }
        for (target, types) in &stage.back {
            for (kind, _) in types {
                self.of(kind).back[at] = Some(*target);
            }
        }
        for (kind, _) in &stage.again {
            self.of(kind).again[at] = true;
        }
    }

    fn add_episode(&mut self, at: usize, episode: &episodes::Checked<'_>) {
        for (kind, _) in &episode.opens {
            let role = &mut self.of(kind).episodes[at];
            role.opens = true;
            role.belongs = true;
        }
        for (kind, _) in episode.progresses.iter().flatten() {
            self.of(kind).episodes[at].belongs = true;
        }
        for (kind, _) in &episode.completes {
            self.of(kind).episodes[at].completes = true;
        }
    }
}

fn compiled_stage(stage: &stages::Checked<'_>) -> Stage {
    let written = stage.written;
    Stage {
        name: written.name.value.as_str().into(),
        demands: vec![Demand::One],
        when: None,
        quiet: written.quiet.as_ref().map(|quiet| Wait::Fixed(quiet.value)),
        abandoned_at: None,
        recovered_within: written.recovered.within,
        at_least: None,
        then: None,
        back_on_friction: Vec::new(),
        ends: false,
        optional: written.optional,
    }
}

fn compiled_episode(episode: &episodes::Checked<'_>) -> EpisodeKind {
    let written = episode.written;
    EpisodeKind {
        name: written.name.value.as_str().into(),
        ids: episode.chain.ids.iter().map(|id| CompactString::from(*id)).collect(),
        by_session: episode.chain.by_session,
        by_customer: episode.chain.by_customer,
        worth: written.worth.as_ref().map(|worth| worth.value.as_str().into()),
        abandoned_after: written.abandoned_after.as_ref().map(|after| Wait::Fixed(after.value)),
        abandoned_at: None,
        recovered_within: written.recovered.within,
        strict: written.strict.as_ref().is_some_and(|strict| strict.value),
        any_progress: episode.progresses.is_none(),
    }
}
