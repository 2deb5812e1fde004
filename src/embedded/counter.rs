//! How many transactions were durable, in a second small file: SQLite's log ends where it is damaged, without a word, and a
//! store that was emptied looks like a new one. The number is on the disk before anything of the transaction is acknowledged, so
//! a store that holds fewer has lost some.
//!
//! The file has two places, written in turn, so that a write that is cut off leaves the one before. A whole directory that is put
//! back to what it was cannot be told from what it was.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::seal::Seal;

const FILE: &str = "commits";
const MAGIC: [u8; 8] = *b"SillageC";
/// Magic, whose it is, the number, and a check.
const PLACE: usize = 32;
/// The places lie so far apart that no disk writes both at once.
const APART: u64 = 4_096;

/// The file, open for the one who writes the store.
#[derive(Debug)]
pub(super) struct Counter {
    file: File,
    name: u64,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// There is none: the store is new, or a backup put into an empty directory.
    Nothing,
    /// So many, of the store of this name.
    Commits {
        /// Whose they are.
        name: u64,
        /// How many.
        number: u64,
    },
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// What the file in this directory says.
///
/// # Errors
/// A file that cannot be read, or is damaged.
pub(super) fn read(dir: &Path) -> Result<Counted, String> {
    let path = path(dir);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Counted::Nothing),
        Err(error) => return Err(format!("cannot read {}: {error}; see to its permissions", path.display())),
    };
    let places = [place(&file, 0), place(&file, APART)];
    let latest = places.into_iter().flatten().max_by_key(|(_, number)| *number);
    let (name, number) = latest.ok_or_else(|| {
        format!(
            "{} is damaged or empty, so nobody can say whether the store is whole; if `sillage state verify` finds nothing else, \
             delete that file and start again",
            path.display()
        )
    })?;
    Ok(Counted::Commits { name, number })
}

fn place(file: &File, at: u64) -> Option<(u64, u64)> {
    let mut bytes = [0; PLACE];
    file.read_exact_at(&mut bytes, at).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?));
    let (name, commits) = (number(8)?, number(16)?);
    (bytes == written(name, commits)).then_some((name, commits))
}

fn written(name: u64, number: u64) -> [u8; PLACE] {
    let mut bytes = [0; PLACE];
    let parts = [MAGIC, name.to_le_bytes(), number.to_le_bytes()];
    bytes.iter_mut().zip(parts.iter().flatten()).for_each(|(byte, of)| *byte = *of);
    let check = xxhash_rust::xxh3::xxh3_64(&bytes[..PLACE - 8]);
    bytes[PLACE - 8..].copy_from_slice(&check.to_le_bytes());
    bytes
}

impl Counter {
    /// Opens the file, making it where there is none, and says that there were so many commits.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn open(dir: &Path, seal: Seal, number: u64) -> io::Result<Self> {
        let name = seal.name();
        let path = path(dir);
        if !path.exists() {
            // Whole or not there at all.
            let new = dir.join("commits.new");
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            for at in [0, APART] {
                file.write_all_at(&written(name, number), at)?;
            }
            file.sync_all()?;
            std::fs::rename(new, &path)?;
            File::open(dir)?.sync_all()?;
        }
        let counter = Counter { file: OpenOptions::new().write(true).open(path)?, name };
        counter.note(number)?;
        Ok(counter)
    }

    /// Says that so many transactions are durable; returns when that is.
    ///
    /// # Errors
    /// A disk that fails.
    pub(super) fn note(&self, number: u64) -> io::Result<()> {
        self.file.write_all_at(&written(self.name, number), (number % 2) * APART)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_the_latest_number_and_survives_a_write_that_is_cut_off() {
        let dir = tempfile::tempdir().expect("a directory");
        let (seal, path) = (Seal(3), path(dir.path()));
        assert_eq!(read(dir.path()), Ok(Counted::Nothing));
        let says = |number| Ok(Counted::Commits { name: seal.name(), number });
        let counter = Counter::open(dir.path(), seal, 5).expect("made");
        assert_eq!(read(dir.path()), says(5));
        for number in 6..9 {
            counter.note(number).expect("written");
            assert_eq!(read(dir.path()), says(number));
        }
        let whole = std::fs::read(&path).expect("there");
        let mut before = 0;
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 4;
            std::fs::write(&path, &damaged).expect("written");
            let read = read(dir.path());
            assert!(read == says(8) || read == says(7), "byte {place}: {read:?}");
            before += usize::from(read == says(7));
        }
        assert_eq!(before, PLACE, "every byte of the latest place counts");
        for length in [0, 10, PLACE - 1] {
            std::fs::write(&path, &whole[..length]).expect("written");
            let refused = read(dir.path()).expect_err("nothing is left");
            assert!(refused.contains("is damaged or empty") && refused.contains("delete that file"), "{refused}");
        }
    }
}
