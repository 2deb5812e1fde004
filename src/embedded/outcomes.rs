//! Reading outcomes: each as it was written, and none left out.

use rusqlite::Connection;

use super::Stored;
use super::books::Books;
use super::seal::{Seal, Sort, Unread, demand};

/// The check of an outcome's row.
pub(super) fn check(seal: Seal, position: i64, at: i64, topic: &str, stale: bool, value: &[u8]) -> u64 {
    let topic = seal.of(Sort::Outcome, &[], topic.as_bytes());
    seal.of(Sort::Outcome, &[position, at, i64::from(stale), topic.cast_signed()], value)
}

/// The outcomes after a position, as of one commit: at most so many of them, and so many bytes; what brings them there is the
/// last.
pub(super) fn read_after(
    connection: &Connection,
    seal: Seal,
    position: u64,
    most: (usize, usize),
) -> Result<Vec<Stored>, Unread> {
    // Numbers and rows as of one commit: retention may be at work.
    let transaction = connection.unchecked_transaction()?;
    let books = Books::load_numbers(&transaction, seal)?;
    read(&transaction, seal, &books, position, most)
}

/// The same, where the numbers are known.
pub(super) fn read(
    connection: &Connection,
    seal: Seal,
    books: &Books,
    position: u64,
    (limit, most_bytes): (usize, usize),
) -> Result<Vec<Stored>, Unread> {
    let mut statement = connection.prepare_cached(
        "SELECT position, at, topic, stale, sum, value FROM outcomes WHERE position > ?1 ORDER BY position LIMIT ?2",
    )?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((i64::try_from(position).unwrap_or(i64::MAX), most))?;
    let (mut outcomes, mut bytes): (Vec<Stored>, usize) = (Vec::new(), 0);
    let mut next = books.outcomes_from.max(position.saturating_add(1));
    while let Some(row) = rows.next()? {
        let (found, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        demand(found.cast_unsigned() == next, || missing(next))?;
        let (topic, stale) = (row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?, row.get(3)?);
        let (sum, value): (i64, &[u8]) = (row.get(4)?, row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?);
        let passes = check(seal, found, at, topic, stale, value) == sum.cast_unsigned();
        demand(passes, || format!("outcome {next} is not what was written"))?;
        bytes += value.len();
        outcomes.push(Stored { position: next, topic: topic.to_owned(), value: value.to_vec(), stale });
        next += 1;
        if bytes >= most_bytes {
            return Ok(outcomes);
        }
    }
    demand(outcomes.len() == limit || next > books.published, || missing(next))?;
    Ok(outcomes)
}

fn missing(position: u64) -> String {
    format!("outcome {position} is missing")
}
