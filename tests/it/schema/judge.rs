//! A small judge of JSON Schema: the keywords that the schema uses, and no other, so that nothing passes unjudged.

use regex_lite::Regex;
use serde_json::Value;

/// What is wrong with a value, each with where; empty: valid.
pub(super) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    Judge { root: schema }.judge(schema, value, "$")
}

struct Judge<'a> {
    root: &'a Value,
}

impl Judge<'_> {
    fn judge(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        match schema {
            Value::Bool(true) => return Vec::new(),
            Value::Bool(false) => return vec![format!("{at}: not allowed")],
            _ => {}
        }
        let mut faults = Vec::new();
        for (keyword, says) in schema.as_object().expect("a schema is a map or a flag") {
            faults.extend(self.keyword(schema, keyword, says, value, at));
        }
        faults
    }

    fn is_valid(&self, schema: &Value, value: &Value) -> bool {
        self.judge(schema, value, "$").is_empty()
    }

    fn keyword(&self, schema: &Value, keyword: &str, says: &Value, value: &Value, at: &str) -> Vec<String> {
        let number = || says.as_u64().expect("a number") as usize;
        let text = || says.as_str().expect("a text");
        let fine = match keyword {
            "$schema" | "title" | "description" | "examples" | "$defs" | "then" => true,
            "$ref" => {
                let target = self.root.pointer(text().strip_prefix('#').expect("a place in the schema"));
                return self.judge(target.expect("a place that is there"), value, at);
            }
            "type" => match text() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("the type {other} is not judged"),
            },
            "const" => value == says,
            "enum" => says.as_array().expect("a list").contains(value),
            "pattern" => value.as_str().is_none_or(|value| Regex::new(text()).expect("a pattern").is_match(value)),
            "minLength" => value.as_str().is_none_or(|value| value.chars().count() >= number()),
            "maxLength" => value.as_str().is_none_or(|value| value.chars().count() <= number()),
            "minimum" => value.as_i64().is_none_or(|value| value >= says.as_i64().expect("a number")),
            "minItems" => value.as_array().is_none_or(|value| value.len() >= number()),
            "minProperties" => value.as_object().is_none_or(|value| value.len() >= number()),
            "required" => {
                let keys = says.as_array().expect("a list").iter().map(|key| key.as_str().expect("a key"));
                value.as_object().is_none_or(|value| keys.into_iter().all(|key| value.contains_key(key)))
            }
            "anyOf" => says.as_array().expect("a list").iter().any(|schema| self.is_valid(schema, value)),
            "if" => return if self.is_valid(says, value) { self.judge(&schema["then"], value, at) } else { Vec::new() },
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                return items.flat_map(|(index, item)| self.judge(says, item, &format!("{at}[{index}]"))).collect();
            }
            "propertyNames" => {
                let names = value.as_object().into_iter().flat_map(serde_json::Map::keys);
                return names.flat_map(|name| self.judge(says, &name.as_str().into(), &format!("{at}.{name}"))).collect();
            }
            // These three belong together, and are judged by the last of them, which is always there.
            "properties" | "patternProperties" => schema.get("additionalProperties").is_some(),
            "additionalProperties" => return self.members(schema, value, at),
            other => panic!("the keyword {other} is not judged"),
        };
        if fine { Vec::new() } else { vec![format!("{at}: against {keyword} {says}")] }
    }

    fn members(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, member) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            let named = schema["properties"].get(name);
            let patterns = schema["patternProperties"].as_object().into_iter().flatten();
            let formed = patterns.filter(|(pattern, _)| Regex::new(pattern).expect("a pattern").is_match(name));
            let mut known: Vec<&Value> = formed.map(|(_, schema)| schema).chain(named).collect();
            if known.is_empty() {
                known.push(&schema["additionalProperties"]);
            }
            faults.extend(known.into_iter().flat_map(|schema| self.judge(schema, member, &at)));
        }
        faults
    }
}
