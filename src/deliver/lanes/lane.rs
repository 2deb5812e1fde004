//! The lane to one destination: the order of each customer, how much is sent at once and in a second, and when not to try.
//!
//! Knows of a delivery only whose it is and when it may be tried.

use std::collections::{BTreeSet, HashMap, VecDeque};

use compact_str::CompactString;

use super::Reply;
use super::delivery::{Delivery, Key, What};
use crate::deliver::notice::Offer;
use crate::time::{Span, Timestamp};

/// After so many failures in a row the destination is left alone for a while.
const FAILURES: u32 = 5;
/// For so long at first; each time that the one try after it fails too, for twice as long.
const BREAK: Span = Span::from_secs(2);
/// And at most this.
const LONGEST_BREAK: Span = Span::from_secs(60);
/// A receiver that asks for time and does not say how much.
const SLOWED: Span = Span::from_secs(5);
/// No receiver makes us wait longer.
const LONGEST_SLOWED: Span = Span::from_secs(3_600);
/// Thousandths of a request.
const TOKEN: i64 = 1_000;

/// What one destination gets, and how fast.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Channels that it serves; without any, all.
    pub channels: Vec<String>,
    /// Interventions that it serves (`model/name`); without any, all.
    pub interventions: Vec<String>,
    /// Whether it is told of withdrawals.
    pub withdrawals: bool,
    /// Requests at once.
    pub at_once: usize,
    /// Requests a second.
    pub rate: u32,
    /// Requests that may come at once after silence.
    pub burst: u32,
    /// Deliveries that may wait.
    pub waiting: usize,
}

impl Limits {
    /// Whether an offer goes to this destination.
    pub fn wants(&self, offer: &Offer) -> bool {
        let among = |list: &[String], name: &str| list.is_empty() || list.iter().any(|known| known == name);
        among(&self.channels, &offer.channel) && among(&self.interventions, &offer.intervention)
    }
}

/// Whose a delivery is: whether the id is anonymous, and the id.
type Customer = (bool, CompactString);

/// What one customer waits for.
#[derive(Debug, Default)]
struct Queue {
    /// The next one first, each with when it may be tried.
    waiting: VecDeque<(Key, Timestamp)>,
    /// What is on its way; meanwhile nothing else of this customer is.
    flying: Option<Key>,
    /// Where it stands among what is ready.
    ready: Option<(Timestamp, u64)>,
}

/// The lane to one destination.
#[derive(Debug)]
pub struct Lane {
    /// What the destination gets, and how fast.
    pub limits: Limits,
    queues: HashMap<Customer, Queue>,
    /// Customers of whom something can be tried, by when; those that came first are first.
    ready: BTreeSet<(Timestamp, u64, Customer)>,
    turn: u64,
    waiting: usize,
    flying: usize,
    /// In a row.
    failures: u32,
    /// Nothing is tried before.
    closed_until: Option<Timestamp>,
    next_break: Span,
    /// Thousandths of requests that may be made, and when they were counted.
    tokens: i64,
    counted: Option<Timestamp>,
    off: bool,
}

impl Lane {
    pub(super) fn new(limits: Limits) -> Self {
        Lane {
            tokens: i64::from(limits.burst) * TOKEN,
            limits,
            queues: HashMap::new(),
            ready: BTreeSet::new(),
            turn: 0,
            waiting: 0,
            flying: 0,
            failures: 0,
            closed_until: None,
            next_break: BREAK,
            counted: None,
            off: false,
        }
    }

    /// Whether the receiver wants nothing more.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Whether it is left alone for a while, since it fails or asks for time.
    pub fn is_closed(&self, now: Timestamp) -> bool {
        self.closed_until.is_some_and(|until| until > now)
    }

    /// Deliveries that wait or are on their way.
    pub fn pending(&self) -> usize {
        self.waiting + self.flying
    }

    /// Deliveries that are on their way.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting < self.limits.waiting
    }

    /// Behind what its customer waits for; a withdrawal before it, since it is about what has been sent.
    pub(super) fn push(&mut self, key: &Key, delivery: &Delivery) {
        let customer = customer(delivery);
        let queue = self.queues.entry(customer.clone()).or_default();
        match delivery.what {
            What::Offer { .. } => queue.waiting.push_back((key.clone(), delivery.next_at)),
            What::Withdrawal { .. } => queue.waiting.push_front((key.clone(), delivery.next_at)),
        }
        self.waiting += 1;
        self.settle(customer);
    }

    /// What was on its way, before all else of its customer.
    pub(super) fn push_again(&mut self, key: &Key, delivery: &Delivery) {
        let customer = customer(delivery);
        let queue = self.queues.entry(customer.clone()).or_default();
        if queue.flying.as_ref() == Some(key) {
            queue.flying = None;
            self.flying -= 1;
        }
        queue.waiting.push_front((key.clone(), delivery.next_at));
        self.waiting += 1;
        self.settle(customer);
    }

    /// Takes a delivery out, wherever it is.
    pub(super) fn remove(&mut self, key: &Key, delivery: &Delivery) {
        let customer = customer(delivery);
        let Some(queue) = self.queues.get_mut(&customer) else { return };
        if queue.flying.as_ref() == Some(key) {
            queue.flying = None;
            self.flying -= 1;
        }
        let before = queue.waiting.len();
        queue.waiting.retain(|(known, _)| known != key);
        self.waiting -= before - queue.waiting.len();
        self.settle(customer);
    }

    /// Puts a customer where the first of their deliveries belongs, or nowhere.
    fn settle(&mut self, customer: Customer) {
        let Some(queue) = self.queues.get_mut(&customer) else { return };
        if let Some((at, turn)) = queue.ready.take() {
            self.ready.remove(&(at, turn, customer.clone()));
        }
        match (queue.waiting.front(), &queue.flying) {
            (Some((_, at)), None) => {
                self.turn += 1;
                queue.ready = Some((*at, self.turn));
                self.ready.insert((*at, self.turn, customer));
            }
            (Some(_), Some(_)) | (None, Some(_)) => {}
            (None, None) => drop(self.queues.remove(&customer)),
        }
    }

    /// What can be sent now, which is on its way from then on.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Key> {
        self.refill(now);
        if self.off || self.is_closed(now) || self.flying >= self.at_once() || self.tokens < TOKEN {
            return None;
        }
        let (_, _, customer) = self.ready.first().filter(|(at, _, _)| *at <= now)?.clone();
        let queue = self.queues.get_mut(&customer)?;
        let (key, _) = queue.waiting.pop_front()?;
        queue.flying = Some(key.clone());
        self.waiting -= 1;
        self.flying += 1;
        self.tokens -= TOKEN;
        self.settle(customer);
        Some(key)
    }

    /// One try at a time, where the last ones failed.
    fn at_once(&self) -> usize {
        if self.failures >= FAILURES { 1 } else { self.limits.at_once }
    }

    fn refill(&mut self, now: Timestamp) {
        let most = i64::from(self.limits.burst) * TOKEN;
        let passed = self.counted.map_or(0, |counted| now.since(counted).as_millis().clamp(0, most));
        self.counted = Some(now);
        // A request a second is a thousandth of one a millisecond.
        self.tokens = (self.tokens + passed.saturating_mul(i64::from(self.limits.rate))).min(most);
    }

    /// When something can be sent, as far as time decides it.
    pub(super) fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        let (at, _, _) = self.ready.first().filter(|_| !self.off && self.flying < self.at_once())?;
        let missing = (TOKEN - self.tokens).max(0);
        let token =
            now + Span::from_millis((missing + i64::from(self.limits.rate) - 1) / i64::from(self.limits.rate.max(1)));
        Some((*at).max(self.closed_until.unwrap_or(*at)).max(token))
    }

    /// What a try says about the receiver.
    pub(super) fn replied(&mut self, reply: &Reply, now: Timestamp) {
        match reply {
            Reply::Accepted => {
                self.failures = 0;
                self.next_break = BREAK;
            }
            Reply::Unusable { .. } => {}
            Reply::Gone => self.off = true,
            Reply::Slow { after, .. } => {
                let pause = after.unwrap_or(SLOWED).clamp(Span::from_secs(1), LONGEST_SLOWED);
                self.close(now + pause);
            }
            Reply::Refused { .. } | Reply::Unclear { .. } => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES {
                    self.close(now + self.next_break);
                    self.next_break = Span::from_millis((2 * self.next_break.as_millis()).min(LONGEST_BREAK.as_millis()));
                }
            }
        }
    }

    fn close(&mut self, until: Timestamp) {
        self.closed_until = Some(self.closed_until.map_or(until, |closed| closed.max(until)));
    }

    /// What waits here and is not on its way.
    pub(super) fn waiting_keys(&self) -> Vec<Key> {
        self.queues.values().flat_map(|queue| queue.waiting.iter().map(|(key, _)| key.clone())).collect()
    }
}

fn customer(delivery: &Delivery) -> Customer {
    (delivery.anonymous, delivery.customer.clone())
}
