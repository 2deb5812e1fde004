//! The embedded log under kill -9: a million touchpoints over HTTP, twenty kills, a client that sends again what was not
//! acknowledged. Every touchpoint counts once, and what is published equals what the oracle says.
//!
//! Most of it is a history (log time is event time, so the answer does not depend on this machine); then many customers come
//! live, through several posts at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::clients::Published;
use crate::harness::service::Service;
use crate::harness::{model, now_millis, say, wait};
use crate::load::{self, Customer, Dice};
use crate::oracle::{self, Act, Told};
use crate::shop::SOON;
use crate::story;

const HISTORY: usize = 700_000;
const LIVE_CUSTOMERS: usize = 75_000;
/// What each of them does, a millisecond apart.
const LIVE: [&str; 4] = ["ad.seen", "product.viewed", "cart.added", "order.completed"];
const BATCH: usize = 1_000;
const POSTERS: usize = 4;
const KILLS_IN_HISTORY: usize = 12;
const KILLS_LIVE: usize = 8;
/// The history begins so long ago.
const AGO: i64 = 3_600_000;
/// The longest span of the model.
const LONGEST: i64 = 15_000;

/// The service, which comes and goes.
struct Place<'a> {
    folder: &'a Path,
    /// Nobody only while it is being killed.
    service: Mutex<Option<Service>>,
    /// Posts that were acknowledged.
    posts: AtomicUsize,
}

impl Place<'_> {
    fn service(&self) -> MutexGuard<'_, Option<Service>> {
        self.service.lock().expect("no test thread panicked")
    }

    fn start(folder: &Path) -> Service {
        Service::start_embedded(folder, &model("shop.yaml"))
    }

    /// Kills the service at some moment, and starts it again.
    fn kill(&self, dice: &mut Dice) {
        // The moment should not always be the same; nothing waits for it.
        std::thread::sleep(Duration::from_micros(dice.below(40_000)));
        let mut service = self.service();
        service.take().expect("it runs").kill();
        *service = Some(Place::start(self.folder));
    }

    /// Asks until there is an answer of success; the service may be away.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Value {
        wait::until(&format!("{method} {path}"), Duration::from_secs(120), || {
            let address = self.service().as_ref()?.address()?;
            let url = format!("http://{address}{path}");
            let answer = match method {
                "GET" => ureq::get(&url).call(),
                "DELETE" => ureq::delete(&url).call(),
                _ => ureq::post(&url).content_type("application/x-ndjson").send(body),
            };
            match answer {
                Ok(mut answer) => {
                    let text = answer.body_mut().with_config().limit(1 << 30).read_to_string().ok()?;
                    Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
                }
                Err(ureq::Error::StatusCode(status)) if (400..500).contains(&status) && status != 429 => {
                    panic!("{method} {path} is refused with {status}")
                }
                // Away, starting, or busy.
                Err(_) => None,
            }
        })
    }

    fn post(&self, path: &str, batch: &[u8]) {
        self.ask("POST", path, batch);
        self.posts.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until readiness and metrics say whether a history is being loaded.
    fn until_loading(&self, is: bool) {
        wait::until_true("the load of a history to show", Duration::from_secs(30), || {
            let service = self.service();
            let service = service.as_ref().expect("it runs");
            let why = service.not_ready().unwrap_or_default();
            let shown = (why.contains("a history is being loaded"), service.metric("sillage_history_loading") > 0.0);
            shown == (is, is)
        });
    }

    /// Kills the service `kills` times, spread over the posts up to `total`.
    fn kill_between(&self, kills: usize, total: usize, dice: &mut Dice) {
        let before = self.posts.load(Ordering::Acquire);
        for kill in 0..kills {
            let due = before + (total - before) * kill / kills;
            wait::until_true("posts to go through", Duration::from_secs(300), || self.posts.load(Ordering::Acquire) >= due);
            self.kill(dice);
        }
    }
}

#[test]
fn nothing_is_lost_or_repeated_when_the_embedded_log_is_killed_twenty_times() {
    let folder = tempfile::Builder::new().prefix("sillage-e2e-store-").tempdir().expect("a temporary directory");
    let begun = Instant::now();
    let customers = load::customers(7, HISTORY);
    let begin = now_millis() - AGO;
    let place =
        Place { folder: folder.path(), service: Mutex::new(Some(Place::start(folder.path()))), posts: AtomicUsize::new(0) };
    let mut dice = Dice(1);

    let history = history(&customers, begin);
    let first = json!({"first": jiff::Timestamp::from_millisecond(begin).expect("an instant").to_string()});
    place.ask("POST", "/v1/history", first.to_string().as_bytes());
    place.until_loading(true);
    std::thread::scope(|scope| {
        scope.spawn(|| history.iter().for_each(|batch| place.post("/v1/touchpoints?history=true", batch)));
        place.kill_between(KILLS_IN_HISTORY, history.len(), &mut dice);
    });
    place.ask("DELETE", "/v1/history", b"");
    place.until_loading(false);
    let loaded = begun.elapsed();

    let live: Mutex<Vec<(String, Vec<Act>)>> = Mutex::default();
    let posts = place.posts.load(Ordering::Acquire) + LIVE_CUSTOMERS * LIVE.len() / BATCH;
    std::thread::scope(|scope| {
        for poster in 0..POSTERS {
            let (place, live) = (&place, &live);
            scope.spawn(move || come_live(poster, place, live));
        }
        place.kill_between(KILLS_LIVE, posts, &mut dice);
    });

    let live = live.into_inner().expect("no test thread panicked");
    let end = live.iter().flat_map(|(_, acts)| acts).map(|act| act.at).max().expect("a load") + LONGEST;
    let mut expected = story::expected(&customers, begin, end);
    expected.extend(live.iter().map(|(id, acts)| (id.clone(), oracle::judge(acts, end))));
    let total: usize = expected.values().map(Vec::len).sum();
    let published = published(&place, end);
    say(&format!(
        "killed: {} touchpoints, {} kills, {total} outcomes, {:.0} s (the history {:.0} s)",
        HISTORY + LIVE_CUSTOMERS * LIVE.len(),
        KILLS_IN_HISTORY + KILLS_LIVE,
        begun.elapsed().as_secs_f64(),
        loaded.as_secs_f64()
    ));
    story::compare(&customers, &expected, &published);
    count_touchpoints(&place, &customers, &expected);
    let service = place.service.into_inner().expect("no test thread panicked").expect("it runs");
    assert_eq!(service.terminate().status.code(), Some(0));
}

/// The history in the order of time, in batches.
fn history(customers: &[Customer], begin: i64) -> Vec<Vec<u8>> {
    let mut all: Vec<(&Customer, &Act)> = Vec::new();
    for customer in customers {
        all.extend(customer.acts.iter().map(|(_, act)| (customer, act)));
    }
    all.sort_by_key(|(_, act)| act.at);
    let line = |(customer, act): &(&Customer, &Act)| {
        let mut line = load::encode(customer, act, begin);
        line.push(b'\n');
        line
    };
    all.chunks(BATCH).map(|batch| batch.iter().flat_map(line).collect()).collect()
}

/// One poster's share of the live customers. All that a customer does is in one batch, so that no kill can come between.
fn come_live(poster: usize, place: &Place<'_>, live: &Mutex<Vec<(String, Vec<Act>)>>) {
    let ours = (poster..LIVE_CUSTOMERS).step_by(POSTERS);
    let ids: Vec<String> = ours.map(|number| format!("live-{number}")).collect();
    for batch in ids.chunks(BATCH / LIVE.len()) {
        let now = now_millis();
        let mut lines = Vec::new();
        for id in batch {
            let acts: Vec<Act> = (0..).zip(LIVE).map(|(after, kind)| act(id, kind, after)).collect();
            let customer = Customer { id: id.clone(), anonymous: false, acts: Vec::new() };
            for act in &acts {
                lines.extend(load::encode(&customer, act, now));
                lines.push(b'\n');
            }
            let acts = acts.into_iter().map(|act| Act { at: now + act.at, ..act }).collect();
            live.lock().expect("no test thread panicked").push((id.clone(), acts));
        }
        place.post("/v1/touchpoints", &lines);
    }
}

fn act(id: &str, kind: &'static str, at: i64) -> Act {
    let cart = matches!(kind, "cart.added" | "order.completed").then(|| format!("{id}-cart"));
    let value = cart.is_some().then_some(20);
    Act { at, id: format!("{id}-{kind}"), kind, cart, value, ..Act::default() }
}

/// Reads all outcomes, once stream time has passed `end` on every shard: then everything has been decided.
fn published(place: &Place<'_>, end: i64) -> Vec<Published> {
    wait::until_true("stream time to pass the last deadline", SOON * 5, || {
        let service = place.service();
        service.as_ref().is_some_and(|service| {
            let behind = service.metric("sillage_stream_time_behind_seconds");
            now_millis() - (behind * 1e3) as i64 > end
        })
    });
    let mut published: Vec<Published> = Vec::new();
    loop {
        let before = published.len();
        let text = place.ask("GET", &format!("/v1/outcomes?after={before}&limit=10000&wait=1"), b"");
        for line in text.as_str().map(str::to_owned).unwrap_or_else(|| text.to_string()).lines() {
            let mut line: Value = serde_json::from_str(line).expect("a line is JSON");
            assert_eq!(line["position"], published.len() + 1, "positions are contiguous");
            let outcome = line["outcome"].take();
            let key = outcome["customer_id"].as_str().or(outcome["anonymous_id"].as_str()).map(ToOwned::to_owned);
            let topic = line["topic"].as_str().expect("a topic").to_owned();
            let value = Some(outcome.to_string().into_bytes());
            published.push(Published { topic, timestamp: 0, key, headers: Default::default(), value });
        }
        if published.len() == before {
            return published;
        }
    }
}

/// The state of a sample of customers has counted each touchpoint once.
fn count_touchpoints(place: &Place<'_>, customers: &[Customer], expected: &HashMap<String, Vec<Told>>) {
    assert!(customers.len() > 1_000 && expected.len() > customers.len());
    for customer in customers.iter().step_by(20) {
        let kind = if customer.anonymous { "?kind=anonymous" } else { "" };
        let state = place.ask("GET", &format!("/v1/customers/{}{kind}", customer.id), b"");
        assert_eq!(state["touchpoints"], customer.acts.len(), "{}", customer.id);
    }
    for number in (0..LIVE_CUSTOMERS).step_by(50) {
        let state = place.ask("GET", &format!("/v1/customers/live-{number}"), b"");
        assert_eq!(state["touchpoints"], LIVE.len(), "live-{number}");
    }
}
