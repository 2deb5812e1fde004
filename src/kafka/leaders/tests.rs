//! Against brokers that are played: each answers as it is told to, or not at all.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::kafka::{Protocol, Start};
use crate::memory::Budget;
use crate::wire::Format;

/// What a broker says: of who leads partition 0, and of the end of its log.
#[derive(Clone, Debug)]
struct Part {
    leader: Leadership,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    /// Code, epoch and offset.
    end: (i16, i32, i64),
    /// Whether it says anything.
    speaks: bool,
    /// The latest version of `OffsetForLeaderEpoch` that it understands.
    version: i16,
}

impl Part {
    /// Broker 1 leads in epoch 7, and its log ends at 15.
    fn of_a_follower() -> Self {
        let leader = Leadership { broker: 1, epoch: 7 };
        Part { leader, replicas: vec![1, 2], in_sync: vec![1, 2], end: (6, -1, -1), speaks: true, version: 4 }
    }

    fn of_the_leader() -> Self {
        Part { end: (0, 7, 15), ..Part::of_a_follower() }
    }
}

struct Played {
    parts: Vec<Arc<Mutex<Part>>>,
    ports: Vec<u16>,
}

impl Played {
    /// Brokers 1, 2, ….
    fn start(parts: Vec<Part>) -> Self {
        let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let listeners: Vec<TcpListener> = parts.iter().map(listen).collect();
        let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let ports: Vec<u16> = listeners.iter().map(port).collect();
        let parts: Vec<Arc<Mutex<Part>>> = parts.into_iter().map(|part| Arc::new(Mutex::new(part))).collect();
        for (listener, part) in listeners.into_iter().zip(&parts) {
            let (part, ports) = (Arc::clone(part), ports.clone());
            thread(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (part, ports) = (Arc::clone(&part), ports.clone());
                    thread(move || serve(stream, &part, &ports));
                }
            });
        }
        Played { parts, ports }
    }

    fn leaders(&self) -> Leaders {
        let connection = Connection {
            brokers: format!("127.0.0.1:{}", self.ports[0]),
            group: "shop".to_owned(),
            instance: "one".to_owned(),
            protocol: Protocol::Classic,
            inputs: vec!["in".to_owned()],
            output: "out".to_owned(),
            format: Format::Json,
            start: Start::Earliest,
            properties: BTreeMap::new(),
            buffered_records: 1,
            settle: None,
            memory: Budget { bytes: 512 << 20, workers: 1 },
        };
        Leaders::of(&connection)
    }

    fn change(&self, broker: usize, change: impl FnOnce(&mut Part)) {
        change(&mut self.parts[broker - 1].lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn thread(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("played".to_owned()).spawn(run).expect("a thread");
}

/// Answers until the connection ends.
fn serve(mut stream: TcpStream, part: &Mutex<Part>, ports: &[u16]) {
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).expect("a request");
        let part = part.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !part.speaks {
            continue;
        }
        let mut answer = request[4..8].to_vec();
        answer.extend(match i16::from_be_bytes([request[0], request[1]]) {
            18 => shorts(&[0]).into_iter().chain(ints(&[2])).chain(shorts(&[3, 0, 13, 23, 2, part.version])).collect(),
            3 => metadata(&part, ports),
            23 => {
                let (code, epoch, offset) = part.end;
                let head = ints(&[0, 1]).into_iter().chain(text("in")).chain(ints(&[1])).chain(shorts(&[code]));
                head.chain(ints(&[0, epoch])).chain(offset.to_be_bytes()).collect()
            }
            other => panic!("nobody asks for {other}"),
        });
        let length = (answer.len() as u32).to_be_bytes();
        stream.write_all(&length).and_then(|()| stream.write_all(&answer)).expect("an answer");
    }
}

fn metadata(part: &Part, ports: &[u16]) -> Vec<u8> {
    let mut all = ints(&[0, ports.len() as i32]);
    for (port, number) in ports.iter().zip(1..) {
        all.extend(ints(&[number]).into_iter().chain(text("127.0.0.1")).chain(ints(&[i32::from(*port)])));
        all.extend(shorts(&[-1]));
    }
    all.extend(shorts(&[-1]).into_iter().chain(ints(&[1, 1])).chain(shorts(&[0])).chain(text("in")).chain([0]));
    all.extend(ints(&[1]).into_iter().chain(shorts(&[0])).chain(ints(&[0, part.leader.broker, part.leader.epoch])));
    for list in [&part.replicas, &part.in_sync, &Vec::new()] {
        all.extend(ints(&[list.len() as i32]).into_iter().chain(ints(list)));
    }
    all
}

fn ints(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn shorts(values: &[i16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn text(value: &str) -> Vec<u8> {
    shorts(&[value.len() as i16]).into_iter().chain(value.bytes()).collect()
}

const WANTED: [Partition; 1] = [(0, 0)];

/// What a round comes to.
fn round(leaders: &mut Leaders) -> LogEnd {
    leaders.ask(&WANTED);
    leaders.ends(&WANTED).remove(0)
}

#[test]
fn the_leader_says_where_its_log_ends_and_another_broker_that_it_leads() {
    let played = Played::start(vec![Part::of_the_leader(), Part::of_a_follower(), Part::of_a_follower()]);
    let mut leaders = played.leaders();
    let (by, epoch) = (Leadership { broker: 1, epoch: 7 }, 8);
    let said = LogEnd::Said { by, offset: 15, afterwards: vec![(1, by), (2, by)] };
    assert_eq!(round(&mut leaders), said);
    assert_eq!(said.confirmed(), Some(15));

    // Another one was elected, and this one has not heard of it: what it says does not count, and the next is asked then.
    let elected = Leadership { broker: 3, epoch };
    for broker in [2, 3] {
        played.change(broker, |part| part.leader = elected);
    }
    played.change(3, |part| part.end = (0, epoch, 16));
    let stale = round(&mut leaders);
    assert_eq!(stale, LogEnd::Said { by, offset: 15, afterwards: vec![(1, by), (2, elected)] });
    assert_eq!(stale.confirmed(), None);
    assert_eq!(round(&mut leaders).confirmed(), Some(16));
}

#[test]
fn a_broker_that_stands_still_is_waited_for_once_and_another_confirms() {
    let played = Played::start(vec![Part::of_the_leader(), Part::of_a_follower(), Part::of_a_follower()]);
    let mut leaders = played.leaders();
    assert_eq!(round(&mut leaders).confirmed(), Some(15));
    played.change(2, |part| part.speaks = false);
    assert_eq!(round(&mut leaders).confirmed(), None);
    let begun = Instant::now();
    assert_eq!(round(&mut leaders).confirmed(), Some(15));
    assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());

    // As long as the leader itself stands still, nobody knows; nobody is taken for one that refuses.
    played.change(1, |part| part.speaks = false);
    assert_eq!(round(&mut leaders), LogEnd::Unknown);
    assert_eq!((round(&mut leaders), leaders.refusal()), (LogEnd::Unknown, None));
}

#[test]
fn one_replica_needs_no_proof_and_one_that_is_alone_in_sync_only_as_long_as_it_is_alone() {
    let single = Part { replicas: vec![1], in_sync: vec![1], ..Part::of_a_follower() };
    let played = Played::start(vec![single.clone(), single]);
    assert_eq!(round(&mut played.leaders()), LogEnd::OneReplica);

    let alone = Part { in_sync: vec![1], ..Part::of_the_leader() };
    let played = Played::start(vec![alone.clone()]);
    let mut leaders = played.leaders();
    assert_eq!(round(&mut leaders), LogEnd::OneReplica);
    played.change(1, |part| part.in_sync = vec![1, 2]);
    assert_eq!(round(&mut leaders).confirmed(), None);
    // Others are there, who might confirm something.
    let played = Played::start(vec![alone.clone(), alone]);
    assert!(matches!(round(&mut played.leaders()), LogEnd::Said { .. }));
}

#[test]
fn a_broker_that_may_not_say_it_or_does_not_understand_refuses() {
    for (part, words) in [
        (Part { end: (29, -1, -1), ..Part::of_the_leader() }, "error 29"),
        (Part { end: (0, -1, -1), ..Part::of_the_leader() }, "its own epoch"),
        (Part { version: 2, ..Part::of_the_leader() }, "OffsetForLeaderEpoch in version 3"),
    ] {
        let played = Played::start(vec![part, Part::of_a_follower()]);
        let mut leaders = played.leaders();
        assert_eq!(round(&mut leaders), LogEnd::Refused, "{words}");
        assert!(leaders.refusal().is_some_and(|reason| reason.contains(words)), "{words}: {:?}", leaders.refusal());
    }
    // It leads no more: that is no refusal.
    let played = Played::start(vec![Part { end: (74, -1, -1), ..Part::of_the_leader() }, Part::of_a_follower()]);
    let mut leaders = played.leaders();
    assert_eq!((round(&mut leaders), leaders.refusal()), (LogEnd::Unknown, None));
    played.change(1, |part| part.end = (0, 7, 15));
    assert_eq!(round(&mut leaders).confirmed(), Some(15));
}

#[test]
fn addresses_are_read_as_librdkafka_reads_them() {
    for (text, expected) in [
        ("kafka-1:9093", Some(("kafka-1", 9_093))),
        (" kafka ", Some(("kafka", PORT))),
        ("SASL_SSL://kafka:1", Some(("kafka", 1))),
        ("[::1]:9092", Some(("::1", 9_092))),
        ("::1", Some(("::1", PORT))),
        ("", None),
    ] {
        assert_eq!(address(text), expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
    }
}
