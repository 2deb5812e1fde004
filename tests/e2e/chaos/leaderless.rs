//! A partition that nobody leads for a while: its own shard waits for it and no other, and it goes on when the broker is back.

use std::time::Duration;

use serde_json::json;

use crate::harness::clients::{Reader, Record, Writer, create_topic};
use crate::harness::cluster::BROKERS;
use crate::harness::service::{Service, Setup};
use crate::harness::{model, now_millis, wait};

/// On brokers that have just lost one of them, on a machine that is busy with all of them. A client that goes on believing
/// what it once heard of a partition asks again after five minutes.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_shard_whose_input_nobody_leads_waits_alone_and_goes_on_when_somebody_does() {
    let _alone = crate::alone();
    let Some(cluster) = crate::cluster_to_break("leaderless") else { return };
    let direct = cluster.bootstrap();
    // One copy of each partition, and each broker leads one.
    create_topic(&direct, "web", BROKERS as i32, &[("message.timestamp.type", "LogAppendTime")]);
    let setup = Setup {
        brokers: direct.clone(),
        group: "leaderless-group".to_owned(),
        instance: "one".to_owned(),
        inputs: vec!["web".to_owned()],
        output: "leaderless".to_owned(),
        model: model("quick.yaml"),
        start: "earliest",
        commit_interval: "100ms",
        // Everybody stays where the test puts them.
        extra: vec![format!("replication: {BROKERS}"), "misrouted: apply".to_owned()],
        arguments: Vec::new(),
    };
    let mut service = Service::start(&setup);
    service.wait_until_ready(SOON);
    let is_led = |partition| cluster.leader("web", partition).is_some();
    wait::until_true("each partition to be led", SOON, || (0..BROKERS as i32).all(is_led));
    let writer = Writer::new(&direct);
    let fills_a_basket = |customer: &str, partition: i32| {
        let touchpoint = json!({
            "customer_id": customer, "occurred_at": now_millis(), "type": "cart.added",
            "properties": {"cart_id": format!("{customer}-cart"), "value": 9.5, "currency": "EUR"},
        });
        let value = touchpoint.to_string().into_bytes();
        writer.write(Record { topic: "web", key: customer, value: &value, partition: Some(partition) });
    };
    let reader = Reader::of(&direct, &["leaderless.abandonments".to_owned()]);
    let abandoned = |who: &str, within: Duration| {
        reader.until(&format!("the basket of {who} to be abandoned"), within, |read| {
            let basket =
                |outcome: serde_json::Value| outcome["customer_id"] == who && !outcome["subject"]["episode"].is_null();
            read.iter().any(|record| basket(record.json()))
        });
    };
    fills_a_basket("early", 0);
    abandoned("early", SOON);

    let away = cluster.leader("web", 0).expect("somebody leads it");
    fills_a_basket("waiting", 0);
    wait::until_true("the basket to be known", SOON, || service.metric("sillage_records_consumed_total") >= 2.0);
    cluster.broker(away).kill();
    service.wait_for_line("stream time has stood still for 10 s in partition 0,", SOON);
    let others: Vec<i32> = (1..BROKERS as i32).collect();
    for partition in &others {
        fills_a_basket(&format!("other-{partition}"), *partition);
    }
    others.iter().for_each(|partition| abandoned(&format!("other-{partition}"), SOON));
    assert_eq!(cluster.leader("web", 0), None, "nobody else has a copy");

    // Also somebody who starts now serves what can be served.
    assert_eq!(service.terminate().status.code(), Some(0));
    let service = Service::start(&setup);
    for partition in &others {
        fills_a_basket(&format!("later-{partition}"), *partition);
    }
    others.iter().for_each(|partition| abandoned(&format!("later-{partition}"), SOON));
    assert_eq!(cluster.leader("web", 0), None, "still nobody");

    cluster.broker(away).start();
    abandoned("waiting", SOON);
    assert_eq!(service.terminate().status.code(), Some(0));
}
