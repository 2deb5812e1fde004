//! Deterministic simulation: workers, group decisions, ledger and restores as they are, on fake brokers that lose, delay and double what they
//! are asked, on hosts that are killed, frozen and cut off, and judged by laws that know nothing of either.
//!
//! `SILLAGE_SEED` runs one seed and prints what happened; `SILLAGE_SEEDS` runs so many. `make simulate` runs until stopped.

mod brokers;
mod client;
mod defects;
mod dice;
mod ends;
mod group;
mod laws;
mod load;
mod log;
mod logins;
mod merged;
mod nemesis;
mod offers;
mod process;
mod restores;
mod story;
mod transactions;
mod weather;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sillage::ledger::Ledger;
use sillage::model;
use sillage::shard::{Control, Settings, StateLog};
use sillage::time::Span;
use sillage::wire::Format;
use sillage::wire::pages::Mark;

use defects::Defect;
use dice::Dice;
use log::{Fate, Millis};
use story::{BEGINNING, Entered};
use weather::{Case, People, Sky, Weather};
use world::{Broken, Event, Sim, State};

/// Seeds that CI runs.
const SEEDS: u64 = 2_000;
/// The same of customers who log in.
const LOGIN_SEEDS: u64 = 400;
/// Within so many seeds each defect must be caught.
const CATCH: u64 = 500;
/// After the last touchpoint, so long until all is calm.
const STORM: Millis = 3_000;
/// After that, so long until everything is decided: time for zombies, sessions, transactions, and the longest wait.
const CALM: Millis = 12_000 + story::LONGEST;

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    outcomes: usize,
    offers: usize,
    /// Customers who log in, and those of them of whom everything is compared.
    people: usize,
    compared: usize,
    /// So late, by stream time, something handed over was applied.
    latest: Millis,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        let Counts { outcomes, offers, people, compared, latest } = other;
        self.outcomes += outcomes;
        self.offers += offers;
        self.people += people;
        self.compared += compared;
        self.latest = self.latest.max(latest);
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Ran {
    counts: Counts,
    commits: u64,
    hash: u64,
    broken: Option<Broken>,
    story: String,
}

/// Every fifth seed has wrong clocks: a wall clock that jumps, a shard that moves to a host whose clock is behind or ahead,
/// records stamped by dishonest clients. What is decided hangs on the clocks then, but no commit is torn, and nothing is lost
/// or comes twice.
fn storm(seed: u64) -> Sky {
    if seed % 5 == 4 { Sky::WrongClocks } else { Sky::Stormy }
}

fn run(case: Case, traced: bool) -> Ran {
    let mut dice = Dice::new(case.seed);
    let mut weather = Weather::new(&mut dice, case.sky);
    if case.people == People::LogIn {
        logins::come(&mut weather, &mut dice);
    }
    let plan = story::plan(&mut dice);
    let (model, faults) = model::load("simulated.yaml", &story::yaml(&plan));
    let shown = sillage::diagnostic::render(&faults, sillage::diagnostic::Style::Plain);
    let mut model = model.unwrap_or_else(|| panic!("{shown}"));
    assert!(model.contact_by(Some(&offers::contacts())).is_empty());
    let model = Arc::new(model);
    let load = match weather.logins {
        None => load::make(&mut dice, &weather, BEGINNING + 1_000),
        Some(logins) => logins::make(&mut dice, &weather, logins, BEGINNING + 1_000),
    };
    let ledger = Ledger {
        group: "g".to_owned(),
        inputs: (0..weather.inputs).map(|input| format!("in-{input}")).collect(),
        output: "out".to_owned(),
        partitions: weather.shards,
        format: Format::Json,
        dead_letter_bytes: 1 << 20,
        models: vec![Mark::of(&model)],
    };
    let settings = Settings {
        settle: Span::from_millis(50),
        // Milliseconds are this world's seconds.
        max_delay: Span::from_millis(4),
        grace: Span::from_millis(weather.grace),
        decisions_per_transaction: weather.decisions_per_transaction,
        state_log: StateLog::Changes,
        control: Control::After(weather.inputs),
        ..Settings::default()
    };
    let (workers, first) = (weather.workers, load.arriving.first().map_or(0, |first| first.at));
    let (calm, over) = (load.ends + STORM, load.ends + STORM + CALM + 2 * weather.skew + weather.longest_stall);
    let over = over + if weather.logins.is_some() { logins::CALM } else { 0 };
    let shown = if traced { format!("{weather:#?}\n{}", story::yaml(&plan)) } else { String::new() };
    let sim = Sim::new(BEGINNING, weather, case.defect, Arc::new(ledger), Arc::from([model]), settings, load, dice, traced);
    {
        let mut state = sim.state();
        (0..workers).for_each(|number| state.at(BEGINNING, Event::Start(number)));
        state.at(BEGINNING, Event::Group);
        state.at(first, Event::Arrive);
        state.at(BEGINNING + 500, Event::Fault);
        state.at(BEGINNING + 300, Event::Replicas);
        state.at(calm, Event::Calm);
    }
    sim.pass(over);
    let mut state = sim.state();
    let mut ran = Ran { commits: state.laws.commits(), hash: state.hash, ..Ran::default() };
    ran.broken = state.broken.take();
    if ran.broken.is_none() {
        match last_judgement(&sim, &state, &plan) {
            Ok(counts) => ran.counts = counts,
            Err(broken) => ran.broken = Some(broken),
        }
    }
    if let Some(trace) = state.trace.take() {
        ran.story = shown;
        for line in trace {
            let _ = writeln!(ran.story, "{line}");
        }
    }
    // Processes know their world; it must not live on through them.
    let hosts = std::mem::take(&mut state.hosts);
    drop(state);
    drop(hosts);
    ran
}

/// When everything is over: all is applied, and what a reader of committed records finds is what must be there. How many outcomes
/// there were, and how many offers.
fn last_judgement(sim: &Sim, state: &State, plan: &crate::judge::Plan) -> Result<Counts, Broken> {
    assert!(state.arrived_all(), "the load has not landed");
    state.laws.finished(&state.brokers)?;
    let mut entered = Vec::new();
    for input in 0..sim.weather.inputs {
        for (_, log) in state.brokers.logs_of(input) {
            let mut running = i64::MIN;
            for (offset, record, fate) in log.from(0) {
                if fate == Fate::Committed {
                    running = running.max(record.stamp);
                    let value = record.value.as_deref().unwrap_or_default();
                    entered.push(Entered { log_time: running, input, offset, value });
                }
            }
        }
    }
    let mut published = Vec::new();
    for output in
        ["transitions", "completions", "abandonments", "recoveries", "friction", "interventions", "held-out", "measurements"]
    {
        for (_, log) in state.brokers.logs_of(state.brokers.topic(&sim.ledger.topic(output))) {
            let committed = log.from(0).filter(|(_, _, fate)| *fate == Fate::Committed);
            let json = committed.map(|(_, record, _)| serde_json::from_slice(record.value.as_deref().unwrap_or_default()));
            published.extend(json.map(|json| json.expect("an outcome is JSON")));
        }
    }
    if sim.weather.logins.is_some() {
        return merged::judge(sim, state, &entered, &published);
    }
    // Where clocks are wrong, what must be said is no function of the inputs alone.
    let plan = Some(plan).filter(|_| sim.weather.skew == 0);
    let (outcomes, difference) = story::compare(plan, &state.load.made, &mut entered, &published, sim.weather.grace);
    if difference.is_none() {
        // Likewise, when something came.
        let clocks_are_right = plan.is_some();
        let judged = offers::judge(&published, &state.load.made, &entered, clocks_are_right);
        let judged = judged.and_then(|offers| Ok((offers, offers::judge_sums(&published, &state.laws.sums())?)));
        return judged
            .map(|(offers, _)| Counts { outcomes, offers, ..Counts::default() })
            .map_err(|how| Broken { law: offers::LAW, how });
    }
    Err(Broken {
        law: "nothing is lost, twice, wrong, after the purchase or out of sequence",
        how: format!("{difference:#?}"),
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs seeds on two threads until one breaks a law; the least that did, or what all came to.
fn seeds(
    people: People,
    (first, count): (u64, u64),
    sky: fn(u64) -> Sky,
    defect: Option<Defect>,
) -> Result<(Counts, u64), (u64, Broken)> {
    let (next, counts, commits) = (AtomicU64::new(first), Mutex::new(Counts::default()), AtomicU64::new(0));
    let worst = AtomicU64::new(u64::MAX);
    let work = || {
        let mut found: Option<(u64, Broken)> = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first.saturating_add(count) || seed > worst.load(Ordering::Relaxed) {
                return found;
            }
            let ran = run(Case { seed, sky: sky(seed), people, defect }, false);
            counts.lock().expect("no thread has panicked").add(ran.counts);
            commits.fetch_add(ran.commits, Ordering::Relaxed);
            if let Some(broken) = ran.broken {
                worst.fetch_min(seed, Ordering::Relaxed);
                found = Some((seed, broken));
            }
            if count > SEEDS && (seed + 1 - first).is_multiple_of(1_000) {
                eprintln!("{} seeds from {first} on, and no law is broken", seed + 1 - first);
            }
        }
    };
    let mut found: BTreeMap<u64, Broken> = BTreeMap::new();
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        for thread in threads {
            found.extend(thread.join().expect("a seed that does not panic"));
        }
    });
    match found.pop_first() {
        Some(least) => Err(least),
        None => Ok((counts.into_inner().expect("no thread has panicked"), commits.into_inner())),
    }
}

fn told(people: People, seed: u64, broken: &Broken) -> String {
    let again = match people {
        People::Settled => format!("SILLAGE_SEED={seed} cargo test --test it simulation::storms -- --nocapture"),
        People::LogIn => format!("SILLAGE_LOGIN_SEED={seed} cargo test --test it simulation::logins -- --nocapture"),
    };
    format!("seed {seed} breaks a law: {}\n{}\n{again}", broken.law, broken.how)
}

#[test]
fn fair_weather_loses_nothing() {
    if let Err((seed, broken)) = seeds(People::Settled, (0, 100), |_| Sky::Clear, None) {
        let ran = run(Case { seed, sky: Sky::Clear, people: People::Settled, defect: None }, true);
        panic!("{}{}", ran.story, told(People::Settled, seed, &broken));
    }
}

#[test]
fn storms_lose_nothing() {
    if let Some(seed) = number("SILLAGE_SEED") {
        let ran = run(Case { seed, sky: storm(seed), people: People::Settled, defect: None }, true);
        eprintln!("{}", ran.story);
        let broken = ran.broken.map(|broken| told(People::Settled, seed, &broken));
        assert!(broken.is_none(), "{}", broken.unwrap_or_default());
        return;
    }
    let begun = std::time::Instant::now();
    let count = number("SILLAGE_SEEDS").unwrap_or(SEEDS);
    let first = number("SILLAGE_FIRST").unwrap_or(0);
    match seeds(People::Settled, (first, count), storm, None) {
        Ok((Counts { outcomes, .. }, commits)) => {
            eprintln!("{count} seeds, {outcomes} outcomes, {commits} commits in {:?}", begun.elapsed());
            assert!(outcomes > 0 && commits > 0);
        }
        Err((seed, broken)) => panic!("{}", told(People::Settled, seed, &broken)),
    }
}

#[test]
fn a_seed_is_one_run() {
    let mut offers = 0;
    for seed in 0..10 {
        let case = Case { seed, sky: storm(seed), people: People::Settled, defect: None };
        let (one, other) = (run(case, false), run(case, false));
        assert_eq!((one.hash, one.commits, one.counts), (other.hash, other.commits, other.counts), "seed {seed}");
        offers += one.counts.offers;
    }
    assert!(offers > 50, "{offers} offers are judged");
}

#[test]
fn every_deliberate_defect_is_caught() {
    let mut missed = Vec::new();
    for defect in defects::ALL {
        match seeds(People::Settled, (0, CATCH), storm, Some(defect)) {
            Err((seed, broken)) => eprintln!("{defect:?}: caught by seed {seed}: {}", broken.law),
            Ok(_) => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "within {CATCH} seeds nobody noticed: {missed:?}");
}

#[test]
fn every_deliberate_defect_of_hand_overs_is_caught() {
    let mut missed = Vec::new();
    for defect in defects::OF_LOGINS {
        match seeds(People::LogIn, (0, CATCH), storm, Some(defect)) {
            Err((seed, broken)) => eprintln!("{defect:?}: caught by seed {seed}: {}", broken.law),
            Ok(_) => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "within {CATCH} seeds nobody noticed: {missed:?}");
}

/// `SILLAGE_LOGIN_SEED` runs one seed and prints what happened; `SILLAGE_SEEDS` and `SILLAGE_FIRST` as above.
#[test]
fn logins_in_storms_change_nobodys_story() {
    if let Some(seed) = number("SILLAGE_LOGIN_SEED") {
        let ran = run(Case { seed, sky: storm(seed), people: People::LogIn, defect: None }, true);
        eprintln!("{}", ran.story);
        let broken = ran.broken.map(|broken| told(People::LogIn, seed, &broken));
        assert!(broken.is_none(), "{}", broken.unwrap_or_default());
        return;
    }
    let begun = std::time::Instant::now();
    let count = number("SILLAGE_SEEDS").unwrap_or(LOGIN_SEEDS);
    let first = number("SILLAGE_FIRST").unwrap_or(0);
    match seeds(People::LogIn, (first, count), storm, None) {
        Ok((Counts { outcomes, people, compared, latest, .. }, commits)) => {
            eprintln!(
                "{count} seeds, {outcomes} outcomes, {commits} commits in {:?}; of {people} customers {compared} compared, the \
                 latest hand-over {latest} ms",
                begun.elapsed()
            );
            assert!(outcomes > 0 && commits > 0 && compared > people / 3);
        }
        Err((seed, broken)) => panic!("{}", told(People::LogIn, seed, &broken)),
    }
}
