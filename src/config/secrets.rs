//! What of a configuration may be shown, decided here and nowhere else: names that are known, or nearly, and the values of
//! Sillage's own settings. Everything else may be a secret: properties, values of misspelt names, comments, what is not YAML.

use std::ops::Range;
use std::sync::Arc;

use super::check::{KEYS, MAPS};
use super::tokens;
use crate::diagnostic::{Faults, Source, nearest};
use crate::yaml::{self, Node, Shape};

/// The properties that librdkafka has, from its `CONFIGURATION.md`.
const PROPERTIES: &str = include_str!("properties.txt");
/// What the names of properties contain that hold secrets, or what leads to them.
const SECRET_WORDS: &[&str] =
    &["pass", "secret", "token", "key", "pem", "jaas", "oauth", "credential", "username", "kinit", "sasl.kerberos", "proxy"];

/// Of a file that is not YAML, names are looked for in so many lines; what follows is not shown.
const MAX_LINES: usize = 5_000;

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

/// Whether a value that should be a plain setting looks like one: an address with somebody's name in it does not.
fn is_plain_value(text: &str) -> bool {
    !text.contains('@') && !text.contains("-----BEGIN")
}

/// The file, which knows what of it may be shown.
pub(super) fn source(name: &str, text: &str) -> Arc<Source> {
    let everything = Source::file(name, text);
    let mut faults = Faults::default();
    let root = yaml::parse(&everything, &mut faults);
    let open = match root.filter(|_| faults.usable()) {
        Some(root) => of_tree(&root, &everything.text),
        // Where it ends and begins is not known then: names that are known, and nothing else.
        None => of_lines(&everything.text),
    };
    Source::guarded(name, text, open)
}

/// A variable, likewise: its name, and its value if that is plain.
pub(super) fn variable(name: &str, value: &str, key: &str) -> Arc<Source> {
    if is_plain_key(key) && !MAPS.contains(&key) && is_plain_value(value) {
        Source::variable(name, value)
    } else {
        Source::secret_variable(name, value)
    }
}

/// A name may be a piece of a secret that had a comma or a colon in it: it is shown if it is known, or nearly.
fn is_name(name: &str) -> bool {
    nearest(name, KEYS.iter().copied().chain(PROPERTIES.lines())).is_some() || KEYS.contains(&name) || is_property(name)
}

/// Which bytes may be shown, and which may not; what is neither is between them.
#[derive(Default)]
struct Spans(Vec<(Range<usize>, bool)>);

impl Spans {
    fn node(&mut self, node: &Node, open: bool) {
        match &node.shape {
            Shape::Nothing => {}
            Shape::Scalar { text, .. } => self.0.push((node.place.span.clone(), open && is_plain_value(text))),
            Shape::List(items) => items.iter().for_each(|item| self.node(item, open)),
            Shape::Map(entries) => {
                for entry in entries {
                    self.0.push((entry.key.place.span.clone(), open));
                    self.node(&entry.value, open);
                }
            }
            Shape::Refused => self.0.push((node.place.span.clone(), false)),
        }
    }
}

fn of_tree(root: &Node, text: &str) -> Vec<Range<usize>> {
    let mut spans = Spans::default();
    match &root.shape {
        Shape::Map(entries) => {
            for entry in entries {
                let key = entry.key.value.as_str();
                spans.0.push((entry.key.place.span.clone(), is_name(key)));
                match &entry.value.shape {
                    Shape::Map(lines) if key == "properties" => {
                        for line in lines {
                            spans.0.push((line.key.place.span.clone(), is_name(&line.key.value)));
                            // No fault needs the value of a property to be understood, so none is shown.
                            spans.node(&line.value, false);
                        }
                    }
                    _ => spans.node(&entry.value, is_plain_key(key)),
                }
            }
        }
        Shape::Nothing | Shape::Scalar { .. } | Shape::List(_) | Shape::Refused => spans.node(root, false),
    }
    spans.0.sort_by_key(|(span, _)| span.start);
    let mut open = Vec::new();
    let mut at = 0;
    for (span, is_open) in spans.0 {
        if span.start > at {
            between(text, at..span.start, &mut open);
        }
        if is_open {
            open.push(span.clone());
        }
        at = at.max(span.end);
    }
    between(text, at..text.len(), &mut open);
    open
}

/// Between the texts of a file stand marks of YAML, which may be shown, and comments, which may not.
fn between(text: &str, span: Range<usize>, open: &mut Vec<Range<usize>>) {
    let mut in_comment = false;
    for (at, c) in text.get(span.clone()).unwrap_or_default().char_indices() {
        in_comment = (in_comment || c == '#') && c != '\n';
        let at = span.start + at;
        if !in_comment && (c.is_whitespace() || ":,-[]{}".contains(c)) {
            match open.last_mut() {
                Some(last) if last.end == at && span.start < at => last.end = at + c.len_utf8(),
                _ => open.push(at..at + c.len_utf8()),
            }
        }
    }
}

fn of_lines(text: &str) -> Vec<Range<usize>> {
    let mut open = Vec::new();
    let mut begin = 0;
    for line in text.split_inclusive('\n').take(MAX_LINES) {
        let start = begin + (line.len() - line.trim_start_matches([' ', '-', '{']).len());
        let name: &str =
            text[start..].split(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).next().unwrap_or("");
        let end = start + name.len();
        if text[end..].starts_with(':') && is_name(name) {
            // Its indentation as well, then the name as a whole, since it is asked for by its place.
            open.push(begin..start);
            open.push(start..end);
            open.push(end..end + 1);
        }
        begin += line.len();
    }
    open
}
