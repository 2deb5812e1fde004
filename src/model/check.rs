//! From a model as written to a model that runs: everything wrong is found at once, then the names become indices.
//!
//! Each room below checks one part and hands on what it resolved: [`imports`] the shared files, [`groups`] the types,
//! [`conditions`] the facts and the lines about them, [`segments`], [`tallies`], [`stages`], [`phases`], [`episodes`],
//! [`friction`], [`interventions`], [`changes`] against earlier versions; [`doubts`] looks at the whole, and [`compile`] puts the [`Model`] together. Knows nothing of customers or
//! time.

mod changes;
mod compile;
mod conditions;
mod doubts;
mod episodes;
mod forwards;
mod friction;
mod groups;
mod imports;
mod interventions;
mod phases;
mod segments;
mod stages;
mod tallies;

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Faults, Place, Source, Spanned, quoted};
use crate::model::Model;
use crate::model::written::{self, Name, Recovery, Wait, Written};
use crate::time::Span;
use crate::yaml;

pub use imports::MAX_IMPORTS;

use conditions::Conditions;
use groups::Groups;
use segments::Segments;

/// The version of the model language that this build reads.
const LANGUAGE: u64 = 1;
/// The most stages a model may have.
pub const MAX_STAGES: usize = 64;
/// The most ways into one stage; types that enter alone are one way together.
pub const MAX_WAYS: usize = 64;
/// The most episode kinds.
pub const MAX_EPISODES: usize = 32;
/// The most groups of types.
pub const MAX_GROUPS: usize = 128;
/// The most names in a correlation chain (`known by`).
pub const MAX_CHAIN: usize = 16;
/// The most properties that a model may declare.
pub const MAX_PROPERTIES: usize = 256;
/// The most tallies.
pub const MAX_TALLIES: usize = 32;
/// The most sums in one kind of episodes.
pub const MAX_SUMS: usize = 16;
/// The most types that join episodes of one kind.
pub const MAX_JOINS: usize = 16;
/// The most segments.
pub const MAX_SEGMENTS: usize = 16;
/// The most friction rules.
pub const MAX_FRICTION: usize = 64;
/// The most types that are forwarded.
pub(crate) const MAX_FORWARDS: usize = 16;
/// The most interventions.
pub const MAX_INTERVENTIONS: usize = 32;
/// The most groups with conditions that a type may belong to.
pub const MAX_CONDITIONS: usize = 6;
/// The most types of touchpoints that a model may name.
pub const MAX_TYPES: usize = 4096;
/// The most names under `renamed`, and under `removed`: they are written beside the state.
pub const MAX_CHANGES: usize = 64;
/// The longest name of a model, stage, episode, group or phase, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// A recovery window shorter than this and than the absence itself is taken for a slip of the unit.
const SHORT_RECOVERY: Span = Span::from_days(1);

/// Where the files that a model imports come from: the text of a path as written in `import`, relative to the model's file;
/// or why there is none.
pub type Fragments<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Reads and checks a model that imports nothing; see [`load_with`].
pub fn load(file_name: &str, source: &str) -> (Option<Model>, Vec<Diagnostic>) {
    load_with(file_name, source, &|path| Err(format!("{path} cannot be read here: the model stands alone")))
}

/// Reads and checks a model; `file_name` is how diagnostics call the file. `Some` only where there is no error; warnings may
/// stand beside it. Diagnostics come in the order of their places.
pub fn load_with(file_name: &str, source: &str, fragments: Fragments<'_>) -> (Option<Model>, Vec<Diagnostic>) {
    let source = Source::file(file_name, source);
    let mut faults = Faults::default();
    let written = yaml::parse(&source, &mut faults).and_then(|root| written::read(&root, &mut faults));
    let model = written.and_then(|mut written| {
        let whole = imports::follow(&mut written, file_name, fragments, &mut faults);
        if !whole {
            head(&written, &mut faults);
            return None;
        }
        check(&written, &mut faults)
    });
    let (model, mut told) = faults.settle(model);
    // The model's own file comes first, then the shared ones; places are in order within each already.
    told.sort_by_key(|fault| (!Arc::ptr_eq(&fault.place.source, &source), fault.place.source.name.clone()));
    (model, told)
}

fn check(written: &Written, faults: &mut Faults) -> Option<Model> {
    head(written, faults);
    let kept_stages = at_most(MAX_STAGES, "stages", &written.stages, |stage| &stage.name.place, faults);
    let kept_episodes = at_most(MAX_EPISODES, "episodes", &written.episodes, |episode| &episode.name.place, faults);
    let rules = at_most(MAX_FRICTION, "friction rules", &written.friction, |rule| &rule.name.place, faults);
    tallies::check_properties(written, faults);
    let facts = tallies::facts(written, faults);
    let sums = tallies::facts_of_episodes(written, kept_episodes, faults);
    let mut conditions = Conditions::new(written, &facts, (kept_episodes, &sums), faults);
    let names = rules.iter().map(|rule| rule.name.value.as_str()).collect();
    let mut groups = Groups::resolve(&written.groups, names, faults);
    let guards = groups.conditions(&mut conditions, faults);
    let segments = Segments::check(&written.segments, faults);
    let parts = compile::Parts {
        segments: conditions.of_segments(&segments, faults),
        guards,
        tallies: tallies::check(written, &facts, &mut groups, faults),
        stages: {
            let around = stages::Around { stages: kept_stages, rules, segments: &segments };
            stages::check(&around, &mut groups, &mut conditions, faults)
        },
        phases: phases::check(&written.phases, kept_stages, faults),
        episodes: episodes::check((kept_episodes, &sums), &segments, &mut groups, &mut conditions, faults),
        friction: Vec::new(),
        interventions: Vec::new(),
        forwards: forwards::check(&written.forwards, &written.groups, faults),
    };
    let around = friction::Around { rules, stages: kept_stages, episodes: &parts.episodes, segments: &segments };
    let friction = friction::check(&around, &mut groups, &mut conditions, faults);
    let around = interventions::Around {
        model: written.name.as_ref().map_or("", |name| &name.value),
        rules,
        stages: kept_stages,
        episodes: &parts.episodes,
        segments: &segments,
    };
    let interventions = interventions::check(&written.interventions, &around, &mut conditions, faults);
    let parts = compile::Parts { friction, interventions, ..parts };
    groups.finish(faults);
    let changes = changes::check(written, &parts.episodes, faults);
    // A line that cannot be read might have used it.
    if faults.usable() {
        tallies::check_use(written, &conditions, faults);
    }
    doubts::check(written, &parts, &groups, faults);
    let name = written.name.as_ref()?;
    compile::model((&name.value, written.version), parts, changes, conditions, faults)
}

fn head(written: &Written, faults: &mut Faults) {
    check_language(written.language.as_ref(), faults);
    if let Some(name) = &written.name {
        check_name("model", name, faults);
    }
    if let Some(place) = &written.no_stages {
        faults.error("M003", place, "the model has no stages", "name at least one stage and what enters it");
    }
}

fn check_language(written: Option<&Spanned<u64>>, faults: &mut Faults) {
    if let Some(language) = written.filter(|language| language.value != LANGUAGE) {
        let cause = format!("version {} of the model language is not known to this build", language.value);
        faults.error("M001", &language.place, cause, format!("write `sillage: {LANGUAGE}`, or use a Sillage that knows it"));
    }
}

/// Names are ids in outcomes, metrics and dashboards, so they are short and plain.
fn check_name(what: &str, name: &Name, faults: &mut Faults) {
    let text = name.value.as_str();
    if text.len() > MAX_NAME_BYTES {
        let cause = format!("the {what} name {} is longer than {MAX_NAME_BYTES} bytes", quoted(text));
        faults.error("M002", &name.place, cause, "choose a shorter name");
    } else if !is_plain(text) {
        let cause = format!("{} cannot be the name of a {what}", quoted(text));
        let help = match plain(text) {
            Some(plain) => format!("use lower-case letters, digits and hyphens: {}", quoted(&plain)),
            None => "use lower-case letters, digits and hyphens".to_owned(),
        };
        faults.error("M002", &name.place, cause, help);
    }
}

fn is_plain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(allowed)
}

/// The nearest name that would be allowed, if there is one.
fn plain(text: &str) -> Option<String> {
    let hyphened: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let plain: Vec<&str> = hyphened.split('-').filter(|part| !part.is_empty()).collect();
    let plain = plain.join("-");
    is_plain(&plain).then_some(plain)
}

/// Takes no more than `most` of something, and says so where there are more.
fn at_most<'a, T>(most: usize, what: &str, all: &'a [T], place: fn(&T) -> &Place, faults: &mut Faults) -> &'a [T] {
    if let Some(beyond) = all.get(most) {
        let cause = format!("{} {what} are more than the {most} that a model may have", all.len());
        faults.error("M004", place(beyond), cause, format!("remove some {what}, or split the model in two"));
    }
    &all[..all.len().min(most)]
}

/// Checks the recovery window against the absence that it follows: `wait` where that is a span, `absence` whether there is
/// any, `absence_key` how the file calls the span.
fn check_recovery(recovered: &Recovery, wait: Option<&Wait>, absence: bool, absence_key: &str, faults: &mut Faults) {
    let Some(place) = &recovered.place else { return };
    if !absence {
        let cause = format!("`recovered within` has no effect without {}", quoted(absence_key));
        faults.warning("M035", place, cause, format!("add {} with a duration, or remove this line", quoted(absence_key)));
        return;
    }
    let Some(absence) = wait.and_then(Wait::fixed) else { return };
    if recovered.within < absence.value && recovered.within < SHORT_RECOVERY {
        let cause = format!(
            "a recovery must come within {}, sooner than the {} of absence before it",
            recovered.within, absence.value
        );
        faults.push(
            Diagnostic::warning("M036", place, cause, "check the unit; most recoveries take days, such as 7d")
                .see(&absence.place, "the absence"),
        );
    }
}

/// What is told again must be told once: `absence`, whether there is any, `absence_key` how the file calls the span.
fn check_again(again: Option<&written::Again>, absence: bool, absence_key: &str, faults: &mut Faults) {
    let Some(again) = again.filter(|_| !absence) else { return };
    let cause = format!("`every` has no effect without {}", quoted(absence_key));
    let help = format!("add {} with a duration, or remove this line", quoted(absence_key));
    faults.warning("M035", &again.every.place, cause, help);
}

#[cfg(test)]
mod tests;
