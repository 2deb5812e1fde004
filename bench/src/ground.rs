//! What every measurement stands on: the binary under test, the rivals, a folder, and where it is needed one broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::broker::{self, Broker};
use crate::home::Home;
use crate::plan::Plan;
use crate::report;
use crate::systems::{System, Tools};

/// The ground, until it is dropped.
pub struct Ground {
    /// What is started.
    pub tools: Tools,
    /// What `sillage --version` says, and the commit.
    version: String,
    /// Last, so that the broker has ended when the folder is removed.
    broker: Option<Broker>,
    home: Home,
}

impl Ground {
    /// Without a broker, for what Sillage does alone.
    pub fn alone(plan: &Plan) -> Result<Ground, String> {
        let root = root()?;
        let sillage = sillage(plan)?;
        let version = version(&sillage, root, plan.sillage.is_none());
        let (heap, floor, folder) = (plan.heap.clone(), plan.floor.clone(), root.join("bench"));
        let tools = Tools { sillage, folder, streams: None, flink: None, heap, floor };
        Ok(Ground { tools, version, broker: None, home: Home::make()? })
    }

    /// With a broker, and the rivals among these systems.
    pub fn with_broker(plan: &Plan, systems: &[System]) -> Result<Ground, String> {
        let missing = broker::missing_tools();
        if !missing.is_empty() {
            return Err(format!("{} cannot be found; {}", missing.join(" and "), broker::INSTALL));
        }
        let root = root()?;
        let mut ground = Ground::alone(plan)?;
        let jars = broker::jars(root)?;
        let rival = |of: &[System], name| {
            let wanted = systems.iter().any(|system| of.contains(system));
            wanted.then(|| broker::rival(root, name)).transpose()
        };
        ground.tools.streams = rival(&[System::Streams, System::StreamsRocks], "streams")?;
        ground.tools.flink = rival(&[System::Flink], "flink")?;
        ground.broker = Some(Broker::start(&ground.home, &jars)?);
        Ok(ground)
    }

    /// The folder.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The broker's address; nothing where there is none.
    pub fn brokers(&self) -> String {
        self.broker.as_ref().map_or_else(String::new, Broker::address)
    }

    /// Machine, versions and command, as a report begins.
    pub fn head(&self, plan: &Plan) -> String {
        format!("Machine: {}. {}.\n\nCommand: `{}`.\n", report::machine(), self.version, plan.command)
    }

    /// Shows the measured part of a report, and writes it where that was asked for.
    pub fn publish(&self, plan: &Plan, section: &str, text: &str) -> Result<(), String> {
        let text = format!("{}{text}", self.head(plan));
        println!("{text}");
        plan.report.as_ref().map_or(Ok(()), |path| report::replace(path, section, &text))
    }
}

/// The repository.
pub fn root() -> Result<&'static Path, String> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or_else(|| "the package lies in no repository".to_owned())
}

/// The binary that was given, or the one beside this program.
fn sillage(plan: &Plan) -> Result<PathBuf, String> {
    let beside = || std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("sillage")));
    let path = plan.sillage.clone().or_else(beside).unwrap_or_default();
    let path = std::path::absolute(&path).unwrap_or(path);
    let help = "build it with `cargo build --release --locked`, or say where it is with --sillage";
    if path.is_file() { Ok(path) } else { Err(format!("there is no {}; {help}", path.display())) }
}

/// What it says of itself, and where it was built here, the commit that is checked out.
fn version(sillage: &Path, root: &Path, built_here: bool) -> String {
    let told = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(root).output();
        let told = output.ok().filter(|output| output.status.success());
        told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|told| !told.is_empty())
    };
    let version = told(sillage, &["--version"]).unwrap_or_default();
    let commit = built_here.then(|| told(Path::new("git"), &["describe", "--always", "--dirty"])).flatten();
    commit.map_or(version.clone(), |commit| format!("{version}, commit {commit}"))
}

/// The wall clock, which the broker's stamps are compared with.
#[allow(clippy::disallowed_methods)] // Sillage's own clock is not the harness's.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
