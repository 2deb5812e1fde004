//! Laws: what is written is read back, and no bytes whatever make reading panic or talk at length.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::touchpoint::{Identity, Value};

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_.]{1,30}", "\\PC{1,20}", "[\"\\\\\u{0}-\u{1f}a]{1,8}"]
        .prop_filter("a blank id is none", |text| !text.trim().is_empty())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{0,40}".prop_map(|text| Value::Text(text.into())),
        any::<bool>().prop_map(Value::Flag),
        // To fifteen digits; beyond them `serde_json` reads a float within one unit in the last place.
        (-999_999_999_999_999..=999_999_999_999_999_i64).prop_map(|micros| Value::Number(micros as f64 / 1e6)),
        any::<i32>().prop_map(|number| Value::Number(number.into())),
        prop::sample::select(vec![0.0, 1e15, -1e15, 1e15 - 1.0, 1e16, 0.1, 5e-7, 1e21]).prop_map(Value::Number),
    ]
}

pub(super) fn touchpoint() -> impl Strategy<Value = Touchpoint> {
    // A placeholder is nobody's id.
    let id = || name().prop_map(|id| if crate::touchpoint::is_placeholder(&id) { format!("c{id}") } else { id });
    let who = prop_oneof![
        id().prop_map(|id| (Identity::customer(id), None)),
        id().prop_map(|id| (Identity::anonymous(id), None)),
        (id(), id()).prop_map(|(id, anonymous)| (Identity::customer(id), Some(anonymous.into()))),
    ];
    let millis = 631_152_000_000..=LOG_TIME.as_millis();
    (option::of(name()), who, millis, name(), option::of(name()), option::of(name()), btree_map(name(), value(), 0..8))
        .prop_map(|(id, (identity, linked), millis, kind, channel, session, properties)| Touchpoint {
            id_given: id.is_some(),
            id: id.unwrap_or_else(|| "shop/3/17".to_owned()).into(),
            identity,
            linked,
            event_time: Timestamp::from_millis(millis),
            kind: kind.into(),
            channel: channel.map(Into::into),
            session: session.map(Into::into),
            properties: properties.into_iter().map(|(name, value)| (name.into(), value)).collect(),
        })
}

fn encoded(format: Format, touchpoint: &Touchpoint) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_touchpoint(format, touchpoint, &mut bytes);
    bytes
}

/// Reads bytes in every way; a reason must be short.
fn read_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    let whole = [("properties".to_owned(), ".".to_owned()), ("type".to_owned(), "properties.a".to_owned())];
    let mapping = Mapping::new(&whole).expect("good mapping");
    let wanted = Wanted::only(["a".into(), "b.c".into()]);
    let mut read_into = Touchpoint::default();
    for (format, mapping) in [(Format::Json, None), (Format::Json, Some(&mapping)), (Format::Avro, None)] {
        if let Err(fault) = decode(format, mapping, bytes, &arrival()) {
            prop_assert!(!fault.is_empty() && fault.len() < 400, "{fault}");
        }
        if let Err(fault) = decode_into(format, mapping, &wanted, bytes, &arrival(), &mut read_into) {
            prop_assert!(!fault.is_empty() && fault.len() < 400, "{fault}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(touchpoint in touchpoint()) {
        let expected = Ok(Decoded { touchpoint: touchpoint.clone(), clamped: false });
        for format in [Format::Json, Format::Avro] {
            prop_assert_eq!(&decode(format, None, &encoded(format, &touchpoint), &arrival()), &expected);
        }
        // Through the tree of a mapping that maps nothing, too.
        let json = encoded(Format::Json, &touchpoint);
        prop_assert_eq!(&decode(Format::Json, Some(&Mapping::new(&[("type".into(), "type".into())]).expect("good mapping")), &json, &arrival()), &expected);
        let value = serde_json::from_slice(&json).expect("JSON");
        prop_assert_eq!(schema::faults(schema::TOUCHPOINT, &value), Vec::<String>::new());
        // And another library finds the Avro in order.
        let reader = apache_avro::GenericSingleObjectReader::builder().schema(schema_of(TOUCHPOINT_AVSC)).build().expect("a reader");
        prop_assert!(reader.read_value(&mut encoded(Format::Avro, &touchpoint).as_slice()).is_ok());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes)?;
        // Behind a good header, the Avro reader looks at all of them.
        let header = &encoded(Format::Avro, &decode_anything())[..10];
        read_all(&[header, &bytes].concat())?;
    }

    #[test]
    fn damaged_records_do_no_harm(
        touchpoint in touchpoint(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        for format in [Format::Json, Format::Avro] {
            let mut bytes = encoded(format, &touchpoint);
            for (place, byte, way) in &damage {
                if bytes.is_empty() {
                    break;
                }
                let at = place.index(bytes.len());
                match way {
                    0 => bytes[at] = *byte,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, *byte),
                }
            }
            read_all(&bytes)?;
        }
    }
}

fn decode_anything() -> Touchpoint {
    with("").expect("usable").touchpoint
}
