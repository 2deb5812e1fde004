//! The commands that speak to Kafka themselves: the demo and the generator.

use crate::harness::clients::{Reader, create_topic, topics};
use crate::harness::command::sillage;
use crate::harness::{kafka, now_millis};
use crate::shop::SOON;

#[test]
fn the_demo_runs_on_kafka_ahead_of_time_and_leaves_nothing_behind() {
    let Some(kafka) = kafka() else { return };
    let ended = sillage().args(["demo", "--seconds", "20", "--brokers", &kafka.bootstrap()]).output();
    let ended = ended.expect("sillage starts");
    let told = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{told}");
    assert!(told.contains("abandons "), "absences are noticed by the demo's own clock: {told}");
    let left = topics(&kafka.bootstrap());
    assert!(!left.iter().any(|topic| topic.starts_with("sillage-demo-")), "{left:?}");
}

#[test]
fn generated_touchpoints_reach_every_topic_once() {
    let Some(kafka) = kafka() else { return };
    let direct = kafka.bootstrap();
    let inputs = ["app", "web"].map(|name| format!("generated-{}.{name}", now_millis()));
    for topic in &inputs {
        create_topic(&direct, topic, 3, &[("message.timestamp.type", "CreateTime")]);
    }
    let mut command = sillage();
    command.args(["generate", "--brokers", &direct, "--count", "5000", "--seed", "4"]);
    for topic in &inputs {
        command.args(["--topic", topic]);
    }
    let ended = command.output().expect("sillage starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let reader = Reader::of(&direct, &inputs);
    reader.until("all generated touchpoints", SOON, |read| read.len() >= 5_000);
    let read = reader.to_the_end();
    let ids: std::collections::BTreeSet<String> =
        read.iter().map(|record| record.json()["event_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!((read.len(), ids.len()), (5_000, 5_000), "each once");
    for topic in &inputs {
        assert!(read.iter().any(|record| record.topic == *topic), "nothing in {topic}");
    }
}
