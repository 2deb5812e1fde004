//! What the layout of `src` promises, held by machine: which room may use which, what the pure rooms do without, and how
//! files look. Each check is itself tried on a text that breaks it.

use std::path::{Path, PathBuf};

/// The rooms in the order of the arrow: each may use itself and what stands on an earlier line. Rooms of one line do not
/// know each other.
const ARROW: &[&[&str]] = &[
    &["time", "partitioner", "terminal", "memory"],
    &["diagnostic"],
    &["yaml", "expression"],
    &["touchpoint"],
    &["model"],
    &["journey"],
    &["shard"],
    &["scenario", "uplift"],
    &["wire"],
    &["generate"],
    &["port", "outbox", "vitals", "frontiers", "seldom"],
    &["lookup"],
    &["metrics"],
    &["worker"],
    &["ledger"],
    &["kafka", "embedded"],
    &["http"],
    &["config"],
    &["deliver"],
    &["runtime"],
    &["cli"],
    &["main"],
];

/// The rooms that are functions of state, input and time.
const PURE: &[&str] = &[
    "time",
    "memory",
    "partitioner",
    "expression",
    "touchpoint",
    "model",
    "journey",
    "shard",
    "scenario",
    "uplift",
    "wire",
    "generate",
];

/// The same, within rooms that are not.
const PURE_PARTS: &[&str] =
    &["ledger/group/", "deliver/lanes/", "deliver/notice", "deliver/signature", "deliver/template", "deliver/token"];

/// What has no place in a pure room.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant::",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "tracing::",
    "rdkafka",
    "tokio",
    "dashmap",
    "Mutex",
    "RwLock",
    "Atomic",
    "async fn",
    "async move",
    ".await",
    "println!",
    "rand::",
];

/// Names that say nothing.
const NO_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

const MOST_LINES: usize = 800;

struct File {
    /// Below `src`, with `/`: `journey/stages.rs`.
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// `journey` of `journey/stages.rs`; `lib` and `main` are their own.
    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// The lines of code before the tests of the file, with numbers; comments and texts cut away.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        // A room's tests may stand on anything.
        let tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, without_comment(line)));
        lines.take_while(move |(_, line)| !tests && line.trim() != "#[cfg(test)]")
    }
}

/// Cuts a comment off, unless the `//` stands in a text such as a URL.
fn without_comment(line: &str) -> String {
    let mut quoted = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match c {
            '"' if before != '\\' => quoted = !quoted,
            '/' if !quoted && before == '/' => return line[..at - 1].to_owned(),
            _ => {}
        }
        before = c;
    }
    line.to_owned()
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).expect("below src");
                let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                found.push(File::new(&parts.join("/"), &std::fs::read_to_string(&path).expect("a source file")));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 20, "only {} files below src", found.len());
    found
}

fn check_all(check: fn(&File) -> Vec<String>) {
    let faults: Vec<String> = sources().iter().flat_map(check).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The rooms that a file mentions by `crate::room` or, in `main.rs`, `sillage::room`.
fn uses(file: &File) -> Vec<(usize, String)> {
    named_after(file, if file.room() == "main" { "sillage::" } else { "crate::" })
}

/// The neighbours in its folder that a file mentions by `super::neighbour`.
fn neighbours(file: &File) -> impl Iterator<Item = String> {
    named_after(file, "super::").into_iter().map(|(_, name)| name)
}

/// What a file names directly after `path`, with the lines.
fn named_after(file: &File, path: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut list = false;
    for (line, code) in file.code() {
        // `use crate::{a::B, c};`, over one or several lines; else every mention.
        let mut rest = code.as_str();
        if list {
            let (names, end) = rest.split_once("};").map_or((rest, false), |(names, _)| (names, true));
            found.extend(first_words(names).map(|word| (line, word)));
            list = !end;
            continue;
        }
        while let Some(at) = rest.find(path) {
            rest = &rest[at + path.len()..];
            if rest.starts_with(path) {
                // `super::super::a` is in a folder further up.
                rest = rest.trim_start_matches(path);
            } else if let Some(names) = rest.strip_prefix('{') {
                list = !names.contains("};");
                found.extend(first_words(names.trim_end_matches("};")).map(|word| (line, word)));
            } else {
                let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                found.push((line, word));
            }
        }
    }
    found
}

/// The first word of each item of a list outside inner braces.
fn first_words(names: &str) -> impl Iterator<Item = String> {
    let mut depth = 0;
    let outer: String = names
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0 && *c != '}'
        })
        .collect();
    let words: Vec<String> = outer
        .split(',')
        .map(|item| item.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>())
        .filter(|word| !word.is_empty())
        .collect();
    words.into_iter()
}

fn against_the_arrow(file: &File) -> Vec<String> {
    let place = |room: &str| ARROW.iter().position(|line| line.contains(&room));
    let room = file.room();
    if room == "lib" {
        return Vec::new();
    }
    let Some(own) = place(room) else {
        return vec![format!("src/{}: the room `{room}` has no place in the arrow of tests/it/tidy.rs", file.path)];
    };
    let wrong = |used: &str| used != room && place(used).is_none_or(|other| other >= own);
    let faults = uses(file).into_iter().filter(|(_, used)| wrong(used));
    faults.map(|(line, used)| format!("src/{}:{line}: `{room}` may not use `{used}`", file.path)).collect()
}

/// Files of one folder that use each other in a circle, so that none can be read first: a fault for each of them.
fn circles(files: &[File]) -> Vec<String> {
    let name = |file: &File| file.path.trim_end_matches(".rs").to_owned();
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut left: Vec<(String, Vec<String>)> = files
        .iter()
        .filter(|file| !file.path.ends_with("/mod.rs"))
        .map(|file| (name(file), neighbours(file).map(|used| folder(&file.path) + &used).collect()))
        .collect();
    // Who uses nobody that is left can be read, and is taken out; what is left in the end goes round.
    loop {
        let names: Vec<String> = left.iter().map(|(name, _)| name.clone()).collect();
        left.retain(|(name, uses)| uses.iter().any(|used| used != name && names.contains(used)));
        if left.len() == names.len() {
            break;
        }
    }
    let told = |(name, uses): &(String, Vec<String>)| {
        let used: Vec<&str> =
            uses.iter().filter(|used| left.iter().any(|(other, _)| other == *used)).map(String::as_str).collect();
        format!("src/{name}.rs: uses {}, from where it goes on in a circle, or to one", used.join(", "))
    };
    left.iter().map(told).collect()
}

fn impure(file: &File) -> Vec<String> {
    if !PURE.contains(&file.room()) && !PURE_PARTS.iter().any(|part| file.path.starts_with(part)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (line, code) in file.code() {
        for word in IMPURE.iter().filter(|word| mentions(&code, word)) {
            faults.push(format!("src/{}:{line}: `{word}` in a pure room", file.path));
        }
    }
    faults
}

/// Whether the code holds the word, and not as the beginning of a longer name.
fn mentions(code: &str, word: &str) -> bool {
    let longer = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    code.match_indices(word).any(|(at, _)| word.ends_with("::") || !longer(&code[at + word.len()..]))
}

fn untidy(file: &File) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = file.text.lines().count();
    if lines > MOST_LINES {
        faults.push(format!("src/{}: {lines} lines are more than {MOST_LINES}; split it by what it does", file.path));
    }
    if !file.text.starts_with("//!") {
        faults.push(format!("src/{}: begins without `//!`; say what it is and what it does not know", file.path));
    }
    for name in file.path.trim_end_matches(".rs").split('/').filter(|name| NO_NAMES.contains(name)) {
        faults.push(format!("src/{}: `{name}` says nothing; name it by what it does", file.path));
    }
    for (line, code) in file.code() {
        let module =
            code.trim().trim_start_matches("pub ").strip_prefix("mod ").map(|rest| rest.trim_end_matches([';', '{', ' ']));
        if let Some(name) = module.filter(|name| NO_NAMES.contains(name)) {
            faults.push(format!("src/{}:{line}: `{name}` says nothing; name it by what it does", file.path));
        }
    }
    faults
}

#[test]
fn rooms_use_only_what_stands_before_them() {
    check_all(against_the_arrow);
}

#[test]
fn pure_rooms_know_no_clock_no_io_and_no_locks() {
    check_all(impure);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    check_all(untidy);
}

#[test]
fn files_of_a_folder_do_not_use_each_other_in_circles() {
    let faults = circles(&sources());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn circles_are_found() {
    let files = |texts: &[(&str, &str)]| -> Vec<File> { texts.iter().map(|(path, text)| File::new(path, text)).collect() };
    let circle = [
        ("a/one.rs", "use super::two::Two;\n"),
        ("a/two.rs", "use super::{\n    Thing,\n    three::{Three, four},\n};\n"),
        ("a/three.rs", "fn f() { super::one::go() }\n"),
        ("a/mod.rs", "use one::One;\n"),
        ("b/two.rs", "use super::one;\n#[cfg(test)]\nuse super::three;\n"),
    ];
    assert_eq!(circles(&files(&circle)).len(), 3, "{:?}", circles(&files(&circle)));
    let open = [circle[0], circle[1], ("a/three.rs", "use super::super::one;\nuse super::Thing;\n")];
    assert_eq!(circles(&files(&open)), Vec::<String>::new());
}

#[test]
fn the_checks_find_what_is_wrong() {
    let count = |check: fn(&File) -> Vec<String>, path: &str, text: &str| check(&File::new(path, text)).len();
    for (path, text, faults) in [
        ("journey/stages.rs", "use crate::model::Model;\nuse crate::time::{Span, Timestamp};\n", 0),
        ("journey/stages.rs", "use crate::shard::Shard;\n", 1),
        ("time.rs", "use crate::{\n    wire::Mapping,\n    shard::{Shard, Undo},\n};\nfn f() { crate::cli::run() }\n", 3),
        ("time.rs", "use crate::{wire, port::Now};\n", 2),
        ("time.rs", "// use crate::wire;\n#[cfg(test)]\nmod tests { use crate::wire; }\n", 0),
        ("kafka/sink.rs", "use crate::embedded::Log;\n", 1),
        ("main.rs", "use sillage::cli;\n", 0),
        ("attic/mod.rs", "", 1),
    ] {
        assert_eq!(count(against_the_arrow, path, text), faults, "{path}: {text}");
    }
    for (path, text, faults) in [
        ("shard/wheel.rs", "let now = std::time::SystemTime::now();\n", 1),
        ("wire/mod.rs", "use std::sync::Mutex;\nasync fn f() { x.await }\n", 3),
        ("journey/mod.rs", "episode.awaiting_recovery().await_it()\n", 0),
        ("wire/mod.rs", "/// Not a Mutex in sight.\nlet url = \"http://tokio\"; // rdkafka\n", 1),
        ("runtime/clock.rs", "let now = std::time::SystemTime::now();\n", 0),
        ("ledger/group/plan.rs", "let begun = Instant::now();\n", 1),
        ("ledger/sink.rs", "tracing::info!(applied);\n", 0),
        ("deliver/lanes/lane.rs", "std::fs::read(path)", 1),
    ] {
        assert_eq!(count(impure, path, text), faults, "{path}: {text}");
    }
    for (path, text, faults) in [
        ("time.rs", "//! Time.\npub mod clock;\n", 0),
        ("time.rs", "pub mod clock;\n", 1),
        ("kafka/utils.rs", "//! Things.\n", 1),
        ("time.rs", "//! Time.\npub mod helpers;\nmod common {\n}\n", 2),
        ("time.rs", &format!("//!{}", "\n".repeat(801)), 1),
    ] {
        assert_eq!(count(untidy, path, text), faults, "{path}: {text}");
    }
}
