//! How long an outcome takes, live: from the instant at which its touchpoint was meant to be sent until a reader of committed
//! records has it; and how late an abandonment comes after its deadline.
//!
//! Open loop: the schedule stands before anything is sent, so that a system that stalls, or a sender that does, is seen in the
//! latency of everything that had to wait. The broker stamps the records; the model's spans are seconds (`live.yaml`).

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;

use crate::fill::{self, Filler, Format, Stamp};
use crate::ground::{Ground, now_ms};
use crate::kafka;
use crate::load::{self, Deed, Settings};
use crate::outcomes;
use crate::plan::{Load, Plan};
use crate::systems::{self, Run, System};
use crate::watch::{self, Watched};

/// Before anything is counted: Java compiles its hot code.
const WARM_UP_S: u64 = 20;
/// At the beginning of each rate, not counted.
const SETTLE_S: u64 = 5;
/// Between two rates; what is still on its way comes to an end.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one system may take for the backlog that tells its rate.
const LIMIT: Duration = Duration::from_secs(600);
/// Shares of what the slowest system drains.
const SHARES: [u64; 3] = [10, 50, 80];

/// Touchpoints at one rate.
struct Phase {
    rate: u64,
    /// Its touchpoints, by their number in the whole.
    first: usize,
    count: usize,
    /// The first that counts.
    counted: usize,
    /// When it begins.
    begins: Duration,
}

impl Phase {
    /// When a touchpoint is meant to be sent.
    fn intended(&self, number: usize) -> Duration {
        self.begins + Duration::from_nanos((number - self.first) as u64 * 1_000_000_000 / self.rate)
    }

    fn ends(&self) -> usize {
        self.first + self.count
    }
}

/// What was seen at one rate, in microseconds.
#[derive(Default)]
struct Seen {
    /// Of outcomes that name a touchpoint as their cause.
    latencies: Vec<u32>,
    /// Of abandonments, after their deadlines.
    lateness: Vec<u32>,
    /// How late the sender was at most.
    sender_us: u128,
}

/// Measures each system at each interval and rate.
pub fn run(plan: &Plan) -> Result<(), String> {
    let systems = if plan.asked.is_empty() { &[System::Sillage, System::Streams][..] } else { &plan.asked };
    let intervals = if plan.intervals.is_empty() { &[100, 25][..] } else { &plan.intervals };
    let ground = Ground::with_broker(plan, systems)?;
    let load = plan.loads.first().ok_or("no load was chosen")?;
    let (mut text, rates) = (String::new(), rates(plan, &ground, systems, load)?);
    let _ = writeln!(
        text,
        "\nRates: {}. {} s each after {SETTLE_S} s that do not count; {WARM_UP_S} s before the first.\n\n\
         | system | commits each | touchpoints/s | outcomes | p50 ms | p99 ms | p99.9 ms | most | abandonments | p50 late ms \
         | p99 late ms | sender late at most ms |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        rates.1, plan.seconds
    );
    for interval in intervals {
        for system in systems {
            let phases = phases(&rates.0, plan.seconds);
            let seen = session(&ground, *system, *interval, load, &phases)?;
            for (phase, seen) in phases.iter().zip(seen).skip(1) {
                let row = row(*system, *interval, phase.rate, seen);
                eprintln!("{row}");
                let _ = writeln!(text, "{row}");
            }
        }
    }
    ground.publish(plan, "latency", &text)
}

/// The rates, and what they are: those that were asked for, or shares of what the slowest drains. Every system drains a backlog
/// in any case: a cold broker takes several times as long for a commit, and only the first system would meet it.
fn rates(plan: &Plan, ground: &Ground, systems: &[System], load: &Load) -> Result<(Vec<u64>, String), String> {
    let brokers = ground.brokers();
    let backlog = fill::fill(&brokers, "rates-touchpoints", &load.settings, Format::Json, now_ms())?;
    let mut slowest: Option<(System, f64)> = None;
    for system in systems {
        let group = format!("rates-{}", system.name());
        let run = Run::of(&brokers, &backlog.topic, &group);
        let process = systems::start(*system, ground, &run)?;
        let cost = watch::drain(&Watched::of(&brokers, process.pid(), &backlog.topic, &group), LIMIT);
        let cost = cost.map_err(|reason| format!("{}: {reason}\n{}", system.name(), process.log_tail()))?;
        process.end();
        eprintln!("{} drains {:.1} k/s", system.name(), cost.warm_k_per_s);
        if slowest.is_none_or(|(_, rate)| cost.warm_k_per_s < rate) {
            slowest = Some((*system, cost.warm_k_per_s));
        }
    }
    kafka::delete(&brokers, "")?;
    let (system, rate) = slowest.ok_or("no system was chosen")?;
    if !plan.rates.is_empty() {
        return Ok((plan.rates.clone(), format!("as asked for; {} drains {rate:.0} k/s", system.title())));
    }
    let of = |share: &u64| (rate * 1e3) as u64 * share / 100;
    let what = format!("10, 50 and 80 % of the {rate:.0} k/s at which {} drains a backlog", system.title());
    Ok((SHARES.iter().map(of).collect(), what))
}

/// The warm-up at the rate in the middle, and then each rate in turn.
fn phases(rates: &[u64], seconds: u64) -> Vec<Phase> {
    let warm = rates[rates.len() / 2];
    let plan = [(warm, WARM_UP_S)].into_iter().chain(rates.iter().map(|rate| (*rate, SETTLE_S + seconds)));
    let (mut phases, mut first, mut begins) = (Vec::new(), 0, Duration::ZERO);
    for (rate, seconds) in plan {
        let count = (rate * seconds) as usize;
        phases.push(Phase { rate, first, count, counted: first + (rate * SETTLE_S) as usize, begins });
        first += count;
        begins += Duration::from_secs(seconds) + PAUSE;
    }
    phases
}

/// One process through all phases.
fn session(ground: &Ground, system: System, interval: u64, load: &Load, phases: &[Phase]) -> Result<Vec<Seen>, String> {
    let (brokers, group) = (ground.brokers(), format!("live-{interval}-{}", system.name()));
    let input = format!("{group}-touchpoints");
    let run = Run { model: "live", commit_ms: interval, ..Run::of(&brokers, &input, &group) };
    let touchpoints = phases.last().map_or(0, Phase::ends);
    // As dense in event time as the backlog, so that a visit's touchpoints are as many others apart.
    let span_ms = load.settings.span_ms as u128 * touchpoints as u128 / load.settings.touchpoints.max(1) as u128;
    let deeds = load::deeds(&Settings { touchpoints, span_ms: span_ms as u64, ..load.settings });
    let filler = Filler::create(&brokers, &input, Stamp::Broker)?;
    let mut process = systems::start(system, ground, &run)?;
    systems::until_ready(system, ground, &run, &mut process)?;
    let reader = kafka::follow(&brokers, &systems::topics(&run).collect::<Vec<String>>())?;
    let done = AtomicBool::new(false);
    let (begin, begin_ms) = (Instant::now() + PAUSE, now_ms() + PAUSE.as_millis() as i64);
    let (late, seen) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(&reader, phases, begin, begin_ms, &done));
        let late = send(&filler, &deeds, phases, begin, begin_ms);
        // What came last is decided and read.
        std::thread::sleep(PAUSE + PAUSE);
        done.store(true, Ordering::Relaxed);
        (late, reading.join().unwrap_or_else(|_| Err("the reader of outcomes ended".to_owned())))
    });
    let mut seen = seen.map_err(|reason| format!("{}: {reason}\n{}", system.name(), process.log_tail()))?;
    if process.has_ended() {
        return Err(format!("{} ended:\n{}", system.name(), process.log_tail()));
    }
    process.end();
    seen.iter_mut().zip(late).for_each(|(seen, late)| seen.sender_us = late);
    kafka::delete(&brokers, "")?;
    Ok(seen)
}

/// Sends everything when it is due. Returns how late it was at most, by phase.
fn send(filler: &Filler, deeds: &[Deed], phases: &[Phase], begin: Instant, begin_ms: i64) -> Vec<u128> {
    let (mut key, mut value, mut id) = (String::new(), String::new(), String::new());
    let mut most = Vec::new();
    for phase in phases {
        let mut late = Duration::ZERO;
        for (number, deed) in deeds.iter().enumerate().take(phase.ends()).skip(phase.first) {
            let intended = phase.intended(number);
            let due = begin + intended;
            while Instant::now() < due {
                std::thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_micros(500)));
            }
            late = late.max(since(due));
            id.clear();
            let _ = write!(id, "l-{number}");
            load::key(deed, &mut key);
            let at = begin_ms + intended.as_millis() as i64;
            load::json_as(&id, deed, at, &mut value);
            filler.send(&key, value.as_bytes(), at);
        }
        most.push(late.as_micros());
    }
    most
}

/// Reads outcomes until it is told to end.
fn read(
    reader: &BaseConsumer,
    phases: &[Phase],
    begin: Instant,
    begin_ms: i64,
    done: &AtomicBool,
) -> Result<Vec<Seen>, String> {
    let mut seen: Vec<Seen> = phases.iter().map(|_| Seen::default()).collect();
    while !done.load(Ordering::Relaxed) {
        match reader.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                let now = since(begin);
                note(message.payload().unwrap_or_default(), now, phases, begin_ms, &mut seen);
            }
            Some(Err(error)) => return Err(format!("cannot read outcomes: {error}")),
            None => {}
        }
    }
    Ok(seen)
}

fn note(value: &[u8], now: Duration, phases: &[Phase], begin_ms: i64, seen: &mut [Seen]) {
    if let Some(number) = outcomes::field(value, "cause").and_then(|cause| cause.strip_prefix("l-")?.parse().ok()) {
        let place = phases.partition_point(|phase| phase.ends() <= number);
        if let Some(phase) = phases.get(place).filter(|phase| number >= phase.counted) {
            seen[place].latencies.push(now.saturating_sub(phase.intended(number)).as_micros() as u32);
        }
        return;
    }
    let Some(at) = outcomes::field(value, "at").and_then(load::millis) else { return };
    let deadline = Duration::from_millis((at - begin_ms).max(0) as u64);
    let counts = |phase: &Phase| deadline >= phase.intended(phase.counted) && deadline < phase.intended(phase.ends());
    if let Some(place) = phases.iter().position(counts) {
        seen[place].lateness.push(now.saturating_sub(deadline).as_micros() as u32);
    }
}

fn row(system: System, interval: u64, rate: u64, mut seen: Seen) -> String {
    seen.latencies.sort_unstable();
    seen.lateness.sort_unstable();
    let ms = |sorted: &[u32], share: f64| {
        let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
        sorted.get(place).map_or_else(|| "–".to_owned(), |us| format!("{:.1}", f64::from(*us) / 1e3))
    };
    let Seen { latencies, lateness, sender_us } = &seen;
    format!(
        "| {} | {interval} ms | {rate} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
        system.title(),
        latencies.len(),
        ms(latencies, 0.5),
        ms(latencies, 0.99),
        ms(latencies, 0.999),
        ms(latencies, 1.0),
        lateness.len(),
        ms(lateness, 0.5),
        ms(lateness, 0.99),
        *sender_us as f64 / 1e3
    )
}

/// The time since an instant that may lie ahead.
fn since(begin: Instant) -> Duration {
    Instant::now().saturating_duration_since(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_counts_from_when_its_touchpoint_was_meant_to_be_sent() {
        let phases = phases(&[100, 1_000], 10);
        assert_eq!((phases.len(), phases[0].rate, phases[2].first), (3, 1_000, 20_000 + 1_500));
        let mut seen: Vec<Seen> = phases.iter().map(|_| Seen::default()).collect();
        let intended = phases[2].intended(phases[2].counted);
        let cause = format!(r#"{{"at":"1970-01-01T00:00:00.000Z","cause":"l-{}"}}"#, phases[2].counted);
        note(cause.as_bytes(), intended + Duration::from_millis(30), &phases, 0, &mut seen);
        let mut at = String::new();
        load::instant(intended.as_millis() as i64 + 1, &mut at);
        let silence = format!(r#"{{"at":"{at}","cause":null}}"#);
        note(silence.as_bytes(), intended + Duration::from_millis(101), &phases, 0, &mut seen);
        assert_eq!((&seen[2].latencies[..], &seen[2].lateness[..]), (&[30_000][..], &[100_000][..]));
    }

    #[test]
    fn the_largest_is_the_last_share() {
        let seen = Seen { latencies: (1..=1_000).map(|ms| ms * 1_000).collect(), ..Seen::default() };
        let expected = "| **Sillage** | 25 ms | 9 | 1000 | 500.0 | 990.0 | 999.0 | 1000.0 | 0 | – | – | 0.0 |";
        assert_eq!(row(System::Sillage, 25, 9, seen), expected);
    }
}
