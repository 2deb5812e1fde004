//! The changes as text.

use std::fmt::Write as _;

use super::{Diff, Effect};

/// Names are followed by what is told about them at this column.
const COLUMN: usize = 20;

pub(super) fn text(diff: &Diff) -> String {
    let mut text = format!("{}: version {}", diff.old.0, diff.old.1);
    let _ = match diff.old.0 == diff.new.0 {
        true => writeln!(text, " to {}", diff.new.1),
        false => writeln!(text, " to {}: version {}", diff.new.0, diff.new.1),
    };
    let mut heading = None;
    let mut latest = None;
    for change in &diff.changes {
        if heading.replace(change.section) != Some(change.section) {
            let _ = writeln!(text, "\n{}", change.section.as_str());
            latest = None;
        }
        let sign = match change.effect {
            Effect::New => '+',
            Effect::Gone => '-',
            Effect::Otherwise => '~',
        };
        // What is told of one thing stands together under its name.
        let again = latest.replace(&change.name) == Some(&change.name);
        let name = if again { "" } else { change.name.as_str() };
        let sign = if again { ' ' } else { sign };
        let _ = writeln!(text, "  {sign} {name:<COLUMN$} {}", change.words);
    }
    text.push('\n');
    text += match (diff.refusals().count(), diff.changes.is_empty()) {
        (0, true) => "Nothing changes for running journeys.\n",
        (0, false) => {
            "Running journeys go on. Nothing fires because of the change: deadlines that run keep their instants, and new\n\
             spans count from the next progress.\n"
        }
        (_, _) => "Running journeys would be stranded: it cannot be deployed like this.\n",
    };
    text
}
