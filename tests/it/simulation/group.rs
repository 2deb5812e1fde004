//! The fake group coordinator: members, generations, the range assignor; dynamic and static members.

use std::collections::BTreeMap;

use super::log::Millis;

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
}

#[derive(Debug)]
pub(super) struct Group {
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
}

impl Group {
    pub(super) fn new(shards: u32) -> Self {
        Group { generation: 0, members: BTreeMap::new(), preparing: None, shards, names: 0 }
    }

    /// A member comes. One that has the instance of another takes its place, and nobody is disturbed.
    pub(super) fn join(&mut self, instance: Option<usize>, now: Millis) -> MemberId {
        self.names += 1;
        let before = instance.and_then(|_| self.members.iter().find(|(_, member)| member.instance == instance));
        let before = before.map(|(id, _)| *id).and_then(|id| self.members.remove(&id));
        let shards = before.as_ref().map(|member| member.shards.clone()).unwrap_or_default();
        let quiet = before.is_some() && self.preparing.is_none();
        self.members.insert(self.names, Member { instance, joined: !quiet, shards, beat: now });
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
        self.preparing.get_or_insert(now + REBALANCE);
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
        self.members.contains_key(&id) && self.generation == generation
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn members(&self) -> usize {
        self.members.len()
    }
}
