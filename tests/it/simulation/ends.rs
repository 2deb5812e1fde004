//! Where inputs end, asked of the fake brokers: one question at a time, and an answer that is on its way for a while.

use std::sync::Arc;

use sillage::ledger::group::{BrokerId, End, Leadership, LogEnd, Partition};
use sillage::port::Now;
use sillage::time::Timestamp;

use super::defects::Defect;
use super::log::{Log, Millis, Offset};
use super::weather::Leaders;
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
    /// When the last stable offsets are looked up, when the high watermarks, when the leaders' ends; and, after that, who leads.
    stable_at: Millis,
    high_at: Millis,
    leader_at: Millis,
    known_at: Millis,
    comes: Millis,
    stable: Option<Vec<Offset>>,
    high: Option<Vec<Offset>>,
    said: Option<Vec<(Leadership, Offset)>>,
    known: Option<Vec<(BrokerId, Leadership)>>,
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
        let mut moments = [0; 5].map(|_: Millis| now + state.dice.between(0, longest));
        moments.sort_unstable();
        let [one, other, third, known_at, comes] = moments;
        // All are asked at once; only who leads is asked last.
        let orders = [[one, other, third], [one, third, other], [other, third, one]];
        let [stable_at, high_at, leader_at] = state.dice.pick(&orders);
        let (at, stable, high, said, known) = (clock(), None, None, None, None);
        let mut question =
            Question { at, wanted, stable_at, high_at, leader_at, known_at, comes, stable, high, said, known };
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
        let Some(Question { at, wanted, stable, high, said, known, .. }) = self.question.take() else { return Vec::new() };
        let (Some(stable), Some(high), Some(said), Some(known)) = (stable, high, said, known) else { return Vec::new() };
        let at = if sim.has(Defect::OldEnd) { clock() } else { at };
        let log = |((by, offset), (broker, known)): ((Leadership, Offset), (BrokerId, Leadership))| match sim.weather.leaders
        {
            Leaders::OneReplica => LogEnd::OneReplica,
            Leaders::Refuse => LogEnd::Refused,
            Leaders::Answer if sim.has(Defect::HighWatermarkTrusted) || sim.has(Defect::OpenTransactionsIgnored) => {
                LogEnd::OneReplica
            }
            Leaders::Answer => {
                let known = if sim.has(Defect::DeposedLeaderBelieved) { by } else { known };
                LogEnd::Said { by, offset, afterwards: vec![(broker, known)] }
            }
        };
        let end = |(((partition, stable), high), said)| {
            let high = if sim.has(Defect::OpenTransactionsIgnored) { stable } else { high };
            End { partition, stable, high, log: log(said), at }
        };
        wanted.into_iter().zip(stable).zip(high).zip(said.into_iter().zip(known)).map(end).collect()
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
        if self.said.is_none() && self.leader_at <= now {
            let said = |log: &Log| (log.believed(), log.leader_end());
            self.said = Some(self.wanted.iter().map(|place| said(state.brokers.log(*place))).collect());
        }
        if self.known.is_none() && self.known_at <= now {
            self.known = Some(self.wanted.iter().map(|place| state.brokers.log(*place).known()).collect());
        }
    }
}
