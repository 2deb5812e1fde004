//! A worker process: the worker, and what a member of the group decides around it, as they are; performed against the fake
//! brokers. Decides nothing by itself: `src/ledger/group` does, and `src/kafka/rebalance` performs it on real ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sillage::frontiers::Frontiers;
use sillage::journey::Customer;
use sillage::ledger::LedgerSink;
use sillage::ledger::Transactions as _;
use sillage::ledger::group::{
    Answer, Ask, End, Event, Extent, LogEnd, Member, Moment, Partition, Protocol, Question, Terms,
};
use sillage::lookup::Lookup;
use sillage::memory::Waiting;
use sillage::partitioner::Partitioner;
use sillage::port::{Assignment, Known, Now, Origin, RawRecord, ShardId, ShardOwner as _, Stamped};
use sillage::shard::{Misrouted, Progress, Settings};
use sillage::time::{Span, Timestamp};
use sillage::wire::{Format, Limits};
use sillage::worker::{Job, Worker};

use super::brokers::Committed;
use super::client::Client;
use super::defects::{Careless, Defect};
use super::ends::Watch;
use super::group::Standing;
use super::log::Millis;
use super::logins::{self, Pace};
use super::offers;
use super::restores::{self, Followed, Restore};
use super::transactions::SimTransactions;
use super::weather::Seats;
use super::world::{Broken, ProcessId, Sim};

/// Records that may wait for their turn, of one input.
const BUFFERED: usize = 12;
/// Bytes that may wait for their turn.
const WAITING: u64 = 64 << 10;
/// How long the brokers are asked.
const PATIENCE: Millis = 30_000;

pub(super) struct Process {
    sim: Arc<Sim>,
    id: ProcessId,
    number: usize,
    worker: Worker,
    member: Member,
    client: Client,
    lookup: Arc<Lookup>,
    now: Now,
    restores: VecDeque<Restore>,
    watch: Watch,
    followed: Followed,
    /// By input: the running maximum behind log times.
    log_times: BTreeMap<Partition, Millis>,
    pace: Option<Pace>,
}

impl Process {
    /// With a first producer: it has ended what the one before left open, which would hold up the committed offsets.
    pub(super) fn start(sim: &Arc<Sim>, id: ProcessId, number: usize, skew: Millis) -> Result<Self, String> {
        let (now, lookup) = (sim.worker_clock(skew), Arc::new(Lookup::default()));
        let hands_over = sim.weather.logins.is_some();
        let frontiers = (hands_over && !sim.has(Defect::BoundIgnored)).then(|| Arc::new(Frontiers::new(sim.weather.shards)));
        let job = Job {
            models: Arc::clone(&sim.models),
            retired: Arc::default(),
            erase_on: None,
            settings: match sim.has(Defect::AnchorTooEarly) {
                true => Settings { grace: Span::from_millis(sim.weather.grace * 3 / 4), ..sim.settings.clone() },
                false => sim.settings.clone(),
            },
            format: Format::Json,
            mapping: None,
            limits: Limits::default(),
            topics: sim.ledger.inputs.as_slice().into(),
            partitions: sim.weather.shards,
            partitioner: if hands_over { Partitioner::Murmur2 } else { Partitioner::Unknown },
            misrouted: if hands_over { Misrouted::HandOn } else { Misrouted::Apply },
            commit_interval: Span::from_millis(100),
            stale_after: Span::from_days(1),
            now: Arc::clone(&now),
            lookup: Arc::clone(&lookup),
            frontiers: frontiers.clone(),
        };
        let followed = restores::follow(sim, id)?;
        let mut transactions = SimTransactions::new(Arc::clone(sim), id, number);
        transactions.replace()?;
        let sink = LedgerSink::new(Arc::clone(&sim.ledger), transactions, format!("p{id}"));
        let sink = Box::new(Careless { sink, defect: sim.defect, models: Arc::clone(&sim.models), fired: BTreeSet::new() });
        let protocol = match sim.weather.seats {
            Seats::Loose | Seats::Fixed => Protocol::Classic,
            Seats::Dealt => Protocol::Consumer,
        };
        let longest_stall = if sim.has(Defect::SilenceUnproven) { 0 } else { sim.weather.longest_stall };
        let terms = Terms {
            protocol,
            start: sim.weather.start,
            buffered_records: BUFFERED,
            waiting_bytes: WAITING,
            unproven_silence: Span::from_millis(longest_stall),
        };
        Ok(Process {
            sim: Arc::clone(sim),
            id,
            number,
            worker: Worker::new(job, sink),
            member: Member::new(Arc::clone(&sim.ledger), terms),
            client: Client::default(),
            lookup,
            now,
            restores: VecDeque::new(),
            watch: Watch::default(),
            followed,
            log_times: BTreeMap::new(),
            pace: frontiers.map(Pace::new),
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
        if let Some(reason) = self.member.failure(self.elapsed()).map(ToOwned::to_owned) {
            self.happens(Event::Stopping)?;
            return Err(reason);
        }
        self.restore()?;
        self.tell_ends()?;
        if let Some(pace) = &mut self.pace {
            pace.go_on(&self.sim, self.id, &self.now);
        }
        self.worker.turn()?;
        let parked = self.worker.take_parked();
        if !parked.is_empty() {
            self.broken("no shard is parked", || format!("shards {parked:?} panicked"));
            self.happens(Event::Parked(parked))?;
        }
        self.client.stumble(&self.sim);
        let (waiting, asking) = (self.waiting(), self.worker.asking());
        self.happens(Event::Buffered { waiting, asking })
    }

    /// Since when does not matter.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.sim.now().unsigned_abs())
    }

    /// Gives up everything, with a commit. A static member keeps its place in the group.
    fn stop(&mut self) -> Result<(), String> {
        self.happens(Event::Stopping)?;
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
        let all = self.client.shards();
        match standing {
            Standing::Stranger => {
                if joined.is_some() {
                    self.tell(|| "is of the group no more".to_owned());
                    self.set_member(None, None);
                    self.happens(Event::Lost(self.inputs_of(&all)))?;
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
                self.happens(Event::Revoked(self.inputs_of(&shards)))?;
                if let Some(member) = joined {
                    self.sim.state().group.given(member, &shards);
                }
            }
            Standing::Takes(epoch, shards) => {
                self.set_member(joined, joined.map(|member| (member, epoch)));
                if !shards.is_empty() {
                    self.happens(Event::Assigned { partitions: self.inputs_of(&shards), at: self.elapsed() })?;
                }
            }
            Standing::Asked => {
                self.happens(Event::Revoked(self.inputs_of(&all)))?;
                let state = &mut *self.sim.state();
                if let Some(member) = joined {
                    state.group.rejoin(member);
                }
            }
            Standing::Waiting => {}
            Standing::Seated(generation, shards) => {
                if seated.is_none_or(|(_, known)| known != generation) {
                    self.happens(Event::Revoked(self.inputs_of(&all)))?;
                    self.set_member(joined, joined.map(|member| (member, generation)));
                    self.happens(Event::Assigned { partitions: self.inputs_of(&shards), at: self.elapsed() })?;
                }
            }
        }
        Ok(())
    }

    /// As the group names them: it does not know that the control topic is read as well.
    fn inputs_of(&self, shards: &[ShardId]) -> Vec<Partition> {
        let inputs = 0..self.sim.weather.inputs;
        shards.iter().flat_map(|shard| inputs.clone().map(move |input| (input, *shard))).collect()
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

    /// Tells the member what happened, and does what it asks, until it asks nothing more.
    fn happens(&mut self, event: Event) -> Result<(), String> {
        let (mut asks, mut next) = (Vec::new(), Some(event));
        while let Some(event) = next.take() {
            self.member.handle(event, &mut asks);
            for ask in asks.drain(..) {
                match self.perform(ask) {
                    Ok(answer) => next = answer.or(next),
                    Err(reason) => {
                        self.member.handle(Event::Failed(reason.clone()), &mut Vec::new());
                        return Err(reason);
                    }
                }
            }
        }
        Ok(())
    }

    fn perform(&mut self, ask: Ask) -> Result<Option<Event>, String> {
        match ask {
            Ask::Question(question) => return self.answer(question).map(|answer| Some(Event::Answer(answer))),
            Ask::Take(positions) => match self.sim.weather.seats {
                Seats::Loose | Seats::Fixed => self.client.assign(positions),
                Seats::Dealt => self.client.assign_beside(positions),
            },
            Ask::GiveBack(partitions) => match self.sim.weather.seats {
                Seats::Loose | Seats::Fixed => self.client.assign(BTreeMap::new()),
                Seats::Dealt => self.client.unassign(&partitions),
            },
            Ask::Pause(partitions) => self.client.pause(partitions),
            Ask::Resume(partitions) => self.client.resume(&partitions),
            Ask::Seek(partition, offset) => {
                if !self.sim.has(Defect::StrayedForgotten) {
                    self.client.seek(partition, offset);
                }
            }
            Ask::Restore(shards) => {
                self.tell(|| format!("reads the state of {shards:?}"));
                let ends = restores::ends(&self.sim, &shards);
                let restores =
                    shards.iter().map(|shard| Restore::begin(&self.sim, self.id, *shard, ends[shard], &mut self.followed));
                self.restores.extend(restores);
            }
            Ask::StopRestoring => self.restores.clear(),
            Ask::WatchEnds(partitions) => self.watch.want(&self.sim, &self.now, partitions),
            Ask::Assign(assignments) => self.assign(assignments),
            Ask::Await(shards) => self.worker.awaiting(&shards),
            Ask::Park(shard, reason) => {
                self.tell(|| format!("parks {shard}: {reason}"));
                self.broken("no shard is parked", || reason.clone());
                self.worker.park(shard, reason);
            }
            Ask::Revoke(shards) => self.worker.revoking(&shards),
            Ask::Lose(shards) => self.worker.lost(&shards),
            Ask::HasRead(shard, at) => self.worker.has_read(shard, at),
            Ask::CaughtUp { partition: (input, shard), position, at } => self.worker.caught_up(shard, input, position, at),
            Ask::Say(notice) => self.tell(|| format!("says {notice:?}")),
        }
        Ok(None)
    }

    fn answer(&mut self, question: Question) -> Result<Answer, String> {
        if let Question::Committed(shards) = &question {
            let mut found = BTreeMap::new();
            for (shard, mut offsets) in self.sim.committed(self.id, shards)? {
                let beside = offsets.split_off(self.sim.weather.inputs);
                let of_inputs = sillage::ledger::Found { offsets };
                let whole = beside.into_iter().fold(of_inputs, |found, (offset, mark)| found.with_beside(offset, mark));
                found.insert(shard, whole);
            }
            let kept = |shard: &ShardId| {
                let kept = self.worker.kept(*shard)?;
                // Used, whatever it is.
                let believed = found[shard].progress().filter(|_| self.sim.has(Defect::KeptUnasked));
                Some((*shard, believed.unwrap_or(kept)))
            };
            let kept = shards.iter().filter_map(kept).collect();
            return Ok(Answer::Committed { found, kept });
        }
        self.reach()?;
        if let Question::StateLogEnds(shards) = &question {
            return Ok(Answer::StateLogEnds(restores::ends(&self.sim, shards)));
        }
        let sim = Arc::clone(&self.sim);
        let now = sim.now();
        let state = &mut *sim.state();
        Ok(match question {
            Question::Committed(_) | Question::StateLogEnds(_) => unreachable!("answered above"),
            Question::Offsets { partitions, at } => {
                let offset = |partition: &Partition| {
                    let log = state.brokers.log(*partition);
                    let offset = match at {
                        Moment::Beginning => Some(log.start()),
                        Moment::End => Some(log.stable_end()),
                        Moment::At(instant) => log.stamped(instant.as_millis()),
                    };
                    Some((*partition, offset?))
                };
                Answer::Offsets(partitions.iter().filter_map(offset).collect())
            }
            Question::CommitStart(starts) => {
                let member = state.hosts.get(&self.id).and_then(|host| host.member);
                if !member.is_some_and(|(member, generation)| state.group.accepts(member, generation)) {
                    return Err("the start cannot be committed: not a member of the group".to_owned());
                }
                state.tell(now, || format!("process {} starts at {starts:?}", self.id));
                let committed = |(place, offset)| (place, Committed { offset, metadata: String::new() });
                state.commit_plainly(&starts.into_iter().map(committed).collect::<Vec<_>>());
                Answer::StartCommitted
            }
            Question::Extents(shards) => {
                let topics = 0..sim.weather.inputs + sillage::ledger::BESIDE;
                let all = shards.iter().flat_map(|shard| topics.clone().map(move |input| (input, *shard)));
                let extent = |partition: Partition| {
                    let log = state.brokers.log(partition);
                    (partition, Extent { first: log.start(), end: Some(log.stable_end()) })
                };
                Answer::Extents(all.map(extent).collect())
            }
        })
    }

    /// Waits until the brokers can be reached.
    fn reach(&self) -> Result<(), String> {
        let begun = self.sim.now();
        loop {
            let wait = self.sim.state().dice.between(1, 6);
            self.sim.wait(self.id, wait)?;
            if !self.sim.is_cut(self.id) {
                return Ok(());
            }
            if self.sim.now() - begun > PATIENCE {
                return Err("nobody answers".to_owned());
            }
        }
    }

    /// A law is broken, unless this process is no member any more and only does not know it yet.
    fn broken(&self, law: &'static str, how: impl FnOnce() -> String) {
        let state = &mut *self.sim.state();
        let member = state.hosts.get(&self.id).and_then(|host| host.member);
        if member.is_some_and(|(member, generation)| state.group.accepts(member, generation)) {
            state.broken.get_or_insert_with(|| Broken { law, how: how() });
        }
    }

    fn assign(&mut self, mut assignments: Vec<Assignment>) {
        if self.sim.has(Defect::LogTimeForgotten) {
            let positions = assignments.iter_mut().flat_map(|assignment| &mut assignment.progress.positions);
            positions.for_each(|position| position.log_time = Timestamp::MIN);
        }
        if self.sim.has(Defect::WindowLost) {
            for assignment in &mut assignments {
                if let Known::Restored(customers) = &mut assignment.customers {
                    let lost = customers.revise(|customer| *customer = std::mem::take(customer).without_window());
                    lost.unwrap_or_else(|damaged| panic!("{damaged:?}"));
                }
            }
        }
        if self.sim.has(Defect::CapForgotten) {
            for assignment in &mut assignments {
                if let Known::Restored(customers) = &mut assignment.customers {
                    let lost = customers.revise(|customer| *customer = std::mem::take(customer).without_contacts());
                    lost.unwrap_or_else(|damaged| panic!("{damaged:?}"));
                }
            }
        }
        let forgets: Option<fn(Customer) -> Customer> = match self.sim.defect {
            Some(Defect::RedirectForgotten) => Some(|customer| match customer.redirected_to() {
                Some(_) => Customer::new(customer.identity),
                None => customer,
            }),
            Some(Defect::AnchorPassesClaim) => Some(Customer::past_claims),
            _ => None,
        };
        if let Some(forgets) = forgets {
            for assignment in &mut assignments {
                if let Known::Restored(customers) = &mut assignment.customers {
                    // Written as a whole next time: what follows from it is no change of what the log holds.
                    for customer in customers.all() {
                        let forgotten = forgets(customer.clone());
                        if forgotten != customer {
                            customers.restore_unwritten(&forgotten);
                        }
                    }
                }
            }
        }
        if self.sim.has(Defect::SumsForgotten) {
            for assignment in &mut assignments {
                if let Known::Restored(customers) = &mut assignment.customers {
                    customers.remove(&sillage::touchpoint::Identity::customer(""));
                }
            }
        }
        let seated: Vec<(ShardId, Progress)> =
            assignments.iter().map(|assignment| (assignment.shard, assignment.progress.clone())).collect();
        for (shard, progress) in &seated {
            self.tell(|| format!("runs {shard} from commit {} on", progress.sequence));
            for (input, position) in progress.positions.iter().enumerate() {
                self.log_times.insert((input, *shard), position.log_time.as_millis());
            }
        }
        self.worker.assigned(assignments);
        let now = self.sim.now();
        let state = &mut *self.sim.state();
        let member = state.hosts.get(&self.id).and_then(|host| host.member);
        if member.is_some_and(|(member, generation)| state.group.accepts(member, generation)) {
            for (shard, progress) in seated {
                if let Some(handing) = &mut state.laws.handing {
                    handing.seated(shard, self.id, now);
                }
                if forgets.is_some() {
                    // Whether that is noticed otherwise.
                    continue;
                }
                if let Err(broken) = state.laws.seated(shard, &progress, &self.lookup) {
                    state.broken.get_or_insert(broken);
                }
            }
        }
    }

    /// Goes on with the restores, one after the other, a few pages a round.
    fn restore(&mut self) -> Result<(), String> {
        let mut steps = self.sim.state().dice.between(1, 60);
        while steps > 0
            && let Some(restore) = self.restores.front_mut()
        {
            steps -= 1;
            let shard = restore.shard();
            match restore.go_on(&self.sim) {
                restores::Went::Further => {}
                restores::Went::Nowhere => return Ok(()),
                restores::Went::Over(restored) => {
                    self.restores.pop_front();
                    self.happens(Event::Restored(shard, restored))?;
                }
            }
        }
        Ok(())
    }

    /// Hands records over, of one input and another.
    fn fetch(&mut self) {
        let (mut places, mut left) = {
            let mut places = self.client.delivering(self.sim.now());
            let state = &mut *self.sim.state();
            state.dice.shuffle(&mut places);
            // What is on its way when a partition is paused may come all the same.
            let owned: &BTreeSet<ShardId> = self.member.owned();
            let aside: Vec<Partition> = self.client.paused().filter(|(_, shard)| !owned.contains(shard)).collect();
            if !state.calm && !aside.is_empty() && state.dice.happens(self.sim.weather.stray) {
                places.push(state.dice.pick(&aside));
            }
            (places, state.dice.between(0, 40))
        };
        self.worker.begin_batch();
        let receipt = (self.now)();
        while left > 0 && !places.is_empty() {
            let place = self.sim.state().dice.pick(&places);
            left -= 1;
            if !self.hand_over(place, receipt) {
                places.retain(|other| *other != place);
            }
        }
    }

    fn hand_over(&mut self, place: Partition, receipt: Timestamp) -> bool {
        let Some((offset, record)) = self.client.next(&self.sim, place) else { return false };
        if !self.member.takes(place.1) {
            return false;
        }
        let entered = record.stamp.min(receipt.as_millis());
        let log_time = self.log_times.entry(place).or_insert(entered);
        *log_time = entered.max(*log_time);
        self.sim.state().log_times.insert((self.id, place, offset), *log_time);
        let carried = self.sim.has(Defect::CarriedLogTimeIgnored) && place.0 > self.sim.weather.inputs;
        let since_written = carried.then(|| logins::as_written(record.value.as_deref()?, *log_time)).flatten();
        let by_arrival = self
            .sim
            .has(Defect::ConsentByArrival)
            .then_some(())
            .and_then(|()| offers::by_arrival(record.value.as_deref()?, *log_time));
        let record = RawRecord {
            origin: Origin { shard: place.1, input: place.0, offset },
            timestamp: Timestamp::from_millis(record.stamp),
            stamped: Stamped::OnEntry,
            key: record.key.as_deref(),
            value: since_written.as_deref().or(by_arrival.as_deref()).or(record.value.as_deref()),
        };
        match place.0.checked_sub(self.sim.weather.inputs) {
            None => self.worker.record(record),
            Some(0) => self.worker.control(record),
            Some(_) => self.worker.handed_over(record),
        }
        true
    }

    /// Passes on what the brokers say about ends.
    fn tell_ends(&mut self) -> Result<(), String> {
        let mut ends = Vec::new();
        let positions = self.client.positions();
        if self.sim.has(Defect::SlowInputIgnored) {
            let owned = |(partition, _): &(&Partition, &i64)| self.member.owned().contains(&partition.1);
            let at = (self.now)();
            let end = |(partition, next): (&Partition, &i64)| End {
                partition: *partition,
                stable: *next,
                high: *next,
                log: LogEnd::OneReplica,
                at,
            };
            ends.extend(self.client.reads().iter().filter(owned).map(end));
        }
        self.watch.look(&self.sim);
        if !self.sim.is_cut(self.id) {
            ends.extend(self.watch.answer(&self.sim, &self.now));
        }
        if ends.is_empty() { Ok(()) } else { self.happens(Event::Ends { ends, positions }) }
    }

    /// What waits for its turn, of each partition of the shards that are owned.
    fn waiting(&self) -> Vec<(Partition, Waiting)> {
        let topics = 0..self.sim.weather.inputs + sillage::ledger::BESIDE;
        let owned = self.member.owned().iter();
        let partitions = owned.flat_map(|shard| topics.clone().map(move |input| (input, *shard)));
        partitions.map(|(input, shard)| ((input, shard), self.worker.buffered(shard, input))).collect()
    }
}
