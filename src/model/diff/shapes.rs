//! What is otherwise between two structures, and what of it would strand journeys.

use compact_str::{CompactString, format_compact};

use super::{At, Change, Effect, Refused, demands, same_evidence};
use crate::diagnostic::{listed, nearest, quoted};
use crate::model::{KindShape, Section, StageShape, Structure, SumShape, TallyShape};

pub(super) fn between(old: &Structure, new: &Structure) -> Vec<Change> {
    let step = Step { old, new };
    let mut changes = Vec::new();
    for section in Section::ALL {
        match section {
            Section::Ids => step.ids(&mut changes),
            Section::Stages | Section::Episodes | Section::Friction | Section::Tallies | Section::Segments => {
                step.names(section, &mut changes);
            }
        }
    }
    step.order(&mut changes);
    if !old.names_only {
        step.stages(&mut changes);
        step.fallbacks(&mut changes);
        step.friction(&mut changes);
        step.tallies(&mut changes);
        step.sums(&mut changes);
    }
    changes
}

/// From one structure to another.
struct Step<'a> {
    old: &'a Structure,
    new: &'a Structure,
}

fn change(section: Section, name: &str, effect: Effect, words: impl Into<String>) -> Change {
    Change { section, name: name.into(), effect, words: words.into(), refused: None }
}

impl Step<'_> {
    /// What came, went, or has another name.
    fn names(&self, section: Section, changes: &mut Vec<Change>) {
        let (old, new) = (self.old.names(section), self.new.names(section));
        let mut before: Vec<Vec<&str>> = vec![Vec::new(); new.len()];
        for name in &old {
            match self.new.place_of(section, name) {
                Some(place) => before[place].push(name),
                None => changes.push(self.gone(section, name)),
            }
        }
        for (name, before) in new.iter().zip(before) {
            match before.as_slice() {
                [] => changes.push(change(section, name, Effect::New, came(section))),
                [same] if same == name => {}
                [other] => {
                    let words = format!("was {other}; {}", goes_on(section));
                    changes.push(change(section, name, Effect::Otherwise, words));
                }
                several => {
                    let all = listed(several.iter().copied());
                    let words = format!("would be {all} at once");
                    let cause = format!("{all} become one {}, {}", section.one(), quoted(name));
                    let help = match section {
                        Section::Stages => "let one go on under `renamed`, and say under `removed` where the others go on",
                        Section::Episodes | Section::Ids => {
                            "let one go on under `renamed`, and list the others under `removed`"
                        }
                        Section::Friction | Section::Tallies | Section::Segments => "let one go on under `renamed`",
                    };
                    let at = At::New(vec!["renamed".into(), section.as_str().into(), several[0].into()]);
                    let refused = Some(Refused { code: "D004", cause, help: help.to_owned(), at });
                    changes.push(Change { refused, ..change(section, name, Effect::Otherwise, words) });
                }
            }
        }
    }

    fn gone(&self, section: Section, name: &str) -> Change {
        let declared = self.new.changes.removes(section, name);
        let words = match section {
            Section::Stages => match self.new.changes.instead_of(name) {
                Some(to) => format!("gone; journeys that stand there go on in {to}, and nothing is told of that"),
                None => "gone, and it is not said where journeys go on that stand there".to_owned(),
            },
            Section::Episodes if declared => "gone; open ones are forgotten, and nothing more is told of them".to_owned(),
            Section::Episodes => "gone, and some may be open".to_owned(),
            Section::Friction => {
                "gone; what was gathered is forgotten, and what waits for an answer waits no more".to_owned()
            }
            Section::Tallies => "gone; what it summed up is forgotten".to_owned(),
            Section::Segments => "gone; customers are told apart anew at their next touchpoint".to_owned(),
            Section::Ids => "gone".to_owned(),
        };
        let refused = match section {
            Section::Stages | Section::Episodes if !declared => Some(self.strands(section, name)),
            Section::Stages | Section::Episodes | Section::Ids => None,
            Section::Friction | Section::Tallies | Section::Segments => None,
        };
        Change { refused, ..change(section, name, Effect::Gone, words) }
    }

    fn strands(&self, section: Section, name: &str) -> Refused {
        let renamed = self.likely(section, name);
        let (code, cause, otherwise) = match section {
            Section::Stages => {
                let near = self.new.stages.iter().find(|stage| !stage.ends).map_or("visiting", |stage| &stage.name);
                let to = renamed.unwrap_or(near);
                let cause = format!("stage {} is gone, and journeys may stand there", quoted(name));
                ("D001", cause, format!("say where they go on: `removed: {{ stages: {{ {name}: {to} }} }}`"))
            }
            Section::Episodes | Section::Ids | Section::Friction | Section::Tallies | Section::Segments => {
                let cause = format!("episode {} is gone, and some may be open", quoted(name));
                ("D002", cause, format!("let go of them: `removed: {{ episodes: [{name}] }}`"))
            }
        };
        let key = section.as_str();
        let new = renamed.unwrap_or("NEW-NAME");
        let help =
            format!("if it is called otherwise now, write `renamed: {{ {key}: {{ {name}: {new} }} }}`; else {otherwise}");
        Refused { code, cause, help, at: At::Old(vec![key.into(), name.into()]) }
    }

    /// What a thing is probably called now: the nearest of the names that are new, or the only one.
    fn likely(&self, section: Section, name: &str) -> Option<&str> {
        let old = self.old.names(section);
        let is_new = |new: &&str| !old.iter().any(|old| self.new.changes.new_name(section, old) == *new);
        let new: Vec<&str> = self.new.names(section).into_iter().filter(is_new).collect();
        nearest(name, new.iter().copied()).or(match new.as_slice() {
            [only] => Some(only),
            [] | [_, _, ..] => None,
        })
    }

    /// Stages that are there before and after, in another order.
    fn order(&self, changes: &mut Vec<Change>) {
        let places: Vec<usize> =
            self.old.stages.iter().filter_map(|stage| self.new.place_of(Section::Stages, &stage.name)).collect();
        if let Some(at) = places.windows(2).position(|pair| pair[0] > pair[1]) {
            let name = &self.new.stages[places[at + 1]].name;
            let words = "stands elsewhere in the order; what is forward and what is back goes by the new one";
            changes.push(change(Section::Stages, name, Effect::Otherwise, words));
        }
    }

    /// The stages that go on.
    fn stages(&self, changes: &mut Vec<Change>) {
        for old in &self.old.stages {
            let Some(place) = self.new.place_of(Section::Stages, &old.name) else { continue };
            let new = &self.new.stages[place];
            let mut say = |words: &str| changes.push(change(Section::Stages, &new.name, Effect::Otherwise, words));
            match (old.ends, new.ends) {
                (false, true) => say("ends the journey now; nothing more is awaited of whoever stands there"),
                (true, false) => say("does not end the journey any more; whoever stands there goes on"),
                (true, true) | (false, false) => {}
            }
            if forgets_counts(old, new) {
                say("what was counted towards it is forgotten in part: what counts is otherwise");
            }
        }
    }

    /// Ids in `known by`.
    fn ids(&self, changes: &mut Vec<Change>) {
        if self.old.names_only {
            return;
        }
        for old in &self.old.episodes {
            let Some(place) = self.new.place_of(Section::Episodes, &old.name) else { continue };
            let new = &self.new.episodes[place];
            for id in &old.ids {
                let now = self.new.changes.new_name(Section::Ids, id);
                if !new.ids.iter().any(|known| known == now) {
                    changes.push(self.id_gone(old, new, id));
                } else if now != id.as_str() {
                    let words = format!("is now known by {now}, where it was {id}; the ids are the same");
                    changes.push(change(Section::Episodes, &new.name, Effect::Otherwise, words));
                }
            }
            let known = |id: &&CompactString| {
                old.ids.iter().any(|before| self.new.changes.new_name(Section::Ids, before) == id.as_str())
            };
            for id in new.ids.iter().filter(|id| !known(id)) {
                let words = format!("is known by {id} as well, from the next touchpoint that carries it");
                changes.push(change(Section::Episodes, &new.name, Effect::Otherwise, words));
            }
        }
    }

    fn id_gone(&self, old: &KindShape, new: &KindShape, id: &str) -> Change {
        let alone = if new.session || new.customer { "goes on without" } else { "is forgotten" };
        let words = format!("is not known by {id} any more; what is known by nothing else {alone}");
        let refused = (!self.new.changes.removes(Section::Ids, id)).then(|| Refused {
            code: "D003",
            cause: format!("episode {} is not known by {} any more, and open ones are", quoted(&new.name), quoted(id)),
            help: format!(
                "if touchpoints call it otherwise now, write `renamed: {{ ids: {{ {id}: {} }} }}`; else let go of it: \
                 `removed: {{ ids: [{id}] }}`",
                new.ids.iter().find(|known| !old.ids.contains(known)).map_or("new_name", |known| known)
            ),
            at: At::Old(vec!["episodes".into(), old.name.clone(), "known by".into()]),
        });
        Change { refused, ..change(Section::Episodes, &new.name, Effect::Otherwise, words) }
    }

    /// What touchpoints without an id belong to.
    fn fallbacks(&self, changes: &mut Vec<Change>) {
        for old in &self.old.episodes {
            let Some(place) = self.new.place_of(Section::Episodes, &old.name) else { continue };
            let new = &self.new.episodes[place];
            if (old.session, old.customer) != (new.session, new.customer) {
                let words = format!("without an id, one is known by {}, where it was {}", fallback(new), fallback(old));
                changes.push(change(Section::Episodes, &new.name, Effect::Otherwise, words));
            }
        }
    }

    fn friction(&self, changes: &mut Vec<Change>) {
        for old in &self.old.friction {
            let Some(place) = self.new.place_of(Section::Friction, &old.name) else { continue };
            let new = &self.new.friction[place];
            if !same_evidence(self.old, old, self.new, new) {
                let words = "looks for something else; what was gathered is forgotten, what cools down goes on cooling";
                changes.push(change(Section::Friction, &new.name, Effect::Otherwise, words));
            }
        }
    }

    /// What is summed up in episodes that go on.
    fn sums(&self, changes: &mut Vec<Change>) {
        for old in &self.old.episodes {
            let Some(place) = self.new.place_of(Section::Episodes, &old.name) else { continue };
            let new = &self.new.episodes[place];
            for sum in &old.sums {
                let words = match new.sums.iter().find(|now| now.name == sum.name) {
                    None => format!("sums up no {} any more", sum.name),
                    Some(now) if !now.goes_on_from(sum) => format!("{} begins anew: it sums up something else", sum.name),
                    Some(_) => continue,
                };
                changes.push(change(Section::Episodes, &new.name, Effect::Otherwise, words));
            }
            for sum in new.sums.iter().filter(|sum| !old.sums.iter().any(|before| before.name == sum.name)) {
                let words = format!("sums up {} from the next touchpoint on", sum.name);
                changes.push(change(Section::Episodes, &new.name, Effect::Otherwise, words));
            }
        }
    }

    fn tallies(&self, changes: &mut Vec<Change>) {
        for old in &self.old.tallies {
            let Some(place) = self.new.place_of(Section::Tallies, &old.name) else { continue };
            let new = &self.new.tallies[place];
            if !new.goes_on_from(old) {
                let words = format!("sums up {}, where it was {}; it begins anew", summed(new), summed(old));
                changes.push(change(Section::Tallies, &new.name, Effect::Otherwise, words));
            } else if old.of != new.of {
                let words = format!("sums up {}, where it was {}; it goes on from what there is", summed(new), summed(old));
                changes.push(change(Section::Tallies, &new.name, Effect::Otherwise, words));
            }
        }
    }
}

/// What becomes of what is new.
fn came(section: Section) -> &'static str {
    match section {
        Section::Stages => "new; entered from now on",
        Section::Episodes => "new; opened from now on",
        Section::Ids => "new",
        Section::Friction => "new; evidence counts from now on",
        Section::Tallies => "new; begins at nothing",
        Section::Segments => "new; customers are told apart anew at their next touchpoint",
    }
}

/// What becomes of what has another name.
fn goes_on(section: Section) -> &'static str {
    match section {
        Section::Stages => "journeys that stand there go on",
        Section::Episodes => "open ones go on",
        Section::Ids => "the ids are the same",
        Section::Friction => "what was gathered goes on counting",
        Section::Tallies => "the sums go on",
        Section::Segments => "customers in it are in it",
    }
}

fn forgets_counts(old: &StageShape, new: &StageShape) -> bool {
    let ways = demands(old, new);
    let lost = |way: &Option<super::Way>| way.as_ref().is_none_or(|way| way.parts.contains(&None));
    let counts = |of: &crate::model::DemandShape| *of != crate::model::DemandShape::One;
    old.demands.iter().zip(&ways).any(|(demand, way)| counts(demand) && lost(way))
}

fn fallback(kind: &KindShape) -> &'static str {
    match (kind.session, kind.customer) {
        (true, true) => "the session, then the customer",
        (true, false) => "the session",
        (false, true) => "the customer",
        (false, false) => "nothing",
    }
}

fn summed(tally: &TallyShape) -> CompactString {
    let of = tally.of.as_deref().unwrap_or_default();
    match tally.sum {
        SumShape::Count if tally.once.is_some() => {
            format_compact!("different {}", tally.once.as_deref().unwrap_or_default())
        }
        SumShape::Count => "touchpoints".into(),
        SumShape::Visits => "visits".into(),
        SumShape::Number => format_compact!("the number {of}"),
        SumShape::Money => format_compact!("the amount {of}"),
        SumShape::Last => format_compact!("the latest {of}"),
    }
}
