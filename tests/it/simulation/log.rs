//! One partition of a fake topic: records and the markers that end transactions.

use std::collections::BTreeMap;

use sillage::ledger::group::{BrokerId, Leadership};

/// Milliseconds of true time.
pub(super) type Millis = i64;
pub(super) type Offset = i64;
/// Names a producer's transactions in a log; never used again.
pub(super) type ProducerId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) stamp: Millis,
}

struct Item {
    entered: Millis,
    /// `None`: a marker.
    record: Option<Record>,
    producer: Option<ProducerId>,
    fate: Fate,
}

#[derive(Default)]
pub(super) struct Log {
    items: Vec<Item>,
    start: Offset,
    /// By producer: where its open transaction begins here.
    open: BTreeMap<ProducerId, Offset>,
    /// Where the high watermark stands still: a replica that is in sync does not fetch.
    held: Option<Offset>,
    /// The last stable offset and the end of a leader that was deposed and has not heard of it. Whoever reads believes it;
    /// whoever writes does not.
    deposed: Option<(Offset, Offset)>,
    elections: i32,
}

/// So many brokers take their turns as the leader.
const BROKERS: i32 = 3;

/// What stands at a position.
pub(super) enum Seen<'a> {
    Record(Offset, &'a Record),
    /// Nothing to be had; reading would go on here.
    Nothing(Offset),
}

impl Log {
    pub(super) fn append(&mut self, now: Millis, record: Record, producer: Option<ProducerId>) -> Offset {
        let offset = self.items.len() as Offset;
        let fate = if producer.is_some() { Fate::Open } else { Fate::Committed };
        if let Some(producer) = producer {
            self.open.entry(producer).or_insert(offset);
        }
        self.items.push(Item { entered: now, record: Some(record), producer, fate });
        offset
    }

    /// A marker: ends the producer's transaction here.
    pub(super) fn mark(&mut self, now: Millis, producer: ProducerId, fate: Fate) {
        if let Some(first) = self.open.remove(&producer) {
            for item in &mut self.items[first as usize..] {
                if item.producer == Some(producer) && item.fate == Fate::Open {
                    item.fate = fate;
                }
            }
        }
        self.items.push(Item { entered: now, record: None, producer: None, fate: Fate::Committed });
    }

    /// The first offset that is still there.
    pub(super) fn start(&self) -> Offset {
        self.start
    }

    /// The first record stamped so or later.
    pub(super) fn stamped(&self, instant: Millis) -> Option<Offset> {
        let end = self.end();
        let mut later = self.from(self.start).filter(|(offset, record, _)| *offset < end && record.stamp >= instant);
        later.next().map(|(offset, ..)| offset)
    }

    /// The high watermark.
    pub(super) fn end(&self) -> Offset {
        self.held.unwrap_or(Offset::MAX).min(self.leader_end())
    }

    /// The last stable offset.
    pub(super) fn stable_end(&self) -> Offset {
        match self.deposed {
            Some((stable, _)) => stable,
            None => self.open.values().copied().min().unwrap_or(Offset::MAX).min(self.end()),
        }
    }

    /// The end of the log of the broker that is believed to be the leader.
    pub(super) fn leader_end(&self) -> Offset {
        self.deposed.map_or(self.items.len() as Offset, |(_, end)| end)
    }

    /// The broker that is believed to be the leader.
    pub(super) fn believed(&self) -> Leadership {
        self.elected(self.elections - i32::from(self.deposed.is_some()))
    }

    /// The leader, as every other broker knows it; and one that is no leader.
    pub(super) fn known(&self) -> (BrokerId, Leadership) {
        ((self.elections + 1) % BROKERS, self.elected(self.elections))
    }

    fn elected(&self, epoch: i32) -> Leadership {
        Leadership { broker: epoch % BROKERS, epoch }
    }

    /// A replica stops fetching, or fetches again. Says whether it did not already.
    pub(super) fn hold(&mut self, stalls: bool) -> bool {
        let could = self.deposed.is_none() && self.held.is_some() != stalls;
        if could {
            self.held = stalls.then(|| self.end());
        }
        could
    }

    /// The leader stands still, another is elected, and the first one goes on. All that it holds has been copied.
    pub(super) fn depose(&mut self) -> bool {
        let could = self.deposed.is_none() && self.held.is_none();
        if could {
            self.deposed = Some((self.stable_end(), self.end()));
            self.elections += 1;
        }
        could
    }

    /// A deposed leader hears of it.
    pub(super) fn undeceive(&mut self) {
        self.deposed = None;
    }

    pub(super) fn cut(&mut self, before: Offset) {
        self.start = self.start.max(before.min(self.end()));
    }

    /// The next committed record from `position` on that entered until `until`.
    pub(super) fn look(&self, position: Offset, until: Millis) -> Seen<'_> {
        let mut at = position.max(self.start);
        let stable = self.stable_end();
        while at < stable {
            let item = &self.items[at as usize];
            if item.entered > until {
                break;
            }
            match &item.record {
                Some(record) if item.fate == Fate::Committed => return Seen::Record(at, record),
                Some(_) | None => at += 1,
            }
        }
        Seen::Nothing(at)
    }

    /// Every record from an offset on, deleted ones too, with its fate.
    pub(super) fn from(&self, first: Offset) -> impl Iterator<Item = (Offset, &Record, Fate)> {
        let items = self.items.iter().enumerate().skip(first.max(0) as usize);
        items.filter_map(|(at, item)| Some((at as Offset, item.record.as_ref()?, item.fate)))
    }

    pub(super) fn record(&self, offset: Offset) -> Option<&Record> {
        self.items.get(offset as usize)?.record.as_ref()
    }
}
