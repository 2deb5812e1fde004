//! The figures against tables, the contract, and experiments whose truth is known.

use std::sync::Arc;

use super::*;
use crate::journey::Measured;
use crate::time::Timestamp;
use crate::touchpoint::Money;

fn arm(measured: u64, converted: u64) -> ArmSums {
    ArmSums { measured, converted, ..ArmSums::default() }
}

#[test]
fn the_interval_is_as_wide_as_the_contract_has_it() {
    for (n, expected) in [(500.0, 1.97), (2_000.0, 1.59), (5_000.0, 1.55), (20_000.0, 1.60)] {
        let times = width(n) / 1.959_964;
        assert!((times - expected).abs() < 0.005, "{n}: {times}");
    }
}

#[test]
fn none_is_shown_before_there_are_two_hundred_in_each_arm() {
    let of = |n| differ(&Moments::of_conversion(&arm(5_000, 600)), &Moments::of_conversion(&arm(n, 20)));
    assert_eq!((of(199).interval(), of(200).half_width.is_some()), (None, true));
}

#[test]
fn customers_needed_are_those_of_the_contract() {
    let needed = customers_needed(0.1, 0.1, 0.1);
    assert!((78_500.0..79_500.0).contains(&needed), "{needed}");
    let known = more(&arm(9_000, 990), &arm(1_000, 100)).expect("enough");
    assert_eq!(known, needed.ceil() as u64 - 10_000);
}

#[test]
fn a_chi_squared_is_as_likely_as_tables_say() {
    for (chi_squared, degrees, p) in [
        (3.841, 1, 0.05),
        (10.828, 1, 0.001),
        (5.991, 2, 0.05),
        (13.816, 2, 0.001),
        (7.815, 3, 0.05),
        (16.266, 3, 0.001),
        (9.488, 4, 0.05),
        (20.515, 5, 0.001),
        (0.0, 1, 1.0),
    ] {
        let found = chi_squared_above(chi_squared, degrees);
        assert!((found - p).abs() < p * 0.002, "{chi_squared} {degrees}: {found}");
    }
}

fn model() -> Arc<Model> {
    let text = "
sillage: 1
model: shop
version: 2
stages: { shopping: { enter: page.viewed } }
friction: { lost: { on: page.slow } }
interventions:
  help:
    on: { friction: lost }
    channel: chat
    holdout: { share: 20% }
    variants: { plain: 1, warm: 3 }
    expires: 5m
    goal: { transition: shopping, within: 1h }
";
    let (model, faults) = crate::model::load("shop.yaml", text);
    Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
}

fn sums(counts: [u64; 4]) -> Sums {
    let arms =
        [(Arm::HeldOut, None), (Arm::Treated, Some("plain")), (Arm::Treated, Some("warm")), (Arm::HeldOutOfAll, None)];
    let mut sums = Sums::default();
    for ((arm, variant), count) in arms.into_iter().zip(counts) {
        let of = ArmOf { intervention: "shop/help".into(), version: 2, arm, variant: variant.map(CompactString::from) };
        for number in 0..count {
            let value = Money { micros: 1_990_000, currency: Currency::parse("EUR").expect("a currency") };
            let converted = number % 5 == 0;
            let due = Timestamp::from_millis(number as i64);
            let value = converted.then_some(value);
            sums.measure(of.clone(), Measured { converted, value, before: number % 3, due });
        }
    }
    sums
}

#[test]
fn arms_have_the_shares_of_the_model_or_that_is_told() {
    let models = [model()];
    let of = |counts| figures(&sums(counts), &models).remove(0);
    let ratio = |counts| of(counts).ratio;
    assert!(ratio([200, 200, 600, 0]).is_some_and(|ratio| ratio.p > 0.999 && !ratio.alarm));
    assert!(ratio([300, 200, 600, 0]).is_some_and(|ratio| ratio.alarm), "{:?}", ratio([300, 200, 600, 0]));
    assert_eq!(ratio([7, 200, 600, 0]), None);
    // The hold-out over all is no part of the comparison.
    let figures = of([200, 200, 600, 5_000]);
    assert_eq!(
        figures.comparisons.iter().map(|one| one.customers).collect::<Vec<_>>(),
        [(800, 200), (200, 200), (600, 200)]
    );
    assert_eq!(figures.arms.len(), 4);
    let all = &figures.comparisons[0];
    assert!((all.conversion.difference(), all.conversion.treated) == (0.0, 0.2), "{all:?}");
    assert!((all.values[0].1.treated - 0.398).abs() < 1e-9, "{all:?}");
    assert!(all.values[0].1.half_width.is_some());
}

/// A generator of its own, so that a run is the same for ever (SplitMix64).
struct Dice(u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const EXPERIMENTS: u64 = 500;
const DAYS: usize = 60;
const A_DAY: usize = 200;
const TRUTH: f64 = 0.02;

/// A shop in which every fifth customer buys often and was seen to, and the others seldom; two of a hundred more buy when treated.
fn looked_at_daily(seed: u64, held_out: f64) -> (bool, bool, f64) {
    let mut dice = Dice(seed);
    let (mut treated, mut control) = (ArmSums::default(), ArmSums::default());
    let (mut covers, mut naive_covers, mut last) = (true, true, f64::NAN);
    for _ in 0..DAYS {
        for _ in 0..A_DAY {
            let often = dice.share() < 0.2;
            let before = u64::from(often) * (1 + u64::from(dice.share() < 0.5)) + u64::from(!often && dice.share() < 0.05);
            let is_held_out = dice.share() < held_out;
            let rate = (if often { 0.3 } else { 0.05 }) + (if is_held_out { 0.0 } else { TRUTH });
            let converted = u64::from(dice.share() < rate);
            let arm = if is_held_out { &mut control } else { &mut treated };
            arm.measured += 1;
            arm.converted += converted;
            arm.before += before;
            arm.before_squared += before * before;
            arm.before_converted += before * converted;
        }
        let found = differ(&Moments::of_conversion(&treated), &Moments::of_conversion(&control));
        if let Some(half) = found.half_width {
            covers &= (found.adjusted - TRUTH).abs() <= half;
            let n = (treated.measured + control.measured) as f64;
            naive_covers &= (found.adjusted - TRUTH).abs() <= half / width(n) * 1.959_964;
            last = half;
        }
    }
    (covers, naive_covers, last)
}

/// Whoever looks every day sees the truth within the interval on all days, in 95 of 100 experiments.
#[test]
fn an_interval_that_is_looked_at_daily_covers_the_truth_throughout() {
    for held_out in [0.05, 0.10, 0.50] {
        let runs: Vec<(bool, bool, f64)> =
            (0..EXPERIMENTS).map(|seed| looked_at_daily(seed * 1_000 + 1, held_out)).collect();
        let count = |of: fn(&(bool, bool, f64)) -> bool| runs.iter().filter(|run| of(run)).count() as f64;
        let (covers, naive) = (count(|run| run.0), count(|run| run.1));
        let all = EXPERIMENTS as f64;
        let half = runs.iter().map(|run| run.2).sum::<f64>() / all;
        eprintln!(
            "hold-out {held_out}: {:.1} % cover throughout, {:.1} % of plain tests do; ±{half:.4} at the end",
            covers / all * 100.0,
            naive / all * 100.0
        );
        assert!(covers / all >= 0.95, "hold-out {held_out}: {covers} of {all}");
        assert!(naive < covers, "a plain test looked at daily is wrong more often");
    }
}

/// What was before explains a part of what comes, and the interval is narrower by that.
#[test]
fn what_was_before_makes_the_interval_narrower_and_moves_nothing() {
    let of = |x: bool| {
        let arm = |n: u64, often: u64, seldom: u64| ArmSums {
            measured: n,
            converted: often + seldom,
            before: if x { n / 5 } else { 0 },
            before_squared: if x { n / 5 } else { 0 },
            before_converted: if x { often } else { 0 },
            ..ArmSums::default()
        };
        let [treated, control] = [arm(5_000, 600, 240), arm(5_000, 500, 200)].map(|arm| Moments::of_conversion(&arm));
        differ(&treated, &control)
    };
    let (without, with) = (of(false), of(true));
    let [wide, narrow] = [without, with].map(|one| one.half_width.expect("enough"));
    assert!(narrow < wide * 0.9, "{narrow} {wide}");
    assert!((with.adjusted - without.adjusted).abs() < 1e-12, "both arms had the same before");
}
