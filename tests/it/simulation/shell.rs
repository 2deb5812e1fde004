//! A worker process: what the Kafka side does around a worker, against the fake brokers. Polls, answers rebalances, restores,
//! asks for ends, pauses and resumes; see `src/kafka/{source,rebalance,restore,ends}.rs`, which it stands for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sillage::journey::Outcome;
use sillage::ledger::{
    self, Found, LedgerSink, Look, Reading, Restored, Restoring, Seating, StateReader, Step, Transactions,
};
use sillage::lookup::Lookup;
use sillage::partitioner::Partitioner;
use sillage::port::{Assignment, Known, Now, Origin, RawRecord, Seat, ShardId, Sink, Stamped, Verdict};
use sillage::runtime::worker::{Job, Worker};
use sillage::shard::{Customers, Position, Progress, Unusable, Written};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Identity;
use sillage::wire::{Format, Limits};

use super::brokers::Place;
use super::defects::Defect;
use super::group::Standing;
use super::log::{Millis, Offset, Seen};
use super::transactions::SimTransactions;
use super::weather::Seats;
use super::world::{Broken, ProcessId, Sim};

/// A record is handed over so long after it entered, at least: longer than a host's clock may be behind.
const LATENCY: Millis = 8;
/// Between two questions about ends.
const ASKING: Millis = 25;
/// Records that may wait for their turn, of one input.
const BUFFERED: usize = 12;
/// How long a restore waits for anything to come.
const RESTORING: Millis = 30_000;

pub(super) struct Process {
    sim: Arc<Sim>,
    id: ProcessId,
    number: usize,
    worker: Worker,
    lookup: Arc<Lookup>,
    now: Now,
    positions: BTreeMap<Place, Offset>,
    /// Inputs that deliver nothing for now: parked and awaited shards, and those of which too much waits.
    aside: BTreeSet<ShardId>,
    paused: BTreeSet<Place>,
    owned: BTreeSet<ShardId>,
    awaited: BTreeMap<ShardId, Found>,
    restores: VecDeque<Restore>,
    question: Option<Question>,
    asked: Millis,
    /// Inputs that are fetched slowly, until when.
    slow: BTreeMap<Place, Millis>,
    /// What was read of state logs while this process stood by, and where reading goes on.
    followed: BTreeMap<ShardId, (Reading, Offset)>,
    /// By input: the running maximum behind log times.
    log_times: BTreeMap<Place, Millis>,
}

struct Restore {
    shard: ShardId,
    restoring: Restoring,
    reader: Reader,
    since: Millis,
}

/// A question about ends, and its answer on the way.
struct Question {
    at: Timestamp,
    wanted: Vec<Place>,
    /// When the last stable offsets are looked up, and when the high watermarks.
    stable_at: Millis,
    high_at: Millis,
    comes: Millis,
    stable: Option<Vec<Offset>>,
    high: Option<Vec<Offset>>,
}

impl Process {
    /// With a first producer: it has ended what the one before left open, which would hold up the committed offsets.
    pub(super) fn start(sim: &Arc<Sim>, id: ProcessId, number: usize, skew: Millis) -> Result<Self, String> {
        let (now, lookup) = (sim.worker_clock(skew), Arc::new(Lookup::default()));
        let job = Job {
            models: Arc::clone(&sim.models),
            retired: Arc::default(),
            erase_on: None,
            settings: sim.settings.clone(),
            format: Format::Json,
            mapping: None,
            limits: Limits::default(),
            topics: sim.ledger.inputs.as_slice().into(),
            partitions: sim.weather.shards,
            partitioner: Partitioner::Unknown,
            commit_interval: Span::from_millis(100),
            stale_after: Span::from_days(1),
            now: Arc::clone(&now),
            lookup: Arc::clone(&lookup),
        };
        let followed = follow(sim, id)?;
        let mut transactions = SimTransactions::new(Arc::clone(sim), id, number);
        transactions.replace()?;
        let sink = LedgerSink::new(Arc::clone(&sim.ledger), transactions, format!("p{id}"));
        let sink: Box<dyn Sink> = match sim.has(Defect::NoUndo) {
            true => Box::new(Careless(sink)),
            false => Box::new(sink),
        };
        Ok(Process {
            sim: Arc::clone(sim),
            id,
            number,
            worker: Worker::new(job, sink),
            lookup,
            now,
            positions: BTreeMap::new(),
            aside: BTreeSet::new(),
            paused: BTreeSet::new(),
            owned: BTreeSet::new(),
            awaited: BTreeMap::new(),
            restores: VecDeque::new(),
            question: None,
            asked: 0,
            slow: BTreeMap::new(),
            followed,
            log_times: BTreeMap::new(),
        })
    }

    /// One turn of the loop that drives a worker.
    pub(super) fn round(&mut self) -> Result<(), String> {
        if self.sim.state().hosts.get(&self.id).is_some_and(|host| host.stopping) {
            return self.stop();
        }
        if !self.sim.is_cut(self.id) {
            self.attend()?;
            self.fetch();
        }
        self.seat_restored();
        self.tell_ends();
        self.worker.turn()?;
        for shard in self.worker.take_parked() {
            self.broken("no shard is parked", || format!("shard {shard} panicked"));
            self.owned.remove(&shard);
            self.aside.insert(shard);
        }
        self.steer();
        Ok(())
    }

    /// Gives up everything, with a commit. A static member keeps its place in the group.
    fn stop(&mut self) -> Result<(), String> {
        let shards: Vec<ShardId> = std::mem::take(&mut self.owned).into_iter().collect();
        self.worker.revoking(&shards);
        self.worker.turn()?;
        let now = self.sim.now();
        let state = &mut *self.sim.state();
        let joined = state.hosts.get(&self.id).and_then(|host| host.joined);
        if let Some(member) = joined.filter(|_| self.sim.weather.seats != Seats::Fixed) {
            state.group.leave(member, now);
        }
        Err("asked to stop".to_owned())
    }

    /// Sees to its place in the group.
    fn attend(&mut self) -> Result<(), String> {
        let (standing, joined, seated) = {
            let state = &mut *self.sim.state();
            let Some(host) = state.hosts.get(&self.id) else { return Err("killed".to_owned()) };
            let standing = host.joined.map_or(Standing::Stranger, |member| match self.sim.weather.seats {
                Seats::Loose | Seats::Fixed => state.group.standing(member),
                Seats::Dealt => state.group.heartbeat(member),
            });
            (standing, host.joined, host.member)
        };
        match standing {
            Standing::Stranger => {
                if joined.is_some() {
                    self.tell(|| "is of the group no more".to_owned());
                    self.set_member(None, None);
                    self.revoke(Going::Lost, &self.shards());
                    if self.sim.weather.seats == Seats::Fixed && self.is_replaced() {
                        return Err("another member has its instance id".to_owned());
                    }
                }
                let now = self.sim.now();
                let instance = (self.sim.weather.seats == Seats::Fixed).then_some(self.number);
                let member = self.sim.state().group.join(instance, now);
                self.set_member(Some(member), None);
            }
            Standing::Gives(shards) => {
                self.revoke(Going::Revoked, &shards);
                if let Some(member) = joined {
                    self.sim.state().group.given(member, &shards);
                }
            }
            Standing::Takes(epoch, shards) => {
                self.set_member(joined, joined.map(|member| (member, epoch)));
                if !shards.is_empty() {
                    self.assign(&shards)?;
                }
            }
            Standing::Asked => {
                self.revoke(Going::Revoked, &self.shards());
                let state = &mut *self.sim.state();
                if let Some(member) = joined {
                    state.group.rejoin(member);
                }
            }
            Standing::Waiting => {}
            Standing::Seated(generation, shards) => {
                if seated.is_none_or(|(_, known)| known != generation) {
                    self.revoke(Going::Revoked, &self.shards());
                    self.set_member(joined, joined.map(|member| (member, generation)));
                    self.assign(&shards)?;
                }
            }
        }
        Ok(())
    }

    fn is_replaced(&self) -> bool {
        let state = self.sim.state();
        state.hosts.iter().any(|(id, host)| *id != self.id && host.number == self.number && host.joined.is_some())
    }

    fn set_member(&self, joined: Option<u64>, member: Option<(u64, u32)>) {
        if let Some(host) = self.sim.state().hosts.get_mut(&self.id) {
            (host.joined, host.member) = (joined, member);
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        let now = self.sim.now();
        self.sim.state().tell(now, || format!("process {} {}", self.id, what()));
    }

    /// Everything that it has.
    fn shards(&self) -> Vec<ShardId> {
        let shards: BTreeSet<ShardId> = self.positions.keys().map(|(_, shard)| *shard).collect();
        shards.into_iter().collect()
    }

    fn revoke(&mut self, going: Going, shards: &[ShardId]) {
        let stays = |shard: &ShardId| !shards.contains(shard);
        self.awaited.retain(|shard, _| stays(shard));
        self.owned.retain(stays);
        self.paused.retain(|(_, shard)| stays(shard));
        self.aside.retain(stays);
        // What stays is read from the beginning once more.
        let awaited: Vec<ShardId> = self.awaited.keys().copied().collect();
        let ends = self.state_ends(&awaited);
        self.restores.clear();
        for shard in awaited {
            let restore = self.restore(shard, ends[&shard]);
            self.restores.push_back(restore);
        }
        if !shards.is_empty() {
            self.tell(|| format!("gives up {shards:?} ({going:?})"));
            match going {
                Going::Revoked => self.worker.revoking(shards),
                Going::Lost => self.worker.lost(shards),
            }
        }
        self.positions.retain(|(_, shard), _| stays(shard));
    }

    fn assign(&mut self, shards: &[ShardId]) -> Result<(), String> {
        let found = self.sim.committed(self.id, shards)?;
        let ends = self.state_ends(shards);
        let (mut ready, mut awaited) = (Vec::new(), Vec::new());
        for (shard, mut offsets) in found {
            let (offset, mark) = offsets.pop().unwrap_or_default();
            let found = Found { offsets }.with_control(offset, mark);
            match found.progress() {
                Some(progress) if self.may_keep(shard, &progress) => {
                    self.at(shard, &progress.positions);
                    ready.push(Assignment { shard, progress, customers: Known::Kept, needed_from: 0 });
                }
                Some(progress) => {
                    self.at(shard, &progress.positions);
                    self.aside.insert(shard);
                    self.awaited.insert(shard, found);
                    awaited.push(shard);
                    let restore = self.restore(shard, ends[&shard]);
                    self.restores.push_back(restore);
                }
                None => ready.extend(self.unknown(shard, &found, ends[&shard])?),
            }
        }
        self.tell(|| format!("is given {shards:?}, awaits {awaited:?}"));
        self.owned.extend(ready.iter().map(|assignment| assignment.shard));
        self.assigned(ready);
        self.worker.awaiting(&awaited);
        Ok(())
    }

    fn may_keep(&self, shard: ShardId, progress: &Progress) -> bool {
        let kept = self.worker.kept(shard);
        kept.as_ref() == Some(progress) || (kept.is_some() && self.sim.has(Defect::KeptUnasked))
    }

    fn at(&mut self, shard: ShardId, positions: &[Position]) {
        for (input, position) in positions.iter().enumerate() {
            self.positions.insert((input, shard), position.offset);
        }
    }

    /// A shard whose committed offsets do not say where it goes on.
    fn unknown(&mut self, shard: ShardId, found: &Found, end: Offset) -> Result<Option<Assignment>, String> {
        let mut restore = self.restore(shard, end);
        let restored = loop {
            match restore.step(&self.sim) {
                Ok(Step::Done(restored)) => break Ok(restored),
                Ok(Step::Further) => {}
                Ok(Step::Idle) if self.sim.now() - restore.since > RESTORING => break Err("nothing comes".to_owned()),
                Ok(Step::Idle) => self.sim.wait(self.id, 10)?,
                Err(reason) => break Err(reason),
            }
        };
        let seated = restored.and_then(|restored| {
            let seating = ledger::seating(&self.sim.ledger, shard, restored.progress, found)?;
            Ok((seating, restored.customers, restored.needed_from))
        });
        match seated {
            Ok((Seating::At(progress) | Seating::Recovered(progress), customers, needed_from)) => {
                let progress = self.sim.ledger.complete(progress);
                self.at(shard, &progress.positions);
                Ok(Some(Assignment { shard, progress, customers: Known::Restored(customers), needed_from }))
            }
            Ok((Seating::Fresh, ..)) => {
                let positions = vec![Position { offset: 0, log_time: Timestamp::MIN }; self.sim.weather.inputs + 1];
                self.at(shard, &positions);
                let progress = Progress { positions, ..Progress::default() };
                Ok(Some(Assignment { shard, progress, customers: Known::Restored(Customers::default()), needed_from: 0 }))
            }
            Err(reason) => {
                self.park(shard, reason);
                Ok(None)
            }
        }
    }

    fn park(&mut self, shard: ShardId, reason: String) {
        self.tell(|| format!("parks {shard}: {reason}"));
        self.aside.insert(shard);
        self.broken("no shard is parked", || reason.clone());
        self.worker.park(shard, reason);
    }

    /// A law is broken, unless this process is no member any more and only does not know it yet.
    fn broken(&self, law: &'static str, how: impl FnOnce() -> String) {
        let state = &mut *self.sim.state();
        let member = state.hosts.get(&self.id).and_then(|host| host.member);
        if member.is_some_and(|(member, generation)| state.group.accepts(member, generation)) {
            state.broken.get_or_insert_with(|| Broken { law, how: how() });
        }
    }

    fn assigned(&mut self, mut assignments: Vec<Assignment>) {
        if self.sim.has(Defect::LogTimeForgotten) {
            let positions = assignments.iter_mut().flat_map(|assignment| &mut assignment.progress.positions);
            positions.for_each(|position| position.log_time = Timestamp::MIN);
        }
        let seated: Vec<(ShardId, Progress)> =
            assignments.iter().map(|assignment| (assignment.shard, assignment.progress.clone())).collect();
        for (shard, progress) in &seated {
            for (input, position) in progress.positions.iter().enumerate() {
                self.log_times.insert((input, *shard), position.log_time.as_millis());
            }
        }
        self.worker.assigned(assignments);
        let state = &mut *self.sim.state();
        let member = state.hosts.get(&self.id).and_then(|host| host.member);
        if member.is_some_and(|(member, generation)| state.group.accepts(member, generation)) {
            for (shard, progress) in seated {
                if let Err(broken) = state.laws.seated(shard, &progress, &self.lookup) {
                    state.broken.get_or_insert(broken);
                }
            }
        }
    }

    /// Where the state logs end now, uncommitted records included.
    fn state_ends(&self, shards: &[ShardId]) -> BTreeMap<ShardId, Offset> {
        let state = self.sim.state();
        let topic = state.brokers.topic(&self.sim.ledger.topic("state"));
        let end = |shard: &ShardId| {
            let log = state.brokers.log((topic, *shard));
            (*shard, if self.sim.has(Defect::StaleEnd) { log.stable_end() } else { log.end() })
        };
        shards.iter().map(end).collect()
    }

    fn restore(&mut self, shard: ShardId, end: Offset) -> Restore {
        let (restoring, position) = match self.followed.remove(&shard) {
            Some((reading, next)) => (Restoring::go_on(reading, end), next),
            None => (Restoring::begin(shard, end), 0),
        };
        let reader = Reader::of(&self.sim, self.id, shard, position);
        Restore { shard, restoring, reader, since: self.sim.now() }
    }

    /// Goes on with the restores, one after the other, a few pages a round.
    fn seat_restored(&mut self) {
        let mut steps = self.sim.state().dice.between(1, 60);
        while steps > 0
            && let Some(restore) = self.restores.front_mut()
        {
            steps -= 1;
            let shard = restore.shard;
            let restored = match restore.step(&self.sim) {
                Ok(Step::Further) => continue,
                Ok(Step::Idle) if self.sim.now() - restore.since > RESTORING => Err("nothing comes".to_owned()),
                Ok(Step::Idle) => return,
                Ok(Step::Done(restored)) => Ok(restored),
                Err(reason) => Err(reason),
            };
            self.restores.pop_front();
            self.seat(shard, restored);
        }
    }

    fn seat(&mut self, shard: ShardId, restored: Result<Restored, String>) {
        let Some(found) = self.awaited.remove(&shard) else { return };
        let seated =
            restored.and_then(|restored| match ledger::seating(&self.sim.ledger, shard, restored.progress, &found)? {
                Seating::At(progress) | Seating::Recovered(progress) => {
                    let (needed_from, progress) = (restored.needed_from, self.sim.ledger.complete(progress));
                    Ok(Assignment { shard, progress, customers: Known::Restored(restored.customers), needed_from })
                }
                Seating::Fresh => Err(format!("partition {shard}: the committed offsets are of no commit")),
            });
        match seated {
            Ok(assignment) => {
                self.tell(|| format!("has restored {shard}: commit {}", assignment.progress.sequence));
                self.owned.insert(shard);
                self.aside.remove(&shard);
                self.assigned(vec![assignment]);
            }
            Err(reason) => self.park(shard, reason),
        }
    }

    /// Hands records over, of one input and another.
    fn fetch(&mut self) {
        let now = self.sim.now();
        let (mut places, mut left) = {
            let state = &mut *self.sim.state();
            let mut places: Vec<Place> = self.positions.keys().copied().collect();
            state.dice.shuffle(&mut places);
            (places, state.dice.between(0, 40))
        };
        places.retain(|place| !self.aside.contains(&place.1) && !self.paused.contains(place));
        places.retain(|place| self.slow.get(place).is_none_or(|until| *until <= now));
        while left > 0 && !places.is_empty() {
            let place = self.sim.state().dice.pick(&places);
            left -= 1;
            if !self.hand_over(place) {
                places.retain(|other| *other != place);
            }
        }
    }

    fn hand_over(&mut self, place: Place) -> bool {
        let Some(position) = self.positions.get(&place).copied() else { return false };
        let (offset, record) = {
            let state = self.sim.state();
            match state.brokers.log(place).look(position, self.sim.now() - LATENCY) {
                Seen::Record(offset, record) => (offset, record.clone()),
                Seen::Nothing(position) => {
                    if !self.sim.has(Defect::PositionsOfRecords) {
                        self.positions.insert(place, position);
                    }
                    return false;
                }
            }
        };
        self.positions.insert(place, offset + 1);
        let entered = record.stamp.min((self.now)().as_millis());
        let log_time = self.log_times.entry(place).or_insert(entered);
        *log_time = entered.max(*log_time);
        self.sim.state().log_times.insert((self.id, place, offset), *log_time);
        let record = RawRecord {
            origin: Origin { shard: place.1, input: place.0, offset },
            timestamp: Timestamp::from_millis(record.stamp),
            stamped: Stamped::OnEntry,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        };
        if place.0 < self.sim.weather.inputs {
            self.worker.record(record);
        } else {
            self.worker.control(record);
        }
        true
    }

    /// Passes on the answered question where the input has been handed over to the end.
    fn tell_ends(&mut self) {
        let now = self.sim.now();
        if self.sim.has(Defect::SlowInputIgnored) {
            for place in self.positions.keys().copied().filter(|place| self.owned.contains(&place.1)).collect::<Vec<_>>() {
                self.worker.caught_up(place.1, place.0, self.positions[&place], (self.now)());
            }
        }
        let Some(question) = &mut self.question else { return };
        question.look(&self.sim, now);
        if question.comes > now || self.sim.is_cut(self.id) {
            return;
        }
        let Some(Question { at, wanted, stable: Some(stable), high: Some(high), .. }) = self.question.take() else { return };
        let at = if self.sim.has(Defect::OldEnd) { (self.now)() } else { at };
        for ((place, stable), high) in wanted.into_iter().zip(stable).zip(high) {
            let agreed = stable == high || self.sim.has(Defect::OpenTransactionsIgnored);
            if agreed && self.positions.get(&place).is_some_and(|position| *position >= stable) {
                self.worker.caught_up(place.1, place.0, stable, at);
            }
        }
    }

    /// Asks for the ends of what has run dry, and pauses what has too much.
    fn steer(&mut self) {
        let now = self.sim.now();
        let mut dry = Vec::new();
        for shard in &self.owned {
            for input in 0..self.sim.weather.inputs {
                let waiting = self.worker.buffered(*shard, input);
                if waiting == 0 {
                    dry.push((input, *shard));
                }
                if waiting > BUFFERED {
                    self.paused.insert((input, *shard));
                } else if waiting < BUFFERED / 2 {
                    self.paused.remove(&(input, *shard));
                }
            }
        }
        let state = &mut *self.sim.state();
        if !state.calm && state.dice.happens(self.sim.weather.slow_input) && !self.positions.is_empty() {
            let places: Vec<Place> = self.positions.keys().copied().collect();
            let until = now + state.dice.between(50, 2_500);
            self.slow.insert(state.dice.pick(&places), until);
        }
        if self.question.is_none() && !dry.is_empty() && now - self.asked >= ASKING {
            self.asked = now;
            let longest = if state.calm { 10 } else { self.sim.weather.end_answer };
            let mut moments = [0; 3].map(|_: Millis| now + state.dice.between(0, longest));
            moments.sort_unstable();
            let [stable_at, high_at, comes] = moments;
            let at = (self.now)();
            self.question = Some(Question { at, wanted: dry, stable_at, high_at, comes, stable: None, high: None });
            if let Some(question) = &mut self.question {
                question.look_in(state, now);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Going {
    Revoked,
    Lost,
}

impl Question {
    fn look(&mut self, sim: &Sim, now: Millis) {
        self.look_in(&sim.state(), now);
    }

    fn look_in(&mut self, state: &super::world::State, now: Millis) {
        if self.stable.is_none() && self.stable_at <= now {
            self.stable = Some(self.wanted.iter().map(|place| state.brokers.log(*place).stable_end()).collect());
        }
        if self.high.is_none() && self.high_at <= now {
            self.high = Some(self.wanted.iter().map(|place| state.brokers.log(*place).end()).collect());
        }
    }
}

impl Restore {
    fn step(&mut self, sim: &Sim) -> Result<Step, String> {
        let step = self.restoring.step(&sim.ledger, &mut self.reader);
        if let Ok(Step::Further) = step {
            self.since = sim.now();
        }
        step
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
fn follow(sim: &Arc<Sim>, id: ProcessId) -> Result<BTreeMap<ShardId, (Reading, Offset)>, String> {
    let mut followed = BTreeMap::new();
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

/// A sink that says that all is well.
struct Careless<S>(S);

impl<S: Sink> Sink for Careless<S> {
    fn publish(&mut self, shard: ShardId, outcome: &Outcome, stale: bool) {
        self.0.publish(shard, outcome, stale);
    }

    fn dead_letter(&mut self, origin: Origin, record: &Unusable) {
        self.0.dead_letter(origin, record);
    }

    fn forget(&mut self, shard: ShardId, who: &Identity) -> usize {
        self.0.forget(shard, who)
    }

    fn tombstone(&mut self, who: &Identity) {
        self.0.tombstone(who);
    }

    fn announce(&mut self, who: &Identity) {
        self.0.announce(who);
    }

    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize {
        self.0.remember(shard, written)
    }

    fn word(&mut self, shard: ShardId, number: u32, text: &str) -> usize {
        self.0.word(shard, number, text)
    }

    fn keep_from(&mut self, shard: ShardId, sequence: u64) {
        self.0.keep_from(shard, sequence);
    }

    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        match self.0.commit(progress) {
            Verdict::Committed | Verdict::Aborted(_) => Verdict::Committed,
            Verdict::Lost(reason) => Verdict::Lost(reason),
        }
    }

    fn abort(&mut self) -> Verdict {
        self.0.abort()
    }
}
