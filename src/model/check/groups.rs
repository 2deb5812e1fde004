//! Groups of touchpoint types: wherever a type can stand, a group's name stands for its members.

use std::collections::{HashMap, HashSet};

use super::{MAX_GROUPS, MAX_TYPES, at_most, check_name};
use crate::diagnostic::{Diagnostic, Faults, Place, quoted};
use crate::model::written::{List, Name};
use crate::touchpoint;

/// Types with the place that mentions each, directly or by a group; none twice.
pub(super) type Types<'a> = Vec<(&'a str, &'a Place)>;

/// The groups, each resolved to its types.
pub(super) struct Groups<'a> {
    lists: &'a [List],
    by_name: HashMap<&'a str, usize>,
    resolved: Vec<Resolved<'a>>,
    used: Vec<bool>,
    /// Every type that a stage or an episode mentions.
    types: HashSet<&'a str>,
    /// Types that were taken for a misspelt group already.
    suspected: HashSet<&'a str>,
}

enum Resolved<'a> {
    NotYet,
    /// Being resolved: meeting it again is a cycle.
    Now,
    Types(Vec<&'a str>),
}

impl<'a> Groups<'a> {
    /// Resolves groups within groups; reports names, cycles and members that cannot be.
    pub(super) fn resolve(lists: &'a [List], faults: &mut Faults) -> Self {
        let lists = at_most(MAX_GROUPS, "groups", lists, |list| &list.name.place, faults);
        let by_name: HashMap<&str, usize> =
            lists.iter().enumerate().map(|(at, list)| (list.name.value.as_str(), at)).collect();
        let mut groups = Groups {
            lists,
            by_name,
            resolved: lists.iter().map(|_| Resolved::NotYet).collect(),
            used: vec![false; lists.len()],
            types: HashSet::new(),
            suspected: HashSet::new(),
        };
        for (at, list) in lists.iter().enumerate() {
            check_group_name(&list.name, faults);
            check_repeats(&list.members, faults);
            groups.resolve_one(at, faults);
        }
        groups
    }

    /// The types behind names of types and groups.
    pub(super) fn expand(&mut self, names: &'a [Name], faults: &mut Faults) -> Types<'a> {
        check_repeats(names, faults);
        let mut seen = HashSet::new();
        let mut types = Types::new();
        let mut mentioned = HashSet::new();
        for name in names.iter().filter(|name| mentioned.insert(name.value.as_str())) {
            let members = match self.by_name.get(name.value.as_str()) {
                Some(group) => self.members(*group),
                None => {
                    self.check_type(name, faults);
                    vec![name.value.as_str()]
                }
            };
            types.extend(members.into_iter().filter(|kind| seen.insert(*kind)).map(|kind| (kind, &name.place)));
        }
        self.count(&types, faults);
        types
    }

    /// Reports the groups that nothing mentioned.
    pub(super) fn finish(self, faults: &mut Faults) {
        for (list, _) in self.lists.iter().zip(&self.used).filter(|(_, used)| !**used) {
            let cause = format!("nothing uses the group {}", quoted(&list.name.value));
            faults.warning("M006", &list.name.place, cause, "name it in a stage or an episode, or remove it");
        }
    }

    fn members(&mut self, group: usize) -> Vec<&'a str> {
        self.used[group] = true;
        match &self.resolved[group] {
            Resolved::Types(types) => types.clone(),
            Resolved::NotYet | Resolved::Now => Vec::new(),
        }
    }

    fn resolve_one(&mut self, at: usize, faults: &mut Faults) {
        if !matches!(self.resolved[at], Resolved::NotYet) {
            return;
        }
        self.resolved[at] = Resolved::Now;
        let list = &self.lists[at];
        let mut seen = HashSet::new();
        let mut types = Vec::new();
        for member in &list.members {
            match self.by_name.get(member.value.as_str()).copied() {
                None => {
                    self.check_type(member, faults);
                    types.extend(seen.insert(member.value.as_str()).then_some(member.value.as_str()));
                }
                Some(inner) if matches!(self.resolved[inner], Resolved::Now) => {
                    cycle(member, &self.lists[inner], at == inner, faults)
                }
                Some(inner) => {
                    self.resolve_one(inner, faults);
                    types.extend(self.members(inner).into_iter().filter(|kind| seen.insert(*kind)));
                }
            }
        }
        self.resolved[at] = Resolved::Types(types);
    }

    fn check_type(&mut self, name: &'a Name, faults: &mut Faults) {
        let text = name.value.as_str();
        if text == "any" {
            let help = "`any` stands alone, and only after `progresses`; elsewhere name types or groups";
            faults.error("M009", &name.place, "`any` cannot stand here", help);
        } else if text.len() > touchpoint::MAX_NAME_BYTES {
            let cause = format!(
                "the type {} is longer than the {} bytes a touchpoint's may have",
                quoted(text),
                touchpoint::MAX_NAME_BYTES
            );
            faults.error("M002", &name.place, cause, "check the spelling; no touchpoint can have this type");
        } else if let Some(group) = self.misspelt(text).filter(|_| self.suspected.insert(text)) {
            let cause = format!("{} is read as a type of touchpoint", quoted(text));
            faults.warning("M010", &name.place, cause, format!("did you mean the group {}?", quoted(group)));
        }
    }

    /// The group that is one slip of the finger away. Short names differ by one letter too easily to say.
    fn misspelt(&self, text: &str) -> Option<&'a str> {
        let near = |group: &&str| strsim::damerau_levenshtein(text, group) == 1;
        let mut names = self.lists.iter().map(|list| list.name.value.as_str());
        names.find(near).filter(|_| (5..=64).contains(&text.len()))
    }

    fn count(&mut self, types: &Types<'a>, faults: &mut Faults) {
        for (kind, place) in types {
            if self.types.insert(kind) && self.types.len() == MAX_TYPES + 1 {
                let cause = format!("the model names more than {MAX_TYPES} types of touchpoints");
                faults.error("M004", place, cause, "keep the types that say something about the journey");
            }
        }
    }
}

fn check_group_name(name: &Name, faults: &mut Faults) {
    if name.value == "any" {
        faults.error(
            "M009",
            &name.place,
            "`any` cannot be the name of a group",
            "choose another name; `any` means every touchpoint",
        );
    } else {
        check_name("group", name, faults);
    }
}

fn check_repeats(names: &[Name], faults: &mut Faults) {
    let mut first: HashMap<&str, &Place> = HashMap::new();
    for name in names {
        match first.get(name.value.as_str()) {
            Some(place) => {
                let cause = format!("{} is listed twice", quoted(&name.value));
                faults.push(
                    Diagnostic::warning("M008", &name.place, cause, "remove one of the two").see(place, "the first one"),
                );
            }
            None => {
                first.insert(&name.value, &name.place);
            }
        }
    }
}

fn cycle(member: &Name, group: &List, itself: bool, faults: &mut Faults) {
    let name = quoted(&group.name.value);
    let (cause, help) = if itself {
        (format!("the group {name} contains itself"), "remove it here; if a type has the same name, rename the group")
    } else {
        (format!("the group {name} contains itself, by way of other groups"), "remove it here")
    };
    faults.push(Diagnostic::error("M005", &member.place, cause, help).see(&group.name.place, "the group"));
}
