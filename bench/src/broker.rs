//! One Apache Kafka broker (KRaft, broker and controller in one process) on loopback; and the jars, from Maven Central.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::home::{Home, Process};
use crate::kafka;

/// Any base64 UUID does; a fixed one spares a Java start.
const CLUSTER: &str = "c2lsbGFnZS1iZW5jaC0xMQ";
/// How to install what is missing.
pub const INSTALL: &str = "on Debian or Ubuntu: sudo apt-get install -y openjdk-17-jdk-headless maven";

/// A running broker.
pub struct Broker {
    port: u16,
    _process: Process,
}

impl Broker {
    /// Formats its folder, starts it, and waits until it answers.
    pub fn start(home: &Home, jars: &Path) -> Result<Broker, String> {
        let (port, controller) = (free_port()?, free_port()?);
        let settings = settings(&home.path().join("kafka"), port, controller);
        std::fs::write(home.path().join("server.properties"), settings).map_err(|error| error.to_string())?;
        let format = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", "server.properties"];
        let output = java(home, jars).args(format).current_dir(home.path()).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("cannot start java: {error}"))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the broker's folder cannot be formatted:\n{told}"));
        }
        let mut process = home.start("broker", java(home, jars).args(["kafka.Kafka", "server.properties"]))?;
        let (begun, address) = (Instant::now(), format!("127.0.0.1:{port}"));
        while !kafka::answers(&address) {
            if process.has_ended() || begun.elapsed() > Duration::from_secs(90) {
                return Err(format!("the broker does not answer:\n{}", process.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(Broker { port, _process: process })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn java(home: &Home, jars: &Path) -> Command {
    let mut command = Command::new("java");
    // What it unpacks among the temporary files goes with the folder.
    command.arg(format!("-Djava.io.tmpdir={}", home.path().display()));
    command.args(["-Xms1g", "-Xmx1g", "-XX:+UseParallelGC", "-cp"]).arg(format!("{}/*", jars.display()));
    command
}

fn settings(data: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         log.cleaner.enable=false\n\
         auto.create.topics.enable=false\n",
        data.display()
    )
}

/// Until the broker listens there, somebody else could take it; then its log says so.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// The folder that this program was built into, where what is got once is kept.
fn target() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = program.parent().and_then(Path::parent);
    target.map(Path::to_owned).ok_or_else(|| "the program lies in no target folder".to_owned())
}

/// Which of these programs do not answer.
pub fn missing_tools() -> Vec<&'static str> {
    let answers = |tool: &str, flag: &str| {
        let asked = Command::new(tool).arg(flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    [("java", "-version"), ("mvn", "-version")]
        .into_iter()
        .filter(|(tool, flag)| !answers(tool, flag))
        .map(|(tool, _)| tool)
        .collect()
}

/// The broker's jars, got once; the same folder as that of the end-to-end tests.
pub fn jars(root: &Path) -> Result<PathBuf, String> {
    let done = target()?.join("kafka-4.3.1-libs");
    get_once(&done, "Apache Kafka 4.3.1 from Maven Central (54 MB, once)", |part| {
        let mut command = maven(&root.join("tests/e2e/kafka/pom.xml"));
        command.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
        command.arg(format!("-DoutputDirectory={}", part.display()));
        run(&mut command)
    })?;
    Ok(done)
}

/// A rival's application and its jars, built when its sources are newer: `streams` or `flink`.
pub fn rival(root: &Path, name: &str) -> Result<PathBuf, String> {
    let (built, sources) = (target()?.join(name), root.join("bench").join(name));
    let mut command = maven(&sources.join("pom.xml"));
    command.args(["compile", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    command.arg(format!("-Dbuilt={}", built.display())).arg(format!("-DoutputDirectory={}/libs", built.display()));
    run(&mut command)?;
    Ok(built)
}

fn maven(pom: &Path) -> Command {
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "-f"]).arg(pom).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let ended = command.output().map_err(|error| format!("cannot start mvn: {error}; {INSTALL}"))?;
    let told = String::from_utf8_lossy(&ended.stdout);
    let reason = || format!("mvn failed; is Maven Central reachable?\n{told}");
    if ended.status.success() { Ok(()) } else { Err(reason()) }
}

/// Fills a folder, which gets its name only when it is whole.
fn get_once(done: &Path, what: &str, get: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    if done.is_dir() {
        return Ok(());
    }
    let beside = |extension: &str| PathBuf::from(format!("{}.{extension}", done.display()));
    let turn = File::create(beside("lock")).map_err(|error| error.to_string())?;
    turn.lock().map_err(|error| error.to_string())?;
    if done.is_dir() {
        return Ok(());
    }
    eprintln!("getting {what}");
    let part = beside("part");
    let _ = std::fs::remove_dir_all(&part);
    get(&part)?;
    std::fs::rename(&part, done).map_err(|error| error.to_string())
}
