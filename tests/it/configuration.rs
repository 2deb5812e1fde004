//! Broken configurations beside their exact diagnostics, and what good ones come to.
//!
//! `tests/configs/NAME.yaml` with `# env NAME=value` lines for variables, and `NAME.txt` with what is said; run with
//! `SILLAGE_BLESS=1` to write the latter.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sillage::config::{self, Config, Log, Surroundings};
use sillage::diagnostic::{CODES, Diagnostic, Style, render};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs");
    let files = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn load(file: &Path) -> (Option<Config>, Vec<Diagnostic>) {
    let text = std::fs::read_to_string(file).expect("the case");
    let variables = text.lines().filter_map(|line| line.strip_prefix("# env ")?.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let name = Path::new("etc").join(file.file_name().expect("a name"));
    config::load(&name, &text, &Surroundings { variables, host: "shop-1".to_owned(), memory: 0 })
}

#[test]
fn every_fault_is_told_with_place_cause_and_next_action() {
    let mut codes = BTreeSet::new();
    // With TLS built in, asking for it is no fault.
    let is_none = |file: &PathBuf| cfg!(feature = "tls") && file.ends_with("c006-tls.yaml");
    for file in cases().into_iter().filter(|file| !is_none(file)) {
        let (config, faults) = load(&file);
        codes.extend(faults.iter().map(|fault| fault.code));
        let told = render(&faults, Style::Plain);
        let expected = file.with_extension("txt");
        if std::env::var_os("SILLAGE_BLESS").is_some() {
            std::fs::write(&expected, &told).expect("the answer is written");
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, expected, "{}", file.display());
        let usable = faults.iter().all(|fault| fault.severity == sillage::diagnostic::Severity::Warning);
        assert_eq!(config.is_some(), usable, "{}", file.display());
    }
    let tls = if cfg!(feature = "tls") { "C006" } else { "" };
    let all: BTreeSet<&str> =
        CODES.iter().map(|(code, _)| *code).filter(|code| code.starts_with('C') && *code != tls).collect();
    let missing: Vec<_> = all.difference(&codes).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn variables_win_over_the_file_and_paths_count_from_it() {
    let find = |name: &str| cases().into_iter().find(|file| file.ends_with(name)).expect("the case");
    let (config, faults) = load(&find("good-kafka.yaml"));
    assert_eq!(faults, []);
    let config = config.expect("good");
    assert_eq!(config.models, [Path::new("etc/five-stages.yaml")]);
    assert_eq!(
        (config.memory, config.state_memory),
        (2 << 30, 2 << 30),
        "the latter is half of a machine that says nothing"
    );
    let Log::Kafka(kafka) = config.log else { panic!("brokers mean Kafka") };
    assert_eq!(kafka.connection.brokers, "kafka-1:9092,kafka-2:9092");
    assert_eq!(kafka.connection.inputs, ["store", "web"], "sorted by name");
    assert_eq!(kafka.connection.instance, "shop-1");
    let properties: Vec<(&str, &str)> =
        kafka.connection.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(properties, [("client.rack", "a"), ("sasl.password", "secret")]);

    let (config, _) = load(&find("good-embedded.yaml"));
    let Log::Embedded(store) = config.expect("good").log else { panic!("no brokers mean the embedded log") };
    assert_eq!((store.dir.as_path(), store.partitions), (Path::new("etc/sillage-data"), 4));
}
