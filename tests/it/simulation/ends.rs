//! Where inputs end, asked of the fake brokers: one question at a time, and an answer that is on its way for a while.

use std::sync::Arc;

use sillage::ledger::group::{End, Partition};
use sillage::port::Now;
use sillage::time::Timestamp;

use super::defects::Defect;
use super::log::{Millis, Offset};
use super::world::{Sim, State};

/// Between two questions.
const ASKING: Millis = 25;

#[derive(Default)]
pub(super) struct Watch {
    question: Option<Question>,
    asked: Millis,
}

/// A question about ends, and its answer on the way.
struct Question {
    at: Timestamp,
    wanted: Vec<Partition>,
    /// When the last stable offsets are looked up, and when the high watermarks.
    stable_at: Millis,
    high_at: Millis,
    comes: Millis,
    stable: Option<Vec<Offset>>,
    high: Option<Vec<Offset>>,
}

impl Watch {
    pub(super) fn want(&mut self, sim: &Arc<Sim>, clock: &Now, wanted: Vec<Partition>) {
        let now = sim.now();
        if self.question.is_some() || wanted.is_empty() || now - self.asked < ASKING {
            return;
        }
        self.asked = now;
        let state = &mut *sim.state();
        let longest = if state.calm { 10 } else { sim.weather.end_answer };
        let mut moments = [0; 3].map(|_: Millis| now + state.dice.between(0, longest));
        moments.sort_unstable();
        let [stable_at, high_at, comes] = moments;
        let mut question = Question { at: clock(), wanted, stable_at, high_at, comes, stable: None, high: None };
        question.look(state, now);
        self.question = Some(question);
    }

    /// The brokers look.
    pub(super) fn look(&mut self, sim: &Sim) {
        if let Some(question) = &mut self.question {
            question.look(&sim.state(), sim.now());
        }
    }

    /// What has come of the question.
    pub(super) fn answer(&mut self, sim: &Sim, clock: &Now) -> Vec<End> {
        if self.question.as_ref().is_none_or(|question| question.comes > sim.now()) {
            return Vec::new();
        }
        let Some(Question { at, wanted, stable: Some(stable), high: Some(high), .. }) = self.question.take() else {
            return Vec::new();
        };
        let at = if sim.has(Defect::OldEnd) { clock() } else { at };
        let end = |(partition, (stable, high))| {
            let high = if sim.has(Defect::OpenTransactionsIgnored) { stable } else { high };
            End { partition, stable, high, at }
        };
        wanted.into_iter().zip(stable.into_iter().zip(high)).map(end).collect()
    }
}

impl Question {
    fn look(&mut self, state: &State, now: Millis) {
        if self.stable.is_none() && self.stable_at <= now {
            self.stable = Some(self.wanted.iter().map(|place| state.brokers.log(*place).stable_end()).collect());
        }
        if self.high.is_none() && self.high_at <= now {
            self.high = Some(self.wanted.iter().map(|place| state.brokers.log(*place).end()).collect());
        }
    }
}
