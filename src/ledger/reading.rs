//! Pages of one shard's state log, put together to its state. Knows no log: takes pages in order and says what is wrong.

use std::collections::{HashMap, HashSet};

use super::Ledger;
use crate::journey::Customer;
use crate::port::ShardId;
use crate::shard::Progress;
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
    latest: HashMap<Identity, Customer>,
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
    needed_from: u64,
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
        self.latest.len()
    }

    /// The last commit that was read as a whole.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// From which commit on the log is needed, as its last page says.
    pub fn needed_from(&self) -> u64 {
        self.needed_from
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
    pub fn finish(mut self, ledger: &Ledger) -> Result<(Vec<Customer>, Option<Progress>), Unfit> {
        if let Some(first) = self.first.filter(|first| *first > self.needed_from && self.needed_from > 0) {
            let needed = self.needed_from;
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
            self.latest.values_mut().for_each(|customer| migration.migrate(customer));
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
            // What has come of another commit, whose end was cut away amid the reading, is behind all that follows.
            self.said.clear();
            self.whole = head.part == 0;
        }
        self.commit_bytes =
            if self.part == 0 || head.part != self.part { 0 } else { self.commit_bytes } + payload.len() as u64;
        self.largest_commit = self.largest_commit.max(self.commit_bytes);
        let last = head.progress.is_some();
        self.part = if last { 0 } else { head.part + 1 };
        let carried = self.carried(&page.carried, !begun).map_err(Unfit::Wrong)?;
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
        let is_all = head.needed_from == progress.sequence;
        if let Some(before) = &self.progress
            && progress.sequence != before.sequence + 1
            && !is_all
        {
            let (found, before) = (progress.sequence, before.sequence);
            return Err(Unfit::Hole(format!("commit {found} follows commit {before} in the state log")));
        }
        let whole = self.whole;
        self.first.get_or_insert(if whole { progress.sequence } else { progress.sequence + 1 });
        self.needed_from = head.needed_from;
        if is_all {
            // Somebody it says nothing of is gone: a reset may have dropped all of them.
            self.latest.clear();
            self.headless.clear();
        }
        self.progress = Some(progress);
        self.apply(head.models)
    }

    /// What the commit says, which was written under these models; what is known from before is brought over to them first.
    fn apply(&mut self, models: Vec<Mark>) -> Result<(), Unfit> {
        if let Some(migration) = succession::step(&self.models, &models).map_err(Unfit::Wrong)? {
            self.latest.values_mut().for_each(|customer| migration.migrate(customer));
        }
        self.models = models;
        for entry in self.said.drain(..) {
            match entry {
                Entry::Customer(customer) => {
                    self.headless.remove(&customer.identity);
                    self.latest.insert(customer.identity.clone(), *customer);
                }
                Entry::Changed(change) => match self.latest.get_mut(change.identity()) {
                    Some(customer) => {
                        let unfit = |how| Unfit::Hole(format!("a change in the state log does not fit: {how}"));
                        customer.follow(*change).map_err(unfit)?;
                    }
                    None => drop(self.headless.insert(change.identity().clone())),
                },
                Entry::Gone(who) => {
                    self.headless.remove(&who);
                    self.latest.remove(&who);
                }
            }
        }
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Model;
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
        let renamed = check(&ledger(), 6, &["old".to_owned()]);
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
            draft.add_gone(&Identity::customer("gone")).expect("added");
            draft.finish(&head).expect("a page")
        };
        let pages = [needing("gone", 4, 0), needing("a", 5, 2), needing("b", 6, 5), needing("c", 7, 5)];
        let finished = |pages: &[Vec<u8>]| {
            let mut reading = Reading::of(0);
            take(&mut reading, pages).expect("in order");
            reading.finish(&ledger())
        };
        let (customers, progress) = finished(&pages[1..]).expect("from commit 5 on all is there");
        assert_eq!((customers.len(), progress.map(|progress| progress.sequence)), (3, Some(7)));
        let short = finished(&pages[2..]);
        assert!(matches!(&short, Err(Unfit::Hole(reason)) if reason.contains("is needed from commit 5")), "{short:?}");
        // Nobody knows yet from where on it is needed.
        assert!(finished(&pages[..1]).is_ok());
    }

    /// A commit that says how a customer came from so many touchpoints to so many; from none: the whole customer.
    fn changing(sequence: u64, who: &str, from: u64, to: u64) -> Vec<u8> {
        let image = |touchpoints| {
            let mut customer = Customer::new(Identity::customer(who));
            customer.touchpoints = touchpoints;
            customer
        };
        let position = Position { offset: 0, log_time: Timestamp::MIN };
        let head = Head {
            part: 0,
            partitions: 6,
            inputs: vec!["in".to_owned()],
            models: Vec::new(),
            progress: Some(Progress { positions: vec![position], stream_time: None, sequence }),
            attempt: "a".to_owned(),
            needed_from: 0,
        };
        let mut draft = Draft::default();
        match from {
            0 => draft.add(&image(to)).expect("added"),
            _ => draft.add_change(&image(to).since(&image(from))).expect("added"),
        };
        draft.finish(&head).expect("a page")
    }

    #[test]
    fn changes_follow_from_what_the_log_holds_and_before_its_cut_beginning_from_nothing() {
        let log = [
            changing(1, "anna", 0, 1),
            changing(2, "anna", 1, 3),
            // The turn says all of her.
            changing(3, "anna", 0, 3),
            changing(4, "anna", 3, 4),
        ];
        let read = |pages: &[Vec<u8>]| {
            let mut reading = Reading::of(0);
            take(&mut reading, pages).expect("in order");
            let (customers, _) = reading.finish(&ledger())?;
            Ok(customers.iter().map(|customer| customer.touchpoints).collect::<Vec<_>>())
        };
        let whole = |pages: &[Vec<u8>]| read(pages).map_err(|unfit: Unfit| format!("{unfit:?}"));
        assert_eq!(whole(&log), Ok(vec![4]));
        assert_eq!(whole(&log[1..]), Ok(vec![4]), "cut where it is needed no more");
        let short = read(&log[3..]);
        assert!(matches!(&short, Err(Unfit::Hole(reason)) if reason.contains("its head is missing")), "{short:?}");
        let mut reading = Reading::of(0);
        let foreign = take(&mut reading, &[changing(1, "anna", 0, 1), changing(2, "anna", 2, 3)]);
        assert!(matches!(&foreign, Err((1, Unfit::Hole(reason))) if reason.contains("does not fit")), "{foreign:?}");
    }

    /// A page of a commit; `from` that of it on the log is needed.
    fn saying(part: u32, sequence: Option<u64>, from: u64, add: impl FnOnce(&mut Draft)) -> Vec<u8> {
        let position = Position { offset: 0, log_time: Timestamp::MIN };
        let head = Head {
            part,
            partitions: 6,
            inputs: vec!["in".to_owned()],
            models: Vec::new(),
            progress: sequence.map(|sequence| Progress { positions: vec![position], stream_time: None, sequence }),
            attempt: "a".to_owned(),
            needed_from: from,
        };
        let mut draft = Draft::default();
        add(&mut draft);
        draft.finish(&head).expect("a page")
    }

    /// The name of each customer and how many touchpoints have come of it.
    fn known(pages: &[Vec<u8>]) -> Vec<(String, u64)> {
        let mut reading = Reading::of(0);
        take(&mut reading, pages).expect("in order");
        let (customers, _) = reading.finish(&ledger()).expect("whole");
        let mut known: Vec<_> =
            customers.iter().map(|customer| (customer.identity.id.to_string(), customer.touchpoints)).collect();
        known.sort();
        known
    }

    /// The owner before cuts the log while the first of a commit's pages have been read: what comes next is of a later commit.
    #[test]
    fn what_was_read_of_a_commit_that_was_cut_away_is_forgotten() {
        let image = |who: &str, touchpoints| {
            let mut customer = Customer::new(Identity::customer(who));
            customer.touchpoints = touchpoints;
            customer
        };
        let abandoned = saying(0, None, 0, |draft| {
            draft.add(&image("anna", 1)).expect("added");
            draft.add(&image("ben", 1)).expect("added");
        });
        let first = saying(0, Some(9), 9, |draft| {
            draft.add(&image("anna", 5)).expect("added");
        });
        let next = saying(0, Some(10), 9, |draft| {
            draft.add_change(&image("anna", 6).since(&image("anna", 5))).expect("added");
        });
        let expected = vec![("anna".to_owned(), 6)];
        assert_eq!(known(&[abandoned.clone(), first, next.clone()]), expected, "ben was erased meanwhile");
        // Without the whole customer, what has changed of her follows from nothing that is known.
        let cut = saying(0, Some(9), 3, |draft| {
            draft.add_change(&image("anna", 5).since(&image("anna", 4))).expect("added");
        });
        let mut reading = Reading::of(0);
        take(&mut reading, &[abandoned, cut, next]).expect("in order");
        let short = reading.finish(&ledger());
        assert!(matches!(short, Err(Unfit::Hole(_))), "{short:?}");
    }

    /// Somebody who stands by has read all that the log held before journeys were dropped from it.
    #[test]
    fn a_commit_from_which_on_the_log_is_needed_leaves_nobody_it_says_nothing_of() {
        let one = |who: &str| {
            let who = Customer::new(Identity::customer(who));
            move |draft: &mut Draft| {
                draft.add(&who).expect("added");
            }
        };
        let kept = [saying(0, Some(4), 4, one("anna")), saying(0, Some(5), 4, one("ben"))];
        // Whatever number it has: that of the offsets may be ahead of the log.
        let ahead = [kept[0].clone(), saying(0, Some(9), 9, one("ben"))];
        let hole = take(&mut Reading::of(0), &[kept[0].clone(), saying(0, Some(9), 4, one("ben"))]);
        assert!(matches!(hole, Err((1, Unfit::Hole(_)))), "{hole:?}");
        let dropped = [kept[0].clone(), saying(0, Some(5), 5, one("ben"))];
        let names = |pages: &[Vec<u8>]| known(pages).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!((names(&kept), names(&dropped)), (vec!["anna".to_owned(), "ben".to_owned()], vec!["ben".to_owned()]));
        assert_eq!(names(&ahead), ["ben"]);
    }

    #[test]
    fn who_is_gone_is_neither_known_nor_missed() {
        let gone = |who: &str| {
            let who = Identity::customer(who);
            move |draft: &mut Draft| {
                draft.add_gone(&who).expect("added");
            }
        };
        let log = [changing(1, "anna", 0, 1), changing(2, "anna", 1, 2), saying(0, Some(3), 0, gone("anna"))];
        assert_eq!(known(&log), []);
        assert_eq!(known(&log[1..]), [], "cut behind what her change follows from");
        assert_eq!(known(&[&log[..], &[changing(4, "anna", 0, 1)]].concat()), [("anna".to_owned(), 1)], "she is back");
    }

    /// A model of the shop by its version: a stage is renamed, then one comes between, then one more.
    fn shop(version: usize) -> Arc<Model> {
        let stages = [
            "looking: { enter: a }, buying: { enter: b }",
            "browsing: { enter: a }, buying: { enter: b } }\nrenamed: { stages: { looking: browsing }",
            "browsing: { enter: a }, asking: { enter: c }, buying: { enter: b }",
        ];
        let stages = stages[version - 1];
        let text = format!("sillage: 1\nmodel: shop\nversion: {version}\nstages: {{ {stages} }}\n");
        let (model, faults) = crate::model::load("shop.yaml", &text);
        Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
    }

    /// A commit with a customer who does something under that version for the first time.
    fn commit(sequence: u64, version: usize, who: &str, does: &str) -> Vec<u8> {
        let mut customer = Customer::new(Identity::customer(who));
        let touchpoint = crate::touchpoint::Touchpoint {
            id: "t".into(),
            id_given: false,
            identity: customer.identity.clone(),
            linked: None,
            event_time: Timestamp::from_millis(0),
            kind: does.into(),
            channel: None,
            session: None,
            properties: Vec::new(),
        };
        let at = touchpoint.event_time;
        let moment = crate::journey::Moment { log_time: at, counts_from: at, stream_time: at };
        customer.apply(&[shop(version)], &touchpoint, moment, 0, &mut 0, &mut Vec::new());
        let position = Position { offset: 0, log_time: Timestamp::MIN };
        let progress = Some(Progress { positions: vec![position], stream_time: None, sequence });
        let head = Head {
            part: 0,
            partitions: 6,
            inputs: vec!["in".to_owned()],
            models: vec![Mark::of(&shop(version))],
            progress,
            attempt: "a".to_owned(),
            needed_from: 0,
        };
        let mut draft = Draft::default();
        draft.add(&customer).expect("added");
        draft.finish(&head).expect("a page")
    }

    /// Where everybody stands under that version, once these commits are read.
    fn stands(commits: &[Vec<u8>], version: usize) -> Result<String, String> {
        let ledger = Ledger { models: vec![Mark::of(&shop(version))], ..ledger() };
        let mut reading = Reading::of(0);
        let why = |unfit| match unfit {
            Unfit::Hole(reason) | Unfit::Wrong(reason) => reason,
        };
        commits.iter().try_for_each(|page| reading.take(&ledger, page)).map_err(why)?;
        let (mut customers, _) = reading.finish(&ledger).map_err(why)?;
        customers.sort_by(|one, other| one.identity.cmp(&other.identity));
        let stage = |customer: &Customer| {
            let stage = customer.journeys[0].stage().expect("entered one");
            format!("{} {}", customer.identity.id, shop(version).stage_name(stage))
        };
        Ok(customers.iter().map(stage).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn a_log_written_under_several_versions_is_read_as_one_wherever_it_was_cut() {
        let log = [
            commit(1, 1, "anna", "a"),
            commit(2, 1, "ben", "b"),
            // The process died after its first commit under the new names, and the one after it knows two versions.
            commit(3, 2, "carla", "a"),
            commit(4, 3, "dora", "c"),
            commit(5, 3, "anna", "b"),
        ];
        assert_eq!(stands(&log[..2], 1).as_deref(), Ok("anna looking, ben buying"));
        assert_eq!(stands(&log[..2], 2).as_deref(), Ok("anna browsing, ben buying"));
        assert_eq!(stands(&log[..3], 2).as_deref(), Ok("anna browsing, ben buying, carla browsing"));
        assert_eq!(stands(&log[..3], 3).as_deref(), Ok("anna browsing, ben buying, carla browsing"));
        assert_eq!(stands(&log, 3).as_deref(), Ok("anna buying, ben buying, carla browsing, dora asking"));
        assert_eq!(stands(&log[2..], 3).as_deref(), Ok("anna buying, carla browsing, dora asking"));
        // Version 3 alone does not say what became of the first names; a worker that was rolled back knows less than the log.
        assert!(stands(&log[..2], 3).is_err_and(|reason| reason.contains("(D001)")));
        assert!(stands(&log, 2).is_err_and(|reason| reason.contains("version 3 of the model shop, and this is version 2")));
    }
}
