//! Which scenario files are meant by the paths of a command line.

use std::path::{Path, PathBuf};

use crate::cli::Failure;

/// How the names of scenario files end.
const ENDING: &str = ".scenarios.md";
/// Folders deeper than this are not searched.
const MAX_DEPTH: usize = 32;

/// The scenario files, each once, in the order of the paths and by name within a folder.
pub(super) fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = Vec::new();
    if paths.is_empty() {
        search(Path::new(""), 0, &mut found)?;
        if found.is_empty() {
            let message = format!("no *{ENDING} below this folder; name a file, or see `sillage model test --help`");
            return Err(Failure::could_not_run(message));
        }
    }
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            search(path, 0, &mut found)?;
            if found.len() == before {
                let message = format!("no *{ENDING} below {}; name the files themselves", path.display());
                return Err(Failure::could_not_run(message));
            }
        } else if is_yaml(path) {
            found.push(scenarios_beside(path)?);
        } else {
            found.push(path.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(found)
}

/// The model that `shop.scenarios.md` stands beside: `shop.yaml`.
pub(super) fn model_beside(scenarios: &Path) -> Option<PathBuf> {
    let stem = scenarios.file_name()?.to_str()?.strip_suffix(ENDING)?;
    let beside = ["yaml", "yml"].map(|ending| scenarios.with_file_name(format!("{stem}.{ending}")));
    beside.into_iter().find(|path| path.is_file())
}

fn scenarios_beside(model: &Path) -> Result<PathBuf, Failure> {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    let scenarios = model.with_file_name(format!("{stem}{ENDING}"));
    if scenarios.is_file() {
        return Ok(scenarios);
    }
    let message = format!("{} has no scenarios: write {} beside it", model.display(), scenarios.display());
    Err(Failure::could_not_run(message))
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// Searches a folder and those below it, hidden ones and links left out.
fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let read = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let fault = |error: std::io::Error| {
        Failure::could_not_run(format!("cannot read the folder {}: {error}; name the files themselves", read.display()))
    };
    let mut folders = Vec::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(read).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(fault)?;
        if kind.is_dir() && !name.starts_with('.') && depth < MAX_DEPTH {
            folders.push(folder.join(entry.file_name()));
        } else if !kind.is_dir() && name.ends_with(ENDING) {
            files.push(folder.join(entry.file_name()));
        }
    }
    files.sort();
    folders.sort();
    found.extend(files);
    folders.iter().try_for_each(|folder| search(folder, depth + 1, found))
}
