//! Delivery against receivers over real connections: slow, failing, throttling, gone, cut off, leading elsewhere, private, dead.
//!
//! The log is simulated, so that what was kept can be looked at; requests and receivers are real.

mod log;
mod presets;
mod receiver;
mod widget;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sillage::deliver::desk::Desk;
use sillage::deliver::settings::{self, Settings};
use sillage::diagnostic::{Style, render};
use sillage::port::Now;
use sillage::runtime::clock::Clock;
use sillage::time::{Span, Timestamp};
use sillage::wire::Format;
use uuid::Uuid;

use log::SimulatedLog;
use receiver::{Receiver, Then};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Reads a `deliver.yaml`; every variable holds the same secret.
fn read(text: &str) -> Settings {
    let (settings, faults) = settings::load(Path::new("deliver.yaml"), text, &|_| Some(SECRET.to_owned()));
    settings.unwrap_or_else(|| panic!("{}\n{text}", render(&faults, Style::Plain)))
}

/// A desk at work on a thread of its own.
struct Work {
    log: SimulatedLog,
    now: Now,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Result<(), String>>>,
    runtime: tokio::runtime::Runtime,
}

impl Work {
    fn begin(settings: &str) -> Work {
        Work::go_on(settings, SimulatedLog::default())
    }

    fn go_on(settings: &str, log: SimulatedLog) -> Work {
        let (clock, stop) = (Clock::starting_now(1.0), Arc::new(AtomicBool::new(false)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (now, handle) = (clock.handle(), runtime.handle().clone());
        let destinations = read(settings).destinations;
        let outbox = Box::new(log.clone());
        let mut desk = Desk::new(destinations, outbox, Format::Json, now.clone(), handle).expect("a desk");
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("desk".to_owned()).spawn(move || desk.run(&stopped));
        Work { log, now: clock.handle(), stop, thread: Some(thread.expect("a thread")), runtime }
    }

    fn end(mut self) -> SimulatedLog {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("it runs").join().expect("no panic").expect("no fault");
        self.runtime.shutdown_background();
        self.log
    }
}

/// An offer that stands for so long from now on.
fn offer(number: u128, customer: &str, expires_at: Timestamp) -> Value {
    json!({
        "outcome_id": Uuid::from_u128(number), "kind": "intervention", "model": "shop", "model_version": 1,
        "customer_id": customer, "anonymous_id": null, "at": "2026-11-30T10:00:00.000Z", "answers": null,
        "value": {"amount": 89.9, "currency": "EUR"}, "says": "offers rescue (plain)",
        "intervention": {"name": "rescue", "channel": "chat", "arm": "treated", "variant": "plain",
            "expires_at": expires_at.to_string(), "payload": {"text": "help \"with\" payment"}, "reason": null},
    })
}

fn withdrawal(number: u128, of: u128, customer: &str) -> Value {
    let mut withdrawal = offer(number, customer, Timestamp::from_millis(1_800_000_000_000));
    withdrawal["kind"] = "withdrawal".into();
    withdrawal["answers"] = json!({"outcome_id": Uuid::from_u128(of), "at": "2026-11-30T10:00:00.000Z"});
    withdrawal["intervention"]["reason"] = "completed".into();
    withdrawal
}

fn destination(name: &str, receiver: &Receiver, more: &str) -> String {
    format!(
        "  {name}: {{ preset: webhook, url: \"{}\", signing_secret: {{ variable: S }}, rate: 1000, \
         private_addresses: [127.0.0.1]{more} }}\n",
        receiver.url()
    )
}

#[test]
fn whatever_receivers_do_each_offer_arrives_in_time_or_is_told_to_have_failed() {
    const OFFERS: u128 = 30;
    let good = Receiver::new(|_, _| Then::Answer(204, ""));
    let slow = Receiver::new(|_, _| Then::After(Duration::from_millis(100), 200));
    let failing = Receiver::new(|all, before| match all.is_multiple_of(3) && before == 0 {
        true => Then::Answer(500, ""),
        false => Then::Answer(200, ""),
    });
    let throttling =
        Receiver::new(|all, _| if all == 3 { Then::Answer(429, "retry-after: 1\r\n") } else { Then::Answer(200, "") });
    let gone = Receiver::new(|_, _| Then::Answer(410, ""));
    let cut = Receiver::new(|_, _| Then::Reset);
    let silent = Receiver::new(|_, _| Then::Silence);
    let trap = Receiver::new(|_, _| Then::Answer(200, ""));
    let to_trap = format!("location: {}/trap\r\n", trap.url());
    let elsewhere = Receiver::new(move |_, _| Then::Lead(307, to_trap.clone()));
    let private = Receiver::new(|_, _| Then::Answer(200, ""));
    let endless = Receiver::new(|_, _| Then::Endless);
    let dead = Receiver::new(|_, _| Then::Answer(200, "")).closed();
    let mut settings = "destinations:\n".to_owned();
    for (name, receiver, more) in [
        ("good", &good, ""),
        ("slow", &slow, ""),
        ("failing", &failing, ""),
        ("throttling", &throttling, ", at_once: 1"),
        ("gone", &gone, ""),
        ("cut", &cut, ""),
        ("silent", &silent, ", timeout: 200ms"),
        ("elsewhere", &elsewhere, ""),
        ("endless", &endless, ""),
        ("dead", &dead, ""),
    ] {
        settings += &destination(name, receiver, more);
    }
    settings += &destination("private", &private, "").replace(", private_addresses: [127.0.0.1]", "");

    let work = Work::begin(&settings);
    let begun = (work.now)();
    let expires_at = begun + Span::from_secs(6);
    for number in 1..=OFFERS {
        work.log.publish(&offer(number, &format!("c-{number}"), expires_at));
    }
    let destinations = 11;
    work.log
        .wait("every offer to end", Duration::from_secs(60), |log| log.touchpoints.len() >= OFFERS as usize * destinations);
    let log = work.end();
    let log = log.look();

    // By destination and kind, each offer once.
    let mut told: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for touchpoint in &log.touchpoints {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let of = (text(&touchpoint["properties"]["destination"]), text(&touchpoint["type"]));
        assert!(told.entry(of).or_default().insert(text(&touchpoint["event_id"])), "told twice: {touchpoint}");
    }
    let count =
        |name: &str, kind: &str| told.get(&(name.to_owned(), format!("intervention.{kind}"))).map_or(0, BTreeSet::len);
    for name in ["good", "slow", "failing", "throttling", "endless"] {
        assert_eq!(count(name, "delivered"), OFFERS as usize, "{name}: {told:?}");
    }
    for name in ["gone", "cut", "silent", "elsewhere", "dead", "private"] {
        assert_eq!(count(name, "failed") + count(name, "expired"), OFFERS as usize, "{name}");
    }
    for receiver in [&good, &slow, &failing, &throttling, &endless] {
        assert_eq!(receiver.ids().len(), OFFERS as usize);
    }
    for receiver in [&good, &slow, &failing, &throttling, &cut, &silent, &endless, &elsewhere, &gone] {
        for got in receiver.got() {
            let sent: i64 = got.headers["webhook-timestamp"].parse().expect("seconds");
            assert!(sent * 1_000 < expires_at.as_millis(), "{} was sent at {sent}, expired at {expires_at}", got.id);
            // This machine may be busy: the receiver looks at its clock after the request has come.
            assert!(got.at <= expires_at + Span::from_secs(2), "{} came at {}, expired at {expires_at}", got.id, got.at);
            assert_eq!(got.body["outcome_id"].as_str(), Some(got.id.as_str()));
            got.verify(SECRET);
        }
    }
    // One that is dead, silent or slow slows no other.
    let last = good.got().iter().map(|got| got.at).max().expect("something came");
    assert!(last.since(begun) < Span::from_secs(4), "the last came after {}", last.since(begun));
    assert!(failing.got().len() > OFFERS as usize, "what failed was tried again");
    let (throttled, next) = (throttling.got()[2].at, throttling.got()[3].at);
    assert!(next.since(throttled) >= Span::from_millis(950), "after 429 it was left alone for {}", next.since(throttled));
    assert!(gone.got().len() <= 4, "410, and still asked {} times", gone.got().len());
    assert_eq!(trap.got().len(), 0, "a redirect was followed");
    assert_eq!(private.connections(), 0, "a private address was connected to");
    let reasons: Vec<String> = log.dead_letters.iter().map(|letter| letter.1.clone()).collect();
    for part in ["410 Gone", "307", "loopback", "gone after 0 tries"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "no dead letter says {part}: {reasons:?}");
    }
}

#[test]
fn what_is_withdrawn_before_it_was_sent_never_arrives_and_what_was_sent_is_followed() {
    let receiver = Receiver::new(|_, _| Then::Answer(200, ""));
    let line = destination("desk", &receiver, ", burst: 1, at_once: 1").replace("rate: 1000", "rate: 4");
    let work = Work::begin(&format!("destinations:\n{line}"));
    let expires_at = (work.now)() + Span::from_secs(60);
    for number in 1..=6 {
        work.log.publish(&offer(number, &format!("c-{number}"), expires_at));
    }
    let first = receiver.wait_for(1);
    for number in 1..=6 {
        work.log.publish(&withdrawal(100 + number, number, &format!("c-{number}")));
    }
    // Whatever had been sent by then is followed; of all others, nothing.
    let ended = |log: &log::State| log.kept("desk").iter().filter(|kept| kept["state"] != "pending").count();
    work.log.wait("all to end", Duration::from_secs(20), |log| {
        let sent = log.kept("desk").iter().filter(|kept| kept["state"] == "sent").count();
        ended(log) == log.kept("desk").len() && sent.is_multiple_of(2) && log.kept("desk").len() >= 7
    });
    work.end();
    let ids: Vec<u128> = receiver.got().iter().map(|got| got.id.parse::<Uuid>().expect("an id").as_u128()).collect();
    assert_eq!(first.parse::<Uuid>().expect("an id").as_u128(), ids[0]);
    let offers: Vec<u128> = ids.iter().copied().filter(|id| *id <= 6).collect();
    let withdrawals: Vec<u128> = ids.iter().copied().filter(|id| *id > 100).collect();
    assert!(offers.len() <= 2, "{ids:?}");
    assert_eq!(withdrawals, offers.iter().map(|id| id + 100).collect::<Vec<_>>(), "{ids:?}");
}

#[test]
fn a_restart_sends_again_only_what_was_on_its_way() {
    let receiver = Receiver::new(|all, _| if all <= 5 { Then::Answer(200, "") } else { Then::Answer(500, "") });
    let settings = format!("destinations:\n{}", destination("desk", &receiver, ""));
    let work = Work::begin(&settings);
    let expires_at = (work.now)() + Span::from_secs(60);
    for number in 1..=8 {
        work.log.publish(&offer(number, &format!("c-{number}"), expires_at));
    }
    work.log.wait("five to be delivered", Duration::from_secs(10), |log| log.touchpoints.len() == 5);
    let log = work.end();
    let before = receiver.got().len();
    // The offsets were lost, so that everything is read again.
    log.forget_positions();
    let patient = Receiver::new(|_, _| Then::Answer(200, ""));
    let work = Work::go_on(&format!("destinations:\n{}", destination("desk", &patient, "")), log);
    work.log.wait("all to be delivered", Duration::from_secs(10), |log| log.touchpoints.len() == 8);
    let log = work.end();
    assert!(before >= 5);
    assert_eq!(patient.ids().len(), 3, "those that were not delivered before");
    let told: BTreeSet<String> = log.look().touchpoints.iter().map(|told| told["event_id"].to_string()).collect();
    assert_eq!(told.len(), 8);
}
