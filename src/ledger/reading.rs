//! Pages of one shard's state log, put together to its state. Knows no log: takes pages in order and says what is wrong.

use std::collections::{HashMap, HashSet};

use super::Ledger;
use crate::journey::packed::identity_of;
use crate::journey::{Customer, CustomerV2, Migration};
use crate::port::ShardId;
use crate::shard::{Customers, Progress};
use crate::touchpoint::Identity;
use crate::wire::pages::{self, Entry, Head, Mark};
use crate::wire::succession;

/// Why a log cannot be taken as it is read.
#[derive(Debug)]
pub enum Unfit {
    /// Something is missing. The owner before may have cut the log while it was read: then it is whole from where it begins
    /// now.
    Hole(String),
    /// Reading it again would not help.
    Wrong(String),
}

/// A shard whose state is being read.
#[derive(Debug, Default)]
pub struct Reading {
    shard: ShardId,
    /// The next page's place among those of its commit.
    part: u32,
    /// What has come of an entry that goes on on the next page.
    open: Vec<u8>,
    /// As of the last commit that was read as a whole, under its models.
    latest: Customers,
    /// Of those, whose state was written before version 5 and not since.
    older: HashMap<Identity, CustomerV2>,
    /// Customers of whom only changes have come: the log was cut behind what they follow from. The turn that let it be cut
    /// says all of them further on.
    headless: HashSet<Identity>,
    /// What the commit being read says so far: under which models it was written, its last page tells.
    said: Vec<Entry>,
    models: Vec<Mark>,
    progress: Option<Progress>,
    /// The first commit that is there as a whole.
    first: Option<u64>,
    /// Whether the first commit is there from its first page on.
    whole: bool,
    retain_from: u64,
    /// Bytes of the commit being read so far, and of the largest one.
    commit_bytes: u64,
    largest_commit: u64,
}

impl Reading {
    /// Nothing is read yet.
    pub fn of(shard: ShardId) -> Self {
        Reading { shard, whole: true, ..Reading::default() }
    }

    /// Whose state is read.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// How many customers are known so far.
    pub fn customers(&self) -> usize {
        self.latest.len() + self.older.len()
    }

    /// The last commit that was read as a whole.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// From which commit on the log is needed, as its last page says.
    pub fn retain_from(&self) -> u64 {
        self.retain_from
    }

    /// Bytes of the largest commit that was read: a log can only be cut between commits.
    pub fn largest_commit(&self) -> u64 {
        self.largest_commit
    }

    /// The models that the last commit read as a whole was written under.
    pub fn models(&self) -> &[Mark] {
        &self.models
    }

    /// The state, when everything is read, brought over to the models that run now.
    ///
    /// # Errors
    /// The log's head is missing, or these models may not follow.
    pub fn finish(mut self, ledger: &Ledger) -> Result<(Customers, Option<Progress>), Unfit> {
        if let Some(first) = self.first.filter(|first| *first > self.retain_from && self.retain_from > 0) {
            let needed = self.retain_from;
            return Err(Unfit::Hole(format!(
                "the state log begins with commit {first}, and is needed from commit {needed}: somebody has deleted its head"
            )));
        }
        if !self.headless.is_empty() {
            let customers = self.headless.len();
            return Err(Unfit::Hole(format!(
                "the state log says of {customers} customers how they changed, and nowhere what they were: its head is missing"
            )));
        }
        if self.progress.is_some()
            && let Some(migration) = succession::admit(&self.models, &ledger.models).map_err(Unfit::Wrong)?
        {
            self.bring_over(&migration)?;
        }
        for customer in std::mem::take(&mut self.older).into_values() {
            // The log holds nothing that a change of the packed state could follow from.
            self.latest.restore_unwritten(&Customer::from(customer));
        }
        self.latest.check().map_err(|_| unreadable())?;
        Ok((self.latest, self.progress))
    }

    fn bring_over(&mut self, migration: &Migration) -> Result<(), Unfit> {
        self.older.values_mut().for_each(|customer| migration.migrate_journeys(customer.journeys_mut()));
        self.latest.revise(|customer| migration.migrate(customer)).map_err(|_| unreadable())
    }

    /// Takes the next page.
    ///
    /// # Errors
    /// Why it does not fit.
    pub fn take(&mut self, ledger: &Ledger, payload: &[u8]) -> Result<(), Unfit> {
        let page = pages::read(payload).map_err(Unfit::Wrong)?;
        let head = page.head;
        let begun = self.progress.is_some();
        // The first commit that is left may be cut in its middle; what it held is further on as well.
        if head.part != self.part && begun {
            let (found, due) = (head.part, self.part);
            return Err(Unfit::Hole(format!("page {found} of a commit of the state log comes where page {due} should")));
        }
        if head.part != self.part {
            self.open.clear();
            // What has come of another commit, whose end was cut away amid the reading, is behind all that follows.
            self.said.clear();
            self.whole = head.part == 0;
        }
        self.commit_bytes =
            if self.part == 0 || head.part != self.part { 0 } else { self.commit_bytes } + payload.len() as u64;
        self.largest_commit = self.largest_commit.max(self.commit_bytes);
        let last = head.progress.is_some();
        self.part = if last { 0 } else { head.part + 1 };
        let carried = self.carried(page.version, &page.carried, !begun).map_err(Unfit::Wrong)?;
        self.said.extend(carried.into_iter().chain(page.entries));
        self.open.extend(page.open);
        if !last {
            return Ok(());
        }
        if !self.open.is_empty() {
            return Err(Unfit::Wrong("a commit of the state log ends within a customer".to_owned()));
        }
        self.ends(ledger, head)
    }

    /// The last page of a commit.
    fn ends(&mut self, ledger: &Ledger, head: Head) -> Result<(), Unfit> {
        check(ledger, head.partitions, &head.inputs).map_err(Unfit::Wrong)?;
        let Some(progress) = head.progress else { return Ok(()) };
        // Such a commit says everything, whatever came before.
        let is_all = head.retain_from == progress.sequence;
        if let Some(before) = &self.progress
            && progress.sequence != before.sequence + 1
            && !is_all
        {
            let (found, before) = (progress.sequence, before.sequence);
            return Err(Unfit::Hole(format!("commit {found} follows commit {before} in the state log")));
        }
        let whole = self.whole;
        self.first.get_or_insert(if whole { progress.sequence } else { progress.sequence + 1 });
        self.retain_from = head.retain_from;
        if is_all {
            // Somebody it says nothing of is gone: a reset may have dropped all of them.
            self.latest = Customers::default();
            self.older.clear();
            self.headless.clear();
        }
        self.progress = Some(progress);
        self.apply(head.models)
    }

    /// What the commit says, which was written under these models; what is known from before is brought over to them first,
    /// and before that the dictionary is completed: whoever brought customers over has told all of it since.
    fn apply(&mut self, models: Vec<Mark>) -> Result<(), Unfit> {
        let said = std::mem::take(&mut self.said);
        for entry in &said {
            if let Entry::Word(number, text) = entry {
                self.latest.words_mut().learn(*number, text).map_err(Unfit::Wrong)?;
            }
        }
        if let Some(migration) = succession::step(&self.models, &models).map_err(Unfit::Wrong)? {
            self.bring_over(&migration)?;
        }
        self.models = models;
        said.into_iter().try_for_each(|entry| self.take_entry(entry))
    }

    fn take_entry(&mut self, entry: Entry) -> Result<(), Unfit> {
        match entry {
            Entry::Customer(packed) => {
                let who = identity_of(&packed).map_err(|_| unreadable())?;
                self.headless.remove(&who);
                self.older.remove(&who);
                self.latest.restore_packed(&packed).map_err(|_| unreadable())?;
            }
            Entry::Changed(change) => match self.latest.follow(&change) {
                Ok(true) => {}
                Ok(false) => drop(self.headless.insert(identity_of(&change).map_err(|_| unreadable())?)),
                Err(_) => {
                    let how = "it follows from another state than was read";
                    return Err(Unfit::Hole(format!("a change in the state log does not fit: {how}")));
                }
            },
            Entry::CustomerV2(customer) => {
                self.headless.remove(customer.identity());
                self.latest.remove(customer.identity());
                self.older.insert(customer.identity().clone(), *customer);
            }
            Entry::ChangedV2(change) => match self.older.get_mut(change.identity()) {
                Some(customer) => {
                    let unfit = |how| Unfit::Hole(format!("a change in the state log does not fit: {how}"));
                    change.apply(customer).map_err(unfit)?;
                }
                None => drop(self.headless.insert(change.identity().clone())),
            },
            Entry::Gone(who) => {
                self.headless.remove(&who);
                self.older.remove(&who);
                self.latest.remove(&who);
            }
            // Known since the commit was begun to be read.
            Entry::Word(..) => {}
        }
        Ok(())
    }

    /// Goes on with an entry that began on a page before; the entry, once it is whole. `cut`: its beginning may be gone.
    fn carried(&mut self, version: u8, bytes: &[u8], cut: bool) -> Result<Option<Entry>, String> {
        match (self.open.is_empty(), bytes.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) if cut => return Ok(None),
            (true, false) | (false, true) => {
                return Err("a page of the state log does not go on where the last one ended".to_owned());
            }
            (false, false) => self.open.extend_from_slice(bytes),
        }
        let entry = pages::joined(version, &self.open)?;
        if entry.is_some() {
            self.open.clear();
        }
        Ok(entry)
    }
}

fn unreadable() -> Unfit {
    Unfit::Wrong("a customer in the state log cannot be read".to_owned())
}

/// Whether the log is about what runs now.
fn check(ledger: &Ledger, partitions: u32, inputs: &[String]) -> Result<(), String> {
    if partitions != ledger.partitions {
        return Err(format!(
            "the state log was written when the inputs had {partitions} partitions, and now they have {}: \
             customers have moved",
            ledger.partitions
        ));
    }
    // By name: the positions in one topic say nothing of another.
    if *inputs != *ledger.inputs {
        return Err(format!(
            "the state log was written with the inputs {}, and now they are {}",
            inputs.join(", "),
            ledger.inputs.join(", ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
