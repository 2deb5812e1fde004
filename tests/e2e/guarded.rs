//! Brokers that let in only who says who they are, and some that hear only what is encrypted. Their leaders are asked there too
//! where their logs end, on connections that are not librdkafka's; and where that cannot be done, silence has to last.
//!
//! Without the feature `tls` a password can only be said aloud; with it, each way is tried that Sillage knows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::clients::{Reader, Writer, create_copied_topic};
use crate::harness::cluster::{BROKERS, Cluster};
use crate::harness::command::Configured;
use crate::harness::service::{Service, Setup};
use crate::harness::{can_run_brokers, model, say};
use crate::shop::{BASKET_QUIET, SOON, Shop, outcome, tells};

const USER: &str = "kim";
/// Found in nothing that is told.
const PASSWORD: &str = "Gx4-hush_71f";
/// settle + commit interval + 1 s, and what a machine takes that runs three brokers beside.
const AFTER_DEADLINE: i64 = 50 + 100 + 1_000 + 1_500;
/// A session lasts so long: the client's own connections are made anew meanwhile.
const SESSION_MILLIS: u64 = 10_000;

/// How a client comes to the brokers.
struct Way {
    name: &'static str,
    protocol: &'static str,
    properties: BTreeMap<&'static str, String>,
}

impl Way {
    fn new(name: &'static str, protocol: &'static str, properties: &[(&'static str, &str)]) -> Way {
        let properties = properties.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Way { name, protocol, properties }
    }

    /// With a password, by this mechanism.
    fn with_password(name: &'static str, protocol: &'static str, mechanism: &str) -> Way {
        let properties = [("sasl.mechanism", mechanism), ("sasl.username", USER), ("sasl.password", PASSWORD)];
        Way::new(name, protocol, &properties)
    }

    /// A service that comes in this way, with further lines of its configuration.
    fn setup(&self, guarded: &Guarded, group: &str, extra: &[&str]) -> Setup {
        let mut properties = self.properties.clone();
        properties.insert("security.protocol", self.protocol.to_owned());
        let mut lines = vec![format!("replication: {BROKERS}"), format!("properties: {}", json!(properties))];
        lines.extend(extra.iter().map(|line| (*line).to_owned()));
        Setup {
            brokers: guarded.cluster.guarded(self.protocol).to_owned(),
            group: group.to_owned(),
            instance: "one".to_owned(),
            inputs: vec!["web".to_owned()],
            output: group.to_owned(),
            model: model("quick.yaml"),
            start: "latest",
            commit_interval: "100ms",
            extra: lines,
            arguments: Vec::new(),
        }
    }
}

/// The brokers, and the ways to them.
struct Guarded {
    cluster: Cluster,
    ways: Vec<Way>,
    #[cfg(feature = "tls")]
    certificates: crate::harness::certificates::Certificates,
}

impl Guarded {
    #[cfg(not(feature = "tls"))]
    fn start() -> Guarded {
        let ways = vec![Way::with_password("a password", "SASL_PLAINTEXT", "PLAIN")];
        let settings = format!("sasl.enabled.mechanisms=PLAIN\n{}", known_by_password("sasl_plaintext"));
        Guarded { cluster: Cluster::start_guarded(&["SASL_PLAINTEXT"], &settings, &[]), ways }
    }

    #[cfg(feature = "tls")]
    fn start() -> Guarded {
        let certificates = crate::harness::certificates::Certificates::make(PASSWORD);
        let file = |name: &str| certificates.file(name).display().to_string();
        let (authority, own, key, store) =
            (file("authority.pem"), file("client.pem"), file("client.key"), file("client.p12"));
        let trust = ("ssl.ca.location", authority.as_str());
        let shown = [trust, ("ssl.certificate.location", &own), ("ssl.key.location", &key), ("ssl.key.password", PASSWORD)];
        let mut ways = vec![
            Way::with_password("a password", "SASL_PLAINTEXT", "PLAIN"),
            Way::new("a certificate", "SSL", &shown),
            Way::new("a key store", "SSL", &[trust, ("ssl.keystore.location", &store), ("ssl.keystore.password", PASSWORD)]),
        ];
        for (name, mechanism) in [
            ("a password, encrypted", "PLAIN"),
            ("a proof with 256 bits", "SCRAM-SHA-256"),
            ("a proof with 512 bits", "SCRAM-SHA-512"),
        ] {
            let mut way = Way::with_password(name, "SASL_SSL", mechanism);
            way.properties.insert("ssl.ca.location", authority.clone());
            ways.push(way);
        }
        let settings = format!(
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN\n\
             listener.name.sasl_ssl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={authority}\n\
             listener.name.ssl.ssl.client.auth=required\n\
             listener.name.sasl_ssl.connections.max.reauth.ms={SESSION_MILLIS}\n\
             listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={SCRAM} required;\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={SCRAM} required;\n\
             {}{}",
            file("broker.pem"),
            known_by_password("sasl_plaintext"),
            known_by_password("sasl_ssl"),
        );
        let users =
            ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]"));
        let cluster = Cluster::start_guarded(&["SASL_PLAINTEXT", "SSL", "SASL_SSL"], &settings, &users);
        Guarded { cluster, ways, certificates }
    }
}

#[cfg(feature = "tls")]
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

/// The line by which a listener knows the user by the password.
fn known_by_password(listener: &str) -> String {
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    format!("listener.name.{listener}.plain.sasl.jaas.config={module} required user_{USER}=\"{PASSWORD}\";\n")
}

/// A service that has its shards, and who writes and reads beside it.
struct Served {
    shop: Shop,
    service: Service,
    reader: Reader,
}

impl Served {
    fn start(guarded: &Guarded, setup: Setup) -> Served {
        let direct = guarded.cluster.bootstrap();
        let shop = Shop { writer: Writer::new(&direct), direct, setup };
        let service = shop.serve();
        let reader = shop.reader();
        Served { shop, service, reader }
    }

    /// How many milliseconds after its deadline a basket is abandoned that nobody comes back to.
    fn lateness(&self, customer: &str) -> i64 {
        let deadline = self.shop.does(customer, "cart.added", 0) + BASKET_QUIET;
        self.lateness_after(customer, deadline)
    }

    fn lateness_after(&self, customer: &str, deadline: i64) -> i64 {
        let read = self.reader.until("an abandonment", SOON, |read| tells(read, customer, "abandonment basket"));
        outcome(&read, customer, "abandonment", "basket").timestamp - deadline
    }

    fn end(self) {
        let ended = self.service.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(!ended.log.contains(PASSWORD), "{}", ended.log);
    }
}

const NOT_SAID: &str = "do not say where their logs end";

#[test]
fn leaders_are_asked_on_guarded_connections_too_and_where_they_cannot_be_silence_lasts() {
    if std::env::var("SILLAGE_BROKERS").is_ok() || !can_run_brokers() {
        return;
    }
    let guarded = Guarded::start();
    create_copied_topic(
        &guarded.cluster.bootstrap(),
        "web",
        2,
        BROKERS as i32,
        &[("message.timestamp.type", "LogAppendTime")],
    );
    guarded.cluster.wait_until_whole(SOON);
    for way in &guarded.ways {
        let told = Configured::kafka(&way.setup(&guarded, "asked", &[])).run(&["run"], &["--dry-run"], b"").fine();
        let text = told.text();
        assert!(text.contains("replicas 3") && text.contains("silence is proved"), "{}: {text}\n{}", way.name, told.err);
        assert!(!text.contains(PASSWORD) && !told.err.contains(PASSWORD), "{}: {text}\n{}", way.name, told.err);
    }
    proved(&guarded);
    #[cfg(feature = "tls")]
    unproved(&guarded);
}

/// Abandonments come in time, for longer than a session lasts.
fn proved(guarded: &Guarded) {
    let way = guarded.ways.last().expect("a way");
    let served = Served::start(guarded, way.setup(guarded, "proved", &["log_level: debug"]));
    let (begun, mut latest, mut round) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_millis(SESSION_MILLIS * 3 / 2) {
        let late = served.lateness(&format!("quiet-{round}"));
        assert!((0..=AFTER_DEADLINE).contains(&late), "{}: {late} ms after the deadline", way.name);
        (latest, round) = (latest.max(late), round + 1);
    }
    say(&format!("guarded: {}: of {round} abandonments the latest came {latest} ms after its deadline", way.name));
    assert!(!served.service.log().contains(NOT_SAID), "{}", served.service.log());
    served.end();
}

/// What only librdkafka can do cannot be done on the connections on which leaders are asked.
#[cfg(feature = "tls")]
fn unproved(guarded: &Guarded) {
    /// 1.5 × `replica.lag.time.max.ms` of these brokers.
    const STILL: i64 = 15_000;
    let authority = guarded.certificates.file("authority.pem").display().to_string();
    let mut way = Way::with_password("a proof that only librdkafka can give", "SASL_SSL", "SCRAM-SHA-512");
    way.properties.insert("ssl.ca.location", authority);
    way.properties.insert("ssl.sigalgs.list", "ECDSA+SHA256:RSA-PSS+SHA256".to_owned());
    let told = Configured::kafka(&way.setup(guarded, "asked", &[])).run(&["run"], &["--dry-run"], b"").fine().text();
    assert!(told.contains("silence is not proved (`ssl.sigalgs.list` is known to librdkafka only)"), "{told}");
    assert!(told.contains("decided after 15s"), "{told}");

    let waits = Served::start(guarded, way.setup(guarded, "waits", &[]));
    let hurries = Served::start(guarded, way.setup(guarded, "hurries", &["settle: 50ms"]));
    let deadline = waits.shop.does("ada", "cart.added", 0) + BASKET_QUIET;
    let late = hurries.lateness_after("ada", deadline);
    assert!((0..=AFTER_DEADLINE).contains(&late), "{late} ms after the deadline");
    let late = waits.lateness_after("ada", deadline);
    say(&format!("guarded: where nobody can be asked an abandonment came {late} ms after its deadline"));
    assert!((STILL..STILL + AFTER_DEADLINE).contains(&late), "{late} ms after the deadline");
    for (served, words, unproven) in [
        (&waits, "what is missing is decided only after this silence", 0.0),
        (&hurries, "Raise `settle`, or leave it out", 2.0),
    ] {
        let log = served.service.log();
        assert!(log.lines().any(|line| line.contains(NOT_SAID) && line.contains(words)), "{log}");
        assert_eq!(served.service.metric("sillage_silence_unproven"), unproven, "{log}");
    }
    waits.end();
    hurries.end();
}
