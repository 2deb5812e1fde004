//! The ids of the last 24 hours, by which repeats are dropped (rule 17).
//!
//! Hashes fall anywhere, so a table keyed by them costs a page per id. Measured, that was five sixths of an append. Ids are
//! therefore kept twice: the latest in memory, and in the store in the order they came (a few bytes each); from time to time
//! these are sorted and folded into the keyed table, where many then share a page. Each append folds a part, so that none
//! stalls.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::Entry;
use super::books::Books;
use super::seal::{Seal, Sort, Unread, demand};
use crate::time::{Span, Timestamp};
use crate::touchpoint::IdentityKind;

/// For so long an id is remembered.
const REMEMBERED_FOR: Span = Span::from_days(1);
/// Ids are kept by the part of the day they came in, so that what is to be forgotten lies together.
const BUCKET: Span = Span::from_secs(6 * 3_600);
/// So many ids in memory are folded into the table.
const FOLD: usize = 1 << 17;
/// So many in this crate's own tests, so that ids are folded there.
const TEST_FOLD: usize = 300;
/// At least so many ids are folded along with an append; twice as many as it brings, if that is more.
const FOLD_SLICE: usize = 1_000;
const HASH_BYTES: usize = 16;

/// What is being folded: ids by bucket and hash, and how many have been.
#[derive(Debug, Default)]
struct Folding {
    order: Vec<(i64, u128)>,
    ids: HashMap<u128, Timestamp>,
    done: usize,
    /// Rows up to this one hold them; the sum of their checks.
    last_row: i64,
    sum: u64,
}

/// What the open transaction changes.
#[derive(Debug, Default)]
struct Open {
    added: Vec<u128>,
    /// The check of the row that holds them.
    check: u64,
    folded: usize,
    buckets: Vec<i64>,
}

/// The ids.
#[derive(Debug)]
pub(super) struct Ids {
    /// Keeps others from choosing ids whose hashes are the same, too.
    seal: Seal,
    fresh: HashMap<u128, Timestamp>,
    folding: Option<Folding>,
    /// Buckets in the table, oldest first.
    buckets: Vec<i64>,
    last_row: i64,
    /// The sum of the checks of the rows that hold `fresh`.
    sum: u64,
    open: Open,
    /// So many make a fold; smaller in tests.
    fold: usize,
}

/// What a repeat has in common with its first: identity and id. `None` for what carries no id.
fn hash(entry: &Entry, seed: u64) -> Option<u128> {
    let id = entry.id.as_ref()?;
    let (kind, whose) = match &entry.identity {
        None => (b'-', ""),
        Some(identity) => match identity.kind {
            IdentityKind::Customer => (b'c', identity.id.as_str()),
            IdentityKind::Anonymous => (b'a', identity.id.as_str()),
        },
    };
    let mut bytes = Vec::with_capacity(9 + whose.len() + id.len());
    bytes.push(kind);
    bytes.extend_from_slice(&(whose.len() as u64).to_le_bytes());
    bytes.extend_from_slice(whose.as_bytes());
    bytes.extend_from_slice(id.as_bytes());
    Some(xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, seed))
}

fn bucket(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(BUCKET.as_millis())
}

impl Ids {
    /// Reads what is not folded yet.
    pub(super) fn load(connection: &Connection, seal: Seal, books: &Books) -> Result<Self, Unread> {
        let (mut fresh, mut last_row, mut sum) = (HashMap::new(), 0, 0_u64);
        let mut statement = connection.prepare("SELECT row, at, sum, hashes FROM fresh ORDER BY row")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, at, check): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let hashes = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
            let due = seal.of(Sort::Fresh, &[number, at], hashes);
            demand(due == check.cast_unsigned(), || format!("row {number} of the latest ids is not what was written"))?;
            (last_row, sum) = (number, sum.wrapping_add(due));
            for hash in hashes.as_chunks::<HASH_BYTES>().0 {
                fresh.insert(u128::from_be_bytes(*hash), Timestamp::from_millis(at));
            }
        }
        demand(sum == books.fresh, || "the latest ids are not those that were committed".to_owned())?;
        let buckets = buckets(connection)?;
        let fold = if cfg!(test) { TEST_FOLD } else { FOLD };
        Ok(Ids { seal, fresh, folding: None, buckets, last_row, sum, open: Open::default(), fold })
    }

    /// Whether the ids that are folded are those that were committed. It takes its time, and only `verify` takes it: an id that
    /// is not found any more lets a repeat through, which the customer's own latest ids still stop.
    pub(super) fn check_folded(connection: &Connection, seal: Seal, books: &Books) -> Result<(), Unread> {
        let mut sum = 0_u64;
        let mut statement = connection.prepare("SELECT bucket, hash, at FROM seen")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let hash = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            sum = sum.wrapping_add(seal.of(Sort::Seen, &[row.get(0)?, row.get(2)?], hash));
        }
        demand(sum == books.seen, || "the ids of the last day are not those that were committed".to_owned())
    }

    /// Says whether this is a repeat, and remembers it if it is none.
    pub(super) fn is_repeat(&mut self, transaction: &Connection, entry: &Entry, stamp: Timestamp) -> rusqlite::Result<bool> {
        let Some(hash) = hash(entry, self.seal.0) else { return Ok(false) };
        let since = stamp - REMEMBERED_FOR;
        let known = |ids: &HashMap<u128, Timestamp>| ids.get(&hash).is_some_and(|at| *at > since);
        if known(&self.fresh) || self.folding.as_ref().is_some_and(|folding| known(&folding.ids)) {
            return Ok(true);
        }
        let oldest = bucket(since);
        for bucket in self.buckets.iter().rev().take_while(|bucket| **bucket >= oldest) {
            let mut find = transaction.prepare_cached("SELECT 1 FROM seen WHERE bucket = ?1 AND hash = ?2 AND at > ?3")?;
            let found = find.query_row(params![bucket, hash.to_be_bytes(), since.as_millis()], |_| Ok(())).optional()?;
            if found.is_some() {
                return Ok(true);
            }
        }
        self.fresh.insert(hash, stamp);
        self.open.added.push(hash);
        Ok(false)
    }

    /// Writes what the transaction added, and folds a part of what came before.
    pub(super) fn save(&mut self, transaction: &Connection, books: &mut Books, stamp: Timestamp) -> rusqlite::Result<()> {
        if self.open.added.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = self.open.added.iter().flat_map(|hash| hash.to_be_bytes()).collect();
        let (row, at) = (self.last_row + 1, stamp.as_millis());
        self.open.check = self.seal.of(Sort::Fresh, &[row, at], &bytes);
        books.fresh = books.fresh.wrapping_add(self.open.check);
        let mut note = transaction.prepare_cached("INSERT INTO fresh (row, at, sum, hashes) VALUES (?1, ?2, ?3, ?4)")?;
        note.execute(params![row, at, self.open.check.cast_signed(), bytes])?;
        let Some(folding) = &self.folding else { return Ok(()) };
        let slice = &folding.order[folding.done..];
        let slice = &slice[..slice.len().min(FOLD_SLICE.max(2 * self.open.added.len()))];
        // A fold that was cut off by a restart begins again: what it has done already is ignored.
        let mut fold = transaction.prepare_cached("INSERT OR IGNORE INTO seen (bucket, hash, at) VALUES (?1, ?2, ?3)")?;
        for (bucket, hash) in slice {
            let at = folding.ids.get(hash).map_or(0, |at| at.as_millis());
            let hash = hash.to_be_bytes();
            if fold.execute(params![bucket, hash, at])? > 0 {
                books.seen = books.seen.wrapping_add(self.seal.of(Sort::Seen, &[*bucket, at], &hash));
            }
            if self.open.buckets.last() != Some(bucket) {
                self.open.buckets.push(*bucket);
            }
        }
        self.open.folded = slice.len();
        if folding.done + slice.len() == folding.order.len() {
            transaction.execute("DELETE FROM fresh WHERE row <= ?1", [folding.last_row])?;
            books.fresh = books.fresh.wrapping_sub(folding.sum);
        }
        Ok(())
    }

    /// The transaction is durable.
    pub(super) fn committed(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.last_row += i64::from(!open.added.is_empty());
        self.sum = self.sum.wrapping_add(open.check);
        self.buckets.extend(open.buckets);
        self.buckets.sort_unstable();
        self.buckets.dedup();
        if let Some(folding) = &mut self.folding {
            folding.done += open.folded;
        }
        if self.folding.as_ref().is_some_and(|folding| folding.done == folding.order.len()) {
            self.folding = None;
        }
        if self.folding.is_none() && self.fresh.len() >= self.fold {
            let ids = std::mem::take(&mut self.fresh);
            let mut order: Vec<(i64, u128)> = ids.iter().map(|(hash, at)| (bucket(*at), *hash)).collect();
            order.sort_unstable();
            let sum = std::mem::take(&mut self.sum);
            self.folding = Some(Folding { order, ids, done: 0, last_row: self.last_row, sum });
        }
    }

    /// The transaction was rolled back.
    pub(super) fn undone(&mut self) {
        for hash in std::mem::take(&mut self.open).added {
            self.fresh.remove(&hash);
        }
    }

    /// Forgets at most `slice` ids of the oldest bucket that is past; says how many, and which bucket is empty now.
    pub(super) fn prune(
        &self,
        transaction: &Connection,
        books: &mut Books,
        now: Timestamp,
        slice: i64,
    ) -> rusqlite::Result<(i64, Option<i64>)> {
        let oldest = bucket(now - REMEMBERED_FOR);
        let Some(bucket) = self.buckets.first().copied().filter(|bucket| *bucket < oldest) else { return Ok((0, None)) };
        let mut delete = transaction.prepare_cached(
            "DELETE FROM seen WHERE bucket = ?1 AND hash IN (SELECT hash FROM seen WHERE bucket = ?1 ORDER BY hash LIMIT ?2) \
             RETURNING hash, at",
        )?;
        let mut rows = delete.query(params![bucket, slice])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let check = self.seal.of(Sort::Seen, &[bucket, row.get(1)?], row.get_ref(0)?.as_blob()?);
            books.seen = books.seen.wrapping_sub(check);
            count += 1;
        }
        Ok((count, (count < slice).then_some(bucket)))
    }

    /// A bucket is empty.
    pub(super) fn emptied(&mut self, bucket: i64) {
        self.buckets.retain(|known| *known != bucket);
    }
}

/// The buckets there are, found by leaps: a look at every row would take its time.
fn buckets(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut next = connection.prepare("SELECT min(bucket) FROM seen WHERE bucket > ?1")?;
    let mut buckets = Vec::new();
    while let Some(bucket) =
        next.query_row([buckets.last().copied().unwrap_or(i64::MIN)], |row| row.get::<_, Option<i64>>(0))?
    {
        buckets.push(bucket);
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::touchpoint::Identity;

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().expect("opened");
        connection.execute_batch(super::super::tables::TABLES).expect("made");
        connection.execute_batch(super::super::tables::OLDER_TABLES).expect("made");
        connection
    }

    /// Against a plain map, through commits, rollbacks, restarts and days.
    #[test]
    fn ids_are_known_for_a_day_wherever_they_are_kept() {
        let connection = connection();
        let load = |books: &Books| Ids { fold: 3_000, ..Ids::load(&connection, Seal(7), books).expect("loaded") };
        let mut books = Books::default();
        let (mut ids, mut oracle, mut dice) = (load(&books), HashMap::<u64, i64>::new(), 1_u64);
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let (mut hours, mut folds, mut repeats) = (0, 0, 0);
        for round in 0..300 {
            hours += roll(2) as i64;
            let (stamp, since) = (Timestamp::from_millis(hours * 3_600_000), (hours - 24) * 3_600_000);
            connection.execute_batch("BEGIN").expect("begun");
            let mut after = oracle.clone();
            for _ in 0..roll(400) {
                let number = roll(40_000);
                let entry = Entry {
                    identity: Some(Identity::customer("c")),
                    id: Some(number.to_string().into()),
                    event_time: stamp,
                    value: Vec::new(),
                };
                let expected = after.get(&number).is_some_and(|at| *at > since);
                let repeat = ids.is_repeat(&connection, &entry, stamp).expect("looked up");
                assert_eq!(repeat, expected, "{number} in round {round}");
                repeats += u32::from(repeat);
                if !repeat {
                    after.insert(number, stamp.as_millis());
                }
            }
            let before = books.clone();
            ids.save(&connection, &mut books, stamp).expect("saved");
            if roll(5) == 0 {
                connection.execute_batch("ROLLBACK").expect("undone");
                ids.undone();
                books = before;
            } else {
                connection.execute_batch("COMMIT").expect("committed");
                let folding = ids.folding.is_some();
                ids.committed();
                folds += u32::from(folding && ids.folding.is_none());
                oracle = after;
            }
            let (_, emptied) = ids.prune(&connection, &mut books, stamp, 500).expect("pruned");
            emptied.into_iter().for_each(|bucket| ids.emptied(bucket));
            if roll(20) == 0 {
                ids = load(&books);
                Ids::check_folded(&connection, Seal(7), &books).expect("all that were committed, and no others");
            }
        }
        assert!(folds > 5 && repeats > 1_000, "{folds} folds, {repeats} repeats");
        let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counted");
        assert!(count("SELECT count(*) FROM fresh") < 100, "folded rows are gone");
        connection.execute("DELETE FROM seen WHERE hash IN (SELECT hash FROM seen LIMIT 1)", []).expect("deleted");
        assert!(Ids::check_folded(&connection, Seal(7), &books).is_err(), "one that is gone is missed");
        assert!(hours > 100 && count("SELECT count(DISTINCT bucket) FROM seen") < 8, "past buckets are gone");
    }

    #[test]
    fn only_the_same_id_of_the_same_identity_is_a_repeat() {
        let entry = |identity: Option<Identity>, id: &str| Entry {
            identity,
            id: Some(id.into()),
            event_time: Timestamp::MIN,
            value: Vec::new(),
        };
        let customer = |id: &str| Some(Identity::customer(id));
        let different = [
            entry(customer("ab"), "c"),
            entry(customer("a"), "bc"),
            entry(Some(Identity::anonymous("ab")), "c"),
            entry(None, "c"),
            entry(customer(""), "abc"),
        ];
        let mut hashes: Vec<_> = different.iter().map(|entry| hash(entry, 1)).collect();
        assert_eq!(hash(&different[0].clone(), 1), hashes[0]);
        assert_ne!(hash(&different[0], 2), hashes[0], "nobody outside knows the seed");
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), different.len());
    }
}
