//! The models that scenarios name, each read once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::{Failure, files};
use crate::diagnostic::Diagnostic;
use crate::model::{self, Model};
use crate::scenario::Models;

/// Models by their files.
#[derive(Default)]
pub(super) struct Shelf {
    /// The file as it was named, the same without links and dots, and the model where it has no error.
    read: Vec<(PathBuf, PathBuf, Option<Arc<Model>>)>,
}

/// The shelf as one scenario file sees it: paths are relative to its folder.
pub(super) struct Beside<'a> {
    shelf: &'a mut Shelf,
    folder: PathBuf,
    default: Option<Arc<Model>>,
    faults: Vec<Diagnostic>,
}

impl Shelf {
    /// For one scenario file; `model` is that of stories which name none.
    pub(super) fn beside(&mut self, scenarios: &Path, model: Option<PathBuf>) -> Result<Beside<'_>, Failure> {
        let folder = scenarios.parent().map(Path::to_path_buf).unwrap_or_default();
        let (default, faults) = match model {
            None => (None, Vec::new()),
            Some(path) => {
                let (model, faults) = self.read(&path).map_err(Failure::could_not_run)?;
                if model.is_none() {
                    files::show(&faults);
                    let message = format!("the model {} has errors; repair it first", path.display());
                    return Err(Failure::could_not_run(message));
                }
                (model, faults)
            }
        };
        Ok(Beside { shelf: self, folder, default, faults })
    }

    /// The file that a model was read from.
    pub(super) fn file_of(&self, model: &Arc<Model>) -> Option<String> {
        let own = |read: &Option<Arc<Model>>| read.as_ref().is_some_and(|read| Arc::ptr_eq(read, model));
        self.read.iter().find(|(_, _, read)| own(read)).map(|(path, _, _)| path.display().to_string())
    }

    /// Reads a model; its faults are handed out the first time only.
    fn read(&mut self, path: &Path) -> Result<(Option<Arc<Model>>, Vec<Diagnostic>), String> {
        let real = path.canonicalize().map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if let Some((_, _, model)) = self.read.iter().find(|(_, other, _)| *other == real) {
            return Ok((model.clone(), Vec::new()));
        }
        let text = files::text(path).map_err(|failure| failure.to_string())?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let (model, faults) = model::load_with(&path.display().to_string(), &text, &|path| fragment(&folder, path));
        let model = model.map(Arc::new);
        self.read.push((path.to_path_buf(), real, model.clone()));
        Ok((model, faults))
    }
}

impl Beside<'_> {
    /// What there is to tell about the model of stories which name none.
    pub(super) fn into_faults(self) -> Vec<Diagnostic> {
        self.faults
    }
}

impl Models for Beside<'_> {
    fn model(&mut self, path: &str) -> Result<(Option<Arc<Model>>, Vec<Diagnostic>), String> {
        self.shelf.read(&self.folder.join(path))
    }

    fn fragment(&self, path: &str) -> Result<String, String> {
        fragment(&self.folder, path)
    }

    fn default(&self) -> Option<Arc<Model>> {
        self.default.clone()
    }
}

fn fragment(folder: &Path, path: &str) -> Result<String, String> {
    files::text(&folder.join(path)).map_err(|failure| failure.to_string())
}
