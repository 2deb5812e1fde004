//! What a rule costs: Sillage beside Sillage. Each way to run it differs from the one beside it in what it says of itself, be it of
//! the configuration, of the model or of the backlog. All ways take turns, and nothing else runs.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::capture::{Keeper, Volume};
use crate::fill::{Filler, Stamp};
use crate::ground::{Ground, now_ms};
use crate::home::Process;
use crate::http::{self, Connection};
use crate::kafka;
use crate::load::{self, Deed, Named};
use crate::outcomes::Told;
use crate::plan::{Load, Plan};
use crate::systems::{self, Run, System};
use crate::watch::{self, Watched};

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(900);
/// Percent of the touchpoints that come out of order, and of those by which somebody logs in.
const SHARE: u64 = 5;
const MINUTE_MS: u64 = 60_000;

/// A way to run it.
struct Way {
    /// In commands.
    name: &'static str,
    /// In the table.
    about: &'static str,
    /// The backlog that it drains.
    backlog: Shape,
    /// Lines of its configuration.
    also: &'static str,
    /// Whether the model has interventions.
    intervenes: bool,
    /// The way that it is compared with.
    beside: &'static str,
}

/// What a backlog is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// In the order of events, keyed by the customer.
    Plain,
    /// One in twenty comes one to nine minutes late.
    Late,
    /// One in twenty is a login: the visit began on a device that was nobody's.
    Logins,
    /// Keyed by the touchpoint's own id.
    Misrouted,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Shape::Plain => "plain",
            Shape::Late => "late",
            Shape::Logins => "logins",
            Shape::Misrouted => "misrouted",
        }
    }
}

const WAYS: [Way; 8] = {
    let plain = Way {
        name: "usual",
        about: "as configured when nothing is said: `grace: 10m`, joins and hand-on",
        backlog: Shape::Plain,
        also: "",
        intervenes: false,
        beside: "in-order",
    };
    [
        Way { name: "in-order", about: "`grace: 0s`, `partitioner: unknown`", also: ALONE, beside: "in-order", ..plain },
        Way { name: "graceful", about: "`grace: 10m`, `partitioner: unknown`", also: UNKNOWN, ..plain },
        Way { name: "late", about: "the same; 5 % come out of order", also: UNKNOWN, backlog: Shape::Late, ..plain },
        Way { name: "week", about: "`grace: 7d`: everybody is within it", also: WEEK, ..plain },
        Way { beside: "graceful", ..plain },
        Way { name: "logins", about: "the usual; 5 % are logins", backlog: Shape::Logins, beside: "usual", ..plain },
        Way {
            name: "misrouted",
            about: "the usual; keyed by nothing useful",
            backlog: Shape::Misrouted,
            beside: "usual",
            ..plain
        },
        Way {
            name: "interventions",
            about: "the usual; six interventions that never fire",
            intervenes: true,
            beside: "usual",
            ..plain
        },
    ]
};
const ALONE: &str = "grace: 0s\npartitioner: unknown\n";
const UNKNOWN: &str = "partitioner: unknown\n";
const WEEK: &str = "grace: 7d\npartitioner: unknown\n";

/// What one way has cost.
#[derive(Default)]
struct Cost {
    /// CPU-seconds a million touchpoints, of each run.
    cpu: Vec<f64>,
    state_log: Volume,
    state_mb: f64,
    outcomes: u64,
}

/// Runs every way as often as was asked for, in turn, after a first time that is not counted.
pub fn run(plan: &Plan) -> Result<(), String> {
    let named = |way: &&Way| plan.ways.is_empty() || plan.ways.iter().any(|name| name == way.name);
    let ways: Vec<&Way> = WAYS.iter().filter(named).collect();
    if let Some(name) = plan.ways.iter().find(|name| WAYS.iter().all(|way| way.name != **name)) {
        return Err(format!("there is no way {name}; there are {}", WAYS.map(|way| way.name).join(", ")));
    }
    let load = plan.loads.last().ok_or("no load")?;
    if plan.named && plan.loads.len() > 1 {
        return Err("the costs are those of one load; name one --load".to_owned());
    }
    if plan.within.is_some() {
        return Err("the costs take as many --rounds as are asked for, whatever the --minutes".to_owned());
    }
    let ground = Ground::with_broker(plan, &[System::Sillage])?;
    let (brokers, end_ms) = (ground.brokers(), now_ms());
    let mut touchpoints = 0;
    for shape in [Shape::Plain, Shape::Late, Shape::Logins, Shape::Misrouted] {
        if ways.iter().any(|way| way.backlog == shape) {
            touchpoints = fill(&brokers, shape, load, end_ms)?;
        }
    }
    let model = with_interventions(&ground)?;
    let mut costs: Vec<Cost> = ways.iter().map(|_| Cost::default()).collect();
    for round in 0..=plan.rounds {
        for (way, cost) in ways.iter().zip(&mut costs) {
            let group = format!("{}-{round}", way.name);
            let drained = Draining { ground: &ground, brokers: &brokers, group: &group, way, model: &model, end_ms };
            let cpu = if round == 0 { drained.once_watched(cost)? } else { drained.once()?.1 };
            eprintln!("round {round} {:<14} {cpu:6.2} CPU-s/M", way.name);
            if round > 0 {
                cost.cpu.push(cpu);
            }
            kafka::delete(&brokers, &group)?;
        }
    }
    let text = table(&ways, &costs, load, touchpoints);
    ground.publish(plan, "costs", &text)
}

/// The model with six interventions: three ask for more than any basket is worth, three for a consent that nobody gave.
fn with_interventions(ground: &Ground) -> Result<String, String> {
    let read = |name: &str| {
        let path = ground.tools.model(name);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let model = [read("plain")?, read("interventions")?].concat();
    let home = ground.home().path();
    let written = std::fs::write(home.join("six.yaml"), model);
    let written = written.and_then(|()| std::fs::copy(ground.tools.model("contacts"), home.join("contacts.yaml")));
    written.map_err(|error| error.to_string())?;
    Ok(home.join("six").to_string_lossy().into_owned())
}

/// Writes a backlog; returns how many touchpoints it has.
fn fill(brokers: &str, shape: Shape, load: &Load, end_ms: i64) -> Result<u64, String> {
    let filler = Filler::create(brokers, &topic(shape), Stamp::Event)?;
    let mut deeds: Vec<(u64, Deed)> = load::deeds(&load.settings).into_iter().map(|deed| (deed.at, deed)).collect();
    if shape == Shape::Late {
        let last = load.settings.span_ms;
        for (sent, deed) in &mut deeds {
            let dice = drawn(deed);
            if dice % 100 < SHARE {
                *sent = (*sent + MINUTE_MS + dice / 100 % (8 * MINUTE_MS)).min(last);
            }
        }
        deeds.sort_by_key(|(sent, _)| *sent);
    }
    let logins = Logins::of(&deeds);
    let (mut key, mut value) = (String::new(), String::new());
    let start = end_ms - load.settings.span_ms as i64;
    for (sent, deed) in &deeds {
        let named = if shape == Shape::Logins { logins.named(deed) } else { Named::Customer };
        key.clear();
        match (shape, named) {
            (Shape::Misrouted, _) => load::id(deed, &mut key),
            (_, Named::Device) => load::device(deed, &mut key),
            (_, Named::Customer | Named::Both) => load::key(deed, &mut key),
        }
        load::json_named(named, deed, start + deed.at as i64, &mut value);
        filler.send(&key, value.as_bytes(), start + *sent as i64);
    }
    filler.close(end_ms, crate::fill::Format::Json);
    filler.flush()?;
    Ok(deeds.len() as u64)
}

fn topic(shape: Shape) -> String {
    format!("touchpoints-{}", shape.name())
}

/// A number that is the touchpoint's own.
fn drawn(deed: &Deed) -> u64 {
    load::mixed(u64::from(deed.visit()) << 16 | u64::from(deed.number()))
}

/// Which visits begin on a device that is nobody's: as many as make the share of logins.
struct Logins {
    /// Of a thousand visits that could.
    of_thousand: u64,
}

impl Logins {
    fn of(deeds: &[(u64, Deed)]) -> Self {
        let could = deeds.iter().filter(|(_, deed)| deed.number() == 2).count().max(1);
        Logins { of_thousand: deeds.len() as u64 * SHARE * 10 / could as u64 }
    }

    /// The first touchpoint of such a visit is the device's, the second names both.
    fn named(&self, deed: &Deed) -> Named {
        if load::mixed(u64::from(deed.visit())) % 1_000 >= self.of_thousand {
            return Named::Customer;
        }
        match deed.number() {
            1 => Named::Device,
            2 => Named::Both,
            _ => Named::Customer,
        }
    }
}

/// One run.
struct Draining<'a> {
    ground: &'a Ground,
    brokers: &'a str,
    group: &'a str,
    way: &'a Way,
    model: &'a str,
    end_ms: i64,
}

impl Draining<'_> {
    /// The first time, in which somebody reads the state log and asks for metrics.
    fn once_watched(&self, cost: &mut Cost) -> Result<f64, String> {
        let (until, mut keeper) = (AtomicI64::new(i64::MAX), Keeper::default());
        let (drained, state_log) = std::thread::scope(|scope| {
            let follower = scope.spawn(|| keeper.follow_state(self.brokers, self.group, &until));
            let drained = self.once();
            until.store(now_ms(), Ordering::Relaxed);
            (drained, follower.join().unwrap_or_else(|_| Err("the reader of the state log ended".to_owned())))
        });
        let (metrics, cpu) = drained?;
        cost.state_log = state_log?;
        cost.state_mb = http::metric(&metrics, "sillage_state_bytes") / 1e6;
        cost.outcomes = Told::read(self.brokers, self.group, self.end_ms)?.count();
        Ok(cpu)
    }

    /// Drains the backlog; returns the metrics at its end, and what it cost.
    fn once(&self) -> Result<(String, f64), String> {
        let topic = topic(self.way.backlog);
        let model = if self.way.intervenes { self.model } else { "plain" };
        let run = Run { model, also: self.way.also, ..Run::of(self.brokers, &topic, self.group) };
        let mut process = systems::start(System::Sillage, self.ground, &run)?;
        // What was handed over is applied after the input that it came from was read.
        let handed_over = [format!("{}.handoff", self.group)];
        let mut watched = Watched::of(self.brokers, process.pid(), &topic, self.group);
        if matches!(self.way.backlog, Shape::Logins | Shape::Misrouted) {
            watched.outputs = &handed_over;
        }
        let cost = watch::drain(&watched, LIMIT).map_err(|reason| format!("{reason}\n{}", process.log_tail()))?;
        let metrics = self.metrics(&mut process)?;
        process.end();
        Ok((metrics, cost.cpu_per_m))
    }

    fn metrics(&self, process: &mut Process) -> Result<String, String> {
        let mut connection = Connection::to(&systems::address(self.ground, self.group, process)?)?;
        Ok(connection.get("/metrics")?.body)
    }
}

fn table(ways: &[&Way], costs: &[Cost], load: &Load, touchpoints: u64) -> String {
    let mut text = format!(
        "\nLoad `{}`: {:.2} M touchpoints, {} runs of each, in turn.\n\n\
         | way | what it is | CPU-s/M | × beside | state log, bytes a touchpoint | × beside | state MB | outcomes a touchpoint |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        load.name,
        touchpoints as f64 / 1e6,
        costs.first().map_or(0, |cost| cost.cpu.len())
    );
    for (way, cost) in ways.iter().zip(costs) {
        let beside = ways.iter().zip(costs).find(|(other, _)| other.name == way.beside).map(|(_, cost)| cost);
        let times = |of: &dyn Fn(&Cost) -> f64| match beside {
            Some(beside) if way.beside != way.name => format!("{:.2} `{}`", of(cost) / of(beside), way.beside),
            Some(_) | None => String::new(),
        };
        let log = |cost: &Cost| cost.state_log.bytes as f64 / touchpoints as f64;
        let (least, most) = (least(&cost.cpu), cost.cpu.iter().copied().fold(0.0, f64::max));
        let _ = writeln!(
            text,
            "| `{}` | {} | {:.2} ({least:.2}–{most:.2}) | {} | {:.0} | {} | {:.0} | {:.2} |",
            way.name,
            way.about,
            median(&cost.cpu),
            times(&|cost| median(&cost.cpu)),
            log(cost),
            times(&log),
            cost.state_mb,
            cost.outcomes as f64 / touchpoints as f64
        );
    }
    text
}

fn least(of: &[f64]) -> f64 {
    of.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The one in the middle; of an even number, the mean of the two.
fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    fn deeds() -> Vec<(u64, Deed)> {
        let settings = load::Settings { touchpoints: 50_000, candidates: 40_000, ..plan::loads()[1].settings };
        load::deeds(&settings).into_iter().map(|deed| (deed.at, deed)).collect()
    }

    #[test]
    fn one_touchpoint_in_twenty_is_a_login() {
        let deeds = deeds();
        let logins = Logins::of(&deeds);
        let both = deeds.iter().filter(|(_, deed)| logins.named(deed) == Named::Both).count() as f64;
        let share = both * 100.0 / deeds.len() as f64;
        assert!((share - SHARE as f64).abs() < 0.3, "{share}");
        let device = deeds.iter().filter(|(_, deed)| logins.named(deed) == Named::Device).count() as f64;
        assert!(device >= both);
    }

    #[test]
    fn every_way_is_beside_one_that_there_is() {
        for way in &WAYS {
            assert!(WAYS.iter().any(|other| other.name == way.beside), "{}", way.name);
        }
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9 && (median(&[4.0, 1.0]) - 2.5).abs() < 1e-9);
    }
}
