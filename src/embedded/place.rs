//! Whether the store still lies where it was opened. A directory that is moved or removed under a running process takes the store
//! with it: what is written then is found by nobody, least of all by the next start.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::tables::FILE;

/// The file that was opened.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Its device and its number there; `None` where that cannot be told.
    file: Option<(u64, u64)>,
}

impl Place {
    /// The store in this directory, which is open.
    pub(super) fn of(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let file = number(&path);
        Place { path, file }
    }

    /// Whether the path still leads to that file.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if number(&self.path) == self.file {
            return Ok(());
        }
        Err(Fault::Broken(format!(
            "{} has been moved, removed or replaced while it was open; stop, put it back, and start again",
            self.path.display()
        )))
    }
}

fn number(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}
