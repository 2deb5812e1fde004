//! How many instructions each step of the engine takes, held against the counts that are committed. No clock is read, so that
//! it does not matter what else the machine does.
//!
//! `cargo test --bench instructions` checks the build of the tests, as `make test` does; `cargo bench --bench instructions`
//! checks the release build; `-- open` after either takes only the steps with `open` in their names. `make count` writes
//! `benches/instructions/counts.txt` anew (`COUNT=write`, in both builds).
//!
//! Each step runs in a process of its own under callgrind, which says in the end where the instructions went
//! (`callgrind_annotate`). Valgrind pretends one processor to the program and one place in memory, so that other machines count
//! the same. Another compiler or C library does not, by a few per cent; the table says what it was counted with.
#![expect(clippy::print_stdout, reason = "a benchmark tells its figures")]

#[path = "../customers/profile.rs"]
mod profile;
mod steps;
#[path = "../../tests/it/golden/story.rs"]
mod story;
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use steps::{STEPS, Step};
use table::{Build, Table};

/// A step may take so many per cent more than is committed.
const BOUND: f64 = 5.0;
/// A step that takes so many per cent less should be committed anew, or the bound holds nothing.
const LOOSE: f64 = -10.0;
/// Names the step to a process that is to do it.
const STEP: &str = "SILLAGE_COUNTED_STEP";
const INSTALL: &str = "sudo apt-get install -y valgrind";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(STEP) {
        let step = STEPS.iter().find(|step| step.name == name).expect("a step of this program");
        println!("{}", (step.run)());
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |step: &&Step| named.is_empty() || named.iter().any(|name| step.name.contains(name.as_str()));
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    if steps.is_empty() || !can_count() {
        return ExitCode::SUCCESS;
    }
    let counts = match count_all(&steps) {
        Ok(counts) => counts,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut table = Table::read(&std::fs::read_to_string(path()).unwrap_or_default()).expect("the committed table");
    if std::env::var("COUNT").is_ok_and(|wish| wish == "write") {
        for (step, count) in steps.iter().zip(&counts) {
            table.counts.insert((step.name.to_owned(), Build::this()), *count);
        }
        table.tools.insert(Build::this(), tools());
        let all: Vec<(&str, &str)> = STEPS.iter().map(|step| (step.name, step.unit)).collect();
        std::fs::write(path(), table.write(&all)).expect("the table is written");
    }
    tell(&steps, &counts, &table)
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.txt")
}

/// Whether instructions can be counted here; if not, that is said loudly, and refused in CI.
fn can_count() -> bool {
    let missing = if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        "the committed counts are of Linux on x86-64".to_owned()
    } else if Command::new("valgrind").arg("--version").output().is_err() {
        format!("`valgrind` is missing.\n*** Install it with:  {INSTALL}")
    } else {
        return true;
    };
    let notice = format!("\n*** Counting instructions was SKIPPED: {missing}\n");
    assert!(std::env::var("CI").is_err(), "{notice}");
    // There is nobody to tell that it could not be said.
    let _ = writeln!(std::io::stderr(), "{notice}");
    false
}

/// Counts the steps, as many at a time as there are processors: they do not disturb each other.
fn count_all(steps: &[&Step]) -> Result<Vec<u64>, String> {
    let counts = Mutex::new(vec![Ok(0); steps.len()]);
    let left = Mutex::new(steps.iter().enumerate());
    let work = || {
        loop {
            let Some((place, step)) = left.lock().expect("nobody panicked").next() else { return };
            let count = count(step);
            counts.lock().expect("nobody panicked")[place] = count;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    counts.into_inner().expect("nobody panicked").into_iter().collect()
}

/// Instructions of one unit of the step.
///
/// # Errors
/// What the step or callgrind said instead.
fn count(step: &Step) -> Result<u64, String> {
    let out = out(step);
    let ended = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*::steps::counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("this program"))
        // What else is in the environment lies on the stack, and moves everything.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env(STEP, step.name)
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    let (told, errors) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let failed = |why: String| format!("`{}` {why}; it said:\n{errors}", step.name);
    let Some(units) = told.trim().parse::<u64>().ok().filter(|units| *units > 0 && ended.status.success()) else {
        return Err(failed(format!("ended with {}", ended.status)));
    };
    let written = std::fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    match written.lines().find_map(|line| line.strip_prefix("totals: ")).and_then(|total| total.trim().parse::<u64>().ok()) {
        None | Some(0) => Err(failed("counted nothing: `steps::counted` must be a function by that name".to_owned())),
        Some(total) => Ok((total + units / 2) / units),
    }
}

/// Where callgrind writes what it knows of a step.
fn out(step: &Step) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions").join(Build::this().name());
    std::fs::create_dir_all(&folder).expect("a folder for callgrind's files");
    folder.join(format!("{}.out", step.name.replace([',', ' '], "-").replace("--", "-")))
}

/// What decides about the counts beside our own code.
fn tools() -> String {
    let version = |tool: &str| {
        let told = Command::new(tool).arg("--version").output().map(|ended| ended.stdout).unwrap_or_default();
        String::from_utf8_lossy(&told).trim().to_owned()
    };
    let rustc = version(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()));
    format!("{rustc}, {}", version("valgrind"))
}

fn tell(steps: &[&Step], counts: &[u64], table: &Table) -> ExitCode {
    let build = Build::this();
    println!("instructions, {} build:", build.name());
    let (mut faults, mut loose) = (Vec::new(), Vec::new());
    for (step, count) in steps.iter().zip(counts) {
        let Some(committed) = table.counts.get(&(step.name.to_owned(), build)) else {
            faults.push(format!("`{}` has no committed count; `make count` writes it", step.name));
            continue;
        };
        let change = (*count as f64 / *committed as f64 - 1.0) * 100.0;
        let line = format!("{:<20} {count:>7} a {}, {committed} committed ({change:+.1} %)", step.name, step.unit);
        println!("  {line}");
        if change > BOUND {
            faults.push(format!("{line}\n    where they go: callgrind_annotate {}", out(step).display()));
        } else if change < LOOSE {
            loose.push(line);
        }
    }
    if !loose.is_empty() {
        println!("\nMore than {} % below; `make count` tightens the bound:\n  {}", -LOOSE, loose.join("\n  "));
    }
    if faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    let (counted_with, here) = (table.tools.get(&build).map_or("nothing", String::as_str), tools());
    let tools = if counted_with == here { String::new() } else { format!("Counted with {counted_with}; here is {here}.\n") };
    let _ = writeln!(
        std::io::stderr(),
        "\nMore than {BOUND} % above what is committed:\n  {}\n{tools}Make the step cheap again; or, where its cost is meant, \
         commit what `make count` writes and say why.",
        faults.join("\n  ")
    );
    ExitCode::FAILURE
}
