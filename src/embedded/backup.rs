//! A copy of the whole store in one file, also while a service works on it: as of one commit, and read again before it is called
//! one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Settings, Snapshot};

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its size.
    pub bytes: u64,
    /// Customers in it.
    pub customers: u64,
    /// Position of its latest outcome.
    pub outcomes: u64,
}

/// Why there is no backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoBackup {
    /// The store is damaged: what is wrong with it.
    Damaged(Vec<String>),
    /// It could not be read or written.
    Failed(String),
}

/// Writes the store to a file that is not there yet. A file of that name is whole and on the disk.
///
/// # Errors
/// A file that is there, a store that cannot be read or is damaged, a disk that is full.
pub fn backup(settings: &Settings, file: &Path) -> Result<Backup, NoBackup> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        NoBackup::Failed(format!("cannot {what} {}: {error}; choose another place", file.display()))
    };
    if file.exists() {
        return Err(NoBackup::Failed(format!("{} is there already; choose another name", file.display())));
    }
    let snapshot = Snapshot::open(settings).map_err(NoBackup::Failed)?;
    let part = Part::make(file).map_err(|error| failed("write", &error))?;
    snapshot.copy_to(&part.0).map_err(|error| failed("copy the store to", &error))?;
    drop(snapshot);
    let copy = Snapshot::of_file(&part.0, settings).map_err(NoBackup::Failed)?;
    let found = copy.verify().map_err(NoBackup::Failed)?;
    if !found.faults.is_empty() {
        return Err(NoBackup::Damaged(found.faults));
    }
    let backup = Backup {
        bytes: std::fs::metadata(&part.0).map_or(0, |file| file.len()),
        customers: found.shards.iter().map(|(customers, _)| customers).sum(),
        outcomes: copy.published(),
    };
    drop(copy);
    part.finish(file).map_err(|error| failed("write", &error))?;
    Ok(backup)
}

/// The file as long as it is not whole; taken away again where it does not get so far.
struct Part(PathBuf);

impl Part {
    fn make(file: &Path) -> std::io::Result<Self> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = file.with_file_name(name);
        // Customers' data: for the owner only. SQLite takes an empty file.
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Part(path))
    }

    fn finish(self, file: &Path) -> std::io::Result<()> {
        File::open(&self.0)?.sync_all()?;
        std::fs::rename(&self.0, file)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // What is left of a copy that failed is of no use; where it cannot be taken away it says what it is by its name.
        let _ = std::fs::remove_file(&self.0);
    }
}
