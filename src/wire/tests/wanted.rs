//! Reading what is wanted: the same touchpoint with fewer properties, whatever the record and whatever was read before.

use std::collections::BTreeMap;

use compact_str::CompactString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;

use super::laws::touchpoint;
use super::*;
use crate::generate::{Load, Opening, Settings};
use crate::journey::{Customer, Moment, Noticed};
use crate::time::Span;
use crate::touchpoint::Identity;

/// Names that records are made of, as JSON writes them; nested, they make each other's dotted names.
const KEYS: [&str; 9] = ["a", "b", "a.b", "b.a", "", "a.b.a", r"\u0061", r"\n", "currency"];
/// What may be wanted of them.
const NAMES: [&str; 12] = ["a", "b", "a.b", "b.a", "a.b.a", "a.b.a.b", "a.a.a.a", "b.b", "", "\n", "currency", ".a"];

/// JSON of any shape, as text: with names that come twice, escapes, numbers beyond all ranges.
fn json() -> impl Strategy<Value = String> {
    let long = format!("\"{}é\"", "x".repeat(crate::touchpoint::MAX_TEXT_BYTES - 1));
    let leaf = prop_oneof![
        8 => select(vec!["null", "true", "false", "0", "-0", "1", "-7.0", "1.5", "0.1", "1e3", "1e16", "42.0"]),
        4 => select(vec!["9007199254740993", "-9223372036854775809", "18446744073709551616", "1e308", "999999999999999"]),
        8 => select(vec![r#""""#, r#""x""#, r#""EUR""#, r#""é\n\"""#, r#""\ud83d\ude00""#, r#""2026-01-01T00:00:00Z""#]),
        2 => select(vec!["[]", r#"[1,{"a":[]}]"#, "{}", r#"{"a":{"b":{"a":{"b":{"a":1}}}}}"#]),
        // Nobody can read these.
        1 => select(vec!["1e999", r#""\ud83d""#, r#""\udc00x""#]),
    ];
    let leaf = prop_oneof![60 => leaf.prop_map(str::to_owned), 1 => Just(long)];
    leaf.prop_recursive(5, 24, 5, |inner| object(select(KEYS.to_vec()).prop_map(str::to_owned), inner))
}

fn object(key: impl Strategy<Value = String>, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (key, value).prop_map(|(key, value)| format!("\"{key}\": {value}"));
    vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(", ")))
}

/// A record that can mostly be used.
fn record() -> impl Strategy<Value = String> {
    let properties = || object(select(KEYS.to_vec()).prop_map(str::to_owned), json());
    let member = |key: &'static str, good: &'static str| {
        let value = prop_oneof![40 => Just(good.to_owned()), 1 => json()];
        option::weighted(0.97, value.prop_map(move |value| format!("\"{key}\":{value}")))
    };
    let members = (
        member("customer_id", r#""c\u0031""#),
        member("anonymous_id", "7"),
        member("type", r#""t""#),
        member("occurred_at", r#""2025-12-31T10:00:00.25Z""#),
        member("event_id", r#""5f0c7a52-91d3-4e0b-8c55-7d1f0a3c9b64""#),
        member("channel", "null"),
        member("session_id", r#""  ""#),
        vec(prop_oneof![20 => properties(), 1 => json()].prop_map(|value| format!("\"properties\":{value}")), 0..3),
        vec(json().prop_map(|value| format!("\"more\":{value}")), 0..2),
    );
    let all = members.prop_map(|(a, b, c, d, e, f, g, properties, more)| {
        [a, b, c, d, e, f, g].into_iter().flatten().chain(properties).chain(more).collect::<Vec<String>>()
    });
    all.prop_shuffle().prop_map(|members| format!("{{{}}}", members.join(",")))
}

fn mapping() -> Mapping {
    let pairs =
        [("properties", "properties"), ("properties.b", "more.a"), ("properties.a.b", "more"), ("channel", "more.b")];
    Mapping::new(&pairs.map(|(name, path)| (name.to_owned(), path.to_owned()))).expect("good mapping")
}

fn read(
    format: Format,
    mapping: Option<&Mapping>,
    wanted: &Wanted,
    bytes: &[u8],
    touchpoint: &mut Touchpoint,
) -> Result<bool, String> {
    decode_into(format, mapping, wanted, bytes, &arrival(), touchpoint).map(|told| told.clamped)
}

/// Reads all and what is wanted, fresh and into what is there, and compares.
fn compare(
    format: Format,
    mapping: Option<&Mapping>,
    names: &[&str],
    bytes: &[u8],
    used: &mut Touchpoint,
) -> Result<(), TestCaseError> {
    let wanted = Wanted::only(names.iter().map(|name| CompactString::from(*name)));
    let (mut all, mut some) = (Touchpoint::default(), Touchpoint::default());
    let read_all = read(format, mapping, &Wanted::All, bytes, &mut all);
    let read_some = read(format, mapping, &wanted, bytes, &mut some);
    for (wanted, result, fresh) in [(&wanted, &read_some, &some), (&Wanted::All, &read_all, &all)] {
        prop_assert_eq!(&read(format, mapping, wanted, bytes, used), result);
        if result.is_ok() {
            prop_assert_eq!(&*used, fresh);
        }
    }
    // All that can be read can be read in part, and the part is that of the whole.
    if read_all.is_ok() {
        all.properties.retain(|(name, _)| names.contains(&name.as_str()));
        prop_assert_eq!(read_some, read_all);
        prop_assert_eq!(some, all);
    } else if let (Err(some), Err(all)) = (read_some, read_all) {
        prop_assert!(some.len() < 400 && all.len() < 400);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_wanted_is_what_it_is_among_all(
        records in vec(record(), 1..4),
        names in subsequence(NAMES.to_vec(), 0..NAMES.len()),
    ) {
        let mapping = mapping();
        let mut used = Touchpoint::default();
        for record in &records {
            compare(Format::Json, None, &names, record.as_bytes(), &mut used)?;
            compare(Format::Json, Some(&mapping), &names, record.as_bytes(), &mut used)?;
        }
    }

    #[test]
    fn what_is_written_is_read_in_part_and_into_anything(
        touchpoints in vec(touchpoint(), 1..4),
        wanted in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut used = Touchpoint::default();
        for touchpoint in &touchpoints {
            let names = touchpoint.properties.iter().map(|(name, _)| name.as_str()).collect::<Vec<&str>>();
            let wanted: Vec<&str> = wanted.iter().filter(|_| !names.is_empty()).map(|at| *at.get(&names)).collect();
            for format in [Format::Json, Format::Avro] {
                let mut bytes = Vec::new();
                encode_touchpoint(format, touchpoint, &mut bytes);
                compare(format, None, &wanted, &bytes, &mut used)?;
            }
        }
    }
}

/// Reads a record by `serde_json` alone.
fn judged(wanted: &Wanted, text: &str, limits: Limits) -> Result<(Touchpoint, bool), String> {
    let mut touchpoint = Touchpoint::default();
    let mut written = Written::default();
    let mut properties = Properties::new(limits, wanted, &mut touchpoint.properties);
    let mended;
    if let Err(reason) = crate::wire::json::read_anything(text, &mut written, &mut properties) {
        mended = crate::wire::mend::mend(text.as_bytes()).ok_or(reason)?;
        written = Written::of_mended();
        properties.begin_anew(&mended);
        crate::wire::json::read_anything(&mended.text, &mut written, &mut properties)?;
    }
    let mut losses = properties.end();
    let clamped = written.settle(&Arrival { limits, ..arrival() }, None, &mut touchpoint, &mut losses)?;
    Ok((touchpoint, clamped))
}

/// Reads a record in both ways.
fn compare_with_judge(names: &[&str], text: &str) -> Result<(), TestCaseError> {
    let limits = Limits::default();
    let only = Wanted::only(names.iter().map(|name| CompactString::from(*name)));
    for wanted in [&Wanted::All, &only] {
        let mut touchpoint = Touchpoint::default();
        let read = read(Format::Json, None, wanted, text.as_bytes(), &mut touchpoint);
        prop_assert_eq!(read.map(|clamped| (touchpoint, clamped)), judged(wanted, text, limits), "{}", text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_by_hand_is_what_serde_json_reads(
        record in record(),
        names in subsequence(NAMES.to_vec(), 0..NAMES.len()),
        whole in any::<i64>(),
        (places, decimals) in (0..20_usize, 0..20_usize),
        damage in option::of((any::<prop::sample::Index>(), select(" \t\"\\{}[]:,.-+eE019aunt\u{1}é".chars().collect::<Vec<char>>()), any::<bool>())),
    ) {
        compare_with_judge(&names, &record)?;
        // Numbers of every length, which are read with all their digits or not by hand.
        let digits = format!("{:020}", whole.unsigned_abs());
        for number in [whole.to_string(), format!("{}.{}", whole >> (3 * places), &digits[..decimals]), format!("-{digits}e{places}")] {
            let text = format!(r#"{{"customer_id":{number},"type":"t","occurred_at":1,"properties":{{"a":{number} , "b":[{number}]}}}}"#);
            compare_with_judge(&names, &text.replace("\"occurred_at\":1", "\"occurred_at\":1767225599000"))?;
        }
        if let Some((place, byte, inserts)) = damage {
            let mut damaged: Vec<char> = record.chars().collect();
            let at = place.index(damaged.len());
            match inserts {
                true => damaged.insert(at, byte),
                false => damaged[at] = byte,
            }
            compare_with_judge(&names, &damaged.into_iter().collect::<String>())?;
        }
    }
}

#[test]
fn what_is_written_as_usual_is_read_by_hand() {
    for text in [
        r#"{"event_id":"5f0c7a52","customer_id":"c-1","occurred_at":"2026-01-05T12:34:56.789Z","type":"cart.added","channel":"web",
            "properties":{"cart_id":"B88123","value":129.90,"currency":"EUR","quantity":-1,"gift":true,"more":null}}"#,
        r#" { "anonymous_id" : 17 , "tags" : [ "a", { "b": [] } ] , "properties" : { "caf\u00e9" : "\u00e9" , "n" : { "x" : 0 } } } "#,
        "{}",
    ] {
        let (mut written, mut places) = (Written::default(), Vec::new());
        let mut properties = Properties::new(Limits::default(), &Wanted::All, &mut places);
        assert_eq!(scan::read(text, &mut written, &mut properties), Some(()), "{text}");
    }
}

#[test]
fn records_of_these_tests_can_mostly_be_used() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut usable = 0;
    for _ in 0..500 {
        let record = record().new_tree(&mut runner).expect("a record").current();
        let read = read(Format::Json, None, &Wanted::All, record.as_bytes(), &mut Touchpoint::default());
        usable += i32::from(read.is_ok());
    }
    assert!((200..450).contains(&usable), "{usable} of 500");
}

/// A record with these properties, of which `a` and `n.x` are wanted.
fn with_wanted(properties: &str) -> Result<String, String> {
    let text = format!(r#"{{"customer_id":"c","type":"t","occurred_at":1767225599000,"properties":{properties}}}"#);
    let wanted = Wanted::only(["a", "n.x"].map(CompactString::from));
    let mut touchpoint = Touchpoint::default();
    let told = decode_into(Format::Json, None, &wanted, text.as_bytes(), &arrival(), &mut touchpoint)?;
    Ok(super::properties(&Decoded { touchpoint, clamped: told.clamped }))
}

#[test]
fn what_nobody_reads_cannot_make_a_record_unusable() {
    let long = "n".repeat(257);
    for junk in ["1e999", r#""half an emoji \ud83d""#, r#"{"x":{"y":[{"z":1e999}]}}"#, "[[[[[[{}]]]]]]"] {
        assert_eq!(with_wanted(&format!(r#"{{"b":{junk},"a":1,"n":{junk}}}"#)).as_deref(), Ok("a=1"), "{junk}");
        assert_eq!(
            with_wanted(&format!(r#"{{"n":{{"x":2,"y":{junk}}},"a":{{"b":{junk}}}}}"#)).as_deref(),
            Ok("n.x=2"),
            "{junk}"
        );
    }
    assert_eq!(with_wanted(&format!(r#"{{"{long}":1,"a":2,"n":{{"{long}":{{"{long}":1}}}}}}"#)).as_deref(), Ok("a=2"));
    // Nor can bad texts and numbers that are wanted: they cost themselves.
    for (properties, left) in [
        (r#"{"a":1e999,"n":{"x":1}}"#, "n.x=1"),
        (r#"{"n":{"x":NaN},"a":1}"#, "a=1"),
        (r#"{"a":"\ud83d"}"#, "a=\"\u{fffd}\""),
        (r#"{"b":"\x","a":1}"#, "a=1"),
        ("{\"b\":\"\u{1}\",\"a\":1}", "a=1"),
    ] {
        assert_eq!(with_wanted(properties).as_deref(), Ok(left), "{properties}");
    }
    // What is no JSON, or no object, can.
    for (properties, reason) in [
        (r#"{"b":01}"#, "not JSON: "),
        (r#"{"b":{"c":tru}}"#, "not JSON: "),
        (r#"{"b":1,}"#, "not JSON: "),
        ("[1]", "`properties` is no object"),
    ] {
        let fault = with_wanted(properties).expect_err(properties);
        assert!(fault.contains(reason) && fault.len() < 200, "{fault}");
    }
}

#[test]
fn more_properties_than_are_kept_cost_those_that_nobody_reads() {
    let many: String = (0..5_000).map(|at| format!("\"p{at}\":{at},\"q{at}\":{{\"x\":{at}}},")).collect();
    let properties = format!("{{{many}\"a\":1,\"n\":{{\"x\":2}}}}");
    assert_eq!(with_wanted(&properties).as_deref(), Ok("a=1 n.x=2"));
    // A name that comes again and again takes no more room than once.
    let again = format!("{{{}\"a\":3}}", "\"a\":1,\"n\":{\"x\":2},".repeat(5_000));
    assert_eq!(with_wanted(&again).as_deref(), Ok("a=3 n.x=2"));
    // Where all are wanted, so many are kept as there may be, and the others are counted.
    let text = format!(r#"{{"customer_id":"c","type":"t","occurred_at":1767225599000,"properties":{{{many}"a":1}}}}"#);
    let mut touchpoint = Touchpoint::default();
    let told = decode_into(Format::Json, None, &Wanted::All, text.as_bytes(), &arrival(), &mut touchpoint).expect("usable");
    assert_eq!(touchpoint.properties.len(), 200);
    assert_eq!(told.losses.map(|losses| losses.count(Loss::Limit)), Some(10_001 - 200));
}

#[test]
fn journeys_are_the_same_whether_models_are_given_all_or_what_they_read() {
    let text = include_str!("../../../models/five-stages.yaml");
    let model = std::sync::Arc::new(crate::model::load("five-stages.yaml", text).0.expect("a good model"));
    let (models, wanted) = ([std::sync::Arc::clone(&model)], Wanted::of([&*model]));
    let opening = Opening::AllNew { within: Span::from_days(1) };
    let settings = Settings { seed: 3, customers: 200, start: Timestamp::from_millis(1_767_600_000_000), opening };
    let arrival = Arrival { log_time: Timestamp::MAX, ..arrival() };
    let mut customers: BTreeMap<(Identity, bool), Customer> = BTreeMap::new();
    let (mut outcomes, mut dropped) = (0, 0);
    for touchpoint in Load::new(&settings).take(5_000) {
        let mut bytes = Vec::new();
        encode_touchpoint(Format::Json, &touchpoint, &mut bytes);
        let mut told = [Vec::new(), Vec::new()];
        let mut properties = [0, 0];
        for (at, wanted) in [&Wanted::All, &wanted].into_iter().enumerate() {
            let mut read = Touchpoint::default();
            decode_into(Format::Json, None, wanted, &bytes, &arrival, &mut read).expect("usable");
            properties[at] = read.properties.len();
            let of = (read.identity.clone(), at == 0);
            let customer = customers.entry(of).or_insert_with(|| Customer::new(read.identity.clone()));
            let time = read.event_time;
            while customer.next_deadline() <= time {
                let deadline = customer.next_deadline();
                customer.fire(&models, deadline, &mut told[at]);
            }
            let moment = Moment { log_time: time, counts_from: time, stream_time: time };
            customer.apply(&models, &read, moment, 20, &mut Noticed::default(), &mut told[at]);
        }
        assert_eq!(told[0], told[1]);
        outcomes += told[0].len();
        dropped += properties[0] - properties[1];
    }
    assert!(outcomes > 1_000 && dropped > 500, "{outcomes} outcomes, {dropped} properties left out");
    for ((identity, all), customer) in &customers {
        assert_eq!(Some(customer), customers.get(&(identity.clone(), !all)), "{identity:?}");
    }
}

/// What a touchpoint of this model loses, and whose values are nothing of what it declares.
fn misfits(model: &str, properties: &str) -> Vec<String> {
    let (model, faults) = crate::model::load("m.yaml", model);
    let model = model.unwrap_or_else(|| panic!("{faults:?}"));
    let text = format!(r#"{{"customer_id":"c","type":"t","occurred_at":1767225599000,"properties":{properties}}}"#);
    let wanted = Wanted::of([&model]);
    let mapping = Mapping::new(&[("type".to_owned(), "type".to_owned())]).expect("good mapping");
    let read = |mapping| {
        let mut touchpoint = Touchpoint::default();
        let told = decode_into(Format::Json, mapping, &wanted, text.as_bytes(), &arrival(), &mut touchpoint);
        let mut misfits = told.expect("usable").losses.map(|losses| losses.misfits).unwrap_or_default();
        misfits.sort_by(|one, other| one.property.cmp(&other.property));
        misfits
    };
    let misfits = read(None);
    assert_eq!(read(Some(&mapping)), misfits, "with a mapping and without");
    misfits.iter().map(|misfit| format!("{}: {}, not {}", misfit.property, misfit.example, misfit.expected)).collect()
}

#[test]
fn values_that_are_nothing_of_what_is_declared_are_told_by_property() {
    let model = r#"
sillage: 1
model: m
currency: EUR
TIMEZONE
properties: { nps: number, price: money with decimal comma, total: money in cents, due: instant, tier: text, gift: flag }
tallies: { all: { sum: total, of: any } }
stages:
  first: { enter: seen, when: touchpoint.nps > 3 && touchpoint.price > 2, quiet: 'touchpoint.gift ? duration("1d") : duration("2d")', abandoned at: touchpoint.due }
  second: { enter: bought, when: 'has(touchpoint.tier)' }
episodes:
  basket: { known by: [cart_id, customer], opens: added, completes: bought, worth: value, abandoned after: 1h }
"#;
    let absolute = model.replace("TIMEZONE\n", "");
    let local = model.replace("TIMEZONE", "timezone: Europe/Paris");
    for (properties, expected) in [
        (
            r#"{"nps":"9","price":"1.234,50","total":"1290","due":"1772445600","tier":5,"gift":"TRUE","cart_id":7,"value":"1.5","currency":"eur"}"#,
            vec![],
        ),
        (r#"{"nps":" ","price":null,"total":[],"currency":"","other":"x"}"#, vec![]),
        (r#"{"nps":"nine"}"#, vec![r#"nps: "nine", not a number"#]),
        (r#"{"price":"12.50"}"#, vec![r#"price: "12.50", not a number with a decimal comma"#]),
        (r#"{"total":true,"gift":1}"#, vec!["gift: 1, not true or false", "total: true, not a number"]),
        (
            r#"{"value":"€ 12","currency":"Euro"}"#,
            vec![r#"currency: "Euro", not a currency's three letters"#, r#"value: "€ 12", not a number"#],
        ),
        (r#"{"cart_id":[1],"nps":{"a":1},"price":{}}"#, vec!["cart_id: a list, not an id", "nps: an object, not a number"]),
        (r#"{"due":"soon"}"#, vec![r#"due: "soon", not an instant"#]),
        (r#"{"due":19700101}"#, vec!["due: 19700101, not an instant"]),
    ] {
        assert_eq!(misfits(&local, properties), expected, "{properties}");
    }
    assert_eq!(misfits(&local, r#"{"due":"2026-03-30"}"#), [""; 0]);
    let advice = r#"due: "2026-03-30", not an instant with its offset, or `timezone` in the model"#;
    assert_eq!(misfits(&absolute, r#"{"due":"2026-03-30"}"#), [advice]);
}

#[test]
fn parts_of_a_sum_that_are_no_numbers_leave_no_sum_and_are_told() {
    let model = r#"
sillage: 1
model: m
currency: EUR
properties: { total: "money, sum of lines[].price * quantity" }
stages:
  first: { enter: seen }
episodes:
  basket: { known by: [cart_id], opens: added, completes: bought, worth: total, abandoned after: 1h }
"#;
    let missed = |written: &str| vec![format!("total: {written}, not a number in each entry")];
    for (properties, expected) in [
        (r#"{"lines":[{"price":"1.50","quantity":2},{"price":null},{"quantity":3},{"price":1,"quantity":" "}]}"#, vec![]),
        (r#"{"lines":[{"price":"189,90"},{"price":"4.00"}]}"#, missed("\"189,90\"")),
        (r#"{"lines":[{"price":189.9,"quantity":"3 pcs"}]}"#, missed("\"3 pcs\"")),
        (r#"{"lines":[{"price":true}]}"#, missed("true")),
        (r#"{"lines":[{"price":9e12}]}"#, vec!["total: 9000000000000, not an amount below nine million million".to_owned()]),
        // A total of its own is all that is asked for.
        (r#"{"total":7,"lines":[{"price":"x"}]}"#, vec![]),
        (r#"{"total":" ","lines":[{"price":"x"}]}"#, missed("\"x\"")),
    ] {
        assert_eq!(misfits(model, properties), expected, "{properties}");
    }
}

#[test]
fn an_amount_without_a_currency_and_one_beyond_bounds_are_told() {
    let model = |currency: &str| {
        format!(
            "sillage: 1\nmodel: m\n{currency}stages:\n  first: {{ enter: seen }}\nepisodes:\n  basket: {{ known by: [cart_id], opens: \
             added, completes: bought, worth: v, abandoned after: 1h }}\n"
        )
    };
    let lacks = vec!["v: 40, not an amount with a `currency`, beside it or in the model"];
    for (currency, properties, expected) in [
        ("", r#"{"v":40}"#, lacks.clone()),
        ("", r#"{"v":40,"currency":" "}"#, lacks),
        ("", r#"{"v":40,"currency":"EUR"}"#, vec![]),
        ("", r#"{"v":" "}"#, vec![]),
        ("currency: EUR\n", r#"{"v":40}"#, vec![]),
        ("currency: VND\n", r#"{"v":8999999999999}"#, vec![]),
        ("currency: VND\n", r#"{"v":9e12}"#, vec!["v: 9000000000000, not an amount below nine million million"]),
        (
            "currency: VND\n",
            r#"{"v":"12000000000000.00"}"#,
            vec![r#"v: "12000000000000.00", not an amount below nine million million"#],
        ),
    ] {
        assert_eq!(misfits(&model(currency), properties), expected, "{currency:?} {properties}");
    }
}
