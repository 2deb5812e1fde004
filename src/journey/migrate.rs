//! Bringing a customer's state over to other models (rule 25): what stood in a place is found again by its name.
//!
//! Pure, and a function of the state and the two structures alone: whoever reads the same state later, and goes through the
//! same structures, has the same result. Instants, numbers, sequences and evidence stay as they are; no outcome comes of it.
//! What the new model does not have is dropped. Whether that may be is for [`crate::model::between`] to say, beforehand.

use compact_str::CompactString;

use super::{
    Closed, ClosedIds, Counted, Customer, Episode, EpisodeId, EpisodeIds, EpisodeKindState, Journey, LatestAt, SessionSigns,
    Signs, Standing, TallyState,
};
use crate::model::{
    EpisodeIndex, KindShape, RuleIndex, Section, SegmentIndex, StageIndex, Structure, TallyShape, Way, demands,
    same_evidence,
};
use crate::time::Timestamp;

/// From one list of models to another.
#[derive(Clone, Debug)]
pub struct Migration {
    /// By new model: where it stood, and how its journeys come over; `None`: it is new.
    models: Vec<(Option<(usize, Passage)>, Structure)>,
}

impl Migration {
    /// From these models (names and structures, in the order of the journeys) to those.
    pub fn new(old: &[(&str, &Structure)], new: &[(&str, &Structure)]) -> Self {
        let model = |(name, structure): &(&str, &Structure)| {
            let place = old.iter().position(|(known, _)| known == name);
            (place.map(|place| (place, Passage::new(old[place].1, structure))), (*structure).clone())
        };
        Migration { models: new.iter().map(model).collect() }
    }

    /// Brings a customer over.
    pub fn migrate(&self, customer: &mut Customer) {
        self.migrate_journeys(&mut customer.journeys);
        if let Some(redirect) = &mut customer.redirect {
            let before = |place: usize| redirect.sequences.get(place).copied().unwrap_or(0);
            redirect.sequences =
                self.models.iter().map(|(from, _)| from.as_ref().map_or(0, |(place, _)| before(*place))).collect();
        }
        customer.window.seal();
    }

    /// Brings a customer's journeys over.
    pub fn migrate_journeys(&self, journeys: &mut Vec<Journey>) {
        let mut old: Vec<Option<Journey>> = std::mem::take(journeys).into_iter().map(Some).collect();
        for (from, structure) in &self.models {
            let journey = from.as_ref().and_then(|(place, passage)| {
                let journey = old.get_mut(*place)?.take()?;
                Some(if journey.has_begun() { passage.bring(journey) } else { nobody(structure) })
            });
            journeys.push(journey.unwrap_or_else(|| nobody(structure)));
        }
        // Models that have not seen the customer yet need a place only where another comes after them.
        while journeys.last().is_some_and(|journey| !journey.has_begun()) {
            journeys.pop();
        }
    }
}

fn nobody(structure: &Structure) -> Journey {
    let tallies = structure.tallies.iter().map(TallyState::of_shape).collect();
    Journey::unbegun(structure.stages.len(), structure.episodes.len(), tallies)
}

/// How the journeys of one model come over. Lists go by the places in the old model.
#[derive(Clone, Debug)]
struct Passage {
    stages: Vec<Goes>,
    /// By new stage: whether the journey ends there.
    ends: Vec<bool>,
    kinds: Vec<Option<Kind>>,
    rules: Vec<Option<Rule>>,
    tallies: Vec<Option<usize>>,
    segments: Vec<Option<SegmentIndex>>,
    /// What the new model sums up.
    sums: Vec<TallyShape>,
    /// By new tally: the old one's sum is of another sort.
    anew: Vec<bool>,
    new_kinds: usize,
}

/// Where an old stage has gone.
#[derive(Clone, Debug)]
enum Goes {
    /// It is this one, and these are its ways in; `None`: nothing is known of the ways, and they are taken as they stand.
    On(StageIndex, Option<Vec<Option<Way>>>),
    /// It is gone, and journeys go on there.
    Into(StageIndex),
    Nowhere,
}

impl Goes {
    fn to(&self) -> Option<StageIndex> {
        match self {
            Goes::On(stage, _) | Goes::Into(stage) => Some(*stage),
            Goes::Nowhere => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Kind {
    index: EpisodeIndex,
    /// By old name in the chain: its place now. `None`: nothing is known of the chain, and it is taken as it stands.
    ids: Option<Vec<Option<u8>>>,
    /// An episode can be found without an id.
    falls_back: bool,
    /// What is summed up in one, each with the place it had, if it goes on.
    sums: Vec<(TallyShape, Option<usize>)>,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    index: RuleIndex,
    keeps_evidence: bool,
}

impl Passage {
    fn new(old: &Structure, new: &Structure) -> Self {
        let place = |section: Section, name: &str| new.place_of(section, name);
        let stage = |of: &crate::model::StageShape| match place(Section::Stages, &of.name) {
            Some(at) => Goes::On(at as StageIndex, (!old.names_only).then(|| demands(of, &new.stages[at]))),
            None => {
                let into = new.changes.instead_of(&of.name);
                let into = into.and_then(|to| new.stages.iter().position(|stage| stage.name == to));
                into.map_or(Goes::Nowhere, |to| Goes::Into(to as StageIndex))
            }
        };
        let kind = |of: &KindShape| {
            let at = place(Section::Episodes, &of.name)?;
            let now = &new.episodes[at];
            let id = |name: &CompactString| {
                let name = new.changes.new_name(Section::Ids, name);
                now.ids.iter().position(|known| known == name).map(|at| at as u8)
            };
            let ids = (!old.names_only).then(|| of.ids.iter().map(id).collect());
            let before = |sum: &TallyShape| of.sums.iter().position(|old| old.name == sum.name && sum.goes_on_from(old));
            let sums = now.sums.iter().map(|sum| (sum.clone(), before(sum))).collect();
            Some(Kind { index: at as EpisodeIndex, ids, falls_back: now.session || now.customer, sums })
        };
        let rule = |of: &crate::model::RuleShape| {
            let at = place(Section::Friction, &of.name)?;
            let keeps_evidence = same_evidence(old, of, new, &new.friction[at]);
            Some(Rule { index: at as RuleIndex, keeps_evidence })
        };
        let tallies: Vec<Option<usize>> = old.tallies.iter().map(|tally| place(Section::Tallies, &tally.name)).collect();
        let mut anew = vec![false; new.tallies.len()];
        for (before, at) in old.tallies.iter().zip(&tallies).filter(|_| !old.names_only) {
            if let Some(at) = at {
                anew[*at] = !new.tallies[*at].goes_on_from(before);
            }
        }
        let segment = |name: &CompactString| place(Section::Segments, name).map(|at| at as SegmentIndex);
        Passage {
            stages: old.stages.iter().map(stage).collect(),
            ends: new.stages.iter().map(|stage| stage.ends).collect(),
            kinds: old.episodes.iter().map(kind).collect(),
            rules: old.friction.iter().map(rule).collect(),
            tallies,
            segments: old.segments.iter().map(segment).collect(),
            sums: new.tallies.clone(),
            anew,
            new_kinds: new.episodes.len(),
        }
    }

    fn stage(&self, old: StageIndex) -> Option<StageIndex> {
        self.stages.get(usize::from(old))?.to()
    }

    fn bring(&self, journey: Journey) -> Journey {
        let reached = self.reached(&journey);
        let mut influence = journey.influence;
        if let Some(influence) = &mut influence {
            influence.stage = influence.stage.and_then(|stage| self.stage(stage));
        }
        Journey {
            reached,
            standing: journey.standing.and_then(|standing| self.standing(standing)),
            episodes: journey.episodes.into_iter().filter_map(|episode| self.episode(episode)).collect(),
            kinds: self.kinds(journey.kinds),
            tallies: self.tallies(journey.tallies),
            segment: journey.segment.and_then(|segment| *self.segments.get(usize::from(segment))?),
            counted: journey.counted.into_iter().filter_map(|counted| self.counted(counted)).collect(),
            sessions: journey.sessions.into_iter().map(|session| self.session(session)).collect(),
            signs: self.signs(journey.signs),
            influence,
            number: journey.number,
            started_at: journey.started_at,
            sequence: journey.sequence,
            transitions: journey.transitions,
            frictions: journey.frictions,
        }
    }

    /// A stage that others have gone into was reached as far as it was itself, or as the journey stands there now.
    fn reached(&self, journey: &Journey) -> Vec<Option<Timestamp>> {
        let mut reached: Vec<Option<Timestamp>> = vec![None; self.ends.len()];
        for (goes, at) in self.stages.iter().zip(&journey.reached) {
            if let Goes::On(to, _) = goes {
                reached[usize::from(*to)] = *at;
            }
        }
        if let Some(standing) = &journey.standing
            && let Some(to) = self.stage(standing.stage)
        {
            let since = journey.reached.get(usize::from(standing.stage)).copied().flatten();
            reached[usize::from(to)].get_or_insert(since.unwrap_or(standing.watch.opened_at));
        }
        reached
    }

    fn standing(&self, standing: Standing) -> Option<Standing> {
        let stage = self.stage(standing.stage)?;
        let mut standing = Standing { stage, signs: self.signs(standing.signs), ..standing };
        if self.ends[usize::from(stage)] {
            // The journey is over there: nothing is awaited.
            standing.watch.deadline = Timestamp::MAX;
            standing.watch.until = None;
            standing.signs.forget_evidence();
        }
        Some(standing)
    }

    fn episode(&self, mut episode: Episode) -> Option<Episode> {
        let kind = self.kinds.get(usize::from(episode.kind))?.as_ref()?;
        let named = !episode.ids.is_empty();
        let ids = std::mem::take(&mut episode.ids);
        for id in ids.into_iter().filter_map(|id| kind.id(id)) {
            // Two names of one thing can have become one.
            if !episode.ids.contains(&id) {
                episode.ids.push(id);
            }
        }
        if named && episode.ids.is_empty() && !kind.falls_back {
            // Nothing that comes could ever be about it.
            return None;
        }
        let sum = |(shape, place): &(TallyShape, Option<usize>)| {
            let known = place.and_then(|place| episode.sums.get(place).cloned());
            known.map_or_else(|| TallyState::of_shape(shape), |state| self.tally(state))
        };
        let sums = kind.sums.iter().map(sum).collect();
        Some(Episode { kind: kind.index, signs: self.signs(episode.signs), sums, ..episode })
    }

    fn kinds(&self, old: Vec<EpisodeKindState>) -> Vec<EpisodeKindState> {
        let mut kinds = vec![EpisodeKindState::default(); self.new_kinds];
        for (kind, state) in self.kinds.iter().zip(old) {
            let Some(kind) = kind else { continue };
            let ids = |ids: EpisodeIds| -> EpisodeIds { ids.into_iter().filter_map(|id| kind.id(id)).collect() };
            let closed = state.closed.0.into_iter().map(|closed| Closed { ids: ids(closed.ids), ..closed });
            let closed = ClosedIds(closed.filter(|closed| !closed.ids.is_empty()).collect());
            let reused = state.reused.into_iter().filter_map(|id| kind.id(id)).collect();
            kinds[usize::from(kind.index)] = EpisodeKindState { closed, reused, ..state };
        }
        kinds
    }

    fn tallies(&self, old: Vec<TallyState>) -> Vec<TallyState> {
        let mut tallies: Vec<TallyState> = self.sums.iter().map(TallyState::of_shape).collect();
        for (place, state) in self.tallies.iter().zip(old) {
            let Some(place) = place.filter(|place| !self.anew[*place]) else { continue };
            tallies[place] = self.tally(state);
        }
        tallies
    }

    fn tally(&self, state: TallyState) -> TallyState {
        match state {
            TallyState::Last { customer, journey, stages, at } => {
                let goes_on = |stage: StageIndex| match self.stages.get(usize::from(stage))? {
                    Goes::On(to, _) => Some(*to),
                    Goes::Into(_) | Goes::Nowhere => None,
                };
                let times = at.stages.into_iter().chain(std::iter::repeat(Timestamp::MIN));
                let (stages, times) = stages
                    .into_iter()
                    .zip(times)
                    .filter_map(|((stage, value), at)| Some(((goes_on(stage)?, value), at)))
                    .unzip();
                TallyState::Last { customer, journey, stages, at: LatestAt { stages: times, ..at } }
            }
            TallyState::Count { .. }
            | TallyState::Number { .. }
            | TallyState::Money { .. }
            | TallyState::Visits { .. }
            | TallyState::Once { .. } => state,
        }
    }

    /// What counts towards entering a stage that goes on, as far as it still counts there.
    fn counted(&self, counted: Counted) -> Option<Counted> {
        let Goes::On(stage, ways) = self.stages.get(usize::from(counted.stage))? else { return None };
        let Some(ways) = ways else { return Some(Counted { stage: *stage, ..counted }) };
        let way = ways.get(usize::from(counted.demand))?.as_ref()?;
        let part = |part: u8| *way.parts.get(usize::from(part))?;
        let seen: Vec<(Timestamp, u8)> = counted.seen.into_iter().filter_map(|(at, old)| Some((at, part(old)?))).collect();
        (!seen.is_empty()).then_some(Counted { stage: *stage, demand: way.demand, seen })
    }

    fn session(&self, session: SessionSigns) -> SessionSigns {
        SessionSigns { signs: self.signs(session.signs), ..session }
    }

    fn signs(&self, signs: Signs) -> Signs {
        signs.brought_over(|old| {
            let rule = self.rules.get(usize::from(old)).copied().flatten()?;
            Some((rule.index, rule.keeps_evidence))
        })
    }
}

impl Kind {
    fn id(&self, id: EpisodeId) -> Option<EpisodeId> {
        let Some(ids) = &self.ids else { return Some(id) };
        let name = (*ids.get(usize::from(id.name))?)?;
        Some(EpisodeId { name, value: id.value })
    }
}
