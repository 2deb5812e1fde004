//! What the state log is made of: pages, one or a few per shard and commit, each with a version and a checksum.
//!
//! All pages of a commit stand in one transaction with its outcomes and offsets. The last one says how far the shard had
//! come; the others only hold customers. Reading pages in order, the latest that is said of each customer is the shard's state.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state;
use crate::journey::packed::{self, identity_of};
use crate::journey::{ChangeV2, CustomerV2};
use crate::model::Model;
use crate::shard::Progress;
use crate::touchpoint::Identity;

/// The version of a page's layout: magic, version, checksum of the rest, how many bytes belong to an entry that began on a
/// page before, head, then entries, each with its length; the last may go on on the next page. An entry is a packed customer
/// or, where the length has its top bit set ([`GONE`]), the key of a customer who is gone, or, where it has the next one set
/// ([`CHANGED`]), how the packed customer follows from what was last said of it, or, where it has both ([`WORD`]), a word of
/// the dictionary by its number. Since version 6 a customer can have a window, since version 7 a redirect and links with times,
/// since version 8 sums in episodes, things that count once, and absences that are told again, since version 9 contacts,
/// since version 10 exposures, and a row of the shard itself with what was measured, since version 11 interventions that wait.
const VERSION: u8 = 11;
/// The oldest version that is read. In version 3 an entry of a customer was the whole state always; until version 4 a state and
/// a change stood in postcard, and there was no dictionary; until version 5 packed customers ended without what came to be kept
/// later.
const OLDEST: u8 = 2;
/// From this version on customers are packed.
const PACKED: u8 = 5;
/// Before this version the head had no `retain_from`, the checksum left the version out, and nobody was ever gone.
const HEADED: u8 = 3;
/// In the length of an entry: it holds a customer's key alone.
const GONE: u32 = 1 << 31;
/// In the length of an entry: it holds a change.
const CHANGED: u32 = 1 << 30;
/// In the length of an entry: it holds a word's number, four bytes, and the word.
const WORD: u32 = GONE | CHANGED;
const MAGIC: [u8; 3] = *b"SLG";
/// Magic, version and checksum stand before the rest.
const PREFIX: usize = 8;
/// A page holds so many bytes of customers at most: whoever does not fit goes on on the next, so that no customer, however
/// large, makes a page that brokers refuse.
pub const FULL: usize = 512 * 1024;

/// What stands at the beginning of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its place among the pages of that commit, from 0.
    pub part: u32,
    /// How many partitions the inputs have (rule 26).
    pub partitions: u32,
    /// The names of the inputs, in the order of the positions; on the last page of a commit only.
    pub inputs: Vec<String>,
    /// The names and versions of the models that the state is about, in order, and what must stay the same in them; on the last
    /// page of a commit only.
    pub models: Vec<Mark>,
    /// How far the shard had come; on the last page of a commit only.
    pub progress: Option<Progress>,
    /// Names the attempt to commit, so that it can be told from another.
    pub attempt: String,
    /// The log is needed from this commit on once this page is in it; 0 where nobody knows. A log that begins later has lost
    /// its head to somebody else.
    pub retain_from: u64,
}

/// A head as version 2 wrote it.
#[derive(Deserialize)]
struct HeadBefore {
    part: u32,
    partitions: u32,
    inputs: Vec<String>,
    models: Vec<Mark>,
    progress: Option<Progress>,
    attempt: String,
}

impl From<HeadBefore> for Head {
    fn from(head: HeadBefore) -> Self {
        let HeadBefore { part, partitions, inputs, models, progress, attempt } = head;
        Head { part, partitions, inputs, models, progress, attempt, retain_from: 0 }
    }
}

/// A model as the state log names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: u32,
    /// What running journeys refer to (`Model::structure`); empty for a model that is gone for good.
    pub structure: String,
}

impl Mark {
    /// How the state log names a model.
    pub fn of(model: &Model) -> Self {
        Mark { name: model.name.to_string(), version: model.version, structure: model.structure() }
    }

    /// What is said of the models that run, and of those that are gone for good.
    pub fn all(running: &[Arc<Model>], retired: &[String]) -> Vec<Self> {
        let running = running.iter().map(|model| Mark::of(model));
        running.chain(retired.iter().map(|name| Mark::retired(name))).collect()
    }

    /// Says that a model is gone for good, and its journeys with it: those who read on need not miss it.
    pub fn retired(name: &str) -> Self {
        Mark { name: name.to_owned(), version: 0, structure: String::new() }
    }

    /// Whether it says so.
    pub fn is_retired(&self) -> bool {
        self.structure.is_empty()
    }
}

/// A page as read.
#[derive(Debug)]
pub struct Page {
    /// The version of its layout.
    pub version: u8,
    /// Its head.
    pub head: Head,
    /// The end, or a further part, of an entry that began on a page before.
    pub carried: Vec<u8>,
    /// What it says of customers, in the order it was written.
    pub entries: Vec<Entry>,
    /// The beginning of an entry that goes on on the next page.
    pub open: Vec<u8>,
}

/// What a page says of a customer.
#[derive(Debug)]
pub enum Entry {
    /// The customer as packed.
    Customer(Vec<u8>),
    /// How that follows from the one before.
    Changed(Vec<u8>),
    /// The customer is gone.
    Gone(Identity),
    /// A word of the dictionary.
    Word(u32, String),
    /// The customer's state, as written before version 5.
    CustomerV2(Box<CustomerV2>),
    /// How it follows from the one before, as written in version 4.
    ChangedV2(Box<ChangeV2>),
}

/// An entry put together of pieces from pages of this version; `None` where some are still to come.
///
/// # Errors
/// What is wrong with the bytes, and what to do.
pub fn joined(version: u8, pieces: &[u8]) -> Result<Option<Entry>, String> {
    match first(pieces) {
        Some((one, [])) => one.read(version).map(Some),
        Some(_) => Err("a page of the state log holds more of a customer than there is".to_owned()),
        None => Ok(None),
    }
}

/// An entry's bytes, and what they are.
struct Raw<'a> {
    bytes: &'a [u8],
    flags: u32,
}

impl Raw<'_> {
    fn read(&self, version: u8) -> Result<Entry, String> {
        let strange = || "an entry of the state log is of no known sort".to_owned();
        match (self.flags, version >= PACKED) {
            (0, true) => self.packed().map(Entry::Customer),
            (CHANGED, true) => self.packed().map(Entry::Changed),
            (WORD, true) => self.word().ok_or_else(strange),
            (0, false) => state::decode_postcard(self.bytes).map(|customer| Entry::CustomerV2(Box::new(customer))),
            (CHANGED, false) => state::decode_postcard(self.bytes).map(|change| Entry::ChangedV2(Box::new(change))),
            (GONE, _) => state::identity(self.bytes).map(Entry::Gone),
            (_, _) => Err(strange()),
        }
    }

    fn packed(&self) -> Result<Vec<u8>, String> {
        identity_of(self.bytes).map_err(|_| "an entry of the state log does not say whose it is".to_owned())?;
        Ok(self.bytes.to_vec())
    }

    fn word(&self) -> Option<Entry> {
        let (number, text) = self.bytes.split_first_chunk::<4>()?;
        Some(Entry::Word(u32::from_le_bytes(*number), std::str::from_utf8(text).ok()?.to_owned()))
    }
}

/// The first entry and what follows; `None` where that goes on elsewhere.
fn first(entries: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let (length, after) = entries.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let (bytes, after) = after.split_at_checked((length & !(GONE | CHANGED)) as usize)?;
    Some((Raw { bytes, flags: length & (GONE | CHANGED) }, after))
}

/// The entries of a page being written.
#[derive(Debug, Default)]
pub struct Draft {
    entries: Vec<u8>,
    /// How many bytes at the beginning belong to an entry that began on a page before.
    carried: usize,
}

impl Draft {
    /// Adds a packed customer; returns its bytes.
    ///
    /// # Errors
    /// Only where the customer fills a gibibyte.
    pub fn add(&mut self, packed: &[u8]) -> Result<usize, String> {
        self.entry(0, |bytes| {
            bytes.extend_from_slice(packed);
            Ok(())
        })
    }

    /// Adds how a packed customer follows from what the log last said of it; returns its bytes.
    ///
    /// # Errors
    /// Bytes that are no packed customer, or the customer fills a gibibyte.
    pub fn add_change(&mut self, before: &[u8], now: &[u8]) -> Result<usize, String> {
        self.entry(CHANGED, |bytes| {
            packed::difference(before, now, bytes).map_err(|_| "a customer's packed state cannot be read".to_owned())
        })
    }

    /// Adds a word of the dictionary; returns its bytes.
    ///
    /// # Errors
    /// Never: a word is short.
    pub fn add_word(&mut self, number: u32, text: &str) -> Result<usize, String> {
        self.entry(WORD, |bytes| {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
            Ok(())
        })
    }

    /// Adds that a customer is gone; returns its bytes.
    ///
    /// # Errors
    /// Only where memory ends, or the customer fills a gibibyte.
    pub fn add_gone(&mut self, who: &Identity) -> Result<usize, String> {
        self.entry(GONE, |bytes| {
            state::key(who, bytes);
            Ok(())
        })
    }

    fn entry(&mut self, flags: u32, write: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) -> Result<usize, String> {
        let begin = self.entries.len();
        self.entries.extend_from_slice(&[0; 4]);
        let written = write(&mut self.entries).and_then(|()| {
            let length = self.entries.len() - begin - 4;
            // Further up are the flags.
            let fits = u32::try_from(length).ok().filter(|length| length & (GONE | CHANGED) == 0);
            fits.ok_or_else(|| format!("{length} bytes are said of a customer, more than the state log can hold"))
        });
        if written.is_err() {
            self.entries.truncate(begin);
        }
        let length = written?;
        self.entries[begin..begin + 4].copy_from_slice(&(length | flags).to_le_bytes());
        Ok(length as usize + 4)
    }

    /// Whether it should be sent before anything is added.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= FULL
    }

    /// Ends the page, and begins the next. To be called for a page that is full before anything is added, so that only the
    /// customer added last can go on on the next.
    ///
    /// # Errors
    /// Only where memory ends.
    pub fn finish(&mut self, head: &Head) -> Result<Vec<u8>, String> {
        let taken = self.entries.len().min(FULL);
        let mut page = Vec::with_capacity(taken + 256);
        page.extend_from_slice(&MAGIC);
        page.push(VERSION);
        page.extend_from_slice(&[0; 4]);
        page.extend_from_slice(&(self.carried.min(taken) as u32).to_le_bytes());
        postcard::to_io(head, &mut page).map_err(|error| format!("cannot write a page of the state log: {error}"))?;
        page.extend(self.entries.drain(..taken));
        self.carried = self.entries.len();
        let checksum = checksum(VERSION, &page[PREFIX..]);
        page[PREFIX - 4..PREFIX].copy_from_slice(&checksum.to_le_bytes());
        Ok(page)
    }
}

/// The version is part of it since version 3, so that damage does not make a page of one version one of another.
fn checksum(version: u8, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    if version >= HEADED {
        hasher.update(&[version]);
    }
    hasher.update(rest);
    hasher.finalize()
}

/// Reads a page.
///
/// # Errors
/// What is wrong with the bytes, and what to do.
pub fn read(bytes: &[u8]) -> Result<Page, String> {
    let Some((prefix, rest)) = bytes.split_at_checked(PREFIX) else {
        return Err("a page of the state log is cut off".to_owned());
    };
    if prefix[..3] != MAGIC {
        return Err("this is no page of a state log; is the topic used by something else?".to_owned());
    }
    if !(OLDEST..=VERSION).contains(&prefix[3]) {
        return Err(format!(
            "a page of the state log has version {}, and this Sillage knows versions {OLDEST} to {VERSION}; \
             use the Sillage that wrote it",
            prefix[3]
        ));
    }
    if prefix[4..] != checksum(prefix[3], rest).to_le_bytes() {
        return Err("a page of the state log is damaged (its checksum is wrong)".to_owned());
    }
    let cut = || "a page of the state log is cut off".to_owned();
    let (carried, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let head = match prefix[3] {
        version if version < HEADED => {
            postcard::take_from_bytes::<HeadBefore>(rest).map(|(head, rest)| (Head::from(head), rest))
        }
        _ => postcard::take_from_bytes::<Head>(rest),
    };
    let (head, rest) = head.map_err(|error| format!("a page of the state log cannot be read: {error}"))?;
    let (carried, mut rest) = rest.split_at_checked(u32::from_le_bytes(*carried) as usize).ok_or_else(cut)?;
    let mut entries = Vec::new();
    while let Some((one, after)) = first(rest) {
        entries.push(one.read(prefix[3])?);
        rest = after;
    }
    Ok(Page { version: prefix[3], head, carried: carried.to_vec(), entries, open: rest.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::Customer;
    use crate::journey::packed::Words;
    use crate::shard::Position;
    use crate::time::Timestamp;
    use crate::touchpoint::Identity;

    fn head() -> Head {
        Head {
            part: 1,
            partitions: 6,
            inputs: vec!["in".to_owned()],
            models: vec![Mark { name: "m".to_owned(), version: 2, structure: "m: stages a; episodes ".to_owned() }],
            progress: Some(Progress {
                positions: vec![Position { offset: 3, log_time: Timestamp::MIN }],
                stream_time: Some(Timestamp::from_millis(5)),
                sequence: 7,
            }),
            attempt: "a-1".to_owned(),
            retain_from: 5,
        }
    }

    fn packed(who: Identity) -> Vec<u8> {
        let mut packed = Vec::new();
        Customer::new(who).pack(&mut Words::default(), &mut packed);
        packed
    }

    fn shown(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| format!("{entry:?}")).collect()
    }

    fn states(customers: Vec<Vec<u8>>) -> Vec<Entry> {
        customers.into_iter().map(Entry::Customer).collect()
    }

    #[test]
    fn a_page_reads_back_and_a_damaged_one_says_so() {
        let mut draft = Draft::default();
        let customers: Vec<Vec<u8>> = (0..3).map(|n| packed(Identity::customer(format!("c{n}")))).collect();
        for customer in &customers {
            assert!(draft.add(customer).expect("added") > 4);
        }
        let gone = Identity::anonymous("g");
        assert_eq!(draft.add_gone(&gone), Ok(6));
        assert_eq!(draft.add_word(7, "web"), Ok(11));
        let bytes = draft.finish(&head()).expect("a page");
        let page = read(&bytes).expect("readable");
        let mut entries = states(customers);
        entries.push(Entry::Gone(gone));
        entries.push(Entry::Word(7, "web".to_owned()));
        assert_eq!((page.head, shown(&page.entries)), (head(), shown(&entries)));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(read(&damaged).is_err(), "byte {place}");
            assert!(read(&bytes[..place]).is_err(), "cut at {place}");
        }
        let empty = draft.finish(&head()).expect("a page");
        assert!(read(&empty).expect("readable").entries.is_empty());
    }

    #[test]
    fn a_full_page_says_so() {
        let mut draft = Draft::default();
        let customer = packed(Identity::customer("x".repeat(200)));
        let mut added = 0;
        while !draft.is_full() {
            added += draft.add(&customer).expect("added");
        }
        assert!((FULL..FULL + 1_000).contains(&added));
        draft.finish(&head()).expect("a page");
        assert!(!draft.is_full());
    }

    #[test]
    fn a_customer_larger_than_a_page_goes_on_on_the_next_and_is_put_together_again() {
        let small = |name: &str| packed(Identity::customer(name));
        let large = small(&"x".repeat(2 * FULL + FULL / 2));
        let (mut draft, mut pages) = (Draft::default(), Vec::new());
        for customer in [&small("a"), &large, &small("b")] {
            draft.add(customer).expect("added");
            while draft.is_full() {
                pages.push(draft.finish(&head()).expect("a page"));
            }
        }
        pages.push(draft.finish(&head()).expect("a page"));
        assert_eq!(pages.len(), 3);
        assert!(pages.iter().all(|page| page.len() < FULL + 1_000));
        let (mut found, mut open) = (Vec::new(), Vec::new());
        for page in &pages {
            let page = read(page).expect("readable");
            open.extend(page.carried);
            if !open.is_empty()
                && let Some(entry) = joined(page.version, &open).expect("of one piece")
            {
                found.push(entry);
                open.clear();
            }
            found.extend(page.entries);
            open.extend(page.open);
        }
        assert!(open.is_empty());
        assert_eq!(shown(&found), shown(&states(vec![small("a"), large, small("b")])));
    }
}
