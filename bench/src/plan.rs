//! What is measured: the loads, the systems, how often; from the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::fill::Format;
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
    /// The systems that drain a backlog, in order.
    pub systems: Vec<System>,
    /// Those among them that were named.
    pub asked: Vec<System>,
    /// Whether the loads were named.
    pub named: bool,
    /// How many times each system drains each load, at most.
    pub rounds: usize,
    /// No round is begun that would not end within this time.
    pub within: Option<Duration>,
    /// The binary under test.
    pub sillage: Option<PathBuf>,
    /// Where to draw the bars.
    pub plot: Option<PathBuf>,
    /// Where to write the report.
    pub report: Option<PathBuf>,
    /// A file that is locked for a round, so that builds which lock it as well wait.
    pub lock: Option<PathBuf>,
    /// Heap of the rivals on Java.
    pub heap: String,
    /// Properties of the floor's clients.
    pub floor: Vec<String>,
    /// The form of the touchpoints.
    pub format: Format,
    /// So many customers of the profile, one measurement each.
    pub customers: Vec<u64>,
    /// Touchpoints a second, one measurement each; where there are none, shares of what the slowest drains.
    pub rates: Vec<u64>,
    /// How long each rate is measured.
    pub seconds: u64,
    /// Milliseconds between two commits, one measurement each.
    pub intervals: Vec<u64>,
    /// Of the ways to run Sillage, those that were named.
    pub ways: Vec<String>,
    /// The command, for the report.
    pub command: String,
}

/// How to ask.
pub const USAGE: &str = "\
bench run      [--minutes N] [--load busy|browsing|rows]… [--system sillage|floor|streams|streams-rocksdb|flink]… [--rounds N]
               [--format json|avro] [--touchpoints N] [--candidates N] [--hours N] [--seed N] [--mix NOTICE/LOOK/IDLE/PAGES]
               [--heap 3g] [--floor PROPERTY=VALUE]… [--plot FILE.svg] [--lock FILE]    systems drain a backlog, in turn
bench latency  [--rate N]… [--seconds 30] [--interval 100]… [--system sillage|streams]…    touchpoints at a rate, live
bench restore  [--customers N]…                                Sillage is killed and started again
bench slopes   [--customers N]… [--system sillage|streams]…    memory by customers
bench costs    [--rounds N] [--touchpoints N] [--way NAME]…    Sillage beside Sillage: what each rule costs
bench alone    [--touchpoints N] [--load browsing]…            the embedded log, and `sillage replay`
bench load NAME [--touchpoints N] …    writes a load as JSON lines to standard output
bench floor BROKERS INPUT GROUP CAPTURED [PROPERTY=VALUE]…    the bare loop; `run` starts it
All that measure: [--sillage BINARY] [--report FILE]";

impl Plan {
    /// Reads the arguments behind a command.
    pub fn read(command: &str, arguments: &[String]) -> Result<Plan, String> {
        let (mut names, mut systems, mut rounds) = (Vec::new(), Vec::new(), None);
        let mut plan = Plan {
            loads: Vec::new(),
            systems: Vec::new(),
            asked: Vec::new(),
            named: false,
            rounds: 5,
            within: None,
            sillage: None,
            plot: None,
            report: None,
            lock: None,
            heap: "3g".to_owned(),
            floor: Vec::new(),
            format: Format::Json,
            customers: Vec::new(),
            rates: Vec::new(),
            seconds: 30,
            intervals: Vec::new(),
            ways: Vec::new(),
            command: shown(command, arguments),
        };
        let mut all = loads();
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} {value} is no number"));
            match name.as_str() {
                "--minutes" => plan.within = Some(Duration::from_secs(60 * number()?)),
                "--rounds" => rounds = Some(number()? as usize),
                "--load" => names.push(value.clone()),
                "--system" => systems.push(system(value)?),
                "--touchpoints" => each(&mut all, number()?, |settings, number| settings.touchpoints = number as usize),
                "--candidates" => each(&mut all, number()?, |settings, number| settings.candidates = number as u32),
                "--hours" => each(&mut all, number()?, |settings, number| settings.span_ms = number * HOUR_MS),
                "--customers" => plan.customers.push(number()?),
                "--rate" => plan.rates.push(number()?.max(1)),
                "--seconds" => plan.seconds = number()?.max(1),
                "--interval" => plan.intervals.push(number()?),
                "--way" => plan.ways.push(value.clone()),
                "--format" => plan.format = format(value)?,
                "--seed" => each(&mut all, number()?, |settings, number| settings.seed = number),
                "--mix" => {
                    let mix = mix(value)?;
                    all.iter_mut().for_each(|load| load.settings.mix = mix);
                }
                "--sillage" => plan.sillage = Some(value.into()),
                "--plot" => plan.plot = Some(value.into()),
                "--report" => plan.report = Some(value.into()),
                "--lock" => plan.lock = Some(value.into()),
                "--floor" => plan.floor.push(value.clone()),
                "--heap" => plan.heap.clone_from(value),
                _ => return Err(format!("{name} is not known\n{USAGE}")),
            }
        }
        if let Some(rounds) = rounds {
            plan.rounds = rounds;
        } else if plan.within.is_some() {
            // As many as there is time for.
            plan.rounds = usize::MAX;
        }
        plan.named = !names.is_empty();
        if names.is_empty() {
            // The short form has time for one load.
            let usual: &[&str] = if plan.within.is_some() { &["busy"] } else { &["busy", "browsing"] };
            names = usual.iter().map(|name| (*name).to_owned()).collect();
        }
        for name in names {
            let found = all.iter().find(|load| load.name == name);
            plan.loads.push(found.ok_or_else(|| format!("there is no load {name}\n{USAGE}"))?.clone());
        }
        plan.asked.clone_from(&systems);
        if systems.is_empty() {
            systems = System::ALL.to_vec();
            // The rivals read JSON only.
            systems.retain(|system| plan.format == Format::Json || matches!(system, System::Sillage | System::Floor));
            // The short form has time for the nearest rival only.
            let far = |system: &System| matches!(system, System::StreamsRocks | System::Flink);
            systems.retain(|system| plan.within.is_none() || !far(system));
        }
        plan.systems = systems;
        Ok(plan)
    }
}

/// The command without its paths, which say nothing elsewhere.
fn shown(command: &str, arguments: &[String]) -> String {
    const PATHS: [&str; 4] = ["--sillage", "--report", "--plot", "--lock"];
    let pairs = arguments.chunks(2).filter(|pair| !PATHS.contains(&pair[0].as_str()));
    std::iter::once(format!("bench {command}")).chain(pairs.map(|pair| pair.join(" "))).collect::<Vec<String>>().join(" ")
}

fn each(all: &mut [Load], number: u64, set: impl Fn(&mut Settings, u64)) {
    all.iter_mut().for_each(|load| set(&mut load.settings, number));
}

fn system(name: &str) -> Result<System, String> {
    let found = System::ALL.into_iter().find(|system| system.name() == name);
    found.ok_or_else(|| format!("there is no system {name}\n{USAGE}"))
}

fn format(name: &str) -> Result<Format, String> {
    let found = [Format::Json, Format::Avro].into_iter().find(|format| format.name() == name);
    found.ok_or_else(|| format!("there is no format {name}\n{USAGE}"))
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
        Plan::read("run", &arguments).unwrap_or_else(|reason| panic!("{reason}"))
    }

    #[test]
    fn what_is_not_asked_for_has_a_default() {
        let plan = read(&[]);
        let names: Vec<&str> = plan.loads.iter().map(|load| load.name.as_str()).collect();
        assert_eq!((names, plan.systems.len()), (vec!["busy", "browsing"], 5));
        let short = read(&["--minutes", "5"]);
        assert_eq!((short.loads.len(), short.systems), (1, vec![System::Sillage, System::Floor, System::Streams]));
        let asked = read(&["--load", "rows", "--system", "flink", "--touchpoints", "9"]);
        assert_eq!((asked.loads[0].name.as_str(), asked.loads[0].settings.touchpoints), ("rows", 9));
        assert_eq!(asked.systems, [System::Flink]);
        assert_eq!(asked.command, "bench run --load rows --system flink --touchpoints 9");
        assert_eq!(read(&["--sillage", "/s", "--rounds", "2"]).command, "bench run --rounds 2");
        assert!(Plan::read("run", &["--load".to_owned(), "none".to_owned()]).is_err());
    }
}
