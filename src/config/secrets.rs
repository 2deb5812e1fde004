//! What of a configuration may be shown, decided here and nowhere else: names that are known, or nearly, and the values of
//! Sillage's own settings. Everything else may be a secret: properties, values of misspelt names, comments, what is not YAML.

use std::sync::Arc;

use super::check::{KEYS, MAPS};
use super::tokens;
use crate::diagnostic::{Source, nearest};
use crate::wire::FIELDS;
use crate::yaml::{Guard, is_plain_value};

/// The properties that librdkafka has, from its `CONFIGURATION.md`.
const PROPERTIES: &str = include_str!("properties.txt");
/// What the names of properties contain that hold secrets, or what leads to them.
const SECRET_WORDS: &[&str] =
    &["pass", "secret", "token", "key", "pem", "jaas", "oauth", "credential", "username", "kinit", "sasl.kerberos", "proxy"];

/// Whether librdkafka has a property of this name.
pub(super) fn is_property(name: &str) -> bool {
    PROPERTIES.lines().any(|known| known == name)
}

/// Whether the value of a property of librdkafka is a plain setting, which anybody may read in a log:
/// what the client library says of it is not cut.
pub fn is_plain_property(name: &str) -> bool {
    is_property(name) && !SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Whether the value of a key of the file is a plain setting.
pub(super) fn is_plain_key(key: &str) -> bool {
    KEYS.contains(&key) && key != "properties" && !tokens::KEYS.iter().any(|(token, _)| *token == key)
}

/// The file, which knows what of it may be shown. No fault needs the value of a property to be understood, so none is shown.
pub(super) fn source(name: &str, text: &str) -> Arc<Source> {
    let is_plain = |above: &[&str], key: &str| match above {
        [] => is_plain_key(key),
        ["fields"] => is_field(key),
        _ => false,
    };
    Guard { is_name: &|_, name| is_name(name), is_plain: &is_plain }.source(name, text)
}

/// A variable, likewise: its name, and its value if that is plain.
pub(super) fn variable(name: &str, value: &str, key: &str) -> Arc<Source> {
    if is_plain_key(key) && !MAPS.contains(&key) && is_plain_value(value) {
        Source::variable(name, value)
    } else {
        Source::secret_variable(name, value)
    }
}

/// What a mapping maps: the value is the name of a field of the source.
fn is_field(key: &str) -> bool {
    let is_secret = |name: &str| SECRET_WORDS.iter().any(|word| name.to_ascii_lowercase().contains(word));
    FIELDS.contains(&key) || key.strip_prefix("properties.").is_some_and(|name| !is_secret(name))
}

/// A name may be a piece of a secret that had a comma or a colon in it: it is shown if it is known, or nearly.
fn is_name(name: &str) -> bool {
    nearest(name, KEYS.iter().copied().chain(PROPERTIES.lines())).is_some()
        || KEYS.contains(&name)
        || is_property(name)
        || is_field(name)
}
