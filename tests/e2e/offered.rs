//! From the touchpoint that tips it over to the offer on the page, on a real Kafka: the service decides, `sillage deliver` shows
//! it to listening widgets, and a crowd of others is busy meanwhile.
//!
//! `OFFERED` asks for more customers than CI has, `CROWD` for so many touchpoints a second of others.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::clients::Record;
use crate::harness::command::sillage;
use crate::harness::{kafka, model, now_millis, say, tail, wait};
use crate::shop::{SOON, Shop};

const PARTITIONS: i32 = 8;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ORIGIN: &str = "http://shop.example";
/// So many come first to each partition of topics to which nothing was written yet.
const FIRST: usize = 20;
/// Between two customers who get stuck.
const PACE: Duration = Duration::from_millis(50);

fn asked(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

#[test]
fn an_offer_is_on_the_page_a_moment_after_the_customer_got_stuck() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "offered", &["web"], PARTITIONS);
    shop.setup.model = model("rescue.yaml");
    // What is delivered is JSON all the same.
    shop.setup.extra.push("output_format: avro".to_owned());
    let service = shop.serve();
    let home = tempfile::tempdir().expect("a temporary directory");
    // Free a moment ago; delivery takes it next.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let mut deliver = Delivery::start(&shop, home.path(), port);
    let (count, crowd) = (asked("OFFERED", 60), asked("CROWD", 500));
    let (seen, comes) = channel();
    for number in 0..count {
        let (token, seen) = (token(home.path(), &customer(number)), seen.clone());
        let listening = move || listen(port, &token, number, &seen);
        std::thread::Builder::new().stack_size(256 << 10).spawn(listening).expect("a thread");
    }
    let mut ready = 0;
    while ready < count {
        match comes.recv_timeout(SOON).unwrap_or_else(|_| panic!("{ready} listen; {}", deliver.log())) {
            (_, None) => ready += 1,
            (number, Some(_)) => panic!("{number} is offered something"),
        }
    }
    let (stop, mut tipped): (AtomicBool, Vec<Instant>) = (AtomicBool::new(false), Vec::new());
    let mut took: BTreeMap<usize, Duration> = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| busy(&shop, crowd, &stop));
        for number in 0..count {
            for (place, kind) in ["cart.added", "payment.failed", "payment.failed"].into_iter().enumerate() {
                does(&shop, &customer(number), kind, place);
            }
            tipped.push(Instant::now());
            std::thread::sleep(PACE);
        }
        while took.len() < count {
            let (number, at) = comes.recv_timeout(SOON).unwrap_or_else(|_| {
                stop.store(true, Ordering::Relaxed);
                panic!("{} of {count} offers have come; {}", took.len(), deliver.log())
            });
            took.insert(number, at.expect("an offer").duration_since(tipped[number]));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (first, mut all): (Vec<_>, Vec<_>) =
        took.values().map(Duration::as_millis).enumerate().partition(|(at, _)| *at < FIRST);
    let slowest = first.iter().map(|(_, took)| *took).max().unwrap_or_default();
    all.sort_unstable_by_key(|(_, took)| *took);
    let part = |percent: usize| all[(all.len() - 1) * percent / 100].1;
    say(&format!(
        "offered: {count} customers beside {crowd} touchpoints a second: on the page after {} ms, 99 % within {}, the last {}; \
         of the first {FIRST} the last after {slowest}",
        part(50),
        part(99),
        part(100)
    ));
    deliver.end();
    assert_eq!(service.terminate().status.code(), Some(0));
}

fn customer(number: usize) -> String {
    format!("stuck-{number}")
}

fn does(shop: &Shop, customer: &str, kind: &str, place: usize) {
    let touchpoint = json!({
        "event_id": format!("{customer}-{place}"), "customer_id": customer, "occurred_at": now_millis(), "type": kind,
        "properties": {"cart_id": customer, "value": 20, "currency": "EUR"},
    });
    let value = touchpoint.to_string();
    shop.writer.send(Record { topic: &shop.setup.inputs[0], key: customer, value: value.as_bytes(), partition: None });
}

/// Others fill baskets, so many a second, all over the partitions.
fn busy(shop: &Shop, rate: usize, stop: &AtomicBool) {
    let (begun, mut number) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        while number < (begun.elapsed().as_secs_f64() * rate as f64) as usize {
            does(shop, &format!("other-{}", number % 50_000), "cart.added", number);
            number += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tells when the widget listens, and when it is offered something.
fn listen(port: u16, token: &str, number: usize, seen: &Sender<(usize, Option<Instant>)>) {
    let url = format!("http://127.0.0.1:{port}/v1/offers");
    let answer = wait::until("the widget's side to listen", SOON, || {
        let get = ureq::get(&url).header("origin", ORIGIN).header("authorization", format!("Bearer {token}"));
        get.call().ok()
    });
    let mut lines = BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok);
    // The test may be over by then.
    let _ = seen.send((number, None));
    if lines.any(|line| line.contains("help-with-payment")) {
        let _ = seen.send((number, Some(Instant::now())));
    }
}

fn token(home: &Path, customer: &str) -> String {
    let made =
        sillage().args(["token", "-c", "deliver.yaml", "--customer", customer]).current_dir(home).output().expect("it runs");
    String::from_utf8(made.stdout).expect("a token").trim().to_owned()
}

/// `sillage deliver`, killed when dropped.
struct Delivery {
    child: Child,
    log: std::path::PathBuf,
}

impl Delivery {
    fn start(shop: &Shop, home: &Path, port: u16) -> Delivery {
        let setup = &shop.setup;
        let service = format!(
            "models: [\"{}\"]\nbrokers: \"{}\"\ngroup: {}\ninstance: deliver\ninputs: [{}]\noutput: {}\n\
             start: latest\n",
            setup.model.display(),
            setup.brokers,
            setup.group,
            setup.inputs[0],
            setup.output
        );
        let deliver = format!(
            "listen: 127.0.0.1:0\nwidget:\n  listen: 127.0.0.1:{port}\n  origins: [\"{ORIGIN}\"]\n  audience: shop\n  \
             keys: {{ web: {{ algorithm: HS256, secret: {{ file: secret }} }} }}\n"
        );
        for (name, text) in [("sillage.yaml", service.as_str()), ("deliver.yaml", &deliver), ("secret", SECRET)] {
            std::fs::write(home.join(name), text).expect("a file");
        }
        let log = home.join("log");
        let file = std::fs::File::create(&log).expect("a log file");
        let mut command = sillage();
        command.args(["deliver", "-c", "deliver.yaml"]).current_dir(home);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log file")).stderr(file);
        Delivery { child: command.spawn().expect("it starts"), log }
    }

    fn log(&self) -> String {
        tail(&self.log, 20)
    }

    fn end(&mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().expect("kill starts").success());
        assert!(self.child.wait().expect("it ends").success(), "{}", self.log());
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
