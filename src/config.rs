//! One YAML file with all settings of `sillage run`, and environment variables over it, checked as a whole.
//!
//! Every key can be overridden by `SILLAGE_` and its name in capitals: `commit_interval` by `SILLAGE_COMMIT_INTERVAL`, a
//! list with commas, a librdkafka property by `SILLAGE_PROPERTY_SASL_PASSWORD`. Binds nothing; opens nothing
//! but the files that variables name whose names end in `_FILE`.

mod check;
mod environment;
mod secrets;
mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use compact_str::CompactString;

use crate::diagnostic::{Diagnostic, Faults};
use crate::http::{Allowed, Tokens};
use crate::memory::Budget;
use crate::partitioner::Partitioner;
use crate::shard::Misrouted;
use crate::time::Span;
use crate::wire::{Format, Limits, Mapping};
use crate::yaml;
use crate::{embedded, kafka, shard};

pub use check::KEYS;
pub use secrets::is_plain_property;

/// Everything that `sillage run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The models' files, in the order in which their outcomes come.
    pub models: Vec<PathBuf>,
    /// The file that says how customers may be contacted, whichever model asks.
    pub contacts: Option<PathBuf>,
    /// The file that says where interventions are delivered from the embedded log.
    pub deliver: Option<PathBuf>,
    /// The names of models that are gone for good, with their journeys.
    pub retired: Vec<String>,
    /// Threads that process shards.
    pub workers: usize,
    /// Bytes of memory for what passes through the process.
    pub memory: u64,
    /// Bytes of memory for the state of the customers.
    pub state_memory: u64,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Names under which HTTP is asked for, beside the address and the loopback's; in lower case.
    pub hosts: Vec<String>,
    /// Who may do what over HTTP; without any, whoever reaches it.
    pub tokens: Tokens,
    /// Whether customers may be erased over HTTP.
    pub allow_erase: Allowed,
    /// Whether a history may be loaded over HTTP.
    pub allow_history: Allowed,
    /// Addresses of proxies, which may hold any number of connections.
    pub trusted_proxies: Vec<IpAddr>,
    /// Origins of web pages that may ask; in lower case.
    pub origins: Vec<String>,
    /// The log to read from and write to.
    pub log: Log,
    /// How touchpoints are encoded.
    pub input_format: Format,
    /// Which source fields hold what.
    pub fields: Option<Mapping>,
    /// What a record may hold.
    pub limits: Limits,
    /// Time, history and undo of the shards.
    pub shard: shard::Settings,
    /// A touchpoint of this type asks for its customer to be erased.
    pub erase_on: Option<CompactString>,
    /// How often to commit.
    pub commit_interval: Span,
    /// An absence decided so long after its deadline is marked stale.
    pub stale_after: Span,
    /// Which of the service's own log lines are written.
    pub log_level: LogLevel,
    /// How they are written.
    pub log_format: LogFormat,
}

impl Config {
    /// What the process may take in memory for what passes through it.
    pub fn budget(&self) -> Budget {
        Budget { bytes: self.memory, workers: self.workers }
    }
}

/// Where touchpoints come from and outcomes go.
#[derive(Clone, Debug)]
pub enum Log {
    /// Apache Kafka.
    Kafka(KafkaLog),
    /// A local store: Sillage without Kafka.
    Embedded(embedded::Settings),
}

/// Kafka, and how its topics are made.
#[derive(Clone, Debug)]
pub struct KafkaLog {
    /// Brokers, topics, group, properties.
    pub connection: kafka::Connection,
    /// How missing topics are created; `None`: they must exist.
    pub create: Option<kafka::Create>,
    /// How the inputs are partitioned.
    pub partitioner: Partitioner,
    /// What becomes of a touchpoint that is found in another partition than that of its id.
    pub misrouted: Misrouted,
}

/// Which log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what must be mended.
    Error,
    /// And what deserves a look.
    Warn,
    /// And what the service does.
    Info,
    /// And why.
    Debug,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the machine says beside the file.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables, names and values.
    pub variables: Vec<(String, String)>,
    /// The machine's name; tells instances of a group apart where `instance` is not set.
    pub host: String,
    /// Bytes of memory that the process may have; 0 where nobody says.
    pub memory: u64,
}

/// Reads and checks a configuration. Relative paths in it count from the file's directory. `Some` only where there is no
/// error; diagnostics come in the order of their places.
pub fn load(file: &Path, text: &str, surroundings: &Surroundings) -> (Option<Config>, Vec<Diagnostic>) {
    let source = secrets::source(&file.display().to_string(), text);
    let mut faults = Faults::default();
    let base = file.parent().unwrap_or_else(|| Path::new(""));
    let root = yaml::parse(&source, &mut faults);
    let root = root.and_then(|root| environment::apply(root, &source, &surroundings.variables, &mut faults));
    let config = root.and_then(|root| check::read(&root, base, surroundings, &mut faults));
    faults.settle(config)
}
