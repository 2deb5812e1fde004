//! Environment variables over the file: each becomes a line of the root map, with the variable as its place.

use std::sync::Arc;

use super::check::{KEYS, LISTS, MAPS};
use super::{secrets, tokens};
use crate::diagnostic::{Faults, Source, Spanned, did_you_mean, quoted};
use crate::yaml::{Entry, Node, Shape};

const PREFIX: &str = "SILLAGE_";
/// `SILLAGE_PROPERTY_SASL_PASSWORD` is the property `sasl.password`.
const PROPERTY: &str = "SILLAGE_PROPERTY_";
/// `SILLAGE_PROPERTY_SASL_PASSWORD_FILE` names the file that holds it.
const FROM_FILE: &str = "_FILE";
/// What commands that ask a running service know it by; they mean nothing to the service.
const CLIENTS: &[&str] = &["SILLAGE_TOKEN", "SILLAGE_TOKEN_FILE"];
const A_FILE: &str = "name a readable file that holds the value and nothing else, or set the variable without `_FILE`";
/// A value of a property is no larger; the largest are chains of certificates.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// Puts the variables over the root map. An empty file is an empty map here: variables alone can be a configuration.
pub(super) fn apply(root: Node, source: &Arc<Source>, variables: &[(String, String)], faults: &mut Faults) -> Option<Node> {
    let mut entries = match root.shape {
        Shape::Map(entries) => entries,
        Shape::Nothing => Vec::new(),
        Shape::Refused => return None,
        Shape::Scalar { .. } | Shape::List(_) => return Some(root),
    };
    let ours = |name: &str| name.starts_with(PREFIX) && !is_service_link(name);
    for (name, value) in variables.iter().filter(|(name, _)| ours(name)) {
        let key = name[PREFIX.len()..].to_ascii_lowercase();
        let variable = secrets::variable(name, value, &key);
        if let Some(property) = name.strip_prefix(PROPERTY) {
            // librdkafka has properties of its own that end so, such as `sasl.oauthbearer.assertion.file`.
            let of_a_file = property.strip_suffix(FROM_FILE).filter(|_| !secrets::is_property(&dotted(property)));
            let (property, value) = match of_a_file {
                None => (property, Ok(value.clone())),
                Some(short) if variables.iter().any(|(other, _)| other.strip_prefix(PROPERTY) == Some(short)) => {
                    (short, Err(format!("{PROPERTY}{short} and {name} are both set")))
                }
                Some(short) => (short, from_file(value).map_err(|why| format!("the file that {name} names {why}"))),
            };
            let value = value.unwrap_or_else(|cause| {
                faults.error("C016", &variable.place(0..name.len()), cause, A_FILE);
                String::from("-")
            });
            let property = dotted(property);
            let entry = line(&variable, name, &property, Shape::Scalar { text: value, quoted: true });
            match entries.iter_mut().find(|entry| entry.key.value == "properties") {
                Some(Entry { value: Node { shape: Shape::Map(lines), .. }, .. }) => replace(lines, entry),
                Some(Entry { value: value @ Node { shape: Shape::Nothing, .. }, .. }) => {
                    value.shape = Shape::Map(vec![entry])
                }
                // Something else than a map is told as a fault of its own.
                Some(_) => {}
                None => entries.push(line(&variable, name, "properties", Shape::Map(vec![entry]))),
            }
            continue;
        }
        if CLIENTS.contains(&name.as_str()) {
            continue;
        }
        let of_a_file = key.strip_suffix("_file").filter(|short| tokens::KEYS.iter().any(|(token, _)| token == short));
        if let Some(short) = of_a_file {
            let plain = &name[..name.len() - FROM_FILE.len()];
            let read = if variables.iter().any(|(other, _)| other == plain) {
                Err(format!("{plain} and {name} are both set"))
            } else {
                from_file(value).map_err(|why| format!("the file that {name} names {why}"))
            };
            match read {
                Ok(text) => replace(&mut entries, line(&variable, name, short, Shape::Scalar { text, quoted: true })),
                Err(cause) => faults.error("C016", &variable.place(0..name.len()), cause, A_FILE),
            }
            continue;
        }
        if !KEYS.contains(&key.as_str()) || MAPS.contains(&key.as_str()) {
            let known: Vec<String> = KEYS
                .iter()
                .filter(|key| !MAPS.contains(*key))
                .map(|key| format!("{PREFIX}{}", key.to_ascii_uppercase()))
                .collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let cause = format!("{} is no setting", quoted(name));
            faults.error("C004", &variable.place(0..name.len()), cause, did_you_mean(name, &known, "the variables are"));
            continue;
        }
        let shape = if LISTS.contains(&key.as_str()) {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            Shape::List(items.map(|item| scalar(&variable, name, item)).collect())
        } else {
            Shape::Scalar { text: value.clone(), quoted: false }
        };
        replace(&mut entries, line(&variable, name, &key, shape));
    }
    let place = if root.place.span.is_empty() { source.place(0..0) } else { root.place };
    Some(Node { place, shape: Shape::Map(entries) })
}

/// `SASL_PASSWORD` as librdkafka names it.
fn dotted(property: &str) -> String {
    property.to_ascii_lowercase().replace('_', ".")
}

/// The value that a file holds, without the newline at its end. Its name is not told: it may be the secret itself.
fn from_file(path: &str) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("has {size} bytes, more than the {MAX_FILE_BYTES} that are read"));
    }
    let mut value = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    if value.is_empty() { Err("is empty".to_owned()) } else { Ok(value) }
}

/// Kubernetes tells every container where a service called `sillage` is: `SILLAGE_PORT`, `SILLAGE_SERVICE_HOST`, ….
fn is_service_link(name: &str) -> bool {
    let rest = &name[PREFIX.len()..];
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

fn replace(entries: &mut Vec<Entry>, entry: Entry) {
    entries.retain(|known| known.key.value != entry.key.value);
    entries.push(entry);
}

fn line(variable: &Arc<Source>, name: &str, key: &str, shape: Shape) -> Entry {
    let value = variable.place(name.len() + 1..variable.text.len());
    Entry {
        key: Spanned { value: key.to_owned(), place: variable.place(0..name.len()) },
        value: Node { place: value, shape },
    }
}

fn scalar(variable: &Arc<Source>, name: &str, text: &str) -> Node {
    let place = variable.place(name.len() + 1..variable.text.len());
    Node { place, shape: Shape::Scalar { text: text.to_owned(), quoted: false } }
}
