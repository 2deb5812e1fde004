//! Topics and limits, created or verified before anything is read (rules 2, 21, 26).

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tracing::{info, warn};

use super::Connection;
use super::client::{self, Plain};
use crate::time::Span;
use crate::wire::outputs;

/// How long a broker may take to answer before it counts as not there.
const REACH: Duration = Duration::from_secs(10);
/// A dead letter is its record and headers: so much more than the largest record (rule 21).
const DEAD_LETTER_EXTRA: usize = 64 * 1024;

/// So many bytes a page of the state log may have, with room to spare: Kafka's own default for a topic, so only a limit that
/// somebody lowered is too low.
const STATE_LOG_BYTES: usize = 1_048_588;

/// So many bytes may be kept of a delivery: its record, and what came of it.
pub(super) const DELIVERY_BYTES: usize = 2 << 20;

/// Kafka's own default of `replica.lag.time.max.ms`.
const REPLICA_LAG_MILLIS: i64 = 30_000;
/// Nobody waits for a replica longer than this.
const DAY_MILLIS: i64 = 86_400_000;

/// How the state log's topic is set: kept for ever, cut by Sillage, in segments that are soon deleted once they are cut.
const STATE_LOG: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("segment.bytes", "67108864"),
    ("segment.ms", "3600000"),
];

/// How the topic is set that keeps how deliveries stand: the latest of each, and what has ended soon gone.
const DELIVERIES: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "3600000"),
    ("delete.retention.ms", "86400000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// How the control topic is set. It names those who are to be erased, so it does not keep them for long; but it must outlast
/// every outage, and the inputs, which may be read anew from their beginning: both are a week unless somebody says otherwise.
const CONTROL: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("retention.ms", "604800000"),
    ("segment.ms", "86400000"),
    ("message.timestamp.type", "LogAppendTime"),
];

/// How to create what is missing.
#[derive(Clone, Copy, Debug)]
pub struct Create {
    /// Partitions of inputs that are created; outputs get as many as the inputs have.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication: u16,
    /// Whose time the records of inputs that are created are stamped with.
    pub stamps: Stamps,
}

/// Whose time a topic's records are stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// The broker's, as is recommended (rule 2).
    Brokers,
    /// The producer's, however far ahead: for a clock that runs faster than time does.
    Producers,
}

impl Stamps {
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Stamps::Brokers => &[("message.timestamp.type", "LogAppendTime")],
            Stamps::Producers => {
                &[("message.timestamp.type", "CreateTime"), ("message.timestamp.after.max.ms", "9223372036854775807")]
            }
        }
    }
}

/// What was found out at start.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Partitions of every input.
    pub partitions: u32,
    /// The largest dead letter, in bytes.
    pub dead_letter_bytes: usize,
    /// The largest record that may have to be written, in bytes.
    pub producer_bytes: usize,
    /// Full names of output topics that somebody has compacted.
    pub compacted: Vec<String>,
    /// For so long a replica counts as in sync without fetching: 1.5 x `replica.lag.time.max.ms`.
    pub in_sync_for: Span,
}

/// How a topic stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its partitions.
    pub partitions: u32,
    /// Copies of each partition; of the one that has the fewest.
    pub replicas: usize,
    /// How many of them must be in sync for a record to be taken with `acks=all` (`min.insync.replicas`).
    pub in_sync_least: u32,
    /// Whose time its records are stamped with, in Kafka's words (`message.timestamp.type`).
    pub stamped: String,
}

/// Why the topics are not fit.
#[derive(Debug)]
pub enum Trouble {
    /// No broker answers; trying again may help.
    Unreachable(String),
    /// Something must be changed first.
    Unfit(String),
}

/// Creates or verifies all topics.
///
/// # Errors
/// Which broker does not answer, or what is wrong with which topic and what to do.
pub fn prepare(connection: &Connection, create: Option<Create>) -> Result<Facts, Trouble> {
    let setup = Setup::begin(connection, create)?;
    let known = setup.metadata()?;
    let missing: Vec<&String> = connection.inputs.iter().filter(|input| partitions(&known, input) == 0).collect();
    let stamps = create.map_or(Stamps::Brokers, |create| create.stamps);
    setup.create(&missing, create.map_or(0, |create| create.partitions), stamps.settings())?;
    if stamps == Stamps::Producers {
        setup.check_stamps()?;
    }
    let partitions = setup.equal_partitions(&setup.metadata()?)?;
    let largest = setup.largest_record()?;
    let dead_letter_bytes = largest + DEAD_LETTER_EXTRA;
    setup.outputs(&known, partitions, dead_letter_bytes)?;
    setup.state_log(&known, partitions)?;
    setup.control(&known, partitions)?;
    setup.handoff(&known, partitions)?;
    let compacted = setup.compacted()?;
    let in_sync_for = setup.in_sync_for(&known);
    let producer_bytes = dead_letter_bytes.max(STATE_LOG_BYTES);
    Ok(Facts { partitions, dead_letter_bytes, producer_bytes, compacted, in_sync_for })
}

/// Creates or verifies what delivery reads and writes; returns how many shards it has.
///
/// # Errors
/// Which broker does not answer, or what is wrong with which topic and what to do.
pub(super) fn prepare_deliveries(connection: &Connection, create: Option<Create>) -> Result<u32, Trouble> {
    let setup = Setup::begin(connection, create)?;
    let known = setup.metadata()?;
    let [read, dead, kept] = [outputs::INTERVENTIONS, outputs::DEAD_LETTERS, outputs::DELIVERIES]
        .map(|output| outputs::topic(&connection.output, output));
    for name in [&read, &dead] {
        if partitions(&known, name) == 0 {
            return Err(Trouble::Unreachable(format!("there is no topic {name} yet; start the service, which creates it")));
        }
    }
    let shards = partitions(&known, &read);
    if partitions(&known, &kept) == 0 {
        let bytes = DELIVERY_BYTES.to_string();
        let settings: Vec<(&str, &str)> = DELIVERIES.iter().copied().chain([("max.message.bytes", &*bytes)]).collect();
        setup.create(&[&kept], shards, &settings)?;
    }
    let found = setup.partitions_of(&kept)?;
    if found != shards {
        return Err(unfit(format!(
            "topic {kept} has {found} partitions, but {read} has {shards}; delete it, so that it is made anew"
        )));
    }
    for resource in setup.describe(std::slice::from_ref(&kept))? {
        let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.clone()).unwrap_or_default();
        if policy != "compact" {
            return Err(unfit(format!(
                "topic {kept} has cleanup.policy={policy}, which loses what is still to be delivered or keeps all of it for ever; \
                 set cleanup.policy=compact"
            )));
        }
    }
    Ok(shards)
}

/// How the inputs stand, in their order; and for how long a replica counts as in sync without fetching.
pub(super) fn standings(connection: &Connection) -> Result<(Vec<Option<Standing>>, Span), Trouble> {
    let setup = Setup::begin(connection, None)?;
    let known = setup.metadata()?;
    let standing = |input: &String| {
        let found = known.topics().iter().find(|topic| topic.name() == input && topic.error().is_none());
        let Some(topic) = found.filter(|topic| !topic.partitions().is_empty()) else { return Ok(None) };
        let described = setup.describe(std::slice::from_ref(input))?;
        let value = |name: &str| described.first()?.get(name)?.value.clone();
        Ok(Some(Standing {
            partitions: topic.partitions().len() as u32,
            replicas: topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
            in_sync_least: value("min.insync.replicas").and_then(|least| least.parse().ok()).unwrap_or(1),
            stamped: value("message.timestamp.type").unwrap_or_else(|| "stamped by nobody knows whom".to_owned()),
        }))
    };
    let standings: Result<Vec<Option<Standing>>, Trouble> = connection.inputs.iter().map(standing).collect();
    Ok((standings?, setup.in_sync_for(&known)))
}

struct Setup<'a> {
    connection: &'a Connection,
    admin: AdminClient<Plain>,
    runtime: tokio::runtime::Runtime,
    create: Option<Create>,
}

fn unfit(reason: String) -> Trouble {
    Trouble::Unfit(reason)
}

/// What a broker could not do now, it may do later; what it refuses must be changed first.
fn judged(what: &str, error: &KafkaError) -> Trouble {
    use RDKafkaErrorCode as Code;
    // The client's own question about an error knows no code of what an administrator asked for.
    let code = if let KafkaError::AdminOp(code) = error { Some(*code) } else { error.rdkafka_error_code() };
    let passing = matches!(
        code,
        Some(
            Code::RequestTimedOut
                | Code::OperationTimedOut
                | Code::NotController
                | Code::CoordinatorNotAvailable
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::LeaderNotAvailable
                // Brokers learn of a new topic one after the other.
                | Code::UnknownTopic
                | Code::UnknownTopicOrPartition
        )
    );
    let reason = format!("{what}: {error}");
    if passing { Trouble::Unreachable(reason) } else { Trouble::Unfit(reason) }
}

fn partitions(metadata: &Metadata, topic: &str) -> u32 {
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    found.map_or(0, |found| found.partitions().len() as u32)
}

/// The partitions of a topic that is known to exist. One broker may show it while the next one asked has not heard of it.
fn shown(topic: &str, partitions: u32) -> Result<u32, Trouble> {
    if partitions == 0 {
        return Err(Trouble::Unreachable(format!("not every broker shows topic {topic} yet")));
    }
    Ok(partitions)
}

/// Removes all topics of a connection, inputs and outputs: what the demo leaves behind. Nobody may be using them.
///
/// # Errors
/// Which topic could not be removed.
pub fn remove(connection: &Connection) -> Result<(), String> {
    let setup = Setup::begin(connection, None).map_err(Trouble::into_reason)?;
    let all = outputs::ALL.iter().chain(&[outputs::STATE, outputs::CONTROL, outputs::HANDOFF]);
    let outputs: Vec<String> = all.map(|output| outputs::topic(&connection.output, output)).collect();
    let names: Vec<&str> = connection.inputs.iter().chain(&outputs).map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(REACH));
    let answers = setup.runtime.block_on(setup.admin.delete_topics(&names, &options));
    for answer in answers.map_err(|error| format!("cannot remove the topics: {error}"))? {
        answer.map_err(|(topic, code)| format!("cannot remove topic {topic}: {code}"))?;
    }
    Ok(())
}

impl Trouble {
    /// What is wrong and what to do, whichever it is.
    pub fn into_reason(self) -> String {
        match self {
            Trouble::Unreachable(reason) | Trouble::Unfit(reason) => reason,
        }
    }
}

impl<'a> Setup<'a> {
    fn begin(connection: &'a Connection, create: Option<Create>) -> Result<Self, Trouble> {
        let made = client::base(connection).create_with_context(Plain::default());
        let admin: AdminClient<Plain> = made.map_err(|error| unfit(format!("cannot make a client: {error}")))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unfit(format!("cannot start a runtime: {error}")))?;
        Ok(Setup { connection, admin, runtime, create })
    }

    fn metadata(&self) -> Result<Metadata, Trouble> {
        let answer = self.admin.inner().fetch_metadata(None, REACH);
        answer.map_err(|error| {
            Trouble::Unreachable(format!(
                "no broker answers at {} ({error}); is it running, and is the address right?",
                self.connection.brokers
            ))
        })
    }

    /// Creates topics; does nothing about none. Refused with the missing names where creating is switched off.
    fn create(&self, topics: &[&String], partitions: u32, settings: &[(&str, &str)]) -> Result<(), Trouble> {
        if topics.is_empty() {
            return Ok(());
        }
        let Some(create) = self.create else {
            let names = topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(", ");
            return Err(unfit(format!("topics are missing: {names}; create them, or set `create_topics: true`")));
        };
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(i32::from(create.replication));
                let topic = NewTopic::new(topic, partitions as i32, replication);
                settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(REACH));
        let answers = self.runtime.block_on(self.admin.create_topics(&new, &options));
        for answer in answers.map_err(|error| judged("cannot create topics", &error))? {
            match answer {
                Ok(topic) => info!(topic, partitions, "topic created"),
                // Another instance was faster.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(judged(&format!("cannot create topic {topic}"), &KafkaError::AdminOp(code)));
                }
            }
        }
        self.wait_for(topics)
    }

    /// A broker may be set to stamp records itself, or to refuse those from ahead, whatever a topic asks for.
    fn check_stamps(&self) -> Result<(), Trouble> {
        for resource in self.describe(&self.connection.inputs)? {
            for (name, wanted) in Stamps::Producers.settings() {
                let found = resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
                if found != *wanted {
                    return Err(unfit(format!(
                        "the brokers keep {name} at {found:?}, so records cannot be stamped ahead of time"
                    )));
                }
            }
        }
        Ok(())
    }

    /// A created topic takes a moment to be known to all brokers.
    fn wait_for(&self, topics: &[&String]) -> Result<(), Trouble> {
        for _ in 0..100 {
            let metadata = self.metadata()?;
            if topics.iter().all(|topic| partitions(&metadata, topic) > 0) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(Trouble::Unreachable("topics were created but the brokers do not show them yet".to_owned()))
    }

    fn equal_partitions(&self, metadata: &Metadata) -> Result<u32, Trouble> {
        let counts: Vec<(&String, u32)> =
            self.connection.inputs.iter().map(|input| (input, partitions(metadata, input))).collect();
        for (input, count) in &counts {
            shown(input, *count)?;
        }
        let first = counts.first().map_or(0, |(_, count)| *count);
        if counts.iter().any(|(_, count)| *count != first) {
            let list: Vec<String> = counts.iter().map(|(input, count)| format!("{input} has {count}")).collect();
            return Err(unfit(format!(
                "all inputs must have equally many partitions, but {}; recreate or repartition them",
                list.join(", ")
            )));
        }
        Ok(first)
    }

    /// The largest record an input can hold; warns where an input's timestamps are the clients'.
    fn largest_record(&self) -> Result<usize, Trouble> {
        let mut largest = 0;
        for resource in self.describe(&self.connection.inputs)? {
            let value = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
            if value("message.timestamp.type").as_deref() == Some("CreateTime") {
                let topic = format!("{:?}", resource.specifier);
                warn!(
                    topic,
                    "an input's timestamps are its producers' (CreateTime): one stamp ahead can move a lagging shard ahead; \
                     LogAppendTime is recommended"
                );
            }
            largest = largest.max(value("max.message.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(1_048_588));
        }
        Ok(largest)
    }

    fn outputs(&self, known: &Metadata, partition_count: u32, dead_letter_bytes: usize) -> Result<(), Trouble> {
        let dead_letters = outputs::topic(&self.connection.output, outputs::DEAD_LETTERS);
        let names: Vec<String> = outputs::ALL.iter().map(|output| outputs::topic(&self.connection.output, output)).collect();
        let missing = |name: &&String| partitions(known, name) == 0;
        let plain: Vec<&String> = names.iter().filter(missing).filter(|name| **name != dead_letters).collect();
        self.create(&plain, partition_count, &[])?;
        let bytes = dead_letter_bytes.to_string();
        let dead: Vec<&String> = names.iter().filter(missing).filter(|name| **name == dead_letters).collect();
        self.create(&dead, partition_count, &[("max.message.bytes", &bytes)])?;
        for resource in self.describe(std::slice::from_ref(&dead_letters))? {
            let limit = resource.get("max.message.bytes").and_then(|entry| entry.value.as_ref()?.parse::<usize>().ok());
            if limit.is_some_and(|limit| limit < dead_letter_bytes) {
                return Err(unfit(format!(
                    "topic {dead_letters} takes records up to {} bytes, but a dead letter can have {dead_letter_bytes}; \
                     set its max.message.bytes to {dead_letter_bytes}",
                    limit.unwrap_or(0)
                )));
            }
        }
        Ok(())
    }

    /// How many partitions a topic has that is known to exist.
    fn partitions_of(&self, topic: &str) -> Result<u32, Trouble> {
        shown(topic, partitions(&self.metadata()?, topic))
    }

    /// The state log: nothing in it may be deleted but by Sillage, which a compacted topic would not allow.
    fn state_log(&self, known: &Metadata, partition_count: u32) -> Result<(), Trouble> {
        let name = outputs::topic(&self.connection.output, outputs::STATE);
        if partitions(known, &name) == 0 {
            let bytes = STATE_LOG_BYTES.to_string();
            let settings: Vec<(&str, &str)> = STATE_LOG.iter().copied().chain([("max.message.bytes", &*bytes)]).collect();
            self.create(&[&name], partition_count, &settings)?;
        }
        let found = self.partitions_of(&name)?;
        if found != partition_count {
            return Err(unfit(format!(
                "the state log {name} has {found} partitions, but the inputs have {partition_count}; \
                 see docs/kafka.md, \"When the state log does not fit\""
            )));
        }
        for resource in self.describe(std::slice::from_ref(&name))? {
            for (key, wanted) in STATE_LOG.iter().filter(|(key, _)| !key.starts_with("segment")) {
                let value = resource.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
                if value != *wanted {
                    return Err(unfit(format!(
                        "the state log {name} has {key}={value}, so the brokers may delete what is still needed; \
                         set {key}={wanted}"
                    )));
                }
            }
            let limit = resource.get("max.message.bytes").and_then(|entry| entry.value.as_ref()?.parse::<usize>().ok());
            if let Some(limit) = limit.filter(|limit| *limit < STATE_LOG_BYTES) {
                return Err(unfit(format!(
                    "the state log {name} takes records up to {limit} bytes, but a page of it can have {STATE_LOG_BYTES}; \
                     set its max.message.bytes to {STATE_LOG_BYTES}"
                )));
            }
        }
        Ok(())
    }

    /// The control topic, so that each shard hears of every erasure.
    fn control(&self, known: &Metadata, partition_count: u32) -> Result<(), Trouble> {
        let name = outputs::topic(&self.connection.output, outputs::CONTROL);
        if partitions(known, &name) == 0 {
            self.create(&[&name], partition_count, CONTROL)?;
        }
        let (lost, again) = ("erasures", ", and ask again for erasures of the last days");
        self.fits_shards(&name, partition_count, lost, again)
    }

    /// What shards hand to each other.
    fn handoff(&self, known: &Metadata, partition_count: u32) -> Result<(), Trouble> {
        let name = outputs::topic(&self.connection.output, outputs::HANDOFF);
        if partitions(known, &name) == 0 {
            let bytes = STATE_LOG_BYTES.to_string();
            let settings: Vec<(&str, &str)> = CONTROL.iter().copied().chain([("max.message.bytes", &*bytes)]).collect();
            self.create(&[&name], partition_count, &settings)?;
        }
        self.fits_shards(&name, partition_count, "journeys that go from partition to partition", "")
    }

    /// Sees to it that a topic that is read beside the inputs has a partition for each shard, and deletes by age alone.
    fn fits_shards(&self, name: &str, partition_count: u32, holds: &str, again: &str) -> Result<(), Trouble> {
        let found = self.partitions_of(name)?;
        if found != partition_count {
            return Err(unfit(format!(
                "topic {name} has {found} partitions, but the inputs have {partition_count}; delete the topic, so that it is made \
                 anew{again}"
            )));
        }
        for resource in self.describe(&[name.to_owned()])? {
            let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.clone()).unwrap_or_default();
            if policy != "delete" {
                return Err(unfit(format!(
                    "topic {name} has cleanup.policy={policy}, which loses {holds} or keeps them for ever; set \
                     cleanup.policy=delete"
                )));
            }
        }
        Ok(())
    }

    /// Output topics that keep the latest record of each key: there, what is said of somebody goes only by a tombstone.
    fn compacted(&self) -> Result<Vec<String>, Trouble> {
        let names: Vec<String> = outputs::ALL.iter().map(|output| outputs::topic(&self.connection.output, output)).collect();
        let described = self.describe(&names)?;
        let compacts = |resource: &ConfigResource| {
            let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.clone());
            policy.is_some_and(|policy| policy.contains("compact"))
        };
        let compacted = described.iter().zip(names).filter(|(resource, _)| compacts(resource)).map(|(_, name)| name);
        Ok(compacted
            .inspect(|topic| warn!(topic, "an output topic is compacted: only the latest outcome of each customer stays"))
            .collect())
    }

    /// A leader looks at its replicas every half of `replica.lag.time.max.ms`. Whoever may not read the brokers' settings believes
    /// in their default.
    fn in_sync_for(&self, known: &Metadata) -> Span {
        let lag = known.brokers().first().and_then(|broker| {
            let options = AdminOptions::new().request_timeout(Some(REACH));
            let answers =
                self.runtime.block_on(self.admin.describe_configs(&[ResourceSpecifier::Broker(broker.id())], &options));
            let described = answers.ok()?.into_iter().next()?.ok()?;
            described.get("replica.lag.time.max.ms")?.value.as_ref()?.parse::<i64>().ok()
        });
        let lag = lag.unwrap_or(REPLICA_LAG_MILLIS).clamp(0, DAY_MILLIS);
        Span::from_millis(lag + lag / 2)
    }

    fn describe(&self, topics: &[String]) -> Result<Vec<ConfigResource>, Trouble> {
        let named: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(REACH));
        let answers = self.runtime.block_on(self.admin.describe_configs(&named, &options));
        let answers = answers.map_err(|error| judged("cannot read the topics' settings", &error))?;
        let described: Result<Vec<ConfigResource>, _> = answers.into_iter().collect();
        let described = described.map_err(|code| judged("cannot read the topics' settings", &KafkaError::AdminOp(code)))?;
        // A broker that has not heard of a topic yet answers with no settings at all.
        match described.iter().position(|resource| resource.entries.is_empty()) {
            Some(place) => Err(Trouble::Unreachable(format!("not every broker shows topic {} yet", topics[place]))),
            None => Ok(described),
        }
    }
}
