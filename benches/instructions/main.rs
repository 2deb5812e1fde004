//! How many instructions each step of the engine takes, held against the counts that are committed. No clock is read, so that
//! it does not matter what else the machine does.
//!
//! `cargo test --bench instructions` checks the build of the tests, as `make test` does; `cargo bench --bench instructions`
//! checks the release build; `-- open` after either takes only the steps with `open` in their names. `make count` writes
//! `benches/instructions/counts.txt` anew (`COUNT=write`, in both builds).
//!
//! Each step runs in a process of its own under callgrind, which says in the end where the instructions went
//! (`callgrind_annotate`). Valgrind shows the same processor to the program wherever there is AVX2, and puts it at the same place
//! in memory: two runs agree within a tenth of a per cent. Another compiler or C library counts otherwise: the table says what it
//! was counted with, and bounds are held with these alone.
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
use table::{BOUND, Build, LOOSE, Table, Verdict, judge};

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
    table::the_check_finds_what_is_wrong();
    if steps.is_empty() || !can_count() {
        println!("0 of {} steps are counted", STEPS.len());
        return ExitCode::SUCCESS;
    }
    match check(&steps, std::env::var("COUNT").is_ok_and(|wish| wish == "write")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            // There is nobody to tell that it could not be said.
            let _ = writeln!(std::io::stderr(), "\n{faults}");
            ExitCode::FAILURE
        }
    }
}

/// Counts the steps and holds them against what is committed, or writes them down.
///
/// # Errors
/// What is wrong, and what to do.
fn check(steps: &[&Step], write: bool) -> Result<(), String> {
    let counts = count_all(steps)?;
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let mut table = Table::read(&text).or_else(|error| if write { Ok(Table::default()) } else { Err(error) })?;
    let faults = tell(steps, &counts, &table);
    let all: Vec<(&str, &str)> = STEPS.iter().map(|step| (step.name, step.unit)).collect();
    if write {
        let counts = steps.iter().zip(counts).map(|(step, count)| ((step.name.to_owned(), Build::this()), count));
        table.counts.extend(counts);
        table.tools.insert(Build::this(), tools());
        return std::fs::write(path(), table.write(&all)).map_err(|error| format!("{}: {error}", path().display()));
    }
    let misfits = table.misfits(&all);
    if !misfits.is_empty() {
        return Err(format!("The committed table does not fit: {}. `make count` writes it anew.", misfits.join("; ")));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let (then, here) = (table.tools.get(&Build::this()).map_or("nothing", String::as_str), tools());
    if then != here {
        // Another compiler or C library counts otherwise: that is nobody's fault who changed a step.
        let notice = format!(
            "\n*** The bounds were NOT held: the table was counted with {then}; here is {here}.\n*** `make count` writes it anew.\n"
        );
        let _ = writeln!(std::io::stderr(), "{notice}");
        return Ok(());
    }
    Err(above(&faults))
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
    let tools = [("rustc", "--version"), ("valgrind", "--version"), ("getconf", "GNU_LIBC_VERSION")];
    let version = |(tool, argument): (&str, &str)| {
        let told = Command::new(tool).arg(argument).output().map(|ended| ended.stdout).unwrap_or_default();
        String::from_utf8_lossy(&told).trim().to_owned()
    };
    tools.map(version).join(", ")
}

/// Tells each count beside the committed one; returns those that are above the bound.
fn tell(steps: &[&Step], counts: &[u64], table: &Table) -> Vec<String> {
    println!("instructions, {} build:", Build::this().name());
    let (mut faults, mut loose) = (Vec::new(), Vec::new());
    for (step, count) in steps.iter().zip(counts) {
        let told = format!("{:<20} {count:>7} per {:<10}", step.name, step.unit);
        let Some(committed) = table.counts.get(&(step.name.to_owned(), Build::this())) else {
            println!("  {told}  none committed");
            continue;
        };
        let (change, verdict) = judge(*count, *committed);
        let line = format!("{told}  {committed:>7} committed  {change:+.1} %");
        println!("  {line}");
        match verdict {
            Verdict::Within => {}
            Verdict::Above => faults.push(format!("{line}\n    where they go: callgrind_annotate {}", out(step).display())),
            Verdict::Below => loose.push(line),
        }
    }
    if !loose.is_empty() {
        println!("\nMore than {LOOSE} % below; `make count` tightens the bound:\n  {}", loose.join("\n  "));
    }
    faults
}

fn above(faults: &[String]) -> String {
    format!(
        "More than {BOUND} % above what is committed:\n  {}\nMake the step cheap again; or, where its cost is meant, commit what \
         `make count` writes and say why.",
        faults.join("\n  ")
    )
}
