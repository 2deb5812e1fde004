//! `sillage model diff`: what a new version of a model does to the journeys that run under the old one.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, files, print};
use crate::diagnostic::{Diagnostic, Source, Style, render, summary};
use crate::model::{self, Model};

/// Say what a new version of a model does to running journeys.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model that runs.
    old: PathBuf,
    /// The model that is to run.
    new: PathBuf,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let faults: Vec<Diagnostic> = [&old, &new].into_iter().flat_map(|file| file.faults.clone()).collect();
    files::show(&faults);
    let (Some(before), Some(after)) = (&old.model, &new.model) else {
        return Err(Failure::could_not_run(format!("{}; nothing is compared until they are mended", summary(&faults))));
    };
    let diff = model::diff(before, after);
    let refused = diff.diagnostics(&old.source, &new.source);
    let mut told = diff.text();
    if refused.is_empty() {
        return print(&told);
    }
    let style = if std::io::stdout().is_terminal() { Style::Coloured } else { Style::Plain };
    told += &format!("\n{}\n{}; `sillage explain CODE` says more\n", render(&refused, style), summary(&refused));
    print(&told)?;
    Err(Failure::answer_is_no(""))
}

/// A model's file.
struct File {
    source: Arc<Source>,
    model: Option<Model>,
    faults: Vec<Diagnostic>,
}

fn read(path: &Path) -> Result<File, Failure> {
    let source = Source::file(&path.display().to_string(), &files::text(path)?);
    let (model, faults) = files::model(path)?;
    Ok(File { source, model, faults })
}
