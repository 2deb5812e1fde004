//! Customers as they lie in the store: each as its shard has packed it, with the words of the shard's dictionary beside.

use rusqlite::{Connection, params};

use super::books::Books;
use super::seal::{Seal, Sort, Unread, demand};
use crate::journey::Migration;
use crate::journey::packed::{identity_bytes, without_window};
use crate::port::ShardId;
use crate::shard::Customers;

/// What a state begins with: the layout of what follows. Up to 3, states had their words with them (`wire::state`).
const LAYOUT: u8 = 4;
/// Layout and check stand before the packed customer.
pub(super) const HEAD: usize = 9;

/// The check of a packed customer of a shard.
pub(super) fn check(seal: Seal, shard: ShardId, packed: &[u8]) -> u64 {
    seal.of(Sort::Customer, &[shard.into(), LAYOUT.into()], packed)
}

/// What a packed customer adds to the sum of its shard: a check without its window, which a shard drops without a word.
pub(super) fn share(seal: Seal, shard: ShardId, packed: &[u8]) -> u64 {
    check(seal, shard, without_window(packed).unwrap_or(packed))
}

/// Appends the state of a packed customer; returns its share.
pub(super) fn write(seal: Seal, shard: ShardId, packed: &[u8], state: &mut Vec<u8>) -> u64 {
    let check = check(seal, shard, packed);
    state.push(LAYOUT);
    state.extend_from_slice(&check.to_le_bytes());
    state.extend_from_slice(packed);
    match without_window(packed) {
        Ok(without) if without.len() < packed.len() => self::check(seal, shard, without),
        Ok(_) | Err(_) => check,
    }
}

/// The check that a state carries.
fn written_check(state: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*state.get(1..HEAD)?.first_chunk()?))
}

/// The share of a state as it was written.
pub(super) fn written_share(seal: Seal, shard: ShardId, state: &[u8]) -> Option<u64> {
    state.get(HEAD..).map(|packed| share(seal, shard, packed))
}

/// The share and the packed customer of a state, whose check has passed.
fn read(seal: Seal, shard: ShardId, state: &[u8]) -> Option<(u64, &[u8])> {
    let (written, packed) = (written_check(state)?, &state[HEAD..]);
    (state[0] == LAYOUT && check(seal, shard, packed) == written).then(|| (share(seal, shard, packed), packed))
}

/// The check of a word.
pub(super) fn word_check(seal: Seal, shard: ShardId, number: u32, text: &str) -> u64 {
    seal.of(Sort::Word, &[shard.into(), number.into()], text.as_bytes())
}

/// Names a row without a customer's id (rule 27).
fn shown(shard: ShardId, key: &[u8]) -> String {
    format!("partition {shard}, customer with hash {:016x}", xxhash_rust::xxh3::xxh3_64(key))
}

/// What is wrong with a shard's customers, and how many bytes their states have.
pub(super) struct Seen {
    pub(super) customers: Customers,
    pub(super) bytes: u64,
    pub(super) faults: Vec<String>,
}

/// Reads all customers of a shard, and says what is wrong with them; `sum` is what their checks come to.
pub(super) fn look(connection: &Connection, seal: Seal, shard: ShardId, sum: u64) -> Result<Seen, Unread> {
    let mut seen = Seen { customers: Customers::default(), bytes: 0, faults: Vec::new() };
    let mut found = 0_u64;
    let mut words = connection.prepare_cached("SELECT number, text FROM words WHERE shard = ?1 ORDER BY number")?;
    let mut rows = words.query([shard])?;
    while let Some(row) = rows.next()? {
        let number: u32 = row.get(0)?;
        let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        found = found.wrapping_add(word_check(seal, shard, number, text));
        if seen.customers.words_mut().learn(number, text).is_err() {
            seen.faults.push(format!("partition {shard}, word {number}: it does not fit"));
        }
    }
    let mut states = connection.prepare_cached("SELECT identity, state FROM customers WHERE shard = ?1")?;
    let mut rows = states.query([shard])?;
    while let Some(row) = rows.next()? {
        let blob = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
        let (key, state) = (blob(0)?, blob(1)?);
        seen.bytes += state.len() as u64;
        let Some((share, packed)) = read(seal, shard, state) else {
            seen.faults.push(format!("{}: the state is not what was written", shown(shard, key)));
            continue;
        };
        found = found.wrapping_add(share);
        if identity_bytes(packed) != Ok(key) || seen.customers.restore_packed(packed).is_err() {
            seen.faults.push(format!("{}: the state is another customer's", shown(shard, key)));
        }
    }
    if found != sum {
        seen.faults.push(format!("partition {shard}: its customers are not those that were committed"));
    } else if seen.faults.is_empty() && seen.customers.check().is_err() {
        seen.faults.push(format!("partition {shard}: a customer's state cannot be read"));
    }
    Ok(seen)
}

/// Reads all customers of a shard, whose checks come to `sum`.
pub(super) fn restore(connection: &Connection, seal: Seal, shard: ShardId, sum: u64) -> Result<Customers, Unread> {
    let Seen { customers, faults, .. } = look(connection, seal, shard, sum)?;
    demand(faults.is_empty(), || faults.join("; "))?;
    Ok(customers)
}

/// Puts these customers in the place of all that a shard has; returns what their checks come to.
pub(super) fn replace(transaction: &Connection, seal: Seal, shard: ShardId, customers: &Customers) -> rusqlite::Result<u64> {
    transaction.execute("DELETE FROM customers WHERE shard = ?1", [shard])?;
    transaction.execute("DELETE FROM words WHERE shard = ?1", [shard])?;
    let mut sum = 0_u64;
    let mut insert = transaction.prepare_cached("INSERT INTO words (shard, number, text) VALUES (?1, ?2, ?3)")?;
    for (number, text) in customers.words().after(0) {
        insert.execute(params![shard, number, text])?;
        sum = sum.wrapping_add(word_check(seal, shard, number, text));
    }
    let mut insert = transaction.prepare_cached("INSERT INTO customers (shard, identity, state) VALUES (?1, ?2, ?3)")?;
    let (mut state, mut ended) = (Vec::new(), Ok(()));
    customers.each_packed(|packed| {
        state.clear();
        sum = sum.wrapping_add(write(seal, shard, packed, &mut state));
        // What is in a shard says whose it is.
        let key = identity_bytes(packed).unwrap_or_default();
        if ended.is_ok() {
            ended = insert.execute(params![shard, key, state]).map(drop);
        }
    });
    ended.map(|()| sum)
}

/// Brings all customers over to other models.
pub(super) fn migrate(transaction: &Connection, seal: Seal, books: &mut Books, migration: &Migration) -> Result<(), Unread> {
    for (shard, book) in (0..).zip(&mut books.shards) {
        let mut customers = restore(transaction, seal, shard, book.state)?;
        let revised = customers.revise(|customer| migration.migrate(customer));
        demand(revised.is_ok(), || format!("partition {shard}: a customer's state cannot be read"))?;
        book.state = replace(transaction, seal, shard, &customers)?;
    }
    Ok(())
}
