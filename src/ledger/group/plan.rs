//! Where shards go on, by the committed offsets, the state log, and what the inputs still hold (rules 23 and 24): one question
//! after the other, until each shard runs, is awaited, or is parked.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Extent, Moment, Notice, Partition, Question, Start};
use crate::ledger::{BESIDE, Found, Ledger, seating};
use crate::port::{Assignment, Known, ShardId};
use crate::shard::{Customers, Position, Progress};
use crate::time::Timestamp;

/// Shards on their way.
#[derive(Debug)]
pub(super) struct Plan {
    pub purpose: Purpose,
    asked: Asked,
    /// Where each partition goes on.
    pub positions: BTreeMap<Partition, i64>,
    /// Shards that run at once.
    pub ready: Vec<Assignment>,
    /// Shards whose state must be read first, and what the committed offsets say of them.
    pub awaited: BTreeMap<ShardId, Found>,
    /// Of the awaited ones those where only the state log says where they go on.
    pub nowhere: BTreeSet<ShardId>,
    /// Shards that cannot be used, and why.
    pub parked: Vec<(ShardId, String)>,
    /// Shards that nothing was ever committed of, and what the group's offsets say.
    fresh: BTreeMap<ShardId, Found>,
    pub notices: Vec<Notice>,
}

/// What is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The group has given so many shards.
    Assignment { shards: usize },
    /// The state of a shard has been read.
    Restored(Reading),
}

/// From where the inputs of a shard are read when its state is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// From where its state stands.
    There,
    /// From somewhere else: they must be brought back.
    Elsewhere,
}

/// What was asked last.
#[derive(Debug)]
enum Asked {
    Committed,
    /// Of shards of which the committed offsets tell no commit.
    StateLogEnds(BTreeMap<ShardId, Found>),
    /// Where the inputs of fresh shards begin.
    StartBeginnings,
    /// Where they end.
    StartEnds,
    /// Where an instant is in them; and where they ended before that was asked.
    StartAt(BTreeMap<Partition, i64>),
    StartCommitted(BTreeMap<Partition, i64>),
    Extents,
}

/// What comes next.
pub(super) enum Next {
    Ask(Question, Plan),
    Done(Plan),
    Failed(String),
}

impl Plan {
    fn of(purpose: Purpose) -> Self {
        Plan {
            purpose,
            asked: Asked::Committed,
            positions: BTreeMap::new(),
            ready: Vec::new(),
            awaited: BTreeMap::new(),
            nowhere: BTreeSet::new(),
            parked: Vec::new(),
            fresh: BTreeMap::new(),
            notices: Vec::new(),
        }
    }

    /// These shards were given.
    pub(super) fn assignment(shards: &BTreeSet<ShardId>) -> Next {
        let plan = Plan::of(Purpose::Assignment { shards: shards.len() });
        if shards.is_empty() {
            return Next::Done(plan);
        }
        plan.ask(Asked::Committed, Question::Committed(shards.iter().copied().collect()))
    }

    /// The state of a shard has been read, and says where it goes on.
    pub(super) fn restored(assignment: Assignment, reading: Reading) -> Next {
        let mut plan = Plan::of(Purpose::Restored(reading));
        plan.at(assignment.shard, &assignment.progress.positions);
        plan.ready.push(assignment);
        plan.look_at_extents()
    }

    /// The state log of a shard has been read, and nothing was ever committed of it.
    pub(super) fn fresh(shard: ShardId, found: Found, reading: Reading, ledger: &Ledger, start: Start) -> Next {
        let mut plan = Plan::of(Purpose::Restored(reading));
        plan.fresh.insert(shard, found);
        plan.look_for_starts(ledger, start)
    }

    /// Goes on with an answer.
    pub(super) fn answered(mut self, answer: Answer, ledger: &Ledger, start: Start) -> Next {
        let unasked = || Next::Failed("an answer came to what was not asked; please report this".to_owned());
        let asked = std::mem::replace(&mut self.asked, Asked::Committed);
        match answer {
            Answer::Committed { found, kept } => {
                let Asked::Committed = asked else { return unasked() };
                self.sort(found, &kept, ledger, start)
            }
            Answer::StateLogEnds(ends) => {
                let Asked::StateLogEnds(unknown) = asked else { return unasked() };
                self.sort_unknown(unknown, &ends, ledger);
                self.look_for_starts(ledger, start)
            }
            Answer::Offsets(offsets) => match asked {
                Asked::StartBeginnings => self.begin_fresh(&offsets, ledger),
                Asked::StartEnds => match start {
                    Start::At(instant) => {
                        let (partitions, at) = (self.unset(ledger), Moment::At(instant));
                        self.ask(Asked::StartAt(offsets), Question::Offsets { partitions, at })
                    }
                    Start::Earliest | Start::Latest => self.commit_start(offsets),
                },
                Asked::StartAt(mut starts) => {
                    // Where nothing is stamped so late yet, everything that comes is new.
                    starts.extend(offsets);
                    self.commit_start(starts)
                }
                Asked::Committed | Asked::StateLogEnds(_) | Asked::StartCommitted(_) | Asked::Extents => unasked(),
            },
            Answer::StartCommitted => {
                let Asked::StartCommitted(starts) = asked else { return unasked() };
                self.begin_fresh(&starts, ledger)
            }
            Answer::Extents(extents) => {
                let Asked::Extents = asked else { return unasked() };
                self.keep_within(&extents, ledger);
                Next::Done(self)
            }
        }
    }

    fn ask(mut self, asked: Asked, question: Question) -> Next {
        self.asked = asked;
        Next::Ask(question, self)
    }

    fn at(&mut self, shard: ShardId, positions: &[Position]) {
        let positions = positions.iter().enumerate();
        self.positions.extend(positions.map(|(input, position)| ((input, shard), position.offset)));
    }

    /// Sorts the shards of an assignment by what is committed of them.
    fn sort(
        mut self,
        found: BTreeMap<ShardId, Found>,
        kept: &BTreeMap<ShardId, Progress>,
        ledger: &Ledger,
        start: Start,
    ) -> Next {
        let mut unknown = BTreeMap::new();
        for (shard, found) in found {
            match found.progress() {
                Some(progress) if kept.get(&shard) == Some(&progress) => {
                    self.at(shard, &progress.positions);
                    self.ready.push(Assignment { shard, progress, customers: Known::Kept, retain_from: 0 });
                }
                Some(progress) => {
                    self.at(shard, &progress.positions);
                    self.awaited.insert(shard, found);
                }
                None => drop(unknown.insert(shard, found)),
            }
        }
        if unknown.is_empty() {
            return self.look_for_starts(ledger, start);
        }
        let shards = unknown.keys().copied().collect();
        self.ask(Asked::StateLogEnds(unknown), Question::StateLogEnds(shards))
    }

    /// Sorts the shards whose committed offsets do not say where they go on: never seen before, or their first positions are in
    /// the state log, which is read beside the shards that run.
    fn sort_unknown(&mut self, unknown: BTreeMap<ShardId, Found>, ends: &BTreeMap<ShardId, i64>, ledger: &Ledger) {
        for (shard, found) in unknown {
            // One that nobody leads now is taken for one that holds something: it is read beside the others.
            if ends.get(&shard) != Some(&0) {
                self.awaited.insert(shard, found);
                self.nowhere.insert(shard);
            } else if let Err(reason) = seating(ledger, shard, None, &found) {
                self.parked.push((shard, reason));
            } else {
                self.fresh.insert(shard, found);
                continue;
            }
            // Somewhere, since it is paused there.
            let nowhere = Position { offset: 0, log_time: Timestamp::MIN };
            self.at(shard, &vec![nowhere; ledger.inputs.len() + BESIDE]);
        }
    }

    /// Partitions of fresh shards without an offset that somebody set.
    fn unset(&self, ledger: &Ledger) -> Vec<Partition> {
        let mut unset = Vec::new();
        for (shard, found) in &self.fresh {
            let offsets = found.offsets.iter().take(ledger.inputs.len()).enumerate();
            unset.extend(offsets.filter(|(_, (offset, _))| offset.is_none()).map(|(input, _)| (input, *shard)));
        }
        unset
    }

    /// Fresh shards begin at offsets that somebody set, or where `start` says.
    fn look_for_starts(self, ledger: &Ledger, start: Start) -> Next {
        let partitions = self.unset(ledger);
        if partitions.is_empty() {
            return self.begin_fresh(&BTreeMap::new(), ledger);
        }
        match start {
            Start::Earliest => self.ask(Asked::StartBeginnings, Question::Offsets { partitions, at: Moment::Beginning }),
            // The end before the instant: what comes between the two answers must be found by the second, or it would be left
            // out.
            Start::Latest | Start::At(_) => self.ask(Asked::StartEnds, Question::Offsets { partitions, at: Moment::End }),
        }
    }

    /// A start that is not simply the beginning is committed at once: a worker that dies before its first commit must not find
    /// another "latest" when it comes back.
    fn commit_start(self, starts: BTreeMap<Partition, i64>) -> Next {
        self.ask(Asked::StartCommitted(starts.clone()), Question::CommitStart(starts))
    }

    fn begin_fresh(mut self, starts: &BTreeMap<Partition, i64>, ledger: &Ledger) -> Next {
        for (shard, found) in std::mem::take(&mut self.fresh) {
            let mut progress = Progress::default();
            for (input, (topic, (set, _))) in ledger.inputs.iter().zip(&found.offsets).enumerate() {
                let Some(offset) = set.or_else(|| starts.get(&(input, shard)).copied()) else {
                    return Next::Failed(format!("cannot learn where partition {shard} of {topic} starts"));
                };
                progress.positions.push(Position { offset, log_time: Timestamp::MIN });
            }
            // What is read beside the inputs from its beginning.
            let progress = ledger.complete(progress);
            self.at(shard, &progress.positions);
            self.ready.push(Assignment {
                shard,
                progress,
                customers: Known::Restored(Customers::default()),
                retain_from: 0,
            });
        }
        self.look_at_extents()
    }

    fn look_at_extents(self) -> Next {
        match self.purpose {
            // It was asked when the shard came.
            Purpose::Restored(Reading::There) => Next::Done(self),
            Purpose::Assignment { .. } | Purpose::Restored(Reading::Elsewhere) => {
                let shards: BTreeSet<ShardId> = self.positions.keys().map(|(_, shard)| *shard).collect();
                self.ask(Asked::Extents, Question::Extents(shards.into_iter().collect()))
            }
        }
    }

    /// Sees to it that every position lies in what its topic still holds. Missing records of the topics beside the inputs are
    /// skipped with a notice.
    /// Missing input records would be data loss, so the shard is parked (rule 23).
    fn keep_within(&mut self, extents: &BTreeMap<Partition, Extent>, ledger: &Ledger) {
        let (topics, control) = (ledger.topics(), ledger.inputs.len());
        let mut gone = Vec::new();
        for ((input, shard), position) in &mut self.positions {
            // What nobody leads now cannot be read from anywhere.
            let Some(Extent { first, end }) = extents.get(&(*input, *shard)).copied() else { continue };
            let at = *position;
            let why = match end {
                _ if at < first => format!("begins at offset {first}: retention has deleted what lies between"),
                Some(end) if at > end => format!("ends at offset {end}: it was made anew, or has lost its end"),
                Some(_) | None => continue,
            };
            *position = first;
            if *input < control {
                let (topic, remedy) = (&topics[*input], "see docs/kafka.md, \"When the state log does not fit\"");
                gone.push((*shard, format!("partition {shard} of {topic} goes on at offset {at}, but {why}; {remedy}")));
            } else if at > 0 {
                let gone = if *input == control { Notice::ErasuresGone } else { Notice::HandedGone };
                self.notices.push(gone(*shard));
            }
        }
        for (shard, reason) in gone {
            // Where only the state log says where a shard goes on, it is asked when that has been read.
            if !self.nowhere.contains(&shard) {
                self.park(shard, reason);
            }
        }
    }

    /// A shard that cannot be used, whatever was thought of it so far.
    fn park(&mut self, shard: ShardId, reason: String) {
        self.ready.retain(|assignment| assignment.shard != shard);
        self.awaited.remove(&shard);
        if self.parked.iter().all(|(parked, _)| *parked != shard) {
            self.parked.push((shard, reason));
        }
    }
}
