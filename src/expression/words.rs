//! What is said about an expression: types in words, and what could have been meant.

use super::parse::{Node, Shape};
use super::{Environment, Type};
use crate::diagnostic::{did_you_mean, listed, nearest, quoted};
use crate::time::{Span, Timestamp};

/// The functions there are: name, whether it is called on a text, how it is written.
pub(super) const FUNCTIONS: &[(&str, bool, &str)] = &[
    ("has", false, "has(touchpoint.nps)"),
    ("duration", false, "duration(\"1h 30m\")"),
    ("timestamp", false, "timestamp(\"2026-01-31T00:00:00Z\")"),
    ("size", false, "size(touchpoint.type)"),
    ("startsWith", true, "touchpoint.type.startsWith(\"a\")"),
    ("endsWith", true, "touchpoint.type.endsWith(\"a\")"),
    ("contains", true, "touchpoint.type.contains(\"a\")"),
];

/// Functions of CEL and of habit that this language does without, and what to do instead.
const ABSENT: &[(&[&str], &str)] = &[
    (
        &["all", "exists", "exists_one", "existsOne", "map", "filter", "sum", "count", "min", "max", "avg"],
        "conditions have no loops; let a tally count or sum up",
    ),
    (
        &["matches", "regex", "replace", "split", "substring", "lowerAscii", "upperAscii", "lower", "upper"],
        "use `startsWith`, `endsWith` or `contains`",
    ),
    (
        &["int", "uint", "double", "string", "bool", "bytes", "dyn", "type", "number"],
        "remove it; each fact has one type, as declared",
    ),
    (&["now", "today", "date"], "conditions have no clock; use `touchpoint.at`"),
    (
        &[
            "getFullYear",
            "getMonth",
            "getDate",
            "getDayOfMonth",
            "getDayOfWeek",
            "getDayOfYear",
            "getHours",
            "getMinutes",
            "getSeconds",
        ],
        "compare instants, such as `touchpoint.at >= timestamp(\"2026-01-31T00:00:00Z\")`",
    ),
    (&["coalesce", "orValue", "optional", "default"], "write `has(FACT) ? FACT : OTHER`"),
];

/// A type with its article.
pub(super) fn a(kind: Type) -> &'static str {
    match kind {
        Type::Number => "a number",
        Type::Text => "a text",
        Type::Flag => "a flag",
        Type::Duration => "a duration",
        Type::Instant => "an instant",
    }
}

/// Several of a type.
pub(super) fn several(kind: Type) -> &'static str {
    match kind {
        Type::Number => "numbers",
        Type::Text => "texts",
        Type::Flag => "flags",
        Type::Duration => "durations",
        Type::Instant => "instants",
    }
}

/// How a value of a type could come about.
pub(super) fn example(kind: Type) -> &'static str {
    match kind {
        Type::Number => "write a number, such as 9",
        Type::Text => "write a text in quotes, such as \"web\"",
        Type::Flag => "write a comparison, such as `touchpoint.nps >= 9`",
        Type::Duration => "write one, such as `duration(\"1h 30m\")`",
        Type::Instant => "name one, such as `touchpoint.at + duration(\"7d\")`",
    }
}

/// How to make a condition of a value.
pub(super) fn compare(node: &Node, written: &str, kind: Type) -> String {
    if !matches!(node.shape, Shape::Fact(_)) {
        return "compare it with something, such as `touchpoint.nps >= 9`".to_owned();
    }
    match kind {
        Type::Number => format!("compare it with a number, such as `{written} > 0`"),
        Type::Text => format!("compare it with a text, such as `{written} == \"web\"`"),
        Type::Flag => format!("write `{written}`"),
        Type::Duration => format!("compare it with a duration, such as `{written} > duration(\"1h\")`"),
        Type::Instant => format!("compare it with an instant, such as `{written} > timestamp(\"2026-01-31T00:00:00Z\")`"),
    }
}

/// The type of a value that is written out.
pub(super) fn literal(node: &Node) -> Option<Type> {
    match &node.shape {
        Shape::Number(_) => Some(Type::Number),
        Shape::Text(_) => Some(Type::Text),
        Shape::Flag(_) => Some(Type::Flag),
        Shape::Bare(_) => Some(Type::Duration),
        Shape::Call(name, _, None, _) if name == "duration" => Some(Type::Duration),
        Shape::Call(name, _, None, _) if name == "timestamp" => Some(Type::Instant),
        Shape::Fact(_)
        | Shape::Wrong
        | Shape::Not(_)
        | Shape::Negated(_)
        | Shape::Logic(..)
        | Shape::Compared(..)
        | Shape::Calculated(..)
        | Shape::In(..)
        | Shape::Choice(_)
        | Shape::Call(..) => None,
    }
}

/// How to write a number or a text so that it is of the wanted type.
pub(super) fn rewrite(node: &Node, wanted: Type) -> Option<String> {
    match (&node.shape, wanted) {
        (Shape::Text(text), Type::Number) if text.trim().parse::<f64>().is_ok() => {
            Some(format!("write {}, without quotes", quoted(text.trim())))
        }
        (Shape::Text(text), Type::Flag) if text == "true" || text == "false" => {
            Some(format!("write {}, without quotes", quoted(text)))
        }
        (Shape::Text(text), Type::Duration) => match Span::parse(text) {
            Ok(_) => Some(format!("write `duration(\"{text}\")`")),
            Err(_) => Some("a duration is written as `duration(\"1h 30m\")`".to_owned()),
        },
        (Shape::Text(text), Type::Instant) => {
            let whole = [text.clone(), format!("{text}T00:00:00Z"), format!("{text}Z")];
            let meant = whole.iter().find(|text| Timestamp::parse(text).is_ok());
            let meant = meant.map_or("2026-01-31T00:00:00Z", String::as_str);
            Some(format!("an instant is written as `timestamp(\"{meant}\")`"))
        }
        (Shape::Number(number), Type::Text) => Some(format!("write `\"{number}\"`, in quotes")),
        (Shape::Number(number), Type::Duration) => {
            let meant = Some(*number).filter(|number| number.fract() == 0.0 && (1.0..1e6).contains(number));
            Some(format!("a duration has a unit, such as `duration(\"{}m\")`", meant.unwrap_or(30.0)))
        }
        (Shape::Number(_), Type::Instant) => {
            Some("an instant is written as `timestamp(\"2026-01-31T00:00:00Z\")`".to_owned())
        }
        (Shape::Number(_), Type::Flag) => Some("write `true` or `false`, or a comparison".to_owned()),
        (_, Type::Number | Type::Text | Type::Flag | Type::Duration | Type::Instant) => None,
    }
}

/// Whether a name is what other languages call an absent value.
pub(super) fn is_null(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "null" | "nil" | "none" | "undefined")
}

/// Code, cause and help for a name that is no fact. `wanted` is the type that would fit there.
pub(super) fn unknown(name: &str, environment: &Environment, wanted: Option<Type>) -> (&'static str, String, String) {
    let shown = quoted(name);
    let lower = name.to_ascii_lowercase();
    if is_null(name) {
        return (
            "M106",
            format!("{shown} is not part of the language"),
            "ask with `has(FACT)` whether there is a value".to_owned(),
        );
    }
    if lower == "true" || lower == "false" {
        return ("M101", format!("{shown} is not a fact"), format!("write `{lower}`"));
    }
    let (space, rest) = name.split_once('.').unwrap_or((name, ""));
    let near = near(space, rest, environment);
    if let Some(note) = environment.note(space) {
        let fill = |text: &str| text.replace('*', if rest.is_empty() { "…" } else { rest });
        let help = near.map_or_else(|| fill(&note.help), |near| format!("did you mean {}?", quoted(near)));
        return ("M101", note.cause.as_deref().map_or_else(|| format!("there is no fact {shown}"), fill), help);
    }
    let names: Vec<&str> = environment.names().collect();
    let cause = format!("there is no fact {shown}");
    let others = || names.iter().copied().filter(|known| known.split('.').next() != Some(space));
    // `nps` for `touchpoint.nps`.
    let member = || names.iter().copied().find(|known| known.rsplit_once('.').is_some_and(|(_, last)| last == name));
    if let Some(near) = near.or_else(member).or_else(|| nearest(name, others())) {
        return ("M101", cause, format!("did you mean {}?", quoted(near)));
    }
    if wanted == Some(Type::Text) {
        return ("M101", cause, format!("if it is a text, write it in quotes: `\"{name}\"`"));
    }
    let mut own = names.iter().copied().filter(|known| known.split('.').next() == Some(space)).peekable();
    let help = if own.peek().is_some() {
        format!("there is {}", listed(own))
    } else {
        let mut spaces: Vec<String> = Vec::new();
        for known in &names {
            let space = known.split_once('.').map_or_else(|| (*known).to_owned(), |(space, _)| format!("{space}.…"));
            if !spaces.contains(&space) {
                spaces.push(space);
            }
        }
        if spaces.is_empty() {
            "no facts are known here".to_owned()
        } else {
            format!("a condition can mention {}", listed(spaces.iter().map(String::as_str)))
        }
    };
    ("M101", cause, help)
}

/// The known name of a namespace whose rest is nearest: `touchpoint` itself would make all of them alike.
fn near<'a>(space: &str, rest: &str, environment: &'a Environment) -> Option<&'a str> {
    let own = || {
        environment.names().filter_map(|known| Some((known.split_once('.')?, known))).filter(|((own, _), _)| *own == space)
    };
    let near = nearest(rest, own().map(|((_, rest), _)| rest))?;
    own().find(|((_, rest), _)| *rest == near).map(|(_, known)| known)
}

/// Code, cause and help for a function that does not exist.
pub(super) fn no_function(name: &str) -> (&'static str, String, String) {
    if let Some((_, help)) = ABSENT.iter().find(|(names, _)| names.contains(&name)) {
        return ("M106", format!("{} is not part of the language", quoted(name)), (*help).to_owned());
    }
    let known: Vec<&str> = FUNCTIONS.iter().map(|(name, _, _)| *name).collect();
    ("M104", format!("there is no function {}", quoted(name)), did_you_mean(name, &known, "the functions are"))
}
