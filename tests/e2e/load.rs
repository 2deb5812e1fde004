//! Synthetic customers for `models/shop.yaml`, the same for the same seed.
//!
//! A customer comes in up to three bursts of at most 4.5 s, which begin 25 s apart. All spans of the model lie between 10 s
//! and 15 s, so every touchpoint keeps at least 5 s away from every deadline, whichever touchpoints it counts from. A
//! customer's touchpoints on different topics are at least 1 s apart.

use crate::oracle::Act;
use crate::shopper::Shopper;
pub(crate) use crate::shopper::{Customer, Dice, encode};

const BURST: i64 = 4_500;
const BETWEEN_BURSTS: i64 = 25_000;
/// Customers come in at any time within this.
const ARRIVALS: i64 = 14_000;

/// So many touchpoints, to the one, of as many customers as it takes.
pub(crate) fn customers(seed: u64, touchpoints: usize) -> Vec<Customer> {
    let mut dice = Dice(seed);
    let mut all = Vec::new();
    let mut left = touchpoints;
    while left > 0 {
        let mut customer = customer(&mut dice, all.len());
        customer.acts.truncate(left);
        left -= customer.acts.len();
        all.push(customer);
    }
    all
}

fn customer(dice: &mut Dice, number: usize) -> Customer {
    let id = format!("c{number}");
    let mut shopper = Shopper::new(&id);
    let arrival = dice.between(0, ARRIVALS);
    let mut acts = Vec::new();
    let mut topic = dice.below(2) as usize;
    for burst in 0..=dice.below(3) as i64 {
        let begin = arrival + burst * BETWEEN_BURSTS;
        let session = dice.percent(60).then(|| format!("{id}-s{burst}"));
        let mut at = begin;
        for _ in 0..dice.between(2, 8) {
            acts.push((topic, Act { at, session: session.clone(), ..shopper.act(dice) }));
            let other = dice.percent(35);
            if other {
                topic = 1 - topic;
            }
            at += if other { dice.between(1_000, 1_400) } else { dice.between(40, 400) };
            if at > begin + BURST {
                break;
            }
        }
    }
    for (count, (_, act)) in acts.iter_mut().enumerate() {
        act.id = format!("{id}-{count}");
    }
    Customer { id, anonymous: number % 10 == 9, acts }
}

/// The load keeps what its answers rely on.
#[test]
fn every_gap_keeps_away_from_every_deadline() {
    let customers = customers(7, 20_000);
    assert_eq!(customers.iter().map(|customer| customer.acts.len()).sum::<usize>(), 20_000);
    for customer in &customers {
        let times: Vec<i64> = customer.acts.iter().map(|(_, act)| act.at).collect();
        for (place, later) in times.iter().enumerate() {
            for earlier in &times[..place] {
                for deadline in [10_000, 12_000, 15_000].map(|span| earlier + span) {
                    assert!((later - deadline).abs() >= 5_000, "{}: {later} is close to {deadline}", customer.id);
                }
            }
        }
        for pair in customer.acts.windows(2) {
            let apart = if pair[0].0 == pair[1].0 { 1 } else { 1_000 };
            assert!(pair[1].1.at - pair[0].1.at >= apart, "{}", customer.id);
        }
    }
}
