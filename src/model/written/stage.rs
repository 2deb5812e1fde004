//! A stage as it is written.

use super::{
    Again, List, MOST_TIMES, Name, Progress, Recovery, Wait, duration, listed_names, lists, progress, read_times, text,
    times, types,
};
use crate::diagnostic::{Faults, Place, Spanned, quoted};
use crate::time::Span;
use crate::yaml::{Entry, Value};

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// The name.
    pub name: Name,
    /// The ways in; `None` where some could not be read.
    pub enter: Option<Vec<Way>>,
    /// Must hold for whatever enters.
    pub when: Option<Name>,
    /// Abandoned after so long without progress.
    pub quiet: Option<Wait>,
    /// Abandoned at this instant.
    pub abandoned_at: Option<Name>,
    /// What counts as progress.
    pub progresses: Progress,
    /// Told again while nothing comes.
    pub abandoned_again: Option<Again>,
    /// The recovery window.
    pub recovered: Recovery,
    /// The minimum dwell.
    pub at_least: Option<Spanned<Span>>,
    /// The terminal stage in which a journey that is abandoned here ends.
    pub then: Option<Name>,
    /// The ways back: by target stage, the types and friction rules that lead there.
    pub back: Vec<List>,
    /// The types that begin the next journey.
    pub again: Vec<Name>,
    /// The renewals: by the stage in which the next journey begins, the types that renew this one.
    pub renews: Vec<List>,
    /// Terminal, and where that is written.
    pub ends: Option<Place>,
    /// Left out of drop-off.
    pub optional: bool,
    /// Where the keys stand that make no sense in a terminal stage.
    pub onward: Vec<(&'static str, Place)>,
}

/// A way into a stage.
#[derive(Debug)]
pub enum Way {
    /// One touchpoint of these types and groups.
    One(Vec<Name>),
    /// Several within a time.
    Count {
        /// Where `7 of` stands.
        place: Place,
        /// How many.
        times: u8,
        /// Of which types and groups.
        of: Vec<Name>,
        /// Within which time.
        within: Span,
    },
    /// One of each within a time.
    All {
        /// Where `all of` stands.
        place: Place,
        /// A type or a group each.
        parts: Vec<Name>,
        /// Within which time.
        within: Span,
    },
}

const ONWARD: [&str; 11] = [
    "quiet",
    "abandoned at",
    "every",
    "at most",
    "progresses",
    "recovered within",
    "at least",
    "then",
    "back",
    "again",
    "renews",
];

impl Stage {
    /// A stage that cannot be read keeps its name, so that what mentions it is not reported as well.
    pub(super) fn read(entry: &Entry, faults: &mut Faults) -> Stage {
        let mut stage = Stage {
            name: entry.key.clone(),
            enter: None,
            when: None,
            quiet: None,
            abandoned_at: None,
            progresses: Progress::Any,
            abandoned_again: None,
            recovered: Recovery::read(None, faults),
            at_least: None,
            then: None,
            back: Vec::new(),
            again: Vec::new(),
            renews: Vec::new(),
            ends: None,
            optional: false,
            onward: Vec::new(),
        };
        let what = format!("stage {}", quoted(&entry.key.value));
        let Some(mut reader) = Value::from(entry).map(what, faults) else { return stage };
        stage.enter = reader.optional("enter").map_or_else(|| Some(Vec::new()), |value| ways(&value, faults));
        stage.when = text(reader.optional("when"), faults);
        stage.quiet = Wait::read(reader.optional("quiet"), faults);
        stage.abandoned_at = text(reader.optional("abandoned at"), faults);
        stage.progresses = progress(reader.optional("progresses"), faults);
        stage.abandoned_again = Again::read(reader.optional("every"), reader.optional("at most"), faults);
        stage.recovered = Recovery::read(reader.optional("recovered within"), faults);
        stage.at_least = duration(reader.optional("at least"), faults);
        stage.then = text(reader.optional("then"), faults);
        let led = |value: Option<Value<'_>>, what: &str, faults: &mut Faults| {
            value.map_or_else(Vec::new, |value| lists(&value, what, "a type, a group", faults))
        };
        stage.back = led(reader.optional("back"), "earlier stages", faults);
        stage.again = types(reader.optional("again"), faults).unwrap_or_default();
        stage.renews = led(reader.optional("renews"), "stages", faults);
        let ends = reader.optional("ends").and_then(|value| Some((value.key_place(), value.flag(faults)?)));
        stage.ends = ends.filter(|(_, flag)| flag.value).map(|(key, _)| key.clone());
        stage.optional = reader.optional("optional").and_then(|value| value.flag(faults)).is_some_and(|flag| flag.value);
        stage.onward = ONWARD.into_iter().filter_map(|key| Some((key, reader.optional(key)?.key_place().clone()))).collect();
        reader.finish(faults);
        stage
    }
}

/// One way or a list of them; the types that enter alone are one way together. `None` where one cannot be read.
fn ways(value: &Value<'_>, faults: &mut Faults) -> Option<Vec<Way>> {
    let listed = value.is_list() || value.is_map();
    if !listed || value.is_empty_list() {
        return listed_names(value, "a type, a group", faults).map(|names| vec![Way::One(names)]);
    }
    let mut alone = Vec::new();
    let mut ways = Vec::new();
    let mut unread = false;
    for item in value.items() {
        if item.is_map() {
            match way(&item, faults) {
                Some(way) => ways.push(way),
                None => unread = true,
            }
        } else {
            alone.extend(item.text(faults));
        }
    }
    if !alone.is_empty() {
        ways.insert(0, Way::One(alone));
    }
    (!unread).then_some(ways)
}

fn way(value: &Value<'_>, faults: &mut Faults) -> Option<Way> {
    let mut reader = value.map("a way into a stage", faults)?;
    let counted = reader.formed("7 of", |key| times(key).is_some());
    let all = if counted.is_some() { None } else { reader.optional("all of") };
    let within = if counted.is_some() || all.is_some() {
        reader.required("within", "within: 30d", faults)
    } else {
        let help = "write a type, or `7 of: exposure` or `all of: [ad.seen, store.visited]`, each with `within: 30d`";
        faults.error("Y011", value.place(), "a way into a stage needs `7 of` or `all of`", help);
        reader.optional("within")
    };
    let within = duration(within, faults);
    reader.finish(faults);
    if let Some((key, of)) = counted {
        let times = read_times(key, 2, faults);
        let of = listed_names(&of, "a type, a group", faults);
        return Some(Way::Count { place: key.place.clone(), times: times?, of: of?, within: within?.value });
    }
    let all = all?;
    let place = all.key_place().clone();
    let parts = listed_names(&all, "a type, a group", faults)?;
    if !(2..=usize::from(MOST_TIMES)).contains(&parts.len()) {
        let cause = format!("`all of` names {}, outside 2 to {MOST_TIMES}", parts.len());
        faults.error("Y014", all.place(), cause, "name two or more; what enters alone is written without `all of`");
        return None;
    }
    Some(Way::All { place, parts, within: within?.value })
}
