//! One worker's membership of its consumer group, decided: which shards it owns, where they go on, what is read, paused,
//! parked and given back (rules 4, 23 and 24).
//!
//! Pure: knows no client, broker, clock, lock or logger. It is told what happened ([`Event`]) and says what is to be done
//! ([`Ask`]), in that order; Kafka's side does it, and the simulation does. A [`Question`] is always the last that it asks, and
//! is answered before anything else is told: a rebalance must be answered within the callback that brings it (see kafka traps:
//! a deferred answer can wipe a newer assignment).

mod ends;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::plan::{Next, Plan, Purpose, Reading};
use super::{BESIDE, Found, Ledger, Restored, Seating, seating};
use crate::memory::{Sharing, Waiting};
use crate::port::{Assignment, Known, ShardId};
use crate::shard::Progress;
use crate::time::{Span, Timestamp};

pub use self::ends::{BrokerId, End, Leadership, LogEnd};

/// How long an assignment that cannot be used may stand before the worker gives up.
const MENDING: Duration = Duration::from_secs(60);

/// A partition of what a shard reads: index of the topic among [`Ledger::topics`], number.
pub type Partition = (usize, ShardId);

/// Who deals the partitions among the members of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A member, all partitions at once (`range`).
    Classic,
    /// The brokers, only what changes (KIP-848, with their `range`).
    Consumer,
}

/// Where a group without offsets starts (rule 24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning.
    Earliest,
    /// At what is new.
    Latest,
    /// At the first record stamped with this instant or later.
    At(Timestamp),
}

/// How a worker takes part in its group.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Who deals the partitions.
    pub protocol: Protocol,
    /// Where a group without offsets starts.
    pub start: Start,
    /// An input is paused when so many of its records wait in a shard.
    pub buffered_records: usize,
    /// Where nobody says where the leader's log ends, silence must have lasted so much longer, beyond `settle`.
    pub unproven_silence: Span,
    /// Bytes that may wait in all shards of the worker ([`Sharing`]).
    pub waiting_bytes: u64,
}

/// What happened. Times are counted from any one instant on, by a clock that never jumps.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few, and none is kept")]
pub enum Event {
    /// The group gives these partitions of the inputs: all that there are for this member, or those that come beside what it
    /// has, as the protocol wants.
    Assigned {
        /// Which.
        partitions: Vec<Partition>,
        /// Now.
        at: Duration,
    },
    /// The group takes these partitions of the inputs back, and waits until what was decided of them is committed.
    Revoked(Vec<Partition>),
    /// The group has taken these partitions of the inputs away: nothing can be committed of them any more.
    Lost(Vec<Partition>),
    /// The answer to the question that was asked last.
    Answer(Answer),
    /// Something that was asked for could not be done, and nobody goes on trying.
    Failed(String),
    /// The state of an awaited shard has been read, or cannot be.
    Restored(ShardId, Result<Restored, String>),
    /// The worker itself had to park these shards.
    Parked(Vec<ShardId>),
    /// The brokers say where inputs end.
    Ends {
        /// The ends.
        ends: Vec<End>,
        /// Up to where the client has handed over, by its own count, which counts control records. Absent where it has none.
        positions: BTreeMap<Partition, i64>,
    },
    /// The client cannot read what stands next in a partition, and never will: why, and what to do.
    Refused(Partition, String),
    /// A fault came instead of the record at this offset, which is to be read again.
    Interrupted(Partition, i64),
    /// What the worker waits for.
    Buffered {
        /// So much waits for its turn, of each partition of the shards that are owned.
        waiting: Vec<(Partition, Waiting)>,
        /// Shards that wait to know that all has been read that others have handed over
        /// ([`crate::port::ShardOwner::asking`]).
        asking: Vec<ShardId>,
    },
    /// The worker ends.
    Stopping,
}

/// What is to be done.
#[derive(Debug)]
pub enum Ask {
    /// Find something out.
    Question(Question),
    /// Answer the group: these partitions are read, from these offsets on. Instead of all that was read, or beside it, as the
    /// protocol wants.
    Take(BTreeMap<Partition, i64>),
    /// Answer the group: these partitions are read no more.
    GiveBack(Vec<Partition>),
    /// Let these partitions deliver nothing for now.
    Pause(Vec<Partition>),
    /// Let these partitions deliver.
    Resume(Vec<Partition>),
    /// Read on from another offset.
    Seek(Partition, i64),
    /// Read the state of these shards, besides those that are being read. Each comes as [`Event::Restored`].
    Restore(Vec<ShardId>),
    /// Read no state any more.
    StopRestoring,
    /// From now on, ask where these inputs end, and no others.
    WatchEnds(Vec<Partition>),
    /// Tell the worker ([`crate::port::ShardOwner::assigned`]).
    Assign(Vec<Assignment>),
    /// Tell the worker ([`crate::port::ShardOwner::awaiting`]).
    Await(Vec<ShardId>),
    /// Tell the worker ([`crate::port::ShardOwner::park`]).
    Park(ShardId, String),
    /// Tell the worker ([`crate::port::ShardOwner::revoking`]).
    Revoke(Vec<ShardId>),
    /// Tell the worker ([`crate::port::ShardOwner::lost`]).
    Lose(Vec<ShardId>),
    /// Tell the worker ([`crate::port::ShardOwner::caught_up`]).
    CaughtUp {
        /// Which input of which shard.
        partition: Partition,
        /// Its end.
        position: i64,
        /// Nothing that is missing entered until then.
        at: Timestamp,
    },
    /// Tell the worker ([`crate::port::ShardOwner::has_read`]).
    HasRead(ShardId, Timestamp),
    /// Tell the operator.
    Say(Notice),
}

/// What must be known of the brokers, and of the worker, before a shard can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What is committed of these shards. Waits while a transaction is about to change it.
    Committed(Vec<ShardId>),
    /// Where the state logs of these shards end, uncommitted records included.
    StateLogEnds(Vec<ShardId>),
    /// The offsets of an instant; without an answer about each of these partitions there is none.
    Offsets {
        /// Of which partitions.
        partitions: Vec<Partition>,
        /// The instant.
        at: Moment,
    },
    /// Commit these offsets, outside of any transaction, with nothing beside them.
    CommitStart(BTreeMap<Partition, i64>),
    /// What the topics of these shards still hold. A partition that nobody leads now is left out.
    Extents(Vec<ShardId>),
}

/// An instant of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The first record that is still there.
    Beginning,
    /// Behind the last.
    End,
    /// The first record stamped so or later.
    At(Timestamp),
}

/// An answer to each [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// What is committed of each shard that was asked about.
    Committed {
        /// By the group's offsets.
        found: BTreeMap<ShardId, Found>,
        /// How far the state had come that the worker kept when it gave the shard up ([`crate::port::ShardOwner::kept`]).
        kept: BTreeMap<ShardId, Progress>,
    },
    /// Where the state logs end; absent where nobody can say now.
    StateLogEnds(BTreeMap<ShardId, i64>),
    /// The offsets; absent where nothing was stamped so late yet.
    Offsets(BTreeMap<Partition, i64>),
    /// They are committed.
    StartCommitted,
    /// What the partitions hold.
    Extents(BTreeMap<Partition, Extent>),
}

/// What a partition still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first offset that can still be read.
    pub first: i64,
    /// The offset behind the last, as a reader of committed records sees it.
    pub end: Option<i64>,
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An assignment is not taken, and why.
    NotTaken(String),
    /// An assignment is taken.
    Assigned {
        /// Shards that came.
        shards: usize,
        /// Those of them that run at once.
        ready: usize,
    },
    /// Shards have gone.
    Revoked(Vec<ShardId>),
    /// The group has lost the offsets of a shard; the state log knows them.
    OffsetsRecovered(ShardId),
    /// Erasures that were asked for cannot be heard by this shard any more.
    ErasuresGone(ShardId),
    /// What other shards handed to this one is not there any more.
    HandedGone(ShardId),
    /// The inputs of a shard are read on from where its state stands.
    ReadOn(ShardId),
}

/// One worker's membership of its group.
#[derive(Debug)]
pub struct Member {
    ledger: Arc<Ledger>,
    terms: Terms,
    /// Shards that run.
    owned: BTreeSet<ShardId>,
    /// Shards whose state is being read, and what the committed offsets say of them.
    awaited: BTreeMap<ShardId, Found>,
    /// Shards whose inputs are not read from where they go on: records came that nobody could take, or only the state log says
    /// where that is.
    strayed: BTreeSet<ShardId>,
    /// Partitions of owned shards that deliver nothing for now, because too much of theirs waits.
    paused: BTreeSet<Partition>,
    /// Where each partition that is read began to be read, or was sought to since.
    begins: BTreeMap<Partition, i64>,
    /// What is being found out.
    plan: Option<Plan>,
    failed: Option<Failed>,
}

/// Something that could not be done.
#[derive(Debug)]
struct Failed {
    reason: String,
    /// The next assignment may mend it, if it comes before this.
    hopeless_from: Option<Duration>,
}

impl Member {
    /// A worker that has no shards yet.
    pub fn new(ledger: Arc<Ledger>, terms: Terms) -> Self {
        Member {
            ledger,
            terms,
            owned: BTreeSet::new(),
            awaited: BTreeMap::new(),
            strayed: BTreeSet::new(),
            paused: BTreeSet::new(),
            begins: BTreeMap::new(),
            plan: None,
            failed: None,
        }
    }

    /// Is told what happened; adds what is to be done, in this order.
    pub fn handle(&mut self, event: Event, asks: &mut Vec<Ask>) {
        match event {
            Event::Assigned { partitions, at } => self.assigned(&partitions, at, asks),
            Event::Revoked(partitions) => self.gone(partitions, Ask::Revoke, asks),
            Event::Lost(partitions) => self.gone(partitions, Ask::Lose, asks),
            Event::Answer(answer) => {
                let next = self.plan.take().map(|plan| plan.answered(answer, &self.ledger, self.terms.start));
                next.into_iter().for_each(|next| self.go_on(next, asks));
            }
            Event::Failed(reason) => self.fail(reason, None),
            Event::Restored(shard, restored) => self.restored(shard, restored, asks),
            Event::Parked(shards) => {
                self.owned.retain(|shard| !shards.contains(shard));
                pause(self.partitions_of(&shards), asks);
            }
            Event::Refused((_, shard), reason) => self.refused(shard, reason, asks),
            Event::Ends { ends, positions } => self.caught_up(&ends, &positions, asks),
            Event::Interrupted(partition, offset) => self.read_again(partition, offset, asks),
            Event::Buffered { waiting, asking } => self.steer(&waiting, &asking, asks),
            Event::Stopping => asks.push(Ask::Revoke(std::mem::take(&mut self.owned).into_iter().collect())),
        }
    }

    /// Whether a record of this shard can be taken. One that cannot is asked for again when the shard is seated.
    pub fn takes(&mut self, shard: ShardId) -> bool {
        let takes = self.owned.contains(&shard);
        if !takes {
            self.strayed.insert(shard);
        }
        takes
    }

    /// The shards that run.
    pub fn owned(&self) -> &BTreeSet<ShardId> {
        &self.owned
    }

    /// The partitions of the inputs that the group has given this member.
    pub fn held(&self) -> Vec<Partition> {
        self.begins.keys().copied().filter(|(input, _)| *input < self.ledger.inputs.len()).collect()
    }

    /// Why this worker cannot go on, once there is no more hope that it will.
    pub fn failure(&self, now: Duration) -> Option<&str> {
        let failed = self.failed.as_ref().filter(|failed| failed.hopeless_from.is_none_or(|from| from <= now))?;
        Some(&failed.reason)
    }

    fn assigned(&mut self, partitions: &[Partition], at: Duration, asks: &mut Vec<Ask>) {
        debug_assert!(self.plan.is_none(), "a question is answered before anything else is told");
        if let Some(reason) = self.lopsided(partitions) {
            // Taken as nothing: a topic created a moment ago may not be known to every member yet.
            asks.push(Ask::Say(Notice::NotTaken(reason.clone())));
            self.fail(reason, Some(at + MENDING));
            return asks.push(Ask::Take(BTreeMap::new()));
        }
        match self.terms.protocol {
            // This is all that there is to take.
            Protocol::Classic => self.failed = None,
            // What comes beside what was not taken mends nothing.
            Protocol::Consumer => {}
        }
        let next = Plan::assignment(&shards_of(partitions));
        self.go_on(next, asks);
    }

    /// All inputs have equally many partitions and `range` deals them alike, so a shard comes with a partition of every input,
    /// or something is wrong.
    fn lopsided(&self, given: &[Partition]) -> Option<String> {
        let missing = |shard: &ShardId| {
            let (_, topic) = self.ledger.inputs.iter().enumerate().find(|(input, _)| !given.contains(&(*input, *shard)))?;
            Some(format!(
                "partition {shard} of {topic} was not given together with that of the other inputs; \
                 all members must use the range assignor and the same inputs"
            ))
        };
        shards_of(given).iter().find_map(missing)
    }

    /// Asks on, or does what a plan has come to.
    fn go_on(&mut self, next: Next, asks: &mut Vec<Ask>) {
        match next {
            Next::Ask(question, plan) => {
                asks.push(Ask::Question(question));
                self.plan = Some(plan);
            }
            Next::Done(plan) => match plan.purpose {
                Purpose::Assignment { shards } => self.take(plan, shards, asks),
                Purpose::Restored(_) => self.seat(plan, asks),
            },
            Next::Failed(reason) => self.fail(reason, None),
        }
    }

    /// Takes an assignment.
    fn take(&mut self, plan: Plan, shards: usize, asks: &mut Vec<Ask>) {
        let Plan { positions, ready, awaited, nowhere, parked, notices, .. } = plan;
        asks.extend(notices.into_iter().map(Ask::Say));
        let taken: Vec<Partition> = positions.keys().copied().collect();
        self.paused.retain(|partition| !positions.contains_key(partition));
        self.begins.extend(&positions);
        asks.push(Ask::Take(positions));
        // The client may remember what was paused before the partitions went and came back.
        resume(taken, asks);
        let aside: Vec<ShardId> = awaited.keys().copied().chain(parked.iter().map(|(shard, _)| *shard)).collect();
        pause(self.partitions_of(&aside), asks);
        self.owned.extend(ready.iter().map(|assignment| assignment.shard));
        // They begin where their state log says.
        self.strayed.extend(nowhere);
        asks.push(Ask::Say(Notice::Assigned { shards, ready: ready.len() }));
        let reading: Vec<ShardId> = awaited.keys().copied().collect();
        self.awaited.extend(awaited);
        asks.extend([Ask::Assign(ready), Ask::Await(reading.clone())]);
        asks.extend(parked.into_iter().map(|(shard, reason)| Ask::Park(shard, reason)));
        restore(reading, asks);
    }

    /// Judges a shard whose state has been read.
    fn restored(&mut self, shard: ShardId, restored: Result<Restored, String>, asks: &mut Vec<Ask>) {
        debug_assert!(self.plan.is_none(), "a question is answered before anything else is told");
        let Some(found) = self.awaited.remove(&shard) else { return };
        let judged = restored.and_then(|Restored { customers, progress, retain_from, .. }| {
            Ok((seating(&self.ledger, shard, progress, &found)?, customers, retain_from))
        });
        let (seating, customers, retain_from) = match judged {
            Ok(judged) => judged,
            Err(reason) => return asks.push(Ask::Park(shard, reason)),
        };
        if let Seating::Recovered(_) = seating {
            asks.push(Ask::Say(Notice::OffsetsRecovered(shard)));
        }
        let reading = if self.strayed.remove(&shard) { Reading::Elsewhere } else { Reading::There };
        let next = match seating {
            Seating::At(progress) | Seating::Recovered(progress) => {
                let (progress, customers) = (self.ledger.complete(progress), Known::Restored(customers));
                Plan::restored(Assignment { shard, progress, customers, retain_from }, reading)
            }
            // Its log holds only what was undone.
            Seating::Fresh => Plan::fresh(shard, found, reading, &self.ledger, self.terms.start),
        };
        self.go_on(next, asks);
    }

    /// Lets a shard run whose state has been read, or parks it where what it has to read is gone.
    fn seat(&mut self, mut plan: Plan, asks: &mut Vec<Ask>) {
        asks.extend(plan.notices.into_iter().map(Ask::Say));
        if let Some((shard, reason)) = plan.parked.pop() {
            return asks.push(Ask::Park(shard, reason));
        }
        let shards: Vec<ShardId> = plan.ready.iter().map(|assignment| assignment.shard).collect();
        if plan.purpose == Purpose::Restored(Reading::Elsewhere) {
            asks.extend(shards.iter().map(|shard| Ask::Say(Notice::ReadOn(*shard))));
            asks.extend(plan.positions.iter().map(|(partition, offset)| Ask::Seek(*partition, *offset)));
            self.begins.extend(plan.positions);
        }
        self.owned.extend(&shards);
        asks.push(Ask::Assign(plan.ready));
        resume(self.partitions_of(&shards), asks);
    }

    /// Partitions go: what was decided of their shards is committed first, or undone where it is too late for that.
    fn gone(&mut self, partitions: Vec<Partition>, tell: impl FnOnce(Vec<ShardId>) -> Ask, asks: &mut Vec<Ask>) {
        debug_assert!(self.plan.is_none(), "a question is answered before anything else is told");
        let going = shards_of(&partitions);
        self.awaited.retain(|shard, _| !going.contains(shard));
        asks.push(Ask::StopRestoring);
        // What stays is read from the beginning once more; it is rare that anything does.
        restore(self.awaited.keys().copied().collect(), asks);
        self.owned.retain(|shard| !going.contains(shard));
        self.strayed.retain(|shard| !going.contains(shard));
        self.paused.retain(|(_, shard)| !going.contains(shard));
        // What is read beside the inputs is not subscribed to: the group does not know that its partitions were taken along.
        let beside = self.ledger.inputs.len()..self.ledger.inputs.len() + BESIDE;
        let unnamed = |partition: &Partition| self.begins.contains_key(partition) && !partitions.contains(partition);
        let besides = beside.flat_map(|topic| going.iter().map(move |shard| (topic, *shard))).filter(unnamed);
        let back: Vec<Partition> = partitions.iter().copied().chain(besides).collect();
        self.begins.retain(|(_, shard), _| !going.contains(shard));
        if !going.is_empty() {
            let going: Vec<ShardId> = going.into_iter().collect();
            asks.extend([Ask::Say(Notice::Revoked(going.clone())), tell(going)]);
        }
        asks.push(Ask::GiveBack(back));
    }

    /// A shard that cannot read on is given up where it stands: what was decided is committed, and the others go on.
    fn refused(&mut self, shard: ShardId, reason: String, asks: &mut Vec<Ask>) {
        if self.owned.remove(&shard) {
            asks.extend([Ask::Revoke(vec![shard]), Ask::Park(shard, reason)]);
            pause(self.partitions_of(&[shard]), asks);
        }
    }

    /// The client counts what comes in place of a record as read: from there it would skip one.
    fn read_again(&mut self, partition: Partition, offset: i64, asks: &mut Vec<Ask>) {
        if let Some(begins) = self.begins.get_mut(&partition) {
            *begins = offset;
            asks.push(Ask::Seek(partition, offset));
        }
    }

    /// Passes on which inputs have been handed over to the end (rule 4), and of which shards all that others hand over has.
    fn caught_up(&self, ends: &[End], positions: &BTreeMap<Partition, i64>, asks: &mut Vec<Ask>) {
        for end in ends {
            // A client has no position of its own where nothing came yet since it began there, or was sought to there.
            let position = positions.get(&end.partition).or(self.begins.get(&end.partition));
            if end.partition.0 >= self.ledger.inputs.len() {
                // What is committed stands below the high watermark, also where its marker is still to come.
                asks.extend(position.filter(|at| **at >= end.high).map(|_| Ask::HasRead(end.partition.1, end.at)));
                continue;
            }
            let proven = position.and_then(|position| end.proves(*position, self.terms.unproven_silence));
            if let Some(at) = proven {
                asks.push(Ask::CaughtUp { partition: end.partition, position: end.stable, at });
            }
        }
    }

    /// Asks for the ends of what has run dry, and pauses what has too much.
    fn steer(&mut self, waiting: &[(Partition, Waiting)], asking: &[ShardId], asks: &mut Vec<Ask>) {
        let (mut dry, mut full, mut low) = (Vec::new(), Vec::new(), Vec::new());
        let most = self.terms.buffered_records;
        let total = waiting.iter().map(|(_, waiting)| waiting.bytes).sum();
        let sharing = Sharing { limit: self.terms.waiting_bytes, total, partitions: waiting.len() };
        for (partition, Waiting { records, bytes }) in waiting {
            // The end of what is read beside the inputs says nothing about silence.
            if *records == 0 && partition.0 < self.ledger.inputs.len() {
                dry.push(*partition);
            }
            let (too_many, few) = (*records > most, *records <= most / 4);
            // A shard that goes on only once it has read all of it reads on, as long as there is room; where there is none, what
            // waits has to go first.
            let awaited = partition.0 == self.ledger.handoff_number() && asking.contains(&partition.1);
            if awaited && sharing.is_too_much(*bytes) {
                asks.push(Ask::HasRead(partition.1, Timestamp::MAX));
            }
            if (too_many && !awaited || sharing.is_too_much(*bytes)) && self.paused.insert(*partition) {
                full.push(*partition);
            } else if (few && sharing.is_little(*bytes) || awaited && !sharing.is_too_much(*bytes))
                && self.paused.remove(partition)
            {
                low.push(*partition);
            }
        }
        dry.extend(asking.iter().map(|shard| (self.ledger.handoff_number(), *shard)));
        asks.push(Ask::WatchEnds(dry));
        pause(full, asks);
        resume(low, asks);
    }

    /// The first reason stays, unless there was hope that it would go.
    fn fail(&mut self, reason: String, hopeless_from: Option<Duration>) {
        self.plan = None;
        if self.failed.as_ref().is_none_or(|failed| failed.hopeless_from.is_some() && hopeless_from.is_none()) {
            self.failed = Some(Failed { reason, hopeless_from });
        }
    }

    fn partitions_of(&self, shards: &[ShardId]) -> Vec<Partition> {
        let topics = 0..self.ledger.inputs.len() + BESIDE;
        shards.iter().flat_map(|shard| topics.clone().map(move |input| (input, *shard))).collect()
    }
}

fn shards_of(partitions: &[Partition]) -> BTreeSet<ShardId> {
    partitions.iter().map(|(_, shard)| *shard).collect()
}

fn pause(partitions: Vec<Partition>, asks: &mut Vec<Ask>) {
    asks.extend((!partitions.is_empty()).then_some(Ask::Pause(partitions)));
}

fn resume(partitions: Vec<Partition>, asks: &mut Vec<Ask>) {
    asks.extend((!partitions.is_empty()).then_some(Ask::Resume(partitions)));
}

fn restore(shards: Vec<ShardId>, asks: &mut Vec<Ask>) {
    asks.extend((!shards.is_empty()).then_some(Ask::Restore(shards)));
}

#[cfg(test)]
mod tests;
