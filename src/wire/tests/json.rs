//! JSON: what a record means, what is forgiven, and with which words the rest is refused.

use super::*;
use crate::touchpoint::{Form, Identity, MAX_TEXT_BYTES, Value};

#[test]
fn a_whole_record_is_read() {
    let text = r#"{"event_id":"re-27839","customer_id":"user_0539","anonymous_id":"a1","occurred_at":"2024-01-04T11:45:38.250Z",
        "channel":"tablet","type":"cart.added","session_id":"s-1","more":[{"x":1}],
        "properties":{"value":499.5,"currency":"EUR","new":true,"step":3,"cart_id":"A"}}"#;
    let Decoded { touchpoint, clamped } = from_json(text).expect("usable");
    assert_eq!(
        touchpoint,
        Touchpoint {
            id: "re-27839".into(),
            id_given: true,
            identity: Identity::customer("user_0539"),
            linked: Some("a1".into()),
            event_time: Timestamp::from_millis(1_704_368_738_250),
            kind: "cart.added".into(),
            channel: Some("tablet".into()),
            session: Some("s-1".into()),
            properties: vec![
                ("cart_id".into(), Value::Text("A".into())),
                ("currency".into(), Value::Text("EUR".into())),
                ("new".into(), Value::Flag(true)),
                ("step".into(), Value::Number(3.0)),
                ("value".into(), Value::Number(499.5)),
            ],
        }
    );
    assert!(!clamped);
    assert_eq!(touchpoint.money("value", Form::default(), None).expect("money").to_string(), "499.50 EUR");
}

#[test]
fn ids_are_texts_or_whole_numbers_and_blank_ones_are_absent() {
    let ids = |fields: &str| {
        let text = format!(r#"{{"type":"t","occurred_at":1700000000000,{fields}}}"#);
        let touchpoint = from_json(&text).unwrap_or_else(|fault| panic!("{text}: {fault}")).touchpoint;
        (touchpoint.id.to_string(), touchpoint.id_given, touchpoint.identity, touchpoint.linked.map(String::from))
    };
    let derived = "shop/3/17".to_owned();
    for (fields, expected) in [
        (r#""customer_id":42"#, (derived.clone(), false, Identity::customer("42"), None)),
        (
            r#""customer_id":18446744073709551615"#,
            (derived.clone(), false, Identity::customer("18446744073709551615"), None),
        ),
        (r#""customer_id":-7.0,"event_id":null"#, (derived.clone(), false, Identity::customer("-7"), None)),
        (r#""customer_id":" \t","anonymous_id":"x","event_id":"  ""#, (derived, false, Identity::anonymous("x"), None)),
        (
            r#""event_id":9007199254740993,"customer_id":"x","anonymous_id":7"#,
            ("9007199254740993".to_owned(), true, Identity::customer("x"), Some("7".to_owned())),
        ),
        // As the source wrote it: white space around an id belongs to it.
        (r#""event_id":"e","customer_id":" x ""#, ("e".to_owned(), true, Identity::customer(" x "), None)),
    ] {
        assert_eq!(ids(fields), expected, "{fields}");
    }
    assert_eq!(
        with(r#","session_id":1700000001,"channel":"""#).expect("usable").touchpoint.session.as_deref(),
        Some("1700000001")
    );
}

#[test]
fn event_time_is_clamped_a_little_and_refused_far_ahead() {
    let at = |written: &str| {
        let text = format!(r#"{{"customer_id":"c","type":"t","occurred_at":{written}}}"#);
        from_json(&text).map(|decoded| (decoded.touchpoint.event_time.as_millis() - LOG_TIME.as_millis(), decoded.clamped))
    };
    for (written, expected) in [
        (r#""2026-01-01T00:00:00Z""#, (0, false)),
        (r#""2025-12-31T23:59:59.9999Z""#, (-1, false)),
        (r#""2026-01-01T01:00:00.001+01:00""#, (0, true)),
        (r#""2026-01-02T00:00:00Z""#, (0, true)),
        ("1767225600000", (0, false)),
        ("1767225599999.9", (-1, false)),
        ("1767312000000", (0, true)),
        // The magnitude tells the unit, of digits in a text as well.
        ("1767225600", (0, false)),
        ("1767225599.5", (-500, false)),
        ("1767225600000000", (0, false)),
        ("1767225600000000000", (0, false)),
        (r#""1767225600000""#, (0, false)),
        (r#"" 2026-01-01 00:00:00 UTC""#, (0, false)),
        (r#""1990-01-01T00:00:00Z""#, (631_152_000_000 - LOG_TIME.as_millis(), false)),
    ] {
        assert_eq!(at(written), Ok(expected), "{written}");
    }
    for (written, reason) in [
        (r#""2026-01-02T00:00:00.001Z""#, "more than 24h ahead of log time 2026-01-01T00:00:00.000Z"),
        (r#""1989-12-31T23:59:59.999Z""#, "before 1990"),
        ("99999999999999999999999", "no instant from 1990 on in any unit"),
        ("20260101000000", "looks like the digits of a date and a time"),
        ("0", "before 1990 in every unit"),
        ("4102444800000", "is 2100-01-01T00:00:00.000Z, more than 24h ahead"),
        ("-1e300", "before 1990"),
        (r#""yesterday""#, r#""yesterday" is no instant; write it as 2026-11-22T10:00:00Z"#),
        (r#""2026-01-01T00:00:00""#, "has no zone, and no `timezone` is named"),
        ("true", "is true or false; write an RFC 3339 text"),
        ("[1]", "is a list"),
        ("null", "no `occurred_at`"),
        (r#""""#, "no `occurred_at`"),
    ] {
        let fault = at(written).expect_err(written);
        assert!(fault.contains(reason), "{written}: {fault}");
    }
}

#[test]
fn a_history_without_log_time_takes_what_the_calendar_holds() {
    let history = Arrival { log_time: Timestamp::MAX, ..arrival() };
    let at = |millis: &str| {
        let text = format!(r#"{{"customer_id":"c","type":"t","occurred_at":{millis}}}"#);
        decode(Format::Json, None, text.as_bytes(), &history).map(|decoded| decoded.touchpoint.event_time.to_string())
    };
    assert_eq!(at("253402128000000").as_deref(), Ok("9999-12-30T00:00:00.000Z"));
    assert!(at("253402128000001").expect_err("after the end").contains("no instant from 1990 on in any unit"));
    assert_eq!(at("\"9999-12-30T00:00:00.001Z\""), Err("`occurred_at` is after the year 9999".to_owned()));
}

#[test]
fn properties_are_flattened_and_the_last_of_a_name_counts() {
    for (written, expected) in [
        (r#"{"b":1,"a":"x"}"#, r#"a="x" b=1"#),
        (r#"{"a":1,"b":2,"a":3}"#, "a=3 b=2"),
        (r#"{"a":1,"a":null}"#, "a=1"),
        (r#"{"a":{"b":{"c":{"d":1,"e":{"f":2}}}},"g":[1,{"h":2}],"i":null}"#, "a.b.c.d=1"),
        (r#"{"a":{"b":1},"a.b":2}"#, "a.b=2"),
        (
            r#"{"order_id":9007199254740993,"n":999999999999999,"x":1e16}"#,
            r#"n=999999999999999 order_id="9007199254740993" x=10000000000000000"#,
        ),
        (r#"{"a\u0062":"\u00e9"}"#, r#"ab="é""#),
        (r#"{"a":1},"properties":{"b":2}"#, "b=2"),
        ("null", ""),
        ("{}", ""),
    ] {
        assert_eq!(
            with(&format!(r#","properties":{written}"#)).map(|decoded| properties(&decoded)).as_deref(),
            Ok(expected),
            "{written}"
        );
    }
}

#[test]
fn long_texts_are_cut_at_a_character_and_long_ids_refused() {
    let text = format!("{}é", "x".repeat(MAX_TEXT_BYTES - 1));
    let decoded = with(&format!(r#","properties":{{"a":"{text}"}}"#)).expect("usable");
    assert_eq!(decoded.touchpoint.property("a"), Some(&Value::Text("x".repeat(MAX_TEXT_BYTES - 1).into())));
    let (fits, long) = ("n".repeat(256), "n".repeat(257));
    for field in ["event_id", "customer_id", "anonymous_id", "type"] {
        assert!(with(&format!(r#","{field}":"{fits}""#)).is_ok(), "{field}");
        let fault = with(&format!(r#","{field}":"{long}""#)).expect_err(field);
        assert_eq!(fault, format!("`{field}` is 257 bytes long; at most 256 are allowed"));
    }
    // What is neither an id nor the type costs itself.
    let lost = |fields: &str, loss: Loss| {
        let text = format!(r#"{{"customer_id":"c","type":"t","occurred_at":1767225599000{fields}}}"#);
        let mut touchpoint = Touchpoint::default();
        let told = decode_into(Format::Json, None, &Wanted::All, text.as_bytes(), &arrival(), &mut touchpoint);
        (touchpoint, told.expect("usable").losses.map(|losses| losses.count(loss)))
    };
    for (field, value) in [
        ("channel", format!("\"{long}\"")),
        ("session_id", format!("\"{long}\"")),
        ("channel", "5".into()),
        ("session_id", "{}".into()),
    ] {
        let (touchpoint, count) = lost(&format!(r#","{field}":{value}"#), Loss::Field);
        assert_eq!((touchpoint.channel, touchpoint.session, count), (None, None, Some(1)), "{field} {value}");
    }
    for (properties, left, count) in [
        (format!(r#"{{"{fits}":1}}"#), 1, None),
        (format!(r#"{{"{long}":1,"b":2}}"#), 1, Some(1)),
        (format!(r#"{{"{fits}":{{"a":1}},"b":2}}"#), 1, Some(1)),
    ] {
        let (touchpoint, lost) = lost(&format!(r#","properties":{properties}"#), Loss::Name);
        assert_eq!((touchpoint.properties.len(), lost), (left, count));
    }
    let (_, count) = lost(&format!(r#","properties":{{"a":"{text}"}}"#), Loss::Long);
    assert_eq!(count, Some(1));
}

#[test]
fn a_bad_part_costs_that_part_unless_it_says_whose_it_is() {
    let with_name = |name: &[u8]| {
        [
            b"{\"customer_id\":\"c\",\"type\":\"t\",\"occurred_at\":1767225599000,\"properties\":{\"name\":\"".as_slice(),
            name,
            b"\",\"n\":1}}",
        ]
        .concat()
    };
    let mapping = Mapping::new(&[("type".to_owned(), "type".to_owned())]).expect("good mapping");
    for (name, expected) in [
        (&b"Ren\xe9"[..], "n=1 name=\"Ren\u{fffd}\""),
        (br"\ud83d\ude00 \ud83d", "n=1 name=\"\u{1f600} \u{fffd}\""),
        (b"tab\there", "n=1 name=\"tab\\there\""),
    ] {
        for mapping in [None, Some(&mapping)] {
            let mut touchpoint = Touchpoint::default();
            let told = decode_into(Format::Json, mapping, &Wanted::All, &with_name(name), &arrival(), &mut touchpoint);
            assert_eq!(told.expect("usable").losses.map(|losses| losses.count(Loss::Text)), Some(1));
            assert_eq!(properties(&Decoded { touchpoint, clamped: false }), expected);
        }
    }
    // Two ids that lost the same byte would be one.
    for field in ["customer_id", "anonymous_id", "event_id", "type"] {
        let record = format!(r#"{{"{field}":"x\ud83d","customer_id":"c","type":"t","occurred_at":1767225599000}}"#);
        let record = match field {
            "customer_id" => record.replace(r#","customer_id":"c""#, ""),
            "type" => record.replace(r#","type":"t""#, ""),
            _ => record,
        };
        let fault = from_json(&record).expect_err(field);
        assert!(fault.contains(&format!("`{field}` is a broken text")), "{fault}");
    }
    // So would two sessions; what it costs is counted once. A channel stays, as any text does.
    for (field, session, channel) in [("session_id", None, None), ("channel", None, Some("x\u{fffd}"))] {
        let record = format!(r#"{{"customer_id":"c","type":"t","occurred_at":1767225599000,"{field}":"x\ud83d"}}"#);
        let mut touchpoint = Touchpoint::default();
        let told = decode_into(Format::Json, None, &Wanted::All, record.as_bytes(), &arrival(), &mut touchpoint);
        let lost = told.expect("usable").losses.map(|losses| (losses.count(Loss::Text), losses.count(Loss::Field)));
        assert_eq!(lost, Some((1, 0)), "{field}");
        assert_eq!((touchpoint.session.as_deref(), touchpoint.channel.as_deref()), (session, channel), "{field}");
    }
    assert_eq!(properties(&with(r#","properties":{"value":NaN,"n":-Infinity,"a":1}"#).expect("usable")), "a=1");
    assert_eq!(properties(&with(r#","properties":[]"#).expect("PHP's empty object")), "");
    assert_eq!(
        from_json(&format!("\u{feff}{}", r#"{"customer_id":"c","type":"t","occurred_at":1767225599000}"#)).map(|_| ()),
        Ok(())
    );
}

#[test]
fn what_cannot_be_used_is_refused_with_a_short_reason() {
    let open = "[".repeat(100_000);
    let junk = format!(r#""{}""#, "j".repeat(500_000));
    for (text, reason) in [
        ("", "ends too early"),
        ("{", "ends too early"),
        ("null", "a JSON object is expected"),
        ("[]", "a JSON object is expected"),
        (junk.as_str(), "a JSON object is expected"),
        (open.as_str(), "a JSON object is expected"),
        ("{} x", "not JSON: trailing characters at line 1 column 4"),
        ("{'a':1}", "not JSON: "),
        ("{}", "no `occurred_at`"),
        (r#"{"occurred_at":1700000000000,"type":"t"}"#, "no customer: give `customer_id`, `anonymous_id` or both"),
        (
            r#"{"occurred_at":1700000000000,"customer_id":"NULL","anonymous_id":0,"type":"t"}"#,
            "no customer: `customer_id` is \"NULL\", which is a placeholder and nobody's id",
        ),
        (
            r#"{"occurred_at":1700000000000,"anonymous_id":"undefined","type":"t"}"#,
            "no customer: `anonymous_id` is \"undefined\", which is a placeholder",
        ),
        (r#"{"occurred_at":1700000000000,"customer_id":1}"#, "no `type`"),
        (r#"{"occurred_at":1700000000000,"customer_id":1,"type":5}"#, "`type` is a number; write a text"),
        (
            r#"{"occurred_at":1700000000000,"customer_id":1.5,"type":"t"}"#,
            "`customer_id` is a number; write a text or a whole number",
        ),
        (r#"{"occurred_at":1700000000000,"customer_id":{"x":1},"type":"t"}"#, "`customer_id` is an object"),
        (r#"{"occurred_at":1700000000000,"customer_id":1,"type":"t","properties":[1]}"#, "`properties` is no object"),
        (r#"{"occurred_at":1700000000000,"customer_id":1,"type":"t","properties":"x"}"#, "`properties` is no object"),
        (r#"{"occurred_at":1e999,"customer_id":1,"type":"t"}"#, "no `occurred_at`"),
    ] {
        let fault = from_json(text).expect_err(text);
        assert!(fault.contains(reason) && fault.len() < 200, "{fault}");
    }
    assert_eq!(decode(Format::Json, None, b"\xff{\"a\":1}", &arrival()), Err("not JSON: no UTF-8 at byte 0".to_owned()));
    // What is not looked at may be as deep as it likes.
    let (objects, lists) = (r#"{"a":"#.repeat(40_000), "[".repeat(100_000));
    let (ends, ends_of_lists) = ("}".repeat(40_000), "]".repeat(100_000));
    let deep = with(&format!(r#","properties":{{"a":{objects}1{ends},"b":2}},"more":{lists}{ends_of_lists}"#));
    assert_eq!(deep.map(|decoded| properties(&decoded)).as_deref(), Ok("b=2"));
}

#[test]
fn huge_records_are_refused_before_they_are_read() {
    let huge = vec![b'{'; 10 << 20];
    for format in [Format::Json, Format::Avro] {
        let fault = decode(format, None, &huge, &arrival()).expect_err("too large");
        assert_eq!(fault, "the record has 10485760 bytes; at most 1048576 are allowed");
    }
}
