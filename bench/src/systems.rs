//! The systems that drain the backlog: how each is started, and what it must be given.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fill::PARTITIONS;
use crate::ground::Ground;
use crate::home::Process;
use crate::http::Connection;
use crate::kafka::{self, CALL};
use crate::outcomes;

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// The subject.
    Sillage,
    /// The bare loop.
    Floor,
    /// Kafka Streams, its store in memory.
    Streams,
    /// Kafka Streams, its store in RocksDB.
    StreamsRocks,
    /// Apache Flink, its state in the heap.
    Flink,
}

impl System {
    /// All of them.
    pub const ALL: [System; 5] = [System::Sillage, System::Floor, System::Streams, System::StreamsRocks, System::Flink];

    /// In commands and in the names of groups.
    pub fn name(self) -> &'static str {
        match self {
            System::Sillage => "sillage",
            System::Floor => "floor",
            System::Streams => "streams",
            System::StreamsRocks => "streams-rocksdb",
            System::Flink => "flink",
        }
    }

    /// In tables.
    pub fn title(self) -> &'static str {
        match self {
            System::Sillage => "**Sillage**",
            System::Floor => "floor (bare loop)",
            System::Streams => "Kafka Streams, in memory",
            System::StreamsRocks => "Kafka Streams, RocksDB",
            System::Flink => "Flink, heap, 1 s checkpoints",
        }
    }
}

/// What is there to start them with.
pub struct Tools {
    /// The binary.
    pub sillage: PathBuf,
    /// The folder of this package, with the models.
    pub folder: PathBuf,
    /// The folder of the application on Kafka Streams, where it is to run.
    pub streams: Option<PathBuf>,
    /// The same of that on Flink.
    pub flink: Option<PathBuf>,
    /// Heap of their Java, such as `3g`.
    pub heap: String,
    /// Properties of the floor's clients.
    pub floor: Vec<String>,
}

impl Tools {
    /// The file of a model.
    pub fn model(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }
}

/// One run of a system.
pub struct Run<'a> {
    /// The broker.
    pub brokers: &'a str,
    /// The input.
    pub input: &'a str,
    /// The consumer group; topics that the system writes begin with it too.
    pub group: &'a str,
    /// What was captured of Sillage, which the floor writes again.
    pub captured: &'a Path,
    /// The model that all of them run: the name of a file in the package's folder.
    pub model: &'a str,
    /// Between two commits, in milliseconds; the floor and Flink have their own.
    pub commit_ms: u64,
    /// The form of the touchpoints: `json` or `avro`; the rivals read JSON only.
    pub format: &'a str,
    /// Further lines of Sillage's configuration.
    pub also: &'a str,
}

impl<'a> Run<'a> {
    /// The usual one.
    pub fn of(brokers: &'a str, input: &'a str, group: &'a str) -> Self {
        Run { brokers, input, group, captured: Path::new(""), model: "plain", commit_ms: 100, format: "json", also: "" }
    }
}

/// Starts a system on its input. The floor stands ready and waits to be told; the others begin at once.
pub fn start(system: System, ground: &Ground, run: &Run<'_>) -> Result<Process, String> {
    match system {
        System::Sillage => sillage(ground, run),
        System::Floor => floor(ground, run),
        System::Streams => streams(ground, run, "memory"),
        System::StreamsRocks => streams(ground, run, "rocksdb"),
        System::Flink => flink(ground, run),
    }
}

fn sillage(ground: &Ground, run: &Run<'_>) -> Result<Process, String> {
    let lines = format!(
        "models: [\"{}\"]\nbrokers: {}\ngroup: {}\ninstance: bench\ninputs: [{}]\ninput_format: {}\noutput: {}\nstart: earliest\n\
         workers: 1\ncommit_interval: {}ms\nlisten: 127.0.0.1:0\nlog_level: info\n{}",
        ground.tools.model(run.model).display(),
        run.brokers,
        run.group,
        run.input,
        run.format,
        run.group,
        run.commit_ms,
        run.also
    );
    start_sillage(ground, run.group, &lines)
}

/// Starts `sillage run` with these lines as its configuration; [`address`] says where it serves HTTP.
pub fn start_sillage(ground: &Ground, name: &str, lines: &str) -> Result<Process, String> {
    let (config, announced) = (ground.home().path().join(format!("{name}.yaml")), announced(ground, name));
    std::fs::write(&config, lines).map_err(|error| error.to_string())?;
    let _ = std::fs::remove_file(&announced);
    let mut command = Command::new(&ground.tools.sillage);
    command.arg("run").arg("-c").arg(&config).arg("--announce").arg(&announced);
    // It takes these for settings.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SILLAGE_")) {
        command.env_remove(name);
    }
    ground.home().start(name, &mut command)
}

fn announced(ground: &Ground, name: &str) -> PathBuf {
    ground.home().path().join(format!("{name}.address"))
}

/// Where a Sillage serves HTTP, as soon as it does.
pub fn address(ground: &Ground, name: &str, process: &mut Process) -> Result<String, String> {
    let (file, begun) = (announced(ground, name), Instant::now());
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        // Half of an address is none.
        if text.parse::<SocketAddr>().is_ok() {
            return Ok(text);
        }
        if process.has_ended() || begun.elapsed() > CALL {
            return Err(format!("Sillage serves no HTTP:\n{}", process.log_tail()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a system that reads a log at rest takes part in its group and owns its partitions.
pub fn until_ready(system: System, ground: &Ground, run: &Run<'_>, process: &mut Process) -> Result<(), String> {
    let begun = Instant::now();
    let ready: &mut dyn FnMut(&Process) -> bool = match system {
        System::Sillage => {
            let mut connection = Connection::to(&address(ground, run.group, process)?)?;
            &mut move |_| connection.get("/readyz").is_ok_and(|answer| answer.status == 200)
        }
        System::Floor | System::Flink => &mut |_| true,
        System::Streams | System::StreamsRocks => &mut |process| process.log_tail().lines().any(|line| line == "running"),
    };
    while !ready(process) {
        if process.has_ended() || begun.elapsed() > 3 * CALL {
            return Err(format!("{} does not come to run:\n{}", system.name(), process.log_tail()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn floor(ground: &Ground, run: &Run<'_>) -> Result<Process, String> {
    let topics: Vec<String> = topics(run).chain([format!("{}.state", run.group)]).collect();
    kafka::create(run.brokers, &topics, PARTITIONS, &[])?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["floor", run.brokers, run.input, run.group]).arg(run.captured).args(&ground.tools.floor);
    let mut process = ground.home().start_heard(run.group, &mut command)?;
    process.hear("ready")?;
    Ok(process)
}

fn streams(ground: &Ground, run: &Run<'_>, store: &str) -> Result<Process, String> {
    let built = ground.tools.streams.as_ref().ok_or("Kafka Streams was not built")?;
    let mut command = java(ground, built, run)?;
    command.args(["bench.Main", run.brokers, run.input, run.group, store]);
    command.arg(ground.home().path().join("streams-state")).arg(run.commit_ms.to_string());
    ground.home().start(run.group, &mut command)
}

fn flink(ground: &Ground, run: &Run<'_>) -> Result<Process, String> {
    let built = ground.tools.flink.as_ref().ok_or("Flink was not built")?;
    let mut command = java(ground, built, run)?;
    command.args(["bench.Flink", run.brokers, run.input, run.group, "1000"]);
    command.arg(ground.home().path().join("flink-state"));
    ground.home().start(run.group, &mut command)
}

/// A rival's Java, and the topics that it writes to.
fn java(ground: &Ground, built: &Path, run: &Run<'_>) -> Result<Command, String> {
    if run.format != "json" {
        return Err(format!("it reads no {}", run.format));
    }
    let topics: Vec<String> = topics(run).collect();
    kafka::create(run.brokers, &topics, PARTITIONS, &[])?;
    let mut command = Command::new("java");
    let (heap, folder) = (&ground.tools.heap, ground.home().path().display());
    command.args([format!("-Xms{heap}"), format!("-Xmx{heap}"), format!("-Dbench.model={}", run.model)]);
    // Some unpack libraries among the temporary files and leave them there.
    command.arg(format!("-Djava.io.tmpdir={folder}"));
    command.args(["-XX:+UseParallelGC", "-XX:+AlwaysActAsServerClassMachine"]);
    command.args(["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    command.arg(format!("{0}/classes:{0}/libs/*", built.display()));
    Ok(command)
}

/// The topics of its outcomes.
pub fn topics<'a>(run: &'a Run<'_>) -> impl Iterator<Item = String> + 'a {
    outcomes::TOPICS.iter().map(move |name| format!("{}.{name}", run.group))
}
