//! The verdict: what was read beside what the oracle tells, and the purchases beside what came after them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use crate::load::{Population, SLOWNESS};
use crate::offers::{Offers, Story};
use crate::oracle::Told;
use crate::shopper::Customer;
use crate::watcher::{Outcome, Seen};

/// So many customers' differences are written down.
const SHOWN: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub expected: usize,
    pub lost: usize,
    pub twice: usize,
    pub wrong: usize,
    pub after_purchase: usize,
    pub abandonments: usize,
    pub completions: usize,
    pub offers: Offers,
    /// For people.
    pub differences: String,
    shown: usize,
}

impl Verdict {
    /// The four zeros, and no promise about an offer is broken.
    pub(crate) fn is_clean(&self) -> bool {
        [self.lost, self.twice, self.wrong, self.after_purchase, self.offers.broken] == [0; 5]
    }
}

/// How many outcomes there must be.
pub(crate) fn total(population: &Population, begin: i64) -> usize {
    (0..population.customers()).map(|number| population.expected(&population.customer(number), begin).len()).sum()
}

/// Judges what was read.
pub(crate) fn judge(population: &Population, begin: i64, mut seen: Seen) -> Verdict {
    let mut verdict = Verdict { twice: seen.repeated(), wrong: seen.odd.len(), ..Verdict::default() };
    for odd in seen.odd.iter().take(SHOWN) {
        let _ = writeln!(verdict.differences, "odd: {odd}");
    }
    for number in 0..population.customers() {
        let customer = population.customer(number);
        let (outcomes, offers) = seen.take_customer(&customer.id);
        verdict.compare(&customer, begin, &population.expected(&customer, begin), &outcomes);
        verdict.look_after_purchases(&customer, begin, &outcomes);
        let story = Story { customer: &customer, begin, outcomes: &outcomes, offers: &offers };
        let different = story.judge(&mut verdict.offers);
        verdict.show(&customer, begin, &different, &outcomes);
    }
    let strangers = seen.by_customer.iter().map(|(who, outcomes)| (who, outcomes.len()));
    for (who, count) in strangers.chain(seen.offers.iter().map(|(who, offers)| (who, offers.len()))) {
        verdict.wrong += count;
        let _ = writeln!(verdict.differences, "{who} does not exist, and has {count} outcomes");
    }
    verdict
}

impl Verdict {
    /// By sequence number: what is missing is lost, what has a number that was given already comes twice, anything else that
    /// differs is wrong.
    fn compare(&mut self, customer: &Customer, begin: i64, expected: &[Told], outcomes: &[Outcome]) {
        self.expected += expected.len();
        let mut by_sequence: BTreeMap<u64, Vec<&Outcome>> = BTreeMap::new();
        for outcome in outcomes {
            by_sequence.entry(outcome.told.sequence).or_default().push(outcome);
        }
        let mut different = Vec::new();
        for told in expected {
            match by_sequence.remove(&told.sequence).as_deref() {
                None => {
                    self.lost += 1;
                    different.push(format!("lost: {told:#?}"));
                }
                Some([first, again @ ..]) => {
                    // Those under the id of the first are counted already.
                    self.twice += again.iter().filter(|other| other.id != first.id).count();
                    if !again.is_empty() {
                        different.push(format!("{} records of number {}", again.len() + 1, told.sequence));
                    }
                    if first.told != *told {
                        self.wrong += 1;
                        different.push(format!("wrong: expected {told:#?}\nread {:#?}", first.told));
                    }
                }
                Some([]) => unreachable!("a number is there because of an outcome"),
            }
        }
        for more in by_sequence.values().flatten() {
            self.wrong += 1;
            different.push(format!("not expected: {:#?}", more.told));
        }
        let abandoned: HashMap<&str, i64> = outcomes
            .iter()
            .filter(|outcome| outcome.told.kind == "abandonment")
            .map(|outcome| (outcome.id.as_str(), outcome.told.at))
            .collect();
        for outcome in outcomes.iter().filter(|outcome| outcome.answers.is_some()) {
            let answered = outcome.answers.as_deref().and_then(|id| abandoned.get(id)).copied();
            if answered.is_none() || answered != outcome.told.answers {
                self.wrong += 1;
                different.push(format!("answers nothing that was told: {:#?}", outcome.told));
            }
        }
        self.abandonments += abandoned.len();
        self.completions += outcomes.iter().filter(|outcome| outcome.told.kind == "completion").count();
        self.show(customer, begin, &different, outcomes);
    }

    /// Rule 13, by what stands in the outcomes and in the touchpoints alone.
    fn look_after_purchases(&mut self, customer: &Customer, begin: i64, outcomes: &[Outcome]) {
        let mut completed: BTreeSet<&str> = BTreeSet::new();
        // With the kind of episode: a basket and its checkout share ids.
        let mut ids: BTreeSet<(&str, &str)> = BTreeSet::new();
        let mut different = Vec::new();
        let bought: BTreeMap<String, i64> = customer
            .acts
            .iter()
            .filter(|(_, act)| act.kind == "order.completed")
            .flat_map(|(_, act)| {
                let at = begin + act.at * SLOWNESS;
                let named = [("cart_id", &act.cart), ("checkout_id", &act.checkout), ("order_id", &act.order)];
                named.map(|(name, id)| id.as_ref().map(|id| (format!("{name}={id}"), at)))
            })
            .flatten()
            .collect();
        for Outcome { told, .. } in outcomes {
            let of_episode = told.subject.as_deref().filter(|subject| !subject.starts_with("stage "));
            let Some(subject) = of_episode else { continue };
            let kind = subject.split(' ').next().unwrap_or_default();
            let mut named = told.ids.iter().map(String::as_str);
            match told.kind {
                "completion" => {
                    completed.insert(subject);
                    ids.extend(named.map(|id| (kind, id)));
                }
                "recovery" => {}
                _ => {
                    let by_episode = completed.contains(subject);
                    let by_id = named.clone().any(|id| ids.contains(&(kind, id)));
                    let by_purchase = named.any(|id| bought.get(id).is_some_and(|at| told.at > *at));
                    if by_episode || by_id || by_purchase {
                        self.after_purchase += 1;
                        different.push(format!("after the purchase: {told:#?}"));
                    }
                }
            }
        }
        self.show(customer, begin, &different, outcomes);
    }

    fn show(&mut self, customer: &Customer, begin: i64, different: &[String], outcomes: &[Outcome]) {
        if different.is_empty() || self.shown == SHOWN {
            return;
        }
        self.shown += 1;
        let _ = writeln!(self.differences, "=== {} ===\n{}\nwas told, in sequence:", customer.id, different.join("\n"));
        for Outcome { told, id, read_at, .. } in outcomes {
            let _ = writeln!(self.differences, "  read at {read_at}, id {id}: {told:?}");
        }
        let _ = writeln!(self.differences, "did:");
        for (topic, act) in &customer.acts {
            let _ = writeln!(self.differences, "  at {} on topic {topic}: {act:?}", begin + act.at * SLOWNESS);
        }
    }
}
