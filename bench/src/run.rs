//! The course of a measurement: one broker, one load after the other, and in each round one system after the other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::broker::{self, Broker};
use crate::capture::{Keeper, Volume};
use crate::fill::{self, Backlog};
use crate::home::Home;
use crate::kafka;
use crate::outcomes::Told;
use crate::plan::{Load, Plan};
use crate::report::{self, Figures, Measured, Report};
use crate::systems::{self, Run, System, Tools};
use crate::watch::{self, Commits, Cost, Watched};

/// How long one system may take for one backlog.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs everything that was planned.
pub fn run(plan: &Plan) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the package lies in no repository")?;
    let missing = broker::missing_tools();
    if !missing.is_empty() {
        return Err(format!("{} cannot be found; {}", missing.join(" and "), broker::INSTALL));
    }
    let sillage = sillage(plan)?;
    let jars = broker::jars(root)?;
    let rival = |of: &[System], name| {
        let wanted = plan.systems.iter().any(|system| of.contains(system));
        wanted.then(|| broker::rival(root, name)).transpose()
    };
    let streams = rival(&[System::Streams, System::StreamsRocks], "streams")?;
    let flink = rival(&[System::Flink], "flink")?;
    let tools = Tools {
        sillage,
        model: root.join("bench/plain.yaml"),
        streams,
        flink,
        heap: plan.heap.clone(),
        floor: plan.floor.clone(),
    };
    let begun = Instant::now();
    let home = Home::make()?;
    let broker = Broker::start(&home, &jars)?;
    let brokers = broker.address();
    let mut report = Report::default();
    for load in &plan.loads {
        report.figures.push(Course { plan, tools: &tools, home: &home, brokers: &brokers, begun }.measure(load)?);
        kafka::delete(&brokers, "")?;
    }
    report.machine = report::machine();
    report.sillage = version(&tools.sillage, root, plan.sillage.is_none());
    let text = report::write(&report, plan);
    println!("{text}");
    match &plan.report {
        Some(path) => report::replace(path, &text),
        None => Ok(()),
    }
}

/// The binary that was given, or the one beside this program.
fn sillage(plan: &Plan) -> Result<PathBuf, String> {
    let beside = || std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("sillage")));
    let path = plan.sillage.clone().or_else(beside).unwrap_or_default();
    let path = std::path::absolute(&path).unwrap_or(path);
    let help = "build it with `cargo build --release --locked`, or say where it is with --sillage";
    if path.is_file() { Ok(path) } else { Err(format!("there is no {}; {help}", path.display())) }
}

/// What it says of itself, and where it was built here, the commit that is checked out.
fn version(sillage: &Path, root: &Path, built_here: bool) -> String {
    let told = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(root).output();
        let told = output.ok().filter(|output| output.status.success());
        told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|told| !told.is_empty())
    };
    let version = told(sillage, &["--version"]).unwrap_or_default();
    let commit = built_here.then(|| told(Path::new("git"), &["describe", "--always", "--dirty"])).flatten();
    commit.map_or(version.clone(), |commit| format!("{version}, commit {commit}"))
}

/// The wall clock, which the broker's stamps are compared with.
#[allow(clippy::disallowed_methods)] // Sillage's own clock is not the harness's.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

struct Course<'a> {
    plan: &'a Plan,
    tools: &'a Tools,
    home: &'a Home,
    brokers: &'a str,
    begun: Instant,
}

impl Course<'_> {
    fn measure(&self, load: &Load) -> Result<Figures, String> {
        let input = format!("{}-touchpoints", load.name);
        let backlog = fill::fill(self.brokers, &input, &load.settings, now_ms())?;
        eprintln!(
            "{}: {} touchpoints of {:.0} bytes, {} customers",
            load.name, backlog.touchpoints, backlog.bytes_each, backlog.customers
        );
        let captured = self.home.path().join(format!("{}.captured", load.name));
        let (told, outcomes, state) = self.capture(load, &backlog, &captured)?;
        eprintln!(
            "{}: {} outcomes of {:.0} bytes, {} pages of state, {} bytes a touchpoint",
            load.name,
            outcomes.records,
            outcomes.bytes as f64 / outcomes.records.max(1) as f64,
            state.records,
            state.bytes as u64 / backlog.touchpoints
        );
        let mut figures = Figures::of(load, &backlog, &told, outcomes, state);
        for round in 1..=self.plan.rounds {
            let turn = self.turn()?;
            let before = Instant::now();
            for system in &self.plan.systems {
                let measured = self.drain(*system, load, &backlog, &captured, round, &told);
                match measured {
                    Ok(measured) => {
                        eprintln!("{}", report::line(&measured));
                        figures.measured.push(measured);
                    }
                    Err(reason) => {
                        eprintln!("{} failed: {reason}", system.name());
                        figures.failed.push((*system, reason));
                    }
                }
            }
            drop(turn);
            if self.plan.within.is_some_and(|within| self.begun.elapsed() + before.elapsed() > within) {
                break;
            }
        }
        let _ = std::fs::remove_file(captured);
        Ok(figures)
    }

    /// A first run of Sillage, which warms the broker and is not counted: what it writes is kept.
    fn capture(&self, load: &Load, backlog: &Backlog, captured: &Path) -> Result<(Told, Volume, Volume), String> {
        let group = format!("{}-capture", load.name);
        let run = Run { brokers: self.brokers, input: &backlog.topic, group: &group, captured };
        let mut keeper = Keeper::default();
        let until = AtomicI64::new(i64::MAX);
        let turn = self.turn()?;
        let process = systems::start(System::Sillage, self.tools, self.home, &run)?;
        let (drained, state) = std::thread::scope(|scope| {
            let follower = scope.spawn(|| keeper.follow_state(self.brokers, &group, &until));
            let drained = watch::drain(&self.watched(process.pid(), backlog, &group), LIMIT);
            until.store(now_ms(), Ordering::Relaxed);
            (drained, follower.join().unwrap_or_else(|_| Err("the reader of the state log ended".to_owned())))
        });
        drained.map_err(|reason| format!("Sillage: {reason}\n{}", process.log_tail()))?;
        process.end();
        drop(turn);
        let state = state?;
        let outcomes = keeper.add_outcomes(self.brokers, &group, backlog.end_ms)?;
        let told = Told::read(self.brokers, &group, backlog.end_ms)?;
        keeper.write(captured)?;
        kafka::delete(self.brokers, &group)?;
        Ok((told, outcomes, state))
    }

    fn drain(
        &self,
        system: System,
        load: &Load,
        backlog: &Backlog,
        captured: &Path,
        round: usize,
        expected: &Told,
    ) -> Result<Measured, String> {
        let group = format!("{}-{round}-{}", load.name, system.name());
        let run = Run { brokers: self.brokers, input: &backlog.topic, group: &group, captured };
        let (cost, until) = {
            let mut process = systems::start(system, self.tools, self.home, &run)?;
            let outputs = systems::topics(&run).collect::<Vec<String>>();
            let mut watched = self.watched(process.pid(), backlog, &group);
            if system == System::Floor {
                watched.base = watch::cpu(process.pid()).unwrap_or_default();
                process.tell()?;
            } else if system == System::Flink {
                // It commits offsets and outcomes apart from each other, and decides some after the last record.
                watched.outputs = &outputs;
            }
            let cost = watch::drain(&watched, LIMIT);
            let until = now_ms();
            let cost = cost.map_err(|reason| format!("{reason}\n{}", process.log_tail()))?;
            process.end();
            (cost, until)
        };
        let told = Told::read(self.brokers, &group, backlog.end_ms)?;
        let commits = watch::commits(self.brokers, &group, until)?;
        kafka::delete(self.brokers, &group)?;
        let differences = expected.differences(&told);
        if !differences.is_empty() {
            return Err(format!("its outcomes are others (expected against told): {}", differences.join("; ")));
        }
        let same = Same { ids: told.ids == expected.ids, bytes: told.sum == expected.sum };
        Ok(measured(system, round, cost, commits, same))
    }

    fn watched<'a>(&'a self, pid: u32, backlog: &'a Backlog, group: &'a str) -> Watched<'a> {
        Watched { brokers: self.brokers, pid, topic: &backlog.topic, group, base: 0.0, outputs: &[] }
    }

    /// Held for a round, so that no build that asks for the same file runs meanwhile.
    fn turn(&self) -> Result<Option<File>, String> {
        let Some(path) = &self.plan.lock else { return Ok(None) };
        let file = File::options().create(true).append(true).open(path).map_err(|error| error.to_string())?;
        file.lock().map_err(|error| error.to_string())?;
        Ok(Some(file))
    }
}

/// How far outcomes are the same, beyond their counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Same {
    /// Their ids.
    pub ids: bool,
    /// All their bytes.
    pub bytes: bool,
}

fn measured(system: System, round: usize, cost: Cost, commits: Commits, same: Same) -> Measured {
    Measured { system, round, cost, commits, same }
}
