//! Every code has a page in `docs/diagnostics/`, and every page is its own test: its broken example raises exactly the text
//! shown beside it, and its mended examples raise nothing. `SILLAGE_BLESS=1` writes the texts anew: read the diff.
//!
//! A page is a title (`# M031: …`), prose, the broken example (```` ```yaml ````), what is told (```` ```text ````), and under
//! a second heading how to mend it, with a mended example (```` ```yaml ````). An example that begins with `# NAME.yaml` is a
//! file that those after it import, the model that runs before a change (`old.yaml`), or the model that stories
//! (```` ```markdown ````) name; `# with NAME=value in the
//! environment` sets a variable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use sillage::config::{self, Surroundings};
use sillage::diagnostic::{CODES, Diagnostic, Source, Style, render};
use sillage::model::{self, Model};
use sillage::scenario::{self, Models};

/// Its broken file would be a megabyte.
const WITHOUT_EXAMPLE: &[&str] = &["Y002"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/diagnostics")
}

fn page(code: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{code}.md"))).unwrap_or_default()
}

/// The parts of a page that are judged.
#[derive(Debug, Default)]
struct Page {
    title: String,
    /// Paragraphs before the broken example.
    prose: String,
    /// The broken example and the files that it imports.
    broken: Option<Example>,
    /// Where the text that is told stands in the page, if there is one.
    told: Option<std::ops::Range<usize>>,
    mended: Vec<Example>,
}

#[derive(Clone, Debug, Default)]
struct Example {
    text: String,
    imports: BTreeMap<String, String>,
}

fn read(page: &str) -> Page {
    let mut read = Page { title: page.lines().next().unwrap_or_default().to_owned(), ..Page::default() };
    let mut imports = BTreeMap::new();
    let mut at = 0;
    let mut opened: Option<(String, usize)> = None;
    for line in page.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        match (&opened, line.trim_end().strip_prefix("```")) {
            (None, Some(language)) => opened = Some((language.to_owned(), end)),
            (Some((language, from)), Some("")) => {
                let text = page[*from..start].to_owned();
                let imported =
                    text.strip_prefix("# ").and_then(|text| text.lines().next()).filter(|name| name.ends_with(".yaml"));
                match (language.as_str(), imported) {
                    ("text", _) => read.told = Some(*from..start),
                    (_, Some(name)) => drop(imports.insert(name.to_owned(), text.clone())),
                    (_, None) => {
                        let example = Example { text, imports: imports.clone() };
                        match read.told {
                            None => read.broken = Some(example),
                            Some(_) => read.mended.push(example),
                        }
                    }
                }
                opened = None;
            }
            (None, None) if read.broken.is_none() && !line.starts_with('#') => read.prose += line,
            (Some(_) | None, _) => {}
        }
    }
    assert!(opened.is_none(), "a block without an end in {}", read.title);
    read
}

/// What is told about an example, judged where files of this kind are.
fn faults(code: &str, example: &Example) -> Vec<Diagnostic> {
    match code.chars().next() {
        Some('C') => {
            let variables = example.text.lines().filter_map(|line| {
                let (name, value) = line.strip_prefix("# with ")?.strip_suffix(" in the environment")?.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            });
            let surroundings = Surroundings { variables: variables.collect(), host: "shop-1".to_owned(), memory: 0 };
            config::load(Path::new("sillage.yaml"), &example.text, &surroundings).1
        }
        Some('D') => {
            let old = example.imports.get("old.yaml").expect("a page about a change shows the old model");
            let (before, mut faults) = model::load("old.yaml", old);
            let (after, new) = model::load("model.yaml", &example.text);
            faults.extend(new);
            if let (Some(before), Some(after)) = (before, after) {
                let sources = (Source::file("old.yaml", old), Source::file("model.yaml", &example.text));
                faults.extend(model::diff(&before, &after).diagnostics(&sources.0, &sources.1));
            }
            faults
        }
        Some('S') => scenario::read("stories.md", &example.text, &mut Beside(&example.imports)).1,
        _ => {
            let fragment = |path: &str| example.imports.get(path).cloned().ok_or_else(|| "there is no such file".to_owned());
            model::load_with("model.yaml", &example.text, &fragment).1
        }
    }
}

/// The models that stories name are the page's files.
struct Beside<'a>(&'a BTreeMap<String, String>);

impl Models for Beside<'_> {
    fn model(&mut self, path: &str) -> Result<(Option<Arc<Model>>, Vec<Diagnostic>), String> {
        let (model, faults) = model::load(path, &self.fragment(path)?);
        Ok((model.map(Arc::new), faults))
    }

    fn fragment(&self, path: &str) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "there is no such file".to_owned())
    }

    fn default(&self) -> Option<Arc<Model>> {
        None
    }
}

/// With TLS built in, asking for it is no fault.
fn is_shown(code: &str) -> bool {
    !(WITHOUT_EXAMPLE.contains(&code) || cfg!(feature = "tls") && code == "C006")
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = std::fs::read_dir(folder())
        .expect("docs/diagnostics")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    let codes: BTreeSet<String> = CODES.iter().map(|(code, _)| format!("{code}.md")).collect();
    assert_eq!(pages, codes);
    for (code, meaning) in CODES {
        let page = read(&page(code));
        assert_eq!(page.title, format!("# {code}: {meaning}"));
        assert!(page.prose.trim().len() > 60, "{code}: says too little of what it means");
    }
}

#[test]
fn every_page_shows_what_is_told_about_its_example() {
    let mut told_otherwise = String::new();
    for (code, _) in CODES.iter().filter(|(code, _)| is_shown(code)) {
        let text = page(code);
        let page = read(&text);
        let broken = page.broken.unwrap_or_else(|| panic!("{code}: no broken example"));
        let place = page.told.unwrap_or_else(|| panic!("{code}: no text of what is told"));
        let faults = faults(code, &broken);
        let told = render(&faults, Style::Plain);
        if !faults.iter().any(|fault| fault.code == *code) {
            told_otherwise += &format!("--- {code} is not raised by its example:\n{told}\n");
        }
        if text[place.clone()] == told {
            continue;
        }
        if std::env::var_os("SILLAGE_BLESS").is_some() {
            let blessed = format!("{}{told}{}", &text[..place.start], &text[place.end..]);
            std::fs::write(folder().join(format!("{code}.md")), blessed).expect("a page that can be written");
        } else {
            told_otherwise += &format!("--- {code}.md does not show what is told now:\n{told}\n");
        }
    }
    assert!(told_otherwise.is_empty(), "{told_otherwise}");
}

#[test]
fn every_mended_example_is_fine() {
    let (mut mended, mut not_fine) = (0, String::new());
    for (code, _) in CODES {
        let page = read(&page(code));
        for example in &page.mended {
            mended += 1;
            let faults = faults(code, example);
            if !faults.is_empty() {
                not_fine += &format!("--- {code}:\n{}\n{}", example.text, render(&faults, Style::Plain));
            }
        }
        assert!(!is_shown(code) || !page.mended.is_empty(), "{code}: no mended example");
    }
    assert!(not_fine.is_empty(), "{not_fine}");
    assert!(mended > 100, "{mended} mended examples; are the blocks still found?");
}

fn explain(arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    let output = command.arg("explain").args(arguments).output().expect("sillage runs");
    let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).into_owned();
    (output, said)
}

#[test]
fn the_command_prints_every_page_and_the_list() {
    let (_, list) = explain(&[]);
    for (code, meaning) in CODES {
        assert!(list.contains(&format!("{code}  {meaning}\n")), "{code} is not listed");
        assert_eq!(explain(&[code]).1, page(code), "{code} is not in PAGES");
    }
    assert_eq!(explain(&["m031"]).1, page("M031"), "small letters will do");
}

#[test]
fn an_unknown_code_is_answered_with_the_nearest() {
    let (output, said) = explain(&["M31"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said, "sillage: there is no code `M31`; did you mean `M031`? `sillage explain` lists them all\n");
    let (output, said) = explain(&["basket"]);
    assert_eq!((output.status.code(), said.contains("did you mean")), (Some(2), false), "{said}");
}
