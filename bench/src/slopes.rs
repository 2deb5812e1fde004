//! Memory over customers: the profile, drained from a backlog, by each system, and the bytes that one customer more takes.

use std::fmt::Write;
use std::time::Duration;

use crate::customers;
use crate::ground::Ground;
use crate::kafka;
use crate::plan::Plan;
use crate::systems::{Run, System};
use crate::watch;

/// After the last commit: what was taken for a moment is given back.
const REST: Duration = Duration::from_secs(3);
/// The rivals are measured at so many customers.
const OF_RIVALS: u64 = 1_000_000;

/// One process with so many customers, in MB.
struct Size {
    customers: u64,
    rss_mb: f64,
    peak_mb: f64,
}

/// Measures each system at each number of customers.
pub fn run(plan: &Plan) -> Result<(), String> {
    let systems = if plan.asked.is_empty() { &[System::Sillage, System::Streams][..] } else { &plan.asked };
    let ground = Ground::with_broker(plan, systems)?;
    let mut text = "\n| system | customers | MB | peak MB | bytes a customer more than the row above | than with none |\n\
                    | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for system in systems {
        let usual: &[u64] = if *system == System::Sillage { &[0, 1_000_000, 3_000_000] } else { &[0, OF_RIVALS] };
        let mut sizes: Vec<Size> = Vec::new();
        for customers in if plan.customers.is_empty() { usual } else { &plan.customers } {
            sizes.push(size(&ground, *system, *customers)?);
            let row = row(*system, &sizes);
            eprintln!("{row}");
            let _ = writeln!(text, "{row}");
        }
    }
    ground.publish(plan, "slopes", &text)
}

fn size(ground: &Ground, system: System, customers: u64) -> Result<Size, String> {
    let (brokers, group) = (ground.brokers(), format!("slopes-{}-{customers}", system.name()));
    let input = format!("{group}-touchpoints");
    let run = Run { model: "profile", ..Run::of(&brokers, &input, &group) };
    let loaded = customers::load(ground, system, &run, customers)?;
    std::thread::sleep(REST);
    let memory = watch::resident(loaded.process.pid());
    let (rss_mb, peak_mb) = memory.ok_or_else(|| format!("it ended:\n{}", loaded.process.log_tail()))?;
    loaded.process.end();
    kafka::delete(&brokers, "")?;
    Ok(Size { customers, rss_mb, peak_mb })
}

fn row(system: System, sizes: &[Size]) -> String {
    let Some((last, before)) = sizes.split_last() else { return String::new() };
    let slope = |from: Option<&Size>| {
        let from = from.filter(|from| from.customers < last.customers);
        let bytes = |from: &Size| (last.rss_mb - from.rss_mb) * 1e6 / (last.customers - from.customers) as f64;
        from.map_or_else(String::new, |from| format!("{:.0}", bytes(from)))
    };
    let (step, whole) = (slope(before.last()), slope(before.first().filter(|first| first.customers == 0)));
    let Size { customers, rss_mb, peak_mb } = last;
    format!("| {} | {customers} | {rss_mb:.0} | {peak_mb:.0} | {step} | {whole} |", system.title())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_what_one_customer_more_takes() {
        let size = |customers, rss_mb| Size { customers, rss_mb, peak_mb: 0.0 };
        let sizes = [size(0, 10.0), size(1_000_000, 300.0), size(3_000_000, 820.0)];
        assert_eq!(row(System::Floor, &sizes), "| floor (bare loop) | 3000000 | 820 | 0 | 260 | 270 |");
        assert_eq!(row(System::Floor, &sizes[..1]), "| floor (bare loop) | 0 | 10 | 0 |  |  |");
    }
}
