//! A model as it is written: typed, every value with its place, nothing resolved yet.
//!
//! Finds unknown keys, missing keys and wrong shapes. Whether the names mean anything is for [`super::check`] to say.
//! A room for each part of the file: [`basics`] (properties, groups, tallies, segments), [`stage`], [`episode`],
//! [`friction`], [`intervention`], [`forward`], [`changes`] (what earlier versions had), and [`wait`] for spans of all kinds.

mod basics;
mod changes;
mod episode;
mod forward;
mod friction;
mod intervention;
mod stage;
mod wait;

use crate::diagnostic::{Faults, Place, Spanned};
use crate::time::Span;
use crate::yaml::{Bounds, Entry, Node, Reader, Value};

pub(in crate::model) use basics::KINDS;
pub use basics::{Group, Kind, Of, Property, Segment, Sum, Tally, Who};
pub use changes::Changes;
pub use episode::Episode;
pub use forward::Forward;
pub use friction::{Friction, Sign, Threshold};
pub use intervention::{Cap, Holdout, Intervention, Outcomes, Payload, Quiet};
pub use stage::{Stage, Way};
pub use wait::{Again, Recovery, Wait};

pub(super) use basics::properties;
use basics::{groups, segments, tallies};
pub(super) use intervention::caps;

/// A name, a type of touchpoint or a condition, where it stands.
pub type Name = Spanned<String>;

/// The shortest and the longest duration of a model: deadlines reach from a second to decades (rule 8).
const DURATIONS: Bounds = Span::from_secs(1)..=Span::from_days(100 * 365);

/// The file.
#[derive(Debug)]
pub struct Written {
    /// The version of the language (`sillage:`).
    pub language: Option<Spanned<u64>>,
    /// The model's name.
    pub name: Option<Name>,
    /// The author's version of it.
    pub version: u32,
    /// The fragments that it imports.
    pub imports: Vec<Name>,
    /// What amounts are in that have no currency beside them, and what amounts in conditions are compared in.
    pub currency: Option<Name>,
    /// Where local times and days are read.
    pub timezone: Option<Name>,
    /// The properties that conditions mention.
    pub properties: Vec<Property>,
    /// Groups of types.
    pub groups: Vec<Group>,
    /// What is summed up.
    pub tallies: Vec<Tally>,
    /// The segments in order.
    pub segments: Vec<Segment>,
    /// Phases with their stages, where there are any.
    pub phases: Vec<List>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// Where `stages` stands, if it is an empty map.
    pub no_stages: Option<Place>,
    /// The episode kinds in order.
    pub episodes: Vec<Episode>,
    /// The friction rules in order.
    pub friction: Vec<Friction>,
    /// The interventions in order.
    pub interventions: Vec<Intervention>,
    /// What of one customer concerns another.
    pub forwards: Vec<Forward>,
    /// What it says about its earlier versions.
    pub changes: Changes,
}

/// A file that models share: what it says is as if the model said it.
#[derive(Debug)]
pub struct Fragment {
    /// The version of the language (`sillage:`).
    pub language: Option<Spanned<u64>>,
    /// The fragments that it imports in turn.
    pub imports: Vec<Name>,
    /// Properties.
    pub properties: Vec<Property>,
    /// Groups of types.
    pub groups: Vec<Group>,
}

/// Something named that is a list: a phase, the ways back to a stage.
#[derive(Debug)]
pub struct List {
    /// What it is called.
    pub name: Name,
    /// What belongs to it.
    pub members: Vec<Name>,
}

/// What puts a deadline off.
#[derive(Debug, Default)]
pub enum Progress {
    /// Every touchpoint of the customer.
    #[default]
    Any,
    /// Touchpoints of these types.
    Only {
        /// Where `progresses` stands.
        key: Place,
        /// The types and groups.
        types: Vec<Name>,
    },
}

/// Reads the file as far as it can be read; `None` where it is not even a map.
pub fn read(root: &Node, faults: &mut Faults) -> Option<Written> {
    let mut reader = Reader::open(root, "a model", &root.place, faults)?;
    let language = reader.required("sillage", "sillage: 1", faults);
    let name = reader.required("model", "model: my-shop", faults);
    let version = reader.optional("version").and_then(|value| value.integer(1..=u64::from(u32::MAX), faults));
    let _ = reader.optional("about").and_then(|value| value.text(faults));
    let imports = reader.optional("import");
    let currency = reader.optional("currency");
    let timezone = reader.optional("timezone");
    let declared = reader.optional("properties");
    let types = reader.optional("touchpoints");
    let sums = reader.optional("tallies");
    let parts = reader.optional("segments");
    let phases = reader.optional("phases");
    let stages = reader.required("stages", "stages: { visiting: { enter: page.viewed } }", faults);
    let episodes = reader.optional("episodes");
    let friction = reader.optional("friction");
    let interventions = reader.optional("interventions");
    let forwards = reader.optional("forwards");
    let renamed = reader.optional("renamed");
    let removed = reader.optional("removed");
    reader.finish(faults);
    Some(Written {
        language: language.and_then(|value| value.integer(0..=u64::MAX, faults)),
        name: name.and_then(|value| value.text(faults)),
        version: version.map_or(1, |number| u32::try_from(number.value).unwrap_or(u32::MAX)),
        imports: imports.map_or_else(Vec::new, |value| import(&value, faults)),
        currency: currency.and_then(|value| value.text(faults)),
        timezone: timezone.and_then(|value| value.text(faults)),
        properties: declared.map_or_else(Vec::new, |value| properties(&value, faults)),
        groups: types.map_or_else(Vec::new, |value| groups(&value, faults)),
        tallies: sums.map_or_else(Vec::new, |value| tallies(&value, faults)),
        segments: parts.map_or_else(Vec::new, |value| segments(&value, faults)),
        phases: phases.map_or_else(Vec::new, |value| lists(&value, "phases", "a stage", faults)),
        no_stages: stages.as_ref().filter(|value| value.is_empty_map()).map(|value| value.key_place().clone()),
        stages: stages.map_or_else(Vec::new, |value| all(&value, "stages", Stage::read, faults)),
        episodes: episodes.map_or_else(Vec::new, |value| all(&value, "episodes", Episode::read, faults)),
        friction: friction.map_or_else(Vec::new, |value| all(&value, "friction rules", Friction::read, faults)),
        interventions: interventions.map_or_else(Vec::new, |value| all(&value, "interventions", Intervention::read, faults)),
        forwards: forwards.map_or_else(Vec::new, |value| all(&value, "types", Forward::read, faults)),
        changes: Changes::read(renamed, removed, faults),
    })
}

/// Reads a file that models share; `None` where it is not even a map.
pub fn read_fragment(root: &Node, faults: &mut Faults) -> Option<Fragment> {
    let mut reader = Reader::open(root, "a shared file", &root.place, faults)?;
    let language = reader.required("sillage", "sillage: 1", faults);
    let imports = reader.optional("import");
    let declared = reader.optional("properties");
    let types = reader.optional("touchpoints");
    reader.finish(faults);
    Some(Fragment {
        language: language.and_then(|value| value.integer(0..=u64::MAX, faults)),
        imports: imports.map_or_else(Vec::new, |value| import(&value, faults)),
        properties: declared.map_or_else(Vec::new, |value| properties(&value, faults)),
        groups: types.map_or_else(Vec::new, |value| groups(&value, faults)),
    })
}

fn import(value: &Value<'_>, faults: &mut Faults) -> Vec<Name> {
    listed_names(value, "the path of a file", faults).unwrap_or_default()
}

fn all<T>(value: &Value<'_>, what: &str, read: fn(&Entry, &mut Faults) -> T, faults: &mut Faults) -> Vec<T> {
    let entries = value.entries(what, faults).unwrap_or_default();
    entries.iter().map(|entry| read(entry, faults)).collect()
}

fn lists(value: &Value<'_>, what: &str, members: &str, faults: &mut Faults) -> Vec<List> {
    let entries = value.entries(what, faults).unwrap_or_default();
    entries
        .iter()
        .map(|entry| List {
            name: entry.key.clone(),
            members: listed_names(&Value::from(entry), members, faults).unwrap_or_default(),
        })
        .collect()
}

/// One name or a list of them that says something: an empty one is a fault, and `None` like one that cannot be read.
pub(super) fn listed_names(value: &Value<'_>, what: &str, faults: &mut Faults) -> Option<Vec<Name>> {
    if value.is_empty_list() {
        faults.error("M007", value.place(), format!("{} is empty", value.label()), "name at least one, or remove the line");
        return None;
    }
    value.texts(what, faults)
}

/// Types and groups; no line is an empty list.
fn types(value: Option<Value<'_>>, faults: &mut Faults) -> Option<Vec<Name>> {
    value.map_or_else(|| Some(Vec::new()), |value| listed_names(&value, "a type, a group", faults))
}

fn progress(value: Option<Value<'_>>, faults: &mut Faults) -> Progress {
    let Some(value) = value else { return Progress::Any };
    let key = value.key_place().clone();
    let types = types(Some(value), faults).unwrap_or_default();
    match types.as_slice() {
        [] => Progress::Any,
        [only] if only.value == "any" => Progress::Any,
        _ => Progress::Only { key, types },
    }
}

fn text(value: Option<Value<'_>>, faults: &mut Faults) -> Option<Name> {
    value?.text(faults)
}

fn duration(value: Option<Value<'_>>, faults: &mut Faults) -> Option<Spanned<Span>> {
    value?.duration(&DURATIONS, faults)
}

/// The number of `7 of`; `None` for any other key.
fn times(key: &str) -> Option<&str> {
    let number = key.strip_suffix(" of")?.trim_end();
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// Reads how many `N of` asks for; a diagnostic where it is too few or too many.
fn read_times(key: &Name, least: u8, faults: &mut Faults) -> Option<u8> {
    let number = times(&key.value)?.parse().ok().filter(|number| (least..=MOST_TIMES).contains(number));
    if number.is_none() {
        let cause = format!("{} is outside {least} to {MOST_TIMES}", crate::diagnostic::quoted(&key.value));
        let help = if least == 2 {
            "count from 2 to 32; a single touchpoint needs no count: name its type".to_owned()
        } else {
            format!("write a number from {least} to {MOST_TIMES}")
        };
        faults.error("Y014", &key.place, cause, help);
    }
    number
}

/// The most touchpoints that are counted towards one way in or one friction rule, and the most parts of `all of`.
pub(super) const MOST_TIMES: u8 = 32;
