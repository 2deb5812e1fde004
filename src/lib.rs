//! Sillage: touchpoints in, stage transitions and abandonments out, exactly once.
//!
//! The map, in reading order. Each room may use only what stands before it; a test (`tests/it/tidy.rs`) holds the arrow.
//!
//! Pure rooms: no Kafka, clock, HTTP, async, lock or logger in them. Same input, same bytes.
//! - [`time`]: instants and spans. [`memory`]: what a process may take, divided. [`terminal`]: text of others before people.
//! - [`diagnostic`]: faults in files that people write. [`yaml`]: a file with its places.
//! - [`expression`]: conditions, compiled. [`touchpoint`]: what a customer did. [`model`]: what a journey may be.
//! - [`journey`]: what one customer did, and what follows. [`shard`]: many customers, one stream time, one commit.
//! - [`scenario`]: stories in Markdown that test a model. [`uplift`]: what interventions have brought about, as figures.
//!
//! The shell obeys what the shard decides.
//! - [`wire`]: bytes to touchpoints, outcomes to bytes. [`generate`]: synthetic load.
//! - [`port`]: the two traits between a worker and its log. [`outbox`]: the one between delivery and its log. [`lookup`]: journeys for readers. [`vitals`]: what the
//!   parts of a process tell of themselves. [`metrics`]: the catalogue.
//! - [`worker`]: decodes records, lets the shards decide, obeys their actions, commits in time.
//! - [`ledger`]: what a log with transactions must be asked so that nothing is lost or doubled, whoever the client; what a
//!   member of a consumer group does when partitions come and go ([`ledger::group`], pure).
//! - [`kafka`], [`embedded`]: the two real logs. [`http`]: what is served. [`config`]: one YAML file, checked.
//! - [`deliver`]: brings interventions to those who act on them.
//! - [`runtime`]: the one clock, the threads of the workers, the life of the service. [`cli`]: the commands.

pub mod cli;
pub mod config;
pub mod deliver;
pub mod diagnostic;
pub mod embedded;
pub mod expression;
pub mod frontiers;
pub mod generate;
pub mod http;
pub mod journey;
pub mod kafka;
pub mod ledger;
pub mod lookup;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod outbox;
pub mod partitioner;
pub mod port;
pub mod runtime;
pub mod scenario;
pub mod seldom;
pub mod shard;
pub mod terminal;
pub mod time;
pub mod touchpoint;
pub mod uplift;
pub mod vitals;
pub mod wire;
pub mod worker;
pub mod yaml;
