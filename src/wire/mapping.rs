//! Field mappings: where a source that names things otherwise keeps what a touchpoint needs.
//!
//! A path is dotted (`context.user.id`); a key that itself has dots in it is found too. Lists are not entered. A field
//! without a mapping is read under its own name. Mapped records go through a tree, which takes two to three times as long.

use compact_str::CompactString;
use serde::de::DeserializeSeed;
use serde_json::Value;

use super::Limits;
use super::json::{self, Inside, Single};
use super::written::{Field, Properties, Scalar, Written};
use crate::diagnostic::{did_you_mean, quoted};
use crate::touchpoint::MAX_NAME_BYTES;

/// What can be mapped; beside these, `properties.NAME` for any name. A source may write `occurred_at` as whole seconds or
/// microseconds: then the unit stands in the name, as nothing is guessed.
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
];

/// The path of the record itself: `properties` mapped to it takes every value of a flat record.
const WHOLE_RECORD: &str = ".";

/// Which source fields hold what, where the source names them otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    routes: Vec<Route>,
}

/// Where something is to be found: the first path that leads to something counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    target: Target,
    paths: Vec<(CompactString, Unit)>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Field(Field),
    Properties,
    Property(CompactString),
}

/// What a number that stands for an instant counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Milliseconds,
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
            if path.is_empty() || path.len() > MAX_NAME_BYTES {
                faults.push(format!("the path of {} must have 1 to {MAX_NAME_BYTES} bytes", quoted(name)));
            }
            match target(name) {
                Some((target, unit)) => mapping.add(target, path.into(), unit),
                None => {
                    let help = did_you_mean(name, FIELDS, "the fields are properties.NAME for any name, and these");
                    faults.push(format!("{} is no field of a touchpoint; {help}", quoted(name)));
                }
            }
        }
        if faults.is_empty() { Ok(mapping) } else { Err(faults.join("\n")) }
    }

    fn add(&mut self, target: Target, path: CompactString, unit: Unit) {
        match self.routes.iter_mut().find(|route| route.target == target) {
            Some(route) => route.paths.push((path, unit)),
            None => self.routes.push(Route { target, paths: vec![(path, unit)] }),
        }
    }

    /// The path at which an id is put into a touchpoint that came without one: the first where one is looked for.
    pub fn event_id_path(&self) -> &str {
        let route = self.routes.iter().find(|route| route.target == Target::Field(Field::EventId));
        route.and_then(|route| route.paths.first()).map_or(Field::EventId.name(), |(path, _)| path)
    }

    /// Reads a record by this mapping.
    pub(super) fn read(&self, bytes: &[u8], limits: Limits) -> Result<Written, String> {
        let record: Value = serde_json::from_str(json::text(bytes)?).map_err(|error| json::reason(&error))?;
        if !record.is_object() {
            return Err("not a touchpoint: a JSON object is expected".to_owned());
        }
        let mut written = Written::new(limits);
        for field in Field::ALL {
            written.set(field, self.field(field, &record));
        }
        self.properties(&record, &mut written.properties)?;
        Ok(written)
    }

    fn field(&self, field: Field, record: &Value) -> Scalar {
        let Some(route) = self.routes.iter().find(|route| route.target == Target::Field(field)) else {
            return record.get(field.name()).map_or(Scalar::Null, scalar);
        };
        let found = route.paths.iter().filter_map(|(path, unit)| Some((scalar(find(record, path)?), *unit)));
        found.filter(|(value, _)| !value.is_blank()).map(in_milliseconds).next().unwrap_or_default()
    }

    /// The object of properties first, so that properties mapped one by one come later and win.
    fn properties(&self, record: &Value, properties: &mut Properties) -> Result<(), String> {
        let all = match self.routes.iter().find(|route| route.target == Target::Properties) {
            Some(route) => route.first(record),
            None => record.get("properties"),
        };
        if let Some(all) = all {
            flatten(all, properties, None)?;
        }
        for route in &self.routes {
            if let (Target::Property(name), Some(value)) = (&route.target, route.first(record)) {
                properties.count(name)?;
                flatten(value, properties, Some(name))?;
            }
        }
        Ok(())
    }
}

impl Route {
    /// The first value that is there and not null.
    fn first<'a>(&self, record: &'a Value) -> Option<&'a Value> {
        self.paths.iter().find_map(|(path, _)| find(record, path).filter(|value| !value.is_null()))
    }
}

fn target(name: &str) -> Option<(Target, Unit)> {
    let occurred_at = Target::Field(Field::OccurredAt);
    match name {
        "properties" => Some((Target::Properties, Unit::Milliseconds)),
        "occurred_at_s" => Some((occurred_at, Unit::Seconds)),
        "occurred_at_us" => Some((occurred_at, Unit::Microseconds)),
        _ => {
            let property = || name.strip_prefix("properties.").filter(|name| !name.is_empty());
            let target = Field::of(name).map(Target::Field).or_else(|| Some(Target::Property(property()?.into())));
            target.map(|target| (target, Unit::Milliseconds))
        }
    }
}

/// Follows a dotted path. At each step a key that is the whole rest of the path goes first.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path == WHOLE_RECORD {
        return Some(value);
    }
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    let (head, rest) = path.split_once('.')?;
    find(value.get(head)?, rest)
}

fn scalar(value: &Value) -> Scalar {
    // Reading from a tree cannot fail: every value is some scalar.
    Single.deserialize(value).unwrap_or_default()
}

fn in_milliseconds((value, unit): (Scalar, Unit)) -> Scalar {
    match (value, unit) {
        (Scalar::Whole(number), Unit::Seconds) => Scalar::Whole(number * 1_000),
        (Scalar::Number(number), Unit::Seconds) => Scalar::Number(number * 1e3),
        (Scalar::Whole(number), Unit::Microseconds) => Scalar::Whole(number / 1_000),
        (Scalar::Number(number), Unit::Microseconds) => Scalar::Number(number / 1e3),
        (value, _) => value,
    }
}

fn flatten(value: &Value, properties: &mut Properties, name: Option<&str>) -> Result<(), String> {
    let mut fault = None;
    let mut path = name.unwrap_or_default().to_owned();
    let inside = match name {
        None => Inside::all(properties, &mut path, &mut fault),
        Some(_) => Inside::named(properties, &mut path, &mut fault),
    };
    inside.deserialize(value).map_err(|error| fault.unwrap_or_else(|| json::reason(&error)))
}
