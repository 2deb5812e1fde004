//! The inputs of a shard and how far each allows stream time to go (rules 2 and 4).

use serde::{Deserialize, Serialize};

use std::collections::VecDeque;

use super::HandOff;
use crate::memory::Waiting;
use crate::time::Timestamp;
use crate::touchpoint::{Identity, Touchpoint};

/// A record that was received and waits for its turn.
#[derive(Clone, Debug)]
pub struct Buffered {
    /// Its offset.
    pub offset: i64,
    /// Its log time.
    pub log_time: Timestamp,
    /// What it holds.
    pub body: Body,
}

impl Buffered {
    /// Roughly the bytes of memory that it takes while it waits.
    pub fn bytes(&self) -> usize {
        let texts = |texts: &Unusable| {
            let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
            texts.reason.len() + length(&texts.key) + length(&texts.value)
        };
        let body = match &self.body {
            Body::Touchpoint(touchpoint) => touchpoint.bytes(),
            Body::Unusable(unusable) => size_of::<Unusable>() + texts(unusable),
            Body::HandOff(hand_off) => hand_off.bytes(),
            Body::Erasure(erasure) => size_of::<Erasure>() + erasure.who.iter().map(Identity::bytes).sum::<usize>(),
        };
        size_of::<Held>() + body
    }
}

/// A record with the bytes that it takes.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) record: Buffered,
    pub(super) bytes: usize,
}

/// What a record holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// A touchpoint.
    Touchpoint(Box<Touchpoint>),
    /// Something that cannot be used.
    Unusable(Box<Unusable>),
    /// Somebody is to be erased.
    Erasure(Box<Erasure>),
    /// Another shard hands something over.
    HandOff(Box<HandOff>),
}

/// Somebody is to be erased (rule 28): whatever entered the log before is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Who.
    pub who: Vec<Identity>,
    /// Which shards hear of it.
    pub scope: ErasureScope,
}

/// Which shards hear of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureScope {
    /// All of them: it came by the control topic.
    AllShards,
    /// This one alone, so that it must tell the others: a touchpoint asked for it.
    ThisShard,
}

/// A record that cannot be used, with its bytes for the dead letters (rule 21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Why, in at most a few hundred bytes.
    pub reason: String,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
}

/// How far one input has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The offset after the last applied record.
    pub offset: i64,
    /// Its log time; [`Timestamp::MIN`] before the first.
    pub log_time: Timestamp,
}

/// How far the shard may go now.
pub(super) enum Reach {
    /// The next record may be applied, at this log time.
    Record(Timestamp),
    /// No record may be applied, but deadlines up to this instant may be fired.
    Until(Timestamp),
    /// Some input is silent about itself: nothing may be decided.
    Nowhere,
}

struct One {
    buffer: VecDeque<Held>,
    /// What is in `buffer` takes so many bytes.
    bytes: usize,
    applied: Position,
    /// The offset after the last record that was handed over.
    received: i64,
    /// The running maximum behind log times.
    latest: Timestamp,
    /// What the latest end-offset query proved; holds while nothing is buffered.
    proven: Timestamp,
    /// Whether it holds stream time while it is empty.
    holds: Holds,
    /// So many records at the front were looked ahead at ([`Inputs::look_ahead`]).
    looked_at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    StreamTime,
    Nothing,
}

impl One {
    /// Before this instant nothing more will come: the next record's log time; else what a query proved, and never less
    /// than the last applied record's log time. [`Timestamp::MIN`] where nothing is known yet. The control topic and
    /// what other shards hand over are no such inputs: whoever asks for an erasure is not waited for.
    fn frontier(&self) -> Timestamp {
        match (self.buffer.front(), self.holds) {
            (Some(next), _) => next.record.log_time,
            (None, Holds::StreamTime) => self.proven.max(self.applied.log_time),
            (None, Holds::Nothing) => Timestamp::MAX,
        }
    }
}

/// Where a shard hears of erasures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Beside its inputs: those from this number on hold no touchpoints of their own, and never hold stream time.
    After(usize),
    /// Between the touchpoints of its inputs, or not at all.
    AmongTouchpoints,
}

pub(super) struct Inputs(Vec<One>);

impl Inputs {
    pub(super) fn new(positions: &[Position], control: Control) -> Self {
        let one = |applied: &Position| One {
            buffer: VecDeque::new(),
            bytes: 0,
            applied: *applied,
            received: i64::MIN,
            latest: applied.log_time,
            proven: Timestamp::MIN,
            holds: Holds::StreamTime,
            looked_at: 0,
        };
        let mut inputs: Vec<One> = positions.iter().map(one).collect();
        match control {
            Control::After(first) => inputs.iter_mut().skip(first).for_each(|beside| beside.holds = Holds::Nothing),
            Control::AmongTouchpoints => {}
        }
        Inputs(inputs)
    }

    pub(super) fn log_time(&mut self, input: usize, entered: Timestamp) -> Timestamp {
        let latest = &mut self.0[input].latest;
        *latest = (*latest).max(entered);
        *latest
    }

    /// Takes a record, unless it was taken before: a client that seeks or resumes may hand it over twice. What was committed says
    /// nothing about that: a topic that was made anew begins at its first offset again.
    pub(super) fn push(&mut self, input: usize, record: Buffered) {
        let one = &mut self.0[input];
        if record.offset >= one.received {
            one.received = record.offset + 1;
            let bytes = record.bytes();
            one.bytes += bytes;
            one.buffer.push_back(Held { record, bytes });
        }
    }

    /// Puts an undone record back where it came from: before everything that waits.
    pub(super) fn put_back(&mut self, input: usize, held: Held) {
        let one = &mut self.0[input];
        one.bytes += held.bytes;
        one.buffer.push_front(held);
        one.looked_at = 0;
    }

    pub(super) fn rewind(&mut self, positions: &[Position]) {
        for (one, position) in self.0.iter_mut().zip(positions) {
            one.applied = *position;
        }
    }

    /// An answered query proves something only about an input whose records have all been applied.
    pub(super) fn caught_up(&mut self, input: usize, position: i64, proven: Timestamp) {
        let one = &mut self.0[input];
        if one.buffer.is_empty() {
            one.proven = one.proven.max(proven);
            one.applied.offset = one.applied.offset.max(position);
        }
    }

    pub(super) fn buffered(&self, input: usize) -> Waiting {
        let one = &self.0[input];
        Waiting { records: one.buffer.len(), bytes: one.bytes as u64 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|one| one.bytes as u64).sum()
    }

    pub(super) fn positions(&self) -> Vec<Position> {
        self.0.iter().map(|one| one.applied).collect()
    }

    /// The least frontier decides; a record at it may be applied when every other frontier is past it in the order
    /// (log time, topic, offset).
    pub(super) fn reach(&self) -> Reach {
        let mut least: Option<(Timestamp, usize)> = None;
        for (index, one) in self.0.iter().enumerate() {
            let frontier = one.frontier();
            if frontier == Timestamp::MIN {
                return Reach::Nowhere;
            }
            if least.is_none_or(|(so_far, _)| frontier < so_far) {
                least = Some((frontier, index));
            }
        }
        match least {
            None => Reach::Nowhere,
            Some((frontier, index)) if self.0[index].buffer.front().is_some() => Reach::Record(frontier),
            // What another shard hands over has happened by then, whatever else comes of that instant.
            Some((frontier, _)) if self.next_is_handed(frontier) => Reach::Record(frontier),
            Some((frontier, _)) => Reach::Until(frontier),
        }
    }

    /// Whether the next record of all is one that another shard has handed over, and of that instant.
    fn next_is_handed(&self, at: Timestamp) -> bool {
        let next = self.next_input().and_then(|index| self.0[index].buffer.front());
        next.is_some_and(|held| held.record.log_time == at && matches!(held.record.body, Body::HandOff(_)))
    }

    /// The input of the record that [`Inputs::reach`] spoke of.
    fn next_input(&self) -> Option<usize> {
        let heads = self.0.iter().enumerate().filter_map(|(index, one)| Some((one.buffer.front()?.record.log_time, index)));
        heads.min().map(|(_, index)| index)
    }

    /// The next records of the input of which [`Inputs::pop`] takes one, at most so many; none as long as some are left of those
    /// that were looked ahead at before.
    pub(super) fn look_ahead(&mut self, most: usize) -> impl Iterator<Item = &Buffered> {
        let ahead = self.next_input().filter(|index| self.0[*index].looked_at == 0).map(|index| {
            let one = &mut self.0[index];
            one.looked_at = one.buffer.len().min(most);
            one.buffer.iter().take(one.looked_at).map(|held| &held.record)
        });
        ahead.into_iter().flatten()
    }

    /// Takes the record that [`Inputs::reach`] spoke of.
    pub(super) fn pop(&mut self) -> Option<(usize, Held)> {
        let index = self.next_input()?;
        let one = &mut self.0[index];
        let held = one.buffer.pop_front()?;
        let record = &held.record;
        one.bytes -= held.bytes;
        one.looked_at = one.looked_at.saturating_sub(1);
        one.applied = Position { offset: record.offset + 1, log_time: record.log_time };
        Some((index, held))
    }
}
