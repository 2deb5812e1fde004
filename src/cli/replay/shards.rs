//! The core, with nothing around it: one shard, or several that hand customers to each other as partitions do.

use std::sync::Arc;

use super::source::Source;
use crate::journey::{Outcome, Refusals, Sums};
use crate::model::Model;
use crate::partitioner::Partitioner;
use crate::shard::{
    Action, Body, Buffered, Control, Counts, Customers, Homes, Input, Misrouted, Position, Progress, Settings, Shard, Undo,
    may_be_ahead,
};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Touchpoint;

/// Touchpoints that are decided on together.
const BATCH: usize = 256;
/// The input of touchpoints, and that of what shards hand to each other.
const TOUCHPOINTS: usize = 0;
const HANDED: usize = 1;

/// All shards of a replay.
pub(super) struct Shards {
    shards: Vec<One>,
    /// How far a shard may be ahead of the others.
    ahead: Span,
    actions: Vec<Action>,
    outcomes: Vec<Outcome>,
    received: usize,
    pub(super) touchpoints: u64,
    pub(super) last: Option<Timestamp>,
}

struct One {
    shard: Shard,
    /// The offset of the next record, by input.
    next: [i64; 2],
}

impl Shards {
    pub(super) fn new(models: &[Arc<Model>], history: usize, partitions: u32) -> Self {
        let alone = partitions == 1;
        let settings = Settings {
            settle: Span::ZERO,
            history,
            decisions_per_transaction: usize::MAX,
            undo: Undo::Never,
            control: if alone { Control::AmongTouchpoints } else { Control::After(HANDED) },
            ..Settings::default()
        };
        let ahead = may_be_ahead(settings.grace);
        let beginning = Position { offset: 0, log_time: Timestamp::MIN };
        let inputs = if alone { 1 } else { 2 };
        let progress = Progress { positions: vec![beginning; inputs], ..Progress::default() };
        let models: Arc<[Arc<Model>]> = models.into();
        let one = |here| {
            let homes = Homes { here, shards: partitions, partitioner: Partitioner::Murmur2, misrouted: Misrouted::HandOn };
            let customers = Customers::default();
            let shard = Shard::new(Arc::clone(&models), settings.clone(), customers, progress.clone()).among(homes);
            One { shard, next: [0; 2] }
        };
        Shards {
            shards: (0..partitions).map(one).collect(),
            ahead,
            actions: Vec::new(),
            outcomes: Vec::new(),
            received: 0,
            touchpoints: 0,
            last: None,
        }
    }

    /// Says whether there are enough to decide on.
    pub(super) fn receive(&mut self, touchpoint: Box<Touchpoint>) -> bool {
        let home = match self.shards.len() {
            1 => 0,
            several => Partitioner::Murmur2.partition(touchpoint.identity.id.as_bytes(), several as u32).unwrap_or(0),
        };
        let One { shard, next } = &mut self.shards[home as usize];
        let log_time = shard.log_time(TOUCHPOINTS, touchpoint.event_time, Timestamp::MAX);
        let record = Buffered { offset: next[TOUCHPOINTS], log_time, body: Body::Touchpoint(touchpoint) };
        next[TOUCHPOINTS] += 1;
        shard.receive(TOUCHPOINTS, record);
        self.touchpoints += 1;
        self.received += 1;
        self.last = Some(self.last.map_or(log_time, |last| last.max(log_time)));
        self.received >= BATCH
    }

    /// Decides on what was received.
    pub(super) fn decide(&mut self, source: &mut Source) {
        self.received = 0;
        match (&mut self.shards[..], self.last) {
            ([only], _) => only.shard.handle(Input::Received, &mut self.actions),
            (_, Some(last)) => self.decide_until(last),
            (_, None) => {}
        }
        self.take_outcomes();
        self.shards.iter_mut().for_each(|one| one.shard.reclaim(&mut source.spare));
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, until: Timestamp) {
        self.last = Some(self.last.map_or(until, |last| last.max(until)));
        self.decide_until(until);
        self.take_outcomes();
    }

    pub(super) fn outcomes(&mut self) -> impl Iterator<Item = Outcome> + '_ {
        self.outcomes.drain(..)
    }

    /// Everybody, what was counted, what was asked for and not offered, and what was measured.
    pub(super) fn finish(self) -> (Customers, Counts, Refusals, Sums) {
        let (mut counts, mut refusals, mut sums) = (Counts::default(), Refusals::default(), Sums::default());
        let mut shards = self.shards;
        for one in &mut shards {
            counts.add(one.shard.take_counts());
            refusals.append(one.shard.take_refusals());
            sums.append(&one.shard.sums());
        }
        let customers = match &mut shards[..] {
            [only] => std::mem::take(only.shard.customers()),
            several => several.iter_mut().flat_map(|one| one.shard.customers().all()).collect(),
        };
        (customers, counts, refusals, sums)
    }

    /// Nothing more comes before this instant, in any shard.
    fn decide_until(&mut self, until: Timestamp) {
        for One { shard, next } in &mut self.shards {
            let caught_up = Input::CaughtUp { input: TOUCHPOINTS, position: next[TOUCHPOINTS], at: until };
            shard.bind(Timestamp::MIN);
            shard.handle(caught_up, &mut self.actions);
        }
        loop {
            // One that waits for what it was handed is where that leaves it.
            let least = self.shards.iter().filter_map(|one| one.shard.frontier()).min().unwrap_or(until);
            for One { shard, next } in &mut self.shards {
                shard.bind(least + self.ahead);
                shard.handle(Input::Received, &mut self.actions);
                if shard.buffered(TOUCHPOINTS).records == 0 {
                    let position = next[TOUCHPOINTS];
                    shard.handle(Input::CaughtUp { input: TOUCHPOINTS, position, at: until }, &mut self.actions);
                }
            }
            let handed = self.take_outcomes();
            if !handed && self.shards.iter().all(|one| one.shard.stream_time() >= Some(until)) {
                return;
            }
        }
    }

    /// Keeps outcomes for those who read them, and delivers what shards hand to each other; says whether there was any.
    fn take_outcomes(&mut self) -> bool {
        let mut handed = false;
        for action in self.actions.drain(..) {
            match action {
                Action::Publish { outcome, .. } => self.outcomes.push(*outcome),
                Action::HandOver { to, hand_off } => {
                    handed = true;
                    let One { shard, next } = &mut self.shards[to as usize];
                    let log_time = hand_off.log_time;
                    shard.receive(HANDED, Buffered { offset: next[HANDED], log_time, body: Body::HandOff(hand_off) });
                    next[HANDED] += 1;
                }
                // Unusable lines never reach a shard, and nothing is committed here.
                Action::DeadLetter { .. }
                | Action::Remember(_)
                | Action::Forget(_)
                | Action::Announce(_)
                | Action::Tombstone(_)
                | Action::Commit(_) => {}
            }
        }
        handed
    }
}
