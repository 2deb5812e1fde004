//! The worker: the owner of shards that a log speaks to. It decodes, lets the shards decide, obeys their actions, commits in time.
//!
//! One worker owns whole shards and one sink; nobody else writes their state. It runs on whatever thread drives the log.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use compact_str::CompactString;
use tracing::{debug, error, warn};

use crate::frontiers::{Bound, Frontiers};
use crate::journey::Outcome;
use crate::lookup::{Lookup, Missing, SharedShard, TooMuch};
use crate::memory::Waiting;
use crate::metrics::{self, ShardMeters, WorkerMeters};
use crate::model::Model;
use crate::partitioner::Partitioner;
use crate::port::{Assignment, Known, Now, Origin, RawRecord, ShardId, ShardOwner, Sink, Stamped, Verdict};
use crate::shard::{
    Action, Body, Buffered, Customers, Erasure, ErasureScope, Homes, Input, Misrouted, Progress, Settings, Shard, Slot,
    StateLog, Written, may_be_ahead,
};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Touchpoint;
use crate::vitals::{Beat, Taken};
use crate::wire::{Format, Limits, Mapping, Wanted, erasures, handing};

mod decoding;
mod lossy;
mod pace;

use decoding::{decode, unusable};
use lossy::Lossy;

/// A log of changes grows by about so many bytes with each commit of a shard, even where no customer changed; and by what
/// stands there of the models.
const PAGE_BYTES: usize = 256;
/// A shard that owes a turn to those who have gone makes a step of it so often, be there touchpoints or not.
const STEP: Span = Span::from_secs(10);
/// Where shards wait for each other, a transaction is committed after so long.
const AT_BOUND: Span = Span::from_millis(10);
/// A shard that was given up is kept so long, in case it comes back: not for ever, since somebody else may have it, and erases.
const KEPT: Span = Span::from_secs(60);

/// What is said of a transaction that did not go through.
const UNDONE: &str = "a transaction was undone; its records are applied again";
/// A round of polling that brings fewer records has emptied the log. A log that has more hands over some hundreds in a round.
const FEW: usize = 100;

/// What a worker needs to know beside its log.
#[derive(Clone)]
pub struct Job {
    /// The models, in the order of the configuration.
    pub models: Arc<[Arc<Model>]>,
    /// The names of models that are gone for good.
    pub retired: Arc<[String]>,
    /// Time, limits, undo.
    pub settings: Settings,
    /// How inputs are encoded.
    pub format: Format,
    /// Which source fields hold what, where the source names them otherwise.
    pub mapping: Option<Mapping>,
    /// What a record may hold.
    pub limits: Limits,
    /// Names of the inputs, sorted.
    pub topics: Arc<[String]>,
    /// Number of partitions of every input.
    pub partitions: u32,
    /// How the inputs are partitioned.
    pub partitioner: Partitioner,
    /// What becomes of a touchpoint that is found elsewhere.
    pub misrouted: Misrouted,
    /// A touchpoint of this type asks for its customer to be erased (rule 28).
    pub erase_on: Option<CompactString>,
    /// How often to commit while there is something to commit.
    pub commit_interval: Span,
    /// An absence decided so long after its deadline is marked stale (rule 24).
    pub stale_after: Span,
    /// The worker clock.
    pub now: Now,
    /// Where readers find the journeys.
    pub lookup: Arc<Lookup>,
    /// How far all shards have come; `None` where none hands anything to another.
    pub frontiers: Option<Arc<Frontiers>>,
}

struct OwnedShard {
    shard: SharedShard,
    /// Bytes of its customers' state, as counted last.
    state: u64,
    meters: ShardMeters,
    /// How far others let it decide.
    bound: Bound,
}

/// A shard as it was given up.
struct Kept {
    progress: Progress,
    customers: Customers,
    retain_from: u64,
    since: Timestamp,
}

/// What the metrics are told of an outcome once it is committed.
struct Published {
    counter: usize,
    at: Timestamp,
    log_time: Timestamp,
    stale: bool,
}

/// A worker.
pub struct Worker {
    job: Job,
    sink: Box<dyn Sink>,
    page_bytes: usize,
    /// Which properties anybody reads.
    wanted: Wanted,
    /// What records lost that were used all the same.
    lossy: Lossy,
    /// When the batch was received that is being handed over.
    receipt: Timestamp,
    shards: BTreeMap<ShardId, OwnedShard>,
    /// Touchpoints that are over, to be filled again.
    #[expect(clippy::vec_box, reason = "records that wait hold boxes")]
    spare: Vec<Box<Touchpoint>>,
    /// Shards that have received records and have not decided on them.
    received: Vec<ShardId>,
    /// What was given up last, as committed: it often comes back at once, and then need not be read from the log.
    kept: BTreeMap<ShardId, Kept>,
    /// Shards that broke an invariant in the open transaction, and how; see [`Worker::mend`].
    broken: Vec<(ShardId, String)>,
    parked: Vec<ShardId>,
    /// When the last commit began, and when it ended.
    last_commit: Timestamp,
    commit_ended: Timestamp,
    /// Records of the round of polling that is under way.
    round: usize,
    /// Whether a round since the last commit has emptied the log.
    caught_up: bool,
    /// Whether a shard waits for others to come as far.
    is_at_bound: bool,
    /// Whether something has come that was handed over in a backlog: others may wait for what becomes of it.
    is_awaited: bool,
    /// Whether other processes wait to hear how far the shards have come.
    are_heard: bool,
    /// Bytes that the shards' open transactions hold.
    open_bytes: usize,
    last_step: Timestamp,
    was_assigned: bool,
    meters: WorkerMeters,
    beat: Arc<Beat>,
    /// By input: what was taken since it was last told.
    taken: Vec<Taken>,
    actions: Vec<Action>,
    /// Outcomes published in the open transaction, to be counted when it is committed.
    published: Vec<Published>,
    stopped: Option<String>,
}

impl Worker {
    /// A worker without shards.
    pub fn new(job: Job, sink: Box<dyn Sink>) -> Self {
        let last_commit = (job.now)();
        let wanted = Wanted::of(job.models.iter().map(Arc::as_ref));
        let (beat, taken) = (job.lookup.vitals().worker(), vec![Taken::default(); job.topics.len()]);
        let page_bytes = PAGE_BYTES + job.models.iter().map(|model| model.structure().len()).sum::<usize>();
        Worker {
            job,
            sink,
            page_bytes,
            wanted,
            lossy: Lossy::default(),
            receipt: last_commit,
            shards: BTreeMap::new(),
            spare: Vec::new(),
            received: Vec::new(),
            kept: BTreeMap::new(),
            broken: Vec::new(),
            parked: Vec::new(),
            last_commit,
            commit_ended: last_commit,
            round: 0,
            caught_up: true,
            is_at_bound: false,
            is_awaited: false,
            are_heard: false,
            open_bytes: 0,
            last_step: last_commit,
            was_assigned: false,
            meters: WorkerMeters::default(),
            beat,
            taken,
            actions: Vec::new(),
            published: Vec::new(),
            stopped: None,
        }
    }

    fn note_received(&mut self, shard: ShardId) {
        self.round += 1;
        if !self.received.contains(&shard) {
            self.received.push(shard);
        }
    }

    /// Lets the shards decide on the records that they have received.
    fn decide(&mut self) {
        let mut received = std::mem::take(&mut self.received);
        received.drain(..).for_each(|shard| self.handle(shard, Input::Received));
        self.received = received;
    }

    /// Hands an input to a shard and obeys; commits when its transaction is full.
    fn handle(&mut self, shard: ShardId, input: Input) {
        let full = self.tell(shard, input);
        self.mend();
        if full {
            // One that does not go through is not tried again here: the log may have to tell first that the shard is gone.
            while self.is_full(shard) && self.commit(&[]) {}
        }
    }

    /// Whether the transaction is full: that of this shard, or that of all shards together, which share the memory for it.
    fn is_full(&self, shard: ShardId) -> bool {
        self.open_bytes >= self.job.settings.transaction_bytes
            || self.shards.get(&shard).is_some_and(|owned| owned.shard.lock().is_full())
    }

    /// Hands an input to a shard and obeys. A shard that breaks an invariant is out from then on, so that a record on which it
    /// would panic again at every start does not take the others with it; to be followed by [`Worker::mend`], once everybody
    /// has been told what is to be told. Says whether its transaction is full.
    fn tell(&mut self, shard: ShardId, input: Input) -> bool {
        let mut full = false;
        let went = catch_unwind(AssertUnwindSafe(|| {
            let Some(owned) = self.shards.get_mut(&shard) else { return };
            let mut state = owned.shard.lock();
            let held = state.open_bytes();
            state.handle(input, &mut self.actions);
            self.open_bytes = (self.open_bytes + state.open_bytes()).saturating_sub(held);
            full = state.is_full() || self.open_bytes >= self.job.settings.transaction_bytes;
            drop(state);
            self.obey(shard);
        }));
        if let Err(panic) = &went {
            let at = match self.shards.get(&shard).and_then(|owned| owned.shard.lock().applying()) {
                Some((input, offset)) => {
                    let topic = self.job.topics.get(input).map_or("the control topic", String::as_str);
                    format!("{topic}, partition {shard}, offset {offset}")
                }
                None => format!("partition {shard}"),
            };
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let said = said.unwrap_or("it does not say what");
            self.actions.clear();
            self.forget(&[shard]);
            self.broken.push((shard, format!("an invariant was broken at {at}: {said}")));
        }
        full
    }

    /// Undoes the transaction that broken shards have a part in, and parks them. Not before all shards know how the transaction
    /// before ended: who does not would take this end for that one.
    fn mend(&mut self) {
        while !self.broken.is_empty() {
            for (shard, reason) in std::mem::take(&mut self.broken) {
                self.parked.push(shard);
                self.park(shard, reason);
            }
            self.abort(&[], "a shard broke an invariant");
        }
    }

    /// Undoes the open transaction.
    fn abort(&mut self, leaving: &[ShardId], reason: &str) {
        match self.sink.abort() {
            Verdict::Committed | Verdict::Aborted(_) => {
                // That a shard went is no failure of the log, which is told by whoever watches the process.
                if self.beat.is_failing() {
                    debug!(reason, "{UNDONE}");
                } else {
                    warn!(reason, "{UNDONE}");
                }
                let dirty: Vec<ShardId> =
                    self.shards.iter().filter(|(_, owned)| owned.shard.lock().is_dirty()).map(|(shard, _)| *shard).collect();
                self.undone(&dirty, leaving);
            }
            Verdict::Lost(lost) => self.stop(lost),
        }
    }

    fn obey(&mut self, shard: ShardId) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Publish { outcome, log_time } => {
                    let stale = self.is_stale(&outcome);
                    self.sink.publish(shard, &outcome, stale);
                    let counter = self.meters.outcome(&outcome);
                    self.published.push(Published { counter, at: outcome.at, log_time, stale });
                }
                Action::DeadLetter { input, offset, record } => {
                    debug!(shard, offset, reason = record.reason, "a record cannot be used");
                    self.sink.dead_letter(Origin { shard, input, offset }, &record);
                }
                Action::Announce(who) => self.sink.announce(&who),
                Action::HandOver { to, hand_off } => {
                    if let Some(frontiers) = &self.job.frontiers {
                        frontiers.count_hand_off();
                    }
                    self.sink.hand_over(to, &hand_off);
                }
                Action::Tombstone(who) => self.sink.tombstone(&who),
                // Prepare's answers are taken by `commit` itself.
                Action::Remember(_) | Action::Forget(_) | Action::Commit(_) => {}
            }
        }
        self.actions = actions;
    }

    fn is_stale(&self, outcome: &Outcome) -> bool {
        // What no touchpoint caused was decided by an absence: an abandonment, friction, or the ending that follows.
        outcome.cause.is_none() && self.receipt.since(outcome.at) > self.job.stale_after
    }

    /// Commits what all shards have decided, or undoes it. The shards in `leaving` are forgotten before anybody decides
    /// further: what they decided next would be written without an owner to commit it. Says whether it went through.
    fn commit(&mut self, leaving: &[ShardId]) -> bool {
        let begun = (self.job.now)();
        self.last_commit = begun;
        self.is_awaited = false;
        let stepping = begun.since(self.last_step) >= STEP;
        if stepping {
            self.last_step = begun;
        }
        let takes_part = |owned: &OwnedShard| {
            let shard = owned.shard.lock();
            shard.is_dirty() || (stepping && shard.refresh_due()) || (self.are_heard && shard.is_due_to_be_heard())
        };
        let dirty: Vec<ShardId> =
            self.shards.iter().filter(|(_, owned)| takes_part(owned)).map(|(shard, _)| *shard).collect();
        if dirty.is_empty() {
            self.beat.committed();
            self.keep(leaving);
            return true;
        }
        let mut progress = Vec::with_capacity(dirty.len());
        for id in &dirty {
            let Some(owned) = self.shards.get_mut(id) else { continue };
            let (shard, sink) = (&mut *owned.shard.lock(), self.sink.as_mut());
            let mut actions = Vec::new();
            shard.handle(Input::Prepare, &mut actions);
            let mut changed = match self.job.settings.state_log {
                StateLog::Changes => self.page_bytes,
                StateLog::Latest => 0,
            };
            for action in actions {
                match action {
                    Action::Remember(slot) => changed += remember(sink, *id, shard, slot, ImageKind::Change),
                    Action::Forget(who) => changed += sink.forget(*id, &who),
                    Action::Commit(done) => progress.push((*id, done)),
                    Action::Publish { .. }
                    | Action::DeadLetter { .. }
                    | Action::Announce(_)
                    | Action::HandOver { .. }
                    | Action::Tombstone(_) => {}
                }
            }
            // As much is written anew, so that the log is bounded by twice the state; and so many customers as are owed to
            // those who have gone.
            let mut owed = changed;
            let mut step = if stepping && shard.refresh_due() { shard.step() } else { 0 };
            while (owed > 0 || step > 0)
                && let Some(slot) = shard.refresh()
            {
                owed = owed.saturating_sub(remember(sink, *id, shard, slot, ImageKind::Whole).max(1));
                step = step.saturating_sub(1);
            }
            for (number, text) in shard.new_words() {
                sink.word(*id, number, text);
            }
            sink.keep_from(*id, shard.retain_from());
        }
        let verdict = self.sink.commit(&progress);
        self.commit_ended = (self.job.now)();
        self.caught_up = false;
        let committed = verdict == Verdict::Committed;
        match verdict {
            Verdict::Committed => {
                self.beat.committed();
                // Before the shards tell how far they have come: who goes by that must read this first.
                if let Some(frontiers) = self.job.frontiers.as_ref().filter(|_| self.has_handed_over()) {
                    frontiers.count_hand_off();
                }
                self.committed(&dirty, leaving, begun);
            }
            Verdict::Aborted(reason) => {
                // What goes on failing is told by whoever watches the process.
                if self.beat.failed(&reason) {
                    warn!(reason, "{UNDONE}");
                } else {
                    debug!(reason, "{UNDONE}");
                }
                self.undone(&dirty, leaving);
            }
            Verdict::Lost(reason) => self.stop(reason),
        }
        committed
    }

    /// Whether it is time for a commit. Records are not applied while a commit is under way. A worker that is behind therefore
    /// applies them for at least twice as long as the last commit took, or until it has caught up: where commits take nearly the
    /// interval, it would stay behind for ever.
    fn is_commit_due(&self, now: Timestamp) -> bool {
        let took = self.commit_ended.since(self.last_commit);
        // Others wait for what is committed, and this waits for them.
        let waits = self.is_awaited || self.is_at_bound && (self.are_heard || self.has_handed_over());
        let interval = if waits { AT_BOUND.min(self.job.commit_interval) } else { self.job.commit_interval };
        now.since(self.last_commit) >= interval
            && (self.caught_up || now.since(self.commit_ended).as_millis() >= 2 * took.as_millis())
    }

    /// Undoes what `dirty` had in the transaction, after `leaving` have gone.
    fn undone(&mut self, dirty: &[ShardId], leaving: &[ShardId]) {
        self.meters.aborted();
        self.published.clear();
        self.forget(leaving);
        self.finish(dirty, || Input::Aborted);
        self.mend();
    }

    fn stop(&mut self, reason: String) {
        let all: Vec<ShardId> = self.shards.keys().copied().collect();
        self.forget(&all);
        self.stopped = Some(reason);
    }

    fn committed(&mut self, dirty: &[ShardId], leaving: &[ShardId], begun: Timestamp) {
        let now = (self.job.now)();
        self.meters.committed(now.since(begun).as_millis() as f64 / 1e3);
        for Published { counter, at, log_time, stale } in self.published.drain(..) {
            if stale {
                self.meters.stale();
            }
            let seconds = |from: Timestamp| now.since(from).as_millis() as f64 / 1e3;
            self.meters.latency(seconds(at), seconds(log_time));
            self.meters.count(counter);
        }
        for id in dirty {
            if let Some(owned) = self.shards.get_mut(id) {
                let (counts, refusals, measured) = {
                    let mut shard = owned.shard.lock();
                    (shard.take_counts(), shard.take_refusals(), shard.take_measured())
                };
                for (intervention, reason, times) in refusals.iter() {
                    metrics::intervention_refused(intervention, reason, times);
                }
                metrics::interventions_measured(&measured);
                self.meters.counted(counts);
                owned.meters.applied(counts.applied);
            }
        }
        self.keep(leaving);
        self.count_state(dirty);
        self.finish(dirty, || Input::Committed);
        self.mend();
        for id in dirty {
            if let Some(owned) = self.shards.get_mut(id) {
                let mut shard = owned.shard.lock();
                shard.reclaim(&mut self.spare);
                owned.meters.standing(shard.population(), shard.armed());
            }
        }
    }

    /// Tells the shards how the transaction ended, and obeys what they decide next.
    fn finish(&mut self, shards: &[ShardId], input: impl Fn() -> Input) {
        for id in shards {
            self.tell(*id, input());
        }
    }

    fn forget(&mut self, shards: &[ShardId]) {
        if let Some(frontiers) = &self.job.frontiers {
            let now = (self.job.now)();
            shards.iter().for_each(|shard| frontiers.gone(*shard, now));
        }
        for id in shards {
            self.job.lookup.remove(*id);
            if let Some(mut owned) = self.shards.remove(id) {
                let _ = self.job.lookup.count_state(owned.state, 0);
                self.open_bytes = self.open_bytes.saturating_sub(owned.shard.lock().open_bytes());
                owned.meters.gone();
                self.meters.assigned(-1);
            }
        }
        self.shortfall();
    }

    /// Gives shards up of which everything is committed, and keeps their state.
    fn keep(&mut self, shards: &[ShardId]) {
        for id in shards {
            if let Some(owned) = self.shards.get_mut(id) {
                // Nobody may find it empty.
                self.job.lookup.remove(*id);
                let mut shard = owned.shard.lock();
                shard.retire();
                let (progress, retain_from) = (shard.committed().clone(), shard.retain_from());
                let (customers, since) = (std::mem::take(shard.customers()), self.last_commit);
                self.kept.insert(*id, Kept { progress, customers, retain_from, since });
            }
        }
        self.forget(shards);
    }

    /// Counts the state of shards of which everything is committed. One whose state grows where there is no room for it is given
    /// up: all that it has is in the log.
    fn count_state(&mut self, shards: &[ShardId]) {
        for id in shards {
            let Some(owned) = self.shards.get_mut(id) else { continue };
            let bytes = owned.shard.lock().customers().bytes() as u64;
            let before = std::mem::replace(&mut owned.state, bytes);
            if let Err(too_much) = self.job.lookup.count_state(before, bytes) {
                self.forget(&[*id]);
                self.parked.push(*id);
                self.park(*id, no_room(too_much));
            }
        }
        metrics::state(self.job.lookup.state());
    }

    /// Tells what was given to this process and does not run.
    fn shortfall(&self) {
        metrics::missing(&self.job.lookup.missing());
    }

    /// Tells what waits for its turn.
    fn tell_waiting(&self) {
        self.shards.values().for_each(|owned| owned.meters.waiting(owned.shard.lock().waiting_bytes()));
    }

    /// Shards whose stream time was ahead of this worker's clock go on once the clock has come there (rule 5).
    fn release(&mut self, now: Timestamp) {
        let held = |(id, owned): (&ShardId, &OwnedShard)| owned.shard.lock().is_held().then_some(*id);
        let held: Vec<ShardId> = self.shards.iter().filter_map(held).collect();
        held.into_iter().for_each(|id| self.handle(id, Input::Clock(now)));
    }
}

/// Why a shard is parked whose state has no room, and what to do.
fn no_room(TooMuch { bytes, limit }: TooMuch) -> String {
    format!(
        "the state of the customers takes {} MiB and may take {} (`state_memory`): raise it, or let another process take a part of \
         the partitions; then start again",
        bytes >> 20,
        limit >> 20
    )
}

/// What is to be said of a customer to a log of changes.
#[derive(Clone, Copy)]
enum ImageKind {
    /// How it follows from what stands there.
    Change,
    /// All of it, so that nothing before is needed any more.
    Whole,
}

/// Hands a customer's state to the log; returns the bytes that a log of changes grew by.
fn remember(sink: &mut dyn Sink, id: ShardId, shard: &Shard, slot: Slot, kind: ImageKind) -> usize {
    let Some(written) = shard.written(slot) else { return 0 };
    sink.remember(
        id,
        match kind {
            ImageKind::Change => written,
            ImageKind::Whole => Written { before: None, ..written },
        },
    )
}

impl ShardOwner for Worker {
    fn assigned(&mut self, shards: Vec<Assignment>) {
        if !std::mem::replace(&mut self.was_assigned, true) {
            self.job.lookup.worker_assigned();
        }
        let now = (self.job.now)();
        self.receipt = now;
        for Assignment { shard: id, progress, customers, retain_from } in shards {
            let kept = self.kept.remove(&id);
            let (customers, retain_from) = match (customers, kept) {
                (Known::Restored(customers), _) => (customers, retain_from),
                (Known::Kept, Some(kept)) => (kept.customers, kept.retain_from),
                (Known::Kept, None) => {
                    self.park(id, "its state was not kept; please report this, and start again".to_owned());
                    continue;
                }
            };
            debug!(shard = id, customers = customers.len(), "shard assigned");
            let models = Arc::clone(&self.job.models);
            let mut meters = ShardMeters::new(id, self.job.models.iter().map(Arc::as_ref));
            let homes = Homes {
                here: id,
                shards: self.job.partitions,
                partitioner: self.job.partitioner,
                misrouted: self.job.misrouted,
            };
            let bound = Bound::new(self.job.settings.grace);
            let mut shard = Shard::new(models, self.job.settings.clone(), customers, progress).among(homes);
            shard.retains_from(retain_from);
            meters.standing(shard.population(), shard.armed());
            if let Some(frontiers) = &self.job.frontiers {
                frontiers.reached(id, shard.frontier(), now);
                shard.bind(bound.until());
            }
            let state = shard.customers().bytes() as u64;
            let shard = SharedShard::new(shard);
            self.job.lookup.add(id, shard.clone());
            if let Some(before) = self.shards.insert(id, OwnedShard { shard, state, meters, bound }) {
                let _ = self.job.lookup.count_state(before.state, 0);
            } else {
                self.meters.assigned(1);
            }
            if let Err(too_much) = self.job.lookup.count_state(0, state) {
                self.forget(&[id]);
                self.parked.push(id);
                self.park(id, no_room(too_much));
                continue;
            }
            // What the owner before left overdue is decided now: it is obeyed like everything else, or the next commit would
            // hold its consequences without its outcomes.
            self.tell(id, Input::Clock(now));
            self.mend();
            if self.shards.get(&id).is_some_and(|owned| owned.shard.lock().is_held()) {
                warn!(shard = id, "stream time is ahead of this machine's clock: the shard waits until the clock is there");
            }
        }
        self.shortfall();
    }

    fn awaiting(&mut self, shards: &[ShardId]) {
        // What was kept and has not come back by now is with somebody else.
        self.kept.clear();
        shards.iter().for_each(|shard| self.job.lookup.miss(*shard, Missing::Awaited));
        self.shortfall();
    }

    fn park(&mut self, shard: ShardId, reason: String) {
        error!(shard, reason, "the shard is parked; the others go on");
        self.job.lookup.miss(shard, Missing::Parked(reason));
        self.shortfall();
    }

    fn take_parked(&mut self) -> Vec<ShardId> {
        std::mem::take(&mut self.parked)
    }

    fn kept(&self, shard: ShardId) -> Option<Progress> {
        self.kept.get(&shard).map(|kept| kept.progress.clone())
    }

    fn begin_batch(&mut self) {
        self.decide();
        self.receipt = (self.job.now)();
    }

    fn record(&mut self, record: RawRecord<'_>) {
        let origin = record.origin;
        let Some(owned) = self.shards.get(&origin.shard) else { return };
        let receipt = match record.stamped {
            Stamped::OnEntry => self.receipt,
            Stamped::History => Timestamp::MAX,
        };
        let mut shard = owned.shard.lock();
        let log_time = shard.log_time(origin.input, record.timestamp, receipt);
        if shard.stream_time().is_some_and(|stream_time| log_time < stream_time) {
            self.meters.late();
        }
        let touchpoint = self.spare.pop().unwrap_or_default();
        let telling = (&mut self.meters, &mut self.lossy);
        let body = decode(&self.job, &self.wanted, telling, &record, log_time, touchpoint);
        let taken = &mut self.taken[origin.input];
        taken.records += 1;
        taken.unusable += u64::from(matches!(body, Body::Unusable(_)));
        shard.receive(origin.input, Buffered { offset: origin.offset, log_time, body });
        drop(shard);
        self.note_received(origin.shard);
    }

    fn control(&mut self, record: RawRecord<'_>) {
        let origin = record.origin;
        let Some(owned) = self.shards.get(&origin.shard) else { return };
        let whom = record.value.ok_or_else(|| "the record has no value".to_owned()).and_then(erasures::decode);
        let body = match whom {
            Ok(who) => Body::Erasure(Box::new(Erasure { who: vec![who], scope: ErasureScope::AllShards })),
            Err(reason) => unusable(reason, &record),
        };
        let mut shard = owned.shard.lock();
        let log_time = shard.log_time(origin.input, record.timestamp, self.receipt);
        shard.receive(origin.input, Buffered { offset: origin.offset, log_time, body });
        drop(shard);
        self.note_received(origin.shard);
    }

    fn handed_over(&mut self, record: RawRecord<'_>) {
        let origin = record.origin;
        let Some(owned) = self.shards.get(&origin.shard) else { return };
        let handed = record.value.ok_or_else(|| "the record has no value".to_owned()).and_then(handing::decode);
        let mut shard = owned.shard.lock();
        let entered = shard.log_time(origin.input, record.timestamp, self.receipt);
        let (log_time, body) = match handed {
            // One shard may be ahead of another: in a topic of their own, each record has the time of what caused it.
            Ok(hand_off) if origin.input > self.job.topics.len() => {
                let late = self.receipt.since(hand_off.log_time);
                self.is_awaited |= self.job.frontiers.is_some() && late > may_be_ahead(self.job.settings.grace);
                (hand_off.log_time, Body::HandOff(Box::new(hand_off)))
            }
            Ok(hand_off) => (entered, Body::HandOff(Box::new(hand_off))),
            Err(reason) => (entered, unusable(reason, &record)),
        };
        shard.receive(origin.input, Buffered { offset: origin.offset, log_time, body });
        drop(shard);
        self.note_received(origin.shard);
    }

    fn caught_up(&mut self, shard: ShardId, input: usize, position: i64, at: Timestamp) {
        self.decide();
        self.handle(shard, Input::CaughtUp { input, position, at });
    }

    fn buffered(&self, shard: ShardId, input: usize) -> Waiting {
        self.shards.get(&shard).map_or_else(Waiting::default, |owned| owned.shard.lock().buffered(input))
    }

    fn asking(&self) -> Vec<ShardId> {
        self.shards_asking()
    }

    fn has_read(&mut self, shard: ShardId, at: Timestamp) {
        self.decide();
        self.raise_bound(shard, at);
    }

    fn revoking(&mut self, shards: &[ShardId]) {
        self.decide();
        self.commit(shards);
    }

    fn lost(&mut self, shards: &[ShardId]) {
        if !shards.is_empty() && std::mem::replace(&mut self.was_assigned, false) {
            self.job.lookup.worker_waits();
        }
        // Part of the open transaction may be theirs, so all of it is undone.
        self.abort(shards, "shards were lost");
    }

    fn turn(&mut self) -> Result<(), String> {
        self.decide();
        let now = (self.job.now)();
        self.receipt = now;
        self.lossy.tell(now);
        self.release(now);
        self.keep_pace(now);
        self.kept.retain(|_, kept| now.since(kept.since) < KEPT);
        self.caught_up |= std::mem::take(&mut self.round) < FEW;
        if self.is_commit_due(now) {
            self.tell_waiting();
            self.commit(&[]);
        }
        for (input, taken) in self.job.topics.iter().zip(&mut self.taken).filter(|(_, taken)| taken.records > 0) {
            self.job.lookup.vitals().took(input, std::mem::take(taken));
        }
        self.beat.turned();
        self.stopped.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
