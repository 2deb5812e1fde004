//! Records that cannot be used: one dead letter each, with its origin and its bytes, and everything else goes on.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::clients::{Published, Record};
use crate::harness::{kafka, now_millis};
use crate::shop::{SOON, Shop, story, tells, touchpoint};

const LARGEST: usize = 10 << 20;

#[test]
fn each_becomes_one_dead_letter_and_processing_goes_on() {
    let Some(kafka) = kafka() else { return };
    let limit = (LARGEST + 4_096).to_string();
    let shop = Shop::with_settings(kafka, "bad", &["web", "app"], 2, &[("max.message.bytes", &limit)]);
    let service = shop.serve();
    let (reader, dead) = (shop.reader(), shop.dead_letters());

    let now = now_millis();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("not JSON", b"touchpoint: cart.added".to_vec()),
        ("ends early", b"{\"customer_id\": \"c\", ".to_vec()),
        ("no UTF-8", b"{\"customer_id\": \"\xff\xfe\"}".to_vec()),
        ("a list", b"[]".to_vec()),
        ("empty", Vec::new()),
        ("no customer", json!({"occurred_at": now, "type": "cart.added"}).to_string().into_bytes()),
        ("no type", json!({"customer_id": "c", "occurred_at": now}).to_string().into_bytes()),
        ("no time", json!({"customer_id": "c", "type": "cart.added"}).to_string().into_bytes()),
        ("long ago", touchpoint("c", "cart.added", 0)),
        ("far ahead", touchpoint("c", "cart.added", now + 3 * 86_400_000)),
        ("beyond time", touchpoint("c", "cart.added", i64::MAX)),
        ("large", vec![b'{'; LARGEST]),
        ("deep", b"[".repeat(100_000)),
    ];
    for (number, (what, value)) in bad.iter().enumerate() {
        let customer = format!("good-{number}");
        shop.does(&customer, "cart.added", number % 2);
        shop.writer.write(Record {
            topic: &shop.setup.inputs[number % 2],
            key: what,
            value,
            partition: Some(number as i32 % 2),
        });
        shop.does(&customer, "order.completed", number % 2);
    }

    let letters = dead.until("the dead letters", SOON, |read| read.len() >= bad.len());
    let good: Vec<String> = (0..bad.len()).map(|number| format!("good-{number}")).collect();
    let read =
        reader.until("the good ones", SOON, |read| good.iter().all(|customer| tells(read, customer, "transition bought")));
    for customer in &good {
        assert_eq!(story(&read, customer), ["transition deciding", "completion basket", "transition bought"], "{customer}");
    }
    let by_key: BTreeMap<&str, &Published> =
        letters.iter().map(|letter| (letter.key.as_deref().unwrap_or("(no key)"), letter)).collect();
    for (number, (what, value)) in bad.iter().enumerate() {
        let letter = by_key.get(what).unwrap_or_else(|| panic!("no dead letter for {what:?}"));
        assert_eq!(letter.value.as_ref(), Some(value), "{what}: the bytes are the record's");
        assert_eq!(letter.header("sillage-topic"), shop.setup.inputs[number % 2], "{what}");
        assert_eq!(letter.header("sillage-partition"), (number % 2).to_string(), "{what}");
        let reason = letter.header("sillage-reason");
        assert!(!reason.is_empty() && reason.len() <= 512, "{what}: {reason:?}");
    }
    crate::harness::wait::until_true("the metric", SOON, || {
        service.metric("sillage_dead_letters_total") == bad.len() as f64
    });
    assert!(service.terminate().status.success());

    // Whoever comes next begins behind them.
    let service = shop.serve();
    shop.does("after", "cart.added", 0);
    shop.does("after", "cart.added", 1);
    reader.until("what comes after", SOON, |read| tells(read, "after", "transition deciding"));
    let letters = dead.to_the_end();
    let mut origins: Vec<(&str, &str, &str)> = letters
        .iter()
        .map(|letter| (letter.header("sillage-topic"), letter.header("sillage-partition"), letter.header("sillage-offset")))
        .collect();
    origins.sort_unstable();
    origins.dedup();
    assert_eq!((letters.len(), origins.len()), (bad.len(), bad.len()), "one each, and no more");
    assert!(service.terminate().status.success());
}
