//! How much of the disk is left alone. With a disk filled to the brim nothing can be processed, and so nothing be deleted:
//! touchpoints are refused first, then commits, so that SQLite can always move its log into its file.

use std::path::Path;

use super::fault::Fault;

/// What the space is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Touchpoints: refused early, so that workers can go on committing.
    Touchpoints,
    /// A worker's commit.
    Commit,
}

impl Wanted {
    /// Bytes that must be left on a disk of this size.
    fn reserve(self, size: u64) -> u64 {
        match self {
            Wanted::Touchpoints => (64 << 20).min(size / 4),
            Wanted::Commit => (16 << 20).min(size / 16),
        }
    }
}

/// Whether the disk has room. One that does not say how much it has left is found out when it is full.
pub(super) fn room(dir: &Path, wanted: Wanted) -> Result<(), Fault> {
    let Ok(disk) = rustix::fs::statvfs(dir) else { return Ok(()) };
    let (free, size) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    if size > 0 && free < wanted.reserve(size) {
        return Err(Fault::full(&format!("{free} bytes are left on the disk")));
    }
    Ok(())
}
