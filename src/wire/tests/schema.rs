//! A small judge of JSON by the published JSON Schemas: the keywords that they use, and no others.

use serde_json::Value;

pub(super) const OUTCOME: &str = include_str!("../../../schemas/outcome.schema.json");
pub(super) const TOUCHPOINT: &str = include_str!("../../../schemas/touchpoint.schema.json");

/// What in `value` does not conform; empty when all does.
pub(super) fn faults(schema_file: &str, value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(schema_file).expect("a schema is JSON");
    let mut faults = Vec::new();
    judge(&root, &root, value, "", &mut faults);
    faults
}

fn judge(root: &Value, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let holds = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "examples" => true,
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_of(one, value)),
                one => is_of(one, value),
            },
            "enum" => rule.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().expect("a number")),
            "maxProperties" => {
                value.as_object().is_none_or(|object| object.len() as u64 <= rule.as_u64().expect("a number"))
            }
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().expect("a number")),
            "format" => value.as_str().is_none_or(|text| match rule.as_str().expect("a name") {
                "uuid" => uuid::Uuid::parse_str(text).is_ok(),
                "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
                other => panic!("format {other} is not known here"),
            }),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().expect("a pattern"), text)),
            "required" => {
                let names = rule.as_array().expect("a list");
                names.iter().all(|name| value.get(name.as_str().expect("a name")).is_some())
            }
            "properties" => {
                for (name, inner) in rule.as_object().expect("an object") {
                    if let Some(value) = value.get(name) {
                        judge(root, inner, value, &format!("{path}/{name}"), faults);
                    }
                }
                true
            }
            "additionalProperties" | "propertyNames" | "items" => {
                let each: Vec<Value> = match (keyword.as_str(), value) {
                    ("propertyNames", Value::Object(object)) => {
                        object.keys().map(|name| Value::String(name.clone())).collect()
                    }
                    ("additionalProperties", Value::Object(object)) => object.values().cloned().collect(),
                    ("items", Value::Array(list)) => list.clone(),
                    _ => Vec::new(),
                };
                each.iter().for_each(|value| judge(root, rule, value, &format!("{path}/{keyword}"), faults));
                true
            }
            "anyOf" => rule.as_array().expect("a list").iter().any(|inner| {
                let mut none = Vec::new();
                judge(root, inner, value, path, &mut none);
                none.is_empty()
            }),
            "$ref" => {
                let name = rule.as_str().and_then(|rule| rule.strip_prefix("#/$defs/")).expect("a local reference");
                judge(root, &root["$defs"][name], value, path, faults);
                true
            }
            other => panic!("keyword {other} is not known here"),
        };
        if !holds {
            faults.push(format!("{path}: {value} against {keyword} {rule}"));
        }
    }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type is a name") {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => panic!("type {other} is not known here"),
    }
}

/// The three patterns in use.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "\\S" => text.chars().any(|c| !c.is_whitespace()),
        "^[A-Z]{3}$" => text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()),
        instant if instant.contains("T[0-9]{2}") => {
            text.len() >= 24 && text.ends_with('Z') && text.as_bytes()[text.len() - 5] == b'.'
        }
        other => panic!("pattern {other} is not known here"),
    }
}

#[test]
fn the_judge_finds_faults() {
    let bad = serde_json::json!({"type": " ", "occurred_at": 5, "customer_id": "", "properties": []});
    let found = faults(TOUCHPOINT, &bad);
    for part in ["/type", "/occurred_at", "/properties", "anyOf"] {
        assert!(found.iter().any(|fault| fault.contains(part)), "{part}: {found:?}");
    }
    assert!(faults(OUTCOME, &serde_json::json!({"kind": "other"})).len() >= 2);
}
