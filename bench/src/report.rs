//! What came out, as text: a line for each run, and the page `docs/benchmarks.md`.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::capture::Volume;
use crate::fill::Backlog;
use crate::outcomes::Told;
use crate::plan::{Load, Plan};
use crate::plot::{Bar, Chart};
use crate::run::Same;
use crate::systems::System;
use crate::watch::{Commits, Cost};

/// One run of one system.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which.
    pub system: System,
    /// In which round.
    pub round: usize,
    /// What it cost.
    pub cost: Cost,
    /// How it committed.
    pub commits: Commits,
    /// How far its outcomes are those of Sillage, beyond their counts.
    pub same: Same,
}

/// Everything about one load.
pub struct Figures {
    load: Load,
    touchpoints: u64,
    customers: usize,
    bytes_each: f64,
    told: Told,
    outcomes: Volume,
    state: Volume,
    /// The runs, in their order.
    pub measured: Vec<Measured>,
    /// The runs that do not count, and why.
    pub failed: Vec<(System, String)>,
}

impl Figures {
    /// Nothing measured yet.
    pub fn of(load: &Load, backlog: &Backlog, told: &Told, outcomes: Volume, state: Volume) -> Self {
        Figures {
            load: load.clone(),
            touchpoints: backlog.touchpoints,
            customers: backlog.customers,
            bytes_each: backlog.bytes_each,
            told: told.clone(),
            outcomes,
            state,
            measured: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn spread(&self, system: System, of: impl Fn(&Measured) -> f64) -> Option<Spread> {
        let mut all: Vec<f64> = self.measured.iter().filter(|run| run.system == system).map(of).collect();
        all.sort_by(f64::total_cmp);
        let middle = *all.get(all.len() / 2)?;
        // Of an even number, the mean of the two in the middle.
        let median = if all.len().is_multiple_of(2) { (middle + all[all.len() / 2 - 1]) / 2.0 } else { middle };
        Some(Spread { median, least: all[0], most: all[all.len() - 1] })
    }
}

/// Several runs' figures.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn show(&self, digits: usize) -> String {
        if self.least == self.most {
            return format!("{:.digits$}", self.median);
        }
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }
}

/// One run in one line.
pub fn line(run: &Measured) -> String {
    let Measured { system, round, cost, commits, same } = run;
    let same = match (same.bytes, same.ids) {
        (true, _) => "outcomes equal byte for byte",
        (false, true) => "outcomes equal by id",
        (false, false) => "outcomes equal by count",
    };
    format!(
        "round {round} {:<16} {:6.2} CPU-s/M, warm {:6.2}, {:5.1} s, {:6.1} k/s warm, {:5.0} MB, peak {:5.0} MB; \
         {} commits, {:.0} % under 150 ms, median {} ms, longest {} ms; {same}",
        system.name(),
        cost.cpu_per_m,
        cost.warm_cpu_per_m,
        cost.wall_s,
        cost.warm_k_per_s,
        cost.rss_mb,
        cost.peak_mb,
        commits.count,
        commits.held * 100.0,
        commits.median_ms,
        commits.longest_ms
    )
}

/// The tables, one a load.
pub fn write(all: &[Figures], plan: &Plan) -> String {
    let mut text = String::new();
    for figures in all {
        write_load(&mut text, figures, plan);
    }
    text
}

fn write_load(text: &mut String, figures: &Figures, plan: &Plan) {
    let millions = figures.touchpoints as f64 / 1e6;
    let outcomes = figures.told.count();
    let _ = writeln!(
        text,
        "\n### Load `{}`\n\n{}. {:.2} M touchpoints of {:.0} bytes ({}, lz4, 8 partitions), {} customers, {} h of event time. \
         Sillage writes {:.2} outcomes of {:.0} bytes and {:.0} bytes of state log a touchpoint ({} pages).\n",
        figures.load.name,
        capital(figures.load.about),
        millions,
        figures.bytes_each,
        plan.format.title(),
        figures.customers,
        figures.load.settings.span_ms / 3_600_000,
        outcomes as f64 / figures.touchpoints as f64,
        figures.outcomes.bytes as f64 / figures.outcomes.records.max(1) as f64,
        figures.state.bytes as f64 / figures.touchpoints as f64,
        figures.state.records
    );
    let _ = writeln!(
        text,
        "| system | runs | CPU-s/M | × floor | after the first third | × Sillage | k/s | peak MB | final MB | commits under 150 ms | outcomes |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let floor = median(figures, System::Floor, |run| run.cost.cpu_per_m);
    let sillage = median(figures, System::Sillage, |run| run.cost.warm_cpu_per_m);
    for system in &plan.systems {
        let runs: Vec<&Measured> = figures.measured.iter().filter(|run| run.system == *system).collect();
        let show =
            |of: fn(&Measured) -> f64, digits| figures.spread(*system, of).map_or_else(String::new, |it| it.show(digits));
        if runs.is_empty() {
            let _ = writeln!(text, "| {} | 0 | not measured: see below | | | | | | | | |", system.title());
            continue;
        }
        let total = median(figures, *system, |run| run.cost.cpu_per_m);
        let warm = median(figures, *system, |run| run.cost.warm_cpu_per_m);
        let times = |figure: Option<f64>, of: Option<f64>| {
            figure.zip(of).map_or_else(String::new, |(figure, of)| format!("{:.1}", figure / of))
        };
        let (to_floor, to_sillage) = (times(total, floor), times(warm, sillage));
        let same = if runs.iter().all(|run| run.same.bytes) {
            "equal, byte for byte"
        } else if runs.iter().all(|run| run.same.ids) {
            "equal by id"
        } else {
            "equal by kind and count"
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {to_floor} | {} | {to_sillage} | {} | {} | {} | {} % | {same} |",
            system.title(),
            runs.len(),
            show(|run| run.cost.cpu_per_m, 2),
            show(|run| run.cost.warm_cpu_per_m, 2),
            show(|run| run.cost.warm_k_per_s, 0),
            show(|run| run.cost.peak_mb, 0),
            show(|run| run.cost.rss_mb, 0),
            show(|run| run.commits.held * 100.0, 0),
        );
    }
    let kinds: Vec<String> = figures.told.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let _ = writeln!(text, "\nOutcomes, the same of every system: {}.", kinds.join(", "));
    for (system, reason) in &figures.failed {
        let _ = writeln!(text, "\nA run of {} does not count: {}", system.name(), reason.lines().next().unwrap_or_default());
    }
}

/// The bars of CPU and memory, two charts a load.
pub fn charts(all: &[Figures], plan: &Plan) -> Vec<Chart> {
    let mut charts = Vec::new();
    for figures in all {
        let mut chart = |title: &str, digits, of: fn(&Measured) -> f64| {
            let bar = |system: &System| {
                let spread = figures.spread(*system, of)?;
                let label = system.title().replace("**", "");
                Some(Bar {
                    ours: *system == System::Sillage,
                    label,
                    value: spread.median,
                    range: (spread.least, spread.most),
                })
            };
            let bars = plan.systems.iter().filter_map(bar).collect();
            charts.push(Chart { title: format!("{title}: load {}", figures.load.name), digits, bars });
        };
        chart("CPU-seconds a million touchpoints, after the first third", 1, |run| run.cost.warm_cpu_per_m);
        chart("Resident memory at most, in MB", 0, |run| run.cost.peak_mb);
    }
    charts
}

fn median(figures: &Figures, system: System, of: fn(&Measured) -> f64) -> Option<f64> {
    figures.spread(system, of).map(|spread| spread.median)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Processor, cores, memory, kernel, Java.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let model = field(&read("/proc/cpuinfo"), "model name");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let memory: u64 = memory.split(' ').next().and_then(|kb| kb.parse().ok()).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let java = Command::new("java").arg("-version").output();
    let java = java.map(|output| String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned());
    let java = java.unwrap_or_default().replace('"', "");
    format!("{model}, {cores} cores, {} GB, Linux {}, {java}", memory / 1_000_000, kernel.trim())
}

const END: &str = "<!-- until here -->";

/// Puts a measured part into its section of the page, which keeps what people wrote around it.
pub fn replace(path: &Path, section: &str, text: &str) -> Result<(), String> {
    let page = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let page = replaced(&page, section, text).map_err(|reason| format!("{}: {reason}", path.display()))?;
    std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
}

fn replaced(page: &str, section: &str, text: &str) -> Result<String, String> {
    let begin = format!("<!-- {section}: written by make bench -->");
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("it has no lines {begin} and {END}"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{END}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_of_the_page_stays() {
        let page = "a\n<!-- run: written by make bench -->\nold\n<!-- until here -->\nb\n<!-- slopes: written by make bench -->\n\
                    old\n<!-- until here -->\nc\n";
        let page = replaced(page, "slopes", "new\n").expect("a section");
        let expected = "a\n<!-- run: written by make bench -->\nold\n<!-- until here -->\nb\n\
                        <!-- slopes: written by make bench -->\n\nnew\n\n<!-- until here -->\nc\n";
        assert_eq!(page, expected);
        assert!(replaced(&page, "latency", "new").is_err());
    }
}
