//! A model that changes under running journeys (rule 25), on the judge's random models and stories: told on as if the names
//! had always been so. `JUDGE_SEED` runs one case, `JUDGE_CASES` more of them.

use std::sync::Arc;

use sillage::journey::{Customer, Migration};
use sillage::model::{self, Model, Structure};
use sillage::shard::{Customers, Settings};
use sillage::time::{Span, Timestamp};

use super::dice::Dice;
use super::engine::{line, made};
use super::plan::{Seconds, Touch};
use super::walk::MAX_DELAY;
use super::{QUIET, end};
use crate::world::{START, World};

/// Old and new names, by section.
const RENAMED: [(&str, &[(&str, &str)]); 5] = [
    ("stages", &[("s0", "z0"), ("s1", "z1"), ("s2", "z2"), ("s3", "z3"), ("over", "finished")]),
    ("episodes", &[("basket", "cart"), ("ticket", "issue")]),
    ("friction", &[("f0", "h0"), ("f1", "h1"), ("f2", "h2"), ("f3", "h3")]),
    ("tallies", &[("done", "deeds"), ("spent", "revenue"), ("mood", "temper"), ("questions", "topics"), ("owed", "due")]),
    ("segments", &[("loyal", "fans"), ("careful", "wary"), ("everyone", "others")]),
];

/// What is new, first in its section.
const NEW: [(&str, &str); 5] = [
    ("stages", "extra: { enter: never.comes, quiet: 2s }"),
    ("episodes", "other: { known by: [z, customer], opens: never.comes, completes: never.ends, worth: value }"),
    ("friction", "news: { on: never.comes }"),
    ("tallies", "comings: { count: never.comes }"),
    ("segments", "old-hands: journey.number > 9999"),
];

fn settings() -> Settings {
    Settings { settle: Span::ZERO, grace: Span::ZERO, max_delay: Span::from_secs(MAX_DELAY), ..Settings::default() }
}

fn at(seconds: Seconds) -> Timestamp {
    START + Span::from_secs(seconds)
}

fn load(yaml: &str) -> Arc<Model> {
    let (model, faults) = model::load("judged.yaml", yaml);
    let told = sillage::diagnostic::render(&faults, sillage::diagnostic::Style::Plain);
    Arc::new(model.unwrap_or_else(|| panic!("{told}\n{yaml}")))
}

/// The same model in other words, with new things before the old ones and the tallies in another order.
fn rewritten(yaml: &str) -> String {
    let mut words = String::new();
    let mut word = String::new();
    for letter in yaml.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() || letter == '-' {
            word.push(letter);
            continue;
        }
        let new = RENAMED.iter().flat_map(|(_, names)| *names).find(|(old, _)| *old == word);
        words += new.map_or(word.as_str(), |(_, new)| new);
        word.clear();
        words.push(letter);
    }
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in words.lines() {
        match (line.strip_prefix("  "), sections.last_mut()) {
            (Some(line), Some((_, lines))) => lines.push(line.to_owned()),
            (Some(_) | None, _) => sections.push((line.to_owned(), Vec::new())),
        }
    }
    let mut text = String::new();
    let mut renamed = String::new();
    for (head, mut lines) in sections {
        let name = head.trim_end_matches(':');
        if name == "tallies" {
            lines.reverse();
        }
        if let Some((_, names)) = RENAMED.iter().find(|(section, _)| *section == name) {
            let is_there = |new: &str| lines.iter().any(|line| line.starts_with(&format!("{new}:")));
            let pairs: Vec<String> =
                names.iter().filter(|(_, new)| is_there(new)).map(|(old, new)| format!("{old}: {new}")).collect();
            renamed += &format!("  {name}: {{ {} }}\n", pairs.join(", "));
        }
        if let Some((_, line)) = NEW.iter().find(|(section, _)| *section == name) {
            lines.insert(0, (*line).to_owned());
        }
        text += &format!("{}\n", head.replace("version: 1", "version: 2"));
        lines.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    format!("{text}renamed:\n{renamed}")
}

/// What is told of the touchpoints from `split` on, under `after`; until then they go through `before`.
fn told(before: &Arc<Model>, after: &Arc<Model>, touches: &[Touch], split: usize) -> Vec<String> {
    let mut world = World::new(&[Arc::clone(before)], settings(), 1);
    let give = |world: &mut World, range: std::ops::Range<usize>| {
        for number in range {
            world.give(0, made(&touches[number], number), at(touches[number].log_time));
        }
    };
    give(&mut world, 0..split);
    world.commit();
    let mut customers = Customers::default();
    let migration = Migration::new(&[("judged", &Structure::of(before))], &[("judged", &Structure::of(after))]);
    for mut customer in world.customers() {
        migration.migrate(&mut customer);
        customers.restore(&customer);
    }
    let progress = world.shard.committed().clone();
    let mut world = World::going_on(&[Arc::clone(after)], settings(), customers, progress);
    give(&mut world, split..touches.len());
    world.quiet_until(0, at(end(touches)));
    world.take_outcomes().iter().map(line).collect()
}

#[test]
fn journeys_go_on_under_new_names_as_if_these_had_always_been() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("JUDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("JUDGE_CASES").unwrap_or(1_000),
    };
    let mut said = 0;
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let plan = dice.plan();
        let touches = dice.touches(&plan, seed % 4 == 3);
        let (old, new) = (plan.yaml(), rewritten(&plan.yaml()));
        let (before, after) = (load(&old), load(&new));
        let changes = model::diff(&before, &after);
        assert_eq!(changes.refusals().count(), 0, "JUDGE_SEED={seed}\n{}", changes.text());
        for split in [touches.len() / 3, touches.len() * 2 / 3] {
            let (brought, always) = (told(&before, &after, &touches, split), told(&after, &after, &touches, split));
            said += always.len();
            assert_eq!(brought, always, "JUDGE_SEED={seed}, {split} before\n{old}\n{new}");
        }
    }
    assert!(said > 0, "no case said anything");
}

/// The state in the middle of a random story.
fn halfway(seed: u64) -> (Arc<Model>, Vec<Customer>) {
    let mut dice = Dice::new(seed);
    let plan = dice.plan();
    let touches = dice.touches(&plan, false);
    let model = load(&plan.yaml());
    let mut world = World::new(&[Arc::clone(&model)], settings(), 1);
    for (number, touch) in touches.iter().enumerate().take(touches.len() * 2 / 3) {
        world.give(0, made(touch, number), at(touch.log_time));
    }
    (model, world.customers())
}

#[test]
fn what_goes_to_the_same_model_stays_as_it_is_and_what_goes_there_and_back_comes_back() {
    for seed in 0..500 {
        let (model, customers) = halfway(seed);
        let structure = Structure::of(&model);
        let mut other = Structure::of(&load(&rewritten(&text_of(seed))));
        let there = Migration::new(&[("judged", &structure)], &[("judged", &other)]);
        // Back, everything has its old name again, and what was new is gone.
        let mut first = structure.clone();
        for (section, old, new) in std::mem::take(&mut other.changes.renamed) {
            first.changes.renamed.push((section, new, old));
        }
        let back = Migration::new(&[("judged", &other)], &[("judged", &first)]);
        for customer in customers {
            let mut same = customer.clone();
            Migration::new(&[("judged", &structure)], &[("judged", &structure)]).migrate(&mut same);
            assert_eq!(same, customer, "seed {seed}");
            there.migrate(&mut same);
            assert!(same.journeys[0].reached.len() == structure.stages.len() + 1, "seed {seed}");
            assert_eq!(same.next_deadline(), customer.next_deadline(), "armed deadlines keep their instants; seed {seed}");
            back.migrate(&mut same);
            assert_eq!(same, customer, "seed {seed}");
        }
    }
}

fn text_of(seed: u64) -> String {
    Dice::new(seed).plan().yaml()
}

#[test]
fn what_is_removed_never_fires_and_what_is_new_does_not_fire_at_once() {
    let mut removed = 0;
    for seed in 0..500 {
        let (model, customers) = halfway(seed);
        let old = Structure::of(&model);
        let mut new = old.clone();
        // All kinds, rules, tallies and segments go; journeys go on in the first stage; what is left is one of them, ended.
        (new.episodes, new.friction, new.tallies, new.segments) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        new.stages.iter_mut().for_each(|stage| stage.ends = true);
        let migration = Migration::new(&[("judged", &old)], &[("judged", &new)]);
        for mut customer in customers {
            removed += usize::from(customer.next_deadline() < at(QUIET * 10));
            migration.migrate(&mut customer);
            assert_eq!(customer.next_deadline(), Timestamp::MAX, "seed {seed}");
        }
    }
    assert!(removed > 100, "{removed} had something to lose");
}
