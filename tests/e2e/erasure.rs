//! Erasing customers on a real broker: by HTTP, by command, by touchpoint; and what is left of them in the state log.

use std::time::Duration;

use serde_json::json;

use crate::harness::clients::{Published, Reader, Record, delete_topic};
use crate::harness::command::sillage;
use crate::harness::service::Setup;
use crate::harness::{kafka, now_millis, wait};
use crate::shop::{SOON, Shop, story, tells};

/// An idle shard makes a step of its turn every ten seconds; two turns of a small shard, and the cut after them.
const A_TURN: Duration = Duration::from_secs(90);

/// Whether what can still be read of the state log holds these bytes anywhere.
fn state_log_holds(shop: &Shop, bytes: &str) -> bool {
    let pages = Reader::of(&shop.direct, &shop.setup.output_topics(&["state"])).to_the_end();
    let holds = |page: &[u8]| page.windows(bytes.len()).any(|window| window == bytes.as_bytes());
    pages.iter().any(|page| page.value.as_deref().is_some_and(holds))
}

fn erase(setup: &Setup, customer: &str) -> (Option<i32>, String) {
    let lines = [
        format!("models: [\"{}\"]", setup.model.display()),
        format!("brokers: \"{}\"", setup.brokers),
        format!("output: {}", setup.output),
        "start: earliest".to_owned(),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("sillage.yaml");
    std::fs::write(&config, lines.join("\n")).expect("written");
    let mut command = sillage();
    let output = command.arg("erase").arg(customer).arg("-c").arg(&config).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_erased_customer_leaves_memory_at_once_and_the_state_log_within_a_turn_without_any_traffic() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "erased", &["web", "app"], 2);
    let service = shop.serve();
    let reader = shop.reader();
    for number in 0..40 {
        shop.does(&format!("other-{number}"), "product.viewed", number % 2);
    }
    shop.does("erasmus", "cart.added", 0);
    service.until_known(200, "erasmus");
    assert!(state_log_holds(&shop, "erasmus"), "or the test would show nothing");
    assert_eq!(service.erase("erasmus"), 202);
    service.until_known(404, "erasmus");
    // Nothing is awaited of anybody else: nobody commits but for the turn that is owed.
    wait::until_true("the state log to hold nothing of the customer", A_TURN, || !state_log_holds(&shop, "erasmus"));
    assert!(state_log_holds(&shop, "other-6") && state_log_holds(&shop, "other-7"), "nobody else is gone");
    assert_eq!(service.metric("sillage_customers_erased_total"), 1.0);
    assert!(!service.log().contains("erasmus"), "{}", service.log());
    assert!(service.terminate().status.success());

    // Restored from what is left, everybody else is there, and who comes back begins anew.
    let service = shop.serve();
    assert_eq!((service.look_up("erasmus"), service.look_up("other-7")), (404, 200));
    shop.does("erasmus", "product.viewed", 0);
    service.until_known(200, "erasmus");
    let told = |read: &[Published]| -> Vec<(u64, String)> {
        let outcomes = read.iter().map(Published::json).filter(|outcome| outcome["customer_id"] == "erasmus");
        outcomes.map(|outcome| (outcome["sequence"].as_u64().expect("a number"), outcome["to"].to_string())).collect()
    };
    reader.until("the new beginning", SOON, |read| told(read).len() > 1);
    let expected = [(1, "\"deciding\"".to_owned()), (1, "\"browsing\"".to_owned())];
    assert_eq!(told(&reader.to_the_end()), expected, "no abandonment of what was forgotten");
    assert!(service.terminate().status.success());
}

#[test]
fn a_touchpoint_that_asks_erases_the_customer_and_its_anonymous_ids_on_every_shard() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "asked", &["web"], 6);
    shop.setup.extra.push("erase_on: privacy.erased".to_owned());
    let service = shop.serve();
    let reader = shop.reader();
    let write = |key: &str, ids: serde_json::Value, kind: &str| {
        let mut touchpoint = json!({"occurred_at": now_millis(), "type": kind});
        touchpoint.as_object_mut().expect("an object").extend(ids.as_object().expect("an object").clone());
        let value = touchpoint.to_string().into_bytes();
        shop.writer.write(Record { topic: &shop.setup.inputs[0], key, value: &value, partition: None });
    };
    let cookies: Vec<String> = (0..8).map(|number| format!("cookie-{number}")).collect();
    for cookie in &cookies {
        write(cookie, json!({"anonymous_id": cookie}), "cart.added");
    }
    for cookie in &cookies[..6] {
        write("carla", json!({"customer_id": "carla", "anonymous_id": cookie}), "product.viewed");
    }
    let anonymous = |cookie: &String| format!("{cookie}?kind=anonymous");
    cookies.iter().for_each(|cookie| service.until_known(200, &anonymous(cookie)));
    service.until_known(200, "carla");
    // Its own anonymous id was not seen with it before.
    write("carla", json!({"customer_id": "carla", "anonymous_id": "cookie-6"}), "privacy.erased");
    service.until_known(404, "carla");
    cookies[..7].iter().for_each(|cookie| service.until_known(404, &anonymous(cookie)));
    assert_eq!(service.look_up(&anonymous(&cookies[7])), 200, "somebody else's");
    let anonymous_story = |read: &[Published]| {
        let abandoned = read.iter().map(|record| record.json()).filter(|outcome| outcome["kind"] == "abandonment");
        abandoned.filter_map(|outcome| outcome["anonymous_id"].as_str().map(ToOwned::to_owned)).collect::<Vec<_>>()
    };
    let read = reader.until("the basket of somebody else", SOON, |read| !anonymous_story(read).is_empty());
    assert!(anonymous_story(&read).iter().all(|who| who == "cookie-7"), "{:?}", anonymous_story(&read));
    assert_eq!(service.metric("sillage_customers_erased_total"), 8.0);
    assert!(service.terminate().status.success());
}

#[test]
fn an_erasure_asked_for_while_nothing_runs_is_done_at_the_start_and_a_lost_control_topic_stops_nobody() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "asleep", &["web"], 3);
    let (code, said) = erase(&shop.setup, "dora");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("start the service once"), "{said}");
    let service = shop.serve();
    let reader = shop.reader();
    for who in ["dora", "emil"] {
        shop.does(who, "cart.added", 0);
        service.until_known(200, who);
    }
    assert!(service.terminate().status.success());
    assert_eq!(erase(&shop.setup, "dora"), (Some(0), "asked 3 partitions to erase the customer\n".to_owned()));
    let service = shop.serve();
    service.until_known(404, "dora");
    reader.until("emil's abandoned basket", SOON, |read| tells(read, "emil", "abandonment basket"));
    assert_eq!(story(&reader.to_the_end(), "dora"), ["transition deciding"]);
    assert!(service.terminate().status.success());

    // As where Sillage ran before there was a control topic: its position is missing, and journeys go on.
    delete_topic(&shop.direct, &shop.setup.output_topics(&["control"])[0]);
    let service = shop.serve();
    assert_eq!((service.look_up("emil"), service.look_up("dora")), (200, 404));
    assert_eq!(service.erase("emil"), 202);
    service.until_known(404, "emil");
    assert!(service.terminate().status.success());
}
