//! End to end: the real binary against a real Apache Kafka.
//!
//! One broker serves the whole process; every test has its own topics and group. What the tests may know is public: the
//! configuration file, the topics, the metrics, the exit codes. Nothing here uses the library.
//!
//! `SILLAGE_BROKERS=host:port` uses a broker that stands already (tests that need a proxy before the broker are skipped
//! then); `SILLAGE_BIN=path` judges another binary.

// The chaos tests stand on it as well, and neither program needs everything.
#[allow(dead_code)]
mod harness;

mod backlog;
mod bad_records;
mod browser;
mod changed;
mod commands;
mod commits;
mod delivery;
mod erasure;
mod guarded;
mod killed;
mod late;
mod lifecycle;
mod load;
mod logins;
mod memory;
mod moving;
mod observability;
mod offered;
mod oracle;
mod outage;
mod resets;
mod restarts;
mod shop;
mod shopper;
mod silence;
mod standby;
mod story;
mod told;
mod widget;
