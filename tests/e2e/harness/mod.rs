//! What the tests stand on: a broker, proxies before it, clients of their own, and the service as a process.

pub(crate) mod broker;
#[cfg(feature = "tls")]
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod cluster;
pub(crate) mod command;
mod jars;
pub(crate) mod proxy;
pub(crate) mod service;
pub(crate) mod wait;

use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use broker::Broker;
use proxy::Proxy;

/// How many tests can stand behind a proxy of their own.
const PROXIES: usize = 10;

/// The Kafka of this test process.
pub(crate) enum Kafka {
    /// Started by us.
    Own(Broker),
    /// Stood already.
    Standing(String),
}

impl Kafka {
    /// `host:port`.
    pub(crate) fn bootstrap(&self) -> String {
        match self {
            Kafka::Own(broker) => broker.bootstrap(),
            Kafka::Standing(brokers) => brokers.clone(),
        }
    }

    /// A proxy before the broker that no other test has; `None`, loudly, before a broker that is not ours: it would have to
    /// advertise the proxy's port.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        match self {
            Kafka::Own(broker) => Some(broker.claim_proxy()),
            Kafka::Standing(_) => {
                say("a test that needs a proxy was SKIPPED: unset SILLAGE_BROKERS to run it");
                None
            }
        }
    }
}

static KAFKA: OnceLock<Option<Kafka>> = OnceLock::new();

/// The broker of all tests; `None` where the tests must be skipped, which is said loudly, and refused in CI.
pub(crate) fn kafka() -> Option<&'static Kafka> {
    let found = || {
        if let Ok(brokers) = std::env::var("SILLAGE_BROKERS") {
            return Some(Kafka::Standing(brokers));
        }
        if !can_run_brokers() {
            return None;
        }
        let broker = Broker::prepare(PROXIES);
        broker.start();
        Some(Kafka::Own(broker))
    };
    KAFKA.get_or_init(found).as_ref()
}

/// The broker of all tests, if some test has asked for it.
fn kafka_so_far() -> Option<&'static Kafka> {
    KAFKA.get().and_then(Option::as_ref)
}

/// Whether brokers of our own can be run here; if not, that is said loudly, and refused in CI.
pub(crate) fn can_run_brokers() -> bool {
    let Some(missing) = jars::missing_tool() else { return true };
    let notice = format!(
        "\n*** The end-to-end tests were SKIPPED: `{missing}` is missing and no broker is given.\n\
         *** Install it with:  {}\n\
         *** or name a broker: SILLAGE_BROKERS=host:port\n",
        jars::INSTALL
    );
    assert!(std::env::var("CI").is_err(), "{notice}");
    say(&notice);
    false
}

/// A broker that is not shared, not started yet; `None` where there is no Java to run it.
pub(crate) fn private_broker() -> Option<Broker> {
    kafka().filter(|kafka| matches!(kafka, Kafka::Own(_))).map(|_| Broker::prepare(0))
}

/// Says something on the real standard error: the test runner captures only what the print macros write.
pub(crate) fn say(line: &str) {
    // There is nobody to tell that it could not be said.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a test stands outside of the service and has its own clock")]
pub(crate) fn now_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the present lies after 1970").as_millis() as i64
}

/// A model of `tests/e2e/models`.
pub(crate) fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/models").join(name)
}

/// The last lines of a file, for people who look at a failure.
pub(crate) fn tail(path: &std::path::Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
