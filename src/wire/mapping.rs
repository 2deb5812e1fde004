//! Field mappings: where a source that names things otherwise keeps what a touchpoint needs.
//!
//! A path is dotted (`context.user.id`); a key that itself has dots in it is found too. Lists are entered for what is summed up over them alone. A field
//! without a mapping is read under its own name. Mapped records go through a tree, whose texts are borrowed from the record;
//! it takes about twice as long as reading without one.

use std::borrow::Cow;

use compact_str::CompactString;
use serde::de::DeserializeSeed;

use super::json;
use super::source::Source;
use super::sums::SumOver;
use super::tree::{Node, Tree};
use super::wanted::Interest;
use super::written::{self, Field, MAX_DEPTH, NO_OBJECT, Properties, Scalar, Written, dotted};
use crate::diagnostic::{did_you_mean, quoted};
use crate::model::Model;
use crate::time::Zone;

/// What can be mapped; beside these, `properties.NAME` for any name. A number in `occurred_at` has the unit that its magnitude
/// tells, or the one that stands in the name. What stands for `timezone` is no path, but where local times and days are read.
pub const FIELDS: &[&str] = &[
    "event_id",
    "customer_id",
    "anonymous_id",
    "occurred_at",
    "occurred_at_s",
    "occurred_at_us",
    "channel",
    "type",
    "session_id",
    "properties",
    TIMEZONE,
];

const TIMEZONE: &str = "timezone";

/// Which source fields hold what, where the source names them otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    routes: Vec<Route>,
    zone: Option<Zone>,
}

/// Where something is to be found: the first path that leads to something counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    target: Target,
    sources: Vec<(Source, Unit)>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Field(Field),
    Properties,
    Property(CompactString),
}

impl Target {
    /// Whether it is a text, which can be put together and normalised.
    fn is_text(&self) -> bool {
        match self {
            Target::Field(Field::OccurredAt) | Target::Properties | Target::Property(_) => false,
            Target::Field(_) => true,
        }
    }
}

/// What a number that stands for an instant counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    ByMagnitude,
    Seconds,
    Microseconds,
}

impl Mapping {
    /// Makes a mapping of pairs (canonical field, source path). A field may come several times: the first path that leads to
    /// something counts.
    ///
    /// # Errors
    /// All faults, a line each: unknown fields (with the nearest known one), paths that are empty or too long.
    pub fn new(pairs: &[(String, String)]) -> Result<Mapping, String> {
        let mut mapping = Mapping::default();
        let mut faults = Vec::new();
        for (name, path) in pairs {
            if name == TIMEZONE {
                mapping.zone = Zone::named(path);
                if mapping.zone.is_none() {
                    faults.push(format!("{} is no time zone; write its name, such as Europe/Paris or UTC", quoted(path)));
                }
                continue;
            }
            match target(name) {
                Some((target, unit)) => match Source::read(path) {
                    Ok(source) if source.plain().is_some() || target.is_text() => mapping.add(target, source, unit),
                    Ok(_) => faults.push(format!(
                        "{} is read as it stands; only ids, `type`, `channel` and `session_id` are put together or normalised",
                        quoted(name)
                    )),
                    Err(fault) => faults.push(format!("the path of {}: {fault}", quoted(name))),
                },
                None => {
                    let help = did_you_mean(name, FIELDS, "the fields are properties.NAME for any name, and these");
                    faults.push(format!("{} is no field of a touchpoint; {help}", quoted(name)));
                }
            }
        }
        if faults.is_empty() { Ok(mapping) } else { Err(faults.join("\n")) }
    }

    /// The mapping by which a source is read for these models: where it names no time zone, that of the models counts, if all
    /// that name one agree.
    pub fn for_models<'a>(mapping: Option<&Mapping>, models: impl IntoIterator<Item = &'a Model>) -> Option<Mapping> {
        let mut named = models.into_iter().filter_map(|model| model.zone.as_ref());
        let first = named.next().filter(|first| named.all(|other| other == *first));
        match (mapping, first) {
            (None, None) => None,
            (Some(mapping), None) => Some(mapping.clone()),
            (mapping, Some(zone)) => {
                let mut mapping = mapping.cloned().unwrap_or_default();
                mapping.zone.get_or_insert_with(|| zone.clone());
                Some(mapping)
            }
        }
    }

    /// Where local times and days are read.
    pub fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// Whether everything is found under its own name.
    pub(super) fn is_plain(&self) -> bool {
        self.routes.is_empty()
    }

    fn add(&mut self, target: Target, source: Source, unit: Unit) {
        match self.routes.iter_mut().find(|route| route.target == target) {
            Some(route) => route.sources.push((source, unit)),
            None => self.routes.push(Route { target, sources: vec![(source, unit)] }),
        }
    }

    /// The path at which an id is put into a touchpoint that came without one: the first where one is looked for.
    pub fn event_id_path(&self) -> &str {
        let route = self.routes.iter().find(|route| route.target == Target::Field(Field::EventId));
        route.and_then(|route| route.sources.first()).map_or(Field::EventId.name(), |(source, _)| source.first())
    }

    /// Reads a record by this mapping.
    pub(super) fn read<'a>(
        &self,
        record: &'a Node<'_>,
        written: &mut Written<'a>,
        properties: &mut Properties<'_>,
    ) -> Result<(), String> {
        for field in Field::ALL {
            let (value, unit) = self.field(field, record);
            if field == Field::OccurredAt && unit != Unit::ByMagnitude {
                written.unit = written::Unit::Milliseconds;
            }
            written.set(field, value);
        }
        self.properties(record, properties)
    }

    fn field<'a>(&self, field: Field, record: &'a Node<'_>) -> (Scalar<'a>, Unit) {
        let Some(route) = self.routes.iter().find(|route| route.target == Target::Field(field)) else {
            return (record.get(field.name()).map_or(Scalar::Null, Node::scalar), Unit::ByMagnitude);
        };
        let found = route.sources.iter().filter_map(|(source, unit)| Some((source.value(record)?, *unit)));
        let value =
            found.filter(|(value, _)| !value.is_blank()).map(|(value, unit)| (in_milliseconds(value, unit), unit)).next();
        value.unwrap_or((Scalar::Null, Unit::ByMagnitude))
    }

    /// The object of properties first, so that properties mapped one by one come later and win.
    fn properties(&self, record: &Node<'_>, properties: &mut Properties<'_>) -> Result<(), String> {
        let all = match self.routes.iter().find(|route| route.target == Target::Properties) {
            Some(route) => route.first(record),
            None => record.get("properties"),
        };
        match all {
            Some(Node::Object(entries)) => flatten(entries, properties, "", 0),
            Some(Node::Single(Scalar::Null)) | None => {}
            Some(Node::Single(_) | Node::List(_)) => return Err(NO_OBJECT.to_owned()),
        }
        for route in &self.routes {
            if let (Target::Property(name), Some(value)) = (&route.target, route.first(record)) {
                let interest = properties.meet(name);
                keep(value, properties, name, interest, 1);
            }
        }
        Ok(())
    }
}

impl Route {
    /// The first value that is there and not null.
    fn first<'a, 'r>(&self, record: &'a Node<'r>) -> Option<&'a Node<'r>> {
        self.sources.iter().find_map(|(source, _)| source.node(record).filter(|value| !value.is_null()))
    }
}

/// Keeps the entries of an object that are wanted.
fn flatten(entries: &[(Cow<'_, str>, Node<'_>)], properties: &mut Properties<'_>, above: &str, depth: usize) {
    let mut path = CompactString::default();
    for (key, value) in entries {
        let name = dotted(above, key, &mut path);
        let interest = properties.meet(name);
        keep(value, properties, name, interest, depth + 1);
    }
}

fn keep(value: &Node<'_>, properties: &mut Properties<'_>, name: &str, interest: Interest, depth: usize) {
    match value {
        Node::Object(entries) if interest.within && depth < MAX_DEPTH => flatten(entries, properties, name, depth),
        Node::List(parts) if interest.summed => {
            let mut sums = SumOver::all(properties, name);
            sums.iter_mut().for_each(|sum| parts.iter().for_each(|part| sum.add(part)));
            sums.iter().for_each(|sum| sum.keep(properties));
        }
        Node::List(_) if interest.value => properties.keep(name, &Scalar::List, interest.expected),
        Node::Object(entries) if interest.value && !interest.within && !entries.is_empty() => {
            properties.keep(name, &Scalar::Object, interest.expected);
        }
        Node::Object(_) | Node::List(_) => {}
        Node::Single(value) if interest.value => properties.keep(name, value, interest.expected),
        Node::Single(_) => {}
    }
}

fn target(name: &str) -> Option<(Target, Unit)> {
    let occurred_at = Target::Field(Field::OccurredAt);
    match name {
        "properties" => Some((Target::Properties, Unit::ByMagnitude)),
        "occurred_at_s" => Some((occurred_at, Unit::Seconds)),
        "occurred_at_us" => Some((occurred_at, Unit::Microseconds)),
        _ => {
            let property = || name.strip_prefix("properties.").filter(|name| !name.is_empty());
            let target = Field::of(name).map(Target::Field).or_else(|| Some(Target::Property(property()?.into())));
            target.map(|target| (target, Unit::ByMagnitude))
        }
    }
}

/// Reads a record, with what lists hold where anything is summed up over lists.
pub(super) fn read(bytes: &[u8], lists: bool) -> Result<Node<'_>, String> {
    let mut source = serde_json::Deserializer::from_str(json::text(bytes)?);
    let read = Tree { lists }.deserialize(&mut source).and_then(|node| source.end().map(|()| node));
    match read.map_err(|error| json::reason(&error))? {
        Node::Single(_) | Node::List(_) => Err("not a touchpoint: a JSON object is expected".to_owned()),
        object @ Node::Object(_) => Ok(object),
    }
}

fn in_milliseconds(value: Scalar<'_>, unit: Unit) -> Scalar<'_> {
    let value = match (value, unit) {
        // Digits in a text are a number as well.
        (Scalar::Text(text), Unit::Seconds | Unit::Microseconds) => match (text.trim().parse(), text.trim().parse()) {
            (Ok(number), _) => Scalar::Whole(i64::into(number)),
            (Err(_), Ok(number)) => Scalar::Number(number),
            (Err(_), Err(_)) => Scalar::Text(text),
        },
        (value, _) => value,
    };
    match (value, unit) {
        (Scalar::Whole(number), Unit::Seconds) => Scalar::Whole(number.saturating_mul(1_000)),
        (Scalar::Number(number), Unit::Seconds) => Scalar::Number(number * 1e3),
        (Scalar::Whole(number), Unit::Microseconds) => Scalar::Whole(number / 1_000),
        (Scalar::Number(number), Unit::Microseconds) => Scalar::Number(number / 1e3),
        (value, _) => value,
    }
}
