//! Appending touchpoints: which shard, which stamp, and whether it is a repeat (rules 2 and 17).

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::books::{Books, key};
use super::{Appended, Entering, Entry, Refusal};
use crate::partitioner::Partitioner;
use crate::port::ShardId;
use crate::time::{Span, Timestamp};
use crate::touchpoint::IdentityKind;

/// For so long an id is remembered.
pub(super) const REMEMBERED_FOR: Span = Span::from_days(1);
/// Ids are kept by the part of the day they came in: what came lately lies together, and so does what is to be forgotten.
const BUCKET: Span = Span::from_secs(6 * 3_600);

/// The bucket of an instant.
pub(super) fn bucket(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(BUCKET.as_millis())
}

/// Appends a batch in the open transaction. The inner result is a refusal that has written nothing.
pub(super) fn append(
    transaction: &Connection,
    books: &mut Books,
    seed: u64,
    batch: &[Entry],
    entering: Entering,
    stamp: Timestamp,
) -> rusqlite::Result<Result<Appended, Refusal>> {
    if let Err(refusal) = admits(books, entering) {
        return Ok(Err(refusal));
    }
    let mut repeats = Repeats::new(transaction, books, stamp)?;
    let mut insert =
        transaction.prepare_cached("INSERT INTO touchpoints (id, stamped, history, value) VALUES (?1, ?2, ?3, ?4)")?;
    let mut appended = Appended::default();
    for entry in batch {
        if let Some(hash) = hash(entry, seed)
            && repeats.is_repeat(hash)?
        {
            appended.duplicates += 1;
            continue;
        }
        let shard = home(entry, books.shards.len() as u32);
        let book = &mut books.shards[shard as usize];
        // A history's touchpoint from the future would take stream time there; it enters as of now.
        let stamped = match entering {
            Entering::Live => stamp,
            Entering::History => entry.event_time.min(stamp).max(book.stamped),
        };
        let history = matches!(entering, Entering::History);
        insert.execute(params![key(shard, book.end), stamped.as_millis(), history, entry.value])?;
        book.stamped = stamped;
        book.end += 1;
        appended.accepted += 1;
    }
    Ok(Ok(appended))
}

fn admits(books: &Books, entering: Entering) -> Result<(), Refusal> {
    match (entering, books.loading) {
        (Entering::Live, false) | (Entering::History, true) => Ok(()),
        (Entering::Live, true) => {
            Err(Refusal::Loading("a history is being loaded; send this again when it has ended".to_owned()))
        }
        (Entering::History, false) => Err(Refusal::Loading(
            "no load of a history is open; begin one, then send its touchpoints in the order of their time".to_owned(),
        )),
    }
}

/// Where a touchpoint belongs; what has no identity goes where its bytes say.
fn home(entry: &Entry, shards: u32) -> ShardId {
    let key = entry.identity.as_ref().map_or(entry.value.as_slice(), |identity| identity.id.as_bytes());
    Partitioner::Murmur2.partition(key, shards).unwrap_or(0)
}

/// What a repeat has in common with its first: identity and id.
fn hash(entry: &Entry, seed: u64) -> Option<[u8; 16]> {
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
    Some(xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, seed).to_le_bytes())
}

/// The ids of the last 24 hours.
struct Repeats<'a> {
    earlier: Vec<i64>,
    now: i64,
    stamp: Timestamp,
    find: CachedStatement<'a>,
    note: CachedStatement<'a>,
}

impl<'a> Repeats<'a> {
    fn new(transaction: &'a Connection, books: &mut Books, stamp: Timestamp) -> rusqlite::Result<Self> {
        let (oldest, now) = (bucket(stamp - REMEMBERED_FOR), bucket(stamp));
        if books.buckets.last() != Some(&now) {
            books.buckets.push(now);
        }
        Ok(Repeats {
            earlier: books.buckets.iter().copied().filter(|bucket| (oldest..now).contains(bucket)).collect(),
            now,
            stamp,
            find: transaction.prepare_cached("SELECT 1 FROM seen WHERE bucket = ?1 AND hash = ?2 AND at > ?3")?,
            note: transaction.prepare_cached("INSERT OR IGNORE INTO seen (bucket, hash, at) VALUES (?1, ?2, ?3)")?,
        })
    }

    /// Says whether it is a repeat, and remembers it if it is none.
    fn is_repeat(&mut self, hash: [u8; 16]) -> rusqlite::Result<bool> {
        let since = (self.stamp - REMEMBERED_FOR).as_millis();
        for bucket in &self.earlier {
            if self.find.query_row(params![bucket, hash, since], |_| Ok(())).optional()?.is_some() {
                return Ok(true);
            }
        }
        Ok(self.note.execute(params![self.now, hash, self.stamp.as_millis()])? == 0)
    }
}
