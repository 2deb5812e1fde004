//! `sillage model check` as people, programs and pull requests see it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const FINE: &str = "sillage: 1\nmodel: shop\nstages:\n  visit: { enter: page.viewed }\n";
const BROKEN: &str = "sillage: 1\nmodel: shop\nstages:\n  visit: { enter: page.viewed, quite: 7d }\n  buy: {}\n";
const DOUBTFUL: &str =
    "sillage: 1\nmodel: shop\nstages:\n  visit: { enter: page.viewed, quiet: 7h, recovered within: 7m }\n";

struct Shop(tempfile::TempDir);

impl Shop {
    fn with(files: &[(&str, &str)]) -> Shop {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("written");
        }
        Shop(folder)
    }

    /// Exit code, standard output and standard error.
    fn check(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
        let Output { status, stdout, stderr } =
            command.current_dir(self.0.path()).args(["model", "check"]).args(arguments).output().expect("sillage runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (status.code().expect("an end"), text(stdout), text(stderr))
    }
}

#[test]
fn what_is_fine_is_said_with_what_it_holds() {
    let [five_stages, contacts] = ["five-stages", "contacts"].map(|name| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("models/{name}.yaml"));
        std::fs::read_to_string(file).expect("a file of the models")
    });
    let shop = Shop::with(&[("a.yaml", FINE), ("models/five.yaml", &five_stages), ("models/contacts.yaml", &contacts)]);
    let (code, said, faults) = shop.check(&["a.yaml", "models/five.yaml"]);
    assert_eq!((code, faults.as_str()), (0, ""));
    assert!(said.starts_with("a.yaml: fine (1 stage)\nmodels/five.yaml: fine (5 stages, 2 episodes"), "{said}");
}

#[test]
fn every_fault_of_every_file_is_told_at_once() {
    let shop = Shop::with(&[("a.yaml", BROKEN), ("b.yaml", DOUBTFUL), ("c.yaml", FINE)]);
    let (code, said, _) = shop.check(&["a.yaml", "b.yaml", "c.yaml"]);
    assert_eq!(code, 1);
    for told in [
        "error[Y010]: stage `visit` has no key `quite`\n --> a.yaml:4:32\n",
        "error[M030]",
        "warning[M036]",
        "a.yaml: 2 errors; `sillage explain CODE` says more\n",
        "b.yaml: 1 warning; ",
        "c.yaml: fine (1 stage)\n",
    ] {
        assert!(said.contains(told), "{told} is not in\n{said}");
    }
}

#[test]
fn warnings_are_faults_only_where_that_is_asked_for() {
    let shop = Shop::with(&[("b.yaml", DOUBTFUL)]);
    assert_eq!(shop.check(&["b.yaml"]).0, 0);
    assert_eq!(shop.check(&["b.yaml", "--deny-warnings"]).0, 1);
    assert_eq!(shop.check(&["b.yaml", "--deny-warnings", "--format", "json"]).0, 1);
}

#[test]
fn programs_get_one_array_with_places() {
    let shop = Shop::with(&[("a.yaml", BROKEN), ("b.yaml", DOUBTFUL)]);
    let (code, said, _) = shop.check(&["--format", "json", "a.yaml", "b.yaml"]);
    assert_eq!(code, 1);
    let faults: Value = serde_json::from_str(&said).expect("JSON");
    let codes: Vec<&str> = faults.as_array().expect("an array").iter().filter_map(|fault| fault["code"].as_str()).collect();
    assert_eq!(codes, ["Y010", "M030", "M036"]);
    let first = &faults[0];
    assert_eq!(first["severity"], "error");
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&"a.yaml".into(), &4.into(), &32.into()));
    assert_eq!((&first["end_line"], &first["end_column"]), (&4.into(), &37.into()));
    assert_eq!((&first["help"], &first["see"]), (&"did you mean `quiet`?".into(), &Value::Null));
    assert_eq!(faults[2]["see"]["label"], "the absence");
    assert_eq!(Shop::with(&[("c.yaml", FINE)]).check(&["c.yaml", "--format", "json"]).1, "[]\n");
}

#[test]
fn pull_requests_get_workflow_commands() {
    let shop = Shop::with(&[("a.yaml", BROKEN)]);
    let (code, said, _) = shop.check(&["--format", "github", "a.yaml"]);
    assert_eq!(code, 1);
    let first = "::error file=a.yaml,line=4,col=32,title=Y010::stage `visit` has no key `quite` (did you mean `quiet`?)\n";
    assert!(said.starts_with(first), "{said}");
    assert_eq!(said.lines().count(), 2, "one line a fault: {said}");
}

#[test]
fn a_file_that_cannot_be_read_hides_nothing_and_ends_with_two() {
    let shop = Shop::with(&[("a.yaml", BROKEN)]);
    let (code, said, faults) = shop.check(&["nowhere.yaml", "a.yaml"]);
    assert_eq!(code, 2);
    assert!(said.contains("error[Y010]") && faults.contains("cannot read nowhere.yaml"), "{said}{faults}");
}
