//! The profile customer: has done four things within a second, with UUIDs as ids; five stages visited, one open basket, nothing
//! closed.

use sillage::time::Timestamp;
use sillage::touchpoint::{Identity, Touchpoint, Value};

/// A UUID that looks random, the same for the same number.
fn uuid(number: u64) -> String {
    let hash = xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes());
    uuid::Uuid::from_u128(hash).hyphenated().to_string()
}

/// What the profile customer of this number did.
pub(crate) fn profile(number: u64) -> Vec<Touchpoint> {
    let at = 1_767_225_600_000 + number as i64 / 20;
    let one = |(place, kind): (u64, &str)| Touchpoint {
        id: uuid(number * 8 + place).into(),
        id_given: true,
        identity: Identity::customer(uuid(number * 8)),
        event_time: Timestamp::from_millis(at),
        kind: kind.into(),
        channel: Some("web".into()),
        properties: if kind == "cart.added" {
            vec![
                ("cart_id".into(), Value::Text(uuid(number * 8 + 7).into())),
                ("currency".into(), Value::Text("EUR".into())),
                ("value".into(), Value::Number(89.9)),
            ]
        } else {
            Vec::new()
        },
        ..Touchpoint::default()
    };
    (1..).zip(["ad.seen", "product.viewed", "order.completed", "cart.added"]).map(one).collect()
}
