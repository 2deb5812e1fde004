//! What the demo counts: committed outcomes, folded into what its view shows. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use compact_str::CompactString;

use super::trials::{Trial, Trials};
use crate::journey::{About, Movement, Outcome, Subject, What};
use crate::model::Model;
use crate::port::ShardId;
use crate::shard::Progress;
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

/// Sentences kept for the view; more than a tall terminal shows.
const LATEST: usize = 64;
/// Rates are taken over so long.
const WINDOW: Duration = Duration::from_secs(5);

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Touchpoints written to the log.
    pub(super) touchpoints: u64,
    pub(super) transitions: u64,
    pub(super) completions: u64,
    pub(super) abandonments: u64,
    pub(super) resumptions: u64,
    pub(super) frictions: u64,
    pub(super) offers: u64,
    pub(super) held_out: u64,
    pub(super) withdrawals: u64,
    pub(super) recoveries: u64,
}

/// How much happens a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) touchpoints: f64,
    pub(super) transitions: f64,
    pub(super) abandonments: f64,
    pub(super) recoveries: f64,
}

/// One stage of the funnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) name: CompactString,
    /// Journeys that stand there.
    pub(super) population: u64,
    /// Journeys that have been there.
    pub(super) reached: u64,
}

/// An abandonment, an offer or a recovery, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) at: Timestamp,
    pub(super) who: CompactString,
    pub(super) words: String,
    pub(super) news: News,
}

/// Whether a sentence tells of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Bad,
    Good,
}

/// Everything that the view shows at an instant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    /// Real time since the start.
    pub(super) elapsed: Duration,
    /// The customers' clock.
    pub(super) now: Timestamp,
    /// How far the slowest shard's stream time is behind that clock, in the customers' time.
    pub(super) behind: Option<Span>,
    pub(super) stages: Vec<Stage>,
    pub(super) counts: Counts,
    pub(super) rates: Rates,
    /// Worth of all baskets that were abandoned, each once, in millionths.
    pub(super) at_stake: i64,
    /// Worth of the abandoned baskets that were bought after all.
    pub(super) recovered: i64,
    /// What came of offers.
    pub(super) trials: Vec<Trial>,
    /// The latest sentences, the latest first.
    pub(super) latest: Vec<Sentence>,
    /// How many sentences there have been.
    pub(super) told: u64,
}

/// Folds outcomes.
#[derive(Debug)]
pub(super) struct Tally {
    stages: Vec<Stage>,
    /// The kind of episode whose worth is counted: the model's first. A checkout's worth is its basket's.
    counted: Option<CompactString>,
    /// By customer: the journey's number and, as bits, the stages that it has been in.
    journeys: HashMap<Identity, (u32, u64)>,
    /// By customer: the number of the latest abandoned basket.
    baskets: HashMap<Identity, u32>,
    streams: BTreeMap<ShardId, Timestamp>,
    counts: Counts,
    at_stake: i64,
    recovered: i64,
    trials: Trials,
    latest: VecDeque<Sentence>,
    told: u64,
    samples: VecDeque<(Duration, Counts)>,
}

impl Tally {
    pub(super) fn new(model: &Model) -> Self {
        let stage = |name: &CompactString| Stage { name: name.clone(), population: 0, reached: 0 };
        Tally {
            stages: model.stages.iter().map(|found| stage(&found.name)).collect(),
            counted: model.episodes.first().map(|kind| kind.name.clone()),
            journeys: HashMap::new(),
            baskets: HashMap::new(),
            streams: BTreeMap::new(),
            counts: Counts::default(),
            at_stake: 0,
            recovered: 0,
            trials: Trials::new(model),
            latest: VecDeque::new(),
            told: 0,
            samples: VecDeque::from([(Duration::ZERO, Counts::default())]),
        }
    }

    /// So many touchpoints were written.
    pub(super) fn written(&mut self, touchpoints: u64) {
        self.counts.touchpoints += touchpoints;
    }

    /// A transaction was committed.
    pub(super) fn committed(&mut self, outcomes: &[Outcome], progress: &[(ShardId, Progress)]) {
        for (shard, progress) in progress {
            if let Some(stream_time) = progress.stream_time {
                self.streams.insert(*shard, stream_time);
            }
        }
        for outcome in outcomes {
            self.fold(outcome);
        }
    }

    fn fold(&mut self, outcome: &Outcome) {
        // What is told again has been counted.
        if outcome.again {
            return;
        }
        self.trials.fold(outcome);
        match &outcome.what {
            What::Transition { from, to, movement, .. } => {
                self.counts.transitions += 1;
                self.moved(outcome, from.as_deref(), to, *movement);
            }
            What::Completion { .. } => self.counts.completions += 1,
            What::Resumption { .. } => self.counts.resumptions += 1,
            What::Abandonment { about, .. } => {
                self.counts.abandonments += 1;
                self.abandoned(outcome, about);
            }
            What::Recovery { about, .. } => {
                self.counts.recoveries += 1;
                if self.basket(about).is_some() {
                    self.recovered += outcome.value.map_or(0, |value| value.micros);
                }
                self.tell(outcome, about, News::Good);
            }
            // Counted, not told: there is so much of it that the abandonments would not be seen.
            What::Friction { .. } => self.counts.frictions += 1,
            What::Intervention { offer } if offer.arm.is_held_out() => self.counts.held_out += 1,
            What::Intervention { offer } => {
                self.counts.offers += 1;
                if let Some(about) = &offer.about {
                    self.tell(outcome, about, News::Good);
                }
            }
            What::Withdrawal { .. } => self.counts.withdrawals += 1,
            What::Measurement { .. } | What::Merge { .. } => {}
            What::Retraction { of } => self.retract(of),
        }
    }

    /// What was counted did not happen. What was at stake in a basket was, and nobody is taken back to a stage.
    fn retract(&mut self, of: &What) {
        let count = match of {
            What::Transition { from, to, .. } => {
                for stage in &mut self.stages {
                    stage.population += u64::from(from.as_ref() == Some(&stage.name));
                    stage.population = stage.population.saturating_sub(u64::from(*to == stage.name));
                }
                &mut self.counts.transitions
            }
            What::Completion { .. } => &mut self.counts.completions,
            What::Resumption { .. } => &mut self.counts.resumptions,
            What::Abandonment { .. } => &mut self.counts.abandonments,
            What::Recovery { .. } => &mut self.counts.recoveries,
            What::Friction { .. } => &mut self.counts.frictions,
            What::Intervention { .. }
            | What::Withdrawal { .. }
            | What::Measurement { .. }
            | What::Merge { .. }
            | What::Retraction { .. } => return,
        };
        *count = count.saturating_sub(1);
    }

    fn moved(&mut self, outcome: &Outcome, from: Option<&str>, to: &str, movement: Movement) {
        let place = |name: &str| self.stages.iter().position(|stage| stage.name == name);
        let (from, to) = (from.and_then(place), place(to));
        if let Some(from) = from {
            self.stages[from].population = self.stages[from].population.saturating_sub(1);
        }
        let Some(to) = to else { return };
        self.stages[to].population += 1;
        let (journey, been) = self.journeys.entry(outcome.identity.clone()).or_default();
        if *journey != outcome.journey || matches!(movement, Movement::ReEnter | Movement::Renew) {
            (*journey, *been) = (outcome.journey, 0);
        }
        if *been & (1 << to) == 0 {
            *been |= 1 << to;
            self.stages[to].reached += 1;
        }
    }

    fn abandoned(&mut self, outcome: &Outcome, about: &About) {
        if let Some(number) = self.basket(about) {
            let counted = self.baskets.entry(outcome.identity.clone()).or_default();
            if number > *counted {
                *counted = number;
                self.at_stake += outcome.value.map_or(0, |value| value.micros);
            }
        }
        self.tell(outcome, about, News::Bad);
    }

    /// The number of the episode, where its worth is counted.
    fn basket(&self, about: &About) -> Option<u32> {
        match &about.subject {
            Subject::Episode { kind, number, .. } => (Some(kind) == self.counted.as_ref()).then_some(*number),
            Subject::Stage(_) | Subject::Session(_) | Subject::Journey => None,
        }
    }

    /// Stages are left silently: the same absence has been told of the basket.
    fn tell(&mut self, outcome: &Outcome, about: &About, news: News) {
        if matches!(about.subject, Subject::Stage(_)) {
            return;
        }
        let words = outcome.to_string();
        self.latest.push_front(Sentence { at: outcome.at, who: outcome.identity.id.clone(), words, news });
        self.latest.truncate(LATEST);
        self.told += 1;
    }

    /// What there is to be seen now.
    pub(super) fn snapshot(&mut self, now: Timestamp, elapsed: Duration) -> Snapshot {
        self.samples.push_back((elapsed, self.counts));
        while self.samples.get(1).is_some_and(|(at, _)| elapsed.saturating_sub(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        Snapshot {
            elapsed,
            now,
            behind: self.streams.values().min().map(|least| now.since(*least)),
            stages: self.stages.clone(),
            counts: self.counts,
            rates: self.rates(elapsed),
            at_stake: self.at_stake,
            recovered: self.recovered,
            trials: self.trials.shown(),
            latest: self.latest.iter().cloned().collect(),
            told: self.told,
        }
    }

    fn rates(&self, elapsed: Duration) -> Rates {
        let Some((since, before)) = self.samples.front() else { return Rates::default() };
        let seconds = elapsed.saturating_sub(*since).as_secs_f64().max(0.1);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Rates {
            touchpoints: rate(self.counts.touchpoints, before.touchpoints),
            transitions: rate(self.counts.transitions, before.transitions),
            abandonments: rate(self.counts.abandonments, before.abandonments),
            recoveries: rate(self.counts.recoveries, before.recoveries),
        }
    }
}

#[cfg(test)]
mod tests;
