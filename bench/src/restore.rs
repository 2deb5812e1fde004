//! How long Sillage takes to be there again after `kill -9`: to be ready, and to its first new outcome.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;

use crate::customers::{self, Loaded};
use crate::fill::{PARTITIONS, Stamp};
use crate::ground::Ground;
use crate::home::Process;
use crate::http::Connection;
use crate::kafka;
use crate::plan::Plan;
use crate::systems::{self, Run, System};
use crate::watch;

/// Purchases that wait when it comes back, spread over the customers and so over the partitions.
const PURCHASES: u64 = 800;
/// What Sillage's log says when the group has given it its partitions.
const ASSIGNED: &str = "partitions assigned";
/// How long it may take to come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was seen of one restart.
struct Seen {
    customers: u64,
    log_mb: f64,
    log_records: i64,
    /// From the start of the process, in seconds.
    assigned: f64,
    ready: f64,
    first: f64,
    /// From the kill.
    first_after_kill: f64,
    last_after_kill: f64,
    cpu_s: f64,
    rss_mb: f64,
}

/// Loads, kills, starts again; for each number of customers.
pub fn run(plan: &Plan) -> Result<(), String> {
    let ground = Ground::with_broker(plan, &[System::Sillage])?;
    let sizes = if plan.customers.is_empty() { &[1_000_000, 3_000_000][..] } else { &plan.customers };
    let mut text = "\n| customers | state log MB | pages | start to assignment s | assignment to ready s | start to first new outcome s \
                    | kill to first new outcome s | kill to all 800 s | CPU s until ready | MB when ready |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for customers in sizes {
        let seen = restart(&ground, *customers)?;
        kafka::delete(&ground.brokers(), "")?;
        let row = format!(
            "| {} | {:.0} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.0} |",
            seen.customers,
            seen.log_mb,
            seen.log_records,
            seen.assigned,
            seen.ready - seen.assigned,
            seen.first,
            seen.first_after_kill,
            seen.last_after_kill,
            seen.cpu_s,
            seen.rss_mb
        );
        eprintln!("{row}");
        let _ = writeln!(text, "{row}");
    }
    ground.publish(plan, "restore", &text)
}

fn restart(ground: &Ground, customers: u64) -> Result<Seen, String> {
    let (brokers, group) = (ground.brokers(), format!("restore-{customers}"));
    let input = format!("{group}-touchpoints");
    let run = Run { model: "profile", ..Run::of(&brokers, &input, &group) };
    let Loaded { process, cost } = customers::load(ground, System::Sillage, &run, customers)?;
    eprintln!("restore: {customers} customers loaded in {:.0} s", cost.wall_s);
    let state = format!("{group}.state");
    let log_mb = folder_mb(ground, &state)?;
    let reader = kafka::follow(&brokers, &[format!("{group}.completions")])?;
    let log_records = kafka::extents(&reader, &state)?.iter().map(|extent| extent.high - extent.low).sum();
    // The second run writes to the same log.
    let told = process.log_count(ASSIGNED);
    let killed = Instant::now();
    process.kill();
    let sent = purchases(&brokers, &input, customers)?;
    let started = Instant::now();
    let mut process = systems::start(System::Sillage, ground, &run)?;
    let (came, outcomes) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| outcomes(&reader, sent));
        let came = until_ready(ground, &group, &mut process, started, told);
        (came, reading.join().unwrap_or_else(|_| Err("the reader of outcomes ended".to_owned())))
    });
    let (assigned, ready, cpu_s, rss_mb) = came?;
    let (first, last) = outcomes.map_err(|reason| format!("{reason}\n{}", process.log_tail()))?;
    let since = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
    process.end();
    Ok(Seen {
        customers,
        log_mb,
        log_records,
        assigned,
        ready,
        first: since(started, first),
        first_after_kill: since(killed, first),
        last_after_kill: since(killed, last),
        cpu_s,
        rss_mb,
    })
}

/// Sends the purchase of every so-manieth customer. Returns how many.
fn purchases(brokers: &str, input: &str, customers: u64) -> Result<u64, String> {
    let filler = crate::fill::Filler::open(brokers, input, Stamp::Broker)?;
    let (count, mut value) = (PURCHASES.min(customers), String::new());
    for number in 0..count {
        let key = customers::purchase(number * (customers / count.max(1)), &mut value);
        filler.send(&key, value.as_bytes(), crate::ground::now_ms());
    }
    filler.flush()?;
    Ok(count)
}

/// When its log tells of the assignment, and when `/readyz` is 200, in seconds since its start; what that cost.
fn until_ready(
    ground: &Ground,
    group: &str,
    process: &mut Process,
    started: Instant,
    told: usize,
) -> Result<(f64, f64, f64, f64), String> {
    let mut connection = Connection::to(&systems::address(ground, group, process)?)?;
    let mut assigned = None;
    loop {
        let since = started.elapsed().as_secs_f64();
        if assigned.is_none() && process.log_count(ASSIGNED) > told {
            assigned = Some(since);
        }
        if connection.get("/readyz").is_ok_and(|answer| answer.status == 200) {
            let cpu = watch::cpu(process.pid()).unwrap_or_default();
            let (rss, _) = watch::resident(process.pid()).unwrap_or_default();
            return Ok((assigned.unwrap_or(since), since, cpu, rss));
        }
        if process.has_ended() || started.elapsed() > PATIENCE {
            return Err(format!("Sillage does not come back:\n{}", process.log_tail()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// When the first and the last of so many outcomes were seen. One more or one less would be no exactly once.
fn outcomes(reader: &BaseConsumer, expected: u64) -> Result<(Instant, Instant), String> {
    let (mut first, mut last, mut seen) = (None, Instant::now(), 0);
    while seen < expected || last.elapsed() < Duration::from_secs(2) {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => {
                seen += 1;
                last = Instant::now();
                first = first.or(Some(last));
            }
            Some(Err(error)) => return Err(format!("cannot read outcomes: {error}")),
            None if last.elapsed() > PATIENCE => return Err(format!("{seen} of {expected} outcomes came")),
            None => {}
        }
    }
    let first = first.ok_or("no outcome came")?;
    if seen == expected { Ok((first, last)) } else { Err(format!("{seen} outcomes came instead of {expected}")) }
}

/// Bytes of a topic's segments on the broker's disk.
fn folder_mb(ground: &Ground, topic: &str) -> Result<f64, String> {
    let mut bytes = 0;
    for partition in 0..PARTITIONS {
        let folder = ground.home().path().join(format!("kafka/{topic}-{partition}"));
        for file in std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?.flatten() {
            if file.path().extension().is_some_and(|extension| extension == "log") {
                bytes += file.metadata().map_or(0, |metadata| metadata.len());
            }
        }
    }
    Ok(bytes as f64 / 1e6)
}
