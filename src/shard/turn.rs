//! Going round all customers of a shard, a few at each commit, so that the state log can be cut behind one full turn.
//!
//! A log that only holds what changed would have to be kept for ever. While it is written, everybody's state is therefore
//! written anew in turn; what was written more than one turn ago is then not needed any more, wherever the turn stands.

use std::collections::VecDeque;

use crate::touchpoint::Identity;

/// So many places of a turn are remembered at most; what can be cut is found to this precision.
const MARKS: usize = 64;

/// Where a shard is on its way round its customers.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// All customers, in the order they came.
    roster: Vec<Identity>,
    now: Spot,
    /// As of the last commit: the spot, and how many customers there were.
    committed: (Spot, usize),
    /// Spots at commits, oldest first, with the commit's sequence number.
    marks: VecDeque<(Spot, u64)>,
    /// From which commit on the log is needed.
    needed_from: u64,
}

/// A spot on the way: turns made, and customers passed in this one. Later spots are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    turn: u64,
    passed: usize,
}

impl Turn {
    /// A turn that begins with these customers; `sequence` is the last commit before it.
    pub(super) fn beginning(roster: Vec<Identity>, sequence: u64) -> Self {
        let customers = roster.len();
        Turn {
            roster,
            now: Spot::default(),
            committed: (Spot::default(), customers),
            marks: VecDeque::from([(Spot::default(), sequence)]),
            needed_from: 0,
        }
    }

    /// The log was cut by an earlier owner up to this commit at most: it is needed from there on until a turn is made.
    pub(super) fn begun_from(&mut self, needed_from: u64) {
        self.needed_from = needed_from;
    }

    /// Another customer came; the transaction writes its state.
    pub(super) fn joined(&mut self, who: &Identity) {
        self.roster.push(who.clone());
    }

    /// The next customer to be written anew; `None` at the end of a turn, so that one commit makes no more than one.
    pub(super) fn next(&mut self) -> Option<Identity> {
        match self.roster.get(self.now.passed) {
            Some(who) => {
                self.now.passed += 1;
                Some(who.clone())
            }
            None => {
                self.now = Spot { turn: self.now.turn + 1, passed: 0 };
                None
            }
        }
    }

    /// From which commit on the log is needed, once the commit now being made is in it.
    pub(super) fn needed_from(&self) -> u64 {
        let Some(turn) = self.now.turn.checked_sub(1) else { return self.needed_from };
        let behind = Spot { turn, passed: self.now.passed };
        // Whoever stood behind that spot has been written after its commit, whoever stood before it in this turn.
        let mark = self.marks.iter().rev().find(|(spot, _)| *spot <= behind);
        mark.map_or(self.needed_from, |(_, sequence)| self.needed_from.max(sequence + 1))
    }

    /// The commit `sequence` is in the log.
    pub(super) fn committed(&mut self, sequence: u64) {
        self.needed_from = self.needed_from();
        self.committed = (self.now, self.roster.len());
        let far = (self.roster.len() / MARKS).max(1);
        let last = self.marks.back().map_or(Spot::default(), |(spot, _)| *spot);
        if self.now.turn > last.turn || self.now.passed >= last.passed + far {
            self.marks.push_back((self.now, sequence));
        }
        while self.marks.get(1).is_some_and(|(_, next)| *next < self.needed_from) {
            self.marks.pop_front();
        }
    }

    /// The transaction was undone: whoever came in it has gone, and what it wrote anew is not in the log.
    pub(super) fn aborted(&mut self) {
        self.now = self.committed.0;
        self.roster.truncate(self.committed.1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn who(number: usize) -> Identity {
        Identity::customer(format!("c{number}"))
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Customers that come, customers that change, customers written anew, and whether the transaction commits.
        Commit { come: usize, change: Vec<usize>, refresh: usize, commits: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        (0..4_usize, prop::collection::vec(0..1_000_usize, 0..6), 0..9_usize, prop::bool::weighted(0.8))
            .prop_map(|(come, change, refresh, commits)| Step::Commit { come, change, refresh, commits })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A log cut at `needed_from` after every commit holds the latest state of every customer, and is cut within two turns.
        #[test]
        fn what_is_cut_is_not_needed(start in 0..20_usize, steps in prop::collection::vec(step(), 1..200)) {
            let mut turn = Turn::beginning((0..start).map(who).collect(), 5);
            let mut log: BTreeMap<u64, BTreeMap<usize, u64>> = BTreeMap::new();
            let mut latest: BTreeMap<usize, u64> = (0..start).map(|number| (number, 0)).collect();
            log.insert(5, latest.clone());
            let (mut sequence, mut version) = (5, 0);
            for Step::Commit { come, change, refresh, commits } in steps {
                let mut state = latest.clone();
                let mut written = BTreeMap::new();
                for _ in 0..come {
                    let number = state.len();
                    turn.joined(&who(number));
                    version += 1;
                    state.insert(number, version);
                    written.insert(number, version);
                }
                for number in change {
                    let count = state.len().max(1);
                    if let Some(known) = state.get_mut(&(number % count)) {
                        version += 1;
                        *known = version;
                        written.insert(number % count, version);
                    }
                }
                for _ in 0..refresh {
                    let Some(next) = turn.next() else { break };
                    let number: usize = next.id[1..].parse().expect("a number");
                    written.insert(number, state[&number]);
                }
                if !commits {
                    turn.aborted();
                    continue;
                }
                sequence += 1;
                log.insert(sequence, written);
                latest = state;
                let needed_from = turn.needed_from();
                turn.committed(sequence);
                log = log.split_off(&needed_from);
                let mut restored = BTreeMap::new();
                log.values().for_each(|page| restored.extend(page.clone()));
                prop_assert_eq!(&restored, &latest);
                prop_assert!(turn.marks.len() <= 3 * MARKS);
            }
        }
    }

    #[test]
    fn a_steady_turn_cuts_the_log_to_about_one_turn() {
        let mut turn = Turn::beginning((0..1_000).map(who).collect(), 0);
        for sequence in 1..=1_000_u64 {
            let refreshed: BTreeSet<Identity> = (0..10).map_while(|_| turn.next()).collect();
            assert!(refreshed.len() <= 10);
            let kept = sequence + 1 - turn.needed_from().max(1);
            turn.committed(sequence);
            // A turn takes a hundred commits, and one more ends it.
            assert!(sequence < 110 || kept <= 105, "{kept} commits are kept at {sequence}");
        }
    }
}
