//! Every code with a broken file that raises it: `tests/diagnostics/NAME.yaml` beside the exact text that a person reads
//! (`NAME.txt`). Files that begin with `config` are configurations and are judged where configurations are.
//! `SILLAGE_BLESS=1` writes the texts anew: read the diff.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sillage::diagnostic::{CODES, Diagnostic, Style, render, summary};
use sillage::model;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

/// The cases: names and texts, sorted.
fn cases() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder()).expect("tests/diagnostics").map(|entry| entry.expect("an entry").path());
    let yaml = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut cases: Vec<(String, String)> = yaml
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a case"))
        })
        .collect();
    cases.sort();
    cases
}

/// Reads a case; what it imports stands beside it.
fn load(name: &str, text: &str) -> (Option<model::Model>, Vec<Diagnostic>) {
    let fragment = |path: &str| std::fs::read_to_string(folder().join(path)).map_err(|_| "there is no such file".to_owned());
    model::load_with(&format!("{name}.yaml"), text, &fragment)
}

fn is_configuration(name: &str) -> bool {
    name.starts_with("config")
}

#[test]
fn broken_models_are_told_where_why_and_what_next() {
    let mut told_otherwise = String::new();
    for (name, text) in cases().into_iter().filter(|(name, _)| !is_configuration(name)) {
        let (_, faults) = load(&name, &text);
        let told = format!("{}{}\n", render(&faults, Style::Plain), summary(&faults));
        let expected = folder().join(format!("{name}.txt"));
        if std::env::var_os("SILLAGE_BLESS").is_some() {
            std::fs::write(&expected, told).expect("a text that can be written");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != told {
            told_otherwise += &format!("--- {name}.txt is not what is told now:\n{told}\n");
        }
    }
    assert!(told_otherwise.is_empty(), "{told_otherwise}");
}

#[test]
fn every_code_is_raised_by_the_case_that_bears_its_name() {
    let mut missing = Vec::new();
    let names: BTreeSet<String> = cases().into_iter().map(|(name, _)| name).collect();
    let configurations = names.iter().any(|name| is_configuration(name));
    for (code, meaning) in CODES {
        let own = |name: &&String| name.to_lowercase().split('-').any(|part| part == code.to_lowercase());
        // Codes of the configuration have their cases beside `config-*.yaml`, as soon as there are any.
        if code.starts_with('C') && !configurations {
            continue;
        }
        // Codes of stories have their cases beside the stories, those of changes in their pages.
        if code.starts_with(['S', 'D']) {
            continue;
        }
        let raised = names.iter().filter(own).any(|name| {
            let told = std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap_or_default();
            told.contains(&format!("[{code}]"))
        });
        if !raised && !generated(code) {
            missing.push(format!("{code} ({meaning})"));
        }
    }
    assert!(missing.is_empty(), "no case in tests/diagnostics raises {}", missing.join(", "));
    let codes: BTreeSet<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes.len(), CODES.len(), "a code stands twice in CODES");
}

/// Codes whose broken file would be a megabyte: raised here.
fn generated(code: &str) -> bool {
    let text = match code {
        "Y002" => " ".repeat((1 << 20) + 1),
        _ => return false,
    };
    model::load("large.yaml", &text).1.iter().any(|fault| fault.code == code)
}

#[test]
fn every_diagnostic_says_what_to_do_and_has_a_known_code() {
    for (name, text) in cases().into_iter().filter(|(name, _)| !is_configuration(name)) {
        for fault in load(&name, &text).1 {
            assert!(CODES.iter().any(|(code, _)| *code == fault.code), "{name}: {} is not in CODES", fault.code);
            assert!(!fault.help.is_empty() && !fault.cause.is_empty(), "{name}: {fault:?}");
            assert!(!fault.cause.ends_with('.') && !fault.help.ends_with('.'), "{name}: a full stop in {fault:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    DropLine(usize),
    RepeatLine(usize, usize),
    SwapLines(usize, usize),
    DropByte(usize),
    Put(usize, &'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0..10_000_usize;
    let bits = [
        "",
        ":",
        " ",
        "\n",
        "\t",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "#",
        "- ",
        "*a",
        "&a ",
        "é",
        "\u{0}",
        "\u{feff}",
        "99999999999999999999",
        "any",
        "|\n",
        "---\n",
        "!!x ",
        "7 of",
        "all of: ",
        "within: 1s, ",
        "when: ",
        "touchpoint.",
        " || ",
        "(",
        "-1",
        "{ everyone: 1h }",
        "ends: true, ",
        "friction.error",
        "survey.answered",
    ];
    prop_oneof![
        at.clone().prop_map(Mutation::DropLine),
        (at.clone(), at.clone()).prop_map(|(from, to)| Mutation::RepeatLine(from, to)),
        (at.clone(), at.clone()).prop_map(|(one, other)| Mutation::SwapLines(one, other)),
        at.clone().prop_map(Mutation::DropByte),
        (at, prop::sample::select(bits.to_vec())).prop_map(|(at, bit)| Mutation::Put(at, bit)),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let count = lines.len();
    let boundary = |at: usize| text.floor_char_boundary(at % (text.len() + 1));
    match mutation {
        Mutation::DropLine(at) => drop(lines.remove(at % count)),
        Mutation::RepeatLine(from, to) => lines.insert(to % count, lines[from % count]),
        Mutation::SwapLines(one, other) => lines.swap(one % count, other % count),
        Mutation::DropByte(at) => {
            let at = boundary(*at);
            let end = text.ceil_char_boundary((at + 1).min(text.len()));
            return format!("{}{}", &text[..at], &text[end..]);
        }
        Mutation::Put(at, bit) => {
            let at = boundary(*at);
            return format!("{}{bit}{}", &text[..at], &text[at..]);
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_slip_of_the_finger_makes_reading_a_model_panic(
        slips in prop::collection::vec(mutation(), 1..6),
        which in prop::sample::select(vec!["five stages", "whole language", "shared"]),
    ) {
        let whole = include_str!("../models/whole-language.yaml");
        let shared = include_str!("../models/shared/touchpoints.yaml");
        let spoilt = |text: &str| slips.iter().fold(text.to_owned(), |text, slip| mutate(&text, slip));
        let (text, shared) = match which {
            "five stages" => (spoilt(include_str!("../../models/five-stages.yaml")), shared.to_owned()),
            "shared" => (whole.to_owned(), spoilt(shared)),
            _ => (spoilt(whole), shared.to_owned()),
        };
        let fragments = |path: &str| match path {
            "shared/touchpoints.yaml" => Ok(shared.clone()),
            "shared/properties.yaml" => Ok(include_str!("../models/shared/properties.yaml").to_owned()),
            _ => Err("there is no such file".to_owned()),
        };
        let (model, faults) = model::load_with("slip.yaml", &text, &fragments);
        prop_assert!(model.is_some() || !faults.is_empty(), "refused without a reason");
        let told = render(&faults, Style::Plain);
        prop_assert!(faults.is_empty() || told.contains("slip.yaml") || told.contains("shared/"));
    }
}
