//! `sillage model graph`: a model as a picture.

use std::path::PathBuf;

use super::{Failure, files, print};
use crate::model::graph;

/// Draw a model: its stages, ways, timers, episodes and friction.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model's file.
    file: PathBuf,
    /// For Markdown that draws it, or as a picture of its own.
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
    /// Where the picture goes; by default to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Mermaid,
    Svg,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let (model, faults) = files::model(&args.file)?;
    files::show(&faults);
    let Some(model) = model else { return Err(Failure::answer_is_no("the model is not drawn until it is mended")) };
    let picture = match args.format {
        Format::Mermaid => graph::mermaid(&model),
        Format::Svg => graph::svg(&model),
    };
    match args.output.filter(|path| path.as_os_str() != "-") {
        Some(path) => std::fs::write(&path, picture)
            .map_err(|error| Failure::could_not_run(format!("cannot write {}: {error}", path.display()))),
        None => print(&picture),
    }
}
