//! Requests as templates: what stands between `{{` and `}}` is looked up. Pure.
//!
//! A body is a tree, and what is looked up becomes a value in it, so that JSON is escaped by whoever writes it and no text can
//! break out. In a path it is percent-encoded as one segment. The host is no template: it comes from the configuration alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What is looked up: dotted names, from these.
#[derive(Debug)]
pub struct Names<'a> {
    /// The outcome, under its own names.
    pub outcome: &'a Value,
    /// `values.…`: what the configuration says about the destination.
    pub values: &'a BTreeMap<String, String>,
    /// `kept.…`: what earlier answers of the receiver said.
    pub captured: &'a BTreeMap<String, String>,
    /// `secret`: only in headers.
    pub secret: Option<&'a str>,
}

/// A text with places to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain(String),
    Name(String),
}

/// A JSON value with places to be filled.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// A text, or the value itself where it is nothing but one name.
    Text(Text),
    /// A list.
    List(Vec<Tree>),
    /// An object, in the order of the file.
    Map(Vec<(String, Tree)>),
    /// As it stands.
    Plain(Value),
}

impl Text {
    /// Reads a text.
    ///
    /// # Errors
    /// Braces that do not match, or a name that is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((plain, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("`{{` without `}}`")?;
            let name = name.trim();
            let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(format!("{name:?} is no name; write one such as {{{{ intervention.payload.text }}}}"));
            }
            if !plain.is_empty() {
                parts.push(Part::Plain(plain.to_owned()));
            }
            parts.push(Part::Name(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Plain(rest.to_owned()));
        }
        Ok(Text(parts))
    }

    /// The names that it looks up.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Plain(_) => None,
            Part::Name(name) => Some(name.as_str()),
        })
    }

    /// Filled, what is looked up passed through `escape`.
    ///
    /// # Errors
    /// A name for which there is nothing.
    pub fn fill(&self, names: &Names<'_>, escape: fn(&str) -> String) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Plain(text) => filled.push_str(text),
                Part::Name(name) => filled.push_str(&escape(&shown(&names.get(name)?, name)?)),
            }
        }
        Ok(filled)
    }
}

impl Tree {
    /// Filled.
    ///
    /// # Errors
    /// A name for which there is nothing.
    pub fn fill(&self, names: &Names<'_>) -> Result<Value, String> {
        Ok(match self {
            Tree::Plain(value) => value.clone(),
            Tree::Text(Text(parts)) if matches!(parts.as_slice(), [Part::Name(_)]) => match &parts[0] {
                Part::Name(name) => names.get(name)?,
                Part::Plain(text) => Value::String(text.clone()),
            },
            Tree::Text(text) => Value::String(text.fill(names, str::to_owned)?),
            Tree::List(items) => Value::Array(items.iter().map(|item| item.fill(names)).collect::<Result<_, _>>()?),
            Tree::Map(lines) => {
                let mut filled = Map::new();
                for (key, value) in lines {
                    // What an outcome does not have is left out, rather than null.
                    match (value, value.fill(names)?) {
                        (Tree::Text(_), Value::Null) => {}
                        (_, value) => drop(filled.insert(key.clone(), value)),
                    }
                }
                Value::Object(filled)
            }
        })
    }
}

impl Names<'_> {
    /// What an outcome does not have is null; of the rest, everything must be there.
    fn get(&self, name: &str) -> Result<Value, String> {
        let text = |text: Option<&str>| {
            text.map(|text| Value::String(text.to_owned())).ok_or_else(|| format!("there is no {name:?}"))
        };
        if name == "secret" {
            return text(self.secret);
        }
        // Who it is, whichever kind of id it has.
        if name == "customer" {
            let id = ["customer_id", "anonymous_id"].iter().find_map(|kind| self.outcome.get(kind)?.as_str());
            return text(id);
        }
        match name.split_once('.') {
            Some(("values", key)) => text(self.values.get(key).map(String::as_str)),
            Some(("kept", key)) => text(self.captured.get(key).map(String::as_str)),
            Some(_) | None => {
                let found = name.split('.').try_fold(self.outcome, |value, key| value.get(key));
                Ok(found.cloned().unwrap_or(Value::Null))
            }
        }
    }
}

/// As text: what is nothing or has parts is none.
fn shown(value: &Value, name: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(format!("{name:?} has parts, and stands within a text")),
    }
}

/// As text that is looked up in an answer: dotted names, numbers for places in lists.
///
/// # Errors
/// Nothing is there, or nothing that is one text.
pub fn look_up(answer: &Value, path: &str) -> Result<String, String> {
    let found = path.split('.').try_fold(answer, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    });
    match found {
        Some(Value::Null) | None => Err(format!("the answer has no {path}")),
        Some(value) => shown(value, path),
    }
}

/// As one segment of a path: nothing of it ends the segment, and none is `.` or `..`.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(tree: &Tree, outcome: &Value) -> Result<Value, String> {
        let values = BTreeMap::from([("account".to_owned(), "7".to_owned())]);
        let captured = BTreeMap::from([("contact".to_owned(), "42".to_owned())]);
        tree.fill(&Names { outcome, values: &values, captured: &captured, secret: None })
    }

    fn text(text: &str) -> Tree {
        Tree::Text(Text::read(text).expect("a template"))
    }

    #[test]
    fn a_name_alone_keeps_its_kind_and_within_a_text_it_is_text() {
        let outcome = json!({"value": {"amount": 89.9, "currency": "EUR"}, "segment": null, "customer_id": null,
            "anonymous_id": "v-1", "intervention": {"payload": {"text": "a \"b\"\n{{ secret }}"}}});
        for (template, expected) in [
            ("{{ value.amount }}", json!(89.9)),
            ("{{value}}", json!({"amount": 89.9, "currency": "EUR"})),
            ("{{ segment }}", json!(null)),
            ("{{ nothing.there }}", json!(null)),
            ("{{ customer }}", json!("v-1")),
            ("at {{ value.amount }} {{ value.currency }}{{ segment }}!", json!("at 89.9 EUR!")),
            // What is filled in is no template and no JSON.
            ("{{ intervention.payload.text }}", json!("a \"b\"\n{{ secret }}")),
            ("{{ values.account }}/{{ kept.contact }}", json!("7/42")),
            ("plain", json!("plain")),
            ("", json!("")),
        ] {
            assert_eq!(fill(&text(template), &outcome), Ok(expected), "{template}");
        }
        for template in ["{{ secret }}", "{{ values.other }}", "{{ kept.other }}", "a {{ value }}"] {
            assert!(fill(&text(template), &outcome).is_err(), "{template}");
        }
        for template in ["{{ a", "{{ }}", "{{ a b }}", "{{ a/b }}"] {
            assert!(Text::read(template).is_err(), "{template}");
        }
    }

    #[test]
    fn what_is_not_there_is_left_out_of_an_object() {
        let tree = Tree::Map(vec![
            ("userId".to_owned(), text("{{ customer_id }}")),
            ("anonymousId".to_owned(), text("{{ anonymous_id }}")),
            ("none".to_owned(), Tree::Plain(Value::Null)),
        ]);
        let outcome = json!({"customer_id": null, "anonymous_id": "v-1"});
        assert_eq!(fill(&tree, &outcome), Ok(json!({"anonymousId": "v-1", "none": null})));
    }

    #[test]
    fn answers_are_looked_into() {
        let answer = json!({"payload": [{"id": 42, "name": null}]});
        assert_eq!(look_up(&answer, "payload.0.id"), Ok("42".to_owned()));
        for path in ["payload.1.id", "payload.x", "payload.0.name", "payload", "other"] {
            assert!(look_up(&answer, path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_body_cannot_be_broken_out_of() {
        let hostile = "\"}],\"admin\":true,\u{2028}\\ \u{0}";
        let tree = Tree::Map(vec![("text".to_owned(), text("hello {{ customer_id }}"))]);
        let filled = fill(&tree, &json!({"customer_id": hostile})).expect("filled").to_string();
        let read: Value = serde_json::from_str(&filled).expect("JSON");
        assert_eq!(read, json!({"text": format!("hello {hostile}")}));
    }

    #[test]
    fn a_segment_stays_one() {
        for (text, encoded) in [("c-17", "c-17"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("..", "%2E%2E"), ("é %", "%C3%A9%20%25")] {
            assert_eq!(segment(text), encoded);
        }
    }
}
