//! The fake group coordinator: members, generations, the range assignor; dynamic and static members, and members whose shards
//! the brokers deal one by one (KIP-848).

use std::collections::{BTreeMap, BTreeSet};

use super::log::Millis;
use super::weather::Seats;

pub(super) type MemberId = u64;

/// A member that is silent for so long is put out of the group.
pub(super) const SESSION: Millis = 1_500;
/// So long members may take to come back to the table when a generation ends.
const REBALANCE: Millis = 3_000;

#[derive(Clone, Debug)]
struct Member {
    /// The `group.instance.id` of a static member.
    instance: Option<usize>,
    /// Whether it waits for the next generation.
    joined: bool,
    shards: Vec<u32>,
    beat: Millis,
    /// Where the brokers deal: what it has, and as of which epoch.
    has: BTreeSet<u32>,
    epoch: u32,
}

#[derive(Debug)]
pub(super) struct Group {
    seats: Seats,
    generation: u32,
    members: BTreeMap<MemberId, Member>,
    /// A new generation is being put together, until then at the latest.
    preparing: Option<Millis>,
    shards: u32,
    names: MemberId,
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not of the group, or no more.
    Stranger,
    /// Its generation ends: it must give everything back.
    Asked,
    /// It waits for the others.
    Waiting,
    Seated(u32, Vec<u32>),
    /// The brokers deal: these are to be given back.
    Gives(Vec<u32>),
    /// The brokers deal: the epoch, and what comes.
    Takes(u32, Vec<u32>),
}

impl Group {
    pub(super) fn new(seats: Seats, shards: u32) -> Self {
        Group { seats, generation: 0, members: BTreeMap::new(), preparing: None, shards, names: 0 }
    }

    /// A member comes. One that has the instance of another takes its place, and nobody is disturbed.
    pub(super) fn join(&mut self, instance: Option<usize>, now: Millis) -> MemberId {
        self.names += 1;
        let before = instance.and_then(|_| self.members.iter().find(|(_, member)| member.instance == instance));
        let before = before.map(|(id, _)| *id).and_then(|id| self.members.remove(&id));
        let shards = before.as_ref().map(|member| member.shards.clone()).unwrap_or_default();
        let quiet = before.is_some() && self.preparing.is_none();
        let (has, epoch) = (BTreeSet::new(), 0);
        self.members.insert(self.names, Member { instance, joined: !quiet, shards, beat: now, has, epoch });
        if !quiet {
            self.prepare(now);
        }
        self.names
    }

    pub(super) fn leave(&mut self, id: MemberId, now: Millis) {
        if self.members.remove(&id).is_some() {
            self.prepare(now);
        }
    }

    fn prepare(&mut self, now: Millis) {
        match self.seats {
            Seats::Loose | Seats::Fixed => self.preparing = self.preparing.or(Some(now + REBALANCE)),
            Seats::Dealt => {
                self.generation += 1;
                self.deal();
            }
        }
    }

    /// The member has given these back.
    pub(super) fn given(&mut self, id: MemberId, shards: &[u32]) {
        if let Some(member) = self.members.get_mut(&id) {
            member.has.retain(|shard| !shards.contains(shard));
        }
    }

    /// What a member of a group in which the brokers deal is to do.
    pub(super) fn heartbeat(&mut self, id: MemberId) -> Standing {
        let held: BTreeSet<u32> = self.members.values().flat_map(|member| member.has.iter().copied()).collect();
        let Some(member) = self.members.get_mut(&id) else { return Standing::Stranger };
        let gives: Vec<u32> = member.has.iter().copied().filter(|shard| !member.shards.contains(shard)).collect();
        if !gives.is_empty() {
            return Standing::Gives(gives);
        }
        member.epoch = self.generation;
        let takes: Vec<u32> = member.shards.iter().copied().filter(|shard| !held.contains(shard)).collect();
        member.has.extend(&takes);
        Standing::Takes(member.epoch, takes)
    }

    /// The member has given everything back.
    pub(super) fn rejoin(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.joined = true;
        }
    }

    pub(super) fn beat(&mut self, id: MemberId, now: Millis) {
        if let Some(member) = self.members.get_mut(&id) {
            member.beat = now;
        }
    }

    /// Time goes on: who is silent goes, and a generation begins.
    pub(super) fn tick(&mut self, now: Millis) {
        let before = self.members.len();
        self.members.retain(|_, member| now - member.beat <= SESSION);
        if self.members.len() < before {
            self.prepare(now);
        }
        let Some(until) = self.preparing else { return };
        if now >= until {
            self.members.retain(|_, member| member.joined);
        }
        if self.members.values().all(|member| member.joined) {
            self.preparing = None;
            self.generation += 1;
            self.deal();
        }
    }

    /// Contiguous ranges, in the order of the members' names.
    fn deal(&mut self) {
        let mut order: Vec<(Option<usize>, MemberId)> =
            self.members.iter().map(|(id, member)| (member.instance, *id)).collect();
        order.sort_unstable();
        let (count, mut next) = (order.len() as u32, 0);
        for (place, (_, id)) in order.into_iter().enumerate() {
            let length = self.shards / count + u32::from((place as u32) < self.shards % count);
            if let Some(member) = self.members.get_mut(&id) {
                member.shards = (next..next + length).collect();
                member.joined = false;
            }
            next += length;
        }
    }

    pub(super) fn standing(&self, id: MemberId) -> Standing {
        match self.members.get(&id) {
            None => Standing::Stranger,
            Some(member) if self.preparing.is_some() && member.joined => Standing::Waiting,
            Some(_) if self.preparing.is_some() => Standing::Asked,
            Some(member) => Standing::Seated(self.generation, member.shards.clone()),
        }
    }

    /// Whether offsets of this member and generation are taken.
    pub(super) fn accepts(&self, id: MemberId, generation: u32) -> bool {
        let epoch = |member: &Member| match self.seats {
            Seats::Loose | Seats::Fixed => self.generation,
            Seats::Dealt => member.epoch,
        };
        self.members.get(&id).is_some_and(|member| epoch(member) == generation)
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn members(&self) -> usize {
        self.members.len()
    }
}
