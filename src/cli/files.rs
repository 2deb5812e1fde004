//! Reading the files that people write, and showing what is wrong with them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use crate::deliver::settings;
use crate::diagnostic::{self, Diagnostic, Style};
use crate::model::{self, Contacts, Model};
use crate::wire::Mapping;
use crate::yaml::MAX_BYTES;

/// The text of a file that people write.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let fault = |reason: String| Failure::could_not_run(format!("cannot read {}: {reason}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    // A file that is far too large is refused by its diagnostic; one beyond that is not even read.
    if size > 64 * MAX_BYTES as u64 {
        return Err(fault(format!("it has {size} bytes; is it the right file?")));
    }
    let bytes = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    String::from_utf8(bytes)
        .map_err(|error| fault(format!("byte {} is not UTF-8; save the file as UTF-8", error.utf8_error().valid_up_to())))
}

/// Loads a model with the files that it imports.
pub(super) fn model(path: &Path) -> Result<(Option<Model>, Vec<Diagnostic>), Failure> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let fragment = |written: &str| fragment(folder, written);
    let (mut model, mut faults) = model::load_with(&path.display().to_string(), &text(path)?, &fragment);
    let beside = folder.join(CONTACTS);
    let (contacts, told) = if beside.is_file() { contacts(&beside)? } else { (None, Vec::new()) };
    faults.extend(told);
    if let Some(known) = &mut model {
        let told = known.contact_by(contacts.as_ref());
        if !told.is_empty() {
            faults.extend(told);
            model = None;
        }
    }
    Ok((model, faults))
}

/// What says how customers may be contacted, beside a model.
const CONTACTS: &str = "contacts.yaml";

/// Loads what says how customers may be contacted.
fn contacts(path: &Path) -> Result<(Option<Arc<Contacts>>, Vec<Diagnostic>), Failure> {
    let (contacts, faults) = model::load_contacts(&path.display().to_string(), &text(path)?);
    Ok((contacts.map(Arc::new), faults))
}

/// Loads the file that says where interventions are delivered; secrets come from the variables that it names.
pub(super) fn destinations(path: &Path) -> Result<settings::Settings, Failure> {
    let (settings, faults) = settings::load(path, &text(path)?, &|name| std::env::var(name).ok());
    show(&faults);
    settings.ok_or_else(|| refused(&faults))
}

/// Loads models that run together, with the one file that says how customers may be contacted.
pub(super) fn models_with(paths: &[PathBuf], contacts_at: Option<&Path>) -> Result<Vec<Arc<Model>>, Failure> {
    let Some(path) = contacts_at else { return models(paths) };
    let (contacts, mut all) = contacts(path)?;
    let mut models = Vec::new();
    for path in paths {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let fragment = |written: &str| fragment(folder, written);
        let (model, faults) = model::load_with(&path.display().to_string(), &text(path)?, &fragment);
        all.extend(faults);
        if let Some(mut model) = model {
            let told = model.contact_by(contacts.as_ref());
            if told.is_empty() {
                models.push(Arc::new(model));
            }
            all.extend(told);
        }
    }
    show(&all);
    if models.len() < paths.len() || contacts.is_none() {
        return Err(refused(&all));
    }
    told_apart(models)
}

/// A file that a model imports: its path counts from the model's file, so that the two can be moved together.
pub(super) fn fragment(folder: &Path, written: &str) -> Result<String, String> {
    if Path::new(written).is_absolute() {
        return Err("a path that begins with `/`; write it as it counts from the model's file".to_owned());
    }
    let path = folder.join(written);
    let size = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES as u64 {
        return Err(format!("it has {size} bytes, more than the {MAX_BYTES} that are read"));
    }
    let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
}

/// Loads models; shows all diagnostics of all files before it refuses.
pub(super) fn models(paths: &[PathBuf]) -> Result<Vec<Arc<Model>>, Failure> {
    let mut models = Vec::new();
    let mut all = Vec::new();
    for path in paths {
        let (model, faults) = model(path)?;
        models.extend(model.map(Arc::new));
        all.extend(faults);
    }
    show(&all);
    if models.len() < paths.len() {
        return Err(refused(&all));
    }
    told_apart(models)
}

/// Has models that name no time zone read local times and days where the source's mapping says.
pub(super) fn in_zone_of(mapping: Option<&Mapping>, models: &mut [Arc<Model>]) {
    let Some(zone) = mapping.and_then(Mapping::zone) else { return };
    for model in models.iter_mut().filter(|model| model.zone.is_none()) {
        // Nobody else has them yet.
        if let Some(model) = Arc::get_mut(model) {
            model.zone = Some(zone.clone());
        }
    }
}

/// Models have names of their own.
fn told_apart(models: Vec<Arc<Model>>) -> Result<Vec<Arc<Model>>, Failure> {
    for (index, model) in models.iter().enumerate() {
        if models[..index].iter().any(|other| other.name == model.name) {
            let message =
                format!("two models are called `{}`; their outcomes could not be told apart: rename one", model.name);
            return Err(Failure::could_not_run(message));
        }
    }
    Ok(models)
}

/// Writes diagnostics to standard error, coloured on a terminal.
pub(super) fn show(faults: &[Diagnostic]) {
    if !faults.is_empty() {
        let style = if std::io::stderr().is_terminal() { Style::Coloured } else { Style::Plain };
        eprintln!("{}", diagnostic::render(faults, style));
    }
}

/// How a command ends whose files were refused.
pub(super) fn refused(faults: &[Diagnostic]) -> Failure {
    Failure::could_not_run(format!("{}; nothing was started", diagnostic::summary(faults)))
}
