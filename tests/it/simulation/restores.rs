//! State logs, read from the fake brokers: when a shard comes, and by those who stand by.

use std::collections::BTreeMap;
use std::sync::Arc;

use sillage::ledger::{Look, Reading, Restored, Restoring, StateReader, Step};
use sillage::port::ShardId;

use super::brokers::Place;
use super::defects::Defect;
use super::log::{Millis, Offset, Seen};
use super::world::{ProcessId, Sim};

/// How long a restore waits for anything to come.
const RESTORING: Millis = 30_000;

/// What was read of state logs while a process stood by, and where reading goes on.
pub(super) type Followed = BTreeMap<ShardId, (Reading, Offset)>;

/// A state log that is being read.
pub(super) struct Restore {
    shard: ShardId,
    restoring: Restoring,
    reader: Reader,
    since: Millis,
}

#[expect(clippy::large_enum_variant, reason = "there are few, and none is kept")]
pub(super) enum Went {
    Further,
    /// Nothing comes for now.
    Nowhere,
    Over(Result<Restored, String>),
}

/// Where the state logs end now, uncommitted records included.
pub(super) fn ends(sim: &Sim, shards: &[ShardId]) -> BTreeMap<ShardId, Offset> {
    let state = sim.state();
    let topic = state.brokers.topic(&sim.ledger.topic("state"));
    let end = |shard: &ShardId| {
        let log = state.brokers.log((topic, *shard));
        (*shard, if sim.has(Defect::StaleEnd) { log.stable_end() } else { log.end() })
    };
    shards.iter().map(end).collect()
}

impl Restore {
    pub(super) fn begin(sim: &Arc<Sim>, process: ProcessId, shard: ShardId, end: Offset, followed: &mut Followed) -> Self {
        let (restoring, position) = match followed.remove(&shard) {
            Some((reading, next)) => (Restoring::go_on(reading, end), next),
            None => (Restoring::begin(shard, end), 0),
        };
        Restore { shard, restoring, reader: Reader::of(sim, process, shard, position), since: sim.now() }
    }

    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(super) fn go_on(&mut self, sim: &Sim) -> Went {
        match self.restoring.step(&sim.ledger, &mut self.reader) {
            Ok(Step::Further) => {
                self.since = sim.now();
                Went::Further
            }
            Ok(Step::Idle) if sim.now() - self.since > RESTORING => Went::Over(Err("nothing comes".to_owned())),
            Ok(Step::Idle) => Went::Nowhere,
            Ok(Step::Done(restored)) => Went::Over(Ok(restored)),
            Err(reason) => Went::Over(Err(reason)),
        }
    }
}

/// Reads one partition of the state log.
struct Reader {
    sim: Arc<Sim>,
    process: ProcessId,
    place: Place,
    position: Offset,
}

impl Reader {
    fn of(sim: &Arc<Sim>, process: ProcessId, shard: ShardId, position: Offset) -> Self {
        let topic = sim.state().brokers.topic(&sim.ledger.topic("state"));
        Reader { sim: Arc::clone(sim), process, place: (topic, shard), position }
    }
}

/// Stands by for a while: reads all state logs as they grow.
pub(super) fn follow(sim: &Arc<Sim>, id: ProcessId) -> Result<Followed, String> {
    let mut followed = Followed::new();
    let until = {
        let state = &mut *sim.state();
        if state.calm || !state.dice.happens(sim.weather.standby) {
            return Ok(followed);
        }
        sim.now() + state.dice.between(0, 2_500)
    };
    let mut readers: Vec<Reader> = (0..sim.weather.shards).map(|shard| Reader::of(sim, id, shard, 0)).collect();
    while sim.now() < until {
        for reader in &mut readers {
            let shard = reader.place.1;
            let pages = sim.state().dice.between(1, 30);
            for _ in 0..pages {
                let came = reader.look(|look| match look {
                    Look::Page(offset, bytes) => {
                        let (reading, next) = followed.entry(shard).or_insert_with(|| (Reading::of(shard), 0));
                        *next = offset + 1;
                        Some(reading.take(&sim.ledger, bytes))
                    }
                    Look::Nothing(_) => None,
                })?;
                match came {
                    Some(Ok(())) => {}
                    Some(Err(_)) => {
                        // The log was cut under the reader: once more from its beginning.
                        followed.insert(shard, (Reading::of(shard), 0));
                        reader.rewind()?;
                    }
                    None => break,
                }
            }
        }
        let wait = sim.state().dice.between(5, 60);
        sim.wait(id, wait)?;
    }
    Ok(followed)
}

impl StateReader for Reader {
    fn rewind(&mut self) -> Result<(), String> {
        self.position = 0;
        Ok(())
    }

    fn look<R>(&mut self, take: impl FnOnce(Look<'_>) -> R) -> Result<R, String> {
        if self.sim.is_cut(self.process) {
            return Ok(take(Look::Nothing(None)));
        }
        let now = self.sim.now();
        let state = self.sim.state();
        match state.brokers.log(self.place).look(self.position, now) {
            Seen::Record(offset, record) => {
                self.position = offset + 1;
                Ok(take(Look::Page(offset, record.value.as_deref().unwrap_or_default())))
            }
            Seen::Nothing(position) => {
                self.position = position;
                Ok(take(Look::Nothing(Some(position))))
            }
        }
    }
}
