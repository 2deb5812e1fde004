//! The schema for editors: current, complete, and true of every model that is fine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sillage::diagnostic::{Faults, Source};
use sillage::model::{self, schema};
use sillage::yaml::{self, Node, Shape};

use self::judge::faults;

mod judge;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn the_schema() -> Value {
    serde_json::from_str(&schema::schema()).expect("JSON")
}

/// A YAML text as editors see it: plain words may be flags and numbers.
fn value(text: &str) -> Value {
    fn of(node: &Node) -> Value {
        match &node.shape {
            Shape::Nothing | Shape::Refused => Value::Null,
            Shape::Scalar { text, quoted: false } => match text.as_str() {
                "true" => true.into(),
                "false" => false.into(),
                text => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
            },
            Shape::Scalar { text, quoted: true } => text.as_str().into(),
            Shape::List(items) => items.iter().map(of).collect(),
            Shape::Map(entries) => {
                entries.iter().map(|entry| (entry.key.value.clone(), of(&entry.value))).collect::<Map<_, _>>().into()
            }
        }
    }
    let mut faults = Faults::default();
    of(&yaml::parse(&Source::file("m.yaml", text), &mut faults).expect("YAML"))
}

/// The models in a folder; how customers may be contacted is no model.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("contacts.yaml") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn the_file_is_current() {
    let file = root().join("schemas/model.schema.json");
    if std::env::var_os("SILLAGE_BLESS").is_some() {
        std::fs::write(&file, schema::schema()).expect("written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == schema::schema(), "schemas/model.schema.json is not current; SILLAGE_BLESS=1 writes it anew");
}

#[test]
fn every_model_that_is_fine_is_valid() {
    let schema = the_schema();
    let mut judged = 0;
    for file in ["models", "tests/models", "deploy/models"].into_iter().flat_map(files) {
        let text = std::fs::read_to_string(&file).expect("a model");
        let faults = faults(&schema, &value(&text));
        assert!(faults.is_empty(), "{}: {faults:?}", file.display());
        judged += 1;
    }
    assert!(judged >= 4, "{judged} models; are they still found?");
}

/// One map of the language: where it stands in the schema, and a model that holds one.
const MAPS: &[(&str, &str, &str)] = &[
    ("", "a model", "{ KEY: 1 }"),
    ("/properties/touchpoints/additionalProperties/anyOf/1", "group", "{ touchpoints: { x: { KEY: 1 } } }"),
    ("/properties/tallies/additionalProperties", "tally", "{ tallies: { x: { KEY: 1 } } }"),
    ("/properties/stages/additionalProperties", "stage", "{ stages: { x: { KEY: 1 } } }"),
    ("/$defs/way", "a way", "{ stages: { x: { enter: { KEY: 1 } } } }"),
    ("/properties/episodes/additionalProperties", "episode", "{ episodes: { x: { KEY: 1 } } }"),
    ("/properties/friction/additionalProperties", "friction", "{ friction: { x: { KEY: 1 } } }"),
    ("/properties/interventions/additionalProperties", "intervention", "{ interventions: { x: { KEY: 1 } } }"),
    (
        "/properties/interventions/additionalProperties/properties/holdout",
        "`holdout`",
        "{ interventions: { x: { holdout: { KEY: 1 } } } }",
    ),
    ("/properties/forwards/additionalProperties", "what is forwarded", "{ forwards: { x: { KEY: 1 } } }"),
    ("/properties/renamed", "`renamed`", "{ renamed: { KEY: 1 } }"),
    ("/properties/removed", "`removed`", "{ removed: { KEY: 1 } }"),
];

fn keys(map: &Value) -> Vec<String> {
    map["properties"].as_object().expect("keys").keys().cloned().collect()
}

#[test]
fn the_reader_knows_every_key_of_the_schema() {
    let schema = the_schema();
    for (pointer, what, example) in MAPS {
        let map = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the schema"));
        assert_eq!(map["additionalProperties"], false, "{what}");
        // That the example would tell is tried on a key that nobody knows.
        for (key, known) in keys(map).into_iter().map(|key| (key, true)).chain([("nobody-knows".to_owned(), false)]) {
            let (_, faults) = model::load("m.yaml", &example.replace("KEY", &key));
            let told = faults.iter().any(|fault| fault.code == "Y010" && fault.cause.contains(&format!("no key `{key}`")));
            assert_eq!(told, !known, "{what} and `{key}`: {faults:?}");
        }
    }
}

#[test]
fn the_schema_knows_every_key_that_the_reader_asks_for() {
    let schema = the_schema();
    let known: BTreeSet<String> =
        MAPS.iter().flat_map(|(pointer, _, _)| keys(schema.pointer(pointer).expect("there"))).collect();
    let folder = root().join("src/model");
    let mut sources = vec![folder.join("written.rs")];
    if let Ok(entries) = std::fs::read_dir(folder.join("written")) {
        sources.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    let mut asked = BTreeSet::new();
    for source in sources {
        let text = std::fs::read_to_string(source).expect("a source");
        for call in [".optional(\"", ".required(\""] {
            asked.extend(text.split(call).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    assert!(asked.len() > 20, "{asked:?}; are the calls still found?");
    let missing: Vec<&String> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "the schema does not know {missing:?}");
}

#[test]
fn what_is_plainly_wrong_is_refused() {
    let schema = the_schema();
    let stage = |lines: &str| format!("sillage: 1\nmodel: shop\nstages:\n  visit: {{ {lines} }}\n");
    for (text, valid) in [
        (stage("enter: page.viewed"), true),
        (stage("enter: [page.viewed, { 7 of: ad.seen, within: 30d }, { all of: [a, b], within: 7d }]"), true),
        (stage("enter: { 33 of: ad.seen, within: 30d }"), false),
        (stage("enter: { 1 of: ad.seen, within: 30d }"), false),
        (stage("enter: { 7 of: ad.seen }"), false),
        (stage("enter: []"), false),
        (stage("quite: 7d"), false),
        (stage("quiet: 7"), false),
        (stage("quiet: { loyal: 3d, everyone: 7d }"), true),
        (stage("quiet: 'basket.value > 200 ? duration(\"15m\") : duration(\"1h\")'"), true),
        (stage("recovered within: soon"), false),
        (stage("recovered within: 1.5h"), false),
        (stage("recovered within: 1h 30m"), true),
        (stage("optional: yes"), false),
        ("sillage: 2\nmodel: shop\nstages: { visit: { enter: a } }".to_owned(), false),
        ("sillage: 1\nmodel: shop".to_owned(), false),
        (
            "sillage: 1\ntouchpoints: { research: [page.viewed], fans: { of: survey.answered, when: touchpoint.nps > 8 } }"
                .to_owned(),
            true,
        ),
        ("sillage: 1\ntouchpoints: { fans: { of: survey.answered } }".to_owned(), false),
        (stage("enter: a") + "friction: { trouble: { in: basket, 1 of: payment.failed, within: 10m } }", true),
        (stage("enter: a") + "friction: { trouble: { in: basket, 0 of: payment.failed } }", false),
        (
            stage("enter: a")
                + "friction: { hard: { score: { loyal: 2, everyone: 3 }, from: { trouble: 2 }, cool-down: 1h } }",
            true,
        ),
        (stage("enter: a") + "properties: { nps: number, total: money }", true),
        (stage("enter: a") + "properties: { nps: integer }", false),
        (stage("enter: a") + "segments: { loyal: customer.purchases >= 3, everyone: true }", true),
        (stage("enter: a") + "episodes: { basket: { opens: cart.added } }", false),
        (stage("enter: a") + "renamed: { stages: { look: visit }, ids: { Cart_ID: cart_id } }", true),
        (stage("enter: a") + "renamed: { stages: [look] }", false),
        (stage("enter: a") + "removed: { stages: { look: visit }, episodes: wish, ids: [a, b] }", true),
        (stage("enter: a") + "removed: { friction: [a] }", false),
    ] {
        assert_eq!(faults(&schema, &value(&text)).is_empty(), valid, "{text}");
    }
    assert!(!faults(&schema, &json!([])).is_empty());
}
