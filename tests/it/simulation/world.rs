//! The simulated world: true time, brokers, the group, processes on hosts, and what comes next. One thread; every choice is
//! the dice's.
//!
//! A process that waits for a broker lets the world go on ([`Sim::pass`]) inside its own call, so other processes run while
//! it waits, and whoever began to wait last goes on first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sillage::ledger::{BESIDE, Ledger, OffsetMetadata};
use sillage::model::Model;
use sillage::port::{Now, ShardId};
use sillage::shard::Settings;
use sillage::time::Timestamp;

use super::brokers::{Brokers, Committed, Ended, Mark, Place, Refusal};
use super::defects::Defect;
use super::dice::Dice;
use super::group::{Group, MemberId};
use super::laws::Laws;
use super::load::{self, Load};
use super::log::{Fate, Millis, ProducerId, Record};
use super::process::Process;
use super::weather::Weather;

/// A transaction that is open for so long is undone by the coordinator.
pub(super) const TRANSACTION: Millis = 2_500;

/// After a host was frozen or cut off, so long until it is as others are.
const AFTERWARDS: Millis = 4_000;

/// How long a question is asked again.
const PATIENCE: Millis = 30_000;

pub(super) type ProcessId = usize;

/// Committed offsets by input, those of what is read beside them last, and what stands there as metadata.
pub(super) type Offsets = Vec<(Option<i64>, Option<OffsetMetadata>)>;

/// What comes at its time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Round(ProcessId),
    Mark(String, u64, Mark),
    Expire(String, u64),
    /// A request to end a transaction that was thought lost lands.
    LateEnd(String, u32, Fate),
    /// The same of one that adds offsets.
    LateOffsets(String, u32, (MemberId, u32), Vec<(Place, Committed)>),
    Cut(Place, i64),
    Group,
    Arrive,
    UpstreamEnds(Place, ProducerId, Fate),
    Fault,
    Replicas,
    /// The replicas of an input fetch again.
    Fetches(Place),
    /// The deposed leader of an input hears of it.
    Undeceived(Place),
    Kill(ProcessId),
    Start(usize),
    Forget,
    Calm,
}

/// A law that was broken.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) law: &'static str,
    pub(super) how: String,
}

/// A process as the world sees it.
pub(super) struct Host {
    /// Its worker's number, which names its transactional id and its place in the group.
    pub(super) number: usize,
    pub(super) dead: bool,
    pub(super) stopping: bool,
    pub(super) frozen_until: Millis,
    pub(super) cut_until: Millis,
    pub(super) skew: Millis,
    pub(super) member: Option<(u64, u32)>,
    pub(super) joined: Option<u64>,
    /// Absent while it runs.
    pub(super) process: Option<Box<Process>>,
}

pub(super) struct State {
    pub(super) dice: Dice,
    pub(super) brokers: Brokers,
    pub(super) group: Group,
    pub(super) hosts: BTreeMap<ProcessId, Host>,
    pub(super) laws: Laws,
    pub(super) load: Load,
    pub(super) calm: bool,
    /// Of the records that were handed over to a process: log time by its worker clock.
    pub(super) log_times: BTreeMap<(ProcessId, Place, i64), Millis>,
    pub(super) broken: Option<Broken>,
    pub(super) trace: Option<VecDeque<String>>,
    /// Of everything that happened, so that two runs can be told apart.
    pub(super) hash: u64,
    /// The open transactions of those who write into the inputs, and until when.
    upstream: BTreeMap<Place, ProducerId>,
    stamps: BTreeMap<Place, Millis>,
    arrived: usize,
    events: BinaryHeap<Reverse<(Millis, u64)>>,
    scheduled: BTreeMap<(Millis, u64), Event>,
    serial: u64,
}

pub(super) struct Sim {
    clock: Arc<AtomicI64>,
    pub(super) weather: Weather,
    pub(super) defect: Option<Defect>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) models: Arc<[Arc<Model>]>,
    pub(super) settings: Settings,
    state: Mutex<State>,
}

impl Sim {
    #[expect(clippy::too_many_arguments, reason = "the parts of a world, put together in one place")]
    pub(super) fn new(
        begins: Millis,
        weather: Weather,
        defect: Option<Defect>,
        ledger: Arc<Ledger>,
        models: Arc<[Arc<Model>]>,
        settings: Settings,
        load: Load,
        dice: Dice,
        traced: bool,
    ) -> Arc<Self> {
        let mut brokers = Brokers::default();
        // What is read beside the inputs comes after them, in the order of the positions.
        ledger.topics().into_iter().for_each(|topic| brokers.create(topic, weather.shards));
        brokers.create(ledger.topic("state"), weather.shards);
        for output in [
            "transitions",
            "completions",
            "abandonments",
            "recoveries",
            "friction",
            "interventions",
            "held-out",
            "measurements",
            "dead-letters",
        ] {
            brokers.create(ledger.topic(output), 2);
        }
        let laws = Laws::new(&models, &settings, &ledger, &weather);
        let state = State {
            dice,
            brokers,
            group: Group::new(weather.seats, weather.shards),
            hosts: BTreeMap::new(),
            laws,
            load,
            calm: false,
            log_times: BTreeMap::new(),
            broken: None,
            trace: traced.then(VecDeque::new),
            hash: 0,
            upstream: BTreeMap::new(),
            stamps: BTreeMap::new(),
            arrived: 0,
            events: BinaryHeap::new(),
            scheduled: BTreeMap::new(),
            serial: 0,
        };
        let clock = Arc::new(AtomicI64::new(begins));
        Arc::new(Sim { clock, weather, defect, ledger, models, settings, state: Mutex::new(state) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.load(Ordering::Relaxed)
    }

    pub(super) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// The worker clock of a host.
    pub(super) fn worker_clock(&self, skew: Millis) -> Now {
        let clock = Arc::clone(&self.clock);
        Arc::new(move || Timestamp::from_millis(clock.load(Ordering::Relaxed) + skew))
    }

    /// Lets the world go on until then, without whoever waits in this call.
    pub(super) fn pass(self: &Arc<Self>, until: Millis) {
        loop {
            let mut state = self.state();
            if state.broken.is_some() {
                return;
            }
            let next = state.events.peek().map(|Reverse(next)| *next).filter(|(at, _)| *at <= until);
            let Some(next) = next else {
                self.clock.fetch_max(until, Ordering::Relaxed);
                return;
            };
            state.events.pop();
            self.clock.fetch_max(next.0, Ordering::Relaxed);
            let Some(event) = state.scheduled.remove(&next) else { continue };
            match event {
                Event::Round(id) => {
                    let process = self.ready(&mut state, id);
                    drop(state);
                    if let Some(process) = process {
                        self.run(id, process);
                    }
                }
                event => {
                    let started = self.happen(&mut state, event);
                    drop(state);
                    if let Some((id, number, skew)) = started {
                        let started = Process::start(self, id, number, skew);
                        self.back(id, started.map(Box::new));
                    }
                }
            }
        }
    }

    /// A process waits in a call.
    pub(super) fn wait(self: &Arc<Self>, id: ProcessId, millis: Millis) -> Result<(), String> {
        self.pass(self.now() + millis);
        loop {
            let thaw = {
                let state = self.state();
                match state.hosts.get(&id).filter(|host| !host.dead && state.broken.is_none()) {
                    Some(host) => host.frozen_until,
                    None => return Err("killed".to_owned()),
                }
            };
            if thaw <= self.now() {
                return Ok(());
            }
            self.pass(thaw);
        }
    }

    pub(super) fn is_cut(&self, id: ProcessId) -> bool {
        self.state().hosts.get(&id).is_some_and(|host| host.cut_until > self.now())
    }

    /// The committed offsets of shards, by input; waits while a transaction is about to change them.
    pub(super) fn committed(
        self: &Arc<Self>,
        id: ProcessId,
        shards: &[ShardId],
    ) -> Result<BTreeMap<ShardId, Offsets>, String> {
        let begun = self.now();
        loop {
            let wait = self.state().dice.between(1, 12);
            self.wait(id, wait)?;
            if self.now() - begun > PATIENCE {
                return Err("cannot learn the committed offsets".to_owned());
            }
            if !self.is_cut(id)
                && let Ok(found) = self.try_committed(shards)
            {
                return Ok(found);
            }
        }
    }

    fn try_committed(&self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, Offsets>, Refusal> {
        let state = self.state();
        let of = |shard: &ShardId| {
            let one = |input| {
                let place = (input, *shard);
                let committed = match self.has(Defect::UnstableOffsets) {
                    true => state.brokers.committed_unstable(place),
                    false => state.brokers.committed(place)?,
                };
                let mark = committed.and_then(|committed| OffsetMetadata::parse(&committed.metadata));
                Ok((committed.map(|committed| committed.offset), mark))
            };
            Ok((*shard, (0..self.weather.inputs + BESIDE).map(one).collect::<Result<Offsets, Refusal>>()?))
        };
        shards.iter().map(of).collect()
    }

    /// The process, if it can run now.
    fn ready(&self, state: &mut State, id: ProcessId) -> Option<Box<Process>> {
        let now = self.now();
        let host = state.hosts.get_mut(&id)?;
        if host.frozen_until > now {
            let thaw = host.frozen_until;
            state.at(thaw, Event::Round(id));
            return None;
        }
        host.process.take()
    }

    fn run(self: &Arc<Self>, id: ProcessId, mut process: Box<Process>) {
        let went = process.round();
        self.back(id, went.map(|()| process));
    }

    /// A process has done its round, or ends.
    fn back(&self, id: ProcessId, went: Result<Box<Process>, String>) {
        let now = self.now();
        let state = &mut *self.state();
        let Some(host) = state.hosts.get_mut(&id) else { return };
        if host.dead {
            state.hosts.remove(&id);
            return;
        }
        match went {
            Ok(process) => {
                host.process = Some(process);
                let pause = if state.calm { 60 } else { self.weather.round };
                let wait = state.dice.between(pause / 3, pause);
                state.at(now + wait, Event::Round(id));
            }
            Err(reason) => {
                let number = host.number;
                state.hosts.remove(&id);
                state.tell(now, || format!("process {id} ends: {reason}"));
                let wait = state.dice.between(20, 400);
                state.at(now + wait, Event::Start(number));
            }
        }
    }

    /// What happens outside of the processes; a process to be started.
    fn happen(&self, state: &mut State, event: Event) -> Option<(ProcessId, usize, Millis)> {
        let now = self.now();
        match event {
            Event::Round(_) => {}
            Event::Mark(name, serial, mark) => {
                state.tell(now, || format!("{name}: marker of transaction {serial} in {mark:?}"));
                state.brokers.mark(now, &name, serial, mark);
            }
            Event::Expire(name, serial) => {
                if let Some(ended) = state.brokers.expire(&name, serial) {
                    state.tell(now, || format!("{name}: transaction {serial} has stood open too long"));
                    self.ended(state, ended);
                }
            }
            Event::LateEnd(name, epoch, fate) => {
                let landed = state.brokers.end(&name, epoch, fate);
                state.tell(now, || format!("{name}: a late request to end as {fate:?} lands: {:?}", landed.as_ref().err()));
                if let Ok(Some(ended)) = landed {
                    self.ended(state, ended);
                }
            }
            Event::LateOffsets(name, epoch, (member, generation), offsets) => {
                if !state.group.accepts(member, generation) {
                    return None;
                }
                let landed = state.brokers.add_offsets(&name, epoch, &offsets);
                state.tell(now, || format!("{name}: late offsets land: {landed:?}"));
                if let Ok(Some(serial)) = landed {
                    state.at(now + TRANSACTION, Event::Expire(name, serial));
                }
            }
            Event::Cut(place, offset) => {
                state.tell(now, || format!("{place:?} is cut before {offset}"));
                state.brokers.log_mut(place).cut(offset);
            }
            Event::Group => {
                let generation = state.group.generation();
                for host in
                    state.hosts.values().filter(|host| !host.dead && host.frozen_until <= now && host.cut_until <= now)
                {
                    if let Some(member) = host.joined {
                        state.group.beat(member, now);
                    }
                }
                state.group.tick(now);
                if state.group.generation() != generation {
                    let (generation, members) = (state.group.generation(), state.group.members());
                    state.tell(now, || format!("generation {generation} with {members} members"));
                }
                state.at(now + 25, Event::Group);
            }
            Event::Arrive => self.arrive(state),
            Event::UpstreamEnds(place, producer, fate) => {
                state.tell(now, || format!("a transaction in input {place:?} ends: {fate:?}"));
                if state.upstream.get(&place) == Some(&producer) {
                    state.upstream.remove(&place);
                }
                state.brokers.log_mut(place).mark(now, producer, fate);
            }
            Event::Fault => self.fault(state),
            Event::Replicas => self.look_at_replicas(state),
            Event::Fetches(place) => {
                state.tell(now, || format!("input {place:?}: all replicas fetch"));
                state.brokers.log_mut(place).hold(false);
            }
            Event::Undeceived(place) => {
                state.tell(now, || format!("input {place:?}: everybody knows the leader"));
                state.brokers.log_mut(place).undeceive();
            }
            Event::Kill(id) => {
                let number = state.hosts.get(&id).map(|host| host.number);
                self.kill(state, id);
                number.into_iter().for_each(|number| state.at(now + 50, Event::Start(number)));
            }
            Event::Forget => {
                if state.group.members() == 0 && state.brokers.forget_offsets() {
                    state.tell(now, || "the group's offsets are forgotten".to_owned());
                }
            }
            Event::Start(number) => return self.start(state, number),
            Event::Calm => self.calm(state),
        }
        None
    }

    /// A transaction's end has been decided: markers follow, each in its time.
    pub(super) fn ended(&self, state: &mut State, ended: Ended) {
        let now = self.now();
        state.tell(now, || format!("{}: transaction {} ends: {:?}", ended.name, ended.serial, ended.fate));
        for ((input, shard), committed) in &ended.offsets {
            state.tell(now, || format!("  input {input} of shard {shard} to {}: {}", committed.offset, committed.metadata));
        }
        if ended.fate == Fate::Committed {
            if let Some(handing) = &mut state.laws.handing {
                let well = |host: &Host| !host.dead && host.cut_until.max(host.frozen_until) + AFTERWARDS < now;
                handing.well = state.hosts.iter().filter(|(_, host)| well(host)).map(|(id, _)| *id).collect();
                handing.now = now;
            }
            state.committed(&ended);
        }
        let late = if state.calm { 20 } else { self.weather.marker };
        for mark in ended.marks {
            let wait = state.dice.between(0, late);
            state.at(now + wait, Event::Mark(ended.name.clone(), ended.serial, mark));
        }
    }

    /// The next records of the load land in their inputs.
    fn arrive(&self, state: &mut State) {
        let now = self.now();
        while let Some(arriving) = state.load.arriving.get(state.arrived).filter(|arriving| arriving.at <= now) {
            let load::Arriving { place, key, value, .. } = arriving.clone();
            state.arrived += 1;
            let is_order = place.0 >= self.weather.inputs;
            let producer = if is_order { None } else { self.upstream(state, place) };
            let regress = state.dice.between(0, self.weather.regress);
            let off = state.dice.between(-self.weather.skew, self.weather.skew / 2);
            let stamp = now - regress + if state.dice.happens(300) { off } else { 0 };
            let record = Record { key: Some(key), value: Some(value), headers: Vec::new(), stamp };
            let offset = state.brokers.log_mut(place).append(now, record, producer);
            state.tell(now, || format!("input {place:?}: offset {offset}, stamped {stamp}"));
            if is_order {
                continue;
            }
            let running = state.stamps.entry(place).or_insert(stamp);
            *running = stamp.max(*running);
            let log_time = *running;
            if let Some(broken) = state.laws.arrived(place, log_time) {
                state.broken.get_or_insert(broken);
            }
        }
        if let Some(next) = state.load.arriving.get(state.arrived) {
            let at = next.at;
            state.at(at, Event::Arrive);
        }
    }

    fn upstream(&self, state: &mut State, place: Place) -> Option<ProducerId> {
        if let Some(producer) = state.upstream.get(&place)
            && state.dice.happens(700)
        {
            return Some(*producer);
        }
        if state.upstream.contains_key(&place) || !state.dice.happens(self.weather.upstream) {
            return None;
        }
        let producer = state.brokers.fresh();
        state.upstream.insert(place, producer);
        let undone = state.dice.happens(self.weather.upstream_undone);
        let fate = if undone { Fate::Aborted } else { Fate::Committed };
        let at = self.now() + state.dice.between(5, 1_500);
        state.at(at, Event::UpstreamEnds(place, producer, fate));
        Some(producer)
    }
}

impl State {
    pub(super) fn at(&mut self, at: Millis, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial)));
        self.scheduled.insert((at, self.serial), event);
    }

    /// Notes what happened.
    pub(super) fn tell(&mut self, now: Millis, what: impl FnOnce() -> String) {
        self.hash = (self.hash ^ now.unsigned_abs()).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
        if let Some(trace) = &mut self.trace {
            let what = what();
            trace.push_back(format!("{:>8} {what}", now - super::story::BEGINNING));
        }
    }

    fn committed(&mut self, ended: &Ended) {
        // An attempt to commit is named after its process.
        let log_times = |attempt: &str, place: Place, offset: i64| {
            let process: ProcessId = attempt.strip_prefix('p')?.split('-').next()?.parse().ok()?;
            self.log_times.get(&(process, place, offset)).copied()
        };
        if let Err(broken) = self.laws.committed(&self.brokers, ended, &log_times) {
            self.broken.get_or_insert(broken);
        }
    }

    /// Offsets committed beside the transaction.
    pub(super) fn commit_plainly(&mut self, offsets: &[(Place, Committed)]) {
        self.brokers.commit_plainly(offsets);
        if let Err(broken) = self.laws.committed_alone(offsets) {
            self.broken.get_or_insert(broken);
        }
    }

    pub(super) fn arrived_all(&self) -> bool {
        self.arrived == self.load.arriving.len()
    }
}
