//! A starter project works as it is, and nothing of anybody's is overwritten.

use std::path::Path;
use std::process::{Command, Output};

fn sillage(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sillage")).current_dir(folder).args(arguments).output().expect("sillage runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

/// The models that can be chosen, as the help lists them.
fn choices() -> Vec<String> {
    let help = text(&sillage(Path::new("."), &["init", "--help"]).stdout);
    let names = help.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split_once(':'));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_starter_is_sound_and_runs_the_commands_that_it_names() {
    let choices = choices();
    let shipped = ["five-stages", "service-loyalty", "aida-five-phases", "before-during-after", "lifecycle-bond"];
    assert_eq!(choices, shipped);
    for name in choices {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("a/shop");
        let ended = sillage(parent.path(), &["init", "a/shop", "--model", &name]);
        let said = text(&ended.stdout);
        assert!(ended.status.success(), "{said}{}", text(&ended.stderr));
        for end in [".yaml", ".scenarios.md", ".md"] {
            assert!(names(&folder).contains(&format!("{name}{end}")), "{name}{end} is not written");
        }
        for written in names(&folder) {
            assert!(said.contains(&format!("wrote a/shop/{written}\n")), "{written} is not mentioned: {said}");
        }
        let next: Vec<&str> = said.lines().skip_while(|line| *line != "Next:").skip(1).map(str::trim).collect();
        let ["cd a/shop", commands @ .., run] = next.as_slice() else { panic!("{said}") };
        for command in commands {
            let arguments: Vec<&str> = command.split(' ').skip(1).collect();
            let ended = sillage(&folder, &arguments);
            assert!(ended.status.success(), "{command}: {}{}", text(&ended.stdout), text(&ended.stderr));
            let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
            assert!(readme.contains(command), "the README does not name {command}");
        }
        assert_eq!(*run, "sillage run -c sillage.yaml");
        check_configuration(&folder, &name);
    }
}

/// That the service would start; that it runs is shown elsewhere.
fn check_configuration(folder: &Path, name: &str) {
    let file = folder.join("sillage.yaml");
    let written = std::fs::read_to_string(&file).expect("a configuration");
    let surroundings = sillage::config::Surroundings::default();
    let (config, faults) = sillage::config::load(&file, &written, &surroundings);
    assert!(faults.is_empty(), "{faults:?}");
    let config = config.expect("no fault");
    assert_eq!(config.models, [folder.join(format!("{name}.yaml"))]);
    assert!(matches!(config.log, sillage::config::Log::Embedded(_)));
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("sillage.yaml"), "mine").expect("written");
    let ended = sillage(folder.path(), &["init"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(
        text(&ended.stderr).contains("sillage.yaml is there already, and nothing was written"),
        "{}",
        text(&ended.stderr)
    );
    assert_eq!(names(folder.path()), ["sillage.yaml"], "all or nothing");
    assert_eq!(std::fs::read_to_string(folder.path().join("sillage.yaml")).expect("there"), "mine");
}

#[test]
fn an_unknown_model_is_answered_with_those_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = sillage(folder.path(), &["init", "--model", "five-stage"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(text(&ended.stderr).contains("five-stages"), "{}", text(&ended.stderr));
    assert_eq!(names(folder.path()), Vec::<String>::new());
}
