//! What came of the demo's offers so far: those who were offered something beside those who were held out. Pure.
//!
//! `sillage uplift` waits until the goal's window is over; a demo ends before. Customers whose window is still open count in both
//! arms alike.

use std::collections::HashMap;

use compact_str::CompactString;

use crate::journey::{Outcome, What};
use crate::model::{Model, Trigger};
use crate::touchpoint::Identity;
use crate::uplift;

/// Customers of an arm, and those among them who have reached the goal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) customers: u64,
    pub(super) reached: u64,
}

impl Reached {
    pub(super) fn percent(self) -> f64 {
        self.reached as f64 * 100.0 / self.customers.max(1) as f64
    }
}

/// One intervention.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    pub(super) name: CompactString,
    pub(super) offered: Reached,
    pub(super) held_out: Reached,
    /// From where to where the difference lies, in percentage points; `None` while there are too few.
    pub(super) interval: Option<(f64, f64)>,
}

/// All interventions that have a goal.
#[derive(Debug)]
pub(super) struct Trials {
    all: Vec<(Trial, Trigger)>,
    /// By customer: the trials that they are part of, whether they are held out, and whether they have reached the goal.
    customers: HashMap<Identity, Vec<(usize, bool, bool)>>,
}

impl Trials {
    pub(super) fn new(model: &Model) -> Self {
        let trial = |name: &CompactString| Trial {
            name: name.clone(),
            offered: Reached::default(),
            held_out: Reached::default(),
            interval: None,
        };
        let all = model.interventions.iter().filter_map(|one| Some((trial(&one.name), one.goal.as_ref()?.0.clone())));
        Trials { all: all.collect(), customers: HashMap::new() }
    }

    /// The first decision about a customer counts, as in `sillage uplift`.
    pub(super) fn fold(&mut self, outcome: &Outcome) {
        if let What::Intervention { offer } = &outcome.what {
            let Some(place) = self.all.iter().position(|(trial, _)| trial.name == offer.name) else { return };
            let part_of = self.customers.entry(outcome.identity.clone()).or_default();
            if part_of.iter().all(|(known, ..)| *known != place) {
                let is_held_out = offer.arm.is_held_out();
                part_of.push((place, is_held_out, false));
                self.arm(place, is_held_out).customers += 1;
            }
            return;
        }
        let Some(part_of) = self.customers.get_mut(&outcome.identity) else { return };
        for (place, is_held_out, has_reached) in part_of {
            let (trial, goal) = &mut self.all[*place];
            if !*has_reached && goal.names(&outcome.what) {
                *has_reached = true;
                let arm = if *is_held_out { &mut trial.held_out } else { &mut trial.offered };
                arm.reached += 1;
            }
        }
    }

    fn arm(&mut self, place: usize, is_held_out: bool) -> &mut Reached {
        let (trial, _) = &mut self.all[place];
        if is_held_out { &mut trial.held_out } else { &mut trial.offered }
    }

    /// What there is to be seen now.
    pub(super) fn shown(&self) -> Vec<Trial> {
        let with_interval = |(trial, _): &(Trial, Trigger)| {
            let counts = |arm: Reached| (arm.customers, arm.reached);
            let interval = uplift::of_counts(counts(trial.offered), counts(trial.held_out)).interval();
            Trial { interval: interval.map(|(from, to)| (from * 100.0, to * 100.0)), ..trial.clone() }
        };
        self.all.iter().map(with_interval).collect()
    }
}
