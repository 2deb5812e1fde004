//! `sillage model check`: everything that is wrong with models, for people, programs and pull requests.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Failure, files, print};
use crate::diagnostic::{Diagnostic, Place, Severity, Style, render, summary};
use crate::model::Model;

/// Say everything that is wrong with models.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The models' files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// For people, for programs (one JSON array), or as annotations of a pull request on GitHub.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// End with exit code 1 on warnings as well.
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Github,
}

/// A file, and what was found in it.
struct Checked<'a> {
    file: &'a Path,
    model: Option<Model>,
    faults: Vec<Diagnostic>,
}

/// Files that cannot be read do not hide what is wrong with the others.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let mut checked = Vec::new();
    let mut unreadable = Vec::new();
    for file in &args.files {
        match files::model(file) {
            Ok((model, faults)) => checked.push(Checked { file, model, faults }),
            Err(failure) => unreadable.push(failure.to_string()),
        }
    }
    let faults = || checked.iter().flat_map(|checked| &checked.faults);
    print(&match args.format {
        Format::Text => text(&checked),
        Format::Json => format!("{:#}\n", Value::Array(faults().map(object).collect())),
        Format::Github => faults().map(annotation).collect(),
    })?;
    if !unreadable.is_empty() {
        return Err(Failure::could_not_run(unreadable.join("\nsillage: ")));
    }
    let denied = |fault: &Diagnostic| match fault.severity {
        Severity::Error => true,
        Severity::Warning => args.deny_warnings,
    };
    // What the limit on diagnostics left out shows in the model that is not there.
    let refused = checked.iter().any(|checked| checked.model.is_none()) || faults().any(denied);
    if refused { Err(Failure::answer_is_no("")) } else { Ok(()) }
}

/// The diagnostics, then a line for each file.
fn text(checked: &[Checked<'_>]) -> String {
    let style = if std::io::stdout().is_terminal() { Style::Coloured } else { Style::Plain };
    let mut told = String::new();
    for Checked { faults, .. } in checked.iter().filter(|checked| !checked.faults.is_empty()) {
        told += &render(faults, style);
        told.push('\n');
    }
    for Checked { file, model, faults } in checked {
        let found = match (model, faults.as_slice()) {
            (Some(model), []) => format!("fine ({})", contents(model)),
            (Some(_) | None, faults) => format!("{}; `sillage explain CODE` says more", summary(faults)),
        };
        let _ = writeln!(told, "{}: {found}", file.display());
    }
    told
}

/// `5 stages, 2 episodes, 4 friction rules`.
fn contents(model: &Model) -> String {
    let counts = [
        (model.stages.len(), "stage"),
        (model.episodes.len(), "episode"),
        (model.friction.len(), "friction rule"),
        (model.segments.len(), "segment"),
        (model.tallies.len(), "tally"),
    ];
    let count = |(number, noun): &(usize, &str)| match (number, *noun) {
        (1, noun) => format!("1 {noun}"),
        (_, "tally") => format!("{number} tallies"),
        (_, noun) => format!("{number} {noun}s"),
    };
    let named = counts.iter().filter(|(number, _)| *number > 0);
    named.map(count).collect::<Vec<_>>().join(", ")
}

fn object(fault: &Diagnostic) -> Value {
    let mut object = place(&fault.place);
    object["code"] = fault.code.into();
    object["severity"] = severity(fault).into();
    object["cause"] = fault.cause.as_str().into();
    object["help"] = fault.help.as_str().into();
    object["see"] = fault.see.as_ref().map_or(Value::Null, |(second, label)| {
        let mut see = place(second);
        see["label"] = (*label).into();
        see
    });
    object
}

/// Lines and columns from 1, columns in characters; the end is the first character that no longer belongs.
fn place(place: &Place) -> Value {
    let (line, column) = place.source.position(place.span.start);
    let (end_line, end_column) = place.source.position(place.span.end);
    json!({
        "file": place.source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column,
    })
}

/// A workflow command: GitHub shows it at the line, in the pull request.
fn annotation(fault: &Diagnostic) -> String {
    let (line, column) = fault.place.source.position(fault.place.span.start);
    format!(
        "::{} file={},line={line},col={column},title={}::{}\n",
        severity(fault),
        property(&fault.place.source.name),
        property(fault.code),
        message(&format!("{} ({})", fault.cause, fault.help)),
    )
}

fn severity(fault: &Diagnostic) -> &'static str {
    match fault.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// A message of a workflow command must not end its line.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command must not end itself either.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    #[test]
    fn annotations_stay_on_their_line_and_in_their_place() {
        let source = Source::file("a,b:\nc%.yaml", "stages:\n  quiet: 7\n");
        let fault = Diagnostic::warning("Y013", &source.place(17..18), "100% wrong\r\n::error::x", "write, say: 7d");
        assert_eq!(
            annotation(&fault),
            "::warning file=a%2Cb%3A%0Ac%25.yaml,line=2,col=10,title=Y013::100%25 wrong%0D%0A::error::x (write, say: 7d)\n"
        );
    }

    #[test]
    fn a_fault_over_several_lines_says_where_it_ends() {
        let source = Source::file("m.yaml", "a: é\nb: 1\n");
        let fault = Diagnostic::error("Y001", &source.place(3..10), "c", "h").see(&source.place(0..1), "the first");
        let object = object(&fault);
        assert_eq!([&object["line"], &object["column"], &object["end_line"], &object["end_column"]], [1, 4, 2, 5]);
        assert_eq!((&object["see"]["label"], &object["see"]["end_column"]), (&"the first".into(), &2.into()));
    }
}
