//! Looking at a store from outside, also while a service works on it: everything as of one committed transaction.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::books::Books;
use super::counter;
use super::ids::Ids;
use super::seal::{REMEDY, Seal, Unread};
use super::{Settings, batches, deliveries, outcomes, people, schema, succession, tables};
use crate::journey::{Customer, Sums};
use crate::partitioner::Partitioner;
use crate::port::ShardId;
use crate::shard::{Customers, Progress};
use crate::touchpoint::Identity;
use crate::wire::pages::Mark;

/// At most so many faults are told of one store.
const MAX_FAULTS: usize = 20;
/// So many bytes of outcomes are looked at together.
const PIECE: usize = 4 << 20;

/// How far a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where its last commit left it.
    pub progress: Progress,
    /// Touchpoints that are durable and not processed yet.
    pub waiting: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// By shard: customers, and the bytes of their states.
    pub shards: Vec<(u64, u64)>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// A store as of one instant.
#[derive(Debug)]
pub struct Snapshot {
    connection: Connection,
    books: Books,
    seal: Seal,
    partitions: u32,
    /// Why this is less than was acknowledged, or why nobody can say.
    lost: Option<String>,
    /// Its directory; a file alone has none.
    dir: Option<PathBuf>,
}

impl Snapshot {
    /// Opens a store to look at it. One of an earlier version is brought over to this one first, unless a service has it.
    ///
    /// # Errors
    /// A directory without a store, or one that cannot be read or has lost commits.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let snapshot = Self::look(settings)?;
        snapshot.lost.clone().map_or(Ok(snapshot), Err)
    }

    /// The same, also where commits were lost: [`Snapshot::verify`] says so.
    ///
    /// # Errors
    /// A directory without a store, or one that cannot be read.
    pub fn look(settings: &Settings) -> Result<Self, String> {
        schema::renew(settings)?;
        // Read first: a service that runs counts a commit when it is in the store.
        let counted = counter::read(&settings.dir);
        let mut snapshot = Self::of(schema::reader(settings)?, settings)?;
        let lost = counted.and_then(|counted| schema::check_count(settings, snapshot.seal, counted, &snapshot.books));
        (snapshot.lost, snapshot.dir) = (lost.err(), Some(settings.dir.clone()));
        Ok(snapshot)
    }

    /// Opens a file that holds a store, such as a backup.
    ///
    /// # Errors
    /// A file that is none.
    pub(super) fn of_file(file: &Path, settings: &Settings) -> Result<Self, String> {
        Self::of(schema::reader_of(file)?, settings)
    }

    fn of(connection: Connection, settings: &Settings) -> Result<Self, String> {
        schema::check_version(&connection, settings)?;
        // From the first read on, everything is as of that instant.
        connection.execute_batch("BEGIN").map_err(Unread::from)?;
        let seal = tables::seal(&connection)?;
        tables::check_head(&connection, seal)?;
        let books = Books::load(&connection, seal)?;
        let partitions = tables::partitions(&connection).map_err(Unread::from)?;
        if books.shards.len() != partitions as usize {
            return Err(format!(
                "the store is damaged: it has {} partitions, and should have {partitions}; {REMEDY}",
                books.shards.len()
            ));
        }
        Ok(Snapshot { connection, books, seal, partitions, lost: None, dir: None })
    }

    /// Writes all of it to a file that is empty.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn copy_to(&self, file: &Path) -> rusqlite::Result<()> {
        // SQLite copies what it sees when no transaction is open; what was looked at so far may be older.
        self.connection.execute_batch("COMMIT")?;
        self.connection.execute("VACUUM INTO ?1", [file.to_string_lossy()]).map(drop)
    }

    /// Position of the latest outcome.
    pub(super) fn published(&self) -> u64 {
        self.books.published
    }

    /// How far each shard is.
    pub fn shards(&self) -> Vec<Standing> {
        let standing = |book: &super::books::ShardBook| Standing { progress: book.progress(), waiting: book.pending() };
        self.books.shards.iter().map(standing).collect()
    }

    /// The models that the journeys run under.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn models(&self) -> Result<Vec<Mark>, String> {
        succession::stored(&self.connection)
    }

    /// A customer and where. Reads all customers of the partition: that nobody is missing can be seen in no other way.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn customer(&self, who: &Identity) -> Result<Option<(ShardId, Customer)>, String> {
        let shard = Partitioner::Murmur2.partition(who.id.as_bytes(), self.partitions).unwrap_or(0);
        let sum = self.books.shards[shard as usize].state;
        let mut customers = people::restore(&self.connection, self.seal, shard, sum)?;
        Ok(customers.image(who).map(|customer| (shard, customer)))
    }

    /// Hands over every customer, and of each shard the row with what was measured there.
    ///
    /// # Errors
    /// A store or a state that cannot be read, or what `take` says.
    pub fn each(&self, mut take: impl FnMut(ShardId, Customer) -> Result<(), String>) -> Result<(), String> {
        for (shard, book) in (0..).zip(&self.books.shards) {
            let customers = people::restore(&self.connection, self.seal, shard, book.state)?;
            let mut taken = Ok(());
            customers.each(|customer| {
                if taken.is_ok() {
                    taken = take(shard, customer);
                }
            });
            taken?;
            customers.own_row().map_or(Ok(()), |row| take(shard, row))?;
        }
        Ok(())
    }

    /// What was measured of interventions, and in how many partitions.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn sums(&self) -> Result<(Vec<ShardId>, Sums), String> {
        let (mut shards, mut sums) = (Vec::new(), Sums::default());
        for (shard, book) in (0..).zip(&self.books.shards) {
            sums.append(&people::restore(&self.connection, self.seal, shard, book.state)?.sums());
            shards.push(shard);
        }
        Ok((shards, sums))
    }

    /// Reads everything and checks it: the file, the numbers, every touchpoint, customer, outcome and id.
    ///
    /// # Errors
    /// A store that cannot be read at all.
    pub fn verify(&self) -> Result<Findings, String> {
        let faults = self.lost.iter().cloned().collect();
        let mut found = Findings { shards: Vec::with_capacity(self.partitions as usize), faults };
        self.check_file(&mut found.faults);
        for (shard, book) in (0..).zip(&self.books.shards) {
            let (from, end) = (book.kept_from, book.end);
            if !(from..=end).contains(&book.position.offset) {
                let at = book.position.offset;
                found.faults.push(format!("partition {shard} is processed to {at}, and holds {from} to {end}"));
            }
            let touchpoints = batches::each(&self.connection, self.seal, shard, (from, end), |_| true);
            note(&mut found.faults, touchpoints.map(drop));
            match people::look(&self.connection, self.seal, shard, book.state) {
                Ok(seen) => {
                    found.shards.push((seen.customers.len() as u64, seen.bytes));
                    if seen.faults.is_empty() {
                        self.check_homes(shard, &seen.customers, &mut found.faults);
                    }
                    found.faults.extend(seen.faults);
                }
                Err(unread) => {
                    found.shards.push((0, 0));
                    found.faults.push(unread.to_string());
                }
            }
        }
        note(&mut found.faults, self.check_outcomes());
        note(&mut found.faults, Ids::load(&self.connection, self.seal, &self.books).map(drop));
        note(&mut found.faults, Ids::check_folded(&self.connection, self.seal, &self.books));
        found.faults.extend(self.dir.iter().flat_map(|dir| deliveries::verify(dir, self.seal)));
        found.faults.truncate(MAX_FAULTS);
        Ok(found)
    }

    /// What SQLite says of its file.
    fn check_file(&self, faults: &mut Vec<String>) {
        let check = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare("PRAGMA quick_check(5)")?;
            statement.query_map([], |row| row.get::<_, String>(0))?.collect()
        };
        match check() {
            Ok(lines) => {
                let bad = lines.into_iter().filter(|line| line != "ok");
                faults.extend(bad.map(|line| format!("the file is damaged: {line}")));
            }
            Err(error) => faults.push(Unread::from(error).to_string()),
        }
    }

    /// Whether customers are where touchpoints would find them.
    fn check_homes(&self, shard: ShardId, customers: &Customers, faults: &mut Vec<String>) {
        let mut strays = 0;
        customers.each_open(|customer| {
            let home = Partitioner::Murmur2.partition(customer.identity.id.as_bytes(), self.partitions);
            strays += u64::from(home.is_some_and(|home| home != shard));
        });
        if strays > 0 {
            faults.push(format!("partition {shard}: {strays} customers belong to another partition"));
        }
    }

    fn check_outcomes(&self) -> Result<(), Unread> {
        let mut position = self.books.outcomes_from.saturating_sub(1);
        while position < self.books.published {
            let read = outcomes::read(&self.connection, self.seal, &self.books, position, (usize::MAX, PIECE))?;
            position = read.last().map_or(self.books.published, |last| last.position);
        }
        Ok(())
    }
}

fn note(faults: &mut Vec<String>, checked: Result<(), Unread>) {
    if let Err(unread) = checked {
        faults.push(unread.to_string());
    }
}
