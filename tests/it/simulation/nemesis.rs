//! What goes wrong: processes are killed, frozen, cut off, stopped and started, alone and together.

use super::group::SESSION;
use super::log::Millis;
use super::world::{Event, Host, ProcessId, Sim, State};

const HOUR: Millis = 3_600_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    Cut,
    Outage,
    Leave,
    Join,
    Exodus,
}

impl Sim {
    pub(super) fn fault(&self, state: &mut State) {
        let now = self.now();
        if state.calm || self.weather.pause == 0 {
            return;
        }
        let weather = &self.weather;
        let kinds = [
            (Fault::Kill, weather.kills),
            (Fault::Freeze, weather.freezes),
            (Fault::Cut, weather.cuts),
            (Fault::Outage, weather.outages),
            (Fault::Leave, weather.leaves),
            (Fault::Join, weather.joins),
            (Fault::Exodus, weather.exodus),
        ];
        let bag: Vec<Fault> = kinds.iter().flat_map(|(kind, count)| vec![*kind; *count as usize]).collect();
        let living: Vec<ProcessId> = state.hosts.iter().filter(|(_, host)| !host.dead).map(|(id, _)| *id).collect();
        if let (false, false) = (bag.is_empty(), living.is_empty()) {
            let (kind, whom) = (state.dice.pick(&bag), state.dice.pick(&living));
            self.strike(state, kind, whom);
        }
        let wait = state.dice.between(50, weather.pause);
        state.at(now + wait, Event::Fault);
    }

    /// A replica of an input stops to fetch for a while, or a leader is deposed and does not hear of it for a while.
    pub(super) fn look_at_replicas(&self, state: &mut State) {
        let now = self.now();
        if state.calm || self.weather.stalls + self.weather.depositions == 0 {
            return;
        }
        let inputs = self.weather.inputs as i64 - 1;
        let place =
            (state.dice.between(0, inputs) as usize, state.dice.between(0, i64::from(self.weather.shards) - 1) as u32);
        let until = now + state.dice.between(20, self.weather.longest_stall);
        let shown = until - super::story::BEGINNING;
        if state.dice.happens(self.weather.stalls) && state.brokers.log_mut(place).hold(true) {
            state.tell(now, || format!("input {place:?}: a replica does not fetch until {shown}"));
            state.at(until, Event::Fetches(place));
        } else if state.dice.happens(self.weather.depositions) && state.brokers.log_mut(place).depose() {
            state.tell(now, || format!("input {place:?}: its leader is deposed, and hears of it at {shown}"));
            state.at(until, Event::Undeceived(place));
        }
        let wait = state.dice.between(50, 1_000);
        state.at(now + wait, Event::Replicas);
    }

    fn strike(&self, state: &mut State, kind: Fault, whom: ProcessId) {
        let now = self.now();
        let Some(number) = state.hosts.get(&whom).map(|host| host.number) else { return };
        match kind {
            Fault::Kill => {
                self.kill(state, whom);
                let wait = state.dice.pick(&[30, 300, 2_500]);
                let wait = state.dice.between(10, wait);
                state.at(now + wait, Event::Start(number));
            }
            Fault::Freeze => {
                let longest = state.dice.pick(&[300, 2_000, 6_000]);
                let until = now + state.dice.between(50, longest);
                state.tell(now, || format!("process {whom} is frozen until {}", until - super::story::BEGINNING));
                if let Some(host) = state.hosts.get_mut(&whom) {
                    host.frozen_until = until;
                }
                let crowd = state.hosts.values().filter(|host| !host.dead).count();
                if crowd <= self.weather.workers && state.dice.happens(350) {
                    // Whoever supervises it has given it up, and starts another in its place.
                    let (wait, rest) = (state.dice.between(20, 1_500), state.dice.between(20, 1_500));
                    state.at(now + wait, Event::Start(number));
                    state.at((until + rest).max(now + wait), Event::Kill(whom));
                }
            }
            Fault::Cut => {
                let longest = state.dice.pick(&[200, 1_000, 3_500]);
                let until = now + state.dice.between(30, longest);
                state.tell(now, || format!("process {whom} is cut off until {}", until - super::story::BEGINNING));
                if let Some(host) = state.hosts.get_mut(&whom) {
                    host.cut_until = until;
                }
            }
            Fault::Outage => {
                let until = now + state.dice.between(30, 1_800);
                state.tell(now, || format!("the brokers are gone until {}", until - super::story::BEGINNING));
                state.hosts.values_mut().for_each(|host| host.cut_until = until);
            }
            Fault::Leave => {
                state.tell(now, || format!("process {whom} is asked to stop"));
                if let Some(host) = state.hosts.get_mut(&whom) {
                    host.stopping = true;
                }
            }
            Fault::Exodus => {
                state.tell(now, || "everybody goes".to_owned());
                let all: Vec<(ProcessId, usize)> = state.hosts.iter().map(|(id, host)| (*id, host.number)).collect();
                let gone = now + SESSION + state.dice.between(100, self.weather.longest_absence);
                for (id, number) in all {
                    self.kill(state, id);
                    let wait = state.dice.between(1, 300);
                    state.at(gone + wait, Event::Start(number));
                }
                state.at(gone, Event::Forget);
            }
            Fault::Join => {
                let next = (0..4).find(|number| state.hosts.values().all(|host| host.number != *number || host.dead));
                if let Some(number) = next {
                    state.at(now, Event::Start(number));
                }
            }
        }
    }

    pub(super) fn kill(&self, state: &mut State, id: ProcessId) {
        let now = self.now();
        let Some(host) = state.hosts.get_mut(&id).filter(|host| !host.dead) else { return };
        // One that runs is in a call to the brokers, and finds out there.
        host.dead = true;
        if host.process.is_some() {
            state.hosts.remove(&id);
        }
        state.tell(now, || format!("process {id} is killed"));
    }

    /// Says which process is to be made, unless one of this number runs that nobody has given up.
    pub(super) fn start(&self, state: &mut State, number: usize) -> Option<(ProcessId, usize, Millis)> {
        let now = self.now();
        let runs = state.hosts.values().any(|host| host.number == number && !host.dead && host.frozen_until <= now);
        if runs || (state.calm && number >= self.weather.workers) {
            return None;
        }
        let id = state.brokers.fresh() as ProcessId;
        let behind = !state.calm && state.laws.all_have_begun() && state.dice.happens(self.weather.hour_behind);
        let off = if state.calm { 0 } else { state.dice.between(-self.weather.skew, self.weather.skew) };
        let skew = if behind { -HOUR + state.dice.between(0, HOUR / 2) } else { off + state.dice.between(-5, 25) };
        state.tell(now, || format!("process {id} starts as worker {number}, its clock off by {skew} ms"));
        let host = Host {
            number,
            dead: false,
            stopping: false,
            frozen_until: 0,
            cut_until: 0,
            skew,
            member: None,
            joined: None,
            process: None,
        };
        state.hosts.insert(id, host);
        if let Some(handing) = &mut state.laws.handing {
            handing.started.insert(id, now);
        }
        Some((id, number, skew))
    }

    /// Nothing goes wrong any more: every worker runs, once, on a host whose clock is right.
    pub(super) fn calm(&self, state: &mut State) {
        let now = self.now();
        state.calm = true;
        state.tell(now, || "all is calm from now on".to_owned());
        let mut newest = std::collections::BTreeMap::new();
        for (id, host) in &mut state.hosts {
            (host.frozen_until, host.cut_until) = (0, 0);
            newest.insert(host.number, *id);
        }
        let kept = |(id, host): (&ProcessId, &Host)| {
            host.skew.abs() <= 30 && host.number < self.weather.workers && newest.get(&host.number) == Some(id)
        };
        let gone: Vec<ProcessId> = state.hosts.iter().filter(|host| !kept(*host)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.kill(state, id));
        (0..self.weather.workers).for_each(|number| state.at(now + 10, Event::Start(number)));
    }
}
