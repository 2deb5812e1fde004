//! Appending touchpoints: which shard, which stamp, and whether it may enter now (rules 2 and 6).

use rusqlite::Connection;

use super::batches::{self, Drafts, Entered};
use super::books::Books;
use super::ids::Ids;
use super::{Appended, Entering, Entry, Refusal};
use crate::partitioner::Partitioner;
use crate::port::ShardId;
use crate::time::Timestamp;

/// Appends a batch in the open transaction. The inner result is a refusal that has written nothing.
pub(super) fn append(
    transaction: &Connection,
    (books, drafts): (&mut Books, &mut Drafts),
    ids: &mut Ids,
    batch: &[Entry],
    entering: Entering,
    stamp: Timestamp,
) -> rusqlite::Result<Result<Appended, Refusal>> {
    if let Err(refusal) = admits(books, entering) {
        return Ok(Err(refusal));
    }
    let mut appended = Appended::default();
    for entry in batch {
        if ids.is_repeat(transaction, entry, stamp)? {
            appended.duplicates += 1;
            continue;
        }
        let shard = home(entry, books.shards.len() as u32);
        // A history's touchpoint from the future would take stream time there; it enters as of now.
        let (stamped, entered) = match entering {
            Entering::Live => (stamp, Entered::Live),
            Entering::History => (entry.event_time.min(stamp).max(books.shards[shard as usize].stamped), Entered::History),
        };
        drafts.push(transaction, books, shard, batches::Entry { entered, stamped, value: &entry.value })?;
        appended.accepted += 1;
    }
    Ok(Ok(appended))
}

/// Appends to every shard that somebody is to be erased. While a history is loaded it enters with the latest touchpoint, so
/// that stream time stays there; a shard without any has nobody to erase.
pub(super) fn announce(
    transaction: &Connection,
    (books, drafts): (&mut Books, &mut Drafts),
    record: &[u8],
    stamp: Timestamp,
) -> rusqlite::Result<()> {
    let loading = books.loading;
    for shard in 0..books.shards.len() as ShardId {
        let stamped = if loading { books.shards[shard as usize].stamped } else { stamp };
        if stamped > Timestamp::MIN {
            let entry = batches::Entry { entered: Entered::Control, stamped, value: record };
            drafts.push(transaction, books, shard, entry)?;
        }
    }
    Ok(())
}

/// Appends to a shard what another hands to it. While a history is loaded it enters with the latest touchpoint, so that stream
/// time stays there.
pub(super) fn hand_over(
    transaction: &Connection,
    (books, drafts): (&mut Books, &mut Drafts),
    (shard, record): (ShardId, &[u8]),
    stamp: Timestamp,
) -> rusqlite::Result<()> {
    let latest = books.shards[shard as usize].stamped;
    let stamped = if books.loading && latest > Timestamp::MIN { latest } else { stamp };
    drafts.push(transaction, books, shard, batches::Entry { entered: Entered::Handed, stamped, value: record })
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
