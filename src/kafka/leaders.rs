//! Where the logs of the inputs' leaders end: asked of the leaders themselves, since librdkafka knows only what a consumer may
//! read (rule 4).
//!
//! `OffsetForLeaderEpoch` says it to everybody who may describe the topic: the end of the leader's present epoch is the end of
//! its log, above the high watermark too. Each broker is asked once for all that it leads; afterwards two brokers are asked who
//! leads, so that each leader is confirmed by another. What that proves is judged by [`crate::ledger::group`].

mod fault;
mod link;
mod messages;
#[cfg(feature = "tls")]
mod scram;
mod security;
#[cfg(feature = "tls")]
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use self::fault::Fault;
use self::link::{Address, Link};
use self::messages::{
    Answer, CLUSTER_AUTHORIZATION_FAILED, Code, Metadata, TOPIC_AUTHORIZATION_FAILED, UNSUPPORTED_VERSION,
};
use self::security::Security;
use super::{Connection, client};
use crate::ledger::group::{BrokerId, Leadership, LogEnd, Partition};

/// How long a broker may take for an answer, or to be connected to.
const ANSWER: Duration = Duration::from_secs(1);
/// What has been answered before is read within so long.
const AT_HAND: Duration = Duration::from_millis(100);
/// A broker that did not answer is left alone for so long.
const AGAIN: Duration = Duration::from_millis(500);
/// One that refuses, for so long.
const REFUSED: Duration = Duration::from_secs(30);
/// Who leads, and how many replicas there are, is asked at least so often.
const LOOK: Duration = Duration::from_secs(10);
/// Of answers about who leads. Those about a hundred partitions have some five thousand bytes.
const BYTES_A_SECOND: u64 = 1_000_000;
/// However many bytes there are.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// So many brokers are asked who leads: one of them is another than the leader.
const WITNESSES: usize = 2;
/// Where a client that asks brokers listens when nobody says another port.
const PORT: u16 = 9092;

/// Asks the leaders.
pub(super) struct Leaders {
    inputs: Arc<[String]>,
    client: String,
    security: Result<Security, String>,
    /// Those that the configuration names: asked while no others are known, or none of them answers.
    first: Vec<Broker>,
    brokers: BTreeMap<BrokerId, Broker>,
    led: BTreeMap<Partition, Led>,
    /// Inputs of which brokers do not say who leads them, and why.
    hidden: BTreeMap<usize, String>,
    looked: Option<Instant>,
    asked: Vec<Asked>,
    /// Of answers about who leads, in the round that is under way.
    bytes: usize,
    /// Why something was refused last.
    refusal: Option<String>,
}

struct Broker {
    address: Address,
    link: Option<Link>,
    failed: Option<(Instant, Fault)>,
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Led {
    leader: Option<Leadership>,
    copies: Copies,
}

/// Who can hold what the leader holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    /// There is one replica.
    One,
    /// No other broker is there, and no other replica is in sync: nobody could confirm anything, and nobody else could be
    /// elected. That can change at any time.
    OneInSync,
    Several,
}

/// A question on its way: to whom, under which number, about what.
struct Asked {
    broker: BrokerId,
    number: i32,
    until: Instant,
    about: BTreeMap<Partition, Leadership>,
}

impl Leaders {
    pub(super) fn of(connection: &Connection) -> Self {
        let broker = |address| Broker { address, link: None, failed: None };
        Leaders {
            inputs: connection.inputs.as_slice().into(),
            client: client::id(connection),
            security: Security::of(&connection.properties),
            first: connection.brokers.split(',').filter_map(address).map(broker).collect(),
            brokers: BTreeMap::new(),
            led: BTreeMap::new(),
            hidden: BTreeMap::new(),
            looked: None,
            asked: Vec::new(),
            bytes: 0,
            refusal: None,
        }
    }

    /// Why leaders cannot be asked, where that was so last.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.security.as_ref().err().or(self.refusal.as_ref()).map(String::as_str)
    }

    /// For so long the next round should wait, so that the answers about topics with thousands of partitions fill no network.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_micros(self.bytes as u64 * 1_000_000 / BYTES_A_SECOND).min(LONGEST_PAUSE)
    }

    /// Asks the leaders of these partitions; [`Leaders::ends`] is to follow.
    pub(super) fn ask(&mut self, wanted: &[Partition]) {
        self.asked.clear();
        self.bytes = 0;
        if self.security.is_err() {
            return;
        }
        // What can change at any time is asked anew.
        self.led.retain(|_, led| led.copies != Copies::OneInSync);
        let known = |partition: &Partition| self.led.get(partition).is_some_and(|led| led.leader.is_some());
        if !wanted.iter().all(known) || self.looked.is_none_or(|looked| looked.elapsed() > LOOK) {
            self.look(wanted);
        }
        let mut questions: BTreeMap<BrokerId, BTreeMap<Partition, Leadership>> = BTreeMap::new();
        for partition in wanted {
            if let Some(Led { leader: Some(leader), copies: Copies::Several }) = self.led.get(partition) {
                questions.entry(leader.broker).or_default().insert(*partition, *leader);
            }
        }
        let inputs = Arc::clone(&self.inputs);
        for (broker, about) in questions {
            let until = Instant::now() + ANSWER;
            let topics = by_topic(&inputs, &about);
            let sent = self.with_link(broker, until, |link| {
                link.send(until, |number, client| messages::log_ends(number, client, &topics))
            });
            if let Some(number) = sent {
                self.asked.push(Asked { broker, number, until, about });
            }
        }
    }

    /// What the leaders said, and who leads afterwards.
    pub(super) fn ends(&mut self, wanted: &[Partition]) -> Vec<LogEnd> {
        self.refusal = None;
        let mut said: BTreeMap<Partition, LogEnd> = BTreeMap::new();
        for Asked { broker, number, until, about } in std::mem::take(&mut self.asked) {
            // Others may have taken their time meanwhile; what has come by now is not thrown away.
            let until = until.max(Instant::now() + AT_HAND);
            let answer = self.hear(broker, number, until, |answer| Ok(Answer::of(answer).log_ends()?));
            for end in answer.unwrap_or_default() {
                let Some(partition) = self.partition(&end.topic, end.number) else { continue };
                let Some(by) = about.get(&partition).copied() else { continue };
                let log = match end.code {
                    messages::NONE if end.epoch == by.epoch && end.offset >= 0 => {
                        LogEnd::Said { by, offset: end.offset, afterwards: Vec::new() }
                    }
                    messages::NONE => self.refuse("its leader does not know where its own epoch ends".to_owned()),
                    code if is_refusal(code) => self.refuse(format!("its leader may not say it (error {code})")),
                    _ => {
                        // It leads no more, or in another epoch; a topic that was made anew counts from the beginning.
                        self.led.remove(&partition);
                        LogEnd::Unknown
                    }
                };
                said.insert(partition, log);
            }
        }
        self.confirm(wanted, &mut said);
        wanted.iter().map(|partition| said.remove(partition).unwrap_or_else(|| self.unsaid(*partition))).collect()
    }

    /// Of what no leader has said anything.
    fn unsaid(&mut self, partition: Partition) -> LogEnd {
        if self.security.is_err() {
            return LogEnd::Refused;
        }
        if let Some(reason) = self.hidden.get(&partition.0).cloned() {
            return self.refuse(reason);
        }
        match self.led.get(&partition) {
            Some(Led { copies: Copies::One | Copies::OneInSync, .. }) => LogEnd::OneReplica,
            Some(Led { leader: Some(leader), copies: Copies::Several }) => {
                match self.brokers.get(&leader.broker).and_then(|broker| broker.failed.clone()) {
                    Some((_, Fault::Refused(reason))) => self.refuse(reason),
                    Some((_, Fault::Passing(_))) | None => LogEnd::Unknown,
                }
            }
            Some(Led { leader: None, copies: Copies::Several }) => LogEnd::Unknown,
            // Nobody has ever said who leads it: as long as they all refuse to speak, there is nothing to wait for.
            None => match self.all_refuse() {
                Some(reason) => self.refuse(reason),
                None => LogEnd::Unknown,
            },
        }
    }

    fn refuse(&mut self, reason: String) -> LogEnd {
        self.refusal = Some(reason);
        LogEnd::Refused
    }

    fn all_refuse(&self) -> Option<String> {
        let mut words = None;
        for broker in self.first.iter().chain(self.brokers.values()) {
            match &broker.failed {
                Some((_, Fault::Refused(reason))) => words = Some(reason.clone()),
                Some((_, Fault::Passing(_))) | None => return None,
            }
        }
        words
    }

    /// Asks brokers who leads, and adds what they say to what the leaders have said.
    fn confirm(&mut self, wanted: &[Partition], said: &mut BTreeMap<Partition, LogEnd>) {
        let several = |partition: &&Partition| self.led.get(partition).is_some_and(|led| led.copies == Copies::Several);
        let topics: BTreeSet<usize> = wanted.iter().filter(several).map(|(input, _)| *input).collect();
        if topics.is_empty() || self.security.is_err() {
            return;
        }
        let until = Instant::now() + ANSWER;
        let mut asked = Vec::new();
        let inputs = Arc::clone(&self.inputs);
        let names = named(&inputs, &topics);
        for broker in self.witnesses() {
            let sent = self.with_link(broker, until, |link| {
                link.send(until, |number, client| messages::metadata(number, client, &names))
            });
            asked.extend(sent.map(|number| (broker, number)));
        }
        let mut seen = Vec::new();
        for (broker, number) in asked {
            let answer = self.hear(broker, number, until, |answer| Ok((answer.len(), Answer::of(answer).metadata()?)));
            self.bytes += answer.as_ref().map_or(0, |(bytes, _)| *bytes);
            seen.extend(answer.map(|(_, metadata)| (broker, metadata)));
        }
        for (broker, metadata) in seen {
            for led in &metadata.partitions {
                let end = self.partition(&led.topic, led.number).and_then(|partition| said.get_mut(&partition));
                if let (Some(LogEnd::Said { afterwards, .. }), Some(leader)) = (end, led.leader) {
                    afterwards.push((broker, leader));
                }
            }
            self.learn(metadata);
        }
    }

    /// Those that are asked who leads: none that has just failed, first of all those that have a connection.
    fn witnesses(&self) -> Vec<BrokerId> {
        let usable = self.brokers.iter().filter(|(_, broker)| !broker.rests());
        let mut usable: Vec<(bool, BrokerId)> = usable.map(|(id, broker)| (broker.link.is_none(), *id)).collect();
        usable.sort_unstable();
        usable.into_iter().map(|(_, id)| id).take(WITNESSES).collect()
    }

    /// Asks any broker who leads, until one answers.
    fn look(&mut self, wanted: &[Partition]) {
        let inputs = Arc::clone(&self.inputs);
        let names = named(&inputs, &wanted.iter().map(|(input, _)| *input).collect());
        let mut candidates: Vec<BrokerId> = self.witnesses();
        let rest: Vec<BrokerId> = self.brokers.keys().copied().filter(|id| !candidates.contains(id)).collect();
        candidates.extend(rest);
        // The first ones have no numbers: below zero stands their place.
        candidates.extend((0..self.first.len()).map(|place| -1 - place as BrokerId));
        for broker in candidates {
            let until = Instant::now() + ANSWER;
            let answer = self.with_link(broker, until, |link| {
                let answer = link.ask(until, |number, client| messages::metadata(number, client, &names))?;
                Ok(Answer::of(&answer).metadata()?)
            });
            if let Some(metadata) = answer {
                self.looked = Some(Instant::now());
                return self.learn(metadata);
            }
        }
    }

    /// Takes over what a broker says of the others, unless it is older than what is known.
    fn learn(&mut self, metadata: Metadata) {
        let Metadata { brokers, partitions, refused } = metadata;
        let alone = brokers.len() == 1;
        self.brokers.retain(|id, broker| brokers.iter().any(|(known, address)| known == id && *address == broker.address));
        for (id, address) in brokers {
            self.brokers.entry(id).or_insert(Broker { address, link: None, failed: None });
        }
        for (topic, code) in refused {
            if let Some(input) = self.inputs.iter().position(|input| *input == topic).filter(|_| is_refusal(code)) {
                self.hidden.insert(input, format!("no broker says who leads {topic} (error {code})"));
            }
        }
        for led in partitions {
            let Some(partition) = self.partition(&led.topic, led.number) else { continue };
            self.hidden.remove(&partition.0);
            let copies = match (led.replicas, led.in_sync) {
                (0 | 1, _) => Copies::One,
                (_, 0 | 1) if alone => Copies::OneInSync,
                _ => Copies::Several,
            };
            let known = self.led.get(&partition).and_then(|known| known.leader).map_or(-1, |leader| leader.epoch);
            if led.leader.is_none_or(|leader| leader.epoch >= known) {
                self.led.insert(partition, Led { leader: led.leader, copies });
            }
        }
    }

    /// A partition by its names.
    fn partition(&self, topic: &str, number: i32) -> Option<Partition> {
        Some((self.inputs.iter().position(|input| input == topic)?, u32::try_from(number).ok()?))
    }

    /// Uses the connection to a broker, made anew where there is none; a fault ends it.
    fn with_link<T>(
        &mut self,
        id: BrokerId,
        until: Instant,
        use_it: impl FnOnce(&mut Link) -> Result<T, Fault>,
    ) -> Option<T> {
        let broker = match usize::try_from(-1 - id) {
            Ok(place) => self.first.get_mut(place),
            Err(_) => self.brokers.get_mut(&id),
        };
        let broker = broker.filter(|broker| !broker.rests())?;
        let used = broker.link(self.security.as_ref().ok()?, &self.client, until).and_then(use_it);
        broker.judged(id, used)
    }

    /// Reads the answer to what a broker was asked under this number.
    fn hear<T>(
        &mut self,
        id: BrokerId,
        number: i32,
        until: Instant,
        read: impl FnOnce(&[u8]) -> Result<T, Fault>,
    ) -> Option<T> {
        let broker = self.brokers.get_mut(&id)?;
        let heard = broker.link.as_mut()?.receive(number, until).and_then(|answer| read(&answer));
        broker.judged(id, heard)
    }
}

impl Broker {
    /// Remembers whether the broker said what it was asked; a fault ends the connection.
    fn judged<T>(&mut self, id: BrokerId, said: Result<T, Fault>) -> Option<T> {
        match said {
            Ok(said) => {
                self.failed = None;
                Some(said)
            }
            Err(fault) => {
                let (host, port) = &self.address;
                debug!(broker = id, host, port, reason = fault.words(), "a broker does not say what it is asked");
                (self.link, self.failed) = (None, Some((Instant::now(), fault)));
                None
            }
        }
    }

    /// Whether it is to be left alone for now.
    fn rests(&self) -> bool {
        self.failed.as_ref().is_some_and(|(at, fault)| {
            at.elapsed()
                < match fault {
                    Fault::Passing(_) => AGAIN,
                    Fault::Refused(_) => REFUSED,
                }
        })
    }

    fn link(&mut self, security: &Security, client: &str, until: Instant) -> Result<&mut Link, Fault> {
        let link = match self.link.take().filter(Link::is_good) {
            Some(link) => link,
            None => Link::open(&self.address, security, client, until)?,
        };
        Ok(self.link.insert(link))
    }
}

fn is_refusal(code: Code) -> bool {
    [TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED, UNSUPPORTED_VERSION].contains(&code)
}

/// The names of these inputs.
fn named<'a>(inputs: &'a [String], which: &BTreeSet<usize>) -> Vec<&'a str> {
    which.iter().filter_map(|input| Some(inputs.get(*input)?.as_str())).collect()
}

/// By topic: partition and epoch.
fn by_topic<'a>(inputs: &'a [String], about: &BTreeMap<Partition, Leadership>) -> Vec<(&'a str, Vec<(i32, i32)>)> {
    let mut topics: BTreeMap<usize, Vec<(i32, i32)>> = BTreeMap::new();
    for ((input, shard), leader) in about {
        topics.entry(*input).or_default().push((*shard as i32, leader.epoch));
    }
    topics.into_iter().filter_map(|(input, partitions)| Some((inputs.get(input)?.as_str(), partitions))).collect()
}

/// `host`, `host:port`, `protocol://host:port`, as librdkafka takes it.
fn address(text: &str) -> Option<Address> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests;
