//! The outcome of a run for machines, as JUnit writes it: a suite for each file, a test case for each story.

use std::fmt::Write as _;

use super::{Difference, Suite, shown};
use crate::diagnostic::Style;
use crate::time::Span;

/// A report over files: each with the differences of its stories, in order, and how long it took.
pub fn junit(files: &[(&Suite, &[Vec<Difference>], Span)]) -> String {
    let tests: usize = files.iter().map(|(suite, _, _)| suite.scenarios.len()).sum();
    let failures: usize = files.iter().map(|(_, differences, _)| failed(differences)).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a text cannot fail.
    let _ = writeln!(text, "<testsuites name=\"sillage model test\" tests=\"{tests}\" failures=\"{failures}\">");
    for (suite, differences, took) in files {
        let name = escaped(&suite.source.name);
        let (tests, failures) = (suite.scenarios.len(), failed(differences));
        let seconds = took.as_millis() as f64 / 1e3;
        let _ = writeln!(
            text,
            "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"{seconds:.3}\">"
        );
        for (scenario, differences) in suite.scenarios.iter().zip(differences.iter()) {
            let (title, line) = (escaped(&scenario.title), scenario.line);
            let case = format!("    <testcase classname=\"{name}\" name=\"{title}\" file=\"{name}\" line=\"{line}\"");
            if differences.is_empty() {
                let _ = writeln!(text, "{case}/>");
                continue;
            }
            let count = differences.len();
            let rows = if count == 1 { "row differs" } else { "rows differ" };
            let told = escaped(&shown(&suite.source.name, &scenario.title, differences, Style::Plain));
            let _ = writeln!(text, "{case}>\n      <failure message=\"{count} {rows}\">{told}</failure>\n    </testcase>");
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn failed(differences: &[Vec<Difference>]) -> usize {
    differences.iter().filter(|differences| !differences.is_empty()).count()
}

/// Text for XML 1.0: its five characters escaped, and what XML does not know left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
