//! A worker's producer, against the fake brokers: what the Kafka side of the ledger is, with calls that are slow, that get
//! lost on the way there or back, and that land when nobody waits for them any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use sillage::ledger::{Failure, OffsetMetadata, Outgoing, Position, ProducerState, Transactions};
use sillage::port::ShardId;

use super::brokers::{Committed, Place, Refusal};
use super::defects::Defect;
use super::log::{Fate, Millis, Record};
use super::world::{Event, ProcessId, Sim, State, TRANSACTION};

/// How long a call may take before its end counts as unknown.
const CALL: Millis = 800;
/// A call slower than this went roughly.
const SLOW: Millis = 100;
/// How long a new producer is tried for.
const PATIENCE: Millis = 30_000;

pub(super) struct SimTransactions {
    sim: Arc<Sim>,
    process: ProcessId,
    name: String,
    epoch: Option<u32>,
    queue: Vec<(Place, Record, Option<ShardId>)>,
    /// A delivery failed: the transaction can only be undone.
    failed: bool,
    disturbed: bool,
    first_pages: BTreeMap<ShardId, i64>,
    last_page: BTreeMap<ShardId, i64>,
    attempted: BTreeMap<ShardId, OffsetMetadata>,
}

/// What becomes of a call.
enum Way {
    Well,
    /// It takes effect late, and once more later still.
    Slow {
        again: Option<Millis>,
    },
    /// It takes effect, and nobody hears of it.
    AnswerLost,
    /// It gets lost, or lands after nobody waits any more.
    Lost {
        lands: Option<Millis>,
    },
}

impl SimTransactions {
    pub(super) fn new(sim: Arc<Sim>, process: ProcessId, number: usize) -> Self {
        SimTransactions {
            sim,
            process,
            name: format!("sim-{number}"),
            epoch: None,
            queue: Vec::new(),
            failed: false,
            disturbed: false,
            first_pages: BTreeMap::new(),
            last_page: BTreeMap::new(),
            attempted: BTreeMap::new(),
        }
    }

    fn wait(&self, millis: Millis) -> Result<(), String> {
        self.sim.wait(self.process, millis)
    }

    fn way(&self) -> Way {
        let weather = &self.sim.weather;
        let state = &mut *self.sim.state();
        if state.calm {
            return Way::Well;
        }
        if state.dice.happens(weather.slow_call) {
            let again = state.dice.happens(600).then(|| state.dice.between(1, 1_500));
            return Way::Slow { again };
        }
        if state.dice.happens(weather.lost_call) {
            if state.dice.happens(500) {
                return Way::AnswerLost;
            }
            return Way::Lost { lands: state.dice.happens(600).then(|| state.dice.between(10, 3 * CALL)) };
        }
        Way::Well
    }

    /// Waits until the brokers can be reached, as long as a call may take.
    fn reach(&self) -> Result<(), Failure> {
        let begun = self.sim.now();
        while self.sim.is_cut(self.process) {
            if self.sim.now() - begun > CALL {
                return Err(Failure::Unclear("nobody answers".to_owned()));
            }
            self.wait(20).map_err(Failure::Unclear)?;
        }
        Ok(())
    }

    fn pause(&self, least: Millis, most: Millis) -> Result<(), Failure> {
        let wait = self.sim.state().dice.between(least, most);
        self.wait(wait).map_err(Failure::Unclear)
    }

    /// Hands what is queued to the brokers.
    fn flush(&mut self) -> Result<(), Failure> {
        let begun = self.sim.now();
        self.reach()?;
        for (place, record, page_of) in std::mem::take(&mut self.queue) {
            if self.failed {
                return Ok(());
            }
            loop {
                match self.produce(place, record.clone(), page_of) {
                    Ok(()) => break,
                    Err(Refusal::Busy) if self.sim.now() - begun < CALL => self.pause(1, 8)?,
                    Err(refusal) => return Err(self.refused(refusal)),
                }
            }
        }
        Ok(())
    }

    fn produce(&mut self, place: Place, record: Record, page_of: Option<ShardId>) -> Result<(), Refusal> {
        let now = self.sim.now();
        let state = &mut *self.sim.state();
        let fails = !state.calm && state.dice.happens(self.sim.weather.failed_send);
        self.failed |= fails && !self.sim.has(Defect::FailedSendIgnored);
        if fails && state.dice.happens(500) {
            return Ok(());
        }
        let epoch = self.epoch.ok_or(Refusal::Fenced)?;
        let (offset, begun) = state.brokers.produce(now, &self.name, epoch, place, record)?;
        if let Some(serial) = begun {
            state.at(now + TRANSACTION, Event::Expire(self.name.clone(), serial));
        }
        if let Some(shard) = page_of {
            self.first_pages.entry(shard).or_insert(offset);
            self.last_page.insert(shard, offset);
        }
        Ok(())
    }

    fn refused(&mut self, refusal: Refusal) -> Failure {
        if refusal == Refusal::Fenced {
            self.epoch = None;
        }
        Failure::Unclear(format!("refused: {refusal:?}"))
    }

    /// Makes a call that takes effect by `act`, once or more, now or later or never.
    fn call(
        &mut self,
        what: &'static str,
        act: impl Fn(&Sim, &mut State) -> Result<(), Refusal>,
        later: impl FnOnce(&str, u32) -> Event,
    ) -> Result<(), Failure> {
        let Some(epoch) = self.epoch else { return Err(Failure::Unclear("fenced".to_owned())) };
        self.pause(0, 4)?;
        self.reach()?;
        let way = self.way();
        let told = match &way {
            Way::Well => "well",
            Way::Slow { .. } => "slow",
            Way::AnswerLost => "answer lost",
            Way::Lost { .. } => "lost",
        };
        let now = self.sim.now();
        self.sim.state().tell(now, || format!("{} (process {}): {what}: {told}", self.name, self.process));
        let (sim, name) = (Arc::clone(&self.sim), self.name.clone());
        let lands = |after: Option<Millis>| {
            if let Some(after) = after {
                let at = sim.now() + after;
                sim.state().at(at, later(&name, epoch));
            }
        };
        match way {
            Way::Lost { lands: after } => {
                lands(after);
                self.disturbed = true;
                self.wait(CALL).map_err(Failure::Unclear)?;
                return Err(Failure::Unclear(format!("{what}: no answer")));
            }
            Way::Slow { again } => {
                self.disturbed = true;
                self.pause(SLOW + 1, CALL / 2)?;
                lands(again);
            }
            Way::AnswerLost | Way::Well => {}
        }
        let begun = self.sim.now();
        let done = loop {
            let done = {
                let state = &mut *sim.state();
                act(&sim, state)
            };
            match done {
                Err(Refusal::Busy) if self.sim.now() - begun < CALL => self.pause(1, 8)?,
                done => break done,
            }
        };
        if let Way::AnswerLost = way {
            self.disturbed = true;
            self.wait(CALL).map_err(Failure::Unclear)?;
            return Err(Failure::Unclear(format!("{what}: no answer")));
        }
        self.pause(0, 4)?;
        done.map_err(|refusal| self.refused(refusal))
    }

    /// Ends the transaction.
    fn end(&mut self, fate: Fate) -> Result<ProducerState, Failure> {
        let begun = self.sim.now();
        let (name, epoch) = (self.name.clone(), self.epoch.unwrap_or_default());
        let what = if fate == Fate::Committed { "commit" } else { "abort" };
        self.call(
            what,
            |sim, state| {
                let ended = state.brokers.end(&name, epoch, fate)?;
                if let Some(ended) = ended {
                    sim.ended(state, ended);
                }
                Ok(())
            },
            |name, epoch| Event::LateEnd(name.to_owned(), epoch, fate),
        )?;
        self.failed = false;
        let rough = self.disturbed || self.sim.now() - begun > SLOW;
        let kept = self.sim.has(Defect::ProducerKept);
        Ok(if rough && !kept { ProducerState::Suspect } else { ProducerState::Clean })
    }
}

impl Transactions for SimTransactions {
    fn begin(&mut self) -> Result<(), String> {
        self.epoch.map(|_| ()).ok_or_else(|| "this producer is fenced".to_owned())
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), String> {
        let flush = {
            let now = self.sim.now();
            let state = &mut *self.sim.state();
            let topic = state.brokers.topic(record.topic);
            let spread = |key: &[u8]| key.iter().fold(7_u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(*byte)) % 2;
            let partition = record.page_of.or(record.partition);
            let partition = partition.unwrap_or_else(|| spread(record.key.unwrap_or_default()));
            let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let written = Record {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
                stamp: now,
            };
            self.queue.push(((topic, partition), written, record.page_of));
            !state.calm && state.dice.happens(60)
        };
        if flush {
            // What is wrong shows at the end.
            let _ = self.flush();
        }
        Ok(())
    }

    fn send_offsets(&mut self, offsets: &[Position<'_>]) -> Result<(), Failure> {
        self.disturbed = false;
        self.flush()?;
        if self.failed {
            return Err(Failure::Abort("a record was not delivered".to_owned()));
        }
        let member = self.sim.state().hosts.get(&self.process).and_then(|host| host.member);
        let Some((member, generation)) = member else {
            return Err(Failure::Abort("not a member of the group".to_owned()));
        };
        self.attempted = offsets.iter().map(|position| (position.shard, position.metadata.clone())).collect();
        let committed = |position: &Position<'_>| {
            let place = (position.input, position.shard);
            (place, Committed { offset: position.offset, metadata: position.metadata.to_string() })
        };
        let offsets: Vec<(Place, Committed)> = offsets.iter().map(committed).collect();
        if self.sim.has(Defect::OffsetsOutside) {
            self.pause(0, 4)?;
            let state = &mut *self.sim.state();
            if !state.group.accepts(member, generation) {
                return Err(Failure::Abort("an old generation".to_owned()));
            }
            state.commit_plainly(&offsets);
            return Ok(());
        }
        let (name, epoch) = (self.name.clone(), self.epoch.unwrap_or_default());
        let refused = std::cell::Cell::new(false);
        let taken = self.call(
            "offsets",
            |sim, state| {
                let now = sim.now();
                if !sim.has(Defect::ZombiesUnfenced) && !state.group.accepts(member, generation) {
                    refused.set(true);
                    return Ok(());
                }
                if let Some(serial) = state.brokers.add_offsets(&name, epoch, &offsets)? {
                    state.at(now + TRANSACTION, Event::Expire(name.clone(), serial));
                }
                Ok(())
            },
            |name, epoch| Event::LateOffsets(name.to_owned(), epoch, (member, generation), offsets.clone()),
        );
        if refused.get() && taken.is_ok() {
            return Err(Failure::Abort("an old generation".to_owned()));
        }
        taken
    }

    fn commit(&mut self) -> Result<ProducerState, Failure> {
        self.end(Fate::Committed)
    }

    fn abort(&mut self) -> Result<ProducerState, Failure> {
        self.queue.clear();
        self.end(Fate::Aborted)
    }

    fn replace(&mut self) -> Result<(), String> {
        let begun = self.sim.now();
        self.queue.clear();
        (self.failed, self.disturbed, self.epoch) = (false, false, None);
        loop {
            let wait = self.sim.state().dice.between(1, 15);
            self.wait(wait)?;
            if self.sim.now() - begun > PATIENCE {
                return Err("cannot begin to write transactions".to_owned());
            }
            if self.sim.is_cut(self.process) {
                continue;
            }
            let sim = Arc::clone(&self.sim);
            let state = &mut *sim.state();
            match state.brokers.init(&self.name) {
                Ok(epoch) => {
                    let (now, name) = (sim.now(), &self.name);
                    state.tell(now, || format!("{name}: epoch {epoch}"));
                    self.epoch = Some(epoch);
                    return Ok(());
                }
                Err((_, Some(ended))) => sim.ended(state, ended),
                Err((_, None)) => {}
            }
        }
    }

    fn committed(&mut self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, OffsetMetadata>, String> {
        if self.sim.has(Defect::UncertainIsAborted) {
            return Ok(BTreeMap::new());
        }
        if self.sim.has(Defect::UncertainIsCommitted) {
            return Ok(self.attempted.clone());
        }
        let mut found = BTreeMap::new();
        for (shard, offsets) in self.sim.committed(self.process, shards)? {
            found.extend(offsets.first().and_then(|(_, mark)| Some((shard, mark.clone()?))));
        }
        Ok(found)
    }

    fn take_first_pages(&mut self) -> BTreeMap<ShardId, i64> {
        std::mem::take(&mut self.first_pages)
    }

    fn cut(&mut self, shard: ShardId, offset: i64) {
        let state = &mut *self.sim.state();
        let topic = state.brokers.topic(&self.sim.ledger.topic("state"));
        let at = self.sim.now() + state.dice.between(0, 400);
        let offset = match self.sim.has(Defect::CutTooFar) {
            true => self.last_page.get(&shard).copied().unwrap_or(offset),
            false => offset,
        };
        state.at(at, Event::Cut((topic, shard), offset));
    }

    fn cut_handed(&mut self, shard: ShardId, offset: i64) {
        let state = &mut *self.sim.state();
        let topic = state.brokers.topic(&self.sim.ledger.handoff());
        let at = self.sim.now() + state.dice.between(0, 400);
        state.at(at, Event::Cut((topic, shard), offset));
    }
}
