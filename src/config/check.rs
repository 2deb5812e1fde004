//! From the lines of the file to the [`Config`]: every fault at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{Config, KafkaLog, Log, LogFormat, LogLevel, Surroundings, tokens};
use crate::diagnostic::{Diagnostic, Faults, Place, Spanned};
use crate::embedded;
use crate::http::Allowed;
use crate::kafka::{Connection, Create, Protocol, Stamps, Start};
use crate::memory::{self, Budget};
use crate::partitioner::Partitioner;
use crate::shard::{self, Misrouted, Undo};
use crate::time::{Span, Timestamp};
use crate::wire::{Format, Limits, Mapping, outputs};
use crate::yaml::{Bounds, Node, Reader, Value};

/// Every key of the file, in the order of the documentation.
pub const KEYS: &[&str] = &[
    "models",
    "contacts",
    "deliver",
    "retired",
    "workers",
    "memory",
    "state_memory",
    "listen",
    "hosts",
    "origins",
    "allow_erase",
    "allow_history",
    "trusted_proxies",
    "read_token",
    "write_token",
    "erase_token",
    "admin_token",
    "insecure",
    "brokers",
    "group",
    "group_protocol",
    "instance",
    "inputs",
    "output",
    "output_format",
    "start",
    "create_topics",
    "partitions",
    "replication",
    "partitioner",
    "misrouted",
    "properties",
    "directory",
    "keep_touchpoints",
    "keep_outcomes",
    "input_format",
    "fields",
    "max_record_bytes",
    "max_properties",
    "commit_interval",
    "settle",
    "grace",
    "max_delay",
    "stale_after",
    "history",
    "forget_after",
    "erase_on",
    "buffered_records",
    "decisions_per_commit",
    "log_level",
    "log_format",
];
/// Keys that hold a list.
pub(super) const LISTS: &[&str] = &["models", "retired", "inputs", "hosts", "origins", "trusted_proxies"];
/// Keys that hold a map.
pub(super) const MAPS: &[&str] = &["properties", "fields"];
/// Keys that mean something on Kafka only, and on the embedded log only.
const KAFKA_ONLY: &[&str] = &[
    "group",
    "group_protocol",
    "instance",
    "inputs",
    "output",
    "output_format",
    "start",
    "create_topics",
    "replication",
    "partitioner",
    "misrouted",
    "properties",
    "buffered_records",
];
const EMBEDDED_ONLY: &[&str] = &["deliver", "allow_history", "directory", "keep_touchpoints", "keep_outcomes"];

/// librdkafka properties that exactly-once depends on, with what to do instead.
const OWN_PROPERTIES: &[(&str, &str)] = &[
    ("bootstrap.servers", "write `brokers`"),
    ("metadata.broker.list", "write `brokers`"),
    ("group.id", "write `group`"),
    ("transactional.id", "it derives from `group`, `instance` and the worker"),
    ("enable.auto.commit", "offsets are committed with the outcomes"),
    ("enable.auto.offset.store", "offsets are committed with the outcomes"),
    ("auto.offset.reset", "write `start`"),
    ("isolation.level", "only committed records are read"),
    ("enable.partition.eof", "nothing but records may come between records"),
    ("enable.idempotence", "transactions need it"),
    ("acks", "transactions need all"),
    ("partitioner", "outcomes are partitioned as Kafka's Java client does"),
    ("group.instance.id", "it derives from `instance` and the worker"),
    ("partition.assignment.strategy", "all inputs must go to the same member, which only range promises"),
    ("message.max.bytes", "it follows from the inputs' limit"),
    ("transaction.timeout.ms", "it is bounded so that a crash holds readers up for seconds only"),
];

/// Reads the root map.
pub(super) fn read(root: &Node, base: &Path, surroundings: &Surroundings, faults: &mut Faults) -> Option<Config> {
    let mut reader = Reader::open(root, "the configuration", &root.place, faults)?;
    let values: BTreeMap<&str, Value<'_>> = KEYS.iter().filter_map(|key| Some((*key, reader.optional(key)?))).collect();
    reader.finish(faults);
    let file = File { values, base, root: &root.place };
    let models = file.models(faults);
    let retired = file.retired(faults);
    let limits = file.limits(faults);
    let workers = file.number("workers", 1, 1..=256, faults) as usize;
    let memory = file.size("memory", memory::usual_budget(surroundings.memory), faults);
    let state_memory = file.size("state_memory", memory::usual_state(surroundings.memory), faults);
    let budget = Budget { bytes: memory, workers };
    let log = file.log(budget, surroundings, faults);
    let shard = file.shard(budget, faults);
    let commit_interval = file.span("commit_interval", Span::from_millis(100), &(millis(1)..=millis(5_000)), faults);
    let listen = file.listen(faults);
    let hosts = file.names("hosts", host, "a name without a port, such as sillage.example.com", faults);
    let origins = file.names("origins", origin, "scheme and host without a path, such as https://shop.example.com", faults);
    let allow_erase = file.word("allow_erase", ALLOWED, Allowed::No, faults);
    let allow_history = file.word("allow_history", ALLOWED, Allowed::No, faults);
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let proxies = file.names("trusted_proxies", is_address, "an address without a port, such as 10.0.0.7", faults);
    let trusted_proxies = proxies.iter().filter_map(|proxy| proxy.parse().ok()).collect();
    let given = tokens::KEYS.iter().filter_map(|(key, scope)| Some((*key, *scope, file.text(key, faults)?)));
    let given: Vec<_> = given.collect();
    let tokens = tokens::read(&given, faults);
    let is_meant = matches!(file.flag("insecure", Flag::No, faults), Flag::Yes) || !given.is_empty();
    if let Some(value) = file.get("listen").filter(|_| !is_meant) {
        tokens::check_listen(listen, value.place(), faults);
    }
    let input_format = file.word("input_format", FORMATS, Format::Json, faults);
    let fields = file.fields(faults);
    let stale_after = file.span("stale_after", Span::from_secs(300), &(millis(1_000)..=Span::from_days(365)), faults);
    let erase_on = file.text("erase_on", faults).map(|kind| kind.value.into());
    let log_level = file.word("log_level", LEVELS, LogLevel::Info, faults);
    let log_format = file.word("log_format", LOG_FORMATS, LogFormat::Text, faults);
    check_avro(&file, input_format, &log, faults);
    // What is too old to be published as a fresh absence asks for nothing either.
    let shard = shard::Settings { stale_after, ..shard };
    let path = |key, faults: &mut Faults| file.get(key)?.text(faults).map(|path| base.join(path.value));
    let contacts = path("contacts", faults);
    let deliver = path("deliver", faults);
    // Everything has been asked for by now, so that every fault is told.
    faults.usable().then_some(Config {
        models,
        contacts,
        deliver,
        retired,
        workers,
        memory,
        state_memory,
        listen,
        hosts,
        origins,
        tokens,
        allow_erase,
        allow_history,
        trusted_proxies,
        log,
        input_format,
        fields,
        limits,
        shard,
        erase_on,
        commit_interval,
        stale_after,
        log_level,
        log_format,
    })
}

const FORMATS: &[(&str, Format)] = &[("json", Format::Json), ("avro", Format::Avro)];
const ALLOWED: &[(&str, Allowed)] = &[("true", Allowed::Yes), ("false", Allowed::No)];
const LEVELS: &[(&str, LogLevel)] =
    &[("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const PROTOCOLS: &[(&str, Protocol)] = &[("classic", Protocol::Classic), ("consumer", Protocol::Consumer)];
const PARTITIONERS: &[(&str, Partitioner)] =
    &[("murmur2", Partitioner::Murmur2), ("crc32", Partitioner::Crc32), ("unknown", Partitioner::Unknown)];

const MISROUTED: &[(&str, Misrouted)] = &[("hand-on", Misrouted::HandOn), ("apply", Misrouted::Apply)];

const fn millis(millis: i64) -> Span {
    Span::from_millis(millis)
}

struct File<'a> {
    values: BTreeMap<&'static str, Value<'a>>,
    base: &'a Path,
    root: &'a Place,
}

impl File<'_> {
    fn get(&self, key: &'static str) -> Option<&Value<'_>> {
        debug_assert!(KEYS.contains(&key), "{key} is not among the keys");
        self.values.get(key)
    }

    fn number(&self, key: &'static str, default: u64, bounds: std::ops::RangeInclusive<u64>, faults: &mut Faults) -> u64 {
        self.get(key).and_then(|value| value.integer(bounds, faults)).map_or(default, |number| number.value)
    }

    fn size(&self, key: &'static str, default: u64, faults: &mut Faults) -> u64 {
        self.get(key).and_then(|value| value.size(memory::LEAST..=1 << 44, faults)).map_or(default, |size| size.value)
    }

    fn span(&self, key: &'static str, default: Span, bounds: &Bounds, faults: &mut Faults) -> Span {
        self.get(key).and_then(|value| value.duration(bounds, faults)).map_or(default, |span| span.value)
    }

    fn word<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)], default: T, faults: &mut Faults) -> T {
        self.get(key).and_then(|value| value.word(words, faults)).map_or(default, |word| word.value)
    }

    fn text(&self, key: &'static str, faults: &mut Faults) -> Option<Spanned<String>> {
        self.get(key)?.text(faults)
    }

    fn flag(&self, key: &'static str, default: Flag, faults: &mut Faults) -> Flag {
        self.word(key, &[("true", Flag::Yes), ("false", Flag::No)], default, faults)
    }

    fn models(&self, faults: &mut Faults) -> Vec<PathBuf> {
        let Some(value) = self.get("models") else {
            let help = "add a line such as `models: [models/five-stages.yaml]`";
            faults.error("C001", self.root, "no model is named", help);
            return Vec::new();
        };
        let Some(paths) = value.texts("the path of a model", faults) else { return Vec::new() };
        if paths.is_empty() {
            faults.error("C001", value.place(), "no model is named", "name at least one model's file");
        }
        twice(&paths, faults);
        paths.iter().map(|path| self.base.join(&path.value)).collect()
    }

    fn retired(&self, faults: &mut Faults) -> Vec<String> {
        let names = self.get("retired").and_then(|value| value.texts("the name of a model", faults)).unwrap_or_default();
        twice(&names, faults);
        names.into_iter().map(|name| name.value).collect()
    }

    fn listen(&self, faults: &mut Faults) -> SocketAddr {
        let default = SocketAddr::from(([127, 0, 0, 1], 8080));
        let Some(text) = self.text("listen", faults) else { return default };
        text.value.parse().unwrap_or_else(|_| {
            let cause = format!("{} is no address to listen on", text.place.quoted(&text.value));
            faults.error("C011", &text.place, cause, "write address and port, such as 127.0.0.1:8080 or 0.0.0.0:8080");
            default
        })
    }

    /// A list of names of one form, in lower case.
    fn names(&self, key: &'static str, is_one: fn(&str) -> bool, form: &str, faults: &mut Faults) -> Vec<String> {
        let mut names = self.get(key).and_then(|value| value.texts("a name", faults)).unwrap_or_default();
        for name in &mut names {
            name.value.make_ascii_lowercase();
            if !is_one(&name.value) {
                let cause = format!("{} cannot be one of the `{key}`", name.place.quoted(&name.value));
                faults.error("Y013", &name.place, cause, format!("write {form}"));
            }
        }
        twice(&names, faults);
        names.into_iter().map(|name| name.value).collect()
    }

    fn limits(&self, faults: &mut Faults) -> Limits {
        let usual = Limits::default();
        let bytes = self.number("max_record_bytes", usual.bytes as u64, 1_024..=64 << 20, faults);
        let properties = self.number("max_properties", usual.properties as u64, 0..=10_000, faults);
        Limits { bytes: bytes as usize, properties: properties as usize }
    }

    fn fields(&self, faults: &mut Faults) -> Option<Mapping> {
        let value = self.get("fields")?;
        let entries = value.entries("fields", faults)?;
        let mut pairs = Vec::new();
        for entry in entries {
            // A list is put together to one id.
            let value = Value::from(entry);
            let paths = match value.is_list() {
                true => value
                    .texts("a path", faults)
                    .map(|paths| paths.into_iter().map(|path| path.value).collect::<Vec<_>>().join(" + ")),
                false => value.text(faults).map(|path| path.value),
            };
            pairs.extend(paths.map(|paths| (entry.key.value.clone(), paths)));
        }
        match Mapping::new(&pairs) {
            Ok(mapping) => Some(mapping),
            Err(cause) => {
                let help = "write `canonical_name: path.in.the.source` for each";
                faults.error("Y013", value.place(), cause, help);
                None
            }
        }
    }

    fn shard(&self, budget: Budget, faults: &mut Faults) -> shard::Settings {
        let usual = shard::Settings::default();
        shard::Settings {
            settle: self.settle(faults),
            grace: self.grace(usual.grace, usual.max_delay, faults),
            max_delay: self.span("max_delay", usual.max_delay, &(Span::ZERO..=Span::from_days(1)), faults),
            stale_after: usual.stale_after,
            history: self.number("history", usual.history as u64, 0..=1_000, faults) as usize,
            decisions_per_transaction: self.number(
                "decisions_per_commit",
                usual.decisions_per_transaction as u64,
                1..=1_000_000,
                faults,
            ) as usize,
            transaction_bytes: budget.transaction() as usize,
            forget_after: self.forget_after(faults),
            control: usual.control,
            undo: Undo::Kept,
            state_log: usual.state_log,
        }
    }

    /// Where there is a grace, it is not shorter than the delay that is counted from the event anyway.
    fn grace(&self, usual: Span, delay: Span, faults: &mut Faults) -> Span {
        let grace = self.span("grace", usual, &(Span::ZERO..=Span::from_days(7)), faults);
        let delay = self.span("max_delay", delay, &(Span::ZERO..=Span::from_days(1)), &mut Faults::default());
        if grace == Span::ZERO { grace } else { grace.max(delay) }
    }

    fn settle(&self, faults: &mut Faults) -> Span {
        self.span("settle", shard::Settings::default().settle, &(Span::ZERO..=Span::from_secs(600)), faults)
    }

    /// Not less than the week for which a completed id is remembered (rule 13).
    fn forget_after(&self, faults: &mut Faults) -> Option<Span> {
        let usual = Span::from_days(400);
        let value = self.get("forget_after");
        let history = self.number("history", 20, 0..=1_000, &mut Faults::default());
        if value.and_then(Value::as_text) == Some("never") || (value.is_none() && history == 0) {
            return None;
        }
        let after = self.span("forget_after", usual, &(Span::from_days(7)..=Span::from_days(3_650)), faults);
        if let Some(value) = value.filter(|_| history == 0) {
            let cause = "without a history nobody knows how long a customer has been away";
            let help = "write `history: 1` or more, or `forget_after: never`";
            faults.error("C015", value.place(), cause, help);
        }
        Some(after)
    }

    fn log(&self, budget: Budget, surroundings: &Surroundings, faults: &mut Faults) -> Log {
        let Some(brokers) = self.get("brokers") else {
            self.without_effect(KAFKA_ONLY, "the embedded log, since there are no `brokers`", faults);
            return Log::Embedded(self.embedded(budget, faults));
        };
        if let Some(directory) = self.get("directory") {
            faults.push(
                Diagnostic::error(
                    "C002",
                    directory.key_place(),
                    "`brokers` and `directory` cannot both be set",
                    "keep `brokers` for Kafka, or `directory` for the embedded log",
                )
                .see(brokers.key_place(), "Kafka"),
            );
        } else {
            self.without_effect(EMBEDDED_ONLY, "Kafka", faults);
        }
        Log::Kafka(self.kafka(brokers, budget, surroundings, faults))
    }

    fn without_effect(&self, keys: &[&'static str], log: &str, faults: &mut Faults) {
        for value in keys.iter().filter_map(|key| self.get(key)) {
            let cause = format!("{} has no effect on {log}", value.label());
            faults.warning("C012", value.key_place(), cause, "remove the line");
        }
    }

    fn embedded(&self, budget: Budget, faults: &mut Faults) -> embedded::Settings {
        let keep = Span::from_secs(60)..=Span::from_days(3_650);
        let directory = self.text("directory", faults).map_or_else(|| "sillage-data".to_owned(), |text| text.value);
        embedded::Settings {
            dir: self.base.join(directory),
            partitions: self.number("partitions", 4, 1..=1_024, faults) as u32,
            keep_touchpoints: self.span("keep_touchpoints", Span::from_days(7), &keep, faults),
            keep_outcomes: self.span("keep_outcomes", Span::from_days(30), &keep, faults),
            // What is wrong with them has been told.
            retired: self.retired(&mut Faults::default()),
            max_bytes: None,
            waiting_bytes: budget.waiting(),
        }
    }

    fn kafka(&self, brokers: &Value<'_>, memory: Budget, surroundings: &Surroundings, faults: &mut Faults) -> KafkaLog {
        let brokers = brokers.text(faults).filter(|brokers| check_brokers(brokers, faults));
        let inputs = self.inputs(faults);
        let output = self.topic("output", "sillage", faults);
        check_outputs(&inputs, &output, faults);
        let start = self.start(faults);
        let buffered = self.number("buffered_records", 10_000, 1..=1_000_000, faults);
        let decisions = self.number("decisions_per_commit", 20_000, 1..=1_000_000, &mut Faults::default());
        if let Some(value) = self.get("buffered_records").filter(|_| buffered > decisions.saturating_mul(1_000)) {
            let cause = format!("{buffered} buffered records need over a thousand commits of {decisions} to drain");
            faults.warning("C013", value.place(), cause, "lower `buffered_records`, or raise `decisions_per_commit`");
        }
        let group = self.topic("group", "sillage", faults).value;
        let instance = self.instance(surroundings, faults);
        let properties = self.properties(faults);
        // Stand-ins where something is missing: that is a fault, so the whole is refused, but not before all has been read.
        let connection = Connection {
            brokers: brokers.map_or_else(String::new, |brokers| brokers.value),
            group,
            instance,
            protocol: self.word("group_protocol", PROTOCOLS, Protocol::Classic, faults),
            inputs: inputs.into_iter().map(|input| input.value).collect(),
            output: output.value,
            format: self.word("output_format", FORMATS, Format::Json, faults),
            start: start.unwrap_or(Start::Latest),
            properties,
            buffered_records: buffered as usize,
            // What is wrong with it has been told.
            settle: self.get("settle").map(|_| self.settle(&mut Faults::default())),
            memory,
        };
        let create = Create {
            partitions: self.number("partitions", 6, 1..=10_000, faults) as u32,
            replication: self.number("replication", 1, 1..=16, faults) as u16,
            stamps: Stamps::Brokers,
        };
        KafkaLog {
            connection,
            create: match self.flag("create_topics", Flag::Yes, faults) {
                Flag::Yes => Some(create),
                Flag::No => None,
            },
            partitioner: self.word("partitioner", PARTITIONERS, Partitioner::Murmur2, faults),
            misrouted: self.word("misrouted", MISROUTED, Misrouted::HandOn, faults),
        }
    }

    /// Input topics, sorted by name: their order decides between records of one instant.
    fn inputs(&self, faults: &mut Faults) -> Vec<Spanned<String>> {
        let Some(value) = self.get("inputs") else {
            return vec![Spanned { value: "touchpoints".to_owned(), place: self.root.clone() }];
        };
        let mut inputs = value.texts("a topic", faults).unwrap_or_default();
        if inputs.is_empty() {
            faults.error(
                "C008",
                value.place(),
                "no input topic is named",
                "name at least one, such as `inputs: [touchpoints]`",
            );
        }
        inputs.iter().for_each(|input| check_topic(input, faults));
        twice(&inputs, faults);
        inputs.sort_by(|one, other| one.value.cmp(&other.value));
        inputs
    }

    fn topic(&self, key: &'static str, default: &str, faults: &mut Faults) -> Spanned<String> {
        let Some(text) = self.text(key, faults) else {
            return Spanned { value: default.to_owned(), place: self.root.clone() };
        };
        check_topic(&text, faults);
        text
    }

    fn instance(&self, surroundings: &Surroundings, faults: &mut Faults) -> String {
        match self.text("instance", faults) {
            Some(text) => text.value,
            None if surroundings.host.is_empty() => "instance-1".to_owned(),
            None => surroundings.host.clone(),
        }
    }

    fn start(&self, faults: &mut Faults) -> Option<Start> {
        const HELP: &str = "write `start: earliest` to begin with all that the inputs hold, `start: latest` to begin with \
                            what is new, or an instant such as 2026-11-22T10:00:00Z";
        let Some(text) = self.text("start", faults) else {
            if self.get("start").is_none() {
                faults.error("C003", self.root, "nothing says where a group without offsets starts", HELP);
            }
            return None;
        };
        match text.value.as_str() {
            "earliest" => Some(Start::Earliest),
            "latest" => Some(Start::Latest),
            instant => match Timestamp::parse(instant) {
                Ok(instant) => Some(Start::At(instant)),
                Err(_) => {
                    faults.error("Y013", &text.place, format!("{} is no place to start", text.place.quoted(instant)), HELP);
                    None
                }
            },
        }
    }

    fn properties(&self, faults: &mut Faults) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        let Some(value) = self.get("properties") else { return properties };
        for entry in value.entries("properties of librdkafka", faults).unwrap_or_default() {
            let name = entry.key.value.as_str();
            if let Some((_, instead)) = OWN_PROPERTIES.iter().find(|(own, _)| *own == name) {
                let cause = format!("{} is set by Sillage itself", entry.key.place.quoted(name));
                faults.error("C005", &entry.key.place, cause, format!("remove the line; {instead}"));
                continue;
            }
            let Some(text) = Value::from(entry).text(faults) else { continue };
            let asks_for_tls = name == "security.protocol" && text.value.to_ascii_lowercase().contains("ssl");
            if asks_for_tls && !cfg!(feature = "tls") {
                let cause = "TLS is asked for, but this build of Sillage has none";
                let help = "use the image or a release, or build with `cargo build --release --features tls`";
                faults.error("C006", &text.place, cause, help);
            }
            properties.insert(name.to_owned(), text.value);
        }
        properties
    }
}

fn check_avro(file: &File<'_>, format: Format, log: &Log, faults: &mut Faults) {
    let (Format::Avro, Some(value)) = (format, file.get("input_format")) else { return };
    if matches!(log, Log::Embedded(_)) {
        let help = "write `input_format: json`, or set `brokers` to read Avro from Kafka";
        faults.error("C014", value.place(), "the embedded log takes touchpoints over HTTP, as JSON", help);
    }
    if let Some(fields) = file.get("fields") {
        let cause = "`fields` has no effect on Avro, whose schema names the fields";
        faults.warning("C012", fields.key_place(), cause, "remove the line");
    }
}

#[derive(Clone, Copy)]
enum Flag {
    Yes,
    No,
}

/// A name or an address, without a port.
fn host(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && text.chars().all(is_plain) && !text.ends_with('.')
}

/// As a browser writes it: scheme, host, and the port where it is not the scheme's own.
fn origin(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    match rest.split_once(':') {
        None => host(rest),
        Some((name, port)) => host(name) && port.parse::<u16>().is_ok_and(|port| port > 0),
    }
}

fn check_brokers(brokers: &Spanned<String>, faults: &mut Faults) -> bool {
    let is_address = |address: &str| {
        let (host, port) = address.trim().rsplit_once(':').unwrap_or((address.trim(), "9092"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let wrong = brokers.value.split(',').find(|address| !is_address(address));
    if let Some(address) = wrong {
        let cause = format!("{} is no broker's address", brokers.place.quoted(address.trim()));
        faults.error("C007", &brokers.place, cause, "write host:port, several separated by commas");
    }
    wrong.is_none()
}

/// Kafka's own rule for names of topics; groups are held to it as well, since transactional ids and topics derive from them.
fn check_topic(name: &Spanned<String>, faults: &mut Faults) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let text = name.value.as_str();
    if text.len() > 200 || !text.chars().all(plain) || matches!(text, "." | "..") {
        let cause = format!("{} cannot be the name of a topic or group", name.place.quoted(text));
        faults.error("C008", &name.place, cause, "use up to 200 letters, digits, dots, hyphens and underscores");
    }
}

fn check_outputs(inputs: &[Spanned<String>], output: &Spanned<String>, faults: &mut Faults) {
    for input in inputs {
        let Some(rest) = input.value.strip_prefix(output.value.as_str()).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        if outputs::ALL.contains(&rest)
            || matches!(rest, outputs::STATE | outputs::CONTROL | outputs::HANDOFF | outputs::DELIVERIES)
        {
            let cause = format!("{} would be read and written", input.place.quoted(&input.value));
            faults.error("C010", &input.place, cause, "give the outputs another prefix with `output`");
        }
    }
}

fn twice(names: &[Spanned<String>], faults: &mut Faults) {
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = names[..index].iter().find(|first| first.value == name.value) {
            let cause = format!("{} is listed twice", name.place.quoted(&name.value));
            faults
                .push(Diagnostic::error("C009", &name.place, cause, "remove one of the two").see(&first.place, "the first"));
        }
    }
}
