//! From the tree as written to code: every name is found, every type fits. All faults of one expression are told at once;
//! what depends on a faulty part is left alone.

use std::collections::BTreeSet;
use std::ops::Range;

use super::code::{Arithmetic, Code, Duration, Flag, Moment, Number, Relation, Search, Text};
use super::parse::{Logic, Node, Shape};
use super::told::Told;
use super::words::{self, FUNCTIONS};
use super::{Environment, Slot, Type};
use crate::diagnostic::quoted;
use crate::time::{Span, Timestamp};

/// Checks an expression that must yield `expected`, and compiles it; `None` where it was told what is wrong.
pub(super) fn check(
    text: &str,
    root: &Node,
    environment: &Environment,
    expected: Type,
    told: &mut Told,
) -> Option<(Code, Vec<Slot>)> {
    let mut checker = Checker { text, environment, told, slots: BTreeSet::new() };
    let code = checker.code(root, Some(expected))?;
    if code.kind() != expected {
        checker.other_type(root, code.kind(), expected);
        return None;
    }
    // A segment for everybody is written `true`.
    if let (Code::Flag(Flag::Known(false)), Shape::Flag(_)) = (&code, &root.shape) {
        checker.constant(&root.span, false);
    }
    let slots = checker.slots.into_iter().collect();
    Some((code, slots))
}

struct Checker<'a> {
    text: &'a str,
    environment: &'a Environment,
    told: &'a mut Told,
    slots: BTreeSet<Slot>,
}

impl<'a> Checker<'a> {
    fn written(&self, node: &Node) -> &'a str {
        &self.text[node.span.clone()]
    }

    /// The code of a part; `wanted` is what it should be, to guess what a wrong name meant.
    fn code(&mut self, node: &Node, wanted: Option<Type>) -> Option<Code> {
        match &node.shape {
            Shape::Wrong => None,
            Shape::Number(number) => Some(Code::Number(Number::Known(*number))),
            Shape::Text(text) => Some(Code::Text(Text::Known(text.as_str().into()))),
            Shape::Flag(flag) => Some(Code::Flag(Flag::Known(*flag))),
            Shape::Bare(span) => Some(Code::Duration(Duration::Known(*span))),
            Shape::Fact(name) => self.fact(name, &node.span, wanted).map(|(slot, kind)| Code::fact(slot, kind)),
            Shape::Not(inner) => {
                let inner = self.condition(inner, "!", None)?;
                Some(self.judged(node, Flag::Not(Box::new(inner)).folded()))
            }
            Shape::Negated(inner) => self.negated(node, inner),
            Shape::Logic(logic, terms) => self.logic(node, *logic, terms),
            Shape::Compared(relation, at, sides) => self.compared(node, *relation, at, &sides.0, &sides.1),
            Shape::Calculated(arithmetic, at, sides) => self.calculated(*arithmetic, at, node, &sides.0, &sides.1),
            Shape::In(at, inner, items) => self.within(node, at, inner, items),
            Shape::Choice(parts) => self.choice(&parts.0, &parts.1, &parts.2, wanted),
            Shape::Call(name, at, receiver, arguments) => self.call(node, name, at, receiver.as_deref(), arguments),
        }
    }

    fn fact(&mut self, name: &str, span: &Range<usize>, wanted: Option<Type>) -> Option<(Slot, Type)> {
        if let Some(found) = self.environment.find(name) {
            self.slots.insert(found.0);
            return Some(found);
        }
        // Looking for what was meant takes time, so it stops when nothing more is told.
        if !self.told.full() {
            let (code, cause, help) = words::unknown(name, self.environment, wanted);
            self.told.error(code, span, cause, help);
        }
        None
    }

    /// A part that must be true or false; `before` is the term before it in a chain.
    fn condition(&mut self, node: &Node, operator: &str, before: Option<&Node>) -> Option<Flag> {
        match self.code(node, Some(Type::Flag))? {
            Code::Flag(flag) => Some(flag),
            other => {
                let cause = format!("`{operator}` needs true or false, this is {}", words::a(other.kind()));
                let compared = before.is_some_and(|before| matches!(before.shape, Shape::Compared(..)));
                let literal = matches!(node.shape, Shape::Text(_) | Shape::Number(_));
                let help = if compared && literal {
                    "repeat the comparison, or write `FACT in [...]` with all values".to_owned()
                } else {
                    words::compare(node, self.written(node), other.kind())
                };
                self.told.error("M102", &node.span, cause, help);
                None
            }
        }
    }

    fn logic(&mut self, node: &Node, logic: Logic, terms: &[Node]) -> Option<Code> {
        let mut flags = Vec::with_capacity(terms.len());
        for (index, term) in terms.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| &terms[before]);
            flags.extend(self.condition(term, logic.written(), before));
        }
        if flags.len() < terms.len() {
            return None;
        }
        let joined = match logic {
            Logic::All => Flag::all(flags),
            Logic::Any => Flag::any(flags),
        };
        Some(self.judged(node, joined))
    }

    fn negated(&mut self, node: &Node, inner: &Node) -> Option<Code> {
        match self.code(inner, Some(Type::Number))? {
            Code::Number(number) => Some(Code::Number(Number::Negated(Box::new(number)).folded())),
            other => {
                let cause = format!("`-` needs a number, this is {}", words::a(other.kind()));
                let help = match other {
                    Code::Duration(_) | Code::Instant(_) => "subtract it from another one",
                    Code::Flag(_) => "negate true or false with `!`",
                    Code::Number(_) | Code::Text(_) => "remove the `-`",
                };
                self.told.error("M102", &(node.span.start..inner.span.end), cause, help);
                None
            }
        }
    }

    /// Two operands; where one is no known name, the other says what was meant.
    fn both(&mut self, left: &Node, right: &Node) -> (Option<Code>, Option<Code>) {
        let unknown = |node: &Node| matches!(&node.shape, Shape::Fact(name) if self.environment.find(name).is_none());
        if unknown(left) && !unknown(right) {
            let right = self.code(right, None);
            return (self.code(left, right.as_ref().map(Code::kind)), right);
        }
        let left = self.code(left, None);
        let right = self.code(right, left.as_ref().map(Code::kind));
        (left, right)
    }

    fn compared(&mut self, node: &Node, relation: Relation, at: &Range<usize>, left: &Node, right: &Node) -> Option<Code> {
        let null = |node: &Node| matches!(&node.shape, Shape::Fact(name) if words::is_null(name));
        if let (Shape::Fact(name), true) = (&left.shape, null(right)) {
            let help = match relation {
                Relation::Equal => format!("write `!has({name})`"),
                Relation::NotEqual | Relation::Less | Relation::AtMost | Relation::More | Relation::AtLeast => {
                    format!("write `has({name})`")
                }
            };
            let cause = format!("{} is not part of the language", quoted(self.written(right)));
            self.told.error("M106", &right.span, cause, help);
            self.code(left, None);
            return None;
        }
        if let Shape::Compared(_, _, inner) = &left.shape
            && self.text.as_bytes()[left.span.start] != b'('
            && !matches!(relation, Relation::Equal | Relation::NotEqual)
        {
            self.code(left, None);
            let sign = &self.text[at.clone()];
            let help = format!("write `… && {} {sign} {}`", self.written(&inner.1), self.written(right));
            self.told.error("M102", at, "comparisons cannot be chained", help);
            return None;
        }
        let (left_code, right_code) = self.both(left, right);
        let flag = match (left_code?, right_code?) {
            (Code::Number(one), Code::Number(other)) => Flag::Numbers(relation, Box::new((one, other))),
            (Code::Text(one), Code::Text(other)) => Flag::Texts(relation, Box::new((one, other))),
            (Code::Duration(one), Code::Duration(other)) => Flag::Durations(relation, Box::new((one, other))),
            (Code::Instant(one), Code::Instant(other)) => Flag::Instants(relation, Box::new((one, other))),
            (Code::Flag(one), Code::Flag(other)) => {
                if !matches!(relation, Relation::Equal | Relation::NotEqual) {
                    let cause = format!("`{}` has no meaning for true and false", &self.text[at.clone()]);
                    self.told.error("M102", at, cause, "compare them with `==` or `!=`");
                    return None;
                }
                Flag::Flags(relation, Box::new((one, other)))
            }
            (one, other) => {
                self.mismatch(at, (left, one.kind()), (right, other.kind()));
                return None;
            }
        };
        Some(self.judged(node, flag.folded()))
    }

    /// Two types that cannot be compared: at the value that is easily written otherwise, else at the operator.
    fn mismatch(&mut self, at: &Range<usize>, left: (&Node, Type), right: (&Node, Type)) {
        let sign = &self.text[at.clone()];
        let cause = format!("`{sign}` cannot compare {} with {}", words::a(left.1), words::a(right.1));
        if let Some(help) = words::rewrite(right.0, left.1) {
            self.told.error("M102", &right.0.span, cause, help);
        } else if let Some(help) = words::rewrite(left.0, right.1) {
            self.told.error("M102", &left.0.span, cause, help);
        } else {
            self.told.error("M102", at, cause, "compare values of one type");
        }
    }

    fn calculated(
        &mut self,
        arithmetic: Arithmetic,
        at: &Range<usize>,
        node: &Node,
        left: &Node,
        right: &Node,
    ) -> Option<Code> {
        if arithmetic == Arithmetic::Minus && self.hyphenated(node) {
            return None;
        }
        let (left_code, right_code) = self.both(left, right);
        let (one, other) = (left_code?, right_code?);
        let kinds = (one.kind(), other.kind());
        match (arithmetic, one, other) {
            (_, Code::Number(one), Code::Number(other)) => {
                Some(Code::Number(Number::Calculated(arithmetic, Box::new((one, other))).folded()))
            }
            (Arithmetic::Plus, Code::Duration(one), Code::Duration(other)) => {
                Some(Code::Duration(Duration::Sum(Box::new((one, other))).folded()))
            }
            (Arithmetic::Minus, Code::Duration(one), Code::Duration(other)) => {
                Some(Code::Duration(Duration::Difference(Box::new((one, other))).folded()))
            }
            (Arithmetic::Minus, Code::Instant(one), Code::Instant(other)) => {
                Some(Code::Duration(Duration::Between(Box::new((one, other))).folded()))
            }
            (Arithmetic::Plus, Code::Instant(instant), Code::Duration(span))
            | (Arithmetic::Plus, Code::Duration(span), Code::Instant(instant)) => {
                Some(Code::Instant(Moment::Later(Box::new((instant, span))).folded()))
            }
            (Arithmetic::Minus, Code::Instant(instant), Code::Duration(span)) => {
                Some(Code::Instant(Moment::Earlier(Box::new((instant, span))).folded()))
            }
            (_, _, _) => {
                self.incalculable(arithmetic, at, (left, kinds.0), (right, kinds.1));
                None
            }
        }
    }

    fn incalculable(&mut self, arithmetic: Arithmetic, at: &Range<usize>, left: (&Node, Type), right: (&Node, Type)) {
        let sign = &self.text[at.clone()];
        let cause = match left.1 == right.1 {
            true => format!("`{sign}` cannot be used between {}", words::several(left.1)),
            false => format!("`{sign}` cannot be used between {} and {}", words::a(left.1), words::a(right.1)),
        };
        // What the other side could be, if it is a value that is easily written otherwise.
        let beside = |kind: Type| match kind {
            Type::Number => Some(Type::Number),
            Type::Duration | Type::Instant if matches!(arithmetic, Arithmetic::Plus | Arithmetic::Minus) => {
                Some(Type::Duration)
            }
            Type::Duration | Type::Instant | Type::Text | Type::Flag => None,
        };
        if let Some(help) = beside(left.1).and_then(|wanted| words::rewrite(right.0, wanted)) {
            self.told.error("M102", &right.0.span, cause, help);
        } else if let Some(help) = beside(right.1).and_then(|wanted| words::rewrite(left.0, wanted)) {
            self.told.error("M102", &left.0.span, cause, help);
        } else {
            let help = match (arithmetic, left.1) {
                (_, Type::Text) => "texts can be compared, not joined",
                (_, Type::Flag) => "join conditions with `&&` or `||`",
                (Arithmetic::Plus | Arithmetic::Minus, _) => {
                    "add and subtract numbers, durations, or a duration and an instant"
                }
                (Arithmetic::Times | Arithmetic::Divided, _) => "multiply and divide numbers",
            };
            self.told.error("M102", at, cause, help);
        }
    }

    /// `hard-basket.value` reads as a subtraction; told where the name with `_` is known.
    fn hyphenated(&mut self, node: &Node) -> bool {
        let written = self.written(node);
        let plain = written.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let name = written.replace('-', "_");
        let meant = plain && self.environment.find(written).is_none() && self.environment.find(&name).is_some();
        if meant {
            let cause = format!("{} reads as a subtraction", quoted(written));
            let help = format!("a `-` in a name is written `_` here: {}", quoted(&name));
            self.told.error("M101", &node.span, cause, help);
        }
        meant
    }

    fn within(&mut self, node: &Node, at: &Range<usize>, inner: &Node, items: &[Node]) -> Option<Code> {
        let code = self.code(inner, items.first().and_then(words::literal));
        if items.is_empty() {
            self.told.error("M102", &(at.start..node.span.end), "the list after `in` is empty", "name at least one value");
            return None;
        }
        let wanted = code.as_ref().map(Code::kind).or_else(|| items.iter().find_map(words::literal));
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.extend(self.item(item, wanted));
        }
        if values.len() < items.len() {
            return None;
        }
        let flag = match code? {
            Code::Number(number) => Flag::NumberIn(
                number,
                picked(values, |code| match code {
                    Code::Number(Number::Known(value)) => Some(value),
                    _ => None,
                }),
            ),
            Code::Text(text) => Flag::TextIn(
                text,
                picked(values, |code| match code {
                    Code::Text(Text::Known(value)) => Some(value),
                    _ => None,
                }),
            ),
            Code::Flag(flag) => Flag::FlagIn(
                Box::new(flag),
                picked(values, |code| match code {
                    Code::Flag(Flag::Known(value)) => Some(value),
                    _ => None,
                }),
            ),
            Code::Duration(duration) => Flag::DurationIn(
                duration,
                picked(values, |code| match code {
                    Code::Duration(Duration::Known(value)) => Some(value),
                    _ => None,
                }),
            ),
            Code::Instant(instant) => Flag::InstantIn(
                instant,
                picked(values, |code| match code {
                    Code::Instant(Moment::Known(value)) => Some(value),
                    _ => None,
                }),
            ),
        };
        Some(self.judged(node, flag.folded()))
    }

    /// A value of a list: known when the model is read, and of the type of the others.
    fn item(&mut self, node: &Node, wanted: Option<Type>) -> Option<Code> {
        let code = self.code(node, wanted)?;
        let known = matches!(
            code,
            Code::Number(Number::Known(_))
                | Code::Text(Text::Known(_))
                | Code::Flag(Flag::Known(_))
                | Code::Duration(Duration::Known(_))
                | Code::Instant(Moment::Known(_))
        );
        if !known {
            let cause = format!("{} is not a plain value", quoted(self.written(node)));
            self.told.error("M102", &node.span, cause, "a list holds values; compare facts with `==` and join with `||`");
            return None;
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != code.kind()) {
            let cause = format!("{} cannot be in a list for {}", words::a(code.kind()), words::a(wanted));
            let help = words::rewrite(node, wanted).unwrap_or_else(|| "list values of one type".to_owned());
            self.told.error("M102", &node.span, cause, help);
            return None;
        }
        Some(code)
    }

    fn choice(&mut self, condition: &Node, yes: &Node, no: &Node, wanted: Option<Type>) -> Option<Code> {
        let flag = self.condition(condition, "?", None);
        if let (Some(Flag::Known(value)), Shape::Flag(_)) = (&flag, &condition.shape) {
            self.constant(&condition.span, *value);
        }
        let one = self.code(yes, wanted);
        let other = self.code(no, one.as_ref().map(Code::kind).or(wanted));
        let (flag, one, other) = (flag?, one?, other?);
        Some(match (one, other) {
            (Code::Number(one), Code::Number(other)) => Code::Number(Number::Choice(Box::new((flag, one, other))).folded()),
            (Code::Text(one), Code::Text(other)) => Code::Text(Text::Choice(Box::new((flag, one, other))).folded()),
            (Code::Flag(one), Code::Flag(other)) => Code::Flag(Flag::Choice(Box::new((flag, one, other))).folded()),
            (Code::Duration(one), Code::Duration(other)) => {
                Code::Duration(Duration::Choice(Box::new((flag, one, other))).folded())
            }
            (Code::Instant(one), Code::Instant(other)) => {
                Code::Instant(Moment::Choice(Box::new((flag, one, other))).folded())
            }
            (one, other) => {
                // The outcome that is not what is wanted is the wrong one; else the second.
                let second = wanted != Some(other.kind());
                let (wrong, found, right, kind) = match second {
                    true => (no, other.kind(), yes, one.kind()),
                    false => (yes, one.kind(), no, other.kind()),
                };
                let cause = format!("one outcome is {}, the other {}", words::a(found), words::a(kind));
                let help = words::rewrite(wrong, kind).unwrap_or_else(|| "give both outcomes one type".to_owned());
                self.told.error_beside("M102", &wrong.span, cause, help, (right.span.clone(), "the other outcome"));
                return None;
            }
        })
    }

    fn call(
        &mut self,
        node: &Node,
        name: &str,
        at: &Range<usize>,
        receiver: Option<&Node>,
        arguments: &[Node],
    ) -> Option<Code> {
        match (name, receiver, arguments) {
            ("has", None, [argument]) => {
                let Shape::Fact(fact) = &argument.shape else {
                    let cause = format!("`has` takes the name of a fact, not {}", quoted(self.written(argument)));
                    self.told.error("M102", &argument.span, cause, "write it as `has(touchpoint.nps)`");
                    return None;
                };
                let (slot, kind) = self.fact(fact, &argument.span, None)?;
                Some(Code::Flag(Flag::Has(slot, kind)))
            }
            ("duration", None, [argument]) => {
                let read = |text: &str| Span::parse(text).ok();
                let span =
                    self.literal(name, argument, "`duration(\"1h 30m\")`, with the units ms, s, m, h, d, w, y", read)?;
                Some(Code::Duration(Duration::Known(span)))
            }
            ("timestamp", None, [argument]) => {
                let read = |text: &str| Timestamp::parse(text).ok();
                let instant = self.literal(name, argument, "`timestamp(\"2026-01-31T00:00:00Z\")`, as RFC 3339", read)?;
                Some(Code::Instant(Moment::Known(instant)))
            }
            ("size", None, [argument]) => {
                let text = self.text(argument, "`size`")?;
                Some(Code::Number(Number::Size(text).folded()))
            }
            ("startsWith" | "endsWith" | "contains", Some(receiver), [argument]) => {
                let search = match name {
                    "startsWith" => Search::StartsWith,
                    "endsWith" => Search::EndsWith,
                    _ => Search::Contains,
                };
                let shown = format!("`{name}`");
                let (text, wanted) = (self.text(receiver, &shown), self.text(argument, &shown));
                let flag = Flag::Search(search, Box::new((text?, wanted?)));
                Some(self.judged(node, flag.folded()))
            }
            _ => {
                self.no_such_call(name, at, receiver, arguments);
                None
            }
        }
    }

    fn no_such_call(&mut self, name: &str, at: &Range<usize>, receiver: Option<&Node>, arguments: &[Node]) {
        if let Some((_, method, example)) = FUNCTIONS.iter().find(|(known, _, _)| *known == name) {
            let (code, cause) = match *method == receiver.is_some() {
                true => ("M102", format!("{} takes one value", quoted(name))),
                false => ("M104", format!("{} is not called this way", quoted(name))),
            };
            self.told.error(code, at, cause, format!("write it as `{example}`"));
        } else {
            let (code, cause, help) = words::no_function(name);
            self.told.error(code, at, cause, help);
            // The element of a macro is no fact, so what stands within one is not judged.
            if code == "M106" {
                return;
            }
        }
        if name != "has" {
            for part in receiver.into_iter().chain(arguments) {
                self.code(part, None);
            }
        }
    }

    fn text(&mut self, node: &Node, function: &str) -> Option<Text> {
        match self.code(node, Some(Type::Text))? {
            Code::Text(text) => Some(text),
            other => {
                let cause = format!("{function} needs a text, this is {}", words::a(other.kind()));
                let help = words::rewrite(node, Type::Text).unwrap_or_else(|| "use it on a text".to_owned());
                self.told.error("M102", &node.span, cause, help);
                None
            }
        }
    }

    /// The argument of a function that is read when the model is.
    fn literal<T>(&mut self, name: &str, node: &Node, form: &str, read: fn(&str) -> Option<T>) -> Option<T> {
        let Shape::Text(text) = &node.shape else {
            // A bare duration is told already.
            if !matches!(node.shape, Shape::Bare(_) | Shape::Wrong) {
                let cause = format!("`{name}` takes a text in quotes, not {}", quoted(self.written(node)));
                self.told.error("M107", &node.span, cause, format!("write {form}"));
            }
            return None;
        };
        let value = read(text);
        if value.is_none() {
            let cause = format!("{} cannot be read as a {name}", quoted(text));
            self.told.error("M107", &node.span, cause, format!("write {form}"));
        }
        value
    }

    /// A finished condition; told where it does not depend on any fact.
    fn judged(&mut self, node: &Node, flag: Flag) -> Code {
        if let Flag::Known(value) = flag
            && !self.told.tells("M108", &node.span)
        {
            self.constant(&node.span, value);
        }
        Code::Flag(flag)
    }

    fn constant(&mut self, at: &Range<usize>, value: bool) {
        let cause = format!("this is always {value}");
        let help = format!("compare with a fact, or write `{value}` if that is meant");
        let help = if &self.text[at.clone()] == "false" { "remove it, or compare with a fact".to_owned() } else { help };
        self.told.warning("M108", at, cause, help);
    }

    fn other_type(&mut self, root: &Node, found: Type, expected: Type) {
        let needed = match expected {
            Type::Flag => "a condition must be true or false".to_owned(),
            Type::Number | Type::Text | Type::Duration | Type::Instant => format!("{} is needed here", words::a(expected)),
        };
        let help = words::rewrite(root, expected).unwrap_or_else(|| match expected {
            Type::Flag => words::compare(root, self.written(root), found),
            Type::Number | Type::Text | Type::Duration | Type::Instant => words::example(expected).to_owned(),
        });
        self.told.error("M103", &root.span, format!("{needed}, this is {}", words::a(found)), help);
    }
}

fn picked<T>(values: Vec<Code>, pick: fn(Code) -> Option<T>) -> Box<[T]> {
    values.into_iter().filter_map(pick).collect()
}
