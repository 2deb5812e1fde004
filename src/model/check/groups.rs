//! Groups of touchpoint types: wherever a type can stand, a group's name stands for its members.
//!
//! A group may have a condition: its members belong to it only where that holds. So each mention of a type has a [`Guard`]:
//! the conditions that must hold together.

use std::collections::{HashMap, HashSet};

use super::conditions::Conditions;
use super::{MAX_CONDITIONS, MAX_GROUPS, MAX_TYPES, at_most, check_name};
use crate::diagnostic::{Diagnostic, Faults, Place, quoted};
use crate::expression::Expression;
use crate::model::written::{Group, Name};
use crate::touchpoint;

/// Every touchpoint, or every other one. It stands as a type where it may.
pub(super) const ANY: &str = "any";

/// The conditions that must hold for a mention to count: places of groups, sorted; empty: always.
pub(super) type Guard = Vec<usize>;

/// A type with the place that mentions it, directly or by a group, and when that counts.
#[derive(Clone, Debug)]
pub(super) struct Mention<'a> {
    pub(super) kind: &'a str,
    pub(super) place: &'a Place,
    pub(super) guard: Guard,
}

/// Types; none twice under conditions of which one includes the other.
pub(super) type Types<'a> = Vec<Mention<'a>>;

/// Whether `one` holds wherever `other` does.
pub(super) fn includes(one: &Guard, other: &Guard) -> bool {
    one.iter().all(|condition| other.contains(condition))
}

/// The groups, each resolved to its types.
pub(super) struct Groups<'a> {
    groups: &'a [Group],
    by_name: HashMap<&'a str, usize>,
    resolved: Vec<Resolved<'a>>,
    used: Vec<bool>,
    /// Every type that a stage or an episode mentions.
    types: HashSet<&'a str>,
    /// Types that were taken for a misspelt group already.
    suspected: HashSet<&'a str>,
    /// How often the file writes each type, and where first.
    written: HashMap<&'a str, (usize, &'a Place)>,
    /// The names of friction rules, which are no types.
    rules: HashSet<&'a str>,
}

enum Resolved<'a> {
    NotYet,
    /// Being resolved: meeting it again is a cycle.
    Now,
    Types(Vec<(&'a str, Guard)>),
}

impl<'a> Groups<'a> {
    /// Resolves groups within groups; reports names, cycles and members that cannot be. `rules` are the names of friction.
    pub(super) fn resolve(groups: &'a [Group], rules: HashSet<&'a str>, faults: &mut Faults) -> Self {
        let groups = at_most(MAX_GROUPS, "groups", groups, |group| &group.name.place, faults);
        let by_name: HashMap<&str, usize> =
            groups.iter().enumerate().map(|(at, group)| (group.name.value.as_str(), at)).collect();
        let mut all = Groups {
            groups,
            by_name,
            resolved: groups.iter().map(|_| Resolved::NotYet).collect(),
            used: vec![false; groups.len()],
            types: HashSet::new(),
            suspected: HashSet::new(),
            written: HashMap::new(),
            rules,
        };
        for (at, group) in groups.iter().enumerate() {
            check_group_name(&group.name, faults);
            check_repeats(&group.members, faults);
            all.resolve_one(at, faults);
        }
        all
    }

    /// Compiles the groups' conditions; in the order of the groups.
    pub(super) fn conditions(&self, conditions: &mut Conditions<'_>, faults: &mut Faults) -> Vec<Option<Expression>> {
        self.groups.iter().map(|group| conditions.flag(group.when.as_ref()?, faults)).collect()
    }

    /// The types behind names of types and groups.
    pub(super) fn expand(&mut self, names: &'a [Name], faults: &mut Faults) -> Types<'a> {
        check_repeats(names, faults);
        let mut listed = Listed::default();
        let mut mentioned = HashSet::new();
        for name in names.iter().filter(|name| mentioned.insert(name.value.as_str())) {
            for (kind, guard) in self.behind(name, faults) {
                listed.add(Mention { kind, place: &name.place, guard });
            }
        }
        let types = listed.into_types();
        self.count(&types, faults);
        types
    }

    /// The same, where `any` may stand alone for whatever does nothing else here.
    pub(super) fn expand_or_any(&mut self, names: &'a [Name], faults: &mut Faults) -> Types<'a> {
        match names {
            [only] if only.value == ANY => vec![Mention { kind: ANY, place: &only.place, guard: Guard::new() }],
            _ => self.expand(names, faults),
        }
    }

    /// The types behind each of some names.
    pub(super) fn expand_each(&mut self, names: &'a [Name], faults: &mut Faults) -> Vec<Types<'a>> {
        names.iter().map(|name| self.expand(std::slice::from_ref(name), faults)).collect()
    }

    /// Reports the groups that nothing mentioned.
    pub(super) fn finish(&self, faults: &mut Faults) {
        let unused = self.groups.iter().zip(&self.used).filter(|(group, used)| !**used && !group.shared);
        for (group, _) in unused {
            let cause = format!("nothing uses the group {}", quoted(&group.name.value));
            faults.warning("M006", &group.name.place, cause, "name it in a stage or an episode, or remove it");
        }
    }

    /// How often the file writes each type, and where first.
    pub(super) fn written(&self) -> &HashMap<&'a str, (usize, &'a Place)> {
        &self.written
    }

    fn behind(&mut self, name: &'a Name, faults: &mut Faults) -> Vec<(&'a str, Guard)> {
        match self.by_name.get(name.value.as_str()) {
            Some(group) => self.members(*group),
            None => {
                self.check_type(name, faults);
                vec![(name.value.as_str(), Guard::new())]
            }
        }
    }

    fn members(&mut self, group: usize) -> Vec<(&'a str, Guard)> {
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
        let group = &self.groups[at];
        let mut listed = Listed::default();
        for member in &group.members {
            let types = match self.by_name.get(member.value.as_str()).copied() {
                None => self.behind(member, faults),
                Some(inner) if matches!(self.resolved[inner], Resolved::Now) => {
                    cycle(member, &self.groups[inner], at == inner, faults);
                    continue;
                }
                Some(inner) => {
                    self.resolve_one(inner, faults);
                    self.members(inner)
                }
            };
            // Who gives a type a group of its own means it as it is written.
            if let [only] = group.members.as_slice()
                && let Some((times, _)) = self.written.get_mut(only.value.as_str())
            {
                *times += 1;
            }
            for (kind, mut guard) in types {
                if group.when.is_some()
                    && let Err(place) = guard.binary_search(&at)
                {
                    guard.insert(place, at);
                }
                listed.add(Mention { kind, place: &member.place, guard });
            }
        }
        let types = listed.into_types();
        let types = bounded(types, &group.name, faults);
        self.resolved[at] = Resolved::Types(types.into_iter().map(|mention| (mention.kind, mention.guard)).collect());
    }

    fn check_type(&mut self, name: &'a Name, faults: &mut Faults) {
        let text = name.value.as_str();
        let (times, _) = self.written.entry(text).or_insert((0, &name.place));
        *times += 1;
        if text == ANY {
            let help = "`any` stands alone, after `enter`, `back`, `progresses`, `opens`, `until` and in tallies; elsewhere name types or groups";
            faults.error("M009", &name.place, "`any` cannot stand here", help);
        } else if text.strip_prefix("friction.").is_some_and(|rule| self.rules.contains(rule)) {
            let cause = format!("{} is a friction rule, which only `back` of a stage can name", quoted(text));
            faults.error("M076", &name.place, cause, "name the types of touchpoints that the rule looks for, or remove it");
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
        let mut names = self.groups.iter().map(|group| group.name.value.as_str());
        // Comparing takes time, and a model with more types is refused anyway.
        if !(5..=64).contains(&text.len()) || self.written.len() > MAX_TYPES {
            return None;
        }
        names.find(near)
    }

    fn count(&mut self, types: &Types<'a>, faults: &mut Faults) {
        for Mention { kind, place, .. } in types {
            if self.types.insert(kind) && self.types.len() == MAX_TYPES + 1 {
                let cause = format!("the model names more than {MAX_TYPES} types of touchpoints");
                faults.error("M004", place, cause, "keep the types that say something about the journey");
            }
        }
    }
}

/// Mentions as they are gathered: one that always counts makes those under conditions needless.
#[derive(Default)]
struct Listed<'a> {
    mentions: Types<'a>,
    by_kind: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Listed<'a> {
    fn add(&mut self, mention: Mention<'a>) {
        let known = self.by_kind.entry(mention.kind).or_default();
        if known.iter().any(|at| includes(&self.mentions[*at].guard, &mention.guard)) {
            return;
        }
        match known.iter().find(|at| includes(&mention.guard, &self.mentions[**at].guard)) {
            // Others that it includes as well stay: they say nothing more, and do no harm.
            Some(at) => self.mentions[*at] = mention,
            None => {
                known.push(self.mentions.len());
                self.mentions.push(mention);
            }
        }
    }

    fn into_types(self) -> Types<'a> {
        self.mentions
    }
}

/// Drops the mentions of a type that depends on more conditions than it may; that also bounds how many mentions there are.
fn bounded<'a>(types: Types<'a>, group: &'a Name, faults: &mut Faults) -> Types<'a> {
    let mut by_kind: HashMap<&str, HashSet<usize>> = HashMap::new();
    for mention in &types {
        by_kind.entry(mention.kind).or_default().extend(&mention.guard);
    }
    let beyond = types.iter().find(|mention| by_kind[mention.kind].len() > MAX_CONDITIONS);
    if let Some(mention) = beyond {
        too_many_conditions(mention.kind, &group.place, faults);
    }
    let mut types = types;
    // One more than a model may name, so that it is told (`Groups::count`): groups of groups hand all of them on.
    let mut kinds = HashSet::new();
    types.retain(|mention| {
        let fits = by_kind[mention.kind].len() <= MAX_CONDITIONS;
        fits && (kinds.contains(mention.kind) || (kinds.len() <= MAX_TYPES && kinds.insert(mention.kind)))
    });
    types
}

/// Says that a type belongs to too many groups with conditions.
pub(super) fn too_many_conditions(kind: &str, place: &Place, faults: &mut Faults) {
    let cause =
        format!("{} belongs to more than {MAX_CONDITIONS} groups with conditions, some by way of others", quoted(kind));
    faults.error("M080", place, cause, "join some of the conditions in one group, or ask for the rest in `when` of a stage");
}

fn check_group_name(name: &Name, faults: &mut Faults) {
    if name.value == ANY {
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

fn cycle(member: &Name, group: &Group, itself: bool, faults: &mut Faults) {
    let name = quoted(&group.name.value);
    let (cause, help) = if itself {
        (format!("the group {name} contains itself"), "remove it here; if a type has the same name, rename the group")
    } else {
        (format!("the group {name} contains itself, by way of other groups"), "remove it here")
    };
    faults.push(Diagnostic::error("M005", &member.place, cause, help).see(&group.name.place, "the group"));
}
