//! Appending touchpoints: which shard, which stamp, and whether it may enter now (rules 2 and 6).

use rusqlite::{Connection, params};

use super::books::{Books, key};
use super::ids::Ids;
use super::{Appended, Entering, Entry, Refusal};
use crate::partitioner::Partitioner;
use crate::port::ShardId;
use crate::time::Timestamp;

/// In the column `history` of a row that is no touchpoint but asks for somebody to be erased.
pub(super) const CONTROL: i64 = 2;

/// Appends a batch in the open transaction. The inner result is a refusal that has written nothing.
pub(super) fn append(
    transaction: &Connection,
    books: &mut Books,
    ids: &mut Ids,
    batch: &[Entry],
    entering: Entering,
    stamp: Timestamp,
) -> rusqlite::Result<Result<Appended, Refusal>> {
    if let Err(refusal) = admits(books, entering) {
        return Ok(Err(refusal));
    }
    let mut insert =
        transaction.prepare_cached("INSERT INTO touchpoints (id, stamped, history, value) VALUES (?1, ?2, ?3, ?4)")?;
    let mut appended = Appended::default();
    for entry in batch {
        if ids.is_repeat(transaction, entry, stamp)? {
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

/// Appends to every shard that somebody is to be erased. While a history is loaded it enters with the latest touchpoint, so
/// that stream time stays there; a shard without any has nobody to erase.
pub(super) fn announce(
    transaction: &Connection,
    books: &mut Books,
    record: &[u8],
    stamp: Timestamp,
) -> rusqlite::Result<()> {
    let loading = books.loading;
    let mut insert =
        transaction.prepare_cached("INSERT INTO touchpoints (id, stamped, history, value) VALUES (?1, ?2, ?3, ?4)")?;
    for (shard, book) in (0..).zip(&mut books.shards) {
        let stamped = if loading { book.stamped } else { stamp };
        if stamped > Timestamp::MIN {
            insert.execute(params![key(shard, book.end), stamped.as_millis(), CONTROL, record])?;
            book.stamped = stamped;
            book.end += 1;
        }
    }
    Ok(())
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
