//! A file that may hold secrets, and knows what of it may be shown: names that are known, or nearly, and values that are plain.
//! Everything else may be a secret: values of misspelt names, comments, what is not YAML.

use std::ops::Range;
use std::sync::Arc;

use super::{Node, Shape};
use crate::diagnostic::{Faults, Source};

/// Of a file that is not YAML, names are looked for in so many lines; what follows is not shown.
const MAX_LINES: usize = 5_000;

/// What of a file may be shown. Both are asked with the keys above.
pub struct Guard<'a> {
    /// Whether a key may be shown. A name may be a piece of a secret that had a comma or a colon in it.
    pub is_name: &'a dyn Fn(&[&str], &str) -> bool,
    /// Whether the value of a key may be shown: a scalar, or a list of such. Of a map, each key is asked about by itself.
    pub is_plain: &'a dyn Fn(&[&str], &str) -> bool,
}

/// Whether a value that should be a plain setting looks like one: an address with somebody's name in it does not. Behind a colon
/// stands the rest of an address, a number or nothing; anything else may be a secret behind its name.
pub fn is_plain_value(text: &str) -> bool {
    let is_number =
        |after: &str| after.split(['/', ',', ' ', ']']).next().unwrap_or(after).bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = |after: &str| after.starts_with("//") || is_number(after);
    !text.contains('@') && !text.contains("-----BEGIN") && text.split(':').skip(1).all(is_plain)
}

impl Guard<'_> {
    /// The file.
    pub fn source(&self, name: &str, text: &str) -> Arc<Source> {
        let everything = Source::file(name, text);
        let mut faults = Faults::default();
        let root = super::parse(&everything, &mut faults);
        let open = match root.filter(|_| faults.usable()) {
            Some(root) => self.of_tree(&root, &everything.text),
            // Where it ends and begins is not known then: names that are known, and nothing else.
            None => self.of_lines(&everything.text),
        };
        Source::guarded(name, text, open)
    }

    fn of_tree(&self, root: &Node, text: &str) -> Vec<Range<usize>> {
        let mut spans = Spans::default();
        match &root.shape {
            Shape::Map(_) => self.map(root, &mut Vec::new(), &mut spans),
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

    fn map<'n>(&self, node: &'n Node, above: &mut Vec<&'n str>, spans: &mut Spans) {
        match &node.shape {
            Shape::Map(entries) => {
                for entry in entries {
                    let key = entry.key.value.as_str();
                    spans.0.push((entry.key.place.span.clone(), (self.is_name)(above, key)));
                    let is_plain = (self.is_plain)(above, key);
                    above.push(key);
                    self.value(&entry.value, is_plain, above, spans);
                    above.pop();
                }
            }
            Shape::List(_) | Shape::Nothing | Shape::Scalar { .. } | Shape::Refused => self.value(node, false, above, spans),
        }
    }

    fn value<'n>(&self, node: &'n Node, is_plain: bool, above: &mut Vec<&'n str>, spans: &mut Spans) {
        match &node.shape {
            Shape::Map(_) => self.map(node, above, spans),
            Shape::List(items) => items.iter().for_each(|item| self.value(item, is_plain, above, spans)),
            Shape::Nothing | Shape::Scalar { .. } | Shape::Refused => spans.node(node, is_plain),
        }
    }

    fn of_lines(&self, text: &str) -> Vec<Range<usize>> {
        let mut open = Vec::new();
        let mut begin = 0;
        for line in text.split_inclusive('\n').take(MAX_LINES) {
            let start = begin + (line.len() - line.trim_start_matches([' ', '-', '{']).len());
            let name: &str =
                text[start..].split(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).next().unwrap_or("");
            let end = start + name.len();
            if text[end..].starts_with(':') && (self.is_name)(&[], name) {
                // Its indentation as well, then the name as a whole, since it is asked for by its place.
                open.push(begin..start);
                open.push(start..end);
                open.push(end..end + 1);
            }
            begin += line.len();
        }
        open
    }
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
