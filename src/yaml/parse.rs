//! From text to a tree of nodes, with everything refused that Sillage does not read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::{Entry, MAX_BYTES, MAX_DEPTH, Node, Shape};
use crate::diagnostic::{Diagnostic, Faults, Place, Source, Spanned};

/// Reads a source into a tree. `None` where it is not YAML, too large, or too deep; a file of comments is [`Shape::Nothing`].
pub fn parse(source: &Arc<Source>, faults: &mut Faults) -> Option<Node> {
    if source.text.len() > MAX_BYTES {
        let cause = format!("the file has {} bytes, more than {MAX_BYTES} (1 MiB)", source.text.len());
        faults.error("Y002", &source.place(0..0), cause, "split it, or check that it is the right file");
        return None;
    }
    // The parser reads ahead, so its limits can be met before ours; both are worded alike.
    let options = granit_parser::options! {
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
    };
    let mut builder = Builder { source, faults, open: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str_with_options(&source.text, options) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                builder.faults.push(syntax(source, &error));
                return None;
            }
        }
    }
    Some(builder.root.unwrap_or(Node { place: source.place(0..0), shape: Shape::Nothing }))
}

/// A list or map whose end has not come yet.
struct Open {
    start: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, Place>, key: Key },
}

/// What a map waits for.
enum Key {
    /// The next node is a key.
    Awaited,
    /// The next node is the value of this key.
    Read(Spanned<String>),
    /// The next node is the value of a key that was refused; it is dropped.
    Dropped,
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    faults: &'a mut Faults,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Builder<'_> {
    /// Takes one event; `None` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let place = self.source.place(bytes(span));
        if let Some(tag) = span.tag_span() {
            self.refuse(
                &self.source.place(bytes(tag)),
                "tags (`!name`)",
                "remove the tag; Sillage knows what each value must be",
            );
        }
        match event {
            Event::DocumentStart(..) => return self.start_document(&place),
            Event::Scalar(text, style, ..) => self.add(scalar(place, text.into_owned(), style)),
            Event::SequenceStart(..) => return self.start(&place, Content::List(Vec::new())),
            Event::MappingStart(..) => {
                return self.start(&place, Content::Map { entries: Vec::new(), seen: HashMap::new(), key: Key::Awaited });
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&place),
            Event::Anchor(..) => {
                self.refuse(
                    &place,
                    "anchors (`&name`)",
                    "write the value out where it is needed; types can share a group under `touchpoints`",
                );
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse(&place, "aliases (`*name`)", "write the value out; a text that begins with `*` needs quotes");
                self.add(Node { place, shape: Shape::Refused });
            }
            // The enum is open to new kinds; those left carry no node.
            _ => {}
        }
        Some(())
    }

    fn refuse(&mut self, place: &Place, what: &str, help: &str) {
        self.faults.error("Y004", place, format!("{what} are not read here"), help);
    }

    fn start_document(&mut self, place: &Place) -> Option<()> {
        self.documents += 1;
        if self.documents > 1 {
            self.faults.error(
                "Y005",
                place,
                "a second document begins here",
                "keep one document a file: remove this `---` and what follows",
            );
            return None;
        }
        Some(())
    }

    fn start(&mut self, place: &Place, content: Content) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            self.faults.push(too_deep(place));
            return None;
        }
        self.open.push(Open { start: place.span.start, content });
        Some(())
    }

    fn end(&mut self, place: &Place) {
        let Some(Open { start, content }) = self.open.pop() else { return };
        let shape = match content {
            Content::List(items) => Shape::List(items),
            Content::Map { entries, .. } => Shape::Map(entries),
        };
        self.add(Node { place: self.source.place(start..place.span.end.max(start)), shape });
    }

    /// Puts a finished node where it belongs: the next item, key or value of what is open, or the root.
    fn add(&mut self, node: Node) {
        let Some(Open { content, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match content {
            Content::List(items) => items.push(node),
            Content::Map { entries, seen, key } => match std::mem::replace(key, Key::Awaited) {
                Key::Awaited => *key = read_key(node, seen, self.faults),
                Key::Read(key) => entries.push(Entry { key, value: node }),
                Key::Dropped => {}
            },
        }
    }
}

/// Makes a key of a node; refuses what cannot be one, and a key that was there before.
fn read_key(node: Node, seen: &mut HashMap<String, Place>, faults: &mut Faults) -> Key {
    let (text, quoted_key) = match node.shape {
        Shape::Scalar { text, quoted } => (text, quoted),
        Shape::Refused => return Key::Dropped,
        Shape::Nothing | Shape::List(_) | Shape::Map(_) => {
            faults.error(
                "Y007",
                &node.place,
                "a key must be a plain name",
                "write `name: value`; a text with `[`, `{` or `?` in front needs quotes",
            );
            return Key::Dropped;
        }
    };
    if text == "<<" && !quoted_key {
        faults.error(
            "Y004",
            &node.place,
            "merge keys (`<<`) are not read here",
            "write the lines out where they are needed",
        );
        return Key::Dropped;
    }
    if let Some(first) = seen.get(&text) {
        let cause = format!("{} is there twice", node.place.quoted(&text));
        faults.push(
            Diagnostic::error("Y006", &node.place, cause, "keep one of the two, or rename one").see(first, "the first one"),
        );
        return Key::Dropped;
    }
    seen.insert(text.clone(), node.place.clone());
    Key::Read(Spanned { value: text, place: node.place })
}

fn scalar(place: Place, text: String, style: ScalarStyle) -> Node {
    let plain = style == ScalarStyle::Plain;
    let shape = match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" if plain => Shape::Nothing,
        _ => Shape::Scalar { text, quoted: !plain },
    };
    Node { place, shape }
}

fn bytes(span: Span) -> Range<usize> {
    // A parser over a text always knows the bytes.
    span.byte_range().unwrap_or(0..0)
}

fn too_deep(place: &Place) -> Diagnostic {
    let cause = format!("lists and maps are nested more than {MAX_DEPTH} deep");
    Diagnostic::error(
        "Y003",
        place,
        cause,
        "nothing in Sillage needs more than five levels; check the brackets and the indentation",
    )
}

/// A fault of the syntax in plain words; what to do about the common ones.
fn syntax(source: &Arc<Source>, error: &ScanError) -> Diagnostic {
    let at = error.marker().byte_offset().unwrap_or(0);
    let place = source.place(at..at + 1);
    let (cause, help) = match error.kind() {
        ErrorKind::MappingValueNotAllowed => (
            "a `:` that cannot stand here",
            "put a text that contains `: ` in quotes, or check the indentation of this line",
        ),
        ErrorKind::SimpleKeyExpected => ("a line without `:`", "write `key: value`, or `- item` for a list"),
        ErrorKind::UnclosedFlowCollection { .. } => ("this bracket is never closed", "add the closing bracket"),
        ErrorKind::MisplacedFlowCollectionEnd | ErrorKind::MismatchedFlowCollectionEnd { .. } => {
            ("a closing bracket that fits no opening one", "check the brackets; lists need `[ ]`, maps `{ }`")
        }
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation | ErrorKind::TabInPlainScalar => {
            ("a tab where only spaces may stand", "indent with spaces")
        }
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("a quote was opened before here and never closed", "close the quote at the end of the text")
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            ("text after a closing quote", "put the whole text in quotes; write '' for an apostrophe between single quotes")
        }
        ErrorKind::UnexpectedCharacter { .. } => ("a text cannot begin with this character", "put the text in quotes"),
        ErrorKind::ExpectedBlockSequenceEntry => {
            ("a list ends in something that is not an item", "begin the line with `- `, or indent it as what it belongs to")
        }
        ErrorKind::DirectiveDisallowed => ("directives (`%`) are not read here", "remove the line"),
        ErrorKind::RecursionLimitExceeded => return too_deep(&place),
        _ => {
            return Diagnostic::error(
                "Y001",
                &place,
                format!("this is not YAML: {}", error.info()),
                "check the indentation, quotes and brackets here",
            );
        }
    };
    Diagnostic::error("Y001", &place, cause, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Diagnostic>) {
        let mut faults = Faults::default();
        let node = parse(&Source::file("t.yaml", text), &mut faults);
        (node, faults.settle(Some(())).1)
    }

    fn codes(text: &str) -> Vec<&'static str> {
        read(text).1.iter().map(|fault| fault.code).collect()
    }

    #[test]
    fn the_tree_keeps_places_quotes_and_order() {
        let (node, faults) = read("a: 1\nb: ['2', x y]\nc:\n");
        assert_eq!(faults, []);
        let Some(Node { shape: Shape::Map(entries), .. }) = node else { panic!("a map") };
        let keys: Vec<_> = entries.iter().map(|entry| (entry.key.value.as_str(), entry.key.place.span.clone())).collect();
        assert_eq!(keys, [("a", 0..1), ("b", 5..6), ("c", 19..20)]);
        assert_eq!(entries[2].value.shape, Shape::Nothing);
        let Shape::List(items) = &entries[1].value.shape else { panic!("a list") };
        assert_eq!(items[0].shape, Shape::Scalar { text: "2".to_owned(), quoted: true });
        assert_eq!((items[1].place.span.clone(), entries[1].value.place.span.clone()), (14..17, 8..18));
    }

    #[test]
    fn what_is_not_read_is_refused_once() {
        for (text, expected) in [
            ("a: &x 1\nb: 2", vec!["Y004"]),
            ("a: *x", vec!["Y004"]),
            ("a: !!str 1", vec!["Y004"]),
            ("<<: {a: 1}", vec!["Y004"]),
            ("'<<': 1", vec![]),
            ("%YAML 1.2\n---\na: 1", vec!["Y001"]),
            ("---\na: 1\n", vec![]),
            ("a: 1\n---\nb: 1", vec!["Y005"]),
            ("a: 1\na: 2\nb: 1\nb: 2", vec!["Y006", "Y006"]),
            ("{a: {x: 1, x: 2}, a: 1}", vec!["Y006", "Y006"]),
            ("[a]: 1", vec!["Y007"]),
            ("? {a: 1}\n: 1\nb: 2", vec!["Y007"]),
            ("a: b: c", vec!["Y001"]),
            ("", vec![]),
            ("# nothing", vec![]),
        ] {
            assert_eq!(codes(text), expected, "{text}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let brackets = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(codes(&brackets(MAX_DEPTH)), [""; 0]);
        assert_eq!(codes(&brackets(MAX_DEPTH + 1)), ["Y003"]);
        assert_eq!(codes(&"[".repeat(100_000)), ["Y003"]);
        let block: String = (0..=MAX_DEPTH).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert_eq!(codes(&(block + &" ".repeat(MAX_DEPTH + 1) + "a: 1")), ["Y003"]);
        assert_eq!(codes(&" ".repeat(MAX_BYTES + 1)), ["Y002"]);
    }
}
