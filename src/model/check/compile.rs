//! From checked parts to the [`Model`]: what each type means, by index and by which conditions of groups hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use compact_str::CompactString;

use super::conditions::Conditions;
use super::groups::{ANY, Guard, Mention, too_many_conditions};
use super::{MAX_CONDITIONS, episodes, friction, stages, tallies};
use crate::diagnostic::{Faults, Place};
use crate::expression::Expression;
use crate::model::written::{self, Kind};
use crate::model::{
    Again, Changes, Declared, Enters, EpisodeKind, EpisodeRole, Evidence, Forward, Friction, Intervention, Join, Model,
    RuleIndex, Segment, Sign, Stage, StageIndex, Sum, Tally, TypeRoles, Types,
};
use crate::time::Span;
use crate::touchpoint::{CURRENCY, Form, SumOfList, is_about_offers};

/// For so long an episode that ended is remembered, unless the model says otherwise or its recovery window is longer.
const REMEMBERED_FOR: Span = Span::from_days(30);

/// What the rooms have resolved.
pub(super) struct Parts<'a> {
    pub(super) segments: Vec<Segment>,
    /// The conditions of groups, by the groups' places.
    pub(super) guards: Vec<Option<Expression>>,
    pub(super) tallies: Vec<tallies::Checked<'a>>,
    pub(super) stages: Vec<stages::Checked<'a>>,
    pub(super) phases: Vec<(CompactString, Vec<StageIndex>)>,
    pub(super) episodes: Vec<episodes::Checked<'a>>,
    pub(super) friction: Vec<friction::Checked<'a>>,
    pub(super) interventions: Vec<Intervention>,
    pub(super) forwards: Vec<Forward>,
}

/// Puts the model together; `None` where there is an error.
pub(super) fn model(
    (name, version): (&str, u32),
    parts: Parts<'_>,
    changes: Changes,
    conditions: Conditions<'_>,
    faults: &mut Faults,
) -> Option<Model> {
    let meanings = Meanings::of(&parts);
    meanings.check(faults);
    if !faults.usable() {
        return None;
    }
    let types = meanings.into_types(&parts)?;
    let mut properties: BTreeSet<CompactString> = conditions.properties_read().map(CompactString::from).collect();
    let kinds: BTreeMap<CompactString, (Option<Kind>, Form)> = conditions.declarations().collect();
    let sums: BTreeMap<CompactString, SumOfList> = conditions.sums_of_lists().collect();
    let (currency, zone, facts) = conditions.into_parts();
    let mut model = Model {
        name: name.into(),
        version,
        currency,
        zone,
        phases: parts.phases,
        stages: parts.stages.iter().map(stage).collect(),
        episodes: parts.episodes.iter().map(episode).collect(),
        friction: parts.friction.into_iter().map(|checked| checked.rule).collect(),
        tallies: parts.tallies.into_iter().map(|checked| checked.tally).collect(),
        segments: parts.segments,
        facts,
        properties: Vec::new(),
        declared: Vec::new(),
        sums_of_lists: Vec::new(),
        forms: kinds
            .iter()
            .filter(|(_, (_, form))| *form != Form::default())
            .map(|(name, (_, form))| (name.clone(), *form))
            .collect(),
        types,
        interventions: parts.interventions,
        forwards: parts.forwards,
        contacts: None,
        changes,
    };
    read_beside_conditions(&model, &mut properties);
    model.declared = properties.iter().map(|name| declared(&model, name, kinds.get(name))).collect();
    model.properties = properties.into_iter().collect();
    model.sums_of_lists = sums.into_iter().filter(|(name, _)| model.reads(name)).collect();
    Some(model)
}

/// What a property must be to be of use.
fn declared(model: &Model, name: &CompactString, written: Option<&(Option<Kind>, Form)>) -> Declared {
    let (kind, form) = written.copied().unwrap_or_default();
    let is_worth = model.episodes.iter().any(|kind| kind.worth.as_ref() == Some(name));
    let once = |tally: &Tally| tally.once.as_ref() == Some(name);
    let is_once = model.tallies.iter().any(once) || model.episodes.iter().any(|kind| kind.sums.iter().any(once));
    let joins = |join: &Join| join.from.0 == *name || join.into.0 == *name;
    let is_joined = model.episodes.iter().any(|kind| kind.joins.iter().any(joins));
    let asks_by = |rule: &Friction| matches!(&rule.sign, Sign::Missing { by: Some(by), .. } if by == name);
    Declared {
        kind: kind.or(is_worth.then_some(Kind::Money)),
        form,
        is_id: is_once
            || is_joined
            || model.forwards.iter().any(|forward| forward.to == *name)
            || model.episodes.iter().any(|kind| kind.ids.contains(name))
            || model.friction.iter().any(asks_by),
    }
}

/// The properties that are read without a line that mentions them: ids, amounts, what is summed up, what names a question.
fn read_beside_conditions(model: &Model, properties: &mut BTreeSet<CompactString>) {
    let mut amounts = Vec::new();
    for kind in &model.episodes {
        properties.extend(kind.ids.iter().cloned());
        amounts.extend(&kind.worth);
        properties.extend(kind.joins.iter().flat_map(|join| [join.from.0.clone(), join.into.0.clone()]));
    }
    for tally in model.tallies.iter().chain(model.episodes.iter().flat_map(|kind| &kind.sums)) {
        properties.extend(tally.once.clone());
        match &tally.sum {
            Sum::Number(property) | Sum::Last(property, _) => drop(properties.insert(property.clone())),
            Sum::Money(property) => amounts.push(property),
            Sum::Count | Sum::Visits => {}
        }
    }
    for rule in &model.friction {
        match &rule.sign {
            Sign::Missing { by: Some(by), .. } => drop(properties.insert(by.clone())),
            Sign::Missing { by: None, .. } | Sign::Count { .. } | Sign::Pattern { .. } | Sign::Score { .. } => {}
        }
    }
    properties.extend(model.forwards.iter().map(|forward| forward.to.clone()));
    if !amounts.is_empty() {
        properties.insert(CURRENCY.into());
    }
    properties.extend(amounts.into_iter().cloned());
}

/// One thing that a mention of a type makes it mean.
#[derive(Clone, Copy)]
enum Meaning {
    Enters(Enters),
    Progresses(usize),
    Back(usize, StageIndex),
    Again(usize),
    Renews(usize, StageIndex),
    Opens(usize),
    ProgressesEpisode(usize),
    Completes(usize),
    Empties(usize),
    Cancels(usize),
    Joins(usize, u8),
    Sums(usize, u32),
    Counts(usize),
    Evidence(RuleIndex, u32),
}

/// By type, everything it means, in the order of the model, and when.
#[derive(Default)]
struct Meanings<'a> {
    types: HashMap<&'a str, Vec<(Guard, Meaning)>>,
    places: HashMap<&'a str, &'a Place>,
}

impl<'a> Meanings<'a> {
    fn of(parts: &Parts<'a>) -> Self {
        let mut meanings = Meanings::default();
        for (index, stage) in (0..).zip(&parts.stages) {
            meanings.add_stage(index, stage);
        }
        for (at, episode) in parts.episodes.iter().enumerate() {
            meanings.add_episode(at, episode);
        }
        for (at, tally) in parts.tallies.iter().enumerate() {
            meanings.add(tally.of.iter().flatten(), Meaning::Counts(at));
        }
        for (index, rule) in (0..).zip(&parts.friction) {
            for (part, types) in rule.parts.iter().enumerate() {
                meanings.add(types, Meaning::Evidence(index, 1 << part));
            }
        }
        meanings
    }

    fn add<'m>(&mut self, mentions: impl IntoIterator<Item = &'m Mention<'a>>, meaning: Meaning)
    where
        'a: 'm,
    {
        for mention in mentions {
            self.places.entry(mention.kind).or_insert(mention.place);
            self.types.entry(mention.kind).or_default().push((mention.guard.clone(), meaning));
        }
    }

    fn add_stage(&mut self, index: StageIndex, stage: &stages::Checked<'a>) {
        let at = usize::from(index);
        for (demand, way) in (0..).zip(&stage.enter) {
            for (part, types) in (0..).zip(&way.parts) {
                self.add(types, Meaning::Enters(Enters { stage: index, demand, part }));
            }
        }
        self.add(stage.progresses.iter().flatten(), Meaning::Progresses(at));
        for (target, types) in &stage.back {
            self.add(types, Meaning::Back(at, *target));
        }
        self.add(&stage.again, Meaning::Again(at));
        for (target, types) in &stage.renews {
            self.add(types, Meaning::Renews(at, *target));
        }
    }

    fn add_episode(&mut self, at: usize, episode: &episodes::Checked<'a>) {
        self.add(&episode.opens, Meaning::Opens(at));
        self.add(episode.progresses.iter().flatten(), Meaning::ProgressesEpisode(at));
        self.add(&episode.completes, Meaning::Completes(at));
        self.add(&episode.empties, Meaning::Empties(at));
        self.add(&episode.cancels, Meaning::Cancels(at));
        for (way, (_, types)) in (0..).zip(&episode.joins) {
            self.add(types, Meaning::Joins(at, way));
        }
        for (bit, sum) in episode.sums.iter().enumerate() {
            self.add(sum.of.iter().flatten(), Meaning::Sums(at, 1 << bit));
        }
    }

    /// Each type has a table of roles by its conditions, so there cannot be many of those.
    fn check(&self, faults: &mut Faults) {
        let mut beyond: Vec<&str> =
            self.types.iter().filter(|(_, all)| guards(all).len() > MAX_CONDITIONS).map(|(kind, _)| *kind).collect();
        beyond.sort_unstable();
        for kind in beyond {
            too_many_conditions(kind, self.places[kind], faults);
        }
    }

    fn into_types(mut self, parts: &Parts<'_>) -> Option<Types> {
        let any = self.types.remove(ANY).unwrap_or_default();
        let any_progress: Vec<bool> = parts.stages.iter().map(|stage| stage.progresses.is_none()).collect();
        let mut other = TypeRoles::unnamed(&any_progress, parts.episodes.len());
        other.tallies = (0..parts.tallies.len()).filter(|at| parts.tallies[*at].of.is_none()).collect();
        let mut unnamed = other.clone();
        do_otherwise(&mut unnamed, &any);
        // What became of an offer is nothing that the customer does, so only what is listed is meant.
        let (progresses, tallies) = (vec![false; any_progress.len()], Vec::new());
        let about_offers = TypeRoles { progresses, tallies, ..other.clone() };
        let mut types = Types::new(unnamed.clone(), about_offers.clone());
        // What is forwarded is no type that nobody knows, whatever else it means.
        for forward in parts.forwards.iter().filter(|forward| !self.types.contains_key(forward.kind.as_str())) {
            types.name(&forward.kind, Vec::new(), vec![unnamed.clone()]);
        }
        for (kind, all) in &self.types {
            let on: Vec<usize> = guards(all).into_iter().collect();
            let conditions: Option<Vec<Expression>> = on.iter().map(|guard| parts.guards.get(*guard)?.clone()).collect();
            let roles = (0..1_usize << on.len()).map(|bits| {
                let holds = |guard: &usize| on.iter().position(|one| one == guard).is_some_and(|bit| bits & 1 << bit != 0);
                let held = all.iter().filter(|(guard, _)| guard.iter().all(holds));
                if is_about_offers(kind) {
                    return roles(&about_offers, held.map(|(_, meaning)| *meaning));
                }
                let mut roles = roles(&other, held.map(|(_, meaning)| *meaning));
                do_otherwise(&mut roles, &any);
                roles
            });
            types.name(kind, conditions?, roles.collect());
        }
        Some(types)
    }
}

fn guards(all: &[(Guard, Meaning)]) -> BTreeSet<usize> {
    all.iter().flat_map(|(guard, _)| guard).copied().collect()
}

fn roles(other: &TypeRoles, meanings: impl Iterator<Item = Meaning>) -> TypeRoles {
    let mut roles = other.clone();
    for meaning in meanings {
        match meaning {
            Meaning::Enters(way) => {
                if !roles.enters.contains(&way) {
                    roles.enters.push(way);
                }
            }
            Meaning::Progresses(at) => roles.progresses[at] = true,
            // Under conditions a type can be listed for several ways; the first that is listed leads.
            Meaning::Back(at, target) => {
                roles.back[at].get_or_insert(target);
            }
            Meaning::Again(at) => roles.again[at] = true,
            Meaning::Renews(at, target) => {
                roles.renews[at].get_or_insert(target);
            }
            Meaning::Opens(at) => {
                roles.episodes[at].opens = true;
                roles.episodes[at].belongs = true;
            }
            Meaning::ProgressesEpisode(at) => roles.episodes[at].belongs = true,
            Meaning::Completes(at) => roles.episodes[at].completes = true,
            Meaning::Empties(at) => roles.episodes[at].empties = true,
            Meaning::Cancels(at) => roles.episodes[at].cancels = true,
            Meaning::Joins(at, way) => {
                roles.episodes[at].joins.get_or_insert(way);
                roles.episodes[at].belongs = true;
            }
            Meaning::Sums(at, bit) => {
                roles.episodes[at].sums |= bit;
                roles.episodes[at].belongs = true;
            }
            Meaning::Counts(tally) => roles.tallies.push(tally),
            Meaning::Evidence(rule, parts) => match roles.friction.last_mut().filter(|last| last.rule == rule) {
                Some(evidence) => evidence.parts |= parts,
                None => roles.friction.push(Evidence { rule, parts }),
            },
        }
    }
    roles.tallies.sort_unstable();
    roles.tallies.dedup();
    // A type that ends an episode one way under a condition and another way without does the latter alone nowhere.
    roles.episodes.iter_mut().for_each(one_end);
    roles
}

/// What `any` means for a type, beside what it means itself.
fn do_otherwise(roles: &mut TypeRoles, any: &[(Guard, Meaning)]) {
    let enters_none = roles.enters.is_empty();
    for (_, meaning) in any {
        match meaning {
            Meaning::Enters(way) if enters_none => roles.enters.push(*way),
            Meaning::Back(at, target) => {
                roles.back_otherwise[*at].get_or_insert(*target);
            }
            Meaning::Opens(at) => {
                let role = &mut roles.episodes[*at];
                if !(role.completes || role.empties || role.cancels || role.joins.is_some()) {
                    (role.opens, role.belongs) = (true, true);
                }
            }
            Meaning::Evidence(rule, parts) => match roles.friction.binary_search_by_key(rule, |known| known.rule) {
                Ok(place) => roles.friction[place].parts |= parts,
                Err(place) => roles.friction.insert(place, Evidence { rule: *rule, parts: *parts }),
            },
            // What enters a stage by name is no other; and nothing else takes `any`.
            Meaning::Enters(_)
            | Meaning::Progresses(_)
            | Meaning::Again(_)
            | Meaning::Renews(..)
            | Meaning::ProgressesEpisode(_)
            | Meaning::Completes(_)
            | Meaning::Empties(_)
            | Meaning::Cancels(_)
            | Meaning::Joins(..)
            | Meaning::Sums(..)
            | Meaning::Counts(_) => {}
        }
    }
}

/// One touchpoint ends an episode one way: completing it wins.
fn one_end(role: &mut EpisodeRole) {
    role.cancels &= !role.completes;
    role.empties &= !role.completes && !role.cancels;
}

fn again(written: &written::Again) -> Again {
    Again { every: written.every.value, at_most: written.at_most }
}

fn stage(checked: &stages::Checked<'_>) -> Stage {
    let written = checked.written;
    Stage {
        name: written.name.value.as_str().into(),
        demands: checked.enter.iter().map(|way| way.demand).collect(),
        when: checked.when.clone(),
        quiet: checked.quiet.clone(),
        abandoned_at: checked.abandoned_at.clone(),
        abandoned_again: written.abandoned_again.as_ref().map(again),
        recovered_within: written.recovered.within,
        at_least: written.at_least.as_ref().map(|span| span.value),
        then: checked.then,
        back_on_friction: checked.back_on_friction.clone(),
        ends: written.ends.is_some(),
        optional: written.optional,
    }
}

fn episode(checked: &episodes::Checked<'_>) -> EpisodeKind {
    let written = checked.written;
    EpisodeKind {
        name: written.name.value.as_str().into(),
        ids: checked.chain.ids.iter().map(|id| CompactString::from(*id)).collect(),
        by_session: checked.chain.by_session,
        by_customer: checked.chain.by_customer,
        worth: written.worth.as_ref().map(|worth| worth.value.as_str().into()),
        abandoned_after: checked.abandoned_after.clone(),
        abandoned_at: checked.abandoned_at.clone(),
        again: written.again.as_ref().map(again),
        recovered_within: written.recovered.within,
        remembered_for: match &written.remembered_for {
            Some(written) => written.value,
            None => written.recovered.within.max(REMEMBERED_FOR),
        },
        completes_when: checked.completes_when.clone(),
        sums_of_any: checked
            .sums
            .iter()
            .enumerate()
            .filter(|(_, sum)| sum.of.is_none())
            .fold(0, |bits, (at, _)| bits | 1 << at),
        sums: checked.sums.iter().map(|sum| sum.tally.clone()).collect(),
        joins: checked.joins.iter().map(|(join, _)| join.clone()).collect(),
        strict: written.strict.as_ref().is_some_and(|strict| strict.value),
        any_progress: checked.progresses.is_none(),
    }
}
