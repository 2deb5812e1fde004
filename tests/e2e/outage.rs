//! Brokers that are away for longer than anything waits: told in time and in few lines, survived, and over when it is over.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::broker::Broker;
use crate::harness::clients::{Reader, Record, Writer, create_topic};
use crate::harness::service::Setup;
use crate::harness::{model, now_millis, private_broker, say, wait};
use crate::lifecycle::SHORT_SESSION;
use crate::observability::{Prometheus, is_missing};
use crate::shop::{SOON, Shop, story, tells, touchpoint};

/// How long the brokers are away: longer than the session below. `SILLAGE_OUTAGE=180` takes three minutes and the usual session.
const OUTAGE: Duration = Duration::from_secs(30);
const CUSTOMERS: usize = 300;
/// From the end of the brokers until everybody knows.
const TOLD: Duration = Duration::from_secs(15);
/// From the first answer of the brokers until all goes on.
const OVER: Duration = Duration::from_secs(10);
const LINES: usize = 10;

/// Starts the broker, and makes a shop of its own there.
fn shop(broker: &Broker, commit_interval: &'static str, extra: Vec<String>) -> Shop {
    broker.start();
    let direct = broker.bootstrap();
    create_topic(&direct, "web", 6, &[("message.timestamp.type", "LogAppendTime")]);
    let setup = Setup {
        brokers: direct.clone(),
        group: "group".to_owned(),
        instance: "one".to_owned(),
        inputs: vec!["web".to_owned()],
        output: "out".to_owned(),
        model: model("quick.yaml"),
        start: "earliest",
        commit_interval,
        extra,
        arguments: Vec::new(),
    };
    Shop { writer: Writer::new(&direct), direct, setup }
}

#[test]
fn an_outage_is_told_in_few_lines_survived_and_over_when_it_is_over() {
    let Some(broker) = private_broker() else { return };
    let given = std::env::var("SILLAGE_OUTAGE").ok().map(|seconds| seconds.parse().expect("seconds"));
    let session = if given.is_some() { Vec::new() } else { vec![SHORT_SESSION.to_owned()] };
    let shop = shop(&broker, "100ms", session);
    let mut service = shop.serve();
    let home = tempfile::tempdir().expect("a temporary directory");
    let prometheus = (!is_missing(&["prometheus"])).then(|| {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
        Prometheus::start(home.path(), &service.address().expect("an address"), Some(&rules))
    });
    let names: Vec<String> = (0..CUSTOMERS).map(|number| format!("c{number}")).collect();
    let all_do = |what: &str| {
        for name in &names {
            let value = touchpoint(name, what, now_millis());
            shop.writer.send(Record { topic: &shop.setup.inputs[0], key: name, value: &value, partition: None });
        }
        shop.writer.flush();
    };
    // Some of them are committed when the broker dies, some are being decided, some are not read.
    all_do("cart.added");
    broker.kill();
    let begun = Instant::now();
    let (said, whole) = (service.log().lines().count(), given.map_or(OUTAGE, Duration::from_secs));
    wait::until_true("the service to say that it is not ready", TOLD, || !service.is_ready());
    wait::until_true("the metric to say so", TOLD.saturating_sub(begun.elapsed()), || {
        service.metric("sillage_unhealthy") > 0.0
    });
    if let Some(prometheus) = &prometheus {
        let left = TOLD.saturating_sub(begun.elapsed());
        wait::until_true("the alert", left, || prometheus.alerts().contains(&"SillageUnhealthy".to_owned()));
    }
    wait::until_true("the outage to have lasted", whole + TOLD, || {
        assert!(service.ended().is_none(), "it has ended:\n{}", service.log());
        assert!(!service.is_ready(), "it says that it is ready:\n{}", service.log());
        begun.elapsed() >= whole
    });
    let behind = service.metric("sillage_stream_time_behind_seconds");
    broker.start();
    let answers = Instant::now();
    service.wait_until_ready(OVER);
    say(&format!(
        "ready {:?} after the broker answered; stream time was {behind} s behind, all partitions together",
        answers.elapsed()
    ));
    assert_eq!(service.metric("sillage_unhealthy"), 0.0);
    let lines: Vec<String> = service.log().lines().skip(said).map(ToOwned::to_owned).collect();
    say(&format!("{} lines:\n{}", lines.len(), lines.join("\n")));
    assert!(lines.len() <= LINES && lines.iter().any(|line| line.contains("no broker has answered")), "{lines:#?}");

    all_do("order.completed");
    let reader =
        Reader::of(&shop.direct, &shop.setup.output_topics(&["transitions", "completions", "abandonments", "recoveries"]));
    let read = reader.until("all completions", SOON * 2, |read| {
        names.iter().all(|name| tells(read, name, "completion basket") && tells(read, name, "transition bought"))
    });
    for name in &names {
        let told = story(&read, name);
        let of = |line: &&str| told.iter().filter(|told| told == line).count();
        // The deadlines passed while no broker answered. Whether that was too long ago to be recovered depends on the outage.
        let once =
            ["transition deciding", "abandonment basket", "abandonment deciding", "completion basket", "transition bought"];
        let recovered: usize = ["recovery basket", "recovery deciding"].iter().map(of).sum();
        assert!(once.iter().all(|line| of(line) == 1) && told.len() == once.len() + recovered, "{name}: {told:?}");
    }
    let ended = service.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    // A restart reads the state back, to the ends of its logs, which are no errors.
    let again = shop.serve();
    assert!(!again.log().contains("ERROR") && !again.log().contains("PartitionEOF"), "{}", again.log());
    assert!(again.terminate().status.success());
}

/// Nothing waits for brokers that are away once the service is asked to end.
#[test]
fn without_brokers_it_ends_when_it_is_asked_to() {
    let Some(broker) = private_broker() else { return };
    let shop = shop(&broker, "2s", Vec::new());
    let service = shop.serve();
    shop.does("ada", "cart.added", 0);
    broker.kill();
    wait::until_true("a commit to be tried", SOON, || !service.is_ready());
    let begun = Instant::now();
    // The calls to brokers that are under way end by themselves.
    let ended = service.terminate_within(SOON * 3);
    say(&format!("it took {:?} to end: {:?}", begun.elapsed(), ended.status.code()));
    assert!(matches!(ended.status.code(), Some(0 | 2)), "{}", ended.log);
    broker.start();
    let reader = Reader::of(&shop.direct, &shop.setup.output_topics(&["transitions", "abandonments"]));
    let again = shop.serve();
    let read = reader.until("what was not committed", SOON, |read| tells(read, "ada", "abandonment basket"));
    assert_eq!(
        story(&read, "ada")[..2],
        ["transition deciding", "abandonment basket"],
        "nothing is lost, nothing comes twice"
    );
    assert!(again.terminate().status.success());
}
