//! The systems that drain the backlog: how each is started, and what it must be given.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fill::PARTITIONS;
use crate::home::{Home, Process};
use crate::kafka;
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
    /// The model that all of them run.
    pub model: PathBuf,
    /// The folder of the application on Kafka Streams, where it is to run.
    pub streams: Option<PathBuf>,
    /// The same of that on Flink.
    pub flink: Option<PathBuf>,
    /// Heap of their Java, such as `3g`.
    pub heap: String,
    /// Properties of the floor's clients.
    pub floor: Vec<String>,
}

/// One run of a system.
pub struct Run<'a> {
    /// The broker.
    pub brokers: &'a str,
    /// The input.
    pub input: &'a str,
    /// The consumer group; topics that the system writes begin with it too.
    pub group: &'a str,
    /// What was captured of Sillage.
    pub captured: &'a Path,
}

/// Starts a system on a backlog. The floor stands ready and waits to be told; the others begin at once.
pub fn start(system: System, tools: &Tools, home: &Home, run: &Run<'_>) -> Result<Process, String> {
    match system {
        System::Sillage => sillage(tools, home, run),
        System::Floor => floor(tools, home, run),
        System::Streams => streams(tools, home, run, "memory"),
        System::StreamsRocks => streams(tools, home, run, "rocksdb"),
        System::Flink => flink(tools, home, run),
    }
}

fn sillage(tools: &Tools, home: &Home, run: &Run<'_>) -> Result<Process, String> {
    let config = home.path().join(format!("{}.yaml", run.group));
    let lines = format!(
        "models: [\"{}\"]\nbrokers: {}\ngroup: {}\ninstance: bench\ninputs: [{}]\noutput: {}\nstart: earliest\n\
         workers: 1\ncommit_interval: 100ms\nlisten: 127.0.0.1:0\nlog_level: warn\n",
        tools.model.display(),
        run.brokers,
        run.group,
        run.input,
        run.group
    );
    std::fs::write(&config, lines).map_err(|error| error.to_string())?;
    let mut command = Command::new(&tools.sillage);
    command.arg("run").arg("-c").arg(&config);
    // It takes these for settings.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SILLAGE_")) {
        command.env_remove(name);
    }
    home.start(run.group, &mut command)
}

fn floor(tools: &Tools, home: &Home, run: &Run<'_>) -> Result<Process, String> {
    let topics: Vec<String> = topics(run).chain([format!("{}.state", run.group)]).collect();
    kafka::create(run.brokers, &topics, PARTITIONS, &[])?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["floor", run.brokers, run.input, run.group]).arg(run.captured).args(&tools.floor);
    let mut process = home.start_heard(run.group, &mut command)?;
    process.hear("ready")?;
    Ok(process)
}

fn streams(tools: &Tools, home: &Home, run: &Run<'_>, store: &str) -> Result<Process, String> {
    let built = tools.streams.as_ref().ok_or("Kafka Streams was not built")?;
    let topics: Vec<String> = topics(run).collect();
    kafka::create(run.brokers, &topics, PARTITIONS, &[])?;
    let mut command = java(tools, built);
    command.args(["bench.Main", run.brokers, run.input, run.group, store]).arg(home.path().join("streams-state"));
    home.start(run.group, &mut command)
}

fn flink(tools: &Tools, home: &Home, run: &Run<'_>) -> Result<Process, String> {
    let built = tools.flink.as_ref().ok_or("Flink was not built")?;
    let topics: Vec<String> = topics(run).collect();
    kafka::create(run.brokers, &topics, PARTITIONS, &[])?;
    let mut command = java(tools, built);
    command.args(["bench.Flink", run.brokers, run.input, run.group, "1000"]).arg(home.path().join("flink-state"));
    home.start(run.group, &mut command)
}

fn java(tools: &Tools, built: &Path) -> Command {
    let mut command = Command::new("java");
    command.args([format!("-Xms{}", tools.heap), format!("-Xmx{}", tools.heap)]);
    command.args(["-XX:+UseParallelGC", "-XX:+AlwaysActAsServerClassMachine"]);
    command.args(["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    command.arg(format!("{0}/classes:{0}/libs/*", built.display()));
    command
}

/// The topics of its outcomes.
pub fn topics<'a>(run: &'a Run<'_>) -> impl Iterator<Item = String> + 'a {
    outcomes::TOPICS.iter().map(move |name| format!("{}.{name}", run.group))
}
