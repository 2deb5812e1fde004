//! What is measured: the loads, the systems, how often; from the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::load::{Mix, Settings};
use crate::systems::System;

/// A load by its name.
#[derive(Clone, Debug)]
pub struct Load {
    /// The name.
    pub name: String,
    /// What it says of itself in the report.
    pub about: &'static str,
    /// What to make.
    pub settings: Settings,
}

const HOUR_MS: u64 = 3_600_000;

/// The loads that there are, the first for the short form.
pub fn loads() -> Vec<Load> {
    let load = |name: &str, about, touchpoints, candidates, mix| {
        let settings = Settings { seed: 7, touchpoints, candidates, span_ms: 36 * HOUR_MS, mix };
        Load { name: name.to_owned(), about, settings }
    };
    vec![
        load(
            "busy",
            "many customers, most of whom come once or twice; 0.6 outcomes a touchpoint",
            1_500_000,
            2_600_000,
            Mix { notice: 48, look: 28, idle: 14, pages: 2 },
        ),
        load(
            "browsing",
            "customers who look around; 0.2 outcomes a touchpoint",
            3_000_000,
            2_400_000,
            Mix { notice: 10, look: 48, idle: 37, pages: 8 },
        ),
        load(
            "rows",
            "fewer customers who come more often and shop more",
            1_500_000,
            1_100_000,
            Mix { notice: 30, look: 45, idle: 0, pages: 4 },
        ),
    ]
}

/// What was asked for.
pub struct Plan {
    /// The loads, in order.
    pub loads: Vec<Load>,
    /// The systems, in order.
    pub systems: Vec<System>,
    /// How many times each system drains each load, at most.
    pub rounds: usize,
    /// No round is begun that would not end within this time.
    pub within: Option<Duration>,
    /// The binary under test.
    pub sillage: Option<PathBuf>,
    /// Where to write the report.
    pub report: Option<PathBuf>,
    /// A file that is locked for a round, so that builds which lock it as well wait.
    pub lock: Option<PathBuf>,
    /// Heap of the rivals on Java.
    pub heap: String,
    /// Properties of the floor's clients.
    pub floor: Vec<String>,
    /// The command, for the report.
    pub command: String,
}

/// How to ask.
pub const USAGE: &str = "\
bench run      [--minutes N] [--load busy|browsing|rows]… [--system sillage|floor|streams|streams-rocksdb|flink]… [--rounds N]
               [--touchpoints N] [--candidates N] [--hours N] [--seed N] [--mix NOTICE/LOOK/IDLE/PAGES]
               [--sillage BINARY] [--report FILE] [--lock FILE] [--heap 3g] [--floor PROPERTY=VALUE]…
bench load NAME [--touchpoints N] …    writes a load as JSON lines to standard output
bench floor BROKERS INPUT GROUP CAPTURED [PROPERTY=VALUE]…    the bare loop; `run` starts it";

impl Plan {
    /// Reads the arguments behind `run` or `load`.
    pub fn read(arguments: &[String]) -> Result<Plan, String> {
        let (mut names, mut systems) = (Vec::new(), Vec::new());
        let mut plan = Plan {
            loads: Vec::new(),
            systems: Vec::new(),
            rounds: 5,
            within: None,
            sillage: None,
            report: None,
            lock: None,
            heap: "3g".to_owned(),
            floor: Vec::new(),
            command: format!("bench run {}", arguments.join(" ")),
        };
        let mut all = loads();
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} {value} is no number"));
            match name.as_str() {
                "--minutes" => plan.within = Some(Duration::from_secs(60 * number()?)),
                "--rounds" => plan.rounds = number()? as usize,
                "--load" => names.push(value.clone()),
                "--system" => systems.push(system(value)?),
                "--touchpoints" => each(&mut all, number()?, |settings, number| settings.touchpoints = number as usize),
                "--candidates" => each(&mut all, number()?, |settings, number| settings.candidates = number as u32),
                "--hours" => each(&mut all, number()?, |settings, number| settings.span_ms = number * HOUR_MS),
                "--seed" => each(&mut all, number()?, |settings, number| settings.seed = number),
                "--mix" => {
                    let mix = mix(value)?;
                    all.iter_mut().for_each(|load| load.settings.mix = mix);
                }
                "--sillage" => plan.sillage = Some(value.into()),
                "--report" => plan.report = Some(value.into()),
                "--lock" => plan.lock = Some(value.into()),
                "--floor" => plan.floor.push(value.clone()),
                "--heap" => plan.heap.clone_from(value),
                _ => return Err(format!("{name} is not known\n{USAGE}")),
            }
        }
        if names.is_empty() {
            // The short form has time for one load.
            let usual: &[&str] = if plan.within.is_some() { &["busy"] } else { &["busy", "browsing"] };
            names = usual.iter().map(|name| (*name).to_owned()).collect();
        }
        for name in names {
            let found = all.iter().find(|load| load.name == name);
            plan.loads.push(found.ok_or_else(|| format!("there is no load {name}\n{USAGE}"))?.clone());
        }
        if systems.is_empty() {
            systems = System::ALL.to_vec();
            // Flink's outcomes have not been seen equal yet: only where it is asked for.
            systems.retain(|system| *system != System::Flink);
            // The short form has time for the nearest rival only.
            systems.retain(|system| plan.within.is_none() || *system != System::StreamsRocks);
        }
        plan.systems = systems;
        Ok(plan)
    }
}

fn each(all: &mut [Load], number: u64, set: impl Fn(&mut Settings, u64)) {
    all.iter_mut().for_each(|load| set(&mut load.settings, number));
}

fn system(name: &str) -> Result<System, String> {
    let found = System::ALL.into_iter().find(|system| system.name() == name);
    found.ok_or_else(|| format!("there is no system {name}\n{USAGE}"))
}

fn mix(text: &str) -> Result<Mix, String> {
    let parts: Vec<u64> = text.split('/').filter_map(|part| part.parse().ok()).collect();
    match parts[..] {
        [notice, look, idle, pages] if notice + look + idle <= 100 && pages > 0 => Ok(Mix { notice, look, idle, pages }),
        _ => Err(format!("{text} is no mix; write percentages of visits and the most pages, such as 30/45/0/4")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Plan {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Plan::read(&arguments).unwrap_or_else(|reason| panic!("{reason}"))
    }

    #[test]
    fn what_is_not_asked_for_has_a_default() {
        let plan = read(&[]);
        let names: Vec<&str> = plan.loads.iter().map(|load| load.name.as_str()).collect();
        assert_eq!((names, plan.systems.len()), (vec!["busy", "browsing"], 4));
        let short = read(&["--minutes", "5"]);
        assert_eq!((short.loads.len(), short.systems), (1, vec![System::Sillage, System::Floor, System::Streams]));
        let asked = read(&["--load", "rows", "--system", "flink", "--touchpoints", "9"]);
        assert_eq!((asked.loads[0].name.as_str(), asked.loads[0].settings.touchpoints), ("rows", 9));
        assert_eq!(asked.systems, [System::Flink]);
        assert!(Plan::read(&["--load".to_owned(), "none".to_owned()]).is_err());
    }
}
