//! A rolling restart of three workers: with static membership nobody else notices. No rebalance happens, and no outcome comes
//! later than five seconds, those of the worker that is being restarted included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::clients::{create_topic, group};
use crate::harness::service::{Service, Setup};
use crate::harness::{kafka, model, now_millis, say, wait};
use crate::judge;
use crate::load::{self, Acknowledged, Population, SLOWNESS, TAIL};
use crate::watcher::Watcher;

const PARTITIONS: i32 = 6;
const INPUTS: [&str; 2] = ["app", "web"];
const TOUCHPOINTS: usize = 12_000;
const MILLIS: i64 = 40_000;
const LATEST: i64 = 5_000;
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_rolling_restart_moves_no_shard_and_makes_no_outcome_late() {
    let _alone = crate::alone();
    let Some(kafka) = kafka() else { return };
    let (direct, prefix) = (kafka.bootstrap(), format!("rolling-{}", now_millis()));
    let inputs: Vec<String> = INPUTS.iter().map(|input| format!("{prefix}.{input}")).collect();
    for input in &inputs {
        create_topic(&direct, input, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]);
    }
    let group_name = format!("{prefix}-group");
    let setup = |instance: &str| Setup {
        brokers: direct.clone(),
        group: group_name.clone(),
        instance: instance.to_owned(),
        inputs: inputs.clone(),
        output: prefix.clone(),
        model: model("slow-shop.yaml"),
        start: "earliest",
        commit_interval: "100ms",
        extra: vec![format!("contacts: \"{}\"", model("slow-shop-contacts.yaml").display())],
        arguments: Vec::new(),
    };
    let mut workers: Vec<Service> = ["one", "two", "three"].map(|instance| Service::start(&setup(instance))).into();
    let settled = |workers: &[Service]| {
        let shards = |worker: &Service| worker.is_ready() && worker.metric("sillage_shards_assigned") == 2.0;
        group(&direct, &group_name) == ("Stable".to_owned(), 3) && workers.iter().all(shards)
    };
    wait::until_true("three workers to have two shards each", SOON, || settled(&workers));
    let moves = |worker: &Service| worker.log().matches("partitions revoked").count();
    let before: Vec<usize> = workers.iter().map(moves).collect();

    let population = Population::of(11, TOUCHPOINTS, MILLIS, (1, 1));
    let watcher = Watcher::start(&direct, &prefix);
    let (notes, stop) = (Arc::new(Acknowledged::default()), AtomicBool::new(false));
    let begin = (now_millis() + 500) / SLOWNESS * SLOWNESS;
    let begun = Instant::now();
    let mut away = Vec::new();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| load::write(&population, &direct, &inputs, begin, &notes, &stop));
        for number in 0..workers.len() {
            // The longest spans have begun to end by the second restart.
            let due = Duration::from_millis((MILLIS * (number as i64 * 2 + 1) / 6).unsigned_abs());
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let from = Instant::now();
            let worker = workers.remove(0);
            let name = worker.name().to_owned();
            let ended = worker.terminate();
            assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
            workers.push(Service::start(&setup(&name)));
            workers.last_mut().expect("just pushed").wait_until_ready(SOON);
            away.push(from.elapsed());
        }
        writing.join().expect("the load is written");
    });
    let total = judge::total(&population, begin);
    wait::until_true("all outcomes", Duration::from_millis(TAIL.unsigned_abs()) + SOON, || watcher.count() >= total);
    assert!(settled(&workers), "the group is as it was");
    // Since its own restart each has seen others go: the first two of them, the last none; before it, it was there for them.
    let after: Vec<usize> = workers.iter().map(moves).collect();
    // That a rebalance would have shown: a newcomer makes one.
    workers.push(Service::start(&setup("four")));
    wait::until_true("a rebalance to show", SOON, || workers[..3].iter().all(|worker| moves(worker) > 0));
    for worker in workers {
        assert_eq!(worker.terminate().status.code(), Some(0));
    }
    let seen = watcher.finish();
    let [half, most, latest] = seen.lateness();
    say(&format!(
        "rolling: {} touchpoints, {total} outcomes; away for {:.1}, {:.1} and {:.1} s; half of the outcomes came within {half} ms, \
         99 % within {most} ms, the latest after {latest} ms; written within {:.1} s",
        notes.written.load(Ordering::Acquire),
        away[0].as_secs_f64(),
        away[1].as_secs_f64(),
        away[2].as_secs_f64(),
        notes.worst().as_secs_f64(),
    ));
    let verdict = judge::judge(&population, begin, seen);
    assert!(verdict.is_clean(), "{}", verdict.differences.chars().take(6_000).collect::<String>());
    assert_eq!(after, [0, 0, 0], "nobody's shards were taken away (before the restarts: {before:?})");
    assert!(latest <= LATEST, "an outcome came {latest} ms after it was due");
}
