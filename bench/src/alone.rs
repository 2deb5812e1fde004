//! What Sillage does alone: the embedded log, with touchpoints posted over HTTP, and `sillage replay` over a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ground::{Ground, now_ms, root};
use crate::http::{Connection, metric};
use crate::load::{self, Deed};
use crate::plan::{Load, Plan};
use crate::systems;
use crate::watch;

/// Touchpoints in a post.
const POST: usize = 500;
/// Connections, each with customers of its own, so that a customer's touchpoints keep their order.
const CONNECTIONS: u32 = 4;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(900);

/// Measures both.
pub fn run(plan: &Plan) -> Result<(), String> {
    let ground = Ground::alone(plan)?;
    let usual = |load: &&Load| plan.named || load.name == "browsing";
    let mut text = "\n| what | load | touchpoints | outcomes a touchpoint | CPU-s/M | k/s | peak MB |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for load in plan.loads.iter().filter(usual) {
        let deeds = load::deeds(&load.settings);
        let mut tell = |what: &str, cost: &Cost| {
            let Cost { touchpoints, outcomes, cpu_s, wall_s, peak_mb } = *cost;
            let (count, per) = (touchpoints as f64, 1e6 / touchpoints as f64);
            let row = format!(
                "| {what} | `{}` | {touchpoints} | {:.2} | {:.2} | {:.0} | {peak_mb:.0} |",
                load.name,
                outcomes / count,
                cpu_s * per,
                count / wall_s / 1e3
            );
            eprintln!("{row}");
            let _ = writeln!(text, "{row}");
        };
        tell("embedded log, durable, posts of 500", &embedded(&ground, load, &deeds)?);
        let file = write(&ground, load, &deeds)?;
        let five = root()?.join("models/five-stages.yaml");
        for (what, model) in [("`replay`, plain", ground.tools.model("plain")), ("`replay`, `five-stages`", five)] {
            tell(what, &replay(&ground, &file, &model, deeds.len())?);
        }
        std::fs::remove_file(file).map_err(|error| error.to_string())?;
    }
    ground.publish(plan, "alone", &text)
}

/// What it cost.
struct Cost {
    touchpoints: usize,
    outcomes: f64,
    cpu_s: f64,
    wall_s: f64,
    peak_mb: f64,
}

/// Posts a load, live, to a Sillage without Kafka, until everything is applied. Its start does not count.
fn embedded(ground: &Ground, load: &Load, deeds: &[Deed]) -> Result<Cost, String> {
    let name = format!("{}-embedded", load.name);
    let lines = format!(
        "models: [\"{}\"]\ndirectory: {name}\nlisten: 127.0.0.1:0\nlog_level: warn\n",
        ground.tools.model("live").display()
    );
    let mut process = systems::start_sillage(ground, &name, &lines)?;
    let address = systems::address(ground, &name, &mut process)?;
    let mut connection = Connection::to(&address)?;
    until(&mut process, || Ok(connection.get("/readyz")?.status == 200))?;
    let before = watch::cpu(process.pid()).ok_or("it ended")?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let posting = |number| {
            let (address, of_mine) = (&address, move |deed: &&Deed| deed.customer % CONNECTIONS == number);
            scope.spawn(move || post(address, deeds.iter().filter(of_mine)))
        };
        let posts: Vec<_> = (0..CONNECTIONS).map(posting).collect();
        let ended = |post: std::thread::ScopedJoinHandle<'_, Result<(), String>>| {
            post.join().unwrap_or_else(|_| Err("a sender ended".to_owned()))
        };
        posts.into_iter().map(ended).collect::<Vec<_>>().into_iter().collect::<Result<(), String>>()
    })
    .map_err(|reason| format!("{reason}\n{}", process.log_tail()))?;
    let mut outcomes = 0.0;
    // Sillage has closed the one that stood idle meanwhile.
    let mut connection = Connection::to(&address)?;
    until(&mut process, || {
        let text = connection.get("/metrics")?.body;
        outcomes = metric(&text, "sillage_outcomes_total");
        Ok(metric(&text, "sillage_records_consumed_total") >= deeds.len() as f64)
    })?;
    let cpu_s = watch::cpu(process.pid()).ok_or("it ended")? - before;
    let wall_s = begun.elapsed().as_secs_f64();
    let (_, peak_mb) = watch::resident(process.pid()).unwrap_or_default();
    process.end();
    let _ = std::fs::remove_dir_all(ground.home().path().join(&name));
    Ok(Cost { touchpoints: deeds.len(), outcomes, cpu_s, wall_s, peak_mb })
}

/// One connection's posts, one after the other. A touchpoint happens when it is posted.
fn post<'a>(address: &str, deeds: impl Iterator<Item = &'a Deed>) -> Result<(), String> {
    let (mut connection, mut lines, mut line) = (Connection::to(address)?, String::new(), String::new());
    let mut deeds = deeds.peekable();
    while deeds.peek().is_some() {
        lines.clear();
        for deed in deeds.by_ref().take(POST) {
            load::json(deed, now_ms(), &mut line);
            lines.push_str(&line);
            lines.push('\n');
        }
        loop {
            let answer = connection.post("/v1/touchpoints", lines.as_bytes())?;
            match answer.status {
                200 | 202 => break,
                // More than it takes at once: the same again.
                429 | 503 => std::thread::sleep(Duration::from_millis(10)),
                status => return Err(format!("a post was answered with {status}: {}", answer.body)),
            }
        }
    }
    Ok(())
}

fn until(process: &mut crate::home::Process, mut reached: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let begun = Instant::now();
    while !reached()? {
        if process.has_ended() || begun.elapsed() > LIMIT {
            return Err(format!("Sillage does not get there:\n{}", process.log_tail()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The load as a file of lines that ends now.
fn write(ground: &Ground, load: &Load, deeds: &[Deed]) -> Result<PathBuf, String> {
    let path = ground.home().path().join(format!("{}.ndjson", load.name));
    let fault = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(fault)?);
    let (start, mut line) = (now_ms() - load.settings.span_ms as i64, String::new());
    for deed in deeds {
        load::json(deed, start + deed.at as i64, &mut line);
        writeln!(out, "{line}").map_err(fault)?;
    }
    out.flush().map_err(fault)?;
    Ok(path)
}

/// Replays a file, its outcomes into another. The whole process counts.
fn replay(ground: &Ground, file: &Path, model: &Path, touchpoints: usize) -> Result<Cost, String> {
    let outcomes = file.with_extension("outcomes");
    let mut command = Command::new(&ground.tools.sillage);
    command.arg("replay").arg(file).arg("--model").arg(model).arg("--outcomes").arg(&outcomes);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("cannot start sillage: {error}"))?;
    let mut peak_mb: f64 = 0.0;
    // A process that has ended still tells its time until it is waited for.
    let cpu_s = loop {
        match watch::times(child.id()) {
            Some((cpu_s, true)) => break cpu_s,
            Some((_, false)) if begun.elapsed() < LIMIT => {}
            Some(_) | None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("sillage replay does not end".to_owned());
            }
        }
        peak_mb = peak_mb.max(watch::resident(child.id()).map_or(0.0, |(_, peak)| peak));
        std::thread::sleep(Duration::from_millis(10));
    };
    let wall_s = begun.elapsed().as_secs_f64();
    let ended = child.wait().map_err(|error| error.to_string())?;
    if !ended.success() {
        return Err(format!("sillage replay ended with {ended}"));
    }
    let lines = std::fs::read(&outcomes).map_err(|error| error.to_string())?;
    let outcomes_count = lines.iter().filter(|byte| **byte == b'\n').count() as f64;
    std::fs::remove_file(outcomes).map_err(|error| error.to_string())?;
    Ok(Cost { touchpoints, outcomes: outcomes_count, cpu_s, wall_s, peak_mb })
}
