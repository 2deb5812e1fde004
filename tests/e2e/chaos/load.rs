//! The load: shoppers who come again and again, in an oracle's time that runs at a third of the real pace.
//!
//! The oracle knows the spans of `shop.yaml` (10 s to 15 s) by heart; the workers run `slow-shop.yaml`, where every span is
//! three times as long. So an instant of the oracle's is three times as much in real milliseconds. In its time, a customer
//! comes in bursts of at most 1.5 s that begin 25 s apart, so every touchpoint keeps 8.5 s away from every deadline: 25.5 s
//! of real time. Within a burst all touchpoints go to one topic, since two topics need not take the same time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::harness::{clients, now_millis};
use crate::oracle::{self, Act, Told};
use crate::shopper::{Customer, Dice, Shopper, encode};

/// Real milliseconds of one of the oracle's.
pub(crate) const SLOWNESS: i64 = 3;
/// Oracle's milliseconds, as all times here that are not said to be real.
const BURST: i64 = 1_500;
const BETWEEN_BURSTS: i64 = 25_000;
const SHORTEST_SPAN: i64 = 10_000;
const LONGEST_SPAN: i64 = 15_000;
/// Everything has been decided so long after the last touchpoint.
const ALL_PASSED: i64 = LONGEST_SPAN + 100;

/// Real milliseconds after the load at which the last deadline passes.
pub(crate) const TAIL: i64 = ALL_PASSED * SLOWNESS;
/// Real milliseconds that lie between any touchpoint and any deadline.
pub(crate) const KEPT_AWAY: i64 = SLOWNESS
    * if SHORTEST_SPAN - BURST < BETWEEN_BURSTS - BURST - LONGEST_SPAN {
        SHORTEST_SPAN - BURST
    } else {
        BETWEEN_BURSTS - BURST - LONGEST_SPAN
    };

/// Who comes, and when.
pub(crate) struct Population {
    seed: u64,
    length: i64,
    bursts: (i64, i64),
    /// By number: when the customer comes first.
    arrivals: Vec<i64>,
    pub touchpoints: usize,
}

impl Population {
    /// At least so many touchpoints within real milliseconds, of customers who come so many times.
    pub(crate) fn of(seed: u64, touchpoints: usize, millis: i64, bursts: (i64, i64)) -> Population {
        let mut population = Population { seed, length: millis / SLOWNESS, bursts, arrivals: Vec::new(), touchpoints: 0 };
        while population.touchpoints < touchpoints {
            let customer = population.customer(population.arrivals.len());
            population.arrivals.push(customer.acts[0].1.at);
            population.touchpoints += customer.acts.len();
        }
        population
    }

    pub(crate) fn customers(&self) -> usize {
        self.arrivals.len()
    }

    /// The same customer for the same number.
    pub(crate) fn customer(&self, number: usize) -> Customer {
        let mut dice = Dice(self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(number as u64));
        let id = format!("c{number}");
        let mut shopper = Shopper::new(&id);
        let bursts = dice.between(self.bursts.0, self.bursts.1);
        let arrival = dice.between(0, self.length - (bursts - 1) * BETWEEN_BURSTS - BURST);
        let mut acts = Vec::new();
        for burst in 0..bursts {
            let begin = arrival + burst * BETWEEN_BURSTS;
            let session = dice.percent(60).then(|| format!("{id}-s{burst}"));
            let topic = dice.below(2) as usize;
            let mut at = begin;
            for _ in 0..dice.between(2, 24) {
                let count = acts.len();
                acts.push((
                    topic,
                    Act { at, id: format!("{id}-{count}"), session: session.clone(), ..shopper.act(&mut dice) },
                ));
                at += dice.between(14, 130);
                if at > begin + BURST {
                    break;
                }
            }
        }
        Customer { id, anonymous: number % 10 == 9, acts }
    }

    /// What must be told about a customer, in real time, for a load that begins at a real instant.
    pub(crate) fn expected(&self, customer: &Customer, begin: i64) -> Vec<Told> {
        let acts: Vec<Act> =
            customer.acts.iter().map(|(_, act)| Act { at: begin / SLOWNESS + act.at, ..act.clone() }).collect();
        let end = begin / SLOWNESS + self.length + ALL_PASSED;
        let real = |told: Told| Told {
            at: told.at * SLOWNESS,
            time_in_stage: told.time_in_stage.map(|span| span * SLOWNESS),
            opened_at: told.opened_at.map(|at| at * SLOWNESS),
            last_progress_at: told.last_progress_at.map(|at| at * SLOWNESS),
            answers: told.answers.map(|at| at * SLOWNESS),
            ..told
        };
        oracle::judge(&acts, end).into_iter().map(real).collect()
    }

    /// All touchpoints in order of time, with the customers who do them. Only those who are about are in memory.
    fn stream(&self) -> Stream<'_> {
        let mut to_come: Vec<(i64, usize)> = self.arrivals.iter().copied().zip(0..).collect();
        to_come.sort_unstable_by_key(|arrival| Reverse(*arrival));
        Stream { population: self, to_come, next: BinaryHeap::new(), about: HashMap::new() }
    }
}

struct Stream<'a> {
    population: &'a Population,
    /// Latest first.
    to_come: Vec<(i64, usize)>,
    /// When, who, and which of his or her touchpoints.
    next: BinaryHeap<Reverse<(i64, usize, usize)>>,
    about: HashMap<usize, Customer>,
}

impl Stream<'_> {
    /// Gives the next touchpoint to `write`: its topic, its time, the customer and the touchpoint. `false` when there is none.
    fn step(&mut self, write: impl FnOnce(usize, i64, &Customer, &Act)) -> bool {
        while let Some((at, number)) = self.to_come.last().copied()
            && self.next.peek().is_none_or(|Reverse((next, ..))| at <= *next)
        {
            self.to_come.pop();
            self.about.insert(number, self.population.customer(number));
            self.next.push(Reverse((at, number, 0)));
        }
        let Some(Reverse((at, number, place))) = self.next.pop() else { return false };
        let customer = &self.about[&number];
        let (topic, act) = &customer.acts[place];
        write(*topic, at, customer, act);
        match customer.acts.get(place + 1) {
            Some((_, later)) => self.next.push(Reverse((later.at, number, place + 1))),
            None => drop(self.about.remove(&number)),
        }
        true
    }
}

/// How writing went.
#[derive(Default)]
pub(crate) struct Acknowledged {
    begin: AtomicI64,
    /// Longest real time from when a touchpoint happened until the brokers had it.
    worst: AtomicI64,
    failed: AtomicUsize,
    pub written: AtomicUsize,
}

impl Acknowledged {
    pub(crate) fn worst(&self) -> Duration {
        Duration::from_millis(self.worst.load(Ordering::Acquire).unsigned_abs())
    }
}

struct Notes(Arc<Acknowledged>);

impl ClientContext for Notes {}

impl ProducerContext for Notes {
    /// Real milliseconds from the beginning.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::AcqRel);
        }
        let took = now_millis() - self.0.begin.load(Ordering::Acquire) - due as i64;
        self.0.worst.fetch_max(took, Ordering::AcqRel);
    }
}

fn producer(brokers: &str, notes: &Arc<Acknowledged>) -> ThreadedProducer<Notes> {
    let mut config = clients::config(brokers);
    config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", "10");
    config.set("queue.buffering.max.messages", "1000000").set("compression.type", "lz4");
    config.set("reconnect.backoff.max.ms", "500").set("log_level", "0");
    config.create_with_context(Notes(Arc::clone(notes))).expect("a producer")
}

/// Who writes and hears what became of it, whatever happens to brokers.
pub(crate) struct Writer {
    producer: ThreadedProducer<Notes>,
    notes: Arc<Acknowledged>,
}

impl Writer {
    pub(crate) fn to(brokers: &str) -> Writer {
        let notes = Arc::new(Acknowledged::default());
        Writer { producer: producer(brokers, &notes), notes }
    }

    pub(crate) fn send(&self, topic: &str, key: &str, value: &[u8]) {
        self.producer.send(BaseRecord::with_opaque_to(topic, 0).key(key).payload(value)).expect("there is room");
    }

    pub(crate) fn finish(self) {
        finish(&self.producer, &self.notes);
    }
}

fn finish(producer: &ThreadedProducer<Notes>, notes: &Acknowledged) {
    producer.flush(Duration::from_secs(60)).expect("everything is acknowledged");
    assert_eq!(notes.failed.load(Ordering::Acquire), 0, "touchpoints that the brokers did not take");
}

/// Writes every touchpoint when its time has come, whatever becomes of the workers; ends early when told to stop.
pub(crate) fn write(
    population: &Population,
    brokers: &str,
    topics: &[String],
    begin: i64,
    notes: &Arc<Acknowledged>,
    stop: &AtomicBool,
) {
    notes.begin.store(begin, Ordering::Release);
    let producer = producer(brokers, notes);
    let mut stream = population.stream();
    let write = |topic: usize, at: i64, customer: &Customer, act: &Act| {
        let due = at * SLOWNESS;
        // Time has come only when this clock says so; a sleep may be short.
        while let early @ 1.. = begin + due - now_millis() {
            std::thread::sleep(Duration::from_millis(early.unsigned_abs()));
        }
        let value = encode(customer, &Act { at: due, ..act.clone() }, begin);
        let mut record = BaseRecord::with_opaque_to(&topics[topic], due as usize).key(customer.id.as_str()).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "cannot write");
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        notes.written.fetch_add(1, Ordering::AcqRel);
    };
    while !stop.load(Ordering::Acquire) && stream.step(write) {}
    finish(&producer, notes);
}

/// The load keeps what its answers rely on.
#[test]
fn every_touchpoint_keeps_away_from_every_deadline() {
    let population = Population::of(7, 30_000, 400_000, (1, 5));
    for number in 0..population.customers() {
        let customer = population.customer(number);
        let times: Vec<i64> = customer.acts.iter().map(|(_, act)| act.at).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{}: in order", customer.id);
        for (place, later) in times.iter().enumerate() {
            for earlier in &times[..place] {
                for deadline in [10_000, 12_000, 15_000].map(|span| earlier + span) {
                    let away = (later - deadline).abs() * SLOWNESS;
                    assert!(away >= KEPT_AWAY, "{}: {later} is close to {deadline}", customer.id);
                }
            }
        }
    }
    let mut last = 0;
    let mut count = 0;
    let mut stream = population.stream();
    while stream.step(|_, at, _, act| {
        assert!(at == act.at && at >= last, "the stream is in order");
        last = at;
        count += 1;
    }) {}
    assert_eq!(count, population.touchpoints, "the stream is whole");
}
