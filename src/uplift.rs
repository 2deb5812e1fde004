//! What interventions have brought about, as figures: conversion by arm, the difference, and how sure that is.
//!
//! A function of the sums of shards and of the shares that the models give. The interval holds however often it is looked at: it
//! is an asymptotic confidence sequence, wider than the interval of a single test by what looking again and again costs.

use std::collections::BTreeMap;

use compact_str::CompactString;

use crate::journey::{Arm, ArmOf, ArmSums, Sums, ValueSums};
use crate::model::{Intervention, Model};
use crate::touchpoint::Currency;

/// How often the interval may miss the truth, once or ever.
const ALPHA: f64 = 0.05;
/// The interval is narrowest, beside that of a single test, at so many customers.
const NARROWEST: f64 = 5_000.0;
/// With fewer in either arm no interval is shown: it would cover too little.
pub const MIN_FOR_INTERVAL: u64 = 200;
/// With fewer in any arm the shares of arms are not checked.
pub const MIN_FOR_RATIO: u64 = 8;
/// Arms whose shares are less likely than this are not those that the model gives.
const RATIO_ALARM: f64 = 0.001;
/// The effect that is asked for: so much more than without, of what is reached without.
const EFFECT: f64 = 0.1;
/// 1.96 and 0.84: what a test at five percent that finds four of five effects adds up.
const FOUND: f64 = 1.959_964 + 0.841_621;

/// An intervention in one version of its model.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// `model/name`.
    pub intervention: CompactString,
    /// The version of the model.
    pub version: u32,
    /// What is summed up, arm by arm.
    pub arms: Vec<(Arm, Option<CompactString>, ArmSums)>,
    /// Those who were treated against those who were held out: all of them, and of several variants each.
    pub comparisons: Vec<Comparison>,
    /// Whether arms have the shares that the model gives.
    pub ratio: Option<Ratio>,
    /// How many more customers until a tenth more than what is reached without would show.
    pub more: Option<u64>,
}

/// The treated beside the held-out.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The variant; `None`: all who were treated.
    pub variant: Option<CompactString>,
    /// How many of each.
    pub customers: (u64, u64),
    /// Of a customer: how often the goal was reached.
    pub conversion: Difference,
    /// By currency: what that was worth, in units for each customer.
    pub values: Vec<(Currency, Difference)>,
}

/// Means, and what lies between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The mean of the treated.
    pub treated: f64,
    /// That of the held-out.
    pub held_out: f64,
    /// With the part taken out that what was before the decision explains.
    pub adjusted: f64,
    /// So far from `adjusted` the truth may lie to either side; `None` while too few were measured.
    pub half_width: Option<f64>,
}

/// Whether arms have the shares that the model gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// How likely arms are to differ from those shares as much as they do.
    pub p: f64,
    /// Whether that is so unlikely that something is wrong: the comparison is worth nothing then.
    pub alarm: bool,
}

impl Difference {
    /// The treated less the held-out.
    pub fn difference(&self) -> f64 {
        self.treated - self.held_out
    }

    /// From where to where the truth lies.
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.half_width.map(|half| (self.adjusted - half, self.adjusted + half))
    }
}

/// The figures of all interventions, in order.
pub fn figures(sums: &Sums, models: &[std::sync::Arc<Model>]) -> Vec<Figures> {
    let mut all: BTreeMap<(&CompactString, u32), Vec<(&ArmOf, &ArmSums)>> = BTreeMap::new();
    for (of, sums) in sums.iter() {
        all.entry((&of.intervention, of.version)).or_default().push((of, sums));
    }
    let one = |((intervention, version), arms): ((&CompactString, u32), Vec<(&ArmOf, &ArmSums)>)| {
        let mut now = models.iter().filter(|model| model.version == version).flat_map(|model| &model.interventions);
        let known = now.find(|known| known.id == *intervention);
        let mut treated = ArmSums::default();
        let mut held_out = ArmSums::default();
        for (of, sums) in &arms {
            match of.arm {
                Arm::Treated => treated.add(sums),
                Arm::HeldOut => held_out.add(sums),
                Arm::HeldOutOfAll => {}
            }
        }
        let mut comparisons = Vec::new();
        if treated.measured > 0 && held_out.measured > 0 {
            comparisons.push(compare(None, &treated, &held_out));
            let variants = arms.iter().filter(|(of, sums)| of.variant.is_some() && sums.measured > 0);
            comparisons.extend(variants.map(|(of, sums)| compare(of.variant.clone(), sums, &held_out)));
        }
        Figures {
            intervention: intervention.clone(),
            version,
            ratio: known.and_then(|known| ratio(known, &arms)),
            more: more(&treated, &held_out),
            comparisons,
            arms: arms.into_iter().map(|(of, sums)| (of.arm, of.variant.clone(), sums.clone())).collect(),
        }
    };
    all.into_iter().map(one).collect()
}

/// How often a goal was reached: by customers, and by those among them who reached it, of the treated and of the held-out.
pub fn of_counts(treated: (u64, u64), held_out: (u64, u64)) -> Difference {
    let moments = |(measured, converted)| Moments::of_conversion(&ArmSums { measured, converted, ..ArmSums::default() });
    differ(&moments(treated), &moments(held_out))
}

fn compare(variant: Option<CompactString>, treated: &ArmSums, held_out: &ArmSums) -> Comparison {
    let mut currencies: Vec<Currency> =
        [treated, held_out].iter().flat_map(|arm| &arm.values).map(|sums| sums.currency).collect();
    currencies.sort();
    currencies.dedup();
    let value = |currency: Currency| {
        let moments = |arm: &ArmSums| Moments::of_value(arm, currency);
        let Difference { treated, held_out, adjusted, half_width } = differ(&moments(treated), &moments(held_out));
        let smallest = f64::from(10_u32.pow(currency.decimals()));
        let units = |summed: f64| summed / smallest;
        let half_width = half_width.map(units);
        (currency, Difference { treated: units(treated), held_out: units(held_out), adjusted: units(adjusted), half_width })
    };
    Comparison {
        variant,
        customers: (treated.measured, held_out.measured),
        conversion: differ(&Moments::of_conversion(treated), &Moments::of_conversion(held_out)),
        values: currencies.into_iter().map(value).collect(),
    }
}

/// The sums of one thing that is measured (y) beside what was before (x).
struct Moments {
    n: u64,
    y: i128,
    yy: i128,
    x: i128,
    xx: i128,
    xy: i128,
}

impl Moments {
    fn of_conversion(arm: &ArmSums) -> Self {
        let (y, xy) = (arm.converted.into(), arm.before_converted.into());
        Moments { n: arm.measured, y, yy: y, x: arm.before.into(), xx: arm.before_squared.into(), xy }
    }

    fn of_value(arm: &ArmSums, currency: Currency) -> Self {
        let sums = arm.values.iter().find(|sums| sums.currency == currency);
        let (y, yy, xy) = sums.map_or((0, 0, 0), |ValueSums { value, squared, before, .. }| (*value, *squared, *before));
        Moments { n: arm.measured, y, yy, x: arm.before.into(), xx: arm.before_squared.into(), xy }
    }

    fn mean(&self, sum: i128) -> f64 {
        sum as f64 / self.n as f64
    }

    /// The sum of products of what two sums deviate from their means.
    fn deviations(&self, products: i128, one: i128, other: i128) -> f64 {
        let n = i128::from(self.n);
        // Exact where that fits, so that nothing is lost where large numbers cancel each other.
        let exact = n.checked_mul(products).zip(one.checked_mul(other)).and_then(|(all, mean)| all.checked_sub(mean));
        let n = self.n as f64;
        exact.map_or_else(|| products as f64 - one as f64 * (other as f64 / n), |exact| exact as f64 / n)
    }

    /// The variance of the mean of y, less what x explains of it by `theta`.
    fn variance_of_mean(&self, theta: f64) -> f64 {
        let (yy, xy) = (self.deviations(self.yy, self.y, self.y), self.deviations(self.xy, self.x, self.y));
        let left = yy - 2.0 * theta * xy + theta * theta * self.deviations(self.xx, self.x, self.x);
        let n = self.n as f64;
        left.max(0.0) / (n - 1.0).max(1.0) / n
    }
}

fn differ(treated: &Moments, held_out: &Moments) -> Difference {
    let both = || [treated, held_out].into_iter();
    let xx: f64 = both().map(|arm| arm.deviations(arm.xx, arm.x, arm.x)).sum();
    let xy: f64 = both().map(|arm| arm.deviations(arm.xy, arm.x, arm.y)).sum();
    let theta = if xx > 0.0 { xy / xx } else { 0.0 };
    let [(y1, x1), (y0, x0)] = [treated, held_out].map(|arm| (arm.mean(arm.y), arm.mean(arm.x)));
    let error = both().map(|arm| arm.variance_of_mean(theta)).sum::<f64>().sqrt();
    let enough = both().all(|arm| arm.n >= MIN_FOR_INTERVAL);
    Difference {
        treated: y1,
        held_out: y0,
        adjusted: y1 - y0 - theta * (x1 - x0),
        half_width: enough.then(|| error * width((treated.n + held_out.n) as f64)),
    }
}

/// Half the width of the interval in standard errors, after so many customers (Waudby-Smith and others, "Time-uniform central
/// limit theory and asymptotic confidence sequences").
fn width(n: f64) -> f64 {
    let ln = f64::ln;
    let rho2 = (-2.0 * ln(ALPHA) + ln(-2.0 * ln(ALPHA) + 1.0)) / NARROWEST;
    let spread = n * rho2 + 1.0;
    n.sqrt() * (2.0 * spread / (n * n * rho2) * ln(spread.sqrt() / ALPHA)).sqrt()
}

/// Whether arms have the shares that the model gives, by Pearson's χ².
fn ratio(intervention: &Intervention, arms: &[(&ArmOf, &ArmSums)]) -> Option<Ratio> {
    let held_out = f64::from(intervention.holdout.as_ref()?.share) / f64::from(crate::journey::arm::BUCKETS);
    let weights: u32 = intervention.variants.iter().map(|(_, weight)| weight).sum();
    let mut expected: Vec<(Arm, Option<&CompactString>, f64)> = vec![(Arm::HeldOut, None, held_out)];
    match intervention.variants.as_slice() {
        [] => expected.push((Arm::Treated, None, 1.0 - held_out)),
        variants => expected.extend(variants.iter().map(|(name, weight)| {
            let share = (1.0 - held_out) * f64::from(*weight) / f64::from(weights);
            (Arm::Treated, Some(name), share)
        })),
    }
    expected.retain(|(.., share)| *share > 0.0);
    let count = |arm: Arm, variant: Option<&CompactString>| {
        let found = arms.iter().find(|(of, _)| of.arm == arm && of.variant.as_ref() == variant);
        found.map_or(0, |(_, sums)| sums.measured)
    };
    let counted: Vec<(u64, f64)> = expected.iter().map(|(arm, variant, share)| (count(*arm, *variant), *share)).collect();
    if counted.len() < 2 || counted.iter().any(|(count, _)| *count < MIN_FOR_RATIO) {
        return None;
    }
    let all: u64 = counted.iter().map(|(count, _)| count).sum();
    let deviates = |(count, share): &(u64, f64)| {
        let expected = all as f64 * share;
        (*count as f64 - expected).powi(2) / expected
    };
    let p = chi_squared_above(counted.iter().map(deviates).sum(), counted.len() - 1);
    Some(Ratio { p, alarm: p < RATIO_ALARM })
}

/// How likely a χ² with so many degrees of freedom is to be greater.
fn chi_squared_above(chi_squared: f64, degrees: usize) -> f64 {
    let half = chi_squared / 2.0;
    // Each step of two degrees adds a term.
    let (mut above, mut term, mut at) = match degrees % 2 {
        0 => ((-half).exp(), (-half).exp() * half, 2),
        _ => (erfc(half.sqrt()), (-half).exp() * half.sqrt() * 2.0 / std::f64::consts::PI.sqrt(), 1),
    };
    while at < degrees {
        above += term;
        at += 2;
        term *= half / (at as f64 / 2.0);
    }
    above.clamp(0.0, 1.0)
}

/// The complementary error function of what is not negative.
fn erfc(x: f64) -> f64 {
    let scale = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - 2.0 * scale * sum;
    }
    let fraction = (1..60).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
    scale / fraction
}

/// So many customers in all it takes until an effect shows: `base` of the held-out reach the goal, and by a `relative` part more of
/// the treated; a test at five percent then finds four of five such effects. The interval that is looked at again and again
/// finds it somewhat later.
pub fn customers_needed(base: f64, relative: f64, held_out: f64) -> f64 {
    let treated = base * (1.0 + relative);
    let variance = treated * (1.0 - treated) / (1.0 - held_out) + base * (1.0 - base) / held_out;
    FOUND.powi(2) * variance / (base * relative).powi(2)
}

/// How many more it takes, by what is known so far.
fn more(treated: &ArmSums, held_out: &ArmSums) -> Option<u64> {
    if treated.measured < MIN_FOR_INTERVAL || held_out.measured < MIN_FOR_INTERVAL || held_out.converted == 0 {
        return None;
    }
    let all = treated.measured + held_out.measured;
    let base = held_out.converted as f64 / held_out.measured as f64;
    let needed = customers_needed(base, EFFECT, held_out.measured as f64 / all as f64);
    Some((needed.ceil() as u64).saturating_sub(all))
}

#[cfg(test)]
mod tests;
