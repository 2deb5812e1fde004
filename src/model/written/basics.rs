//! What a model builds on, as it is written: properties, groups of types, tallies and segments.

use super::{Name, all, listed_names, text};
use crate::diagnostic::{Faults, Place, Spanned, quoted};
use crate::touchpoint::{Decimal, Form, SumOfList, Unit};
use crate::yaml::{Entry, Reader, Value};

/// A property that conditions and tallies mention.
#[derive(Debug)]
pub struct Property {
    /// Its name in touchpoints.
    pub name: Name,
    /// What it is; `None` where that could not be read.
    pub kind: Option<Kind>,
    /// How numbers and amounts are written.
    pub form: Form,
    /// What it is summed up over, where touchpoints have a list in its place.
    pub sum: Option<SumOfList>,
    /// From a shared file, where nobody can know which models use it.
    pub shared: bool,
}

/// What a property is declared to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// A text.
    Text,
    /// True or false.
    Flag,
    /// An amount, with `currency` beside it.
    Money,
    /// A point in time.
    Instant,
}

impl Kind {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Text => "text",
            Kind::Flag => "flag",
            Kind::Money => "money",
            Kind::Instant => "instant",
        }
    }
}

const PLAIN: Form = Form { decimal: Decimal::Point, unit: Unit::Whole };
const COMMA: Form = Form { decimal: Decimal::Comma, unit: Unit::Whole };
const CENTS: Form = Form { decimal: Decimal::Point, unit: Unit::Cents };

/// What a property can be declared to be, in words.
pub(in crate::model) const KINDS: [(&str, (Kind, Form)); 8] = [
    ("number", (Kind::Number, PLAIN)),
    ("number with decimal comma", (Kind::Number, COMMA)),
    ("text", (Kind::Text, PLAIN)),
    ("flag", (Kind::Flag, PLAIN)),
    ("money", (Kind::Money, PLAIN)),
    ("money with decimal comma", (Kind::Money, COMMA)),
    ("money in cents", (Kind::Money, CENTS)),
    ("instant", (Kind::Instant, PLAIN)),
];

/// What stands between what a property is and what it is summed up over.
const SUMMED_UP: &str = ", sum of ";

/// A group of types, perhaps with a condition.
#[derive(Debug)]
pub struct Group {
    /// What it is called.
    pub name: Name,
    /// The types and groups.
    pub members: Vec<Name>,
    /// A touchpoint belongs to it only where this holds.
    pub when: Option<Name>,
    /// From a shared file, where nobody can know which models use it.
    pub shared: bool,
}

/// Something that is summed up.
#[derive(Debug)]
pub struct Tally {
    /// What it is called.
    pub name: Name,
    /// How; `None` where that could not be read.
    pub sum: Option<Sum>,
    /// The property that names what counts once, with its latest value, however often it comes.
    pub once: Option<Name>,
}

/// How a tally sums up.
#[derive(Debug)]
pub enum Sum {
    /// How many touchpoints.
    Count(Of),
    /// How many different values of a property.
    Distinct(Name, Of),
    /// The sum of a property.
    Sum(Name, Of),
    /// The latest value of a property.
    Last(Name, Of),
    /// How many sessions.
    Visits(Of),
}

/// Over which touchpoints.
#[derive(Debug)]
pub enum Of {
    /// All of the customer's.
    Any,
    /// Those of these types and groups.
    Types(Vec<Name>),
}

/// A group of customers.
#[derive(Debug)]
pub struct Segment {
    /// What it is called.
    pub name: Name,
    /// Who belongs to it.
    pub who: Who,
}

/// Who belongs to a segment.
#[derive(Debug)]
pub enum Who {
    /// `true`: whoever is left.
    Everyone(Place),
    /// Whoever a condition holds for.
    When(Name),
    /// It could not be read; told already.
    Unread,
}

pub(in crate::model) fn properties(value: &Value<'_>, faults: &mut Faults) -> Vec<Property> {
    all(value, "properties", property, faults)
}

fn property(entry: &Entry, faults: &mut Faults) -> Property {
    let value = Value::from(entry);
    let (declared, sum) = match value.split_once(SUMMED_UP) {
        Some((kind, parts)) => summed_up(&value, kind, parts, faults).unzip(),
        None => (value.word(&KINDS, faults).map(|declared| declared.value), None),
    };
    Property {
        name: entry.key.clone(),
        kind: declared.map(|(kind, _)| kind),
        form: declared.map(|(_, form)| form).unwrap_or_default(),
        sum,
        shared: false,
    }
}

/// A number or an amount, and what it is summed up over.
fn summed_up(value: &Value<'_>, kind: &str, parts: &str, faults: &mut Faults) -> Option<((Kind, Form), SumOfList)> {
    let found = KINDS.iter().find(|(name, (declared, _))| *name == kind && matches!(declared, Kind::Number | Kind::Money));
    let read = found.map(|(_, declared)| *declared).zip(SumOfList::parse(parts));
    if read.is_none() {
        let cause = format!("{} is no sum over a list", quoted(&format!("{kind}{SUMMED_UP}{parts}")));
        let help =
            "write `money, sum of LIST[].ENTRY`, such as `money, sum of products[].price * quantity`, or `number, sum of …`";
        faults.error("Y013", value.place(), cause, help);
    }
    read
}

pub(super) fn groups(value: &Value<'_>, faults: &mut Faults) -> Vec<Group> {
    all(value, "groups", group, faults)
}

fn group(entry: &Entry, faults: &mut Faults) -> Group {
    let value = Value::from(entry);
    let mut group = Group { name: entry.key.clone(), members: Vec::new(), when: None, shared: false };
    if !value.is_map() {
        group.members = listed_names(&value, "a type, a group", faults).unwrap_or_default();
        return group;
    }
    let Some(mut reader) = value.map(format!("group {}", quoted(&entry.key.value)), faults) else { return group };
    let of = reader.required("of", "of: survey.answered", faults);
    group.members = of.and_then(|of| listed_names(&of, "a type, a group", faults)).unwrap_or_default();
    let when = reader.required("when", "when: touchpoint.nps >= 9", faults);
    group.when = text(when, faults);
    reader.finish(faults);
    group
}

pub(super) fn tallies(value: &Value<'_>, faults: &mut Faults) -> Vec<Tally> {
    all(value, "tallies", tally, faults)
}

fn tally(entry: &Entry, faults: &mut Faults) -> Tally {
    let name = entry.key.clone();
    let Some(mut reader) = Value::from(entry).map(format!("tally {}", quoted(&name.value)), faults) else {
        return Tally { name, sum: None, once: None };
    };
    let once = reader.optional("once per");
    let sum = sum(&name, &mut reader, faults);
    reader.finish(faults);
    let once = once.and_then(|once| {
        if let Some(Sum::Count(_) | Sum::Distinct(..) | Sum::Last(..) | Sum::Visits(_)) = &sum {
            let help = "only a `sum` has it; to count each once, write `count distinct: order_id` with `of:`";
            faults.error("M053", once.key_place(), "`once per` has no place here", help);
        }
        once.text(faults)
    });
    Tally { name, sum, once }
}

fn sum(name: &Name, reader: &mut Reader<'_>, faults: &mut Faults) -> Option<Sum> {
    let ways = ["count", "count distinct", "sum", "last", "visits"];
    let given: Vec<(&str, Value<'_>)> = ways.into_iter().filter_map(|way| Some((way, reader.optional(way)?))).collect();
    let of_given = reader.optional("of");
    let (way, value) = match given.as_slice() {
        [] => {
            let cause = format!("tally {} does not say how it sums up", quoted(&name.value));
            let help = "add one of `count: order.completed`, `count distinct: order_id` with `of:`, `sum: total` with `of:`, `last: csat` with `of:`, `visits: any`";
            faults.error("M053", &name.place, cause, help);
            return None;
        }
        [one] => one,
        [_, (_, second), ..] => {
            let cause = format!("tally {} sums up in two ways", quoted(&name.value));
            faults.error("M053", second.key_place(), cause, "keep one, and give the other a tally of its own");
            return None;
        }
    };
    if *way == "count" || *way == "visits" {
        if let Some(of) = of_given {
            let cause = format!("`of` has no place beside {}", quoted(way));
            let help = format!("name the types after {}: `{way}: order.completed`", quoted(way));
            faults.error("M053", of.key_place(), cause, help);
        }
        let of = over(value, faults)?;
        return Some(if *way == "count" { Sum::Count(of) } else { Sum::Visits(of) });
    }
    let property = value.text(faults);
    let Some(of) = of_given else {
        let cause = format!("tally {} does not say of which touchpoints", quoted(&name.value));
        faults.error("M053", value.key_place(), cause, "add `of:` with types or groups, such as `of: order.completed`");
        return None;
    };
    let of = over(&of, faults)?;
    let property = property?;
    Some(match *way {
        "sum" => Sum::Sum(property, of),
        "count distinct" => Sum::Distinct(property, of),
        _ => Sum::Last(property, of),
    })
}

fn over(value: &Value<'_>, faults: &mut Faults) -> Option<Of> {
    let names = listed_names(value, "a type, a group, `any`", faults)?;
    Some(match names.as_slice() {
        [only] if only.value == "any" => Of::Any,
        _ => Of::Types(names),
    })
}

pub(super) fn segments(value: &Value<'_>, faults: &mut Faults) -> Vec<Segment> {
    let read = |entry: &Entry, faults: &mut Faults| {
        let who = match Value::from(entry).text(faults) {
            Some(Spanned { value, place }) if value.trim() == "true" => Who::Everyone(place),
            Some(condition) => Who::When(condition),
            None => Who::Unread,
        };
        Segment { name: entry.key.clone(), who }
    };
    all(value, "segments", read, faults)
}
