//! `sillage model test`: plays scenarios, shows what differs, and which parts of a model no scenario exercises.
//!
//! Here are the files, the terminal and the exit code; what a scenario is stands in [`crate::scenario`].

mod paths;
mod report;
mod shelf;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::{Failure, files};
use crate::diagnostic::{Severity, Style};
use crate::scenario::{self, Coverage, Difference, Said, Suite};
use crate::time::Span;

use shelf::Shelf;

/// Play the scenarios of models.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 everything is as told, 1 something differs (or no scenario exercises it, with \
                        --require-coverage), 2 the scenarios could not run.")]
pub(super) struct Args {
    /// Scenario files, folders with `*.scenarios.md`, or models (`shop.yaml` stands for `shop.scenarios.md` beside it);
    /// by default every `*.scenarios.md` below this folder.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The model of scenarios that name none.
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Write what Sillage says into the last column: read the difference before you keep it.
    #[arg(long)]
    update: bool,
    /// Fail where a part of a model is exercised by no scenario.
    #[arg(long)]
    require_coverage: bool,
    /// Write a report as JUnit does (XML).
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Text for people, or JSON.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// A scenario file that has been played.
struct Played {
    path: PathBuf,
    suite: Suite,
    said: Vec<Vec<Said>>,
    /// By story.
    differences: Vec<Vec<Difference>>,
    took: Span,
}

/// What has been exercised of a model, and the file that it stands in.
struct Covered {
    file: String,
    coverage: Coverage,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let found = paths::scenario_files(&args.paths)?;
    let mut shelf = Shelf::default();
    let mut played = play(&found, args.model.as_deref(), &mut shelf)?;
    let covered = covered(&played, &shelf);
    if args.update {
        update(&mut played, args.format)?;
    }
    if let Some(path) = &args.junit {
        let files: Vec<_> = played.iter().map(|file| (&file.suite, file.differences.as_slice(), file.took)).collect();
        write(path, &scenario::junit(&files))?;
    }
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = if coloured { Style::Coloured } else { Style::Plain };
    report::print(&match args.format {
        Format::Text => report::text(&played, &covered, style),
        Format::Json => report::json(&played, &covered).to_string() + "\n",
    })?;
    let differ = played.iter().any(|file| file.differences.iter().any(|story| !story.is_empty()));
    let missing = args.require_coverage && covered.iter().any(|model| !model.coverage.missing().is_empty());
    // The report has said what is wrong.
    if differ || missing { Err(Failure::answer_is_no("")) } else { Ok(()) }
}

/// Reads all files, tells everything that is wrong with any of them, and plays them.
fn play(found: &[PathBuf], model: Option<&Path>, shelf: &mut Shelf) -> Result<Vec<Played>, Failure> {
    let mut suites = Vec::new();
    let mut faults = Vec::new();
    for path in found {
        let text = files::text(path)?;
        let model = model.map(Path::to_path_buf).or_else(|| paths::model_beside(path));
        let mut models = shelf.beside(path, model)?;
        let (suite, told) = scenario::read(&path.display().to_string(), &text, &mut models);
        faults.extend(models.into_faults());
        faults.extend(told);
        suites.extend(suite.map(|suite| (path.clone(), suite)));
    }
    files::show(&faults);
    if faults.iter().any(|fault| fault.severity == Severity::Error) {
        return Err(files::refused(&faults));
    }
    Ok(suites.into_iter().map(|(path, suite)| Played::new(path, suite)).collect())
}

impl Played {
    fn new(path: PathBuf, suite: Suite) -> Self {
        let begun = Instant::now();
        let said = suite.play();
        let took = Span::from_millis(i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX));
        let stories = suite.scenarios.iter().zip(&said);
        let differences = stories.map(|(story, said)| scenario::differences(story, said)).collect();
        Played { path, suite, said, differences, took }
    }
}

/// What all files together exercise, by model, in the order in which the models come up.
fn covered(played: &[Played], shelf: &Shelf) -> Vec<Covered> {
    let mut all: Vec<Covered> = Vec::new();
    for file in played {
        for (story, said) in file.suite.scenarios.iter().zip(&file.said) {
            let known = all.iter().position(|covered| Arc::ptr_eq(covered.coverage.model(), &story.model));
            let at = known.unwrap_or_else(|| {
                let file = shelf.file_of(&story.model).unwrap_or_else(|| file.suite.source.name.clone());
                all.push(Covered { file, coverage: Coverage::new(Arc::clone(&story.model)) });
                all.len() - 1
            });
            said.iter().for_each(|said| all[at].coverage.take(&said.outcomes));
        }
    }
    all
}

/// Writes what was said into the files that differ; nothing differs then.
fn update(played: &mut [Played], format: Format) -> Result<(), Failure> {
    for file in played {
        let rows: usize = file.differences.iter().map(Vec::len).sum();
        if rows == 0 {
            continue;
        }
        write(&file.path, &scenario::updated(&file.suite, &file.said))?;
        file.differences.iter_mut().for_each(Vec::clear);
        if format == Format::Text {
            let noun = if rows == 1 { "row" } else { "rows" };
            report::print(&format!(
                "{}: {rows} {noun} written; read the difference before you keep it\n",
                file.path.display()
            ))?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::could_not_run(format!("cannot write {}: {error}; is the folder there?", path.display())))
}
