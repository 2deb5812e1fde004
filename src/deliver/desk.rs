//! The desk: reads what the log has, lets [`Lanes`] decide, keeps what must be kept, and hands requests to the couriers.
//!
//! One thread, which alone knows how deliveries stand. Requests run on threads of their own and come back with an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use compact_str::CompactString;
use tokio::runtime::Handle;
use tracing::{info, warn};
use uuid::Uuid;

use super::courier::{Answer, Courier, Parcel};
use super::lanes::delivery::{Delivery, Key, State, What};
use super::lanes::{Action, Lanes, Reply};
use super::notice::Notice;
use super::request::Destination;
use crate::metrics::DeliveryMeters;
use crate::outbox::{Event, Outbox, Write};
use crate::port::{Now, ShardId};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint, Value};
use crate::wire::{self, Format};

/// How long to wait for records while nothing is on its way, and while something is.
const WAIT: Span = Span::from_millis(50);
const BUSY: Span = Span::from_millis(2);
/// Asked to stop, what is on its way may be answered for so long.
const DRAIN: Span = Span::from_secs(10);

/// When the desk last turned, for whoever looks after it.
#[derive(Debug, Default)]
pub struct Pulse(AtomicI64);

impl Pulse {
    /// How long ago it turned.
    pub fn since(&self, now: Timestamp) -> Span {
        now.since(Timestamp::from_millis(self.0.load(Ordering::Acquire)))
    }
}

/// What a courier comes back with.
type Returned = (Key, Answer);

/// The desk.
pub struct Desk {
    lanes: Lanes,
    couriers: BTreeMap<Arc<str>, Arc<Courier>>,
    meters: BTreeMap<Arc<str>, DeliveryMeters>,
    outbox: Box<dyn Outbox>,
    /// Where each shard goes on, and what of it is committed.
    positions: BTreeMap<ShardId, u64>,
    committed: BTreeMap<ShardId, u64>,
    format: Format,
    now: Now,
    runtime: Handle,
    returned: (Sender<Returned>, Receiver<Returned>),
    pulse: Arc<Pulse>,
}

impl Desk {
    /// Reads nothing yet. `format` is how touchpoints are encoded.
    ///
    /// # Errors
    /// A destination whose certificates are none.
    pub fn new(
        destinations: Vec<Destination>,
        outbox: Box<dyn Outbox>,
        format: Format,
        now: Now,
        runtime: Handle,
    ) -> Result<Self, String> {
        let lanes = Lanes::new(destinations.iter().map(|known| (Arc::clone(&known.name), known.limits.clone())));
        let meters = destinations.iter().map(|known| (Arc::clone(&known.name), DeliveryMeters::new(&known.name)));
        let meters = meters.collect();
        let mut couriers = BTreeMap::new();
        for destination in destinations {
            let name = Arc::clone(&destination.name);
            let made = Courier::new(destination, Arc::clone(&now));
            let courier = made.map_err(|reason| format!("destination {name}: {reason}"))?;
            couriers.insert(name, Arc::new(courier));
        }
        Ok(Desk {
            lanes,
            couriers,
            meters,
            outbox,
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
            format,
            now,
            runtime,
            returned: channel(),
            pulse: Arc::default(),
        })
    }

    /// When it last turned.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Delivers until asked to stop; then waits a little for what is on its way.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), String> {
        while !stop.load(Ordering::Acquire) {
            let events = self.outbox.poll(self.patience())?;
            let now = (self.now)();
            self.pulse.0.store(now.as_millis(), Ordering::Release);
            let mut unreadable = Vec::new();
            for event in events {
                self.take(event, now, &mut unreadable);
            }
            self.hear(now);
            self.lanes.wake(now);
            self.perform(unreadable, now)?;
            self.show(now);
        }
        let until = (self.now)() + DRAIN;
        while self.lanes.in_flight() > 0 && (self.now)() < until {
            let Ok((key, answer)) = self.returned.1.recv_timeout(Duration::from_millis(100)) else { continue };
            let now = (self.now)();
            self.replied(&key, answer, now);
            self.perform(Vec::new(), now)?;
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        let now = (self.now)();
        let usual = if self.lanes.in_flight() > 0 { BUSY } else { WAIT };
        let next = self.lanes.next_wakeup(now).map_or(usual, |at| at.since(now).max(Span::from_millis(1)));
        Duration::from_millis(usual.min(next).as_millis().unsigned_abs())
    }

    fn take(&mut self, event: Event, now: Timestamp, unreadable: &mut Vec<Write>) {
        match event {
            Event::Assigned { shard, kept } => {
                let kept = kept.into_iter().filter_map(|(key, value)| read(shard, &key, &value));
                self.lanes.assigned(kept.collect::<Vec<_>>(), now);
            }
            Event::Revoked(shard) => {
                self.lanes.revoked(shard);
                self.positions.remove(&shard);
                self.committed.remove(&shard);
            }
            Event::Record { shard, offset, value } => {
                self.positions.insert(shard, offset + 1);
                match Notice::read(&value) {
                    Ok(Some(notice)) => self.lanes.read(&notice, shard, offset, now),
                    Ok(None) => {}
                    Err(reason) => unreadable.push(Write::DeadLetter {
                        from: (shard, offset),
                        key: String::new(),
                        value,
                        reason: format!("delivery: the record {reason}"),
                        destination: String::new(),
                    }),
                }
            }
        }
    }

    fn hear(&mut self, now: Timestamp) {
        while let Ok((key, answer)) = self.returned.1.try_recv() {
            self.replied(&key, answer, now);
        }
    }

    fn replied(&mut self, key: &Key, answer: Answer, now: Timestamp) {
        if let Some(meters) = self.meters.get(&key.destination) {
            meters.replied(answer.reply.word());
            if let (Reply::Accepted, Some(delivery)) = (&answer.reply, self.lanes.get(key)) {
                meters.accepted_after(now.since(delivery.since).as_millis() as f64 / 1_000.0);
            }
        }
        self.lanes.replied(key, answer.reply, answer.captured, now);
    }

    /// First everything durable, then the offsets, then what is sent.
    fn perform(&mut self, mut writes: Vec<Write>, now: Timestamp) -> Result<(), String> {
        let actions = self.lanes.take_actions();
        let mut kept = BTreeSet::new();
        let mut forgotten = Vec::new();
        let mut sends = Vec::new();
        for action in actions {
            match action {
                Action::Keep(key) => drop(kept.insert(key)),
                Action::Forget(key, shard) => {
                    kept.remove(&key);
                    forgotten.push(Write::Keep { shard, key: written(&key), value: None });
                }
                Action::Send { key, until } => sends.push((key, until)),
                Action::Ended(key) => writes.extend(self.ended(&key, now)),
                Action::SwitchedOff { destination } => {
                    warn!(%destination, "410: the receiver wants nothing more; it is switched off until this process starts again");
                }
            }
        }
        for key in &kept {
            let Some(delivery) = self.lanes.get(key) else { continue };
            let record = delivery.record.as_ref().filter(|_| delivery.state == State::Pending).map(Arc::clone);
            let value = serde_json::to_vec(&Delivery { record, ..delivery.clone() }).map_err(|fault| fault.to_string())?;
            writes.push(Write::Keep { shard: delivery.shard, key: written(key), value: Some(value) });
        }
        writes.extend(forgotten);
        if !writes.is_empty() {
            self.outbox.write(writes, now)?;
        }
        kept.iter().for_each(|key| self.lanes.shed(key));
        if self.positions != self.committed {
            self.outbox.commit(&self.positions)?;
            self.committed.clone_from(&self.positions);
        }
        for (key, until) in sends {
            self.send(key, until);
        }
        Ok(())
    }

    /// What follows from the end of a delivery.
    fn ended(&self, key: &Key, now: Timestamp) -> Vec<Write> {
        let Some(delivery) = self.lanes.get(key) else { return Vec::new() };
        if let Some(meters) = self.meters.get(&key.destination) {
            meters.ended(delivery.state.word());
        }
        let mut writes = Vec::new();
        if let State::Failed(why) = delivery.state {
            let reply = delivery.reply.as_deref().map(|reply| format!(": {reply}")).unwrap_or_default();
            let reason = format!("delivery: {} after {} tries{reply}", why.word(), delivery.tries);
            writes.push(Write::DeadLetter {
                from: (delivery.shard, delivery.order),
                key: delivery.customer.to_string(),
                value: delivery.record.as_ref().map(|record| record.get().as_bytes().to_vec()).unwrap_or_default(),
                reason: crate::terminal::without_secrets(&reason),
                destination: key.destination.to_string(),
            });
        }
        if let Some(kind) = delivery.told_as() {
            let mut value = Vec::new();
            let touchpoint = Box::new(touchpoint(kind, key, delivery, now));
            wire::encode_touchpoint(self.format, &touchpoint, &mut value);
            writes.push(Write::Touchpoint { touchpoint, value });
        }
        writes
    }

    fn send(&self, key: Key, until: Option<Timestamp>) {
        let (Some(delivery), Some(courier)) = (self.lanes.get(&key), self.couriers.get(&key.destination)) else { return };
        let captured = match delivery.what {
            What::Offer { .. } => delivery.captured.clone(),
            // What the receiver said when it got the offer, such as the id of the conversation.
            What::Withdrawal { answers } => {
                let offer = Key { outcome: answers, destination: Arc::clone(&key.destination) };
                let mut captured = self.lanes.get(&offer).map(|offer| offer.captured.clone()).unwrap_or_default();
                captured.extend(delivery.captured.clone());
                captured
            }
        };
        let parcel = Parcel {
            id: key.outcome.hyphenated().to_string(),
            what: delivery.what,
            record: delivery.record.as_ref().map(|record| record.get().to_owned()).unwrap_or_default(),
            captured,
            until,
        };
        let (courier, back) = (Arc::clone(courier), self.returned.0.clone());
        self.runtime.spawn_blocking(move || {
            let answer = courier.deliver(&parcel);
            let _ = back.send((key, answer));
        });
    }

    fn show(&self, now: Timestamp) {
        for (name, lane) in self.lanes.lanes() {
            if let Some(meters) = self.meters.get(name) {
                let closed = if lane.is_off() { 2.0 } else { f64::from(u8::from(lane.is_closed(now))) };
                meters.standing(lane.pending(), closed);
            }
        }
    }
}

/// A key as it is kept.
fn written(key: &Key) -> String {
    format!("{} {}", key.outcome.hyphenated(), key.destination)
}

/// What is kept; something that cannot be read is of a later version, and left alone.
fn read(shard: ShardId, key: &str, value: &[u8]) -> Option<(Key, Delivery)> {
    let (outcome, destination) = key.split_once(' ')?;
    let key = Key { outcome: outcome.parse::<Uuid>().ok()?, destination: Arc::from(destination) };
    match serde_json::from_slice::<Delivery>(value) {
        Ok(delivery) => Some((key, Delivery { shard, ..delivery })),
        Err(fault) => {
            info!(%fault, "what is kept of a delivery cannot be read, and is left alone");
            None
        }
    }
}

/// What became of an offer, for the models. Its id is the same whenever it is told.
fn touchpoint(kind: &str, key: &Key, delivery: &Delivery, now: Timestamp) -> Touchpoint {
    let text = |text: &str| Value::Text(text.into());
    let identity = match delivery.anonymous {
        true => Identity::anonymous(delivery.customer.clone()),
        false => Identity::customer(delivery.customer.clone()),
    };
    let outcome = key.outcome.hyphenated().to_string();
    let properties = [
        ("destination", text(&key.destination)),
        ("intervention", text(&delivery.intervention)),
        ("outcome_id", text(&outcome)),
    ];
    Touchpoint {
        id: CompactString::from(format!("{outcome}/{}/{kind}", key.destination)),
        id_given: true,
        identity,
        event_time: now,
        kind: kind.into(),
        channel: Some(delivery.channel.clone()),
        properties: properties.into_iter().map(|(name, value)| (name.into(), value)).collect(),
        ..Touchpoint::default()
    }
}
