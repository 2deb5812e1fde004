//! A log in memory that one desk reads and writes; what it was told to keep survives the desk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use sillage::outbox::{Event, Outbox, Write};
use sillage::port::ShardId;
use sillage::time::Timestamp;

#[derive(Clone, Default)]
pub(crate) struct SimulatedLog(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
pub(crate) struct State {
    records: Vec<Vec<u8>>,
    /// Where reading goes on in this life, and after a restart.
    next: usize,
    committed: usize,
    seated: bool,
    kept: BTreeMap<String, Vec<u8>>,
    pub(crate) touchpoints: Vec<Value>,
    /// Destination and reason.
    pub(crate) dead_letters: VecDeque<(String, String)>,
}

impl State {
    /// What is kept of a destination's deliveries.
    pub(crate) fn kept(&self, destination: &str) -> Vec<Value> {
        let of = self.kept.iter().filter(|(key, _)| key.ends_with(&format!(" {destination}")));
        of.map(|(_, value)| serde_json::from_slice(value).expect("JSON")).collect()
    }
}

impl SimulatedLog {
    pub(crate) fn look(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no test thread panicked")
    }

    pub(crate) fn publish(&self, outcome: &Value) {
        self.look().records.push(outcome.to_string().into_bytes());
        self.0.1.notify_all();
    }

    /// As if the offsets were lost.
    pub(crate) fn forget_positions(&self) {
        self.look().committed = 0;
    }

    pub(crate) fn wait(&self, what: &str, within: Duration, is_so: impl Fn(&State) -> bool) {
        let (begun, mut state) = (Instant::now(), self.look());
        while !is_so(&state) {
            assert!(begun.elapsed() < within, "waited for {what}; touchpoints: {}", state.touchpoints.len());
            state = self.0.1.wait_timeout(state, Duration::from_millis(100)).expect("no panic").0;
        }
    }
}

impl Outbox for SimulatedLog {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Event>, String> {
        let mut state = self.look();
        let mut events = Vec::new();
        if !state.seated {
            state.seated = true;
            state.next = state.committed;
            let kept = state.kept.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            events.push(Event::Assigned { shard: 0, kept });
        } else if state.next == state.records.len() {
            state = self.0.1.wait_timeout(state, wait).expect("no panic").0;
        }
        let (from, to) = (state.next, state.records.len());
        state.next = to;
        events.extend((from..to).map(|at| Event::Record { shard: 0, offset: at as u64, value: state.records[at].clone() }));
        Ok(events)
    }

    fn write(&mut self, writes: Vec<Write>, _now: Timestamp) -> Result<(), String> {
        let mut state = self.look();
        for write in writes {
            match write {
                Write::Keep { key, value: Some(value), .. } => drop(state.kept.insert(key, value)),
                Write::Keep { key, value: None, .. } => drop(state.kept.remove(&key)),
                Write::Touchpoint { value, .. } => {
                    state.touchpoints.push(serde_json::from_slice(&value).expect("a touchpoint"));
                }
                Write::DeadLetter { destination, reason, .. } => state.dead_letters.push_back((destination, reason)),
            }
        }
        self.0.1.notify_all();
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<ShardId, u64>) -> Result<(), String> {
        self.look().committed = positions.get(&0).map_or(0, |next| *next as usize);
        Ok(())
    }
}

/// The next desk finds it as this one left it.
impl Drop for SimulatedLog {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.0.lock() {
            state.seated = false;
        }
    }
}
