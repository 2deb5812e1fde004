//! Going round all customers of a shard, a few at each commit, so that the state log can be cut behind one full turn.
//!
//! A log that only holds what changed would have to be kept for ever. While it is written, everybody's state is therefore
//! written anew in turn; what was written more than one turn ago is then not needed any more, wherever the turn stands.

use std::collections::{BTreeSet, VecDeque};

use super::slot::Slot;

/// So many places of a turn are remembered at most; what can be cut is found to this precision.
const MARKS: usize = 64;
/// Places of those who have gone are closed up when there are more of them than this, and than of those who are here.
const HOLES: usize = 64;
/// A turn that is owed is made in so many steps.
const STEPS: usize = 180;
/// A step that is owed passes at least so many customers.
const STEP: usize = 64;

/// Where a shard is on its way round its customers.
#[derive(Debug, Default)]
pub(super) struct RefreshCycle {
    /// All customers, in the order they came; a hole where one has gone.
    roster: Vec<Option<Slot>>,
    holes: usize,
    /// Customers who have gone and whose place has not been passed since.
    gone: BTreeSet<Slot>,
    /// Of those, who came back in the open transaction.
    back: Vec<Slot>,
    now: Spot,
    /// As of the last commit: the spot, and how many places there were.
    committed: (Spot, usize),
    /// Places passed since the last commit.
    passed: usize,
    /// What the log holds of those who have gone is worth cutting off once this spot is passed.
    due_until: Spot,
    /// The last commit, and the last one that may say something of somebody who has gone.
    latest: u64,
    farewell: u64,
    /// Spots at commits, oldest first, with the commit's sequence number.
    marks: VecDeque<(Spot, u64)>,
    /// From which commit on the log is needed.
    retain_from: u64,
}

/// A spot on the way: turns made, and places passed in this one. Later spots are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    turn: u64,
    passed: usize,
}

impl RefreshCycle {
    /// A turn that begins with these customers; `sequence` is the last commit before it.
    pub(super) fn beginning(roster: Vec<Slot>, sequence: u64) -> Self {
        let customers = roster.len();
        RefreshCycle {
            roster: roster.into_iter().map(Some).collect(),
            committed: (Spot::default(), customers),
            marks: VecDeque::from([(Spot::default(), sequence)]),
            latest: sequence,
            ..RefreshCycle::default()
        }
    }

    /// The log was cut by an earlier owner up to this commit at most: it is needed from there on until a turn is made.
    pub(super) fn begin_from(&mut self, retain_from: u64) {
        self.retain_from = retain_from;
    }

    /// Another customer came; the transaction writes its state.
    pub(super) fn joined(&mut self, slot: Slot) {
        // A row that is another's now keeps its place.
        if self.gone.remove(&slot) {
            self.back.push(slot);
        } else {
            self.roster.push(Some(slot));
        }
    }

    /// A customer has gone, by a commit that is in the log.
    pub(super) fn left(&mut self, slot: Slot) {
        self.gone.insert(slot);
        self.make_due();
    }

    /// Whoever has gone is to go from the log too. What is one turn behind can be cut, and after two turns it is worth it.
    pub(super) fn make_due(&mut self) {
        self.due_until = Spot { turn: self.now.turn + 2, passed: self.now.passed };
        self.farewell = self.latest;
    }

    /// Whether a turn is owed to those who have gone.
    pub(super) fn is_due(&self) -> bool {
        self.now < self.due_until || (self.farewell > 0 && self.retain_from <= self.farewell)
    }

    /// So many customers are passed in one step of a turn that is owed.
    pub(super) fn step(&self) -> usize {
        (self.roster.len() / STEPS).max(STEP)
    }

    /// The next customer to be written anew; `None` once a commit has gone round: it says nobody twice.
    pub(super) fn next(&mut self) -> Option<Slot> {
        while self.passed <= self.roster.len() {
            self.passed += 1;
            let Some(place) = self.roster.get_mut(self.now.passed) else {
                self.now = Spot { turn: self.now.turn + 1, passed: 0 };
                continue;
            };
            self.now.passed += 1;
            // Going is committed, so a hole need not be undone.
            if place.take_if(|slot| !self.gone.is_empty() && self.gone.remove(slot)).is_some() {
                self.holes += 1;
            }
            if let Some(slot) = place {
                return Some(*slot);
            }
        }
        None
    }

    /// Whether the open transaction has come to the end of a turn and begun the next: what only stands in the turn before is
    /// to be written anew.
    pub(super) fn begins(&self) -> bool {
        self.now.turn > self.committed.0.turn
    }

    /// Whether everybody who was there at the beginning has been written anew.
    pub(super) fn has_gone_round(&self) -> bool {
        self.committed.0.turn > 0 || self.now.turn > 0
    }

    /// From which commit on the log is needed, once the commit now being made is in it.
    pub(super) fn retain_from(&self) -> u64 {
        let Some(turn) = self.now.turn.checked_sub(1) else { return self.retain_from };
        let behind = Spot { turn, passed: self.now.passed };
        // Whoever stood behind that spot has been written after its commit, whoever stood before it in this turn.
        let mark = self.marks.iter().rev().find(|(spot, _)| *spot <= behind);
        mark.map_or(self.retain_from, |(_, sequence)| self.retain_from.max(sequence + 1))
    }

    /// The commit `sequence` is in the log.
    pub(super) fn committed(&mut self, sequence: u64) {
        self.retain_from = self.retain_from();
        self.latest = sequence;
        self.passed = 0;
        self.back.clear();
        let far = (self.roster.len() / MARKS).max(1);
        let last = self.marks.back().map_or(Spot::default(), |(spot, _)| *spot);
        if self.now.turn > last.turn || self.now.passed >= last.passed + far {
            self.marks.push_back((self.now, sequence));
        }
        while self.marks.get(1).is_some_and(|(_, next)| *next < self.retain_from) {
            self.marks.pop_front();
        }
        if self.holes > HOLES && self.holes * 2 > self.roster.len() {
            self.close_holes();
        }
        self.committed = (self.now, self.roster.len());
    }

    /// The transaction was undone: whoever came in it has gone, and what it wrote anew is not in the log.
    pub(super) fn aborted(&mut self) {
        self.now = self.committed.0;
        self.passed = 0;
        for place in self.roster.drain(self.committed.1..) {
            self.holes -= usize::from(place.is_none());
        }
        self.gone.extend(self.back.drain(..));
    }

    /// Moves everybody up, and with them the spots: whoever stood behind one stands behind it still.
    fn close_holes(&mut self) {
        let mut place = 0;
        let mut places: Vec<usize> = Vec::with_capacity(self.roster.len() + 1);
        for slot in &self.roster {
            places.push(place);
            place += usize::from(slot.is_some());
        }
        places.push(place);
        let moved = |spot: &mut Spot| spot.passed = places.get(spot.passed).copied().unwrap_or(place);
        moved(&mut self.now);
        moved(&mut self.due_until);
        self.marks.iter_mut().for_each(|(spot, _)| moved(spot));
        self.roster.retain(Option::is_some);
        self.holes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn who(number: usize) -> Slot {
        Slot::new(number)
    }

    #[derive(Clone, Debug)]
    struct Step {
        /// Customers who come for the first time.
        come: usize,
        /// Customers who change, or come back.
        change: Vec<usize>,
        /// Customers who go.
        go: Vec<usize>,
        /// Customers written anew.
        refresh: usize,
        commits: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        let some = |most: usize| prop::collection::vec(0..1_000_usize, 0..most);
        let go = prop_oneof![3 => some(2), 1 => some(60)];
        (0..4_usize, some(6), go, 0..9_usize, prop::bool::weighted(0.8))
            .prop_map(|(come, change, go, refresh, commits)| Step { come, change, go, refresh, commits })
    }

    /// What a page says of a customer.
    #[derive(Clone, Debug)]
    enum Said {
        Whole(u64),
        /// How the state follows from an earlier one.
        Changed(u64, u64),
        Gone,
    }

    /// A log that is cut, and what each customer's latest state is.
    struct Log {
        cycle: RefreshCycle,
        sequence: u64,
        pages: BTreeMap<u64, BTreeMap<usize, Said>>,
        latest: BTreeMap<usize, u64>,
        version: u64,
        customers: usize,
    }

    impl Log {
        fn beginning(start: usize) -> Self {
            let latest: BTreeMap<usize, u64> = (0..start).map(|number| (number, 0)).collect();
            let page = latest.iter().map(|(number, state)| (*number, Said::Whole(*state))).collect();
            let cycle = RefreshCycle::beginning((0..start).map(who).collect(), 5);
            Log { cycle, sequence: 5, pages: BTreeMap::from([(5, page)]), latest, version: 0, customers: start }
        }

        fn take(&mut self, step: &Step) {
            let mut state = self.latest.clone();
            let mut written: BTreeMap<usize, Said> = BTreeMap::new();
            let fresh = self.customers..self.customers + step.come;
            let touched = fresh.chain(step.change.iter().map(|number| number % self.customers.max(1)));
            for number in touched {
                self.version += 1;
                state.insert(number, self.version);
                let said = match self.latest.get(&number) {
                    Some(before) => Said::Changed(*before, self.version),
                    None => Said::Whole(self.version),
                };
                if written.insert(number, said).is_none() && !self.latest.contains_key(&number) {
                    self.cycle.joined(who(number));
                }
            }
            // They are in the state until the commit, as far as the turn is concerned.
            let leaving: BTreeSet<usize> = step.go.iter().map(|number| number % self.customers.max(1)).collect();
            let leaving: Vec<usize> = leaving.into_iter().filter(|number| state.contains_key(number)).collect();
            written.extend(leaving.iter().map(|number| (*number, Said::Gone)));
            for _ in 0..step.refresh {
                let Some(next) = self.cycle.next() else { break };
                let number = next.index();
                if !leaving.contains(&number) {
                    written.insert(number, Said::Whole(state[&number]));
                }
            }
            if !step.commits {
                self.cycle.aborted();
                return;
            }
            self.customers += step.come;
            self.sequence += 1;
            self.pages.insert(self.sequence, written);
            let retain_from = self.cycle.retain_from();
            self.cycle.committed(self.sequence);
            for number in &leaving {
                state.remove(number);
                self.cycle.left(who(*number));
            }
            self.latest = state;
            self.pages = self.pages.split_off(&retain_from);
        }

        /// Another worker goes on, which knows only who is there, and that somebody may have gone.
        fn restart(&mut self) {
            let retain_from = self.cycle.retain_from();
            self.cycle = RefreshCycle::beginning(self.latest.keys().copied().map(who).collect(), self.sequence);
            self.cycle.begin_from(retain_from);
            self.cycle.make_due();
        }

        /// The state as a reader finds it who begins where the log was cut, and who has only changed there.
        fn restored(&self) -> (BTreeMap<usize, u64>, BTreeSet<usize>) {
            let (mut restored, mut headless) = (BTreeMap::new(), BTreeSet::new());
            for (number, said) in self.pages.values().flatten() {
                match *said {
                    Said::Changed(from, to) => match restored.get_mut(number) {
                        Some(state) => assert_eq!(std::mem::replace(state, to), from, "customer {number}"),
                        None => drop(headless.insert(*number)),
                    },
                    Said::Whole(state) => {
                        headless.remove(number);
                        restored.insert(*number, state);
                    }
                    Said::Gone => {
                        headless.remove(number);
                        restored.remove(number);
                    }
                }
            }
            (restored, headless)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A log cut at `retain_from` after every commit holds the latest state of every customer, whole and in changes that
        /// follow from it, and of nobody else; once no turn is owed, it does not even name those who have gone.
        #[test]
        fn what_is_cut_is_not_needed(
            start in 0..200_usize,
            steps in prop::collection::vec(step(), 1..200),
            restarts in any::<bool>(),
            newcomers in 0..300_usize,
        ) {
            let mut log = Log::beginning(start);
            for step in &steps {
                log.take(step);
                prop_assert_eq!(log.restored(), (log.latest.clone(), BTreeSet::new()));
                prop_assert!(log.cycle.marks.len() <= 3 * MARKS);
                let places = log.cycle.roster.iter().flatten().count() - log.cycle.gone.len();
                prop_assert_eq!(places, log.latest.len(), "everybody has one place");
            }
            if restarts {
                log.restart();
            }
            let quiet = Step { come: 0, change: Vec::new(), go: Vec::new(), refresh: log.cycle.step(), commits: true };
            log.take(&Step { come: newcomers, refresh: newcomers, ..quiet.clone() });
            let mut steps = 0;
            while log.cycle.is_due() {
                log.take(&quiet);
                steps += 1;
            }
            prop_assert!(steps <= 2 * STEPS, "{} steps", steps);
            if log.pages.values().flatten().any(|(number, _)| !log.latest.contains_key(number)) {
                prop_assert!(false, "the log still names somebody who has gone: {:?} of {:?}", log.pages, log.latest);
            }
        }
    }

    #[test]
    fn a_steady_turn_cuts_the_log_to_about_one_turn() {
        let mut cycle = RefreshCycle::beginning((0..1_000).map(who).collect(), 0);
        for sequence in 1..=1_000_u64 {
            let refreshed: BTreeSet<Slot> = (0..10).map_while(|_| cycle.next()).collect();
            assert!(refreshed.len() <= 10);
            let kept = sequence + 1 - cycle.retain_from().max(1);
            cycle.committed(sequence);
            // A turn takes a hundred commits; marks stand somewhat apart.
            assert!(sequence < 110 || kept <= 105, "{kept} commits are kept at {sequence}");
        }
    }
}
