//! Outcomes and journeys as published: a story told by the real model, in both formats and against the schema files.

use std::sync::Arc;

use apache_avro::types::Value as Avro;
use serde_json::{Value as Json, json};

use super::*;
use crate::journey::{Abandonment, Arm, Customer, Measurement, Moment, Moved, Noticed, What};
use crate::model::Model;
use crate::time::Span;
use crate::touchpoint::{Currency, Identity, Money, Value};

fn models() -> Vec<Arc<Model>> {
    let text = include_str!("../../../tests/models/plain-five-stages.yaml");
    vec![Arc::new(crate::model::load("five-stages.yaml", text).0.expect("a good model"))]
}

/// Minute, type, properties.
type Step<'a> = (i64, &'a str, &'a [(&'a str, Value)]);

/// Applies the touchpoints of one customer, firing what is due between them.
fn told(steps: &[Step<'_>]) -> (Customer, Vec<Outcome>) {
    let models = models();
    let mut customer = Customer::new(Identity::customer("k"));
    let mut outcomes = Vec::new();
    for (index, (minute, kind, properties)) in steps.iter().enumerate() {
        let at = LOG_TIME + Span::from_secs(60 * minute);
        while customer.next_deadline() <= at {
            let deadline = customer.next_deadline();
            customer.fire(&models, deadline, &mut outcomes);
        }
        let touchpoint = Touchpoint {
            id: format!("t{index}").into(),
            id_given: true,
            identity: customer.identity.clone(),
            linked: (index == 0).then(|| "cookie".into()),
            event_time: at,
            kind: (*kind).into(),
            channel: Some("web".into()),
            session: Some("s".into()),
            properties: properties.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
        };
        let moment = Moment { log_time: at, counts_from: at, stream_time: at };
        customer.apply(&models, &touchpoint, moment, 20, &mut Noticed::default(), &mut outcomes);
    }
    (customer, outcomes)
}

fn story() -> (Customer, Vec<Outcome>) {
    let id = |text: &str| Value::Text(text.into());
    let worth = |amount, cart: &str| [("cart_id", id(cart)), ("currency", id("EUR")), ("value", Value::Number(amount))];
    told(&[
        (0, "product.viewed", &[]),
        (1, "cart.added", &worth(499.0, "A")),
        (2, "cart.added", &worth(19.9, "B")),
        (40, "cart.added", &worth(499.25, "A")),
        (41, "checkout.started", &[("cart_id", id("A")), ("checkout_id", id("X"))]),
        (42, "checkout.step", &[("cart_id", id("C")), ("checkout_id", id("X"))]),
        (58, "order.completed", &[("checkout_id", id("X")), ("order_id", id("O"))]),
        (60, "product.viewed", &[]),
        (70, "cart.added", &worth(7.0, "D")),
        (75, "coupon.denied", &[]),
    ])
}

fn as_json(outcome: &Outcome) -> (String, Json) {
    let mut bytes = Vec::new();
    encode_outcome(Format::Json, outcome, &mut bytes);
    let text = String::from_utf8(bytes).expect("text");
    let value = serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    (text, value)
}

fn as_avro(outcome: &Outcome) -> Avro {
    let mut bytes = Vec::new();
    encode_outcome(Format::Avro, outcome, &mut bytes);
    let reader =
        apache_avro::GenericSingleObjectReader::builder().schema(schema_of(OUTCOME_AVSC)).build().expect("a reader");
    let mut rest = bytes.as_slice();
    let value = reader.read_value(&mut rest).expect("conforms to the schema");
    assert!(rest.is_empty(), "{} bytes left over", rest.len());
    value
}

/// An outcome as whoever delivers it reads it from Avro.
fn read_back(outcome: &Outcome) -> String {
    let mut bytes = Vec::new();
    encode_outcome(Format::Avro, outcome, &mut bytes);
    String::from_utf8(outcome_in_json(&bytes).expect("an outcome").into_owned()).expect("text")
}

/// What an Avro value is in the JSON of outcomes.
fn in_json(value: &Avro) -> Json {
    match value {
        Avro::Null => Json::Null,
        Avro::Boolean(flag) => json!(flag),
        Avro::Union(_, inner) => in_json(inner),
        Avro::String(text) => json!(text),
        Avro::Long(number) => json!(number),
        Avro::TimestampMillis(millis) => json!(Timestamp::from_millis(*millis).to_string()),
        Avro::Array(items) => items.iter().map(in_json).collect(),
        Avro::Map(entries) => entries.iter().map(|(name, value)| (name.clone(), in_json(value))).collect(),
        Avro::Record(fields) => fields.iter().map(|(name, value)| (name.clone(), in_json(value))).collect(),
        Avro::Decimal(decimal) => {
            let bytes = Vec::<u8>::try_from(decimal).expect("bytes");
            let sign = if bytes[0] & 0x80 == 0 { 0_i128 } else { -1 };
            let micros = bytes.iter().fold(sign, |sum, byte| (sum << 8) | i128::from(*byte));
            // All amounts of the story have few digits, so the float is exact.
            let amount = micros as f64 / 1e6;
            if amount.fract() == 0.0 { json!(amount as i64) } else { json!(amount) }
        }
        other => panic!("no outcome holds {other:?}"),
    }
}

fn names_in_order(text: &str) -> Vec<String> {
    // serde_json sorts names; the order is read from the text: a top-level name stands at depth one.
    let (mut names, mut depth, mut quoted, mut name) = (Vec::new(), 0, false, String::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '"' => {
                quoted = !quoted;
                if quoted {
                    name.clear();
                } else if depth == 1 && chars.peek() == Some(&':') {
                    names.push(name.clone());
                }
            }
            c if quoted => name.push(c),
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
    }
    names
}

#[test]
fn json_and_avro_say_the_same_and_conform_to_the_schemas() {
    let (_, mut outcomes) = story();
    for stage in [None, Some("decision".into())] {
        let moved = Moved { touchpoints: 3, episodes: 1, stage };
        outcomes.push(Outcome { what: What::Merge { from: "cookie".into(), moved }, ..outcomes[0].clone() });
    }
    for variant in [None, Some("plain".into())] {
        let answers = Abandonment { id: outcomes[0].id, at: outcomes[0].at };
        let arm = if variant.is_some() { Arm::Treated } else { Arm::HeldOut };
        let (intervention, converted) = ("help".into(), variant.is_some());
        let of = Measurement { intervention, version: 3, arm, variant, converted, before: 2, answers };
        outcomes.push(Outcome { what: What::Measurement { of: Box::new(of) }, ..outcomes[0].clone() });
    }
    let kinds: std::collections::BTreeSet<_> = outcomes.iter().map(|outcome| outcome.what.kind()).collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let schema: Json = serde_json::from_str(OUTCOME_AVSC).expect("JSON");
    let fields: Vec<&str> = schema["fields"].as_array().expect("a list").iter().filter_map(|f| f["name"].as_str()).collect();
    let published: Json = serde_json::from_str(schema::OUTCOME).expect("JSON");
    assert_eq!(published["required"], json!(fields));
    assert_eq!(published["properties"].as_object().expect("an object").len(), fields.len());
    for outcome in &outcomes {
        let (text, value) = as_json(outcome);
        assert_eq!(names_in_order(&text), fields, "{text}");
        assert_eq!(schema::faults(schema::OUTCOME, &value), [""; 0], "{text}");
        assert_eq!(in_json(&as_avro(outcome)), value, "{text}");
        let read = read_back(outcome);
        assert_eq!(
            (names_in_order(&read), serde_json::from_str::<Json>(&read).expect("JSON")),
            (names_in_order(&text), value.clone())
        );
        assert_eq!(value["says"], json!(outcome.to_string()));
    }
}

#[test]
fn what_is_no_outcome_in_avro_is_refused_and_json_is_left_alone() {
    let (_, outcomes) = story();
    let mut bytes = Vec::new();
    encode_outcome(Format::Avro, &outcomes[0], &mut bytes);
    let mut other = bytes.clone();
    other[2] ^= 1;
    for (hurt, expected) in [
        (&bytes[..5], "only a part of a header"),
        (&bytes[..bytes.len() - 1], "broken Avro"),
        (&[bytes.as_slice(), b"x"].concat(), "1 bytes follow the Avro datum"),
        (&other, "under an unknown schema"),
    ] {
        let fault = outcome_in_json(hurt).expect_err("no outcome");
        assert!(fault.contains(expected), "{fault}");
    }
    // Lengths that lie, and texts that are none.
    for at in 10..bytes.len() {
        for byte in [0, 0x7F, 0x80, 0xFF] {
            let mut hurt = bytes.clone();
            hurt[at] = byte;
            if let Ok(read) = outcome_in_json(&hurt) {
                serde_json::from_slice::<Json>(&read).unwrap_or_else(|fault| panic!("{at} {byte}: {fault}"));
            }
        }
    }
    assert_eq!(outcome_in_json(b"{}").expect("as it is").as_ref(), b"{}");
}

#[test]
fn an_outcome_of_each_sort_reads_as_published() {
    let (_, outcomes) = story();
    let lines: Vec<String> = outcomes.iter().map(|outcome| as_json(outcome).0).collect();
    let of = |says: &str| {
        let line = lines.iter().find(|line| line.contains(&format!(r#""says":"{says}"#)));
        line.unwrap_or_else(|| panic!("{says} is not among {lines:#?}")).as_str()
    };
    let head = |line: &str| line.split_once(r#"","kind""#).expect("an id first").1.to_owned();
    assert_eq!(
        head(of("consideration → decision")),
        r#":"transition","model":"five-stages","model_version":1,"customer_id":"k","anonymous_id":null,"journey":1,"journey_started_at":"2026-01-01T00:00:00.000Z","sequence":2,"at":"2026-01-01T00:01:00.000Z","cause":"t1","channel":"web","session_id":"s","from":"consideration","to":"decision","movement":"advance","time_in_stage_ms":60000,"subject":null,"opened_by":null,"opened_at":null,"last_progress":null,"last_progress_at":null,"progress_count":null,"answers":null,"value":{"amount":499,"currency":"EUR"},"segment":null,"decision":null,"friction":null,"intervention":null,"measurement":null,"merge":null,"retracts":null,"hindsight":false,"says":"consideration → decision"}"#
    );
    let abandoned: Json = serde_json::from_str(of("abandons basket B")).expect("JSON");
    assert_eq!(
        (&abandoned["subject"], &abandoned["cause"], &abandoned["value"], &abandoned["at"]),
        (
            &json!({"stage": null, "episode": "basket", "number": 2, "ids": {"cart_id": ["B"]}, "session": null}),
            &Json::Null,
            &json!({"amount": 19.9, "currency": "EUR"}),
            &json!("2026-01-01T00:32:00.000Z")
        )
    );
    // Nothing came on any channel; the basket was touched last in a session.
    assert_eq!((&abandoned["channel"], &abandoned["session_id"]), (&Json::Null, &json!("s")));
    let resumed: Json = serde_json::from_str(of("resumes basket A")).expect("JSON");
    let first: Json = serde_json::from_str(of("abandons basket A")).expect("JSON");
    assert_eq!(resumed["answers"], json!({"outcome_id": first["outcome_id"], "at": first["at"]}));
    // Known by three names. Another cart with the same checkout is another basket.
    let completed: Json = serde_json::from_str(of("completes basket A")).expect("JSON");
    assert_eq!(completed["subject"]["ids"], json!({"cart_id": ["A"], "checkout_id": ["X"], "order_id": ["O"]}));
}

#[test]
fn amounts_are_exact_decimals_in_both_formats() {
    let (_, outcomes) = story();
    let euro = Currency::parse("EUR").expect("a currency");
    for (micros, shown, bytes) in [
        (0, "0", &[0_u8][..]),
        (499_000_000, "499", &[0x1D, 0xBE, 0x22, 0xC0]),
        (19_900_000, "19.9", &[0x01, 0x2F, 0xA6, 0x60]),
        (127, "0.000127", &[0x7F]),
        (128, "0.000128", &[0x00, 0x80]),
        (-128, "-0.000128", &[0x80]),
        (-129, "-0.000129", &[0xFF, 0x7F]),
        (-1_500_000, "-1.5", &[0xE9, 0x1C, 0xA0]),
        (9_007_199_254_740_993, "9007199254.740993", &[0x20, 0, 0, 0, 0, 0, 0x01]),
        (i64::MIN, "-9223372036854.775808", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let outcome = Outcome { value: Some(Money { micros, currency: euro }), ..outcomes[0].clone() };
        let (text, _) = as_json(&outcome);
        for text in [text, read_back(&outcome)] {
            assert!(text.contains(&format!(r#""value":{{"amount":{shown},"currency""#)), "{micros}: {text}");
        }
        let Avro::Record(fields) = as_avro(&outcome) else { panic!("a record") };
        let value = fields.iter().find(|(name, _)| name == "value").map(|(_, value)| format!("{value:?}")).expect("a value");
        let expected = format!("{:?}", Avro::Decimal(apache_avro::Decimal::from(bytes)));
        assert!(value.contains(&expected), "{micros}: {value} {expected}");
    }
}

#[test]
fn a_customer_is_shown_with_every_journey() {
    let (customer, _) = story();
    let shown = customer_json(&models(), &customer);
    assert_eq!(
        (&shown["customer_id"], &shown["links"], &shown["touchpoints"]),
        (&json!("k"), &json!(["cookie"]), &json!(10))
    );
    assert_eq!(
        shown["history"][9],
        json!({"event_id": "t9", "type": "coupon.denied", "channel": "web", "occurred_at": "2026-01-01T01:15:00.000Z"})
    );
    let journey = &shown["journeys"][0];
    assert_eq!(
        (&journey["model"], &journey["journey"], &journey["furthest"]),
        (&json!("five-stages"), &json!(2), &json!("retention"))
    );
    assert_eq!(
        journey["reached"],
        json!({"consideration": "2026-01-01T00:00:00.000Z", "decision": "2026-01-01T00:01:00.000Z", "retention": "2026-01-01T00:58:00.000Z"})
    );
    assert_eq!(journey["stage"]["stage"], json!("consideration"));
    assert_eq!(
        (&journey["stage"]["opened_at"], &journey["stage"]["deadline"]),
        (&json!("2026-01-01T01:15:00.000Z"), &json!("2026-01-08T01:15:00.000Z"))
    );
    let episodes = journey["episodes"].as_array().expect("a list");
    let of = |cart: &str| episodes.iter().find(|episode| episode["ids"]["cart_id"] == json!([cart])).expect(cart);
    let (b, d) = (of("B"), of("D"));
    assert_eq!((&b["abandoned"], &b["deadline"], &b["abandonments"]), (&json!(true), &Json::Null, &json!(1)));
    assert_eq!((&d["abandoned"], &d["deadline"]), (&json!(false), &json!("2026-01-01T01:45:00.000Z")));
    assert_eq!(
        (&d["value"], &d["opened_at"], &d["last_progress_at"], &d["session_id"]),
        (
            &json!({"amount": 7.0, "currency": "EUR"}),
            &json!("2026-01-01T01:10:00.000Z"),
            &json!("2026-01-01T01:15:00.000Z"),
            &json!("s")
        )
    );
}
