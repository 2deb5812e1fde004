//! Random expressions as a tree of the tests' own, well typed by construction, and the facts they are about.

use proptest::prelude::*;
use proptest::sample::Index;
use sillage::expression::{Facts, Slot, Type};
use sillage::time::{Span, Timestamp};

/// The facts of the environment, in the order of their slots.
pub(crate) const FACTS: &[(&str, Type)] = &[
    ("touchpoint.nps", Type::Number),
    ("basket.value", Type::Number),
    ("customer.purchases", Type::Number),
    ("touchpoint.type", Type::Text),
    ("touchpoint.channel", Type::Text),
    ("segment", Type::Text),
    ("touchpoint.vip", Type::Flag),
    ("basket.open", Type::Flag),
    ("touchpoint.at", Type::Instant),
    ("journey.started_at", Type::Instant),
    ("visit.length", Type::Duration),
    ("visit.pause", Type::Duration),
];

/// Facts that no sketch mentions by itself, to stand where their type is wrong.
pub(crate) const WRONG: &[(&str, Type)] =
    &[("wrong.number", Type::Number), ("wrong.text", Type::Text), ("wrong.flag", Type::Flag)];

/// A value of a fact or a literal.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(f64),
    Text(String),
    Flag(bool),
    Duration(Span),
    Instant(Timestamp),
}

impl Value {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Value::Number(_) => Type::Number,
            Value::Text(_) => Type::Text,
            Value::Flag(_) => Type::Flag,
            Value::Duration(_) => Type::Duration,
            Value::Instant(_) => Type::Instant,
        }
    }
}

/// The facts of one case; some are absent.
#[derive(Clone, Debug)]
pub(crate) struct Given(pub(crate) Vec<Option<Value>>);

impl Given {
    pub(crate) fn none() -> Self {
        Given(vec![None; FACTS.len()])
    }

    pub(crate) fn any() -> impl Strategy<Value = Given> {
        let facts: Vec<_> = FACTS.iter().map(|(_, kind)| prop::option::weighted(0.75, value(*kind))).collect();
        facts.prop_map(Given)
    }
}

impl Facts for Given {
    fn number(&self, slot: Slot) -> Option<f64> {
        if let Some(Some(Value::Number(value))) = self.0.get(usize::from(slot)) { Some(*value) } else { None }
    }
    fn text(&self, slot: Slot) -> Option<&str> {
        if let Some(Some(Value::Text(value))) = self.0.get(usize::from(slot)) { Some(value) } else { None }
    }
    fn flag(&self, slot: Slot) -> Option<bool> {
        if let Some(Some(Value::Flag(value))) = self.0.get(usize::from(slot)) { Some(*value) } else { None }
    }
    fn instant(&self, slot: Slot) -> Option<Timestamp> {
        if let Some(Some(Value::Instant(value))) = self.0.get(usize::from(slot)) { Some(*value) } else { None }
    }
    fn duration(&self, slot: Slot) -> Option<Span> {
        if let Some(Some(Value::Duration(value))) = self.0.get(usize::from(slot)) { Some(*value) } else { None }
    }
}

/// An expression as a tree; operators by their sign.
#[derive(Clone, Debug)]
pub(crate) enum Sketch {
    Literal(Value),
    Fact(&'static str, Type),
    Has(&'static str),
    /// Brackets that are not needed.
    Brackets(Box<Sketch>),
    Not(Box<Sketch>),
    Negated(Box<Sketch>),
    /// `|| && == != < <= > >= + - * /`, and the type of the result.
    Binary(&'static str, Type, Box<(Sketch, Sketch)>),
    In(Box<Sketch>, Vec<Value>),
    Choice(Box<(Sketch, Sketch, Sketch)>),
    Method(&'static str, Box<(Sketch, Sketch)>),
    Size(Box<Sketch>),
}

/// A sketch with one part of the wrong type.
pub(crate) struct Mutant {
    pub(crate) whole: Sketch,
    /// What the wrong part stands in, brackets aside; `None` where it is the whole.
    pub(crate) parent: Option<Sketch>,
    pub(crate) name: String,
}

impl Sketch {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Sketch::Literal(value) => value.kind(),
            Sketch::Fact(_, kind) | Sketch::Binary(_, kind, _) => *kind,
            Sketch::Has(_) | Sketch::Not(_) | Sketch::In(..) | Sketch::Method(..) => Type::Flag,
            Sketch::Brackets(inner) => inner.kind(),
            Sketch::Choice(parts) => parts.1.kind(),
            Sketch::Negated(_) | Sketch::Size(_) => Type::Number,
        }
    }

    /// How it is written in Sillage.
    pub(crate) fn written(&self) -> String {
        self.render(0, &mut |part| match part {
            Sketch::Literal(value) => Some(literal(value)),
            Sketch::Fact(name, _) => Some((*name).to_owned()),
            Sketch::Has(name) => Some(format!("has({name})")),
            Sketch::In(..) | Sketch::Size(_) | Sketch::Choice(_) => None,
            Sketch::Brackets(_) | Sketch::Not(_) | Sketch::Negated(_) | Sketch::Binary(..) | Sketch::Method(..) => None,
        })
    }

    /// How tightly the outermost operator binds.
    fn binds(&self) -> u8 {
        match self {
            Sketch::Choice(_) => 0,
            Sketch::Binary("||", ..) => 1,
            Sketch::Binary("&&", ..) => 2,
            Sketch::Binary("+" | "-", ..) => 4,
            Sketch::Binary("*" | "/", ..) => 5,
            Sketch::Binary(..) | Sketch::In(..) => 3,
            Sketch::Not(_) | Sketch::Negated(_) => 6,
            Sketch::Literal(_) | Sketch::Fact(..) | Sketch::Has(_) | Sketch::Brackets(_) => 7,
            Sketch::Method(..) | Sketch::Size(_) => 7,
        }
    }

    /// Writes it with as few brackets as the grammar allows; `special` may write a part in its own way.
    pub(crate) fn render(&self, least: u8, special: &mut dyn FnMut(&Sketch) -> Option<String>) -> String {
        let binds = self.binds();
        let text = special(self).unwrap_or_else(|| match self {
            Sketch::Literal(value) => literal(value),
            Sketch::Fact(name, _) => (*name).to_owned(),
            Sketch::Has(name) => format!("has({name})"),
            Sketch::Brackets(inner) => format!("({})", inner.render(0, special)),
            Sketch::Not(inner) => format!("!{}", inner.render(6, special)),
            Sketch::Negated(inner) => format!("-{}", inner.render(6, special)),
            Sketch::Binary(sign, _, sides) => {
                format!("{} {sign} {}", sides.0.render(binds, special), sides.1.render(binds + 1, special))
            }
            Sketch::In(inner, list) => {
                let list: Vec<String> = list.iter().map(|value| Sketch::Literal(value.clone()).render(0, special)).collect();
                format!("{} in [{}]", inner.render(binds, special), list.join(", "))
            }
            Sketch::Choice(parts) => {
                let (condition, yes) = (parts.0.render(1, special), parts.1.render(1, special));
                format!("{condition} ? {yes} : {}", parts.2.render(0, special))
            }
            Sketch::Method(name, sides) => {
                format!("{}.{name}({})", sides.0.render(7, special), sides.1.render(0, special))
            }
            Sketch::Size(inner) => format!("size({})", inner.render(0, special)),
        });
        if binds < least { format!("({text})") } else { text }
    }

    fn parts(&mut self) -> Vec<&mut Sketch> {
        match self {
            Sketch::Literal(_) | Sketch::Fact(..) | Sketch::Has(_) => Vec::new(),
            Sketch::Brackets(inner) | Sketch::Not(inner) | Sketch::Negated(inner) => vec![inner],
            Sketch::In(inner, _) | Sketch::Size(inner) => vec![inner],
            Sketch::Binary(_, _, sides) | Sketch::Method(_, sides) => vec![&mut sides.0, &mut sides.1],
            Sketch::Choice(parts) => vec![&mut parts.0, &mut parts.1, &mut parts.2],
        }
    }

    /// Puts a fact of another type somewhere.
    pub(crate) fn with_wrong_part(&self, place: &Index, wrong: &Index) -> Mutant {
        let mut whole = self.clone();
        let mut path = Vec::new();
        let mut part = &mut whole;
        // Down the tree until the number says stop, which it does at the latest at a leaf.
        let mut choice = place.index(usize::MAX);
        loop {
            let count = part.parts().len();
            if count == 0 || (choice.is_multiple_of(5) && !matches!(part, Sketch::Brackets(_))) {
                break;
            }
            let next = (choice / 5) % count;
            choice = (choice / 5) / count;
            path.push(next);
            part = part.parts().swap_remove(next);
        }
        let kind = part.kind();
        let names: Vec<_> = WRONG.iter().filter(|(_, other)| *other != kind).collect();
        let (name, kind) = names[wrong.index(names.len())];
        *part = Sketch::Fact(name, *kind);
        let (mut parent, mut part) = (None, &mut whole.clone());
        for next in path {
            if !matches!(part, Sketch::Brackets(_)) {
                parent = Some(part.clone());
            }
            part = part.parts().swap_remove(next);
        }
        Mutant { whole, parent, name: (*name).to_owned() }
    }
}

/// A text in the quotes of both languages.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn literal(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::Flag(flag) => flag.to_string(),
        Value::Duration(span) => format!("duration(\"{span}\")"),
        Value::Instant(instant) => format!("timestamp(\"{instant}\")"),
    }
}

/// Values that are often alike, so that comparisons come out either way.
fn value(kind: Type) -> BoxedStrategy<Value> {
    let millis = prop_oneof![0i64..4, Just(60_000), Just(3_600_000), 0i64..40_000_000_000];
    match kind {
        Type::Number => {
            prop_oneof![(0i32..4).prop_map(f64::from), (0i32..4_000).prop_map(|n| f64::from(n) / 8.0), Just(1e21), Just(0.1)]
                .prop_map(Value::Number)
                .boxed()
        }
        Type::Text => prop_oneof!["[ab]{0,2}", "[aé\"'\\\\\n€😀]{0,3}"].prop_map(Value::Text).boxed(),
        Type::Flag => any::<bool>().prop_map(Value::Flag).boxed(),
        Type::Duration => millis.prop_map(|millis| Value::Duration(Span::from_millis(millis))).boxed(),
        Type::Instant => {
            millis.prop_map(|millis| Value::Instant(Timestamp::from_millis(1_767_225_600_000 + millis))).boxed()
        }
    }
}

fn fact(kind: Type) -> BoxedStrategy<Sketch> {
    let own: Vec<&'static str> = FACTS.iter().filter(|(_, other)| *other == kind).map(|(name, _)| *name).collect();
    prop::sample::select(own).prop_map(move |name| Sketch::Fact(name, kind)).boxed()
}

const KINDS: [Type; 5] = [Type::Number, Type::Text, Type::Flag, Type::Duration, Type::Instant];

fn at(level: &[BoxedStrategy<Sketch>], kind: Type) -> BoxedStrategy<Sketch> {
    let index = KINDS.iter().position(|other| *other == kind).expect("one of the kinds");
    level[index].clone()
}

/// Sketches of any type, up to five levels deep.
pub(crate) fn sketches() -> BoxedStrategy<Sketch> {
    let leaf = |kind| prop_oneof![3 => fact(kind), 2 => value(kind).prop_map(Sketch::Literal)].boxed();
    let mut level: Vec<BoxedStrategy<Sketch>> = KINDS.iter().map(|kind| leaf(*kind)).collect();
    for _ in 0..4 {
        level = KINDS.iter().map(|kind| prop_oneof![1 => leaf(*kind), 5 => deeper(*kind, &level)].boxed()).collect();
    }
    let (flag, any) = (at(&level, Type::Flag), prop::strategy::Union::new(level));
    prop_oneof![3 => flag, 1 => any].boxed()
}

fn binary(
    signs: &'static [&'static str],
    kind: Type,
    left: BoxedStrategy<Sketch>,
    right: BoxedStrategy<Sketch>,
) -> BoxedStrategy<Sketch> {
    (prop::sample::select(signs), left, right)
        .prop_map(move |(sign, left, right)| Sketch::Binary(sign, kind, Box::new((left, right))))
        .boxed()
}

/// One level above what there is.
fn deeper(kind: Type, level: &[BoxedStrategy<Sketch>]) -> BoxedStrategy<Sketch> {
    let of = |kind| at(level, kind);
    let brackets = of(kind).prop_map(|inner| Sketch::Brackets(Box::new(inner))).boxed();
    let choice = (of(Type::Flag), of(kind), of(kind)).prop_map(|parts| Sketch::Choice(Box::new(parts))).boxed();
    const ORDER: &[&str] = &["==", "!=", "<", "<=", ">", ">="];
    let own = match kind {
        Type::Number => prop_oneof![
            3 => binary(&["+", "-", "*", "/"], kind, of(kind), of(kind)),
            1 => of(kind).prop_map(|inner| Sketch::Negated(Box::new(inner))),
            1 => of(Type::Text).prop_map(|inner| Sketch::Size(Box::new(inner))),
        ]
        .boxed(),
        Type::Text => fact(kind),
        Type::Duration => prop_oneof![
            binary(&["+", "-"], kind, of(kind), of(kind)),
            binary(&["-"], kind, of(Type::Instant), of(Type::Instant)),
        ]
        .boxed(),
        Type::Instant => prop_oneof![
            binary(&["+", "-"], kind, of(kind), of(Type::Duration)),
            binary(&["+"], kind, of(Type::Duration), of(kind)),
        ]
        .boxed(),
        Type::Flag => {
            let compared = [Type::Number, Type::Text, Type::Duration, Type::Instant]
                .map(|side| binary(ORDER, kind, of(side), of(side)));
            let lists = KINDS.map(|kind| {
                (of(kind), prop::collection::vec(value(kind), 1..4))
                    .prop_map(|(inner, list)| Sketch::In(Box::new(inner), list))
                    .boxed()
            });
            let has = prop::sample::select(FACTS).prop_map(|(name, _)| Sketch::Has(name));
            let method = (prop::sample::select(&["startsWith", "endsWith", "contains"][..]), of(Type::Text), of(Type::Text))
                .prop_map(|(name, text, wanted)| Sketch::Method(name, Box::new((text, wanted))));
            prop_oneof![
                4 => binary(&["||", "&&"], kind, of(kind), of(kind)),
                4 => prop::strategy::Union::new(compared),
                1 => binary(&["==", "!="], kind, of(kind), of(kind)),
                1 => of(kind).prop_map(|inner| Sketch::Not(Box::new(inner))),
                1 => prop::strategy::Union::new(lists),
                1 => has,
                1 => method,
            ]
            .boxed()
        }
    };
    prop_oneof![6 => own, 1 => brackets, 1 => choice].boxed()
}
