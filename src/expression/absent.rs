//! What a line says that a property must not be: without a value it does not hold, so it leaves out whatever lacks the
//! property, which is hardly meant.

use std::ops::Range;

use super::code::Relation;
use super::parse::{Node, Shape};
use super::told::Told;
use crate::diagnostic::quoted;

/// What every touchpoint has.
const ENVELOPE: [&str; 3] = ["type", "id", "at"];

/// Tells each property of the touchpoint that must not be something, where the line does not ask whether there is one.
pub(super) fn warn(text: &str, root: &Node, told: &mut Told) {
    let mut found = Found::default();
    found.look(root);
    for (fact, part) in &found.denied {
        let Some(property) = fact.strip_prefix("touchpoint.").filter(|property| !ENVELOPE.contains(property)) else {
            continue;
        };
        if found.asked.contains(fact) {
            continue;
        }
        let says = &text[part.clone()];
        let cause = format!("{} does not hold for a touchpoint without {}", quoted(says), quoted(property));
        let (open, close) = if *part == root.span { ("", "") } else { ("(", ")") };
        let help = format!(
            "to let these in, write `{open}!has({fact}) || {says}{close}`; to leave them out, write `{open}has({fact}) && {says}{close}`"
        );
        told.warning("M084", part, cause, help);
    }
}

#[derive(Default)]
struct Found {
    /// Facts of which the line asks whether there is a value.
    asked: Vec<String>,
    /// Facts that must not be something, and the part that says so.
    denied: Vec<(String, Range<usize>)>,
}

impl Found {
    fn look(&mut self, node: &Node) {
        match &node.shape {
            Shape::Call(name, _, None, values) if name == "has" => self.asked.extend(values.iter().filter_map(fact)),
            Shape::Compared(Relation::NotEqual, _, sides) => match compared(&sides.0, &sides.1) {
                Some(fact) => self.denied.push((fact, node.span.clone())),
                None => self.look_at_both(&sides.0, &sides.1),
            },
            // Whoever asks for `false` hardly means to leave out what says nothing.
            Shape::Compared(Relation::Equal, _, sides) if is_false(&sides.0) || is_false(&sides.1) => {
                match compared(&sides.0, &sides.1) {
                    Some(fact) => self.denied.push((fact, node.span.clone())),
                    None => self.look_at_both(&sides.0, &sides.1),
                }
            }
            Shape::Not(inner) => match told_of(inner) {
                Some(fact) => self.denied.push((fact, node.span.clone())),
                None => self.look(inner),
            },
            Shape::Compared(_, _, sides) | Shape::Calculated(_, _, sides) => self.look_at_both(&sides.0, &sides.1),
            Shape::Negated(inner) => self.look(inner),
            Shape::Logic(_, parts) => parts.iter().for_each(|part| self.look(part)),
            Shape::In(_, value, list) => {
                self.look(value);
                list.iter().for_each(|value| self.look(value));
            }
            Shape::Choice(parts) => [&parts.0, &parts.1, &parts.2].into_iter().for_each(|part| self.look(part)),
            Shape::Call(_, _, receiver, values) => {
                receiver.iter().for_each(|receiver| self.look(receiver));
                values.iter().for_each(|value| self.look(value));
            }
            Shape::Number(_) | Shape::Text(_) | Shape::Flag(_) | Shape::Bare(_) | Shape::Fact(_) | Shape::Wrong => {}
        }
    }

    fn look_at_both(&mut self, one: &Node, other: &Node) {
        self.look(one);
        self.look(other);
    }
}

fn is_false(node: &Node) -> bool {
    matches!(node.shape, Shape::Flag(false))
}

fn fact(node: &Node) -> Option<String> {
    if let Shape::Fact(name) = &node.shape { Some(name.clone()) } else { None }
}

/// The fact that is compared with a value that is written. What must not be the empty text must be there.
fn compared(one: &Node, other: &Node) -> Option<String> {
    let is_value = |node: &Node| match &node.shape {
        Shape::Text(text) => !text.is_empty(),
        other => matches!(other, Shape::Number(_) | Shape::Flag(_)),
    };
    fact(one).filter(|_| is_value(other)).or_else(|| fact(other).filter(|_| is_value(one)))
}

/// The fact of which a part says that it is something.
fn told_of(node: &Node) -> Option<String> {
    if let Shape::Compared(Relation::Equal, _, sides) = &node.shape {
        return compared(&sides.0, &sides.1);
    }
    if let Shape::In(_, value, _) | Shape::Call(_, _, Some(value), _) = &node.shape {
        return fact(value);
    }
    fact(node)
}
