//! What interventions have brought about as JSON, for readers: the sums to the last unit, and the figures that follow.

use serde_json::{Value, json};

use crate::journey::{Arm, ArmSums};
use crate::shard::ShardId;
use crate::touchpoint::Currency;
use crate::uplift::{Comparison, Difference, Figures};

/// The figures over these partitions; `missing` are those that the process has and cannot read.
pub fn interventions_json(figures: &[Figures], shards: &[ShardId], missing: &[ShardId]) -> Value {
    json!({
        "partitions": shards,
        "missing": missing,
        "interventions": figures.iter().map(one).collect::<Vec<_>>(),
    })
}

fn one(figures: &Figures) -> Value {
    let arms: Vec<Value> = figures.arms.iter().map(|(of, variant, sums)| arm(*of, variant.as_deref(), sums)).collect();
    json!({
        "intervention": figures.intervention.as_str(),
        "version": figures.version,
        "arms": arms,
        "comparisons": figures.comparisons.iter().map(comparison).collect::<Vec<_>>(),
        "ratio": figures.ratio.map(|ratio| json!({ "p": ratio.p, "alarm": ratio.alarm })),
        "customers_more": figures.more,
    })
}

fn arm(arm: Arm, variant: Option<&str>, sums: &ArmSums) -> Value {
    let ArmSums { measured, converted, before, before_squared, before_converted, values, .. } = sums;
    let values: Vec<Value> = values
        .iter()
        .map(|sums| {
            // Whole numbers of any size, which not every reader of JSON takes as numbers.
            let [value, squared, before] = [sums.value, sums.squared, sums.before].map(|sum| sum.to_string());
            json!({
                "currency": sums.currency.as_str(),
                "customers": sums.customers,
                "smallest_units": value,
                "squared": squared,
                "times_before": before,
            })
        })
        .collect();
    json!({
        "arm": arm.as_str(),
        "variant": variant,
        "measured": measured,
        "converted": converted,
        "before": before,
        "before_squared": before_squared,
        "before_converted": before_converted,
        "values": values,
        "crossed": sums.crossed,
        "erased": sums.erased,
        "late": sums.late,
    })
}

fn comparison(comparison: &Comparison) -> Value {
    let (treated, held_out) = comparison.customers;
    let values = comparison.values.iter().map(|(currency, found)| difference(found, Some(*currency)));
    json!({
        "variant": comparison.variant.as_deref(),
        "treated": treated,
        "held_out": held_out,
        "conversion": difference(&comparison.conversion, None),
        "values": values.collect::<Vec<_>>(),
    })
}

fn difference(found: &Difference, currency: Option<Currency>) -> Value {
    let interval = found.interval().map(|(from, to)| json!([from, to]));
    let mut shown = json!({
        "treated": found.treated,
        "held_out": found.held_out,
        "difference": found.difference(),
        "adjusted": found.adjusted,
        "interval": interval,
    });
    if let Some(currency) = currency {
        shown["currency"] = currency.as_str().into();
    }
    shown
}
