//! The models that scenarios name, each read once.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::cli::{Failure, files};
use crate::diagnostic::Diagnostic;
use crate::model::Model;
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
                let (model, faults) = self.read(&path).map_err(|reason| {
                    Failure::could_not_run(format!("cannot read the model {}: {reason}", path.display()))
                })?;
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
        let real = path.canonicalize().map_err(|error| error.to_string())?;
        if let Some((_, _, model)) = self.read.iter().find(|(_, other, _)| *other == real) {
            return Ok((model.clone(), Vec::new()));
        }
        let (model, faults) = files::model(path).map_err(|failure| failure.to_string())?;
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
        self.shelf.read(&joined(&self.folder, path))
    }

    fn fragment(&self, path: &str) -> Result<String, String> {
        files::fragment(&self.folder, path)
    }

    fn default(&self) -> Option<Arc<Model>> {
        self.default.clone()
    }
}

/// A path from a folder, without the steps that lead nowhere: `stories/../models/shop.yaml` is `models/shop.yaml`.
fn joined(folder: &Path, path: &str) -> PathBuf {
    let mut joined = folder.to_path_buf();
    for step in Path::new(path).components() {
        match step {
            Component::ParentDir if matches!(joined.components().next_back(), Some(Component::Normal(_))) => {
                joined.pop();
            }
            step => joined.push(step),
        }
    }
    // A folder that is a link leads elsewhere than its name says.
    if joined.exists() { joined } else { folder.join(path) }
}
