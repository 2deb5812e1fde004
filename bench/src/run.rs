//! The course of a measurement: one broker, one load after the other, and in each round one system after the other.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::capture::{Keeper, Volume};
use crate::fill::{self, Backlog};
use crate::ground::{Ground, now_ms};
use crate::kafka;
use crate::outcomes::Told;
use crate::plan::{Load, Plan};
use crate::plot;
use crate::report::{self, Figures, Measured};
use crate::systems::{self, Run, System};
use crate::watch::{self, Commits, Cost, Watched};

/// How long one system may take for one backlog.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs everything that was planned.
pub fn run(plan: &Plan) -> Result<(), String> {
    let begun = Instant::now();
    let ground = Ground::with_broker(plan, &plan.systems)?;
    let brokers = ground.brokers();
    let mut all = Vec::new();
    for load in &plan.loads {
        all.push(Course { plan, ground: &ground, brokers: &brokers, begun }.measure(load)?);
        kafka::delete(&brokers, "")?;
    }
    if let Some(path) = &plan.plot {
        let drawn = plot::svg(&report::charts(&all, plan));
        std::fs::write(path, drawn).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    ground.publish(plan, "run", &report::write(&all, plan))
}

struct Course<'a> {
    plan: &'a Plan,
    ground: &'a Ground,
    brokers: &'a str,
    begun: Instant,
}

impl Course<'_> {
    fn measure(&self, load: &Load) -> Result<Figures, String> {
        let input = format!("{}-touchpoints", load.name);
        let backlog = fill::fill(self.brokers, &input, &load.settings, self.plan.format, now_ms())?;
        eprintln!(
            "{}: {} touchpoints of {:.0} bytes, {} customers",
            load.name, backlog.touchpoints, backlog.bytes_each, backlog.customers
        );
        let captured = self.ground.home().path().join(format!("{}.captured", load.name));
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
        let run = Run { captured, format: self.plan.format.name(), ..Run::of(self.brokers, &backlog.topic, &group) };
        let mut keeper = Keeper::default();
        let until = AtomicI64::new(i64::MAX);
        let turn = self.turn()?;
        let process = systems::start(System::Sillage, self.ground, &run)?;
        let (drained, state) = std::thread::scope(|scope| {
            let follower = scope.spawn(|| keeper.follow_state(self.brokers, &group, &until));
            let drained = watch::drain(&Watched::of(self.brokers, process.pid(), &backlog.topic, &group), LIMIT);
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
        let run = Run { captured, format: self.plan.format.name(), ..Run::of(self.brokers, &backlog.topic, &group) };
        let (cost, until) = {
            let mut process = systems::start(system, self.ground, &run)?;
            let outputs = systems::topics(&run).collect::<Vec<String>>();
            let mut watched = Watched::of(self.brokers, process.pid(), &backlog.topic, &group);
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
