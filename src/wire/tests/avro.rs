//! Avro: our bytes against `apache-avro`, and what is not our Avro is refused by its name.

use apache_avro::rabin::Rabin;
use apache_avro::types::Value as Avro;

use super::*;
use crate::touchpoint::Identity;

fn text(text: &str) -> Avro {
    Avro::Union(1, Box::new(Avro::String(text.to_owned())))
}

fn null() -> Avro {
    Avro::Union(0, Box::new(Avro::Null))
}

/// A touchpoint as `apache-avro` knows it.
fn foreign(event_id: Avro, properties: &[(&str, u32, Avro)]) -> Avro {
    let properties =
        properties.iter().map(|(name, branch, value)| (name.to_string(), Avro::Union(*branch, Box::new(value.clone()))));
    let fields = [
        ("event_id", event_id),
        ("customer_id", text("c")),
        ("anonymous_id", null()),
        ("occurred_at", Avro::TimestampMillis(1_767_225_599_000)),
        ("type", Avro::String("cart.added".to_owned())),
        ("channel", text("web")),
        ("session_id", null()),
        ("properties", Avro::Map(properties.collect())),
    ];
    Avro::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn single_object(value: &Avro) -> Vec<u8> {
    let mut writer =
        apache_avro::GenericSingleObjectWriter::new_with_capacity(&schema_of(TOUCHPOINT_AVSC), 64).expect("a writer");
    let mut bytes = Vec::new();
    writer.write_value_ref(value, &mut bytes).expect("fits the schema");
    bytes
}

fn from_avro(bytes: &[u8]) -> Result<Decoded, String> {
    decode(Format::Avro, None, bytes, &arrival())
}

#[test]
fn the_fingerprints_are_those_of_the_schema_files() {
    for (file, known) in [(TOUCHPOINT_AVSC, crate::wire::avro::TOUCHPOINT), (OUTCOME_AVSC, crate::wire::avro::OUTCOME)] {
        let schema = schema_of(file);
        let fingerprint = schema.fingerprint::<Rabin>().bytes;
        assert_eq!(fingerprint, known, "{:02x?} is the fingerprint of {}", fingerprint, schema.canonical_form());
    }
}

#[test]
fn what_another_library_writes_is_read() {
    let value = foreign(
        null(),
        &[
            ("value", 1, Avro::Double(19.9)),
            ("currency", 0, Avro::String("EUR".to_owned())),
            ("gift", 2, Avro::Boolean(true)),
            ("step", 3, Avro::Long(-3)),
            ("order_id", 3, Avro::Long(9_007_199_254_740_993)),
            ("nothing", 1, Avro::Double(f64::NAN)),
        ],
    );
    let decoded = from_avro(&single_object(&value)).expect("usable");
    assert_eq!(properties(&decoded), r#"currency="EUR" gift=true order_id="9007199254740993" step=-3 value=19.9"#);
    let touchpoint = decoded.touchpoint;
    assert_eq!((touchpoint.id.as_str(), touchpoint.id_given), ("shop/3/17", false));
    assert_eq!((touchpoint.identity, touchpoint.linked), (Identity::customer("c"), None));
    assert_eq!(
        (touchpoint.kind.as_str(), touchpoint.channel.as_deref(), touchpoint.session),
        ("cart.added", Some("web"), None)
    );
    assert_eq!(touchpoint.event_time, Timestamp::from_millis(1_767_225_599_000));
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let whole = single_object(&foreign(text("e"), &[("a", 1, Avro::Double(1.0)), ("b", 0, Avro::String("x".to_owned()))]));
    from_avro(&whole).expect("usable");
    for end in 0..whole.len() {
        assert!(from_avro(&whole[..end]).is_err(), "the first {end} bytes");
    }
    assert_eq!(from_avro(&[whole.as_slice(), &[0]].concat()), Err("1 bytes follow the Avro datum".to_owned()));
}

#[test]
fn other_framings_are_named_in_the_refusal() {
    let whole = single_object(&foreign(text("e"), &[]));
    let framed = [&[0, 0, 0, 0, 7], &whole[10..]].concat();
    let mut other_schema = whole.clone();
    other_schema[2] ^= 1;
    for (bytes, found) in [
        (&whole[10..], "perhaps a bare datum; Avro's single-object encoding of touchpoint.avsc is expected"),
        (&framed[..], "a schema registry's frame (schema id 7); "),
        (&other_schema[..], "Avro under an unknown schema: fingerprint "),
        (b"Obj\x01abc", "an Avro container file; "),
        (b"{\"type\":1}", "what looks like JSON; "),
        (b"\xC3\x01ab", "only a part of a header; "),
        (b"", "nothing; "),
    ] {
        let fault = from_avro(bytes).expect_err(found);
        assert!(fault.contains(found) && fault.len() < 200, "{fault}");
    }
    assert!(decode(Format::Json, None, &whole, &arrival()).expect_err("Avro").contains("single-object encoding"));
}

#[test]
fn broken_data_is_refused_without_making_room_for_what_it_claims() {
    let whole = single_object(&foreign(null(), &[]));
    // The properties are the last byte: an empty map.
    let start = &whole[..whole.len() - 1];
    let with = |map: &[u8]| from_avro(&[start, map].concat()).map(|decoded| properties(&decoded));
    // Two blocks, the second one with its size in front, as other writers may do.
    assert_eq!(with(&[2, 2, b'a', 4, 1, 1, 8, 2, b'b', 6, 84, 0]).as_deref(), Ok("a=true b=42"));
    let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    for (map, reason) in [
        (&most[..], "ends within `properties`"),
        (&[2, 3][..], "negative length"),
        (&[2, 2, b'a', 8, 0][..], "`properties` has no branch 4"),
        (&[2, 2, b'a', 4, 2, 0][..], "neither 0 nor 1"),
        (&[2, 2, 0xFF, 4, 1, 0][..], "not UTF-8"),
        (&[0xFF; 11][..], "more than 64 bits"),
        (&[2, 2, b'a', 0, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0][..], "ends within"),
    ] {
        let fault = with(map).expect_err(reason);
        assert!(fault.contains(reason), "{fault}");
    }
    let mut many = vec![0xD0, 0x0F]; // 1,000 entries
    (0..1_000).for_each(|_| many.extend_from_slice(&[2, b'a', 4, 1]));
    assert_eq!(with(&[&many[..], &[0]].concat()).as_deref(), Ok("a=true"), "a name that comes again takes no more room");
}
