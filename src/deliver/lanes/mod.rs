//! Deliveries, as a function of what is read, what receivers answer, and the time. Pure.
//!
//! One [`Lanes`] holds what is to be delivered from all shards that a process owns: a [`Lane`](lane::Lane) per destination, so
//! that a slow or dead one never stops another, and in each the order of a customer. What must happen is handed out as
//! [`Action`]s, in this order: what is to be kept comes before what is to be sent, so that a process that is killed knows which
//! requests may have arrived. Knows no HTTP, no Kafka, and not how a request looks.

pub mod delivery;
pub mod lane;
pub mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use self::delivery::{Delivery, Key, State, What, Why};
use self::lane::{Lane, Limits};
use super::notice::{Notice, Offer, Withdrawal};
use crate::port::ShardId;
use crate::time::{Span, Timestamp};

/// What has ended is remembered for so long, after its offer has expired: a record may be read again.
const REMEMBERED: Span = Span::from_secs(3_600);
/// So many withdrawals are remembered whose offers are not known.
const EARLY: usize = 100_000;

/// What a try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The receiver has it.
    Accepted,
    /// It certainly did not arrive: no connection, or a refusal that says so.
    Refused {
        /// In words, without secrets.
        reason: String,
    },
    /// It may have arrived: the connection broke, no answer came in time, or the receiver failed.
    Unclear {
        /// In words, without secrets.
        reason: String,
    },
    /// The receiver asks for time (429, 503).
    Slow {
        /// Where it says how long.
        after: Option<Span>,
        /// In words, without secrets.
        reason: String,
    },
    /// The receiver wants nothing more (410).
    Gone,
    /// No request can be made of this record, now or later.
    Unusable {
        /// In words.
        reason: String,
    },
}

/// What the shell has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep how a delivery stands, durably, before any `Send` that comes after.
    Keep(Key),
    /// Nothing needs to be known of a delivery of this shard any more.
    Forget(Key, ShardId),
    /// Hand it to its receiver, and tell what came of it with [`Lanes::replied`].
    Send {
        /// Which.
        key: Key,
        /// From when on the request must not reach the receiver any more.
        until: Option<Timestamp>,
    },
    /// It has ended: what follows for models and dead letters, the delivery says.
    Ended(Key),
    /// The receiver wants nothing more: the destination is switched off until the process starts again.
    SwitchedOff {
        /// Which destination.
        destination: Arc<str>,
    },
}

/// All deliveries of a process.
#[derive(Debug)]
pub struct Lanes {
    lanes: BTreeMap<Arc<str>, Lane>,
    deliveries: HashMap<Key, Delivery>,
    /// Offers that have not ended, by when they expire.
    expiring: BTreeSet<(Timestamp, Key)>,
    /// What has ended, by when it can be forgotten.
    forgotten: BTreeSet<(Timestamp, Key)>,
    /// Withdrawals that came before their offers (from another partition), with when they can be forgotten.
    early: HashMap<Uuid, Timestamp>,
    actions: Vec<Action>,
}

impl Lanes {
    /// Nothing to deliver yet, to these destinations.
    pub fn new(destinations: impl IntoIterator<Item = (Arc<str>, Limits)>) -> Self {
        Lanes {
            lanes: destinations.into_iter().map(|(name, limits)| (name, Lane::new(limits))).collect(),
            deliveries: HashMap::new(),
            expiring: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            early: HashMap::new(),
            actions: Vec::new(),
        }
    }

    /// What a record says. `order` is its place in its shard.
    pub fn read(&mut self, notice: &Notice, shard: ShardId, order: u64, now: Timestamp) {
        match notice {
            Notice::Offer(offer) => self.offered(offer, shard, order, now),
            Notice::Withdrawal(withdrawal) => self.withdrawn(withdrawal, shard, order, now),
        }
    }

    fn offered(&mut self, offer: &Offer, shard: ShardId, order: u64, now: Timestamp) {
        let is_withdrawn = self.early.contains_key(&offer.id);
        let wanted = self.lanes.iter().filter(|(_, lane)| lane.limits.wants(offer));
        let names: Vec<Arc<str>> = wanted.map(|(name, _)| Arc::clone(name)).collect();
        for destination in names {
            let key = Key { outcome: offer.id, destination };
            // The log is read again after a crash: what is known stands.
            if self.deliveries.contains_key(&key) {
                continue;
            }
            let delivery = Delivery::of_offer(offer, shard, order, now);
            self.expiring.insert((offer.expires_at, key.clone()));
            self.deliveries.insert(key.clone(), delivery);
            if is_withdrawn {
                self.end(&key, State::Withdrawn, now);
                continue;
            }
            self.enqueue(&key, now);
        }
    }

    /// Gives a delivery its place behind what its customer waits for already.
    fn enqueue(&mut self, key: &Key, now: Timestamp) {
        let Some(delivery) = self.deliveries.get(key) else { return };
        match self.lanes.get_mut(&key.destination) {
            None => self.end(key, State::Failed(Why::NoDestination), now),
            Some(lane) if lane.is_off() => self.end(key, State::Failed(Why::Gone), now),
            Some(lane) if !lane.has_room() => self.end(key, State::Failed(Why::Full), now),
            Some(lane) => {
                lane.push(key, delivery);
                self.actions.push(Action::Keep(key.clone()));
            }
        }
    }

    fn withdrawn(&mut self, withdrawal: &Withdrawal, shard: ShardId, order: u64, now: Timestamp) {
        let names: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        let mut is_known = false;
        for destination in names {
            let offer = Key { outcome: withdrawal.answers, destination };
            is_known |= self.deliveries.contains_key(&offer);
            self.withdraw(&offer, withdrawal, shard, order, now);
        }
        if !is_known {
            // The offer may be of another partition, which is read later: it was the customer's when still anonymous.
            if self.early.len() >= EARLY {
                self.early.retain(|_, until| *until > now);
            }
            if self.early.len() < EARLY {
                self.early.insert(withdrawal.answers, now + REMEMBERED);
            }
        }
    }

    fn withdraw(&mut self, offer: &Key, withdrawal: &Withdrawal, shard: ShardId, order: u64, now: Timestamp) {
        let Some(delivery) = self.deliveries.get_mut(offer) else { return };
        if delivery.withdrawn_by.is_some_and(|by| by != withdrawal.id) {
            return;
        }
        delivery.withdrawn_by = Some(withdrawal.id);
        let may_be_out = delivery.may_have_arrived;
        match delivery.state {
            // Where it is on its way, the answer ends it; meanwhile nothing of it is tried again.
            State::Pending if !delivery.in_flight => self.end(offer, State::Withdrawn, now),
            State::Pending | State::Sent | State::Failed(_) | State::Expired | State::Withdrawn => {
                self.actions.push(Action::Keep(offer.clone()));
            }
        }
        let key = Key { outcome: withdrawal.id, destination: Arc::clone(&offer.destination) };
        let is_wanted = self.lanes.get(&offer.destination).is_some_and(|lane| lane.limits.withdrawals);
        if !is_wanted || !may_be_out || self.deliveries.contains_key(&key) {
            return;
        }
        self.deliveries.insert(key.clone(), Delivery::of_withdrawal(withdrawal, shard, order, now));
        self.enqueue(&key, now);
    }

    /// What came of a `Send`; `captured` is what of the answers is needed later (the id of a conversation, say).
    pub fn replied(&mut self, key: &Key, reply: Reply, captured: BTreeMap<String, String>, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&key.destination) else { return };
        // Of a shard that is no longer ours, only the lane learns.
        let was_on = !lane.is_off();
        lane.replied(&reply, now);
        if was_on && lane.is_off() {
            self.actions.push(Action::SwitchedOff { destination: Arc::clone(&key.destination) });
        }
        let Some(delivery) = self.deliveries.get_mut(key).filter(|delivery| delivery.in_flight) else {
            self.switch_off(&key.destination, now);
            return;
        };
        delivery.in_flight = false;
        delivery.may_have_arrived = delivery.reached_before || reply.may_have_arrived();
        delivery.reached_before = delivery.may_have_arrived;
        delivery.reply = reply.in_words().map(str::to_owned);
        delivery.captured.extend(captured);
        let next = match reply {
            Reply::Accepted => Next::End(State::Sent),
            Reply::Unusable { .. } => Next::End(State::Failed(Why::Unusable)),
            Reply::Gone => Next::End(State::Failed(Why::Gone)),
            Reply::Refused { .. } | Reply::Unclear { .. } | Reply::Slow { .. } if delivery.withdrawn_by.is_some() => {
                Next::End(State::Withdrawn)
            }
            Reply::Refused { .. } | Reply::Unclear { .. } | Reply::Slow { .. } => {
                match schedule::next_try(delivery, key, now) {
                    Some(at) => Next::Again(at),
                    None => Next::End(State::Failed(Why::Tries)),
                }
            }
        };
        match next {
            Next::Again(at) => {
                delivery.next_at = at;
                if let Some(lane) = self.lanes.get_mut(&key.destination) {
                    lane.push_again(key, delivery);
                }
                self.actions.push(Action::Keep(key.clone()));
            }
            Next::End(state) => {
                let unneeded = delivery.withdrawn_by.filter(|_| !delivery.may_have_arrived);
                self.end(key, state, now);
                if let Some(withdrawal) = unneeded {
                    // The offer did not arrive, so there is nothing to take back.
                    self.end(&Key { outcome: withdrawal, ..key.clone() }, State::Withdrawn, now);
                }
            }
        }
        self.switch_off(&key.destination, now);
    }

    /// Ends all that waits for a destination that wants nothing more.
    fn switch_off(&mut self, destination: &Arc<str>, now: Timestamp) {
        let Some(lane) = self.lanes.get(destination).filter(|lane| lane.is_off()) else { return };
        for key in lane.waiting_keys() {
            self.end(&key, State::Failed(Why::Gone), now);
        }
    }

    /// Ends a delivery, takes it from its lane and says what follows.
    fn end(&mut self, key: &Key, state: State, now: Timestamp) {
        let Some(delivery) = self.deliveries.get_mut(key) else { return };
        if let Some(lane) = self.lanes.get_mut(&key.destination) {
            lane.remove(key, delivery);
        }
        delivery.state = state;
        delivery.in_flight = false;
        if let What::Offer { expires_at } = delivery.what {
            self.expiring.remove(&(expires_at, key.clone()));
        }
        let known_until = match delivery.what {
            What::Offer { expires_at } => expires_at.max(now) + REMEMBERED,
            What::Withdrawal { .. } => now + REMEMBERED,
        };
        delivery.known_until = Some(known_until);
        self.forgotten.insert((known_until, key.clone()));
        self.actions.push(Action::Ended(key.clone()));
        self.actions.push(Action::Keep(key.clone()));
    }

    /// Lets time pass: ends what has expired, forgets what is over, and hands out what can be sent.
    pub fn wake(&mut self, now: Timestamp) {
        // What has just ended is looked at by the shell first.
        let nothing_ended = self.actions.is_empty();
        self.expire(now);
        while let Some((at, key)) = self.forgotten.first().cloned().filter(|(at, _)| nothing_ended && *at <= now) {
            self.forgotten.remove(&(at, key.clone()));
            if let Some(delivery) = self.deliveries.remove(&key) {
                self.actions.push(Action::Forget(key, delivery.shard));
            }
        }
        for lane in self.lanes.values_mut() {
            while let Some(key) = lane.next(now) {
                let Some(delivery) = self.deliveries.get_mut(&key) else { continue };
                delivery.in_flight = true;
                delivery.tries += 1;
                // Before the request begins, since a process that is killed then cannot say.
                delivery.may_have_arrived = true;
                self.actions.push(Action::Keep(key.clone()));
                self.actions.push(Action::Send { until: delivery.expires_at(), key });
            }
        }
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.expiring.first().cloned().filter(|(at, _)| *at <= now) {
            self.expiring.remove(&(at, key.clone()));
            // What is on its way ends with its answer.
            let Some(delivery) = self.deliveries.get(&key).filter(|delivery| !delivery.in_flight) else { continue };
            let state = if delivery.tries == 0 { State::Expired } else { State::Failed(Why::Expired) };
            self.end(&key, state, now);
        }
    }

    /// When [`Lanes::wake`] has something to do, if nothing comes before.
    pub fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        let expiring = self.expiring.first().map(|(at, _)| *at);
        let forgotten = self.forgotten.first().map(|(at, _)| *at);
        let lanes = self.lanes.values().filter_map(|lane| lane.next_wakeup(now));
        expiring.into_iter().chain(forgotten).chain(lanes).min()
    }

    /// What the shell has to do, taken out.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Lets go of the record of what has ended, once all that follows is durable.
    pub fn shed(&mut self, key: &Key) {
        if let Some(delivery) = self.deliveries.get_mut(key).filter(|delivery| delivery.state != State::Pending) {
            delivery.record = None;
        }
    }

    /// Requests that are on their way.
    pub fn in_flight(&self) -> usize {
        self.lanes.values().map(Lane::flying).sum()
    }

    /// How a delivery stands.
    pub fn get(&self, key: &Key) -> Option<&Delivery> {
        self.deliveries.get(key)
    }

    /// The lanes, by destination.
    pub fn lanes(&self) -> impl Iterator<Item = (&Arc<str>, &Lane)> {
        self.lanes.iter()
    }

    /// Takes over a shard: what was kept of it, in any order.
    pub fn assigned(&mut self, kept: impl IntoIterator<Item = (Key, Delivery)>, now: Timestamp) {
        let mut kept: Vec<(Key, Delivery)> = kept.into_iter().collect();
        kept.sort_by_key(|(_, delivery)| (delivery.shard, delivery.order));
        for (key, mut delivery) in kept {
            // Whatever was on its way then: nobody knows what came of it.
            delivery.in_flight = false;
            delivery.reached_before = delivery.may_have_arrived;
            let (state, known_until, expires_at) = (delivery.state, delivery.known_until, delivery.expires_at());
            // A withdrawal that came while the offer was on its way is kept by itself, and is sent.
            let is_over = state == State::Pending && delivery.withdrawn_by.is_some();
            self.deliveries.insert(key.clone(), delivery);
            match (state, known_until) {
                (State::Pending, _) if is_over => self.end(&key, State::Withdrawn, now),
                (State::Pending, _) => {
                    if let Some(at) = expires_at {
                        self.expiring.insert((at, key.clone()));
                    }
                    self.enqueue(&key, now);
                }
                (_, Some(at)) => drop(self.forgotten.insert((at, key))),
                (_, None) => drop(self.forgotten.insert((now + REMEMBERED, key))),
            }
        }
    }

    /// A shard has gone to another process: nothing of it is ours any more.
    pub fn revoked(&mut self, shard: ShardId) {
        let gone: Vec<Key> =
            self.deliveries.iter().filter(|(_, delivery)| delivery.shard == shard).map(|(key, _)| key.clone()).collect();
        for key in gone {
            let Some(delivery) = self.deliveries.remove(&key) else { continue };
            if let Some(lane) = self.lanes.get_mut(&key.destination) {
                lane.remove(&key, &delivery);
            }
            if let Some(at) = delivery.expires_at() {
                self.expiring.remove(&(at, key.clone()));
            }
            if let Some(at) = delivery.known_until {
                self.forgotten.remove(&(at, key));
            }
        }
    }
}

enum Next {
    Again(Timestamp),
    End(State),
}

impl Reply {
    fn may_have_arrived(&self) -> bool {
        match self {
            Reply::Accepted | Reply::Unclear { .. } => true,
            Reply::Refused { .. } | Reply::Slow { .. } | Reply::Gone | Reply::Unusable { .. } => false,
        }
    }

    fn in_words(&self) -> Option<&str> {
        match self {
            Reply::Accepted => None,
            Reply::Gone => Some("410 Gone"),
            Reply::Refused { reason }
            | Reply::Unclear { reason }
            | Reply::Slow { reason, .. }
            | Reply::Unusable { reason } => Some(reason),
        }
    }

    /// The word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Reply::Accepted => "accepted",
            Reply::Refused { .. } => "refused",
            Reply::Unclear { .. } => "unclear",
            Reply::Slow { .. } => "slow",
            Reply::Gone => "gone",
            Reply::Unusable { .. } => "unusable",
        }
    }
}
