//! The stories of `tests/scenarios` and those beside the ready-made models, played by the room that plays everybody's.
//!
//! Models are named by their paths from the root of the repository, or from the folder of the file. `SILLAGE_BLESS=1` writes
//! the last columns anew: read the diff.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sillage::diagnostic::{Diagnostic, Style, render};
use sillage::model::{self, Model};
use sillage::scenario::{self, Models, Suite};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Models as files below the root.
struct Files {
    folder: PathBuf,
    default: Option<Arc<Model>>,
}

impl Files {
    fn text(&self, path: &str) -> Result<String, String> {
        let beside = self.folder.join(path);
        let file = if beside.exists() { beside } else { Path::new(ROOT).join(path) };
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    }

    /// A model with what is said beside it of how customers may be contacted.
    fn contacted(&self, path: &str, mut model: Model) -> Model {
        let Ok(text) = self.text(&Path::new(path).with_file_name("contacts.yaml").to_string_lossy()) else { return model };
        let (contacts, faults) = model::load_contacts("contacts.yaml", &text);
        assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
        let faults = model.contact_by(contacts.map(Arc::new).as_ref());
        assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
        model
    }
}

impl Models for Files {
    fn model(&mut self, path: &str) -> Result<(Option<Arc<Model>>, Vec<Diagnostic>), String> {
        let (model, faults) = model::load_with(path, &self.text(path)?, &|fragment| {
            self.text(&Path::new(path).with_file_name(fragment).to_string_lossy())
        });
        Ok((model.map(|model| Arc::new(self.contacted(path, model))), faults))
    }

    fn fragment(&self, path: &str) -> Result<String, String> {
        self.text(path)
    }

    fn default(&self) -> Option<Arc<Model>> {
        self.default.clone()
    }
}

/// Every scenario file: its name from the root, sorted.
pub(crate) fn files() -> Vec<String> {
    let below = |folder: &str, ending: &str| -> Vec<String> {
        let entries = std::fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(ending)).map(|name| format!("{folder}/{name}")).collect()
    };
    let mut files = below("tests/scenarios", ".md");
    files.extend(below("models", ".scenarios.md"));
    files.extend(below("examples/gym", ".scenarios.md"));
    files.push("docs/scenarios.md".to_owned());
    files.sort();
    files
}

pub(crate) fn suite(name: &str, text: &str) -> Suite {
    let folder = Path::new(ROOT).join(name).parent().expect("a folder").to_path_buf();
    let mut models = Files { folder, default: None };
    let beside = format!("{}.yaml", name.trim_end_matches(".scenarios.md"));
    models.default = models.model(&beside).ok().and_then(|(model, _)| model);
    let (suite, faults) = scenario::read(name, text, &mut models);
    assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
    suite.expect("a file without a fault")
}

#[test]
fn every_scenario_says_what_it_promises() {
    let mut scenarios = 0;
    let mut report = String::new();
    for name in files() {
        let path = Path::new(ROOT).join(&name);
        let text = std::fs::read_to_string(&path).expect("a scenario file");
        let suite = suite(&name, &text);
        let said = suite.play();
        scenarios += said.len();
        if std::env::var_os("SILLAGE_BLESS").is_some() {
            std::fs::write(&path, scenario::updated(&suite, &said)).expect("a file that can be written");
            continue;
        }
        for (story, said) in suite.scenarios.iter().zip(&said) {
            let differences = scenario::differences(story, said);
            if !differences.is_empty() {
                report += &scenario::shown(&name, &story.title, &differences, Style::Plain);
            }
        }
    }
    assert!(report.is_empty(), "Sillage says (+) other things than the scenarios promise (-):\n{report}");
    assert!(scenarios >= 55, "only {scenarios} scenarios were found");
}

#[test]
fn a_story_that_promises_too_much_is_found_out() {
    let text = "## t\n\nmodel: models/five-stages.yaml\n\n| when | Anna does | Sillage says |\n| -- | -- | -- |\n| 0m | ad.seen | quiet |\n";
    let suite = suite("made-up.md", text);
    let said = suite.play();
    let [difference] = &scenario::differences(&suite.scenarios[0], &said[0])[..] else { panic!("one row differs") };
    assert_eq!((difference.line, difference.expected.as_str(), difference.said.as_str()), (7, "quiet", "enters awareness"));
    assert!(scenario::updated(&suite, &said).ends_with("| 0m | ad.seen | enters awareness |\n"));
}
