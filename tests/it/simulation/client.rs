//! The consumer of a fake client: what it is assigned, from where on it reads, what is paused. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use sillage::ledger::group::Partition;
use sillage::port::ShardId;

use super::defects::Defect;
use super::log::{Millis, Offset, Record, Seen};
use super::world::Sim;

/// A record is handed over so long after it entered, at least: longer than a host's clock may be behind.
const LATENCY: Millis = 8;

#[derive(Default)]
pub(super) struct Client {
    next: BTreeMap<Partition, Offset>,
    /// Those of which a position is known: something was fetched since they were assigned, or sought.
    known: BTreeSet<Partition>,
    paused: BTreeSet<Partition>,
    /// Inputs that are fetched slowly, until when.
    slow: BTreeMap<Partition, Millis>,
}

impl Client {
    /// Instead of all that was assigned.
    pub(super) fn assign(&mut self, positions: BTreeMap<Partition, Offset>) {
        self.next.clear();
        self.assign_beside(positions);
    }

    pub(super) fn assign_beside(&mut self, positions: BTreeMap<Partition, Offset>) {
        self.known.retain(|partition| !positions.contains_key(partition));
        self.next.extend(positions);
    }

    /// What was paused stays so, for whenever it comes back.
    pub(super) fn unassign(&mut self, partitions: &[Partition]) {
        self.next.retain(|partition, _| !partitions.contains(partition));
    }

    pub(super) fn pause(&mut self, partitions: Vec<Partition>) {
        self.paused.extend(partitions);
    }

    pub(super) fn resume(&mut self, partitions: &[Partition]) {
        self.paused.retain(|partition| !partitions.contains(partition));
    }

    pub(super) fn seek(&mut self, partition: Partition, offset: Offset) {
        self.known.remove(&partition);
        self.next.insert(partition, offset);
    }

    /// The shards of which anything is assigned.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        let shards: BTreeSet<ShardId> = self.next.keys().map(|(_, shard)| *shard).collect();
        shards.into_iter().collect()
    }

    /// Where it reads on.
    pub(super) fn reads(&self) -> &BTreeMap<Partition, Offset> {
        &self.next
    }

    /// The same, as a client tells it.
    pub(super) fn positions(&self) -> BTreeMap<Partition, Offset> {
        let known = self.next.iter().filter(|(partition, _)| self.known.contains(partition));
        known.map(|(partition, offset)| (*partition, *offset)).collect()
    }

    pub(super) fn paused(&self) -> impl Iterator<Item = Partition> {
        self.next.keys().copied().filter(|partition| self.paused.contains(partition))
    }

    /// The partitions that something may come of now.
    pub(super) fn delivering(&self, now: Millis) -> Vec<Partition> {
        let quick = |partition: &Partition| self.slow.get(partition).is_none_or(|until| *until <= now);
        self.next.keys().copied().filter(|partition| !self.paused.contains(partition) && quick(partition)).collect()
    }

    /// The next record of a partition.
    pub(super) fn next(&mut self, sim: &Sim, partition: Partition) -> Option<(Offset, Record)> {
        let next = self.next.get_mut(&partition)?;
        let state = sim.state();
        match state.brokers.log(partition).look(*next, sim.now() - LATENCY) {
            Seen::Record(offset, record) => {
                *next = offset + 1;
                self.known.insert(partition);
                Some((offset, record.clone()))
            }
            Seen::Nothing(position) => {
                if !sim.has(Defect::PositionsOfRecords) && position > *next {
                    *next = position;
                    self.known.insert(partition);
                }
                None
            }
        }
    }

    /// Now and then an input is fetched slowly.
    pub(super) fn stumble(&mut self, sim: &Sim) {
        let now = sim.now();
        let state = &mut *sim.state();
        if !state.calm && state.dice.happens(sim.weather.slow_input) && !self.next.is_empty() {
            let partitions: Vec<Partition> = self.next.keys().copied().collect();
            let until = now + state.dice.between(50, 2_500);
            self.slow.insert(state.dice.pick(&partitions), until);
        }
    }
}
