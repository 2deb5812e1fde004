//! What is summed up over lists, where a model says so.

use super::*;
use crate::touchpoint::Value;

const MODEL: &str = "
sillage: 1
model: shop
currency: EUR
properties:
  total: money, sum of products[].price * quantity
  items: number, sum of cart.lines[].count
  weight: number with decimal comma, sum of products[].kg
stages: { in: { enter: cart.added, when: touchpoint.items > 1 && touchpoint.weight > 0 } }
episodes: { basket: { known by: cart_id, opens: cart.added, completes: bought, worth: total, abandoned after: 30m } }
";

fn wanted() -> Wanted {
    let (model, faults) = crate::model::load("shop.yaml", MODEL);
    Wanted::of([&model.unwrap_or_else(|| panic!("{faults:?}"))])
}

fn read(mapping: Option<&Mapping>, properties: &str) -> String {
    let record = format!(
        r#"{{"customer_id":"c","type":"cart.added","occurred_at":"2025-12-30T10:00:00Z","properties":{properties}}}"#
    );
    let mut touchpoint = Touchpoint::default();
    let told = decode_into(Format::Json, mapping, &wanted(), record.as_bytes(), &arrival(), &mut touchpoint);
    told.expect("usable");
    let value = |(name, value): &(compact_str::CompactString, Value)| match value {
        Value::Number(number) => format!("{name}={number}"),
        Value::Text(text) => format!("{name}={text:?}"),
        Value::Flag(flag) => format!("{name}={flag}"),
    };
    touchpoint.properties.iter().map(value).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_total_is_summed_up_over_the_products() {
    let elsewhere = [("properties".to_owned(), "properties".to_owned()), ("channel".to_owned(), "source".to_owned())];
    let mapping = Mapping::new(&elsewhere).expect("a mapping");
    for (properties, expected) in [
        (r#"{"products":[{"price":19.9,"quantity":3},{"price":"5.05","quantity":2}]}"#, "total=69.8"),
        (r#"{"products":[{"price":0.1},{"price":0.2},{"sku":"x"},"odd",7,null,{"price":null}]}"#, "total=0.3"),
        (r#"{"products":[{"kg":"1,5"},{"kg":"0,25"}],"cart":{"lines":[{"count":2},{"count":3}]}}"#, "items=5 weight=1.75"),
        // What the record says itself counts, wherever it stands.
        (r#"{"total":12,"products":[{"price":19.9}]}"#, "total=12"),
        (r#"{"products":[{"price":19.9}],"total":"12.50"}"#, r#"total="12.50""#),
        (r#"{"products":[{"price":19.9}],"total":null}"#, "total=19.9"),
        // Nothing to sum up.
        (r#"{"products":[]}"#, ""),
        (r#"{"products":[{"sku":"x"}]}"#, ""),
        (r#"{"products":{"price":1}}"#, ""),
        (r#"{"products":"none","cart":[{"count":1}]}"#, ""),
        // A number that nobody can read costs that number; a list deep within others is none of these.
        (r#"{"products":[{"price":1e999},{"price":2}]}"#, "total=2"),
        (r#"{"products":[[{"price":1}],{"price":2,"parts":[{"price":9}]}]}"#, "total=2"),
    ] {
        assert_eq!(read(None, properties), expected, "{properties}");
        assert_eq!(read(Some(&mapping), properties), expected, "mapped: {properties}");
    }
}

#[test]
fn a_list_that_stands_elsewhere_in_the_source_is_summed_up_as_well() {
    let pairs =
        [("properties.products", "properties.ecommerce.items")].map(|(name, path)| (name.to_owned(), path.to_owned()));
    let mapping = Mapping::new(&pairs).expect("a mapping");
    assert_eq!(read(Some(&mapping), r#"{"ecommerce":{"items":[{"price":4},{"price":5,"quantity":2}]}}"#), "total=14");
}
