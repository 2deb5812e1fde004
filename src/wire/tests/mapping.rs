//! Mappings: records of other vocabularies, and faults in the mapping itself.

use super::*;

fn mapping(pairs: &[(&str, &str)]) -> Result<Mapping, String> {
    let owned: Vec<_> = pairs.iter().map(|(name, path)| (name.to_string(), path.to_string())).collect();
    Mapping::new(&owned)
}

fn mapped(pairs: &[(&str, &str)], text: &str) -> Result<Decoded, String> {
    decode(Format::Json, Some(&mapping(pairs).expect("good mapping")), text.as_bytes(), &arrival())
}

#[test]
fn segment_track_calls_are_read() {
    let pairs = [
        ("event_id", "messageId"),
        ("occurred_at", "timestamp"),
        ("customer_id", "userId"),
        ("anonymous_id", "anonymousId"),
        ("type", "event"),
        ("type", "name"),
        ("channel", "context.app.name"),
        ("properties.value", "properties.total"),
        ("properties.agent", "context.userAgent"),
    ];
    let track = r#"{"messageId":"m-1","timestamp":"2025-12-30T10:00:00.000Z","userId":"u7","anonymousId":"a9","type":"track",
        "event":"Order Completed","context":{"app":{"name":"shop"},"userAgent":"M/5.0"},
        "properties":{"order_id":"O1","total":27.5,"value":1,"currency":"USD","products":[{"id":1}]}}"#;
    let decoded = mapped(&pairs, track).expect("usable");
    let touchpoint = &decoded.touchpoint;
    assert_eq!((touchpoint.id.as_str(), touchpoint.id_given, touchpoint.kind.as_str()), ("m-1", true, "Order Completed"));
    assert_eq!((touchpoint.identity.customer_id(), touchpoint.linked.as_deref()), (Some("u7"), Some("a9")));
    assert_eq!(touchpoint.channel.as_deref(), Some("shop"));
    assert_eq!(properties(&decoded), r#"agent="M/5.0" currency="USD" order_id="O1" total=27.5 value=27.5"#);
    let page = r#"{"timestamp":1767225599000,"userId":null,"anonymousId":"a9","type":"page","name":"Home"}"#;
    let page = mapped(&pairs, page).expect("usable").touchpoint;
    assert_eq!((page.kind.as_str(), page.identity.anonymous_id(), page.id.as_str()), ("Home", Some("a9"), "shop/3/17"));
}

#[test]
fn flat_exports_with_microseconds_are_read() {
    let pairs = [
        ("type", "event_name"),
        ("occurred_at_us", "event_timestamp"),
        ("customer_id", "user_id"),
        ("anonymous_id", "user_pseudo_id"),
        ("session_id", "ga_session_id"),
        ("properties", "."),
        ("properties.cart.value", "ecommerce.value"),
    ];
    let text = r#"{"event_name":"add_to_cart","event_timestamp":1767225599123456,"user_pseudo_id":"12.34","ga_session_id":1767225000,
        "currency":"EUR","ecommerce":{"value":9.5},"ecommerce.value":10}"#;
    let decoded = mapped(&pairs, text).expect("usable");
    assert_eq!(decoded.touchpoint.event_time, Timestamp::from_millis(1_767_225_599_123));
    assert_eq!(decoded.touchpoint.session.as_deref(), Some("1767225000"));
    // A key that has dots in it goes before a path of the same name.
    assert_eq!(decoded.touchpoint.property("cart.value"), Some(&crate::touchpoint::Value::Number(10.0)));
    assert_eq!(decoded.touchpoint.property("event_name"), Some(&crate::touchpoint::Value::Text("add_to_cart".into())));
    let seconds = [("occurred_at_s", "ts"), ("type", "what"), ("customer_id", "who")];
    let decoded = mapped(&seconds, r#"{"ts":1767225599.5,"what":"x","who":1}"#).expect("usable");
    assert_eq!(decoded.touchpoint.event_time, Timestamp::from_millis(1_767_225_599_500));
}

#[test]
fn a_mapped_field_is_not_read_under_its_own_name_and_others_are() {
    let text = r#"{"type":"own","kind":null,"occurred_at":1767225599000,"customer_id":"c","properties":{"a":1}}"#;
    assert_eq!(mapped(&[("type", "kind")], text), Err("no `type`: it must say what happened".to_owned()));
    assert_eq!(mapped(&[], text), from_json(text));
    assert_eq!(properties(&mapped(&[("properties", "props")], text).expect("usable")), "");
    assert!(mapped(&[("properties", "type")], text).expect_err("a text").contains("`properties` is no object"));
    assert_eq!(mapped(&[], "[1]"), from_json("[1]"));
    assert_eq!(mapped(&[], "{"), from_json("{"));
    assert!(mapped(&[("properties.x", "a")], &format!(r#"{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200))).is_err());
}

#[test]
fn unknown_fields_and_empty_paths_are_refused_all_at_once() {
    let faults = mapping(&[("event_idd", "x"), ("type", ""), ("wrong", "y"), ("properties.", "z")]).expect_err("faults");
    let lines: Vec<&str> = faults.lines().collect();
    assert_eq!(lines.len(), 4, "{faults}");
    assert_eq!(lines[0], "`event_idd` is no field of a touchpoint; did you mean `event_id`?");
    assert_eq!(lines[1], "the path of `type`: it must have 1 to 256 bytes");
    assert!(lines[2].contains("the fields are") && lines[2].contains("`session_id`"), "{faults}");
    for field in FIELDS {
        let path = if *field == "timezone" { "Europe/Paris" } else { "x" };
        assert!(mapping(&[(field, path)]).is_ok(), "{field}");
    }
    let fault = mapping(&[("timezone", "Europe/Pari")]).expect_err("no such place");
    assert_eq!(fault, "`Europe/Pari` is no time zone; write its name, such as Europe/Paris or UTC");
}

#[test]
fn local_times_are_read_in_the_zone_of_the_mapping_or_else_of_the_models() {
    let model = |zone: &str| {
        let text = format!("sillage: 1\nmodel: m\n{zone}stages: {{ first: {{ enter: seen }} }}\n");
        crate::model::load("m.yaml", &text).0.expect("a good model")
    };
    let (paris, york, none) = (model("timezone: Europe/Paris\n"), model("timezone: America/New_York\n"), model(""));
    let own = mapping(&[("timezone", "UTC"), ("type", "what")]).expect("good mapping");
    for (given, models, hour) in [
        (None, vec![&paris, &none], Some("09")),
        (None, vec![&york], Some("15")),
        (None, vec![&paris, &york], None),
        (None, vec![&none], None),
        (Some(&own), vec![&paris], Some("10")),
    ] {
        let mapping = Mapping::for_models(given, models);
        for at in ["2025-12-30 10:00:00", "2025-12-30T10:00"] {
            let text = format!(r#"{{"occurred_at":"{at}","type":"t","what":"t","customer_id":"c"}}"#);
            let read = decode(Format::Json, mapping.as_ref(), text.as_bytes(), &arrival());
            match hour {
                Some(hour) => {
                    let at = read.expect("usable").touchpoint.event_time.to_string();
                    assert_eq!(at, format!("2025-12-30T{hour}:00:00.000Z"));
                }
                None => assert!(read.expect_err("no zone").contains("name it in the model or with the fields")),
            }
        }
    }
}

/// Whose a record is by this mapping; the reason where it is nobody's.
fn whose(pairs: &[(&str, &str)], text: &str) -> String {
    let pairs = [&[("type", "what"), ("occurred_at", "at")], pairs].concat();
    let record = format!(r#"{{"what":"seen","at":1767225599000,{text}}}"#);
    mapped(&pairs, &record).map_or_else(|reason| reason, |decoded| decoded.touchpoint.identity.id.to_string())
}

#[test]
fn ids_are_put_together_so_that_no_two_are_one() {
    let pairs = [("customer_id", "store.number + customer")];
    for (text, expected) in [
        (r#""store":{"number":7},"customer":"c-1""#, "7:c-1"),
        (r#""store":{"number":0},"customer":12"#, "0:12"),
        (r#""store":{"number":7.0},"customer":42.0"#, "7:42"),
        (r#""store":{"number":"a:b"},"customer":"c""#, r"a\:b:c"),
        (r#""store":{"number":"a"},"customer":"b:c""#, r"a:b\:c"),
        (r#""store":{"number":"a\\"},"customer":"b""#, r"a\\:b"),
    ] {
        assert_eq!(whose(&pairs, text), expected, "{text}");
    }
    for (text, expected) in [
        (r#""store":{"number":7}"#, "no customer"),
        (r#""store":{"number":7},"customer":null"#, "no customer"),
        (r#""store":{"number":7},"customer":"undefined""#, "`customer_id` is \"undefined\", which is a placeholder"),
        (r#""store":{"number":{}},"customer":"c""#, "`customer_id` is an object"),
        (r#""store":{"number":7.5},"customer":42"#, "`customer_id` is"),
        (r#""store":{"number":7},"customer":1e15"#, "`customer_id` is"),
    ] {
        let reason = whose(&pairs, text);
        assert!(reason.contains(expected), "{text}: {reason}");
    }
    // The first that leads to something counts.
    let either = [("customer_id", "store + customer"), ("customer_id", "user")];
    assert_eq!(whose(&either, r#""customer":"c","user":"u""#), "u");
}

#[test]
fn what_one_person_writes_in_several_ways_is_one_id() {
    let all = [("customer_id", "user.email | trim nfc lower")];
    for text in [r"  Zo\u00eb@Example.org ", r"zoe\u0308@example.org", r"ZOE\u0308@EXAMPLE.ORG"] {
        assert_eq!(whose(&all, &format!(r#""user":{{"email":"{text}"}}"#)), "zo\u{eb}@example.org", "{text}");
    }
    let trimmed = [("customer_id", "user | trim")];
    assert_eq!(whose(&trimmed, r#""user":" Zoe ""#), "Zoe");
    assert_eq!(whose(&trimmed, r#""user":42.0"#), "42");
    assert!(whose(&trimmed, r#""user":"  ""#).contains("no customer"));
    assert_eq!(whose(&[("customer_id", "user")], r#""user":" Zoe ""#), " Zoe ", "nothing is guessed");
    let both = [("customer_id", "store + user | lower")];
    assert_eq!(whose(&both, r#""store":"N","user":"Zoe""#), "n:zoe");
}

#[test]
fn what_cannot_be_put_together_or_normalised_is_told() {
    for (name, path, expected) in [
        ("customer_id", "user | upper", "\"upper\" is no way to normalise"),
        ("customer_id", "user + ", "1 to 256 bytes"),
        ("occurred_at", "day + hour", "is read as it stands"),
        ("properties.value", "total | trim", "is read as it stands"),
    ] {
        let fault = mapping(&[(name, path)]).expect_err("a fault");
        assert!(fault.contains(expected), "{fault}");
    }
}
