//! A model as it is written: typed, every value with its place, nothing resolved yet.
//!
//! Finds unknown keys, missing keys and wrong shapes. Whether the names mean anything is for [`super::check`] to say.

use crate::diagnostic::{Faults, Place, Spanned, quoted};
use crate::time::Span;
use crate::yaml::{Bounds, Entry, Node, Reader, Value};

/// A name or a type of touchpoint, where it stands.
pub type Name = Spanned<String>;

/// The shortest and the longest duration of a model: deadlines reach from a second to decades (rule 8).
const DURATIONS: Bounds = Span::from_secs(1)..=Span::from_days(100 * 365);
/// How long after an abandonment a recovery counts, unless the model says otherwise.
const RECOVERED_WITHIN: Span = Span::from_days(7);

/// The file.
#[derive(Debug)]
pub struct Written {
    /// The version of the language (`sillage:`).
    pub language: Option<Spanned<u64>>,
    /// The model's name.
    pub name: Option<Name>,
    /// The author's version of it.
    pub version: u32,
    /// Groups of types.
    pub groups: Vec<List>,
    /// Phases with their stages, where there are any.
    pub phases: Vec<List>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// Where `stages` stands, if it is an empty map.
    pub no_stages: Option<Place>,
    /// The episode kinds in order.
    pub episodes: Vec<Episode>,
}

/// Something named that is a list: a group of types, a phase, the ways back to a stage.
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

/// For how long after an abandonment coming back counts as a recovery.
#[derive(Debug)]
pub struct Recovery {
    /// The time.
    pub within: Span,
    /// Where it is written; the default has no place.
    pub place: Option<Place>,
}

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// The name.
    pub name: Name,
    /// The types that enter it; `None` where they could not be read.
    pub enter: Option<Vec<Name>>,
    /// Abandoned after so long without progress.
    pub quiet: Option<Spanned<Span>>,
    /// What counts as progress.
    pub progresses: Progress,
    /// The recovery window.
    pub recovered: Recovery,
    /// The ways back: by target stage, the types that lead there.
    pub back: Vec<List>,
    /// The types that begin the next journey.
    pub again: Vec<Name>,
    /// Left out of drop-off.
    pub optional: bool,
}

/// An episode kind.
#[derive(Debug)]
pub struct Episode {
    /// The name.
    pub name: Name,
    /// The correlation chain and where `known by` stands; `None` where it could not be read.
    pub known_by: Option<(Place, Vec<Name>)>,
    /// The types that open one; `None` where they could not be read.
    pub opens: Option<Vec<Name>>,
    /// What counts as progress.
    pub progresses: Progress,
    /// The types that complete it; `None` where they could not be read.
    pub completes: Option<Vec<Name>>,
    /// The property that carries its worth.
    pub worth: Option<Name>,
    /// Abandoned after so long without progress.
    pub abandoned_after: Option<Spanned<Span>>,
    /// The recovery window.
    pub recovered: Recovery,
    /// No fallback for completions with an unknown id.
    pub strict: Option<Spanned<bool>>,
}

/// Reads the file as far as it can be read; `None` where it is not even a map.
pub fn read(root: &Node, faults: &mut Faults) -> Option<Written> {
    let mut reader = Reader::open(root, "a model", &root.place, faults)?;
    let language = reader.required("sillage", "sillage: 1", faults);
    let name = reader.required("model", "model: my-shop", faults);
    let version = reader.optional("version").and_then(|value| value.integer(1..=u64::from(u32::MAX), faults));
    let _ = reader.optional("about").and_then(|value| value.text(faults));
    let groups = reader.optional("touchpoints");
    let phases = reader.optional("phases");
    let stages = reader.required("stages", "stages: { visiting: { enter: page.viewed } }", faults);
    let episodes = reader.optional("episodes");
    reader.finish(faults);
    Some(Written {
        language: language.and_then(|value| value.integer(0..=u64::MAX, faults)),
        name: name.and_then(|value| value.text(faults)),
        version: version.map_or(1, |number| u32::try_from(number.value).unwrap_or(u32::MAX)),
        groups: groups.map_or_else(Vec::new, |value| lists(&value, "groups", "a type, a group", faults)),
        phases: phases.map_or_else(Vec::new, |value| lists(&value, "phases", "a stage", faults)),
        no_stages: stages.as_ref().filter(|value| value.is_empty_map()).map(|value| value.key_place().clone()),
        stages: stages.map_or_else(Vec::new, |value| read_stages(&value, faults)),
        episodes: episodes.map_or_else(Vec::new, |value| read_episodes(&value, faults)),
    })
}

fn read_stages(value: &Value<'_>, faults: &mut Faults) -> Vec<Stage> {
    let entries = value.entries("stages", faults).unwrap_or_default();
    entries.iter().map(|entry| stage(entry, faults)).collect()
}

fn read_episodes(value: &Value<'_>, faults: &mut Faults) -> Vec<Episode> {
    let entries = value.entries("episodes", faults).unwrap_or_default();
    entries.iter().filter_map(|entry| episode(entry, faults)).collect()
}

fn lists(value: &Value<'_>, what: &str, members: &str, faults: &mut Faults) -> Vec<List> {
    let entries = value.entries(what, faults).unwrap_or_default();
    entries
        .iter()
        .map(|entry| List {
            name: entry.key.clone(),
            members: listed_names(Value::from(entry), members, faults).unwrap_or_default(),
        })
        .collect()
}

/// A stage that cannot be read keeps its name, so that what mentions it is not reported as well.
fn stage(entry: &Entry, faults: &mut Faults) -> Stage {
    let mut stage = Stage {
        name: entry.key.clone(),
        enter: None,
        quiet: None,
        progresses: Progress::Any,
        recovered: recovery(None, faults),
        back: Vec::new(),
        again: Vec::new(),
        optional: false,
    };
    let what = format!("stage {}", quoted(&entry.key.value));
    let Some(mut reader) = Value::from(entry).map(what, faults) else { return stage };
    stage.enter = types(reader.optional("enter"), faults);
    stage.quiet = duration(reader.optional("quiet"), faults);
    stage.progresses = progress(reader.optional("progresses"), faults);
    stage.recovered = recovery(reader.optional("recovered within"), faults);
    stage.back =
        reader.optional("back").map_or_else(Vec::new, |value| lists(&value, "earlier stages", "a type, a group", faults));
    stage.again = types(reader.optional("again"), faults).unwrap_or_default();
    stage.optional = reader.optional("optional").and_then(|value| value.flag(faults)).is_some_and(|flag| flag.value);
    reader.finish(faults);
    stage
}

fn episode(entry: &Entry, faults: &mut Faults) -> Option<Episode> {
    let what = format!("episode {}", quoted(&entry.key.value));
    let mut reader = Value::from(entry).map(what, faults)?;
    let known_by = reader.required("known by", "known by: [cart_id, session, customer]", faults);
    let opens = reader.required("opens", "opens: cart.added", faults);
    let episode = Episode {
        name: entry.key.clone(),
        known_by: known_by.and_then(|value| {
            let place = value.key_place().clone();
            Some((place, listed_names(value, "the name of a property", faults)?))
        }),
        opens: opens.and_then(|value| types(Some(value), faults)),
        progresses: progress(reader.optional("progresses"), faults),
        completes: types(reader.optional("completes"), faults),
        worth: reader.optional("worth").and_then(|value| value.text(faults)),
        abandoned_after: duration(reader.optional("abandoned after"), faults),
        recovered: recovery(reader.optional("recovered within"), faults),
        strict: reader.optional("strict").and_then(|value| value.flag(faults)),
    };
    reader.finish(faults);
    Some(episode)
}

/// One name or a list of them that says something: an empty one is a fault, and `None` like one that cannot be read.
fn listed_names(value: Value<'_>, what: &str, faults: &mut Faults) -> Option<Vec<Name>> {
    if value.is_empty_list() {
        faults.error("M007", value.place(), format!("{} is empty", value.label()), "name at least one, or remove the line");
        return None;
    }
    value.texts(what, faults)
}

/// Types and groups; no line is an empty list.
fn types(value: Option<Value<'_>>, faults: &mut Faults) -> Option<Vec<Name>> {
    value.map_or_else(|| Some(Vec::new()), |value| listed_names(value, "a type, a group", faults))
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

fn duration(value: Option<Value<'_>>, faults: &mut Faults) -> Option<Spanned<Span>> {
    value?.duration(&DURATIONS, faults)
}

fn recovery(value: Option<Value<'_>>, faults: &mut Faults) -> Recovery {
    match duration(value, faults) {
        Some(written) => Recovery { within: written.value, place: Some(written.place) },
        None => Recovery { within: RECOVERED_WITHIN, place: None },
    }
}
