//! What a new version of a model does to running journeys, in words; and whether it may (rule 25).
//!
//! Things are matched by their names, renamed ones by what the new model declares. [`between`] looks at structures, as they
//! stand beside the state, and says what would strand journeys; [`diff`] looks at the models' files as well, and says what
//! else will be otherwise. How a journey's state is brought over is for `journey` to know.

mod behaviour;
mod matched;
mod places;
mod shapes;
mod told;

use std::sync::Arc;

use compact_str::CompactString;

use super::{Model, Section, Structure};
use crate::diagnostic::{Diagnostic, Severity, Source};

pub use matched::{Way, demands, same_evidence};

/// One thing that is otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where in the model.
    pub section: Section,
    /// The thing's new name; of what is gone, the old one.
    pub name: CompactString,
    /// In which way.
    pub effect: Effect,
    /// What that means, in words.
    pub words: String,
    /// Why it cannot be.
    pub refused: Option<Refused>,
}

/// In which way a thing is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was not there before.
    New,
    /// It is not there any more.
    Gone,
    /// It has another name, place or meaning.
    Otherwise,
}

/// Why a change cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// One of [`crate::diagnostic::CODES`].
    pub code: &'static str,
    /// What is wrong, in one sentence without a full stop.
    pub cause: String,
    /// What to do next, likewise.
    pub help: String,
    /// Where to look.
    at: At,
}

/// A place in one of the two files: keys from the outside in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Old(Vec<CompactString>),
    New(Vec<CompactString>),
}

/// What a new version of a model does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The old name and version.
    pub old: (CompactString, u32),
    /// The new name and version.
    pub new: (CompactString, u32),
    /// What is otherwise, in the order of the file.
    pub changes: Vec<Change>,
    /// What is wrong with the step as a whole.
    pub refused: Vec<Refused>,
}

/// What is otherwise in the structure.
pub fn between(old: &Structure, new: &Structure) -> Vec<Change> {
    shapes::between(old, new)
}

/// What is otherwise in a model, and whether the step may be taken.
pub fn diff(old: &Model, new: &Model) -> Diff {
    let (before, after) = (Structure::of(old), Structure::of(new));
    let mut changes = between(&before, &after);
    changes.extend(behaviour::between(old, new, &after));
    changes.sort_by_key(|change| {
        let place = |names: Vec<&str>| names.iter().position(|name| *name == change.name);
        // What is gone stands at the end of its section.
        (change.section as u8, place(after.names(change.section)).unwrap_or(usize::MAX))
    });
    let mut refused = Vec::new();
    if old.name != new.name {
        refused.push(Refused {
            code: "D006",
            cause: format!("`{}` is another model than `{}`: it begins with new journeys", new.name, old.name),
            help: format!("keep the name `{}`; to run both, list both in the configuration", old.name),
            at: At::New(vec!["model".into()]),
        });
    }
    refused.extend(step(&before, old.version, &after, new.version));
    Diff { old: (old.name.clone(), old.version), new: (new.name.clone(), new.version), changes, refused }
}

/// The version goes up with the structure: only so can an older worker tell what it does not know from what it does.
fn step(before: &Structure, old: u32, after: &Structure, new: u32) -> Option<Refused> {
    if new > old || before.is_same(after) {
        return None;
    }
    let at = At::New(vec!["version".into()]);
    let help = format!("write `version: {}`", old.saturating_add(1));
    let cause = if new == old {
        format!("what running journeys depend on has changed, and the version is still {old}")
    } else {
        format!("what running journeys depend on has changed, and the version goes back from {old} to {new}")
    };
    Some(Refused { code: "D005", cause, help, at })
}

impl Diff {
    /// Why the step cannot be taken; nothing where it can.
    pub fn refusals(&self) -> impl Iterator<Item = &Refused> {
        self.refused.iter().chain(self.changes.iter().filter_map(|change| change.refused.as_ref()))
    }

    /// The refusals at their places in the two files.
    pub fn diagnostics(&self, old: &Arc<Source>, new: &Arc<Source>) -> Vec<Diagnostic> {
        let diagnostic = |refused: &Refused| {
            let place = match &refused.at {
                At::Old(keys) => places::find(old, keys),
                At::New(keys) => places::find(new, keys),
            };
            Diagnostic {
                code: refused.code,
                severity: Severity::Error,
                place,
                cause: refused.cause.clone(),
                help: refused.help.clone(),
                see: None,
            }
        };
        self.refusals().map(diagnostic).collect()
    }

    /// The changes for people to read, and how running journeys fare.
    pub fn text(&self) -> String {
        told::text(self)
    }
}
