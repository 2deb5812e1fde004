//! What can go wrong in a transaction, by what is to be done about it.

use rusqlite::{Error, ErrorCode, ffi};

use super::Refusal;
use crate::port::Verdict;

/// Why a transaction was rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no space; there may be again.
    Full(String),
    /// The disk does not do what it is asked; it may again.
    Disk(String),
    /// The store is damaged: nothing may be written any more.
    Broken(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        // SQLite extends its shared memory by writing to it, and has no better word for a disk that is too full for that.
        let shared_memory = error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHMSIZE);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Fault::full(&error.to_string()),
            Some(ErrorCode::SystemIoFailure) if shared_memory => Fault::full(&error.to_string()),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen,
            ) => Fault::Disk(format!("the disk fails ({error}); look at it, what is stored stays")),
            Some(_) | None => Fault::Broken(format!(
                "the store is broken ({error}); stop, and restore its directory from a backup or begin with an empty one"
            )),
        }
    }
}

impl Fault {
    pub(super) fn full(why: &str) -> Self {
        Fault::Full(format!("the store has no space left ({why}); free some or raise its limit, what is stored stays"))
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Fault::Full(reason) | Fault::Disk(reason) | Fault::Broken(reason) => reason,
        }
    }

    /// What one who appends is told.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Fault::Full(reason) => Refusal::Full(reason),
            Fault::Disk(reason) | Fault::Broken(reason) => Refusal::Broken(reason),
        }
    }

    /// What a worker is told: a transaction that was rolled back can be tried again.
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Fault::Full(reason) | Fault::Disk(reason) => Verdict::Aborted(reason),
            Fault::Broken(reason) => Verdict::Lost(reason),
        }
    }
}
