//! The crate `cel` as the judge: facts become its maps, sketches its text. It parses, types and evaluates with code of its
//! own.

use std::collections::HashMap;

use cel::{Context, Program, Value as Cel};
use sillage::time::{Span, Timestamp};

use super::sketch::{FACTS, Given, Sketch, Value, quoted};

pub(crate) struct Oracle {
    context: Context<'static, 'static>,
}

impl Oracle {
    pub(crate) fn new(given: &Given) -> Self {
        let mut context = Context::default();
        let mut maps: HashMap<&str, HashMap<String, Cel>> = HashMap::new();
        for ((name, _), value) in FACTS.iter().zip(&given.0) {
            let (space, member) = split(name);
            let map = maps.entry(space).or_default();
            if let Some(value) = value {
                map.insert(member.to_owned(), execute(&literal(value), &context).expect("a literal"));
            }
        }
        for (space, map) in maps {
            context.add_variable_from_value(space, map);
        }
        Oracle { context }
    }

    /// Whether a condition holds; an error in words.
    pub(crate) fn ask(&self, text: &str) -> Result<bool, String> {
        match execute(text, &self.context)? {
            Cel::Bool(value) => Ok(value),
            other => Err(format!("{other:?} is no flag")),
        }
    }

    pub(crate) fn has_no_value(&self, text: &str) -> bool {
        execute(text, &self.context).is_err()
    }

    /// The sketch as CEL that means the same in this case, and whether a choice had no condition. There CEL has no value and
    /// Sillage takes the second outcome (the one deviation), so `false` stands for such a condition.
    pub(crate) fn translate(&self, sketch: &Sketch) -> (String, bool) {
        let mut deviates = false;
        let text = self.render(sketch, 0, &mut deviates);
        (text, deviates)
    }

    fn render(&self, sketch: &Sketch, least: u8, deviates: &mut bool) -> String {
        sketch.render(least, &mut |part| match part {
            Sketch::Literal(value) => Some(literal(value)),
            Sketch::Fact(name, _) => Some(fact(name)),
            Sketch::Has(name) => Some(format!("has({})", fact(name))),
            Sketch::Size(inner) => Some(format!("double(size({}))", self.render(inner, 0, deviates))),
            Sketch::Choice(parts) => {
                let mut condition = self.render(&parts.0, 1, deviates);
                if self.has_no_value(&condition) {
                    *deviates = true;
                    condition = "false".to_owned();
                }
                let (yes, no) = (self.render(&parts.1, 1, deviates), self.render(&parts.2, 0, deviates));
                Some(format!("{condition} ? {yes} : {no}"))
            }
            Sketch::Brackets(_) | Sketch::Not(_) | Sketch::Negated(_) => None,
            Sketch::Binary(..) | Sketch::In(..) | Sketch::Method(..) => None,
        })
    }
}

fn execute(text: &str, context: &Context<'_, '_>) -> Result<Cel, String> {
    // What the crate cannot read is no error of evaluating.
    let program = Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    program.execute(context).map_err(|error| error.to_string())
}

/// A name without a namespace gets one, as CEL asks `has` of members only.
fn split(name: &'static str) -> (&'static str, &'static str) {
    name.split_once('.').unwrap_or(("top", name))
}

fn fact(name: &'static str) -> String {
    let (space, member) = split(name);
    format!("{space}.{member}")
}

fn literal(value: &Value) -> String {
    match value {
        Value::Number(value) => number(*value),
        Value::Text(text) => quoted(text),
        Value::Flag(flag) => flag.to_string(),
        Value::Duration(span) => duration(*span),
        Value::Instant(value) => instant(*value),
    }
}

pub(crate) fn number(value: f64) -> String {
    // With a point or an exponent, so that it is no integer of CEL; no literal is infinite or NaN.
    if value.is_infinite() { format!("({}1.0 / 0.0)", if value > 0.0 { "" } else { "-" }) } else { format!("{value:?}") }
}

pub(crate) fn duration(span: Span) -> String {
    format!("duration(\"{}ms\")", span.as_millis())
}

pub(crate) fn instant(instant: Timestamp) -> String {
    format!("timestamp(\"{instant}\")")
}
