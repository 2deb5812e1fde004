//! What came of the demo's offers so far: those who were offered something beside those who were held out. Pure.
//!
//! `sillage uplift` measures a customer once the goal's window is over; a demo ends before. Customers whose window is still open
//! count here as well, in both arms alike; a completion that is retracted later stays counted.

use std::collections::HashMap;

use compact_str::CompactString;

use crate::journey::{Arm, Outcome, What};
use crate::model::{Model, Trigger};
use crate::time::{Span, Timestamp};
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

impl Trial {
    fn arm(&mut self, is_held_out: bool) -> &mut Reached {
        if is_held_out { &mut self.held_out } else { &mut self.offered }
    }
}

/// All interventions that have a goal.
#[derive(Debug)]
pub(super) struct Trials {
    all: Vec<(Trial, Trigger, Span)>,
    /// By customer: the trials that they are part of.
    customers: HashMap<Identity, Vec<Part>>,
}

/// A customer's part in a trial.
#[derive(Debug)]
struct Part {
    of: usize,
    is_held_out: bool,
    /// The goal counts until then.
    until: Timestamp,
    has_reached: bool,
}

impl Trials {
    pub(super) fn new(model: &Model) -> Self {
        let trial = |name: &CompactString| Trial {
            name: name.clone(),
            offered: Reached::default(),
            held_out: Reached::default(),
            interval: None,
        };
        let all = model.interventions.iter().filter_map(|one| {
            let (goal, within) = one.goal.as_ref()?;
            Some((trial(&one.name), goal.clone(), *within))
        });
        Trials { all: all.collect(), customers: HashMap::new() }
    }

    /// The first decision about a customer counts, and who is held out of everything is no part of the comparison, as in
    /// `sillage uplift`.
    pub(super) fn fold(&mut self, outcome: &Outcome) {
        if let What::Intervention { offer } = &outcome.what {
            let Some(of) = self.all.iter().position(|(trial, ..)| trial.name == offer.name) else { return };
            let part_of = self.customers.entry(outcome.identity.clone()).or_default();
            if offer.arm == Arm::HeldOutOfAll || part_of.iter().any(|part| part.of == of) {
                return;
            }
            let (trial, _, within) = &mut self.all[of];
            let is_held_out = offer.arm.is_held_out();
            part_of.push(Part { of, is_held_out, until: outcome.at + *within, has_reached: false });
            trial.arm(is_held_out).customers += 1;
            return;
        }
        for part in self.customers.get_mut(&outcome.identity).into_iter().flatten() {
            let (trial, goal, _) = &mut self.all[part.of];
            if !part.has_reached && outcome.at < part.until && goal.names(&outcome.what) {
                part.has_reached = true;
                trial.arm(part.is_held_out).reached += 1;
            }
        }
    }

    /// What there is to be seen now.
    pub(super) fn shown(&self) -> Vec<Trial> {
        let with_interval = |(trial, ..): &(Trial, Trigger, Span)| {
            let counts = |arm: Reached| (arm.customers, arm.reached);
            let interval = uplift::of_counts(counts(trial.offered), counts(trial.held_out)).interval();
            Trial { interval: interval.map(|(from, to)| (from * 100.0, to * 100.0)), ..trial.clone() }
        };
        self.all.iter().map(with_interval).collect()
    }
}
