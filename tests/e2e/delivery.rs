//! `sillage deliver` on a real Kafka, killed again and again: everything arrives, under one id each.
//!
//! What the service would publish, the test publishes itself; it is about delivery alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::clients::{Reader, Record, Writer, create_topic};
use crate::harness::command::sillage;
use crate::harness::{kafka, model, now_millis, say, tail, wait};
use crate::load::Dice;

const PARTITIONS: i32 = 4;
const OFFERS: usize = 3_000;
const KILLS: usize = 20;
/// Requests on their way at once: what a kill can cause to be sent again.
const AT_ONCE: usize = 8;

#[test]
fn nothing_is_lost_when_delivery_is_killed_twenty_times() {
    let Some(kafka) = kafka() else { return };
    let brokers = kafka.bootstrap();
    for topic in ["deliver-in", "deliver-out.interventions", "deliver-out.dead-letters"] {
        create_topic(&brokers, topic, PARTITIONS, &[]);
    }
    let desk = Desk::open();
    let home = tempfile::tempdir().expect("a temporary directory");
    let service = format!(
        "models: [\"{}\"]\nbrokers: \"{brokers}\"\ngroup: deliver-test\ninstance: one\ninputs: [deliver-in]\noutput: deliver-out\n\
         start: earliest\n",
        model("quick.yaml").display()
    );
    std::fs::write(home.path().join("sillage.yaml"), service).expect("a file");
    let deliver = format!(
        "start: earliest\nlisten: 127.0.0.1:0\ndestinations:\n  desk: {{ preset: webhook, url: \"http://{}\", \
         signing_secret: {{ variable: DESK_SECRET }}, private_addresses: [127.0.0.1], rate: 10000, at_once: {AT_ONCE} }}\n",
        desk.address
    );
    std::fs::write(home.path().join("deliver.yaml"), deliver).expect("a file");

    let begun = Instant::now();
    let writer = Writer::new(&brokers);
    let mut dice = Dice(3);
    let mut deliver = start(home.path());
    let expires_at = jiff::Timestamp::from_millisecond(now_millis() + 1_800_000).expect("an instant");
    for number in 0..OFFERS {
        let customer = format!("c-{}", number % 500);
        let value = offer(number, &customer, &expires_at.to_string()).to_string();
        writer.send(Record { topic: "deliver-out.interventions", key: &customer, value: value.as_bytes(), partition: None });
        if (number + 1).is_multiple_of(OFFERS / KILLS) {
            writer.flush();
            // Not before it does something, and then at some moment of it.
            let before = desk.ids().len();
            wait::until_true("something to be delivered", Duration::from_secs(60), || {
                desk.ids().len() > before || before == number + 1
            });
            std::thread::sleep(Duration::from_micros(dice.below(150_000)));
            deliver.kill().expect("it runs");
            deliver.wait().expect("it ends");
            deliver = start(home.path());
        }
    }
    wait::until_true("everything to arrive", Duration::from_secs(120), || {
        let ended = deliver.try_wait().expect("its state");
        assert!(ended.is_none(), "delivery ended: {}", tail(&home.path().join("log"), 20));
        desk.ids().len() == OFFERS
    });
    let reader = Reader::of(&brokers, &["deliver-in".to_owned()]);
    let told = reader.until("all to be told", Duration::from_secs(60), |told| {
        told.iter().map(|told| told.json()["event_id"].to_string()).collect::<BTreeSet<_>>().len() == OFFERS
    });
    assert!(told.iter().all(|told| told.json()["type"] == "intervention.delivered"));
    let requests: usize = desk.got.lock().expect("no panic").values().sum();
    say(&format!(
        "delivery: {OFFERS} offers, {KILLS} kills, {requests} requests, {} touchpoints, {:.0} s",
        told.len(),
        begun.elapsed().as_secs_f64()
    ));
    assert!(requests <= OFFERS + KILLS * 2 * AT_ONCE, "{requests} requests: more was sent again than was on its way");
    assert!(Command::new("kill").arg(deliver.id().to_string()).status().expect("kill starts").success());
    assert!(deliver.wait().expect("it ends").success(), "{}", tail(&home.path().join("log"), 20));
}

fn start(home: &Path) -> Child {
    let log = File::options().create(true).append(true).open(home.join("log")).expect("a log file");
    let mut command = sillage();
    command.args(["deliver", "-c", "deliver.yaml"]).current_dir(home);
    command.env("DESK_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
    command.spawn().expect("it starts")
}

fn offer(number: usize, customer: &str, expires_at: &str) -> Value {
    json!({
        "outcome_id": format!("00000000-0000-4000-8000-{number:012}"), "kind": "intervention", "model": "shop",
        "customer_id": customer, "anonymous_id": null, "answers": null,
        "intervention": {"name": "rescue", "channel": "chat", "arm": "treated", "variant": null, "expires_at": expires_at,
            "payload": {}, "reason": null},
    })
}

/// A receiver that counts what comes, by id.
struct Desk {
    address: SocketAddr,
    got: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Desk {
    fn open() -> Desk {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, got) = (listener.local_addr().expect("an address"), Arc::new(Mutex::new(BTreeMap::new())));
        let ours = Arc::clone(&got);
        let accepting = move || {
            for stream in listener.incoming().flatten() {
                let ours = Arc::clone(&ours);
                // A connection that is cut in the middle brought nothing.
                let serving = move || drop(take(stream, &ours));
                std::thread::Builder::new().spawn(serving).expect("a thread");
            }
        };
        std::thread::Builder::new().spawn(accepting).expect("a thread");
        Desk { address, got }
    }

    fn ids(&self) -> BTreeSet<String> {
        self.got.lock().expect("no panic").keys().cloned().collect()
    }
}

fn take(mut stream: TcpStream, got: &Mutex<BTreeMap<String, usize>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => value.clone_into(&mut id),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap_or(0),
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    *got.lock().expect("no panic").entry(id).or_default() += 1;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
}
