//! Pages of one shard's state log, put together to its state. Knows no log: takes pages in order and says what is wrong.

use std::collections::HashMap;

use super::Ledger;
use crate::journey::Customer;
use crate::port::ShardId;
use crate::shard::Progress;
use crate::touchpoint::Identity;
use crate::wire::pages::{self, Entry, Head, Mark};

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
    latest: HashMap<Identity, Customer>,
    progress: Option<Progress>,
    /// The first commit that is there as a whole.
    first: Option<u64>,
    /// Whether the first commit is there from its first page on.
    whole: bool,
    needed_from: u64,
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
        self.latest.len()
    }

    /// The last commit that was read as a whole.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// The state, when everything is read.
    ///
    /// # Errors
    /// The log's head is missing.
    pub fn finish(self) -> Result<(Vec<Customer>, Option<Progress>), Unfit> {
        if let Some(first) = self.first.filter(|first| *first > self.needed_from.max(1) && self.needed_from > 0) {
            let needed = self.needed_from;
            return Err(Unfit::Hole(format!(
                "the state log begins with commit {first}, and is needed from commit {needed}: somebody has deleted its head"
            )));
        }
        Ok((self.latest.into_values().collect(), self.progress))
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
            self.whole = false;
        }
        let last = head.progress.is_some();
        self.part = if last { 0 } else { head.part + 1 };
        if last {
            self.ends(ledger, head)?;
        }
        let carried = self.carried(&page.carried, !begun).map_err(Unfit::Wrong)?;
        for entry in carried.into_iter().chain(page.entries) {
            match entry {
                Entry::Customer(customer) => drop(self.latest.insert(customer.identity.clone(), *customer)),
                Entry::Gone(who) => drop(self.latest.remove(&who)),
            }
        }
        self.open.extend(page.open);
        if last && !self.open.is_empty() {
            return Err(Unfit::Wrong("a commit of the state log ends within a customer".to_owned()));
        }
        Ok(())
    }

    /// The last page of a commit.
    fn ends(&mut self, ledger: &Ledger, head: Head) -> Result<(), Unfit> {
        check(ledger, head.partitions, &head.inputs, &head.models).map_err(Unfit::Wrong)?;
        let Some(progress) = head.progress else { return Ok(()) };
        if let Some(before) = &self.progress
            && progress.sequence != before.sequence + 1
        {
            let (found, before) = (progress.sequence, before.sequence);
            return Err(Unfit::Hole(format!("commit {found} follows commit {before} in the state log")));
        }
        let whole = self.whole;
        self.first.get_or_insert(if whole { progress.sequence } else { progress.sequence + 1 });
        self.needed_from = head.needed_from;
        self.progress = Some(progress);
        Ok(())
    }

    /// Goes on with an entry that began on a page before; the entry, once it is whole. `cut`: its beginning may be gone.
    fn carried(&mut self, bytes: &[u8], cut: bool) -> Result<Option<Entry>, String> {
        match (self.open.is_empty(), bytes.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) if cut => return Ok(None),
            (true, false) | (false, true) => {
                return Err("a page of the state log does not go on where the last one ended".to_owned());
            }
            (false, false) => self.open.extend_from_slice(bytes),
        }
        let entry = pages::joined(&self.open)?;
        if entry.is_some() {
            self.open.clear();
        }
        Ok(entry)
    }
}

/// Whether the log is about what runs now.
fn check(ledger: &Ledger, partitions: u32, inputs: &[String], models: &[Mark]) -> Result<(), String> {
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
    let structures = |marks: &[Mark]| -> Vec<String> { marks.iter().map(|mark| mark.structure.clone()).collect() };
    let (written, running) = (structures(models), structures(&ledger.models));
    if written != running {
        return Err(format!(
            "the state log holds journeys of other models ({}) than those that run now ({})",
            written.join("; "),
            running.join("; ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Position;
    use crate::time::Timestamp;
    use crate::wire::Format;
    use crate::wire::pages::Draft;

    fn ledger() -> Ledger {
        Ledger {
            group: "g".to_owned(),
            inputs: vec!["in".to_owned()],
            output: "out".to_owned(),
            partitions: 6,
            format: Format::Json,
            dead_letter_bytes: 1,
            models: Vec::new(),
        }
    }

    /// A page with one customer; `sequence` on the last page of a commit.
    fn page(customer: &str, part: u32, partitions: u32, sequence: Option<u64>) -> Vec<u8> {
        let position = Position { offset: 0, log_time: Timestamp::MIN };
        let progress = |sequence| Progress { positions: vec![position], stream_time: None, sequence };
        let inputs = vec!["in".to_owned()];
        let progress = sequence.map(progress);
        let head = Head { part, partitions, inputs, models: Vec::new(), progress, attempt: "a".to_owned(), needed_from: 0 };
        let mut draft = Draft::default();
        draft.add(&Customer::new(Identity::customer(customer))).expect("added");
        draft.finish(&head).expect("a page")
    }

    /// Takes pages in order; the place of the first that does not fit, and why.
    fn take(reading: &mut Reading, pages: &[Vec<u8>]) -> Result<(), (usize, Unfit)> {
        let ledger = ledger();
        pages.iter().enumerate().try_for_each(|(at, page)| reading.take(&ledger, page).map_err(|unfit| (at, unfit)))
    }

    #[test]
    fn a_log_that_is_cut_within_its_first_commit_is_whole() {
        let mut reading = Reading::of(0);
        let pages = [page("a", 2, 6, None), page("b", 3, 6, Some(7)), page("c", 0, 6, None), page("a", 1, 6, Some(8))];
        take(&mut reading, &pages).expect("whole");
        assert_eq!((reading.latest.len(), reading.progress.map(|progress| progress.sequence)), (3, Some(8)));
    }

    #[test]
    fn a_customer_who_fills_pages_is_put_together_and_one_that_is_cut_is_left_out() {
        let mut draft = Draft::default();
        let name = "x".repeat(2 * pages::FULL);
        draft.add(&Customer::new(Identity::customer(name.as_str()))).expect("added");
        let part = |draft: &mut Draft, part: u32, sequence: Option<u64>| {
            let position = Position { offset: 0, log_time: Timestamp::MIN };
            let progress = |sequence| Progress { positions: vec![position], stream_time: None, sequence };
            let (inputs, progress) = (vec!["in".to_owned()], sequence.map(progress));
            let head =
                Head { part, partitions: 6, inputs, models: Vec::new(), progress, attempt: "a".to_owned(), needed_from: 0 };
            draft.finish(&head).expect("a page")
        };
        let pages = [part(&mut draft, 0, None), part(&mut draft, 1, None), part(&mut draft, 2, Some(7))];
        let mut whole = Reading::of(0);
        take(&mut whole, &pages).expect("whole");
        assert!(whole.latest.keys().eq([&Identity::customer(name.as_str())]));
        let mut cut = Reading::of(0);
        take(&mut cut, &pages[1..]).expect("cut");
        assert!(cut.latest.is_empty() && cut.progress.is_some());
        let mut after = Reading::of(0);
        let missing = take(&mut after, &[page("a", 0, 6, Some(6)), pages[0].clone(), pages[2].clone()]);
        assert!(matches!(missing, Err((2, Unfit::Hole(_)))), "{missing:?}");
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let hole = |pages: &[Vec<u8>], place: usize| {
            let unfit = take(&mut Reading::of(0), pages);
            assert!(matches!(unfit, Err((at, Unfit::Hole(_))) if at == place), "{unfit:?}");
        };
        // A commit is missing; the end of one; the beginning of one.
        hole(&[page("a", 0, 6, Some(7)), page("b", 0, 6, Some(9))], 1);
        hole(&[page("a", 0, 6, Some(7)), page("b", 0, 6, None), page("c", 0, 6, Some(9))], 2);
        hole(&[page("a", 0, 6, Some(7)), page("b", 1, 6, Some(8))], 1);
        let other = take(&mut Reading::of(0), &[page("a", 0, 5, Some(7))]);
        assert!(matches!(other, Err((0, Unfit::Wrong(_)))), "{other:?}");
        let renamed = check(&ledger(), 6, &["old".to_owned()], &[]);
        assert!(renamed.is_err_and(|reason| reason.contains("the inputs old, and now they are in")));
    }

    /// Who deletes from the topic beside Sillage takes customers away that nobody would miss.
    #[test]
    fn a_log_whose_head_somebody_has_deleted_is_no_whole_log() {
        let needing = |customer: &str, sequence: u64, needed_from: u64| {
            let position = Position { offset: 0, log_time: Timestamp::MIN };
            let progress = Some(Progress { positions: vec![position], stream_time: None, sequence });
            let inputs = vec!["in".to_owned()];
            let (models, attempt) = (Vec::new(), "a".to_owned());
            let head = Head { part: 0, partitions: 6, inputs, models, progress, attempt, needed_from };
            let mut draft = Draft::default();
            draft.add(&Customer::new(Identity::customer(customer))).expect("added");
            draft.add_gone(&Identity::customer("gone"));
            draft.finish(&head).expect("a page")
        };
        let pages = [needing("gone", 4, 0), needing("a", 5, 2), needing("b", 6, 5), needing("c", 7, 5)];
        let finished = |pages: &[Vec<u8>]| {
            let mut reading = Reading::of(0);
            take(&mut reading, pages).expect("in order");
            reading.finish()
        };
        let (customers, progress) = finished(&pages[1..]).expect("from commit 5 on all is there");
        assert_eq!((customers.len(), progress.map(|progress| progress.sequence)), (3, Some(7)));
        let short = finished(&pages[2..]);
        assert!(matches!(&short, Err(Unfit::Hole(reason)) if reason.contains("is needed from commit 5")), "{short:?}");
        // Nobody knows yet from where on it is needed.
        assert!(finished(&pages[..1]).is_ok());
    }
}
