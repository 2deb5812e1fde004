//! What the model says about its earlier versions: new names must be there, old ones must be gone.

use std::collections::HashMap;

use super::episodes::Checked;
use super::{MAX_CHANGES, at_most, check_name, stages};
use crate::diagnostic::{Diagnostic, Faults, Place, did_you_mean, quoted};
use crate::model::written::{Name, Written};
use crate::model::{Changes, Section};

/// Checks `renamed` and `removed`.
pub(super) fn check(written: &Written, episodes: &[Checked<'_>], faults: &mut Faults) -> Changes {
    let here = Names::of(written, episodes);
    let renamed = at_most(MAX_CHANGES, "names under `renamed`", &written.changes.renamed, |(_, old, _)| &old.place, faults);
    let removed = at_most(MAX_CHANGES, "names under `removed`", &written.changes.removed, |(_, old, _)| &old.place, faults);
    let mut told: HashMap<(&str, &str), &Place> = HashMap::new();
    let mut changes = Changes::default();
    for (section, old, new) in renamed {
        here.check_gone(*section, old, faults);
        here.check_there(*section, new, faults);
        told.insert((section.as_str(), &old.value), &old.place);
        changes.renamed.push((*section, old.value.as_str().into(), new.value.as_str().into()));
    }
    for (section, old, to) in removed {
        here.check_gone(*section, old, faults);
        if let Some(to) = to {
            stages::find(to, &written.stages, faults);
        }
        if let Some(place) = told.insert((section.as_str(), &old.value), &old.place) {
            let cause = format!("what becomes of the {} {} is said twice", section.one(), quoted(&old.value));
            faults.push(Diagnostic::error("M092", &old.place, cause, "keep one of the two").see(place, "said here as well"));
        }
        changes.removed.push((*section, old.value.as_str().into(), to.as_ref().map(|to| to.value.as_str().into())));
    }
    changes
}

/// The names that the model has, by section.
struct Names<'a>(Vec<(Section, Vec<&'a Name>, Vec<&'a str>)>);

impl<'a> Names<'a> {
    fn of(written: &'a Written, episodes: &'a [Checked<'_>]) -> Self {
        let all = |section: Section| -> Vec<&'a Name> {
            match section {
                Section::Stages => written.stages.iter().map(|stage| &stage.name).collect(),
                Section::Episodes => written.episodes.iter().map(|kind| &kind.name).collect(),
                Section::Friction => written.friction.iter().map(|rule| &rule.name).collect(),
                Section::Tallies => written.tallies.iter().map(|tally| &tally.name).collect(),
                Section::Segments => written.segments.iter().map(|segment| &segment.name).collect(),
                Section::Ids => {
                    let chains = written.episodes.iter().filter_map(|kind| kind.known_by.as_ref());
                    let names = chains.flat_map(|(_, names)| names);
                    let is_id = |name: &&Name| episodes.iter().any(|kind| kind.chain.ids.contains(&name.value.as_str()));
                    names.filter(is_id).collect()
                }
            }
        };
        let with_words = |section: Section| {
            let names = all(section);
            let words = names.iter().map(|name| name.value.as_str()).collect();
            (section, names, words)
        };
        Names(Section::ALL.into_iter().map(with_words).collect())
    }

    fn in_section(&self, section: Section) -> (&[&'a Name], &[&'a str]) {
        let found = self.0.iter().find(|(of, _, _)| *of == section);
        found.map_or((&[], &[]), |(_, names, words)| (names, words))
    }

    fn check_there(&self, section: Section, new: &Name, faults: &mut Faults) {
        let (names, words) = self.in_section(section);
        if names.iter().any(|name| name.value == new.value) {
            return;
        }
        let (what, list) = (section.one(), section.as_str());
        let cause = format!("there is no {what} {}", quoted(&new.value));
        let help = if words.is_empty() {
            format!("the model has no {list}; under `renamed` the old name stands before the new one")
        } else {
            did_you_mean(&new.value, words, &format!("after the old name comes the new one; the {list} are"))
        };
        faults.error("M090", &new.place, cause, help);
    }

    fn check_gone(&self, section: Section, old: &Name, faults: &mut Faults) {
        if section != Section::Ids {
            check_name(section.one(), old, faults);
        }
        if let Some(name) = self.in_section(section).0.iter().find(|name| name.value == old.value) {
            let cause = format!("the {} {} is still there", section.one(), quoted(&old.value));
            let help = "remove this line; or give what is there another name, since running journeys know this one";
            faults.push(Diagnostic::error("M091", &old.place, cause, help).see(&name.place, "here"));
        }
    }
}
