//! The ready-made models: without a warning, explained, and told in full by their stories.
//! `SILLAGE_BLESS=1` draws the pictures on their pages anew: look at them.

use std::path::{Path, PathBuf};

use sillage::diagnostic::{Style, render};
use sillage::journey::{Decision, Outcome, What};
use sillage::model::{self, Model, graph};
use sillage::scenario::Coverage;

use crate::journeys::suite;

/// The example that was written from the documentation alone is held to the same.
const EXAMPLE: &str = "gym";

fn folder(name: &str) -> &'static str {
    if name == EXAMPLE { "examples/gym" } else { "models" }
}

fn path(name: &str, ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{}/{name}{ending}", folder(name)))
}

fn text(name: &str, ending: &str) -> String {
    std::fs::read_to_string(path(name, ending)).unwrap_or_else(|error| panic!("models/{name}{ending}: {error}"))
}

/// Every model in `models/`, by name, and the example.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(path("", "")).expect("models/");
    let files = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let models = files.filter(|file| file != "contacts.yaml");
    let mut names: Vec<String> = models.filter_map(|file| Some(file.strip_suffix(".yaml")?.to_owned())).collect();
    names.push(EXAMPLE.to_owned());
    names.sort();
    names
}

fn ready_made(name: &str) -> Model {
    let (model, faults) = model::load(&format!("{name}.yaml"), &text(name, ".yaml"));
    assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
    model.expect("no fault, so a model")
}

/// What comes out of every story of a model, in order, with the story's title.
fn told(name: &str) -> Vec<(String, Vec<Outcome>)> {
    let suite = suite(&format!("{}/{name}.scenarios.md", folder(name)), &text(name, ".scenarios.md"));
    let played = suite.scenarios.iter().zip(suite.play());
    let all = played.map(|(story, said)| (story.title.clone(), said.into_iter().flat_map(|said| said.outcomes).collect()));
    all.collect()
}

#[test]
fn every_model_is_sound_explained_and_told_in_full() {
    let names = names();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let model = ready_made(&name);
        assert_eq!(model.name, name, "the file is called as the model");
        assert!(text(&name, ".yaml").lines().count() <= 120, "{name} is longer than a screen");
        let suite = suite(&format!("{}/{name}.scenarios.md", folder(&name)), &text(&name, ".scenarios.md"));
        assert!(suite.scenarios.len() >= 8, "{name} has {} stories", suite.scenarios.len());
        let mut coverage = Coverage::new(suite.scenarios[0].model.clone());
        for said in suite.play().iter().flatten() {
            coverage.take(&said.outcomes);
        }
        assert_eq!(coverage.missing(), Vec::<String>::new(), "{name}: no story tells of this");

        let page = text(&name, ".md");
        let (before, rest) = page.split_once("```mermaid\n").unwrap_or_else(|| panic!("{name}.md has no picture"));
        let (_, after) = rest.split_once("```").expect("the picture's end");
        let drawn = format!("{before}```mermaid\n{}```{after}", graph::mermaid(&model));
        if std::env::var_os("SILLAGE_BLESS").is_some() {
            std::fs::write(path(&name, ".md"), &drawn).expect("written");
        } else {
            assert!(page == drawn, "the picture in {name}.md is not what is drawn now; SILLAGE_BLESS=1 draws it anew");
        }
        for stage in &model.stages {
            assert!(
                page.contains(&format!("**{}**", stage.name.replace('-', " "))),
                "{name}.md says nothing of {}",
                stage.name
            );
        }
    }
}

/// What preceded the purchases of a story, in order.
fn decisions(name: &str, title: &str) -> Vec<Decision> {
    let (_, outcomes) = told(name).into_iter().find(|(told, _)| told == title).expect(title);
    let decision = |outcome: Outcome| {
        let What::Transition { decision, .. } = outcome.what else { return None };
        decision.map(|decision| *decision)
    };
    outcomes.into_iter().filter_map(decision).collect()
}

fn short(decision: &Decision) -> (Option<&str>, &str, Option<&str>, String) {
    (decision.stage.as_deref(), &decision.kind, decision.channel.as_deref(), decision.before.to_string())
}

#[test]
fn the_decision_is_where_the_stories_say() {
    let anna = decisions("aida-five-phases", "Anna's mattress");
    let said: Vec<_> = anna.iter().map(short).collect();
    assert_eq!(
        said,
        [
            (Some("acquisition"), "product.tried", Some("store"), "35m".to_owned()),
            (Some("service"), "product.viewed", Some("web"), "12m".to_owned()),
        ]
    );
    let ida = decisions("aida-five-phases", "Paid by order card");
    let said: Vec<_> = ida.iter().map(short).collect();
    assert_eq!(said, [(Some("awareness"), "mailing.received", Some("mail"), "4d".to_owned())]);
    let store = decisions("five-stages", "Bought in the street");
    let said: Vec<_> = store.iter().map(short).collect();
    assert_eq!(said, [(Some("consideration"), "store.visited", Some("store"), "1h".to_owned())]);
}

#[test]
fn annas_feelings_are_in_what_is_told_of_her() {
    let (_, outcomes) = told("aida-five-phases").into_iter().find(|(told, _)| told == "Anna's mattress").expect("Anna");
    let felt: Vec<(String, &str)> =
        outcomes.iter().map(|outcome| (outcome.to_string(), outcome.segment.as_deref().unwrap_or_default())).collect();
    for expected in [
        ("completes order O1 (899 EUR)", "delighted"),
        ("friction bad-moment in service", "annoyed"),
        ("completes exchange X1", "delighted"),
    ] {
        assert!(felt.iter().any(|(says, segment)| (says.as_str(), *segment) == expected), "{expected:?} in {felt:#?}");
    }
}
