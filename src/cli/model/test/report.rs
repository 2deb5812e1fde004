//! What a run of scenarios says: to people, and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use super::{Covered, Played};
use crate::cli::Failure;
use crate::diagnostic::Style;
use crate::scenario::{self, Difference};

/// A line per file, what differs, a summary, and what is not exercised.
pub(super) fn text(played: &[Played], covered: &[Covered], style: Style) -> String {
    let names: Vec<String> = played.iter().map(|file| file.path.display().to_string()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    // Writing to a text cannot fail.
    for (file, name) in played.iter().zip(&names) {
        let differ = stories_that_differ(file);
        let word = if differ == 0 { paint(style, "32", "ok  ") } else { paint(style, "31", "FAIL") };
        let stories = count(file.suite.scenarios.len(), "story", "stories");
        let _ = writeln!(text, "{word} {name:width$}  {stories:>11}  {:>4} ms", file.took.as_millis());
    }
    for file in played {
        for (story, differences) in file.suite.scenarios.iter().zip(&file.differences).filter(|(_, rows)| !rows.is_empty()) {
            let _ = write!(text, "\n{}", scenario::shown(&file.suite.source.name, &story.title, differences, style));
        }
    }
    let stories = count(played.iter().map(|file| file.suite.scenarios.len()).sum(), "story", "stories");
    let files = count(played.len(), "file", "files");
    let differ: usize = played.iter().map(stories_that_differ).sum();
    let rows: usize = played.iter().flat_map(|file| &file.differences).map(Vec::len).sum();
    let _ = match differ {
        0 => writeln!(text, "\n{stories} in {files}: {}", paint(style, "32", "all as told")),
        _ => {
            let told =
                format!("{} otherwise, in {}", count(differ, "story ends", "stories end"), count(rows, "row", "rows"));
            let legend = "- the story, + Sillage; --update writes what Sillage says";
            writeln!(text, "\n{stories} in {files}: {} ({legend})", paint(style, "31", &told))
        }
    };
    covered.iter().for_each(|covered| text.push_str(&coverage(covered, style)));
    text
}

fn coverage(covered: &Covered, style: Style) -> String {
    let Covered { file, coverage } = covered;
    let missing = coverage.missing();
    let colour = if missing.is_empty() { "32" } else { "33" };
    let percent = paint(style, colour, &format!("{} %", coverage.percent()));
    let (exercised, total, model) = (coverage.exercised(), coverage.total(), &coverage.model().name);
    let mut text = format!("{model} ({file}): {percent} exercised, {exercised} of {total}\n");
    for part in missing {
        let _ = writeln!(text, "  not exercised: {part}");
    }
    text
}

/// The same for machines.
pub(super) fn json(played: &[Played], covered: &[Covered]) -> Value {
    let files: Vec<Value> = played.iter().map(file_json).collect();
    let coverage: Vec<Value> = covered
        .iter()
        .map(|Covered { file, coverage }| {
            json!({
                "model": coverage.model().name.as_str(),
                "version": coverage.model().version,
                "file": file,
                "exercised": coverage.exercised(),
                "total": coverage.total(),
                "percent": coverage.percent(),
                "not_exercised": coverage.missing(),
            })
        })
        .collect();
    json!({
        "stories": played.iter().map(|file| file.suite.scenarios.len()).sum::<usize>(),
        "stories_that_differ": played.iter().map(stories_that_differ).sum::<usize>(),
        "files": files,
        "coverage": coverage,
    })
}

fn file_json(file: &Played) -> Value {
    let stories: Vec<Value> = file
        .suite
        .scenarios
        .iter()
        .zip(&file.differences)
        .map(|(story, differences)| {
            json!({
                "title": story.title,
                "line": story.line,
                "model": story.model.name.as_str(),
                "differences": differences.iter().map(difference_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "file": file.suite.source.name, "milliseconds": file.took.as_millis(), "stories": stories })
}

fn difference_json(difference: &Difference) -> Value {
    json!({
        "line": difference.line,
        "when": difference.when,
        "does": difference.does,
        "expected": difference.expected,
        "said": difference.said,
    })
}

fn stories_that_differ(file: &Played) -> usize {
    file.differences.iter().filter(|differences| !differences.is_empty()).count()
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn paint(style: Style, code: &str, text: &str) -> String {
    match style {
        Style::Plain => text.to_owned(),
        Style::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
    }
}

/// Writes to standard output; a reader that has gone (`| head`) is fine.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::could_not_run(format!("cannot write to standard output: {error}; free some space, or redirect it")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
