//! What a touchpoint counts for among the ways into stages: at once, with others within a window, or not at all (rule 10).

use serde::{Deserialize, Serialize};

use super::stages::Belongs;
use super::{Arrival, Journey};
use crate::model::{Demand, Enters, Model, StageIndex, TypeRoles};
use crate::time::{Span, Timestamp};

/// What has come so far of what a stage demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The stage.
    pub stage: StageIndex,
    /// Which of its demands.
    pub demand: u8,
    /// By instant: which part came. Of a demand for all, each part once, the latest.
    pub seen: Vec<(Timestamp, u8)>,
}

impl Journey {
    /// The stages that the touchpoint belongs to, and those whose demand it fulfils.
    pub(super) fn belongs(&mut self, model: &Model, roles: &TypeRoles, arrival: &Arrival<'_>) -> Belongs {
        let mut belongs = Belongs::default();
        let mut judged: Option<(StageIndex, bool)> = None;
        for way in &roles.enters {
            let stage = &model.stages[usize::from(way.stage)];
            let held = match judged {
                Some((stage, held)) if stage == way.stage => held,
                Some(_) | None => {
                    let view = self.view(model, arrival.touchpoint);
                    stage.when.as_ref().is_none_or(|when| when.holds(&view))
                }
            };
            judged = Some((way.stage, held));
            if !held {
                continue;
            }
            belongs.named.insert(way.stage);
            let fulfilled = match stage.demands.get(usize::from(way.demand)) {
                Some(Demand::One) => true,
                Some(Demand::Count { times, within }) => self.count(way, *times, *within, arrival.moment.counts_from),
                Some(Demand::All { parts, within }) => self.collect(way, *parts, *within, arrival.moment.counts_from),
                None => false,
            };
            if fulfilled {
                belongs.fulfilled.insert(way.stage);
            }
        }
        belongs
    }

    /// The stage is entered: what was counted for it is used up.
    pub(super) fn forget_counts(&mut self, stage: StageIndex) {
        self.counted.retain(|counted| counted.stage != stage);
    }

    /// Another one of several; whether there are enough within the window.
    fn count(&mut self, way: &Enters, times: u8, within: Span, at: Timestamp) -> bool {
        let (seen, times) = (self.seen(way), usize::from(times));
        let place = seen.iter().rposition(|(other, _)| *other <= at).map_or(0, |place| place + 1);
        seen.insert(place, (at, 0));
        // By more than one where the model asks for fewer than it did (rule 25).
        seen.drain(..seen.len().saturating_sub(times));
        seen.len() == times && seen[times - 1].0 < seen[0].0 + within
    }

    /// One of the parts; whether all have come within the window.
    fn collect(&mut self, way: &Enters, parts: u8, within: Span, at: Timestamp) -> bool {
        let seen = self.seen(way);
        // Parts that the model asks for no more (rule 25).
        seen.retain(|(_, part)| *part < parts);
        match seen.iter_mut().find(|(_, part)| *part == way.part) {
            Some((known, _)) => *known = (*known).max(at),
            None => seen.push((at, way.part)),
        }
        let first = seen.iter().map(|(at, _)| *at).min();
        let last = seen.iter().map(|(at, _)| *at).max();
        seen.len() == usize::from(parts) && first.zip(last).is_some_and(|(first, last)| last < first + within)
    }

    fn seen(&mut self, way: &Enters) -> &mut Vec<(Timestamp, u8)> {
        let known = |counted: &Counted| counted.stage == way.stage && counted.demand == way.demand;
        let place = match self.counted.iter().position(known) {
            Some(place) => place,
            None => {
                self.counted.push(Counted { stage: way.stage, demand: way.demand, seen: Vec::new() });
                self.counted.len() - 1
            }
        };
        &mut self.counted[place].seen
    }
}
