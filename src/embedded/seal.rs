//! Checksums over what the store keeps. A disk, a file system or a hand that changes a bit changes no sum with it, so that what
//! is read is what was written, or is refused.
//!
//! Every row has a check of its own, which is made from its place as well: a row that stands elsewhere does not pass. What would
//! not be missed if it were gone (customers, ids) is counted in a sum beside the numbers; what has a place in an order
//! (touchpoints, outcomes) is missed there.

/// What to do about a store that is damaged.
pub(super) const REMEDY: &str = "stop, and put a backup into an empty directory (docs/embedded.md, \"Backups\")";

/// What a check is about, so that a row of one sort is none of another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sort {
    Store = 1,
    Made,
    Numbers,
    Shard,
    Batch,
    Outcome,
    Customer,
    Word,
    Fresh,
    Seen,
    /// What delivery keeps, where it goes on, and what it could not deliver.
    Kept,
    Reading,
    DeadLetter,
}

/// Makes the checks of one store: what belongs to another does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal(pub(super) u64);

impl Seal {
    /// The check of a row: its numbers, and its bytes.
    pub(super) fn of(self, sort: Sort, numbers: &[i64], bytes: &[u8]) -> u64 {
        let mix = |seed, number: i64| xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), seed);
        let seed = numbers.iter().fold(mix(self.0, sort as i64), |seed, number| mix(seed, *number));
        xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
    }

    /// Names the store, without a word of what the checks are made with.
    pub(super) fn name(self) -> u64 {
        self.of(Sort::Store, &[], b"")
    }
}

/// Why something of the store cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// SQLite cannot read it.
    Sqlite(rusqlite::Error),
    /// It is not what was written.
    Damaged(String),
}

impl From<rusqlite::Error> for Unread {
    fn from(error: rusqlite::Error) -> Self {
        Unread::Sqlite(error)
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unread::Sqlite(error) => write!(formatter, "the store cannot be read ({error}): if the disk is sound, {REMEDY}"),
            Unread::Damaged(what) => write!(formatter, "the store is damaged: {what}; {REMEDY}"),
        }
    }
}

impl From<Unread> for String {
    fn from(unread: Unread) -> Self {
        unread.to_string()
    }
}

/// Refuses what does not pass.
pub(super) fn demand(passes: bool, what: impl FnOnce() -> String) -> Result<(), Unread> {
    if passes { Ok(()) } else { Err(Unread::Damaged(what())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_about_the_sort_the_place_and_every_bit() {
        let seal = Seal(7);
        let check = seal.of(Sort::Outcome, &[1, 2], b"abc");
        let others = [
            Seal(8).of(Sort::Outcome, &[1, 2], b"abc"),
            seal.of(Sort::Batch, &[1, 2], b"abc"),
            seal.of(Sort::Outcome, &[2, 1], b"abc"),
            seal.of(Sort::Outcome, &[1], b"abc"),
            seal.of(Sort::Outcome, &[1, 2], b"abb"),
            seal.of(Sort::Outcome, &[1, 2], b"ab"),
            seal.name(),
        ];
        assert!(others.iter().all(|other| *other != check));
        assert_eq!(check, seal.of(Sort::Outcome, &[1, 2], b"abc"));
    }
}
