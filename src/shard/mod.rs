//! One shard: partition *p* of all inputs together, with one state and one stream time.
//!
//! A state machine without I/O: [`Shard::handle`] takes what happened and appends what is to be done; the shell obeys.
//! Committing is part of it (`Prepare`, then `Committed` or `Aborted`), so that the place where such systems lose data can be
//! simulated. Knows no Kafka, no clock, no bytes.

mod action;
mod arena;
mod census;
mod counts;
mod customers;
mod erasing;
mod forwarding;
mod frontier;
mod graves;
mod handing;
mod joins;
mod refresh;
mod settings;
mod slot;
mod sums;
mod wheel;
mod windows;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::journey::packed::Words;
use crate::journey::{Applied, Customer, Graves, Outcome, Received, Refusals, Retelling, Rules, StepCounts, Sums};
use crate::memory::Waiting;
use crate::model::Model;
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint};

pub use action::Action;
pub use counts::Counts;
pub use customers::Customers;
pub use frontier::{Body, Buffered, Control, Erasure, ErasureScope, Position, Unusable};
pub use handing::{Claiming, HandOff, Handed, Homes, Misrouted, ShardId, may_be_ahead};
pub use settings::{Settings, StateLog, Undo};
pub use slot::Slot;

use census::Census;
use forwarding::Forwards;
use frontier::{Held, Inputs, Reach};
use refresh::RefreshCycle;
use wheel::Wheel;

/// At most so many touchpoints that are over are kept, to be filled again: as many as a transaction has by default.
const MAX_SPARE: usize = 20_000;
/// One that takes more bytes is not kept.
const LARGEST_SPARE: usize = 2 << 10;

/// So many records are looked ahead at once: as many cache misses as a core has in flight, and not so many that what was
/// fetched is gone again before it is used.
const WARM: usize = 16;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Records have been received ([`Shard::receive`]) and wait to be decided on.
    Received,
    /// One record came from input `input`; its log time is [`Shard::log_time`]'s answer.
    Record {
        /// Index of the input, in the order of topic names.
        input: usize,
        /// The record.
        record: Buffered,
    },
    /// An end-offset query sent at `at` was answered, and everything before `position` has been handed over (rule 4).
    CaughtUp {
        /// Index of the input.
        input: usize,
        /// The end of the input, which is where the shell stands.
        position: i64,
        /// Worker clock when the query was sent.
        at: Timestamp,
    },
    /// The worker clock shows this. Told at assignment, and again while the shard is held.
    Clock(Timestamp),
    /// The log is about to commit: say what belongs to the transaction, and decide nothing until its end is known.
    Prepare,
    /// The transaction is committed.
    Committed,
    /// The transaction is undone: state goes back to what was last committed, the records are applied again.
    Aborted,
}

/// How far a shard has come: what is committed beside its outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// By input: the offset after the last applied record, and its log time.
    pub positions: Vec<Position>,
    /// The instant up to which deadlines have been decided; `None` before anything was.
    pub stream_time: Option<Timestamp>,
    /// 1, 2, … per commit of this shard.
    pub sequence: u64,
}

enum Phase {
    Deciding,
    Committing(Progress),
}

/// A customer as the log is to be told of it ([`Shard::written`]).
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The state as packed.
    pub now: &'a [u8],
    /// What the log holds, where that is known and in the same layout: a log of changes need only hold the difference.
    pub before: Option<&'a [u8]>,
    /// The dictionary of both.
    pub words: &'a Words,
}

/// One shard's state machine.
pub struct Shard {
    homes: Homes,
    /// The open transaction hands something over.
    has_handed_over: bool,
    models: Arc<[Arc<Model>]>,
    settings: Settings,
    customers: Customers,
    inputs: Inputs,
    wheel: Wheel,
    refresh_cycle: RefreshCycle,
    rules: Rules,
    retelling: Retelling,
    forwards: Forwards,
    /// Customers who have a window, and when to see whether it is over.
    windows: VecDeque<(Timestamp, Slot)>,
    held: bool,
    /// Nothing is decided beyond this, and whether something would have been.
    bound: Timestamp,
    is_at_bound: bool,
    stream_time: Option<Timestamp>,
    committed: Progress,
    phase: Phase,
    /// Records applied in the open transaction, to be applied again if it is undone.
    applied: Vec<(usize, Held)>,
    /// Touchpoints that are over, until somebody reclaims them.
    #[expect(clippy::vec_box, reason = "records that wait hold boxes")]
    spare: Vec<Box<Touchpoint>>,
    /// The customer being worked on, one after the other.
    hand: Customer,
    /// The second one that a record concerns, where it names two.
    other: Customer,
    decisions: usize,
    /// Bytes of what they hold: records, and states.
    open_bytes: usize,
    counts: Counts,
    /// What was measured since somebody took it.
    measured: Sums,
    /// Who was erased lately, and whether the open transaction has changed that.
    graves: Graves,
    graves_changed: bool,
    /// The record being applied: input and offset.
    applying: Option<(usize, i64)>,
    /// Customers erased or expired in the open transaction.
    leaving: usize,
    /// So many words of the dictionary the log holds.
    words_written: usize,
    /// Where journeys stand, as committed, and the change since.
    population: Census,
    moved: Census,
    scratch: Vec<Outcome>,
}

impl Shard {
    /// A shard that goes on where `progress` ends (by default at the beginning), with what is in `customers`.
    pub fn new(models: Arc<[Arc<Model>]>, settings: Settings, customers: Customers, progress: Progress) -> Self {
        let rules = settings.rules();
        let mut shard = Shard {
            homes: Homes::ALONE,
            has_handed_over: false,
            rules,
            retelling: Retelling::default(),
            forwards: Forwards::of(&models),
            windows: VecDeque::new(),
            inputs: Inputs::new(&progress.positions, settings.control),
            stream_time: progress.stream_time,
            moved: Census::nobody(&models),
            population: Census::nobody(&models),
            models,
            settings,
            customers,
            wheel: Wheel::starting_at(progress.stream_time),
            refresh_cycle: RefreshCycle::default(),
            held: false,
            bound: Timestamp::MAX,
            is_at_bound: false,
            phase: Phase::Deciding,
            applied: Vec::new(),
            spare: Vec::new(),
            hand: Customer::default(),
            other: Customer::default(),
            decisions: 0,
            open_bytes: 0,
            counts: Counts::default(),
            measured: Sums::default(),
            graves: Graves::default(),
            graves_changed: false,
            applying: None,
            leaving: 0,
            words_written: 0,
            scratch: Vec::new(),
            committed: progress,
        };
        shard.rebuild();
        shard
    }

    /// Arms the wheel and counts the population from the state: timers are never logged (rule 8).
    fn rebuild(&mut self) {
        let forget_after = self.settings.forget_after;
        // Customers that were kept remember the wheel of the shard before.
        self.customers.disarm();
        self.reopen_graves();
        let slots: Vec<Slot> = self.customers.slots().collect();
        let mut hand = std::mem::take(&mut self.hand);
        for slot in &slots {
            self.customers.open(*slot, &mut hand);
            let deadline = hand.next_deadline();
            self.population.add(&hand, deadline);
            self.arm(*slot, attention(&hand, deadline, forget_after));
            if hand.has_window() {
                self.windows.push_back((Timestamp::MIN, *slot));
            }
        }
        self.hand = hand;
        let walked = self.settings.state_log == StateLog::Changes;
        self.refresh_cycle = RefreshCycle::beginning(if walked { slots } else { Vec::new() }, self.committed.sequence);
        if walked && self.committed.sequence > 0 {
            // The log may still contain deleted customers. We cannot know, so we schedule a full refresh.
            self.refresh_cycle.make_due();
        }
    }

    /// The next customer whose state is to be written anew in the transaction being committed, though it did not change;
    /// `None` once all have been written. To be asked after [`Input::Prepare`], for as many bytes as what changed.
    pub fn refresh(&mut self) -> Option<Slot> {
        loop {
            let slot = self.refresh_cycle.next()?;
            if self.leaving == 0 || self.customers.latest(slot).is_some() {
                return Some(slot);
            }
        }
    }

    /// A customer's state, and the one before where the open transaction changes it; `None` of somebody who is not there.
    pub fn written(&self, slot: Slot) -> Option<Written<'_>> {
        let now = self.customers.latest(slot)?;
        let before = self.customers.before(slot).filter(|_| self.customers.is_written(slot));
        Some(Written { now, before, words: self.customers.words() })
    }

    /// Whose row it is.
    pub fn identity(&self, slot: Slot) -> Option<Identity> {
        self.customers.identity(slot)
    }

    /// The words of the dictionary that the log must be told in the transaction being committed: those that are new to it, or
    /// all, where what it was told of them is about to be cut off. To be asked after [`Shard::refresh`].
    pub fn new_words(&self) -> impl Iterator<Item = (u32, &str)> {
        self.customers.words().after(if self.refresh_cycle.begins() { 0 } else { self.words_written })
    }

    /// The first commit, by its sequence number, that the state log is needed from once the transaction being committed is in
    /// it: what stands before can be deleted.
    pub fn retain_from(&self) -> u64 {
        self.refresh_cycle.retain_from()
    }

    /// What the owner before knew about that: to be told at the beginning, so that a log whose head somebody deletes is found
    /// out also soon after a start.
    pub fn retains_from(&mut self, sequence: u64) {
        self.refresh_cycle.begin_from(sequence);
    }

    /// The log time of a record that arrives now (rule 2): the running maximum, per input, of the lesser of its timestamp
    /// and the worker clock at receipt.
    pub fn log_time(&mut self, input: usize, timestamp: Timestamp, receipt: Timestamp) -> Timestamp {
        self.inputs.log_time(input, timestamp.min(receipt))
    }

    /// Moves the touchpoints that are over into a pool, which takes a limited number of them. Their memory can be used again; what
    /// is in them means nothing.
    pub fn reclaim(&mut self, pool: &mut Vec<Box<Touchpoint>>) {
        pool.append(&mut self.spare);
        pool.truncate(MAX_SPARE);
    }

    /// Takes a record, and decides nothing before [`Input::Received`]. Of records that are decided on together, the customers are
    /// fetched from memory together.
    pub fn receive(&mut self, input: usize, record: Buffered) {
        self.inputs.push(input, record);
    }

    /// Takes what happened and appends what is to be done.
    pub fn handle(&mut self, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Received => {}
            Input::Record { input, record } => self.receive(input, record),
            Input::CaughtUp { input, position, at } => self.inputs.caught_up(input, position, at - self.settings.settle),
            Input::Clock(now) => self.held = self.stream_time.is_some_and(|stream_time| stream_time > now),
            Input::Prepare => self.prepare(actions),
            Input::Committed => self.settle_committed(),
            Input::Aborted => self.settle_aborted(),
        }
        if matches!(self.phase, Phase::Deciding) && !self.held {
            self.decide(actions);
        }
    }

    /// The transaction is committed and the shard is given up: like [`Input::Committed`], but nothing more is decided. What was
    /// decided since without a word, as a deadline that says nothing, is undone: the log does not hold it.
    pub fn retire(&mut self) {
        self.settle_committed();
        self.settle_aborted();
    }

    /// Whether the open transaction holds anything worth committing.
    pub fn is_dirty(&self) -> bool {
        self.decisions > 0
    }

    /// Whether the open transaction is full: nothing more is decided until it is committed.
    pub fn is_full(&self) -> bool {
        self.decisions >= self.settings.decisions_per_transaction || self.is_heavy()
    }

    /// Whether the open transaction holds as many bytes as it may. Where nothing is undone, nothing is held.
    fn is_heavy(&self) -> bool {
        let heavy = self.open_bytes >= self.settings.transaction_bytes;
        heavy && self.settings.undo == Undo::Kept && self.is_dirty()
    }

    /// Bytes of what the open transaction holds: records applied, and the states of customers that it changed.
    pub fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    /// What was received and is not applied yet, of one input.
    pub fn buffered(&self, input: usize) -> Waiting {
        self.inputs.buffered(input)
    }

    /// Bytes of what was received and is not applied yet, of all inputs.
    pub fn waiting_bytes(&self) -> u64 {
        self.inputs.bytes()
    }

    /// Decided up to this instant.
    pub fn stream_time(&self) -> Option<Timestamp> {
        self.stream_time
    }

    /// What was committed last.
    pub fn committed(&self) -> &Progress {
        &self.committed
    }

    /// The customers, for look-ups.
    pub fn customers(&mut self) -> &mut Customers {
        &mut self.customers
    }

    /// Customers with something awaited.
    pub fn armed(&self) -> usize {
        usize::try_from(self.population.waiting + self.moved.waiting).unwrap_or(0)
    }

    /// Entries in the wheel: those of customers that wait, and stale ones that come up soon.
    pub fn rings(&self) -> usize {
        self.wheel.len()
    }

    /// Whether nothing is decided because stream time is ahead of the worker clock (rule 5): another owner's clock was ahead.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// The record, by input and offset, that was being applied when `handle` did not come back (it panicked); otherwise that
    /// applied last.
    pub fn applying(&self) -> Option<(usize, i64)> {
        self.applying
    }

    /// By model and stage: journeys that stand there, as committed.
    pub fn population(&self) -> &[Vec<i64>] {
        &self.population.stages
    }

    /// Takes the counts of what is applied; call it after a commit.
    pub fn take_counts(&mut self) -> Counts {
        let steps = std::mem::take(&mut self.retelling.counted);
        Counts { steps, ..std::mem::take(&mut self.counts) }
    }

    /// Takes what was asked for and not offered; call it after a commit.
    pub fn take_refusals(&mut self) -> Refusals {
        std::mem::take(&mut self.retelling.refusals)
    }

    /// Takes what was measured; call it after a commit.
    pub fn take_measured(&mut self) -> Sums {
        std::mem::take(&mut self.measured)
    }

    /// Applies records and fires deadlines as far as the inputs allow (rule 4).
    fn decide(&mut self, actions: &mut Vec<Action>) {
        self.is_at_bound = false;
        while !self.is_full() {
            match self.inputs.reach() {
                Reach::Nowhere => return,
                Reach::Until(instant) | Reach::Record(instant) if instant > self.bound => {
                    self.is_at_bound = true;
                    if self.bound > Timestamp::MIN {
                        self.advance(self.bound, actions);
                    }
                    return;
                }
                Reach::Until(instant) => {
                    self.advance(instant, actions);
                    return;
                }
                Reach::Record(log_time) => {
                    if !self.advance(log_time, actions) {
                        return;
                    }
                    self.warm_up();
                    if let Some((input, held)) = self.inputs.pop() {
                        self.apply(input, held, actions);
                    }
                }
            }
        }
    }

    /// Fetches the rows and images of the customers of the next records from memory, all at once. Customers come in no order, so
    /// that each record would wait for memory by itself.
    fn warm_up(&mut self) {
        let mut next: SmallVec<[Slot; WARM]> = SmallVec::new();
        for record in self.inputs.look_ahead(WARM) {
            if let Body::Touchpoint(touchpoint) = &record.body {
                next.extend(self.customers.guess(&touchpoint.identity));
            }
        }
        if !next.is_empty() {
            self.customers.warm_up(&next);
        }
    }

    /// Moves stream time to `instant`, firing what is due in between, in the order of rule 7. Says whether it got there; the
    /// transaction may be full before. A late touchpoint can arm a deadline behind stream time: that is due at once.
    fn advance(&mut self, instant: Timestamp, actions: &mut Vec<Action>) -> bool {
        let instant = self.stream_time.map_or(instant, |now| now.max(instant));
        while !self.is_full() {
            if !self.fire_next(instant, actions) {
                self.stream_time = Some(instant);
                if self.settings.undo == Undo::Never {
                    self.drop_windows(instant);
                }
                return true;
            }
        }
        false
    }

    /// Fires the earliest of what is due by `instant`; says whether anything was.
    fn fire_next(&mut self, instant: Timestamp, actions: &mut Vec<Action>) -> bool {
        let customers = &self.customers;
        let Some((deadline, slot)) = self.wheel.next_due(instant, |slot| named(customers, slot)) else { return false };
        self.fire(deadline, slot, actions);
        true
    }

    fn fire(&mut self, deadline: Timestamp, slot: Slot, actions: &mut Vec<Action>) {
        if !self.customers.wake(slot, deadline) {
            return;
        }
        let mut hand = std::mem::take(&mut self.hand);
        if !self.customers.open(slot, &mut hand) {
            // Erased in the open transaction; the row goes with its end.
            self.hand = hand;
            return;
        }
        let (forget_after, undo) = (self.settings.forget_after, self.settings.undo);
        let awaited = hand.next_deadline();
        let next = attention(&hand, awaited, forget_after);
        if next > deadline {
            self.arm(slot, next);
        } else if awaited > deadline && hand.identity.id.is_empty() {
            self.hand = hand;
            return self.forget_graves(deadline);
        } else if awaited > deadline {
            self.moved.subtract(&hand, awaited);
            self.decided_at(deadline);
            self.customers.erase(slot, undo);
            // Of an anonymous id that was claimed, nothing but by whom is forgotten.
            if hand.touchpoints > 0 {
                self.counts.expired += 1;
                actions.push(Action::Tombstone(hand.identity.clone()));
            }
            self.note_leaving(slot);
        } else {
            self.moved.subtract(&hand, awaited);
            let had_window = hand.has_window();
            let stream_time = self.stream_time.unwrap_or(deadline);
            let retelling = &mut self.retelling;
            hand.fire_within(&self.models, deadline, stream_time, &self.rules, retelling, &mut self.scratch);
            if !had_window {
                self.watch_window(slot, &hand, deadline);
            }
            let awaited = hand.next_deadline();
            self.moved.add(&hand, awaited);
            self.keep(slot, &hand);
            if !self.scratch.is_empty() {
                self.decided_at(deadline);
            }
            self.publish(deadline, actions);
            self.arm(slot, attention(&hand, awaited, forget_after));
        }
        self.hand = hand;
    }

    /// Whatever else is due at this very instant is decided by the order of the queue; stream time is here.
    fn decided_at(&mut self, deadline: Timestamp) {
        self.decisions += 1;
        self.stream_time = Some(self.stream_time.map_or(deadline, |now| now.max(deadline)));
    }

    fn apply(&mut self, input: usize, held: Held, actions: &mut Vec<Action>) {
        let record = &held.record;
        self.applying = Some((input, record.offset));
        self.decisions += 1;
        self.open_bytes += held.bytes;
        // What another shard hands over was applied there, when it came.
        self.counts.applied += u64::from(!matches!(record.body, Body::HandOff(_)));
        match &record.body {
            Body::Touchpoint(touchpoint) => {
                if !self.hand_on(touchpoint, record.log_time, actions) {
                    self.apply_touchpoint(touchpoint, record.log_time, actions);
                }
            }
            Body::HandOff(hand_off) => self.take_handed(hand_off, actions),
            Body::Unusable(unusable) => {
                self.counts.dead_letters += 1;
                actions.push(Action::DeadLetter { input, offset: record.offset, record: unusable.clone() });
            }
            Body::Erasure(erasure) => {
                if let (ErasureScope::ThisShard, Some(who)) = (erasure.scope, erasure.who.first()) {
                    self.misrouted(who);
                }
                self.erase(erasure, record.log_time, actions);
            }
        }
        match self.settings.undo {
            Undo::Kept => self.applied.push((input, held)),
            Undo::Never => self.spare(held),
        }
    }

    /// Keeps the memory of a record that is over.
    fn spare(&mut self, held: Held) {
        if let Body::Touchpoint(touchpoint) = held.record.body
            && held.bytes <= LARGEST_SPARE
            && self.spare.len() < MAX_SPARE
        {
            self.spare.push(touchpoint);
        }
    }

    fn apply_touchpoint(&mut self, touchpoint: &Touchpoint, log_time: Timestamp, actions: &mut Vec<Action>) {
        let stream_time = self.stream_time.unwrap_or(log_time);
        let (slot, joined) = self.customers.find_or_add(&touchpoint.identity);
        let mut hand = std::mem::take(&mut self.hand);
        let received = Received { touchpoint, log_time, stream_time };
        if self.customers.open(slot, &mut hand) {
            if hand.redirected_to().is_some() {
                self.follow(slot, &mut hand, received, actions);
                self.hand = hand;
                return;
            }
            let awaited = hand.next_deadline();
            self.moved.subtract(&hand, awaited);
        } else {
            hand.begin(&touchpoint.identity);
        }
        let had_window = hand.has_window();
        let applied = match touchpoint.linked {
            Some(_) => self.receive_linked(&mut hand, received, actions),
            None => self.give_to(&mut hand, received),
        };
        if !had_window {
            self.watch_window(slot, &hand, stream_time);
        }
        let awaited = hand.next_deadline();
        self.moved.add(&hand, awaited);
        self.count(applied);
        if applied != Applied::Duplicate {
            self.keep(slot, &hand);
            self.publish(log_time, actions);
        }
        if joined && self.settings.state_log == StateLog::Changes {
            self.refresh_cycle.joined(slot);
        }
        let next = attention(&hand, awaited, self.settings.forget_after);
        if next < self.customers.next_wakeup(slot) {
            self.arm(slot, next);
        }
        self.hand = hand;
        if applied != Applied::Duplicate {
            self.forward(touchpoint, log_time, actions);
        }
    }

    /// Packs a customer whom the open transaction has changed.
    fn keep(&mut self, slot: Slot, customer: &Customer) {
        let grown = self.customers.put(slot, customer, self.settings.undo);
        self.open_bytes = self.open_bytes.saturating_add_signed(grown);
    }

    fn count(&mut self, applied: Applied) {
        match applied {
            Applied::Counted => {}
            Applied::Ignored => self.counts.ignored += 1,
            Applied::Duplicate => self.counts.duplicates += 1,
        }
    }

    fn publish(&mut self, log_time: Timestamp, actions: &mut Vec<Action>) {
        actions.extend(self.scratch.drain(..).map(|outcome| Action::Publish { outcome: Box::new(outcome), log_time }));
    }

    /// Sees to it that the customer is looked at when `deadline` is due.
    fn arm(&mut self, slot: Slot, deadline: Timestamp) {
        let (tell, forgotten) = self.customers.arm(slot, deadline);
        if forgotten != Timestamp::MAX {
            self.wheel.remove(forgotten, slot);
        }
        if tell {
            let customers = &self.customers;
            self.wheel.insert(deadline, slot, || named(customers, slot));
        }
    }

    fn prepare(&mut self, actions: &mut Vec<Action>) {
        self.keep_sums();
        self.keep_graves();
        self.say_who_stays(actions);
        self.drop_changed_windows();
        let progress = Progress {
            positions: self.inputs.positions(),
            stream_time: self.stream_time,
            sequence: self.committed.sequence + 1,
        };
        actions.push(Action::Commit(progress.clone()));
        self.phase = Phase::Committing(progress);
    }

    fn settle_committed(&mut self) {
        let Phase::Committing(progress) = std::mem::replace(&mut self.phase, Phase::Deciding) else { return };
        self.refresh_cycle.committed(progress.sequence);
        if self.refresh_cycle.has_gone_round() {
            self.customers.all_written();
        }
        self.committed = progress;
        self.has_handed_over = false;
        self.words_written = self.customers.words().len();
        let (mut customers, walked) = (std::mem::take(&mut self.customers), self.settings.state_log == StateLog::Changes);
        customers.commit(|customers, slot| {
            erasing::disarm(&mut self.wheel, customers, slot);
            if walked {
                self.refresh_cycle.left(slot);
            }
        });
        self.customers = customers;
        if let Some(stream_time) = self.committed.stream_time {
            self.drop_windows(stream_time);
        }
        self.population.absorb(&mut self.moved);
        if self.leaving > 0 && self.settings.state_log == StateLog::Changes {
            // Also of somebody who came back at once, what was known before is to go from the log.
            self.refresh_cycle.make_due();
        }
        self.leaving = 0;
        let mut applied = std::mem::take(&mut self.applied);
        applied.drain(..).for_each(|(_, held)| self.spare(held));
        self.applied = applied;
        self.decisions = 0;
        self.open_bytes = 0;
    }

    fn settle_aborted(&mut self) {
        self.phase = Phase::Deciding;
        self.has_handed_over = false;
        self.refresh_cycle.aborted();
        let forget_after = self.settings.forget_after;
        let (mut customers, mut hand) = (std::mem::take(&mut self.customers), std::mem::take(&mut self.hand));
        let mut rearm: Vec<(Slot, Timestamp)> = Vec::new();
        customers.undo(|customers, slot| {
            if !customers.open(slot, &mut hand) {
                erasing::disarm(&mut self.wheel, customers, slot);
                return;
            }
            let next = attention(&hand, hand.next_deadline(), forget_after);
            if next < customers.next_wakeup(slot) {
                rearm.push((slot, next));
            }
        });
        (self.customers, self.hand) = (customers, hand);
        self.reopen_graves();
        for (slot, deadline) in rearm {
            self.arm(slot, deadline);
        }
        self.moved.clear();
        self.leaving = 0;
        for (input, held) in self.applied.drain(..).rev() {
            self.inputs.put_back(input, held);
        }
        self.inputs.rewind(&self.committed.positions);
        self.stream_time = self.committed.stream_time;
        self.counts = Counts::default();
        self.retelling.counted = StepCounts::default();
        self.retelling.refusals.clear();
        self.retelling.sums.clear();
        self.measured.clear();
        self.decisions = 0;
        self.open_bytes = 0;
    }
}

/// When to look at the customer next: at the earliest deadline, or, where nothing is awaited, when the customer has been
/// without a touchpoint for so long that it is forgotten. Whoever has a deadline is not idle until that is decided.
fn attention(customer: &Customer, deadline: Timestamp, forget_after: Option<Span>) -> Timestamp {
    if let Some(end) = customer.contacts().graves().next_end() {
        return end;
    }
    if let Some(ends) = customer.redirect_ends(forget_after) {
        return ends;
    }
    let idle = || Some(customer.last_touchpoint()? + forget_after?);
    match deadline {
        Timestamp::MAX => idle().unwrap_or(Timestamp::MAX),
        deadline => deadline,
    }
}

/// Whose row it is: deadlines of one instant fire in the order of identities (rule 7). A row of nobody asks for nothing.
fn named(customers: &Customers, slot: Slot) -> Identity {
    customers.identity(slot).unwrap_or_else(|| Identity::customer(""))
}
