//! The fake brokers: logs, transaction coordinators, committed offsets. They know no time but what they are told, and decide
//! nothing by chance: when a marker is written, or a late request lands, is the world's affair.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Fate, Log, Millis, Offset, ProducerId, Record};

/// A partition: index of the topic, number.
pub(super) type Place = (usize, u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: Offset,
    pub(super) metadata: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another producer with this transactional id has come, or the coordinator has given this one up.
    Fenced,
    /// The transaction before has not been ended everywhere yet.
    Busy,
    /// Not now.
    Invalid,
}

/// What a transaction must be marked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Log(Place),
    Offsets,
}

/// A transaction whose end has been decided; its markers are still to be written.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) serial: u64,
    pub(super) fate: Fate,
    /// In the order in which they were written.
    pub(super) records: Vec<(Place, Offset)>,
    pub(super) offsets: Vec<(Place, Committed)>,
    pub(super) marks: Vec<Mark>,
}

#[derive(Default)]
struct Open {
    serial: u64,
    places: BTreeSet<Place>,
    offsets: BTreeMap<Place, Committed>,
    records: Vec<(Place, Offset)>,
}

struct Ending {
    serial: u64,
    fate: Fate,
    left: BTreeSet<Mark>,
    offsets: BTreeMap<Place, Committed>,
}

#[derive(Default)]
struct Coordinator {
    producer: ProducerId,
    epoch: u32,
    open: Option<Open>,
    ending: Option<Ending>,
    last: Option<Fate>,
}

#[derive(Default)]
pub(super) struct Brokers {
    topics: Vec<String>,
    logs: BTreeMap<Place, Log>,
    coordinators: BTreeMap<String, Coordinator>,
    offsets: BTreeMap<Place, Committed>,
    serial: u64,
}

impl Brokers {
    pub(super) fn create(&mut self, topic: String, partitions: u32) {
        let number = self.topics.len();
        self.topics.push(topic);
        self.logs.extend((0..partitions).map(|partition| ((number, partition), Log::default())));
    }

    pub(super) fn topic(&self, name: &str) -> usize {
        self.topics.iter().position(|topic| topic == name).unwrap_or_else(|| panic!("there is no topic {name}"))
    }

    pub(super) fn name(&self, topic: usize) -> &str {
        &self.topics[topic]
    }

    pub(super) fn log(&self, place: Place) -> &Log {
        &self.logs[&place]
    }

    pub(super) fn log_mut(&mut self, place: Place) -> &mut Log {
        self.logs.get_mut(&place).expect("a partition that was created")
    }

    pub(super) fn logs_of(&self, topic: usize) -> impl Iterator<Item = (u32, &Log)> {
        self.logs.range((topic, 0)..=(topic, u32::MAX)).map(|((_, partition), log)| (*partition, log))
    }

    /// A number never used before.
    pub(super) fn fresh(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A new producer; whatever the one before left open is undone first, and everything marked.
    pub(super) fn init(&mut self, name: &str) -> Result<u32, (Refusal, Option<Ended>)> {
        let fresh = self.fresh();
        let coordinator = self.coordinators.entry(name.to_owned()).or_default();
        if coordinator.producer == 0 {
            coordinator.producer = fresh;
        }
        if coordinator.ending.is_some() {
            return Err((Refusal::Busy, None));
        }
        if coordinator.open.is_some() {
            coordinator.epoch += 1;
            return Err((Refusal::Busy, coordinator.decide(name, Fate::Aborted)));
        }
        coordinator.epoch += 1;
        coordinator.last = None;
        Ok(coordinator.epoch)
    }

    /// The transaction that is open, begun if need be; says whether it was.
    fn open(&mut self, name: &str, epoch: u32) -> Result<(&mut Open, ProducerId, bool), Refusal> {
        let fresh = self.fresh();
        let coordinator = self.coordinators.get_mut(name).ok_or(Refusal::Fenced)?;
        if coordinator.epoch != epoch {
            return Err(Refusal::Fenced);
        }
        if coordinator.ending.is_some() {
            return Err(Refusal::Busy);
        }
        let begun = coordinator.open.is_none();
        let open = coordinator.open.get_or_insert_with(|| Open { serial: fresh, ..Open::default() });
        Ok((open, coordinator.producer, begun))
    }

    /// Appends in the open transaction. Its offset, and the transaction's number where it begins with this.
    pub(super) fn produce(
        &mut self,
        now: Millis,
        name: &str,
        epoch: u32,
        place: Place,
        record: Record,
    ) -> Result<(Offset, Option<u64>), Refusal> {
        let (open, producer, begun) = self.open(name, epoch)?;
        open.places.insert(place);
        let serial = begun.then_some(open.serial);
        let offset = self.log_mut(place).append(now, record, Some(producer));
        let (open, ..) = self.open(name, epoch)?;
        open.records.push((place, offset));
        Ok((offset, serial))
    }

    /// Adds offsets to the open transaction; its number, where it begins with this.
    pub(super) fn add_offsets(
        &mut self,
        name: &str,
        epoch: u32,
        offsets: &[(Place, Committed)],
    ) -> Result<Option<u64>, Refusal> {
        let (open, _, begun) = self.open(name, epoch)?;
        open.offsets.extend(offsets.iter().cloned());
        Ok(begun.then_some(open.serial))
    }

    /// Decides how the open transaction ends; `None` where it has ended so already.
    pub(super) fn end(&mut self, name: &str, epoch: u32, fate: Fate) -> Result<Option<Ended>, Refusal> {
        let coordinator = self.coordinators.get_mut(name).ok_or(Refusal::Fenced)?;
        if coordinator.epoch != epoch {
            return Err(Refusal::Fenced);
        }
        if let Some(ending) = &coordinator.ending {
            return if ending.fate == fate { Ok(None) } else { Err(Refusal::Invalid) };
        }
        match coordinator.decide(name, fate) {
            Some(ended) => Ok(Some(ended)),
            None if coordinator.last == Some(fate) => Ok(None),
            None => Err(Refusal::Invalid),
        }
    }

    /// The transaction has stood open for too long.
    pub(super) fn expire(&mut self, name: &str, serial: u64) -> Option<Ended> {
        let coordinator = self.coordinators.get_mut(name)?;
        coordinator.open.as_ref().filter(|open| open.serial == serial)?;
        coordinator.epoch += 1;
        coordinator.decide(name, Fate::Aborted)
    }

    /// Writes a marker.
    pub(super) fn mark(&mut self, now: Millis, name: &str, serial: u64, mark: Mark) {
        let Some(coordinator) = self.coordinators.get_mut(name) else { return };
        let (producer, mut offsets) = (coordinator.producer, BTreeMap::new());
        let Some(ending) = coordinator.ending.as_mut().filter(|ending| ending.serial == serial) else { return };
        if !ending.left.remove(&mark) {
            return;
        }
        let fate = ending.fate;
        if mark == Mark::Offsets {
            offsets = std::mem::take(&mut ending.offsets);
        }
        if ending.left.is_empty() {
            coordinator.ending = None;
        }
        match mark {
            Mark::Log(place) => self.log_mut(place).mark(now, producer, fate),
            Mark::Offsets if fate == Fate::Committed => self.offsets.extend(offsets),
            Mark::Offsets => {}
        }
    }

    /// A committed offset; refused while a transaction that would change it is under way.
    pub(super) fn committed(&self, place: Place) -> Result<Option<&Committed>, Refusal> {
        let pending = self.coordinators.values().any(|coordinator| {
            let open = coordinator.open.as_ref().is_some_and(|open| open.offsets.contains_key(&place));
            open || coordinator.ending.as_ref().is_some_and(|ending| ending.offsets.contains_key(&place))
        });
        if pending { Err(Refusal::Busy) } else { Ok(self.offsets.get(&place)) }
    }

    /// A committed offset, whatever is under way.
    pub(super) fn committed_unstable(&self, place: Place) -> Option<&Committed> {
        self.offsets.get(&place)
    }

    /// The group has been empty for too long. Not while a transaction would bring some back.
    pub(super) fn forget_offsets(&mut self) -> bool {
        let pending = self.offsets.keys().any(|place| self.committed(*place).is_err());
        if !pending {
            self.offsets.clear();
        }
        !pending
    }

    /// Commits offsets outside of any transaction.
    pub(super) fn commit_plainly(&mut self, offsets: &[(Place, Committed)]) {
        self.offsets.extend(offsets.iter().cloned());
    }
}

impl Coordinator {
    fn decide(&mut self, name: &str, fate: Fate) -> Option<Ended> {
        let Open { serial, places, offsets, records } = self.open.take()?;
        self.last = Some(fate);
        let mut left: BTreeSet<Mark> = places.into_iter().map(Mark::Log).collect();
        left.extend((!offsets.is_empty()).then_some(Mark::Offsets));
        let ended = Ended {
            name: name.to_owned(),
            serial,
            fate,
            records,
            offsets: offsets.clone().into_iter().collect(),
            marks: left.iter().copied().collect(),
        };
        self.ending = (!left.is_empty()).then_some(Ending { serial, fate, left, offsets });
        Some(ended)
    }
}
