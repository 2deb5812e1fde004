//! From nodes to values: asking a map for its keys, each value for what it must be, with a diagnostic where it is not.

use std::ops::RangeInclusive;

use super::{Entry, Node, Shape};
use crate::diagnostic::{Faults, Place, Spanned, did_you_mean, quoted};
use crate::memory;
use crate::time::Span;

/// The shortest and the longest duration allowed at some place.
pub type Bounds = RangeInclusive<Span>;

const DURATION_HELP: &str = "write a number with a unit, such as 30m, 1h 30m or 7d";

/// Reads one map key by key, and remembers which keys were asked for.
pub struct Reader<'a> {
    what: String,
    place: Place,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    /// Keys that were asked for by their form, and how the forms are listed.
    claimed: Vec<&'a str>,
    forms: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Opens a map; `what` names it in diagnostics (`` stage `decision` ``). `None` where it is no map.
    pub fn open(node: &'a Node, what: impl Into<String>, place: &Place, faults: &mut Faults) -> Option<Self> {
        let what = what.into();
        match &node.shape {
            Shape::Map(entries) => Some(Reader {
                what,
                place: place.clone(),
                entries,
                asked: Vec::new(),
                claimed: Vec::new(),
                forms: Vec::new(),
            }),
            Shape::Refused => None,
            Shape::Nothing | Shape::Scalar { .. } | Shape::List(_) => {
                let place = if node.place.span.is_empty() { place } else { &node.place };
                let cause = format!("{what} must be a map, found {}", node.shape.in_words());
                faults.error("Y012", place, cause, "write its settings as `key: value`, one a line, indented below");
                None
            }
        }
    }

    /// The value of a key, if it is there.
    pub fn optional(&mut self, key: &'static str) -> Option<Value<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let entry = self.entries.iter().find(|entry| entry.key.value == key)?;
        Some(Value { label: quoted(key), key: &entry.key.place, node: &entry.value })
    }

    /// The value of a key that must be there; `example` is the line to add where it is not.
    pub fn required(&mut self, key: &'static str, example: &str, faults: &mut Faults) -> Option<Value<'a>> {
        let value = self.optional(key);
        if value.is_none() {
            let cause = format!("{} needs {}", self.what, quoted(key));
            faults.error("Y011", &self.place, cause, format!("add a line such as {}", quoted(example)));
        }
        value
    }

    /// The first key that has a form (`7 of`), with its value; `form` is how the keys are listed (`N of`).
    pub fn formed(&mut self, form: &'static str, fits: impl Fn(&str) -> bool) -> Option<(&'a Spanned<String>, Value<'a>)> {
        self.forms.push(form);
        let entry = self.entries.iter().find(|entry| fits(&entry.key.value))?;
        self.claimed.push(&entry.key.value);
        Some((&entry.key, Value::from(entry)))
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, faults: &mut Faults) {
        let known: Vec<&str> = self.asked.iter().chain(&self.forms).copied().collect();
        for entry in self.entries {
            let name = entry.key.value.as_str();
            if self.asked.contains(&name) || self.claimed.contains(&name) {
                continue;
            }
            let cause = format!("{} has no key {}", self.what, entry.key.place.quoted(name));
            faults.error("Y010", &entry.key.place, cause, did_you_mean(name, &known, "its keys are"));
        }
    }
}

/// A value to be read, with the words to name it.
#[derive(Clone)]
pub struct Value<'a> {
    label: String,
    key: &'a Place,
    node: &'a Node,
}

impl<'a> Value<'a> {
    /// Where to point: the value, or its key where there is no value.
    pub fn place(&self) -> &'a Place {
        if self.node.place.span.is_empty() { self.key } else { &self.node.place }
    }

    /// Where its key stands.
    pub fn key_place(&self) -> &'a Place {
        self.key
    }

    /// How diagnostics name it: its key between backticks.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The node itself, for what is a tree of the writer's own.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Whether it is a map without lines.
    pub fn is_empty_map(&self) -> bool {
        matches!(&self.node.shape, Shape::Map(entries) if entries.is_empty())
    }

    /// Whether it is a list without items.
    pub fn is_empty_list(&self) -> bool {
        matches!(&self.node.shape, Shape::List(items) if items.is_empty())
    }

    /// Whether it is a map, with or without lines.
    pub fn is_map(&self) -> bool {
        matches!(self.node.shape, Shape::Map(_))
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.shape, Shape::List(_))
    }

    /// The text of a single value as it stands; `None` for lists, maps and nothing.
    pub fn as_text(&self) -> Option<&'a str> {
        match &self.node.shape {
            Shape::Scalar { text, .. } => Some(text),
            Shape::Nothing | Shape::List(_) | Shape::Map(_) | Shape::Refused => None,
        }
    }

    /// Each item of a list; anything else alone.
    pub fn items(&self) -> Vec<Value<'a>> {
        match &self.node.shape {
            Shape::List(items) => {
                let item = |node| Value { label: format!("each of {}", self.label), key: self.key, node };
                items.iter().map(item).collect()
            }
            Shape::Nothing | Shape::Scalar { .. } | Shape::Map(_) | Shape::Refused => vec![self.clone()],
        }
    }

    /// Opens it as a map called `what`.
    pub fn map(&self, what: impl Into<String>, faults: &mut Faults) -> Option<Reader<'a>> {
        Reader::open(self.node, what, self.key, faults)
    }

    /// The lines of a map whose keys are names that the writer chose; `what` says what stands there.
    pub fn entries(&self, what: &str, faults: &mut Faults) -> Option<&'a [Entry]> {
        match &self.node.shape {
            Shape::Map(entries) => Some(entries),
            Shape::Nothing | Shape::Scalar { .. } | Shape::List(_) | Shape::Refused => {
                self.wrong_shape(&format!("a map of {what}"), "write `name: …` for each, indented below", faults);
                None
            }
        }
    }

    /// A text that is not empty.
    pub fn text(&self, faults: &mut Faults) -> Option<Spanned<String>> {
        let (text, _) = self.scalar("a text", "write one word or text", faults)?;
        if text.trim().is_empty() {
            faults.error("Y013", self.place(), format!("{} is empty", self.label), "give it a value, or remove the line");
            return None;
        }
        Some(self.spanned(text.to_owned()))
    }

    /// One text or a list of texts; `what` says what they are.
    pub fn texts(&self, what: &str, faults: &mut Faults) -> Option<Vec<Spanned<String>>> {
        match &self.node.shape {
            Shape::List(items) => {
                let item = |node| Value { label: format!("each of {}", self.label), key: self.key, node };
                Some(items.iter().filter_map(|node| item(node).text(faults)).collect())
            }
            Shape::Scalar { .. } => self.text(faults).map(|text| vec![text]),
            Shape::Nothing | Shape::Map(_) | Shape::Refused => {
                self.wrong_shape(&format!("{what} or a list of them"), "write one, or several as [a, b]", faults);
                None
            }
        }
    }

    /// A duration within bounds.
    pub fn duration(&self, bounds: &Bounds, faults: &mut Faults) -> Option<Spanned<Span>> {
        let (text, _) = self.scalar("a duration", DURATION_HELP, faults)?;
        let Ok(span) = Span::parse(text) else {
            let cause = format!("{} must be a duration, found {}", self.label, self.shown(text));
            let digits = self.node.place.is_open()
                && !text.is_empty()
                && text.len() < 12
                && text.bytes().all(|byte| byte.is_ascii_digit());
            let help = if digits {
                format!("add the unit: {text}s, {text}m, {text}h or {text}d")
            } else {
                DURATION_HELP.to_owned()
            };
            faults.error("Y013", self.place(), cause, help);
            return None;
        };
        if !bounds.contains(&span) {
            self.outside(&span.to_string(), &bounds.start().to_string(), &bounds.end().to_string(), faults);
            return None;
        }
        Some(self.spanned(span))
    }

    /// A whole number within bounds.
    pub fn integer(&self, bounds: RangeInclusive<u64>, faults: &mut Faults) -> Option<Spanned<u64>> {
        let (text, quoted_text) = self.scalar("a whole number", "write digits only", faults)?;
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if quoted_text || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let found = if quoted_text { "a text in quotes".to_owned() } else { self.shown(text) };
            let help = if quoted_text { "remove the quotes" } else { "write digits only" };
            faults.error("Y013", self.place(), format!("{} must be a whole number, found {found}", self.label), help);
            return None;
        }
        match text.parse().ok().filter(|number| bounds.contains(number)) {
            Some(number) => Some(self.spanned(number)),
            None => {
                self.outside(text, &bounds.start().to_string(), &bounds.end().to_string(), faults);
                None
            }
        }
    }

    /// A number of bytes within bounds, with a unit or without.
    pub fn size(&self, bounds: RangeInclusive<u64>, faults: &mut Faults) -> Option<Spanned<u64>> {
        const HELP: &str = "write bytes, or a number with a unit, such as 512MiB or 2GiB";
        let (text, _) = self.scalar("a size", HELP, faults)?;
        let Some(size) = memory::parse_size(text) else {
            let cause = format!("{} must be a size, found {}", self.label, self.shown(text));
            faults.error("Y013", self.place(), cause, HELP);
            return None;
        };
        if !bounds.contains(&size) {
            self.outside(text, &memory::show_size(*bounds.start()), &memory::show_size(*bounds.end()), faults);
            return None;
        }
        Some(self.spanned(size))
    }

    /// `true` or `false`.
    pub fn flag(&self, faults: &mut Faults) -> Option<Spanned<bool>> {
        self.word(&[("true", true), ("false", false)], faults)
    }

    /// One of some words, each with what it stands for.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)], faults: &mut Faults) -> Option<Spanned<T>> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let choice = names.join(" or ");
        let (text, _) = self.scalar(&choice, &format!("write {choice}"), faults)?;
        let found = words.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let cause = format!("{} must be {choice}, found {}", self.label, self.shown(text));
            let help = did_you_mean(text, &names, "write one of");
            faults.error("Y013", self.place(), cause, help);
        }
        found.map(|(_, value)| self.spanned(*value))
    }

    /// A scalar's text before and after a separator that is in it.
    pub fn split_once(&self, separator: &str) -> Option<(&'a str, &'a str)> {
        match &self.node.shape {
            Shape::Scalar { text, .. } => text.split_once(separator),
            Shape::Nothing | Shape::List(_) | Shape::Map(_) | Shape::Refused => None,
        }
    }

    /// The text of a scalar and whether it is quoted; a diagnostic where it is none.
    fn scalar(&self, expected: &str, help: &str, faults: &mut Faults) -> Option<(&'a str, bool)> {
        match &self.node.shape {
            Shape::Scalar { text, quoted } => Some((text, *quoted)),
            Shape::Nothing | Shape::List(_) | Shape::Map(_) | Shape::Refused => {
                self.wrong_shape(expected, help, faults);
                None
            }
        }
    }

    /// What was found, unless it may be a secret.
    fn shown(&self, text: &str) -> String {
        self.node.place.quoted(text)
    }

    fn wrong_shape(&self, expected: &str, help: &str, faults: &mut Faults) {
        let (found, help) = match &self.node.shape {
            Shape::Refused => return,
            Shape::Nothing => ("nothing", format!("{help}; or remove the line")),
            shape => (shape.in_words(), help.to_owned()),
        };
        faults.error("Y012", self.place(), format!("{} must be {expected}, found {found}", self.label), help);
    }

    fn outside(&self, found: &str, least: &str, most: &str, faults: &mut Faults) {
        let cause = format!("{} is {}, outside {least} to {most}", self.label, self.shown(found));
        faults.error("Y014", self.place(), cause, format!("write a value from {least} to {most}"));
    }

    fn spanned<T>(&self, value: T) -> Spanned<T> {
        Spanned { value, place: self.node.place.clone() }
    }
}

impl<'a> From<&'a Entry> for Value<'a> {
    fn from(entry: &'a Entry) -> Self {
        Value { label: entry.key.place.quoted(&entry.key.value), key: &entry.key.place, node: &entry.value }
    }
}
