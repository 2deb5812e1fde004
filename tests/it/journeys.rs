//! Stories as Markdown tables in `tests/scenarios`: what a customer does, and what Sillage says to it.
//!
//! A file names a model (`model: path`, or a `yaml` block) for all its scenarios, or a scenario names its own. Each row
//! moves stream time to `when`; its last cell holds everything said until then, the touchpoint's outcomes last. A row
//! without a touchpoint only lets time pass. Words with `=` after the type: `as` (a customer, or `anonymous:id`), `at` (when
//! it happened, if not now), `id` (of the touchpoint), `session`; every other is a property.
//! `SILLAGE_BLESS=1` writes the last column anew: read the diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sillage::model::Model;
use sillage::shard::{Settings, Undo};
use sillage::time::Span;
use sillage::touchpoint::{Identity, Touchpoint, Value};

use crate::world::{self, World};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

struct Row {
    line: usize,
    when: String,
    does: String,
    says: String,
}

struct Scenario {
    title: String,
    model: Arc<Model>,
    rows: Vec<Row>,
}

#[test]
fn every_scenario_says_what_it_promises() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(ROOT).join("tests/scenarios"))
        .expect("tests/scenarios")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut scenarios = 0;
    let mut report = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a scenario file");
        let name = format!("tests/scenarios/{}", file.file_name().unwrap_or_default().to_string_lossy());
        let said: Vec<(Row, String)> =
            read(&name, &text).into_iter().flat_map(|story| run(&name, story, &mut scenarios)).collect();
        if std::env::var_os("SILLAGE_BLESS").is_some() {
            std::fs::write(&file, blessed(&text, &said)).expect("a file that can be written");
            continue;
        }
        for (row, said) in said.iter().filter(|(row, said)| row.says != *said) {
            let _ = write!(report, "{name}:{}: {} {}\n  - {}\n  + {said}\n", row.line, row.when, row.does, row.says);
        }
    }
    assert!(report.is_empty(), "Sillage says (+) other things than the scenarios promise (-):\n{report}");
    assert!(scenarios >= 25, "only {scenarios} scenarios were found");
}

fn read(name: &str, text: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut for_all: Option<Arc<Model>> = None;
    let mut title = String::new();
    let mut lines = text.lines().enumerate();
    let set = |model: Arc<Model>, scenarios: &mut Vec<Scenario>, for_all: &mut Option<Arc<Model>>| match scenarios.last_mut()
    {
        Some(scenario) => scenario.model = model,
        None => *for_all = Some(model),
    };
    while let Some((at, line)) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading.to_owned();
            let model = for_all.clone().unwrap_or_else(|| world::good_model("a model for one scenario", ANY));
            scenarios.push(Scenario { title: title.clone(), model, rows: Vec::new() });
        } else if let Some(path) = line.strip_prefix("model: ") {
            let text = std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|_| panic!("{name}:{}", at + 1));
            set(world::good_model(path, &text), &mut scenarios, &mut for_all);
        } else if line == "```yaml" {
            let yaml: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            set(world::good_model(name, &yaml.join("\n")), &mut scenarios, &mut for_all);
        } else if line.starts_with('|') {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [when, does, says] = cells[..] else { panic!("{name}:{}: three cells in {title:?}", at + 1) };
            let head = when == "when" || when.starts_with("--");
            let row = Row { line: at + 1, when: when.to_owned(), does: does.to_owned(), says: says.to_owned() };
            let story = scenarios.last_mut().unwrap_or_else(|| panic!("{name}:{}: a table needs a title", at + 1));
            story.rows.extend((!head).then_some(row));
        }
    }
    scenarios
}

const ANY: &str = "sillage: 1\nmodel: any\nstages: { visit: { enter: page.viewed } }\n";

/// Runs a story; each row comes back with what was said.
fn run(name: &str, story: Scenario, scenarios: &mut usize) -> Vec<(Row, String)> {
    assert!(!story.rows.is_empty(), "{name}: {:?} has no rows", story.title);
    *scenarios += 1;
    let settings = Settings { settle: Span::ZERO, undo: Undo::Never, ..Settings::default() };
    let mut world = World::new(&[story.model], settings, 1);
    let mut said = Vec::new();
    for row in story.rows {
        let now = world::after(&row.when);
        let who = match row.does.is_empty() {
            true => Identity::customer("Anna"),
            false => {
                let touchpoint = touchpoint(&row);
                let who = touchpoint.identity.clone();
                world.give(0, touchpoint, now);
                who
            }
        };
        world.quiet_until(0, now);
        let sentences: Vec<String> = world
            .take_outcomes()
            .iter()
            .map(|outcome| match outcome.identity == who {
                true => outcome.to_string(),
                false => format!("{}: {outcome}", outcome.identity.id),
            })
            .collect();
        said.push((row, if sentences.is_empty() { "quiet".to_owned() } else { sentences.join("; ") }));
    }
    said
}

/// `cart.added cart_id=A value=499 EUR at=5m`.
fn touchpoint(row: &Row) -> Touchpoint {
    let mut words = row.does.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let mut made = world::touchpoint("Anna", kind, world::after(&row.when), &format!("line {}", row.line));
    let mut last = String::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            assert_eq!(last, "value", "line {}: {word:?} is no name=value", row.line);
            made = world::with_id(made, "currency", word);
            continue;
        };
        last = name.to_owned();
        match name {
            "as" => {
                made.identity = match value.strip_prefix("anonymous:") {
                    Some(id) => Identity::anonymous(id),
                    None => Identity::customer(value),
                }
            }
            "at" => made.event_time = world::after(&value.replace('_', " ")),
            "id" => made.id = value.into(),
            "session" => made.session = Some(value.into()),
            "value" => {
                let amount = value.parse().unwrap_or_else(|_| panic!("line {}: {value:?} is no number", row.line));
                made.properties.push(("value".into(), Value::Number(amount)));
                made.properties.sort_by(|one, other| one.0.cmp(&other.0));
            }
            property => made = world::with_id(made, property, value),
        }
    }
    made
}

/// The file with the last cell of every row as it was said.
fn blessed(text: &str, said: &[(Row, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (row, said) in said {
        let line = &mut lines[row.line - 1];
        let before = line.trim_end().trim_end_matches('|').rfind('|').unwrap_or_default();
        *line = format!("{}| {said} |", &line[..before]);
    }
    lines.join("\n") + "\n"
}

#[test]
fn a_story_that_promises_too_much_is_found_out() {
    let text = "## t\n\nmodel: models/five-stages.yaml\n\n| when | Anna does | Sillage says |\n| -- | -- | -- |\n| 0m | ad.seen | quiet |\n";
    let [story] = <[Scenario; 1]>::try_from(read("made up", text)).unwrap_or_else(|_| panic!("one story"));
    let said = run("made up", story, &mut 0);
    assert_eq!((said[0].0.says.as_str(), said[0].1.as_str()), ("quiet", "enters awareness"));
    assert!(blessed(text, &said).ends_with("| 0m | ad.seen | enters awareness |\n"));
}
