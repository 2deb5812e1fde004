//! What the pages say, held against the code: keys and defaults, metrics, examples, links, and the files under `deploy/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sillage::config::{self, Config, KEYS, Surroundings};
use sillage::journey::limits;
use sillage::time::{Span, Timestamp};
use sillage::wire::{self, Arrival, Format, Limits};
use sillage::{deliver, diagnostic, model};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page that people read.
fn pages() -> Vec<String> {
    let folder = std::fs::read_dir(root().join("docs")).expect("docs");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let pages = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    pages.chain(["README.md".to_owned(), "CONTRIBUTING.md".to_owned()]).collect()
}

/// The blocks of a page in a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(opened) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if opened == language {
                blocks.push(block.join("\n") + "\n");
            }
        }
    }
    blocks
}

/// The first column of the tables whose cells begin with a name in backticks.
fn first_column(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

/// Reads a configuration that must be without a fault.
fn configuration(text: &str) -> Config {
    let surroundings = Surroundings { variables: Vec::new(), host: "shop-1".to_owned(), memory: 0 };
    let (config, faults) = config::load(Path::new("sillage.yaml"), text, &surroundings);
    assert!(faults.is_empty(), "{}", diagnostic::render(&faults, diagnostic::Style::Plain));
    config.expect("no fault")
}

fn checked_model(name: &str, text: &str) -> model::Model {
    let (model, faults) = model::load(name, text);
    assert!(faults.is_empty(), "{}", diagnostic::render(&faults, diagnostic::Style::Plain));
    model.expect("no fault")
}

#[test]
fn every_key_stands_in_the_table_with_its_variable() {
    let page = text("docs/configuration.md");
    assert_eq!(first_column(&page), KEYS, "keys and their order");
    for key in KEYS {
        let variable = match *key {
            "fields" => "none".to_owned(),
            "properties" => "`SILLAGE_PROPERTY_…`".to_owned(),
            key => format!("`SILLAGE_{}`", key.to_ascii_uppercase()),
        };
        assert!(page.contains(&format!("| `{key}` | {variable} | ")), "{key} without {variable}");
    }
}

#[test]
fn the_defaults_are_what_the_page_says() {
    let page = text("docs/configuration.md");
    let written: Vec<String> =
        blocks(&page, "yaml").into_iter().filter(|block| block.contains("what is there anyway")).collect();
    assert_eq!(written.len(), 2, "Kafka and the embedded log");
    for block in written {
        let (needed, _) = block.split_once("# From here on").expect("the mark");
        assert_eq!(format!("{:?}", configuration(&block)), format!("{:?}", configuration(needed)));
        // What must be given, what belongs to the other log, and what has no default to write.
        let noticed = |key: &&&str| !block.lines().any(|line| line.starts_with(&format!("{key}:")));
        let noticed: Vec<&str> = KEYS.iter().filter(noticed).copied().collect();
        let expected: &[&str] = if block.contains("brokers:") {
            &[
                "contacts",
                "deliver",
                "retired",
                "memory",
                "state_memory",
                "allow_history",
                "read_token",
                "write_token",
                "erase_token",
                "admin_token",
                "instance",
                "directory",
                "keep_touchpoints",
                "keep_outcomes",
                "fields",
                "settle",
                "erase_on",
            ]
        } else {
            &[
                "contacts",
                "deliver",
                "retired",
                "memory",
                "state_memory",
                "read_token",
                "write_token",
                "erase_token",
                "admin_token",
                "brokers",
                "group",
                "group_protocol",
                "instance",
                "inputs",
                "output",
                "output_format",
                "start",
                "create_topics",
                "replication",
                "partitioner",
                "misrouted",
                "properties",
                "fields",
                "erase_on",
                "buffered_records",
            ]
        };
        assert_eq!(noticed, expected);
    }
}

#[test]
fn every_example_is_accepted() {
    let mut examples = 0;
    for page in pages() {
        for block in blocks(&text(&page), "yaml") {
            examples += 1;
            if block.starts_with("sillage:") {
                checked_model(&page, &block);
            } else if block.starts_with("# contacts.yaml") {
                let (contacts, faults) = model::load_contacts(&page, &block);
                assert!(contacts.is_some() && faults.is_empty(), "{page}: {faults:?}");
            } else if block.starts_with("# deliver.yaml") {
                let secret = |_: &str| Some("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned());
                let (settings, faults) = deliver::settings::load(Path::new("deliver.yaml"), &block, &secret);
                assert!(faults.is_empty(), "{}", diagnostic::render(&faults, diagnostic::Style::Plain));
                assert!(settings.is_some_and(|settings| !settings.destinations.is_empty()));
            } else {
                configuration(&block);
            }
        }
    }
    assert!(examples >= 8, "{examples} examples; are the blocks still found?");
    let touchpoints = blocks(&text("README.md"), "json");
    let arrival = Arrival {
        log_time: Timestamp::parse("2026-11-22T10:00:01Z").expect("an instant"),
        topic: "touchpoints",
        partition: 0,
        offset: 0,
        limits: Limits::default(),
    };
    assert_eq!(touchpoints.len(), 1);
    let read = wire::decode(Format::Json, None, touchpoints[0].as_bytes(), &arrival).expect("the README's touchpoint");
    assert!(read.touchpoint.id_given && !read.clamped);
}

#[test]
fn every_metric_stands_in_the_table_and_no_other() {
    let names = |text: &str, before: &str| -> BTreeSet<String> {
        let found = text.match_indices(before).map(|(at, _)| &text[at + before.len() - "sillage_".len()..]);
        found.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()).collect()
    };
    let code = names(&text("src/metrics.rs"), "\"sillage_");
    assert!(code.len() > 15, "{code:?}");
    assert_eq!(names(&text("docs/metrics.md"), "| `sillage_"), code);
}

/// `SILLAGE_BLESS=1` writes the page anew.
#[test]
fn the_page_of_limits_is_what_the_code_says() {
    let page = limits::page();
    if std::env::var_os("SILLAGE_BLESS").is_some() {
        std::fs::write(root().join("docs/limits.md"), &page).expect("docs can be written");
    }
    assert_eq!(text("docs/limits.md"), page);
    let metrics = text("src/metrics.rs");
    let counted = [limits::OF_MODELS, limits::OF_CUSTOMERS, limits::OF_TOUCHPOINTS].concat();
    for metric in counted.iter().filter_map(|limit| limit.metric) {
        assert!(metrics.contains(&format!("\"{metric}\"")), "{metric} is no metric");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let read = text(&page);
        for (at, _) in read.match_indices("](") {
            let target = read[at + 2..].split(')').next().expect("a target");
            if target.starts_with("http") {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = root().join(&page).parent().expect("a folder").to_path_buf();
            let file: PathBuf = if file.is_empty() { root().join(&page) } else { folder.join(file) };
            assert!(file.exists(), "{page} links to {target}, which is not there");
            assert!(heading.is_empty() || headings(&file).contains(heading), "{page} links to {target}: no such heading");
        }
    }
    assert!(links > 20, "{links} links; are they still found?");
}

/// Headings as they stand in links.
fn headings(page: &Path) -> BTreeSet<String> {
    let page = std::fs::read_to_string(page).expect("a page");
    let plain = |title: &str| -> String {
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    page.lines().filter(|line| line.starts_with('#')).map(|line| plain(line.trim_start_matches('#'))).collect()
}

#[test]
fn what_is_deployed_is_accepted() {
    let config = configuration(&text("deploy/sillage.yaml"));
    let [model] = config.models.as_slice() else { panic!("one model") };
    let name = model.file_name().and_then(|name| name.to_str()).expect("a name");
    let quick = checked_model(name, &text(&format!("deploy/models/{name}")));
    let ready_made = checked_model("five-stages.yaml", &text("models/five-stages.yaml"));
    assert_eq!(quick.structure(), ready_made.structure(), "the same journeys, only faster");
    let [quick, ready_made] = [&format!("deploy/models/{name}"), "models/five-stages.yaml"].map(|path| spans(&text(path)));
    let slowed: Vec<(usize, i64)> = quick.iter().map(|(line, millis)| (*line, millis * 60)).collect();
    assert!(slowed.len() > 15, "{slowed:?}");
    assert_eq!(slowed, ready_made, "a second for a minute, in the same lines");
}

/// Every duration of a model's file in milliseconds, with the line that it stands in, counted from the stages.
fn spans(model: &str) -> Vec<(usize, i64)> {
    let stages = model.find("\nstages:").expect("stages");
    let spans = |(at, line): (usize, &str)| -> Vec<(usize, i64)> {
        let plain = line.split('#').next().unwrap_or_default();
        let words = plain.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter_map(|word| Some((at, Span::parse(word).ok()?.as_millis()))).collect()
    };
    model[stages..].lines().enumerate().flat_map(spans).collect()
}

/// All code of the project.
fn all_code() -> String {
    let mut code = String::new();
    let mut folders = vec![root().join("tests"), root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &std::fs::read_to_string(&path).expect("a source file");
            }
        }
    }
    code
}

/// What is promised is held by tests that exist.
#[test]
fn every_promise_is_held_by_a_test_that_exists() {
    let (page, code) = (text("docs/reliability.md"), all_code());
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("held by |") && !line.contains("---"));
    let mut names = 0;
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let held: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!held.is_empty(), "nothing holds {row}");
        for name in &held {
            assert!(code.contains(&format!("fn {name}(")), "there is no test {name}");
        }
        names += held.len();
    }
    assert!(names > 40, "only {names} names");
}

/// What the page about traps names is there: a test by that name, or a deliberate defect of the simulation.
#[test]
fn every_trap_is_held_by_a_test_that_exists() {
    let (page, code) = (text("docs/traps.md"), all_code());
    let held = page.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(" | ").nth(1));
    let mut names = 0;
    for name in held.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let is_test = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && name.contains('_');
        let is_defect =
            name.chars().all(|c| c.is_ascii_alphabetic()) && name != "BaseConsumer" && name != "ThreadedProducer";
        if is_test {
            assert!(code.contains(&format!("fn {name}()")), "there is no test {name}");
        } else if is_defect {
            assert!(code.contains(&format!("Defect::{name},")), "there is no defect {name}");
        }
        names += usize::from(is_test || is_defect);
    }
    assert!(names > 30, "only {names} names");
}
