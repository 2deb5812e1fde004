//! Where Sillage says something else than a story, for people.

use std::fmt::Write as _;

use super::{Row, Said, Scenario};
use crate::diagnostic::Style;

/// A row that says one thing where Sillage says another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the row, from 1.
    pub line: usize,
    /// When, as it is written.
    pub when: String,
    /// What the customer does, as it is written.
    pub does: String,
    /// What the story says.
    pub expected: String,
    /// What Sillage says.
    pub said: String,
}

/// The rows of a story that differ from what was said.
pub fn differences(scenario: &Scenario, said: &[Said]) -> Vec<Difference> {
    let differ = scenario.rows.iter().zip(said).filter(|(row, said)| row.says != said.says);
    differ.map(|(row, said)| Difference::new(row, said)).collect()
}

impl Difference {
    fn new(row: &Row, said: &Said) -> Self {
        Difference {
            line: row.line,
            when: row.when.clone(),
            does: row.does.clone(),
            expected: row.says.clone(),
            said: said.says.clone(),
        }
    }
}

/// The differences of a story as text: where, what the story says (`-`), what Sillage says (`+`); sentences that only one of
/// them has stand out in colour.
pub fn shown(file: &str, title: &str, differences: &[Difference], style: Style) -> String {
    let paint = Paint(style);
    let mut text = format!("{}\n", paint.bold(&plain(title)));
    for difference in differences {
        let (expected, said) = (sentences(&difference.expected), sentences(&difference.said));
        let does = if difference.does.is_empty() { "(time passes)" } else { &difference.does };
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "  {}  {}  {}\n    {} {}\n    {} {}\n",
            paint.dim(&format!("{}:{}:", plain(file), difference.line)),
            plain(&difference.when),
            plain(does),
            paint.red("-"),
            marked(&expected, &said, |sentence| paint.red(sentence)),
            paint.green("+"),
            marked(&said, &expected, |sentence| paint.green(sentence)),
        );
    }
    text
}

fn sentences(cell: &str) -> Vec<String> {
    if cell.is_empty() { vec!["(nothing is written)".to_owned()] } else { cell.split("; ").map(plain).collect() }
}

/// The sentences of one side; those that the other has not are marked.
fn marked(own: &[String], other: &[String], mark: impl Fn(&str) -> String) -> String {
    // Where both say the same in another order, everything is what differs.
    let mut sorted = (own.to_vec(), other.to_vec());
    sorted.0.sort();
    sorted.1.sort();
    let reordered = sorted.0 == sorted.1;
    let one = |sentence: &String| if reordered || !other.contains(sentence) { mark(sentence) } else { sentence.clone() };
    own.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Without control characters, which a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[derive(Clone, Copy)]
struct Paint(Style);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        match self.0 {
            Style::Plain => text.to_owned(),
            Style::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    fn green(self, text: &str) -> String {
        self.with("32", text)
    }
}
